-- Found by tests/fuzz: the first schema change of a session that quotes all identifiers.
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE FUNCTION makes() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CREATE TABLE made (a int); END $$;
-- after init
SET quote_all_identifiers = on;
ALTER TABLE t ADD COLUMN w numeric[];
\connect -
SET quote_all_identifiers = on;
SELECT makes();
DROP TABLE made;
CREATE TEMP TABLE passing (a int);
COMMENT ON TABLE passing IS 'x';
DROP TABLE passing;
CREATE TABLE scribe_like (a int);
DROP TABLE scribe_like;
