-- json, xml, point and other types without equality under FULL: still match.
CREATE TYPE pair AS (x int, y text);
CREATE TABLE t (j json, x xml, p point, g polygon, b box, c circle, l line, jb jsonb, pr pair, ar int[], tv tsvector, ba bytea, bits bit varying);
INSERT INTO t SELECT json_build_object('k', i), ('<a>' || i || '</a>')::xml, point(i, i), polygon(box(point(0,0), point(i,i))), box(point(0,0), point(i,i)), circle(point(i,i), 1), line(point(0,0), point(i,1)), jsonb_build_object('k', i), ROW(i, 'p')::pair, ARRAY[i, NULL], to_tsvector('simple', 'a b' || i), decode(lpad(to_hex(i), 2, '0'), 'hex'), B'101' FROM generate_series(1, 12) i;
-- after init
UPDATE t SET p = point(0, 0) WHERE (j->>'k')::int IN (1, 2);
DELETE FROM t WHERE (j->>'k')::int IN (3, 4);
UPDATE t SET x = NULL, g = NULL WHERE (j->>'k')::int = 5;
DELETE FROM t WHERE x IS NULL;
UPDATE t SET ar = ar || 7, jb = jb || '{"n": 1.00}' WHERE (j->>'k')::int > 9;
DELETE FROM t WHERE jb ? 'n' AND (j->>'k')::int = 11;
