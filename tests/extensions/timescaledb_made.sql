-- extension: timescaledb
-- preload: timescaledb
-- decoder: scribe_decoder
-- flagged: a copy of its hypertables is not exact
CREATE TABLE keyed (id int PRIMARY KEY, v text);
-- after init
CREATE EXTENSION timescaledb;
INSERT INTO keyed VALUES (1, 'x');
