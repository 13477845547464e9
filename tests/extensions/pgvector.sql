-- extension: vector
CREATE EXTENSION vector;
CREATE TABLE keyed (id int PRIMARY KEY, v vector(3), h halfvec(3), s sparsevec(5));
INSERT INTO keyed SELECT n, ARRAY[n, n / 3.0, -n]::real[]::vector, ARRAY[n, 1, 2]::real[]::halfvec, '{1:1.5,3:2}/5' FROM generate_series(1, 50) AS n;
CREATE TABLE keyless AS SELECT v FROM keyed;
CREATE INDEX ON keyed USING hnsw (v vector_l2_ops);
-- after init
UPDATE keyed SET v = '[0.1,0.2,0.3]' WHERE id < 4;
DELETE FROM keyless WHERE v <-> '[1,0,0]' < 2;
UPDATE keyless SET v = '[1,2,3]' WHERE v = '[9,3,-9]';
CREATE INDEX ON keyed USING ivfflat (h halfvec_l2_ops) WITH (lists = 2);
ALTER TABLE keyed ALTER COLUMN v TYPE vector;
