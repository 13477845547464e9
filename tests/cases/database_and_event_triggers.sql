-- Commands that fire no event trigger but change the database.
CREATE TABLE t (id int PRIMARY KEY);
CREATE FUNCTION evt() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE DEBUG 'fired'; END $$;
CREATE EVENT TRIGGER scribecase_old ON ddl_command_start EXECUTE FUNCTION evt();
-- after init
CREATE TABLE first (id int PRIMARY KEY);
CREATE EVENT TRIGGER scribecase_new ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION evt();
ALTER EVENT TRIGGER scribecase_old DISABLE;
ALTER EVENT TRIGGER scribecase_new RENAME TO "scribecase ""renamed";
CREATE TABLE second (id int PRIMARY KEY);
COMMENT ON EVENT TRIGGER "scribecase ""renamed" IS 'kept';
DROP EVENT TRIGGER scribecase_old;
INSERT INTO t VALUES (1);
