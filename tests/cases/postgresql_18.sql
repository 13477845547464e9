-- What PostgreSQL 18 brings; nothing happens on older servers.
DO $$ BEGIN CREATE ROLE scribe_case_erin; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE TABLE shout (id int PRIMARY KEY);
CREATE TABLE named_once (id int PRIMARY KEY, v int NOT NULL);
CREATE TABLE in_two (LIKE named_once);
CREATE TABLE parent_named (id int NOT NULL, v int NOT NULL) PARTITION BY LIST (id);
CREATE TABLE a_part PARTITION OF parent_named FOR VALUES IN (1);
-- after init
SELECT current_setting('server_version_num')::int >= 180000 AS modern \gset
\if :modern
-- rows of tables with virtual columns, which a publication bars from being told by all that they hold
CREATE TABLE v (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, gone int, n text, big text, d int GENERATED ALWAYS AS (id * 2) VIRTUAL,
    s text GENERATED ALWAYS AS (n || '!') STORED, m int NOT NULL DEFAULT 1);
CREATE TABLE refers (id int PRIMARY KEY REFERENCES v ON DELETE CASCADE ON UPDATE CASCADE);
INSERT INTO v (n, big) SELECT g::text, (SELECT string_agg(md5(g::text || i), '') FROM generate_series(1, 400) AS i) FROM generate_series(1, 20) AS g;
INSERT INTO refers SELECT id FROM v;
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO shout VALUES (random() * 1e9); RETURN NULL; END $$;
CREATE TRIGGER shouts AFTER INSERT OR UPDATE OR DELETE ON v FOR EACH ROW EXECUTE FUNCTION shout();
ALTER TABLE v ENABLE ALWAYS TRIGGER shouts;
CREATE RULE inserts AS ON INSERT TO v DO ALSO INSERT INTO shout VALUES (-1);
CREATE RULE deletes AS ON DELETE TO v DO INSTEAD NOTHING;
ALTER TABLE v DROP COLUMN gone;
ALTER TABLE v ADD COLUMN r float DEFAULT random();
ALTER TABLE v ALTER COLUMN m TYPE bigint USING m + (random() * 1000)::int;
ALTER TABLE v ALTER COLUMN d SET EXPRESSION AS (id * 5);
ALTER TABLE v ALTER COLUMN s SET EXPRESSION AS (n || '?');
DROP RULE deletes ON v;
UPDATE v SET n = n || 'x' WHERE id < 5;
DELETE FROM v WHERE id > 15;
-- the owner may do nothing with its own table, which hides rows from it
ALTER TABLE v OWNER TO scribe_case_erin;
REVOKE ALL ON v FROM scribe_case_erin;
ALTER TABLE v ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
GRANT CREATE ON SCHEMA public TO scribe_case_erin;
ALTER TABLE v ADD COLUMN u uuid DEFAULT uuidv7();
ALTER TABLE v OWNER TO postgres;
CREATE TABLE vp (id int, k text, d int GENERATED ALWAYS AS (id + 1), PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE vp_a PARTITION OF vp FOR VALUES IN ('a');
CREATE TABLE vp_b PARTITION OF vp DEFAULT;
INSERT INTO vp SELECT g, CASE g % 2 WHEN 0 THEN 'a' ELSE 'b' || g END FROM generate_series(1, 20) AS g;
ALTER TABLE vp ADD COLUMN r float DEFAULT random();
UPDATE vp SET k = 'a' WHERE id = 3;
-- constraints that older rows need not keep
ALTER TABLE v ADD COLUMN o text;
ALTER TABLE v ADD CONSTRAINT o_there NOT NULL o NOT VALID;
ALTER TABLE v ADD CONSTRAINT o_short CHECK (length(o) < 3 AND id > 3) NOT ENFORCED;
ALTER TABLE v ADD COLUMN w uuid DEFAULT gen_random_uuid();
UPDATE v SET o = 'long enough' WHERE id = 7;
-- keys with periods
CREATE TABLE held (id int4range, valid daterange, n text, PRIMARY KEY (id, valid WITHOUT OVERLAPS));
CREATE TABLE holds (id int4range, valid daterange, FOREIGN KEY (id, PERIOD valid) REFERENCES held);
INSERT INTO held VALUES ('[1,2)', '[2020-01-01,2021-01-01)', 'a'), ('[1,2)', '[2021-01-01,)', 'b');
INSERT INTO holds VALUES ('[1,2)', '[2020-06-01,2021-06-01)');
UPDATE held SET valid = '[2019-01-01,2021-01-01)' WHERE n = 'a' RETURNING old.valid, new.valid;
UPDATE held SET n = n || '!';
ALTER TABLE held ADD COLUMN r float DEFAULT random();
DELETE FROM holds;
DELETE FROM held WHERE n = 'b!';
\endif
