"""Bugs in restores, copies, compaction, undo, the log, verification, retention and remote stores."""

from __future__ import annotations

from bug import Bug

_REPLAY = "lib/scribe/restore/replay.py"
_CHAINS = "lib/scribe/archive/chains.py"
_TARGET = "lib/scribe/restore/target.py"
_DIALECT = "lib/scribe/common/dialect.py"
_COMPACTION = "lib/scribe/restore/compaction.py"
_JOINING = "lib/scribe/archive/joining.py"
_FOLLOWING = "lib/scribe/restore/following.py"
_ARRIVALS = "lib/scribe/restore/arrivals.py"
_UNDO = "lib/scribe/restore/undo.py"
_CHECKSUMS = "lib/scribe/archive/checksums.py"
_RETENTION = "lib/scribe/archive/retention.py"
_REMOVAL = "lib/scribe/archive/removal.py"
_MIRROR = "lib/scribe/offsite/mirror.py"
_SYNC = "lib/scribe/offsite/sync.py"
_STORE_FAULTS = "test_faults.py::test_what_a_store_holds_is_right_whatever_is_killed_on_the_way_there"
_DAMAGED = "test_points.py::test_a_damaged_archive_is_refused_before_anything_is_touched"

RESTORES = (
    Bug(
        "a restore does not look at checksums",
        _CHAINS,
        '        check_file(path, entry["bytes"], entry["sha256"])\n',
        "",
        (_DAMAGED,),
        short=True,
    ),
    Bug(
        "a missing segment is passed over",
        _CHAINS,
        "    if before.to_lsn != after.from_lsn:",
        "    if False:",
        ("test_verification.py::test_a_missing_segment_is_found_at_the_beginning_in_the_middle_and_at_the_end",),
    ),
    Bug(
        "a segment of another history is joined on",
        _CHAINS,
        '    if after.manifest["previous_sha256"] != before.last_sha256:',
        "    if False:",
        ("test_verification.py::test_swapped_segments_with_their_manifests_made_to_fit_break_the_chain",),
    ),
    Bug(
        "a new chain is taken for a continuation",
        _CHAINS,
        '    if after.manifest["chain_start"]:',
        "    if False:",
        ("test_points.py::test_a_new_chain_is_not_taken_for_a_continuation",),
    ),
    Bug(
        "a segment of another database is restored",
        _CHAINS,
        '    if manifest["system_identifier"] != identity["system_identifier"] or manifest["database"] != identity["database"]:',
        "    if False:",
        ("test_points.py::test_a_segment_of_another_database_is_refused",),
    ),
    Bug(
        "a restore to a point takes the transaction after it, too",
        _CHAINS,
        "            return begin.commit_lsn > self.lsn if self.inclusive else begin.commit_lsn >= self.lsn",
        "            return begin.commit_lsn > self.lsn",
        ("test_points.py::test_a_point_is_reached_exactly",),
    ),
    Bug(
        "a database goes on to a point that it is beyond",
        _CHAINS,
        "    if way.stop.is_end:\n        return False",
        "    return False",
        ("test_points.py::test_a_restore_to_a_point_can_go_further",),
    ),
    Bug(
        "a file may hold more than its manifest says",
        "lib/scribe/archive/segments.py",
        "        if self._left < 0:",
        "        if False:",
        ("test_feeding.py::test_a_small_file_that_decompresses_to_a_large_one_costs_no_memory",),
    ),
    Bug(
        "globals are run without a look at their checksum",
        _TARGET,
        '            check_file(path, entry["bytes"], entry["sha256"])',
        "            pass",
        ("test_strange.py::test_changed_globals_are_refused",),
    ),
    Bug(
        "a manifest may name files outside of its base",
        "schema/base.schema.json",
        '"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/',
        '"^[^#]*([/]',
        ("test_hostile.py::test_a_manifest_names_no_file_outside_its_base",),
    ),
    Bug(
        "a membership is given by its grantor alone",
        "lib/scribe/source/globals_text.py",
        '    if match is None:\n        return b"    " + statement\n    failed',
        '    if match is not statement:\n        return b"    " + statement\n    failed',
        ("test_roles.py::test_memberships_are_those_of_the_source_on_a_server_of_another_superuser",),
    ),
    Bug(
        "a throw-away server is given all of the environment",
        "lib/scribe/restore/throwaway.py",
        "if _FOR_SERVER.fullmatch(k)}",
        "if _FOR_SERVER}",
        ("test_preloads.py::test_a_server_gets_no_passwords_of_who_starts_it",),
    ),
    Bug(
        "a statement may act on another number of rows",
        _REPLAY,
        "                if expected is not None and count != expected:",
        "                if False:",
        ("test_replay.py::test_a_statement_that_acts_otherwise_than_on_the_source_stops_it",),
        short=True,
    ),
    Bug(
        "a COPY may lose rows",
        _REPLAY,
        "        if count != self._lines:",
        "        if False:",
        ("test_replay.py::test_rows_that_a_copy_does_not_take_stop_it",),
    ),
    Bug(
        "net effects may act on other numbers of rows",
        _REPLAY,
        "        wrong = [sent for sent, count in pairs if sent.count not in (None, count)]",
        "        wrong: list[net.Sent] = []",
        ("test_net.py::test_a_lost_change_stops_it_at_the_statement_that_missed_it",),
    ),
    Bug(
        "what was restored before an interruption is applied again",
        _REPLAY,
        "                if current.commit_lsn < self.position:",
        "                if False:",
        ("test_points.py::test_a_restore_to_a_point_can_go_further",),
    ),
    Bug(
        "a large transaction does not move the position",
        _REPLAY,
        '            self._run(self._move(event.end), _Part(begin, event.end, b""))',
        "            pass",
        ("test_replay.py::test_a_huge_transaction_is_applied_in_pieces",),
    ),
    Bug(
        "the position moves although somebody else moved it",
        _REPLAY,
        "CASE WHEN lsn = '{format_lsn(before)}' AND NOT inside\"\n            f\" THEN",
        'CASE WHEN true"\n            f" THEN',
        ("test_replay.py::test_a_position_that_somebody_else_moved_stops_it",),
    ),
    Bug(
        "what was passed over is not recorded in the target",
        _REPLAY,
        '        self._run(f"{_SKIPPED_TABLE};\\nINSERT INTO scribe.skipped VALUES ({literals})".encode(), None)\n',
        "",
        ("test_replay.py::test_a_statement_that_fails_is_passed_over_once_the_operator_names_it",),
    ),
    Bug(
        "a psql file runs on a target that stands elsewhere",
        _DIALECT,
        "inside = true WHERE lsn = '{position}' AND NOT inside;",
        "inside = true WHERE NOT inside;",
        ("test_replay.py::test_each_file_refuses_under_psql_what_it_does_not_continue",),
        short=True,
    ),
    Bug(
        "a psql file goes on where another one was cut off",
        _DIALECT,
        "WHERE lsn = '{position}' AND NOT inside;",
        "WHERE lsn = '{position}';",
        ("test_replay.py::test_each_file_refuses_under_psql_what_it_does_not_continue",),
    ),
    Bug(
        "a segment does not keep the target's triggers from acting",
        _DIALECT,
        '    ("session_replication_role", "replica"),\n',
        "",
        ("test_correctness.py::test_both_restores_equal_the_source[user_triggers_and_rules]",),
    ),
    Bug(
        "a segment is read under the target's standard_conforming_strings",
        _DIALECT,
        '    ("session_replication_role", "replica"),\n    ("standard_conforming_strings", "on"),\n',
        '    ("session_replication_role", "replica"),\n',
        ("test_pinned.py::test_a_base_means_the_same_under_any_settings",),
    ),
    Bug(
        "a segment is run by the role that the database's owner has set",
        _DIALECT,
        '    ("role", "none"),  # a database\'s owner may have set one for all sessions\n',
        "",
        ("test_pinned.py::test_what_a_databases_owner_sets_for_its_sessions_is_not_for_ours",),
    ),
    Bug(
        "a segment is run under the target's search_path",
        _DIALECT,
        '    ("search_path", "\'\'"),\n',
        "",
        ("test_pinned.py::test_a_base_means_the_same_under_any_settings",),
    ),
    Bug(
        "event triggers of the target fire while a segment is read",
        _DIALECT,
        '        "$scribe$;\\n" + QUIET\n    )',
        '        "$scribe$;\\n"\n    )',
        ("test_correctness.py::test_both_restores_equal_the_source[event_triggers_always]",),
    ),
    Bug(
        "sequences stay where they are",
        _DIALECT,
        '        + (positions if rows else "")',
        '        + ""',
        (
            "test_replay.py::test_a_resumed_restore_puts_the_sequences_where_the_segment_it_stands_at_the_end_of_has_them",
        ),
    ),
    Bug(
        "the source itself may be restored into",
        _TARGET,
        '    if here == identity["system_identifier"] and same:',
        "    if False:",
        ("test_target.py::test_the_source_is_refused",),
        short=True,
    ),
    Bug(
        "a database that is not empty may be restored into",
        _TARGET,
        "    return None if found is None else str(found)",
        "    return None",
        ("test_target.py::test_a_database_that_is_not_empty_is_refused",),
    ),
    Bug(
        "two restores may work on one database",
        _TARGET,
        '        conn.execute("SELECT pg_catalog.pg_advisory_lock(%s)", [LOCK])',
        "        pass",
        ("test_target.py::test_two_restores_do_not_work_on_one_database",),
    ),
    Bug(
        "event triggers fire when a restore connects",
        _TARGET,
        '        os.environ["PGOPTIONS"] = f"{before or \'\'} -c event_triggers=off".strip()',
        "        pass",
        ("test_event_triggers.py::test_login_triggers_do_not_fire_in_a_restore_or_rehearsal",),
        since=17,
    ),
    Bug(
        "a command of psql's in a base is run",
        "lib/scribe/restore/feeding.py",
        "        if piece.command is not None:",
        "        if False:",
        ("test_feeding.py::test_a_base_runs_no_command",),
    ),
    Bug(
        "a quote in a literal of Python's is not doubled",
        _DIALECT,
        """        return "'" + text.replace("'", "''") + "'\"""",
        """        return "'" + text + "'\"""",
        ("test_vectors.py::test_texts_and_names_that_python_writes_are_read_as_they_were",),
        short=True,
    ),
    Bug(
        "a quote in a name that Python writes is not doubled",
        _DIALECT,
        """    quoted = name.replace('"', '""')""",
        """    quoted = name""",
        ("test_vectors.py::test_texts_and_names_that_python_writes_are_read_as_they_were",),
    ),
    Bug(
        "a control character in a name that Python writes stays",
        _DIALECT,
        """    if _CONTROL.search(name) is None:
        return f'"{quoted}"'""",
        """    if True:
        return f'"{quoted}"'""",
        ("test_vectors.py::test_texts_and_names_that_python_writes_are_read_as_they_were",),
    ),
    Bug(
        "our connections take the role that the database's owner has set",
        "lib/scribe/common/postgres.py",
        'OWN_ROLE = "-c role=none"',
        'OWN_ROLE = ""',
        ("test_pinned.py::test_what_a_databases_owner_sets_for_its_sessions_is_not_for_ours",),
    ),
    Bug(
        "our connections take the database's search_path",
        "lib/scribe/common/postgres.py",
        "                conn.execute(\"SELECT pg_catalog.set_config('search_path', '', false)\")",
        "                pass",
        ("test_hostile.py::test_a_databases_owner_cannot_put_operators_into_the_programs_queries",),
    ),
    Bug(
        "a view in a table's place is read",
        "lib/scribe/common/postgres.py",
        "        \"SELECT pg_catalog.set_config(name, 'view, foreign-table', false)\"",
        '        "SELECT name"',
        ("test_hostile.py::test_a_view_in_a_sequences_place_is_not_read",),
    ),
    Bug(
        "what a stranger has put in schema scribe is trusted",
        "lib/scribe/source/ownership.py",
        "    if fault is not None:",
        "    if False:",
        ("test_ownership.py::test_a_restore_does_not_resume_in_a_database_whose_position_is_a_strangers",),
    ),
)

COPIES = (
    Bug(
        "a copy follows a spool that is not on disk",
        _ARRIVALS,
        "            tape.sync()\n",
        "",
        ("test_power.py::test_what_a_copy_takes_from_the_spool_is_on_disk",),
    ),
    Bug(
        "a copy goes on with a stream that began again",
        _ARRIVALS,
        '        if identity["spool_id"] != self.spool_id:',
        "        if False:",
        ("test_arrivals.py::test_a_copy_that_runs_while_a_new_chain_begins_ends",),
    ),
    Bug(
        "a copy takes from the spool what a segment comes before",
        _ARRIVALS,
        "        self.waits = closed >= start and scan.position > archived",
        "        self.waits = False",
        ("test_arrivals.py::test_what_a_rotation_has_closed_waits_for_its_segment_and_keeps_what_follows_waiting",),
    ),
    Bug(
        "a copy follows over a gap",
        _ARRIVALS,
        "        reason = describe_break(self.last, segment)\n",
        "        reason = None\n",
        ("test_follow.py::test_segments_alone_are_followed_and_a_gap_ends_it",),
    ),
    Bug(
        "a broken chain is followed in silence",
        _ARRIVALS,
        "        known = self.archive.broken()\n        if known is not None:",
        "        known = self.archive.broken()\n        if False:",
        ("test_follow.py::test_a_chain_that_ends_ends_it_and_a_new_one_does_not_continue_it",),
    ),
    Bug(
        "what was joined need not restore to the same",
        _COMPACTION,
        "            if differences:",
        "            if False:",
        ("test_compact.py::test_what_does_not_restore_to_the_same_takes_no_place",),
    ),
    Bug(
        "segments are joined across a base's point",
        _JOINING,
        "alike = (period, base.stamp if base else None, *_circumstances(segment))",
        "alike = (period, *_circumstances(segment))",
        ("test_compact.py::test_whole_days_are_joined_and_never_across_the_point_of_a_base",),
    ),
    Bug(
        "a month is joined while some of it is younger",
        _JOINING,
        "young_months = {time.strftime(_MONTH) for time in times if time > daily}",
        "young_months: set[str] = set()",
        ("test_compact.py::test_months_are_joined_once_all_of_them_is_older",),
    ),
    Bug(
        "rows that were joined before are read by the wrong columns",
        "lib/scribe/restore/net.py",
        "        or types != [table.types.get(unquoted(column)) for column in columns]\n",
        "",
        ("test_net.py::test_what_is_not_proved_is_sent_as_it_stands",),
    ),
    Bug(
        "segments are joined across a gap",
        _JOINING,
        "    return bases[-1] if chain.last >= segment.to_lsn else None",
        "    return bases[-1] if chain is not None else None",
        ("test_compact.py::test_nothing_is_joined_across_a_gap_or_without_a_base",),
    ),
    Bug(
        "segments go before what they were joined into is there",
        _JOINING,
        "    yield lambda: files.publish(joined.path, archive.incremental / joined.path.name, exclusive=True)\n"
        "    for segment in run.segments:\n"
        "        for path in (segment.data, segment.path):\n"
        "            yield lambda path=path: files.remove_file(path)  # type: ignore[misc]\n",
        "    for segment in run.segments:\n"
        "        for path in (segment.data, segment.path):\n"
        "            yield lambda path=path: files.remove_file(path)  # type: ignore[misc]\n"
        "    yield lambda: files.publish(joined.path, archive.incremental / joined.path.name, exclusive=True)\n",
        ("test_compact.py::test_a_run_that_is_killed_at_any_instant_leaves_an_archive_that_restores",),
    ),
    Bug(
        "a point within what was joined is taken for one that can be reached",
        _CHAINS,
        "        return first <= where < last  # type: ignore[operator]\n    return first < where <= last",
        "        return False\n    return False and first < where <= last",
        ("test_compact.py::test_a_day_of_work_is_joined_and_restores_to_the_same",),
    ),
    Bug(
        "a database goes on in the middle of what was joined",
        _REPLAY,
        "                    if reached != position:",
        "                    if False:",
        ("test_compact.py::test_a_database_goes_on_from_the_ends_of_joined_transactions_only",),
    ),
    Bug(
        "an undo overwrites what was changed later",
        _UNDO,
        "  IF number <> 1 THEN",
        "  IF false THEN",
        ("test_undo.py::test_rows_that_were_changed_later_are_left_out_if_that_is_wanted",),
    ),
    Bug(
        "an undo does not keep others from writing",
        _UNDO,
        'f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE;\\n" if names else ""',
        '""',
        ("test_undo_applying.py::test_what_was_checked_at_the_end_still_holds_at_commit",),
    ),
    Bug(
        "an undo runs with our rights",
        _UNDO,
        "        put(with_rights(piece))",
        "        put(piece.text)",
        ("test_undo.py::test_code_of_what_is_made_again_runs_as_its_owner",),
    ),
    Bug(
        "an undo leaves what is constrained as it is",
        _UNDO,
        "    yield from (Piece(each.owner, each.check(), each.tables) for each in plan.constraints)\n",
        "",
        ("test_undo.py::test_constraints_are_told_apart_by_more_than_their_name",),
    ),
    Bug(
        "a text of a user's controls the terminal",
        "lib/scribe/history/render.py",
        "        text = printable(text)",
        "        pass",
        ("test_history.py::test_no_text_of_a_users_controls_the_terminal",),
    ),
    Bug(
        "rows that were sent again are taken for the application's",
        "lib/scribe/history/changes.py",
        "isinstance(item, Change) and not item.resent]",
        "isinstance(item, Change)]",
        ("test_history.py::test_rows_that_were_sent_again_are_none_of_the_applications",),
    ),
)

CARE = (
    Bug(
        "verification does not look at checksums",
        _CHECKSUMS,
        "    if stored.count != entry.size or stored.sha256.hexdigest() != entry.sha256:",
        "    if False:",
        ("test_verification.py::test_a_flipped_bit_is_found_wherever_it_is",),
        short=True,
    ),
    Bug(
        "verification does not look at the SQL within a file",
        _CHECKSUMS,
        "    if entry.plain_sha256 is not None and (plain.hexdigest(), size) != (entry.plain_sha256, entry.plain_bytes):",
        "    if False:",
        ("test_verification.py::test_the_checksum_of_the_sql_itself_is_compared",),
    ),
    Bug(
        "a dump that is not complete is taken for one that is",
        _CHECKSUMS,
        "    if entry.dump and _COMPLETE not in tail:",
        "    if False:",
        ("test_verification.py::test_a_dump_that_is_not_complete_is_found_though_its_checksum_fits",),
    ),
    Bug(
        "a command of psql's in a base is not found",
        _CHECKSUMS,
        "    if not entry.script:\n        return None",
        "    return None",
        ("test_strange.py::test_a_command_of_psqls_in_a_base_is_found_though_its_checksum_fits",),
    ),
    Bug(
        "a rehearsal does not compare the schema",
        "lib/scribe/restore/rehearsal.py",
        "        if found.get(name) != known.get(name):",
        "        if False:",
        (
            "test_contents.py::test_a_planted_value_is_found_in_any_row",
            "test_verification.py::test_a_rehearsal_of_a_real_source",
        ),
    ),
    Bug(
        "retention does not prove that the rest restores",
        _REMOVAL,
        '                check_file(base.path / entry["name"], entry["bytes"], entry["sha256"])\n',
        "",
        ("test_retention.py::test_nothing_goes_when_the_base_to_rely_on_is_damaged",),
        short=True,
    ),
    Bug(
        "retention goes on although the chain is broken",
        _RETENTION,
        "    broken = archive.broken()\n    if broken is not None:",
        "    broken = archive.broken()\n    if broken is not None and False:",
        ("test_retention.py::test_nothing_goes_while_the_chain_is_broken",),
    ),
    Bug(
        "retention believes a clock that is set back",
        _RETENTION,
        "    if now < contents.newest:",
        "    if False:",
        ("test_retention.py::test_a_clock_before_the_newest_file_holds_everything",),
    ),
    Bug(
        "retention removes what the newest base needs",
        _RETENTION,
        "            if segment.to_lsn > anchor.consistent_point:",
        "            if False:",
        ("test_retention.py::test_every_point_the_policy_promises_stays_reachable",),
    ),
    Bug(
        "retention removes what was not sent yet",
        _RETENTION,
        "        if any(name.startswith(path) for name in self.unsent):",
        "        if False:",
        ("test_retention.py::test_what_the_archive_command_has_not_taken_stays",),
    ),
    Bug(
        "retention removes a base under a restore",
        _REMOVAL,
        '        files.DirectoryLock(archive.path, "a restore or scribe-verify reads the archive", shared=False),\n',
        "",
        ("test_retention.py::test_a_restore_and_a_base_keep_it_away",),
    ),
    Bug(
        "retention does not note what it is about to remove",
        _REMOVAL,
        '    yield lambda: _record(archive, groups["base"] + groups["leftover"], groups["segment"])\n',
        "",
        ("test_retention.py::test_a_base_cut_off_while_its_files_go_is_ended_by_the_next_run",),
    ),
    Bug(
        "retention removes a base's files before its manifest",
        _REMOVAL,
        '    yield lambda: files.remove_file(path / "manifest.json")\n    yield from _steps_of_leftover(path)',
        "    for each in sorted(path.iterdir(), reverse=True):\n"
        "        if each.is_file():\n"
        "            yield lambda each=each: files.remove_file(each)\n"
        "    yield from _steps_of_leftover(path)",
        ("test_retention.py::test_a_removal_cut_off_anywhere_leaves_a_whole_archive_and_is_ended_by_the_next",),
    ),
    Bug(
        "a manifest is in a store before what it describes",
        "lib/scribe/offsite/contents.py",
        "        yield [_item(archive, path) for path in (segment.data, segment.path)]",
        "        yield [_item(archive, path) for path in (segment.path, segment.data)]",
        ("test_store_faults.py::test_sending",),
    ),
    Bug(
        "two databases' archives are mixed in one place",
        _SYNC,
        '            if any(theirs.get(key) != ours[key] for key in ("system_identifier", "database")):',
        "            if False:",
        ("test_remote.py::test_a_new_place_gets_everything_and_another_archives_place_is_refused",),
    ),
    Bug(
        "whoever writes into a store keeps the newest out of it",
        _SYNC,
        ".before(bases[-1]) if bases else Removed()",
        " if bases else Removed()",
        ("test_store_retention.py::test_nobody_who_writes_there_keeps_the_newest_away_or_stops_the_rest",),
    ),
    Bug(
        "what is sent has no checksum for the store to compare it with",
        "lib/scribe/offsite/stores.py",
        '{"checksum_algorithm": "sha256"} if url',
        "{} if url",
        (_STORE_FAULTS,),
    ),
    Bug(
        "what could not be sent counts as sent",
        _SYNC,
        "        self.look.missing = [item for item in self.look.missing if item not in sent]\n",
        "        self.look.missing = []\n",
        (_STORE_FAULTS,),
    ),
    Bug(
        "what is damaged in the cache stays there",
        _MIRROR,
        " and (path in self.whole or self._is_whole(path))",
        "",
        ("test_mirror.py::test_what_is_damaged_in_the_cache_is_fetched_again",),
    ),
    Bug(
        "what changed in a store is not fetched again",
        _MIRROR,
        "        return changed // 1000 == self._object(path).changed",
        "        return True",
        ("test_mirror.py::test_what_changed_in_the_store_is_fetched_again",),
        short=True,
    ),
    Bug(
        "a cache that others may write is used",
        _MIRROR,
        "    if status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o022:",
        "    if False:",
        ("test_mirror.py::test_a_cache_that_others_may_write_is_refused",),
    ),
    Bug(
        "a key in a store names a file anywhere on this host",
        "lib/scribe/offsite/contents.py",
        "if _STORED.fullmatch(name)}",
        "if name}",
        ("test_mirror.py::test_no_key_leads_out_of_the_cache",),
    ),
    Bug(
        "a file counts as sent although the command failed",
        "lib/scribe/archive/shipping.py",
        "(fault := self._try(path)) is not None:",
        "(fault := self._try(path)) is not None and False:",
        ("test_shipping.py::test_a_file_counts_as_sent_only_when_the_command_succeeds",),
    ),
)
