# scribe-init from the outside: help, version and wrong uses.

setup() {
    load helpers
}

@test "scribe-init --help explains itself" {
    check_help scribe-init
}

@test "scribe-init says its version" {
    check_version scribe-init
}

@test "scribe-init refuses an unknown option with one error, a hint and exit status 2" {
    check_bad_option scribe-init
}

@test "scribe-init refuses an argument it does not take" {
    check_surplus_argument scribe-init
}

@test "scribe-init refuses an unknown SCRIBE_ key and does nothing" {
    check_unknown_key scribe-init
}

@test "scribe-init needs SCRIBE_ARCHIVE" {
    check_missing_archive_setting scribe-init
}

@test "scribe-init exits 75 when the server is away" {
    check_server_away scribe-init
}
