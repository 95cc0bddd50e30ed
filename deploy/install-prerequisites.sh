#!/bin/sh
# What pip can't install: Python's venv, a Java runtime and Maven for the embedded Kafka, PostgreSQL's server programs.
# `install-prerequisites.sh bench` wants Node.js and npm, too, for a peer that the benchmarks run beside us.
# Silent when all are there. What is missing is installed as root on Debian or Ubuntu, and otherwise named, with what to run.
set -eu

python_311() { python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }
java_17() { "${JAVA_HOME:+$JAVA_HOME/bin/}java" -version 2>&1 | grep -Eq 'version "(1[7-9]|[2-9][0-9])'; }
maven() { command -v mvn >/dev/null; }
certificates() { [ -e /etc/ssl/certs/ca-certificates.crt ] || ! command -v apt-get >/dev/null; }
node_18() { node --version 2>/dev/null | grep -Eq '^v(1[89]|[2-9][0-9])'; }
npm_there() { command -v npm >/dev/null; }

postgresql_15() {
    for server in "$(command -v postgres)" /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres \
        /opt/homebrew/opt/postgresql@*/bin/postgres "$(pg_config --bindir 2>/dev/null)/postgres"; do
        [ -x "$server" ] && "$server" --version | grep -Eq ' (1[5-9]|[2-9][0-9])[.a-z]' && return
    done
    return 1
}

need() { # WHAT PACKAGE
    missing="${missing:+$missing, }$1"
    packages="${packages:+$packages }$2"
}

look() {
    missing='' packages=''
    python_311 || need 'Python 3.11 or newer' python3
    venv || need "Python's venv" python3-venv
    java_17 || need 'Java 17 or newer' default-jre-headless
    maven || need 'Maven' maven
    postgresql_15 || need "PostgreSQL's server 15 or newer" postgresql
    certificates || need 'CA certificates' ca-certificates
    [ "$purpose" = bench ] || return 0
    node_18 || need 'Node.js 18 or newer' nodejs
    npm_there || need npm npm
}

give_up() {
    echo "mediamirror needs: $missing. $1" >&2
    exit 1
}

purpose=${1:-}
look
[ -n "$missing" ] || exit 0

install="apt-get install --no-install-recommends $packages"
command -v apt-get >/dev/null || give_up "Please install it (Debian's packages are called: $packages)."
[ "$(id -u)" = 0 ] || give_up "Please run: sudo $install"

echo "installing $missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
{ apt-get update && $install --yes; } </dev/null >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    give_up "This failed: $install"
}
look
[ -z "$missing" ] || give_up "This system's packages are too old for that: $packages"
