-- fingerprint.sql: has the schema changed? One digest for each object, for servers where no event trigger can be made.
--
-- Columns: object (readable, unique), digest. What VACUUM, ANALYZE, TRUNCATE and the rows themselves change is left out,
-- and so is what is pg_scribe's own. Privilege: none. Oldest version: PostgreSQL 14.
SET search_path = pg_catalog, pg_temp;
WITH ours AS (
    SELECT oid FROM pg_catalog.pg_namespace
    WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'scribe')
)
SELECT 'relation ' || c.oid::pg_catalog.regclass::text AS object, pg_catalog.md5(pg_catalog.concat_ws('|',
    pg_catalog.to_jsonb(c) - '{relpages,reltuples,relallvisible,relallfrozen,relfilenode,relfrozenxid,relminmxid,relhasindex,
        relhasrules,relhastriggers,relhassubclass,relrewrite,reltoastrelid,reltablespace,relchecks}'::text[],
    (SELECT pg_catalog.string_agg((pg_catalog.to_jsonb(a) - '{attcacheoff,attmissingval,atthasmissing,attstattarget}'::text[])::text,
            ',' ORDER BY a.attnum) FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0),
    (SELECT pg_catalog.string_agg(pg_catalog.pg_get_expr(d.adbin, d.adrelid), ',' ORDER BY d.adnum)
        FROM pg_catalog.pg_attrdef AS d WHERE d.adrelid = c.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.to_jsonb(k)::text, ',' ORDER BY k.oid)
        FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = c.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.concat(pg_catalog.pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisreplident), ','
            ORDER BY i.indexrelid) FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.concat(pg_catalog.pg_get_triggerdef(t.oid), t.tgenabled), ',' ORDER BY t.oid)
        FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
    (SELECT pg_catalog.string_agg(pg_catalog.concat(pg_catalog.pg_get_ruledef(r.oid), r.ev_enabled), ',' ORDER BY r.oid)
        FROM pg_catalog.pg_rewrite AS r WHERE r.ev_class = c.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.to_jsonb(p)::text, ',' ORDER BY p.oid)
        FROM pg_catalog.pg_policy AS p WHERE p.polrelid = c.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.concat(h.inhparent, ':', h.inhseqno), ',' ORDER BY h.inhparent)
        FROM pg_catalog.pg_inherits AS h WHERE h.inhrelid = c.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.pg_get_statisticsobjdef(s.oid), ',' ORDER BY s.oid)
        FROM pg_catalog.pg_statistic_ext AS s WHERE s.stxrelid = c.oid),
    (SELECT pg_catalog.to_jsonb(q)::text FROM pg_catalog.pg_sequence AS q WHERE q.seqrelid = c.oid),
    (SELECT pg_catalog.string_agg(e.description, ',' ORDER BY e.objsubid) FROM pg_catalog.pg_description AS e
        WHERE e.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND e.objoid = c.oid))) AS digest
FROM pg_catalog.pg_class AS c JOIN ours AS o ON o.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
UNION ALL SELECT 'function ' || p.oid::pg_catalog.regprocedure::text, pg_catalog.md5(pg_catalog.to_jsonb(p)::text)
FROM pg_catalog.pg_proc AS p JOIN ours AS o ON o.oid = p.pronamespace
UNION ALL SELECT 'type ' || t.oid::pg_catalog.regtype::text, pg_catalog.md5(pg_catalog.concat(pg_catalog.to_jsonb(t)::text,
    (SELECT pg_catalog.string_agg(pg_catalog.to_jsonb(e)::text, ',' ORDER BY e.oid) FROM pg_catalog.pg_enum AS e
        WHERE e.enumtypid = t.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.to_jsonb(k)::text, ',' ORDER BY k.oid) FROM pg_catalog.pg_constraint AS k
        WHERE k.contypid = t.oid)))
FROM pg_catalog.pg_type AS t JOIN ours AS o ON o.oid = t.typnamespace WHERE t.typrelid = 0 AND t.typcategory <> 'A'
UNION ALL SELECT x.kind || ' ' || x.name, pg_catalog.md5(x.facts::text) FROM (
    SELECT 'schema', n.nspname::text, pg_catalog.to_jsonb(n) FROM pg_catalog.pg_namespace AS n JOIN ours AS o ON o.oid = n.oid
    UNION ALL SELECT 'extension', e.extname, pg_catalog.to_jsonb(e) FROM pg_catalog.pg_extension AS e
    UNION ALL SELECT 'operator', p.oid::pg_catalog.regoperator::text, pg_catalog.to_jsonb(p)
        FROM pg_catalog.pg_operator AS p JOIN ours AS o ON o.oid = p.oprnamespace
    UNION ALL SELECT 'collation', k.oid::pg_catalog.regcollation::text, pg_catalog.to_jsonb(k)
        FROM pg_catalog.pg_collation AS k JOIN ours AS o ON o.oid = k.collnamespace
    UNION ALL SELECT 'cast', k.oid::text, pg_catalog.to_jsonb(k) FROM pg_catalog.pg_cast AS k WHERE k.oid >= 16384
    UNION ALL SELECT 'language', l.lanname, pg_catalog.to_jsonb(l) FROM pg_catalog.pg_language AS l
    UNION ALL SELECT 'server', s.srvname, pg_catalog.to_jsonb(s) FROM pg_catalog.pg_foreign_server AS s
    UNION ALL SELECT 'foreign-data wrapper', w.fdwname, pg_catalog.to_jsonb(w) FROM pg_catalog.pg_foreign_data_wrapper AS w
    UNION ALL SELECT 'text search configuration', k.oid::pg_catalog.regconfig::text, pg_catalog.to_jsonb(k)
        FROM pg_catalog.pg_ts_config AS k JOIN ours AS o ON o.oid = k.cfgnamespace
    UNION ALL SELECT 'text search dictionary', k.oid::pg_catalog.regdictionary::text, pg_catalog.to_jsonb(k)
        FROM pg_catalog.pg_ts_dict AS k JOIN ours AS o ON o.oid = k.dictnamespace
    UNION ALL SELECT 'default privileges', d.oid::text, pg_catalog.to_jsonb(d) FROM pg_catalog.pg_default_acl AS d
    UNION ALL SELECT 'event trigger', t.evtname, pg_catalog.to_jsonb(t) FROM pg_catalog.pg_event_trigger AS t
    UNION ALL SELECT 'publication', p.pubname, pg_catalog.to_jsonb(p) || pg_catalog.jsonb_build_object('tables', (
            SELECT pg_catalog.jsonb_agg(r.prrelid ORDER BY r.prrelid) FROM pg_catalog.pg_publication_rel AS r WHERE r.prpubid = p.oid))
        FROM pg_catalog.pg_publication AS p
    UNION ALL SELECT 'comment', pg_catalog.concat_ws('/', d.classoid::pg_catalog.regclass, d.objoid, d.objsubid),
        pg_catalog.to_jsonb(d.description)
        FROM pg_catalog.pg_description AS d WHERE d.objoid >= 16384 AND d.classoid <> 'pg_catalog.pg_class'::pg_catalog.regclass
) AS x (kind, name, facts)
