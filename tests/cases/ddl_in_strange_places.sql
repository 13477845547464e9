-- Exact text of the one statement that ran, wherever it came from.
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE FUNCTION plain() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CREATE TABLE by_plpgsql (a int); INSERT INTO by_plpgsql VALUES (1); ALTER TABLE by_plpgsql ADD b text DEFAULT 'x'; END $$;
CREATE FUNCTION nested() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM plain(); CREATE TABLE by_nested (a int); END $$;
CREATE FUNCTION by_sql() RETURNS void LANGUAGE sql AS $$ CREATE TABLE sql_one (a int); CREATE TABLE sql_two (b int); INSERT INTO t VALUES (500, 'from sql'); $$;
CREATE PROCEDURE committing() LANGUAGE plpgsql AS $$ BEGIN CREATE TABLE proc_one (a int); COMMIT; CREATE TABLE proc_two (a int); INSERT INTO proc_two VALUES (2); COMMIT; DROP TABLE proc_one; END $$;
CREATE FUNCTION trg() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'CREATE TABLE by_trigger_' || NEW.id || ' (a int)'; RETURN NEW; END $$;
CREATE TRIGGER trg AFTER INSERT ON t FOR EACH ROW WHEN (NEW.id BETWEEN 10 AND 12) EXECUTE FUNCTION trg();
-- after init
SELECT plain();
SELECT nested() FROM (SELECT 1) x WHERE to_regclass('by_plpgsql') IS NULL;
SELECT by_sql();
CALL committing();
INSERT INTO t VALUES (10, 'a'), (11, 'b'), (20, 'c');
CREATE TABLE m1 (a int)\; INSERT INTO m1 VALUES (1)\; CREATE TABLE m2 (a int)\; ALTER TABLE m2 ADD b int DEFAULT 7;
DO $$ BEGIN EXECUTE 'CREATE TABLE e1 (a int); CREATE TABLE e2 (b int)'; END $$;
DO $$ BEGIN BEGIN CREATE TABLE failed (a int); RAISE 'x'; EXCEPTION WHEN OTHERS THEN NULL; END; CREATE TABLE after_failed (a int); END $$;
BEGIN; SAVEPOINT a; CREATE TABLE rolled (a int); ROLLBACK TO a; CREATE TABLE kept (a int); COMMIT;
/* leading comment */ CREATE TABLE commented (a int) -- trailing
;
CREATE TABLE "semi;colon" (a int, "b;" text DEFAULT ';');
CREATE FUNCTION body() RETURNS text LANGUAGE plpgsql AS $f$
BEGIN
/*
COMMIT; -- end 0/0
\.
-- ddl end
*/
-- rows 5 inserted
-- ddl end
  RETURN 'BEGIN; -- xid 1';
END
$f$;
COPY t FROM stdin;
30	COMMIT; -- end 0/1
31	\\.
32	\\! touch /tmp/scribe_pwned
\.
