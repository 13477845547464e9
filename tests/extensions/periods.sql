-- extension: periods btree_gist
CREATE TABLE before (id int, start_date date, end_date date, v text);
INSERT INTO before VALUES (1, '2020-01-01', '2021-01-01', 'a');
-- after init
CREATE EXTENSION periods CASCADE;
SELECT periods.add_period('before', 'validity', 'start_date', 'end_date');
SELECT periods.add_unique_key('before', ARRAY['id'], 'validity');
CREATE TABLE versioned (id int PRIMARY KEY, v text);
SELECT periods.add_system_time_period('versioned');
SELECT periods.add_system_versioning('versioned');
INSERT INTO versioned (id, v) VALUES (1, 'one'), (2, 'two');
UPDATE versioned SET v = 'uno' WHERE id = 1;
DELETE FROM versioned WHERE id = 2;
INSERT INTO before VALUES (1, '2021-01-01', '2022-01-01', 'b');
UPDATE before SET v = 'c' WHERE start_date = '2021-01-01';
SELECT periods.drop_system_versioning('versioned');
ALTER TABLE versioned ADD COLUMN w int DEFAULT 7;
