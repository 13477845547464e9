-- Capture leaves no mark in the session: lastval() is the user's.
CREATE TABLE t (id serial PRIMARY KEY, v int);
-- after init
INSERT INTO t (v) VALUES (1), (2);
CREATE TABLE u (id int);
SELECT 1 / (lastval() = 2)::int;
