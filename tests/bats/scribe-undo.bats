# scribe-undo from the outside: help, version and wrong uses.

setup() {
    load helpers
}

@test "scribe-undo --help explains itself" {
    check_help scribe-undo
}

@test "scribe-undo says its version" {
    check_version scribe-undo
}

@test "scribe-undo refuses an unknown option with one error, a hint and exit status 2" {
    check_bad_option scribe-undo
}

@test "scribe-undo refuses an argument it does not take" {
    check_surplus_argument scribe-undo
}

@test "scribe-undo refuses an unknown SCRIBE_ key and does nothing" {
    check_unknown_key scribe-undo
}

@test "scribe-undo needs SCRIBE_ARCHIVE" {
    check_missing_archive_setting scribe-undo
}

@test "scribe-undo refuses an archive that is not there and does not make it" {
    check_missing_archive scribe-undo
}
