# SPDX-License-Identifier: BSD-2-Clause
"""Walls between clients, and between a client and the host."""
import errno
import fcntl
import os
import socket
import stat
import struct

import wire_client as wire
import wire_fuse as fuse
from cases_ends import single
from test_daemon import Rig
from wire_fuse import FuseError

RANGE = 2 << 20


def refused(number, call, *args, **how):
    try:
        call(*args, **how)
    except FuseError as e:
        assert e.errno == number, f'{e}, not {errno.errorcode[number]}'
        return
    raise AssertionError(f'{call.__name__}{args} succeeded')


def other_sessions_numbers():
    """What one client was given, another cannot use, not even by guessing."""
    with Rig() as rig:
        rig.make('secret', bytes(RANGE))
        a, b = rig.session(), rig.session()
        e = a.lookup(fuse.ROOT, 'secret')
        fh, dh = a.open(e.nodeid, os.O_RDWR), a.opendir(fuse.ROOT)
        a.setupmapping(e.nodeid, 0, RANGE, 0)
        for number in range(2, 200):
            refused(errno.ESTALE, b.getattr, number)
            refused(errno.ESTALE, b.open, number)
            refused(errno.ESTALE, b.setupmapping, number, 0, RANGE, 0)
            refused(errno.ESTALE, b.link, number, fuse.ROOT, 'stolen')
            refused(errno.EBADF, b.read, e.nodeid, number, 0, 10)
            refused(errno.EBADF, b.write, e.nodeid, number, 0, b'x')
            refused(errno.EBADF, b.readdir_once, fuse.ROOT, number, 0)
            refused(errno.EBADF, b.release, e.nodeid, number)
            refused(errno.EBADF, b.copy, e.nodeid, number, 0, e.nodeid,
                    number, 0, 1)
        b.forget(e.nodeid, 1 << 60)
        b.removemapping(fuse.ROOT, [(0, RANGE)])
        b.destroy()
        # The owner has noticed nothing.
        assert a.window.load(0, 8) == bytes(8)
        assert a.read(e.nodeid, fh, 0, 4) == bytes(4)
        assert a.readdir_once(fuse.ROOT, dh, 0)
        a.close()
        b.close()


def snapshot(top):
    found = []
    for folder, folders, files in os.walk(top):
        for name in sorted(folders + files) + ['.']:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            with open(path, 'rb') if stat.S_ISREG(st.st_mode) else \
                    open(os.devnull, 'rb') as f:
                text = f.read()
            found.append((path, st.st_mode, st.st_nlink, st.st_size, text,
                          st.st_mtime_ns, st.st_ctime_ns, st.st_uid))
    return sorted(found)


def read_only():
    """Nothing that changes anything is done on a read-only share."""
    with Rig('--readonly') as rig:
        os.mkdir(os.path.join(rig.share, 'dir'))
        rig.make('file', b'constant')
        os.setxattr(os.path.join(rig.share, 'file'), 'user.a', b'1') \
            if has_xattr(rig.share) else None
        before = snapshot(rig.share)
        s = rig.session()
        e, d = s.lookup(fuse.ROOT, 'file'), s.lookup(fuse.ROOT, 'dir')
        fh = s.open(e.nodeid)
        rofs = errno.EROFS
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_TRUNC, 3,
                      os.O_RDWR | os.O_APPEND, os.O_RDONLY | os.O_TRUNC):
            refused(rofs, s.open, e.nodeid, flags)
        refused(rofs, s.write, e.nodeid, fh, 0, b'x')
        refused(rofs, s.create, fuse.ROOT, 'new')
        refused(rofs, s.create, fuse.ROOT, 'file', os.O_RDONLY)
        refused(rofs, s.mkdir, fuse.ROOT, 'new')
        refused(rofs, s.symlink, fuse.ROOT, 'new', 'target')
        refused(rofs, s.unlink, fuse.ROOT, 'file')
        refused(rofs, s.rmdir, fuse.ROOT, 'dir')
        refused(rofs, s.rename, fuse.ROOT, 'file', d.nodeid, 'file')
        refused(rofs, s.link, e.nodeid, fuse.ROOT, 'new')
        for change in dict(mode=0o600), dict(size=0), dict(size=3, fh=fh):
            refused(rofs, s.setattr, e.nodeid, **change)
        refused(rofs, s.fallocate, e.nodeid, fh, 0, 4096)
        refused(rofs, s.copy, e.nodeid, fh, 0, e.nodeid, fh, 0, 4)
        name = fuse.name_bytes
        for opcode, node, body in (
                (8, fuse.ROOT, struct.pack('<4I', 0o100644, 0, 0, 0) +
                 name('new')),                                    # MKNOD
                (21, e.nodeid, struct.pack('<II', 1, 0) + name('user.a') +
                 b'2'),                                           # SETXATTR
                (24, e.nodeid, name('user.a')),                   # REMOVEXATTR
                (45, fuse.ROOT, struct.pack('<QII', d.nodeid, 0, 0) +
                 name('file') + name('new')),                     # RENAME2
                (51, fuse.ROOT, struct.pack('<4I', 2, 0o600, 0, 0) +
                 name('.'))):                                     # TMPFILE
            refused(rofs, s.request, opcode, node, body, 200)
        for flags in fuse.MAP_WRITE, fuse.MAP_READ | fuse.MAP_WRITE:
            refused(rofs, s.setupmapping, e.nodeid, 0, RANGE, 0, flags)
        assert s.read(e.nodeid, fh, 0, 99) == b'constant'
        s.close()
        assert snapshot(rig.share) == before


def has_xattr(folder):
    try:
        os.setxattr(folder, 'user.probe', b'')
        os.removexattr(folder, 'user.probe')
        return True
    except OSError:
        return False


def descriptor_passed(s, nodeid, flags=fuse.MAP_READ):
    """The one the daemon sends with SHMEM_MAP."""
    got = []
    real = s.window.carry_out

    def keep(request, payload, fds):
        got.extend(os.dup(fd) for fd in fds)
        return real(request, payload, fds)

    s.window.carry_out = keep
    s.setupmapping(nodeid, 0, RANGE, 0, flags)
    s.window.carry_out = real
    assert len(got) == 1
    return got[0]


def boxed(*options):
    """A rig in name spaces, or None where they cannot be had; the leak check of
    ASan cannot work in them."""
    if os.environ.get('ORIEL_TEST_SECCOMP') == 'none':
        return None
    rig = Rig('--sandbox=auto', *options)
    if 'sandbox namespace' in rig.daemon.log():
        return rig
    rig.__exit__(None, None, None)
    print('  no name spaces here')
    return None


def what_is_passed_read_only():
    """A descriptor of a read-only share cannot be made a writable one."""
    with Rig('--readonly') as rig:
        rig.make('file', bytes(RANGE))
        s = rig.session()
        fd = descriptor_passed(s, s.lookup(fuse.ROOT, 'file').nodeid)
        assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        os.close(fd)
        s.close()
    rig = boxed('--readonly')
    if not rig:
        return
    with rig:
        os.chmod(rig.make('file', bytes(RANGE)), 0o666)
        s = rig.session()
        fd = descriptor_passed(s, s.lookup(fuse.ROOT, 'file').nodeid)
        assert os.fstatvfs(fd).f_flag & os.ST_RDONLY
        for flags in os.O_RDWR, os.O_WRONLY | os.O_TRUNC:
            try:
                os.close(os.open(f'/proc/self/fd/{fd}', flags))
                raise AssertionError('opened for writing')
            except OSError as e:
                assert e.errno == errno.EROFS, e
        os.close(fd)
        s.close()


def what_is_passed_has_no_set_uid():
    """A program made on the share gives nobody rights by its set-uid bit."""
    rig = boxed()
    if not rig:
        return
    with rig:
        s = rig.session()
        e, fh = s.create(fuse.ROOT, 'program')
        s.setattr(e.nodeid, mode=0o4755)
        fd = descriptor_passed(s, e.nodeid)
        flags = os.fstatvfs(fd).f_flag
        assert flags & os.ST_NOSUID and flags & os.ST_NODEV, flags
        os.close(fd)
        s.release(e.nodeid, fh)
        s.close()


def what_the_daemon_keeps():
    """Capabilities; of its parent's groups and descriptors nothing."""
    leak = os.open('/', os.O_RDONLY)
    ours, theirs = socket.socketpair()
    how = dict(pass_fds=[theirs.fileno(), leak])
    if os.getuid() == 0:
        how['extra_groups'] = [1, 2, 3]
    with Rig(neighbour=False) as rig:
        daemon = single(theirs.fileno(), rig.share, **how)
        theirs.close()
        s = wire.Channel(ours)
        s.ask_u64(wire.GET_FEATURES)  # it serves: all doors are shut
        proc = f'/proc/{daemon.pid}/'
        with open(proc + 'status') as f:
            status = dict(line.rstrip('\n').split(':', 1) for line in f)
        assert status['NoNewPrivs'].strip() == '1'
        if not os.environ.get('ORIEL_TEST_SECCOMP'):
            assert status['Seccomp'].strip() == '2'
        if os.getuid() == 0:
            assert not status['Groups'].strip(), status['Groups']
        # CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETGID, SETUID, MKNOD, SETFCAP
        for which in 'CapEff', 'CapPrm':
            assert not int(status[which], 16) & ~0x880000db, status[which]
        assert int(status['CapInh'], 16) == int(status['CapAmb'], 16) == 0
        assert not os.path.lexists(f'{proc}fd/{leak}') or \
            os.readlink(f'{proc}fd/{leak}') != '/'
        s.close()
        assert daemon.wait(30) == 0
    os.close(leak)


def created_as_the_user():
    """Acting for a user ends with the request, also when it fails."""
    if os.getuid():
        print('  only root acts for others')
        return
    with Rig() as rig:
        s = rig.session()

        def mkdir(name, uid):
            out = fuse.header(fuse.MKDIR, fuse.ROOT, struct.pack(
                '<II', 0o755, 0) + fuse.name_bytes(name), 99, uid=uid, gid=uid)
            answer = s.finish(s.submit(1, out, 16 + 128))
            return -struct.unpack('<IiQ', answer[:16])[1]

        for uid in 1000, 65534, 0:
            assert mkdir(f'of{uid}', uid) == 0
            assert os.stat(f'{rig.share}/of{uid}').st_uid == uid
            assert mkdir(f'of{uid}', 1001) == errno.EEXIST
            assert mkdir('x' * 256, 1001) == errno.ENAMETOOLONG
            # What only the daemon itself may: the next is not somebody else.
            node = s.lookup(fuse.ROOT, f'of{uid}').nodeid
            assert s.setattr(node, mode=0o700).mode & 0o777 == 0o700
        assert mkdir('nobody', 0xffffffff) == errno.EINVAL
        s.close()


CASES = [other_sessions_numbers, read_only, what_is_passed_read_only,
         what_is_passed_has_no_set_uid, what_the_daemon_keeps,
         created_as_the_user]
