"""Bugs in the two libraries: the decoder, and capture in C."""

from __future__ import annotations

from bug import Bug

_PLUGIN = "decoder/plugin/"
_LITERAL = _PLUGIN + "scribe_literal.c"
_ROWS = _PLUGIN + "scribe_rows.c"
_RUNS = _PLUGIN + "scribe_runs.c"
_IDENTITY = _PLUGIN + "scribe_identity.c"
_DECODER = _PLUGIN + "scribe_decoder.c"
_TRIGGERS = "decoder/capture/scribe_triggers.c"
_VECTORS = "test_vectors.py::test_both_writers_write_the_vectors[scribe_decoder]"
_CASE = "test_correctness.py::test_both_restores_equal_the_source"

LIBRARIES = (
    Bug(
        "a quote in a literal of the decoder's is not doubled",
        _LITERAL,
        """			append_bytes(buf, "''", 2);""",
        """			append_bytes(buf, "'", 1);""",
        (_VECTORS,),
    ),
    Bug(
        "a literal with escapes is not marked as one",
        _LITERAL,
        "			escaped = true;\n",
        "",
        (_VECTORS,),
    ),
    Bug(
        "a control character in a literal of the decoder's stays",
        _LITERAL,
        "	return c < 0x20 || c == 0x7f;",
        "	return c < 0x0a || c == 0x7f;",
        (_VECTORS,),
    ),
    Bug(
        "a line of COPY data may look like a frame",
        _LITERAL,
        "	if (len > 1 && (line[0] == '-'",
        "	if (false && len > 1 && (line[0] == '-'",
        (_VECTORS, "test_fuzz.py::test_texts_that_imitate_frames_come_back_as_data_from_a_sanitised_decoder"),
    ),
    Bug(
        "a name with a control character is written as it is",
        _LITERAL,
        "	if (!has_control(name))\n	{\n		appendStringInfoString(buf, quote_identifier(name));",
        "	if (true)\n	{\n		appendStringInfoString(buf, quote_identifier(name));",
        (_VECTORS,),
    ),
    Bug(
        "a domain's or a composite's value loses its cast",
        _IDENTITY,
        "		appendStringInfoString(buf, column->cast);\n		separator",
        "		separator",
        (_CASE + "[full_identity_odd_types]",),
    ),
    Bug(
        "a row without a key is compared by its bytes, whatever its types",
        _IDENTITY,
        "			return type < FirstNormalObjectId && !holds_floats(type);\n		default:\n			return false;",
        "			return true;\n		default:\n			return true;",
        (_CASE + "[full_identity_composites]",),
    ),
    Bug(
        "of equal rows all are changed",
        _ROWS,
        """	appendStringInfoString(buf, " LIMIT 1)");""",
        """	appendStringInfoString(buf, ")");""",
        (_CASE + "[full_identity_duplicates]",),
    ),
    Bug(
        "a value that did not change is read from the table, where it may be gone",
        _ROWS,
        "	return !isnull && column->len == -1 && VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value));",
        "	return false;",
        (_CASE + "[toast]",),
    ),
    Bug(
        "a large value of a row without a key is not taken from the old one",
        _ROWS,
        "		take_toast_from_old(relation);\n",
        "",
        (_CASE + "[full_identity_runs]",),
    ),
    Bug(
        "an identity column that is GENERATED ALWAYS is set",
        _ROWS,
        "		*replace |= column->always;\n",
        "",
        (_CASE + "[generated_and_identity_columns]",),
    ),
    Bug(
        "triggers that fire in a replica act a second time",
        _ROWS,
        "	if (relation->quiet == NULL || *(quieted",
        "	if (true || relation->quiet == NULL || *(quieted",
        (_CASE + "[user_triggers_and_rules]",),
    ),
    Bug(
        "rows that an extension's script writes come twice",
        _ROWS,
        "(state->script > 0 && is_of_extension(relation)))",
        "(false && is_of_extension(relation)))",
        ("test_extensions.py::test_what_an_update_script_does_to_rows_comes_from_the_source",),
    ),
    Bug(
        "an UPDATE that cannot be carried is not flagged",
        _ROWS,
        """		warn_lost(state, relation, "UPDATE", why_lost(relation));
""",
        "",
        ("test_inexact.py::test_a_relation_nobody_saw_made_is_flagged_at_rotation",),
    ),
    Bug(
        "TRUNCATE empties what inherits, too",
        _ROWS,
        """relkind == RELKIND_PARTITIONED_TABLE ? "" : "ONLY ", relation->own_name);""",
        """relkind == RELKIND_PARTITIONED_TABLE ? "" : "", relation->own_name);""",
        (_CASE + "[truncate]",),
    ),
    Bug(
        "a statement reaches what inherits, too",
        _PLUGIN + "scribe_relation.c",
        """	relation->only = rel->rd_rel->relhassubclass ? "ONLY " : "";""",
        """	relation->only = "";""",
        (_CASE + "[partitions_and_inheritance]",),
    ),
    Bug(
        "a generated column is written",
        _PLUGIN + "scribe_relation.c",
        "	column->live = att->attgenerated == '\\0' &&",
        "	column->live =",
        (_CASE + "[generated_and_identity_columns]",),
    ),
    Bug(
        "a schema scribe that anybody has made gives orders",
        _PLUGIN + "scribe_relation.c",
        "	trusted = superuser_arg(((Form_pg_namespace) GETSTRUCT(tuple))->nspowner);",
        "	trusted = true;",
        ("test_decoders.py::test_nobody_but_a_superuser_gives_the_decoder_orders",),
    ),
    Bug(
        "a key that comes twice in a run is changed once",
        _RUNS,
        "		if (run->seen[at] == hash)\n			return false;",
        "		if (run->seen[at] == hash)\n			return true;",
        (_CASE + "[key_updates]", _CASE + "[transactions]"),
    ),
    Bug(
        "the decoder's text depends on the role's DateStyle",
        _DECODER,
        """		{"DateStyle", "ISO, MDY"},\n""",
        "",
        ("test_pinned.py::test_a_base_means_the_same_under_any_settings", _CASE + "[roles_paths_and_settings]"),
    ),
    Bug(
        "floating point numbers lose digits",
        _DECODER,
        """		{"extra_float_digits", "3"},\n""",
        "",
        ("decoder/roundtrip/workload.sql",),
    ),
    Bug(
        "anybody's message names any point",
        _DECODER,
        """	if (strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != size)
		return;
""",
        "",
        ("test_decoders.py::test_nobody_but_a_superuser_gives_the_decoder_orders",),
    ),
    Bug(
        "rows of a partitioned table's part go where the source had them",
        _PLUGIN + "scribe_routes.c",
        "		case TYPTYPE_ENUM:\n			return true;",
        "		case TYPTYPE_ENUM:\n			return false;",
        ("test_hash_partitions.py::test_rows_go_through_the_root_and_nothing_is_flagged",),
    ),
    Bug(
        "capture in C trusts a schema of anybody's",
        _TRIGGERS,
        "&& superuser_arg(((Form_pg_namespace) GETSTRUCT(tuple))->nspowner);",
        "&& true;",
        ("test_forgery.py::test_functions_planted_after_removal_are_not_called",),
    ),
    Bug(
        "capture in C records a path with schemas that the role may not use",
        _TRIGGERS,
        "	return OidIsValid(oid) && namespace_aclcheck(oid, GetUserId(), ACL_USAGE) == ACLCHECK_OK;",
        "	return OidIsValid(oid);",
        ("test_capture.py::test_the_library_records_what_the_functions_in_sql_record",),
    ),
    Bug(
        "capture in C does not record a session's settings",
        _TRIGGERS,
        "	if (statement->settings == NULL)\n		note_settings(statement);",
        "	if (false)\n		note_settings(statement);",
        ("test_settings_recorded.py::test_what_may_change_a_value_is_recorded",),
    ),
    Bug(
        "capture in C does not wait for a base that nothing else lets come",
        _TRIGGERS,
        "	return !OidIsValid(config) || ConditionalLockRelationOid(config, RowShareLock);",
        "	return true;",
        ("test_capture.py::test_a_schema_change_waits_while_a_base_needs_none",),
    ),
    Bug(
        "capture in C records a name under a path in which another may have made it",
        "decoder/capture/scribe_record.c",
        "	if (strchr(path, ',') == NULL)\n		return path;",
        "	if (true)\n		return path;",
        ("test_forgery.py::test_no_name_means_what_another_made_before_the_statements_transaction_ended",),
    ),
    Bug(
        "a table that has got a key keeps the identity that was set",
        "decoder/capture/scribe_record.c",
        "	if (!changed)\n		return true;			/* it is not ours, and stays */",
        "	return true;",
        ("test_capture.py::test_the_library_records_what_the_functions_in_sql_record",),
    ),
    Bug(
        "what CREATE TABLE AS made is taken for what no command made, and dropped twice",
        _PLUGIN + "scribe_ddl.c",
        "		unseen_recorded(audit.relids);\n",
        "",
        ("test_inexact.py::test_a_table_is_not_taken_for_unseen_beside_what_capture_adds",),
    ),
    Bug(
        "a table that no command made is dropped when its name is another's",
        _PLUGIN + "scribe_unseen.c",
        "	if (schema != NULL && is_taken(",
        "	if (false && is_taken(",
        ("test_inexact.py::test_a_locked_table_of_capture_neither_stops_ddl_nor_hides_a_loss",),
    ),
    Bug(
        "CHECKs are asked again where rows are restored",
        _PLUGIN + "scribe_relation.c",
        "	append_checks(quiet, loud, rel);\n",
        "",
        (_CASE + "[checks_that_no_longer_hold]",),
    ),
    Bug(
        "a setting that a copy refuses stops a restore",
        _PLUGIN + "scribe_ddl.c",
        "\" EXCEPTION WHEN OTHERS THEN RAISE WARNING 'setting left out: %', SQLERRM;\"",
        '" EXCEPTION WHEN division_by_zero THEN NULL;"',
        ("test_hostile.py::test_no_setting_stops_a_restore_or_has_the_rights_of_who_restores[scribe_decoder]",),
    ),
    Bug(
        "a setting is given with the rights of who restores",
        _PLUGIN + "scribe_ddl.c",
        "	if (dotted && role != NULL)\n",
        "	if (false)\n",
        ("test_hostile.py::test_no_setting_stops_a_restore_or_has_the_rights_of_who_restores[scribe_decoder]",),
    ),
)
