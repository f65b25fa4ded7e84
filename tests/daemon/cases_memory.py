# SPDX-License-Identifier: BSD-2-Clause
"""Clients that take away the memory the daemon has mapped.

An access to it is a SIGBUS in the daemon: it may end that client's session and
nothing else. The request is queued before the cut and announced after it, so
that the daemon meets the hole where the case says.
"""
import os
import struct
import time

import wire_client as wire
import wire_fuse as fuse
from test_daemon import Rig
from wire_client import PAGE, Gone

RINGS = 1 << 20  # they lie below; requests above
u64 = lambda v: struct.pack('=Q', v)


def cut(s, keep):
    os.ftruncate(s.mem.fd, s.mem.file_offset + keep)


def expect_end(s):
    """The daemon hangs up."""
    try:
        s.channel.sock.settimeout(20)
        s.channel.recv()
    except Gone:
        s.close(False)
        return
    raise AssertionError('the session went on')


def idle(s):
    """Its threads sleep, so that only the kick makes them look."""
    time.sleep(0.05)


def rings(rig, queue):
    s = rig.session()
    idle(s)
    cut(s, 0)
    s.queues[queue].ring_bell()
    expect_end(s)


def queued(rig, s, queue, pieces, keep):
    idle(s)
    s.queues[queue].put(pieces, s.indirect)
    cut(s, keep)
    s.queues[queue].ring_bell()
    expect_end(s)


def rings_truncated():
    with Rig() as rig:
        for queue in 0, 1:
            rings(rig, queue)
            rig.served()


def arguments_truncated():
    """Copy-in, on the hiprio queue and on a request queue."""
    with Rig() as rig:
        for queue, opcode, room in ((0, fuse.FORGET, 0), (1, fuse.LOOKUP, 144)):
            s = rig.session()
            body = fuse.header(opcode, fuse.ROOT, b'witness\0', 9)
            s.mem.write(RINGS, body)
            pieces = [(s.mem.gpa + RINGS, len(body), False)]
            if room:
                # What is written is there; only what is read is gone.
                pieces.append((s.mem.gpa + RINGS // 2, room, True))
            queued(rig, s, queue, pieces, RINGS)
            rig.served()


def reply_truncated():
    with Rig() as rig:
        s = rig.session()
        body = fuse.header(fuse.GETATTR, fuse.ROOT, bytes(16), 9)
        s.mem.write(RINGS, body)
        queued(rig, s, 1, [(s.mem.gpa + RINGS, len(body), False),
                           (s.mem.gpa + 2 * RINGS, 120, True)], 2 * RINGS)


def data_truncated():
    """READ and WRITE hand the pages to the kernel: an error, no SIGBUS."""
    data = os.urandom(1 << 20)
    with Rig() as rig:
        rig.make('file', data)
        s = rig.session()
        e = s.lookup(fuse.ROOT, 'file')
        fh = s.open(e.nodeid, os.O_RDWR)
        for opcode in fuse.READ, fuse.WRITE:
            body = struct.pack('<QQIIQII', fh, 0, 4 * PAGE, 0, 0, 0, 0)
            out = fuse.header(opcode, e.nodeid, body, 9,
                              80 + (4 * PAGE if opcode == fuse.WRITE else 0))
            at = RINGS - PAGE
            s.mem.write(at, out)
            far = s.mem.gpa + 8 * RINGS
            pieces = [(s.mem.gpa + at, len(out), False)]
            if opcode == fuse.WRITE:
                pieces += [(far, 4 * PAGE, False),
                           (s.mem.gpa + at + 200, 64, True)]
            else:
                pieces += [(s.mem.gpa + at + 200, 16, True),
                           (far, 4 * PAGE, True)]
            cut(s, RINGS)
            head = s.queues[1].put(pieces)
            s.queues[1].ring_bell()
            s.queues[1].wait(head, s.channel.sock)
            _, error, _ = struct.unpack('<IiQ', s.mem.read(at + 200, 16))
            assert error == -14, f'error {error}, not EFAULT'
        s.close()
        with open(os.path.join(rig.share, 'file'), 'rb') as f:
            assert f.read() == data, 'the file changed'


def indirect_table_truncated():
    with Rig() as rig:
        s = rig.session(indirect=True)
        idle(s)
        q = s.queues[1]
        q.desc(q.free[-1], s.mem.gpa + RINGS, 32, wire.DESC_INDIRECT, 0)
        q.publish(q.free[-1])
        cut(s, RINGS)
        q.ring_bell()
        expect_end(s)


def scattered_and_many():
    """Holes without end, one a segment, in several clients at once: they must
    not use up the number of mappings a process may have."""
    with Rig() as rig:
        sessions = []
        for _ in range(6):
            s = rig.session(num=1024)
            n = 900
            out = fuse.header(fuse.LOOKUP, fuse.ROOT, bytes(64 * n - 40), 9)
            pieces = []
            for i in range(n):
                at = RINGS + 2 * i * PAGE
                s.mem.write(at, out[64 * i:64 * i + 64])
                pieces.append((s.mem.gpa + at, 64, False))
            pieces.append((s.mem.gpa + RINGS - PAGE, 144, True))
            sessions.append((s, pieces))
        idle(s)
        for s, pieces in sessions:
            s.queues[1].put(pieces)
            cut(s, RINGS)
        for s, _ in sessions:
            s.queues[1].ring_bell()
        for s, _ in sessions:
            expect_end(s)


def while_working():
    """The cut at any moment of a busy session."""
    with Rig() as rig:
        for i in range(20):
            s = rig.session()
            tokens = [s.submit_request(fuse.GETATTR, fuse.ROOT, bytes(16), 104)
                      for _ in range(8)]
            assert tokens
            time.sleep(0.00005 * i)
            cut(s, 0)
            s.queues[1].ring_bell()
            expect_end(s)
        rig.served()


def too_many_regions():
    """Nobody makes the daemon map until its number of mappings is used up."""
    with Rig() as rig:
        fd = os.memfd_create('regions', os.MFD_CLOEXEC)
        os.ftruncate(fd, 8 * PAGE)
        crowd, refused, n = [], 0, 0
        while not refused and n < 40000:
            d = wire.Device(rig.daemon.socket, start=False, window=False)
            d.negotiate()
            crowd.append(d)
            for i in range(512):
                refused = d.channel.ask_u64(
                    wire.ADD_MEM_REG, u64(0) + struct.pack(
                        '=QQQQ', i * PAGE, PAGE, 0, i * 3 % 8 * PAGE), [fd],
                    wire.VERSION | wire.NEED_REPLY)
                if refused:
                    break
                n += 1
        assert refused == 28, f'error {refused} after {n} regions'
        rig.served()
        for d in crowd:
            d.channel.close()
            d.backend.close()
            d.mem.close()
        os.close(fd)


def too_much_address_space():
    """A sparse file costs its owner nothing."""
    tib = 1 << 40
    with Rig() as rig:
        fd = os.memfd_create('sparse', os.MFD_CLOEXEC)
        os.ftruncate(fd, 16 * tib)
        crowd, taken = [], 0
        for _ in range(10):
            d = wire.Device(rig.daemon.socket, start=False, window=False)
            d.negotiate()
            crowd.append(d)
            for i in range(2):
                taken += 8 * (d.channel.ask_u64(
                    wire.ADD_MEM_REG, u64(0) + struct.pack(
                        '=QQQQ', i * 8 * tib, 8 * tib, 0, 0), [fd],
                    wire.VERSION | wire.NEED_REPLY) == 0)
        # More than one client may have ends its session.
        try:
            assert taken or os.environ.get('ORIEL_TEST_SECCOMP')
            if not taken:
                raise Gone('sanitizers left no space to try it')
            crowd[0].channel.ask(wire.ADD_MEM_REG, u64(0) + struct.pack(
                '=QQQQ', 1 << 60, 8 * tib, 0, 0), [fd],
                wire.VERSION | wire.NEED_REPLY)
            raise AssertionError('24 TiB for one client')
        except Gone:
            pass
        # Sanitizers leave less.
        least = 0 if os.environ.get('ORIEL_TEST_SECCOMP') else 16
        assert least <= taken <= 64, f'{taken} TiB'
        rig.served()
        for d in crowd:
            d.channel.close()
            d.backend.close()
            d.mem.close()
        os.close(fd)


CASES = [rings_truncated, arguments_truncated, reply_truncated, data_truncated,
         indirect_table_truncated, scattered_and_many, while_working,
         too_many_regions, too_much_address_space]
