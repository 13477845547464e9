-- extension: table_log
-- flagged with pgoutput: a function in a string that may end in more than one place
CREATE EXTENSION table_log;
CREATE TABLE keyed (id int PRIMARY KEY, v text);
SELECT table_log_init(5, 'keyed');
-- after init
INSERT INTO keyed VALUES (1, 'a'), (2, 'b');
UPDATE keyed SET v = 'c' WHERE id = 1;
DELETE FROM keyed WHERE id = 2;
CREATE TABLE other (id int PRIMARY KEY, v text);
SELECT table_log_init(4, 'other');
INSERT INTO other VALUES (1, 'x');
DROP EXTENSION table_log CASCADE;
CREATE EXTENSION table_log;
