-- extension: pg_cron
-- preload: pg_cron
-- set: cron.database_name = {database}
-- set: cron.launch_active_jobs = off
-- condition: `cron.database_name` of the target names the copy, since the extension can be made in no other database
CREATE EXTENSION pg_cron;
CREATE TABLE keyed (id int PRIMARY KEY, v text);
SELECT cron.schedule('nightly', '0 3 * * *', 'VACUUM');
-- after init
SELECT cron.schedule('weekly', '0 3 * * 0', 'ANALYZE');
SELECT cron.unschedule('nightly');
SELECT cron.alter_job(jobid, schedule := '5 5 * * *') FROM cron.job WHERE jobname = 'weekly';
INSERT INTO cron.job_run_details (jobid, runid, job_pid, database, username, command, status) VALUES (1, 1, 1, 'x', 'y', 'z', 'succeeded');
UPDATE cron.job_run_details SET status = 'failed';
INSERT INTO keyed VALUES (1, 'x');
