"""What a throw-away cluster takes of the source's server, so that the source's extensions can be made in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_OF_EXTENSION = re.compile(r"[A-Za-z_][\w$]*(?:\.[A-Za-z_][\w$]*)+")
_NAME = re.compile(r'"((?:[^"]|"")*)"|([^",\s]+)')


@dataclass
class Preloads:
    """Libraries to be loaded and their settings; missing: those left out, with the reason. All of it may change."""

    libraries: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def options(self) -> list[str]:
        """Return the server's options. Nothing may run by itself: what an extension schedules is the source's work."""
        if not self.libraries:
            return []
        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in self.libraries)
        options = [f"--{name}={value}" for name, value in self.settings.items()]
        return [*options, f"--shared_preload_libraries={quoted}", "--max_worker_processes=0"]

    def leave_out(self, lines: Sequence[str]) -> bool:
        """Leave out what kept the server from starting, as its log has it; false where nothing is left to leave out."""
        fatal = next((line for line in reversed(lines) if "FATAL:" in line), "")
        reason = fatal.partition("FATAL:")[2].strip() or "the server did not start"
        named = [name for name in self.libraries if name in fatal]
        for name in named or list(self.libraries):
            self.libraries.remove(name)
            self.missing[name] = reason
            named = named or [name]
        return bool(named)

    def describe_missing(self) -> list[str]:
        """Return a sentence for each library left out."""
        return [
            f"library {name}, which the source preloads, was left out: {reason}"
            for name, reason in self.missing.items()
        ]


def find_preloads(meta: Mapping[str, Any], database: str) -> Preloads:
    """Return what the source's server had when a base was taken; database: what the copy is called.

    Settings that name a file or directory are the source's own. One that names the database names the copy here. What
    is no extension's is left out: an archive does not choose where the server listens.
    """
    settings = meta.get("settings", {})
    found = _NAME.findall(settings.get("shared_preload_libraries") or "")
    libraries = [quoted.replace('""', '"') or plain for quoted, plain in found]
    settings = meta.get("extension_settings", {})
    kept = {name: value for name, value in settings.items() if _OF_EXTENSION.fullmatch(name) and "/" not in value}
    for name, value in kept.items():
        if "database" in name and value == meta["database"]:
            kept[name] = database
    return Preloads(libraries, kept)
