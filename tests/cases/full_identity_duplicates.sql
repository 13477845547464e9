-- Duplicate rows under FULL: change exactly one.
CREATE TABLE t (a int, b text);
INSERT INTO t SELECT 1, 'same' FROM generate_series(1, 10);
-- after init
DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t);
UPDATE t SET b = 'changed' WHERE ctid = (SELECT max(ctid) FROM t);
BEGIN;
INSERT INTO t SELECT 2, NULL FROM generate_series(1, 5);
DELETE FROM t WHERE ctid IN (SELECT ctid FROM t WHERE a = 2 LIMIT 3);
UPDATE t SET a = 3 WHERE ctid IN (SELECT ctid FROM t WHERE a = 1 ORDER BY ctid LIMIT 4);
COMMIT;
-- equal but not identical: numeric scale, negative zero, intervals, blank-padded text
CREATE TABLE n (v numeric, f float8, i interval, c char(5));
INSERT INTO n VALUES (1.0, 0, '1 day', 'a'), (1.00, '-0', '24:00', 'a'), (1.000, 0, '1 day', 'a');
DELETE FROM n WHERE v::text = '1.00';
UPDATE n SET i = '2 days' WHERE v::text = '1.000';
