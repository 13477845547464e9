-- CREATE EXTENSION and its members; CREATE SCHEMA with elements: once, no doubling.
CREATE EXTENSION hstore;
-- after init
CREATE EXTENSION citext;
CREATE SCHEMA ext;
CREATE EXTENSION pgcrypto SCHEMA ext;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE TABLE c (id citext PRIMARY KEY, h hstore);
INSERT INTO c VALUES ('Abc', 'a=>1'), ('DEF', 'b=>NULL, "c d"=>"e f"');
UPDATE c SET h = h || 'z=>9' WHERE id = 'abc';
DELETE FROM c WHERE id = 'def';
CREATE SCHEMA made CREATE TABLE one (id serial PRIMARY KEY, v text) CREATE VIEW two AS SELECT * FROM one CREATE INDEX one_v ON one (v);
INSERT INTO made.one (v) VALUES ('x');
CREATE EXTENSION postgres_fdw;
CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere.invalid', dbname 'x');
CREATE USER MAPPING FOR CURRENT_USER SERVER away OPTIONS (user 'u', password 'p');
CREATE FOREIGN TABLE ft (a int) SERVER away;
ALTER EXTENSION pgcrypto SET SCHEMA public;
DROP EXTENSION postgres_fdw CASCADE;
CREATE EXTENSION intarray;
DROP EXTENSION intarray;
