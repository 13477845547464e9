"""Settings: from flags, then the environment, then a file that sh, systemd and python-dotenv read alike."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from scribe.common.errors import UsageError
from scribe.common.paths import find_document

_SIZE = re.compile(r"(\d+)\s*(B|kB|MB|GB|TB)?", re.ASCII)
_UNITS = {None: 1, "B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_DURATION = re.compile(r"(\d+)\s*(s|min|h|d)?", re.ASCII)
LONGEST_INTERVAL = 2147483  # seconds, for pg_recvlogical
_SECONDS = {None: 1, "s": 1, "min": 60, "h": 3600, "d": 86400}


def parse_size(text: str) -> int:
    """Return bytes for "10GB" (PostgreSQL's units); raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError('a size such as "512MB" or "10GB" is expected')
    return int(match[1]) * _UNITS[match[2]]


def parse_duration(text: str) -> int:
    """Return seconds for "24h", "30min", "10s" or "7d"; raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError('a time such as "10s", "30min", "24h" or "7d" is expected')
    return int(match[1]) * _SECONDS[match[2]]


def parse_percent(text: str) -> int:
    """Return 80 for "80%"; raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,3}%", text) or int(text[:-1]) > 100:
        raise ValueError('a percentage such as "80%" is expected')
    return int(text[:-1])


def parse_count(text: str) -> int:
    """Return a whole number that is not negative; raises ValueError."""
    if not re.fullmatch(r"[0-9]+", text):
        raise ValueError("a whole number is expected")
    return int(text)


def parse_positive(text: str) -> int:
    """Return a whole number of at least 1; raises ValueError."""
    if parse_count(text) < 1:
        raise ValueError("a whole number of at least 1 is expected")
    return int(text)


def parse_interval(text: str) -> int:
    """Return a number of seconds that pg_recvlogical takes; raises ValueError."""
    if parse_positive(text) > LONGEST_INTERVAL:
        raise ValueError(f"at most {LONGEST_INTERVAL} seconds are possible")
    return int(text)


def choice(*words: str) -> Callable[[str], str]:
    """Return a parser that accepts exactly these words."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError("one of " + ", ".join(words) + " is expected")
        return text

    return parse


def parse_slot(text: str) -> str:
    """Return a replication slot name as PostgreSQL allows it (manual section 26.2.6.1); raises ValueError."""
    if not re.fullmatch(r"[a-z0-9_]{1,63}", text):
        raise ValueError("lower-case letters, digits and underscores, at most 63, are expected")
    return text


def parse_left_out(text: str) -> tuple[str, ...]:
    """Return tables and columns, "schema.table" or "schema.table.column" as SQL writes names; raises ValueError."""
    name = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
    items = re.findall(rf"\s*({name}(?:\.{name}){{1,2}})\s*(?:,|\Z)", text)
    if "'" in text or not items or re.sub(r"\s", "", ",".join(items)) != re.sub(r"\s", "", text):
        raise ValueError("schema.table or schema.table.column is expected, several with commas between them")
    return tuple(items)


SCHEMES = ("file", "s3", "gs", "az")


def parse_url(text: str) -> str:
    """Return the URL of a place of objects; raises ValueError."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in SCHEMES or not rest.strip("/") or (scheme == "file") != rest.startswith("/"):
        raise ValueError("a place such as s3://bucket/prefix or file:///mnt/backup/shop is expected")
    if scheme != "file" and (set(rest) & set("?#%\\") or {"", ".", ".."} & set(rest.rstrip("/").split("/"))):
        raise ValueError("a bucket and a prefix without ?, #, %, \\, and without . or .. between slashes, are expected")
    return text.rstrip("/")


def parse_urls(text: str) -> tuple[str, ...]:
    """Return several such URLs, with blanks between them; raises ValueError."""
    return tuple(dict.fromkeys(map(parse_url, text.split())))


def parse_archive(text: str) -> Path | str:
    """Return the directory of an archive, or the URL of one in a store; raises ValueError."""
    return parse_url(text) if "://" in text else parse_directory(text)


def parse_recipients(text: str) -> tuple[str, ...]:
    """Return age's public keys (age1...) or files of them, with blanks between them; raises ValueError."""
    words = tuple(text.split())
    for word in words:
        if not re.fullmatch(r"age1[0-9a-z]+", word) and not os.path.isabs(word):
            raise ValueError("public keys of age (age1...), or absolute paths of files of them, are expected")
    return words


def parse_directory(text: str) -> Path:
    """Return an absolute path; raises ValueError for an empty one."""
    if not text:
        raise ValueError("a directory is expected")
    return Path(os.path.abspath(text))


@dataclass(frozen=True)
class Key:
    """One setting: how its text is read, and its default as text (None: there is none)."""

    parse: Callable[[str], Any]
    default: str | None


KEYS: dict[str, Key] = {
    "SCRIBE_ARCHIVE": Key(parse_archive, None),
    "SCRIBE_SLOT": Key(parse_slot, None),
    "SCRIBE_FAILOVER": Key(choice("on", "off"), "off"),
    "SCRIBE_DECODER": Key(choice("scribe_decoder", "pgoutput", "decoder_raw"), "scribe_decoder"),
    "SCRIBE_STATUS_INTERVAL": Key(parse_interval, "10"),
    "SCRIBE_FSYNC_INTERVAL": Key(parse_interval, "10"),
    "SCRIBE_LEAVE_OUT": Key(parse_left_out, None),
    "SCRIBE_COMPRESS": Key(choice("zstd", "none"), "zstd"),
    "SCRIBE_DUMP_FORMAT": Key(choice("plain", "directory"), "plain"),
    "SCRIBE_DUMP_JOBS": Key(parse_positive, "1"),
    "SCRIBE_DUMPS_AT_ONCE": Key(parse_count, "0"),
    "SCRIBE_BASE_FROM": Key(choice("source", "archive"), "source"),
    "SCRIBE_COPY": Key(parse_directory, None),
    "SCRIBE_REPLICA_IDENTITY": Key(choice("full", "refuse"), "full"),
    "SCRIBE_LARGE_OBJECTS": Key(choice("capture", "refuse"), "capture"),
    "SCRIBE_KEEP_INCREMENTAL_DAYS": Key(parse_count, "7"),
    "SCRIBE_KEEP_EXACT_DAYS": Key(parse_count, "7"),
    "SCRIBE_KEEP_DAILY_DAYS": Key(parse_count, "365"),
    "SCRIBE_KEEP_BASE_DAYS": Key(parse_count, "30"),
    "SCRIBE_KEEP_MONTHLY": Key(parse_count, "12"),
    "SCRIBE_PROOF_DAYS": Key(parse_count, "35"),
    "SCRIBE_LAG_WARNING": Key(parse_size, "512MB"),
    "SCRIBE_LAG_CRITICAL": Key(parse_size, "1GB"),
    "SCRIBE_LAG_EMERGENCY": Key(parse_size, "10GB"),
    "SCRIBE_SLOT_AGE_EMERGENCY": Key(parse_duration, "24h"),
    "SCRIBE_DISK_WARNING": Key(parse_percent, "80%"),
    "SCRIBE_CHECK_LIMITS": Key(str, None),
    "SCRIBE_ARCHIVE_COMMAND": Key(str, None),
    "SCRIBE_REMOTE": Key(parse_urls, None),
    "SCRIBE_ENCRYPT_TO": Key(parse_recipients, None),
    "SCRIBE_DECRYPT_WITH": Key(parse_directory, None),
    "SCRIBE_FOLLOW": Key(str, None),
    "SCRIBE_CACHE": Key(parse_directory, None),
    "SCRIBE_CACHE_SIZE": Key(parse_size, "100GB"),
}
# Said by the environment alone; a settings file cannot name another one.
_ELSEWHERE = {"SCRIBE_CONFIG"}
_OTHERS = ("PG", "AWS_", "AZURE_", "GOOGLE_")  # variables of libpq and of object stores


@dataclass(frozen=True)
class Settings:
    """What is in force: the value of each key (None where nothing is set) and where it came from."""

    values: Mapping[str, Any]
    sources: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)  # variables of others that the file sets
    texts: Mapping[str, str] = field(default_factory=dict)  # the values as they were given
    path: str | None = None  # the settings file

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    @property
    def archive(self) -> Path:
        """The archive's directory. Raises UsageError when SCRIBE_ARCHIVE is not set, or names a place in a store."""
        place = self.place
        if not isinstance(place, Path):
            hint = "Set SCRIBE_ARCHIVE to a directory; a store is for what reads, such as scribe-log."
            raise UsageError(f'the archive in "{place}" can only be read', hint)
        return place

    @property
    def place(self) -> Path | str:
        """The archive's directory, or its URL. Raises UsageError when SCRIBE_ARCHIVE is not set."""
        place: Path | str | None = self.values["SCRIBE_ARCHIVE"]
        if place is None:
            raise UsageError("no archive is named", "Set SCRIBE_ARCHIVE to the archive's directory.")
        return place


def read_file(path: Path) -> dict[str, str]:
    """Return the assignments in a settings file. Raises UsageError when it cannot be read."""
    try:
        with path.open(encoding="utf-8") as stream:
            pairs = dotenv_values(stream=stream, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        hint = f'Name another one with "--config FILE"; "{find_document("etc/scribe.env.example")}" is an example.'
        raise UsageError(f'could not open settings file "{path}": {reason}', hint) from None
    bad = [name for name, value in pairs.items() if value is None]
    if bad:
        hint = 'Write KEY=value, or KEY="value with spaces".'
        raise UsageError(f'settings file "{path}" has a line without "=": "{bad[0]}"', hint)
    return {name: value for name, value in pairs.items() if value is not None}


def load_settings(config: str | None, flags: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> Settings:
    """Merge flags over the environment over the settings file over the defaults.

    config: the --config flag, or None for $SCRIBE_CONFIG; flags: key -> text for flags that set a key.
    Raises UsageError for an unreadable file, an unknown SCRIBE_ key or a value that does not fit.
    """
    path = config or environ.get("SCRIBE_CONFIG")
    from_file = read_file(Path(path)) if path else {}
    layers = [("default", {k: key.default for k, key in KEYS.items() if key.default is not None})]
    layers += [(f"file {path}", from_file), ("environment", dict(environ)), ("flag", dict(flags))]
    texts: dict[str, str] = {}
    sources: dict[str, str] = {}
    for source, pairs in layers:
        for name, text in pairs.items():
            if name.startswith("SCRIBE_") and name not in KEYS and name not in _ELSEWHERE:
                hint = f'See "{find_document("etc/scribe.env.example")}" for every key.'
                raise UsageError(f'unknown setting "{name}" ({source})', hint)
            repeated = source == "environment" and text == from_file.get(name)  # a service manager read the same file
            if name in KEYS and not repeated and (text or name == "SCRIBE_ARCHIVE"):  # empty is unset, as in a shell
                texts[name], sources[name] = text, source
    values: dict[str, Any] = dict.fromkeys(KEYS)
    for name, text in texts.items():
        try:
            values[name] = KEYS[name].parse(text)
        except ValueError as error:
            hint = f'See "{find_document("etc/scribe.env.example")}" for every key.'
            raise UsageError(f'invalid value "{text}" for {name} ({sources[name]}): {error}', hint) from None
    libpq = {k: v for k, v in from_file.items() if k.startswith(_OTHERS) and k not in environ}
    return Settings(values, sources, libpq, texts, path)
