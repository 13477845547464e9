"""Part of a database at a point in time: it is restored into a throw-away cluster, and dumped there.

Every schema change that leads to the point is applied, and the rows that the part needs (narrow.py); pg_dump writes
what is wanted of the outcome, under the names it is to have. Where rows of others may decide what is in the part,
everything is restored first, which is exact by construction. The target gets it in one transaction.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg

from scribe.archive.chains import Way, find_chains
from scribe.archive.layout import Archive
from scribe.common.cli import Talk
from scribe.common.dialect import quote_identifier, quote_literal
from scribe.common.encodings import python_codec
from scribe.common.errors import ScribeError, TryAgainError, UsageError
from scribe.common.postgres import connect, is_superuser, major_of_server
from scribe.dump.validated import Names, find_checked, without_validation
from scribe.restore import target as server
from scribe.restore.dependents import dump_dependents
from scribe.restore.feeding import feed
from scribe.restore.narrow import Rows, Watch, WholeNeededError, find_sharing, or_whole
from scribe.restore.owners import without_owners
from scribe.restore.preloads import Preloads, find_preloads
from scribe.restore.restoration import Restore, name_target
from scribe.restore.selection import Need, Part, check_patterns, choose, find_named
from scribe.restore.throwaway import ROLE, Cluster, duplicated, served, unused

DATABASE = "part"


def is_part(arguments: argparse.Namespace) -> bool:
    """Whether only part of the database is asked for."""
    return bool(arguments.table or arguments.schema or arguments.stdout or arguments.into_schema)


def check_arguments(arguments: argparse.Namespace) -> None:
    """Raise UsageError for what does not go together."""
    check_patterns(arguments.schema, arguments.table, arguments.into_schema)
    if not (arguments.table or arguments.schema):
        raise UsageError("--stdout needs --table or --schema", "A whole archive is plain SQL already: see --plan.")
    if arguments.with_dependents and arguments.into_schema:
        hint = "What refers to the objects stays in its own schemas: restore it under their own names."
        raise UsageError("--with-dependents excludes --into-schema", hint)
    for name in ("resume", "plan", "tablespace_mapping", "dry_run"):
        if getattr(arguments, name):
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is for a whole database", "Leave it out, or --table and --schema.")
    if arguments.stdout and (arguments.dbname is not None or arguments.json):
        raise UsageError("--stdout excludes -d and --json", "The SQL is printed, or restored into a database.")


class PartRestore:
    """One run. arguments: as scribe-restore reads them."""

    def __init__(
        self, archive: Archive, identity: Mapping[str, Any], arguments: argparse.Namespace, talk: Talk
    ) -> None:
        check_arguments(arguments)
        self.archive, self.identity, self.arguments, self.talk = archive, identity, arguments, talk
        self.name = "" if arguments.stdout else name_target(arguments)
        self.version = 0  # of the source's server, as in server_version_num
        self.preloads = Preloads()
        self._way: Way | None = None
        self._checked: Names = frozenset()  # tables whose CHECKs are not asked

    def run(self) -> dict[str, Any]:
        """Do it; return what came of it. Raises ScribeError; the target is as it was then."""
        when: str | None = self.arguments.target_time
        if not self.arguments.stdout:
            with server.connect_server() as conn:
                if server.database_oid(conn, self.name) is None:
                    hint = (
                        "A part is restored into a database that exists: create it, or leave out --table and --schema."
                    )
                    raise ScribeError(f'database "{self.name}" does not exist', hint)
                when = server.read_time(conn, when) if when is not None else None
        chains = find_chains(self.archive, dict(self.identity))
        major = max((major_of_server(c.base.manifest["server_version"]) for c in chains), default=0)
        self.version = major * 10000
        self.preloads = find_preloads(server.read_meta(chains[-1].base), DATABASE) if chains else Preloads()
        with unused(major, self.arguments.directory) as cluster:
            rows = self._find_rows(cluster, when)
            try:
                return self._run(cluster, when, rows)
            except WholeNeededError as error:
                self._say_whole(error)
        with unused(major, self.arguments.directory) as cluster:
            return self._run(cluster, when, None)

    def _say_whole(self, error: WholeNeededError) -> None:
        self.talk.warn(f"everything is restored: {error.message}")

    def _run(self, cluster: Cluster, when: str | None, rows: Rows | None) -> dict[str, Any]:
        """Restore into an unused cluster, and what is wanted of it into the target; return what came of it.

        Raises WholeNeededError, ScribeError.
        """
        with self._served(cluster):
            with cluster.entered():
                report = self._restore(cluster, when, rows)
                with connect(dbname=DATABASE, own_path=True) as conn:  # a table without a schema is one that is seen
                    named = (self.arguments.schema, self.arguments.table, self.arguments.into_schema)
                    part, notes = choose(conn, *named, with_dependents=self.arguments.with_dependents)
                    self._checked = find_checked(conn)
            for note in notes:
                self.talk.warn(note)
            if self.arguments.stdout:
                self._print(cluster, part, report)
            else:
                with connect(dbname=self.name) as conn:
                    version = conn.info.server_version
                    homes = self._check_target(conn, part)
                    self._checked = self._checked if is_superuser(conn) else frozenset()
                self._load(self._dump(cluster, part), homes, version)
        objects = [*part.schemas, *map(str, part.relations), *(each.description for each in part.dependents)]
        return report | {"database": self.name or None, "objects": objects}

    @contextlib.contextmanager
    def _served(self, cluster: Cluster) -> Iterator[None]:
        with served(cluster, self.preloads):
            if self._way is None:
                for line in self.preloads.describe_missing():
                    self.talk.warn(line)
            self.talk.note(f"restoring what is needed into a throw-away cluster of {cluster.bindir}")
            yield

    def _find_rows(self, unused: Cluster, when: str | None) -> Rows | None:
        """Restore the schema as it is at the point, and choose the rows that are needed, None for all.

        A copy of the cluster is used for it: roles and tablespaces have to stand as they do in the base once more.
        Raises ScribeError for names.
        """
        if self.arguments.whole or self.arguments.skip:
            return None
        watch = Watch()
        try:
            with duplicated(unused) as cluster, self._served(cluster), cluster.entered():
                self._restore(cluster, when, watch)
                with connect(dbname=DATABASE, own_path=True) as conn:
                    _, relations = find_named(conn, self.arguments.schema, self.arguments.table)
                    needed = watch.widen(relation.oid for relation in relations)
                    needed = watch.widen(needed | set(find_sharing(conn, list(needed))))
            return watch.choose(needed, python_codec(self.identity["encoding"]))
        except WholeNeededError as error:
            self._say_whole(error)
            return None

    def _restore(self, cluster: Cluster, when: str | None, rows: Rows | None) -> dict[str, Any]:
        """Restore some rows, or all, to the point, into the cluster that is entered.

        Raises ScribeError; if it was not all rows, WholeNeededError instead.
        """
        arguments = argparse.Namespace(**vars(self.arguments))
        arguments.dbname, arguments.target_time = DATABASE, when
        arguments.no_globals = arguments.no_owner = arguments.no_tablespaces = False
        talk = Talk(self.talk.program, argparse.Namespace(quiet=True, verbose=False))
        way = self._way = self._way or self._find_way(arguments, talk)
        arguments.tablespace_mapping = cluster.map_tablespaces(way.base)
        restore = Restore(self.archive, self.identity, arguments, talk)
        restore.checked, restore.lasting = True, False
        restore.narrow(rows)
        try:
            with or_whole(rows):
                report = restore.run(way)
        except (TryAgainError, WholeNeededError):
            raise
        except ScribeError as error:
            place = re.search(r"--skip (\S+)\.$", error.hint or "")
            if place is not None:
                error.hint = (
                    f"Run it again with --skip {place[1]} to pass over this one statement; nothing was changed."
                )
            raise
        assert report is not None
        self.talk.note(f"{len(restore.passed)} of {len(way.segments)} segments were not read: they hold nothing of it")
        return report | {"not_read": restore.passed}

    def _find_way(self, arguments: argparse.Namespace, talk: Talk) -> Way:
        restore = Restore(self.archive, self.identity, arguments, talk)
        with server.connect_server() as conn:
            way = restore.find_way(conn)
        restore.check(way)
        return way

    def _check_target(self, conn: psycopg.Connection[Any], part: Part) -> list[str]:
        """Return the schemas to be made. Raises ScribeError for what is there already and for what is missing."""
        there = [f'schema "{name}"' for name in part.schemas if name != "public" and _has_schema(conn, name)]
        relations = [*map(str, part.relations), *(str(each) for each in part.dependents if each.kind is not None)]
        there += [name for name in relations if _has_relation(conn, name)] if not there else []
        if there:
            hint = "Restore them into another schema with --into-schema NAME, or rename or drop those that are there."
            raise ScribeError(f'database "{self.name}" has {_some(there)} already', hint)
        missing = [str(need) for need in part.needs if not _has_object(conn, need)]
        missing += [f"role {name}" for name in self._roles(part) if not _has(conn, _ROLE, name)]
        if not self.arguments.no_tablespaces:
            missing += [f"tablespace {name}" for name in part.spaces if not _has(conn, _SPACE, name)]
        if missing:
            raise ScribeError(
                f'database "{self.name}" lacks what the objects need: {_some(missing)}',
                "Create it there, name it with --table too, or restore the whole --schema;"
                " --no-owner and --no-tablespaces need fewer roles and no tablespaces.",
            )
        return [name for name in part.homes if not _has_schema(conn, name)]

    def _roles(self, part: Part) -> list[str]:
        wanted = [name for name, only_owner in part.roles if not (only_owner and self.arguments.no_owner)]
        return [name for name in wanted if name != ROLE]

    def _dump(self, cluster: Cluster, part: Part) -> list[Path]:
        """Dump to files first: a dump that is cut off must not be taken for a whole one."""
        path = cluster.directory / "part.sql"
        command = [str(cluster.bindir / "pg_dump"), "--no-password", "--no-publications", "--no-subscriptions"]
        command += ["--no-owner"] if self.arguments.no_owner else []
        command += ["--no-tablespaces"] if self.arguments.no_tablespaces else []
        command += [*part.dump_options, f"--file={path}", DATABASE]
        run = subprocess.run(command, env=cluster.env, capture_output=True, check=False)
        said = run.stderr.decode(errors="replace").strip().splitlines()
        if run.returncode != 0:
            raise ScribeError(f"could not dump the objects: {said[0] if said else 'pg_dump failed'}")
        if not part.dependents:
            return [path]
        return [path, dump_dependents(cluster, DATABASE, part.dependents, owners=not self.arguments.no_owner)]

    def _load(self, dumps: list[Path], homes: list[str], version: int) -> None:
        hint = "Nothing was changed. Give the database what is missing, or print the SQL with --stdout and adapt it."
        text = self._text(dumps, homes, version)
        for message in feed(self.name, text, what="the dump", stop=True, hint=hint, single=True):
            self.talk.warn(message)

    def _text(self, dumps: list[Path], homes: list[str], version: int) -> Iterator[bytes]:
        """The dumps, after the schemas it needs; what had no owner in the archive gets none here either."""
        for home in homes:
            # IF NOT EXISTS wants the right to make schemas even of who owns the one that is there
            name = quote_identifier(home, force=True)
            missing = f"pg_catalog.to_regnamespace({quote_literal(name)}) IS NULL"
            body = f"BEGIN IF {missing} THEN CREATE SCHEMA {name}; END IF; END"
            yield f"DO LANGUAGE plpgsql {quote_literal(body)};\n".encode()
        for dump in dumps:
            with dump.open("rb") as stream:
                text = server.known_settings(without_owners(stream, "the dump", ROLE), version)
                yield from without_validation(text, self._checked, keys=False) if self._checked else text

    def _print(self, cluster: Cluster, part: Part, report: Mapping[str, Any]) -> None:
        """Write the SQL to stdout."""
        dumps = self._dump(cluster, part)
        homes = [home for home in part.homes if home != "public"]
        at = f"{report['reached_lsn']}" + (f" ({report['reached_time']})" if report["reached_time"] else "")
        out = sys.stdout.buffer
        out.write(f"-- pg_scribe: database {self.identity['database']!r} as at {at}, in part\n".encode())
        for chunk in self._text(dumps, homes, self.version):
            out.write(chunk)
        out.flush()


_ROLE = "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %s)"
_SPACE = "SELECT EXISTS (SELECT FROM pg_catalog.pg_tablespace WHERE spcname = %s)"
_SCHEMA = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s)"
_RELATION = "SELECT pg_catalog.to_regclass(%s) IS NOT NULL"


def _has(conn: psycopg.Connection[Any], query: str, value: str) -> bool:
    row = conn.execute(query, [value]).fetchone()
    return bool(row and row[0])


def _has_schema(conn: psycopg.Connection[Any], name: str) -> bool:
    return _has(conn, _SCHEMA, name)


def _has_relation(conn: psycopg.Connection[Any], name: str) -> bool:
    return _has(conn, _RELATION, name)


def _has_object(conn: psycopg.Connection[Any], need: Need) -> bool:
    """Whether the target has an object; where its server does not know the kind, the restore itself will tell."""
    try:
        conn.execute("SELECT pg_catalog.pg_get_object_address(%s, %s, %s)", need.address)
    except psycopg.errors.InvalidParameterValue:
        return True
    except psycopg.Error as error:
        if (error.sqlstate or "").startswith(("42", "3F")):
            return False
        raise
    return True


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
