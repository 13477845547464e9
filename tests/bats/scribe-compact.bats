# scribe-compact from the outside: help, version and wrong uses.

setup() {
    load helpers
}

@test "scribe-compact --help explains itself" {
    check_help scribe-compact
}

@test "scribe-compact says its version" {
    check_version scribe-compact
}

@test "scribe-compact refuses an unknown option with one error, a hint and exit status 2" {
    check_bad_option scribe-compact
}

@test "scribe-compact refuses an argument it does not take" {
    check_surplus_argument scribe-compact
}

@test "scribe-compact refuses an unknown SCRIBE_ key and does nothing" {
    check_unknown_key scribe-compact
}

@test "scribe-compact needs SCRIBE_ARCHIVE" {
    check_missing_archive_setting scribe-compact
}

@test "scribe-compact refuses an archive that is not there and does not make it" {
    check_missing_archive scribe-compact
}
