-- One table for each case in which a stream of SQL is easily wrong.
CREATE EXTENSION hstore;
CREATE EXTENSION citext;
CREATE EXTENSION btree_gist;
CREATE SCHEMA "odd schema";
CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s \ fine');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN short AS varchar(5) CHECK (VALUE <> 'bad');
CREATE DOMAIN pairs AS pair;

CREATE TABLE users (id int PRIMARY KEY, name text, email text UNIQUE, n int);
CREATE TABLE plain (id bigint PRIMARY KEY, s smallint, b boolean, o oid, t text, v varchar(10), c char(5), f float8, r real);
CREATE TABLE two (a int, b text, c int, PRIMARY KEY (b, a));
CREATE TABLE neg (id int PRIMARY KEY, v numeric);
CREATE TABLE small (id smallint PRIMARY KEY, v int);
CREATE TABLE oids (id oid PRIMARY KEY, v int);
CREATE TABLE enums (id mood PRIMARY KEY, v mood);
CREATE TABLE cit (id citext PRIMARY KEY, v citext);
CREATE TABLE dom (id short PRIMARY KEY, v short, w pairs);
CREATE TABLE comp (id pair PRIMARY KEY, v pair[]);
CREATE TABLE regs (id regclass PRIMARY KEY, v regtype);
CREATE TABLE net (id cidr PRIMARY KEY, v inet);
CREATE TABLE bp (id char(4) PRIMARY KEY, v bit(3));
CREATE TABLE arr (id int[] PRIMARY KEY, v text[]);
CREATE TABLE rng (id int4range PRIMARY KEY, v tstzrange);
CREATE TABLE cmoney (id int PRIMARY KEY, v money, w "char", x name, y bytea, z interval);
CREATE TABLE coll (id text COLLATE "C" PRIMARY KEY, v text COLLATE "C");
CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE ci (id text COLLATE nocase PRIMARY KEY, v text COLLATE nocase);
CREATE TABLE cix (id text COLLATE nocase NOT NULL, v int);
CREATE UNIQUE INDEX cix_id ON cix (id COLLATE "C");
ALTER TABLE cix REPLICA IDENTITY USING INDEX cix_id;
CREATE TABLE times (id timestamptz PRIMARY KEY, d date, t time, tz timetz, ts timestamp, i interval);
CREATE TABLE keyonly (a int PRIMARY KEY);
CREATE TABLE gen (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) STORED);
CREATE TABLE gen2 (id int PRIMARY KEY, x int GENERATED ALWAYS AS IDENTITY, big text, t text);
ALTER TABLE gen2 ALTER big SET STORAGE EXTERNAL;
CREATE TABLE genonly (a int GENERATED ALWAYS AS (1) STORED);
CREATE TABLE zero ();
CREATE TABLE zerofull ();
ALTER TABLE zerofull REPLICA IDENTITY FULL;
CREATE TABLE dropped (a int, b int, c int PRIMARY KEY, d text);
ALTER TABLE dropped DROP a, DROP b;
CREATE TABLE swap (id int PRIMARY KEY, u int UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE excl (id int PRIMARY KEY, r int4range, EXCLUDE USING gist (r WITH &&));
CREATE TABLE toast (id int PRIMARY KEY, a text, b text, n int);
ALTER TABLE toast ALTER a SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL;
CREATE TABLE toastkey (id text PRIMARY KEY, n int);
ALTER TABLE toastkey ALTER id SET STORAGE EXTERNAL;
CREATE TABLE parent (id int PRIMARY KEY, v text);
CREATE TABLE child (w int, PRIMARY KEY (id)) INHERITS (parent);
CREATE TABLE part (id int, k int, v text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part2 PARTITION OF part FOR VALUES IN (2);
CREATE TABLE "odd schema"."Odd ""table
name" ("a ""b
c" int PRIMARY KEY, "v" text, "t" text, "select" pair);
CREATE TABLE fk1 (id int PRIMARY KEY);
CREATE TABLE fk2 (id int PRIMARY KEY, r int REFERENCES fk1 ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE trig (id int PRIMARY KEY, v text);
CREATE TABLE triglog (t text, n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
CREATE FUNCTION trigf() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.triglog (t) VALUES (TG_NAME || TG_OP);
	IF TG_OP IN ('INSERT', 'UPDATE') THEN NEW.v = NEW.v || '!'; RETURN NEW; END IF;
	RETURN OLD;
END $$;
CREATE TRIGGER "always
on" BEFORE INSERT OR UPDATE OR DELETE ON trig FOR EACH ROW EXECUTE FUNCTION trigf();
ALTER TABLE trig ENABLE ALWAYS TRIGGER "always
on";
CREATE TABLE ruled (id int PRIMARY KEY, v int);
CREATE TABLE rulelog (id int);
CREATE RULE rep AS ON INSERT TO ruled DO ALSO INSERT INTO public.rulelog VALUES (NEW.id);
ALTER TABLE ruled ENABLE ALWAYS RULE rep;

-- found by the image of the row
CREATE TABLE log (a int, b text);
CREATE TABLE images (j json, jb jsonb, x xml, p point, pg polygon, n numeric, f float8, h hstore, ct citext,
	pr pair, e mood, d short, arr int[], c char(5), v varchar(9), bt bit(4), i interval, big text,
	m money, bl bytea, gs int GENERATED ALWAYS AS (length(big)) STORED);
CREATE TABLE fullidx (id int PRIMARY KEY, x int GENERATED ALWAYS AS IDENTITY, c cidr, k varchar(9), v text);
CREATE INDEX ON fullidx (c);
CREATE INDEX ON fullidx (k);
CREATE TABLE fullpart (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE fullpart1 PARTITION OF fullpart FOR VALUES FROM (0) TO (1000);
ALTER TABLE log REPLICA IDENTITY FULL;
ALTER TABLE images REPLICA IDENTITY FULL;
ALTER TABLE images ALTER big SET STORAGE EXTERNAL;
ALTER TABLE fullidx REPLICA IDENTITY FULL;
ALTER TABLE fullpart1 REPLICA IDENTITY FULL;
CREATE TABLE bulk (id int PRIMARY KEY, a text, b numeric, c timestamptz);
CREATE TABLE texts (t text);
SELECT current_setting('server_version_num')::int >= 180000 AS virtual \gset
\if :virtual
CREATE TABLE virt (id int PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL, c text);
CREATE TABLE virtfull (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL, c text);
ALTER TABLE virtfull REPLICA IDENTITY FULL;
\endif
