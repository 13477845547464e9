-- Contents of unlogged tables are not in the stream; SET LOGGED brings their rows in.
CREATE UNLOGGED TABLE early (id int PRIMARY KEY, v text);
-- after init
CREATE UNLOGGED TABLE late (id int, v text, big text);
INSERT INTO late SELECT i, 'v' || i, CASE WHEN i % 5 = 0 THEN repeat(md5(i::text), 200) END FROM generate_series(1, 30) i;
ALTER TABLE late SET LOGGED;
UPDATE late SET v = 'changed' WHERE id = 3;
DELETE FROM late WHERE id = 4;
INSERT INTO early VALUES (1, 'a'), (2, 'b');
ALTER TABLE early SET LOGGED;
INSERT INTO early VALUES (3, 'c');
