#!/bin/sh
# Makes what the comparisons with other renderers need, under target/peers:
#   venv       Mitsuba and Blender (Cycles) as Python packages, pinned
#   llvm-path  the LLVM library that Mitsuba's llvm variants work with here
# Run again at will: what is there already is kept. Nothing is installed
# outside the folder, and no root is needed.
#
# usage: setup.sh
#   PYTHON=python3.11              the interpreter, where it is not found by itself
#   DRJIT_LIBLLVM_PATH=libLLVM.so  the LLVM library, likewise
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
out=$root/target/peers
venv=$out/venv

say() { printf '%s\n' "setup: $*" >&2; }

# bpy's wheels are built for one version of Python; a launcher of that name may
# be there and yet start nothing, so it is asked.
is_python_311() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-} python3.11 python3 /usr/bin/python3.11; do
        if is_python_311 "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

make_venv() {
    if python=$(find_python); then
        say "making $venv with $python"
        "$python" -m venv "$venv"
    elif command -v uv >/dev/null 2>&1; then
        say "making $venv with uv, which fetches Python 3.11 where it is not there"
        uv venv --quiet --seed --python 3.11 "$venv"
    else
        say 'error: Python 3.11 with its venv module was not found; bpy 5.0.1 runs on no other'
        say 'hint: apt-get install python3.11-venv (Debian 12), or install uv, or set PYTHON'
        exit 1
    fi
}

# Whether Mitsuba renders with this LLVM. Old ones load and then abort: Debian's
# 15 and 16 cannot select an instruction that Dr.Jit emits, 19 and 22 can.
llvm_works() {
    DRJIT_LIBLLVM_PATH=$1 "$venv/bin/python" "$here/probe_llvm.py" >/dev/null 2>&1
}

llvm_candidates() {
    [ -n "${DRJIT_LIBLLVM_PATH:-}" ] && printf '%s\n' "$DRJIT_LIBLLVM_PATH"
    for version in 22 21 20 19 18 17; do
        for folder in "$out/llvm/usr/lib"/* /usr/lib/*-linux-gnu /usr/lib64 /usr/lib \
            "/usr/lib/llvm-$version/lib" "/usr/lib/llvm/$version/lib64" \
            "/opt/homebrew/opt/llvm@$version/lib"; do
            for name in "libLLVM.so.$version.1" "libLLVM-$version.so.1" "libLLVM-$version.so" \
                libLLVM.dylib; do
                [ -e "$folder/$name" ] && printf '%s\n' "$folder/$name"
            done
        done
    done
    return 0
}

# A loop over words: a path with a blank in it is not found, and the hint below
# then says how to name it.
find_llvm() {
    for candidate in $(llvm_candidates); do
        if llvm_works "$candidate"; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    return 1
}

# Debian's package, unpacked beside the virtual environment instead of installed.
unpack_llvm() {
    command -v apt-get >/dev/null 2>&1 && command -v dpkg >/dev/null 2>&1 || return 1
    mkdir -p "$out/llvm"
    for package in libllvm19 libllvm22 libllvm20 libllvm18; do
        say "fetching $package and unpacking it in $out/llvm"
        if (cd "$out/llvm" && apt-get download -qq "$package" >/dev/null 2>&1); then
            dpkg -x "$out/llvm/$package"_*.deb "$out/llvm"
            rm -f "$out/llvm/$package"_*.deb
            find_llvm >/dev/null && return 0
        fi
    done
    return 1
}

mkdir -p "$out"
[ -x "$venv/bin/python" ] || make_venv
say 'installing mitsuba, bpy and matplotlib (about 1.3 GB)'
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"

if llvm=$(find_llvm) || { unpack_llvm && llvm=$(find_llvm); }; then
    printf '%s\n' "$llvm" >"$out/llvm-path"
    say "Mitsuba renders with $llvm"
else
    rm -f "$out/llvm-path"
    say 'warning: no LLVM was found that Mitsuba works with; its llvm variants will be left out'
    say 'hint: install LLVM 19 (Debian, Ubuntu: libllvm19; Fedora: llvm19-libs),'
    say '      or set DRJIT_LIBLLVM_PATH to its libLLVM.so, and run this again'
fi
"$venv/bin/python" -c 'import bpy' || { say 'error: bpy does not start'; exit 1; }
say "done: $venv/bin/python tests/peers/speed/compare.py --help"
