#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# What 'make install' leaves is complete: a program is built against it with
# nothing but pkg-config, and overwrites a part of a file through the window.
#
#   check_install.sh BUILD SOURCE
set -eu
build=$1
source=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
meson install -C "$build" --no-rebuild --quiet --destdir "$tmp/root"

pc=$(find "$tmp/root" -name oriel.pc)
[ -n "$pc" ] || { echo "no oriel.pc"; exit 1; }
export PKG_CONFIG_SYSROOT_DIR="$tmp/root" PKG_CONFIG_PATH="${pc%/*}"
# shellcheck disable=SC2046 # the flags are words
cc "$source/examples/patch.c" -o "$tmp/patch" \
	$(pkg-config --cflags --libs oriel)

lib=$(find "$tmp/root" -name 'liboriel.so.0')
orield=$(find "$tmp/root" -name orield)
export LD_LIBRARY_PATH="${lib%/*}" ORIEL_DAEMON="$orield"
mkdir "$tmp/share"
head -c 300000 /dev/urandom >"$tmp/share/file"
cp "$tmp/share/file" "$tmp/want"
printf 'installed' | dd of="$tmp/want" bs=1 seek=123456 conv=notrunc status=none
printf 'installed' | "$tmp/patch" "$tmp/share" file 123456 >"$tmp/said"
cat "$tmp/said"
cmp "$tmp/share/file" "$tmp/want"
grep -q '^9 bytes through the window, 0 by message' "$tmp/said"
