"""pg_dumpall's globals as SQL that leaves alone what the server has already.

Each statement on a role or tablespace gets the condition that the file itself made it, so that psql alone gives no
right back that was revoked. Roles that it makes are marked by a setting of theirs, which the end of a base takes over
into the restored database's scribe.made (docs/format.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from scribe.common.dialect import quote_literal
from scribe.common.sqltext import whole_statements

MARK = "scribe.made"  # the setting
_NAME = rb'(?:"((?:[^"]++|(?="")"")++)"|([^\s;"]+))'
_GROUP = rb'(?:"(?:[^"]++|(?="")"")++"|[^\s;"]+)'
_ROLE = re.compile(
    rb"(?:(?:CREATE|ALTER) ROLE|COMMENT ON ROLE|SECURITY LABEL FOR \S+ ON ROLE|GRANT " + _GROUP + rb" TO"
    rb"|GRANT [A-Z ,]+ ON PARAMETER \S+ TO) " + _NAME + rb"[\s;]"
)
_SPACE = re.compile(
    rb"(?:ALTER TABLESPACE|COMMENT ON TABLESPACE|SECURITY LABEL FOR \S+ ON TABLESPACE"
    rb"|(?:GRANT|REVOKE) [A-Z ,]+ ON TABLESPACE) " + _NAME + rb"[\s;]"
)
_CREATE = re.compile(rb"CREATE ROLE ")
_ATTRIBUTES = re.compile(rb"ALTER ROLE " + _NAME + rb" WITH ")
_MEMBERSHIP = re.compile(
    rb"(GRANT " + _GROUP + rb" TO " + _GROUP + rb"(?: WITH [A-Z, ]+?)?) GRANTED BY " + _GROUP + rb";\n?"
)
_TRIED = b"    BEGIN\n      "
_IN_DATABASE = re.compile(rb"ALTER ROLE " + _GROUP + rb" IN DATABASE " + _NAME + rb" ")
_MARKED = re.compile(rb"ALTER ROLE " + _NAME + rb" SET (?:\"scribe\.made\"|scribe\.made|\"scribe\"\.\"?made\"?) ")
_FIRST = re.compile(rb"^(?:CREATE|ALTER|GRANT|REVOKE|COMMENT|SECURITY) ")
_BLOCK = re.compile(
    rb"DO LANGUAGE plpgsql (\$scribe_*\$)\nBEGIN\n  IF [^\n]* THEN\n(.*)\n  END IF;\nEND\n\1;\n\Z", re.DOTALL
)
_HEAD = b"""-- pg_scribe: what the server has already stays as it is, with its memberships, settings and privileges.
CREATE TEMPORARY TABLE scribe_there AS
  SELECT 'role' AS kind, rolname AS name FROM pg_catalog.pg_roles
  UNION ALL SELECT 'tablespace', spcname FROM pg_catalog.pg_tablespace
  UNION ALL SELECT 'database', datname FROM pg_catalog.pg_database;
GRANT SELECT ON scribe_there TO PUBLIC;

"""
_FOOT = b"""
-- Which roles this file made: the end of a base notes it in the restored database, and takes the mark away.
DO LANGUAGE plpgsql $scribe$
DECLARE
  made name;
BEGIN
  FOR made IN SELECT rolname FROM pg_catalog.pg_roles
    WHERE rolname NOT IN (SELECT name FROM pg_temp.scribe_there WHERE kind = 'role')
  LOOP
    EXECUTE pg_catalog.format('ALTER ROLE %I SET scribe.made = %L', made, 'on');
  END LOOP;
END
$scribe$;
DROP TABLE pg_temp.scribe_there;
"""


def is_guarded(text: bytes) -> bool:
    """Whether the text is what guard_globals() wrote."""
    return _HEAD in text


def guard_globals(text: bytes) -> bytes:
    """Return pg_dumpall's globals with a condition around each statement; what has them already stays as it is."""
    if is_guarded(text):
        return b"".join(map(_with_other_grantor, whole_statements(text.splitlines(keepends=True))))
    statements = list(whole_statements(text.splitlines(keepends=True)))
    first = next((i for i, statement in enumerate(statements) if _FIRST.match(statement)), None)
    if first is None:
        return text
    end = next((i for i, statement in enumerate(statements) if statement.startswith(b"\\unrestrict ")), len(statements))
    guarded = b"".join(_guard(statements[first:end]))
    return b"".join(statements[:first]) + _HEAD + guarded + _FOOT + b"".join(statements[end:])


def plain_statements(text: bytes) -> Iterator[bytes]:
    """Yield the statements of globals without their conditions."""
    for statement in whole_statements(text.splitlines(keepends=True)):
        match = _BLOCK.match(statement)
        if match is None:
            yield statement
            continue
        inner = match[2] + b"\n"
        if inner.startswith(_TRIED):
            yield next(whole_statements(inner.removeprefix(_TRIED).splitlines(keepends=True)))
            continue
        yield from (each.removeprefix(b"    ") for each in whole_statements(inner.splitlines(keepends=True)))


def _guard(statements: Iterable[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []  # CREATE ROLE, until its attributes come
    for statement in statements:
        if held and not _ATTRIBUTES.match(statement):
            yield _guard_role(held)
            held = []
        if _CREATE.match(statement):
            held = [statement]
        elif held:
            yield _guard_role([*held, statement])
            held = []
        elif _MARKED.match(statement):
            continue
        elif _ROLE.match(statement):
            yield _guard_role([statement])
        elif match := _SPACE.match(statement):
            yield _wrap([statement], _missing("tablespace", _unquoted(match.groups())))
        else:
            yield statement
    if held:
        yield _guard_role(held)


def _guard_role(statements: list[bytes]) -> bytes:
    match = _ROLE.match(statements[0])
    assert match is not None
    condition = _missing("role", _unquoted(match.groups()))
    where = _IN_DATABASE.match(statements[0])
    if where is not None:
        condition += f" AND EXISTS ({_named('database', _unquoted(where.groups()))})"
    return _wrap(statements, condition)


def _missing(kind: str, name: str) -> str:
    return f"NOT EXISTS ({_named(kind, name)})"


def _named(kind: str, name: str) -> str:
    return f"SELECT FROM pg_temp.scribe_there WHERE kind = '{kind}' AND name = {quote_literal(name)}"


def _grant(statement: bytes) -> bytes:
    """Return a membership as it is given where its grantor may not: there another role is the first superuser."""
    match = _MEMBERSHIP.fullmatch(statement)
    if match is None:
        return b"    " + statement
    failed = b"    EXCEPTION WHEN insufficient_privilege OR undefined_object THEN\n      "
    return _TRIED + statement.rstrip(b"\n") + b"\n" + failed + match[1] + b";\n    END;\n"


def _with_other_grantor(statement: bytes) -> bytes:
    """Return a statement as guard_globals() writes it now: globals of before 2026-11-30 try one grantor only."""
    match = _BLOCK.match(statement)
    inner = match[2].removeprefix(b"    ") if match is not None else b""
    if match is None or _MEMBERSHIP.fullmatch(inner) is None:
        return statement
    return statement[: match.start(2)] + _grant(inner).rstrip(b"\n") + statement[match.end(2) :]


def _wrap(statements: list[bytes], condition: str) -> bytes:
    body = b"".join(map(_grant, statements)).rstrip(b"\n")
    quote = b"$scribe$"
    while quote in body or quote in condition.encode("utf-8", "surrogateescape"):
        quote = quote[:-1] + b"_$"
    head = b"DO LANGUAGE plpgsql " + quote + b"\nBEGIN\n  IF "
    return (
        head + condition.encode("utf-8", "surrogateescape") + b" THEN\n" + body + b"\n  END IF;\nEND\n" + quote + b";\n"
    )


def _unquoted(groups: tuple[bytes | None, ...]) -> str:
    quoted, plain = groups
    name = quoted.replace(b'""', b'"') if quoted is not None else plain
    assert name is not None
    return name.decode("utf-8", "surrogateescape")
