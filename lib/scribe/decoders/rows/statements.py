"""The one statement out of a string of several that a schema change was, found by PostgreSQL's own parser (postgast).

Event triggers see the whole string that a client sent. A statement is taken for the one that ran only if no other one
of the string could be meant; otherwise the caller flags it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_WORD = re.compile(r'"((?:[^"]|"")*)"|([^\s".(),]+)')
_OBJECTS = {
    "OBJECT_MATVIEW": "MATERIALIZED VIEW",
    "OBJECT_FDW": "FOREIGN DATA WRAPPER",
    "OBJECT_FOREIGN_SERVER": "SERVER",
    "OBJECT_OPCLASS": "OPERATOR CLASS",
    "OBJECT_OPFAMILY": "OPERATOR FAMILY",
    "OBJECT_STATISTIC_EXT": "STATISTICS",
    "OBJECT_TSCONFIGURATION": "TEXT SEARCH CONFIGURATION",
    "OBJECT_TSDICTIONARY": "TEXT SEARCH DICTIONARY",
    "OBJECT_TSPARSER": "TEXT SEARCH PARSER",
    "OBJECT_TSTEMPLATE": "TEXT SEARCH TEMPLATE",
    "OBJECT_TABCONSTRAINT": "TABLE",
    "OBJECT_COLUMN": "TABLE",
    "OBJECT_DOMCONSTRAINT": "DOMAIN",
    "OBJECT_ATTRIBUTE": "TYPE",
    "OBJECT_LARGEOBJECT": "LARGE OBJECT",
}
TAGS = {
    "CreateStmt": "CREATE TABLE",
    "CreateForeignTableStmt": "CREATE FOREIGN TABLE",
    "ViewStmt": "CREATE VIEW",
    "IndexStmt": "CREATE INDEX",
    "CreateSeqStmt": "CREATE SEQUENCE",
    "AlterSeqStmt": "ALTER SEQUENCE",
    "CreateSchemaStmt": "CREATE SCHEMA",
    "CreateTrigStmt": "CREATE TRIGGER",
    "RuleStmt": "CREATE RULE",
    "CreateEnumStmt": "CREATE TYPE",
    "CompositeTypeStmt": "CREATE TYPE",
    "CreateRangeStmt": "CREATE TYPE",
    "AlterEnumStmt": "ALTER TYPE",
    "AlterTypeStmt": "ALTER TYPE",
    "CreateDomainStmt": "CREATE DOMAIN",
    "AlterDomainStmt": "ALTER DOMAIN",
    "CreateExtensionStmt": "CREATE EXTENSION",
    "AlterExtensionStmt": "ALTER EXTENSION",
    "AlterExtensionContentsStmt": "ALTER EXTENSION",
    "CreatePolicyStmt": "CREATE POLICY",
    "AlterPolicyStmt": "ALTER POLICY",
    "CreateStatsStmt": "CREATE STATISTICS",
    "AlterStatsStmt": "ALTER STATISTICS",
    "CreatePublicationStmt": "CREATE PUBLICATION",
    "AlterPublicationStmt": "ALTER PUBLICATION",
    "CreateCastStmt": "CREATE CAST",
    "CreateConversionStmt": "CREATE CONVERSION",
    "CreateFdwStmt": "CREATE FOREIGN DATA WRAPPER",
    "AlterFdwStmt": "ALTER FOREIGN DATA WRAPPER",
    "CreateForeignServerStmt": "CREATE SERVER",
    "AlterForeignServerStmt": "ALTER SERVER",
    "CreateUserMappingStmt": "CREATE USER MAPPING",
    "AlterUserMappingStmt": "ALTER USER MAPPING",
    "DropUserMappingStmt": "DROP USER MAPPING",
    "CreatePLangStmt": "CREATE LANGUAGE",
    "CreateTransformStmt": "CREATE TRANSFORM",
    "CreateAmStmt": "CREATE ACCESS METHOD",
    "CreateOpClassStmt": "CREATE OPERATOR CLASS",
    "CreateOpFamilyStmt": "CREATE OPERATOR FAMILY",
    "AlterOpFamilyStmt": "ALTER OPERATOR FAMILY",
    "AlterOperatorStmt": "ALTER OPERATOR",
    "AlterCollationStmt": "ALTER COLLATION",
    "AlterTSDictionaryStmt": "ALTER TEXT SEARCH DICTIONARY",
    "AlterTSConfigurationStmt": "ALTER TEXT SEARCH CONFIGURATION",
    "CreateSubscriptionStmt": "CREATE SUBSCRIPTION",
    "AlterSubscriptionStmt": "ALTER SUBSCRIPTION",
    "DropSubscriptionStmt": "DROP SUBSCRIPTION",
    "AlterDefaultPrivilegesStmt": "ALTER DEFAULT PRIVILEGES",
    "CommentStmt": "COMMENT",
    "SecLabelStmt": "SECURITY LABEL",
    "RefreshMatViewStmt": "REFRESH MATERIALIZED VIEW",
    "ImportForeignSchemaStmt": "IMPORT FOREIGN SCHEMA",
    "DropOwnedStmt": "DROP OWNED",
}
# What is done to these fires no event trigger, or is recorded otherwise: roles are compared, large objects sent.
_ELSEWHERE = (
    *("OBJECT_DATABASE", "OBJECT_TABLESPACE", "OBJECT_ROLE", "OBJECT_PARAMETER_ACL", "OBJECT_EVENT_TRIGGER"),
    "OBJECT_LARGEOBJECT",
)
# Statements of which no event trigger tells, or none with this text.
SILENT = {
    *(
        "InsertStmt",
        "UpdateStmt",
        "DeleteStmt",
        "MergeStmt",
        "CopyStmt",
        "TruncateStmt",
        "LockStmt",
        "DoStmt",
        "CallStmt",
    ),
    *("TransactionStmt", "VariableSetStmt", "VariableShowStmt", "ConstraintsSetStmt", "DiscardStmt"),
    *("CreateRoleStmt", "AlterRoleStmt", "AlterRoleSetStmt", "DropRoleStmt", "GrantRoleStmt", "ReassignOwnedStmt"),
    *("AlterDatabaseStmt", "AlterDatabaseSetStmt", "AlterDatabaseRefreshCollStmt", "CreatedbStmt", "DropdbStmt"),
    *("CreateTableSpaceStmt", "DropTableSpaceStmt", "AlterTableSpaceOptionsStmt", "AlterSystemStmt"),
    *("CreateEventTrigStmt", "AlterEventTrigStmt", "ReindexStmt", "ClusterStmt", "VacuumStmt", "CheckPointStmt"),
    *("DeclareCursorStmt", "FetchStmt", "ClosePortalStmt", "PrepareStmt", "ExecuteStmt", "DeallocateStmt"),
    *("ExplainStmt", "NotifyStmt", "ListenStmt", "UnlistenStmt", "LoadStmt"),
}
BY_OBJECT = {  # node -> (verb, attribute with the kind of object)
    "DropStmt": ("DROP", "remove_type"),
    "AlterTableStmt": ("ALTER", "objtype"),
    "AlterObjectSchemaStmt": ("ALTER", "object_type"),
    "AlterOwnerStmt": ("ALTER", "object_type"),
    "AlterFunctionStmt": ("ALTER", "objtype"),
    "AlterObjectDependsStmt": ("ALTER", "object_type"),
    "AlterTableMoveAllStmt": ("ALTER", "objtype"),
    "DefineStmt": ("CREATE", "kind"),
}
# What these are called depends on more than the kind of object: see _tag().
BY_FORM = {"RenameStmt", "CreateTableAsStmt", "SelectStmt", "CreateFunctionStmt", "GrantStmt"}


@dataclass(frozen=True)
class Piece:
    """A statement of a string: its text, command tag (None: not known here), names, whether it may do nothing."""

    text: str
    tag: str | None
    names: frozenset[str]
    conditional: bool
    controls: bool  # it begins or ends a transaction


class NotSureError(Exception):
    """Which statement ran cannot be proved; the message says why."""


@functools.lru_cache(maxsize=64)
def pieces(text: str) -> tuple[Piece, ...]:
    """Return the statements of a string. Raises NotSureError where it cannot be parsed."""
    try:
        import postgast
    except ImportError:
        raise NotSureError("the parser postgast is not installed") from None
    try:
        found = postgast.parse(text).stmts
    except Exception as error:  # of several kinds, by version
        raise NotSureError(
            f"the parser does not read it: {str(error).splitlines()[0] if str(error) else error!r}"
        ) from None
    return tuple(_describe(_cut(text.encode(), raw), raw.stmt) for raw in found)


def _cut(text: bytes, raw: Any) -> str:
    """Return a statement's own text; its place is in bytes, and without a length it goes to the end."""
    stop = raw.stmt_location + raw.stmt_len if raw.stmt_len else len(text)
    return text[raw.stmt_location : stop].decode()


def _describe(text: str, wrapped: Any) -> Piece:
    node = getattr(wrapped, wrapped.WhichOneof("node"))
    kind = node.DESCRIPTOR.name
    words = ("if_not_exists", "missing_ok", "skip_if_new_val_exists", "replace")
    conditional = any(bool(getattr(node, name, False)) for name in words)
    return Piece(text.strip(), _tag(kind, node), frozenset(_names(node)), conditional, kind == "TransactionStmt")


def _names(node: Any) -> Iterator[str]:
    """Yield every text in a parse tree, names of objects among them."""
    for _, value in node.ListFields():
        for item in value if hasattr(value, "append") else (value,):
            if isinstance(item, str):
                yield item
            elif hasattr(item, "ListFields"):
                yield from _names(item)


def _word(node: Any, attribute: str) -> str:
    """Return the name of an enumeration's value, such as OBJECT_TABLE."""
    kinds = node.DESCRIPTOR.fields_by_name[attribute].enum_type.values_by_number
    return str(kinds[getattr(node, attribute)].name)


def _kind_name(name: str) -> str:
    return _OBJECTS.get(name, name.removeprefix("OBJECT_").replace("_", " "))


def _tag(kind: str, node: Any) -> str | None:
    if kind in SILENT or (
        kind in ("GrantStmt", "CommentStmt", "SecLabelStmt") and _word(node, "objtype") in _ELSEWHERE
    ):
        return kind
    if kind in TAGS:
        return TAGS[kind]
    if kind in BY_OBJECT:
        verb, attribute = BY_OBJECT[kind]
        return f"{verb} {_kind_name(_word(node, attribute))}"
    if kind == "RenameStmt":
        part = _word(node, "rename_type") in ("OBJECT_COLUMN", "OBJECT_ATTRIBUTE")
        return f"ALTER {_kind_name(_word(node, 'relation_type' if part else 'rename_type'))}"
    if kind == "CreateTableAsStmt":
        if _word(node, "objtype") == "OBJECT_MATVIEW":
            return "CREATE MATERIALIZED VIEW"
        return "SELECT INTO" if node.is_select_into else "CREATE TABLE AS"
    if kind == "SelectStmt":
        return "SELECT INTO" if node.HasField("into_clause") else "SELECT"
    if kind == "CreateFunctionStmt":
        return "CREATE PROCEDURE" if node.is_procedure else "CREATE FUNCTION"
    if kind == "GrantStmt":
        return "GRANT" if node.is_grant else "REVOKE"
    return None


def last_name(identity: str | None) -> str | None:
    """Return the object's own name out of an identity such as public.t, public.f(integer) or x on public.t."""
    if not identity:
        return None
    head = re.split(r" (?:on|for) |\(", identity, maxsplit=1)[0]
    words = [quoted.replace('""', '"') or plain for quoted, plain in _WORD.findall(head)]
    return words[-1] if words else None


def choose(text: str, tag: str, identity: str | None, after: int) -> tuple[int, str]:
    """Return index and text of the statement that a command of this tag on this object was.

    after: the index of the last one of the same string that is known to have run, -1 for none.
    Raises NotSureError.
    """
    found = pieces(text)
    if len(found) == 1:
        return 0, found[0].text
    name = last_name(identity)
    fitting = [i for i, piece in enumerate(found) if piece.tag == tag or piece.tag is None]
    named = [i for i in fitting if name is not None and name in found[i].names]
    candidates = named or fitting
    if not candidates:
        raise NotSureError(f"none of its {len(found)} statements is {tag}")
    if any(found[i].tag is None for i in candidates):
        raise NotSureError(f"it has {len(found)} statements, some of a kind not known here")
    if len(candidates) == 1:
        return candidates[0], found[candidates[0]].text
    if any(piece.controls for piece in found):
        raise NotSureError(f"{len(candidates)} of its statements fit, and it has transactions of its own")
    later = [i for i in candidates if i > after]
    if not later:
        raise NotSureError(f"{len(candidates)} of its statements fit")
    if len(later) > 1 and found[later[0]].conditional:
        raise NotSureError(f"{len(later)} of its statements fit, and the first of them may have done nothing")
    return later[0], found[later[0]].text


def statement_number(text: str, number: int) -> str:
    """Return the statement with this number, from 1, of a function's body. Raises NotSureError."""
    found = pieces(text)
    if not 1 <= number <= len(found):
        raise NotSureError(f"it has no statement {number}")
    return found[number - 1].text
