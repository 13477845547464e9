-- How rows are found again.
\set VERBOSITY terse
\pset format unaligned
\pset tuples_only on
SELECT 'slot' FROM pg_create_logical_replication_slot('identity', 'scribe_decoder');
CREATE VIEW stream AS SELECT data FROM pg_logical_slot_get_changes('identity', NULL, NULL, 'include-position', 'off');

-- the image of the row
CREATE TABLE log (a int, b json, c varchar(5));
ALTER TABLE log REPLICA IDENTITY FULL;
INSERT INTO log VALUES (1, '{}', 'x'), (1, '{}', 'x'), (NULL, NULL, NULL);
UPDATE log SET c = 'y' WHERE ctid = '(0,1)';
UPDATE log SET a = a;
DELETE FROM log WHERE a IS NULL;
SELECT * FROM stream;

-- an index helps to find it
CREATE TABLE indexed (id int PRIMARY KEY, c cidr, t text);
CREATE INDEX ON indexed (c);
CREATE INDEX ON indexed (t) WHERE id > 0;
ALTER TABLE indexed REPLICA IDENTITY FULL;
INSERT INTO indexed VALUES (1, '10.0.0.0/8', 't'), (2, NULL, NULL);
DELETE FROM indexed;
SELECT * FROM stream;

-- types whose literal needs its type
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN short AS varchar(5);
CREATE TABLE moods (id mood PRIMARY KEY, v mood);
CREATE TABLE shorts (id short PRIMARY KEY, v int);
CREATE TABLE regs (id regtype PRIMARY KEY, v int);
INSERT INTO moods VALUES ('sad', 'ok'), ('ok', NULL);
UPDATE moods SET v = 'sad';
DELETE FROM moods WHERE id = 'sad';
INSERT INTO shorts VALUES ('a', 1), ('b', 2);
UPDATE shorts SET v = 3;
DELETE FROM shorts;
INSERT INTO regs VALUES ('int4', 1), ('text', 2);
UPDATE regs SET v = 3 WHERE id = 'int4'::regtype;
DELETE FROM regs;
SELECT * FROM stream;

-- no identity, or one that is gone: said, once for each transaction
CREATE TABLE nokey (a int, b int);
CREATE TABLE nothing (a int PRIMARY KEY, b int);
ALTER TABLE nothing REPLICA IDENTITY NOTHING;
CREATE TABLE lost (a int PRIMARY KEY, b int);
ALTER TABLE lost REPLICA IDENTITY USING INDEX lost_pkey;
INSERT INTO nokey VALUES (1, 1), (2, 2);
INSERT INTO nothing VALUES (1, 1);
INSERT INTO lost VALUES (1, 1);
ALTER TABLE lost DROP CONSTRAINT lost_pkey;
SELECT * FROM stream;
UPDATE nokey SET b = 3;
DELETE FROM nokey;
DELETE FROM nothing;
UPDATE lost SET b = 2;
DELETE FROM lost;
SELECT * FROM stream;

-- an index whose collation is not the column's
CREATE TABLE coll (id text COLLATE "C" NOT NULL, v int);
CREATE UNIQUE INDEX coll_id ON coll (id COLLATE "POSIX");
ALTER TABLE coll REPLICA IDENTITY USING INDEX coll_id;
INSERT INTO coll VALUES ('a', 1), ('b', 2);
UPDATE coll SET v = 3;
DELETE FROM coll;
SELECT * FROM stream;

-- triggers and rules that fire on replay
CREATE TABLE trig (id int PRIMARY KEY);
CREATE FUNCTION trigf() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER up BEFORE INSERT ON trig FOR EACH ROW EXECUTE FUNCTION trigf();
CREATE TRIGGER off BEFORE INSERT ON trig FOR EACH ROW EXECUTE FUNCTION trigf();
ALTER TABLE trig ENABLE ALWAYS TRIGGER up;
CREATE RULE r AS ON INSERT TO trig DO ALSO NOTHING;
ALTER TABLE trig ENABLE REPLICA RULE r;
INSERT INTO trig VALUES (1), (2);
TRUNCATE trig;
SELECT * FROM stream;

SELECT 'dropped' FROM pg_drop_replication_slot('identity');
DROP VIEW stream;
DROP TABLE log, indexed, moods, shorts, regs, nokey, nothing, lost, coll, trig;
DROP FUNCTION trigf;
DROP TYPE mood;
DROP DOMAIN short;
