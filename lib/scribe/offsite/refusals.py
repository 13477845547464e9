"""What an object store or its library says no with, as an error of ours: in one line, with what to do about it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from scribe.common.errors import ScribeError, TryAgainError, UsageError

# By scheme, variables that bring credentials; the first of them is the example.
_CREDENTIALS = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    "gs": ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_SERVICE_ACCOUNT_KEY"),
    "az": ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_CLIENT_ID"),
}
# Where an endpoint may be named.
_ENDPOINTS = (
    *("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    *("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "GOOGLE_BASE_URL"),
)
LOCKED = "If objects are locked, run it again when the lock has ended; the credentials need the right to remove them."
LOOK = 'Run "scribe-sync --dry-run" where the archive is, to see what is missing.'


class OtherError(ScribeError):
    """Something else is under the key of what is to be written."""

    def __init__(self, url: str, key: str) -> None:
        hint = "Move what does not belong to this archive out of there, or name another prefix."
        super().__init__(f'"{url}/{key}" is there with other contents, and nothing is overwritten', hint)


@contextlib.contextmanager
def translated(url: str, what: str, advice: str | None = None) -> Iterator[None]:
    """Raise ScribeError for what the library raises. what: what could not be done; advice: in place of our own."""
    from obstore import exceptions

    try:
        yield
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        hint = advice or f"Set credentials in the environment ({_names(url)[0]}, ...) that have the right to do it."
        raise UsageError(f'could not {what} "{url}": {line_of(error)}', hint) from None
    except FileNotFoundError:
        raise ScribeError(f'could not {what} "{url}": it is not there', LOOK) from None
    except exceptions.AlreadyExistsError:
        raise
    except (exceptions.BaseError, OSError, ValueError) as error:
        hint = advice or _advice(url)
        raise TryAgainError(f'could not {what} "{url}": {line_of(error)}', hint) from None


def is_answer(error: Exception) -> bool:
    """Whether the store has answered, and has refused: another request may tell why."""
    return "status code: 4" in str(error)  # if the library words it otherwise, there is less to tell


def allows_http() -> bool:
    """Whether the environment names an endpoint without TLS, as a server beside us may be."""
    return any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS)


def _names(url: str) -> tuple[str, ...]:
    return _CREDENTIALS[url.partition("://")[0]]


def _advice(url: str) -> str:
    """Return what to do if a store does not answer as it should."""
    names = _names(url)
    if not any(os.environ.get(name) for name in names):
        return f"Set credentials in the environment, such as {names[0]}: files of other tools are not read for them."
    return "Check that the store can be reached, and the bucket's name."


def line_of(error: Exception) -> str:
    """Return what a library says in one line, without the details for its programmers."""
    text = str(error).partition("Debug source")[0]
    said, _, answer = text.partition("<?xml")
    told = [match[1] for name in ("Code", "Message") if (match := re.search(rf"<{name}>([^<]*)</{name}>", answer))]
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return ((lines or [type(error).__name__])[0][:300] + " " + ": ".join(told)).strip()[:600]
