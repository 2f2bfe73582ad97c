#!/bin/sh
# The same bits on aarch64: builds `farm` for it, renders every scene of
# `scenes/` under qemu and on this processor, and compares the pixels' digests.
#
# usage: arm.sh [SIZE [SPP]]
set -eu

size=${1:-64x64}
spp=${2:-4}
target=aarch64-unknown-linux-gnu
cross=aarch64-linux-gnu
qemu="qemu-aarch64-static -L /usr/$cross"

if ! command -v $cross-gcc >/dev/null || ! command -v qemu-aarch64-static >/dev/null; then
    packages="gcc-$cross libc6-dev-arm64-cross qemu-user-static"
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        printf 'error: a compiler for aarch64 and qemu are needed\n' >&2
        printf 'hint: on Debian and Ubuntu: apt-get install %s\n' "$packages" >&2
        exit 1
    fi
    # shellcheck disable=SC2086
    apt-get install -y -qq $packages
fi
rustup target add $target

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$cross-gcc
export CC_aarch64_unknown_linux_gnu=$cross-gcc
"${CARGO:-cargo}" build --release --locked --bin farm
"${CARGO:-cargo}" build --release --locked --bin farm --target $target

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# The digest of the pixels and the numeric class of what `farm` is run by.
render() {
    "$@" render "$scene" --env scenes/sky.hdr --size "$size" --spp "$spp" --adapter cpu --no-cache \
        -o "$work/out.exr" --quiet --json |
        tr ',{}' '\n' | sed -n 's/^ *"\(pixel_digest\|numeric_class\)": *"\(.*\)".*/\2/p' | sort -u | tr '\n' ' '
}

differing=0
for scene in scenes/*.glb; do
    here=$(render target/release/farm)
    # shellcheck disable=SC2086
    there=$(render $qemu target/$target/release/farm)
    if [ -z "$here" ] || [ -z "$there" ]; then
        verdict='NOT RENDERED'
    elif [ "$here" = "$there" ]; then
        verdict=equal
    else
        verdict=DIFFERENT
    fi
    [ "$verdict" = equal ] || differing=1
    printf '%-28s %s\n' "$(basename "$scene")" "$verdict"
done
exit $differing
