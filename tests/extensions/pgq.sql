-- extension: pgq
CREATE TABLE keyed (id int PRIMARY KEY, v text);
-- after init
CREATE EXTENSION pgq;
SELECT pgq.create_queue('jobs');
SELECT pgq.register_consumer('jobs', 'worker');
SELECT pgq.insert_event('jobs', 'kind', 'data ' || n) FROM generate_series(1, 5) AS n;
SELECT pgq.ticker('jobs');
CREATE TRIGGER logs AFTER INSERT OR UPDATE ON keyed FOR EACH ROW EXECUTE FUNCTION pgq.logutriga('jobs');
INSERT INTO keyed VALUES (1, 'a');
UPDATE keyed SET v = 'b';
SELECT pgq.next_batch('jobs', 'worker');
SELECT pgq.maint_rotate_tables_step1('jobs');
SELECT pgq.create_queue('brief');
SELECT pgq.drop_queue('brief');
