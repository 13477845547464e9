-- The life of the source that make.py archives: before the first base, in the stream, after the second base, at the end.
ALTER DATABASE kept SET statement_timeout = '1h';
COMMENT ON DATABASE kept IS 'kept for good';
CREATE SCHEMA shop AUTHORIZATION kept_owner;
SET ROLE kept_owner;
SET search_path = shop;
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE DOMAIN small AS int CHECK (VALUE BETWEEN 0 AND 100);
CREATE TABLE customers (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE, since date);
CREATE TABLE orders (
    id bigserial PRIMARY KEY,
    customer int REFERENCES customers ON DELETE CASCADE,
    shade colour,
    amount numeric(12, 3),
    twice numeric GENERATED ALWAYS AS (amount * 2) STORED,
    at timestamptz DEFAULT '2026-11-22 00:00+00'
);
CREATE INDEX orders_at ON orders (at DESC) WHERE shade = 'red';
COMMENT ON TABLE orders IS 'what was ordered';
COMMENT ON COLUMN orders.twice IS 'it''s twice';
GRANT SELECT, UPDATE (shade) ON orders TO kept_reader;
GRANT SELECT ON customers TO kept_reader;
CREATE TABLE log (at date, note text) PARTITION BY RANGE (at);
CREATE TABLE log_2025 PARTITION OF log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE log_2026 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE nokey (a int, b text, c json, d point);
CREATE VIEW reds AS SELECT id, amount FROM orders WHERE shade = 'red';
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.at := '2026-01-01'; RETURN NEW; END $$;
CREATE TRIGGER stamped BEFORE INSERT ON log_2026 FOR EACH ROW EXECUTE FUNCTION stamp();
INSERT INTO customers (name, since) SELECT 'customer ' || n, DATE '2020-01-01' + n FROM generate_series(1, 50) AS n;
INSERT INTO orders (customer, shade, amount) SELECT 1 + n % 50, 'red', n / 7.0 FROM generate_series(1, 200) AS n;
INSERT INTO log VALUES ('2025-03-04', 'old'), ('2026-03-04', 'new');
INSERT INTO nokey VALUES (1, NULL, '{"a": 1}', '(1,2)'), (1, NULL, '{"a": 1}', '(1,2)');
RESET ROLE;
CREATE TABLE shop.kinds (
    id int PRIMARY KEY, b bool, f float8, n numeric, t text, c char(5), y bytea, d date, ts timestamp, tz timestamptz,
    i interval, j jsonb, x xml, a int[], r int4range, u uuid, ip inet, bits bit varying, v tsvector, o shop.colour,
    s shop.small
);
SELECT lo_from_bytea(4711, '\x0102030405');
-- next: stream
SET search_path = shop;
INSERT INTO kinds VALUES
    (1, true, 'NaN', 'NaN', E'a\tb\nc\\d''e', 'abc', '\x00ff5c27', 'infinity', '-infinity', '2026-11-22 12:34:56.789+02',
     '1 mon -2 days 03:04:05.6', '{"k": [1, null, "\u00e4"]}', '<a>1</a>', '[0:1]={1,NULL}', '[1,5)',
     'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '10.0.0.0/8', B'10110', 'a:1 b:2', 'green', 7),
    (2, false, '-0', 1e-20, 'Ünïcödé \\. BEGIN; -- xid', '', '', '4713-01-01 BC', '2026-01-01', 'infinity', '0', 'null',
     NULL, '{}', 'empty', NULL, '::1', B'', '', 'red', 0),
    (3, NULL, 1.7976931348623157e308, 123456789012345678901234567890.123456789, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
UPDATE orders SET shade = 'green', amount = amount + 1 WHERE id % 10 = 0;
DELETE FROM orders WHERE id % 17 = 0;
UPDATE nokey SET b = 'x' WHERE ctid = (SELECT min(ctid) FROM nokey);
BEGIN;
INSERT INTO customers (name) VALUES ('rolled back in part');
SAVEPOINT s;
DELETE FROM customers;
ROLLBACK TO s;
ALTER TABLE customers ADD COLUMN email text DEFAULT 'none';
UPDATE customers SET email = 'x@example.org' WHERE id = 3;
COMMIT;
SET ROLE kept_owner;
CREATE TABLE made AS SELECT id, name FROM customers WHERE id < 10;
ALTER TABLE made ADD COLUMN at timestamptz DEFAULT clock_timestamp(), ADD PRIMARY KEY (id);
ALTER TYPE colour ADD VALUE 'blue' BEFORE 'green';
ALTER TABLE log ADD COLUMN more int;
INSERT INTO log VALUES ('2026-05-05', 'by trigger', 1);
CREATE TABLE log_2027 PARTITION OF log FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
INSERT INTO log VALUES ('2027-05-05', 'later', 2);
CREATE MATERIALIZED VIEW totals AS SELECT customer, sum(amount) AS sum FROM orders GROUP BY customer;
RESET ROLE;
SELECT lo_put(4711, 2, '\xff');
-- next: later
SET search_path = shop;
INSERT INTO orders (customer, shade, amount) SELECT 1 + n % 50, 'blue', n FROM generate_series(1, 100) AS n;
UPDATE customers SET name = upper(name) WHERE id BETWEEN 5 AND 25;
TRUNCATE made;
ALTER TABLE orders RENAME COLUMN amount TO price;
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON orders FOR SELECT TO kept_reader USING (true);
CREATE SEQUENCE free INCREMENT -3 MAXVALUE 100 CYCLE;
SELECT nextval('free'), nextval('free');
DROP VIEW reds;
DO $$ BEGIN EXECUTE 'CREATE TABLE by_do (n int)'; INSERT INTO by_do VALUES (1), (2); END $$;
ALTER TABLE log DETACH PARTITION log_2025;
CREATE PUBLICATION kept FOR TABLE orders;
-- next: end
SET search_path = shop;
DELETE FROM customers WHERE id = 7;
DROP TABLE by_do;
INSERT INTO nokey SELECT n, repeat('long ', 100) || n, '[]', '(0,0)' FROM generate_series(1, 20) AS n;
SELECT setval('free', 50, false);
