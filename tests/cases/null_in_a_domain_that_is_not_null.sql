-- NULL in columns whose domain is NOT NULL, which a COPY of other columns and a subquery without a row let in.
CREATE DOMAIN given AS int NOT NULL;
CREATE DOMAIN "for Sure" AS given;
CREATE DOMAIN named AS text COLLATE "C";
CREATE TABLE k (id int PRIMARY KEY, v given, s "for Sure", n named, w int);
CREATE TABLE u (id int PRIMARY KEY, v given, w int UNIQUE);
CREATE TABLE f (v given, s "for Sure", w int);
ALTER TABLE f REPLICA IDENTITY FULL;
CREATE TABLE i (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v given, w text);
CREATE TABLE p (id int, v given) PARTITION BY LIST (id);
CREATE TABLE p1 (v given, id int);
ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1, 2, 3);
INSERT INTO k SELECT i, i, i, 'n' || i, i FROM generate_series(1, 6) AS i;
-- after init
INSERT INTO k VALUES (10, (SELECT NULL::given WHERE false), (SELECT NULL::"for Sure" WHERE false), 'ten', 10);
INSERT INTO k SELECT i, (SELECT NULL::given WHERE i < 0), i, NULL, i FROM generate_series(11, 30) AS i;
INSERT INTO k SELECT i, i, CASE WHEN i % 9 = 0 THEN (SELECT NULL::"for Sure" WHERE i < 0) ELSE i::"for Sure" END, 'x', i FROM generate_series(31, 60) AS i;
COPY k (id, s) FROM stdin;
70	7
71	8
\.
UPDATE k SET v = (SELECT NULL::given WHERE false) WHERE id < 4;
UPDATE k SET w = w + 1;
UPDATE k SET s = (SELECT NULL::"for Sure" WHERE id < 0), w = 0 WHERE id BETWEEN 40 AND 50;
UPDATE k SET v = 5 WHERE v IS NULL AND id < 20;
UPDATE k SET id = id + 100 WHERE v IS NULL;
DELETE FROM k WHERE v IS NULL AND id > 115;
INSERT INTO u SELECT i, (SELECT NULL::given WHERE i < 0), i FROM generate_series(1, 12) AS i;
UPDATE u SET w = w + 100, v = (SELECT NULL::given WHERE id < 0) WHERE id > 6;
UPDATE u SET v = 1 WHERE id < 4;
INSERT INTO f SELECT (SELECT NULL::given WHERE i < 0), i, i % 4 FROM generate_series(1, 40) AS i;
UPDATE f SET w = w + 1;
UPDATE f SET s = (SELECT NULL::"for Sure" WHERE w < 0) WHERE w = 2;
UPDATE f SET v = 1 WHERE w = 3;
DELETE FROM f WHERE v IS NULL AND w = 4;
INSERT INTO i (v, w) SELECT (SELECT NULL::given WHERE n < 0), repeat(md5(n::text), 200) FROM generate_series(1, 3) AS n;
UPDATE i SET id = DEFAULT, w = w WHERE id < 3;
INSERT INTO p SELECT i, (SELECT NULL::given WHERE i < 0) FROM generate_series(1, 3) AS i;
UPDATE p SET v = 1 WHERE id = 2;
ALTER DOMAIN given DROP NOT NULL;
INSERT INTO k VALUES (200, NULL, 1, 'free', 1), (201, NULL, (SELECT NULL::"for Sure" WHERE false), 'free', 1), (202, 1, 2, 'free', 1);
DELETE FROM k WHERE v IS NULL OR s IS NULL;
DELETE FROM u WHERE v IS NULL;
DELETE FROM f WHERE v IS NULL OR s IS NULL;
DELETE FROM i WHERE v IS NULL;
DELETE FROM p WHERE v IS NULL;
ALTER DOMAIN given SET NOT NULL;
INSERT INTO k VALUES (300, (SELECT NULL::given WHERE false), 1, 'ten', 10);
CREATE TABLE made AS SELECT id, v, n FROM k;
ALTER TABLE k ADD COLUMN late given DEFAULT 3;
INSERT INTO k (id, v, s, late) VALUES (301, 1, 1, (SELECT NULL::given WHERE false));
