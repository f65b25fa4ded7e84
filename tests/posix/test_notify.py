#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Changes on the host, seen through 'orield --mount' with attributes that are
believed for a day: each is there at once, or the test waits in vain.

    test_notify.py [CASE]...
"""

import ctypes
import os
import signal
import struct
import sys
import threading

import mountlib
from mountlib import wait_for

IN = {"modify": 0x2, "attrib": 0x4, "moved_from": 0x40, "moved_to": 0x80,
      "create": 0x100, "delete": 0x200, "delete_self": 0x400,
      "move_self": 0x800, "ignored": 0x8000}


class Inotify:
    """inotify(7) of one path; .read() is what came until now."""

    def __init__(self, path):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.libc.inotify_add_watch(self.fd, path.encode(), 0xfff) < 0:
            raise OSError(ctypes.get_errno(), path)
        self.seen = []

    def read(self):
        try:
            buf = os.read(self.fd, 65536)
        except BlockingIOError:
            return self.seen
        while buf:
            _, mask, _, n = struct.unpack_from("iIII", buf)
            name = buf[16:16 + n].rstrip(b"\0").decode()
            self.seen += [(k, name) for k, v in IN.items() if mask & v]
            buf = buf[16 + n:]
        return self.seen

    def close(self):
        os.close(self.fd)


def put(path, data, mode="w"):
    with open(path, mode) as f:
        f.write(data)


def get(path):
    with open(path) as f:
        return f.read()


class Both:
    """One name below (.host) and above (.mnt)."""

    def __init__(self, place, name):
        self.host = os.path.join(place.share, name)
        self.mnt = os.path.join(place.mnt, name)


def known(path):
    """Have the kernel keep what it knows of path for long: of what it learns
    it is first told for a second only. Then a change is not seen by itself."""
    st = os.stat(path)
    threading.Event().wait(1.1)
    os.stat(path)
    return st


def case_attributes(place):
    b = Both(place, "a")
    put(b.host, "one")
    known(b.mnt)
    put(b.host, "three", "a")
    wait_for("the size", lambda: os.stat(b.mnt).st_size == 8)
    os.chmod(b.host, 0o640)
    wait_for("the mode", lambda: os.stat(b.mnt).st_mode & 0o777 == 0o640)
    os.utime(b.host, (1000, 2000))
    wait_for("the time", lambda: os.stat(b.mnt).st_mtime == 2000)
    os.truncate(b.host, 1)
    wait_for("the new size", lambda: os.stat(b.mnt).st_size == 1)


def case_data(place):
    b = Both(place, "d")
    put(b.host, "x" * 10000)
    known(b.mnt)
    with open(b.mnt) as f:
        assert f.read() == "x" * 10000
        # the same size, in place: only the pages tell
        fd = os.open(b.host, os.O_WRONLY)
        os.pwrite(fd, b"y" * 5000, 0)
        os.close(fd)
        wait_for("the data", lambda: os.pread(f.fileno(), 1, 0) == b"y")
        assert os.pread(f.fileno(), 10000, 0) == b"y" * 5000 + b"x" * 5000


def case_names(place):
    b = Both(place, "n")
    os.mkdir(b.host)
    put(b.host + "/old", "1")
    assert os.listdir(b.mnt) == ["old"]
    known(b.mnt + "/old")
    known(b.mnt)
    assert os.listdir(b.mnt) == ["old"]
    put(b.host + "/new", "2")
    wait_for("a new name", lambda: os.path.exists(b.mnt + "/new"))
    wait_for("it in the listing",
             lambda: sorted(os.listdir(b.mnt)) == ["new", "old"])
    os.unlink(b.host + "/old")
    wait_for("the end of a name", lambda: not os.path.exists(b.mnt + "/old"))
    wait_for("its end in the listing", lambda: os.listdir(b.mnt) == ["new"])
    known(b.mnt + "/new")
    os.rename(b.host + "/new", b.host + "/newer")
    wait_for("a move", lambda: not os.path.exists(b.mnt + "/new"))
    assert get(b.mnt + "/newer") == "2"
    put(b.host + "/other", "3")
    known(b.mnt + "/newer")
    os.rename(b.host + "/other", b.host + "/newer")
    wait_for("what replaced it", lambda: get(b.mnt + "/newer") == "3")


def case_hard_link(place):
    """Changed by a name in a directory nobody looked at: not for long."""
    b = Both(place, "h")
    os.mkdir(b.host)
    os.mkdir(b.host + "2")
    put(b.host + "/f", "1")
    os.link(b.host + "/f", b.host + "2/g")
    known(b.mnt + "/f")
    put(b.host + "2/g", "234")
    wait_for("the size", lambda: os.stat(b.mnt + "/f").st_size == 3)


def case_directory_goes(place):
    b = Both(place, "g")
    os.makedirs(b.host + "/sub/deep")
    known(b.mnt + "/sub/deep")
    ino = Inotify(b.mnt + "/sub/deep")
    os.rmdir(b.host + "/sub/deep")
    wait_for("IN_DELETE_SELF", lambda: ("delete_self", "") in ino.read())
    assert not os.path.exists(b.mnt + "/sub/deep")
    ino.close()
    os.rmdir(b.host + "/sub")
    wait_for("the end", lambda: not os.path.exists(b.mnt + "/sub"))
    os.mkdir(b.host + "/sub")
    put(b.host + "/sub/f", "again")
    wait_for("another of the name", lambda: os.path.exists(b.mnt + "/sub/f"))
    assert get(b.mnt + "/sub/f") == "again"


def case_file_goes(place):
    """Who watches a file hears of its end; who has it open goes on."""
    b = Both(place, "w")
    put(b.host, "kept")
    known(b.mnt)
    ino = Inotify(b.mnt)
    with open(b.mnt) as f:
        os.unlink(b.host)
        wait_for("the end", lambda: not os.path.exists(b.mnt))
        assert f.read() == "kept"
    wait_for("IN_DELETE_SELF", lambda: ("delete_self", "") in ino.read())
    ino.close()


def case_many_directories(place):
    """More directories than one can count, all of them known."""
    b = Both(place, "m")
    os.mkdir(b.host)
    for i in range(3000):
        os.mkdir("%s/%d" % (b.host, i))
        put("%s/%d/f" % (b.host, i), "1")
    for _ in range(2):
        for i in range(3000):
            os.stat("%s/%d/f" % (b.mnt, i))
        threading.Event().wait(1.1)
    for i in range(3000):
        put("%s/%d/f" % (b.host, i), "234")
    for i in range(3000):
        wait_for("file %d" % i,
                 lambda i=i: os.stat("%s/%d/f" % (b.mnt, i)).st_size == 3)


def stands_still(pid):
    """A signal that stops is on its way for a while."""
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/stat" % (pid, task)) as f:
            if f.read().rpartition(")")[2].split()[0] != "T":
                return False
    return True


def case_overflow(place):
    """More changes than the kernel keeps while the daemon stands still:
    everything is asked anew."""
    with open("/proc/sys/fs/fanotify/max_queued_events") as f:
        most = int(f.read())
    if most > 100000:
        return
    b = Both(place, "o")
    os.mkdir(b.host)
    for n in ("f", "gone"):
        put(b.host + "/" + n, "1")
        known(b.mnt + "/" + n)
    place.proc.send_signal(signal.SIGSTOP)
    try:
        wait_for("the stop", lambda: stands_still(place.proc.pid))
        for i in range(most + 100):
            put("%s/%d" % (b.host, i), "")
        put(b.host + "/f", "234")
        os.unlink(b.host + "/gone")
    finally:
        place.proc.send_signal(signal.SIGCONT)
    wait_for("the overflow", lambda: "more changes than" in place.logged())
    wait_for("the size", lambda: os.stat(b.mnt + "/f").st_size == 3)
    if "names that the kernel knows" not in place.logged():
        wait_for("the end", lambda: not os.path.exists(b.mnt + "/gone"))


def is_resident(f):
    """Is the first page of the open file f in the page cache?"""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int,
                          ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t,
                             ctypes.c_char_p]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    at = libc.mmap(None, 4096, 1, 1, f.fileno(), 0)
    vec = ctypes.create_string_buffer(1)
    assert libc.mincore(at, 4096, vec) == 0
    libc.munmap(at, 4096)
    return vec.raw[0] & 1 == 1


def case_own(place):
    """What the mount does itself does not void what it caches; what the host
    does, does."""
    b = Both(place, "own")
    mark = Both(place, "mark")
    put(b.host, "x" * 4096)
    put(mark.host, "1")
    known(b.mnt)
    known(mark.mnt)
    with open(b.mnt, "r+b", buffering=0) as f:
        f.read()
        os.pwrite(f.fileno(), b"z", 0)
        # events come in order: when this one was told, ours was, too
        put(mark.host, "234")
        wait_for("the size", lambda: os.stat(mark.mnt).st_size == 3)
        assert is_resident(f)
        put(b.host, "y" * 4096)
        wait_for("data", lambda: os.pread(f.fileno(), 1, 0) == b"y")


def case_storm(place):
    """Changes from both sides at once; nothing stands still, nothing is
    forgotten."""
    b = Both(place, "s")
    os.mkdir(b.host)
    errors = []

    def work(top, me):
        try:
            for i in range(300):
                p = "%s/%d" % (top, i % 7)
                try:
                    put(p, "%d %d" % (me, i))
                    get(p)
                    os.rename(p, "%s/r%d" % (top, i % 3))
                    os.unlink("%s/r%d" % (top, (i + 1) % 3))
                except (FileNotFoundError, OSError) as e:
                    if e.errno not in (2, 116):
                        raise
                os.listdir(top)
        except Exception as e:  # pylint: disable=broad-except
            errors.append(e)

    threads = [threading.Thread(target=work,
                                args=(b.mnt if i % 2 else b.host, i))
               for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors
    wait_for("the same names", lambda: sorted(os.listdir(b.mnt)) ==
             sorted(os.listdir(b.host)))
    for n in os.listdir(b.host):
        wait_for(n, lambda n=n: get(b.host + "/" + n) == get(b.mnt + "/" + n))


def case_never(place):
    """Without it nothing is told: what all the others would fail by."""
    place.stop()
    place.start("--cache=always", "--passthrough=never", "--notify=never")
    b = Both(place, "never")
    put(b.host, "1")
    known(b.mnt)
    put(b.host, "234")
    assert os.stat(b.mnt).st_size == 1


def main():
    mountlib.private_mounts()
    mountlib.need_fuse()
    cases = [v for k, v in globals().items() if k.startswith("case_")]
    if sys.argv[1:]:
        cases = [c for c in cases if c.__name__[5:] in sys.argv[1:]]
    for way in ("never", "auto"):
        place = mountlib.Place()
        try:
            place.start("--cache=always", "--passthrough=" + way)
            if "not noticed" in place.logged():
                print("no fanotify here")
                return 77
            for case in cases:
                if way == "auto" and case is case_never:
                    continue
                print(way, case.__name__, flush=True)
                case(place)
            status = place.stop()
            assert status == 0, "%s %s" % (status, place.logged())
        finally:
            place.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
