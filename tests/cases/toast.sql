-- Unchanged TOAST values; an UPDATE in which nothing else changed.
CREATE TABLE t (id int PRIMARY KEY, v int, big text, blob bytea);
CREATE TABLE only_big (k int PRIMARY KEY, big text);
CREATE TABLE f (v int, big text);
ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL;
CREATE FUNCTION big(seed int) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(md5(seed::text || i), '') FROM generate_series(1, 300) i $$;
INSERT INTO t SELECT i, i, big(i), decode(big(i), 'hex') FROM generate_series(1, 10) i;
INSERT INTO only_big SELECT i, big(i) FROM generate_series(1, 5) i;
INSERT INTO f SELECT i, big(i) FROM generate_series(1, 5) i;
INSERT INTO f SELECT i, big(i) FROM generate_series(1, 5) i;
-- after init
UPDATE t SET v = v + 1;
UPDATE t SET big = big WHERE id = 1;
UPDATE t SET id = id + 100 WHERE id = 2;
UPDATE t SET big = big(99) WHERE id = 3;
UPDATE t SET big = NULL WHERE id = 4;
UPDATE only_big SET big = big;
UPDATE only_big SET k = 77 WHERE k = 1;
UPDATE f SET v = 9 WHERE ctid = (SELECT min(ctid) FROM f WHERE v = 2);
DELETE FROM f WHERE ctid = (SELECT max(ctid) FROM f WHERE v = 3);
INSERT INTO t SELECT i, i, big(i), decode(big(i), 'hex') FROM generate_series(200, 220) i;
DELETE FROM t WHERE id = 5;
-- when this is decoded, what did not change is in no file any more
BEGIN; UPDATE t SET v = v + 1; UPDATE f SET v = v + 1 WHERE v > 3; UPDATE only_big SET big = big; TRUNCATE t, f, only_big; COMMIT;
