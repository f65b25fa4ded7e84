# SPDX-License-Identifier: BSD-2-Clause
"""Clients that come and go, and come back: nothing of them stays."""
import fcntl
import os
import re
import signal
import struct

import wire_client as wire
import wire_fuse as fuse
from cases_ends import half_a_message
from cases_start import until
from test_daemon import Rig

RANGE = 2 << 20
SETLK, F_POSIX_LOCKS = 32, 1


def with_hands_full(rig, name):
    """A session with a file open, a directory, a mapping and a lock."""
    s = rig.session(init=False)
    s.init(more=[F_POSIX_LOCKS])
    node = s.lookup(fuse.ROOT, name).nodeid
    fh = s.open(node, os.O_RDWR)
    s.opendir(fuse.ROOT)
    s.setupmapping(node, 0, RANGE, 0)
    s.request(SETLK, node, struct.pack('<QQQQIIII', fh, 7, 0, (1 << 63) - 1,
                                       fcntl.F_WRLCK, 1, 0, 0))
    return s, node, fh


def locked(path):
    with open(path, 'r+b') as f:
        try:
            fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True


def report(rig):
    """The line of counts."""
    before = rig.daemon.log().count(' operations:')
    rig.daemon.process.send_signal(signal.SIGUSR1)
    until(lambda: rig.daemon.log().count(' operations:') > before, 'silence')
    return re.findall('clients .*', rig.daemon.log())[-1]


def start_again(s, fresh):
    """The rings, where they stopped; or @fresh, by a driver that knows
    nothing of the one before."""
    queues, s.queues = s.queues, []
    for q in queues:
        if fresh:
            for part in q.AVAIL, q.USED:
                s.mem.write(q.base + part, bytes(4))
            q.avail_idx = q.used_idx = 0
        # As QEMU does, none runs before all have been told of.
        s.ack(wire.SET_VRING_BASE, struct.pack('=II', q.index, q.avail_idx))
    for q in queues:
        s.start_queue(q)


def another_driver():
    """A machine that is stopped and goes on has what it had. One that starts
    anew has not, also where nobody said that it was reset."""
    with Rig() as rig:
        path = rig.make('file', bytes(RANGE))
        s, node, fh = with_hands_full(rig, 'file')
        before = s.getattr(node).ino
        for q in s.queues:
            assert s.stop_queue(q) == q.avail_idx
        assert locked(path)
        start_again(s, False)
        assert s.read(node, fh, 0, 9) == bytes(9) and locked(path)
        for q in s.queues:
            s.stop_queue(q)
        start_again(s, True)
        s.init()
        assert not locked(path)
        assert s.getattr(s.lookup(fuse.ROOT, 'file').nodeid).ino == before
        try:
            s.read(node, fh, 0, 9)
            raise AssertionError('the handle is still there')
        except fuse.FuseError:
            pass
        s.close()


def before_it_mounts():
    """The same without INIT: a guest that reboots and mounts nothing."""
    with Rig() as rig:
        path = rig.make('file', bytes(RANGE))
        s, _, _ = with_hands_full(rig, 'file')
        for q in s.queues:
            s.stop_queue(q)
        start_again(s, True)
        until(lambda: not locked(path), 'the lock stays')
        assert ' handles 1,' in report(rig), report(rig)
        s.close(False)


def hundred_lives():
    """One after the other, ending in every way; then all is as before."""
    with Rig() as rig:
        path = rig.make('file', bytes(RANGE))
        empty = report(rig)
        for i in range(100):
            s, _, _ = with_hands_full(rig, 'file')
            assert locked(path)
            if i % 5 == 1:
                s.destroy()
            if i % 5 == 2:
                s.ack(wire.RESET_DEVICE)
            if i % 5 == 3:
                s.init()
            s.close(i % 5 == 4)
            until(lambda: not locked(path), f'the lock of {i} stays')
            if i % 10 == 9:
                rig.settled()
        counts = re.sub(', requests .*', '', empty)
        assert report(rig).startswith(counts), (empty, report(rig))


def hundred_at_once():
    """All at work, among some that never say anything."""
    with Rig() as rig:
        mute = [wire.connect(rig.daemon.socket) for _ in range(10)]
        mute += [half_a_message(rig) for _ in range(10)]
        crowd = [rig.session(window=False) for _ in range(100)]
        made = [s.create(fuse.ROOT, f'file{i}') for i, s in enumerate(crowd)]
        tokens = [s.submit_request(fuse.WRITE, e.nodeid, struct.pack(
            '<QQIIQII', fh, 0, 5, 0, 0, 0, 0) + b'%05d' % i, 8)
            for i, (s, (e, fh)) in enumerate(zip(crowd, made))]
        for s, t in zip(crowd, tokens):
            s.finish_request(t)
        for i, s in enumerate(crowd):
            n = (i + 37) % 100
            e = s.lookup(fuse.ROOT, f'file{n}')
            assert s.read(e.nodeid, s.open(e.nodeid), 0, 9) == b'%05d' % n
        assert 'clients 121,' in report(rig), report(rig)
        rig.served()
        for s in crowd:
            s.close(False)
        for m in mute:
            m.close()


CASES = [another_driver, before_it_mounts, hundred_lives, hundred_at_once]
