-- extension: orafce
CREATE TABLE keyed (id int PRIMARY KEY, v text);
-- after init
CREATE EXTENSION orafce;
CREATE TABLE o (id int PRIMARY KEY, v oracle.varchar2(10), n oracle.nvarchar2(5), d oracle.date);
INSERT INTO o VALUES (1, 'abc', 'de', '2024-01-02 03:04:05'), (2, NULL, 'x', NULL);
UPDATE o SET v = 'zz' WHERE id = 2;
CREATE TABLE keyless (v oracle.varchar2(10), d oracle.date);
INSERT INTO keyless SELECT v, d FROM o;
UPDATE keyless SET v = 'q' WHERE v = 'zz';
DELETE FROM keyless WHERE v = 'abc';
DROP EXTENSION orafce CASCADE;
CREATE EXTENSION orafce;
