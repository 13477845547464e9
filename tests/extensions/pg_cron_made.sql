-- extension: pg_cron
-- preload: pg_cron
-- set: cron.database_name = {database}
-- set: cron.launch_active_jobs = off
-- condition: `cron.database_name` of the target names the copy, since the extension can be made in no other database
CREATE TABLE keyed (id int PRIMARY KEY, v text);
-- after init
CREATE EXTENSION pg_cron;
SELECT cron.schedule('weekly', '0 3 * * 0', 'ANALYZE');
SELECT cron.schedule('daily', '0 3 * * *', 'ANALYZE');
SELECT cron.unschedule('daily');
DROP EXTENSION pg_cron;
CREATE EXTENSION pg_cron;
SELECT cron.schedule('hourly', '0 * * * *', 'ANALYZE');
INSERT INTO keyed VALUES (1, 'x');
