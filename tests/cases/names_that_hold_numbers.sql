-- What PostgreSQL names by an OID, or a user by a number, has another one in a copy.
CREATE EXTENSION hstore;
CREATE ROLE named_by_number;
CREATE SCHEMA s;
CREATE TABLE key (id int PRIMARY KEY DEFERRABLE, v text UNIQUE DEFERRABLE, w text UNIQUE);
CREATE TABLE s."it's" (w text CONSTRAINT "k'" REFERENCES key (w) ON DELETE CASCADE);
-- after init
SELECT format('ALTER TABLE %s DISABLE TRIGGER %I', tgrelid::regclass, tgname) FROM pg_trigger
    WHERE tgisinternal AND tgrelid::regclass IN ('key', 's."it''s"') ORDER BY oid \gexec
SELECT format('COMMENT ON TRIGGER %I ON %s IS %L', tgname, tgrelid::regclass, 'a "' || tgname || '" that''s one') FROM pg_trigger
    WHERE tgisinternal AND tgrelid::regclass IN ('key', 's."it''s"') ORDER BY oid \gexec
SELECT format('ALTER TRIGGER %I ON %s DEPENDS ON EXTENSION hstore', tgname, tgrelid::regclass) FROM pg_trigger
    WHERE tgisinternal AND tgrelid::regclass IN ('key', 's."it''s"') ORDER BY oid \gexec
SELECT format('ALTER TRIGGER %I ON %s RENAME TO %I', tgname, tgrelid::regclass, 'T''' || row_number() OVER (ORDER BY oid)) FROM pg_trigger
    WHERE tgisinternal AND tgrelid::regclass IN ('key', 's."it''s"') ORDER BY oid \gexec
SELECT format('ALTER TABLE %s ENABLE TRIGGER %I', tgrelid::regclass, tgname) FROM pg_trigger
    WHERE tgisinternal AND tgrelid::regclass IN ('key', 's."it''s"') ORDER BY oid \gexec
SELECT format('ALTER TRIGGER %I ON %s RENAME TO plain_%s', tgname, tgrelid::regclass, row_number() OVER (ORDER BY oid)) FROM pg_trigger
    WHERE tgisinternal AND tgrelid::regclass IN ('key', 's."it''s"') ORDER BY oid \gexec
ALTER TABLE s."it's" DISABLE TRIGGER plain_5, ENABLE TRIGGER Plain_5;
COMMENT ON TABLE key IS 'TRIGGER plain_5';
SELECT reltoastrelid::regclass AS toast, reltoastrelid::regclass || '_index' AS toast_index FROM pg_class WHERE oid = 'key'::regclass \gset
GRANT SELECT ON :toast TO named_by_number;
COMMENT ON INDEX :toast_index IS 'of a toast table';
CREATE TEMP TABLE passing (id int);
SELECT nspname AS temporary FROM pg_namespace WHERE oid = pg_my_temp_schema() \gset
COMMENT ON SCHEMA :temporary IS 'mine';
GRANT USAGE ON SCHEMA :temporary TO named_by_number;
REVOKE USAGE ON SCHEMA :temporary FROM named_by_number;
ALTER SCHEMA :temporary OWNER TO named_by_number;
ALTER SCHEMA :temporary OWNER TO postgres;
CREATE SEQUENCE numbered;
SELECT 'numbered'::regclass::oid AS number \gset
CREATE TABLE of_numbers (id int DEFAULT nextval(:'number'), class regclass DEFAULT :'number');
CREATE VIEW by_number AS SELECT :'number'::regclass AS class;
INSERT INTO of_numbers DEFAULT VALUES;
ALTER TABLE of_numbers ADD COLUMN other regclass DEFAULT :'number';
ALTER TABLE of_numbers ADD CHECK (class <> :'number'::regclass OR id < 100);
ALTER TABLE of_numbers ALTER class SET DEFAULT :'number';
