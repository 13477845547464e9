-- pg_scribe 1 incremental, database kept, decoder scribe_decoder 1.0, server 15.18
-- from 0/199E2E8
\set ON_ERROR_STOP on
SET client_encoding = 'UTF8';
SET session_replication_role = replica;
SET standard_conforming_strings = on;
SET DateStyle = 'ISO, MDY';
SET IntervalStyle = postgres;
SET TimeZone = 'UTC';
SET lc_monetary = 'C';
SET extra_float_digits = 3;
SET bytea_output = hex;
SET xmloption = content;
SET search_path = '';
SET check_function_bodies = off;
SET row_security = off;
SET default_tablespace = '';
SET default_transaction_read_only = off;
SET default_transaction_isolation = 'read committed';
SET client_min_messages = warning;
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
DO LANGUAGE plpgsql $scribe$
DECLARE
  here text := 'was not restored from a pg_scribe base';
BEGIN
  IF pg_catalog.to_regclass('scribe.position') IS NOT NULL THEN
    UPDATE scribe.position SET inside = true WHERE lsn = '0/199E2E8' AND NOT inside;
    IF FOUND THEN RETURN; END IF;
    SELECT pg_catalog.format(CASE WHEN inside THEN 'stopped within the file that follows %s'
      ELSE 'stands at %s' END, lsn) INTO here FROM scribe.position;
  END IF;
  RAISE EXCEPTION 'this file continues a database that stands at 0/199E2E8, and this database %', here
    USING HINT = 'Run each file once, in the order of the names, after the base; nothing was changed.';
END
$scribe$;
BEGIN; -- xid 759 commit 0/199E688 time 2026-11-22 19:24:04.893657+00
INSERT INTO shop.kinds (id, b, f, n, t, c, y, d, ts, tz, i, j, x, a, r, u, ip, bits, v, o, s) VALUES
(1, true, 'NaN', 'NaN', E'a\tb\nc\\d''e', 'abc  ', E'\\x00ff5c27', 'infinity', '-infinity', '2026-11-22 10:34:56.789+00', '1 mon -2 days +03:04:05.6', '{"k": [1, null, "ä"]}', '<a>1</a>', '[0:1]={1,NULL}', '[1,5)', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '10.0.0.0/8', '10110', '''a'':1 ''b'':2', 'green', 7),
(2, false, '-0', '0.00000000000000000001', E'Ünïcödé \\\\. BEGIN; -- xid', '     ', E'\\x', '4713-01-01 BC', '2026-01-01 00:00:00', 'infinity', '00:00:00', 'null', NULL, '{}', 'empty', NULL, '::1', '', '', 'red', 0),
(3, NULL, '1.7976931348623157e+308', '123456789012345678901234567890.123456789', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL); -- 3 rows
-- rows 3 inserted
COMMIT; -- end 0/199E6B8
BEGIN; -- xid 760 commit 0/199F778 time 2026-11-22 19:24:04.930271+00
UPDATE shop.orders AS t SET customer = v.customer, shade = v.shade, amount = v.amount, at = v.at FROM (VALUES
(10::pg_catalog.int8, 11::pg_catalog.int4, 'green'::shop.colour, '2.429'::pg_catalog.numeric, '2026-11-22 00:00:00+00'::pg_catalog.timestamptz),
(20, 21, 'green', '3.857', '2026-11-22 00:00:00+00'),
(30, 31, 'green', '5.286', '2026-11-22 00:00:00+00'),
(40, 41, 'green', '6.714', '2026-11-22 00:00:00+00'),
(50, 1, 'green', '8.143', '2026-11-22 00:00:00+00'),
(60, 11, 'green', '9.571', '2026-11-22 00:00:00+00'),
(70, 21, 'green', '11.000', '2026-11-22 00:00:00+00'),
(80, 31, 'green', '12.429', '2026-11-22 00:00:00+00'),
(90, 41, 'green', '13.857', '2026-11-22 00:00:00+00'),
(100, 1, 'green', '15.286', '2026-11-22 00:00:00+00'),
(110, 11, 'green', '16.714', '2026-11-22 00:00:00+00'),
(120, 21, 'green', '18.143', '2026-11-22 00:00:00+00'),
(130, 31, 'green', '19.571', '2026-11-22 00:00:00+00'),
(140, 41, 'green', '21.000', '2026-11-22 00:00:00+00'),
(150, 1, 'green', '22.429', '2026-11-22 00:00:00+00'),
(160, 11, 'green', '23.857', '2026-11-22 00:00:00+00'),
(170, 21, 'green', '25.286', '2026-11-22 00:00:00+00'),
(180, 31, 'green', '26.714', '2026-11-22 00:00:00+00'),
(190, 41, 'green', '28.143', '2026-11-22 00:00:00+00'),
(200, 1, 'green', '29.571', '2026-11-22 00:00:00+00')
) AS v (id, customer, shade, amount, at) WHERE t.id = v.id; -- 20 rows
-- rows 20 updated
COMMIT; -- end 0/199F7A8
BEGIN; -- xid 761 commit 0/199FB10 time 2026-11-22 19:24:04.945589+00
DELETE FROM shop.orders WHERE id IN (17, 34, 51, 68, 85, 102, 119, 136, 153, 187, 170); -- 11 rows
-- rows 11 deleted
COMMIT; -- end 0/199FB40
BEGIN; -- xid 762 commit 0/199FBC8 time 2026-11-22 19:24:04.948042+00
UPDATE shop.nokey SET b = 'x' WHERE ctid = (SELECT ctid FROM ONLY shop.nokey WHERE ROW(a, b, c, d)::record *= ROW(1::pg_catalog.int4, NULL::pg_catalog.text, '{"a": 1}'::pg_catalog.json, '(1,2)'::pg_catalog.point) LIMIT 1);
-- rows 1 updated
COMMIT; -- end 0/199FBF8
BEGIN; -- xid 763 commit 0/19A4AD0 time 2026-11-22 19:24:05.028034+00
INSERT INTO shop.customers (id, name, since) OVERRIDING SYSTEM VALUE VALUES (51, 'rolled back in part', NULL);
-- ddl ALTER TABLE
SET LOCAL search_path = shop;
SET LOCAL ROLE postgres;
ALTER TABLE customers ADD COLUMN email text DEFAULT 'none'
;
RESET ROLE;
SET LOCAL search_path = '';
-- ddl end
UPDATE shop.customers SET name = 'customer 3', since = '2020-01-04', email = 'x@example.org' WHERE id = 3;
-- rows 1 inserted 1 updated 1 ddl
COMMIT; -- end 0/19A4BD0
BEGIN; -- xid 767 commit 0/19A9A20 time 2026-11-22 19:24:05.037399+00
-- ddl CREATE TABLE
SET LOCAL ROLE kept_owner;
CREATE TABLE shop.made (id integer, name pg_catalog.text)
;
RESET ROLE;
-- ddl end
INSERT INTO shop.made (id, name) VALUES
(1, 'customer 1'),
(2, 'customer 2'),
(3, 'customer 3'),
(4, 'customer 4'),
(5, 'customer 5'),
(6, 'customer 6'),
(7, 'customer 7'),
(8, 'customer 8'); -- 8 rows
COPY shop.made (id, name) FROM stdin;
9	customer 9
\.
-- ddl ALTER TABLE
SET LOCAL search_path = '';
SET LOCAL ROLE postgres;
ALTER TABLE ONLY shop.made REPLICA IDENTITY FULL
;
RESET ROLE;
SET LOCAL search_path = '';
-- ddl end
-- rows 9 inserted 2 ddl
COMMIT; -- end 0/19A9EB0
BEGIN; -- xid 769 commit 0/19B1C60 time 2026-11-22 19:24:05.105689+00
-- ddl ALTER TABLE
SET LOCAL search_path = shop;
SET LOCAL ROLE kept_owner;
ALTER TABLE made ADD COLUMN at timestamptz DEFAULT clock_timestamp(), ADD PRIMARY KEY (id)
;
RESET ROLE;
SET LOCAL search_path = '';
-- ddl end
DELETE FROM ONLY shop.made; -- * rows
INSERT INTO shop.made (id, name, at) VALUES
(1, 'customer 1', '2026-11-22 19:24:05.059574+00'),
(2, 'customer 2', '2026-11-22 19:24:05.059603+00'),
(3, 'customer 3', '2026-11-22 19:24:05.059604+00'),
(4, 'customer 4', '2026-11-22 19:24:05.059604+00'),
(5, 'customer 5', '2026-11-22 19:24:05.059604+00'),
(6, 'customer 6', '2026-11-22 19:24:05.059605+00'),
(7, 'customer 7', '2026-11-22 19:24:05.059605+00'),
(8, 'customer 8', '2026-11-22 19:24:05.059605+00'); -- 8 rows
COPY shop.made (id, name, at) FROM stdin;
9	customer 9	2026-11-22 19:24:05.059605+00
\.
-- ddl ALTER TABLE
SET LOCAL search_path = '';
SET LOCAL ROLE postgres;
ALTER TABLE ONLY shop.made REPLICA IDENTITY DEFAULT
;
RESET ROLE;
SET LOCAL search_path = '';
-- ddl end
-- rows 9 inserted 2 ddl
COMMIT; -- end 0/19B2888
BEGIN; -- xid 772 commit 0/19B2B90 time 2026-11-22 19:24:05.115878+00
-- ddl ALTER TYPE
SET LOCAL search_path = shop;
SET LOCAL ROLE kept_owner;
ALTER TYPE colour ADD VALUE 'blue' BEFORE 'green'
;
RESET ROLE;
SET LOCAL search_path = '';
-- ddl end
-- rows 1 ddl
COMMIT; -- end 0/19B2BF0
BEGIN; -- xid 774 commit 0/19B39E8 time 2026-11-22 19:24:05.136094+00
-- ddl ALTER TABLE
SET LOCAL search_path = shop;
SET LOCAL ROLE kept_owner;
ALTER TABLE log ADD COLUMN more int
;
RESET ROLE;
SET LOCAL search_path = '';
-- ddl end
-- rows 1 ddl
COMMIT; -- end 0/19B3B18
BEGIN; -- xid 776 commit 0/19B3B68 time 2026-11-22 19:24:05.138811+00
INSERT INTO shop.log_2026 (at, note, more) VALUES ('2026-01-01', 'by trigger', 1);
-- rows 1 inserted
COMMIT; -- end 0/19B3B98
BEGIN; -- xid 777 commit 0/19B7E20 time 2026-11-22 19:24:05.174632+00
-- ddl CREATE TABLE
SET LOCAL search_path = shop;
SET LOCAL ROLE kept_owner;
CREATE TABLE log_2027 PARTITION OF log FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')
;
RESET ROLE;
SET LOCAL search_path = '';
-- ddl end
-- ddl ALTER TABLE
SET LOCAL search_path = '';
SET LOCAL ROLE postgres;
ALTER TABLE ONLY shop.log_2027 REPLICA IDENTITY FULL
;
RESET ROLE;
SET LOCAL search_path = '';
-- ddl end
-- rows 2 ddl
COMMIT; -- end 0/19B8338
BEGIN; -- xid 779 commit 0/19B8380 time 2026-11-22 19:24:05.175188+00
INSERT INTO shop.log_2027 (at, note, more) VALUES ('2027-05-05', 'later', 2);
-- rows 1 inserted
COMMIT; -- end 0/19B83B0
BEGIN; -- xid 780 commit 0/19BD820 time 2026-11-22 19:24:05.193484+00
-- ddl CREATE MATERIALIZED VIEW
SET LOCAL search_path = shop;
SET LOCAL ROLE kept_owner;
CREATE MATERIALIZED VIEW totals AS SELECT customer, sum(amount) AS sum FROM orders GROUP BY customer
;
RESET ROLE;
SET LOCAL search_path = '';
-- ddl end
-- rows 1 ddl
COMMIT; -- end 0/19BDD00
BEGIN; -- xid 784 commit 0/19BE0C0 time 2026-11-22 19:24:06.753767+00
-- mark rotate.3c92d6fa880c130a
COMMIT; -- end 0/19BE0F0
BEGIN; -- large objects
SET LOCAL client_encoding = 'UTF8';
SELECT pg_catalog.count(pg_catalog.lo_unlink(oid)) AS unlinked FROM pg_catalog.pg_largeobject_metadata WHERE oid = 4711;
SELECT pg_catalog.lo_create(4711);
SELECT pg_catalog.lo_put(4711, 0, '\x0102ff0405');
ALTER LARGE OBJECT 4711 OWNER TO postgres;
COMMIT; -- large objects
BEGIN; -- footer
SELECT pg_catalog.count(pg_catalog.setval(s.seqrelid::pg_catalog.regclass, v.last_value, v.is_called)) AS sequences FROM (VALUES
('"shop"."customers_id_seq"', 51, true),
('"shop"."orders_id_seq"', 200, true)
) AS v (name, last_value, is_called) JOIN pg_catalog.pg_sequence AS s ON s.seqrelid = pg_catalog.to_regclass(v.name) AND v.last_value BETWEEN s.seqmin AND s.seqmax;
UPDATE scribe.position SET lsn = '0/19BE0F0', inside = false;
COMMIT; -- footer
-- to 0/19BE0F0
