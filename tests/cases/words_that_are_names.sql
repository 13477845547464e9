-- Words that no transaction allows, and names that are spelled alike: only the word goes. And comments between words.
DO $$ BEGIN CREATE ROLE scribe_case_speller; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE SCHEMA spelled AUTHORIZATION scribe_case_speller;
-- after init
SET ROLE scribe_case_speller;
SET search_path = spelled;
CREATE FUNCTION "concurrently"(boolean) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE DOMAIN "concurrently" AS int;
CREATE DOMAIN finalize AS int;
CREATE TABLE t (a int PRIMARY KEY, b boolean);
INSERT INTO t VALUES (1, false), (2, true), (3, true);
CREATE INDEX i ON t (a) WHERE concurrently(b);
CREATE UNIQUE /* concurrently */ INDEX /* /* */ not yet */ CONCURRENTLY j ON t (a) WHERE concurrently(b);
ALTER TABLE t ADD detach int, ADD partition int, ADD c concurrently;
ALTER TABLE t ADD d int, ADD detach2 finalize;
ALTER TABLE t ALTER detach TYPE finalize;
ALTER DOMAIN finalize RENAME TO finalized;  -- a table has it as its type's name from here on

SELECT current_setting('server_version_num')::int >= 140000 AS detaches \gset
\if :detaches
CREATE TABLE detach (a int PRIMARY KEY) PARTITION BY RANGE (a);
CREATE TABLE finalize PARTITION OF detach FOR VALUES FROM (0) TO (10);
CREATE TABLE partition PARTITION OF detach FOR VALUES FROM (10) TO (20);
CREATE TABLE "if" (a int PRIMARY KEY) PARTITION BY RANGE (a);
CREATE TABLE u PARTITION OF "if" FOR VALUES FROM (0) TO (10);
CREATE TABLE v PARTITION OF "if" FOR VALUES FROM (10) TO (20);
CREATE TABLE w PARTITION OF "if" FOR VALUES FROM (20) TO (30);
INSERT INTO detach VALUES (1), (11);
INSERT INTO "if" VALUES (1), (11), (21);
ALTER TABLE detach DETACH PARTITION finalize;
ALTER TABLE ONLY (spelled.detach) DETACH PARTITION spelled . partition CONCURRENTLY;
ALTER TABLE IF EXISTS if * DETACH PARTITION U&"\0075" CONCURRENTLY -- FINALIZE
;

-- what fails between its two transactions is taken to its end later
RESET ROLE;
CREATE FUNCTION fail() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
CREATE EVENT TRIGGER fail ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION fail();
\set ON_ERROR_STOP off
ALTER TABLE if DETACH PARTITION v CONCURRENTLY;
\set ON_ERROR_STOP on
DROP EVENT TRIGGER fail;
SET ROLE scribe_case_speller;
INSERT INTO v VALUES (12);
ALTER TABLE if DETACH /* */ PARTITION spelled.v/**/FINALIZE /* at last */;
INSERT INTO v VALUES (13);
INSERT INTO "if" VALUES (22);
\endif

-- indexes that were left invalid, which no copy has
\set ON_ERROR_STOP off
CREATE UNIQUE INDEX CONCURRENTLY x ON t (b);
CREATE UNIQUE INDEX CONCURRENTLY y ON t (b);
CREATE UNIQUE INDEX CONCURRENTLY z ON t (b);
CREATE UNIQUE INDEX CONCURRENTLY zz ON t (b);
CREATE UNIQUE INDEX CONCURRENTLY ON t (b);
\set ON_ERROR_STOP on
CREATE /* beside them */ INDEX ON t (b);
CREATE INDEX -- named
    CONCURRENTLY ON t (b);
ALTER INDEX t_b_idx1 RENAME TO second;
ALTER INDEX t_b_idx2 RENAME TO third;
DROP INDEX t_b_idx;
DROP /* it */ INDEX x;
DROP INDEX/**/y;
DROP INDEX -- CONCURRENTLY
    CONCURRENTLY z;
DROP INDEX /* if */ IF /* it */ EXISTS zz;
