"""Statements that name what another transaction took away and committed before theirs, as scribe_meanwhile.c does.

A replay follows the order of commits, in which such a statement finds nothing, or something else.
"""

from __future__ import annotations

import re
from itertools import islice, pairwise

from scribe.decoders.rows.plaintext import tokens

KEPT = 256  # names, the latest
_MOST = 4096  # words and signs of a statement in which its names are looked for
_LONGEST = 1 << 20  # bytes of a text that is searched: anybody may make one as long as he likes
_KINDS = """ACCESS METHOD|AGGREGATE|COLLATION|CONVERSION|DOMAIN|FOREIGN DATA WRAPPER|FUNCTION|LANGUAGE|OPERATOR
OPERATOR CLASS|OPERATOR FAMILY|PROCEDURE|ROUTINE|SCHEMA|SERVER|TEXT SEARCH CONFIGURATION|TEXT SEARCH DICTIONARY
TEXT SEARCH PARSER|TEXT SEARCH TEMPLATE|TYPE""".replace("\n", "|")
_TAG = re.compile(rf"(ALTER|DROP) ({_KINDS})\Z")
_SIGNS = re.compile(r"[-+*/<>=~!@#%^&|`?]+")

HELD = ("ALTER OWNER", "EVENT TRIGGER", "CLUSTER")  # a rotation recorded it, and held what it names; no command's tags

Taken = tuple[str, int, int]  # a name, the LSN of the commit that took it away, its transaction


def taken_names(text: str, tag: str) -> list[str]:
    """Return the names, without schemas, that what an ALTER renames or moves, or what a DROP names, had before."""
    match = _TAG.match(tag)
    if match is None:
        return []
    drop = match[1] == "DROP"
    if not drop and not _renames(text):
        return []
    found = ((text[t.start : t.end], t) for t in tokens(text) if t.kind != "comment")
    words = [word for word in islice(found, _MOST) if word[0].lower() != "procedural"]
    lower = [word.lower() for word, _ in words[:10]]
    at = len(tag.split())
    if lower[:at] != tag.lower().split():
        return []
    at += 2 if drop and lower[at : at + 2] == ["if", "exists"] else 0
    names = []
    while at < len(words):
        name = ""
        while at < len(words) and (words[at][1].kind in ("word", "quoted") or _SIGNS.match(words[at][0])):
            word, token = words[at]
            signs = _SIGNS.match(text, token.start)
            name = signs[0] if signs else word[1:-1].replace('""', '"') if word[0] == '"' else word
            at += len(signs[0]) if signs else 1
            if at >= len(words) or words[at][0] != ".":
                break
            at += 1
        names += [name] if name else []
        if not drop:
            break
        while at < len(words) and not (words[at][0] == "," and words[at][1].depth == 0):
            at += 1
        at += 1
    return names


def _renames(text: str) -> bool:
    short = (t for t in tokens(text) if t.kind == "word" and t.end - t.start <= len("schema"))
    words = (text[t.start : t.end].lower() for t in short)
    return any(pair[1] == "rename" or pair == ("set", "schema") for pair in pairwise(words))


def is_named(name: str, text: str) -> bool:
    """Return whether a name stands in a text, in either case, as a word or quoted; maybe within something else."""
    written = re.escape(name.replace('"', '""'))
    part = r"[\w$\x80-\xff]"
    before = rf"(?<!{part})" if re.match(part, name) else ""
    after = rf"(?!{part})" if re.search(rf"{part}\Z", name) else ""
    return re.search(before + written + after, text, re.IGNORECASE | re.ASCII) is not None


def find_taken(taken: list[Taken], texts: tuple[str, ...], place: int, xid: int) -> str | None:
    """Return a name in the texts of a statement that another transaction took away after it, or None.

    A text that is too long to be searched may have any name in it.

    place: the LSN at which the statement was recorded; xid: its transaction.
    """
    for name, end, other in taken:
        if place < end and other != xid and any(len(text) > _LONGEST or is_named(name, text) for text in texts):
            return name
    return None
