-- What pg_dump makes otherwise than it was: the order of inherited columns, functions of range types that were renamed.
CREATE SCHEMA "s; 2";
CREATE TABLE par (a int, b text DEFAULT 'p', c int NOT NULL, CONSTRAINT k CHECK (a > 0));
CREATE TABLE chi (x int, c int, "O d" varchar(7) COLLATE "C", CONSTRAINT k CHECK (a > 0)) INHERITS (par);
CREATE TABLE chi2 (b text DEFAULT 'c', a int, x text) INHERITS (par);
CREATE TABLE "s; 2"."multi
line" (q int) INHERITS (chi);
ALTER TABLE par ADD COLUMN late text DEFAULT E'x;\ny', ADD COLUMN gen int GENERATED ALWAYS AS (a + 1) STORED;
ALTER TABLE par ALTER COLUMN late SET STORAGE EXTERNAL;
ALTER TABLE chi2 ALTER COLUMN late SET DEFAULT 'other';
ALTER TABLE ONLY par DROP COLUMN b;
CREATE TABLE two (z int, i int GENERATED ALWAYS AS IDENTITY) INHERITS (chi2);
CREATE TABLE second (sec int, sec2 text);
ALTER TABLE two ADD COLUMN sec int, ADD COLUMN sec2 text;
ALTER TABLE two INHERIT second;
CREATE TABLE last (z int, own int GENERATED ALWAYS AS (z * 2) STORED) INHERITS (chi2);
CREATE TABLE computes (a int, g int GENERATED ALWAYS AS (z * 2) STORED, z int);
-- before 16 the order of such columns is not kept
SELECT current_setting('server_version_num')::int >= 160000 AS can \gset
\if :can
CREATE TABLE computes_first (g int GENERATED ALWAYS AS (z * 2) STORED, b int, a int, z int, c int);
ALTER TABLE computes_first INHERIT computes;
INSERT INTO computes_first (a, b, z) VALUES (1, 2, 3);
\endif
CREATE UNLOGGED TABLE unlogged_heir (w int) INHERITS (par);
ALTER TABLE par ADD COLUMN later text;
ALTER TABLE last DROP COLUMN own, ADD COLUMN own int GENERATED ALWAYS AS (z * 2) STORED;
INSERT INTO chi (a, c, x, later) VALUES (1, 2, 3, 'l');
INSERT INTO two (a, c, x, z, later) VALUES (1, 2, 'x', 4, 'l');
CREATE TABLE grows (id int PRIMARY KEY, a text);
CREATE TABLE heir (x text, y text) INHERITS (grows);
ALTER TABLE grows ADD COLUMN late text;
CREATE TABLE holder (id int PRIMARY KEY, h heir);
INSERT INTO holder VALUES (1, ROW(1, 'a', 'x', 'y', 'late'));
CREATE TABLE "!scribe_columns" (a int);
CREATE TABLE "!scribe_columns_0" (a int);
CREATE VIEW held AS SELECT id, (h).late, (h).x FROM holder;
-- what an heir takes of parents that came to differ from it and from each other
CREATE TABLE one_parent (a text, b text, c text, "D d" int DEFAULT 1);
CREATE TABLE "other
parent" (a text, b text, "D d" int);
CREATE TABLE of_both () INHERITS (one_parent, "other
parent");
CREATE TABLE of_them (late text) INHERITS (of_both);
ALTER TABLE ONLY one_parent ALTER a SET STORAGE EXTERNAL, ALTER c SET STORAGE MAIN, ALTER c SET COMPRESSION pglz;
ALTER TABLE ONLY "other
parent" ALTER b SET COMPRESSION pglz, ALTER "D d" SET DEFAULT 2;
ALTER TABLE ONLY of_both ALTER b SET STORAGE EXTERNAL;
ALTER TABLE of_both ADD COLUMN later text;
INSERT INTO of_them DEFAULT VALUES;
-- words of SQL as names
CREATE TABLE grouped (a int, "check" int NOT NULL);
CREATE TABLE "table" ("user" int, "like" holder, "end" text DEFAULT 'x', "check" int) INHERITS (grouped);
ALTER TABLE grouped ADD COLUMN "order" int;
INSERT INTO "table" VALUES (1, 2, 3);
CREATE TYPE "user" AS RANGE (subtype = text);
CREATE VIEW words AS SELECT "user"('a', 'b') AS a;
ALTER TYPE "user" RENAME TO "select";
CREATE MATERIALIZED VIEW seen AS SELECT * FROM held;
CREATE TYPE "R ng" AS RANGE (subtype = text, multirange_type_name = mr, collation = "C");
CREATE VIEW v AS SELECT "R ng"('a', 'b') AS a, mr("R ng"('a', 'c', '[]')) AS b;
ALTER TYPE "R ng" RENAME TO r2;
ALTER TYPE r2 SET SCHEMA "s; 2";
ALTER TYPE mr RENAME TO mr2;
-- a foreign table has its parent's compression, which no ALTER FOREIGN TABLE takes
CREATE FOREIGN DATA WRAPPER w;
CREATE SERVER far FOREIGN DATA WRAPPER w;
CREATE TABLE parted (a int, b text COMPRESSION pglz) PARTITION BY LIST (a);
CREATE FOREIGN TABLE parted_1 PARTITION OF parted FOR VALUES IN (1) SERVER far;
-- what pg_dump never says: triggers of constraints that are switched, the comment on a constraint trigger's constraint
CREATE TABLE referred (id int PRIMARY KEY, "u 1" int, CONSTRAINT "u 1" UNIQUE ("u 1") DEFERRABLE, other int UNIQUE);
CREATE TABLE refers (id int REFERENCES referred, b int REFERENCES referred,
    CONSTRAINT third FOREIGN KEY (id) REFERENCES referred (other));
ALTER TABLE refers DISABLE TRIGGER ALL;
ALTER TABLE referred DISABLE TRIGGER ALL;
-- a trigger of a user's that is called like one of a constraint
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER "RI_ConstraintTrigger_c_16000" AFTER INSERT ON refers FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE TRIGGER "RI_ConstraintTrigger_16001" AFTER INSERT ON refers FOR EACH ROW EXECUTE FUNCTION nothing();
ALTER TABLE refers DISABLE TRIGGER "RI_ConstraintTrigger_c_16000", ENABLE ALWAYS TRIGGER "RI_ConstraintTrigger_16001";
CREATE TABLE parts (id int REFERENCES referred, k int, UNIQUE (id, k) DEFERRABLE) PARTITION BY LIST (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE keyed_parts (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (id);
CREATE TABLE keyed_1 PARTITION OF keyed_parts FOR VALUES IN (1);
CREATE TABLE refers_parts (a int, b int, FOREIGN KEY (a, b) REFERENCES keyed_parts);
ALTER TABLE parts_1 DISABLE TRIGGER ALL;
ALTER TABLE keyed_1 DISABLE TRIGGER ALL;
CREATE CONSTRAINT TRIGGER watch AFTER INSERT ON refers FOR EACH ROW EXECUTE FUNCTION nothing();
COMMENT ON CONSTRAINT watch ON refers IS 'it''s \commented';
-- the sequence that LIKE makes is a bigint, with the bounds of the other
CREATE TABLE numbered (id int GENERATED ALWAYS AS IDENTITY (INCREMENT BY 3), small smallint GENERATED BY DEFAULT AS IDENTITY);
CREATE TABLE "numbered, too" (LIKE numbered INCLUDING ALL);
INSERT INTO "numbered, too" DEFAULT VALUES;
-- sequences of identity columns with a range that the column has not
CREATE TABLE wide (id int GENERATED BY DEFAULT AS IDENTITY, "B b" smallint GENERATED ALWAYS AS IDENTITY, v text);
ALTER SEQUENCE wide_id_seq AS bigint MINVALUE -5 MAXVALUE 3000000000 START 7 CYCLE CACHE 3;
ALTER SEQUENCE "wide_B b_seq" AS bigint INCREMENT 100000 MINVALUE 5 START 6 RESTART 6;
INSERT INTO wide (v) VALUES ('a');
SELECT setval('wide_id_seq', 2999999990);
-- after init
ALTER TABLE "numbered, too" ALTER id SET MAXVALUE 3000000000;
INSERT INTO refers VALUES (77, 77);
CREATE VIEW star AS SELECT * FROM two;
CREATE VIEW heirs AS SELECT * FROM heir;
CREATE OR REPLACE VIEW heirs AS SELECT id, a, x, y, late, 1 AS more FROM heir;
INSERT INTO holder VALUES (2, ROW(2, 'a', 'x', 'y', 'late'));
REFRESH MATERIALIZED VIEW seen;
CREATE TABLE copied AS SELECT * FROM chi;
INSERT INTO copied SELECT * FROM chi;
CREATE VIEW v2 AS SELECT "R ng"('a', 'b') AS a;
ALTER TABLE par ADD COLUMN streamed int DEFAULT 3;
INSERT INTO two (a, c, z) VALUES (5, 6, 7);
CREATE FOREIGN TABLE parted_2 PARTITION OF parted FOR VALUES IN (2) SERVER far;
