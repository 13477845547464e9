-- rewrites.sql: commands that rewrite tables: recorded before the rows that they make.

-- Whether the running command has recreated a foreign key that points to one of the tables from another one, as a change of the
-- key's type does: at its end it looks for every referenced row, also in a copy.
CREATE OR REPLACE FUNCTION scribe.must_keep_rows(tables oid[]) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    -- no index of pg_constraint has the tables that are referred to
    RETURN EXISTS (SELECT FROM pg_constraint AS c WHERE c.oid = ANY (ARRAY(SELECT d.objid FROM pg_depend AS d
            WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (tables) AND d.classid = 'pg_constraint'::regclass))
        AND c.contype = 'f' AND c.convalidated AND c.confrelid = ANY (tables)
        AND c.conrelid <> ALL (tables) AND scribe.is_ours(c.xmin));
END
$function$;

-- Record a command at the first table it rewrites, before the rows that it makes.
CREATE OR REPLACE FUNCTION scribe.record_rewrite(tag text, relation oid, why int, facts json) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    altered constant regclass := scribe.altered_by(tag, relation);
    known constant boolean := facts->>'statement' IS NOT NULL;
    beforehand boolean;
    tables oid[] := ARRAY[relation];
BEGIN
    IF (facts->>'in_extension')::boolean OR (facts->'touched' IS NULL AND scribe.in_script()) THEN
        -- the copy runs the script as well, and computes values by itself
        IF why & 6 <> 0 AND pg_relation_size(relation) > 0 AND NOT scribe.is_new(relation) THEN
            PERFORM scribe.write_row('lost', tag, 'table', altered::text, '', false,
                format('the script of an extension computes values for the rows of %s', altered), NULL);
        END IF;
        RETURN;
    END IF;
    IF why & 6 <> 0 THEN
        tables := coalesce(scribe.rewritten_with(relation, facts->'touched'), tables);
    END IF;
    beforehand := known AND NOT coalesce((facts->>'switches_triggers')::boolean, false) AND NOT scribe.must_keep_rows(tables);
    IF beforehand THEN
        PERFORM scribe.empty_tables(tag, tables, true);
    ELSIF known THEN
        PERFORM scribe.announce_rewrite(tag, altered);
    END IF;
    IF NOT scribe.leave_out(tag, facts, ARRAY['pg_class'::regclass::oid], ARRAY[relation], ARRAY[relation]) THEN
        PERFORM scribe.record_command(tag, facts, NULL, 1, ARRAY[altered::oid], CASE tag WHEN 'ALTER TYPE' THEN 'composite type'
            WHEN 'ALTER FOREIGN TABLE' THEN 'foreign table' ELSE 'table' END, altered::text);
    END IF;
    IF known AND NOT beforehand THEN
        tables := ARRAY[relation];
        PERFORM scribe.empty_tables(tag, tables, false);
    END IF;
    INSERT INTO scribe.rewritten AS r (relid, reasons, recorded, emptied, xact)
        SELECT t, 0, true, known, pg_current_xact_id() FROM unnest(tables) AS t
        ON CONFLICT (pid, relid) DO UPDATE SET reasons = CASE WHEN r.xact = EXCLUDED.xact THEN r.reasons ELSE 0 END,
            recorded = true, emptied = EXCLUDED.emptied, xact = EXCLUDED.xact;
END
$function$;

-- Event trigger table_rewrite: the command is recorded here, before the rows that it makes; the decoder finds those in the WAL, and
-- writes them for the copy, where the command finds the table empty and computes nothing. What computes nothing here either
-- (SET UNLOGGED, SET ACCESS METHOD) is recorded at its end, like any other command.
CREATE OR REPLACE FUNCTION scribe.note_rewrite() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET lock_timeout = '1min'
SET standard_conforming_strings = on AS $function$
DECLARE
    relation constant oid := pg_event_trigger_table_rewrite_oid();
    why constant int := pg_event_trigger_table_rewrite_reason();  -- manual 9.30.3: 1 persistence, 2 default, 4 type, 8 access method
    persistence "char" := (SELECT relpersistence FROM pg_class WHERE oid = relation AND relkind = 'r');
    line oid[];
    sent boolean;
    facts json;
BEGIN
    IF NOT scribe.is_active() OR coalesce(persistence, 't') = 't' THEN
        IF persistence IS NULL AND scribe.is_active() THEN
            PERFORM scribe.flag_unseen(tg_tag, ARRAY[relation]);
        END IF;
        RETURN;
    END IF;
    DELETE FROM scribe.rewritten WHERE pid = pg_backend_pid() AND xact IS DISTINCT FROM pg_current_xact_id();  -- what was left
    INSERT INTO scribe.rewritten AS r (relid, reasons, xact) VALUES (relation, why, pg_current_xact_id())
        ON CONFLICT (pid, relid) DO UPDATE SET reasons = EXCLUDED.reasons;
    IF why & 6 = 0 AND NOT (why & 1 <> 0 AND persistence = 'u') THEN
        RETURN;
    END IF;
    -- of a thousand partitions, all but the first are known: no look at a thousand families for each
    SELECT true INTO sent FROM scribe.rewritten AS r WHERE r.pid = pg_backend_pid() AND r.relid = relation AND r.recorded AND r.emptied;
    IF sent IS NULL THEN
        line := scribe.lineage(relation);
        SELECT bool_or(r.emptied) INTO sent FROM scribe.rewritten AS r
            WHERE r.pid = pg_backend_pid() AND r.recorded AND scribe.lineage(r.relid) && line;
    END IF;
    IF sent IS NULL THEN
        facts := scribe.statement_facts(tg_tag);
        PERFORM scribe.record_rewrite(tg_tag, relation, why, facts);
    ELSIF sent AND NOT (SELECT emptied FROM scribe.rewritten WHERE pid = pg_backend_pid() AND relid = relation) THEN
        PERFORM scribe.empty_tables(tg_tag, ARRAY[relation], false);
        UPDATE scribe.rewritten SET emptied = true WHERE pid = pg_backend_pid() AND relid = relation;
    END IF;
    IF (SELECT emptied FROM scribe.rewritten WHERE pid = pg_backend_pid() AND relid = relation) THEN
        PERFORM scribe.before_rows(relation, tg_tag);
    END IF;
EXCEPTION WHEN OTHERS THEN
    IF scribe.is_run_again(SQLSTATE) THEN
        RAISE;
    END IF;
    RAISE WARNING 'pg_scribe could not record that % rewrites a table: %', tg_tag, SQLERRM;
    PERFORM scribe.record_failure(tg_tag, SQLERRM);
END
$function$;

-- The tables that a command has rewritten; not those of a command within which this one runs.
CREATE OR REPLACE FUNCTION scribe.rewritten_by(tables oid[]) RETURNS oid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN ARRAY(SELECT r.relid FROM scribe.rewritten AS r WHERE r.pid = pg_backend_pid() AND (r.relid = ANY (tables)
        OR EXISTS (SELECT FROM pg_class AS c JOIN pg_class AS t ON t.reltype = c.reloftype
            WHERE c.oid = r.relid AND t.relkind = 'c' AND t.oid = ANY (tables))) ORDER BY r.relid);
END
$function$;

-- What is left to do for the rows of tables that a command has just changed.
CREATE OR REPLACE FUNCTION scribe.send_values(tag text, tables oid[], statement text, touched json) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    rewritten constant oid[] := scribe.rewritten_by(tables);
    emptied oid[];
    kept regclass;
BEGIN
    SELECT array_agg(r.relid ORDER BY r.relid) FILTER (WHERE r.emptied), min(r.relid) FILTER (WHERE r.emptied AND r.reasons = 0)
        INTO emptied, kept FROM scribe.rewritten AS r WHERE r.pid = pg_backend_pid() AND r.relid = ANY (rewritten);
    DELETE FROM scribe.rewritten AS r WHERE r.pid = pg_backend_pid() AND r.relid = ANY (rewritten);
    IF emptied IS NOT NULL THEN
        PERFORM scribe.after_rows(emptied, tag);
    END IF;
    IF kept IS NOT NULL THEN
        RAISE EXCEPTION 'the rows of % would be missing: it was not rewritten', kept;
    END IF;
    -- their indexes were built again: one that CREATE INDEX CONCURRENTLY left invalid is valid now
    PERFORM scribe.record_reindex(ARRAY(SELECT indexrelid FROM pg_index
        WHERE indrelid = ANY (rewritten) AND scribe.is_unrecorded_index(indexrelid)), false);
    PERFORM scribe.fill(tables, tag, statement, touched);
END
$function$;

-- Whether an ALTER TABLE does nothing but rename something or move a table to another schema. It looks at no rows, although it writes
-- the table's constraints, and a copy does not know a name that comes from it. Told by the parsed statement; without it, when in doubt, no.
CREATE OR REPLACE FUNCTION scribe.gives_names(tag text, facts json) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT tag = 'ALTER TABLE' AND NOT facts::jsonb ? 'actions' AND coalesce(facts->>'statement' ~* '\m(RENAME|SET\s+SCHEMA)\M', false)
        AND (facts::jsonb ? 'dropped' OR facts->>'statement' !~* '\m(ADD|ATTACH|VALIDATE|NOT)\M')
$function$;

-- Unlogged tables of whose rows the running command has made sure of something: that they are unique, or not NULL, or pass a CHECK. Those of a
-- copy are its base's, for what becomes of them is in no WAL, and need not be so.
CREATE OR REPLACE FUNCTION scribe.looked_through(relations oid[], objects oid[]) RETURNS oid[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    family constant oid[] := scribe.with_children(relations);
    partitions oid[];
    roots oid[];
    concerned oid[];
BEGIN
    SELECT array_agg(h.inhrelid), array_agg(h.inhparent) INTO partitions, roots FROM pg_inherits AS h JOIN pg_class AS c ON c.oid = h.inhrelid
        WHERE c.relispartition AND (h.inhparent = ANY (relations) OR h.inhrelid = ANY (relations)) AND scribe.is_ours(h.xmin);
    -- what follows is asked of these alone, which indexes find
    concerned := family || scribe.with_children(partitions)
        || ARRAY(SELECT p.partdefid FROM pg_partitioned_table AS p WHERE p.partrelid = ANY (roots))
        || ARRAY(SELECT i.indrelid FROM pg_index AS i WHERE i.indexrelid = ANY (family))
        || ARRAY(SELECT d.objid FROM pg_depend AS d WHERE d.refclassid = 'pg_type'::regclass AND d.refobjid = ANY (objects)
            AND d.classid = 'pg_class'::regclass);
    RETURN ARRAY(
        SELECT c.oid FROM pg_class AS c
        WHERE c.oid = ANY (concerned) AND c.relpersistence = 'u' AND c.relkind = 'r' AND NOT scribe.is_new(c.oid)
            AND (c.oid = ANY (scribe.with_children(partitions))
                OR EXISTS (SELECT FROM pg_partitioned_table AS p WHERE p.partdefid = c.oid AND p.partrelid = ANY (roots))
                OR EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indexrelid = ANY (family) AND (i.indisunique OR i.indisexclusion))
                OR (c.oid = ANY (family) AND (
                    EXISTS (SELECT FROM pg_constraint AS k WHERE k.conrelid = c.oid AND k.convalidated AND scribe.is_ours(k.xmin))
                    OR EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnotnull AND a.attnum > 0 AND scribe.is_ours(a.xmin))))
                OR EXISTS (SELECT FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
                    WHERE a.attrelid = c.oid AND t.typtype = 'd' AND t.oid = ANY (objects)))
        ORDER BY c.oid);
END
$function$;
