-- extension: pgq
CREATE EXTENSION pgq;
SELECT pgq.create_queue('jobs');
SELECT pgq.register_consumer('jobs', 'worker');
SELECT pgq.insert_event('jobs', 'kind', 'data ' || n) FROM generate_series(1, 5) AS n;
-- after init
SELECT pgq.insert_event('jobs', 'kind', 'more ' || n) FROM generate_series(1, 5) AS n;
SELECT pgq.ticker('jobs');
SELECT pgq.create_queue('next');
SELECT pgq.drop_queue('next');
SELECT pgq.unregister_consumer('jobs', 'worker');
