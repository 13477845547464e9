# scribe-restore from the outside: help, version and wrong uses.

setup() {
    load helpers
}

@test "scribe-restore --help explains itself" {
    check_help scribe-restore
}

@test "scribe-restore says its version" {
    check_version scribe-restore
}

@test "scribe-restore refuses an unknown option with one error, a hint and exit status 2" {
    check_bad_option scribe-restore
}

@test "scribe-restore refuses an argument it does not take" {
    check_surplus_argument scribe-restore
}

@test "scribe-restore refuses an unknown SCRIBE_ key and does nothing" {
    check_unknown_key scribe-restore
}

@test "scribe-restore needs SCRIBE_ARCHIVE" {
    check_missing_archive_setting scribe-restore
}

@test "scribe-restore refuses an archive that is not there and does not make it" {
    check_missing_archive scribe-restore
}
