"""Small faults, each of which takes one guard out of the product, and the tests that ought to notice.

A bug is a replacement of a text that stands once in its file: one that no longer does fails test_planted_bugs.py, so
the list cannot rot in silence.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """name: what is missing with it; old, new: texts; tests: what pytest is given; short: in the shortened run."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    short: bool = False

    @property
    def is_compiled(self) -> bool:
        """Whether the libraries have to be built with it."""
        return self.file.endswith((".c", ".h"))


_FILES = "lib/scribe/common/files.py"
_ROTATION = "lib/scribe/stream/rotation.py"
_RECOVERY = "lib/scribe/stream/recovery.py"
_WRITER = "lib/scribe/stream/writer.py"
_REPLAY = "lib/scribe/restore/replay.py"
_CHAINS = "lib/scribe/archive/chains.py"
_UNITS = ["tests/py/test_rotation.py", "tests/py/test_power.py", "tests/py/test_spool.py", "tests/py/test_recovery.py"]

BUGS = (
    # What is on disk
    Bug(
        "a file is named before its contents are on disk",
        _FILES,
        "            os.fsync(stream.fileno())\n            publish(",
        "            publish(",
        ("tests/py/test_power.py", "tests/py/test_files.py"),
        short=True,
    ),
    Bug(
        "a new name is not on disk when it counts",
        _FILES,
        "        os.replace(temporary, path)\n    sync_directory(path.parent)",
        "        os.replace(temporary, path)",
        ("tests/py/test_power.py", "tests/py/test_files.py"),
        short=True,
    ),
    Bug(
        "an archived file may be written a second time",
        _FILES,
        "        if path.exists():\n            raise FileExistsError",
        "        if False:\n            raise FileExistsError",
        ("tests/py/test_files.py", *_UNITS),
    ),
    Bug(
        "a segment's data is not on disk before its manifest",
        _WRITER,
        "        os.fsync(self._stream.fileno())\n",
        "",
        ("tests/py/test_power.py",),
        short=True,
    ),
    Bug(
        "a removed file may come back",
        _FILES,
        "        path.unlink()\n        sync_directory(path.parent)\n\n\ndef remove_tree",
        "        path.unlink()\n\n\ndef remove_tree",
        ("tests/py/test_power.py", "tests/py/test_files.py"),
    ),
    Bug(
        "the spool's new file is not on disk before its contents count",
        "lib/scribe/spool/contents.py",
        "files.FILE_MODE))\n        files.sync_directory(self.path)",
        "files.FILE_MODE))",
        ("tests/py/test_power.py",),
    ),
    Bug(
        "the spool is not synced before a start",
        _RECOVERY,
        "    spool.create_stream()\n    sync(spool)\n    return position",
        "    spool.create_stream()\n    return position",
        ("tests/py/test_power.py", "tests/py/test_recovery.py"),
    ),
    Bug(
        "an interrupted cut leaves a hole: the oldest file goes first",
        "lib/scribe/spool/contents.py",
        "for path in reversed(paths[names.index(place.path.name) + 1 :]):",
        "for path in paths[names.index(place.path.name) + 1 :]:",
        ("tests/py/test_power.py", "tests/py/test_spool.py"),
        short=True,
    ),
    # Stream, spool and rotation
    Bug(
        "a torn end of the spool stays",
        _RECOVERY,
        "            cut(spool, tape.place(scan.end))\n    _check_confirmations",
        "            pass\n    _check_confirmations",
        ("tests/py/test_recovery.py", "tests/py/test_power.py"),
        short=True,
    ),
    Bug(
        "a part goes although it holds more than segments have",
        _ROTATION,
        "        if stop is None or stop > end or not end:\n            break\n",
        "",
        ("tests/py/test_rotation.py", "tests/py/test_power.py"),
        short=True,
    ),
    Bug(
        "what segments hold is archived again",
        _ROTATION,
        "        if part.end_lsn <= archived:\n            piece.start",
        "        if False:\n            piece.start",
        ("tests/py/test_rotation.py", "tests/py/test_power.py"),
        short=True,
    ),
    Bug(
        "no segment ends at a base's point",
        _ROTATION,
        "        while waiting and part.commit_lsn >= waiting[0]:",
        "        while False:",
        ("tests/py/test_rotation.py",),
    ),
    Bug(
        "a damaged spool is archived as far as it goes",
        _ROTATION,
        "            scan.refuse_damage()\n",
        "",
        ("tests/py/test_rotation.py", "tests/py/test_spool.py"),
    ),
    Bug(
        "a rotation does not keep a start, or another rotation, away",
        _ROTATION,
        "    with lock(spool):\n        identity = archive.identity()",
        "    if spool:\n        identity = archive.identity()",
        ("tests/py/test_rotation.py",),
    ),
    Bug(
        "a slot that somebody moved is followed",
        _RECOVERY,
        "    if highest is not None and confirmed > max(highest, position):",
        "    if False:",
        ("tests/py/test_confirmation.py",),
        short=True,
    ),
    Bug(
        "a slot of another plugin or database is used",
        _RECOVERY,
        "    if slot.plugin != plugin or slot.database != server.database:",
        "    if False:",
        ("tests/py/test_world.py::test_a_slot_made_anew_with_another_plugin_breaks_the_chain",),
    ),
    Bug(
        "a server that is older than the archive is followed",
        _RECOVERY,
        "    if position > server.flush_lsn:",
        "    if False:",
        ("tests/py/test_stream.py::test_an_archive_ahead_of_the_server_is_an_error",),
        short=True,
    ),
    Bug(
        "a timeline that left before the archive's end is followed",
        _RECOVERY,
        "        if switch is None or switch < position:",
        "        if False:",
        ("tests/py/test_failover.py::test_an_archive_ahead_of_the_promoted_standby_is_a_broken_chain",),
        short=True,
    ),
    Bug(
        "a spool that vanished is made again, and nothing is reported",
        _RECOVERY,
        "    if gone and slot.confirmed_flush and parse_lsn(slot.confirmed_flush) > archived:",
        "    if False:",
        ("tests/py/test_world.py::test_a_deleted_spool_with_what_was_confirmed_breaks_the_chain",),
        short=True,
    ),
    Bug(
        "a damaged end of the spool is cut although the server sends it no more",
        _RECOVERY,
        "            if lowest is not None and confirmed > lowest:",
        "            if False:",
        ("tests/py/test_recovery.py",),
    ),
    Bug(
        "another server's archive is written to",
        "lib/scribe/source/server.py",
        '    if server.system_identifier != identity["system_identifier"]:',
        "    if False:",
        ("tests/py/test_stream.py::test_an_archive_of_another_database_is_refused",),
    ),
    Bug(
        "a broken chain goes on",
        _RECOVERY,
        "    if known is not None:\n        raise ScribeError(",
        "    if False:\n        raise ScribeError(",
        (
            "tests/py/test_stream.py::test_a_broken_chain_is_declared_once",
            "tests/py/test_world.py::test_a_slot_that_went_breaks_the_chain",
        ),
    ),
    # Restores
    Bug(
        "a restore does not look at checksums",
        "lib/scribe/archive/chains.py",
        '        check_file(path, entry["bytes"], entry["sha256"])\n',
        "",
        ("tests/py/test_points.py::test_a_damaged_archive_is_refused_before_anything_is_touched",),
        short=True,
    ),
    Bug(
        "a missing segment is passed over",
        _CHAINS,
        "    if before.to_lsn != after.from_lsn:",
        "    if False:",
        ("tests/py/test_points.py", "tests/py/test_verification.py", "tests/py/test_restore.py"),
        short=True,
    ),
    Bug(
        "a segment of another history is joined on",
        _CHAINS,
        '    if after.manifest["previous_sha256"] != before.last_sha256:',
        "    if False:",
        ("tests/py/test_points.py", "tests/py/test_verification.py", "tests/py/test_restore.py"),
    ),
    Bug(
        "a statement may act on another number of rows",
        _REPLAY,
        "                if expected is not None and count != expected:",
        "                if False:",
        ("tests/py/test_replay.py",),
        short=True,
    ),
    Bug(
        "a COPY may lose rows",
        _REPLAY,
        "        if count != self._lines:",
        "        if False:",
        ("tests/py/test_replay.py",),
    ),
    Bug(
        "what was restored before an interruption is applied again",
        _REPLAY,
        "                if current.commit_lsn < self.position:",
        "                if False:",
        ("tests/py/test_replay.py", "tests/py/test_restore.py"),
        short=True,
    ),
    Bug(
        "the position moves although somebody else moved it",
        _REPLAY,
        "CASE WHEN lsn = '{format_lsn(before)}' AND NOT inside\"\n            f\" THEN",
        'CASE WHEN true"\n            f" THEN',
        ("tests/py/test_replay.py::test_a_position_that_somebody_else_moved_stops_it",),
    ),
    Bug(
        "the source itself may be restored into",
        "lib/scribe/restore/target.py",
        '    if here == identity["system_identifier"] and same:',
        "    if False:",
        ("tests/py/test_target.py", "tests/py/test_restore.py"),
        short=True,
    ),
    Bug(
        "two restores may work on one database",
        "lib/scribe/restore/target.py",
        '        conn.execute("SELECT pg_catalog.pg_advisory_lock(%s)", [LOCK])',
        "        pass",
        ("tests/py/test_target.py", "tests/py/test_restore.py"),
    ),
    Bug(
        "a quote in a literal of Python's is not doubled",
        "lib/scribe/common/dialect.py",
        """        return "'" + text.replace("'", "''") + "'\"""",
        """        return "'" + text + "'\"""",
        ("tests/py/test_vectors.py",),
        short=True,
    ),
    # Bases
    Bug(
        "a table that changed before pg_dump had its lock is dumped all the same",
        "lib/scribe/dump/guard.py",
        "    changed = find_changed(before, now)\n    if changed:",
        "    changed = find_changed(before, now)\n    if False:",
        ("tests/py/test_dump.py", "tests/py/test_dump_aligned.py"),
    ),
    # The libraries
    Bug(
        "a quote in a literal of the decoder's is not doubled",
        "decoder/plugin/scribe_literal.c",
        """		if (*text == '\\'')
			append_bytes(buf, "''", 2);
		else
		{
			/* what stands""",
        """		if (*text == '\\'')
			append_bytes(buf, "'", 1);
		else
		{
			/* what stands""",
        ("tests/py/test_vectors.py",),
        short=True,
    ),
)
