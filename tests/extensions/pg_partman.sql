-- extension: pg_partman
CREATE SCHEMA partman;
CREATE EXTENSION pg_partman SCHEMA partman;
CREATE TABLE measure (id int, at timestamptz NOT NULL DEFAULT now(), v text) PARTITION BY RANGE (at);
DO $$
BEGIN
    IF (SELECT extversion FROM pg_extension WHERE extname = 'pg_partman') < '5' THEN
        PERFORM partman.create_parent('public.measure', 'at', 'native', 'daily');
    ELSE
        PERFORM partman.create_parent('public.measure', 'at', '1 day');
    END IF;
END $$;
INSERT INTO measure SELECT n, now() + n * interval '1 hour', 'v' FROM generate_series(1, 50) AS n;
-- after init
INSERT INTO measure SELECT n, now() + n * interval '1 hour', 'w' FROM generate_series(51, 80) AS n;
UPDATE partman.part_config SET premake = 8;
SELECT partman.run_maintenance();
INSERT INTO measure SELECT n, now() + n * interval '2 hours', 'z' FROM generate_series(81, 99) AS n;
UPDATE measure SET v = v || '!' WHERE id % 7 = 0;
UPDATE partman.part_config SET retention = '2 days', retention_keep_table = false;
SELECT partman.run_maintenance();
DELETE FROM measure WHERE id < 5;
