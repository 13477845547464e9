"""Each sentence of docs/security.md about a role, a program or a file of sql/ has tests that show it."""

from __future__ import annotations

import re

import pytest
from cluster import ROOT

pytestmark = pytest.mark.unit

TEXT = (ROOT / "docs/security.md").read_text()
# The first words of a sentence, or of a row of a table; the tests that show it, as FILE:FUNCTION, or as
# FILE:FUNCTION[CASE] with a file of tests/cases.
SHOWN = {
    # an ordinary role
    "cannot have code of its own run": "shouting:test_no_shout_comes_with_more_rights_than_its_owners",
    "cannot use anything in the schema": "planted:test_default_privileges_give_nobody_a_right_on_what_is_ours",
    "cannot have a statement recorded that": "forgery:test_no_functions_name_makes_another_text_of_what_it_ran"
    " forgery:test_no_text_is_cut_where_a_user_says_that_it_ends"
    " forgery:test_a_guess_is_not_replayed_by_a_role_that_did_not_write_it",
    "cannot hide a statement by a name": "hostile:test_no_name_hides_a_statement"
    " forgery:test_no_setting_hides_a_statement_or_lends_a_role"
    " forgery:test_settings_that_any_user_may_change_hide_nothing",
    "cannot hide a statement or a row by a transaction": ""
    "old_snapshots:test_a_transaction_older_than_the_installation_hides_nothing"
    " old_snapshots:test_schemas_and_tables_that_a_transaction_cannot_see",
    "cannot have a name mean another": "correctness:test_both_restores_equal_the_source[schemas_a_role_may_not_use]"
    " forgery:test_no_name_means_what_another_made_before_the_statements_transaction_ended",
    "cannot have `scribe-log` take": "history:test_a_schema_change_is_found_however_it_spells_the_name"
    " history:test_a_schema_changes_text_names_its_objects history:test_renames_are_read_from_their_text"
    " history:test_a_name_is_cut_where_the_server_cuts_it",
    "cannot hide what goes with its temporary": "forgery:test_nothing_goes_with_a_session_unflagged",
    "cannot keep `scribe-init`": "strangers_locks:test_a_lock_counts_only_if_a_run_of_ours_may_have_it"
    " strangers_locks:test_event_triggers_are_recorded_whatever_numbers_are_locked",
    "cannot stop rotations": "history:test_a_long_text_takes_no_more_memory_than_a_few_of_its_kind"
    " history:test_a_statement_that_comes_in_many_blocks_is_not_looked_at_again_with_each"
    " pgoutput:test_each_change_is_noticed_where_no_event_trigger_can_be_made",
    "cannot stop a restore by a setting": "hostile:test_no_setting_stops_a_restore_or_has_the_rights_of_who_restores",
    "cannot stop a base": "correctness:test_both_restores_equal_the_source[made_otherwise_by_pg_dump]"
    " correctness:test_both_restores_equal_the_source[names_of_partitions_keys]"
    " hostile:test_a_comment_makes_no_publication_ours"
    " extension_rows:test_what_a_copy_refuses_there_is_left_out_with_a_warning"
    " validated:test_a_check_too_long_to_be_looked_at_stops_no_base"
    " validated:test_comments_do_not_make_the_end_of_a_base_too_long"
    " unqualified:test_a_function_too_long_to_be_looked_at_is_reported"
    " metadata:test_what_a_role_makes_too_long_keeps_nobody_from_reading_the_rest",
    "cannot keep a restore from ending": "points:test_no_table_that_cannot_be_read_keeps_a_point_from_being_reached",
    "cannot keep rotations": "strangers_locks:test_a_transaction_left_open_keeps_nobody_waiting"
    " settings_recorded:test_what_a_role_has_set_for_itself_costs_nobody_elses_schema_changes",
    "can write a mark": "restore:test_a_mark_that_somebody_wrote_again_is_no_point",
    "can cause an alarm": "inexact:test_a_locked_table_of_capture_neither_stops_ddl_nor_hides_a_loss"
    " pgoutput:test_a_message_of_captures_that_something_was_lost_is_heard",
    "can keep what is its own out of bases": "unrestorable:"
    "test_what_its_owner_added_to_an_extension_is_reported_and_what_a_script_made_is_not",
    "can do on the target what": "shouting:test_no_shout_comes_with_more_rights_than_its_owners"
    " shouting:test_a_replay_reads_no_line_of_ours_under_a_users_path",
    # the owner of the database
    "cannot have operators or": "hostile:test_a_databases_owner_cannot_put_operators_into_the_programs_queries"
    " search_path:test_functions_and_operators_of_users_are_not_run",
    "cannot have what it planted in a schema `scribe` run by a program": "ownership:"
    "test_the_first_init_reads_nothing_that_a_stranger_has_planted"
    " ownership:test_no_program_touches_what_took_the_place_of_capture",
    "cannot have what it planted in a schema `scribe` run by a file": "planted:"
    "test_a_file_that_a_superuser_runs_by_hand_touches_nothing_that_was_planted",
    # others
    "has none on what is in": "planted:test_default_privileges_give_nobody_a_right_on_what_is_ours"
    " ownership:test_nobody_has_a_part_in_what_a_restore_keeps_in_the_copy",
    "can read the texts": "privileges:test_password_hashes_are_in_the_globals_alone",
    "cannot hide anything with what it reads": "hostile:test_who_reads_every_table_hides_nothing",
    "cannot write into the tables": "forgery:test_who_may_write_all_data_writes_no_history"
    " forgery:test_no_subscription_writes_history",
    "cannot name a role in a copy": "ownership:test_nobody_has_a_part_in_what_a_restore_keeps_in_the_copy",
    "can read every change, and drop": "confirmation:test_a_slot_made_anew_under_the_same_name_breaks_the_chain",
    "cannot run anything by the name of a role": "roles:test_names_of_roles_that_look_like_statements_are_names",
    "cannot get the rights of the roles below": "planted:test_a_role_that_somebody_made_first_gets_no_rights",
    "cannot have what a role owns": "parts:test_a_schema_is_restored_as_a_whole_under_its_name_and_under_another",
    "is not given back": "roles:test_a_restore_on_the_sources_own_server_gives_no_right_back",
    # programs
    "`scribe-init`": "ownership:test_the_first_init_reads_nothing_that_a_stranger_has_planted"
    " privileges:test_a_new_chain_needs_no_superuser",
    "`scribe-stream`": "privileges:test_no_role_is_a_superuser",
    "`scribe-rotate`": "privileges:test_what_changed_without_event_trigger_is_recorded_by_a_rotation_without_superuser",
    "`scribe-dump`": "hostile:test_rows_are_counted_without_running_the_owners_code",
    "`scribe-globals`": "privileges:test_globals_hold_the_password_hashes_where_the_role_may_read_them",
    "`scribe-meta`": "search_path:test_functions_and_operators_of_users_are_not_run",
    "`scribe-check`": "privileges:test_no_role_is_a_superuser",
    "`scribe-restore`": "feeding:test_a_base_runs_no_command",
    "`scribe-verify`": "units:test_rehearsals_run_as_a_user_of_their_own_without_network_archive_or_the_sources_socket",
    "`scribe-prune`": "shouting:test_no_shout_comes_with_more_rights_than_its_owners",
    "`scribe-restore --diff`": "difference:test_statements_on_rows_run_as_the_tables_owner",
    "`scribe-undo`": "undo_applying:test_nothing_that_an_owners_code_leaves_behind_acts_with_other_rights "
    "undo:test_code_of_what_is_made_again_runs_as_its_owner",
    "`scribe-peek`": "peek:test_psql_sees_the_database_as_it_was_and_nothing_is_left"
    " launcher:test_code_of_the_sources_users_runs_as_the_launchers_user",
    "`scribe-compact`": "compact:test_what_does_not_restore_to_the_same_takes_no_place"
    " launcher:test_code_of_the_sources_users_runs_as_the_launchers_user",
    "`scribe-log`": "history:test_names_and_values_stay_on_the_line_of_their_transaction",
    # files
    "`own_role.sql`": "planted:test_a_role_that_somebody_made_first_gets_no_rights",
    "`ours.sql`": "planted:test_a_file_that_a_superuser_runs_by_hand_touches_nothing_that_was_planted",
    "`capture.sql`": "planted:test_default_privileges_give_nobody_a_right_on_what_is_ours",
    "`pgoutput.sql`": "planted:test_a_file_that_a_superuser_runs_by_hand_touches_nothing_that_was_planted",
    "`identities.sql`": "planted:test_a_file_that_a_superuser_runs_by_hand_touches_nothing_that_was_planted",
    "`roles.sql`": "privileges:test_no_role_is_a_superuser",
    "`uncapture.sql`": "privileges:test_removing_the_capture_takes_a_superuser_and_changes_nothing_without",
    "`fingerprint.sql`": "planted:test_a_file_that_a_superuser_runs_by_hand_touches_nothing_that_was_planted",
}


def sentences() -> list[str]:
    """What stands in a list or a table of the sections that say who can do what."""
    part = TEXT.partition("## What runs with which rights")[2].partition("\n## Roles\n")[0]
    rows = [line.removeprefix("| ") for line in part.splitlines() if line.startswith("| `")]
    return rows + [line.removeprefix("- ") for line in part.splitlines() if line.startswith("- ")]


def shown_by(words: str) -> list[tuple[str, str]]:
    """The file and the function of each test that shows a sentence."""
    return [(f"test_{file}.py", name) for file, _, name in (entry.partition(":") for entry in SHOWN[words].split())]


def test_every_sentence_has_its_tests() -> None:
    without = [text for text in sentences() if sum(text.startswith(words) for words in SHOWN) != 1]
    assert without == []
    assert [words for words in SHOWN if not any(text.startswith(words) for text in sentences())] == []


@pytest.mark.parametrize("words", SHOWN)
def test_the_tests_are_there(words: str) -> None:
    for file, test in shown_by(words):
        name, _, case = test.partition("[")
        assert re.search(rf"^def {name}\(", (ROOT / "tests/py" / file).read_text(), re.M), (file, name)
        assert not case or (ROOT / "tests/cases" / f"{case.removesuffix(']')}.sql").exists(), test


def test_every_program_and_every_file_has_its_sentence() -> None:
    part = TEXT.partition("## What runs with which rights")[2].partition("## What each role can do")[0]
    names = {path.name for path in [*(ROOT / "bin").iterdir(), *(ROOT / "sql").glob("*.sql")]}
    assert {name for name in names if f"`{name}`" not in part} == set()
