# scribe-prune from the outside: help, version and wrong uses.

setup() {
    load helpers
}

@test "scribe-prune --help explains itself" {
    check_help scribe-prune
}

@test "scribe-prune says its version" {
    check_version scribe-prune
}

@test "scribe-prune refuses an unknown option with one error, a hint and exit status 2" {
    check_bad_option scribe-prune
}

@test "scribe-prune refuses an argument it does not take" {
    check_surplus_argument scribe-prune
}

@test "scribe-prune refuses an unknown SCRIBE_ key and does nothing" {
    check_unknown_key scribe-prune
}

@test "scribe-prune needs SCRIBE_ARCHIVE" {
    check_missing_archive_setting scribe-prune
}

@test "scribe-prune refuses an archive that is not there and does not make it" {
    check_missing_archive scribe-prune
}
