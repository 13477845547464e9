-- Rows that NOT VALID constraints let be are sent again, or filled, all the same.
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t VALUES (1, -1), (2, 2);
ALTER TABLE t ADD CONSTRAINT positive CHECK (v > 0) NOT VALID;
COMMENT ON CONSTRAINT positive ON t IS 'one day';
CREATE TABLE f (id int PRIMARY KEY, v int);
INSERT INTO f VALUES (1, -1), (2, 2);
ALTER TABLE f ADD CHECK (v > 0) NOT VALID;
DO $$ BEGIN CREATE ROLE scribe_case_parent; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT ALL ON SCHEMA public TO scribe_case_parent;
CREATE TABLE parent (id int, v int);
ALTER TABLE parent OWNER TO scribe_case_parent;
CREATE TABLE child () INHERITS (parent);
INSERT INTO child VALUES (1, -1);
ALTER TABLE parent ADD CONSTRAINT low CHECK (v < 0) NOT VALID;
INSERT INTO child VALUES (2, -2);
-- after init
ALTER TABLE child ADD COLUMN r float8 DEFAULT random();
ALTER TABLE parent ADD COLUMN q float8 DEFAULT random();
ALTER TABLE t ADD COLUMN r float8 DEFAULT random();
ALTER TABLE f ADD COLUMN at timestamptz DEFAULT now();
UPDATE t SET v = 5 WHERE id = 1;
ALTER TABLE t VALIDATE CONSTRAINT positive;
