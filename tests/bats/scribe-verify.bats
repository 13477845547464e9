# scribe-verify from the outside: help, version and wrong uses.

setup() {
    load helpers
}

@test "scribe-verify --help explains itself" {
    check_help scribe-verify
}

@test "scribe-verify says its version" {
    check_version scribe-verify
}

@test "scribe-verify refuses an unknown option with one error, a hint and exit status 2" {
    check_bad_option scribe-verify
}

@test "scribe-verify refuses an argument it does not take" {
    check_surplus_argument scribe-verify
}

@test "scribe-verify refuses an unknown SCRIBE_ key and does nothing" {
    check_unknown_key scribe-verify
}

@test "scribe-verify needs SCRIBE_ARCHIVE" {
    check_missing_archive_setting scribe-verify
}

@test "scribe-verify refuses an archive that is not there and does not make it" {
    check_missing_archive scribe-verify
}
