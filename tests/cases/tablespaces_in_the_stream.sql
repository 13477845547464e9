-- Tablespaces made, used, renamed and dropped between two rotations.
SET allow_in_place_tablespaces = on;
SELECT format('DROP TABLESPACE %I', spcname) FROM pg_tablespace WHERE spcname ~ '^scribe_new_|^Scribe "' \gexec
DO $$ BEGIN CREATE ROLE scribe_space_owner; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE TABLE t (id int PRIMARY KEY, v text);
-- after init
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE scribe_new_passing LOCATION '';
CREATE TABLE passing (id int PRIMARY KEY) TABLESPACE scribe_new_passing;
INSERT INTO passing VALUES (1);
ALTER TABLE passing SET TABLESPACE pg_default;
DROP TABLESPACE scribe_new_passing;
CREATE TABLESPACE scribe_new_one LOCATION '';
CREATE TABLESPACE scribe_new_granted LOCATION '';
GRANT CREATE ON TABLESPACE scribe_new_granted TO scribe_space_owner;
GRANT CREATE ON SCHEMA public TO scribe_space_owner;
SET ROLE scribe_space_owner;
CREATE TABLE granted (id int PRIMARY KEY) TABLESPACE scribe_new_granted;
RESET ROLE;
DROP TABLE granted;
DROP TABLESPACE scribe_new_granted;
CREATE TABLE of_one (id int PRIMARY KEY USING INDEX TABLESPACE scribe_new_one, v text) TABLESPACE scribe_new_one;
INSERT INTO of_one SELECT i, 'x' FROM generate_series(1, 50) AS i;
CREATE MATERIALIZED VIEW m TABLESPACE scribe_new_one AS SELECT 1 AS a;
CREATE TABLE parted (id int) PARTITION BY LIST (id) TABLESPACE scribe_new_one;
ALTER TABLESPACE scribe_new_one RENAME TO "Scribe ""\ new";
BEGIN;
INSERT INTO t VALUES (1, 'one');
COMMENT ON TABLESPACE "Scribe ""\ new" IS 'renamed';
ALTER TABLESPACE "Scribe ""\ new" SET (random_page_cost = 2);
CREATE TABLE after_it (id int PRIMARY KEY) TABLESPACE "Scribe ""\ new";
COMMIT;
CREATE TABLESPACE scribe_new_one LOCATION '' WITH (seq_page_cost = 3);
CREATE INDEX ON t (v) TABLESPACE scribe_new_one;
SET default_tablespace = scribe_new_one;
CREATE TABLE by_default (id int PRIMARY KEY);
RESET default_tablespace;
