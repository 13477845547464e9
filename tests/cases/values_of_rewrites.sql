-- What ALTER TABLE computed for existing rows comes from the source; nothing is computed again, nobody's trigger acts again.
CREATE TABLE log (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text);
CREATE FUNCTION noisy(what text) RETURNS text LANGUAGE plpgsql VOLATILE AS
  $$ BEGIN INSERT INTO log (what) VALUES (what); RETURN what || ' ' || random(); END $$;
CREATE FUNCTION once(v text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
  IF current_setting('application_name') <> 'psql' THEN RAISE EXCEPTION 'again'; END IF;
  INSERT INTO log (what) VALUES (v); RETURN length(v) + random() * 1000; END $$;
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TABLE child (w text) INHERITS (t);
CREATE TABLE grandchild (x text) INHERITS (child);
CREATE TABLE has_it_already (u text DEFAULT 'own') INHERITS (t);
INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 20) i;
INSERT INTO child SELECT i, 'c' || i FROM generate_series(21, 40) i;
INSERT INTO grandchild SELECT i, 'g' || i FROM generate_series(41, 60) i;
INSERT INTO has_it_already SELECT i, 'h' || i FROM generate_series(61, 80) i;
CREATE TABLE pt (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE pt1 PARTITION OF pt FOR VALUES FROM (0) TO (10);
CREATE TABLE pt2 PARTITION OF pt FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
CREATE TABLE pt2a PARTITION OF pt2 FOR VALUES FROM (10) TO (15);
CREATE TABLE pt2b PARTITION OF pt2 DEFAULT;
INSERT INTO pt SELECT i, 'p' || i FROM generate_series(1, 19) i;
-- triggers and rules that fire in a replica too
CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO log (what) VALUES (TG_TABLE_NAME || ' ' || TG_NAME || ' ' || TG_OP);
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  NEW.v := NEW.v || '+'; RETURN NEW; END $$;
CREATE FUNCTION deny() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'denied'; END $$;
CREATE TABLE always (id int PRIMARY KEY, v text);
INSERT INTO always SELECT i, 'a' || i FROM generate_series(1, 12) i;
CREATE TRIGGER before BEFORE INSERT OR UPDATE OR DELETE ON always FOR EACH ROW EXECUTE FUNCTION act();
CREATE TRIGGER after AFTER INSERT OR UPDATE OR DELETE ON always FOR EACH ROW EXECUTE FUNCTION act();
CREATE TRIGGER none BEFORE DELETE ON always FOR EACH STATEMENT EXECUTE FUNCTION deny();
ALTER TABLE always ENABLE ALWAYS TRIGGER before, ENABLE REPLICA TRIGGER after, ENABLE ALWAYS TRIGGER none;
CREATE TABLE ruled (id int PRIMARY KEY, v text);
INSERT INTO ruled VALUES (1, 'r');
CREATE RULE log AS ON DELETE TO ruled DO INSTEAD NOTHING;
ALTER TABLE ruled ENABLE ALWAYS RULE log;
CREATE TABLE referred (id int PRIMARY KEY, v text);
CREATE TABLE refers (id int PRIMARY KEY REFERENCES referred ON DELETE CASCADE);
INSERT INTO referred VALUES (1, 'a'), (2, 'b'); INSERT INTO refers VALUES (1), (2);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE typed OF pair (PRIMARY KEY (a));
CREATE TABLE typed_too OF pair (PRIMARY KEY (a));
INSERT INTO typed VALUES (1, 'x'), (2, 'y'); INSERT INTO typed_too VALUES (3, 'z');
CREATE TABLE odd (gone int, id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, g text GENERATED ALWAYS AS (v || '!') STORED, big text);
ALTER TABLE odd DROP COLUMN gone;
INSERT INTO odd (v, big) SELECT 'o' || i, (SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 300) j) FROM generate_series(1, 15) i;
CREATE TABLE none_left (id int PRIMARY KEY);
CREATE TABLE loose (v text); INSERT INTO loose SELECT 'same' FROM generate_series(1, 5);
CREATE TABLE stale (id int PRIMARY KEY, v text); INSERT INTO stale VALUES (1, 'no number');
CREATE TABLE floats (id int PRIMARY KEY, f float8, b bytea); INSERT INTO floats VALUES (1, 0.1::float8 + 0.2, '\x00ff');
-- after init
ALTER TABLE t ADD COLUMN u text DEFAULT noisy('default');
ALTER TABLE t ALTER COLUMN v TYPE int USING once(v);
ALTER TABLE pt ADD COLUMN u text DEFAULT noisy('partition'), ADD COLUMN at timestamptz DEFAULT now(), ALTER COLUMN v SET NOT NULL;
ALTER TABLE always ADD COLUMN r uuid DEFAULT gen_random_uuid();
ALTER TABLE always ADD COLUMN at timestamptz DEFAULT now();
ALTER TABLE always DISABLE TRIGGER before, DISABLE TRIGGER none, ADD COLUMN q uuid DEFAULT gen_random_uuid();
ALTER TABLE always ENABLE ALWAYS TRIGGER none;
ALTER TABLE ruled ADD COLUMN r uuid DEFAULT gen_random_uuid();
ALTER TABLE referred ADD COLUMN r uuid DEFAULT gen_random_uuid();
ALTER TYPE pair ALTER ATTRIBUTE a TYPE bigint CASCADE;
ALTER TABLE odd ADD COLUMN r float8 DEFAULT random(), ALTER COLUMN big TYPE varchar(30000);
ALTER TABLE none_left ADD COLUMN r float8 DEFAULT random();
ALTER TABLE loose ADD COLUMN r float8 DEFAULT random();
UPDATE loose SET v = 'other' WHERE r = (SELECT max(r) FROM loose);
SET extra_float_digits = -3; SET bytea_output = escape;
ALTER TABLE floats ALTER COLUMN f TYPE text, ALTER COLUMN b TYPE text USING b::text;
RESET extra_float_digits; RESET bytea_output;
-- several in one transaction, with what is rolled back and rows between
BEGIN;
ALTER TABLE loose ADD COLUMN s float8 DEFAULT random();
SAVEPOINT a; ALTER TABLE loose ADD COLUMN x float8 DEFAULT random(); INSERT INTO loose VALUES ('undone'); ROLLBACK TO a;
INSERT INTO loose VALUES ('between');
SAVEPOINT b; ALTER TABLE loose ADD COLUMN x uuid DEFAULT gen_random_uuid(); RELEASE b;
DELETE FROM loose WHERE v = 'same' AND r = (SELECT min(r) FROM loose WHERE v = 'same');
ALTER TABLE none_left ADD COLUMN s float8 DEFAULT random();
INSERT INTO none_left SELECT i FROM generate_series(1, 3) i;
ALTER TABLE none_left SET UNLOGGED;
ALTER TABLE none_left SET LOGGED;
COMMIT;
-- within a function, and within the statement that another one runs
CREATE FUNCTION alter_it() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  EXECUTE 'ALTER TABLE loose ADD COLUMN y float8 DEFAULT random()';
  ALTER TABLE referred ADD COLUMN y float8 DEFAULT random(); END $$;
SELECT alter_it();
DO $$ BEGIN ALTER TABLE loose ALTER COLUMN y TYPE text; END $$;
CREATE FUNCTION nested(int) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
  ALTER TABLE loose ADD COLUMN IF NOT EXISTS z uuid DEFAULT gen_random_uuid(); RETURN random() * 1000; END $$;
ALTER TABLE refers DROP CONSTRAINT refers_id_fkey;
ALTER TABLE refers ALTER COLUMN id TYPE bigint USING nested(id);
-- rows of an unlogged table are not known elsewhere: nothing may fail on those that stand there
ALTER TABLE stale SET UNLOGGED;
UPDATE stale SET v = '1';
ALTER TABLE stale ALTER COLUMN v TYPE int USING v::int;
ALTER TABLE stale SET LOGGED;
INSERT INTO stale VALUES (2, 2);
-- neither CLUSTER nor a materialized view sends rows
CREATE MATERIALIZED VIEW mv AS SELECT * FROM loose;
REFRESH MATERIALIZED VIEW mv;
BEGIN; INSERT INTO always (id, v) VALUES (100, 'x'); CLUSTER always USING always_pkey; ALTER TABLE always ADD COLUMN last float8 DEFAULT random(); COMMIT;
