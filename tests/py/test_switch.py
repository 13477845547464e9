"""A rotation closes the spool's file only when pg_recvlogical has opened it."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from archives import make_archive
from cluster import find_pg_config

from scribe.common.errors import TryAgainError
from scribe.spool import switch_file
from scribe.spool.contents import Spool

pytestmark = pytest.mark.unit


def test_a_receiver_that_is_not_connected_yet_makes_no_file(tmp_path: Path, monkeypatch) -> None:
    spool = Spool(make_archive(tmp_path / "archive").spool)
    spool.stream.write_bytes(b"-- something\n")
    monkeypatch.setattr(switch_file, "SWITCH_WAIT", 0.1)
    bindir = Path(subprocess.check_output([find_pg_config(), "--bindir"], text=True).strip())
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{place}/.s.PGSQL.5432")
        server.settimeout(60)
        server.listen()
        command = [
            bindir / "pg_recvlogical",
            "--start",
            "--no-loop",
            "--slot=s",
            "--dbname=d",
            f"--file={spool.stream}",
        ]
        environment = {"PATH": os.environ["PATH"], "PGHOST": place, "PGPORT": "5432", "PGUSER": "u"}
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as receiver:
            try:
                connection, _ = server.accept()  # it waits for an answer now
                with pytest.raises(TryAgainError, match=rf"process {receiver.pid}\) has not begun to receive"):
                    switch_file.switch(spool)
                assert (spool.parts(), spool.stream.read_bytes()) == ([], b"-- something\n")
            finally:
                connection.close()
        assert receiver.returncode == 1
    switch_file.switch(spool)
    assert [path.read_bytes() for path in spool.paths()] == [b"-- something\n", b""]
