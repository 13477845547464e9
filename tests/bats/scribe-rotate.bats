# scribe-rotate from the outside: help, version and wrong uses.

setup() {
    load helpers
}

@test "scribe-rotate --help explains itself" {
    check_help scribe-rotate
}

@test "scribe-rotate says its version" {
    check_version scribe-rotate
}

@test "scribe-rotate refuses an unknown option with one error, a hint and exit status 2" {
    check_bad_option scribe-rotate
}

@test "scribe-rotate refuses an argument it does not take" {
    check_surplus_argument scribe-rotate
}

@test "scribe-rotate refuses an unknown SCRIBE_ key and does nothing" {
    check_unknown_key scribe-rotate
}

@test "scribe-rotate needs SCRIBE_ARCHIVE" {
    check_missing_archive_setting scribe-rotate
}

@test "scribe-rotate refuses an archive that is not there and does not make it" {
    check_missing_archive scribe-rotate
}
