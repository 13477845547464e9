-- Statements of roles that may no longer do them, or only in this database.
DO $$ BEGIN CREATE ROLE scribe_case_erin; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN CREATE ROLE scribe_case_frank; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE TABLE t (id int PRIMARY KEY);
-- after init
COMMENT ON TABLE t IS 'the first DDL of the session loads the library';
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO scribe_case_erin', current_database()); END $$;
GRANT scribe_case_frank TO scribe_case_erin;
SET ROLE scribe_case_erin;
CREATE SCHEMA hers;
CREATE SCHEMA AUTHORIZATION scribe_case_frank;
CREATE SCHEMA with_elements CREATE TABLE inside (id int PRIMARY KEY);
CREATE TABLE hers.t (id int PRIMARY KEY);
CREATE PUBLICATION hers FOR TABLE hers.t;
SET search_path = "$user", hers;
COMMENT ON TABLE t IS 'hers';
CREATE TABLE gone (id int);
DROP TABLE gone;
GRANT ALL ON SCHEMA hers TO scribe_case_frank;
ALTER TABLE hers.t OWNER TO scribe_case_frank;
RESET ROLE;
REVOKE scribe_case_frank FROM scribe_case_erin;
CLUSTER hers.t USING t_pkey;
