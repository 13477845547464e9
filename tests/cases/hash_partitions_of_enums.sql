-- Hash partitions of enums: the hash is of a label's OID, so rows lie in other partitions of a copy.
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'odd', 'even', 'calm', 'wild');
CREATE TYPE pair AS (m mood, n int);
CREATE TYPE mood_range AS RANGE (subtype = mood);
CREATE TABLE keyed (m mood, id int, v text, PRIMARY KEY (m, id)) PARTITION BY HASH (m);
CREATE TABLE keyed_0 PARTITION OF keyed FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE keyed_1 (v text, gone int, id int NOT NULL, m mood NOT NULL);
ALTER TABLE keyed_1 DROP COLUMN gone;
ALTER TABLE keyed ATTACH PARTITION keyed_1 FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE keyed_2 PARTITION OF keyed FOR VALUES WITH (MODULUS 3, REMAINDER 2) PARTITION BY LIST (m);
CREATE TABLE keyed_2_def PARTITION OF keyed_2 DEFAULT;
INSERT INTO keyed SELECT m, i, 'before' FROM unnest(enum_range(NULL::mood)) m, generate_series(1, 30) i;
-- lists, and then ranges, above and below
CREATE TABLE top (region text, m mood, at int, v text) PARTITION BY LIST (region);
CREATE TABLE top_eu PARTITION OF top FOR VALUES IN ('eu') PARTITION BY HASH (m);
CREATE TABLE top_us PARTITION OF top FOR VALUES IN ('us');
CREATE TABLE top_eu_0 PARTITION OF top_eu FOR VALUES WITH (MODULUS 2, REMAINDER 0) PARTITION BY RANGE (at);
CREATE TABLE top_eu_0_a PARTITION OF top_eu_0 FOR VALUES FROM (0) TO (10);
CREATE TABLE top_eu_0_b PARTITION OF top_eu_0 DEFAULT;
CREATE TABLE top_eu_1 PARTITION OF top_eu FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO top SELECT r, m, i, 'before' FROM unnest(ARRAY['eu', 'us']) r, unnest(enum_range(NULL::mood)) m, generate_series(1, 20) i;
-- arrays, rows, ranges, and names of tables
CREATE TABLE arrays (k mood[], id int GENERATED ALWAYS AS IDENTITY) PARTITION BY HASH (k);
CREATE TABLE arrays_0 PARTITION OF arrays FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE arrays_1 PARTITION OF arrays FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO arrays (k) SELECT ARRAY[a, b] FROM unnest(enum_range(NULL::mood)) a, unnest(enum_range(NULL::mood)) b;
CREATE TABLE ranges (k mood_range, v int) PARTITION BY HASH (k);
CREATE TABLE ranges_0 PARTITION OF ranges FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE ranges_1 PARTITION OF ranges FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO ranges SELECT mood_range(a, NULL), 1 FROM unnest(enum_range(NULL::mood)) a;
CREATE TABLE names (k regclass, v int, PRIMARY KEY (k)) PARTITION BY HASH (k);
CREATE TABLE names_0 PARTITION OF names FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE names_1 PARTITION OF names FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO names SELECT c, 1 FROM unnest('{keyed,keyed_0,keyed_1,keyed_2,top,top_eu,top_us,arrays,ranges}'::regclass[]) c;
-- what must not act a second time, wherever a row lands
CREATE TABLE acted (what text);
CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.acted VALUES (tg_table_name || ' ' || tg_op); RETURN NEW; END $$;
CREATE TRIGGER one_leaf BEFORE INSERT OR UPDATE ON keyed_0 FOR EACH ROW EXECUTE FUNCTION act();
ALTER TABLE keyed_0 ENABLE ALWAYS TRIGGER one_leaf;
CREATE TRIGGER whole AFTER INSERT OR UPDATE OR DELETE ON keyed FOR EACH STATEMENT EXECUTE FUNCTION act();
ALTER TABLE keyed ENABLE REPLICA TRIGGER whole;
CREATE TRIGGER each BEFORE INSERT OR UPDATE ON keyed FOR EACH ROW EXECUTE FUNCTION act();
ALTER TABLE keyed ENABLE ALWAYS TRIGGER each;
ALTER TABLE keyed_1 ENABLE TRIGGER each;
-- after init
INSERT INTO keyed SELECT m, i, 'streamed' FROM unnest(enum_range(NULL::mood)) m, generate_series(31, 60) i;
UPDATE keyed SET v = 'changed' WHERE id % 3 = 0;
UPDATE keyed SET v = 'alone' WHERE id = 1 AND m = 'sad';
UPDATE keyed_1 SET v = v || ' in one';
-- from partition to partition
UPDATE keyed SET m = 'wild', id = id + 1000 * array_position(enum_range(NULL::mood), m) WHERE m IN ('sad', 'ok', 'happy') AND id < 10;
UPDATE keyed SET m = 'sad', id = id + 5000 WHERE m = 'wild' AND id > 1000;
DELETE FROM keyed WHERE id % 5 = 0;
DELETE FROM keyed WHERE m = 'odd' AND id = 1;
BEGIN;
INSERT INTO keyed VALUES ('calm', 2000, 'a'), ('wild', 2000, 'b'), ('sad', 2000, 'c');
ALTER TYPE mood RENAME VALUE 'odd' TO 'strange';
INSERT INTO keyed VALUES ('strange', 2000, 'd');
DELETE FROM keyed WHERE id = 2000 AND m = 'calm';
COMMIT;
-- a label added later
ALTER TYPE mood ADD VALUE 'new' BEFORE 'ok';
INSERT INTO keyed SELECT 'new', i, 'label' FROM generate_series(1, 20) i;
UPDATE keyed SET v = 'label again' WHERE m = 'new' AND id < 5;
-- no key, equal rows
INSERT INTO top SELECT r, m, i % 4 * 5, 'streamed' FROM unnest(ARRAY['eu', 'us']) r, unnest(enum_range(NULL::mood)) m, generate_series(1, 40) i;
UPDATE top SET v = NULL WHERE ctid IN (SELECT ctid FROM top WHERE at = 5 LIMIT 7);
UPDATE top SET m = 'new' WHERE m = 'calm' AND at < 10;
UPDATE top SET at = at + 100 WHERE m = 'sad';
DELETE FROM top WHERE m = 'wild' AND at = 10;
DELETE FROM top_eu_1 WHERE at = 15;
DELETE FROM top WHERE (tableoid, ctid) = (SELECT tableoid, ctid FROM top WHERE at = 0 AND region = 'eu' LIMIT 1);
UPDATE top SET region = 'us' WHERE region = 'eu' AND m = 'new';
INSERT INTO arrays (k) SELECT ARRAY[a] FROM unnest(enum_range(NULL::mood)) a;
UPDATE arrays SET k = k || 'new'::mood WHERE id % 2 = 0;
UPDATE arrays SET id = DEFAULT WHERE id % 7 = 0;
DELETE FROM arrays WHERE id % 3 = 0;
INSERT INTO ranges SELECT mood_range(NULL, a), 2 FROM unnest(enum_range(NULL::mood)) a;
UPDATE ranges SET v = 3 WHERE lower(k) > 'ok';
DELETE FROM ranges WHERE v = 2 AND upper(k) > 'happy';
INSERT INTO names VALUES ('acted', 2);
UPDATE names SET v = 5 WHERE k <> 'keyed'::regclass;
DELETE FROM names WHERE k = 'top'::regclass;
-- made, rewritten and emptied as a whole
ALTER TABLE keyed ADD COLUMN r text DEFAULT random()::text;
ALTER TABLE top ALTER COLUMN v TYPE bytea USING convert_to(v, 'utf8');
CREATE TABLE late (m mood, v int) PARTITION BY HASH (m);
CREATE TABLE late_0 PARTITION OF late FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE late_1 AS SELECT m, 1 AS v FROM unnest(enum_range(NULL::mood)) m WHERE false;
ALTER TABLE late ATTACH PARTITION late_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO late SELECT m, 1 FROM unnest(enum_range(NULL::mood)) m;
INSERT INTO late SELECT m, 2 FROM unnest(enum_range(NULL::mood)) m;
UPDATE late SET v = 3 WHERE v = 1;
ALTER TABLE late ADD PRIMARY KEY (m, v);
UPDATE late SET v = 4 WHERE m = 'sad' AND v = 2;
DELETE FROM late WHERE m = 'new';
CREATE SCHEMA other;
ALTER TABLE late SET SCHEMA other;
ALTER TABLE keyed RENAME TO keyed_again;
INSERT INTO other.late VALUES ('sad', 10);
INSERT INTO keyed_again VALUES ('sad', 99999, 'x');
ALTER TABLE keyed_2_def ENABLE TRIGGER ALL;
TRUNCATE ranges;
INSERT INTO ranges VALUES ('[sad,happy)', 9);
