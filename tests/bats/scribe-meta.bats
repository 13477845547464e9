# scribe-meta from the outside: help, version and wrong uses.

setup() {
    load helpers
}

@test "scribe-meta --help explains itself" {
    check_help scribe-meta
}

@test "scribe-meta says its version" {
    check_version scribe-meta
}

@test "scribe-meta refuses an unknown option with one error, a hint and exit status 2" {
    check_bad_option scribe-meta
}

@test "scribe-meta refuses an argument it does not take" {
    check_surplus_argument scribe-meta
}

@test "scribe-meta refuses an unknown SCRIBE_ key and does nothing" {
    check_unknown_key scribe-meta
}

@test "scribe-meta needs SCRIBE_ARCHIVE" {
    check_missing_archive_setting scribe-meta
}

@test "scribe-meta refuses an archive that is not there and does not make it" {
    check_missing_archive scribe-meta
}
