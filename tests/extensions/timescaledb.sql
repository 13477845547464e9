-- extension: timescaledb
-- preload: timescaledb
-- refused: timescaledb: tables are made, changed and dropped in ways that cannot be followed
CREATE EXTENSION timescaledb;
CREATE TABLE readings (at timestamptz NOT NULL, device int, value float8);
SELECT create_hypertable('readings', 'at', chunk_time_interval => interval '1 day');
INSERT INTO readings SELECT '2024-01-01'::timestamptz + n * interval '1 hour', n % 3, n FROM generate_series(1, 100) AS n;
-- after init
