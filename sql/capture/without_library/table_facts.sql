-- table_facts.sql: what pgoutput does not say of a table, and its rows' SQL depends on.
--
-- Columns: relid; facts (json text): a identity columns GENERATED ALWAYS; g stored generated columns; l columns that lead an index, and whether their
-- literal needs a cast; k the replica identity's key, with operator, cast and collation, and whether it is a domain over an enum, which no
-- operator takes as it is; t types of columns that are not built in (of a domain the one beneath), by OID; u another unique index
-- watches the rows; w its schema and name; q triggers and rules that fire during replay, and CHECKs
-- that may say something else by then; s has children; p partitioned; o owner; d columns of a domain whose
-- values may be older than a constraint of it, with its schema and name; b columns of a domain that is, or was, NOT NULL,
-- likewise; n how many columns it ever had; h of a partition whose
-- rows lie elsewhere in a copy, since a hash of OIDs (of an enum's labels, of reg* types) places them: the topmost table that hashes
-- so (o, n), whether the key is one of all its rows (k), and the triggers and rules (q) that fire during replay on any table below it.
-- tables: their OIDs, NULL for all. Where nothing may be installed, only the query is run.

CREATE OR REPLACE FUNCTION scribe.read_base_facts(tables oid[]) RETURNS TABLE (relid oid, facts text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN  -- PL/pgSQL keeps the plan; planning it costs more than running it. It has to find few tables among many by indexes
tables := coalesce(tables, ARRAY(SELECT c.oid FROM pg_catalog.pg_class AS c WHERE c.relkind IN ('r', 'p')));
RETURN QUERY
WITH keys AS (
    SELECT i.indrelid, i.indexrelid, u.place, a.attname, a.atttypid,
        m.amname = 'btree' AND i.indisvalid AND i.indpred IS NULL AS lead,
        CASE WHEN s.nspname = 'pg_catalog' AND o.oprname = '=' THEN ' = '
            ELSE pg_catalog.format(' OPERATOR(%I.%s) ', s.nspname, o.oprname) END AS operator,
        NOT (a.atttypid = p.opcintype OR (a.atttypid = 1043 AND p.opcintype = 25))
            OR s.nspname <> 'pg_catalog' OR o.oprname <> '=' AS needs_cast,
        p.opcintype = 'pg_catalog.anyenum'::pg_catalog.regtype AND EXISTS (
            SELECT FROM pg_catalog.pg_type AS y WHERE y.oid = a.atttypid AND y.typtype = 'd') AS domain,
        CASE WHEN l.oid IS NULL OR l.oid = a.attcollation THEN ''
            ELSE pg_catalog.format(' COLLATE %I.%I', z.nspname, l.collname) END AS collation
    FROM pg_catalog.pg_index AS i
        CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(i.indkey::pg_catalog.int2[]),
            pg_catalog.unnest(i.indclass::pg_catalog.oid[]), pg_catalog.unnest(i.indcollation::pg_catalog.oid[])) WITH ORDINALITY AS u (attnum, opclass, coll, place)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = u.attnum
        JOIN pg_catalog.pg_opclass AS p ON p.oid = u.opclass JOIN pg_catalog.pg_am AS m ON m.oid = p.opcmethod
        JOIN pg_catalog.pg_amop AS e ON e.amopfamily = p.opcfamily AND e.amoplefttype = p.opcintype
            AND e.amoprighttype = p.opcintype AND e.amopstrategy = 3 AND m.amname = 'btree'
        JOIN pg_catalog.pg_operator AS o ON o.oid = e.amopopr JOIN pg_catalog.pg_namespace AS s ON s.oid = o.oprnamespace
        LEFT JOIN pg_catalog.pg_collation AS l ON l.oid = u.coll
        LEFT JOIN pg_catalog.pg_namespace AS z ON z.oid = l.collnamespace
    WHERE i.indrelid = ANY (tables) AND u.attnum > 0
), acting (relid, what, name, mode) AS NOT MATERIALIZED (
    SELECT g.tgrelid, 'TRIGGER', g.tgname, CASE g.tgenabled WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END
    FROM pg_catalog.pg_trigger AS g WHERE g.tgenabled IN ('A', 'R') AND (NOT g.tgisinternal OR g.tgparentid <> 0 AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_constraint AS z WHERE z.oid = g.tgconstraint AND z.contype <> 't'))  -- a partition's copy, before 15
    UNION ALL SELECT w.ev_class, 'RULE', w.rulename, CASE w.ev_enabled WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END
    FROM pg_catalog.pg_rewrite AS w WHERE w.ev_enabled IN ('A', 'R')
    -- what calls what may give something else by now, or is too long to be searched
    UNION SELECT k.conrelid, 'CHECK', '', '' FROM pg_catalog.pg_constraint AS k
    WHERE k.contype = 'c' AND k.conrelid <> 0 AND CASE WHEN pg_catalog.octet_length(k.conbin::pg_catalog.text) > 10000000 THEN true ELSE
        k.conbin::pg_catalog.text ~ '{(SQLVALUEFUNCTION|COERCETODOMAIN|COERCEVIAIO) ' OR EXISTS (
        SELECT FROM pg_catalog.regexp_matches(k.conbin::pg_catalog.text, ':(?:func|opfunc)id ([0-9]+)', 'g') AS m (id)
            JOIN pg_catalog.pg_proc AS f ON f.oid = m.id[1]::pg_catalog.oid WHERE f.provolatile <> 'i' OR f.oid >= 16384) END
), domains AS NOT MATERIALIZED (  -- older: a constraint is NOT VALID; barring: NOT NULL, in the domain or in one that it is over
    SELECT a.attrelid, a.attname, pg_catalog.json_build_array(n.nspname, t.typname) AS named, f.older, f.barring
    FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid AND t.typtype = 'd'
        JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace, LATERAL (
        WITH RECURSIVE family (id, base, bars) AS (SELECT t.oid, t.typbasetype, t.typnotnull UNION
            SELECT b.oid, b.typbasetype, b.typnotnull  -- or was: before 17 a session goes on believing it of the outer domain
                OR pg_catalog.current_setting('server_version_num')::pg_catalog.int4 < 170000
            FROM family JOIN pg_catalog.pg_type AS b ON b.oid = family.base WHERE b.typtype = 'd')
        SELECT pg_catalog.bool_or(family.bars) AS barring, pg_catalog.bool_or(EXISTS (
            SELECT FROM pg_catalog.pg_constraint AS k WHERE k.contypid = family.id AND NOT k.convalidated)) AS older FROM family) AS f
    WHERE a.attrelid = ANY (tables) AND a.attnum > 0 AND NOT a.attisdropped
)
SELECT c.oid::pg_catalog.oid AS relid, pg_catalog.json_build_object(
    'a', (SELECT coalesce(pg_catalog.json_agg(a.attname ORDER BY a.attnum), '[]') FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            AND (a.attidentity = 'a' OR EXISTS (  -- a partition has its parent's identity from 17 on, where it may be restored
                SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) AS p JOIN pg_catalog.pg_attribute AS i
                    ON i.attrelid = p.relid AND i.attname = a.attname AND i.attidentity = 'a'))),
    'g', (SELECT coalesce(pg_catalog.json_agg(a.attname ORDER BY a.attnum), '[]') FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attgenerated = 's' AND NOT a.attisdropped),
    'l', (SELECT coalesce(pg_catalog.json_object_agg(x.attname, x.needs_cast), '{}') FROM (
        SELECT DISTINCT ON (k.attname) k.attname, k.needs_cast FROM keys AS k
        WHERE k.indrelid = c.oid AND k.place = 1 AND k.lead AND k.operator = ' = ' AND k.collation = ''
            AND k.atttypid < 16384 ORDER BY k.attname, k.indexrelid) AS x),
    'k', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(k.attname, k.operator, k.needs_cast, k.collation, k.domain)
            ORDER BY k.place), '[]') FROM keys AS k
        WHERE k.indexrelid = r.indexrelid AND k.place <= r.indnkeyatts),
    'u', EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND (i.indisunique OR i.indisexclusion)
        AND i.indexrelid IS DISTINCT FROM r.indexrelid),
    'q', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(t.what, t.name, t.mode) ORDER BY t.what, t.name), '[]')
        FROM acting AS t WHERE t.relid = c.oid),
    'd', (SELECT coalesce(pg_catalog.json_object_agg(d.attname, d.named), '{}') FROM domains AS d WHERE d.attrelid = c.oid AND d.older),
    't', (SELECT coalesce(pg_catalog.json_object_agg(t.id, pg_catalog.json_build_array(n.nspname, t.typname)), '{}') FROM (
        SELECT DISTINCT a.atttypid::pg_catalog.int8 AS id, y.typname, y.typnamespace FROM pg_catalog.pg_attribute AS a
            JOIN pg_catalog.pg_type AS y ON y.oid = (
                WITH RECURSIVE beneath (base) AS (SELECT a.atttypid
                    UNION ALL SELECT f.typbasetype FROM beneath JOIN pg_catalog.pg_type AS f ON f.oid = base WHERE f.typtype = 'd')
                SELECT base FROM beneath JOIN pg_catalog.pg_type AS f ON f.oid = base WHERE f.typtype <> 'd')
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384) AS t
        JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace),
    'b', (SELECT coalesce(pg_catalog.json_object_agg(d.attname, d.named), '{}') FROM domains AS d WHERE d.attrelid = c.oid AND d.barring),
    'h', (SELECT pg_catalog.json_build_object('o', w.oid::pg_catalog.int8, 'n', pg_catalog.json_build_array(rn.nspname, w.relname), 'k', EXISTS (
            SELECT FROM pg_catalog.pg_partition_ancestors(r.indexrelid) AS k JOIN pg_catalog.pg_index AS i ON i.indexrelid = k.relid
            WHERE i.indrelid = w.oid), 'q', (
            SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(fn.nspname, f.relname, f.relkind = 'p', t.what, t.name, t.mode)
                ORDER BY f.oid, t.what, t.name), '[]')
            FROM pg_catalog.pg_partition_tree(w.oid) AS b JOIN pg_catalog.pg_class AS f ON f.oid = b.relid
                JOIN pg_catalog.pg_namespace AS fn ON fn.oid = f.relnamespace JOIN acting AS t ON t.relid = f.oid))
        FROM pg_catalog.pg_partition_ancestors(c.oid) WITH ORDINALITY AS up (relid, level)
            JOIN pg_catalog.pg_partitioned_table AS p ON p.partrelid = up.relid AND p.partrelid <> c.oid AND p.partstrat = 'h'
            JOIN pg_catalog.pg_class AS w ON w.oid = up.relid JOIN pg_catalog.pg_namespace AS rn ON rn.oid = w.relnamespace
        WHERE c.relispartition AND EXISTS (
            WITH RECURSIVE parts (id) AS (
                SELECT a.atttypid FROM pg_catalog.pg_attribute AS a
                WHERE a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs::pg_catalog.int2[])
                UNION SELECT x.id FROM parts JOIN pg_catalog.pg_type AS y ON y.oid = parts.id, LATERAL (
                    SELECT y.typbasetype UNION ALL SELECT y.typelem
                    UNION ALL SELECT g.rngsubtype FROM pg_catalog.pg_range AS g WHERE y.oid IN (g.rngtypid, g.rngmultitypid)
                    UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute AS a
                    WHERE a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped) AS x (id)
                WHERE x.id <> 0)
            SELECT FROM parts JOIN pg_catalog.pg_type AS y ON y.oid = parts.id
            WHERE y.typtype = 'e' OR (y.oid < 16384 AND y.typname ~ '^reg'))
        ORDER BY up.level DESC LIMIT 1),
    'n', c.relnatts, 'w', pg_catalog.json_build_array(n.nspname, c.relname), 's', c.relhassubclass, 'p', c.relkind = 'p', 'o', pg_catalog.pg_get_userbyid(c.relowner))::pg_catalog.text AS facts
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN LATERAL (SELECT i.indexrelid, i.indnkeyatts FROM pg_catalog.pg_index AS i
        WHERE i.indrelid = c.oid AND i.indimmediate AND i.indisvalid
            AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
        LIMIT 1) AS r ON true
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname NOT IN ('information_schema', 'scribe')
    AND n.nspname !~ '^pg_' AND c.oid = ANY (tables);
END
$function$;
