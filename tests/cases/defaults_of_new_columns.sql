-- Only the command that adds a column gives rows a value, and only a value that the copy would not find by itself.
CREATE TABLE t (id int PRIMARY KEY);
INSERT INTO t VALUES (1), (2), (3);
CREATE TABLE older (id int PRIMARY KEY);
INSERT INTO older VALUES (1), (2);
ALTER TABLE older ADD COLUMN a timestamptz DEFAULT now(), ADD COLUMN b bigint DEFAULT 0, ADD COLUMN c varchar(20) DEFAULT 'x';
UPDATE older SET a = '2000-01-01', b = 7, c = 'mine' WHERE id = 1;
CREATE DOMAIN positive AS int;
CREATE DOMAIN stamp AS timestamptz DEFAULT now();
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE FUNCTION lies() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT current_setting('application_name') $$;
CREATE TABLE pt (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE pt1 PARTITION OF pt FOR VALUES FROM (0) TO (10);
INSERT INTO pt VALUES (1), (2);
CREATE TABLE par (id int PRIMARY KEY);
CREATE TABLE chi (PRIMARY KEY (id), a timestamptz) INHERITS (par);
INSERT INTO par VALUES (1); INSERT INTO chi VALUES (2, '2001-01-01');
-- after init
BEGIN; ALTER TABLE t ADD COLUMN a text NOT NULL DEFAULT 'x'; UPDATE t SET a = 'y' WHERE id = 1; ALTER TABLE t ALTER COLUMN a DROP DEFAULT; COMMIT;
ALTER TABLE t ADD COLUMN b bigint DEFAULT 0, ADD COLUMN c varchar(20) DEFAULT 'x', ADD COLUMN d numeric(10,2) DEFAULT 1, ADD COLUMN e mood DEFAULT 'glad',
  ADD COLUMN f text[] DEFAULT ARRAY['a', 'b'], ADD COLUMN g positive DEFAULT 3, ADD COLUMN h date DEFAULT '2020-01-01';
UPDATE t SET b = 5, c = 'z', d = 2, e = 'sad', f = '{}', g = 4, h = '2021-01-01' WHERE id = 2;
ALTER TABLE t ALTER b DROP DEFAULT, ALTER c SET DEFAULT now()::text, ALTER d SET NOT NULL, ALTER e SET STATISTICS 7;
ALTER TABLE t RENAME COLUMN b TO bb;
ALTER TABLE t ALTER c TYPE varchar(40);
ALTER TABLE t ALTER f SET (n_distinct = 5), ALTER g DROP DEFAULT, ALTER h SET DEFAULT current_date;
ALTER TABLE t ADD COLUMN i timestamptz DEFAULT now(), ADD COLUMN j text DEFAULT current_user, ADD COLUMN k text DEFAULT lies();
UPDATE t SET i = '1999-01-01', j = 'nobody', k = 'nothing' WHERE id = 3;
ALTER TABLE t ALTER i DROP DEFAULT;
ALTER TABLE t ALTER i SET DEFAULT clock_timestamp(), ALTER j SET NOT NULL, ALTER k SET STATISTICS 5;
ALTER TABLE t RENAME COLUMN i TO ii;
ALTER TABLE t ADD COLUMN IF NOT EXISTS ii timestamptz DEFAULT now();
ALTER TABLE t ADD COLUMN m timestamptz DEFAULT now(), ALTER COLUMN m SET DEFAULT '2000-01-01';
ALTER TABLE t ADD COLUMN n timestamptz DEFAULT 'now', ADD COLUMN o text DEFAULT 'now';
ALTER TABLE t ADD COLUMN p stamp;
SET app.tenant = 'it''s \ red';
ALTER TABLE t ADD COLUMN "the ""q" text DEFAULT current_setting('app.tenant', true);
RESET app.tenant;
ALTER TABLE t ADD COLUMN r oid DEFAULT 't'::regclass, ADD COLUMN s bigint DEFAULT 't'::regclass::oid, ADD COLUMN u int DEFAULT hashenum('glad'::mood),
  ADD COLUMN v regclass DEFAULT 't', ADD COLUMN w timestamptz(3) DEFAULT '2020-01-01 00:00:00.12345Z', ADD COLUMN x mood[] DEFAULT '{sad}';
ALTER TABLE older ALTER a DROP DEFAULT, ALTER b SET NOT NULL, ALTER c SET STATISTICS 3;
ALTER TABLE older RENAME a TO aa;
ALTER TABLE older ALTER aa SET DEFAULT now(), ALTER b DROP NOT NULL, ALTER c TYPE varchar(50);
ALTER TABLE pt ADD COLUMN a timestamptz DEFAULT now(), ADD COLUMN b bigint DEFAULT 0;
UPDATE pt SET a = '2000-01-01', b = 1 WHERE id = 1;
ALTER TABLE pt ALTER a DROP DEFAULT, ALTER b SET NOT NULL;
ALTER TABLE par ADD COLUMN a timestamptz DEFAULT now();
UPDATE par SET a = '2000-01-01' WHERE id = 1;
ALTER TABLE par ALTER a SET NOT NULL;
BEGIN; ALTER TABLE pt ADD COLUMN c timestamptz DEFAULT now(); UPDATE pt SET c = '2000-01-01' WHERE id = 2; ALTER TABLE pt ALTER c SET NOT NULL, ADD COLUMN d timestamptz DEFAULT now(); COMMIT;
DO $$ DECLARE found text; BEGIN
  SELECT string_agg(object_identity, ' ' ORDER BY id) INTO found FROM scribe.ddl_history WHERE kind = 'fill' AND object_identity !~ '^public\.pt?1?\M.*d$';
  IF found IS DISTINCT FROM 'public.t.i public.t.j public.t.k public.t.m public.t.n public.t."the ""q" public.t.r public.t.s public.t.u public.pt1.a public.par.a public.pt1.c public.pt1.d' THEN
    RAISE NOTICE 'filled: %', found;
  END IF;
END $$;
