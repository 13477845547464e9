SET lc_monetary = 'C';
-- runs of every length
INSERT INTO users VALUES (1, 'Alice', 'a@x', 1);
INSERT INTO users SELECT g, 'name ' || g, g || '@x', g FROM generate_series(2, 9) g;
INSERT INTO users SELECT g, 'name ' || g, NULL, g FROM generate_series(10, 40) g;
UPDATE users SET n = n + 1;
UPDATE users SET name = 'Alice Smith' WHERE id = 1;
UPDATE users SET id = id + 1000 WHERE id < 5;
DELETE FROM users WHERE id > 30;
DELETE FROM users WHERE id = 10;
BEGIN;
UPDATE neg SET v = 0;
INSERT INTO neg SELECT g, g / 7.0 FROM generate_series(-5, 20) g;
UPDATE neg SET v = 'NaN' WHERE id = 3;
UPDATE neg SET v = v + 1;
UPDATE neg SET v = v * 2 WHERE id < 3;
UPDATE neg SET v = 1.500 WHERE id = 1;
UPDATE neg SET v = 1.5 WHERE id = 1;
UPDATE neg SET v = NULL WHERE id = 1;
UPDATE neg SET v = 5 WHERE id = 2;
UPDATE neg SET v = 6 WHERE id = 1;
DELETE FROM neg WHERE id < 0;
DELETE FROM neg WHERE id IN (0, 5, 6);
COMMIT;
INSERT INTO plain VALUES (9223372036854775807, -32768, true, 4294967295, E'tab\there\nnl \\ ''q'' \x01\x7f', 'v', 'c', '-0', 'NaN'),
	(-9223372036854775808, 32767, false, 0, '', '', '', 'Infinity', 1e-45),
	(0, NULL, NULL, NULL, NULL, NULL, NULL, 5e-324, 3.4028235e38);
INSERT INTO plain SELECT g, g, g % 2 = 0, g, E'BEGIN; -- xid\n\\.\nCOMMIT; -- end', repeat('é', 3), 'x ', g / 3.0, g / 3.0 FROM generate_series(1, 20) g;
UPDATE plain SET f = f + 0.1, t = E'\\' || t;
UPDATE plain SET s = 5, o = 3000000000 WHERE id > 0;
DELETE FROM plain WHERE id > 10 OR id < 0;
INSERT INTO two SELECT g, 'k' || g, g FROM generate_series(1, 20) g;
UPDATE two SET c = c + 1;
UPDATE two SET b = b || 'x' WHERE a < 4;
DELETE FROM two WHERE a > 10;
INSERT INTO small SELECT g, g FROM generate_series(-3, 10) g;
UPDATE small SET v = 70000 + id;
DELETE FROM small WHERE id % 2 = 0;
INSERT INTO oids VALUES (1, 1), (4294967295, 2), (3000000000, 3), (7, 7);
UPDATE oids SET v = v + 1;
DELETE FROM oids WHERE id IN (1, 3000000000, 4294967295);
INSERT INTO enums VALUES ('sad', 'ok'), ('ok', NULL), (E'it''s \\ fine', 'sad');
UPDATE enums SET v = 'sad';
UPDATE enums SET v = E'it''s \\ fine' WHERE id = 'sad';
DELETE FROM enums WHERE id <> 'sad';
INSERT INTO cit VALUES ('Abc', 'x'), ('def', 'y'), ('ghi', 'z'), ('jkl', 'jkl');
UPDATE cit SET v = upper(v::text);
UPDATE cit SET id = 'ABC' WHERE id = 'abc';
DELETE FROM cit WHERE id IN ('def', 'GHI');
DELETE FROM cit WHERE id = 'jkl';
INSERT INTO dom VALUES ('a', 'b', ROW(1, 'x')::pair), ('c', NULL, NULL), ('e', 'f', NULL);
UPDATE dom SET v = 'new', w = ROW(2, E'a"b\\')::pair;
UPDATE dom SET v = 'one' WHERE id = 'a';
DELETE FROM dom WHERE id IN ('a', 'c');
INSERT INTO comp VALUES (ROW(1, 'a'), ARRAY[ROW(1, 'x,"y')::pair]), (ROW(2, 'b'), NULL), (ROW(3, 'c'), '{}');
UPDATE comp SET v = v || ROW(9, NULL)::pair;
UPDATE comp SET v = NULL WHERE id = ROW(1, 'a')::pair;
DELETE FROM comp WHERE (id).a IN (1, 2);
INSERT INTO regs VALUES ('users', 'int4'), ('pg_class', 'mood'), ('two', 'text');
UPDATE regs SET v = 'mood[]';
UPDATE regs SET v = 'pair' WHERE id = 'users'::regclass;
DELETE FROM regs WHERE id IN ('two'::regclass, 'pg_class'::regclass);
INSERT INTO net VALUES ('10.0.0.0/8', '10.1.1.1'), ('::/0', '::1'), ('192.168.0.0/16', NULL);
UPDATE net SET v = '1.2.3.4';
UPDATE net SET v = '1.2.3.5/8' WHERE id = '::/0';
DELETE FROM net WHERE id <> '::/0';
INSERT INTO bp VALUES ('a', B'101'), ('b  ', B'000'), ('c', NULL);
UPDATE bp SET v = B'111';
UPDATE bp SET v = B'110' WHERE id = 'a';
DELETE FROM bp WHERE id IN ('b', 'c');
INSERT INTO arr VALUES ('{1,2}', '{a,NULL,"b c"}'), ('[0:1]={1,2}', '{}'), ('{{1},{2}}', '[2:3]={x,y}');
UPDATE arr SET v = array_append(v, 'z') WHERE array_ndims(v) = 1;
UPDATE arr SET v = '{q}';
DELETE FROM arr WHERE id <> '{1,2}';
INSERT INTO rng VALUES ('[1,5)', '[2020-01-01,)'), ('empty', 'empty'), ('(,)', NULL);
UPDATE rng SET v = '[2021-01-01 00:00:00+05:30,infinity)';
DELETE FROM rng WHERE id <> 'empty';
INSERT INTO cmoney VALUES (1, '$12.50', 'x', 'name', '\x00ff', '1 year 2 mons -3 days 04:05:06.789'), (2, '-$1,234.56', E'\\', E'a\nb', '', NULL);
UPDATE cmoney SET v = v * 2;
UPDATE cmoney SET w = '', z = '-1 mon';
INSERT INTO coll VALUES ('a', 'b'), ('A', 'B'), ('ä', 'ö');
UPDATE coll SET v = v || 'x';
DELETE FROM coll WHERE id <> 'A';
INSERT INTO ci VALUES ('a', 'b'), ('B', 'B'), ('ä', 'ö');
UPDATE ci SET v = v || 'x';
UPDATE ci SET id = 'A' WHERE id = 'a';
DELETE FROM ci WHERE id <> 'a';
INSERT INTO cix VALUES ('a', 1), ('A', 2), ('b', 3), ('B', 4);
UPDATE cix SET v = v + 10;
DELETE FROM cix WHERE id COLLATE "C" IN ('a', 'B');
INSERT INTO times VALUES ('2024-02-29 12:00:00.123456+05:30', '0044-03-15 BC', '24:00', '10:11:12+05:30', '-infinity', '-1 day +02:03:04'),
	('infinity', 'infinity', '00:00', '10:11:12.5-12', '294276-12-31 23:59:59.999999', '178000000 years'), ('0001-01-01 BC', NULL, NULL, NULL, NULL, NULL);
UPDATE times SET i = '1 mon -1 day';
DELETE FROM times WHERE id = 'infinity' OR d IS NULL;
INSERT INTO keyonly SELECT generate_series(1, 5);
UPDATE keyonly SET a = a;
UPDATE keyonly SET a = a + 10;
DELETE FROM keyonly WHERE a > 12;
INSERT INTO gen (a) SELECT generate_series(1, 20);
INSERT INTO gen (a) VALUES (99);
UPDATE gen SET a = a + 1;
UPDATE gen SET id = DEFAULT WHERE id = 3;
DELETE FROM gen WHERE id IN (4, 5, 6);
INSERT INTO gen2 (id, big, t) SELECT g, repeat(md5(g::text), 200), 't' FROM generate_series(1, 3) g;
UPDATE gen2 SET t = 'u';
UPDATE gen2 SET x = DEFAULT WHERE id = 2;
UPDATE gen2 SET id = 10 WHERE id = 3;
INSERT INTO genonly DEFAULT VALUES;
INSERT INTO genonly SELECT FROM generate_series(1, 3);
INSERT INTO zero SELECT FROM generate_series(1, 3);
INSERT INTO zerofull SELECT FROM generate_series(1, 3);
DELETE FROM zerofull WHERE ctid IN (SELECT ctid FROM zerofull LIMIT 2);
INSERT INTO dropped VALUES (1, 'x'), (2, 'y');
UPDATE dropped SET d = d || d;
INSERT INTO swap SELECT g, g FROM generate_series(1, 4) g;
BEGIN;
UPDATE swap SET u = 5 - u;
COMMIT;
INSERT INTO excl SELECT g, int4range(g * 10, g * 10 + 5) FROM generate_series(1, 4) g;
UPDATE excl SET r = int4range(lower(r) + 1, upper(r) + 1);
INSERT INTO toast SELECT g, repeat('a' || g, 4000), repeat(E'b''\\', 4000), g FROM generate_series(1, 5) g;
UPDATE toast SET n = n + 1;
UPDATE toast SET a = a || 'x', n = 0 WHERE id < 3;
UPDATE toast SET a = NULL WHERE id = 4;
UPDATE toast SET id = id + 10;
UPDATE toast SET b = b;
INSERT INTO toastkey SELECT repeat(md5(g::text), 80) || g, g FROM generate_series(1, 4) g;
UPDATE toastkey SET n = n + 1;
UPDATE toastkey SET id = id || 'x' WHERE n = 3;
DELETE FROM toastkey WHERE n > 3;
INSERT INTO parent SELECT g, 'p' FROM generate_series(1, 3) g;
INSERT INTO child SELECT g, 'c', g FROM generate_series(1, 3) g;
UPDATE parent SET v = v || 'x' WHERE id < 3;
UPDATE ONLY parent SET v = 'only' WHERE id = 1;
DELETE FROM ONLY parent WHERE id = 2;
DELETE FROM child WHERE id IN (1, 3);
INSERT INTO part SELECT g, 1 + g % 2, 'v' FROM generate_series(1, 20) g;
UPDATE part SET v = 'w';
UPDATE part SET k = 3 - k WHERE id < 5;
DELETE FROM part WHERE id > 15;
INSERT INTO "odd schema"."Odd ""table
name" SELECT g, 'v', 't', ROW(g, 'x')::pair FROM generate_series(1, 12) g;
UPDATE "odd schema"."Odd ""table
name" SET v = 'w', t = E'x\ny';
UPDATE "odd schema"."Odd ""table
name" SET "select" = NULL WHERE v = 'w' AND "select" = ROW(1, 'x')::pair;
DELETE FROM "odd schema"."Odd ""table
name" WHERE ("select").a > 6;
BEGIN;
INSERT INTO fk2 VALUES (1, 1), (2, 2);
INSERT INTO fk1 VALUES (1), (2);
COMMIT;
DELETE FROM fk1 WHERE id = 1;
BEGIN;
INSERT INTO trig VALUES (1, 'a'), (2, 'b');
UPDATE trig SET v = 'c';
DELETE FROM trig WHERE id = 2;
COMMIT;
INSERT INTO ruled VALUES (1, 1), (2, 2);
UPDATE ruled SET v = v + 1;

-- images of rows
INSERT INTO log VALUES (1, 'a'), (1, 'a'), (1, 'a'), (2, NULL), (NULL, NULL), (NULL, NULL);
DELETE FROM log WHERE ctid = (SELECT min(ctid) FROM log WHERE a = 1);
UPDATE log SET b = 'b' WHERE ctid = (SELECT min(ctid) FROM log WHERE a = 1);
UPDATE log SET a = 3 WHERE a = 2;
DELETE FROM log WHERE ctid = (SELECT min(ctid) FROM log WHERE a IS NULL);
UPDATE log SET a = a;
INSERT INTO images SELECT '{"a": 1,  "b":2}'::json, '{"b": 1.00}'::jsonb, '<a>x</a>'::xml, '(1,2)'::point,
	'((0,0),(1,1),(1,0))'::polygon, n, f, 'a=>1, b=>NULL'::hstore, 'CiText'::citext, ROW(1, NULL)::pair, 'ok'::mood,
	'ab'::short, '{1,NULL,3}'::int[], 'x', 'y', B'1010'::bit(4), '1 mon -1 day'::interval,
	repeat(md5(n::text), k), '$3.14'::money, '\x00'::bytea
FROM (VALUES (1.0, '-0'::float8, 1), (1.00, '0', 1), ('NaN', 'NaN', 200), (100, '-Infinity', 300), (NULL, NULL, 0)) AS v (n, f, k);
INSERT INTO images SELECT FROM generate_series(1, 3);
UPDATE images SET jb = '{"c": [1, 2]}' WHERE n = 1 AND f::text = '-0';
UPDATE images SET n = 2 WHERE n = 'NaN';
UPDATE images SET p = '(3,4)' WHERE n = 100;
UPDATE images SET big = big || 'z' WHERE n = 100;
UPDATE images SET big = repeat('q', 9000), c = 'yy ' WHERE n = 1 AND f::text = '0';
DELETE FROM images WHERE n = 2;
DELETE FROM images WHERE n = 1.00 AND f::text = '-0';
DELETE FROM images WHERE ctid = (SELECT min(ctid) FROM images WHERE j IS NULL);
INSERT INTO fullidx (id, c, k, v) SELECT g, '10.0.0.0/8', 'k', 'v' FROM generate_series(1, 12) g;
UPDATE fullidx SET v = 'w';
UPDATE fullidx SET x = DEFAULT WHERE id = 3;
UPDATE fullidx SET k = NULL WHERE id = 4;
UPDATE fullidx SET k = 'l' WHERE id = 4;
DELETE FROM fullidx WHERE id > 6;
INSERT INTO fullpart SELECT 1, 'x' FROM generate_series(1, 3);
UPDATE fullpart SET v = 'y' WHERE ctid = (SELECT min(ctid) FROM fullpart);
DELETE FROM fullpart WHERE ctid = (SELECT max(ctid) FROM fullpart);

-- subtransactions, prepared values, TRUNCATE
BEGIN;
SAVEPOINT a;
INSERT INTO users VALUES (5000, 'no', 'no', 0);
ROLLBACK TO a;
INSERT INTO users VALUES (5001, 'yes', 'yes', 0);
SAVEPOINT b;
INSERT INTO users VALUES (5002, 'yes', 'yes2', 0);
UPDATE users SET n = 1 WHERE id = 5001;
UPDATE users SET n = 2 WHERE id = 5002;
UPDATE users SET n = 3 WHERE id = 5001;
RELEASE b;
COMMIT;
INSERT INTO users VALUES (5002, 'x', 'conflict', 1) ON CONFLICT (id) DO UPDATE SET n = 77;
TRUNCATE two;
TRUNCATE fk1 CASCADE;
TRUNCATE gen RESTART IDENTITY;
BEGIN;
TRUNCATE part, ONLY parent;
INSERT INTO part VALUES (1, 1, 'after'), (2, 2, 'after');
COMMIT;

-- lines that look like frames, in COPY and elsewhere
INSERT INTO texts SELECT t FROM unnest(ARRAY['', 'BEGIN; -- xid', 'COMMIT; -- end', 'COPY x', '-- rows', '-- ddl', '--', '\.', '\', E'a\tb',
	E'\n', E'\r\n', E'\x0b\x0c\x08\x1b', 'N', '\N', E'\\.\n\\!touch', ':x', ''':x''', 'é', '', 'x' || repeat('''\', 20), NULL, 'BEGIN', 'C']) t, generate_series(1, 2);

-- more than a message holds
INSERT INTO bulk SELECT g, repeat(md5(g::text), 3), g / 3.0, '2024-01-01'::timestamptz + g * interval '1 s' FROM generate_series(1, 20000) g;
UPDATE bulk SET b = b + 1 WHERE id % 3 = 0;
DELETE FROM bulk WHERE id % 4 = 0;
BEGIN;
UPDATE bulk SET a = 'x' WHERE id < 100;
UPDATE bulk SET a = 'y' WHERE id < 50;
UPDATE bulk SET id = id + 100000 WHERE id < 20;
DELETE FROM bulk WHERE id > 100000;
INSERT INTO bulk SELECT g, repeat('z', 500000), 0, NULL FROM generate_series(1, 3) g;
COMMIT;
SELECT pg_logical_emit_message(true, 'scribe.mark', 'release-1.2_x');
SELECT pg_logical_emit_message(true, 'scribe.mark', E'forged\nCOMMIT; -- end 0/0');
SELECT pg_logical_emit_message(true, 'other', 'x');
SELECT pg_logical_emit_message(false, 'scribe.mark', 'nontransactional');
SELECT current_setting('server_version_num')::int >= 180000 AS virtual \gset
\if :virtual
INSERT INTO virt (id, a, c) SELECT g, g, 'c' FROM generate_series(1, 12) g;
UPDATE virt SET a = a + 1;
UPDATE virt SET c = 'd' WHERE id = 1;
INSERT INTO virtfull (a, c) SELECT 1, 'c' FROM generate_series(1, 3) g;
UPDATE virtfull SET c = 'd' WHERE ctid = (SELECT min(ctid) FROM virtfull);
DELETE FROM virtfull WHERE ctid = (SELECT max(ctid) FROM virtfull);
\endif
