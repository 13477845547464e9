-- What is made of, or like, a temporary table; statements on both kinds.
CREATE TABLE keep (id int PRIMARY KEY);
-- after init
CREATE TEMP TABLE tmp (a int NOT NULL DEFAULT 7 CHECK (a > 0), b text);
CREATE TABLE as_tmp (LIKE tmp INCLUDING ALL, c int UNIQUE);
INSERT INTO as_tmp VALUES (1, 'x', 2), (3, 'y', 4);
CREATE FUNCTION of_tmp() RETURNS SETOF tmp LANGUAGE sql AS 'SELECT * FROM tmp';
COMMENT ON FUNCTION of_tmp() IS 'gone with the session';
CREATE FUNCTION of_tmp2() RETURNS tmp LANGUAGE sql AS 'SELECT * FROM tmp LIMIT 1';
DROP FUNCTION of_tmp();
CREATE DOMAIN tmp_domain AS tmp;
CREATE RULE r AS ON INSERT TO tmp DO ALSO NOTHING;
DROP RULE r ON tmp;
CREATE INDEX tmp_i ON tmp (a);
CLUSTER tmp USING tmp_i;
CREATE TABLE perm (a int);
DROP TABLE perm, tmp CASCADE;
CREATE FUNCTION of_keep() RETURNS SETOF keep LANGUAGE sql AS 'SELECT * FROM keep';
