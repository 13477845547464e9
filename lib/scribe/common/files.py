"""Every write to an archive goes through here: temporary name, fsync, rename, fsync of the directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import json
import math
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from scribe.common.errors import ScribeError, TryAgainError, UsageError

TEMPORARY = ".tmp-"
DAMAGED = 'Fetch the file from another copy of the archive; "scribe-verify" names every one that is damaged.'
FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
MOST = 256 << 20  # bytes of what is read as a whole: a manifest, or the roles and tablespaces of a server
_MOST_DIGITS = 80
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sync_directory(directory: Path) -> None:
    """Make the names in directory durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the contents of path durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Create path (mode 0700) durably if it is not there; its parent must exist."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=DIRECTORY_MODE)
        sync_directory(path.parent)


def temporary_path(path: Path) -> Path:
    """Return an unused temporary name in the directory of path."""
    return path.with_name(f"{TEMPORARY}{path.name}.{secrets.token_hex(4)}")


def _give_to_owner(descriptor: int, directory: Path) -> None:
    """Let a file that root has just made belong to who owns the directory, who could not use it otherwise."""
    if os.geteuid() == 0:
        status = os.stat(directory)
        with contextlib.suppress(PermissionError):  # a file system that root is nobody on
            os.fchown(descriptor, status.st_uid, status.st_gid)


def _open_temporary(path: Path) -> tuple[Path, int]:
    """Create a temporary file for path; the lock on it, which ends when it is closed, says that it is no leftover."""
    while True:
        temporary = temporary_path(path)
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:  # else it was taken for one before it was locked
                _give_to_owner(descriptor, path.parent)
                return temporary, descriptor
        except BaseException:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
            raise
        os.close(descriptor)


@contextlib.contextmanager
def replacing(path: Path, *, exclusive: bool = False, mode: int = FILE_MODE) -> Iterator[IO[bytes]]:
    """Open a temporary file that becomes path, durably, when the block ends without an exception.

    exclusive: path must not exist; used for archived files, which are written once. mode: who may read it.
    Raises FileExistsError if exclusive and path exists; OSError as the file system says.
    """
    temporary, descriptor = _open_temporary(path)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if mode != FILE_MODE:
                os.fchmod(stream.fileno(), mode)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            publish(temporary, path, exclusive=exclusive)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
            error.filename = str(path)  # write(2) names none
        raise


def publish(temporary: Path, path: Path, *, exclusive: bool = False) -> None:
    """Give a complete, synced file (or directory) its final name, durably."""
    if exclusive:
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        os.rename(temporary, path)
    else:
        os.replace(temporary, path)
    sync_directory(path.parent)


def write_file(path: Path, content: bytes, *, exclusive: bool = False, mode: int = FILE_MODE) -> None:
    """Write content to path in one durable step. Raises as replacing() does."""
    with replacing(path, exclusive=exclusive, mode=mode) as stream:
        stream.write(content)


def write_output(path: Path, content: bytes) -> None:
    """Write content to what somebody named, for others to read: to a file in one durable step.

    A device, a pipe or a link such as /dev/stdout is written to and not replaced, but for a link that another user has
    put there. Raises OSError.
    """
    try:
        link = path.lstat()
        foreign = stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.geteuid())
        plain = foreign or stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        foreign, plain = False, True
    if plain:
        write_file(path if foreign else path.resolve(), content, mode=0o644)
        return
    with open(path, "wb", 0) as stream:
        view = memoryview(content)
        while view:
            view = view[stream.write(view) :]


def write_json(path: Path, value: Any, *, exclusive: bool = False) -> None:
    """Write value as readable JSON to path in one durable step."""
    write_file(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode(), exclusive=exclusive)


def open_archived(path: Path) -> io.FileIO:
    """Open a file of an archive for reading; a pipe, at which others would let us wait, is none. Raises OSError."""
    stream = open(path, "rb", 0, opener=_without_waiting)  # noqa: SIM115  (the caller closes it)
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    return stream


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def read_archived(path: Path) -> bytes:
    """Return what is in a file of an archive. Raises OSError, or ScribeError if that is too much to be read whole."""
    with open_archived(path) as stream:
        if os.fstat(stream.fileno()).st_size > MOST:
            raise ScribeError(f'could not read "{path}": it has more than {MOST >> 20} MB', DAMAGED)
        return stream.readall()  # an archive may have ten thousand manifests


def read_json(path: Path) -> Any:
    """Return the JSON value in path. Raises FileNotFoundError, or ScribeError when it is not JSON."""
    try:
        text = read_archived(path).decode()
        return json.loads(text, parse_int=_read_number, parse_float=_read_fraction, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # the latter of thousands of brackets
        raise ScribeError(f'could not read "{path}": not valid JSON ({error})', DAMAGED) from None
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ScribeError(f'could not read "{path}": {error.strerror}', DAMAGED) from None


def _read_number(text: str) -> int:
    """Return a number that floating point can hold, too: sizes and counts are divided and printed."""
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _read_fraction(text: str) -> float:
    """Return a number that is none of the infinite ones: 1e999 would be."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"the number {text[:20]}")
    return number


def _refuse_constant(text: str) -> float:
    raise ValueError(text)


def remove_file(path: Path) -> None:
    """Remove path durably; that it is gone already is no error."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        sync_directory(path.parent)


def remove_tree(path: Path) -> None:
    """Remove a directory and what is in it; symbolic links are not followed."""
    for entry in list(os.scandir(path)):
        if entry.is_dir(follow_symlinks=False):
            remove_tree(Path(entry.path))
        else:
            os.unlink(entry.path)
    os.rmdir(path)


def remove_leftovers(directory: Path) -> int:
    """Remove what a program that died left under temporary names in directory; return how many.

    Files that are being written stay; directories do not, so hold the lock of those who make them.
    """
    leftovers = [Path(entry.path) for entry in os.scandir(directory) if entry.name.startswith(TEMPORARY)]
    removed = 0
    for path in leftovers:
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
            removed += 1
        else:
            removed += _remove_unwritten(path)
    return removed


def _remove_unwritten(path: Path) -> bool:
    """Remove a temporary file unless a program is writing it; return whether that was done."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            path.unlink(missing_ok=True)
        return error.errno == errno.ELOOP
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def is_safe_place(directory: Path) -> bool:
    """Whether nobody but us and root can put something else in the place of what is there. Raises OSError."""
    status = directory.stat()
    return status.st_uid in (os.geteuid(), 0) and not status.st_mode & 0o022


def scratch_directory(given: str | None = None) -> Path:
    """Return the directory for what is gone at the end: the one given, else $TMPDIR. Raises UsageError, OSError."""
    directory = Path(given or tempfile.gettempdir()).absolute()
    owner = directory.stat().st_uid
    if owner not in (os.geteuid(), 0):  # who owns it may put something else in the place of what we make there
        hint = "Set TMPDIR to another one, or name one with --directory where there is that option."
        raise UsageError(f'directory "{directory}" belongs to another user (uid {owner})', hint)
    return directory


def describe_strange(path: Path, root: Path) -> str | None:
    """Return why a file below root is no plain file of ours, None if it is one. Raises OSError.

    Ours is what belongs to us, to root, or to whom root belongs. That a directory of the archive's first level is a
    symbolic link to another disk is the operator's business; a file that has other names is not told from a copy that
    rsync --link-dest has made, and whoever could write it by another name would own it, or be let in by its mode.
    """
    between = path.relative_to(root).parts
    for depth in range(len(between)):
        directory = root.joinpath(*between[:depth])
        if depth >= 2 and directory.is_symlink():
            return f'"{between[depth - 1]}" in its path is a symbolic link'
        mode = directory.stat().st_mode
        if mode & 0o022:
            return f'others may put another in its place (mode {stat.S_IMODE(mode):04o} of "{directory}")'
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return "it is a symbolic link"
    if not stat.S_ISREG(status.st_mode):
        return "it is no plain file"
    if status.st_uid not in (os.geteuid(), 0, root.stat().st_uid):
        return f"it belongs to another user (uid {status.st_uid})"
    if status.st_mode & 0o022:
        return f"others may change it (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


class Lock:
    """A lock the kernel frees when its owner ends, however it ends (flock on a file that stays).

    Use as a context manager. Entering raises TryAgainError if another process has held the lock for wait seconds.
    """

    def __init__(self, path: Path, what: str, *, wait: float = 0.0) -> None:
        self.path = path
        self.what = what
        self.wait = wait
        self._descriptor = -1

    operation = fcntl.LOCK_EX

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(self.path, flags | os.O_CREAT | os.O_EXCL, FILE_MODE)
            _give_to_owner(descriptor, self.path.parent)
            return descriptor
        return os.open(self.path, flags | os.O_CREAT, FILE_MODE)

    def __enter__(self) -> Lock:
        descriptor = self._open()
        try:
            self._acquire(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return self

    def _acquire(self, descriptor: int) -> None:
        import select
        import time

        deadline = time.monotonic() + self.wait
        while True:
            try:
                fcntl.flock(descriptor, self.operation | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TryAgainError(
                        f'could not lock "{self.path}": {self.what}',
                        "Wait for the other program to end, then try again.",
                    ) from None
                # flock() has no time-out of its own, and a signal must still get through.
                select.select([], [], [], 0.02)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        self._descriptor = -1


class DirectoryLock(Lock):
    """A lock on a directory itself: nothing is written, so that readers can take it in an archive they may not write.

    shared: many may hold it at once, but none while one holds it alone. Used as Lock is.
    """

    def __init__(self, path: Path, what: str, *, shared: bool, wait: float = 0.0) -> None:
        super().__init__(path, what, wait=wait)
        self.operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX

    def _open(self) -> int:
        return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
