#!/bin/sh
# Pythons that this machine has not, from Debian sid, in a folder of their own. Called by `make pythons`.
#   sid.sh add FOLDER VERSION…       make the folder, if it is not there; install these Pythons in it
#   sid.sh run FOLDER TREE CMD…      run a command there, in TREE, which is visible as FOLDER's parent folder is
# Nothing of it is left mounted, and nothing outside of the folder is changed (but for the package debootstrap).
set -eu

say() { printf 'lastspan: %s\n' "$*" >&2; }
give_up() { say "no Python from Debian sid: $*"; exit 3; }

what=$1 folder=$2
shift 2
[ "$(id -u)" = 0 ] || give_up "not root"
unshare --mount true 2>/dev/null || give_up "no mounts of one's own are allowed here"

inside() {  # FOLDER TREE CMD…
    exec unshare --mount --propagation private sh -eu -c '
        folder=$1 tree=$2 cache=${1%/*}
        shift 2
        mount -t proc proc "$folder/proc"
        mount -t sysfs sysfs "$folder/sys"
        mkdir -p "$folder/dev/pts" "$folder/dev/shm"
        mount -t devpts devpts "$folder/dev/pts"
        mount -t tmpfs tmpfs "$folder/dev/shm"
        [ "$tree" = / ] || for one in "$tree" "$cache/environments" "${PIP_CACHE_DIR:-$HOME/.cache/pip}"; do
            mkdir -p "$one" "$folder$one"
            mount --bind "$one" "$folder$one"
        done
        exec chroot "$folder" sh -eu -c "cd \"\$0\" && exec \"\$@\"" "$tree" "$@"' inside "$@"
}

if [ "$what" = run ]; then
    inside "$folder" "$@"
fi

mkdir -p "${folder%/*}"
exec 9>"$folder.lock"
flock 9  # another checkout may be at it
if [ ! -e "$folder/.made" ]; then
    command -v debootstrap >/dev/null 2>&1 ||
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap >/dev/null 2>&1 ||
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap; } >/dev/null 2>&1 ||
        give_up "debootstrap cannot be installed"
    # The mirror that this machine's own apt uses.
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -oE '(https?|file)://[^ ]+/debian/?( |$)' | head -n 1 | tr -d ' ')
    [ -n "$mirror" ] || give_up "this machine's apt knows no mirror of Debian"
    say "making $folder (half a minute)"
    rm -rf --one-file-system "$folder"
    mkdir -p "$folder"
    unshare --mount --propagation private debootstrap --variant=minbase --include=ca-certificates sid "$folder" "$mirror" >"$folder.log" 2>&1 ||
        give_up "$(tail -n 1 "$folder.log")"
    for one in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
        [ ! -e "$one" ] || cp -L "$one" "$folder$one"
    done
    grep -ls '^Acquire' /etc/apt/apt.conf.d/* | grep -v docker | xargs -r cp -t "$folder/etc/apt/apt.conf.d"
    touch "$folder/.made"
fi

packages=""
for version in "$@"; do
    [ -x "$folder/usr/bin/python$version" ] || packages="$packages python$version-venv"
done
[ -n "$packages" ] || exit 0
say "installing$packages"
(
    # shellcheck disable=SC2086
    inside "$folder" / env DEBIAN_FRONTEND=noninteractive sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"' sh $packages
) >"$folder.log" 2>&1 || give_up "$(tail -n 1 "$folder.log")"
