"""A source database, its archive, and pg_scribe's programs run against them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cluster import ROOT, Cluster, poll
from starting import run_program

LIMIT = float(os.environ.get("PG_SCRIBE_RUN_LIMIT", "300"))  # seconds; many planted bugs make a program wait for ever


class Scribe:
    """One source database with its archive, and the programs run against them."""

    def __init__(self, cluster: Cluster, dbname: str, archive: Path, settings: Mapping[str, str] | None = None) -> None:
        self.cluster = cluster
        self.dbname = dbname
        self.archive = archive
        self.settings = dict(settings or {})
        self.bin = ROOT / "bin"
        self.streams: list[subprocess.Popen[bytes]] = []
        self.log = archive.parent / f"{archive.name}.stream.log"

    @property
    def env(self) -> dict[str, str]:
        """Return the environment the programs run in."""
        return self.cluster.env | {"PGDATABASE": self.dbname, "SCRIBE_ARCHIVE": str(self.archive), **self.settings}

    @property
    def slot(self) -> str:
        """Return the name of the replication slot."""
        return self.settings.get("SCRIBE_SLOT", f"scribe_{self.dbname}")

    def run(
        self,
        program: str,
        *arguments: str,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        timeout: float = LIMIT,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; check: fail unless it exits with 0; timeout: seconds."""
        command = [str(self.bin / program), *arguments]
        result = run_program(command, env=self.env | dict(env or {}), timeout=timeout)
        if check and result.returncode:
            said = result.stdout + result.stderr
            raise AssertionError(f"{program} {' '.join(arguments)} exited {result.returncode}\n{said}")
        return result

    def start_stream(
        self, *arguments: str, wait: bool = True, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start scribe-stream in the background, and wait until the slot is being read."""
        with open(self.log, "ab") as log:
            stream = subprocess.Popen(
                [str(self.bin / "scribe-stream"), *arguments],
                env=self.env | dict(env or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.streams.append(stream)
        if wait:
            poll(lambda: self._is_streaming(stream), 60, "streaming")
        return stream

    def _is_streaming(self, stream: subprocess.Popen[bytes]) -> bool:
        if stream.poll() is not None:
            raise AssertionError(
                f"scribe-stream exited {stream.returncode}\n{self.log.read_text(errors='replace')[-2000:]}"
            )
        active = "SELECT active FROM pg_catalog.pg_replication_slots WHERE slot_name = '{}'"
        return self.cluster.query(active.format(self.slot)) == [(True,)]

    def stop_stream(self, signum: int = signal.SIGTERM, timeout: float = 60) -> int:
        """Send the signal to the last stream started and return its exit status."""
        stream = self.streams.pop()
        stream.send_signal(signum)
        return stream.wait(timeout)

    def kill_stream(self) -> None:
        """Kill the last stream started with SIGKILL: that one process, as an out-of-memory killer would."""
        self.stop_stream(signal.SIGKILL)

    def restore_with_psql(self, target: str, base: Path | None = None) -> None:
        """Restore with psql alone, as the format promises: the base, then every later segment in the order of names."""
        self.cluster.createdb(target)
        self.run_files_with_psql(target, base)

    def run_files_with_psql(self, target: str, base: Path | None = None) -> None:
        """Run the base and every later segment in an empty database."""
        base = base or sorted((self.archive / "base").iterdir())[-1]
        self._psql_file(next(base.glob("base.sql*")), target)
        consistent_point = json.loads((base / "manifest.json").read_text())["consistent_point"]
        for segment in sorted((self.archive / "incremental").glob("*.sql*")):
            if segment.name.split("-")[1].split(".")[0] > consistent_point:
                self._psql_file(segment, target)

    def run_base_with_psql(self, target: str) -> None:
        """Run the newest base alone in a new database."""
        self.cluster.createdb(target)
        base = sorted((self.archive / "base").iterdir())[-1]
        self._psql_file(next(base.glob("base.sql*")), target)

    def segments(self) -> list[Path]:
        """Return the data files of the segments, in order."""
        return sorted((self.archive / "incremental").glob("*.sql*"))

    def run_segments_with_psql(
        self, target: str, segments: list[Path] | None = None, before_footer: str = ""
    ) -> tuple[int, str]:
        """Run segments (all) through psql, one session each, until one fails; return the status and what was said.

        before_footer: what is put before a segment's footer, as if another session had done it.
        """
        said = ""
        for path in self.segments() if segments is None else segments:
            reader = "zstdcat" if path.suffix == ".zst" else "cat"
            text = subprocess.check_output([reader, path])
            text = text.replace(b"\nBEGIN; -- footer\n", f"\n{before_footer}BEGIN; -- footer\n".encode())
            psql = [f"{self.cluster.bindir}/psql", "-Xq", "-d", target]
            env = self.cluster.env
            result = subprocess.run(psql, env=env, input=text, capture_output=True, check=False)
            said += result.stderr.decode()
            if result.returncode:
                return result.returncode, said
        return 0, said

    def _psql_file(self, path: Path, target: str) -> None:
        reader = "zstdcat" if path.suffix == ".zst" else "cat"
        script = 'set -o pipefail; "$0" "$1" | psql -X -q -v ON_ERROR_STOP=1 -d "$2" >/dev/null'
        result = subprocess.run(
            ["bash", "-c", script, reader, str(path), target],
            env=self.cluster.env,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise AssertionError(f"psql could not run {path.name}: {result.stderr[-2000:]}")

    def kill_streams(self) -> None:
        """End every stream that is still running."""
        for stream in self.streams:
            stream.kill()
            stream.wait()
        self.streams.clear()

    def close(self) -> None:
        """End what is still running and remove the slot and the database."""
        self.kill_streams()
        if not self.cluster.running():
            return
        poll(self._drop_slot, 30, "dropping the slot")
        self.cluster.dropdb(self.dbname)

    def _drop_slot(self) -> bool:
        rows = self.cluster.query(
            f"SELECT active_pid FROM pg_catalog.pg_replication_slots WHERE slot_name = '{self.slot}'"
        )
        if not rows:
            return True
        if rows[0][0]:
            self.cluster.query(f"SELECT pg_catalog.pg_terminate_backend({rows[0][0]})")
            return False
        self.cluster.query(
            "SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots"
            f" WHERE slot_name IN ('{self.slot}', '{self.slot[:58]}_kept')"
        )
        return True


def hide_library(cluster: Cluster, dbname: str) -> None:
    """Let no session of a captured database load the library, as on a host where it was not installed again."""
    with cluster.connect(dbname) as conn:
        functions = conn.execute(
            "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'scribe'::regnamespace"
            " AND strpos(prosrc, $$'$libdir/scribe_capture'$$) > 0"
        ).fetchall()
        assert len(functions) > 1
        for (function,) in functions:
            conn.execute(function.replace("'$libdir/scribe_capture'", "'$libdir/no_such_library'"))
