-- Rows that NOT VALID constraints let be are sent again, or filled, all the same.
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t VALUES (1, -1), (2, 2);
ALTER TABLE t ADD CONSTRAINT positive CHECK (v > 0) NOT VALID;
COMMENT ON CONSTRAINT positive ON t IS 'one day';
CREATE TABLE f (id int PRIMARY KEY, v int);
INSERT INTO f VALUES (1, -1), (2, 2);
ALTER TABLE f ADD CHECK (v > 0) NOT VALID;
-- after init
ALTER TABLE t ADD COLUMN r float8 DEFAULT random();
ALTER TABLE f ADD COLUMN at timestamptz DEFAULT now();
UPDATE t SET v = 5 WHERE id = 1;
ALTER TABLE t VALIDATE CONSTRAINT positive;
