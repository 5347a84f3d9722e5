#!/usr/bin/env bash
# What `make demo` and `make test` do: set up once (a stamp remembers), then run.
set -euo pipefail
cd "$(dirname "$0")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
venv=.venv
rust_minimum=1.88

say() { printf 'unflux: %s\n' "$*" >&2; }

# Install Debian packages where we may, else say in one sentence what is needed.
packages() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "please install: $* (for Debian: sudo apt-get install $*)"
        return 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -o DPkg::Lock::Timeout=300 update -qq
    apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "$@" >/dev/null
}

need_python() {
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
        || packages python3 || exit 1
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages python3-venv || exit 1
}

rust_is_enough() {
    command -v cargo >/dev/null && command -v rustc >/dev/null || return 1
    [ "$(printf '%s\n' "$rust_minimum" "$(rustc --version | cut -d' ' -f2)" | sort -V | head -n1)" = "$rust_minimum" ]
}

need_rust() {
    command -v cc >/dev/null || packages gcc libc6-dev || exit 1
    rust_is_enough || {
        say "Rust $rust_minimum or newer is needed to build the core: see https://rustup.rs"
        exit 1
    }
}

# Make .venv with unflux and the extra's packages, unless that is done for this source.
install_unflux() {
    local extra=$1 stamp=$venv/.unflux-$1 key
    key=$(find pyproject.toml build_backend rust src web -type f -not -path '*/target/*' \
        -not -path '*/data/*' -not -name '*.so' -not -path '*/__pycache__/*' \
        -not -path '*/node_modules/*' -not -path '*/web/ui/*' -print0 \
        | sort -z | xargs -0 sha256sum | sha256sum)
    [ "$(cat "$stamp" 2>/dev/null)" = "$key" ] && return
    need_python
    need_rust
    [ -x $venv/bin/python ] || python3 -m venv $venv
    say "building and installing (the first time takes some minutes)"
    rm -rf $venv/wheels
    $venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir $venv/wheels .
    local wheel=($venv/wheels/unflux-*.whl) pins=()
    [ "$extra" = test ] && pins=(-c tools/constraints.txt)
    $venv/bin/python -m pip install --quiet --force-reinstall --no-deps "${wheel[0]}"
    $venv/bin/python -m pip install --quiet "${pins[@]}" "${wheel[0]}[$extra]"
    printf '%s' "$key" >"$stamp"
}

demo() {
    install_unflux demo
    if [ -n "${1:-}" ]; then
        exec $venv/bin/unflux scan "$1"
    fi
    $venv/bin/python examples/make_example.py
    say "scanning examples/out/flux-example.pcap"
    exec $venv/bin/unflux scan examples/out/flux-example.pcap \
        --asn-db examples/out/asn.mmdb --country-db examples/out/country.mmdb
}

# Peers that tests compare with and talk to; tests of those that are absent are skipped.
peers="tshark chromium postgresql unbound bind9 bind9-dnsutils knot-resolver lua-cqueues pdns-recursor
    dnsdist curl iproute2 openssl"

tests() {
    local missing=()
    for peer in $peers; do
        dpkg -s "$peer" >/dev/null 2>&1 || missing+=("$peer")
    done
    [ ${#missing[@]} = 0 ] || packages "${missing[@]}" || say "tests that need them are skipped"
    # PySpark is half a gigabyte: only where there is a Java that it could run on.
    install_unflux "$(command -v java >/dev/null && echo test,spark || echo test)"
    $venv/bin/ruff check .
    $venv/bin/ruff format --check .
    $venv/bin/mypy
    (cd rust && cargo fmt --check && cargo clippy --quiet --workspace --all-targets -- -D warnings \
        && cargo test --quiet -p unflux-core -p unflux-live)
    if command -v c++ >/dev/null || packages g++; then
        tools/fuzz.sh 12
    fi
    exec $venv/bin/python -m pytest
}

case "${1:-}" in
    demo) demo "${2:-}" ;;
    test) tests ;;
    *) say "usage: tools/run.sh demo [FILE] | test"; exit 2 ;;
esac
