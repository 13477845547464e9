-- PostgreSQL chooses a name that is free; what a failed CREATE INDEX CONCURRENTLY left has one that is free elsewhere.
CREATE TABLE "t\1 x" (id int PRIMARY KEY, v int);
INSERT INTO "t\1 x" VALUES (1, 5), (2, 5), (3, 0);
-- after init
\set ON_ERROR_STOP off
CREATE UNIQUE INDEX CONCURRENTLY ON "t\1 x" (v);
\set ON_ERROR_STOP on
CREATE INDEX CONCURRENTLY ON "t\1 x" (v) WHERE v > 1;
create
  index on "t\1 x" (v, id);
CREATE INDEX ON "t\1 x" (v) WHERE v > 2;
COMMENT ON INDEX "t\1 x_v_idx1" IS 'more than one';
DROP INDEX "t\1 x_v_idx";
CREATE INDEX ON "t\1 x" (v) WHERE v > 3;
DROP INDEX "t\1 x_v_idx2";
COMMENT ON INDEX "t\1 x_v_idx" IS 'more than three';
