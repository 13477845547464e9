"""Running an undo on a database: in one transaction, the statements on a table with the rights of its owner.

A role that is set can be left by code that a statement runs: an owner's function in an index or a CHECK would have the
rights of whoever undoes. Within a SECURITY DEFINER function it cannot.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from scribe.common.errors import ScribeError
from scribe.restore.undo import Piece, Plan, check_function, pieces, settings

# It is there for its owner's statements alone: their code could call that of another owner. A REVOKE would do, too, but
# is a schema change that event triggers see.
_RUNNER = sql.SQL("""
CREATE FUNCTION pg_temp.scribe_runner(statements text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $scribe$ BEGIN EXECUTE statements; END $scribe$;
ALTER FUNCTION pg_temp.scribe_runner(text) OWNER TO {owner};
SELECT pg_temp.scribe_runner({text}::pg_catalog.text);
DROP FUNCTION pg_temp.scribe_runner(text);
""")


def apply(conn: psycopg.Connection[Any], plan: Plan) -> None:
    """Run a plan in one transaction. Raises ScribeError; nothing was changed then."""
    try:
        with conn.transaction():
            conn.execute((settings() + check_function()).encode())
            for piece in pieces(plan):
                _run(conn, piece)
            conn.execute("DROP FUNCTION pg_temp.scribe_undone(bigint, text)")
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error)
        hint = (
            'Nothing was changed. Run "scribe-rotate --wait-lsn current", then try again: the archive knows more then.'
        )
        raise ScribeError(f"could not take it back: {said}", hint) from None


def _run(conn: psycopg.Connection[Any], piece: Piece) -> None:
    if piece.owner:
        conn.execute(_RUNNER.format(owner=sql.Identifier(piece.owner), text=sql.Literal(piece.text)))
    else:
        conn.execute(piece.text.encode())
