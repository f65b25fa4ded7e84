# SPDX-License-Identifier: BSD-2-Clause
"""FUSE requests that no client should send. The transport is in order here;
wire_hostile_vhost.py is about that.

The daemon may answer with an error or drop the session. It may not answer
with success what cannot succeed, touch anything outside the share, hang, or
die; the caller checks its health after every case.
"""
import os
import socket
import struct

import wire_fuse as fuse
from wire_client import PAGE, Gone, WireError
from wire_fuse import NO_HANDLE, FuseError

RANGE = 2 << 20
HUGE = (2**63 - 1, 2**63, 2**64 - 1, 2**64 - PAGE, 2**63 - PAGE, 2**32)


def refused(s, opcode, nodeid=fuse.ROOT, body=b'', room=4096, **how):
    """An error or the end of the session; anything else is a failure. Returns
    whether the session lives."""
    try:
        data = s.request(opcode, nodeid, body, room, **how)
    except FuseError:
        return True
    except Gone:
        return False
    raise AssertionError(f'opcode {opcode} succeeded with {body[:80]!r}: '
                         f'{data[:80]!r}')


def survived(s, opcode, nodeid=fuse.ROOT, body=b'', room=4096, **how):
    """Any answer will do, but there must be one."""
    try:
        s.request(opcode, nodeid, body, room, **how)
        return True
    except FuseError:
        return True
    except Gone:
        return False


class Sender:
    """A session that is opened anew when the daemon has dropped it."""

    def __init__(self, t, check, **options):
        self.t, self.check, self.options = t, check, options
        self.s = None

    def __call__(self, *args, **how):
        if self.s is None:
            self.s = self.t.session(**self.options)
        if not self.check(self.s, *args, **how):
            self.s.close(False)
            self.s = None


def make_file(t, name='file', size=100_000):
    with open(os.path.join(t.share, name), 'wb') as f:
        f.write(bytes(i & 255 for i in range(256)) * (size // 256 + 1))
        f.truncate(size)


def bad_names(t):
    """Nothing gets out of the share, and nothing of a bad name gets in."""
    outside = os.path.join(t.root, 'outside')
    with open(outside, 'w') as f:
        f.write('secret')
    os.mkdir(os.path.join(t.share, 'dir'))
    make_file(t)
    send = Sender(t, refused)
    for name in (b'../outside', b'..', b'.', b'', b'/', b'/etc/passwd',
                 b'dir/../../outside', b'dir/', b'a/b', b'x' * 256,
                 b'x' * 5000, outside.encode()):
        z = name + b'\0'
        if name not in (b'.', b'..'):
            # Linux asks "." and ".." of servers that export; of the root
            # both are the root itself.
            send(fuse.LOOKUP, body=z)
        send(fuse.MKDIR, body=struct.pack('<II', 0o755, 0) + z)
        send(fuse.MKNOD, body=struct.pack('<4I', 0o100644, 0, 0, 0) + z)
        send(fuse.CREATE, body=struct.pack('<4I', 2 | os.O_CREAT, 0o644, 0, 0)
             + z)
        send(fuse.SYMLINK, body=z + b'target\0')
        send(fuse.UNLINK, body=z)
        send(fuse.RMDIR, body=z)
        for pair in (z + b'ok\0', b'file\0' + z):
            send(fuse.RENAME, body=struct.pack('<Q', 1) + pair)
            send(fuse.RENAME2, body=struct.pack('<QII', 1, 0, 0) + pair)
        send(fuse.LINK, body=struct.pack('<Q', 1) + z)
    for name in (b'.', b'..'):
        with t.session() as s:
            try:
                e = s.lookup(fuse.ROOT, name)
                assert e.attr.ino == os.stat(t.share).st_ino, f'out by {name}'
            except FuseError:
                pass
    assert sorted(os.listdir(t.share)) == ['dir', 'file']
    assert sorted(os.listdir(t.root)) == ['outside', 'share']
    with open(outside) as f:
        assert f.read() == 'secret'


def symlinks_out(t):
    """A link is never followed on this side."""
    os.symlink('/', os.path.join(t.share, 'root'))
    os.symlink('/etc/passwd', os.path.join(t.share, 'passwd'))
    send = Sender(t, refused)
    with t.session() as s:
        for name in ('root', 'passwd'):
            e = s.lookup(fuse.ROOT, name)
            assert e.attr.mode & 0o170000 == 0o120000
            for opcode, body in (
                    (fuse.LOOKUP, b'etc\0'), (fuse.OPENDIR, bytes(8)),
                    (fuse.OPEN, struct.pack('<II', 0, 0)),
                    (fuse.SETUPMAPPING, struct.pack('<5Q', NO_HANDLE, 0,
                                                    RANGE, 1, 0)),
                    (fuse.MKDIR, struct.pack('<II', 0o755, 0) + b'x\0')):
                assert refused(s, opcode, e.nodeid, body)
    send(fuse.CREATE, body=struct.pack('<4I', 1 | os.O_CREAT, 0o644, 0, 0) +
         b'passwd\0')


def special_files(t):
    """FIFOs, sockets and devices are never opened: that could block, or do
    something."""
    os.mkfifo(os.path.join(t.share, 'fifo'))
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(os.path.join(t.share, 'sock'))
    names = ['fifo', 'sock']
    if os.getuid() == 0:
        try:
            os.mknod(os.path.join(t.share, 'zero'), 0o20666, os.makedev(1, 5))
            names.append('zero')
        except PermissionError:
            pass
    with t.session() as s:
        for name in names:
            e = s.lookup(fuse.ROOT, name)
            for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
                assert refused(s, fuse.OPEN, e.nodeid,
                               struct.pack('<II', flags, 0))
            assert refused(s, fuse.SETUPMAPPING, e.nodeid, struct.pack(
                '<5Q', NO_HANDLE, 0, RANGE, 1, 0))
            assert refused(s, fuse.CREATE, fuse.ROOT, struct.pack(
                '<4I', 2, 0o644, 0, 0) + name.encode() + b'\0')
    sock.close()


def header_lengths(t):
    make_file(t)
    send = Sender(t, refused)
    z = b'file\0'
    for length in (0, 1, 39, 40, 44, 46, 100, 4096, 2**31, 2**32 - 1):
        send(fuse.LOOKUP, body=z, length=length)
        send(fuse.WRITE, fuse.ROOT, struct.pack(
            '<QQIIQII', 0, 0, 5, 0, 0, 0, 0) + b'hello', length=length)
    for n in range(0, 40):  # not even a header
        s = t.session()
        try:
            token = s.submit(1, bytes(n) if n else b'\0', 16)
            s.finish(token, 0.05)
        except WireError:
            pass
        s.close(False)


def short_bodies(t):
    """Every opcode with every length of zeros, and of ones, up to a little
    more than its arguments."""
    make_file(t)
    send = Sender(t, survived)
    interrupt = 36  # which, like the FORGETs, is not answered
    skip = (fuse.INIT, fuse.DESTROY, fuse.FORGET, fuse.BATCH_FORGET, interrupt)
    for opcode in [o for o in range(0, 60) if o not in skip] + \
            [4096, 2**31, 2**32 - 1]:
        for fill in (b'\0', b'\xff'):
            for n in (0, 1, 3, 4, 7, 8, 15, 16, 23, 24, 39, 40, 41, 56, 88,
                      100, 5000):
                send(opcode, fuse.ROOT, fill * n)
    send = Sender(t, refused)
    for opcode in (0, 7, 19, 60, 4096, 2**31, 2**32 - 1):
        send(opcode, body=bytes(64))


def no_room(t):
    """Answers that do not fit the room left for them."""
    make_file(t)
    send = Sender(t, refused)
    for room in (0, 1, 15, 87, 127):
        send(fuse.LOOKUP, body=b'file\0', room=room)
        send(fuse.CREATE, body=struct.pack('<4I', 2, 0o644, 0, 0) + b'file\0',
             room=room)
    for room in (0, 1, 103):
        send(fuse.GETATTR, body=bytes(16), room=room)
    s = t.session()
    e = s.lookup(fuse.ROOT, 'file')
    fh = s.open(e.nodeid)
    dh = s.opendir(fuse.ROOT)
    for room in (0, 1, 100, 4096):
        # READ may fail, or give what fits, never more.
        try:
            got = s.request(fuse.READ, e.nodeid, struct.pack(
                '<QQIIQII', fh, 0, 2**32 - 1, 0, 0, 0, 0), room)
            assert len(got) <= room
        except FuseError:
            pass
        for opcode in (fuse.READDIR, fuse.READDIRPLUS):
            try:
                got = s.request(opcode, fuse.ROOT, struct.pack(
                    '<QQIIQII', dh, 0, 2**32 - 1, 0, 0, 0, 0), room)
                assert len(got) <= room
            except FuseError:
                pass
    # Less than a header's room for the answer: nothing can be said.
    for n in (0, 8, 15):
        out = fuse.header(fuse.GETATTR, 1, bytes(16), 99)
        s2 = t.session()
        try:
            s2.finish(s2.submit(1, out, n), 0.2)
        except WireError:
            pass
        s2.close(False)
    s.close(False)


def absurd_offsets(t):
    make_file(t)
    with t.session() as s:
        e = s.lookup(fuse.ROOT, 'file')
        fh = s.open(e.nodeid, os.O_RDWR)
        for off in HUGE:
            rw = struct.pack('<QQIIQII', fh, off, 10, 0, 0, 0, 0)
            if off >= 2**63 - 10:
                assert refused(s, fuse.WRITE, e.nodeid, rw + bytes(10))
            try:
                assert s.request(fuse.READ, e.nodeid, rw, 10) == b''
            except FuseError:
                pass
            if off >= 2**63:
                assert refused(s, fuse.FALLOCATE, e.nodeid, struct.pack(
                    '<QQQII', fh, off, 10, 0, 0))
                assert refused(s, fuse.FALLOCATE, e.nodeid, struct.pack(
                    '<QQQII', fh, 10, off, 0, 0))
                assert refused(s, fuse.SETATTR, e.nodeid, struct.pack(
                    '<II6Q8I', 8, 0, 0, off, *bytes(12)))
            assert survived(s, fuse.LSEEK, e.nodeid,
                            struct.pack('<QQII', fh, off, 3, 0))
            assert survived(s, fuse.COPY_FILE_RANGE, e.nodeid, struct.pack(
                '<7Q', fh, off, e.nodeid, fh, 2**64 - off, off, 0))
        # WRITE that claims more or less than it brings.
        for claim in (11, 4096, 2**31, 2**32 - 1):
            assert refused(s, fuse.WRITE, e.nodeid, struct.pack(
                '<QQIIQII', fh, 0, claim, 0, 0, 0, 0) + bytes(10))
        assert os.path.getsize(os.path.join(t.share, 'file')) == 100_000
        for off in HUGE:
            dh = s.opendir(fuse.ROOT)
            for opcode in (fuse.READDIR, fuse.READDIRPLUS):
                survived(s, opcode, fuse.ROOT, struct.pack(
                    '<QQIIQII', dh, off, 4096, 0, 0, 0, 0))


def unknown_nodes_and_handles(t):
    make_file(t)
    rw = lambda fh: struct.pack('<QQIIQII', fh, 0, 10, 0, 0, 0, 0)
    with t.session() as s, t.session() as other:
        e = s.lookup(fuse.ROOT, 'file')
        fh = s.open(e.nodeid, os.O_RDWR)
        theirs = other.open(other.lookup(fuse.ROOT, 'file').nodeid)
        for _ in range(5):
            theirs = other.open(e.nodeid)
        for node in (0, 2, e.nodeid + 1000, 2**32, 2**63, 2**64 - 1):
            if node == e.nodeid:
                continue
            for opcode, body in ((fuse.GETATTR, bytes(16)),
                                 (fuse.OPEN, bytes(8)),
                                 (fuse.OPENDIR, bytes(8)),
                                 (fuse.LOOKUP, b'file\0'),
                                 (fuse.READLINK, b''),
                                 (fuse.RENAME, struct.pack('<Q', node) +
                                  b'file\0new\0')):
                assert refused(s, opcode, node, body)
        for bad in (fh + 1000, theirs if theirs != fh else 2**40, 2**31,
                    2**32, 2**63, NO_HANDLE):
            assert refused(s, fuse.READ, e.nodeid, rw(bad))
            assert refused(s, fuse.WRITE, e.nodeid, rw(bad) + bytes(10))
            assert refused(s, fuse.FSYNC, e.nodeid,
                           struct.pack('<QII', bad, 0, 0))
            assert survived(s, fuse.RELEASE, e.nodeid,
                            struct.pack('<QIIQ', bad, 0, 0, 0))
        # A file's handle is no directory's, and the other way round.
        dh = s.opendir(fuse.ROOT)
        assert refused(s, fuse.READDIR, fuse.ROOT, rw(fh))
        assert refused(s, fuse.READ, e.nodeid, rw(dh))
        s.release(e.nodeid, fh)
        assert refused(s, fuse.READ, e.nodeid, rw(fh))
        assert survived(s, fuse.RELEASE, e.nodeid,
                        struct.pack('<QIIQ', fh, 0, 0, 0))
        other.getattr(fuse.ROOT)


def forgetting(t):
    make_file(t)
    s = t.session()
    e = s.lookup(fuse.ROOT, 'file')
    for node, n in ((fuse.ROOT, 1), (fuse.ROOT, 2**64 - 1), (0, 1),
                    (2**64 - 1, 1), (12345, 2**63), (e.nodeid, 0)):
        s.forget(node, n)
    s.getattr(fuse.ROOT)
    s.getattr(e.nodeid)
    s.forget(e.nodeid, 2**64 - 1)     # more often than looked up
    s.forget(e.nodeid, 1)
    s.getattr(fuse.ROOT)
    # The same node twice in one batch; more entries than were brought.
    e = s.lookup(fuse.ROOT, 'file')
    s.batch_forget([(e.nodeid, 1), (e.nodeid, 1), (fuse.ROOT, 7)])
    s.close(False)
    for count in (2, 1000, 2**28, 2**32 - 1):
        s = t.session()
        body = struct.pack('<II', count, 0) + struct.pack('<QQ', 12345, 1)
        try:
            s.finish(s.submit(0, fuse.header(
                fuse.BATCH_FORGET, 0, body, 77), 0), 0.2)
        except WireError:
            pass
        s.close(False)
    # Handles and mappings outlive the lookup count.
    s = t.session()
    e = s.lookup(fuse.ROOT, 'file')
    fh = s.open(e.nodeid)
    if s.window:
        s.setupmapping(e.nodeid, 0, RANGE, 0)
    s.forget(e.nodeid)
    survived(s, fuse.READ, e.nodeid,
             struct.pack('<QQIIQII', fh, 0, 10, 0, 0, 0, 0))
    survived(s, fuse.RELEASE, e.nodeid, struct.pack('<QIIQ', fh, 0, 0, 0))
    s.close(False)


def init_out_of_order(t):
    body = lambda major: struct.pack('<5I', major, 38, 0, 0, 0) + bytes(44)
    # Before INIT.
    s = t.session(init=False)
    survived(s, fuse.GETATTR, fuse.ROOT, bytes(16))
    survived(s, fuse.SETUPMAPPING, fuse.ROOT,
             struct.pack('<5Q', NO_HANDLE, 0, RANGE, 1, 0))
    s.close(False)
    for major in (0, 1, 6, 8, 2**32 - 1):
        s = t.session(init=False)
        survived(s, fuse.INIT, 0, body(major))
        s.close(False)
    for n in (0, 1, 8, 15, 16, 63):
        s = t.session(init=False)
        survived(s, fuse.INIT, 0, body(7)[:n])
        s.close(False)
    # After DESTROY, and DESTROY twice.
    s = t.session()
    for _ in range(2):
        survived(s, fuse.DESTROY, 0)
    survived(s, fuse.GETATTR, fuse.ROOT, bytes(16))
    s.close(False)
    # Other requests on the hiprio queue, and FORGET on a request queue.
    s = t.session()
    survived(s, fuse.GETATTR, fuse.ROOT, bytes(16), queue=0)
    s.forget(12345, queue=1)
    s.close(False)


def mappings(t):
    """SETUPMAPPING and REMOVEMAPPING with every absurd number."""
    make_file(t, size=3 * RANGE)
    s = t.session()
    size = s.window.size
    e = s.lookup(fuse.ROOT, 'file')
    s.setupmapping(e.nodeid, 0, RANGE, 0)
    setup = lambda *v: struct.pack('<5Q', NO_HANDLE, *v)  # off len flags at
    for off, n, flags, at in (
            (0, RANGE, 1, size), (0, RANGE, 1, size - PAGE),
            (0, size + RANGE, 1, 0), (0, 2**64 - RANGE, 1, RANGE),
            (0, RANGE, 1, 2**64 - RANGE), (0, RANGE, 1, 2**63),
            (0, 2**64 - 1, 1, 0), (2**64 - RANGE, RANGE, 1, RANGE),
            (2**63 - RANGE + PAGE, RANGE, 1, RANGE),
            (2**63, RANGE, 1, RANGE), (1, RANGE, 1, RANGE),
            (0, RANGE, 1, RANGE + 1), (0, RANGE + 1, 1, RANGE),
            (0, 0, 1, RANGE), (0, PAGE - 1, 1, RANGE)):
        assert refused(s, fuse.SETUPMAPPING, e.nodeid, setup(off, n, flags, at)), \
            'the session ended'
    for node in (fuse.ROOT, 0, 999_999, 2**64 - 1):
        assert refused(s, fuse.SETUPMAPPING, node, setup(0, RANGE, 1, RANGE))
    # Flags nobody defined.
    survived(s, fuse.SETUPMAPPING, e.nodeid, setup(0, RANGE, 2**64 - 4, RANGE))
    survived(s, fuse.SETUPMAPPING, e.nodeid, setup(0, RANGE, 0, RANGE))
    # A handle that is not one.
    survived(s, fuse.SETUPMAPPING, e.nodeid,
             struct.pack('<5Q', 2**40, 0, RANGE, 1, RANGE))
    remove = lambda count, *v: struct.pack('<I', count) + b''.join(
        struct.pack('<QQ', *p) for p in v)
    for body in (b'', remove(0), remove(1), remove(2, (0, RANGE)),
                 remove(2**32 - 1, (0, RANGE)), remove(2**28, (0, RANGE)),
                 remove(1, (size, RANGE)), remove(1, (0, 2**64 - 1)),
                 remove(1, (2**64 - RANGE, RANGE)), remove(1, (1, RANGE)),
                 remove(1, (0, 0)), remove(1, (size - PAGE, 2 * PAGE))):
        assert survived(s, fuse.REMOVEMAPPING, e.nodeid, body)
    assert not s.window.violations, s.window.violations
    s.close(False)
    # A front end without a window gets none.
    s = t.session(window=False)
    e = s.lookup(fuse.ROOT, 'file')
    assert refused(s, fuse.SETUPMAPPING, e.nodeid, setup(0, RANGE, 1, 0))
    s.close(False)


def xattrs(t):
    make_file(t)
    send = Sender(t, survived)
    for name in (b'', b'\0', b'user.x\0', b'user.x', b'x' * 300 + b'\0',
                 b'trusted.x\0', b'security.capability\0', b'\xff\0'):
        for size in (0, 1, 65536, 2**31, 2**32 - 1):
            for room in (0, 8, 4096):
                send(fuse.GETXATTR, body=struct.pack('<II', size, 0) + name,
                     room=room)
                send(fuse.LISTXATTR, body=struct.pack('<II', size, 0),
                     room=room)
            send(fuse.SETXATTR, body=struct.pack('<II', size, 0) + name + b'v')
        send(fuse.REMOVEXATTR, body=name)


CASES = [bad_names, symlinks_out, special_files, header_lengths, short_bodies,
         no_room, absurd_offsets, unknown_nodes_and_handles, forgetting,
         init_out_of_order, mappings, xattrs]
