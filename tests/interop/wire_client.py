# SPDX-License-Identifier: BSD-2-Clause
"""A vhost-user front end for tests, written from the specifications alone.

It shares no code, header or constant with the programs it tests, so that a
misread number on our side cannot be right twice. Plain Python, no packages:

  Channel   vhost-user messages with descriptors over a UNIX socket
  Memory    guest memory: a memfd, mapped here and handed to the daemon
  Queue     one split virtqueue in that memory, built by hand
  Window    the DAX window: address space in which SHMEM_MAP is carried out
  Device    the whole handshake, and chains in and out

wire_fuse.py puts FUSE on top. Nothing here forgives: a daemon that breaks a
rule raises WireError, or adds a line to Window.violations.
"""
import array
import ctypes
import mmap
import os
import select
import socket
import struct
import threading
import time

TIMEOUT = 30.0  # for one answer; only a failing test ever waits so long
PAGE = mmap.PAGESIZE

# Front end to back end.
GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE = 1, 2, 3, 4, 5
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE = 8, 9, 10, 11
SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR = 12, 13, 14
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM = 15, 16, 17
SET_VRING_ENABLE, SET_BACKEND_REQ_FD, GET_CONFIG = 18, 21, 24
GET_INFLIGHT_FD, SET_INFLIGHT_FD = 31, 32
RESET_DEVICE, GET_MAX_MEM_SLOTS, ADD_MEM_REG, REM_MEM_REG = 34, 36, 37, 38
GET_SHMEM_CONFIG = 44
# Back end to front end.
SHMEM_MAP, SHMEM_UNMAP = 9, 10

VERSION, REPLY, NEED_REPLY = 1, 4, 8

# Protocol feature bits.
PF_MQ, PF_REPLY_ACK, PF_BACKEND_REQ, PF_CONFIG = 0, 3, 5, 9
PF_BACKEND_SEND_FD, PF_INFLIGHT, PF_RESET_DEVICE = 10, 12, 13
PF_MEM_SLOTS, PF_SHMEM, PF_ORIEL = 15, 22, 56
PF_WANTED = (PF_MQ, PF_REPLY_ACK, PF_BACKEND_REQ, PF_CONFIG,
             PF_BACKEND_SEND_FD, PF_RESET_DEVICE, PF_MEM_SLOTS, PF_SHMEM,
             PF_ORIEL)
# Virtio feature bits.
VF_INDIRECT, VF_EVENT_IDX, VF_PROTOCOL, VF_VERSION_1 = 28, 29, 30, 32

DESC_NEXT, DESC_WRITE, DESC_INDIRECT = 1, 2, 4

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int,
                      ctypes.c_int, ctypes.c_int, ctypes.c_long)
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
MAP_FIXED, MAP_NORESERVE, PROT_NONE = 0x10, 0x4000, 0


class WireError(Exception):
    """The daemon broke the protocol, or did not answer."""


class Gone(WireError):
    """The daemon closed the connection."""


class Channel:
    """One vhost-user socket."""

    def __init__(self, sock):
        self.sock = sock
        sock.settimeout(TIMEOUT)

    def send(self, request, payload=b'', fds=(), flags=VERSION, size=None):
        """One message. A wrong size can be claimed on purpose."""
        size = len(payload) if size is None else size
        self.send_raw(struct.pack('=III', request, flags, size) + payload, fds)

    def send_raw(self, data, fds=()):
        ancillary = []
        if fds:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                          array.array('i', fds))]
        try:
            self.sock.sendmsg([data], ancillary)
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Gone('the daemon hung up while a message was sent') from e

    def _read(self, n, max_fds):
        data, fds = b'', []
        while len(data) < n:
            try:
                part, ancillary, _, _ = self.sock.recvmsg(
                    n - len(data), socket.CMSG_SPACE(4 * max_fds))
            except socket.timeout as e:
                raise WireError('no answer') from e
            except ConnectionResetError as e:
                raise Gone('connection reset') from e
            if not part:
                raise Gone('connection closed')
            for level, kind, raw in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    got = array.array('i')
                    got.frombytes(raw[:len(raw) // 4 * 4])
                    fds.extend(got)
            data += part
        return data, fds

    def recv(self):
        """(request, flags, payload, fds)"""
        header, fds = self._read(12, 8)
        request, flags, size = struct.unpack('=III', header)
        if size > 8192:
            raise WireError(f'message {request} claims {size} bytes')
        payload = b''
        if size:
            payload, more = self._read(size, 8)
            fds += more
        return request, flags, payload, fds

    def ask(self, request, payload=b'', fds=(), flags=VERSION):
        """Send, and return the payload of the reply."""
        data, more = self.ask_fds(request, payload, fds, flags)
        for fd in more:
            os.close(fd)
        return data

    def ask_fds(self, request, payload=b'', fds=(), flags=VERSION):
        """The same with the descriptors that came."""
        self.send(request, payload, fds, flags)
        got, reply_flags, data, more = self.recv()
        if got != request:
            raise WireError(f'reply to {got}, asked {request}')
        if reply_flags & 7 != VERSION | REPLY:
            raise WireError(f'reply to {request} has flags {reply_flags:#x}')
        return data, more

    def ask_u64(self, request, payload=b'', fds=(), flags=VERSION):
        data = self.ask(request, payload, fds, flags)
        if len(data) != 8:
            raise WireError(f'reply to {request} has {len(data)} bytes, not 8')
        return struct.unpack('=Q', data)[0]

    def close(self):
        self.sock.close()


class Memory:
    """Guest memory. Its guest-physical, its user and its file addresses all
    differ, so that a daemon that confuses them is found out."""

    def __init__(self, size, gpa=0x1_0000_0000, uaddr=0x5500_0000_0000):
        self.size, self.gpa, self.uaddr = size, gpa, uaddr
        self.file_offset = 4 * PAGE
        self.fd = os.memfd_create('guest-memory', os.MFD_CLOEXEC)
        os.ftruncate(self.fd, self.file_offset + size)
        self.map = mmap.mmap(self.fd, size, mmap.MAP_SHARED,
                             mmap.PROT_READ | mmap.PROT_WRITE,
                             offset=self.file_offset)

    def region(self):
        return struct.pack('=QQQQ', self.gpa, self.size, self.uaddr,
                           self.file_offset)

    def u16(self, off):
        """A naturally aligned cell, read and written whole."""
        return ctypes.c_uint16.from_buffer(self.map, off)

    def write(self, off, data):
        self.map[off:off + len(data)] = data

    def read(self, off, n):
        return bytes(self.map[off:off + n])

    def close(self):
        os.close(self.fd)


class Queue:
    """A split virtqueue at offset @base of @mem."""
    AVAIL, USED, INDIRECT, BYTES = 0x4000, 0x8000, 0xc000, 0x10000

    def __init__(self, mem, index, base, num):
        self.mem, self.index, self.base, self.num = mem, index, base, num
        self.kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.call = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.free = list(range(num))
        self.avail_idx = 0
        self.used_idx = 0
        self.chains = {}   # head -> descriptors
        self.done = {}     # head -> used length

    def desc(self, i, gpa, length, flags, nxt):
        self.mem.write(self.base + 16 * i,
                       struct.pack('<QIHH', gpa, length, flags, nxt))

    def put(self, pieces, indirect=False):
        """Queue a chain of (gpa, length, writable); returns its head."""
        if indirect:
            table = self.base + self.INDIRECT
            for i, (gpa, n, writable) in enumerate(pieces):
                last = i == len(pieces) - 1
                self.mem.write(table + 16 * i, struct.pack(
                    '<QIHH', gpa, n, (DESC_WRITE if writable else 0) |
                    (0 if last else DESC_NEXT), 0 if last else i + 1))
            slots = [self.free.pop()]
            self.desc(slots[0], self.mem.gpa + table, 16 * len(pieces),
                      DESC_INDIRECT, 0)
        else:
            slots = [self.free.pop() for _ in pieces]
            for i, (gpa, n, writable) in enumerate(pieces):
                last = i == len(pieces) - 1
                self.desc(slots[i], gpa, n, (DESC_WRITE if writable else 0) |
                          (0 if last else DESC_NEXT),
                          0 if last else slots[i + 1])
        self.chains[slots[0]] = slots
        self.publish(slots[0])
        return slots[0]

    def publish(self, head):
        avail = self.base + self.AVAIL
        self.mem.u16(avail + 4 + 2 * (self.avail_idx % self.num)).value = head
        self.avail_idx = (self.avail_idx + 1) & 0xffff
        self.mem.u16(avail + 2).value = self.avail_idx

    def ring_bell(self):
        os.eventfd_write(self.kick, 1)

    def reap(self):
        used = self.base + self.USED
        while self.used_idx != self.mem.u16(used + 2).value:
            at = used + 4 + 8 * (self.used_idx % self.num)
            head, n = struct.unpack('<II', self.mem.read(at, 8))
            self.used_idx = (self.used_idx + 1) & 0xffff
            if head not in self.chains:
                raise WireError(f'queue {self.index}: used entry {head} '
                                'was never queued')
            self.free.extend(self.chains.pop(head))
            self.done[head] = n

    def wait(self, head, hangup=None, timeout=TIMEOUT, spin=False):
        """Used length of the chain. @hangup: a socket whose closing ends the
        wait with Gone. @spin: look again and again, without being called."""
        limit = time.monotonic() + timeout
        while True:
            self.reap()
            if head in self.done:
                return self.done.pop(head)
            left = limit - time.monotonic()
            if left <= 0:
                raise WireError(f'queue {self.index}: no answer')
            poll = select.poll()
            if not spin:
                poll.register(self.call, select.POLLIN)
            if hangup is not None:
                poll.register(hangup, select.POLLIN | select.POLLRDHUP)
            for fd, what in poll.poll(0.1 if spin else left * 1000):
                if fd == self.call:
                    os.read(self.call, 4096)
                elif what & (select.POLLHUP | select.POLLRDHUP):
                    self.reap()
                    if head not in self.done:
                        raise Gone('the daemon hung up')

    def close(self):
        os.close(self.kick)
        os.close(self.call)


class Window(threading.Thread):
    """The DAX window: reserved address space, and the thread that carries out
    what the daemon asks on the back-end channel. The rules of vhost-user are
    kept to the letter; a request that breaks one is refused and noted."""

    def __init__(self, size, channel):
        super().__init__(daemon=True)
        self.size, self.channel = size, channel
        self.base = libc.mmap(None, size, PROT_NONE,
                              mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS |
                              MAP_NORESERVE, -1, 0)
        if self.base in (None, ctypes.c_void_p(-1).value):
            raise OSError(ctypes.get_errno(), 'reserving the window')
        self.mappings = {}      # shm_offset -> (len, writable)
        self.violations = []
        self.refuse_next = 0    # make so many SHMEM_MAPs fail
        self.maps = self.unmaps = 0

    def run(self):
        while True:
            try:
                request, flags, payload, fds = self.channel.recv()
            except (WireError, OSError):
                return
            try:
                error = self.carry_out(request, payload, fds)
            finally:
                for fd in fds:
                    os.close(fd)
            if flags & NEED_REPLY:
                try:
                    self.channel.send(request, struct.pack('=Q', error),
                                      flags=VERSION | REPLY)
                except (WireError, OSError):
                    return
            else:
                self.violation(f'request {request} without NEED_REPLY')

    def violation(self, text):
        self.violations.append(text)
        return 1

    def carry_out(self, request, payload, fds):
        if request not in (SHMEM_MAP, SHMEM_UNMAP):
            return self.violation(f'unknown back-end request {request}')
        if len(payload) != 40:
            return self.violation(f'{len(payload)} bytes of payload')
        shmid, fd_off, off, length, flags = struct.unpack('=B7xQQQQ', payload)
        if shmid != 0:
            return self.violation(f'region {shmid}')
        if length == 0 or (fd_off | off | length) % PAGE:
            return self.violation(f'not page aligned: {fd_off:#x} {off:#x} '
                                  f'{length:#x}')
        if off > self.size or length > self.size - off:
            return self.violation(f'past the window: {off:#x}+{length:#x}')
        if request == SHMEM_UNMAP:
            return self.unmap(off, length, fds)
        return self.map(off, length, fd_off, flags, fds)

    def map(self, off, length, fd_off, flags, fds):
        if len(fds) != 1 or flags & ~1:
            return self.violation(f'map with {len(fds)} fds, flags {flags:#x}')
        for at, (n, _) in self.mappings.items():
            if off < at + n and at < off + length:
                return self.violation(f'map {off:#x}+{length:#x} over '
                                      f'{at:#x}+{n:#x}')
        if self.refuse_next:
            self.refuse_next -= 1
            return 12
        prot = mmap.PROT_READ | (mmap.PROT_WRITE if flags & 1 else 0)
        at = libc.mmap(self.base + off, length, prot,
                       mmap.MAP_SHARED | MAP_FIXED, fds[0], fd_off)
        if at != self.base + off:
            return self.violation(f'mmap: {os.strerror(ctypes.get_errno())}')
        self.mappings[off] = (length, bool(flags & 1))
        self.maps += 1
        return 0

    def unmap(self, off, length, fds):
        if fds or off not in self.mappings or self.mappings[off][0] != length:
            return self.violation(f'unmap of {off:#x}+{length:#x}, which is '
                                  'no whole mapping')
        self.blank(off, length)
        del self.mappings[off]
        self.unmaps += 1
        return 0

    def blank(self, off, length):
        libc.mmap(self.base + off, length, PROT_NONE, mmap.MAP_PRIVATE |
                  mmap.MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0)

    def _check(self, off, n):
        """Bytes outside a mapping would kill this process: refuse first."""
        for at, (length, _) in self.mappings.items():
            if at <= off and off + n <= at + length:
                return
        raise WireError(f'window {off:#x}+{n:#x} is not mapped')

    def load(self, off, n):
        self._check(off, n)
        return ctypes.string_at(self.base + off, n)

    def store(self, off, data):
        self._check(off, len(data))
        ctypes.memmove(self.base + off, data, len(data))

    def close(self):
        self.channel.close()
        self.join(TIMEOUT)
        libc.munmap(self.base, self.size)


def connect(path, patience=10.0):
    """A daemon may still be starting."""
    limit = time.monotonic() + patience
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(path)
            return sock
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            if time.monotonic() > limit:
                raise
            time.sleep(0.02)


class Device:
    """A connection brought up as a virtual machine would bring it up.

    slots:    announce memory by ADD_MEM_REG instead of SET_MEM_TABLE
    window:   ask for a DAX window if there is one
    indirect: put every chain in an indirect table
    guest:    be a stranger, as the monitor of a virtual machine is
    """
    SLOT, SLOTS = 4 << 20, 8

    def __init__(self, path, *, slots=False, window=True, indirect=False,
                 num=128, start=True, guest=False):
        self.indirect, self.num, self.guest = indirect, num, guest
        self.want_window, self.slots = window, slots
        self.window = None
        self.backend = None
        self.queues = []
        self.spin = False
        self.protocol = 0
        self.channel = Channel(connect(path))
        # A slot belongs to one queue: TSan in the daemon cannot see that this
        # process hands memory from one of its threads to another.
        self.mem = Memory((1 << 20) + self.SLOT * (self.SLOTS + 1))
        self.free_slots = {0: [self.SLOTS], 1: list(range(self.SLOTS))}
        if start:
            self.negotiate()
            self.start()

    def has(self, bit):
        return bool(self.protocol >> bit & 1)

    def ack(self, request, payload=b'', fds=()):
        """A message without an answer of its own: ask for the u64 where that
        is possible, and insist that it is 0."""
        if not self.has(PF_REPLY_ACK):
            self.channel.send(request, payload, fds)
            return
        error = self.channel.ask_u64(request, payload, fds,
                                     VERSION | NEED_REPLY)
        if error:
            raise WireError(f'message {request} refused: {error:#x}')

    def negotiate(self):
        ch = self.channel
        self.protocol = 0
        ch.send(SET_OWNER)
        self.offered = ch.ask_u64(GET_FEATURES)
        for bit in (VF_PROTOCOL, VF_VERSION_1):
            if not self.offered >> bit & 1:
                raise WireError(f'virtio feature {bit} not offered')
        self.protocol_offered = ch.ask_u64(GET_PROTOCOL_FEATURES)
        self.protocol = sum(1 << b for b in PF_WANTED
                            if self.protocol_offered >> b & 1)
        if self.guest:
            self.protocol &= ~(1 << PF_ORIEL)
        if not self.want_window:
            self.protocol &= ~(1 << PF_SHMEM)
        ch.send(SET_PROTOCOL_FEATURES, struct.pack('=Q', self.protocol))
        self.n_queues = ch.ask_u64(GET_QUEUE_NUM)
        if self.n_queues < 2:
            raise WireError(f'{self.n_queues} queues; virtio-fs needs two')
        window = self.window_size()
        if self.has(PF_BACKEND_REQ):
            ours, theirs = socket.socketpair()
            self.ack(SET_BACKEND_REQ_FD, fds=[theirs.fileno()])
            theirs.close()
            self.backend = Channel(ours)
            ours.settimeout(None)
            if window:
                self.window = Window(window, self.backend)
                self.window.start()

    def window_size(self):
        if not self.has(PF_SHMEM):
            return 0
        data = self.channel.ask(GET_SHMEM_CONFIG)
        if len(data) != 8 + 8 * 256:
            raise WireError(f'GET_SHMEM_CONFIG answered {len(data)} bytes')
        n, _, *sizes = struct.unpack('=II256Q', data)
        if n != sum(1 for s in sizes if s):
            raise WireError(f'{n} regions announced, but sizes say otherwise')
        if sizes[0] % PAGE:
            raise WireError(f'window of {sizes[0]} bytes')
        return sizes[0]

    def config(self, offset, size):
        """Bytes of the virtio-fs configuration space."""
        data = self.channel.ask(GET_CONFIG, struct.pack(
            '=III', offset, size, 0) + bytes(size))
        if len(data) != 12 + size:
            raise WireError(f'GET_CONFIG answered {len(data)} bytes')
        return data[12:]

    def set_memory(self):
        region = self.mem.region()
        if self.slots:
            # Answered with the same message where acks are on, as with them.
            self.ack(ADD_MEM_REG, struct.pack('=Q', 0) + region,
                     [self.mem.fd])
        else:
            self.ack(SET_MEM_TABLE, struct.pack('=II', 1, 0) + region,
                     [self.mem.fd])

    def start(self, n_queues=2):
        features = 1 << VF_PROTOCOL | 1 << VF_VERSION_1
        if self.indirect:
            if not self.offered >> VF_INDIRECT & 1:
                raise WireError('indirect descriptors not offered')
            features |= 1 << VF_INDIRECT
        self.ack(SET_FEATURES, struct.pack('=Q', features))
        self.set_memory()
        for i in range(n_queues):
            self.start_queue(Queue(self.mem, i, i * Queue.BYTES, self.num))

    def start_queue(self, q):
        at = self.mem.uaddr + q.base
        state = lambda n: struct.pack('=II', q.index, n)
        self.ack(SET_VRING_NUM, state(q.num))
        self.ack(SET_VRING_BASE, state(q.avail_idx))
        self.ack(SET_VRING_ADDR, struct.pack(
            '=IIQQQQ', q.index, 0, at, at + Queue.USED, at + Queue.AVAIL, 0))
        self.ack(SET_VRING_CALL, struct.pack('=Q', q.index), [q.call])
        self.ack(SET_VRING_KICK, struct.pack('=Q', q.index), [q.kick])
        self.ack(SET_VRING_ENABLE, state(1))
        self.queues.append(q)

    def stop_queue(self, q):
        """The ring's position, as GET_VRING_BASE tells it."""
        data = self.channel.ask(GET_VRING_BASE,
                                struct.pack('=II', q.index, 0))
        index, base = struct.unpack('=II', data)
        if index != q.index:
            raise WireError(f'GET_VRING_BASE of {q.index} names {index}')
        return base

    def submit(self, queue, out, n_in, cuts=()):
        """Queue @out bytes to read and @n_in bytes of room. @cuts: lengths at
        which the readable part is cut into descriptors."""
        slot = self.free_slots[queue].pop()
        at = (1 << 20) + slot * self.SLOT
        self.mem.write(at, out)
        pieces, done = [], 0
        for n in (*cuts, len(out)):
            n = min(n, len(out) - done)
            if n:
                pieces.append((self.mem.gpa + at + done, n, False))
                done += n
        if n_in:
            room = at + self.SLOT // 2
            for part in (16, n_in - 16):
                if part > 0:
                    pieces.append((self.mem.gpa + room, part, True))
                    room += part
        q = self.queues[queue]
        head = q.put(pieces, self.indirect)
        q.ring_bell()
        return queue, head, slot

    def finish(self, token, timeout=TIMEOUT):
        """The bytes that came back."""
        queue, head, slot = token
        n = self.queues[queue].wait(head, self.channel.sock, timeout,
                                    self.spin)
        self.free_slots[queue].append(slot)
        room = (1 << 20) + slot * self.SLOT + self.SLOT // 2
        return self.mem.read(room, n)

    def close(self, politely=True):
        if politely:
            for q in self.queues:
                self.stop_queue(q)
        self.channel.close()
        if self.window:
            self.window.close()
        elif self.backend:
            self.backend.close()
        for q in self.queues:
            q.close()
        self.mem.close()
