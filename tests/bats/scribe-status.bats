# scribe-status from the outside: help, version and wrong uses.

setup() {
    load helpers
}

@test "scribe-status --help explains itself" {
    check_help scribe-status
}

@test "scribe-status says its version" {
    check_version scribe-status
}

@test "scribe-status refuses an unknown option with one error, a hint and exit status 2" {
    check_bad_option scribe-status
}

@test "scribe-status refuses an argument it does not take" {
    check_surplus_argument scribe-status
}

@test "scribe-status refuses an unknown SCRIBE_ key and does nothing" {
    check_unknown_key scribe-status
}

@test "scribe-status needs SCRIBE_ARCHIVE" {
    check_missing_archive_setting scribe-status
}

@test "scribe-status shows an archive that is not there as CRITICAL and does not make it" {
    SCRIBE_ARCHIVE="$BATS_TEST_TMPDIR/absent" run scribe-status --offline
    [ "$status" -eq 1 ] || fail "exit status $status: $output"
    [[ "$output" == *"absent"*"CRITICAL"*"there is no directory"* ]] || fail "$output"
    [ ! -e "$BATS_TEST_TMPDIR/absent" ] || fail "the archive was made"
}
