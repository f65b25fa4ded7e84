# SPDX-License-Identifier: BSD-2-Clause
"""Options of virtiofsd: what each changes on the wire or in the share."""
import collections
import errno
import os
import struct

import wire_fuse as fuse
from cases_walls import boxed, has_xattr, refused
from test_daemon import Rig

DAY = 86400


def with_flags(rig, *more):
    s = rig.session(init=False)
    s.init(more=more)
    return s


def agreed(s, bit):
    return bool(s.flags >> bit & 1)


def cache_policies():
    """Timeouts, FOPEN flags and READDIRPLUS of each."""
    direct, keep, directory = (fuse.FOPEN_DIRECT_IO, fuse.FOPEN_KEEP_CACHE,
                               fuse.FOPEN_CACHE_DIR)
    for name, valid, of_file, of_dir, plus in (
            ('auto', 1, 0, 0, True),
            ('always', DAY, keep, keep | directory, True),
            ('metadata', DAY, direct, keep | directory, True),
            ('never', 0, direct, 0, False)):
        with Rig('--cache=' + name) as rig:
            s = with_flags(rig, fuse.F_READDIRPLUS_AUTO)
            e = s.lookup(fuse.ROOT, 'witness')
            assert (e.entry_valid, e.attr_valid) == (valid, valid), name
            # of what may be cached; FOPEN_NOFLUSH is another matter
            mask = direct | keep | directory
            assert s.open_reply(e.nodeid)[1] & mask == of_file, name
            got = s.open_reply(fuse.ROOT, 0, fuse.OPENDIR)[1]
            assert got & mask == of_dir, name
            data = s.exactly(144, fuse.CREATE, fuse.ROOT, struct.pack(
                '<4I', 2, 0o600, 0, 0) + fuse.name_bytes('new'))
            got = struct.unpack('<I', data[136:140])[0]
            assert got & mask == of_file, name
            assert agreed(s, fuse.F_READDIRPLUS) == plus, name
            assert agreed(s, fuse.F_READDIRPLUS_AUTO) == plus, name
            s.close()


def own_timeout():
    for words, valid in ('timeout=7', 7), ('cache=always,timeout=0', 0):
        with Rig('-o', words) as rig:
            s = rig.session()
            e = s.lookup(fuse.ROOT, 'witness')
            assert (e.entry_valid, e.attr_valid) == (valid, valid), words
            s.close()


def no_readdirplus():
    with Rig('--no-readdirplus') as rig:
        s = with_flags(rig, fuse.F_READDIRPLUS_AUTO)
        assert not agreed(s, fuse.F_READDIRPLUS)
        assert not agreed(s, fuse.F_READDIRPLUS_AUTO)
        s.close()


def allow_mmap():
    for options, want in (['--cache=never', '--allow-mmap'], True), \
            (['--cache=never'], False):
        with Rig(*options) as rig:
            s = with_flags(rig, fuse.F_DIRECT_MMAP)
            assert agreed(s, fuse.F_DIRECT_MMAP) == want, options
            s.close()


def killpriv():
    for options, want in ([], True), (['--killpriv-v2'], True), \
            (['--no-killpriv-v2'], False):
        with Rig(*options) as rig:
            s = with_flags(rig, fuse.F_KILLPRIV_V2)
            assert agreed(s, fuse.F_KILLPRIV_V2) == want, options
            s.close()


def flags_of(rig, name):
    """Of the daemon's descriptors of a file of the share: flags, counted."""
    path, found = os.path.join(rig.share, name), collections.Counter()
    for fd in os.listdir(rig.proc('fd')):
        try:
            if os.readlink(rig.proc('fd/' + fd)) != path:
                continue
            with open(rig.proc('fdinfo/' + fd)) as f:
                info = dict(line.split(':', 1) for line in f if ':' in line)
        except FileNotFoundError:
            continue  # not one of the file's: those stay
        found[int(info['flags'], 8)] += 1
    return found


def local_flags(rig, s, nodeid, flags, name='witness'):
    """Flags of the descriptor that the daemon opens for OPEN."""
    before = flags_of(rig, name)
    fh = s.open(nodeid, flags)
    new = list((flags_of(rig, name) - before).elements())
    s.release(nodeid, fh)
    assert len(new) == 1, new
    return new[0]


def write_appending(s, nodeid, fh, off, data):
    """WRITE by somebody who has the file open with O_APPEND."""
    s.exactly(8, fuse.WRITE, nodeid, struct.pack(
        '<QQIIQII', fh, off, len(data), 0, 0, os.O_WRONLY | os.O_APPEND, 0) +
        data)


def writeback():
    """With it, what is opened to be written can be read, and nothing is
    appended: the client says where. Without, it is as asked."""
    asked = os.O_WRONLY | os.O_APPEND
    with Rig('--writeback') as rig:
        path = os.path.join(rig.share, 'witness')
        s = with_flags(rig, fuse.F_WRITEBACK)
        assert agreed(s, fuse.F_WRITEBACK)
        e = s.lookup(fuse.ROOT, 'witness')
        got = local_flags(rig, s, e.nodeid, asked)
        assert got & os.O_ACCMODE == os.O_RDWR and not got & os.O_APPEND
        fh = s.open(e.nodeid, asked)
        assert s.read(e.nodeid, fh, 0, 9) == b'witness'
        write_appending(s, e.nodeid, fh, 0, b'W')
        assert s.read(e.nodeid, fh, 0, 9) == b'Witness'
        write_appending(s, e.nodeid, fh, 0, b'w')
        _, made = s.create(fuse.ROOT, 'new', asked)
        s.write(e.nodeid, made, 0, b'abc')
        assert s.read(e.nodeid, made, 0, 9) == b'abc'
        # Who does not ask for it gets the old rules.
        other = rig.session()
        assert not agreed(other, fuse.F_WRITEBACK)
        e = other.lookup(fuse.ROOT, 'witness')
        got = local_flags(rig, other, e.nodeid, asked)
        assert got & os.O_ACCMODE == os.O_WRONLY
        fh = other.open(e.nodeid, asked)
        write_appending(other, e.nodeid, fh, 0, b'!')
        with open(path, 'rb') as f:
            assert f.read() == b'witness!'
        os.truncate(path, 7)
        other.close()
        s.close()
    with Rig() as rig:
        s = with_flags(rig, fuse.F_WRITEBACK)
        assert not agreed(s, fuse.F_WRITEBACK)
        s.close()


def writeback_times():
    """A client that writes back sends the time of the last write itself."""
    with Rig('--writeback') as rig:
        s = with_flags(rig, fuse.F_WRITEBACK)
        e = s.lookup(fuse.ROOT, 'witness')
        fh = s.open(e.nodeid, os.O_RDWR)
        s.write(e.nodeid, fh, 0, b'w')
        # FATTR_MTIME and FATTR_CTIME, as the kernel's flush sends them
        body = struct.pack('<II6Q8I', 1 << 5 | 1 << 10, 0, 0, 0, 0, 0,
                           1234567, 1234567, 0, 89, 89, 0, 0, 0, 0, 0)
        a = fuse.Attr(s.exactly(104, fuse.SETATTR, e.nodeid, body)[16:])
        assert (a.mtime, a.mtimensec) == (1234567, 89), (a.mtime, a.mtimensec)
        s.close()


def direct_io():
    """O_DIRECT reaches the file; the client's memory here is not aligned, as
    behind a header it never is."""
    block = os.urandom(4096)
    for options, want in (['--allow-direct-io'], os.O_DIRECT), ([], 0):
        with Rig(*options) as rig:
            path = rig.make('blocks', block * 2)
            s = rig.session()
            e = s.lookup(fuse.ROOT, 'blocks')
            asked = os.O_RDWR | os.O_DIRECT
            try:
                got = local_flags(rig, s, e.nodeid, asked, 'blocks')
            except fuse.FuseError as error:  # a file system without it
                assert want and error.errno == errno.EINVAL
                s.close()
                continue
            assert got & os.O_DIRECT == want, options
            fh = s.open(e.nodeid, asked)
            assert s.read(e.nodeid, fh, 4096, 8192) == block
            assert s.write(e.nodeid, fh, 4096, block[::-1]) == 4096
            with open(path, 'rb') as f:
                assert f.read() == block + block[::-1]
            s.close()


def as_nobody():
    """How to start a daemon as somebody else, or None."""
    if os.getuid():
        print('  only root starts as others')
        return None
    return dict(user=65534, group=65534, extra_groups=[])


def noatime():
    """Of others' files, only who asks to be told is told."""
    how = as_nobody()
    if not how:
        return
    for options, want in (['--preserve-noatime'], errno.EPERM), ([], 0):
        with Rig(*options, how=how) as rig:
            os.chown(rig.make('of-root', b'x'), 0, 0)
            os.chmod(os.path.join(rig.share, 'of-root'), 0o644)
            s = rig.session()
            e = s.lookup(fuse.ROOT, 'of-root')
            if want:
                refused(want, s.open, e.nodeid, os.O_NOATIME)
            else:
                got = local_flags(rig, s, e.nodeid, os.O_NOATIME,
                                  'of-root')
                assert not got & os.O_NOATIME
            s.close()
    with Rig() as rig:
        s = rig.session()
        e = s.lookup(fuse.ROOT, 'witness')
        assert local_flags(rig, s, e.nodeid, os.O_NOATIME) & os.O_NOATIME
        s.close()


def xattr():
    with Rig('--no-xattr') as rig:
        s = rig.session()
        e = s.lookup(fuse.ROOT, 'witness')
        refused(errno.ENOSYS, s.request, fuse.LISTXATTR, e.nodeid,
                struct.pack('<II', 4096, 0), 4096)
        s.close()
    with Rig('--no-xattr', '--xattr') as rig:
        if not has_xattr(rig.share):
            return
        os.setxattr(os.path.join(rig.share, 'witness'), 'user.a', b'1')
        s = rig.session()
        e = s.lookup(fuse.ROOT, 'witness')
        assert b'user.a\0' in s.request(fuse.LISTXATTR, e.nodeid,
                                        struct.pack('<II', 4096, 0), 4096)
        s.close()


def xattr_names():
    """trusted.* of the client is kept as user.* by the host."""
    with Rig('--xattrmap=:map:trusted.:user.virtiofs.:') as rig:
        path = os.path.join(rig.share, 'witness')
        if not has_xattr(rig.share):
            return
        os.setxattr(path, 'user.plain', b'p')
        s = rig.session()
        node = s.lookup(fuse.ROOT, 'witness').nodeid
        name = fuse.name_bytes

        def get(n):
            return s.request(fuse.GETXATTR, node,
                             struct.pack('<II', 100, 0) + name(n), 100)

        s.exactly(0, fuse.SETXATTR, node, struct.pack('<II', 3, 0) +
                  name('trusted.a') + b'one')
        assert os.getxattr(path, 'user.virtiofs.trusted.a') == b'one'
        assert get('trusted.a') == b'one' and get('user.plain') == b'p'
        refused(errno.EPERM, get, 'user.virtiofs.trusted.a')
        listed = s.request(fuse.LISTXATTR, node, struct.pack('<II', 99, 0), 99)
        assert sorted(listed.split(b'\0')) == [b'', b'trusted.a',
                                               b'user.plain'], listed
        size = s.exactly(8, fuse.LISTXATTR, node, struct.pack('<II', 0, 0))
        assert struct.unpack('<I', size[:4])[0] == len(listed)
        refused(errno.ERANGE, s.request, fuse.LISTXATTR, node,
                struct.pack('<II', len(listed) - 1, 0), 99)
        s.exactly(0, fuse.REMOVEXATTR, node, name('trusted.a'))
        assert os.listxattr(path) == ['user.plain']
        s.close()


# -- users

def owner(rig, name):
    st = os.lstat(os.path.join(rig.share, name))
    return st.st_uid, st.st_gid


def make_all(s, tag):
    """One of everything that has an owner."""
    name = fuse.name_bytes
    s.mkdir(fuse.ROOT, 'dir' + tag)
    s.create(fuse.ROOT, 'file' + tag)
    s.symlink(fuse.ROOT, 'link' + tag, 'nowhere')
    s.exactly(128, fuse.MKNOD, fuse.ROOT, struct.pack('<4I', 0o010600, 0, 0, 0)
              + name('fifo' + tag))
    return [kind + tag for kind in ('dir', 'file', 'link', 'fifo')]


def translated_both_ways():
    if os.getuid():
        print('  only root gives files away')
        return
    with Rig('--translate-uid=map:1000:5000:10',
             '--translate-gid', 'map:2000:6000:10') as rig:
        os.chmod(rig.share, 0o777)
        s = rig.session()
        s.uid, s.gid = 1003, 2004
        for name in make_all(s, ''):
            assert owner(rig, name) == (5003, 6004), name
            a = s.lookup(fuse.ROOT, name).attr
            assert (a.uid, a.gid) == (1003, 2004), name
        listed = {e[0]: e[4] for e in s.readdir(fuse.ROOT, plus=True)}
        assert listed[b'file'].attr.uid == 1003
        # TMPFILE
        data = s.exactly(144, fuse.TMPFILE, fuse.ROOT, struct.pack(
            '<4I', 2, 0o600, 0, 0) + fuse.name_bytes('.'))
        assert fuse.Entry(data[:128]).attr.uid == 1003
        # SETATTR, each alone and both, and what is in no range
        s.uid = s.gid = 0
        node = s.lookup(fuse.ROOT, 'file').nodeid
        assert s.setattr(node, uid=1009).uid == 1009
        assert owner(rig, 'file') == (5009, 6004)
        assert s.setattr(node, gid=2009).gid == 2009
        assert owner(rig, 'file') == (5009, 6009)
        assert s.getattr(node).uid == 1009
        a = s.setattr(node, uid=1010, gid=1999)
        assert (a.uid, a.gid) == (1010, 1999)
        assert owner(rig, 'file') == (1010, 1999)
        s.close()


def translated_one_way():
    if os.getuid():
        return
    with Rig('--translate-uid=squash-guest:0:7000:65536',
             '--translate-uid=host:7000:42:1',
             '--translate-gid=guest:5:500:1',
             '--translate-gid=squash-host:0:99:65536') as rig:
        os.chmod(rig.share, 0o777)
        s = rig.session()
        s.uid, s.gid = 1234, 5
        for name in make_all(s, ''):
            assert owner(rig, name) == (7000, 500), name
            a = s.lookup(fuse.ROOT, name).attr
            assert (a.uid, a.gid) == (42, 99), name
        s.close()


def forbidden_user():
    if os.getuid():
        return
    with Rig('--translate-uid=forbid-guest:1000:2',
             '--translate-gid=forbid-guest:77:1') as rig:
        os.chmod(rig.share, 0o777)
        s = rig.session()
        name = fuse.name_bytes
        node = s.lookup(fuse.ROOT, 'witness').nodeid
        for s.uid, s.gid in (1001, 0), (0, 77):
            for opcode, body in (
                    (fuse.MKDIR, struct.pack('<II', 0o700, 0) + name('x')),
                    (fuse.MKNOD, struct.pack('<4I', 0o100600, 0, 0, 0) +
                     name('x')),
                    (fuse.SYMLINK, name('x') + name('y')),
                    (fuse.CREATE, struct.pack('<4I', 2, 0o600, 0, 0) +
                     name('x')),
                    (fuse.TMPFILE, struct.pack('<4I', 2, 0o600, 0, 0) +
                     name('.'))):
                refused(errno.EPERM, s.request, opcode, fuse.ROOT, body, 144)
            # It can still look, and close what it has.
            fh = s.open(node)
            assert s.read(node, fh, 0, 9) == b'witness'
            s.release(node, fh)
        s.uid = s.gid = 0
        refused(errno.EPERM, s.setattr, node, uid=1000)
        refused(errno.EPERM, s.setattr, node, gid=77)
        assert os.listdir(rig.share) == ['witness']
        s.close()


def no_access_lists_with_translation():
    """The numbers in them would be the other side's."""
    acl = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *e) for e in (
        (1, 6, 2**32 - 1), (2, 7, 1000), (4, 4, 2**32 - 1),
        (16, 7, 2**32 - 1), (32, 4, 2**32 - 1)))
    name = fuse.name_bytes('system.posix_acl_access')
    for options in [], ['--translate-gid=map:1000:5000:1']:
        with Rig(*options) as rig:
            path = os.path.join(rig.share, 'witness')
            try:
                os.setxattr(path, 'system.posix_acl_access', acl)
            except OSError:
                print('  no access lists here')
                return
            os.setxattr(path, 'user.other', b'1')
            s = rig.session()
            node = s.lookup(fuse.ROOT, 'witness').nodeid
            get = struct.pack('<II', 999, 0)
            listed = s.request(fuse.LISTXATTR, node, get, 999)
            assert b'user.other\0' in listed
            assert (name in listed) == (not options)
            if options:
                refused(errno.EOPNOTSUPP, s.request, fuse.GETXATTR, node,
                        get + name, 999)
                refused(errno.EOPNOTSUPP, s.request, fuse.SETXATTR, node,
                        struct.pack('<II', len(acl), 0) + name + acl)
            else:
                assert s.request(fuse.GETXATTR, node, get + name, 999) == acl
            s.close()


def user_name_space():
    """Users of a map only, under the numbers that it gives them outside."""
    if os.getuid():
        print('  needs root')
        return
    maps = [f'--{kind}-map=:0:{base}:1000:'
            for kind, base in (('uid', 100000), ('gid', 200000))]
    rig = boxed(*maps)
    if not rig:
        return
    with rig:
        os.chmod(rig.share, 0o777)
        s = rig.session()
        s.uid, s.gid = 5, 6
        for name in make_all(s, ''):
            assert owner(rig, name) == (100005, 200006), name
            a = s.lookup(fuse.ROOT, name).attr
            assert (a.uid, a.gid) == (5, 6), name
        # The host's root is nobody in there, and its files are not ours.
        a = s.lookup(fuse.ROOT, 'witness').attr
        assert (a.uid, a.gid) == (65534, 65534)
        s.uid = s.gid = 0
        refused(errno.EPERM, s.setattr, s.lookup(fuse.ROOT, 'witness').nodeid,
                mode=0o777)
        with open(rig.proc('status')) as f:
            ids = [line.split()[1] for line in f
                   if line.startswith(('Uid:', 'Gid:'))]
        assert ids == ['100000', '200000'], ids
        s.close()


CASES = [cache_policies, own_timeout, no_readdirplus, allow_mmap, killpriv,
         writeback, writeback_times, direct_io, noatime, xattr, xattr_names,
         translated_both_ways, translated_one_way, forbidden_user,
         no_access_lists_with_translation, user_name_space]
