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
-- a string of several statements, of which those on a subscription are replayed with other rights than the rest
CREATE TABLE beside (id serial PRIMARY KEY, v text);
CREATE SUBSCRIPTION scribe_case_sub CONNECTION 'host=nowhere.invalid dbname=x' PUBLICATION other WITH (connect = false, slot_name = 'none_such', binary = true);
COMMENT ON SUBSCRIPTION scribe_case_sub IS 'kept';
ALTER SUBSCRIPTION scribe_case_sub SET (synchronous_commit = 'local')\; INSERT INTO beside (v) VALUES ('once');
ALTER SUBSCRIPTION scribe_case_sub ADD PUBLICATION q WITH (refresh = false)\; INSERT INTO beside (v) VALUES ('twice');
/* not at its beginning */ ALTER SUBSCRIPTION scribe_case_sub RENAME TO scribe_case_kept;
ALTER SUBSCRIPTION scribe_case_kept SET (slot_name = NONE);
ALTER SUBSCRIPTION scribe_case_kept OWNER TO CURRENT_USER;
SELECT current_setting('server_version_num')::int >= 150000 AS two_phase \gset
\if :two_phase
CREATE SUBSCRIPTION scribe_case_two CONNECTION 'host=nowhere.invalid dbname=x' PUBLICATION other WITH (connect = false, slot_name = NONE, two_phase = true, streaming = true, disable_on_error = true);
ALTER SUBSCRIPTION scribe_case_two SET (slot_name = 'odd_slot');
\endif
