-- Large objects: changes between bases are captured at rotation.
DO $$ BEGIN CREATE ROLE scribe_case_erin; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
SELECT lo_from_bytea(90001, 'first');
SELECT lo_from_bytea(90002, 'second');
SELECT lo_from_bytea(90004, decode(repeat('ab', 300000), 'hex'));
SELECT lo_from_bytea(90005, 'unchanged');
-- 19 bars line breaks from the names of roles
SELECT current_setting('server_version_num')::int < 190000 AS older \gset
\if :older
\set similar 'scribe_case_erin\n'
\set strange 'a\\\n-- mark x\nb'
\else
\set similar 'scribe_case_erin '
\set strange 'a\\-- mark x b'
\endif
SELECT format('CREATE ROLE %I', name) FROM unnest(ARRAY['user', 'select', :'similar', :'strange']) AS name
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
-- after init
SELECT lo_put(90001, 2, 'XX');
SELECT lo_unlink(90002);
SELECT lo_from_bytea(90003, decode(repeat('00ff', 100000), 'hex'));
COMMENT ON LARGE OBJECT 90003 IS E'third\n\\! echo no';
ALTER LARGE OBJECT 90003 OWNER TO scribe_case_erin;
GRANT SELECT ON LARGE OBJECT 90001 TO scribe_case_erin;
BEGIN; SELECT lo_truncate(lo_open(90004, 131072), 4096); COMMIT;
SELECT lo_create(90006);
SELECT lo_from_bytea(90007, 'owned'), lo_from_bytea(90008, 'owned'), lo_from_bytea(90009, 'owned');
ALTER LARGE OBJECT 90007 OWNER TO "user";
SELECT rolname AS similar FROM pg_roles WHERE rolname IN (E'scribe_case_erin\n', 'scribe_case_erin ') \gset
SELECT rolname AS strange FROM pg_roles WHERE rolname IN (E'a\\\n-- mark x\nb', 'a\-- mark x b') \gset
ALTER LARGE OBJECT 90008 OWNER TO :"similar";
ALTER LARGE OBJECT 90009 OWNER TO :"strange";
GRANT SELECT ON LARGE OBJECT 90007 TO "select", :"similar" WITH GRANT OPTION;
