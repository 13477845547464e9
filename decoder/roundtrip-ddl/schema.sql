-- A stand-in for capture: run() executes a statement and records it.
CREATE SCHEMA scribe;
CREATE TABLE scribe.ddl_history (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	kind text NOT NULL, tag text, object_type text, object_identity text,
	statement text, exact boolean NOT NULL DEFAULT true, reason text, role text,
	search_path text, settings text[], relids oid[], quiet text[]);
CREATE TABLE scribe.other (a int);

CREATE FUNCTION scribe.run(tag text, statement text, kind text DEFAULT 'ddl', relid text DEFAULT NULL,
	path text DEFAULT NULL, role text DEFAULT NULL, settings text[] DEFAULT NULL, quiet text[] DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('search_path', coalesce(path, 'public'), true);
	IF role IS NOT NULL THEN
		EXECUTE format('SET LOCAL ROLE %I', role);
	END IF;
	FOR i IN 1 .. coalesce(array_length(settings, 1), 0) / 2 LOOP
		PERFORM set_config(settings[2 * i - 1], settings[2 * i], true);
	END LOOP;
	EXECUTE statement;
	FOR i IN 1 .. coalesce(array_length(settings, 1), 0) / 2 LOOP
		EXECUTE format('RESET %s', settings[2 * i - 1]);
	END LOOP;
	RESET ROLE;
	PERFORM scribe.note(kind, tag, statement, to_regclass(relid), current_setting('search_path'), role, settings, quiet);
	PERFORM set_config('search_path', 'public', true);
END $$;

CREATE FUNCTION scribe.note(kind text, tag text, statement text DEFAULT NULL, relid oid DEFAULT NULL,
	path text DEFAULT 'public', role text DEFAULT NULL, settings text[] DEFAULT NULL, quiet text[] DEFAULT NULL)
RETURNS void LANGUAGE sql AS $$
	INSERT INTO scribe.ddl_history (kind, tag, statement, relids, search_path, role, settings, quiet)
	VALUES (kind, tag, statement, CASE WHEN relid IS NOT NULL THEN ARRAY[relid] END, path, role, settings, quiet)
$$;

DO $$ BEGIN
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'alice b') THEN CREATE ROLE "alice b"; END IF;
END $$;
GRANT CREATE ON SCHEMA public TO "alice b";
CREATE SCHEMA alice AUTHORIZATION "alice b";
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TYPE mood AS ENUM ('a', 'b');
CREATE TABLE moods (id mood PRIMARY KEY, v mood[]);
CREATE TABLE trig (id int PRIMARY KEY, v text);
CREATE FUNCTION trigf() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v = NEW.v || '!'; RETURN NEW; END $$;
CREATE TRIGGER up BEFORE INSERT OR UPDATE ON trig FOR EACH ROW EXECUTE FUNCTION trigf();
ALTER TABLE trig ENABLE REPLICA TRIGGER up;
CREATE TABLE nopk (a int, b text);
INSERT INTO nopk VALUES (1, 'x');
CREATE TABLE lost (a int PRIMARY KEY, b text);
ALTER TABLE lost REPLICA IDENTITY USING INDEX lost_pkey;
CREATE TABLE big (id int PRIMARY KEY, b text);
ALTER TABLE big ALTER b SET STORAGE EXTERNAL;
INSERT INTO big SELECT g, repeat(md5(g::text), 200) FROM generate_series(1, 3) g;
INSERT INTO big SELECT g, 'short' FROM generate_series(4, 30) g;
CREATE MATERIALIZED VIEW mv AS SELECT * FROM big;
CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'foreign event trigger fired'; END $$;
