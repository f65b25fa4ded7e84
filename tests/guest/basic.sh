#!/bin/busybox sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Use the share, which is where we are, as programs do, and say what was seen:
# "@sum NAME SHA256", "@count NAME N", and at the end "@ok" or "@fail STEP".
step=start
try()
{
	step="$*"
	"$@" || { echo "@fail $step"; exit 1; }
}

# Each with the status of what it prints.
sum() { s=$(sha256sum "$1") || return 1; echo "@sum $1 ${s%% *}"; }
count() { n=$(ls -A "$1") || return 1; echo "@count $1 $(echo "$n" | wc -l)"; }
append() { echo "$2" >>"$1"; }
refuses() { ! "$@" 2>/dev/null; }
same() { [ "$1" = "$2" ]; }

# Reading.
try sum in/big
try sum in/odd
try sum in/empty
try count in/many
try sum in/many/0499
try grep -q marker in/text
try refuses cat in/missing
try same "$(readlink in/link)" text
try grep -q marker in/link
try df .

# Writing: whole, appended, overwritten in the middle, cut, extended.
try mkdir out
try cp in/big out/copy
try sum out/copy
try append out/log one
try append out/log two
try append out/log three
try cp in/odd out/patched
try dd if=in/text of=out/patched bs=1 seek=4090 conv=notrunc 2>/dev/null
try cp in/big out/cut
try truncate -s 12345 out/cut
try truncate -s 20000 out/cut
try dd if=/dev/zero of=out/sparse bs=1 count=1 seek=3000000 2>/dev/null
try chmod 751 out/cut

# Names.
try mkdir out/dir
try mv out/log out/dir/moved
try refuses cat out/log
try ln out/dir/moved out/hard
try ln -s dir/moved out/soft
try grep -q three out/soft
try cp in/text out/gone
try rm out/gone
try refuses rmdir out/dir
try mkdir out/dir2
try rmdir out/dir2
i=0
while [ $i -lt 200 ]; do
	: >"out/dir/f$i" || exit 1
	i=$((i + 1))
done
try count out/dir
i=0
while [ $i -lt 100 ]; do
	rm "out/dir/f$i" || exit 1
	i=$((i + 1))
done
try count out/dir

# Two at once.
cat in/big >out/par1 & one=$!
cat in/big >out/par2 & two=$!
try wait $one
try wait $two
try sync

echo "@ok"
