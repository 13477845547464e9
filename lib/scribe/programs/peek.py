"""scribe-peek: psql on the database as it was at any point, in a throw-away cluster."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scribe.common.cli import Parser, Talk, make_parser, prepare, run, stop_on_sigterm
from scribe.common.errors import UsageError
from scribe.offsite.mirror import find_archive
from scribe.programs import restore
from scribe.restore.concerned import Clusters, Look, find_oids, guard, say_whole
from scribe.restore.copies import Copy, Source
from scribe.restore.kept import kept_copy
from scribe.restore.launcher import find_launcher
from scribe.restore.narrow import WholeNeededError
from scribe.restore.psql import Psql, run_psql
from scribe.restore.selection import check_names, check_patterns

PROGRAM = "scribe-peek"
_EPILOG = """\
Base and segments are restored into a throw-away cluster, made by the initdb on PATH (or of the newest PostgreSQL
installed) and reached by a socket only; psql is run on it, and at psql's end all of it is gone. The source is not
touched. What may be changed in the copy is gone with it, too.

With --table or --schema, of a large database only the rows of these tables are restored, and of those that views among
them read; a query of another table fails. All are restored if other rows may decide what is in them.

--keep keeps the cluster, stopped, for the next call with the same directory: one with the same point or a later one
goes on from there, one with an earlier point, or for tables that are not in it, begins again. psql's transactions are
read-only there (by default_transaction_read_only), so that what is kept is what the source was.

Without -c and -f, psql reads standard input: a prompt at a terminal, with your .psqlrc. With them, or when input comes
from a file, it reads no .psqlrc and stops at the first error. What follows "--" is handed to psql: -- -At.

Exit status: that of psql; before it starts, 1 failed, 2 wrong use, 75 the archive or the directory is in use: try again
"""


def make_arguments() -> Parser:
    """Return the parser."""
    parser = make_parser(PROGRAM, "Run psql on the database as it was at a point.", _EPILOG)
    parser.add_argument("--archive", metavar="DIR|URL", help="the archive (default: $SCRIBE_ARCHIVE)")
    parser.add_argument("-c", "--command", metavar="COMMAND", action=_Action, help="run this; repeatable")
    parser.add_argument("-f", "--file", metavar="FILE", action=_Action, help="run what is in this file; repeatable")
    parser.add_argument("--keep", metavar="DIR", help="keep the cluster in this directory for the next call")
    parser.add_argument("--directory", metavar="DIR", help="where the cluster is made (default: $TMPDIR)")
    parser.add_argument(
        "--launcher", metavar="SOCKET", help="who makes it, as another user (default: the installed one, if any)"
    )
    restore.add_points(parser)
    group = parser.add_argument_group("what is wanted (default: everything)")
    group.add_argument("--table", metavar="PATTERN", action="append", default=[], help="these tables; repeatable")
    group.add_argument(
        "--schema", metavar="PATTERN", action="append", default=[], help="what is in these schemas; repeatable"
    )
    return parser


class _Action(argparse.Action):
    """Collects -c and -f in their order, as psql runs them."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        actions: list[str] = getattr(namespace, "actions", None) or []
        namespace.actions = [*actions, f"--{self.dest}={values}"]


def body(argv: list[str]) -> int:
    """Run the program; return its exit status."""
    ours, more = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    arguments = make_arguments().parse_args(ours)
    check_patterns(arguments.schema, arguments.table, None)
    if arguments.keep is not None and (arguments.directory or arguments.launcher):
        raise UsageError("--keep excludes --directory and --launcher", "The cluster is made where it is kept.")
    settings = prepare(arguments, {"SCRIBE_ARCHIVE": arguments.archive})
    archive = find_archive(settings)
    identity = archive.known_identity()
    defaults = argparse.Namespace(**vars(restore.make_arguments().parse_args([])) | vars(arguments))
    talk = Talk(PROGRAM, arguments)
    source = Source(archive, identity, defaults, talk)
    launcher = find_launcher(arguments.launcher) if arguments.directory is None and arguments.keep is None else None
    clusters = Clusters(source, arguments.directory, launcher, told=arguments.keep is not None)
    look = Look(source, clusters, arguments.schema, arguments.table)
    keep = Path(arguments.keep).absolute() if arguments.keep is not None else None
    with open_copy(look, clusters, keep) as copy:
        with copy.connected(own_path=True) as conn:
            check_names(conn, arguments.schema, arguments.table)
        psql = Psql(getattr(arguments, "actions", []), more, read_only=arguments.keep is not None)
        return run_psql(copy, psql)


@contextlib.contextmanager
def open_copy(look: Look, clusters: Clusters, keep: Path | None) -> Iterator[Copy]:
    """Make the copy for one block, at the point that is asked for. keep: where it stays."""
    source = look.source
    if keep is not None:
        with kept_copy(keep, source, clusters.preloads, {}, look=look) as copy:
            yield copy
        return
    rows = look.find_rows()
    if rows is not None:
        with contextlib.ExitStack() as stack:
            copy = Copy(source, stack.enter_context(clusters.made()))
            copy.rows = rows
            try:
                copy.bring_to()
            except WholeNeededError as error:
                say_whole(source.talk, error)
            else:
                guard(copy, find_oids(copy, rows))
                yield copy
                return
    with clusters.made() as cluster:
        copy = Copy(source, cluster)
        copy.bring_to()
        yield copy


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    stop_on_sigterm()
    return run(PROGRAM, body, argv)


if __name__ == "__main__":
    sys.exit(main())
