#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The public header compiles alone, without a warning, in each dialect that a
# user may have:  check_header.sh INCLUDE_DIR
set -eu
dir=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
# Twice, for the guard; and a use, so that the types must be complete.
cat >"$tmp/use.c" <<'END'
#include <oriel/oriel.h>
#include <oriel/oriel.h>
int use(void);
int use(void)
{
	struct oriel_options opts;
	struct oriel_info info;
	struct oriel_stat st;
	struct oriel_session *s = 0;

	opts.size = sizeof(opts);
	info.size = sizeof(info);
	return oriel_connect("share", &opts, &s) ||
	       oriel_info(s, &info) || oriel_stat(s, "x", 0, &st);
}
END
cp "$tmp/use.c" "$tmp/use.cc"
failed=0
try()
{
	if "$@" -Wall -Wextra -Werror -pedantic-errors -fsyntax-only \
		-I "$dir"; then
		echo "ok: $*"
	else
		echo "FAILED: $*"
		failed=1
	fi
}
for cc in gcc clang; do
	command -v $cc >/dev/null || continue
	# ISO C99 has no struct timespec: who asks for it alone must ask for
	# POSIX as well.
	try $cc -std=c99 -D_POSIX_C_SOURCE=200809L "$tmp/use.c"
	for std in gnu99 c11 gnu17; do
		try $cc -std=$std "$tmp/use.c"
	done
done
for cxx in g++ clang++; do
	command -v $cxx >/dev/null || continue
	for std in c++11 c++20; do
		try $cxx -std=$std "$tmp/use.cc"
	done
done
command -v g++ >/dev/null || command -v clang++ >/dev/null || {
	echo "no C++ compiler"
	[ $failed = 1 ] || exit 77
}
exit $failed
