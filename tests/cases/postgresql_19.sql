-- What PostgreSQL 19 brings; nothing happens on older servers.
DO $$ BEGIN CREATE ROLE scribe_case_carol; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN CREATE ROLE scribe_case_dave; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE TABLE packed (id int PRIMARY KEY, v int);
CREATE INDEX packed_v ON packed (v);
CREATE TABLE other (id int PRIMARY KEY);
CREATE EXTENSION postgres_fdw;
INSERT INTO packed SELECT g, -g FROM generate_series(1, 20) AS g;
-- after init
SELECT current_setting('server_version_num')::int >= 190000 AS modern \gset
\if :modern
-- no event trigger fires, and the index that orders the table is marked; only a session that has loaded the library sees it
CREATE TABLE first (id int PRIMARY KEY);
REPACK packed USING INDEX packed_v;
UPDATE packed SET v = 0 WHERE id = 1;
REPACK (CONCURRENTLY) packed USING INDEX packed_pkey;
UPDATE packed SET v = 1 WHERE id = 2;
REPACK other;
REPACK (ANALYZE) packed USING INDEX;
CLUSTER other USING other_pkey;
DO $$ BEGIN EXECUTE 'REPACK packed USING INDEX packed_v'; EXCEPTION WHEN OTHERS THEN NULL; END $$;
WAIT FOR LSN '0/1' WITH (MODE 'primary_flush');
INSERT INTO other VALUES (1);
-- publications
CREATE PUBLICATION sequences FOR ALL SEQUENCES;
CREATE PUBLICATION most FOR ALL TABLES EXCEPT (TABLE other), ALL SEQUENCES;
ALTER PUBLICATION most SET (publish = 'insert');
DELETE FROM packed WHERE id = 3;
-- subscriptions that name a server
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere.invalid', dbname 'x');
CREATE USER MAPPING FOR CURRENT_USER SERVER elsewhere OPTIONS (user 'u', password 'p');
CREATE SUBSCRIPTION scribe_case_served SERVER elsewhere PUBLICATION other
    WITH (connect = false, slot_name = NONE, enabled = false, password_required = false, run_as_owner = true);
ALTER SUBSCRIPTION scribe_case_served SET (synchronous_commit = 'local');
ALTER SUBSCRIPTION scribe_case_served SET PUBLICATION third WITH (refresh = false);
-- elements are made in the order in which they are written
CREATE SCHEMA furnished
    CREATE SEQUENCE numbers
    CREATE TABLE parent (id int PRIMARY KEY DEFAULT nextval('furnished.numbers'))
    CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent)
    CREATE VIEW both_ids AS SELECT p.id, c.id AS child FROM parent AS p JOIN child AS c ON c.parent = p.id
    CREATE INDEX child_parent ON child (parent)
    GRANT SELECT ON parent TO PUBLIC;
INSERT INTO furnished.parent VALUES (DEFAULT), (DEFAULT);
INSERT INTO furnished.child VALUES (1, 1);
-- grants in another role's name
GRANT SELECT ON packed TO scribe_case_carol WITH GRANT OPTION;
GRANT SELECT ON packed TO scribe_case_dave GRANTED BY scribe_case_carol;
GRANT SELECT ON other TO scribe_case_dave GRANTED BY CURRENT_USER;
-- statistics on expressions and columns
CREATE STATISTICS related (dependencies, ndistinct, mcv) ON id, v, (id % 3) FROM packed;
ANALYZE packed;
INSERT INTO packed VALUES (100, 100);
\endif
