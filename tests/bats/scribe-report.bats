# scribe-report from the outside: help, version and wrong uses.

setup() {
    load helpers
}

@test "scribe-report --help explains itself" {
    check_help scribe-report
}

@test "scribe-report says its version" {
    check_version scribe-report
}

@test "scribe-report refuses an unknown option with one error, a hint and exit status 2" {
    check_bad_option scribe-report
}

@test "scribe-report refuses an argument it does not take" {
    check_surplus_argument scribe-report
}

@test "scribe-report refuses an unknown SCRIBE_ key and does nothing" {
    SCRIBE_NO_SUCH_KEY=1 run scribe-report -o - -d postgres
    assert_error 2 scribe-report SCRIBE_NO_SUCH_KEY
}

@test "scribe-report needs SCRIBE_ARCHIVE" {
    run env -u SCRIBE_ARCHIVE scribe-report -o -
    assert_error 2 scribe-report "no archive is named"
}

@test "scribe-report shows an archive that is not there as CRITICAL and does not make it" {
    SCRIBE_ARCHIVE="$BATS_TEST_TMPDIR/absent" run scribe-report --offline --json
    [ "$status" -eq 0 ] || fail "exit status $status: $output"
    [[ "$output" == *"absent"*"CRITICAL"*"there is no directory"* ]] || fail "$output"
    [ ! -e "$BATS_TEST_TMPDIR/absent" ] || fail "the archive was made"
}
