# What the launchers in bin/ share: find the Python environment and become the program.
# shellcheck shell=sh

# run_program LAUNCHER ARGUMENTS...: LAUNCHER is the resolved path of bin/scribe-NAME; the environment stands beside bin/ and lib/.
run_program() {
    program=${1##*/scribe-}
    root=${1%/bin/*}
    shift
    python=$root/.venv/bin/python
    if ! [ -x "$python" ] || ! [ -e "$root/.venv/runtime.stamp" ]; then
        echo "scribe-$program: error: could not find the Python environment \"$root/.venv\"" >&2
        echo "scribe-$program: hint: Run \"make build\" in \"$root\" first." >&2
        exit 2
    fi
    # A library that another user owns stays as it is: no compiled files of ours in it.
    [ -w "$root/lib/scribe" ] || export PYTHONDONTWRITEBYTECODE=1
    PYTHONPATH=$root/lib exec "$python" -P -m "scribe.programs.$(module_name "$program")" "$@"
}

# The module of a program; "globals" gets an underscore because it is a built-in function of Python.
module_name() {
    case $1 in
        globals) echo globals_ ;;
        *) echo "$1" ;;
    esac
}
