-- Of several keys on the same columns a foreign key uses the one with the lowest OID, and no dump keeps OIDs.
CREATE TABLE target (id int PRIMARY KEY, v text);
ALTER TABLE target ADD CONSTRAINT z UNIQUE (v), ADD CONSTRAINT "a ' on b" UNIQUE (v), ADD CONSTRAINT target_id_key UNIQUE (id);
CREATE TABLE referring (id int REFERENCES target (id), v text CONSTRAINT to_v REFERENCES target (v) ON DELETE CASCADE);
COMMENT ON CONSTRAINT to_v ON referring IS 'kept';
INSERT INTO target VALUES (1, 'x'), (2, 'y');
INSERT INTO referring VALUES (1, 'x'), (2, 'y');
CREATE TABLE spread (k int) PARTITION BY RANGE (k);
ALTER TABLE spread ADD CONSTRAINT spread_z UNIQUE (k), ADD CONSTRAINT spread_a UNIQUE (k);
CREATE TABLE spread_0 PARTITION OF spread DEFAULT;
CREATE TABLE refers_spread (k int CONSTRAINT "its ' key" REFERENCES spread (k)) PARTITION BY RANGE (k);
CREATE TABLE refers_spread_0 PARTITION OF refers_spread DEFAULT;
INSERT INTO spread VALUES (1);
INSERT INTO refers_spread VALUES (1);
CREATE TABLE last (k int);
ALTER TABLE last ADD CONSTRAINT last_z UNIQUE (k), ADD CONSTRAINT last_a UNIQUE (k);
CREATE TABLE refers_last (k int REFERENCES last (k));
-- after init
ALTER TABLE target DROP CONSTRAINT target_id_key;
ALTER TABLE target DROP CONSTRAINT "a ' on b" CASCADE;
INSERT INTO referring VALUES (1, 'y');
ALTER TABLE spread DROP CONSTRAINT spread_a;
INSERT INTO refers_spread VALUES (1);
ALTER TABLE last DROP CONSTRAINT last_z CASCADE;
INSERT INTO refers_last VALUES (7);
