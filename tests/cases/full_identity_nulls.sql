-- NULL in the replica identity (FULL): match with IS NULL.
CREATE TABLE t (a int, b text, c numeric);
INSERT INTO t SELECT i, CASE WHEN i % 3 = 0 THEN NULL ELSE 'b' || i END, CASE WHEN i % 4 = 0 THEN NULL ELSE i / 3.0 END FROM generate_series(1, 60) i;
-- after init
UPDATE t SET a = a + 100 WHERE b IS NULL;
UPDATE t SET b = NULL WHERE a BETWEEN 10 AND 20;
DELETE FROM t WHERE c IS NULL;
INSERT INTO t VALUES (NULL, NULL, NULL), (NULL, NULL, NULL), (1, NULL, NULL);
UPDATE t SET c = 0 WHERE a IS NULL AND ctid = (SELECT max(ctid) FROM t WHERE a IS NULL);
DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE a IS NULL AND c IS NULL);
