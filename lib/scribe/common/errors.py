"""What can go wrong, as the exit status and the hint the operator gets."""

from __future__ import annotations

FAILED = 1
USAGE = 2
TRY_AGAIN = 75


class ScribeError(Exception):
    """A failure that is reported to the operator in one line.

    message: one sentence in lower case without a full stop, naming the object.
    hint: one sentence with the next command, or None.
    """

    status = FAILED

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ScribeError):
    """Wrong use or configuration: trying again cannot help (exit status 2)."""

    status = USAGE


class TryAgainError(ScribeError):
    """The server is away, a lock is held: trying again later may help (exit status 75)."""

    status = TRY_AGAIN
