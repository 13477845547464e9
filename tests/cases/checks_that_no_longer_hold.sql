-- CHECKs that say something else by now: what time it is, who asks, under which settings, what other tables hold, a
-- function that was replaced. The source took the rows; a copy does not ask again.
CREATE TABLE known (id int PRIMARY KEY);
CREATE FUNCTION is_known(i int) RETURNS bool LANGUAGE sql STABLE AS 'SELECT EXISTS (SELECT FROM known WHERE id = i)';
CREATE FUNCTION is_small(i int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT i < 100';
CREATE TABLE after_now (id int PRIMARY KEY, until timestamptz CHECK (until > now()), w int);
CREATE TABLE by_whom (id int PRIMARY KEY, who name CHECK (who = CURRENT_USER), w int);
CREATE TABLE as_text (id int PRIMARY KEY, t text, d date CHECK (d::text <> t));
CREATE TABLE a_child (id int PRIMARY KEY CHECK (is_known(id)), w int);
CREATE TABLE small (id int PRIMARY KEY, v int CHECK (is_small(v)), w int);
CREATE TABLE "a'b $scribe$ \ c
d" (id int CHECK (is_small(id)), w int);
CREATE TABLE parted (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE parted_1 PARTITION OF parted (CHECK (is_small(id))) FOR VALUES IN (1);
CREATE TYPE colour AS ENUM ('red', 'blue');
CREATE TABLE hashed (id int, c colour, CHECK (is_small(id)), PRIMARY KEY (id, c)) PARTITION BY HASH (c);
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE mother (id int PRIMARY KEY, v int CHECK (is_small(v)) NO INHERIT, CHECK (is_small(id)));
CREATE TABLE daughter (w int CHECK (w > 0)) INHERITS (mother);
COMMENT ON CONSTRAINT after_now_until_check ON after_now IS 'kept';
DO $$ BEGIN CREATE ROLE scribe_case_writer; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT ALL ON by_whom TO scribe_case_writer;
SET ROLE scribe_case_writer;
INSERT INTO by_whom VALUES (1, CURRENT_USER, 0);
RESET ROLE;
SET DateStyle = 'German';
INSERT INTO as_text VALUES (1, '2026-11-30', '2026-11-30');
RESET DateStyle;
INSERT INTO known VALUES (1);
INSERT INTO after_now SELECT i, now() + interval '0.2 s', 0 FROM generate_series(1, 3) i;
INSERT INTO a_child VALUES (1, 0);
INSERT INTO small VALUES (1, 50, 0), (2, 60, 0);
INSERT INTO "a'b $scribe$ \ c
d" VALUES (50, 0);
INSERT INTO parted VALUES (50, 1);
INSERT INTO hashed VALUES (50, 'red'), (51, 'blue');
INSERT INTO mother VALUES (50, 50);
INSERT INTO daughter VALUES (51, 50, 1);
DELETE FROM known;
CREATE OR REPLACE FUNCTION is_small(i int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT i < 10';
-- after init
SET ROLE scribe_case_writer;
INSERT INTO by_whom VALUES (2, CURRENT_USER, 0);
UPDATE by_whom SET w = 1;
RESET ROLE;
SET DateStyle = 'German';
INSERT INTO as_text VALUES (2, '2026-12-01', '2026-12-01');
RESET DateStyle;
INSERT INTO after_now SELECT i, now() + interval '0.2 s', 0 FROM generate_series(4, 6) i;
UPDATE after_now SET until = now() + interval '0.2 s', w = 1 WHERE id < 3;
BEGIN;
INSERT INTO after_now VALUES (7, now() + interval '0.2 s', 0);
ALTER TABLE after_now ADD CONSTRAINT over CHECK (w < 10), ADD v int;
INSERT INTO after_now VALUES (8, now() + interval '0.2 s', 0, 1);
COMMIT;
CREATE OR REPLACE FUNCTION is_small(i int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT i < 1000';
UPDATE small SET v = 500 WHERE id = 1;
UPDATE small SET w = w + 1;
INSERT INTO small SELECT i, i * 10, 0 FROM generate_series(10, 99) i;
UPDATE "a'b $scribe$ \ c
d" SET w = 1;
INSERT INTO parted VALUES (500, 1);
INSERT INTO hashed VALUES (500, 'red'), (501, 'blue');
INSERT INTO mother VALUES (500, 500);
INSERT INTO daughter VALUES (501, 500, 1);
-- in the order of commits, its parent goes first
INSERT INTO known VALUES (2), (3);
BEGIN;
INSERT INTO a_child VALUES (2, 0);
DELETE FROM known;
COMMIT;
CREATE TABLE later (id int PRIMARY KEY, until timestamptz CHECK (until > clock_timestamp()));
INSERT INTO later VALUES (1, clock_timestamp() + interval '0.2 s');
