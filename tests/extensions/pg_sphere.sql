-- extension: pg_sphere
-- condition: sellipse and sline do not read back what they print, in a dump neither: under REPLICA IDENTITY FULL a restore stops at such a row
CREATE EXTENSION pg_sphere;
CREATE TABLE keyed (id int PRIMARY KEY, p spoint, c scircle, t strans);
INSERT INTO keyed SELECT n, spoint(n / 10.0, n / 20.0), scircle(spoint(n / 10.0, 0), 0.1), strans(n / 10.0, 0.2, 0.3, 'XZY') FROM generate_series(1, 8) AS n;
CREATE TABLE keyless AS SELECT * FROM keyed;
CREATE INDEX ON keyed USING gist (p);
-- after init
UPDATE keyless SET t = strans(1, 2, 3, 'ZXZ') WHERE id < 4;
DELETE FROM keyless WHERE id = 5;
UPDATE keyed SET p = spoint(1, 1), c = NULL WHERE id = 2;
CREATE TABLE made (b sbox, y spoly, h spath);
INSERT INTO made VALUES (sbox(spoint(0, 0), spoint(0.1, 0.1)), '{(0,0),(0.1,0),(0.1,0.1)}', '{(0,0),(0.1,0),(0.1,0.1)}');
UPDATE made SET b = sbox(spoint(0, 0), spoint(0.2, 0.1));
