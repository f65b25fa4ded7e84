#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The command line against a daemon that is not ours and offers no window: the
# C virtiofsd of QEMU 7.2. It serves one client and ends, so each command has
# one of its own.
#
#   client_vs_qemu_virtiofsd.sh ORIEL data|names
#
# 'names' is what changes names: that daemon answers EIO to a request about a
# name which its client never looked up.
set -u
oriel=$1
part=$2
virtiofsd=/usr/lib/qemu/virtiofsd

if [ ! -x $virtiofsd ] || [ "$(id -u)" != 0 ]; then
	echo "SKIP: needs $virtiofsd and root"
	exit 77
fi
tmp=$(mktemp -d)
share=$tmp/share
socket=$tmp/socket
mkdir "$share"
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; rm -rf "$tmp"' EXIT

failed=0
fail()
{
	echo "FAILED: $*"
	failed=1
}

# Its file is there a little before somebody listens: flag 00010000.
is_listening()
{
	grep -q " 00010000 .* $socket\$" /proc/net/unix
}

# Run oriel with a fresh daemon behind the socket; its status is the result.
# The daemon has no part in a pipe that this is in, and one that misses SIGTERM
# because it is about to wait for a connection gets SIGKILL.
with()
{
	rm -f "$socket"
	timeout -k 5 100 $virtiofsd --socket-path="$socket" \
		-o source="$share" -o sandbox=chroot \
		>>"$tmp/virtiofsd.log" 2>&1 &
	pid=$!
	i=0
	while ! is_listening && [ $i -lt 1500 ]; do
		sleep 0.02
		i=$((i + 1))
	done
	timeout 60 "$oriel" "$@"
	status=$?
	kill "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
	pid=
	return $status
}
ok()
{
	with "$@" || fail "oriel $* gave $status"
}
refuses()
{
	with "$@" 2>"$tmp/err" && fail "oriel $* should fail"
	[ -s "$tmp/err" ] || fail "oriel $* said nothing"
}

head -c 3000001 /dev/urandom >"$share/big"
printf 'hello\n' >"$share/text"
: >"$share/empty"
mkdir "$share/dir"
ln -s text "$share/link"
i=0
while [ $i -lt 300 ]; do
	: >"$share/dir/file$i"
	i=$((i + 1))
done

check_data()
{
	# It says that the window is off, and why.
	ok info "$socket" >"$tmp/info"
	grep -q '^DAX: OFF' "$tmp/info" || fail "info does not say DAX: OFF"
	grep -qi 'because' "$tmp/info" || fail "info does not say why"
	cat "$tmp/info"
	with info --can dax "$socket" >/dev/null && fail "info --can dax succeeds"
	with info --dax=always "$socket" >/dev/null 2>&1 &&
		fail "--dax=always connects without a window"

	# It tells nobody of its sessions.
	with top --once "$socket" >"$tmp/out" 2>"$tmp/err"
	[ $? = 1 ] && [ ! -s "$tmp/out" ] &&
		grep -q 'does not tell of its sessions: it is no orield' \
			"$tmp/err" || fail "top: $(cat "$tmp/err")"

	# Reading.
	ok ls -A1 "$socket:" | sort >"$tmp/out"
	find "$share" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort |
		cmp - "$tmp/out" || fail "ls"
	[ "$(ok ls -A1 "$socket:dir" | wc -l)" = 300 ] || fail "ls dir"
	ok cat "$socket:big" | cmp - "$share/big" || fail "cat big"
	ok cat "$socket:text" ":link" ":empty" >"$tmp/out"
	printf 'hello\nhello\n' | cmp - "$tmp/out" || fail "cat text link"
	[ "$(ok stat -c '%s %n' "$socket:big" | cut -d' ' -f1)" = 3000001 ] ||
		fail "stat"
	ok df "$socket" >/dev/null
	[ "$(ok readlink "$socket:link")" = text ] || fail readlink
	refuses cat "$socket:missing"
	refuses ls "$socket:missing"

	# Writing.
	ok cp -q "$socket:big" "$tmp/fetched"
	cmp "$share/big" "$tmp/fetched" || fail "cp out"
	ok cp -q "$tmp/fetched" "$socket:brought"
	cmp "$share/big" "$share/brought" || fail "cp in"
	ok cp -q -r "$socket:dir" "$tmp/dir"
	[ "$(find "$tmp/dir" -type f | wc -l)" = 300 ] || fail "cp -r out"
	printf 'from a pipe' | ok put "$socket:piped"
	[ "$(cat "$share/piped")" = 'from a pipe' ] || fail put
	printf ', and more' | ok put --append "$socket:piped"
	[ "$(cat "$share/piped")" = 'from a pipe, and more' ] || fail "put --append"
}

check_names()
{
	printf 'from a pipe' >"$share/piped"
	ok mkdir "$socket:new"
	[ -d "$share/new" ] || fail mkdir
	ok mv "$socket:piped" ":new/moved"
	[ -f "$share/new/moved" ] || fail "mv: nothing there"
	[ ! -e "$share/piped" ] || fail "mv: the old name is still there"
	ok truncate -s 5 "$socket:new/moved"
	[ "$(cat "$share/new/moved")" = 'from ' ] || fail truncate
	ok rm "$socket:text"
	[ ! -e "$share/text" ] || fail rm
	refuses rm "$socket:new"
	ok rm -r "$socket:new"
	[ ! -e "$share/new" ] || fail "rm -r"
}

check_"$part"
if [ $failed != 0 ]; then
	tail -n 20 "$tmp/virtiofsd.log"
	exit 1
fi
echo ok
