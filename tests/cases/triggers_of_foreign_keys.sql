-- Triggers of foreign keys have OIDs in their names, which a copy does not have; DISABLE TRIGGER ALL names none.
CREATE TABLE target (id int PRIMARY KEY);
CREATE TABLE referring (id int REFERENCES target (id));
-- after init
CREATE SCHEMA s;
CREATE TABLE s."it's" (id int CONSTRAINT "k'" REFERENCES target (id), other int REFERENCES target (id));
DO $$
DECLARE r record;
BEGIN
    FOR r IN SELECT tgname, tgrelid::regclass AS place FROM pg_trigger WHERE tgisinternal AND tgrelid IN ('s."it''s"'::regclass, 'referring'::regclass) LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER %I, ALTER id SET DEFAULT 7', r.place, r.tgname);
    END LOOP;
END
$$;
INSERT INTO s."it's" VALUES (99, 98);
TRUNCATE s."it's";
SELECT format('ALTER TABLE %s ENABLE TRIGGER %I', tgrelid::regclass, tgname) FROM pg_trigger WHERE tgisinternal AND tgenabled = 'D' \gexec
