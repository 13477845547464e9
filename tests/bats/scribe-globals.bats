# scribe-globals from the outside: help, version and wrong uses.

setup() {
    load helpers
}

@test "scribe-globals --help explains itself" {
    check_help scribe-globals
}

@test "scribe-globals says its version" {
    check_version scribe-globals
}

@test "scribe-globals refuses an unknown option with one error, a hint and exit status 2" {
    check_bad_option scribe-globals
}

@test "scribe-globals refuses an argument it does not take" {
    check_surplus_argument scribe-globals
}

@test "scribe-globals refuses an unknown SCRIBE_ key and does nothing" {
    check_unknown_key scribe-globals
}

@test "scribe-globals needs SCRIBE_ARCHIVE" {
    check_missing_archive_setting scribe-globals
}

@test "scribe-globals refuses an archive that is not there and does not make it" {
    check_missing_archive scribe-globals
}
