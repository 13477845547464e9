-- Rows of several tables in turn: written table by table, except where a constraint looks at another table.
CREATE TABLE orders (id int PRIMARY KEY, total int CHECK (total >= 0));
CREATE TABLE items (id int PRIMARY KEY, orders int REFERENCES orders ON DELETE CASCADE, note text);
CREATE TABLE audit (at int GENERATED ALWAYS AS IDENTITY, what text, was jsonb);
CREATE TABLE users (id int PRIMARY KEY, name text UNIQUE DEFERRABLE);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO audit (what, was) VALUES (TG_OP || ' ' || TG_TABLE_NAME, to_jsonb(OLD)); RETURN NULL; END $$;
CREATE TRIGGER note AFTER UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER note AFTER UPDATE OR DELETE ON items FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER note AFTER UPDATE OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE users ENABLE ALWAYS TRIGGER note;
CREATE FUNCTION order_exists(int) RETURNS bool LANGUAGE sql STABLE AS 'SELECT EXISTS (SELECT FROM public.orders WHERE id = $1)';
CREATE FUNCTION order_total(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT total FROM public.orders WHERE id = $1';
CREATE DOMAIN order_id AS int CHECK (order_exists(VALUE));
CREATE TABLE checked (id int PRIMARY KEY, orders int CHECK (order_exists(orders)));
CREATE TABLE checked_by_domain (id int PRIMARY KEY, orders order_id[]);
CREATE TABLE parted (id int, day int, v text) PARTITION BY LIST (day);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);
CREATE TABLE wide (id int PRIMARY KEY, v text);
-- after init
CREATE TABLE generated (id int PRIMARY KEY, total int GENERATED ALWAYS AS (order_total(id)) STORED);
CREATE TABLE indexed (id int PRIMARY KEY);
CREATE UNIQUE INDEX ON indexed (order_total(id), id) WHERE order_total(id) > 0;
DO $$ BEGIN
  FOR i IN 1..50 LOOP
    INSERT INTO orders VALUES (i, i);
    INSERT INTO items VALUES (2 * i, i, 'two'), (2 * i + 1, i, E'a\\.\n\\b');
    INSERT INTO checked VALUES (i, i);
    INSERT INTO generated VALUES (i);
    INSERT INTO indexed VALUES (i);
    INSERT INTO checked_by_domain VALUES (i, ARRAY[i]);
    INSERT INTO users VALUES (i, 'user ' || i);
    UPDATE orders SET total = total + 1 WHERE id = i;
  END LOOP;
END $$;
UPDATE orders SET total = total * 2;
UPDATE users SET name = 'user ' || 51 - id;
DELETE FROM orders WHERE id BETWEEN 10 AND 20;
INSERT INTO parted SELECT i, 1 + i % 2, 'v' FROM generate_series(1, 3000) i;
UPDATE parted SET day = 3 - day WHERE id % 3 = 0;
BEGIN;
INSERT INTO wide SELECT 0, 'first';
DO $$ BEGIN
  FOR i IN 1..300 LOOP
    INSERT INTO wide VALUES (i, repeat(i::text, 2000));
    INSERT INTO parted VALUES (i, 1, 'w');
    UPDATE wide SET v = v || 'x' WHERE id = i - 1;
    DELETE FROM wide WHERE id = i - 2;
  END LOOP;
END $$;
COMMIT;
-- more tables than lanes, and a change of one of them in between
DO $$ BEGIN
  FOR i IN 1..80 LOOP EXECUTE format('CREATE TABLE many_%s (id int PRIMARY KEY, v int)', i); END LOOP;
  FOR j IN 1..20 LOOP
    FOR i IN 1..80 LOOP EXECUTE format('INSERT INTO many_%s VALUES ($1, $1)', i) USING j; END LOOP;
    IF j % 7 = 0 THEN EXECUTE 'ALTER TABLE many_3 ADD COLUMN c_' || j || ' int DEFAULT 5'; END IF;
    UPDATE many_3 SET v = v + 1 WHERE id = j;
    TRUNCATE many_5;
  END LOOP;
END $$;
-- the table that looks at another comes first
INSERT INTO orders VALUES (1000, 7);
DO $$ BEGIN
  FOR i IN 1001..1003 LOOP
    INSERT INTO checked VALUES (i, i - 1) ON CONFLICT DO NOTHING;
    INSERT INTO checked_by_domain VALUES (i, ARRAY[i - 1]);
    INSERT INTO generated VALUES (i - 1);
    INSERT INTO orders VALUES (i, 1);
  END LOOP;
END $$;
