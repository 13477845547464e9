-- extension: hll
CREATE EXTENSION hll;
CREATE TABLE keyed (id int PRIMARY KEY, u hll);
INSERT INTO keyed SELECT n, hll_add(hll_empty(), hll_hash_integer(n)) FROM generate_series(1, 20) AS n;
CREATE TABLE keyless AS SELECT u FROM keyed;
-- after init
UPDATE keyed SET u = hll_add(u, hll_hash_text('x')) WHERE id % 2 = 0;
UPDATE keyless SET u = hll_add(u, hll_hash_text('x')) WHERE u = (SELECT u FROM keyed WHERE id = 3);
DELETE FROM keyless WHERE u = (SELECT u FROM keyed WHERE id = 5);
INSERT INTO keyed SELECT 99, hll_add_agg(hll_hash_integer(n)) FROM generate_series(1, 3000) AS n;
