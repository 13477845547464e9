# scribe-peek from the outside: help, version and wrong uses.

setup() {
    load helpers
}

@test "scribe-peek --help explains itself" {
    check_help scribe-peek
}

@test "scribe-peek says its version" {
    check_version scribe-peek
}

@test "scribe-peek refuses an unknown option with one error, a hint and exit status 2" {
    check_bad_option scribe-peek
}

@test "scribe-peek refuses an argument it does not take" {
    check_surplus_argument scribe-peek
}

@test "scribe-peek refuses an unknown SCRIBE_ key and does nothing" {
    check_unknown_key scribe-peek
}

@test "scribe-peek needs SCRIBE_ARCHIVE" {
    check_missing_archive_setting scribe-peek
}

@test "scribe-peek refuses an archive that is not there and does not make it" {
    check_missing_archive scribe-peek
}
