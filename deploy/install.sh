#!/bin/sh
# Makes the virtual environment, and installs what a bare Debian or Ubuntu lacks for it. Called by `make install`.
set -eu
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}

say() { printf 'lastspan: %s\n' "$*" >&2; }

command -v "$PYTHON" >/dev/null 2>&1 || { say "$PYTHON is not here; install it first (Debian: apt-get install python3)"; exit 1; }
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { say "$PYTHON is $("$PYTHON" -V 2>&1); 3.10 or newer is needed (make PYTHON=python3.12 …)"; exit 1; }

# A bare Debian has python3 without venv: install it where we may.
if ! "$PYTHON" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    if command -v apt-get >/dev/null 2>&1; then
        sudo=""
        [ "$(id -u)" = 0 ] || sudo=$(command -v sudo || true)
        [ "$(id -u)" = 0 ] || [ -n "$sudo" ] || { say "python3-venv is missing: run 'apt-get install python3-venv' as root"; exit 1; }
        say "installing python3-venv"
        $sudo apt-get update -qq
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
    else
        say "this Python has no venv module; install it with your system's package manager"
        exit 1
    fi
fi

say "making $VENV (a minute or two)"
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
"$VENV/bin/python" -m pip install -q --disable-pip-version-check "pip>=25.1"
"$VENV/bin/python" -m pip install -q --disable-pip-version-check -e '.[all]' --group dev
# Without its dependencies: kerberos would want a compiler, and nothing here uses it.
"$VENV/bin/python" -m pip install -q --disable-pip-version-check --no-deps 'grafana-dashboard-builder==0.10.0a3'
say "ready: $VENV"
