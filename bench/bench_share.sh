#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# 'oriel bench' on a directory of its own, with the window and without it:
#   bench_share.sh ORIEL [SECONDS]
set -eu
oriel=$1
seconds=${2:-15}
dir=$(mktemp -d "${ORIEL_BENCH_DIR:-/var/tmp}/oriel-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
for dax in auto never; do
	echo "--dax=$dax"
	"$oriel" bench --time="$seconds" --dax=$dax "$dir"
	echo
done
