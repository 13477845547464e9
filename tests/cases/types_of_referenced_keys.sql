-- A key that others refer to gets another type: the foreign key is recreated and looks for the referenced rows at once.
CREATE TABLE parent (id int PRIMARY KEY, v text);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent, note text);
CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200);
CREATE TABLE of_parts (part int REFERENCES parts (id) ON DELETE CASCADE);
CREATE TABLE tree (id int PRIMARY KEY, above int REFERENCES tree);
INSERT INTO parent SELECT i, 'p' || i FROM generate_series(1, 50) i;
INSERT INTO child SELECT i, 1 + i % 50, 'c' FROM generate_series(1, 200) i;
INSERT INTO parts SELECT i, 'p' || i FROM generate_series(0, 199) i;
INSERT INTO of_parts SELECT i FROM generate_series(0, 199, 3) i;
INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2);
-- after init
ALTER TABLE parent ALTER COLUMN id TYPE bigint;
ALTER TABLE child ALTER COLUMN parent TYPE bigint, ADD COLUMN r uuid DEFAULT gen_random_uuid();
ALTER TABLE of_parts DROP CONSTRAINT of_parts_part_fkey;
ALTER TABLE parts ALTER COLUMN v TYPE varchar(20) USING upper(v);
ALTER TABLE tree ALTER COLUMN id TYPE bigint, ALTER COLUMN above TYPE bigint;
BEGIN;
ALTER TABLE parent ALTER COLUMN id TYPE numeric USING id + 0, ADD COLUMN u uuid DEFAULT gen_random_uuid();
INSERT INTO parent VALUES (51, 'new');
ALTER TABLE child ALTER COLUMN parent TYPE numeric;
UPDATE child SET parent = 51 WHERE id = 7;
COMMIT;
-- the key keeps its type: nothing refers to it again, so nothing is computed in the copy
ALTER TABLE parent ADD COLUMN w float8 DEFAULT random();
DELETE FROM child WHERE parent = 3;
DELETE FROM parent WHERE id = 3;
