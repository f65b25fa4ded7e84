# SPDX-License-Identifier: BSD-2-Clause
"""FUSE over wire_client.Device: one method a request, every reply measured.

Layouts are those of the FUSE protocol, version 7.38, in little-endian; see
linux/fuse.h for the names of the fields.
"""
import errno
import struct

from wire_client import Device, WireError

LOOKUP, FORGET, GETATTR, SETATTR, READLINK, SYMLINK = 1, 2, 3, 4, 5, 6
MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK, OPEN, READ = 8, 9, 10, 11, 12, 13, 14, 15
WRITE, STATFS, RELEASE, FSYNC, SETXATTR, GETXATTR = 16, 17, 18, 20, 21, 22
LISTXATTR, REMOVEXATTR, FLUSH, INIT, OPENDIR, READDIR = 23, 24, 25, 26, 27, 28
RELEASEDIR, FSYNCDIR, ACCESS, CREATE, DESTROY = 29, 30, 34, 35, 38
BATCH_FORGET, FALLOCATE, READDIRPLUS, RENAME2, LSEEK = 42, 43, 44, 45, 46
COPY_FILE_RANGE, SETUPMAPPING, REMOVEMAPPING, SYNCFS = 47, 48, 49, 50
TMPFILE = 51

ROOT = 1
NO_HANDLE = 2**64 - 1
MAP_WRITE, MAP_READ = 1, 2

# INIT flag bits.
F_ASYNC_READ, F_BIG_WRITES, F_ASYNC_DIO = 0, 5, 15
F_PARALLEL_DIROPS, F_MAX_PAGES, F_MAP_ALIGNMENT, F_INIT_EXT = 18, 22, 26, 30
F_READDIRPLUS, F_HAS_INODE_DAX = 13, 33
F_READDIRPLUS_AUTO, F_WRITEBACK, F_KILLPRIV_V2, F_DIRECT_MMAP = 14, 16, 28, 36
FOPEN_DIRECT_IO, FOPEN_KEEP_CACHE, FOPEN_CACHE_DIR = 1, 2, 8

ATTR_FMT = '<6Q10I'
ATTR_NAMES = ('ino size blocks atime mtime ctime atimensec mtimensec ctimensec '
              'mode nlink uid gid rdev blksize flags').split()
SET_MODE, SET_SIZE, SET_FH = 1, 8, 64


class FuseError(Exception):
    """The daemon answered with an error, as it may."""

    def __init__(self, opcode, number):
        super().__init__(f'opcode {opcode}: '
                         f'{errno.errorcode.get(number, number)}')
        self.errno = number


class Attr:
    SIZE = struct.calcsize(ATTR_FMT)

    def __init__(self, data):
        for name, value in zip(ATTR_NAMES, struct.unpack(ATTR_FMT, data)):
            setattr(self, name, value)


class Entry:
    SIZE = 128

    def __init__(self, data):
        (self.nodeid, self.generation, self.entry_valid, self.attr_valid,
         self.entry_nsec, self.attr_nsec) = struct.unpack('<4Q2I', data[:40])
        self.attr = Attr(data[40:128])


def header(opcode, nodeid, body, unique, length=None, uid=0, gid=0):
    length = 40 + len(body) if length is None else length
    return struct.pack('<IIQQIIIHH', length, opcode, unique, nodeid,
                       uid, gid, 1, 0, 0) + body


def name_bytes(name):
    return (name if isinstance(name, bytes) else name.encode()) + b'\0'


class Session(Device):
    """A Device with INIT done, and its requests."""

    def __init__(self, path, *, init=True, **options):
        super().__init__(path, **options)
        self.unique = 2
        self.uid = self.gid = 0  # who asks
        if init:
            self.init()

    # -- plumbing

    def submit_request(self, opcode, nodeid=ROOT, body=b'', room=0, *,
                       queue=1, cuts=(), length=None):
        self.unique += 2
        out = header(opcode, nodeid, body, self.unique, length, self.uid,
                     self.gid)
        return opcode, self.unique, self.submit(queue, out, 16 + room, cuts)

    def finish_request(self, token):
        opcode, unique, ring_token = token
        data = self.finish(ring_token)
        if len(data) < 16:
            raise WireError(f'opcode {opcode}: {len(data)} bytes of answer')
        length, error, got = struct.unpack('<IiQ', data[:16])
        if length != len(data):
            raise WireError(f'opcode {opcode}: header says {length} bytes, '
                            f'the ring {len(data)}')
        if got != unique:
            raise WireError(f'opcode {opcode}: answer to another request')
        if error > 0 or error < -4095:
            raise WireError(f'opcode {opcode}: error {error}')
        if error:
            if length != 16:
                raise WireError(f'opcode {opcode}: error with data')
            raise FuseError(opcode, -error)
        return data[16:]

    def request(self, opcode, nodeid=ROOT, body=b'', room=0, **how):
        return self.finish_request(
            self.submit_request(opcode, nodeid, body, room, **how))

    def exactly(self, n, opcode, nodeid=ROOT, body=b'', **how):
        data = self.request(opcode, nodeid, body, n, **how)
        if len(data) != n:
            raise WireError(f'opcode {opcode}: {len(data)} bytes, not {n}')
        return data

    # -- session

    def init(self, minor=38, inode_dax=True, more=(), oriel=False):
        """@more: further flag bits offered; @oriel: as liboriel."""
        flags = sum(1 << b for b in (
            F_ASYNC_READ, F_BIG_WRITES, F_ASYNC_DIO, F_PARALLEL_DIROPS,
            F_MAX_PAGES, F_INIT_EXT, F_READDIRPLUS, *more))
        if self.window:
            flags |= 1 << F_MAP_ALIGNMENT
            if inode_dax:
                flags |= 1 << F_HAS_INODE_DAX
        body = struct.pack('<5I', 7, minor, 1 << 20, flags & 0xffffffff,
                           flags >> 32) + (b'LERO' if oriel else bytes(4)) + \
            bytes(40)
        data = self.request(INIT, 0, body, 64)
        if len(data) not in (8, 24, 64):
            raise WireError(f'INIT answered {len(data)} bytes')
        data = data.ljust(64, b'\0')
        (self.major, self.minor, self.readahead, low, self.max_background,
         self.congestion, self.max_write, self.time_gran, self.max_pages,
         self.map_alignment, high, _, _) = struct.unpack('<4I2H2I2H2IH',
                                                         data[:42])
        self.flags = low | (high << 32 if low >> F_INIT_EXT & 1 else 0)
        if self.flags & ~flags:
            raise WireError(f'INIT flags {self.flags & ~flags:#x} were not '
                            'offered')
        if self.major != 7:
            raise WireError(f'INIT: major {self.major}')

    def destroy(self):
        self.exactly(0, DESTROY, 0)

    # -- names

    def lookup(self, parent, name):
        entry = Entry(self.exactly(128, LOOKUP, parent, name_bytes(name)))
        if entry.nodeid == 0:
            raise FuseError(LOOKUP, errno.ENOENT)
        return entry

    def forget(self, nodeid, n=1, queue=0):
        self.unique += 2
        out = header(FORGET, nodeid, struct.pack('<Q', n), self.unique)
        used = self.finish(self.submit(queue, out, 0))
        if used:
            raise WireError('FORGET was answered')

    def batch_forget(self, pairs):
        self.unique += 2
        body = struct.pack('<II', len(pairs), 0) + b''.join(
            struct.pack('<QQ', *p) for p in pairs)
        used = self.finish(self.submit(
            0, header(BATCH_FORGET, 0, body, self.unique), 0))
        if used:
            raise WireError('BATCH_FORGET was answered')

    def mkdir(self, parent, name, mode=0o755):
        return Entry(self.exactly(128, MKDIR, parent, struct.pack(
            '<II', mode, 0) + name_bytes(name)))

    def symlink(self, parent, name, target):
        return Entry(self.exactly(128, SYMLINK, parent,
                                  name_bytes(name) + name_bytes(target)))

    def readlink(self, nodeid):
        return self.request(READLINK, nodeid, b'', 4096)

    def unlink(self, parent, name):
        self.exactly(0, UNLINK, parent, name_bytes(name))

    def rmdir(self, parent, name):
        self.exactly(0, RMDIR, parent, name_bytes(name))

    def rename(self, parent, name, new_parent, new_name):
        self.exactly(0, RENAME, parent, struct.pack('<Q', new_parent) +
                     name_bytes(name) + name_bytes(new_name))

    def link(self, nodeid, parent, name):
        return Entry(self.exactly(128, LINK, parent,
                                  struct.pack('<Q', nodeid) + name_bytes(name)))

    # -- attributes

    def getattr(self, nodeid):
        data = self.exactly(104, GETATTR, nodeid, struct.pack('<IIQ', 0, 0, 0))
        return Attr(data[16:])

    def setattr(self, nodeid, *, mode=None, size=None, fh=None, uid=None,
                gid=None):
        valid = (SET_MODE if mode is not None else 0) | \
            (SET_SIZE if size is not None else 0) | \
            (SET_FH if fh is not None else 0) | \
            (2 if uid is not None else 0) | (4 if gid is not None else 0)
        body = struct.pack('<II6Q8I', valid, 0, fh or 0, size or 0, 0, 0, 0, 0,
                           0, 0, 0, mode or 0, 0, uid or 0, gid or 0, 0)
        return Attr(self.exactly(104, SETATTR, nodeid, body)[16:])

    def statfs(self):
        data = self.exactly(80, STATFS)
        return struct.unpack('<5Q', data[:40])

    # -- files

    def open_reply(self, nodeid, flags=0, opcode=OPEN):
        """(handle, FOPEN_* flags)"""
        data = self.exactly(16, opcode, nodeid, struct.pack('<II', flags, 0))
        return struct.unpack('<QI', data[:12])

    def open(self, nodeid, flags=0):
        data = self.exactly(16, OPEN, nodeid, struct.pack('<II', flags, 0))
        return struct.unpack('<Q', data[:8])[0]

    def create(self, parent, name, flags=2, mode=0o644):
        data = self.exactly(144, CREATE, parent, struct.pack(
            '<4I', flags, mode, 0, 0) + name_bytes(name))
        return Entry(data[:128]), struct.unpack('<Q', data[128:136])[0]

    def read(self, nodeid, fh, off, n, **how):
        data = self.request(READ, nodeid, struct.pack(
            '<QQIIQII', fh, off, n, 0, 0, 0, 0), n, **how)
        return data

    def write(self, nodeid, fh, off, data, **how):
        body = struct.pack('<QQIIQII', fh, off, len(data), 0, 0, 0, 0) + data
        got = self.exactly(8, WRITE, nodeid, body, **how)
        return struct.unpack('<I', got[:4])[0]

    def flush(self, nodeid, fh):
        self.exactly(0, FLUSH, nodeid, struct.pack('<QIIQ', fh, 0, 0, 0))

    def fsync(self, nodeid, fh, datasync=0):
        self.exactly(0, FSYNC, nodeid, struct.pack('<QII', fh, datasync, 0))

    def release(self, nodeid, fh, opcode=RELEASE):
        self.exactly(0, opcode, nodeid, struct.pack('<QIIQ', fh, 0, 0, 0))

    def lseek(self, nodeid, fh, off, whence):
        data = self.exactly(8, LSEEK, nodeid,
                            struct.pack('<QQII', fh, off, whence, 0))
        return struct.unpack('<Q', data)[0]

    def fallocate(self, nodeid, fh, off, n, mode=0):
        self.exactly(0, FALLOCATE, nodeid,
                     struct.pack('<QQQII', fh, off, n, mode, 0))

    def copy(self, nodeid, fh, off, to_node, to_fh, to_off, n):
        data = self.exactly(8, COPY_FILE_RANGE, nodeid, struct.pack(
            '<7Q', fh, off, to_node, to_fh, to_off, n, 0))
        return struct.unpack('<I', data[:4])[0]

    # -- directories

    def opendir(self, nodeid):
        data = self.exactly(16, OPENDIR, nodeid, struct.pack('<II', 0, 0))
        return struct.unpack('<Q', data[:8])[0]

    def readdir_once(self, nodeid, fh, off, n=4096, plus=False):
        """[(name, ino, type, off, Entry or None)] of one request."""
        data = self.request(READDIRPLUS if plus else READDIR, nodeid,
                            struct.pack('<QQIIQII', fh, off, n, 0, 0, 0, 0), n)
        found = []
        while data:
            entry = None
            if plus:
                entry, data = Entry(data[:128]), data[128:]
            if len(data) < 24:
                raise WireError('READDIR: half an entry')
            ino, cookie, length, kind = struct.unpack('<QQII', data[:24])
            total = 24 + (length + 7) // 8 * 8
            if not 0 < length <= 255 or total > len(data):
                raise WireError(f'READDIR: name of {length} bytes')
            found.append((data[24:24 + length], ino, kind, cookie, entry))
            data = data[total:]
        return found

    def readdir(self, nodeid, n=4096, plus=False):
        """Every entry of a directory."""
        fh = self.opendir(nodeid)
        everything, off = [], 0
        while part := self.readdir_once(nodeid, fh, off, n, plus):
            everything += part
            off = part[-1][3]
        self.release(nodeid, fh, RELEASEDIR)
        return everything

    # -- the window

    def setupmapping(self, nodeid, off, n, at, flags=MAP_READ, fh=NO_HANDLE):
        self.exactly(0, SETUPMAPPING, nodeid,
                     struct.pack('<5Q', fh, off, n, flags, at))

    def removemapping(self, nodeid, pairs):
        self.exactly(0, REMOVEMAPPING, nodeid, struct.pack('<I', len(pairs)) +
                     b''.join(struct.pack('<QQ', *p) for p in pairs))
