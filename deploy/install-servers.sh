#!/bin/sh
# Installs the servers that the tests run against: PostgreSQL, PgBouncer, Redis, MariaDB, Prometheus, Alertmanager;
# the browser, Chromium; and systemd's checker of units. Called by `make test`. `rabbitmq` as its argument: RabbitMQ too.
# Only what is missing, as Debian packages, and never as a service: nothing is started now or at the next boot.
# The tests start them themselves, each with its own data directory and port (tests/servers.py).
set -eu
POLICY=/usr/sbin/policy-rc.d
CLUSTERS=/etc/postgresql-common/createcluster.d

say() { printf 'lastspan: %s\n' "$*" >&2; }

# What cannot be installed is no reason to run no tests at all: those that need it are skipped, and say so. Not in CI.
give_up() {
    say "$* (the tests that need it are skipped)"
    [ -z "${CI:-}" ] || exit 1
    exit 0
}

here() {
    command -v "$1" >/dev/null 2>&1 && return
    for folder in /usr/lib/postgresql/*/bin /usr/sbin /usr/local/sbin; do
        [ ! -x "$folder/$1" ] || return 0
    done
    return 1
}

packages="" services=""
here postgres || packages="$packages postgresql"
here mariadbd || packages="$packages mariadb-server-core"  # the programs alone: no service
here my_print_defaults || packages="$packages mariadb-client-core"  # mariadb-install-db calls it
here redis-server || { packages="$packages redis-server"; services="$services redis-server"; }
here pgbouncer || { packages="$packages pgbouncer"; services="$services pgbouncer"; }
here prometheus || { packages="$packages prometheus"; services="$services prometheus"; }
here prometheus-alertmanager || { packages="$packages prometheus-alertmanager"; services="$services prometheus-alertmanager"; }
here systemd-analyze || packages="$packages systemd"  # checks the unit
here chromium || packages="$packages chromium"  # looks at the collector's pages, without a screen
case " $* " in *" rabbitmq "*)
    here rabbitmq-server || { packages="$packages rabbitmq-server"; services="$services rabbitmq-server"; } ;;
esac
[ -n "$packages" ] || exit 0

command -v apt-get >/dev/null 2>&1 || give_up "no apt-get here; install by hand:$packages"
sudo=""
if [ "$(id -u)" != 0 ]; then
    sudo=$(command -v sudo) || give_up "not root, and no sudo; install as root:$packages"
    $sudo -n true 2>/dev/null || [ -t 0 ] || give_up "sudo asks for a password; install as root:$packages"
fi

as_root() { $sudo env DEBIAN_FRONTEND=noninteractive "$@"; }

# Keeps a package's own scripts from starting anything, for this installation only.
made_policy="" made_clusters=""
undo() {
    [ -z "$made_policy" ] || as_root rm -f "$POLICY"
    [ -z "$made_clusters" ] || as_root rm -f "$CLUSTERS/lastspan-tests.conf"
}
trap undo EXIT
trap 'exit 130' INT TERM
if [ ! -e "$POLICY" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
    made_policy=yes
    as_root chmod 755 "$POLICY"
fi

install() { as_root apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1; }
log=$(mktemp)

say "installing$packages"
as_root apt-get update -qq >"$log" 2>&1 || say "apt-get update: $(tail -n 1 "$log")"
case "$packages" in *postgresql*)
    # Its settings are read when PostgreSQL itself is installed: make no cluster.
    if install postgresql-common && [ ! -e "$CLUSTERS/lastspan-tests.conf" ]; then
        as_root mkdir -p "$CLUSTERS"
        echo 'create_main_cluster = false' | as_root tee "$CLUSTERS/lastspan-tests.conf" >/dev/null
        made_clusters=yes
    fi ;;
esac
for package in $packages; do
    install "$package" || { tail -n 5 "$log" >&2; rm -f "$log"; give_up "$package cannot be installed"; }
done
rm -f "$log"
for service in $services; do  # installed just now, by us: not at boot either
    as_root DPKG_MAINTSCRIPT_PACKAGE="$service" deb-systemd-helper disable "$service.service" >/dev/null 2>&1 || true
done
