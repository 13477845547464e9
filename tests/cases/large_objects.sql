-- Large objects: changes between bases are captured at rotation.
DO $$ BEGIN CREATE ROLE scribe_case_erin; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
SELECT lo_from_bytea(90001, 'first');
SELECT lo_from_bytea(90002, 'second');
SELECT lo_from_bytea(90004, decode(repeat('ab', 300000), 'hex'));
SELECT lo_from_bytea(90005, 'unchanged');
-- after init
SELECT lo_put(90001, 2, 'XX');
SELECT lo_unlink(90002);
SELECT lo_from_bytea(90003, decode(repeat('00ff', 100000), 'hex'));
COMMENT ON LARGE OBJECT 90003 IS E'third\n\\! echo no';
ALTER LARGE OBJECT 90003 OWNER TO scribe_case_erin;
GRANT SELECT ON LARGE OBJECT 90001 TO scribe_case_erin;
BEGIN; SELECT lo_truncate(lo_open(90004, 131072), 4096); COMMIT;
SELECT lo_create(90006);
