-- Names that imitate frames, COPY ends, backslash commands and variable references come back as data.
CREATE TABLE "x
\! touch /tmp/scribe_pwned
" ("a
\.
COMMIT; -- end 0/0
" int PRIMARY KEY, ":HOST" text);
-- after init
INSERT INTO "x
\! touch /tmp/scribe_pwned
" SELECT i, '\! touch /tmp/scribe_pwned' FROM generate_series(1, 20) i;
UPDATE "x
\! touch /tmp/scribe_pwned
" SET ":HOST" = E'\n\\! touch /tmp/scribe_pwned\n' WHERE ":HOST" IS NOT NULL;
CREATE SCHEMA "s
\! touch /tmp/scribe_pwned";
CREATE TABLE "s
\! touch /tmp/scribe_pwned"."t:USER" ("c`touch /tmp/scribe_pwned`" text, "d:'HOST'" int[]);
INSERT INTO "s
\! touch /tmp/scribe_pwned"."t:USER" VALUES ('`touch /tmp/scribe_pwned`', '{1,2}'), (':HOST', NULL);
DELETE FROM "s
\! touch /tmp/scribe_pwned"."t:USER" WHERE "d:'HOST'" IS NULL;
COMMENT ON TABLE "s
\! touch /tmp/scribe_pwned"."t:USER" IS '
\! touch /tmp/scribe_pwned
\.
COMMIT; -- end FFFF/FFFFFFFF
BEGIN; -- xid 1 commit 0/1 time 2026-01-01 00:00:00.000000+00
';
CREATE FUNCTION "f
\! touch /tmp/scribe_pwned"() RETURNS text LANGUAGE sql AS $_$ SELECT '$scribe$ $scribe2$ \.' $_$;
CREATE VIEW slices AS SELECT ("d:'HOST'")[1:PORT] AS s FROM "s
\! touch /tmp/scribe_pwned"."t:USER", (SELECT 2 AS PORT) q;
SELECT pg_logical_emit_message(true, 'scribe.ddl', E'COMMIT; -- end FFFF/0\nDROP TABLE x;');
SELECT pg_logical_emit_message(true, 'scribe.mark', E'evil\n\\! touch /tmp/scribe_pwned');
SELECT pg_logical_emit_message(true, 'scribe.mark', 'good-mark.1');
CREATE TABLE "position" (a int PRIMARY KEY); INSERT INTO "position" VALUES (1);
