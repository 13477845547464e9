# What the bats files share. tests/bats/run has put a private cluster into PGHOST, PGPORT and PGUSER, and the tree's bin/ and
# the server's programs on PATH.
# shellcheck shell=bash

[ -n "${PGHOST-}" ] || { echo "run these tests with tests/bats/run" >&2; exit 1; }

# Asserts: the last run printed exactly one error line and one hint of the program, and exited with the status.
assert_error() {    # STATUS PROGRAM [PATTERN]
    # shellcheck disable=SC2154 # bats sets status and output
    [ "$status" -eq "$1" ] || fail "exit status $status instead of $1: $output"
    [ "$(grep -c "^$2: error: " <<<"$output")" -eq 1 ] || fail "not one error line: $output"
    [ "$(grep -c "^$2: hint: " <<<"$output")" -eq 1 ] || fail "not one hint: $output"
    [ "$(wc -l <<<"$output")" -eq 2 ] || fail "more than error and hint: $output"
    [ -z "${3-}" ] || grep -Eq "^$2: error: .*$3" <<<"$output" || fail "no error like \"$3\": $output"
}

fail() {
    echo "$1" >&2
    return 1
}

# What every program must do about --help, --version and wrong use.
check_help() {      # PROGRAM
    run "$1" --help
    [ "$status" -eq 0 ] || fail "$output"
    [[ "$output" == *"usage: $1"* ]] || fail "no usage line: $output"
    [[ "$output" == *"--config"* && "$output" == *"--version"* ]] || fail "common options are missing: $output"
}

check_version() {   # PROGRAM
    local flag
    for flag in --version -V; do
        run "$1" "$flag"
        [ "$status" -eq 0 ] || fail "$output"
        [[ "$output" =~ ^"$1 (pg_scribe) "[0-9] ]] || fail "$output"
    done
}

check_bad_option() { # PROGRAM
    run "$1" --no-such-option
    assert_error 2 "$1" "--no-such-option"
}

check_surplus_argument() { # PROGRAM
    run "$1" surplus
    assert_error 2 "$1" "surplus"
}

check_unknown_key() { # PROGRAM
    SCRIBE_NO_SUCH_KEY=1 SCRIBE_ARCHIVE="$BATS_TEST_TMPDIR/archive" run "$1" -d postgres
    assert_error 2 "$1" "SCRIBE_NO_SUCH_KEY"
    [ ! -e "$BATS_TEST_TMPDIR/archive" ] || fail "the archive was made"
}

check_missing_archive_setting() { # PROGRAM
    run env -u SCRIBE_ARCHIVE "$1" -d postgres
    assert_error 2 "$1" "archive"
    [[ "$output" == *SCRIBE_ARCHIVE* ]] || fail "the hint does not name SCRIBE_ARCHIVE: $output"
}

check_missing_archive() { # PROGRAM
    SCRIBE_ARCHIVE="$BATS_TEST_TMPDIR/absent" run "$1" -d "${2-postgres}"
    assert_error 2 "$1"
    [ ! -e "$BATS_TEST_TMPDIR/absent" ] || fail "the archive was made"
}

# Whatever the order in which it looks at things, an unreachable server is "try again later".
check_server_away() { # PROGRAM
    SCRIBE_ARCHIVE="$BATS_TEST_TMPDIR/archive" run "$1" -d postgres -h "$BATS_TEST_TMPDIR"
    assert_error 75 "$1"
}
