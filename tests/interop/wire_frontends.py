# SPDX-License-Identifier: BSD-2-Clause
"""Sessions brought up in the order, and with the habits, of front ends that
exist: User-Mode Linux, Cloud Hypervisor, crosvm, Alioth. (QEMU itself is in
guest/.) The protocol leaves the order open, and each uses another one.
"""
import mmap
import os
import socket
import struct

import wire_client as wire
import wire_fuse as fuse
from wire_client import (NEED_REPLY, PF_BACKEND_REQ, PF_BACKEND_SEND_FD,
                         PF_CONFIG, PF_INFLIGHT, PF_MEM_SLOTS, PF_MQ,
                         PF_REPLY_ACK, PF_SHMEM, VERSION, VF_PROTOCOL,
                         VF_VERSION_1, Channel, Queue, Window)
from wire_sessions import RANGE, pattern, same_attr, write_file

u64 = lambda v: struct.pack('=Q', v)
state = lambda i, n: struct.pack('=II', i, n)
bits = lambda *which: sum(1 << b for b in which)
FEATURES = bits(VF_PROTOCOL, VF_VERSION_1)


def blank(t, protocol):
    """A session of which nothing has been said yet."""
    s = t.session(start=False, init=False)
    s.protocol = protocol
    return s


def ask_features(s):
    s.offered = s.channel.ask_u64(wire.GET_FEATURES)
    assert s.offered & FEATURES == FEATURES
    offered = s.channel.ask_u64(wire.GET_PROTOCOL_FEATURES)
    assert offered & s.protocol == s.protocol, f'{offered:#x}'
    s.channel.send(wire.SET_PROTOCOL_FEATURES, u64(s.protocol))


def back_end_channel(s, window):
    ours, theirs = socket.socketpair()
    s.ack(wire.SET_BACKEND_REQ_FD, b'', [theirs.fileno()])
    theirs.close()
    ours.settimeout(None)
    s.backend = Channel(ours)
    if window:
        s.window = Window(window, s.backend)
        s.window.start()


def ring_address(s, q, log=0):
    at = s.mem.uaddr + q.base
    s.ack(wire.SET_VRING_ADDR, struct.pack(
        '=IIQQQQ', q.index, 0, at, at + Queue.USED, at + Queue.AVAIL, log))


def two_queues(s, num):
    return [Queue(s.mem, i, i * Queue.BYTES, num) for i in range(2)]


def use(t, s):
    """The session works: names, data by message, data through the window."""
    data = pattern(RANGE + 4096)
    path = write_file(t, 'used', data)
    s.init()
    e = s.lookup(fuse.ROOT, 'used')
    same_attr(e.attr, path)
    fh = s.open(e.nodeid, os.O_RDWR)
    for _ in range(100):
        assert s.read(e.nodeid, fh, 5000, 3000) == data[5000:8000]
    if s.window:
        s.setupmapping(e.nodeid, 0, RANGE, 0)
        assert s.window.load(0, RANGE) == data[:RANGE]
        assert not s.window.violations, s.window.violations
    s.release(e.nodeid, fh)


def user_mode_linux(t):
    """No MQ, no window, the configuration byte by byte, memory in two regions
    whose guest and user addresses are the same, and for the call descriptor
    one end of a stream socket."""
    s = blank(t, bits(PF_REPLY_ACK, PF_BACKEND_REQ, PF_CONFIG))
    ch = s.channel
    protocol, s.protocol = s.protocol, 0
    ch.send(wire.SET_OWNER)
    s.protocol = protocol
    ask_features(s)
    back_end_channel(s, 0)
    s.ack(wire.SET_FEATURES, u64(FEATURES))
    assert b''.join(s.config(i, 1) for i in range(36)).startswith(b'wiretag')
    assert s.config(0, 40) == s.config(0, 36) + s.config(36, 4)
    s.mem.uaddr = s.mem.gpa
    half = s.mem.size // 2 & -wire.PAGE
    regions = b''.join(struct.pack('=QQQQ', s.mem.gpa + off, n,
                                   s.mem.uaddr + off, s.mem.file_offset + off)
                       for off, n in ((0, half), (half, s.mem.size - half)))
    s.ack(wire.SET_MEM_TABLE, struct.pack('=II', 2, 0) + regions,
          [s.mem.fd, s.mem.fd])
    calls = []
    for q in two_queues(s, 256):
        ours, theirs = socket.socketpair()
        os.close(q.call)
        q.call = os.dup(ours.fileno())
        os.set_blocking(q.call, False)
        ours.close()
        calls.append(theirs)
        s.ack(wire.SET_VRING_CALL, u64(q.index), [theirs.fileno()])
        s.ack(wire.SET_VRING_NUM, state(q.index, q.num))
        s.ack(wire.SET_VRING_BASE, state(q.index, 0))
        ring_address(s, q, 2**64 - 1)
        s.queues.append(q)
    for q in s.queues:
        s.ack(wire.SET_VRING_KICK, u64(q.index), [q.kick])
        s.ack(wire.SET_VRING_ENABLE, state(q.index, 1))
    for sock in calls:
        sock.close()
    use(t, s)
    for q in reversed(s.queues):
        s.ack(wire.SET_VRING_ENABLE, state(q.index, 0))
    ch.ask_u64(wire.GET_FEATURES)
    s.close(politely=False)


def deaf_call_socket(t):
    """A call socket that nobody reads fills up, and then its end goes away:
    neither may block the daemon nor kill it (SIGPIPE)."""
    s = blank(t, bits(PF_REPLY_ACK))
    s.channel.send(wire.SET_OWNER)
    ask_features(s)
    s.ack(wire.SET_FEATURES, u64(FEATURES))
    s.set_memory()
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    for q in two_queues(s, 128):
        s.start_queue(q)
    q = s.queues[1]
    s.ack(wire.SET_VRING_CALL, u64(1), [theirs.fileno()])
    theirs.close()
    s.spin = True  # answers are looked for, not waited for
    s.init()
    for i in range(600):
        s.getattr(fuse.ROOT)
        if i == 500:
            ours.close()
    s.close(politely=False)


def inflight(s, queues):
    """Have the daemon keep its marks in memory of ours; returns that."""
    num = queues[0].num
    answer, fds = s.channel.ask_fds(wire.GET_INFLIGHT_FD, struct.pack(
        '<QQHHI', 0, 0, len(queues), num, 0))
    size, offset, n, got, _ = struct.unpack('<QQHHI', answer)
    assert (n, got, len(fds)) == (len(queues), num, 1), (answer, fds)
    s.ack(wire.SET_INFLIGHT_FD, answer, fds)
    m = mmap.mmap(fds[0], size, offset=offset)
    os.close(fds[0])
    return m


def marks_are_kept(m, queues):
    """It was used, and nothing is under way. A queue's part: 16 bytes of head
    and as much for each descriptor, in multiples of 64."""
    part = (16 + 16 * queues[0].num + 63) // 64 * 64
    for q in queues:
        start = part * q.index
        _, version, num, _, used = struct.unpack_from('<QHHHH', m, start)
        assert (version, num) == (1, q.num), (version, num)
        if q.index:
            assert used, 'no request was recorded'
            assert not any(m[start + 16:start + part:16]), 'a mark stayed'


def cloud_hypervisor(t):
    """Acknowledged at every step; sizes of all rings first, then memory for
    requests under way; the back-end channel last."""
    s = blank(t, bits(PF_MQ, PF_REPLY_ACK, PF_BACKEND_REQ, PF_INFLIGHT,
                      PF_MEM_SLOTS))
    s.channel.send(wire.SET_OWNER)
    ask_features(s)
    assert s.channel.ask_u64(wire.GET_QUEUE_NUM) >= 2
    s.ack(wire.SET_FEATURES, u64(FEATURES))
    s.set_memory()
    queues = two_queues(s, 1024)
    for q in queues:
        s.ack(wire.SET_VRING_NUM, state(q.index, q.num))
    marks = inflight(s, queues)
    for q in queues:
        ring_address(s, q)
        s.ack(wire.SET_VRING_BASE, state(q.index, 0))
        s.ack(wire.SET_VRING_CALL, u64(q.index), [q.call])
        s.ack(wire.SET_VRING_KICK, u64(q.index), [q.kick])
    for q in queues:
        s.ack(wire.SET_VRING_ENABLE, state(q.index, 1))
    s.queues = queues
    back_end_channel(s, 0)
    use(t, s)
    # It pauses and goes on; nothing is under way while it pauses.
    for q in queues:
        s.ack(wire.SET_VRING_ENABLE, state(q.index, 0))
    marks_are_kept(marks, queues)
    for q in queues:
        s.ack(wire.SET_VRING_ENABLE, state(q.index, 1))
    s.getattr(fuse.ROOT)
    marks.close()
    s.close()


def crosvm(t):
    """A window, if the daemon was told that this monitor can do it, but
    BACKEND_SEND_FD is not acknowledged; the window's size is asked for at the
    end."""
    s = blank(t, bits(PF_MQ, PF_REPLY_ACK, PF_BACKEND_REQ, PF_CONFIG,
                      PF_SHMEM))
    s.channel.send(wire.SET_OWNER)
    ask_features(s)
    back_end_channel(s, 0)
    assert s.channel.ask_u64(wire.GET_QUEUE_NUM) >= 2
    s.ack(wire.SET_FEATURES, u64(FEATURES))
    s.set_memory()
    for q in two_queues(s, 64):
        s.start_queue(q)
    size = s.window_size()
    assert bool(size) == ('--guest-dax=always' in t.options), size
    if size:
        s.window = Window(size, s.backend)
        s.window.start()
    use(t, s)
    s.close()


def alioth(t):
    """SET_OWNER comes last, memory by ADD_MEM_REG, and the window is told to
    the back end as memory, too."""
    s = blank(t, bits(PF_MQ, PF_REPLY_ACK, PF_BACKEND_REQ, PF_BACKEND_SEND_FD,
                      PF_CONFIG, PF_MEM_SLOTS, PF_SHMEM))
    ask_features(s)
    window = s.window_size()
    assert s.channel.ask_u64(wire.GET_MAX_MEM_SLOTS) >= 1
    back_end_channel(s, window)
    s.ack(wire.SET_FEATURES, u64(FEATURES))
    s.slots = True
    s.set_memory()
    errs = []
    for q in two_queues(s, 256):
        errs.append(os.eventfd(0))
        s.ack(wire.SET_VRING_ERR, u64(q.index), [errs[-1]])
        s.start_queue(q)
    s.ack(wire.SET_OWNER)
    use(t, s)
    s.close()
    for fd in errs:
        os.close(fd)


def memory_that_comes_and_goes(t):
    """Hot-plugged memory: used, removed, refused when used again."""
    s = t.session(slots=True)
    more = wire.Memory(1 << 20, gpa=0x9_0000_0000, uaddr=0x6600_0000_0000)
    add = u64(0) + more.region()
    s.ack(wire.ADD_MEM_REG, add, [more.fd])
    q = s.queues[1]

    def getattr_there():
        s.unique += 2
        more.write(0, fuse.header(fuse.GETATTR, 1, bytes(16), s.unique))
        head = q.put([(more.gpa, 56, False), (more.gpa + 4096, 120, True)])
        q.ring_bell()
        n = q.wait(head, s.channel.sock, 5)
        return n == 120 and more.read(4096 + 8, 8) == \
            s.unique.to_bytes(8, 'little')

    for _ in range(3):
        assert getattr_there()
        # The same message takes it away; the descriptor may be there.
        error = s.channel.ask_u64(wire.REM_MEM_REG, add, (),
                                  VERSION | NEED_REPLY)
        assert error == 0
        s.getattr(fuse.ROOT)
        s.ack(wire.ADD_MEM_REG, add, [more.fd])
    s.ack(wire.REM_MEM_REG, add)
    more.write(4096, bytes(120))
    try:
        getattr_there()
    except wire.WireError:
        pass
    assert more.read(4096, 120) == bytes(120), 'written after removal'
    s.close(politely=False)
    more.close()


CASES = [user_mode_linux, deaf_call_socket, cloud_hypervisor, crosvm, alioth,
         memory_that_comes_and_goes]
