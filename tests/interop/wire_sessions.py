# SPDX-License-Identifier: BSD-2-Clause
"""Well-formed sessions: what any virtio-fs daemon must serve.

Each case is a function (t): t.share is the directory served, t.session(...)
a fresh session on it. What comes back is compared with the directory itself.
"""
import errno
import os
import stat
import struct
import time

import wire_fuse as fuse
from wire_client import PAGE, Queue
from wire_fuse import FuseError

RANGE = 2 << 20


def pattern(n, seed=1):
    """Bytes in which no two places look alike."""
    return b''.join((i * 2654435761 + seed).to_bytes(8, 'little')
                    for i in range((n + 7) // 8))[:n]


def expect_error(number, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except FuseError as e:
        names = [errno.errorcode[n] for n in
                 (number if isinstance(number, tuple) else (number,))]
        assert errno.errorcode.get(e.errno) in names, f'{e}, not {names}'
        return
    raise AssertionError(f'{call.__name__} succeeded')


def write_file(t, name, data):
    path = os.path.join(t.share, name)
    with open(path, 'wb') as f:
        f.write(data)
        # Or st_blocks changes when the file system gets to it.
        f.flush()
        os.fsync(f.fileno())
    return path


def read_file(path):
    with open(path, 'rb') as f:
        return f.read()


def same_attr(attr, path):
    st = os.lstat(path)
    assert (attr.ino, attr.size, attr.mode, attr.nlink, attr.uid, attr.gid) == \
        (st.st_ino, st.st_size, st.st_mode, st.st_nlink, st.st_uid, st.st_gid)
    assert attr.mtime * 10**9 + attr.mtimensec == st.st_mtime_ns
    assert attr.blocks == st.st_blocks


def files(t):
    data = pattern(100_003)
    path = write_file(t, 'file', data)
    with t.session() as s:
        assert s.statfs()[0] == os.statvfs(t.share).f_blocks
        same_attr(s.getattr(fuse.ROOT), t.share)
        e = s.lookup(fuse.ROOT, 'file')
        same_attr(e.attr, path)
        same_attr(s.getattr(e.nodeid), path)
        fh = s.open(e.nodeid, os.O_RDWR)
        assert s.read(e.nodeid, fh, 0, 200_000) == data
        assert s.read(e.nodeid, fh, 99_999, 4096) == data[99_999:]
        assert s.read(e.nodeid, fh, 100_003, 4096) == b''
        assert s.read(e.nodeid, fh, 2**40, 4096) == b''
        assert s.read(e.nodeid, fh, 0, 0) == b''
        assert s.write(e.nodeid, fh, 5000, b'overwritten') == 11
        assert s.write(e.nodeid, fh, 100_000, b'past the end') == 12
        s.flush(e.nodeid, fh)
        s.fsync(e.nodeid, fh)
        want = bytearray(data)
        want[5000:5011] = b'overwritten'
        want[100_000:] = b'past the end'
        assert read_file(path) == want
        same_attr(s.getattr(e.nodeid), path)
        assert s.setattr(e.nodeid, size=10, fh=fh).size == 10
        assert os.path.getsize(path) == 10
        assert stat.S_IMODE(s.setattr(e.nodeid, mode=0o640).mode) == 0o640
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
        assert s.lseek(e.nodeid, fh, 0, os.SEEK_HOLE) == 10
        s.fallocate(e.nodeid, fh, 0, 8192)
        assert os.path.getsize(path) == 8192
        s.release(e.nodeid, fh)
        s.forget(e.nodeid)


def create_and_copy(t):
    data = pattern(70_000)
    with t.session() as s:
        a, fa = s.create(fuse.ROOT, 'a', os.O_RDWR, 0o600)
        b, fb = s.create(fuse.ROOT, 'b', os.O_RDWR | os.O_EXCL, 0o600)
        expect_error(errno.EEXIST, s.create, fuse.ROOT, 'b',
                     os.O_RDWR | os.O_EXCL)
        assert s.write(a.nodeid, fa, 0, data) == len(data)
        assert s.copy(a.nodeid, fa, 1000, b.nodeid, fb, 0, 30_000) == 30_000
        assert s.read(b.nodeid, fb, 0, 70_000) == data[1000:31_000]
        s.release(a.nodeid, fa)
        s.release(b.nodeid, fb)
        # What is unlinked while known stays readable.
        fa = s.open(a.nodeid)
        s.unlink(fuse.ROOT, 'a')
        assert s.read(a.nodeid, fa, 0, 10) == data[:10]
        s.release(a.nodeid, fa)
        s.batch_forget([(a.nodeid, 1), (b.nodeid, 1)])
    assert sorted(os.listdir(t.share)) == ['b']


def names(t):
    odd = b'not utf-8 \xff\xfe, with \n'
    with t.session() as s:
        d = s.mkdir(fuse.ROOT, 'dir')
        assert stat.S_ISDIR(d.attr.mode)
        link = s.symlink(d.nodeid, 'link', '/etc/passwd')
        assert s.readlink(link.nodeid) == b'/etc/passwd'
        assert stat.S_ISLNK(s.lookup(d.nodeid, 'link').attr.mode)
        f, fh = s.create(d.nodeid, odd)
        s.release(f.nodeid, fh)
        assert s.link(f.nodeid, fuse.ROOT, 'second').nodeid == f.nodeid
        assert s.getattr(f.nodeid).nlink == 2
        expect_error(errno.ENOTEMPTY, s.rmdir, fuse.ROOT, 'dir')
        expect_error(errno.ENOENT, s.lookup, fuse.ROOT, 'missing')
        expect_error(errno.EEXIST, s.mkdir, fuse.ROOT, 'dir')
        expect_error(errno.ENOTDIR, s.lookup, f.nodeid, 'x')
        expect_error(errno.ENAMETOOLONG, s.lookup, fuse.ROOT, 'x' * 256)
        s.rename(d.nodeid, odd, fuse.ROOT, 'moved')
        assert s.lookup(fuse.ROOT, 'moved').nodeid == f.nodeid
        expect_error(errno.ENOENT, s.lookup, d.nodeid, odd)
        s.unlink(d.nodeid, 'link')
        s.rmdir(fuse.ROOT, 'dir')
    assert sorted(os.listdir(t.share)) == ['moved', 'second']


def directories(t):
    expected = {b'.', b'..'} | {b'entry %d' % i for i in range(1000)}
    for name in expected - {b'.', b'..'}:
        os.close(os.open(os.path.join(t.share.encode(), name), os.O_CREAT))
    with t.session() as s:
        for size, plus in ((4096, False), (300, False), (65536, False),
                           (8192, True)):
            found = s.readdir(fuse.ROOT, size, plus)
            got = [f[0] for f in found]
            assert len(got) == len(set(got)), 'a name came twice'
            assert set(got) == expected
        for name, ino, kind, _, entry in found:
            if name not in (b'.', b'..'):
                path = os.path.join(t.share.encode(), name)
                assert kind == stat.S_IFREG >> 12
                assert ino == entry.attr.ino == os.stat(path).st_ino
        s.batch_forget([(f[4].nodeid, 1) for f in found if f[4].nodeid
                        and f[0] not in (b'.', b'..')])


def big_io_in_odd_pieces(t):
    data = pattern(1 << 20)
    path = write_file(t, 'file', b'')
    with t.session() as s:
        e = s.lookup(fuse.ROOT, 'file')
        fh = s.open(e.nodeid, os.O_RDWR)
        n = min(len(data), s.max_write)
        # Any cut is allowed, also through the header and within the fields.
        for cuts in ((), (40, 40), (1,) * 60, (39, 2, 4095, 4097, 1)):
            assert s.write(e.nodeid, fh, 0, data[:n], cuts=cuts) == n
            assert read_file(path) == data[:n]
            assert s.read(e.nodeid, fh, 0, n, cuts=cuts) == data[:n]
            os.truncate(path, 0)


def ring_features(t):
    path = write_file(t, 'file', pattern(1000))
    for options in (dict(slots=True), dict(slots=False), dict(indirect=True),
                    dict(num=8), dict(num=1024), dict(window=False)):
        with t.session(**options) as s:
            e = s.lookup(fuse.ROOT, 'file')
            for _ in range(50):
                same_attr(s.getattr(e.nodeid), path)


def ring_wraps(t):
    """16-bit indices pass 65535, and a stopped ring goes on where it was."""
    write_file(t, 'file', pattern(1000))
    s = t.session(start=False, init=False)
    s.negotiate()
    s.start(0)
    for i in range(2):
        q = Queue(s.mem, i, i * Queue.BYTES, 16)
        q.avail_idx = q.used_idx = 65530
        for ring in (q.AVAIL, q.USED):
            s.mem.u16(q.base + ring + 2).value = 65530
        s.start_queue(q)
    with s:
        s.init()
        for _ in range(20):
            s.getattr(fuse.ROOT)
        old = s.queues
        positions = [s.stop_queue(q) for q in old]
        assert positions == [q.avail_idx for q in old], positions
        s.queues = []
        for q in old:
            s.start_queue(q)
        assert s.lookup(fuse.ROOT, 'file').attr.size == 1000


def parallel(t):
    data = pattern(1 << 20)
    write_file(t, 'file', data)
    with t.session() as s:
        e = s.lookup(fuse.ROOT, 'file')
        fh = s.open(e.nodeid)
        for _ in range(50):
            tokens = [s.submit_request(
                fuse.READ, e.nodeid, struct.pack(
                    '<QQIIQII', fh, i * 100_000, 100_000, 0, 0, 0, 0),
                100_000) for i in range(8)]
            for i, token in reversed(list(enumerate(tokens))):
                assert s.finish_request(token) == \
                    data[i * 100_000:(i + 1) * 100_000]


def init_again(t):
    """A second INIT ends the session before: its handles are gone."""
    write_file(t, 'file', pattern(1000))
    with t.session() as s:
        e = s.lookup(fuse.ROOT, 'file')
        fh = s.open(e.nodeid)
        s.destroy()
        s.init()
        expect_error((errno.EBADF, errno.ENOENT, errno.ESTALE, errno.EINVAL),
                     s.read, e.nodeid, fh, 0, 10)
        assert s.lookup(fuse.ROOT, 'file').attr.size == 1000


def config_space(t):
    with t.session() as s:
        whole = s.config(0, 40)
        tag = whole[:36].rstrip(b'\0')
        assert tag == b'wiretag', tag
        queues = int.from_bytes(whole[36:40], 'little')
        assert queues >= 1 and queues + 1 <= s.n_queues
        # UML reads it in pieces that grow byte by byte.
        for n in range(1, 41):
            assert s.config(0, n) == whole[:n]
        assert s.config(36, 4) == whole[36:]


def many_sessions(t):
    """Sessions do not share handles, and one that breaks off leaves nothing."""
    data = pattern(3 * RANGE)
    write_file(t, 'file', data)
    with t.session() as keeper:
        e = keeper.lookup(fuse.ROOT, 'file')
        fh = keeper.open(e.nodeid)
        at_rest = t.daemon.fds()
        for _ in range(5):
            others = [t.session() for _ in range(3)]
            for i, s in enumerate(others):
                o = s.lookup(fuse.ROOT, 'file')
                for _ in range(20):
                    s.open(o.nodeid)
                if s.window:
                    s.setupmapping(o.nodeid, 0, RANGE, i * RANGE)
            for s in others:
                s.close(politely=False)
        limit = time.monotonic() + 60
        while t.daemon.fds() > at_rest and time.monotonic() < limit:
            time.sleep(0.05)
        assert t.daemon.fds() <= at_rest, 'descriptors leaked'
        assert keeper.read(e.nodeid, fh, 0, 100) == data[:100]


# ------------------------------------------------------------- the window

def dax_read_and_write(t):
    data = pattern(2 * RANGE + 12_345)
    path = write_file(t, 'file', data)
    with t.session() as s:
        w = s.window
        e = s.lookup(fuse.ROOT, 'file')
        assert e.attr.flags & 2, 'FUSE_ATTR_DAX is not set'
        fh = s.open(e.nodeid, os.O_RDWR)
        # Out of order, and with the handle or without.
        s.setupmapping(e.nodeid, RANGE, RANGE, 0)
        s.setupmapping(e.nodeid, 0, RANGE, 5 * RANGE, fh=fh)
        s.setupmapping(e.nodeid, 2 * RANGE, RANGE, RANGE,
                       fuse.MAP_READ | fuse.MAP_WRITE)
        assert w.load(0, RANGE) == data[RANGE:2 * RANGE]
        assert w.load(5 * RANGE, RANGE) == data[:RANGE]
        assert w.load(RANGE, 12_345) == data[2 * RANGE:]
        # Stores are the file's own pages.
        w.store(RANGE + 100, b'through the window')
        s.fsync(e.nodeid, fh)
        assert read_file(path)[2 * RANGE + 100:][:18] == b'through the window'
        assert s.read(e.nodeid, fh, 2 * RANGE + 100, 18) == \
            b'through the window'
        assert s.write(e.nodeid, fh, 7, b'by message') == 10
        assert w.load(5 * RANGE + 7, 10) == b'by message'
        # A mapping outlives the handle, and grows with the file.
        s.release(e.nodeid, fh)
        os.truncate(path, 2 * RANGE + 200_000)
        assert w.load(RANGE + 199_000, 1000) == bytes(1000)
        assert not w.violations, w.violations


def dax_upgrade_and_replace(t):
    data = pattern(2 * RANGE)
    path = write_file(t, 'file', data)
    other = pattern(RANGE, 99)
    write_file(t, 'other', other)
    with t.session() as s:
        w = s.window
        e, o = s.lookup(fuse.ROOT, 'file'), s.lookup(fuse.ROOT, 'other')
        s.setupmapping(e.nodeid, 0, RANGE, 0, fuse.MAP_READ)
        s.setupmapping(e.nodeid, 0, RANGE, 0, fuse.MAP_READ | fuse.MAP_WRITE)
        w.store(0, b'upgraded')
        assert read_file(path)[:8] == b'upgraded'
        # The whole range, then a part of it, becomes another file's.
        s.setupmapping(e.nodeid, RANGE, RANGE, 0)
        assert w.load(0, RANGE) == data[RANGE:]
        part = 64 * PAGE
        s.setupmapping(o.nodeid, 0, part, part)
        assert w.load(part, part) == other[:part]
        assert w.load(0, part) == data[RANGE:RANGE + part]
        assert w.load(2 * part, part) == data[RANGE + 2 * part:][:part]
        assert not w.violations, w.violations


def dax_removal(t):
    write_file(t, 'file', pattern(4 * RANGE))
    with t.session() as s:
        w = s.window
        e = s.lookup(fuse.ROOT, 'file')
        for i in range(4):
            s.setupmapping(e.nodeid, i * RANGE, RANGE, i * RANGE)
        assert len(w.mappings) == 4
        s.removemapping(e.nodeid, [(0, RANGE), (2 * RANGE, RANGE)])
        assert sorted(w.mappings) == [RANGE, 3 * RANGE]
        # A part of a mapping can go; the rest stays.
        s.removemapping(e.nodeid, [(RANGE, 16 * PAGE)])
        assert w.load(RANGE + 16 * PAGE, 8) == pattern(4 * RANGE)[
            RANGE + 16 * PAGE:][:8]
        s.removemapping(e.nodeid, [(RANGE + 16 * PAGE, RANGE - 16 * PAGE)])
        assert sorted(w.mappings) == [3 * RANGE]
        s.destroy()
        assert not w.mappings, 'DESTROY left mappings'
        assert not w.violations, w.violations


def dax_front_end_refuses(t):
    """A map that the front end cannot do is an error of that request."""
    data = pattern(RANGE)
    write_file(t, 'file', data)
    with t.session() as s:
        e = s.lookup(fuse.ROOT, 'file')
        s.window.refuse_next = 1
        expect_error((errno.ENOMEM, errno.EIO, errno.EINVAL, errno.EFAULT),
                     s.setupmapping, e.nodeid, 0, RANGE, 0)
        assert not s.window.mappings
        s.setupmapping(e.nodeid, 0, RANGE, 0)
        assert s.window.load(0, RANGE) == data
        assert not s.window.violations, s.window.violations


def dax_many_mappings(t):
    """Every range of 400 mapped, thrice over, each to another place."""
    n = 400
    path = os.path.join(t.share, 'file')
    with open(path, 'wb') as f:
        for i in range(n):
            f.seek(i * RANGE)
            f.write(b'%08d' % i)
        f.truncate(n * RANGE)
    with t.session() as s:
        e = s.lookup(fuse.ROOT, 'file')
        n = min(n, s.window.size // RANGE)
        for turn in range(3):
            for i in range(n):
                s.setupmapping(e.nodeid, (i * 7 + turn) % n * RANGE, RANGE,
                               i * RANGE)
            for i in range(n):
                assert s.window.load(i * RANGE, 8) == \
                    b'%08d' % ((i * 7 + turn) % n)
        assert not s.window.violations, s.window.violations


COMMON = [files, create_and_copy, names, directories, big_io_in_odd_pieces,
          ring_features, ring_wraps, parallel]
# What the daemon of Debian 12's QEMU has not: several clients, a window, the
# tag, and handles that end with their session.
OURS = [init_again, config_space, many_sessions, dax_read_and_write,
        dax_upgrade_and_replace, dax_removal, dax_front_end_refuses,
        dax_many_mappings]
