-- fingerprint.sql: has the schema changed? One digest for each object, for servers where no event trigger can be made.
--
-- Columns: object (readable, unique), digest. What VACUUM, ANALYZE, TRUNCATE and the rows themselves change is left out,
-- and so is what is pg_scribe's own. A text of any length has its own digest: jsonb, or one text of all of a table, would not hold them.
-- Privilege: none. Oldest version: PostgreSQL 14.
SET search_path = pg_catalog, pg_temp;
WITH ours AS (
    SELECT oid FROM pg_catalog.pg_namespace
    WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'scribe')
)
SELECT 'relation ' || c.oid::pg_catalog.regclass::text AS object, pg_catalog.md5(pg_catalog.concat_ws('|',
    ROW(c.relname, c.relnamespace, c.reltype, c.reloftype, c.relowner, c.relam, c.relisshared, c.relpersistence, c.relkind, c.relnatts,
        c.relrowsecurity, c.relforcerowsecurity, c.relispopulated, c.relreplident, c.relispartition, c.relacl, c.reloptions)::text,
    pg_catalog.md5(c.relpartbound::text),
    (SELECT pg_catalog.string_agg(ROW(a.attnum, a.attname, a.atttypid, a.attlen, a.attndims, a.atttypmod, a.attnotnull, a.atthasdef,
            a.attidentity, a.attgenerated, a.attisdropped, a.attislocal, a.attinhcount, a.attcollation, a.attstorage, a.attcompression,
            a.attacl, a.attoptions, pg_catalog.md5(a.attfdwoptions::text))::text, ',' ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0),
    (SELECT pg_catalog.string_agg(pg_catalog.md5(pg_catalog.pg_get_expr(d.adbin, d.adrelid)), ',' ORDER BY d.adnum)
        FROM pg_catalog.pg_attrdef AS d WHERE d.adrelid = c.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.md5(k::text), ',' ORDER BY k.oid)
        FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = c.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.concat(pg_catalog.md5(pg_catalog.pg_get_indexdef(i.indexrelid)), i.indisvalid, i.indisreplident),
            ',' ORDER BY i.indexrelid) FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.concat(pg_catalog.md5(pg_catalog.pg_get_triggerdef(t.oid)), t.tgenabled), ',' ORDER BY t.oid)
        FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
    (SELECT pg_catalog.string_agg(pg_catalog.concat(pg_catalog.md5(pg_catalog.pg_get_ruledef(r.oid)), r.ev_enabled), ',' ORDER BY r.oid)
        FROM pg_catalog.pg_rewrite AS r WHERE r.ev_class = c.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.md5(p::text), ',' ORDER BY p.oid)
        FROM pg_catalog.pg_policy AS p WHERE p.polrelid = c.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.concat(h.inhparent, ':', h.inhseqno), ',' ORDER BY h.inhparent)
        FROM pg_catalog.pg_inherits AS h WHERE h.inhrelid = c.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.md5(pg_catalog.pg_get_statisticsobjdef(s.oid)), ',' ORDER BY s.oid)
        FROM pg_catalog.pg_statistic_ext AS s WHERE s.stxrelid = c.oid),
    (SELECT q::text FROM pg_catalog.pg_sequence AS q WHERE q.seqrelid = c.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.md5(e.description), ',' ORDER BY e.objsubid) FROM pg_catalog.pg_description AS e
        WHERE e.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND e.objoid = c.oid))) AS digest
FROM pg_catalog.pg_class AS c JOIN ours AS o ON o.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
UNION ALL SELECT 'function ' || p.oid::pg_catalog.regprocedure::text, pg_catalog.md5(pg_catalog.concat_ws('|',
    ROW(p.proname, p.pronamespace, p.proowner, p.prolang, p.procost, p.prorows, p.provariadic, p.prosupport, p.prokind, p.prosecdef,
        p.proleakproof, p.proisstrict, p.proretset, p.provolatile, p.proparallel, p.prorettype, p.proargtypes, p.proallargtypes,
        p.proargmodes, p.proargnames, p.protrftypes, p.probin, p.proconfig, p.proacl)::text,
    pg_catalog.md5(p.prosrc), pg_catalog.md5(p.proargdefaults::text), pg_catalog.md5(p.prosqlbody::text)))
FROM pg_catalog.pg_proc AS p JOIN ours AS o ON o.oid = p.pronamespace
UNION ALL SELECT 'type ' || t.oid::pg_catalog.regtype::text, pg_catalog.md5(pg_catalog.concat_ws('|',
    ROW(t.typname, t.typnamespace, t.typowner, t.typlen, t.typbyval, t.typtype, t.typcategory, t.typispreferred, t.typisdefined, t.typdelim,
        t.typelem, t.typarray, t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout, t.typanalyze, t.typsubscript,
        t.typalign, t.typstorage, t.typnotnull, t.typbasetype, t.typtypmod, t.typndims, t.typcollation, t.typacl)::text,
    pg_catalog.md5(t.typdefaultbin::text), pg_catalog.md5(t.typdefault),
    (SELECT pg_catalog.string_agg(e::text, ',' ORDER BY e.oid) FROM pg_catalog.pg_enum AS e
        WHERE e.enumtypid = t.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.md5(k::text), ',' ORDER BY k.oid) FROM pg_catalog.pg_constraint AS k
        WHERE k.contypid = t.oid)))
FROM pg_catalog.pg_type AS t JOIN ours AS o ON o.oid = t.typnamespace WHERE t.typrelid = 0 AND t.typcategory <> 'A'
UNION ALL SELECT x.kind || ' ' || x.name, pg_catalog.md5(x.facts) FROM (
    SELECT 'schema', n.nspname::text, n::text FROM pg_catalog.pg_namespace AS n JOIN ours AS o ON o.oid = n.oid
    UNION ALL SELECT 'extension', e.extname, e::text FROM pg_catalog.pg_extension AS e
    UNION ALL SELECT 'operator', p.oid::pg_catalog.regoperator::text, p::text
        FROM pg_catalog.pg_operator AS p JOIN ours AS o ON o.oid = p.oprnamespace
    UNION ALL SELECT 'collation', k.oid::pg_catalog.regcollation::text, k::text
        FROM pg_catalog.pg_collation AS k JOIN ours AS o ON o.oid = k.collnamespace
    UNION ALL SELECT 'cast', k.oid::text, k::text FROM pg_catalog.pg_cast AS k WHERE k.oid >= 16384
    UNION ALL SELECT 'language', l.lanname, l::text FROM pg_catalog.pg_language AS l
    UNION ALL SELECT 'server', s.srvname, s::text FROM pg_catalog.pg_foreign_server AS s
    UNION ALL SELECT 'foreign-data wrapper', w.fdwname, w::text FROM pg_catalog.pg_foreign_data_wrapper AS w
    UNION ALL SELECT 'text search configuration', k.oid::pg_catalog.regconfig::text, k::text
        FROM pg_catalog.pg_ts_config AS k JOIN ours AS o ON o.oid = k.cfgnamespace
    UNION ALL SELECT 'text search dictionary', k.oid::pg_catalog.regdictionary::text, k::text
        FROM pg_catalog.pg_ts_dict AS k JOIN ours AS o ON o.oid = k.dictnamespace
    UNION ALL SELECT 'default privileges', d.oid::text, d::text FROM pg_catalog.pg_default_acl AS d
    UNION ALL SELECT 'event trigger', t.evtname, t::text FROM pg_catalog.pg_event_trigger AS t
    UNION ALL SELECT 'publication', p.pubname, pg_catalog.concat(p::text, (
            SELECT pg_catalog.string_agg(r.prrelid::text, ',' ORDER BY r.prrelid) FROM pg_catalog.pg_publication_rel AS r WHERE r.prpubid = p.oid))
        FROM pg_catalog.pg_publication AS p
    UNION ALL SELECT 'comment', pg_catalog.concat_ws('/', d.classoid::pg_catalog.regclass, d.objoid, d.objsubid),
        d.description
        FROM pg_catalog.pg_description AS d WHERE d.objoid >= 16384 AND d.classoid <> 'pg_catalog.pg_class'::pg_catalog.regclass
) AS x (kind, name, facts)
