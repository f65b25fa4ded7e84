# SPDX-License-Identifier: BSD-2-Clause
"""Requests in which one thing is wrong: every field of every opcode in turn
takes every value that could be misread, every request comes with too little
room, in pieces of one byte, with names that do not end, with extensions that
lie. Beside these, what needs two requests at once: locks that wait while
what they hang on goes away, and nodes forgotten while they are used.

wire_hostile_fuse.py is about single ideas; this is about completeness.
"""
import os
import struct

import wire_fuse as fuse
from wire_client import Gone, Queue, WireError
from wire_fuse import NO_HANDLE, FuseError

INTERRUPT, GETLK, SETLK, SETLKW, ACCESS, BMAP, IOCTL, POLL = \
    36, 31, 32, 33, 34, 37, 39, 40
WALK = 0x40184f60   # _IOW('O', 96, 24 bytes): docs/design/compound.md
STATX, COPY_64, SETUP = 52, 53, fuse.SETUPMAPPING
RANGE = 2 << 20
F_LOCKS = (1, 10)   # POSIX, flock: INIT flags
EVIL = {'I': (0, 1, 7, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff),
        'Q': (0, 1, 4095, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63,
              2**64 - 4096, 2**64 - 2, 2**64 - 1),
        'H': (0, 1, 0x8000, 0xffff)}
RW = '<QQIIQII'


def fits(n):
    """As EVIL, but for lengths that would really be allocated."""
    return n == 0 or n >= 2**62


class Templates:
    """(opcode, node, [(format, value)...], tail, room) of requests that are
    in order, for an open file, an open directory and a mapping."""

    def __init__(self, s):
        e = s.lookup(fuse.ROOT, 'file')
        self.node, self.fh = e.nodeid, s.open(e.nodeid, os.O_RDWR)
        self.dh = s.opendir(fuse.ROOT)
        if s.window:
            s.setupmapping(e.nodeid, 0, RANGE, 0)
        self.list = self.build(bool(s.window))

    def build(self, window):
        n, fh, dh, root = self.node, self.fh, self.dh, fuse.ROOT
        q, i = (lambda *v: [('Q', x) for x in v]), \
            (lambda *v: [('I', x) for x in v])
        rw = q(fh, 0) + i(8, 0) + q(0) + i(0, 0)
        rwd = q(dh, 0) + i(4096, 0) + q(0) + i(0, 0)
        lock = q(fh, 1, 0, 9) + i(1, 7, 0, 0)
        both = [
            (fuse.LOOKUP, root, [], b'file\0', 128),
            (fuse.GETATTR, n, i(1, 0) + q(fh), b'', 104),
            (fuse.SETATTR, n, i(0, 0) + q(fh, 100, 0, 1, 1, 1) +
             i(1, 1, 1, 0o644, 0, 0, 0, 0), b'', 104),
            (fuse.READLINK, n, [], b'', 4096),
            (fuse.SYMLINK, root, [], b'file\0to\0', 128),
            (fuse.MKNOD, root, i(0o100644, 0, 0, 0), b'file\0', 128),
            (fuse.MKDIR, root, i(0o755, 0), b'file\0', 128),
            (fuse.UNLINK, root, [], b'nothing\0', 0),
            (fuse.RMDIR, root, [], b'file\0', 0),
            (fuse.RENAME, root, q(root), b'nothing\0other\0', 0),
            (fuse.RENAME2, root, q(root) + i(0, 0), b'nothing\0other\0', 0),
            (fuse.LINK, root, q(n), b'file\0', 128),
            (fuse.OPEN, n, i(0, 0), b'', 16),
            (fuse.READ, n, rw, b'', 8),
            (fuse.WRITE, n, rw, b'contents', 8),
            (fuse.STATFS, root, [], b'', 80),
            (fuse.FSYNC, n, q(fh) + i(0, 0), b'', 0),
            (fuse.SETXATTR, n, i(5, 0), b'user.x\0value', 0),
            (fuse.GETXATTR, n, i(100, 0), b'user.x\0', 100),
            (fuse.LISTXATTR, n, i(100, 0), b'', 100),
            (fuse.REMOVEXATTR, n, [], b'user.y\0', 0),
            (fuse.FLUSH, n, q(fh) + i(0, 0) + q(1), b'', 0),
            (fuse.OPENDIR, root, i(0, 0), b'', 16),
            (fuse.READDIR, root, rwd, b'', 4096),
            (fuse.READDIRPLUS, root, rwd, b'', 4096),
            (fuse.FSYNCDIR, root, q(dh) + i(0, 0), b'', 0),
            (GETLK, n, lock, b'', 24),
            (SETLK, n, lock, b'', 0),
            # never in the way of the others, so it need not wait
            (SETLKW, n, q(fh, 1, 100, 109) + i(2, 7, 0, 0), b'', 0),
            (ACCESS, n, i(4, 0), b'', 0),
            (fuse.CREATE, root, i(2, 0o644, 0, 0), b'file\0', 144),
            (BMAP, n, q(0) + i(512, 0), b'', 8),
            (IOCTL, n, q(fh) + i(0, 0x5401) + q(0) + i(0, 64), b'', 80),
            # look up 'file', open, read and close it, after another handle
            (IOCTL, root, q(NO_HANDLE) + i(0, WALK) + q(0) + i(36, 312) +
             i(7, 0, 160, 1, 1, 4) + q(NO_HANDLE), b'file', 328),
            (POLL, n, q(fh, 1) + i(0, 1), b'', 8),
            (fuse.FALLOCATE, n, q(fh, 0, 100) + i(0, 0), b'', 0),
            (fuse.LSEEK, n, q(fh, 0) + i(3, 0), b'', 8),
            (fuse.COPY_FILE_RANGE, n, q(fh, 0, n, fh, 50_000, 10, 0), b'', 8),
            (COPY_64, n, q(fh, 0, n, fh, 50_000, 10, 0), b'', 8),
            (fuse.SYNCFS, root, q(0), b'', 0),
            (fuse.TMPFILE, root, i(2, 0o644, 0, 0), b'', 144),
            (STATX, n, i(1, 0) + q(fh) + i(0, 0xfff), b'', 288)]
        if window:
            both += [
                (SETUP, n, q(NO_HANDLE, 0, RANGE, 1, RANGE), b'', 0),
                (fuse.REMOVEMAPPING, n, i(1) + q(0, RANGE), b'', 0)]
        return both


def pack(fields):
    return struct.pack('<' + ''.join(f for f, _ in fields),
                       *(v for _, v in fields))


class Patient:
    """A session with locks and templates, opened anew when it was dropped."""

    def __init__(self, t):
        self.t, self.s = t, None
        self.good = self.bad = 0
        self.get()

    def get(self):
        if self.s is None:
            with open(os.path.join(self.t.share, 'file'), 'wb') as f:
                f.write(bytes(range(256)) * 400)
            self.s = self.t.session(init=False)
            self.s.init(more=F_LOCKS, oriel=True)
            self.templates = Templates(self.s)
        return self.s

    def drop(self):
        self.s.close(False)
        self.s = None

    def __call__(self, opcode, node, body, room, **how):
        """The answer, checked as far as any can be; None: an error; or the
        session went."""
        s = self.get()
        try:
            data = s.request(opcode, node, body, room, **how)
            assert len(data) <= room, 'more than there was room for'
            self.good += 1
            return data
        except FuseError:
            self.bad += 1
            return None
        except Gone:
            self.drop()
            return None


def every_field(t):
    send = Patient(t)
    for k in range(len(send.templates.list)):
        fields = send.templates.list[k][2]
        for at in range(len(fields)):
            for value in EVIL[fields[at][0]]:
                opcode, node, good, tail, room = send.templates.list[k]
                if opcode == fuse.FALLOCATE and at in (1, 2) and \
                        not fits(value):
                    continue    # that could be done, and fill the disk
                body = pack(good[:at] + [(good[at][0], value)] +
                            good[at + 1:]) + tail
                send(opcode, node, body, room)
                send.get()
    for opcode, _, good, tail, room in list(send.templates.list):
        for node in EVIL['Q']:
            if node != fuse.ROOT:
                send(opcode, node, pack(good) + tail, room)
    # One wrong field is often no error, and often one.
    assert send.good > 300 and send.bad > 300, (send.good, send.bad)
    send.drop()


def walk(t):
    """The request that the templates above spoil is one that is served."""
    send = Patient(t)
    for opcode, node, good, tail, room in send.templates.list:
        if opcode == IOCTL and node == fuse.ROOT:
            data = send(opcode, node, pack(good) + tail, room)
            assert data[168:] == bytes(range(160)), data
            assert struct.unpack_from('<IiI', data, 24) == (1, 0, 7)
            break
    else:
        assert False, 'no template'
    send.drop()


def every_room(t):
    """Never more than there is room for, and never an answer cut in half."""
    send = Patient(t)
    for k in range(len(send.templates.list)):
        for cut in (1, 2, 3, 4, 7, 8, 15, 16, 17, 40, 64, 100, 104, 128, 144):
            opcode, node, good, tail, room = send.templates.list[k]
            if cut <= room:
                send(opcode, node, pack(good) + tail, room - cut)
                send.get()
        opcode, node, good, tail, room = send.templates.list[k]
        for n in range(len(pack(good)) + len(tail)):
            send(opcode, node, (pack(good) + tail)[:n], room)
            send.get()
    assert send.good > 20 and send.bad > 500, (send.good, send.bad)
    send.drop()


def in_pieces(s, out, n_in, step, at=(1 << 20) + 3):
    """Send @out in pieces of @step bytes and take the answer in such pieces,
    at addresses that are not aligned. The answer."""
    q = s.queues[1]
    room = at + 65537
    s.mem.write(at, out)
    pieces = [(s.mem.gpa + at + i, min(step, len(out) - i), False)
              for i in range(0, len(out), step)]
    pieces += [(s.mem.gpa + room + i, min(step, n_in - i), True)
               for i in range(0, n_in, step)]
    head = q.put(pieces)
    q.ring_bell()
    return s.mem.read(room, q.wait(head, s.channel.sock))


def pieces_of_one_byte(t):
    """How a request is cut is nothing that may change its answer."""
    send = Patient(t)
    s = send.get()
    s.close(False)
    send.s = s = t.session(init=False, num=512)
    s.init(more=F_LOCKS, oriel=True)
    send.templates = Templates(s)
    compared = 0
    for opcode, node, good, tail, room in send.templates.list:
        if room > 288 or opcode in (fuse.OPEN, fuse.OPENDIR, fuse.CREATE,
                                    fuse.TMPFILE, fuse.STATFS, SETUP,
                                    fuse.REMOVEMAPPING):
            continue    # what has another answer every time
        out = fuse.header(opcode, node, pack(good) + tail, 77)
        answers = [in_pieces(s, out, 16 + room, step)
                   for step in (1 << 16, 1, 3, 17)]
        assert len(answers[0]) >= 16
        assert len(set(answers)) == 1, f'opcode {opcode}: {answers}'
        compared += answers[0][4:8] == bytes(4)
    assert compared >= 12, f'only {compared} of them succeed'
    # More pieces than any request of ours has.
    for step in (1, 2):
        out = fuse.header(fuse.WRITE, send.templates.node, struct.pack(
            RW, send.templates.fh, 0, 200, 0, 0, 0, 0) + b'w' * 200, 78)
        got = in_pieces(s, out, 24, step)
        assert got[:16] == struct.pack('<IiQ', 24, 0, 78)
    s.close(False)


def names_without_end(t):
    send = Patient(t)
    before = sorted(os.listdir(t.share))
    long = b'n' * 4096
    for opcode, fixed in ((fuse.LOOKUP, b''), (fuse.UNLINK, b''),
                          (fuse.RMDIR, b''), (fuse.MKDIR, bytes(8)),
                          (fuse.MKNOD, struct.pack('<4I', 0o100644, 0, 0, 0)),
                          (fuse.LINK, struct.pack('<Q', send.templates.node)),
                          (fuse.CREATE, struct.pack('<4I', 66, 0o644, 0, 0)),
                          (fuse.SYMLINK, b''),
                          (fuse.RENAME, struct.pack('<Q', 1)),
                          (fuse.RENAME2, struct.pack('<QII', 1, 0, 0))):
        pair = opcode in (fuse.SYMLINK, fuse.RENAME, fuse.RENAME2)
        names = [b'file', b'x', long, long * 16, b'/', b'..']
        if pair:
            names += [b'file\0new', b'file\0', b'file\0\0', b'\0\0', b'\0new\0',
                      b'file\0' + long, b'file\0' + long + b'\0']
        for name in names:
            if opcode != fuse.LOOKUP or name not in (b'..',):
                assert send(opcode, fuse.ROOT, fixed + name, 144) is None, \
                    f'opcode {opcode} took {name[:20]!r}'
            send.get()
    assert sorted(os.listdir(t.share)) == before
    send.drop()


def extensions(t):
    """total_extlen, in units of 8 bytes, and what should follow."""
    send = Patient(t)
    name = b'ext'
    body = struct.pack('<II', 0o755, 0) + name + b'\0'
    groups = lambda n, *ids: struct.pack('<II', 8 + 8 + 4 * len(ids), 32) + \
        struct.pack(f'<II{len(ids)}I', n, 0, *ids)
    context = lambda size, n, tail: struct.pack('<IIII', size, n, 0, 0) + tail
    extra = [b'', bytes(8), b'\xff' * 8, b'\xff' * 64, groups(1, 5, 6),
             groups(2**32 - 1, 5, 6), groups(0), groups(2**30, 0),
             struct.pack('<II', 0, 32), struct.pack('<II', 2**32 - 8, 32),
             struct.pack('<II', 7, 1), struct.pack('<II', 12, 2**31),
             context(24, 1, struct.pack('<II', 2**32 - 1, 0) + b'security.x\0'),
             context(64, 2**32 - 1, b'x' * 48), context(16, 0, b'')]
    for opcode, fixed in ((fuse.MKDIR, struct.pack('<II', 0o755, 0)),
                          (fuse.CREATE, struct.pack('<4I', 66, 0o644, 0, 0)),
                          (fuse.MKNOD, struct.pack('<4I', 0o100644, 0, 0, 0)),
                          (fuse.SYMLINK, b'to\0'), (fuse.GETATTR, bytes(16)),
                          (fuse.WRITE, struct.pack(RW, 1, 0, 8, 0, 0, 0, 0))):
        for more in extra:
            pad = more + bytes(-len(more) % 8)
            for claim in (0, 1, len(pad) // 8, len(pad) // 8 + 1, 20, 0x7fff,
                          0xffff):
                s = send.get()
                body = fixed + name + b'\0' + pad
                s.unique += 2
                out = fuse.header(opcode, fuse.ROOT, body, s.unique)
                out = out[:36] + struct.pack('<HH', claim, 0) + out[40:]
                try:
                    s.finish_request((opcode, s.unique,
                                      s.submit(1, out, 16 + 288)))
                except FuseError:
                    pass
                except Gone:
                    send.drop()
    left = [n for n in os.listdir(t.share) if n not in ('file', 'ext')]
    assert all('/' not in n for n in left)
    send.drop()


# ------------------------------------------------------------------- locks

def lock(fh, owner, kind=1, start=0, end=2**63 - 1, flags=0):
    """fuse_lk_in; kinds: 0 read, 1 write, 2 none."""
    return struct.pack('<4Q4I', fh, owner, start, end, kind, 7, flags, 0)


def lock_session(t):
    path = os.path.join(t.share, 'locked')
    if not os.path.exists(path):
        with open(path, 'wb') as f:
            f.write(b'locked')
    s = t.session(init=False)
    s.init(more=F_LOCKS)
    node = s.lookup(fuse.ROOT, 'locked').nodeid
    return s, node, s.open(node, os.O_RDWR)


def error_of(s, opcode, node, body, room=0):
    try:
        s.request(opcode, node, body, room)
        return 0
    except FuseError as e:
        return e.errno


def bad_locks(t):
    s, node, fh = lock_session(t)
    dh = s.opendir(fuse.ROOT)
    gone = s.open(node)
    s.release(node, gone)
    for opcode in (SETLK, SETLKW, GETLK):
        for kind in (3, 4, 0x10000, 2**31, 2**32 - 1):
            assert error_of(s, opcode, node, lock(fh, 1, kind), 24) == 22
            assert error_of(s, opcode, node, lock(fh, 1, kind, flags=1),
                            24) == 22
        for start, end in ((5, 4), (2**63, 2**64 - 1), (2**64 - 1, 0),
                           (2**63, 2**63), (2**64 - 1, 2**64 - 1)):
            assert error_of(s, opcode, node, lock(fh, 1, 1, start, end),
                            24) == 22
        for flags in (2, 0x80, 2**31, 2**32 - 1):
            assert error_of(s, opcode, node, lock(fh, 1, flags=flags),
                            24) == 22
        for bad in (0, dh, gone, fh + 1000, 2**63, 2**64 - 1):
            for flags in ((0, 1) if opcode != GETLK else (0,)):
                assert error_of(s, opcode, node, lock(bad, 1, flags=flags),
                                24) == 9
    # More owners than there can be descriptors, who never flush: an error
    # of theirs, and no descriptor stays (the caller counts).
    for owner in range(3000):
        if error_of(s, SETLK, node, lock(fh, owner, 0)):
            break
    assert error_of(s, SETLK, node, lock(fh, 0, 2)) == 0
    # Many pieces of one owner.
    for i in range(300):
        assert error_of(s, SETLK, node, lock(fh, 0, 0, 10 * i, 10 * i)) == 0
    s.release(node, fh)
    s.close(False)
    # Without locks agreed they are refused.
    s = t.session()
    node = s.lookup(fuse.ROOT, 'locked').nodeid
    fh = s.open(node)
    assert error_of(s, SETLKW, node, lock(fh, 1)) == 38
    s.close(False)


def waiter(s, node, body, unique=None, n_in=16, pieces=()):
    """A SETLKW that waits; its head."""
    q = s.queues[1]
    slot = s.free_slots[1][0]
    at = (1 << 20) + slot * s.SLOT
    if unique is None:
        s.unique += 2
        unique = s.unique
    s.mem.write(at, fuse.header(SETLKW, node, body, unique))
    chain = [(s.mem.gpa + at, 40 + len(body), False)]
    for i, n in enumerate(pieces or [n_in]):
        chain.append((s.mem.gpa + at + 8192 + 64 * i, n, True))
    head = q.put(chain)
    q.ring_bell()
    # Nothing comes in order behind it, so what follows has been taken after.
    s.getattr(fuse.ROOT)
    return head, unique


def interrupt(s, unique, queue=0):
    s.unique += 2
    out = fuse.header(INTERRUPT, 0, struct.pack('<Q', unique), s.unique)
    try:
        s.finish(s.submit(queue, out, 0))
    except Gone:
        return False
    return True


def interrupts(t):
    """Of nothing, of what was, of oneself, short, on the wrong queue; then
    one that is about something."""
    s, node, fh = lock_session(t)
    for unique in (0, 1, 2, 3, s.unique, s.unique + 1, 2**63, 2**64 - 1):
        for queue in (0, 1):
            assert interrupt(s, unique, queue)
    for n in range(0, 8):
        s.unique += 2
        s.finish(s.submit(0, fuse.header(INTERRUPT, 0, bytes(n), s.unique), 0))
    for _ in range(1000):
        interrupt(s, 12345)
    with open(os.path.join(t.share, 'locked'), 'rb') as holder:
        import fcntl
        fcntl.flock(holder, fcntl.LOCK_EX)
        head, unique = waiter(s, node, lock(fh, 1, 1, flags=1))
        interrupt(s, unique + 1)
        assert head in s.queues[1].chains
        interrupt(s, unique)
        assert s.queues[1].wait(head, s.channel.sock) == 16
    assert s.getattr(node).size == 6
    s.close(False)


def waits_end(t):
    """Whatever a waiting request hangs on goes while it waits."""
    import fcntl
    holder = open(os.path.join(t.share, 'locked'), 'wb')
    fcntl.flock(holder, fcntl.LOCK_EX)
    body = lambda fh: lock(fh, 1, 1, flags=1)
    stopped = lambda s: s.stop_queue(s.queues[1])
    state = struct.pack('=II', 0, 0)

    def close_handle(s, node, fh):
        s.release(node, fh)
        s.forget(node, 2**64 - 1)

    for label, act in {
            'hang up': lambda s, n, f: None,
            'stop': lambda s, n, f: stopped(s),
            'handle closed': close_handle,
            'DESTROY': lambda s, n, f: s.destroy(),
            'INIT': lambda s, n, f: s.init(more=F_LOCKS),
            'no memory': lambda s, n, f: s.channel.ask(
                5, state, (), 1 | 8),
            'memory cut': lambda s, n, f: os.ftruncate(s.mem.fd, 0),
            'reset': lambda s, n, f: s.channel.ask(34, b'', (), 1 | 8),
            'owner flushed': lambda s, n, f: s.flush(n, f)}.items():
        s, node, fh = lock_session(t)
        s.channel.sock.settimeout(5)
        heads = [waiter(s, node, body(fh))[0] for _ in range(5)]
        assert all(h in s.queues[1].chains for h in heads), label
        try:
            act(s, node, fh)
            if label == 'stop':
                s.queues[1].reap()
                assert not any(h in s.queues[1].chains for h in heads)
        except (WireError, FuseError, OSError):
            if label in ('stop', 'handle closed', 'DESTROY', 'INIT'):
                raise
        s.close(False)
    holder.close()


def waits_answered_badly(t):
    """Room for the answer that is too small, in many pieces or in the way;
    one request number for many; more waits than a share may have."""
    import fcntl
    holder = open(os.path.join(t.share, 'locked'), 'wb')
    fcntl.flock(holder, fcntl.LOCK_EX)
    body = lambda fh: lock(fh, 1, 1, flags=1)
    for pieces in ([1] * 16, [2] * 8, [16, 100], [3] * 60, [15, 1]):
        s, node, fh = lock_session(t)
        head, unique = waiter(s, node, body(fh), pieces=pieces)
        interrupt(s, unique)
        assert s.queues[1].wait(head, s.channel.sock) == 16, pieces
        s.close(False)
    # One number, twenty requests.
    s, node, fh = lock_session(t)
    heads = [waiter(s, node, body(fh), 4242)[0] for _ in range(20)]
    interrupt(s, 4242)
    for head in heads:
        assert s.queues[1].wait(head, s.channel.sock) == 16
    s.close(False)
    # One descriptor for all of them, so none has to be free.
    s, node, fh = lock_session(t)
    head, _ = waiter(s, node, body(fh))
    for _ in range(1000):
        s.queues[1].publish(head)
    s.queues[1].ring_bell()
    other, node, fh = lock_session(t)
    assert other.getattr(node).size == 0
    s.close(False)
    # And when they have all gone one can wait again.
    head, unique = waiter(other, node, body(fh))
    fcntl.flock(holder, fcntl.LOCK_UN)
    assert other.queues[1].wait(head, other.channel.sock) == 16
    other.close(False)
    holder.close()


# ------------------------------------------------------------------- races

def forgotten_while_used(t):
    """Lookups, opens, reads and mappings of nodes and handles that another
    queue forgets, closes and destroys at the same time."""
    names = [f'n{i}' for i in range(8)]
    for name in names:
        with open(os.path.join(t.share, name), 'wb') as f:
            f.truncate(RANGE)
    for again in range(3):
        s = t.session(init=False)
        for i in range(2, min(s.n_queues, 4)):
            s.start_queue(Queue(s.mem, i, i * Queue.BYTES, s.num))
        s.init(more=F_LOCKS)
        nodes = [s.lookup(fuse.ROOT, n).nodeid for n in names]
        handles = [s.open(n, os.O_RDWR) for n in nodes]
        todo = []
        for i in range(400):
            node, fh = nodes[i % 8], handles[i * 5 % 8]
            todo += [
                fuse.header(fuse.LOOKUP, 1, names[i % 8].encode() + b'\0', 4),
                fuse.header(fuse.GETATTR, node, bytes(16), 6),
                fuse.header(fuse.OPEN, node, bytes(8), 8),
                fuse.header(fuse.READ, node, struct.pack(
                    RW, fh, 0, 64, 0, 0, 0, 0), 10),
                fuse.header(SETLK, node, lock(fh, i), 12),
                fuse.header(fuse.READDIRPLUS, 1, struct.pack(
                    RW, i, 0, 64, 0, 0, 0, 0), 14)]
        kills = []
        for i in range(1200):
            node, fh = nodes[i % 8], handles[i % 8]
            kills.append(fuse.header(fuse.FORGET, node, struct.pack(
                '<Q', 2**64 - 1 if i % 3 else 1), 16))
            kills.append(fuse.header(fuse.BATCH_FORGET, 0, struct.pack(
                '<II4Q', 2, 0, node, 1, nodes[(i + 1) % 8], 2**63), 18))
            kills.append(fuse.header(INTERRUPT, 0, struct.pack(
                '<Q', 12), 20))
            if i % 40 == 0:
                kills.append(fuse.header(fuse.RELEASE, node, struct.pack(
                    '<QIIQ', fh, 0, 0, 0), 22))
        pump(s, [kills] + [todo] * (len(s.queues) - 1))
        if again == 2:
            s.finish_request(s.submit_request(fuse.DESTROY, 0))
        s.close(False)


def pump(s, work):
    """All queues full all the time; every chain comes back."""
    done = [0] * len(work)

    def feed(k):
        q, at = s.queues[k], (1 << 20) + k * s.SLOT
        while done[k] < len(work[k]) and len(q.chains) < 32:
            data = work[k][done[k]]
            slot = at + 8192 * (done[k] % 64)
            s.mem.write(slot, data)
            q.put([(s.mem.gpa + slot, len(data), False),
                   (s.mem.gpa + slot + 4096, 400, True)])
            done[k] += 1
        q.ring_bell()

    while any(q.chains for q in s.queues) or \
            any(n < len(w) for n, w in zip(done, work)):
        for k in range(len(work)):
            feed(k)
        for q in s.queues:
            if q.chains:
                q.wait(next(iter(q.chains)), s.channel.sock)
            q.reap()
            q.done.clear()


CASES = [every_field, walk, every_room, pieces_of_one_byte, names_without_end,
         extensions, bad_locks, interrupts, waits_end, waits_answered_badly,
         forgotten_while_used]
