"""The settings in force, and where each comes from, without anything secret."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import pq

from scribe.common.settings import KEYS, Settings

_HIDDEN = "(not shown)"
# What a command for the shell may hold that nobody else should see.
_SECRETS = (
    (re.compile(r"(?i)(\w*(?:passw|passphrase|secret|token|_key)\w*(?:=|\s+))(?:'[^']*'|\S+)"), rf"\1{_HIDDEN}"),
    (re.compile(r"(://[^/\s:@]*):[^@\s]+@"), rf"\1:{_HIDDEN}@"),
)


@dataclass(frozen=True)
class Shown:
    """One setting as it is shown: value None where it is not set."""

    key: str
    value: str | None
    source: str

    @property
    def assignment(self) -> str:
        """KEY=value, or KEY alone where it is not set."""
        return self.key if self.value is None else f"{self.key}={self.value}"


def describe_settings(settings: Settings, environment: Mapping[str, str]) -> list[Shown]:
    """Return every key of ours and every variable of libpq's that is set.

    settings: as prepare() returned them, which has put the connection into os.environ; environment: before it did.
    """
    shown = [Shown(key, _text(settings, key), settings.sources.get(key, "not set")) for key in KEYS]
    return shown + [
        Shown(name, _HIDDEN if secret else _conceal(os.environ[name]), _origin(name, settings, environment))
        for name, secret in _libpq_variables()
        if name in os.environ
    ]


def _text(settings: Settings, key: str) -> str | None:
    text = settings.texts.get(key)
    return None if text is None else _conceal(text)


def _conceal(text: str) -> str:
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _origin(name: str, settings: Settings, environment: Mapping[str, str]) -> str:
    if os.environ[name] == settings.environment.get(name):
        return f"file {settings.path}"
    return "environment" if os.environ[name] == environment.get(name) else "flag"


def _libpq_variables() -> list[tuple[str, bool]]:
    """Return the variables of the environment that libpq reads, and whether the value is a password."""
    return sorted(
        (option.envvar.decode(), (option.dispchar or b"") == b"*")
        for option in pq.Conninfo.get_defaults()
        if option.envvar
    )
