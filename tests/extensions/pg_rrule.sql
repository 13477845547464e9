-- extension: pg_rrule
-- flagged: rrule
CREATE EXTENSION pg_rrule;
CREATE TABLE keyed (id int PRIMARY KEY, v text);
-- after init
INSERT INTO keyed VALUES (1, 'a');
CREATE TABLE rules (id int PRIMARY KEY, r rrule);
INSERT INTO rules VALUES (1, 'FREQ=WEEKLY;COUNT=3');
