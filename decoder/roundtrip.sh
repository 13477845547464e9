#!/bin/sh
# Replay what the decoder writes and compare: source and copy must dump alike.
#
# usage: installcheck.sh /path/to/roundtrip.sh [DIRECTORY]
#
# DIRECTORY (default: roundtrip beside this file) holds schema.sql, which runs
# in both databases, and workload.sql, which runs in the source only.
set -eu

dir=${1:-$(cd "$(dirname "$0")" && pwd)/roundtrip}
cd "$WORK"

createdb -T template0 source
psql -qX -v ON_ERROR_STOP=1 -d source -f "$dir/schema.sql" >schema.log
createdb -T source copy
psql -qXAt -d source -c "SELECT 1 FROM pg_create_logical_replication_slot('trip', 'scribe_decoder')" >/dev/null
psql -qX -v ON_ERROR_STOP=1 -d source -f "$dir/workload.sql" >workload.log

end=$(psql -qXAt -d source -c 'SELECT pg_current_wal_insert_lsn()')
psql -qXAt -d source -c 'CREATE TABLE public.fence (); DROP TABLE public.fence' >/dev/null
# settings that the decoder must not care about
PGOPTIONS='-c datestyle=German -c intervalstyle=sql_standard -c timezone=Asia/Kolkata -c extra_float_digits=-5 -c bytea_output=escape' \
	pg_recvlogical -d source -S trip --start --no-loop --endpos "$end" -f body.sql

cat >stream.sql <<'EOF'
\set ON_ERROR_STOP on
SET client_encoding = 'UTF8';
SET session_replication_role = replica;
SET standard_conforming_strings = on;
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
SET timezone = 'UTC';
SET lc_monetary = 'C';
SET xmloption = content;
SET check_function_bodies = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
SET search_path = '';
-- as a segment's header does
CREATE SCHEMA IF NOT EXISTS scribe;
CREATE TABLE scribe.quieted (name text PRIMARY KEY, mode text);
CREATE FUNCTION scribe.fire_event_triggers(fire boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE t record;
BEGIN
    IF fire THEN
        FOR t IN DELETE FROM scribe.quieted RETURNING name, mode LOOP
            EXECUTE format('ALTER EVENT TRIGGER %I ENABLE %s', t.name, t.mode);
        END LOOP;
        RETURN;
    END IF;
    FOR t IN INSERT INTO scribe.quieted SELECT evtname, CASE evtenabled WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END
            FROM pg_event_trigger WHERE evtenabled IN ('A', 'R') RETURNING name LOOP
        EXECUTE format('ALTER EVENT TRIGGER %I DISABLE', t.name);
    END LOOP;
END $$;
EOF
cat body.sql >>stream.sql
echo 'SELECT scribe.fire_event_triggers(true);' >>stream.sql
psql -qX -d copy -f stream.sql >replay.log

for db in source copy; do
	pg_dump --schema-only --exclude-schema=scribe "$db" | grep -vE '^.(un)?restrict ' >"$db.schema"
	pg_dump --data-only --inserts --exclude-schema=scribe "$db" | grep -vE '^.(un)?restrict |pg_catalog.setval' |
		LC_ALL=C sort >"$db.data"
done
cmp source.schema copy.schema || { diff source.schema copy.schema | head -40; exit 1; }
cmp source.data copy.data || { diff source.data copy.data | cut -c1-300 | head -40; exit 1; }
if [ -f "$dir/workload.check" ]; then
	# patterns that must, or with a leading ! must not, stand in the stream
	while IFS= read -r pattern; do
		case $pattern in
			!*) ! grep -qE -e "${pattern#!}" body.sql ;;
			*) grep -qE -e "$pattern" body.sql ;;
		esac || { echo "stream: $pattern"; exit 1; }
	done <"$dir/workload.check"
fi
echo "equal: $(grep -c '^BEGIN; --' body.sql) transactions, $(wc -c <body.sql) bytes"
