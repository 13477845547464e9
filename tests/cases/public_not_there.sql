-- Every new database has the schema public, and pg_dump does not say of a source that has it no more.
DROP SCHEMA public CASCADE;
CREATE SCHEMA app;
CREATE TABLE app.t (id int PRIMARY KEY);
INSERT INTO app.t VALUES (1);
-- after init
CREATE SCHEMA public;
CREATE TABLE public.t (id int PRIMARY KEY);
INSERT INTO public.t VALUES (1);
GRANT USAGE ON SCHEMA public TO PUBLIC;
DROP SCHEMA public CASCADE;
INSERT INTO app.t VALUES (2);
