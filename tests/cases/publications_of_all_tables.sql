-- What ALTER PUBLICATION drops; a publication of all tables, under which tables without identity cannot be updated.
CREATE TABLE a (id int PRIMARY KEY);
CREATE TABLE b (id int PRIMARY KEY);
CREATE PUBLICATION chosen FOR TABLE a, b;
-- after init
ALTER PUBLICATION chosen DROP TABLE b;
ALTER PUBLICATION chosen ADD TABLE b;
ALTER PUBLICATION chosen SET TABLE a;
CREATE PUBLICATION every FOR ALL TABLES;
CREATE TABLE without (v int);
INSERT INTO without VALUES (1), (2);
UPDATE without SET v = 3 WHERE v = 1;
INSERT INTO a VALUES (1);
