-- What a new table gets from another has names that PostgreSQL chooses in the order of OIDs, which no dump keeps.
CREATE TABLE parent (k int, v text) PARTITION BY RANGE (k);
CREATE INDEX z ON parent (k);
CREATE INDEX b ON parent (k) WHERE k > 5;
CREATE INDEX a ON parent (k);
CREATE TABLE model (k int, v text, CONSTRAINT keyed UNIQUE (k), CONSTRAINT deferred UNIQUE (k) DEFERRABLE);
CREATE INDEX model_z ON model (k);
CREATE INDEX model_a ON model (k) WHERE k > 5;
COMMENT ON INDEX model_a IS 'some';
CREATE STATISTICS model_y (ndistinct) ON k, v FROM model;
CREATE STATISTICS model_x (dependencies) ON k, v FROM model;
CREATE TABLE broken (k int, v text);
INSERT INTO broken VALUES (1, 'a'), (1, 'b');
CREATE TABLE later (k int) PARTITION BY RANGE (k);
CREATE TABLE later_part PARTITION OF later DEFAULT;
CREATE INDEX of_part_z ON later_part (k);
CREATE INDEX of_part_a ON later_part (k);
DO $$ BEGIN EXECUTE format('CREATE TABLE public.%I (taken int)', 'scribe_' || hashtextextended('scribe', 0)); END $$;
-- after init
CREATE TABLE part PARTITION OF parent FOR VALUES FROM (0) TO (10);
COMMENT ON INDEX part_k_idx IS 'of z';
CREATE TABLE attached (k int, v text) PARTITION BY LIST (k);
CREATE TABLE "at'tached 0" PARTITION OF attached DEFAULT;
CREATE INDEX y ON attached (k);
ALTER TABLE parent ATTACH PARTITION attached FOR VALUES FROM (10) TO (20);
CREATE TABLE "at'tached 1" PARTITION OF attached FOR VALUES IN (11);
CREATE TABLE alike (LIKE model INCLUDING ALL);
COMMENT ON INDEX alike_k_idx IS 'of all rows';
INSERT INTO alike VALUES (1, 'x');
INSERT INTO parent VALUES (1, 'x'), (11, 'y');
CREATE INDEX later_k ON later (k);
\set ON_ERROR_STOP off
CREATE UNIQUE INDEX CONCURRENTLY ON broken (k);
\set ON_ERROR_STOP on
CREATE INDEX ON broken (k);
CREATE TABLE like_broken (LIKE broken INCLUDING INDEXES);
CREATE SCHEMA furnished CREATE TABLE alike (LIKE public.model INCLUDING ALL);
BEGIN;
CREATE TABLE undone PARTITION OF parent DEFAULT;
ROLLBACK;
