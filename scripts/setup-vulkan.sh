#!/bin/sh
# Makes sure that a Vulkan driver is there; installs Mesa's software driver
# where none is found. Does nothing where one is found, or on macOS (Metal).
set -eu

say() { printf '%s\n' "setup: $*" >&2; }

[ "$(uname -s)" = Linux ] || exit 0

has_loader() {
    ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1' ||
        ls /usr/lib/libvulkan.so.1 /usr/lib/*/libvulkan.so.1 /usr/lib64/libvulkan.so.1 >/dev/null 2>&1
}

has_driver() {
    [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] && return 0
    for folder in /usr/share/vulkan/icd.d /usr/local/share/vulkan/icd.d /etc/vulkan/icd.d \
        "${XDG_DATA_HOME:-$HOME/.local/share}/vulkan/icd.d"; do
        for file in "$folder"/*.json; do
            [ -e "$file" ] && return 0
        done
    done
    return 1
}

if has_loader && has_driver; then
    exit 0
fi

say 'no Vulkan driver was found; a software one is needed to render on the CPU'
if ! command -v apt-get >/dev/null 2>&1; then
    say 'hint: install it with your package manager and run this again:'
    say '    Fedora      dnf install mesa-vulkan-drivers vulkan-loader'
    say '    Arch Linux  pacman -S vulkan-swrast vulkan-icd-loader'
    say '    Alpine      apk add mesa-vulkan-swrast vulkan-loader'
    say '    openSUSE    zypper install Mesa-vulkan-device-select libvulkan_lvp'
    exit 1
fi

as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        say 'hint: run as root: apt-get install mesa-vulkan-drivers'
        exit 1
    fi
    as_root=sudo
fi

say 'installing mesa-vulkan-drivers'
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
$as_root apt-get install -y -qq --no-install-recommends mesa-vulkan-drivers libvulkan1 >&2
has_loader && has_driver || { say 'mesa-vulkan-drivers was installed, but no driver is to be seen'; exit 1; }
say 'done'
