#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Instructions of one hit in the window, as one JSON line a case:
#
#	instructions.sh PATH/TO/oriel-bench-hits
#
# Two runs that differ only in the number of hits are subtracted, so start and
# end do not count; the copy itself does. By 'perf stat' where the processor's
# counters are to be had, else by callgrind, whose processor has no AVX-512.
set -eu
hits=$1
few=20000
many=120000

by_perf()
{
	LC_ALL=C perf stat -x, -e instructions:u "$@" 2>&1 >/dev/null |
		awk -F, '/instructions/ { print $1; exit }'
}
by_callgrind()
{
	valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" 2>&1 |
		awk '/Collected/ { print $NF; n++ } END { exit !n }'
}

case $(by_perf true 2>/dev/null) in
[0-9]*) count=by_perf ;;
*)
	if ! command -v valgrind >/dev/null; then
		echo "instructions.sh: neither perf counters nor valgrind" >&2
		exit 77
	fi
	count=by_callgrind
	;;
esac

"$hits" read 64 1 # does it work at all?
for op in read write; do
	for bytes in 64 4096; do
		a=$($count "$hits" $op $bytes $few)
		b=$($count "$hits" $op $bytes $many)
		n=$((many - few))
		per_op=$(awk "BEGIN { printf \"%.1f\", ($b - $a) / $n }")
		printf '{"case": "%s-hit", "bytes": %d, ' $op $bytes
		printf '"instructions": %s, "by": "%s"}\n' "$per_op" \
			"${count#by_}"
	done
done
