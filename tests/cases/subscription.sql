-- CREATE SUBSCRIPTION: never connects during replay.
CREATE TABLE t (id int PRIMARY KEY);
-- after init
CREATE PUBLICATION pub FOR TABLE t;
ALTER PUBLICATION pub SET (publish = 'insert,update');
CREATE SUBSCRIPTION scribe_case_sub CONNECTION 'host=nowhere.invalid dbname=x' PUBLICATION other WITH (connect = false, slot_name = NONE, enabled = false);
INSERT INTO t VALUES (1);
ALTER SUBSCRIPTION scribe_case_sub SET PUBLICATION third WITH (refresh = false);
DROP SUBSCRIPTION scribe_case_sub;
INSERT INTO t VALUES (2);
