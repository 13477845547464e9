-- extension: set_user
-- preload: set_user
-- set: set_user.block_log_statement = off
CREATE EXTENSION set_user;
CREATE TABLE keyed (id int PRIMARY KEY, v text);
DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'plain') THEN CREATE ROLE plain; END IF; END $$;
GRANT CREATE ON SCHEMA public TO plain;
-- after init
SELECT set_user('plain');
CREATE TABLE theirs (id int, v text);
INSERT INTO theirs VALUES (1, 'a'), (2, 'b');
UPDATE theirs SET v = 'c' WHERE id = 1;
SELECT reset_user();
INSERT INTO keyed VALUES (1, 'x');
DROP EXTENSION set_user;
CREATE EXTENSION set_user;
ALTER TABLE keyed ADD COLUMN w int DEFAULT 3;
