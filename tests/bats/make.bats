# The make targets a person starts with, and installation below a prefix.

setup() {
    load helpers
    root=$(dirname "$(dirname "$BATS_TEST_DIRNAME")")
    unset MAKEFLAGS MFLAGS MAKELEVEL
}

@test "make alone prints every documented target with one line" {
    run make -C "$root"
    [ "$status" -eq 0 ] || fail "$output"
    for target in demo check check-quick lint build install-decoder install uninstall bench check-versions dist clean; do
        grep -Eq "^  make $target +[a-z0-9]" <<<"$output" || fail "no line for $target: $output"
    done
}

@test "make check-versions without PG_CONFIGS says what is missing" {
    run make -C "$root" check-versions PG_CONFIGS=
    [ "$status" -ne 0 ]
    [[ "$output" == *"error: PG_CONFIGS is not set"* && "$output" == *"hint: Run "* ]] || fail "$output"
}

@test "make build for a pg_config that is not there says which one" {
    run make -C "$root" build PG_CONFIG=/nonexistent/pg_config
    [ "$status" -ne 0 ]
    [[ "$output" == *'error: could not run "/nonexistent/pg_config"'* ]] || fail "$output"
}

@test "make build install-decoder a second time changes nothing" {
    libraries=$("$PG_CONFIG" --pkglibdir)
    before=$(cd "$libraries" && stat -c '%i %Y' scribe_decoder.so scribe_capture.so)
    run make -C "$root" build install-decoder PG_CONFIG="$PG_CONFIG"
    [ "$status" -eq 0 ] || fail "$output"
    [ "$(cd "$libraries" && stat -c '%i %Y' scribe_decoder.so scribe_capture.so)" = "$before" ]
}

