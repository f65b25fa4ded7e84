# SPDX-License-Identifier: BSD-2-Clause
"""Guests with others at the same files: the host, a second guest; and guests
that programs of a distribution run in."""
import ctypes
import fcntl
import mmap
import os
import sqlite3
import subprocess
import time

import share as shares

TURN_ROUNDS = 40
SQL_ROWS = 150      # of each guest, a transaction each
HOST_SECONDS = 120  # what the host waits for at most


def wait_for_path(path, seconds=HOST_SECONDS):
    until = time.monotonic() + seconds
    while not os.path.exists(path):
        assert time.monotonic() < until, f'no {path} within {seconds} s'
        time.sleep(0.05)


# ------------------------------------------------- one page, three players

def host_turns(path, me, players, rounds):
    """As guest_turns() of guest_maps.c."""
    fd = os.open(path, os.O_RDWR)
    page = mmap.mmap(fd, 8192)
    os.close(fd)
    until = time.monotonic() + HOST_SECONDS
    for i in range(rounds):
        turn = i * players + me
        while int.from_bytes(page[:8], 'little') != turn:
            assert time.monotonic() < until, f'turn {turn} does not come'
            time.sleep(0.0002)
        assert page[4096:] == shares.guest_pattern(turn, 0, 4096), turn
        page[4096:] = shares.guest_pattern(turn + 1, 0, 4096)
        page[:8] = (turn + 1).to_bytes(8, 'little')
    page.close()


def shared_page(place):
    """MAP_SHARED of one file in two guests and on the host, in turns."""
    place.serve_dax()
    path = place.share + '/page'
    with open(path, 'wb') as f:
        f.write(bytes(4096) + shares.guest_pattern(0, 0, 4096))
    guests = [place.boot('dax'), place.boot('dax-old')]
    for i, guest in enumerate(guests):
        guest.mount('dax=always')
        guest.type(f'guest_ops turns page {i} 3 {TURN_ROUNDS}')
    host_turns(path, 2, 3, TURN_ROUNDS)
    for guest in guests:
        status, said = guest.finish()
        assert status == 0, said
    last = 3 * TURN_ROUNDS
    assert shares.read(path) == last.to_bytes(8, 'little') + \
        bytes(4088) + shares.guest_pattern(last, 0, 4096)
    assert not place.counts().get('READ', 0), place.counts()


# ----------------------------------------------------------------- locks

def try_lock_here(kind, path):
    """'free' or 'busy', for a process of the host."""
    take = fcntl.flock if kind == 'flock' else fcntl.lockf
    with open(path, 'r+b') as f:
        try:
            take(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 'busy'
    return 'free'


def try_lock_there(guest, kind, name):
    said = guest.run(f'guest_ops try-lock {kind} {name}')
    return said[-1].split()[1]


def held_by_host(guests, kind, path):
    take = fcntl.flock if kind == 'flock' else fcntl.lockf
    name = os.path.basename(path)
    with open(path, 'r+b') as f:
        take(f, fcntl.LOCK_EX)
        for guest in guests:
            assert try_lock_there(guest, kind, name) == 'busy', kind
    for guest in guests:
        assert try_lock_there(guest, kind, name) == 'free', kind


def held_by_guest(place, holder, other, kind):
    """Until the holder's program is killed."""
    name = 'lock-' + kind
    path = f'{place.share}/{name}'
    holder.run(f'guest_ops hold-lock {kind} {name} & echo $! >/tmp/holder')
    wait_for_path(path + '.held')
    assert try_lock_here(kind, path) == 'busy', kind
    assert try_lock_there(other, kind, name) == 'busy', kind
    holder.run('kill $(cat /tmp/holder); wait $(cat /tmp/holder); true')
    assert try_lock_there(other, kind, name) == 'free', kind
    assert try_lock_here(kind, path) == 'free', kind
    os.unlink(path + '.held')


def held_by_the_dead(place, holder, other, kind):
    """A guest that is cut off gives back what it held."""
    name = 'lock-dead'  # no guest has seen this name
    with open(f'{place.share}/{name}', 'wb'):
        pass
    holder.run(f'guest_ops hold-lock {kind} {name} & true')
    wait_for_path(f'{place.share}/{name}.held')
    assert try_lock_there(other, kind, name) == 'busy', kind
    holder.close()
    until = time.monotonic() + HOST_SECONDS
    while try_lock_there(other, kind, name) == 'busy':
        assert time.monotonic() < until, f'{kind} of a dead guest stays'
        time.sleep(0.2)


def locks(place):
    place.serve()
    guests = [place.boot('plain'), place.boot('uml')]
    for guest in guests:
        guest.mount()
    for kind in ('flock', 'posix'):
        path = f'{place.share}/lock-{kind}'
        with open(path, 'wb'):
            pass
        held_by_host(guests, kind, path)
        held_by_guest(place, guests[0], guests[1], kind)
        held_by_guest(place, guests[1], guests[0], kind)
    held_by_the_dead(place, guests[0], guests[1], 'posix')


# ------------------------------------------------------------- submounts

def submounts(place):
    """What is mounted below the share has a device and numbers of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    sub = place.share + '/sub'
    os.mkdir(sub)
    # In a name space of ours, or it would stay if we are killed.
    if libc.unshare(0x20000) or libc.mount(b'none', b'/', None, 0x44000, None) \
            or libc.mount(b'sub', sub.encode(), b'tmpfs', 0, b'size=9m'):
        raise OSError(ctypes.get_errno(), 'mounting a tmpfs')
    with open(sub + '/file', 'w') as f:
        f.write('in the tmpfs')
    for options, differs in ((), True), (('--no-announce-submounts',), False):
        place.serve(*options)
        guest = place.boot('plain')
        guest.mount()
        out = guest.run("stat -c '%d %i' . sub/. sub/file; cat sub/file; echo; "
                        "stat -f -c '%b %S' sub")
        dev = [l.split()[0] for l in out[:3]]
        assert (dev[0] != dev[1]) == differs and dev[1] == dev[2], out
        assert out[3] == 'in the tmpfs', out
        blocks, size = map(int, out[4].split())
        assert blocks * size == 9 << 20, out
        guest.run('echo more >sub/new && mkdir sub/d && sync -f sub && '
                  '! ln sub/new hard 2>/dev/null')
        assert shares.read(sub + '/new') == b'more\n'
        assert not os.path.exists(place.share + '/hard')
        guest.unmount()
        guest.power_off()
        place.guests.remove(guest)
        place.daemon.stop()
        place.daemon = None
        os.unlink(sub + '/new')
        os.rmdir(sub + '/d')
    libc.umount2(sub.encode(), 2)
    place.serve()


# ---------------------------------------------------------------- queues

def queues(place):
    """A guest with four processors and four request queues; a reader and a
    writer on each."""
    place.serve('--request-queues=4')
    guest = place.boot('queues')
    guest.mount()
    sums = [shares.sha256(place.put[n]) for n in ('big', 'odd')]
    guest.run(' '.join(
        f'(for n in 1 2 3; do taskset {1 << cpu:x} sha256sum in/big in/odd; '
        f'taskset {1 << cpu:x} cp in/big copy{cpu}; done >/tmp/sums{cpu}) &'
        for cpu in range(4)) + ' wait')
    said = guest.run('cat /tmp/sums?')
    assert [l.split()[0] for l in said] == sums * 12, said
    guest.run('sync')
    for cpu in range(4):
        assert shares.read(f'{place.share}/copy{cpu}') == place.put['big']
    used = place.queue_counts()
    print('requests by queue:', used)
    assert all(used.get(q, 0) >= 50 for q in (1, 2, 3, 4)), used


# -------------------------------------------------------------- programs

# The files get all the room they will need at once, and keep it: a guest's kernel
# does not ask again for the size of a file before it reads one with DAX, so it
# would not see what another has appended (docs/design/guests.md).
SQL_ROOM = '''
PRAGMA journal_mode=WAL;
PRAGMA wal_autocheckpoint=0;
CREATE TABLE t(who INT, n INT, data TEXT);
CREATE TABLE room(data);
WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000)
    INSERT INTO room SELECT zeroblob(4000) FROM c;
DROP TABLE room;
PRAGMA wal_checkpoint(RESTART);
.shell touch ready; until [ -e go ]; do sleep .1; done
'''


def sql_rows(who):
    return ''.join(f'INSERT INTO t VALUES({who}, {n}, hex(randomblob(100)));\n'
                   for n in range(SQL_ROWS))


def sql(script, base='base.db'):
    return 'sqlite3 -bail -cmd ".log stderr" -cmd ".timeout 100000" ' \
        f'-cmd ".filectrl persist_wal 1" {base} {script}'


def sqlite(place):
    """WAL mode wants one memory for all who have the database open: it works
    across guests with DAX only."""
    place.serve_dax()
    guests = [place.boot('dax', programs=[['sqlite3']]) for _ in range(2)]
    place.put_text('rows0', SQL_ROOM + sql_rows(0))
    place.put_text('rows1', sql_rows(1))
    guests[0].mount('dax=always')
    guests[0].type(sql('<rows0'))
    wait_for_path(place.share + '/ready')
    guests[1].mount('dax=always')
    guests[1].type(sql('<rows1'))
    place.put_text('go', '')
    for guest in guests:
        status, said = guest.finish()
        assert status == 0, said
    for guest in guests:
        said = guest.run(sql('"PRAGMA integrity_check; '
                             'SELECT count(*) FROM t;"'))
        assert said[-2:] == ['ok', str(2 * SQL_ROWS)], said
    # With the files as they are, the host agrees.
    base = sqlite3.connect(place.share + '/base.db', timeout=100)
    try:
        assert base.execute('PRAGMA integrity_check').fetchall() == [('ok',)]
        rows = base.execute('SELECT who, count(DISTINCT n) FROM t '
                            'GROUP BY who ORDER BY who').fetchall()
        assert rows == [(0, SQL_ROWS), (1, SQL_ROWS)], rows
    finally:
        base.close()
    assert place.counts().get('SETUPMAPPING', 0) >= 3


def make_repository(path):
    """A repository with 40 commits over a few hundred files."""
    def git(*args):
        subprocess.run(['git', '-C', path, '-c', 'user.name=t', '-c',
                        'user.email=t@t', *args], check=True,
                       stdout=subprocess.DEVNULL)
    os.makedirs(path)
    git('init', '-q')
    for i in range(40):
        for j in range(8):
            with open(f'{path}/f{i * 5 % 37}-{j}', 'w') as f:
                f.write(''.join(f'{i} {j} {k * i}\n' for k in range(200)))
        git('add', '.')
        git('commit', '-q', '-m', f'commit {i}')


GIT = ['git', '/usr/bin/git-upload-pack', '/usr/lib/git-core/git',
       '/usr/lib/git-core/git-upload-pack']


def programs(machine, options, *, window):
    def scenario(place):
        if window:
            place.serve_dax()
        else:
            place.serve()
        make_repository(place.share + '/repo')
        guest = place.boot(machine, memory='384M', programs=[GIT, ['fio']])
        guest.mount(options)
        # As root on files of another owner: git asks to be told.
        guest.run('git config --global --add safe.directory "*"')
        guest.run('git clone -q --no-hardlinks /mnt/repo /mnt/clone 2>&1')
        guest.run('git -C clone fsck --full --strict 2>&1')
        guest.run('echo more >>clone/more && git -C clone add more && '
                  'git -C clone -c user.name=t -c user.email=t@t '
                  'commit -q -m more && git -C clone repack -adq')
        guest.run('guest_fio')
        subprocess.run(['git', '-C', place.share + '/clone', 'fsck', '--full',
                        '--strict'], check=True)
        log = subprocess.run(['git', '-C', place.share + '/clone', 'log',
                              '--format=%s'], check=True, text=True,
                             capture_output=True).stdout.split('\n')
        assert log[:2] == ['more', 'commit 39'] and len(log) == 42, log
    return scenario
