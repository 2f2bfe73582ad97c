#!/bin/sh
# Runs the fuzz targets of fuzz/ one after the other. Finds go to
# fuzz/artifacts/TARGET, the corpus grows in fuzz/corpus/TARGET.
#
# usage: fuzz.sh [SECONDS [TARGET...]]     SECONDS of each, 60 unless told
#        fuzz.sh seeds                     make fuzz/seeds anew from the tests
set -eu
cd "$(dirname "$0")/.."

if ! cargo fuzz --version >/dev/null 2>&1; then
    printf 'error: cargo-fuzz is needed\n' >&2
    printf 'hint: cargo install cargo-fuzz --locked, and rustup toolchain install nightly\n' >&2
    exit 1
fi

targets='load unpack message record join ticket tile'

# One input may take 512 MB at once, 1 GB in all and 10 seconds: the limits of
# fuzz/src/lib.rs keep what loads far below, and a bomb is above.
bounds='-rss_limit_mb=1024 -malloc_limit_mb=512 -timeout=10 -max_len=65536'
export LSAN_OPTIONS="suppressions=$PWD/fuzz/leaks.supp"

if [ "${1:-}" = seeds ]; then
    written=$(mktemp -d)
    trap 'rm -rf "$written"' EXIT
    trap 'exit 130' INT TERM
    TESSERA_FUZZ_SEEDS=$written "${CARGO:-cargo}" test --locked -p farm-scene -p farm-wire --lib
    for target in $targets; do
        mkdir -p "fuzz/seeds/$target"
        rm -f "fuzz/seeds/$target"/*
        # shellcheck disable=SC2086
        cargo +nightly fuzz run "$target" "fuzz/seeds/$target" "$written/$target" -- -merge=1 $bounds
    done
    exit
fi

seconds=${1:-60}
[ $# -eq 0 ] || shift
for target in ${*:-$targets}; do
    mkdir -p "fuzz/corpus/$target"
    dictionary=
    [ ! -e "fuzz/$target.dict" ] || dictionary=-dict=fuzz/$target.dict
    # shellcheck disable=SC2086
    cargo +nightly fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        $bounds $dictionary -max_total_time="$seconds" -print_final_stats=1
done
