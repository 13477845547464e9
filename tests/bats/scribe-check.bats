# scribe-check from the outside: help, version and wrong uses. Whatever is wrong, it is the plugin protocol's UNKNOWN.

setup() {
    load helpers
}

# Asserts: the last run printed one status line that matches, and nothing that is not a line of the protocol.
assert_unknown() {  # PATTERN
    # shellcheck disable=SC2154 # bats sets status and lines
    [ "$status" -eq 3 ] || fail "exit status $status instead of 3: $output"
    [[ "${lines[0]}" =~ ^"SCRIBE UNKNOWN: configuration: ".*$1 ]] || fail "no status line like \"$1\": $output"
    [ "$(grep -vc '^\[UNKNOWN\] ' <<<"$output")" -eq 1 ] || fail "other lines: $output"
}

@test "scribe-check --help explains itself" {
    check_help scribe-check
}

@test "scribe-check says its version" {
    check_version scribe-check
}

@test "scribe-check calls an unknown option UNKNOWN in one status line" {
    run scribe-check --no-such-option
    assert_unknown "--no-such-option"
}

@test "scribe-check calls an argument it does not take UNKNOWN" {
    run scribe-check surplus
    assert_unknown "surplus"
}

@test "scribe-check calls an unknown SCRIBE_ key UNKNOWN" {
    SCRIBE_NO_SUCH_KEY=1 SCRIBE_ARCHIVE="$BATS_TEST_TMPDIR/archive" run scribe-check -d postgres
    assert_unknown "SCRIBE_NO_SUCH_KEY"
}

@test "scribe-check without SCRIBE_ARCHIVE is UNKNOWN and names the setting" {
    run env -u SCRIBE_ARCHIVE scribe-check -d postgres
    assert_unknown "no archive is named"
    [[ "$output" == *SCRIBE_ARCHIVE* ]] || fail "$output"
}

@test "scribe-check calls an archive that is not there CRITICAL and does not make it" {
    SCRIBE_ARCHIVE="$BATS_TEST_TMPDIR/absent" run scribe-check -d postgres
    [ "$status" -eq 2 ] || fail "$output"
    [[ "${lines[0]}" == "SCRIBE CRITICAL: archive: "* ]] || fail "$output"
    [ ! -e "$BATS_TEST_TMPDIR/absent" ] || fail "the archive was made"
}

@test "scribe-check --list names the checks" {
    run scribe-check --list
    [ "$status" -eq 0 ] || fail "$output"
    [[ "$output" == *"heartbeat "* && "$output" == *"chain "* ]] || fail "$output"
}
