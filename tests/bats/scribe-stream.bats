# scribe-stream from the outside: help, version and wrong uses.

setup() {
    load helpers
}

@test "scribe-stream --help explains itself" {
    check_help scribe-stream
}

@test "scribe-stream says its version" {
    check_version scribe-stream
}

@test "scribe-stream refuses an unknown option with one error, a hint and exit status 2" {
    check_bad_option scribe-stream
}

@test "scribe-stream refuses an argument it does not take" {
    check_surplus_argument scribe-stream
}

@test "scribe-stream refuses an unknown SCRIBE_ key and does nothing" {
    check_unknown_key scribe-stream
}

@test "scribe-stream needs SCRIBE_ARCHIVE" {
    check_missing_archive_setting scribe-stream
}

@test "scribe-stream refuses an archive that is not there and does not make it" {
    check_missing_archive scribe-stream
}
