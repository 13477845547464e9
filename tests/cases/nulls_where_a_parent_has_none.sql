-- Before 18, an heir may have NULL where its parent may not.
SELECT current_setting('server_version_num')::int < 180000 AS older \gset
CREATE TABLE filled (a int NOT NULL, b text);
CREATE TABLE "heir ' of" () INHERITS (filled);
CREATE TABLE heir_of_heir () INHERITS ("heir ' of");
\if :older
ALTER TABLE ONLY "heir ' of" ALTER COLUMN a DROP NOT NULL;
\else
ALTER TABLE ONLY "heir ' of" ALTER COLUMN a SET DEFAULT 5;
\endif
INSERT INTO "heir ' of" (b) VALUES ('null');
-- after init
INSERT INTO "heir ' of" (b) VALUES ('null again');
