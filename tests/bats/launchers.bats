# What all launchers in bin/ share.

setup() {
    load helpers
    root=$(dirname "$(dirname "$BATS_TEST_DIRNAME")")
}

@test "a launcher works through a symbolic link from any directory" {
    ln -s "$root/bin/scribe-init" "$BATS_TEST_TMPDIR/backup-init"
    cd "$BATS_TEST_TMPDIR"
    run ./backup-init --version
    [ "$status" -eq 0 ] || fail "$output"
}

@test "a launcher without its environment says how to build it" {
    cp -R "$root/bin" "$root/lib" "$BATS_TEST_TMPDIR"
    run "$BATS_TEST_TMPDIR/bin/scribe-init" --help
    assert_error 2 scribe-init "Python environment"
}

@test "a launcher is not led astray by modules in the current directory or by PYTHONPATH" {
    echo 'raise SystemExit("wrong module")' >"$BATS_TEST_TMPDIR/argparse.py"
    mkdir "$BATS_TEST_TMPDIR/scribe"
    cd "$BATS_TEST_TMPDIR"
    PYTHONPATH=$BATS_TEST_TMPDIR run scribe-init --version
    [ "$status" -eq 0 ] || fail "$output"
}

@test "nothing that lies in the current directory is run, though PATH names it" {
    cd "$BATS_TEST_TMPDIR"
    for name in readlink dirname; do
        printf '#!/bin/sh\ntouch "%s/hit"\n' "$BATS_TEST_TMPDIR" >$name
        chmod +x $name
    done
    for path in ":$PATH" ".:$PATH" "../${PWD##*/}:$PATH"; do
        PATH=$path run "$root/bin/scribe-init" --version
        [ "$status" -eq 0 ] || fail "$output"
    done
    ! [ -e hit ] || fail "something was run"
}

@test "another user can run the programs from the tree" {
    [ "$(id -u)" -eq 0 ] || skip "not root: only root can become another user"
    other=(setpriv --reuid nobody --regid nogroup --clear-groups)
    "${other[@]}" test -r "$root/Makefile" || skip "place: the checkout is in a directory closed to other users"
    run "${other[@]}" "$root/bin/scribe-init" --version
    [ "$status" -eq 0 ] || fail "$output"
}
