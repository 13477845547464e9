# scribe-sync from the outside: help, version and wrong uses.

setup() {
    load helpers
}

@test "scribe-sync --help explains itself" {
    check_help scribe-sync
}

@test "scribe-sync says its version" {
    check_version scribe-sync
}

@test "scribe-sync refuses an unknown option with one error, a hint and exit status 2" {
    check_bad_option scribe-sync
}

@test "scribe-sync refuses an argument it does not take" {
    check_surplus_argument scribe-sync
}

@test "scribe-sync refuses an unknown SCRIBE_ key and does nothing" {
    check_unknown_key scribe-sync
}

@test "scribe-sync needs SCRIBE_ARCHIVE" {
    check_missing_archive_setting scribe-sync
}

@test "scribe-sync refuses an archive that is not there and does not make it" {
    check_missing_archive scribe-sync
}
