-- chosen_names.sql: names that PostgreSQL chooses for what a table gets from another. It takes the indexes and statistics of that table
-- in the order of their OIDs, and a copy has others: there t_k_idx and t_k_idx1 may have changed places.

-- What two names have in common if one was chosen because the other was taken; long ones are cut first.
CREATE OR REPLACE FUNCTION scribe.chosen_stem(name name) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT CASE WHEN octet_length(name) > 56 THEN left(name, 16) ELSE regexp_replace(name, '\d+$', '') END
$function$;

-- The indexes of a table that may have another name in a copy, with the partitioned index that each is a part of. everything: all that
-- are part of none, since the table they were made after has indexes which are nowhere else.
CREATE OR REPLACE FUNCTION scribe.confusable_indexes(relation oid, everything boolean, OUT index oid, OUT parent oid) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    WITH own AS (SELECT c.oid, c.relname, i.indkey::text AS columns, h.inhparent
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid LEFT JOIN pg_inherits AS h ON h.inhrelid = c.oid
        WHERE i.indrelid = relation AND i.indisvalid
            AND NOT EXISTS (SELECT FROM scribe.left_out AS l WHERE l.classid = 'pg_class'::regclass AND l.objid = c.oid))
    SELECT o.oid, o.inhparent FROM own AS o
    WHERE (everything AND o.inhparent IS NULL) OR EXISTS (SELECT FROM own AS other WHERE other.oid <> o.oid
            AND (other.columns = o.columns OR scribe.chosen_stem(other.relname) = scribe.chosen_stem(o.relname)))
    ORDER BY o.oid
$function$;

-- A block that gives each of a partition's indexes its name here; the other one that has it in the copy gets that one's. The name in
-- between is one of a series that nobody can have taken all of, to stop a restore.
CREATE OR REPLACE FUNCTION scribe.naming_block(partition regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT format($block$DO LANGUAGE plpgsql %L$block$, format($body$DECLARE r record; was name; held boolean; spare text := 'scribe';
BEGIN
  LOOP
    spare := 'scribe_' || pg_catalog.hashtextextended(spare, 0);
    EXIT WHEN pg_catalog.to_regclass(pg_catalog.format('%%I.%%I', %L, spare)) IS NULL;
  END LOOP;
  FOR r IN SELECT * FROM (VALUES %s) AS v (parent, wanted) LOOP
    SELECT c.relname INTO was FROM pg_catalog.pg_inherits AS h JOIN pg_catalog.pg_index AS i ON i.indexrelid = h.inhrelid
      JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
      WHERE h.inhparent = pg_catalog.to_regclass(r.parent) AND i.indrelid = pg_catalog.to_regclass(%L);
    CONTINUE WHEN was IS NULL OR was = r.wanted;
    held := EXISTS (SELECT FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
      WHERE i.indrelid = pg_catalog.to_regclass(%L) AND c.relname = r.wanted);
    EXECUTE pg_catalog.format('ALTER INDEX %%I.%%I RENAME TO %%I', %L, was, spare);
    IF held THEN EXECUTE pg_catalog.format('ALTER INDEX %%I.%%I RENAME TO %%I', %L, r.wanted, was); END IF;
    EXECUTE pg_catalog.format('ALTER INDEX %%I.%%I RENAME TO %%I', %L, spare, r.wanted);
  END LOOP;
END$body$, min(n.nspname), string_agg(format('(%L, %L)', i.parent::regclass, c.relname), ', ' ORDER BY i.index), partition, partition,
        min(n.nspname), min(n.nspname), min(n.nspname)))
    FROM scribe.confusable_indexes(partition, false) AS i JOIN pg_class AS c ON c.oid = i.index JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE i.parent IS NOT NULL HAVING count(*) > 0
$function$;

-- Commands that make such indexes and statistics of a new table again, as they are here.
CREATE OR REPLACE FUNCTION scribe.naming_commands(relation regclass, everything boolean) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    WITH own AS (SELECT i.index, k.conname, pg_get_constraintdef(k.oid) AS definition, obj_description(i.index, 'pg_class') AS comment,
            obj_description(k.oid, 'pg_constraint') AS remark, t.spcname
        FROM scribe.confusable_indexes(relation, everything) AS i JOIN pg_class AS c ON c.oid = i.index
            LEFT JOIN pg_constraint AS k ON k.conindid = i.index AND k.conrelid = relation AND k.contype IN ('p', 'u', 'x')
            LEFT JOIN pg_tablespace AS t ON t.oid = c.reltablespace
        WHERE i.parent IS NULL),
    stats AS (SELECT s.oid, format('%I.%I', n.nspname, s.stxname) AS name
        FROM pg_statistic_ext AS s JOIN pg_namespace AS n ON n.oid = s.stxnamespace
        WHERE s.stxrelid = relation AND EXISTS (SELECT FROM pg_statistic_ext AS other WHERE other.stxrelid = relation AND other.oid <> s.oid
            AND scribe.chosen_stem(other.stxname) = scribe.chosen_stem(s.stxname)))
    SELECT command FROM (
        SELECT 1, 0::oid, format('ALTER TABLE %s %s', relation, string_agg(format('DROP CONSTRAINT IF EXISTS %I', conname), ', ' ORDER BY index))
            FROM own WHERE conname IS NOT NULL HAVING count(*) > 0
        UNION ALL SELECT 2, 0, format('DROP INDEX IF EXISTS %s', string_agg(index::regclass::text, ', ' ORDER BY index))
            FROM own WHERE conname IS NULL HAVING count(*) > 0
        UNION ALL SELECT 3, 0, format('DROP STATISTICS IF EXISTS %s', string_agg(name, ', ' ORDER BY oid)) FROM stats HAVING count(*) > 0
        UNION ALL SELECT 4, index, CASE WHEN conname IS NULL THEN pg_get_indexdef(index)
            ELSE format('ALTER TABLE %s ADD CONSTRAINT %I %s', relation, conname, definition) END FROM own
        UNION ALL SELECT 5, index, format('ALTER INDEX %s SET TABLESPACE %I', index::regclass, spcname) FROM own WHERE spcname IS NOT NULL
        UNION ALL SELECT 6, index, format('COMMENT ON INDEX %s IS %L', index::regclass, comment) FROM own WHERE comment IS NOT NULL
        UNION ALL SELECT 7, index, format('COMMENT ON CONSTRAINT %I ON %s IS %L', conname, relation, remark) FROM own WHERE remark IS NOT NULL
        UNION ALL SELECT 8, oid, pg_get_statisticsobjdef(oid) FROM stats
        UNION ALL SELECT 9, oid, format('COMMENT ON STATISTICS %s IS %L', name, obj_description(oid, 'pg_statistic_ext'))
            FROM stats WHERE obj_description(oid, 'pg_statistic_ext') IS NOT NULL
    ) AS c (place, turn, command) ORDER BY place, turn
$function$;

-- Whether a part of a partitioned table has two indexes of which either may be taken for a part of the table's own.
CREATE OR REPLACE FUNCTION scribe.has_equal_indexes(partition oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT EXISTS (SELECT FROM pg_index AS i, pg_index AS other
        WHERE i.indrelid = partition AND other.indrelid = partition AND i.indexrelid < other.indexrelid
            AND i.indkey::text = other.indkey::text AND i.indclass::text = other.indclass::text
            AND i.indpred::text IS NOT DISTINCT FROM other.indpred::text AND i.indexprs::text IS NOT DISTINCT FROM other.indexprs::text)
$function$;

-- Record those names, if a command may have had them chosen: of tables that it made, of what it attached, and of the parts of an index.
CREATE OR REPLACE FUNCTION scribe.record_chosen_names(tag text, statement text, relids oid[], attached oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    makes constant boolean := tag IN ('CREATE TABLE', 'CREATE SCHEMA');
    alike constant boolean := makes AND coalesce(statement ~* '\mLIKE\M', true);
    hidden constant boolean := alike AND EXISTS (SELECT FROM pg_index WHERE NOT indisvalid);  -- a model's are copied, too
    fresh constant boolean := makes OR attached <> 0 OR coalesce(statement ~* '\m(MERGE|SPLIT)\s+PARTITION', true);
    command text;
BEGIN
    IF makes AND NOT alike AND statement !~* '\mOF\M' OR tag = 'ALTER TABLE' AND NOT fresh AND statement !~* '\mADD\M' THEN
        RETURN;
    END IF;
    FOR command IN
        WITH made AS (
            SELECT t.relid, max(t.level) AS level FROM unnest(relids || nullif(attached, 0)) AS r (id)
                LEFT JOIN pg_index AS i ON i.indexrelid = r.id
                JOIN pg_class AS c ON c.oid = coalesce(i.indrelid, r.id) AND c.relpersistence <> 't'
                    AND (c.relkind = 'p' OR (c.relkind = 'r' AND fresh)),
                LATERAL (SELECT p.relid, p.level FROM pg_partition_tree(c.oid) AS p UNION SELECT c.oid, 0) AS t
            WHERE fresh OR scribe.has_equal_indexes(t.relid)
            GROUP BY t.relid)
        SELECT n.command FROM made AS m, LATERAL (SELECT 0, scribe.naming_block(m.relid)
            UNION ALL SELECT c.turn, c.command FROM scribe.naming_commands(m.relid, hidden) WITH ORDINALITY AS c (command, turn) WHERE alike)
            AS n (turn, command)
        WHERE n.command IS NOT NULL ORDER BY m.level, m.relid, n.turn
    LOOP
        PERFORM scribe.write_row('ddl', tag, NULL, NULL, command, true, 'own: names as PostgreSQL chose them here', NULL, NULL, '""');
    END LOOP;
END
$function$;

-- A block that gives what a command has just made for a table the names that were chosen for it here: the newest first, of each kind by its
-- place from the newest, as a copy's objects have other numbers. Chosen were others than the first of a series since somebody had
-- those, which may have been given up where this is replayed; then a lower number was chosen, and the name is free. NULL: none was.
CREATE OR REPLACE FUNCTION scribe.numbering_block(relation regclass, statement text, made oid[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    WITH now AS (SELECT pg_current_xact_id()::text::bigint % 4294967296 AS xid),
    named (kind, place, name) AS (
        SELECT k.contype::text, k.place::text, k.conname FROM (
            SELECT *, xmin AS maker, row_number() OVER (PARTITION BY contype ORDER BY oid DESC) AS place FROM pg_constraint WHERE conrelid = relation) AS k, now
            WHERE k.maker::text::bigint >= now.xid AND k.conislocal AND k.coninhcount = 0 AND k.conparentid = 0 AND k.contype <> 't'
        UNION ALL SELECT 'index', i.place::text, i.relname FROM (
            SELECT c.oid, c.relname, row_number() OVER (ORDER BY c.oid DESC) AS place FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
            WHERE i.indrelid = relation AND NOT scribe.is_of_constraint(c.oid)) AS i
            WHERE i.oid = ANY (made)
        UNION ALL SELECT 'sequence', a.attname, c.relname FROM pg_depend AS d JOIN pg_class AS c ON c.oid = d.objid AND c.relkind = 'S'
            JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
            WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = relation AND d.deptype IN ('a', 'i')
                AND c.oid = ANY (made) AND pg_get_serial_sequence(relation::text, a.attname) = c.oid::regclass::text)
    SELECT format('DO LANGUAGE plpgsql %L', format($body$DECLARE r record; was name; BEGIN
  FOR r IN SELECT * FROM (VALUES %s) AS v (kind, place, wanted) WHERE pg_catalog.to_regclass(%L) IS NOT NULL LOOP
    was := CASE r.kind WHEN 'sequence' THEN (SELECT relname FROM pg_catalog.pg_class
        WHERE oid = pg_catalog.pg_get_serial_sequence(%L, r.place)::pg_catalog.regclass)
      WHEN 'index' THEN (SELECT c.relname FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
        WHERE i.indrelid = pg_catalog.to_regclass(%L) AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS k
          WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x')) ORDER BY c.oid DESC OFFSET r.place::int - 1 LIMIT 1)
      ELSE (SELECT conname FROM pg_catalog.pg_constraint WHERE conrelid = pg_catalog.to_regclass(%L) AND contype::text = r.kind
        ORDER BY oid DESC OFFSET r.place::int - 1 LIMIT 1) END;
    CONTINUE WHEN was IS NULL OR was = r.wanted;
    EXECUTE CASE r.kind WHEN 'sequence' THEN pg_catalog.format('ALTER SEQUENCE %%I.%%I RENAME TO %%I', %L, was, r.wanted)
      WHEN 'index' THEN pg_catalog.format('ALTER INDEX %%I.%%I RENAME TO %%I', %L, was, r.wanted)
      ELSE pg_catalog.format(%L, was, r.wanted) END;
  END LOOP;
END$body$, string_agg(format('(%L, %L, %L)', n.kind, n.place, n.name), ', ' ORDER BY n.kind, length(n.place), n.place),
        relation, relation, relation, relation, min(s.nspname), min(s.nspname),
        format('ALTER TABLE %s RENAME CONSTRAINT %%I TO %%I', replace(relation::text, '%', '%%'))))
    FROM named AS n, pg_class AS t JOIN pg_namespace AS s ON s.oid = t.relnamespace
    WHERE t.oid = relation AND n.name ~ '_(seq|idx|key|pkey|check|fkey|excl|not_null)\d+$' AND strpos(statement, n.name) = 0
    HAVING count(*) > 0
$function$;

-- Record those blocks.
CREATE OR REPLACE FUNCTION scribe.record_numbering(tag text, statement text, relids oid[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    command text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_class WHERE oid = ANY (relids) AND relkind IN ('i', 'I', 'S') AND relname ~ '\d$' AND strpos(statement, relname) = 0)
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = ANY (relids) AND conname ~ '\d$' AND strpos(statement, conname) = 0) THEN
        RETURN;  -- which costs little
    END IF;
    FOR command IN
        SELECT b.block FROM (SELECT DISTINCT c.oid FROM unnest(relids) AS r (id) LEFT JOIN pg_index AS i ON i.indexrelid = r.id
                JOIN pg_class AS c ON c.oid = coalesce(i.indrelid, r.id)
                WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND (NOT c.relispartition OR i.indrelid IS NULL)) AS t,
            LATERAL (SELECT scribe.numbering_block(t.oid, statement, relids)) AS b (block)
        WHERE b.block IS NOT NULL ORDER BY t.oid
    LOOP
        PERFORM scribe.write_row('ddl', tag, NULL, NULL, command, true, 'own: names as PostgreSQL chose them here', NULL, NULL, '""');
    END LOOP;
END
$function$;
