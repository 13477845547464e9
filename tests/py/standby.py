"""Physical copies of a cluster: standbys that follow it and may be promoted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from cluster import Cluster, poll


def copy_cluster(primary: Cluster, *, follow: str | None = None, **settings: str) -> Cluster:
    """Return a copy made by pg_basebackup, not yet started.

    follow: the physical replication slot of a standby that is to follow primary; without one it is a mere copy.
    """
    copy = Cluster(primary.pg_config)
    copy.directory.chmod(0o755)
    if copy.user:
        import os

        os.chown(copy.directory, copy.user.pw_uid, copy.user.pw_gid)
    lines = {"unix_socket_directories": copy.host, **settings}
    if follow:
        address = f"host={primary.host} port={primary.port} user=postgres dbname=postgres"
        lines |= {"primary_conninfo": address, "primary_slot_name": follow, "hot_standby_feedback": "on"}
    arguments = ["-D", copy.data, "-h", primary.host, "-p", primary.port, "-U", "postgres", "-c", "fast"]
    copy.server_program("pg_basebackup", *arguments)
    with open(copy.data / "postgresql.conf", "a", encoding="utf-8") as conf:
        conf.writelines(f"{key} = '{value}'\n" for key, value in lines.items())
    if follow:
        (copy.data / "standby.signal").touch()
    return copy


@contextlib.contextmanager
def standby(primary: Cluster, **settings: str) -> Iterator[Cluster]:
    """A running standby that follows primary through the physical slot "standby"."""
    primary.query("SELECT pg_create_physical_replication_slot('standby', true)")
    copy = copy_cluster(primary, follow="standby", **settings)
    try:
        copy.start()
        yield copy
    finally:
        copy.remove()


def catch_up(primary: Cluster, copy: Cluster) -> None:
    """Wait until a standby has replayed everything the primary has written."""
    lsn = primary.value("SELECT pg_current_wal_insert_lsn()::text")
    replayed = f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'"
    poll(lambda: copy.value(replayed), 60, "the standby")


def promote(copy: Cluster) -> None:
    """Make a standby a primary on a new timeline."""
    copy.server_program("pg_ctl", "promote", "-w", "-s", "-D", copy.data)
