-- Identifiers: of schemas, tables and columns; words of SQL, capitals, control characters, and what looks like a frame.
CREATE TABLE "Capital" ("Id" int PRIMARY KEY, "user" int, "select" int, "é" int, "1st" int, a$b int, "a b" int);
INSERT INTO "Capital" VALUES (1, 2, 3, 4, 5, 6, 7);
UPDATE "Capital" SET "user" = 0, "a b" = 8;
DELETE FROM "Capital";
CREATE TABLE "q""uote" ("a""b" int PRIMARY KEY, "it's" int, "back\slash" int);
INSERT INTO "q""uote" VALUES (1, 2, 3);
CREATE SCHEMA "s
\.";
CREATE TABLE "s
\."."t
COMMIT; -- end 0/0" ("k	tab" int PRIMARY KEY, "c
-- xid" int, "U&""\0041" int);
INSERT INTO "s
\."."t
COMMIT; -- end 0/0" VALUES (1, 2, 3);
UPDATE "s
\."."t
COMMIT; -- end 0/0" SET "k	tab" = 4;
DELETE FROM "s
\."."t
COMMIT; -- end 0/0";
CREATE TABLE "table" ("COPY " int PRIMARY KEY, "value" int, "xmlelement" int, "between" int);
INSERT INTO "table" VALUES (1, 2, 3, 4);
CREATE TYPE "T y" AS ENUM ('it''s', '\.');
CREATE TABLE typed (id int PRIMARY KEY, e "T y", es "T y"[]);
INSERT INTO typed VALUES (1, 'it''s', ARRAY['\.']::"T y"[]);
UPDATE typed SET e = '\.' WHERE e = 'it''s';
