# SPDX-License-Identifier: BSD-2-Clause
"""vhost-user messages and descriptor rings that no front end should send.

Such a session may be answered with an error, ignored, or dropped; that is the
daemon's choice. Its health, the health of a neighbouring session and its
descriptors are checked by the caller after every case.
"""
import os
import socket
import struct
import time

import wire_client as wire
import wire_fuse as fuse
from wire_client import (DESC_INDIRECT, DESC_NEXT, DESC_WRITE, NEED_REPLY,
                         PAGE, REPLY, VERSION, Channel, Device, Gone, Queue,
                         WireError)
from wire_fuse import FuseError

RANGE = 2 << 20
u64 = lambda v: struct.pack('=Q', v)
state = lambda i, n: struct.pack('=II', i, n)


def attempt(call, *args, **kwargs):
    """The answer, or None where there is none."""
    try:
        return call(*args, **kwargs)
    except (WireError, FuseError, OSError):
        return None


def half_open(t):
    """A device after negotiation, before memory and rings."""
    d = Device(t.daemon.socket, start=False)
    d.channel.sock.settimeout(1)
    d.negotiate()
    return d


def drop(d):
    d.channel.close()
    if d.window:
        d.window.close()
    elif d.backend:
        d.backend.close()
    d.mem.close()


def junk_messages(t):
    """Every request number, known or not, with every size that is wrong."""
    for request in list(range(0, 50)) + [99, 255, 2**16, 2**31, 2**32 - 1]:
        for payload in (b'', b'\0', bytes(7), bytes(8), b'\xff' * 8,
                        b'\xff' * 40, bytes(2056), b'\xff' * 4096):
            ch = Channel(wire.connect(t.daemon.socket))
            attempt(ch.send, wire.SET_OWNER)
            attempt(ch.send, request, payload, (), VERSION | NEED_REPLY)
            attempt(ch.send, wire.GET_FEATURES)
            ch.close()


def junk_messages_when_running(t):
    for request in list(range(0, 50)) + [99, 2**31]:
        for payload in (b'', b'\xff' * 8, b'\xff' * 40, bytes(2056)):
            s = t.session()
            attempt(s.channel.send, request, payload, (), VERSION | NEED_REPLY)
            s.channel.sock.settimeout(0.01)
            attempt(s.channel.recv)
            attempt(s.submit, 1, fuse.header(fuse.GETATTR, 1, bytes(16), 1),
                    120)
            s.close(False)


def bad_headers(t):
    for flags in (0, 2, 3, VERSION | REPLY, 0xffffffff):
        ch = Channel(wire.connect(t.daemon.socket))
        attempt(ch.send, wire.GET_FEATURES, b'', (), flags)
        ch.close()
    for size in (1, 4097, 65536, 2**31, 2**32 - 1):
        ch = Channel(wire.connect(t.daemon.socket))
        attempt(ch.send, wire.GET_FEATURES, b'x' * 8000, (), VERSION, size)
        ch.close()
    # Cut off anywhere.
    for n in range(0, 20):
        ch = Channel(wire.connect(t.daemon.socket))
        data = struct.pack('=IIIQ', wire.SET_FEATURES, VERSION, 8, 0)
        if n:
            attempt(ch.send_raw, data[:n])
        ch.close()


def dribble(t):
    """A message that comes byte by byte is a message all the same."""
    ch = Channel(wire.connect(t.daemon.socket))
    for byte in struct.pack('=III', wire.SET_OWNER, VERSION, 0) + \
            struct.pack('=III', wire.GET_FEATURES, VERSION, 0):
        ch.send_raw(bytes([byte]))
        time.sleep(0.001)
    request, _, payload, _ = ch.recv()
    assert request == wire.GET_FEATURES and len(payload) == 8
    ch.close()


def no_listener_starves(t):
    """Connections that say nothing do not keep others from being served."""
    idle = [wire.connect(t.daemon.socket) for _ in range(30)]
    t.session().close()
    for sock in idle:
        sock.close()
    for _ in range(100):
        wire.connect(t.daemon.socket).close()


def never_reads(t):
    """Asking without reading the answers costs nobody else anything."""
    ch = Channel(wire.connect(t.daemon.socket))
    ch.sock.setblocking(False)
    data = struct.pack('=III', wire.GET_FEATURES, VERSION, 0) * 100
    for _ in range(500):
        try:
            ch.sock.send(data)
        except OSError:
            break
    t.session().close()
    ch.close()


def descriptors_missing_or_many(t):
    spare = [os.open('/dev/null', os.O_RDWR) for _ in range(200)]
    region = lambda d: struct.pack('=II', 1, 0) + d.mem.region()
    for fds in ((), spare[:2], spare[:8], spare[:9], spare[:32], spare[:200]):
        for make in (lambda d: (wire.SET_MEM_TABLE, region(d)),
                     lambda d: (wire.ADD_MEM_REG, u64(0) + d.mem.region()),
                     lambda d: (wire.SET_VRING_KICK, u64(0)),
                     lambda d: (wire.SET_VRING_CALL, u64(0)),
                     lambda d: (wire.SET_VRING_ERR, u64(0)),
                     lambda d: (wire.SET_BACKEND_REQ_FD, b''),
                     lambda d: (wire.GET_FEATURES, b''),
                     lambda d: (wire.SET_FEATURES, u64(0)),
                     lambda d: (99, b'')):
            d = half_open(t)
            request, payload = make(d)
            attempt(d.channel.send, request, payload, fds,
                    VERSION | NEED_REPLY)
            d.channel.sock.settimeout(0.05)
            attempt(d.channel.recv)
            drop(d)
    for fd in spare:
        os.close(fd)


def bad_memory(t):
    r, w = os.pipe()
    null = os.open('/dev/null', os.O_RDWR)
    small = os.memfd_create('small')
    os.ftruncate(small, PAGE)
    region = lambda *v: struct.pack('=QQQQ', *v)
    good = (0, PAGE, 0x1000, 0)
    for fd in (r, null, small):
        for v in (good, (0, 0, 0, 0), (0, 2**64 - 1, 0, 0),
                  (2**64 - PAGE, 2 * PAGE, 0, 0),
                  (0, 2 * PAGE, 2**64 - PAGE, 0), (0, PAGE, 0, 2**64 - PAGE),
                  (0, PAGE, 0, 2**63), (0, 2 * PAGE, 0, 0), (0, PAGE, 0, 1),
                  (0, PAGE, 0, PAGE), (0, 2**40, 0, 0), (0, 2**47, 0, 0)):
            d = half_open(t)
            for request, payload in (
                    (wire.SET_MEM_TABLE, struct.pack('=II', 1, 0) + region(*v)),
                    (wire.ADD_MEM_REG, u64(0) + region(*v)),
                    (wire.REM_MEM_REG, u64(0) + region(*v))):
                attempt(d.channel.ask, request, payload, [fd],
                        VERSION | NEED_REPLY)
            drop(d)
    for n in (0, 2, 8, 9, 255, 2**32 - 1):  # regions claimed, one brought
        d = half_open(t)
        attempt(d.channel.ask, wire.SET_MEM_TABLE,
                struct.pack('=II', n, 0) + region(*good), [small],
                VERSION | NEED_REPLY)
        drop(d)
    # Two regions over each other, and the same one added twice.
    d = half_open(t)
    attempt(d.channel.ask, wire.SET_MEM_TABLE, struct.pack('=II', 2, 0) +
            region(*good) * 2, [small, small], VERSION | NEED_REPLY)
    for _ in range(2):
        attempt(d.channel.ask, wire.ADD_MEM_REG, u64(0) + region(*good),
                [small], VERSION | NEED_REPLY)
    drop(d)
    # Slots without end.
    d = half_open(t)
    for i in range(1000):
        if attempt(d.channel.ask, wire.ADD_MEM_REG, u64(0) + region(
                i * PAGE, PAGE, i * PAGE, 0), [small],
                VERSION | NEED_REPLY) is None:
            break
    drop(d)
    for fd in (r, w, null, small):
        os.close(fd)


def memory_taken_away(t):
    """The front end cuts the file under its guest's memory: a SIGBUS for a
    daemon that trusts it."""
    s = t.session()
    os.ftruncate(s.mem.fd, 0)
    os.eventfd_write(s.queues[1].kick, 1)
    time.sleep(0.2)
    s.channel.sock.settimeout(0.5)
    attempt(s.channel.ask, wire.GET_VRING_BASE, state(1, 0))
    s.close(False)


def memory_that_cannot_be_written(t):
    """Descriptors of guest memory that are read-only or sealed: refused, or a
    session that ends; never a fault of the daemon's."""
    import fcntl
    f_add_seals, f_seal_write, f_seal_future = 1033, 8, 16
    for how in ('read-only', 'sealed', 'sealed for the future', 'a directory',
                'executable only', 'a device of zeros'):
        d = half_open(t)
        fd = os.memfd_create('sealed', 2)
        os.ftruncate(fd, d.mem.file_offset + d.mem.size)
        if how == 'read-only':
            fd2 = os.open(f'/proc/self/fd/{fd}', os.O_RDONLY)
        elif how == 'a directory':
            fd2 = os.open('/', os.O_RDONLY)
        elif how == 'executable only':
            fd2 = os.open('/proc/self/exe', os.O_RDONLY)
        elif how == 'a device of zeros':
            fd2 = os.open('/dev/zero', os.O_RDWR)
        else:
            fcntl.fcntl(fd, f_add_seals, f_seal_write if how == 'sealed' else
                        f_seal_future)
            fd2 = os.dup(fd)
        for request, payload in (
                (wire.SET_MEM_TABLE, struct.pack('=II', 1, 0) +
                 d.mem.region()),
                (wire.ADD_MEM_REG, u64(0) + d.mem.region())):
            attempt(d.channel.ask, request, payload, [fd2],
                    VERSION | NEED_REPLY)
        for i in range(2):
            attempt(d.start_queue, Queue(d.mem, i, i * Queue.BYTES, 128))
        for q in d.queues:
            q.publish(0)
            q.ring_bell()
        attempt(d.channel.ask, wire.GET_VRING_BASE, state(1, 0))
        os.close(fd)
        os.close(fd2)
        drop(d)


def memory_shared_by_many_regions(t):
    """One file as several regions, over each other in the file, next to each
    other, and moved under running rings."""
    d = half_open(t)
    n = d.mem.size // 2 // PAGE * PAGE
    at = lambda gpa, size, user, off: struct.pack(
        '=QQQQ', d.mem.gpa + gpa, size, d.mem.uaddr + user,
        d.mem.file_offset + off)
    for regions in (
            [(0, n, 0, 0), (n, n, n, n)], [(0, n, 0, 0), (n, n, n, 0)],
            [(0, n, 0, 0), (n - PAGE, n, n, n)],
            [(0, n, 0, 0), (n, n, n - PAGE, n)],
            [(n, n, 0, 0), (0, n, n, n)], [(0, n, 0, 0)] * 8,
            [(0, PAGE, 0, i * PAGE) for i in range(8)]):
        attempt(d.channel.ask, wire.SET_MEM_TABLE, struct.pack(
            '=II', len(regions), 0) + b''.join(at(*r) for r in regions),
            [d.mem.fd] * len(regions), VERSION | NEED_REPLY)
        if d.channel.sock.fileno() < 0:
            break
    drop(d)
    s = t.session()
    token = [s.submit_request(fuse.GETATTR, fuse.ROOT, bytes(16), 104)
             for _ in range(4)]
    for _ in range(20):
        attempt(s.set_memory)
    for each in token:
        attempt(s.finish_request, each)
    s.close(False)


def bad_rings(t):
    mem_at = lambda d: d.mem.uaddr
    addr = lambda i, desc, used, avail: struct.pack(
        '=IIQQQQ', i, 0, desc, used, avail, 0)
    tries = []
    for i in (2, 7, 63, 255, 256, 2**31, 2**32 - 1):
        tries += [(wire.SET_VRING_NUM, state(i, 16)),
                  (wire.SET_VRING_BASE, state(i, 0)),
                  (wire.GET_VRING_BASE, state(i, 0)),
                  (wire.SET_VRING_ENABLE, state(i, 1)),
                  (wire.SET_VRING_KICK, u64(i)), (wire.SET_VRING_CALL, u64(i)),
                  (wire.SET_VRING_KICK, u64(i | 0x100))]
    for n in (0, 1, 3, 17, 32769, 65535, 65536, 2**31, 2**32 - 1):
        tries.append((wire.SET_VRING_NUM, state(0, n)))
    for n in (65536, 2**32 - 1):
        tries.append((wire.SET_VRING_BASE, state(0, n)))
    for n in (2, 2**32 - 1):
        tries.append((wire.SET_VRING_ENABLE, state(0, n)))
    for request, payload in tries:
        d = half_open(t)
        attempt(d.start, 0)
        attempt(d.channel.ask, request, payload, (), VERSION | NEED_REPLY)
        attempt(d.channel.ask, wire.GET_VRING_BASE, state(0, 0))
        drop(d)
    for off in (0, 1, 3, -PAGE,
                (1 << 20) + Device.SLOT * (Device.SLOTS + 1) - 1, 2**46, 2**63):
        for which in range(3):
            d = half_open(t)
            attempt(d.start, 0)
            q = Queue(d.mem, 0, 0, 128)
            at = [mem_at(d), mem_at(d) + Queue.USED, mem_at(d) + Queue.AVAIL]
            at[which] = (at[which] + off if off else 0) % 2**64
            attempt(d.ack, wire.SET_VRING_NUM, state(0, 128))
            attempt(d.channel.send, wire.SET_VRING_ADDR, addr(0, *at))
            attempt(d.channel.send, wire.SET_VRING_CALL, u64(0), [q.call])
            attempt(d.channel.send, wire.SET_VRING_KICK, u64(0), [q.kick])
            attempt(d.channel.send, wire.SET_VRING_ENABLE, state(0, 1))
            q.publish(0)
            q.ring_bell()
            time.sleep(0.01)
            attempt(d.channel.ask, wire.GET_VRING_BASE, state(0, 0))
            q.close()
            drop(d)
    # Rings before memory, and memory that goes from under running rings.
    d = half_open(t)
    attempt(d.ack, wire.SET_FEATURES, u64(1 << 30 | 1 << 32))
    attempt(d.start_queue, Queue(d.mem, 0, 0, 128))
    drop(d)
    s = t.session()
    attempt(s.channel.ask, wire.SET_MEM_TABLE, struct.pack('=II', 0, 0), (),
            VERSION | NEED_REPLY)
    attempt(s.submit, 1, fuse.header(fuse.GETATTR, 1, bytes(16), 1), 120)
    time.sleep(0.05)
    s.close(False)


def bad_chains(t):
    """Descriptor tables built to mislead. @build writes the table and returns
    the head to publish."""
    far = 2**64 - 1

    def table(*descs):
        def build(s, q, req):
            for i, d in enumerate(descs):
                q.desc(i, *(x(s, req) if callable(x) else x for x in d))
            return 0
        return build

    request = lambda s, req: s.mem.gpa + req
    room = lambda s, req: s.mem.gpa + req + 4096
    end = lambda s, req: s.mem.gpa + s.mem.size - 8
    gap = lambda s, req: s.mem.gpa + s.mem.size
    user = lambda s, req: s.mem.uaddr + req
    n, w, ind = DESC_NEXT, DESC_WRITE, DESC_INDIRECT
    cases = {
        'loop of one': table((request, 56, n, 0)),
        'loop of two': table((request, 56, n, 1), (request, 8, n, 0)),
        'loop of writables': table((request, 56, n, 1), (room, 120, n | w, 1)),
        'next outside': table((request, 56, n, 60000)),
        'next at the end': table((request, 56, n, 128)),
        'address 0': table((0, 56, n, 1), (room, 120, w, 0)),
        'address outside': table((gap, 56, n, 1), (room, 120, w, 0)),
        'address of the user': table((user, 56, n, 1), (room, 120, w, 0)),
        'end outside': table((end, 56, n, 1), (room, 120, w, 0)),
        'wraps around': table((2**64 - 8, 56, n, 1), (room, 120, w, 0)),
        'answer outside': table((request, 56, n, 1), (gap, 120, w, 0)),
        'answer wraps': table((request, 56, n, 1), (far, 120, w, 0)),
        'answer ends outside': table((request, 56, n, 1), (end, 120, w, 0)),
        'length 4 GiB': table((request, 2**32 - 1, n, 1), (room, 120, w, 0)),
        'answer of 4 GiB': table((request, 56, n, 1),
                                 (room, 2**32 - 1, w, 0)),
        'length 0': table((request, 0, n, 1), (room, 120, w, 0)),
        'only lengths of 0': table((request, 0, n, 1), (room, 0, w, 0)),
        'writable first': table((room, 120, n | w, 1), (request, 56, 0, 0)),
        'writable only': table((room, 120, w, 0)),
        'readable only': table((request, 56, 0, 0)),
        'mixed': table((request, 40, n, 1), (room, 16, n | w, 2),
                       (request, 16, n, 3), (room, 104, w, 0)),
        'unknown flags': table((request, 56, n | 0xfff0, 1),
                               (room, 120, w | 0xfff0, 0)),
        'header in pieces of 0': table(*[(request, 0, n, i + 1)
                                         for i in range(100)],
                                       (room, 120, w, 0)),
        'indirect of 0': table((request, 0, ind, 0)),
        'indirect of 17': table((request, 17, ind, 0)),
        'indirect of 4 GiB': table((request, 2**32 - 16, ind, 0)),
        'indirect outside': table((gap, 64, ind, 0)),
        'indirect wraps': table((2**64 - 16, 64, ind, 0)),
        'indirect with next': table((request, 64, ind | n, 1),
                                    (room, 120, w, 0)),
        'indirect writable': table((request, 64, ind | w, 0)),
    }
    for indirect in (True, False):
        for label, build in cases.items():
            s = t.session(indirect=indirect)
            try_chain(s, build)
            s.close(False)
    indirect_inside(t)


def try_chain(s, build):
    """Publish the chain and give the daemon a moment."""
    req = 1 << 20
    s.mem.write(req, fuse.header(fuse.GETATTR, 1, bytes(16), 4))
    q = s.queues[1]
    q.reap()
    head = build(s, q, req)
    q.chains[head] = []
    q.publish(head)
    q.ring_bell()
    attempt(q.wait, head, s.channel.sock, 0.05)


def indirect_inside(t):
    """Loops and nesting within an indirect table."""
    for inner in (
            [(1 << 20, 56, DESC_NEXT, 0)],
            [(1 << 20, 56, DESC_NEXT, 1), (1 << 20, 8, DESC_NEXT, 0)],
            [(1 << 20, 56, DESC_NEXT, 5)],
            [(1 << 20, 56, DESC_NEXT, 65535)],
            [(0x10000 + Queue.INDIRECT, 16, DESC_INDIRECT, 0)]):
        s = t.session(indirect=True)

        def build(s, q, req, inner=inner):
            for i, (off, n, flags, nxt) in enumerate(inner):
                s.mem.write(q.base + Queue.INDIRECT + 16 * i, struct.pack(
                    '<QIHH', s.mem.gpa + off, n, flags, nxt))
            q.desc(0, s.mem.gpa + q.base + Queue.INDIRECT, 16 * len(inner),
                   DESC_INDIRECT, 0)
            return 0
        try_chain(s, build)
        s.close(False)


def bad_indices(t):
    for head in (128, 129, 1000, 65535):
        s = t.session()
        s.queues[1].publish(head)
        s.queues[1].ring_bell()
        time.sleep(0.02)
        s.close(False)
    for jump in (129, 1000, 32768, 65535):
        s = t.session()
        q = s.queues[1]
        s.mem.u16(q.base + q.AVAIL + 2).value = (q.avail_idx + jump) & 0xffff
        q.ring_bell()
        time.sleep(0.02)
        attempt(s.channel.ask, wire.GET_VRING_BASE, state(1, 0))
        s.close(False)
    # The same head over and over, while it is still being served.
    s = t.session()
    q = s.queues[1]
    req = 1 << 20
    s.mem.write(req, fuse.header(fuse.GETATTR, 1, bytes(16), 4))
    q.desc(0, s.mem.gpa + req, 56, DESC_NEXT, 1)
    q.desc(1, s.mem.gpa + req + 4096, 120, DESC_WRITE, 0)
    for _ in range(2000):
        q.publish(0)
    q.ring_bell()
    time.sleep(0.05)
    s.close(False)
    # A request that changes while it is read.
    s = t.session()
    q = s.queues[1]
    for i in range(3000):
        s.mem.write(req, fuse.header(fuse.GETATTR, 1, bytes(16), i,
                                     length=56))
        q.desc(0, s.mem.gpa + req, 56, DESC_NEXT, 1)
        q.publish(0)
        q.ring_bell()
        s.mem.write(req, struct.pack('<II', 2**32 - 1, fuse.WRITE))
        q.desc(0, 2**64 - 1, 2**32 - 1, DESC_NEXT, 0)
    s.close(False)


def config_space_limits(t):
    for off, size in ((0, 0), (0, 257), (0, 4000), (44, 1), (256, 1),
                      (2**32 - 1, 1), (2**32 - 1, 2**32 - 1), (0, 2**32 - 1),
                      (1, 2**32 - 1)):
        for request in (wire.GET_CONFIG, 25):
            d = half_open(t)
            d.channel.sock.settimeout(0.1)
            attempt(d.channel.ask, request, struct.pack(
                '=III', off, size, 0) + bytes(min(size, 4000)))
            drop(d)


def back_end_channel(t):
    """What the front end answers to SHMEM_MAP is not to be trusted either."""
    path = os.path.join(t.share, 'mapped')
    with open(path, 'wb') as f:
        f.truncate(4 * RANGE)
    answers = {
        'wrong request': lambda: (10, u64(0), VERSION | REPLY),
        'no reply flag': lambda: (9, u64(0), VERSION),
        'short': lambda: (9, b'\0' * 4, VERSION | REPLY),
        'long': lambda: (9, bytes(4000), VERSION | REPLY),
        'refused': lambda: (9, u64(2**64 - 12), VERSION | REPLY),
        'refused strangely': lambda: (9, u64(12345678), VERSION | REPLY),
    }
    for label, answer in answers.items():
        s = t.session()
        e = s.lookup(fuse.ROOT, 'mapped')
        s.window.carry_out = lambda *a: 0
        request, payload, flags = answer()
        real = s.window.channel.send
        s.window.channel.send = lambda *a, **k: real(
            request, payload, (), flags)
        attempt(s.finish_request, s.submit_request(
            fuse.SETUPMAPPING, e.nodeid, struct.pack(
                '<5Q', fuse.NO_HANDLE, 0, RANGE, 1, 0)), )
        s.close(False)
    # Hung up while the daemon waits for the answer, on either socket.
    for which in ('backend', 'channel'):
        s = t.session()
        e = s.lookup(fuse.ROOT, 'mapped')

        def hang_up(*a, s=s, which=which):
            getattr(s, which).sock.shutdown(socket.SHUT_RDWR)
            return 0
        s.window.carry_out = hang_up
        attempt(s.setupmapping, e.nodeid, 0, RANGE, 0)
        s.close(False)
    # Unasked messages on that channel.
    s = t.session()
    for n in (1, 12, 20, 5000):
        attempt(s.backend.send_raw, b'\xff' * n)
    attempt(s.getattr, fuse.ROOT)
    s.close(False)


def settings_while_running(t):
    """Features, memory and rings are set again in the middle of things."""
    for make in (
            lambda s: (wire.SET_FEATURES, u64(0)),
            lambda s: (wire.SET_FEATURES, u64(2**64 - 1)),
            lambda s: (wire.SET_PROTOCOL_FEATURES, u64(2**64 - 1)),
            lambda s: (wire.SET_PROTOCOL_FEATURES, u64(0)),
            lambda s: (wire.SET_VRING_NUM, state(1, 1024)),
            lambda s: (wire.SET_VRING_BASE, state(1, 77)),
            lambda s: (wire.SET_VRING_ENABLE, state(1, 0)),
            lambda s: (wire.SET_OWNER, b''), lambda s: (wire.RESET_OWNER, b''),
            lambda s: (wire.RESET_DEVICE, b'')):
        s = t.session()
        s.channel.sock.settimeout(0.5)
        request, payload = make(s)
        attempt(s.channel.ask, request, payload, (), VERSION | NEED_REPLY)
        token = attempt(s.submit_request, fuse.GETATTR, fuse.ROOT, bytes(16),
                        104)
        if token:
            attempt(s.finish, token[2], 0.1)
        attempt(s.stop_queue, s.queues[1])
        s.close(False)


CASES = [junk_messages, junk_messages_when_running, bad_headers, dribble,
         no_listener_starves, never_reads, descriptors_missing_or_many,
         bad_memory, memory_taken_away, memory_that_cannot_be_written,
         memory_shared_by_many_regions, bad_rings, bad_chains, bad_indices,
         config_space_limits, back_end_channel, settings_while_running]
