#!/bin/sh
# Run a command against a private temporary cluster that has the decoder.
#
# usage: installcheck.sh [COMMAND [ARGUMENT ...]]      (default: make installcheck)
#
# The library must be installed (make install).  PG_CONFIG names the server.
# COMMAND runs with PATH and libpq's variables set, as the user who owns the
# cluster: the caller, or postgres where the caller is root.
set -eu

PG_CONFIG=${PG_CONFIG:-pg_config}
bin=$("$PG_CONFIG" --bindir)
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d /tmp/scribe-XXXXXX)
log=$work/log

as_owner() {
	if [ "$(id -u)" = 0 ]; then
		setpriv --reuid=postgres --regid=postgres --clear-groups "$@"
	else
		"$@"
	fi
}

stop() {
	status=$?
	trap - EXIT
	as_owner "$bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1 || true
	if [ $status = 0 ]; then rm -rf "$work"; else echo "kept: $work" >&2; fi
	exit $status
}
trap stop EXIT
trap 'exit 1' INT TERM

if [ "$(id -u)" = 0 ]; then chown postgres: "$work"; fi
cd "$work"
export HOME="$work" PATH="$bin:$PATH" LC_ALL=C.UTF-8
unset PGDATABASE PGUSER PGSERVICE PGOPTIONS PGHOSTADDR 2>/dev/null || true
as_owner initdb -D data -U postgres -A trust -E UTF8 --no-sync >"$work/initdb.log" 2>&1 ||
	{ cat "$work/initdb.log" >&2; exit 1; }
cat >>data/postgresql.conf <<EOF
listen_addresses = ''
unix_socket_directories = '$work'
wal_level = logical
fsync = off
max_wal_senders = 4
max_replication_slots = 8
shared_buffers = 32MB
autovacuum = off
EOF
if as_owner postgres -D data -C output_plugin_libraries >/dev/null 2>&1; then
	echo "output_plugin_libraries = 'pgoutput, test_decoding, scribe_decoder'" >>data/postgresql.conf
fi
as_owner pg_ctl -D data -l "$log" -w start >/dev/null
export PGHOST="$work" PGPORT=5432 PGUSER=postgres WORK="$work"

if [ $# -gt 0 ]; then
	as_owner "$@"
	exit
fi

# pg_regress writes where it stands; its files live beside this script
if as_owner "${MAKE:-make}" -s -C "$work" -f "$here/Makefile" VPATH="$here" PG_CONFIG="$PG_CONFIG" installcheck
then
	:
else
	cat "$work/regression.diffs" >&2 2>/dev/null || true
	exit 1
fi
