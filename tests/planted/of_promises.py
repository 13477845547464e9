"""Bugs in alarms, net effects, parts of restores, bases made of archives, and tables that nobody announced."""

from __future__ import annotations

from bug import Bug

_SLOT = "lib/scribe/health/probes_slot.py"
_AGE = "lib/scribe/health/probes_age.py"
_ARCHIVE = "lib/scribe/health/probes_archive.py"
_NET = "lib/scribe/restore/net.py"
_STAGING = "lib/scribe/restore/staging.py"
_CONCERNED = "lib/scribe/restore/concerned.py"
_SCOPE = "lib/scribe/restore/undo_scope.py"
_DERIVED = "lib/scribe/restore/derived.py"
_PROOF = "test_derived.py::test_without_proof_there_is_no_base_and_the_check_says_so"
_UNSEEN = "decoder/plugin/scribe_unseen.c"

ALARMS = (
    Bug(
        "a slot that lost its WAL is no alarm",
        _SLOT,
        '    if slot["wal_status"] == "lost" or slot["invalidation"]:\n        text',
        "    if False:\n        text",
        ("test_probes_slot.py::test_a_slot_near_its_loss_and_a_lost_slot_are_critical",),
    ),
    Bug(
        "a slot that nobody reads is no alarm",
        _SLOT,
        '    if not slot["active"]:\n        return Finding("slot", State.WARNING',
        '    if False:\n        return Finding("slot", State.WARNING',
        ("test_probes_slot.py::test_a_stopped_stream_is_critical_until_it_is_started",),
    ),
    Bug(
        "a slot that somebody else reads is no alarm",
        _SLOT,
        "    if not is_locked(survey.spool.stream_lock):\n        reader",
        "    if False:\n        reader",
        ("test_dead_stream.py::test_a_slot_that_somebody_else_reads_is_critical",),
    ),
    Bug(
        "a reader of the slot that says nothing is no alarm",
        _SLOT,
        '        if silence > max(LEAST_SILENCE, 3 * survey.settings["SCRIBE_STATUS_INTERVAL"]):',
        "        if False:",
        ("test_dead_stream.py::test_a_reader_that_says_nothing_is_a_warning_without_any_heartbeat",),
    ),
    Bug(
        "WAL that fills the server's disk is no emergency",
        _SLOT,
        "    if number > emergency:",
        "    if False:",
        ("test_probes_slot.py::test_lag_beyond_the_limits_is_told_and_goes_when_the_stream_catches_up",),
    ),
    Bug(
        "a mark that does not arrive counts as one that did",
        _SLOT,
        "            if time.monotonic() > deadline:\n                return None",
        "            if time.monotonic() > deadline:\n                return 0.0",
        ("test_dead_stream.py::test_a_pg_recvlogical_that_hangs_is_critical_with_and_without_a_heartbeat",),
    ),
    Bug(
        "a verification that found faults is no alarm",
        _AGE,
        "    if not good:",
        "    if False:",
        ("test_probes_age.py::test_a_damaged_file_is_critical_from_its_verification_until_the_next",),
    ),
    Bug(
        "an archive that was never verified is no alarm",
        _AGE,
        '        return Finding(name, limit.judge(age), "none yet", hint, values)',
        '        return Finding(name, State.OK, "none yet", hint, values)',
        ("test_probes_age.py::test_a_forgotten_verification_is_told",),
    ),
    Bug(
        "a stream that is not running is no alarm",
        _ARCHIVE,
        "    if not running:\n        last",
        "    if False:\n        last",
        ("test_probes_slot.py::test_a_stopped_stream_is_critical_until_it_is_started",),
    ),
    Bug(
        "a stream that hangs is no alarm",
        _ARCHIVE,
        "        if process is not None and process.stopped():",
        "        if False:",
        ("test_dead_stream.py::test_a_scribe_stream_that_hangs_is_critical_though_data_still_arrives",),
    ),
    Bug(
        "a stream that writes to a file which nothing takes up is no alarm",
        _ARCHIVE,
        "    if elsewhere:",
        "    if False:",
        ("test_dead_stream.py::test_a_spool_file_that_somebody_moved_away_is_critical",),
    ),
    Bug(
        "what a check could not reach in time is not told",
        "lib/scribe/health/examination.py",
        "    findings.append(Finding(culprit, State.CRITICAL,",
        "    findings.append(Finding(culprit, State.OK,",
        ("test_check.py::test_a_server_that_hangs_is_critical_within_the_timeout",),
    ),
)

PARTS = (
    Bug(
        "rows are joined although others are computed of them",
        _NET,
        "        if any(table is not None and table.computes for table in tables.values()):\n            return None\n",
        "",
        ("test_net.py::test_what_is_computed_from_rows_of_others_is_computed_in_its_turn",),
    ),
    Bug(
        "a row that came and went need not be absent",
        _NET,
        "if not row.before and row.after is None], 0)",
        "if False], 0)",
        ("test_net.py::test_the_last_values_of_a_row_are_what_is_sent",),
    ),
    Bug(
        "a statement of which some rows could not be read is joined",
        _NET,
        "    if len(changes) != expected_rows(statement):",
        "    if False:",
        ("test_net.py::test_what_is_not_proved_is_sent_as_it_stands",),
    ),
    Bug(
        "rows are joined by columns that are no key",
        _NET,
        "    if tuple(sorted(map(unquoted, key))) not in table.keys:",
        "    if False:",
        ("test_net.py::test_what_is_not_proved_is_sent_as_it_stands",),
    ),
    Bug(
        "rows that were sent by COPY may act on another number of rows",
        "lib/scribe/restore/replay.py",
        "                if counts == [sent.run.rows]:",
        "                if counts:",
        ("test_staging.py::test_a_key_that_comes_twice_has_its_last_values",),
    ),
    Bug(
        "rows that COPY would take otherwise are sent by it",
        _STAGING,
        "    if sum(map(len, lines)) + len(lines) * (len(b\",\\n()\") + columns - 1) != len(rows):",
        "    if False:",
        ("test_staging.py::test_what_is_not_of_that_form_is_sent_as_it_stands",),
    ),
    Bug(
        "rows that look at others are changed all at once",
        _STAGING,
        "    if name is None or end < 0 or not table.alone:",
        "    if name is None or end < 0:",
        ("test_staging.py::test_where_rows_look_at_others_each_statement_is_sent",),
    ),
    Bug(
        "a temporary table keeps its rows' types",
        "lib/scribe/restore/replay.py",
        "        if self._places:\n",
        "        if False:\n",
        ("test_staging.py::test_a_type_may_be_dropped_after_its_rows_were_sent",),
    ),
    Bug(
        "a query takes tables that were left out for empty ones",
        _CONCERNED,
        "    if there is None:\n        return\n    with copy.connected() as conn:\n        left",
        "    if True:\n        return\n    with copy.connected() as conn:\n        left",
        ("test_concerned.py::test_a_look_has_the_rows_of_what_is_named_and_no_query_takes_others_for_empty",),
    ),
    Bug(
        "an undo lacks the rows that foreign keys are checked with",
        _CONCERNED,
        "        return found | set(find_sharing(conn, wanted))",
        "        return set(find_sharing(conn, wanted))",
        ("test_concerned.py::test_an_undo_restores_what_was_changed_and_what_that_is_checked_with",),
    ),
    Bug(
        "an undo lacks the rows of what was dropped",
        _CONCERNED,
        "            needed |= gone | checked_with(before, gone)",
        "            needed |= set()",
        ("test_concerned.py::test_an_undo_restores_what_was_changed_and_what_that_is_checked_with",),
    ),
    Bug(
        "a look lacks what the views that it reads name",
        _CONCERNED,
        "        needed = watch.widen(int(row[0]) for row in conn.execute(_READ, [named]).fetchall())",
        "        needed = watch.widen(named)",
        ("test_concerned.py::test_a_look_has_the_rows_of_what_is_named_and_no_query_takes_others_for_empty",),
    ),
    Bug(
        "of two transactions with one number any is taken back",
        _SCOPE,
        "        if len(places) != 1:",
        "        if not places:",
        ("test_undo.py::test_a_transaction_is_found_wherever_a_block_ends_and_once",),
    ),
    Bug(
        "a transaction is passed over whose first line was read in two pieces",
        _SCOPE,
        '            rest = text[text.rfind(b"\\n") + 1 :][-_LINE:]',
        '            rest = b""',
        ("test_undo.py::test_a_transaction_is_found_wherever_a_block_ends_and_once",),
    ),
    Bug(
        "transactions are taken back of an archive that tells none apart",
        _SCOPE,
        '    if any(segment.manifest.get("points") == "segment" for chain',
        '    if any(False and segment.manifest.get("points") == "segment" for chain',
        ("test_undo.py::test_an_archive_that_tells_no_transactions_apart_is_refused",),
    ),
    Bug(
        "a base is made of an archive that does not restore to what was recorded",
        _DERIVED,
        "    if result.differences:\n        copy.spoil()",
        "    if False:\n        copy.spoil()",
        (_PROOF,),
    ),
    Bug(
        "a base is made of a record that lies within a segment",
        _DERIVED,
        '    if parse_lsn(record["lsn"]) not in ends:',
        "    if False:",
        (_PROOF,),
    ),
    Bug(
        "a base is made of a broken chain",
        _DERIVED,
        "    if broken is not None:\n        raise ScribeError(",
        "    if False:\n        raise ScribeError(",
        (_PROOF,),
    ),
    Bug(
        "what was joined takes the place of segments that have changed meanwhile",
        "lib/scribe/archive/joining.py",
        "    if any(run.from_lsn < base.consistent_point < run.to_lsn for base in archive.bases()):",
        "    if False:",
        ("test_compact.py::test_a_base_that_was_taken_meanwhile_keeps_its_point",),
    ),
    Bug(
        "what differs in roles that are on the target is not told",
        "lib/scribe/restore/roles.py",
        "        if there or here:",
        "        if False:",
        ("test_roles.py::test_missing_roles_are_created_and_those_that_are_there_left_alone",),
    ),
)

UNSEEN = (
    Bug(
        "a table that another transaction made is made twice",
        _UNSEEN,
        "form->oid) ||\n		!of_this_transaction(state, creator_of_relation(form->oid)))",
        "form->oid))",
        ("test_old_snapshots.py::test_a_transaction_older_than_the_installation_hides_nothing",),
    ),
    Bug(
        "a table of an extension's is made beside the extension",
        _UNSEEN,
        "	entry->member = is_member(RelationRelationId, form->oid);\n	if",
        "	entry->member = false;\n	if",
        ("test_extension_rows.py::test_rows_of_the_user_beside_a_script_are_the_users",),
    ),
    Bug(
        "a table that a recorded command made is made once more",
        _UNSEEN,
        "list_member_oid(state->announced, form->oid)",
        "false",
        ("test_correctness.py::test_both_restores_equal_the_source[many_kinds_of_objects]",),
    ),
    Bug(
        "a table whose command is not known is made in silence",
        _UNSEEN,
        '		output_warning(state, "table %s may have been made by no statement',
        '		elog(DEBUG1, "table %s may have been made by no statement',
        ("test_inexact.py::test_what_cannot_be_told_is_not_run_and_a_later_row_stops_the_restore",),
    ),
    Bug(
        "what is not in the snapshot yet has been dropped",
        _UNSEEN,
        "HeapTupleHeaderGetUpdateXid(header)) && was_written(state, header);",
        "HeapTupleHeaderGetUpdateXid(header));",
        ("test_inexact.py::test_what_appears_beside_a_transaction_is_dropped_by_it_in_its_place",),
    ),
    Bug(
        "a NULL that a domain bars is written as any other",
        "decoder/plugin/scribe_literal.c",
        "	if (isnull && column->barred_null)",
        "	if (false && column->barred_null)",
        ("test_correctness.py::test_both_restores_equal_the_source[null_in_a_domain_that_is_not_null]",),
    ),
    Bug(
        "rows with a NULL that a domain bars share a statement",
        "decoder/plugin/scribe_runs.c",
        "	for (int i = 0; relation->bars_null && i < relation->natts; i++)",
        "	for (int i = 0; false && i < relation->natts; i++)",
        ("test_correctness.py::test_both_restores_equal_the_source[null_in_a_domain_that_is_not_null]",),
    ),
    Bug(
        "rows that come before what changed their table are no alarm",
        "decoder/plugin/scribe_rows.c",
        "	else if (relation->untold && ",
        "	else if (false && ",
        ("test_event_triggers.py::test_rows_that_one_writes_into_the_table_that_is_altered_are_flagged",),
    ),
    Bug(
        "a base is taken of a NULL that no dump gets past its domain",
        "lib/scribe/dump/guard.py",
        "if column.relid == table.oid and column.has_absent(counter):",
        "if False and column.has_absent(counter):",
        ("test_unrestorable.py::test_no_base_is_taken_of_a_null_that_no_dump_gets_past_its_domain",),
    ),
    Bug(
        "a sequence that a rewriting command makes is made beside it",
        "sql/capture/rewrites.sql",
        "        PERFORM scribe.announce_rewrite(tag, altered);",
        "        NULL;",
        ("test_correctness.py::test_both_restores_equal_the_source[sequences]",),
    ),
    Bug(
        "facts that did not change are written all the same",
        "sql/capture/without_library/facts.sql",
        "            WHERE o.relid = n.relid AND o.facts = n.facts)",
        "            WHERE o.relid = n.relid AND o.facts = n.facts AND false)",
        ("test_pgoutput.py::test_sessions_that_alter_partitions_of_one_table_do_not_wait_for_each_other",),
    ),
    Bug(
        "what nothing told of gets an identity before it is made",
        "sql/capture/identities.sql",
        "            AND (scribe.is_new(c.oid) IS NOT TRUE OR EXISTS",
        "            AND (true OR EXISTS",
        ("test_pgoutput.py::test_both_restores_equal_the_source[explain_analyze]",),
    ),
    Bug(
        "constraints come back to children as their parent's owner",
        "sql/capture/constraints.sql",
        "            AND k.relowner <> c.owner) THEN",
        "            AND false) THEN",
        ("test_correctness.py::test_both_restores_equal_the_source[constraints_not_valid]",),
    ),
    Bug(
        "an output replaces a device",
        "lib/scribe/common/files.py",
        "        plain = foreign or stat.S_ISREG(path.stat().st_mode)",
        "        plain = path.exists()",
        ("test_files.py::test_an_output_that_is_no_plain_file_is_written_to_and_not_replaced",),
    ),
    Bug(
        "capture in C records a text that no stream carries as one that does",
        "decoder/capture/scribe_statement.c",
        "	return length > most;",
        "	return length > most && false;",
        ("test_settings_recorded.py::test_a_text_that_no_stream_carries_is_flagged",),
    ),
)
