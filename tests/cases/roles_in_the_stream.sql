-- Roles made, used, renamed and dropped between two rotations, from this database and from another one.
DO $$
DECLARE
    role text;
BEGIN
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname ~ '^scribe_new_|^Scribe "' LOOP
        EXECUTE format('DROP ROLE %I', role);
    END LOOP;
END $$;
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TABLE u (id int PRIMARY KEY, v text);
CREATE ROLE scribe_new_swap_a;
CREATE ROLE scribe_new_swap_b;
CREATE ROLE scribe_new_dora;
GRANT SELECT ON t TO scribe_new_swap_a;
GRANT SELECT, UPDATE (v) ON u TO scribe_new_swap_b;
GRANT SELECT (id) ON t TO scribe_new_dora;
CREATE TABLE of_swap_a (id int PRIMARY KEY);
ALTER TABLE of_swap_a OWNER TO scribe_new_swap_a;
CREATE TABLE of_dora (id int PRIMARY KEY);
ALTER TABLE of_dora OWNER TO scribe_new_dora;
-- after init
CREATE ROLE scribe_new_anna LOGIN PASSWORD 'secret' VALID UNTIL '2030-01-01 00:00:00+00';
GRANT SELECT ON t TO scribe_new_anna;
CREATE SCHEMA annas AUTHORIZATION scribe_new_anna;
SET ROLE scribe_new_anna;
CREATE TABLE annas.t (id int PRIMARY KEY);
INSERT INTO annas.t VALUES (1);
RESET ROLE;
CREATE FOREIGN DATA WRAPPER wrapper;
CREATE SERVER served FOREIGN DATA WRAPPER wrapper;
GRANT USAGE ON FOREIGN SERVER served TO scribe_new_anna;
SET ROLE scribe_new_anna;
CREATE USER MAPPING FOR current_user SERVER served;
DROP USER MAPPING FOR current_user SERVER served;
RESET ROLE;
-- within one transaction, in several states
BEGIN;
CREATE ROLE scribe_new_group;
CREATE ROLE scribe_new_bert;
GRANT UPDATE ON t TO scribe_new_bert;
INSERT INTO t VALUES (1, 'between');
ALTER ROLE scribe_new_bert RENAME TO scribe_new_cleo;
GRANT DELETE ON t TO scribe_new_cleo;
GRANT scribe_new_group TO scribe_new_cleo WITH ADMIN OPTION;
ALTER ROLE scribe_new_cleo SET work_mem = '1MB';
ALTER ROLE scribe_new_cleo SET search_path = "$user", annas;
COMMENT ON ROLE scribe_new_cleo IS 'was bert, it''s \ said';
COMMIT;
CREATE SCHEMA groups AUTHORIZATION scribe_new_group;
SET ROLE scribe_new_cleo;
CREATE VIEW pg_temp.nothing AS SELECT 1;
SET ROLE scribe_new_group;
CREATE TABLE groups.t (id int PRIMARY KEY);
RESET ROLE;
-- owner and privileges go along, in their order
ALTER ROLE scribe_new_anna RENAME TO scribe_new_anna2;
GRANT INSERT ON t TO scribe_new_anna2;
CREATE ROLE scribe_new_anna;
GRANT TRUNCATE ON t TO scribe_new_anna;
ALTER DEFAULT PRIVILEGES FOR ROLE scribe_new_anna2 IN SCHEMA annas GRANT SELECT ON TABLES TO scribe_new_anna;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON t TO scribe_new_dora, scribe_new_anna USING (true);
-- two names change hands
BEGIN;
ALTER ROLE scribe_new_swap_a RENAME TO scribe_new_swapping;
ALTER ROLE scribe_new_swap_b RENAME TO scribe_new_swap_a;
ALTER ROLE scribe_new_swapping RENAME TO scribe_new_swap_b;
INSERT INTO t VALUES (2, 'swapped');
COMMIT;
GRANT INSERT ON t TO scribe_new_swap_a;
-- one of the base's is renamed, another takes its name
ALTER ROLE scribe_new_dora RENAME TO scribe_new_dora2;
CREATE ROLE scribe_new_dora;
GRANT UPDATE ON of_dora TO scribe_new_dora;
DROP OWNED BY scribe_new_dora;
DROP ROLE scribe_new_dora;
ALTER ROLE scribe_new_dora2 RENAME TO scribe_new_dora;
-- a name that could forge
CREATE ROLE "Scribe ""$scribe$"" \ new";
CREATE TABLE strange (id int PRIMARY KEY);
ALTER TABLE strange OWNER TO "Scribe ""$scribe$"" \ new";
COMMENT ON ROLE "Scribe ""$scribe$"" \ new" IS 'COMMIT; -- end 0/0';
-- and they go again
DROP OWNED BY scribe_new_cleo;
DROP ROLE scribe_new_cleo;
DROP TABLE groups.t;
DROP SCHEMA groups;
DROP ROLE scribe_new_group;
-- what only the database's new owner may do
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO scribe_new_anna2', current_database()); END $$;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = "$user", annas', current_database()); END $$;
DO $$ BEGIN EXECUTE format('COMMENT ON DATABASE %I IS ''hers, it''''s %% \ said''', current_database()); END $$;
SET ROLE scribe_new_anna2;
CREATE SCHEMA of_the_owner CREATE TABLE t (id int PRIMARY KEY);
RESET ROLE;
