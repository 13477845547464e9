"""Encryption with age before anything leaves the host: to public keys; the secret one is needed to restore or verify.

The age program does it (Debian's package age), in a pipe: neither the plain file nor the encrypted one is copied.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from scribe.common.errors import ScribeError, UsageError

SUFFIX = ".age"
_BLOCK = 1 << 20


class DamagedError(ScribeError):
    """age refuses its input: the key does not fit, or something was changed."""


def encrypt(blocks: Iterable[bytes], recipients: Iterable[str]) -> Iterator[bytes]:
    """Yield what blocks hold, encrypted. Raises ScribeError if age fails: then what was yielded is no whole file."""
    for word in filter(os.path.isabs, recipients):
        _refuse_unreadable(Path(word))
    options = [text for word in recipients for text in ("-R" if os.path.isabs(word) else "-r", word)]
    yield from _through_age(["--encrypt", *options], blocks)


def decrypt(blocks: Iterable[bytes], keys: Path) -> Iterator[bytes]:
    """Yield what encrypted blocks hold. Raises ScribeError if the key does not fit, or something was changed."""
    _refuse_unreadable(keys)
    if keys.stat().st_mode & stat.S_IROTH:
        raise UsageError(f'everybody may read the secret keys in "{keys}"', f"Run \"chmod o= '{keys}'\".")
    yield from _through_age(["--decrypt", "-i", str(keys)], blocks)


def _refuse_unreadable(path: Path) -> None:
    """Raise UsageError for a file of keys that is not there or cannot be read: nothing is damaged then."""
    try:
        path.open("rb").close()
    except OSError as error:
        hint = "Correct SCRIBE_ENCRYPT_TO or SCRIBE_DECRYPT_WITH, or make it readable."
        raise UsageError(f'could not read the keys in "{path}": {error.strerror}', hint) from None


def _through_age(arguments: list[str], blocks: Iterable[bytes]) -> Iterator[bytes]:
    program = shutil.which("age")
    if program is None:
        raise UsageError("could not find the program age", 'Install it, for instance with "apt-get install age".')
    failed: list[BaseException] = []
    with subprocess.Popen(
        [program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,  # without a terminal, at which it would ask for a key's passphrase, for each file
    ) as age:
        assert age.stdin is not None and age.stdout is not None and age.stderr is not None
        feeder = threading.Thread(target=_feed, args=(age, blocks, failed), daemon=True)
        feeder.start()
        try:
            while block := age.stdout.read(_BLOCK):
                yield block
        except BaseException:
            age.kill()
            raise
        finally:
            feeder.join()
        said = age.stderr.read().decode(errors="replace").strip().splitlines()
    if failed:
        raise failed[0]
    if age.returncode:
        what = (said or [f"exit status {age.returncode}"])[0].removeprefix("age: error: ")
        raise DamagedError(
            f"age could not {arguments[0].removeprefix('--')}: {what}", "See the key files that are named."
        )


def _feed(age: subprocess.Popen[bytes], blocks: Iterable[bytes], failed: list[BaseException]) -> None:
    """Give age what blocks yield; what goes wrong with that is noted, and ends it without an end of its input."""
    assert age.stdin is not None
    try:
        for block in blocks:
            rest = memoryview(block)
            while rest:
                rest = rest[age.stdin.write(rest) :]
        age.stdin.close()
    except BrokenPipeError:
        pass  # it says why itself
    except BaseException as error:
        failed.append(error)
        age.kill()
