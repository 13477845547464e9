#!/bin/sh
# Install what pg_scribe needs to be built and tested: PostgreSQL with its server headers, a C compiler, Python, bats, shellcheck, zstd.
#
# Usage: tools/install-dependencies.sh [python | check]
#
# python: only what is needed to make the Python environment. check: systemd-analyze, mandoc, age, rclone and restic, too, where
# packages can be installed; tests that want them are skipped elsewhere. No service is started.
# Debian and its relatives only. Installs what is missing and nothing else; when nothing is missing it does not call apt-get
# and needs no privileges. Never creates or starts a PostgreSQL cluster. PG_CONFIG=/path/of/pg_config names a server that is
# already there, and then none is installed.
set -eu
umask 022

die() {
    echo "install-dependencies: error: $1" >&2
    [ -z "${2-}" ] || echo "install-dependencies: hint: $2" >&2
    exit 1
}

only=${1-}
case $only in
    '' | python | check) ;;
    *) die "unknown argument \"$only\"" "Run \"tools/install-dependencies.sh\" without arguments." ;;
esac

needs_server() {
    [ "$only" != python ] && [ -z "${PG_CONFIG-}" ]
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing_python() {
    [ -x /usr/bin/python3 ] || echo python3
    /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

# What is missing is judged by what the packages bring, where that can be seen, so that other origins count too.
missing_tools() {
    command -v gcc >/dev/null || echo gcc
    [ -e /usr/include/stdio.h ] || echo libc6-dev
    command -v bats >/dev/null || echo bats
    command -v shellcheck >/dev/null || echo shellcheck
    command -v zstd >/dev/null || echo zstd
    command -v git >/dev/null || echo git
    command -v setpriv >/dev/null || echo util-linux
    command -v flock >/dev/null || echo util-linux
}

missing_checkers() {
    [ "$only" = check ] && command -v apt-get >/dev/null && as_root true 2>/dev/null || return 0
    command -v systemd-analyze >/dev/null || echo systemd
    command -v mandoc >/dev/null || echo mandoc
    for tool in age rclone restic; do
        command -v "$tool" >/dev/null || echo "$tool"
    done
}

# The newest server that is installed, else the one the distribution's metapackage would bring.
server_version() {
    newest=$(find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -path '*/bin/postgres' 2>/dev/null |
        sed 's|^/usr/lib/postgresql/\([0-9]*\)/bin/postgres$|\1|' | sort -n | tail -n 1)
    [ -n "$newest" ] ||
        newest=$(apt-cache depends postgresql 2>/dev/null | sed -n 's/^ *Depends: postgresql-\([0-9][0-9]*\)$/\1/p' | tail -n 1)
    echo "$newest"
}

missing_server() {
    version=$(server_version)
    [ -n "$version" ] || return 0
    if ! installed "postgresql-server-dev-$version"; then
        # Server and headers together: a library is built for one minor version's headers, so both are brought to the same one.
        echo "postgresql-$version" "postgresql-server-dev-$version"
    elif ! [ -x "/usr/lib/postgresql/$version/bin/postgres" ]; then
        echo "postgresql-$version"
    fi
}

# Prints the packages to install, one per line.
missing() {
    missing_python
    [ "$only" != python ] || return 0
    missing_tools
    missing_checkers
    needs_server && missing_server
    return 0
}

# A fresh server package makes a cluster named main and starts it; nobody asked for one. Settings that are there are left alone.
settings=/etc/postgresql-common/createcluster.conf made_settings=
forbid_main_cluster() {
    if ! [ -e "$settings" ]; then
        as_root mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' | as_root tee "$settings" >/dev/null
        made_settings=yes
    fi
}

# The package has brought its own settings file by now or keeps ours; either way it ends as a fresh installation has it.
allow_main_cluster() {
    [ -n "$made_settings" ] || return 0
    as_root rm -f "$settings"
    ! [ -e /usr/share/postgresql-common/createcluster.conf ] ||
        as_root install -m 644 /usr/share/postgresql-common/createcluster.conf "$settings"
}

# While packages are being installed, no service may start (invoke-rc.d asks this file). What apt-get prints is shown only if it fails.
apt_install() {
    policy=/usr/sbin/policy-rc.d made_policy=
    if ! [ -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        made_policy=yes
    fi
    log=$(mktemp) status=0
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
        -o Dpkg::Options::=--force-confold --no-install-recommends install "$@" >"$log" 2>&1 || status=$?
    [ "$status" -eq 0 ] || cat "$log" >&2
    rm -f "$log"
    [ -z "$made_policy" ] || as_root rm -f "$policy"
    return "$status"
}

packages=$(missing | tr '\n' ' ')
if [ -z "${packages% }" ] && { ! needs_server || [ -n "$(server_version)" ]; }; then
    exit 0
fi

command -v apt-get >/dev/null ||
    die "could not install $packages: this system has no apt-get" "Install these with the system's own package manager."
[ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null ||
    die "could not install ${packages:-postgresql}: neither root nor sudo without a password" \
        "Run \"tools/install-dependencies.sh\" as root once."

echo "installing packages with apt-get, about a minute: ${packages:-postgresql}" >&2
forbid_main_cluster
trap allow_main_cluster EXIT
as_root apt-get -qq -o DPkg::Lock::Timeout=300 update || die "could not update the package lists" "Check /etc/apt/sources.list."
packages=$(missing | sort -u | tr '\n' ' ')     # again: only now is it known which server the distribution has
[ -n "${packages% }" ] || die "could not find a PostgreSQL server package" "Check /etc/apt/sources.list."
# shellcheck disable=SC2086 # a list of words
apt_install $packages || die "could not install $packages"
