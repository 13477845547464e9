-- extension: plperl plpython3u pllua plsh jsonb_plperl hstore hstore_plperl jsonb_plpython3u
CREATE EXTENSION plperl;
CREATE EXTENSION plpython3u;
CREATE FUNCTION p(a int) RETURNS int LANGUAGE plperl AS $$ return $_[0] * 2; $$;
CREATE FUNCTION y(a int) RETURNS int LANGUAGE plpython3u AS $$
return a + 1
$$;
CREATE TABLE keyed (id int PRIMARY KEY, v int);
CREATE TABLE keyless (v int, w text);
-- after init
CREATE EXTENSION pllua;
CREATE EXTENSION plsh;
CREATE FUNCTION l(a int) RETURNS int LANGUAGE pllua AS $$ return a - 1 $$;
CREATE FUNCTION s(a text) RETURNS text LANGUAGE plsh AS $$
#!/bin/sh
echo "$1!"
$$;
CREATE FUNCTION ddl() RETURNS void LANGUAGE plpython3u AS $$
plpy.execute("CREATE TABLE made_in_python (id int)")
plpy.execute("INSERT INTO made_in_python VALUES (1)")
$$;
CREATE FUNCTION ddl_perl() RETURNS void LANGUAGE plperl AS $$
spi_exec_query("CREATE TABLE made_in_perl (id int)");
spi_exec_query("INSERT INTO made_in_perl VALUES (2)");
$$;
SELECT ddl(), ddl_perl();
INSERT INTO keyed SELECT n, p(y(l(n))) FROM generate_series(1, 5) AS n;
INSERT INTO keyless SELECT v, s(v::text) FROM keyed;
ALTER TABLE keyed ADD COLUMN p int DEFAULT p(21);
UPDATE keyless SET w = s(w) WHERE v = 4;
CREATE EXTENSION jsonb_plperl;
CREATE EXTENSION hstore_plperl CASCADE;
DROP EXTENSION plsh CASCADE;
CREATE EXTENSION plsh;
