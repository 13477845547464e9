-- Literals: of each class of characters, and of types whose text needs quoting, a cast or neither. One row a statement.
CREATE TABLE v (id int PRIMARY KEY, t text, o "char");
INSERT INTO v VALUES (1, '', NULL);
INSERT INTO v VALUES (2, 'plain', 'a');
INSERT INTO v VALUES (3, 'it''s', '''');
INSERT INTO v VALUES (4, E'back\\slash', E'\\');
INSERT INTO v VALUES (5, E'\b\t\n\x0b\f\r', NULL);
INSERT INTO v VALUES (6, E'\x01\x02\x1a\x1b\x1f\x7f', NULL);
INSERT INTO v VALUES (7, 'é ß 漢 😀', NULL);
INSERT INTO v VALUES (8, E'\u0085\u2028\ufeff', NULL);
INSERT INTO v VALUES (9, E'\\.', NULL);
INSERT INTO v VALUES (10, E'\nCOMMIT; -- end 0/0\nBEGIN; -- xid 1 commit 0/1 time 2026-01-01 00:00:00+00\n', NULL);
INSERT INTO v VALUES (11, E'\n\\! touch /tmp/x\n\\copy v from x', NULL);
INSERT INTO v VALUES (12, ':v :''v'' :"v" %s %L $1 $$ $x$ `x` ?', NULL);
INSERT INTO v VALUES (13, '-- not a comment /* nor this', NULL);
INSERT INTO v VALUES (14, 'NULL', NULL);
INSERT INTO v VALUES (15, '\N', NULL);
INSERT INTO v VALUES (16, 'U&"\0041"', NULL);
INSERT INTO v VALUES (17, E'''\\''', NULL);
INSERT INTO v VALUES (18, ' ', NULL);
INSERT INTO v VALUES (-19, repeat('x', 100), NULL);
CREATE TABLE kinds (id int PRIMARY KEY, b bool, i2 smallint, i8 bigint, f4 real, f8 float8, n numeric, d date, ts timestamp,
    tz timestamptz, ti time, iv interval, bi bit(3), vb varbit, y bytea, j json, jb jsonb, u uuid, m money, p point, a text[], r int4range,
    ip inet, c char(3), na name, o oid, re regclass);
INSERT INTO kinds VALUES (1, true, -32768, 9223372036854775807, 'NaN', '-0', 'NaN', 'infinity', '-infinity', 'infinity', '24:00',
    '1 mon -2 days 03:04:05.6', '101', '', '\x00ff5c27', '{"a":"\n"}', '{"a": "é''"}', '00000000-0000-0000-0000-000000000001', '-1.5',
    '(1,-0)', '[0:1]={NULL,"a\"\\,}"}', '[1,)', '::1', 'a', E'n\n''', 4294967295, 'pg_class');
INSERT INTO kinds (id, f4, f8, n, d, ts, tz, ti, iv, vb, y, a, r) VALUES (2, '1.1', '1e308', '-0.00', '0044-03-15 BC', '0044-03-15 12:00 BC',
    '2026-01-01 00:00:00.123456+05:30', '00:00:00.000001', '-1 years', '0', '', '{}', 'empty');
INSERT INTO kinds (id, f4, f8, n) VALUES (3, '-Infinity', '2.2250738585072014e-308', '12345678901234567890.0123456789');
