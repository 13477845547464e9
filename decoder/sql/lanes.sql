-- Rows that alternate between tables: one statement for each table where the order between them is free.
\set VERBOSITY terse
\pset format unaligned
\pset tuples_only on
SELECT 'slot' FROM pg_create_logical_replication_slot('lanes', 'scribe_decoder');
CREATE VIEW stream AS SELECT data FROM pg_logical_slot_get_changes('lanes', NULL, NULL, 'include-position', 'off');

CREATE TABLE orders (id int PRIMARY KEY, total int CHECK (total >= 0));
CREATE TABLE items (id int PRIMARY KEY, orders int REFERENCES orders, n int);
CREATE TABLE audit (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text);
CREATE TABLE named (id int PRIMARY KEY, name text UNIQUE);
CREATE FUNCTION orders_exist(int) RETURNS bool LANGUAGE sql STABLE AS 'SELECT EXISTS (SELECT FROM public.orders WHERE id = $1)';
CREATE DOMAIN orders_id AS int CHECK (orders_exist(VALUE));
CREATE TABLE strict (id int PRIMARY KEY, orders int CHECK (orders_exist(orders)));
CREATE TABLE strict_domain (id int PRIMARY KEY, orders orders_id);
CREATE TABLE parted (id int, day int) PARTITION BY LIST (day);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);
SELECT * FROM stream;

-- a table and its items
DO $$ BEGIN
  FOR i IN 1..3 LOOP
    INSERT INTO orders VALUES (i, 0);
    INSERT INTO items VALUES (2 * i, i, 1), (2 * i + 1, i, 2);
    UPDATE orders SET total = 3 WHERE id = i;
  END LOOP;
END $$;
SELECT * FROM stream;

-- an audit of what a loop changes; single statements have their place in a lane too
INSERT INTO named VALUES (1, 'a'), (2, 'b');
DO $$ BEGIN
  FOR i IN 1..2 LOOP
    UPDATE named SET name = name || i WHERE id = i;
    INSERT INTO audit (what) VALUES ('name ' || i);
    DELETE FROM items WHERE orders = i;
    UPDATE orders SET total = 0 WHERE id = i;
  END LOOP;
END $$;
SELECT * FROM stream;

-- long runs become COPY
INSERT INTO parted SELECT i, 1 + i % 2 FROM generate_series(1, 20) i;
SELECT * FROM stream;

-- what is not a row ends every lane
BEGIN;
INSERT INTO orders VALUES (10, 1);
INSERT INTO audit (what) VALUES ('ten');
INSERT INTO orders VALUES (11, 1);
TRUNCATE parted_1;
INSERT INTO audit (what) VALUES ('eleven');
INSERT INTO orders VALUES (12, 1);
COMMIT;
SELECT * FROM stream;

-- a constraint that looks at another table keeps the order
BEGIN;
INSERT INTO orders VALUES (20, 1);
INSERT INTO strict VALUES (1, 20);
INSERT INTO audit (what) VALUES ('before');
INSERT INTO strict_domain VALUES (1, 20);
INSERT INTO orders VALUES (21, 1);
INSERT INTO strict VALUES (2, 21);
INSERT INTO strict_domain VALUES (2, 21);
COMMIT;
SELECT * FROM stream;

SELECT 'dropped' FROM pg_drop_replication_slot('lanes');
DROP VIEW stream;
DROP TABLE strict, strict_domain, items, orders, audit, named, parted;
DROP DOMAIN orders_id;
DROP FUNCTION orders_exist;
