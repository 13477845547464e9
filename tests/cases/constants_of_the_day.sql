-- Constants and bounds that are computed when the statement is read: elsewhere they would be another time.
CREATE TABLE old (id int PRIMARY KEY);
INSERT INTO old VALUES (1);
-- after init
CREATE TABLE t (id int PRIMARY KEY, a timestamptz DEFAULT 'now'::timestamptz, b timestamp DEFAULT timestamp 'now', c date DEFAULT 'tomorrow');
INSERT INTO t VALUES (1);
ALTER TABLE old ADD COLUMN at timestamptz DEFAULT 'now'::timestamptz, ADD COLUMN day timestamp DEFAULT 'yesterday';
ALTER TABLE old ALTER COLUMN at SET DEFAULT timestamptz 'now';
CREATE TABLE parted (at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE parted_now PARTITION OF parted FOR VALUES FROM (current_timestamp) TO (current_timestamp + interval '1 day');
INSERT INTO parted VALUES (now());
CREATE TABLE parted_old (at timestamptz);
ALTER TABLE parted ATTACH PARTITION parted_old FOR VALUES FROM (current_timestamp - interval '1 day') TO (current_timestamp - interval '1 hour');
