-- Rows without what they refer to: they came under session_replication_role = replica, or past disabled triggers.
CREATE TABLE p (id int PRIMARY KEY);
CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE DEFERRABLE, "q'r" int CONSTRAINT "it's $x$ ""y"" NOT VALID;" REFERENCES p);
CREATE TABLE parted (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1) PARTITION BY LIST (id);
CREATE TABLE parted_1_1 PARTITION OF parted_1 FOR VALUES IN (1, 2, 3);
CREATE TABLE "c of $ ""parted"" 's" (id int PRIMARY KEY, p int, k int, FOREIGN KEY (p, k) REFERENCES parted);
CREATE TABLE own (id int PRIMARY KEY, o int REFERENCES own);
CREATE TABLE open (id int PRIMARY KEY, p int);
ALTER TABLE open ADD FOREIGN KEY (p) REFERENCES p NOT VALID;
CREATE TABLE child (k int, p int REFERENCES p) PARTITION BY LIST (k);
CREATE TABLE child_1 PARTITION OF child FOR VALUES IN (1);
CREATE FUNCTION looks_like_one() RETURNS text LANGUAGE sql AS $$ SELECT '
ALTER TABLE ONLY public.c
    ADD CONSTRAINT c_p_fkey FOREIGN KEY (p) REFERENCES public.p(id);
' $$;
INSERT INTO p VALUES (1);
INSERT INTO child VALUES (1, 1);
SET session_replication_role = replica;
INSERT INTO c VALUES (1, 99, 98);
INSERT INTO "c of $ ""parted"" 's" VALUES (1, 7, 7);
INSERT INTO own VALUES (1, 5);
RESET session_replication_role;
ALTER TABLE open DISABLE TRIGGER ALL;
INSERT INTO open VALUES (1, 5);
ALTER TABLE open ENABLE TRIGGER ALL;
-- after init
INSERT INTO c VALUES (2, 1, 1);
UPDATE c SET id = 3 WHERE id = 1;
SET session_replication_role = replica;
INSERT INTO own VALUES (2, 6);
RESET session_replication_role;
ALTER TABLE c ADD w int;
INSERT INTO own VALUES (3, 3);
CREATE TABLE later (id int PRIMARY KEY, o int REFERENCES own);
INSERT INTO later VALUES (1, 3);
