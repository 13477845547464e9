-- extension: pg_rrule
-- condition: its output function can crash the server; a column of it is left out by SCRIBE_LEAVE_OUT, and no dump has it
-- flagged: rrule
-- decoder: scribe_decoder
-- leave out: public.rules.r
CREATE EXTENSION pg_rrule;
CREATE TABLE keyed (id int PRIMARY KEY, v text);
-- after init
INSERT INTO keyed VALUES (1, 'a');
CREATE TABLE rules (id int PRIMARY KEY, r rrule);
INSERT INTO rules VALUES (1, 'FREQ=WEEKLY;COUNT=3');
