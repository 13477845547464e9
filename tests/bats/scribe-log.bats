# scribe-log from the outside: help, version and wrong uses.

setup() {
    load helpers
}

@test "scribe-log --help explains itself" {
    check_help scribe-log
}

@test "scribe-log says its version" {
    check_version scribe-log
}

@test "scribe-log refuses an unknown option with one error, a hint and exit status 2" {
    check_bad_option scribe-log
}

@test "scribe-log refuses an argument it does not take" {
    check_surplus_argument scribe-log
}

@test "scribe-log refuses an unknown SCRIBE_ key and does nothing" {
    check_unknown_key scribe-log
}

@test "scribe-log needs SCRIBE_ARCHIVE" {
    check_missing_archive_setting scribe-log
}

@test "scribe-log refuses an archive that is not there and does not make it" {
    check_missing_archive scribe-log
}

@test "scribe-log refuses a time, an LSN, a key, a kind and a regular expression that are none" {
    local flag
    for flag in --since=soon --from-lsn=12 --key=id --kind=merge "--grep=(" --xid=0 --until="13:07 Nowhere/Land"; do
        SCRIBE_ARCHIVE="$BATS_TEST_TMPDIR/absent" run scribe-log "$flag"
        assert_error 2 scribe-log "${flag%%=*}"
    done
}
