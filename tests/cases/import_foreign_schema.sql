-- IMPORT FOREIGN SCHEMA, as the first schema change of its session and later: what it made, without asking the server again.
CREATE EXTENSION postgres_fdw;
CREATE SCHEMA far;
CREATE TABLE far.one (id int PRIMARY KEY, "Odd ""name" varchar(3) COLLATE "C" DEFAULT 'q' NOT NULL);
CREATE TABLE far.two (g int, h int GENERATED ALWAYS AS (g * 2) STORED);
DO $$ BEGIN EXECUTE format('CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L)', split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database()); END $$;
CREATE USER MAPPING FOR CURRENT_USER SERVER here;
CREATE SCHEMA near;
CREATE SCHEMA nearer;
-- after init
IMPORT FOREIGN SCHEMA far FROM SERVER here INTO near OPTIONS (import_default 'true');
IMPORT FOREIGN SCHEMA far LIMIT TO (two) FROM SERVER here INTO nearer;
DROP TABLE far.two;
