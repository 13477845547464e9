"""What an undo is of: the transactions that were named, as the archive has them, and the rows that it needs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import zstandard

from scribe.archive.chains import Chain, commit_times
from scribe.archive.layout import Archive, Segment
from scribe.archive.pruned import read_pruned
from scribe.archive.segments import CopyStart, Ddl, Reader, Small, Start, Statements, open_plain
from scribe.common.dialect import BEGIN_PREFIX, Begin
from scribe.common.encodings import python_codec
from scribe.common.errors import ScribeError
from scribe.restore.concerned import Clusters, Outline, Undoing, find_rows_for, is_small, say_whole
from scribe.restore.copies import Copy, Source
from scribe.restore.narrow import Chosen, Name, WholeNeededError, name_of, row_table
from scribe.restore.statements import IDENTIFIER, split_statements

_BLOCK = 4 << 20
_LINE = 200  # bytes that a torn line may have for a BEGIN line to be in it
_LISTS = tuple(
    (first, re.compile(before + rb" (" + IDENTIFIER + rb")\.(" + IDENTIFIER + rb")"))
    for first, before in ((b"COPY ", b"COPY"), (b"TRUNCATE ", b"ONLY"))
)


@dataclass(frozen=True)
class Wanted:
    """What is to be taken back. until: as in BEGIN lines; keys: (column, value) pairs that a row must all have.

    kinds: words of KINDS, and "ddl"; empty: all.
    """

    xids: tuple[int, ...] = ()
    since: str | None = None
    until: str | None = None
    tables: tuple[str, ...] = ()
    keys: tuple[tuple[str, str], ...] = ()
    kinds: tuple[str, ...] = ()

    @property
    def ddl(self) -> bool:
        """Whether dropped objects are to be given back."""
        return not self.kinds or "ddl" in self.kinds


@dataclass(frozen=True)
class Found:
    """A transaction of the archive. ddl: the tags of its schema changes.

    names: of the tables whose rows it has changed, None if a statement does not tell its table.
    """

    begin: Begin
    ddl: tuple[str, ...] = ()
    names: frozenset[Name] | None = frozenset()

    def with_names(self, names: set[Name] | None) -> Found:
        """Return it with further tables."""
        known = None if self.names is None or names is None else self.names | names
        return Found(self.begin, self.ddl, known)


def refuse_coarse(chains: Iterable[Chain]) -> None:
    """Raise ScribeError where the decoder told no transactions: the times of some are those of others."""
    if any(segment.manifest.get("points") == "segment" for chain in chains for segment in chain.segments):
        raise ScribeError(
            "the archive's decoder does not tell the numbers and times of transactions",
            "Restore to a mark or a time with scribe-restore, or look there with scribe-peek.",
        )


def find_transactions(archive: Archive, chains: Sequence[Chain], xids: Sequence[int]) -> list[Found]:
    """Return transactions by their numbers, in commit order. Raises ScribeError for one that is not there, or twice."""
    wanted = set(xids)
    found: dict[int, Found] = {}
    for segment in archive.bring({s.path: s for chain in chains for s in chain.segments}.values()):
        if not _may_hold(segment, wanted):
            continue
        with open_plain(segment.data, segment.manifest["plain_bytes"]) as stream:
            reader = Reader(stream, segment.data.name)
            reader.read_header()
            lsn: int | None = None
            for event in reader.events():
                if isinstance(event, Small | Start):
                    lsn = event.begin.commit_lsn if event.begin.xid in wanted else None
                    if lsn is not None:
                        found.setdefault(lsn, Found(event.begin))
                if lsn is None:
                    continue
                if isinstance(event, Small | Statements | CopyStart):
                    found[lsn] = found[lsn].with_names(_tables_of(event.text))
                elif isinstance(event, Ddl):
                    each = found[lsn]
                    found[lsn] = Found(each.begin, (*each.ddl, event.tag), each.names)
    for xid in xids:
        places = [lsn for lsn, each in found.items() if each.begin.xid == xid]
        if len(places) != 1:
            hint = 'Run "scribe-restore --list" for what the archive holds.'
            how = "could not find" if not places else "found more than once:"
            holes = [chain.hole for chain in chains if chain.hole is not None] if not places else []
            gap = f", which has a gap: {holes[-1]}" if holes else ""
            pruned = read_pruned(archive).describe() if not places else ""
            raise ScribeError(f"{how} transaction {xid} in the archive{pruned}{gap}", hint)
    return [found[lsn] for lsn in sorted(found)]


def _may_hold(segment: Segment, xids: Iterable[int]) -> bool:
    """Whether a segment's text has the number of one of these transactions where a BEGIN line would have it.

    It may also if it cannot be read: who reads it then names the reason.
    """
    numbers = re.compile(b"(?m)^" + re.escape(BEGIN_PREFIX) + b"(?:" + b"|".join(b"%d" % xid for xid in xids) + b") ")
    with open_plain(segment.data, segment.manifest["plain_bytes"]) as stream, contextlib.suppress(zstandard.ZstdError):
        rest = b""
        while block := stream.read(_BLOCK):
            text = rest + block
            if numbers.search(text):
                return True
            rest = text[text.rfind(b"\n") + 1 :][-_LINE:]
        return False
    return True


def _tables_of(text: bytes) -> set[Name] | None:
    """The tables whose rows statements change, and perhaps more; None where one does not tell."""
    names: set[Name] = set()
    for statement in split_statements(text):
        pattern = next((found for word, found in _LISTS if statement.startswith(word)), None)
        if pattern is not None:
            told = {name_of(match) for match in pattern.finditer(statement)}
            if not told or b'U&"' in statement:
                return None
            names |= told
            continue
        try:
            name = row_table(statement)
        except WholeNeededError:
            return None
        names |= {name} if name is not None else set()
    return names


def find_rows(source: Source, clusters: Clusters, wanted: Wanted, transactions: Sequence[Found]) -> Chosen | None:
    """Return which rows an undo needs, None for all."""
    if is_small(source):
        return None
    names: set[Name] = set()
    for found in transactions:
        if found.names is None and not wanted.tables:
            return None
        names |= found.names or set()
    dropping = [f.begin.commit_lsn for f in transactions if f.ddl and wanted.ddl and not wanted.keys]
    try:
        if not (transactions or wanted.tables):
            names = _names_in_range(source, wanted)
        undoing = Undoing(lambda copy: go_before(copy, wanted, transactions), frozenset(names), dropping, wanted.tables)
        with clusters.made() as cluster:
            return find_rows_for(undoing, Outline(source, cluster))
    except WholeNeededError as error:
        say_whole(source.talk, error)
        return None


def _names_in_range(source: Source, wanted: Wanted) -> set[Name]:
    """The tables whose rows were changed in a range of time, and perhaps others, as manifests tell them.

    Raises WholeNeededError if one does not.
    """
    codec = python_codec(source.identity["encoding"])
    names: set[Name] = set()
    for segment in {s.path: s for chain in source.chains for s in chain.segments}.values():
        first, last = commit_times(segment)
        if (last is not None and last < (wanted.since or last)) or (first or "") > (wanted.until or first or ""):
            continue
        tables = segment.manifest.get("tables")
        if tables is None:
            raise WholeNeededError(f'the manifest of "{segment.data.name}" does not tell what was changed in it')
        names |= {(table["schema"].encode(codec), table["name"].encode(codec)) for table in tables}
    return names


def go_before(copy: Copy, wanted: Wanted, transactions: Sequence[Found]) -> None:
    """Bring a copy to just before the first of what is to be taken back."""
    if transactions:
        copy.bring_to(target_lsn=transactions[0].begin.commit_lsn, target_exclusive=True)
    else:
        copy.bring_to(target_time=wanted.since, target_exclusive=True)
