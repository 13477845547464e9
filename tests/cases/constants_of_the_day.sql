-- Constants and bounds that are computed when the statement is read: elsewhere they would be another time.
CREATE TABLE old (id int PRIMARY KEY);
INSERT INTO old VALUES (1);
-- after init
CREATE TABLE t (id int PRIMARY KEY, a timestamptz DEFAULT 'now'::timestamptz, b timestamp DEFAULT timestamp 'now', c date DEFAULT 'tomorrow');
INSERT INTO t VALUES (1);
ALTER TABLE old ADD COLUMN at timestamptz DEFAULT 'now'::timestamptz, ADD COLUMN day timestamp DEFAULT 'yesterday';
ALTER TABLE old ALTER COLUMN at SET DEFAULT timestamptz 'now';
-- a frequent mistake: the parentheses stand within the literal, whose punctuation is of no account
CREATE TABLE mistaken (id int PRIMARY KEY, at timestamptz DEFAULT 'now()');
CREATE TABLE "mistaken's" (id int PRIMARY KEY, at timestamptz DEFAULT now(), "it's" timestamp DEFAULT 'NOW ( )');
ALTER TABLE old ADD COLUMN mistaken timestamptz DEFAULT 'now()';
INSERT INTO mistaken (id) VALUES (1);
CREATE TABLE parted (at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE parted_now PARTITION OF parted FOR VALUES FROM (current_timestamp) TO (current_timestamp + interval '1 day');
INSERT INTO parted VALUES (now());
CREATE TABLE parted_old (at timestamptz);
ALTER TABLE parted ATTACH PARTITION parted_old FOR VALUES FROM (current_timestamp - interval '1 day') TO (current_timestamp - interval '1 hour');
-- bounds from functions that make, change and read what is another thing the second time
CREATE TABLE next_bound (n int PRIMARY KEY);
INSERT INTO next_bound VALUES (0);
CREATE FUNCTION bound(by int) RETURNS int LANGUAGE plpgsql AS $$ DECLARE found int; BEGIN
    UPDATE public.next_bound SET n = n + by RETURNING n INTO found;
    EXECUTE format('CREATE TABLE public.made_%s (id int PRIMARY KEY)', found);
    RETURN found; END $$;
CREATE TABLE bounded (a int, "for values from (1" text DEFAULT 'for values in (') PARTITION BY RANGE (a);
CREATE TABLE bounded_1 PARTITION OF bounded ("for values from (1" DEFAULT 'FOR VALUES IN (1)') /* nested /* for values from (7) */ ' */
    FOR /* a comment */ VALUES FROM (bound(10)) -- FOR VALUES FROM ( "
    TO ((bound(5) + length(')'''))) PARTITION BY LIST (a);
CREATE TABLE "FOR VALUES" PARTITION OF bounded_1 (CHECK (a <> length($x$ FOR VALUES ($x$))) FOR VALUES IN (bound(1) - 5, 12) WITH (fillfactor = 70);
CREATE SCHEMA "Bound" CREATE TABLE by_it PARTITION OF public.bounded FOR VALUES FROM (public.bound(4)) TO (public.bound(1) + 2);
CREATE TABLE bounded_2 (a int, "for values from (1" text);
ALTER TABLE bounded ATTACH PARTITION bounded_2 FOR VALUES FROM (bound(10)) TO (MAXVALUE);
INSERT INTO bounded VALUES (11), (12), (21), (40);
CREATE SCHEMA bounds CREATE TABLE made_with_it PARTITION OF public.parted FOR VALUES FROM (now() + interval '2 days') TO (now() + interval '3 days')
    CREATE VIEW beside AS SELECT 1 AS a CREATE TABLE hashed (a int) PARTITION BY HASH (a)
    CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0) PARTITION BY LIST (a)
    CREATE TABLE hashed_0_rest PARTITION OF hashed_0 DEFAULT;
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE parted_far PARTITION OF parted FOR VALUES FROM (now() + interval '4 days') TO (now() + interval '5 days') SERVER nowhere;
CREATE TABLE checked (id int PRIMARY KEY, at timestamptz, d date, CONSTRAINT before CHECK (at <= timestamptz 'now' + interval '1 day'));
ALTER TABLE checked ADD CHECK (d < 'tomorrow'::timestamp + 'now'::time), ADD CONSTRAINT lax CHECK (at <> 'now'::timestamptz) NOT VALID;
CREATE DOMAIN late AS timestamptz DEFAULT 'now'::timestamptz CHECK (VALUE <= timestamptz 'now');
ALTER DOMAIN late ADD CONSTRAINT never CHECK (VALUE <> 'now'::timestamptz);
CREATE VIEW "v Now" WITH (security_barrier = true) AS SELECT 'now'::timestamptz AS at, 'now' AS word;
CREATE MATERIALIZED VIEW mv AS SELECT 'now'::timestamptz AS at WITH NO DATA;
CREATE INDEX young ON checked (id) WHERE d > timestamp 'now';
CREATE RULE r AS ON UPDATE TO checked WHERE NEW.at = 'now'::timestamptz DO INSTEAD NOTHING;
CREATE FUNCTION trg() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER fires BEFORE UPDATE ON checked FOR EACH ROW WHEN (NEW.at > 'now'::timestamptz) EXECUTE FUNCTION trg();
CREATE POLICY p ON checked USING (at < 'now'::timestamptz) WITH CHECK (at < 'now'::timestamptz);
CREATE FUNCTION f(a timestamptz DEFAULT 'now'::timestamptz) RETURNS timestamptz LANGUAGE sql RETURN greatest(a, 'now'::timestamptz);
CREATE STATISTICS st ON (d > 'now'::timestamp), id FROM checked;
CREATE SCHEMA made CREATE TABLE x (at timestamptz DEFAULT 'now') CREATE VIEW y AS SELECT 'now'::timestamp AS at;
COMMENT ON TABLE checked IS 'now';
SET work_mem = '7MB';
SET search_path = made, public;
CREATE FUNCTION g() RETURNS int LANGUAGE sql SET work_mem FROM CURRENT SET search_path FROM CURRENT AS 'SELECT 1';
SET work_mem = '9MB';
ALTER FUNCTION g() SET work_mem FROM CURRENT;
SET timezone_abbreviations = 'India';
CREATE TABLE indian (at timestamptz DEFAULT '2020-01-01 12:00 IST');
-- the words spelled in other ways
CREATE TABLE public.spelled (id int PRIMARY KEY, a timestamptz DEFAULT E'\x6eow', b timestamp DEFAULT U&'\006eow',
    d timestamptz DEFAULT E'\Now', e timestamptz DEFAULT 'no' -- and further
    'w', CHECK (a <> U&'!006eow' UESCAPE '!'));
CREATE VIEW public.spelled_view AS SELECT timestamptz 'no'
  'w' AS at;
CREATE FUNCTION public.spelled(a text DEFAULT E'it\'s', b timestamptz DEFAULT E'\156ow') RETURNS int LANGUAGE sql AS 'SELECT 1';
-- 19 knows no other strings than standard ones
SELECT current_setting('server_version_num')::int < 190000 AS older \gset
\if :older
SET escape_string_warning = off;
SET standard_conforming_strings = off;
CREATE TABLE public.nonstandard (id int PRIMARY KEY, a timestamptz DEFAULT '\156ow');
\endif
