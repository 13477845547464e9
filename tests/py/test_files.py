"""Writing to an archive: what is being written is nobody's leftover."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from scribe.common import files
from scribe.common.errors import ScribeError, UsageError

pytestmark = pytest.mark.unit


def test_a_file_being_written_is_no_leftover(tmp_path: Path) -> None:
    (tmp_path / ".tmp-dead").touch()
    (tmp_path / ".tmp-link").symlink_to("nowhere")
    (tmp_path / ".tmp-base").mkdir()
    (tmp_path / ".tmp-base/file").touch()
    with files.replacing(tmp_path / "list.json") as stream:
        stream.write(b"[]")
        assert files.remove_leftovers(tmp_path) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["list.json"]
    assert (tmp_path / "list.json").read_bytes() == b"[]"


def test_a_file_is_never_readable_by_fewer_than_in_the_end(tmp_path: Path) -> None:
    with files.replacing(tmp_path / "metrics", mode=0o644) as stream:
        assert os.fstat(stream.fileno()).st_mode & 0o777 == 0o644
    assert (tmp_path / "metrics").stat().st_mode & 0o777 == 0o644


def test_an_output_that_is_no_plain_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """As root, "--output /dev/null" made a plain file of /dev/null, for all programs."""
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", tmp_path / "file"
    os.mkfifo(pipe)
    link.symlink_to(file)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    files.write_output(pipe, b"for the pipe")
    assert os.read(reader, 100) == b"for the pipe"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    for content in (b"one", b"two"):
        files.write_output(link, content)
        assert link.is_symlink() and file.read_bytes() == content and stat.S_IMODE(file.stat().st_mode) == 0o644


def test_files_are_private_otherwise(tmp_path: Path) -> None:
    files.write_file(tmp_path / "a", b"")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: only root can give files away")
def test_a_link_that_another_user_has_put_there_is_not_followed(tmp_path: Path) -> None:
    link, file = tmp_path / "link", tmp_path / "file"
    link.symlink_to(file)
    os.chown(link, 65534, 65534, follow_symlinks=False)
    files.write_output(link, b"said")
    assert link.read_bytes() == b"said" and not link.is_symlink() and not file.exists()


@pytest.mark.parametrize("text", ["{", "\xff", '{"a": ' + "[" * 100_000, "1" * 400, "[NaN]"])
def test_what_is_no_json_is_damage(tmp_path: Path, text: str) -> None:
    """Deeper brackets than Python reads, and numbers that cannot be counted with, too."""
    path = tmp_path / "manifest.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ScribeError, match="not valid JSON"):
        files.read_json(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: cannot give directories away")
def test_nothing_is_made_in_a_directory_of_somebody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner may put something else there in its place: a log that we append to, programs that we run."""
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(other))
    assert files.scratch_directory() == other and files.is_safe_place(other)
    os.chown(other, 65534, 65534)
    assert not files.is_safe_place(other)
    for given in (None, str(other)):
        with pytest.raises(UsageError, match="belongs to another user"):
            files.scratch_directory(given)
    assert files.scratch_directory(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("how", ["pipe", "directory", "device", "much"])
def test_what_is_read_whole_is_a_plain_file_that_memory_can_hold(tmp_path: Path, how: str) -> None:
    """An archive may be somebody else's: no pipe keeps a program waiting, no hole of a terabyte ends it."""
    path = tmp_path / "manifest.json"
    if how == "pipe":
        os.mkfifo(path)
    elif how == "directory":
        path.mkdir()
    elif how == "device":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        os.truncate(path, 1 << 40)
    with pytest.raises(ScribeError, match="more than 256 MB" if how == "much" else "no plain file|Is a directory"):
        files.read_json(path)


def test_an_archived_file_is_written_once(tmp_path: Path) -> None:
    files.write_file(tmp_path / "segment", b"first", exclusive=True)
    with pytest.raises(FileExistsError):
        files.write_file(tmp_path / "segment", b"second", exclusive=True)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("segment", b"first")]


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: files of others are made by root alone")
def test_what_root_makes_belongs_to_who_owns_the_directory(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12346)
    files.write_file(tmp_path / "verify.json", b"{}")
    with files.Lock(tmp_path / "verify.lock", "somebody"):
        pass
    assert {(path.stat().st_uid, path.stat().st_gid) for path in tmp_path.iterdir()} == {(12345, 12346)}


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: files of others are made by root alone")
def test_a_file_that_was_there_keeps_its_owner(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    (tmp_path / "verify.lock").symlink_to("secret")
    os.chown(tmp_path, 12345, 12346)
    with files.Lock(tmp_path / "verify.lock", "somebody"):
        pass
    assert (tmp_path / "secret").stat().st_uid == 0
