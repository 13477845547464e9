"""A rehearsal's server runs as a user of its own: what users of the source have written finds no door there."""

from __future__ import annotations

import io
import os
import pwd
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import ROOT, Cluster
from source import Scribe

from scribe.common.errors import ScribeError
from scribe.restore.launcher import Launched

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="not root: cannot start a program as another user")
OTHER = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
# What a domain's CHECK tries when the row comes to the copy, as the copy's superuser; it reads what COPY sends.
DOORS = """
CREATE FUNCTION door(v text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('data_directory', true) LIKE '%scribe-rehearsal-%' THEN
        EXECUTE format('COPY (SELECT 1) TO PROGRAM %L',
            'cat > /dev/null; id -un > {mark}; cat {secret} >> {mark} 2>&1; exit 0');
    END IF;
    RETURN true;
END $$;
CREATE DOMAIN public.visit AS text CHECK (public.door(VALUE));
CREATE TABLE public.visited (v public.visit);
INSERT INTO public.visited VALUES ('x');
"""


class Acceptor:
    """What systemd does for scribe-rehearsal.socket: a process for each connection, as another user."""

    def __init__(self, path: Path, directory: Path, env: dict[str, str]) -> None:
        self.path = path
        self._directory, self._env = directory, env
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self.children: list[subprocess.Popen[bytes]] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            assert OTHER is not None
            with connection:
                self.children.append(
                    subprocess.Popen(
                        [ROOT / "bin/scribe-verify", "--launch", "--directory", self._directory],
                        stdin=connection,
                        stdout=connection,
                        user=OTHER.pw_uid,
                        group=OTHER.pw_gid,
                        extra_groups=[],
                        env=self._env,
                        cwd="/",
                    )
                )

    def close(self) -> None:
        self._listening.close()
        for child in self.children:
            assert child.wait(60) == 0


@pytest.fixture
def acceptor(cluster: Cluster, place: Path) -> Iterator[Acceptor]:
    assert OTHER is not None
    cache = place / "cache"
    cache.mkdir(0o711)
    os.chown(cache, OTHER.pw_uid, OTHER.pw_gid)
    env = {name: value for name, value in cluster.env.items() if not name.startswith("PG")}
    made = Acceptor(place / "socket", cache, env)
    yield made
    made.close()
    assert list(cache.iterdir()) == []


def test_code_of_the_sources_users_runs_as_the_launchers_user(
    scribe: Scribe, cluster: Cluster, acceptor: Acceptor, tmp_path: Path
) -> None:
    mark, secret = acceptor.path.parent / "cache" / "mark", scribe.archive / "archive.json"
    text = DOORS.replace("{mark}", str(mark)).replace("{secret}", str(secret))
    cluster.psql(text, scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    scribe.run("scribe-rotate", "--record")
    env = {name: value for name, value in scribe.env.items() if not name.startswith("PG")}
    command = [ROOT / "bin/scribe-verify", "--rehearse", "--launcher", acceptor.path]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "as recorded" in run.stderr and "warning" not in run.stderr
    said = mark.read_text().splitlines()
    mark.unlink()
    assert said[0] == "nobody"
    assert "Permission denied" in said[1]
    assert (scribe.archive / "rehearsal.json").exists()
    command = [ROOT / "bin/scribe-peek", "--launcher", acceptor.path, "-c", "TABLE visited", "--", "-At"]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)
    warnings = [line for line in run.stderr.splitlines() if "warning: " in line and "warning: globals: " not in line]
    assert (run.stdout, warnings) == ("x\n", []), run.stderr  # globals: other tests' roles and tablespaces
    assert mark.read_text().splitlines()[0] == "nobody"
    mark.unlink()


def test_a_launcher_that_cannot_is_heard(scribe: Scribe, tmp_path: Path) -> None:
    scribe.run("scribe-init")
    missing = scribe.run("scribe-verify", "--rehearse", "--launcher", str(tmp_path / "none"), check=False)
    assert missing.returncode == 1
    assert "could not connect to" in missing.stderr and "hint" in missing.stderr
    orders = subprocess.run(
        [ROOT / "bin/scribe-verify", "--launch"], input='{"major": 99}\n', capture_output=True, text=True, check=False
    )
    assert "could not find the programs of a PostgreSQL server of version 99" in orders.stdout


def test_a_launcher_that_was_taken_over_names_no_programs_for_us(tmp_path: Path) -> None:
    """It runs as the user whom code of the source's users may have become; psql and pg_dump run as ours."""
    evil = tmp_path / "bin"
    evil.mkdir()
    evil.chmod(0o777)
    made = {"directory": str(tmp_path), "missing": {}}
    with pytest.raises(ScribeError, match="others may change the programs in"):
        Launched(io.StringIO(), made | {"bindir": str(evil)})
    assert Launched(io.StringIO(), made | {"bindir": "/usr/bin"}).bindir == Path("/usr/bin")


def test_by_hand_it_is_said_as_whom_the_code_runs(scribe: Scribe, cluster: Cluster) -> None:
    scribe.run("scribe-init")
    env = {name: value for name, value in scribe.env.items() if not name.startswith("PG")}
    command = [ROOT / "bin/scribe-verify", "--rehearse", "--directory", "/tmp"]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "code that users of the source have written runs as " in run.stderr
    assert "runs as postgres" not in run.stderr
