"""A copy of the database in a throw-away cluster, brought to one point of the archive after another."""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg

from scribe.archive.chains import Way, find_chains, goes_back, list_files
from scribe.archive.layout import Archive, Base
from scribe.common import files
from scribe.common.cli import Talk
from scribe.common.dialect import quote_name
from scribe.common.errors import ScribeError
from scribe.common.postgres import connect, major_of_server
from scribe.dump.base import Talker
from scribe.restore import target as server
from scribe.restore.launcher import launched
from scribe.restore.narrow import Rows, or_whole
from scribe.restore.preloads import Preloads, find_preloads
from scribe.restore.restoration import Restore
from scribe.restore.throwaway import Cluster, find_user, throwaway

DATABASE = "copy"
LOCK_WAIT = 60.0  # seconds for scribe-prune to end


def warn_of_user(talk: Talker) -> None:
    """Say as whom a server that we start runs what the source's users have written."""
    user = find_user() or pwd.getpwuid(os.geteuid())
    talk.warn(f"code that users of the source have written runs as {user.pw_name}; docs/security.md, Rehearsals")


@contextlib.contextmanager
def some_cluster(
    talk: Talker,
    major: int,
    preloads: Preloads,
    *,
    directory: str | None = None,
    launcher: Path | None = None,
    told: bool = False,
) -> Iterator[Cluster]:
    """Make a throw-away cluster, or have the launcher make one; warn of what it lacks, unless that was told before.

    Raises as throwaway() does.
    """
    if launcher is None and not told:
        warn_of_user(talk)
    with launched(launcher, major, preloads) if launcher else throwaway(major, directory, preloads) as cluster:
        talk.note(f"made a throw-away cluster with {cluster.bindir}")
        for line in preloads.describe_missing() if not told else ():
            talk.warn(line)
        yield cluster


class Source:
    """The archive a copy is made from. arguments: all that scribe-restore reads, at their defaults or as given."""

    def __init__(
        self, archive: Archive, identity: Mapping[str, Any], arguments: argparse.Namespace, talk: Talk
    ) -> None:
        self.archive, self.identity, self.arguments, self.talk = archive, dict(identity), arguments, talk
        self.chains = find_chains(archive, self.identity)
        self.checked: set[Path] = set()  # files that were compared with their manifests
        versions = [major_of_server(chain.base.manifest["server_version"]) for chain in self.chains]
        if not versions:
            raise ScribeError("the archive has no complete base", 'Run "scribe-dump" on the source to take one.')
        self.major = max(versions)

    def find_preloads(self) -> Preloads:
        """Return what the cluster has to load."""
        return find_preloads(server.read_meta(self.chains[-1].base), DATABASE)


class Copy:
    """A database of a running cluster that holds the source as at some point. name: of the database.

    lasting: whether it is made ready for queries; began_with: the base it was restored from, if that is known;
    spoil(): to be called when it is not what it should be, so that nobody goes on from it; rows: those that
    are restored.
    """

    rows: Rows | None = None

    def __init__(self, source: Source, cluster: Cluster, name: str = DATABASE, *, lasting: bool = True) -> None:
        self.source, self.cluster, self.name, self.lasting = source, cluster, name, lasting
        self.began_with: str | None = None
        self.spoil: Callable[[], None] = lambda: None
        self._mapping: list[str] | None = None

    def stands_at(self) -> int | None:
        """Return where the copy stands, None where it is not there or not whole."""
        with self.cluster.entered(), server.connect_server() as conn:
            if server.database_oid(conn, self.name) is None:
                return None
            with connect(dbname=self.name) as there:
                position = server.read_position(there)
        return position[0] if position is not None and not position[1] else None

    def find_way(self, **point: Any) -> Way:
        """Return what leads to a point from where the copy began. Raises ScribeError for no such point."""
        with self._restoring(point) as restore, server.connect_server() as conn:
            return restore.find_way(conn)

    def can_reach(self, **point: Any) -> bool:
        """Whether bring_to() can go on to a point from where the copy stands. Raises ScribeError for no such point."""
        position = self.stands_at()
        if position is None:
            return False
        with self._restoring(point) as restore, server.connect_server() as conn:
            way = restore.find_way(conn)
        last = way.segments[-1].to_lsn if way.segments else way.base.consistent_point
        on_the_way = way.base.consistent_point <= position and (position <= last or restore.arguments.include_spool)
        return on_the_way and not goes_back(way, position, self.source.archive.bring)

    def bring_to(self, **point: Any) -> dict[str, Any]:
        """Restore, or go on, to a point; return what scribe-restore reports. point: in the names of its arguments.

        Raises ScribeError, also where the copy is beyond the point; WholeNeededError if some rows alone will not do.
        """
        with self._restoring(point) as restore:
            with server.connect_server() as conn:
                way = restore.find_way(conn)
            if not restore.arguments.resume:
                restore.arguments.tablespace_mapping = self._map_tablespaces(way.base)
            running = self._restore(restore.arguments)
            read = {path for path, _ in list_files(way)}
            running.checked = read <= self.source.checked
            with or_whole(self.rows):
                report = running.run(way)
            self.source.checked |= read
        assert report is not None
        if not restore.arguments.resume:
            self.began_with = way.base.stamp
        return report

    @contextlib.contextmanager
    def _restoring(self, point: Mapping[str, Any]) -> Iterator[Restore]:
        """A restore into the copy to a point, new or resumed, with the archive locked and the cluster entered."""
        source = self.source
        arguments = argparse.Namespace(**vars(source.arguments) | dict(point))
        arguments.dbname, arguments.resume = self.name, self.stands_at() is not None
        arguments.no_globals = arguments.no_owner = arguments.no_tablespaces = False
        lock = files.DirectoryLock(source.archive.path, "scribe-prune removes files", shared=True, wait=LOCK_WAIT)
        with lock, self.cluster.entered(), _own_words():
            yield self._restore(arguments)

    def _restore(self, arguments: argparse.Namespace) -> Restore:
        restore = Restore(self.source.archive, self.source.identity, arguments, self.source.talk)
        restore.lasting = self.lasting
        restore.narrow(self.rows)
        return restore

    def _map_tablespaces(self, base: Base) -> list[str]:
        if self._mapping is None:
            self._mapping = self.cluster.map_tablespaces(base)
        return self._mapping

    @contextlib.contextmanager
    def connected(self, *, own_path: bool = False, options: str = "") -> Iterator[psycopg.Connection[Any]]:
        """Connect to the copy; own_path: under the search_path of the database, else under none."""
        with self.cluster.entered(), connect(dbname=self.name, own_path=own_path, options=options) as conn:
            yield conn

    @contextlib.contextmanager
    def entered(self) -> Iterator[psycopg.Connection[Any]]:
        """Make this copy the database that libpq's environment names, for one block; connect to it."""
        with self.cluster.entered():
            os.environ["PGDATABASE"] = self.name
            with connect() as conn:
                yield conn

    @contextlib.contextmanager
    def cloned(self, name: str) -> Iterator[Copy]:
        """Keep the copy as it is now under another name for one block."""
        template, clone = quote_name(self.name), quote_name(name)
        with self.cluster.entered(), server.connect_server() as conn:
            conn.execute(f"CREATE DATABASE {clone} TEMPLATE {template}".encode())
        try:
            yield Copy(self.source, self.cluster, name)
        finally:
            with self.cluster.entered(), server.connect_server() as conn:
                conn.execute(f"DROP DATABASE {clone}".encode())


@contextlib.contextmanager
def _own_words() -> Iterator[None]:
    """Let the hint of a restore that stopped fit who cannot resume it."""
    try:
        yield
    except ScribeError as error:
        place = re.search(r"--skip (\S+)\.$", error.hint or "")
        if place is not None:
            error.hint = f"Run it again with --skip {place[1]} to pass over this one statement."
        raise
