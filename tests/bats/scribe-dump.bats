# scribe-dump from the outside: help, version and wrong uses.

setup() {
    load helpers
}

@test "scribe-dump --help explains itself" {
    check_help scribe-dump
}

@test "scribe-dump says its version" {
    check_version scribe-dump
}

@test "scribe-dump refuses an unknown option with one error, a hint and exit status 2" {
    check_bad_option scribe-dump
}

@test "scribe-dump refuses an argument it does not take" {
    check_surplus_argument scribe-dump
}

@test "scribe-dump refuses an unknown SCRIBE_ key and does nothing" {
    check_unknown_key scribe-dump
}

@test "scribe-dump needs SCRIBE_ARCHIVE" {
    check_missing_archive_setting scribe-dump
}

@test "scribe-dump refuses an archive that is not there and does not make it" {
    check_missing_archive scribe-dump
}
