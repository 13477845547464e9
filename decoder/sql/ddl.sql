-- Rows of scribe.ddl_history.
\set VERBOSITY terse
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA scribe;
CREATE TABLE scribe.ddl_history (id bigserial PRIMARY KEY, kind text, tag text, statement text, exact boolean DEFAULT true,
	reason text, role text, search_path text DEFAULT 'public', settings text[], relids oid[], quiet text[],
	session_role text, client_addr text, application_name text);
CREATE TABLE scribe.private (a int);
SELECT 'slot' FROM pg_create_logical_replication_slot('ddl', 'scribe_decoder');
CREATE VIEW stream AS SELECT data FROM pg_logical_slot_get_changes('ddl', NULL, NULL, 'include-position', 'off');

INSERT INTO scribe.private VALUES (1);
UPDATE scribe.ddl_history SET tag = tag;
SELECT * FROM stream;

-- plain
INSERT INTO scribe.ddl_history (kind, tag, statement, role, settings, session_role, client_addr, application_name) VALUES
	('ddl', 'ALTER TABLE', E'ALTER TABLE t\n\tADD b int -- comment', 'alice',
	 '{datestyle,"SQL, DMY",work_mem,4MB,app.tenant,it''s,"bad name",x}', 'alice', '10.0.0.5', E'x) inexact: \nCOMMIT; -- end 0/0');
SELECT * FROM stream;

-- what psql would misread, and what would forge a frame
INSERT INTO scribe.ddl_history (kind, tag, statement) VALUES
	('ddl', 'X', E'SELECT $$\nCOMMIT; -- end 0/0\n$$'),
	('ddl', 'X', E'SELECT $$\n  -- rows\n$$'),
	('ddl', 'X', E'SELECT $$\n\\! true\n$$'),
	('ddl', 'X', E'SELECT $$\nCOPY x FROM stdin\n$$'),
	('ddl', 'X', E'SELECT $$\nSET LOCAL ROLE x;\n$$'),
	('ddl', 'X', E'SELECT \'a\r\nb\''),
	('ddl', 'X', 'SELECT :x'),
	('ddl', 'X', 'SELECT '':"x'''),
	('ddl', 'X', 'SELECT 1 \gexec'),
	('ddl', 'X', 'SELECT 1; SELECT 2'),
	('ddl', 'X', 'SELECT (1'),
	('ddl', 'X', 'SELECT 1)'),
	('ddl', 'X', 'SELECT ''1'),
	('ddl', 'X', 'SELECT $x$ 1 $y$'),
	('ddl', 'X', 'SELECT /* 1 /* */'),
	('ddl', 'X', 'SELECT 1 /* \ */'),
	('ddl', 'X', E'SELECT E\'a\'\n\'\\\'\''),
	('ddl', 'X', 'CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END'),
	('ddl', 'X', 'SELECT $scribe$ \ :x $scribe$');
SELECT * FROM stream;

-- what only looks dangerous
INSERT INTO scribe.ddl_history (kind, tag, statement) VALUES
	('ddl', 'X', 'SELECT 1::int, ''a\b'', E''it\''s;'', $a$ ; '' $$ \ $a$, "q""x;" -- it''s'),
	('ddl', 'X', 'CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2)'),
	('ddl', 'X', '/* nested /* ; */ '' */ SELECT (((1)))');
SELECT * FROM stream;
INSERT INTO scribe.ddl_history (kind, tag, statement, settings) VALUES
	('ddl', 'X', $x$SELECT 'a\'b', date'2024-01-01', n'\\', E'\'', b'1', 'c' -- it's
	'\d', 1 AS "it's", $$'\$$ /* ' /* ' */ */$x$, '{standard_conforming_strings,off}');
SELECT * FROM stream;

-- CONCURRENTLY as a word only
INSERT INTO scribe.ddl_history (kind, tag, statement) VALUES
	('ddl', 'CREATE INDEX', 'CREATE UNIQUE INDEX concurrently "concurrently" ON t (a)'),
	('ddl', 'DROP INDEX', 'DROP INDEX CONCURRENTLY IF EXISTS i'),
	('ddl', 'REINDEX', 'REINDEX (CONCURRENTLY TRUE, VERBOSE) INDEX i'),
	('ddl', 'ALTER TABLE', 'ALTER TABLE t DETACH PARTITION p CONCURRENTLY'),
	('ddl', 'ALTER TABLE', 'ALTER TABLE t ADD c concurrently'),
	('ddl', 'COMMENT', 'COMMENT ON TABLE t IS $$CONCURRENTLY$$');
SELECT * FROM stream;

-- search paths
INSERT INTO scribe.ddl_history (kind, tag, statement, search_path) VALUES
	('ddl', 'X', 'SELECT 1', '"$user", public'),
	('ddl', 'X', 'SELECT 1', ''),
	('ddl', 'X', 'SELECT 1', '""'),
	('ddl', 'X', 'SELECT 1', '"", public'),
	('ddl', 'X', 'SELECT 1', 'select'),
	('ddl', 'X', 'SELECT 1', E'"a\nCOMMIT; -- end"'),
	('ddl', 'X', 'SELECT 1', 'a; DROP TABLE t'),
	('ddl', 'X', 'SELECT 1', NULL);
SELECT * FROM stream;

-- what cannot be carried is said
INSERT INTO scribe.ddl_history (kind, tag, statement, exact, reason) VALUES
	('ddl', E'X\nCOMMIT; -- end', 'SELECT 1', false, E'a\nb'),
	('ddl', 'SELECT', 'SELECT 1', false, E'a\nb'),
	('ddl', 'X', ' ', true, 'why'),
	('odd', 'X', 'SELECT 1', true, NULL),
	('create', 'CREATE TABLE AS', NULL, true, NULL);
SELECT * FROM stream;

-- what was not proved: only the one statement that it can be
ALTER TABLE scribe.ddl_history ADD object_identity text;
INSERT INTO scribe.ddl_history (kind, tag, statement, exact, reason, object_identity, settings) VALUES
	('ddl', 'CREATE VIEW', 'INSERT INTO t VALUES (1); CREATE VIEW v AS SELECT '';'' AS a; SELECT 2', false, 'one fits', NULL, NULL),
	('ddl', 'CREATE VIEW', 'CREATE VIEW v AS SELECT 1; CREATE VIEW "V w" AS SELECT 2', false, 'named', 's."V w"', NULL),
	('ddl', 'CREATE FUNCTION', 'CREATE FUNCTION f() RETURNS int AS $$SELECT 1;$$ LANGUAGE sql; CREATE FUNCTION g() RETURNS int AS $$SELECT 1;$$ LANGUAGE sql', false, 'named', 's.g()', NULL),
	('ddl', 'CREATE VIEW', 'CREATE VIEW v AS SELECT 1; CREATE VIEW v AS SELECT 2', false, 'two fit', 's.v', NULL),
	('ddl', 'CREATE VIEW', 'SELECT make_view()', false, 'none fits', 's.v', NULL),
	('ddl', 'CREATE VIEW', 'CREATE VIEW v AS (', false, 'not SQL', 's.v', NULL),
	('ddl', 'COMMENT', 'COMMENT ON TABLE t IS ''a\''; DROP TABLE t; --''', false, 'strings as the session read them', NULL, '{standard_conforming_strings,off}');
SELECT * FROM stream;

-- a table and its rows in one transaction
BEGIN;
CREATE TABLE made WITH (fillfactor = 50) AS SELECT g AS a, 'x'::varchar(5) AS b, 'y' COLLATE "C" AS c FROM generate_series(1, 2) g;
INSERT INTO scribe.ddl_history (kind, tag, relids) VALUES ('create', 'CREATE TABLE AS', ARRAY['made'::regclass]);
COMMIT;
SELECT replace(data, quote_ident(current_user), 'OWNER') FROM stream;
BEGIN;
CREATE TABLE announced (a int PRIMARY KEY, b text);
INSERT INTO scribe.ddl_history (kind, tag, statement, relids) VALUES
	('ddl', 'CREATE TABLE', 'CREATE TABLE announced (a int PRIMARY KEY, b text)', ARRAY['announced'::regclass]);
INSERT INTO announced VALUES (1, 'x'), (2, 'y');
COMMIT;
SELECT * FROM stream;

-- rows sent again, rows of scripts
BEGIN;
ALTER TABLE announced REPLICA IDENTITY FULL;
INSERT INTO scribe.ddl_history (kind, relids) VALUES ('refill', ARRAY['announced'::regclass]);
UPDATE announced SET a = a;
INSERT INTO scribe.ddl_history (kind) VALUES ('refilled');
ALTER TABLE announced REPLICA IDENTITY DEFAULT;
UPDATE announced SET b = 'z' WHERE a = 1;
COMMIT;
BEGIN;
INSERT INTO scribe.ddl_history (kind) VALUES ('script');
INSERT INTO announced VALUES (3, 'x');
INSERT INTO scribe.ddl_history (kind) VALUES ('scripted');
INSERT INTO announced VALUES (4, 'x');
COMMIT;
SELECT * FROM stream;

-- only a superuser's schema gives orders
CREATE ROLE scribe_regress;
ALTER SCHEMA scribe OWNER TO scribe_regress;
INSERT INTO scribe.ddl_history (kind, tag, statement) VALUES ('ddl', 'X', 'DROP TABLE announced');
SELECT * FROM stream;

SELECT 'dropped' FROM pg_drop_replication_slot('ddl');
DROP VIEW stream;
DROP TABLE made, announced;
DROP SCHEMA scribe CASCADE;
DROP ROLE scribe_regress;
