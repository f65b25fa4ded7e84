#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""orield --mount --posix-acl: access lists are enforced and inherited. And the
time of birth, which is asked for by a request of its own, and the group of a
directory, which comes with what is made in it."""

import ctypes
import os
import shutil
import struct
import subprocess
import sys
import unittest

import mountlib

USER, OTHER, GROUP = 4711, 4712, 4713


def run(*argv, ids=None, check=True):
    """Its output; as user (uid, gid) if @ids."""
    how = {}
    if ids:
        how = {"user": ids[0], "group": ids[1], "extra_groups": []}
    r = subprocess.run(argv, stdout=subprocess.PIPE, text=True,
                       stderr=subprocess.STDOUT, **how)
    if check and r.returncode:
        raise AssertionError(f"{argv}: {r.stdout}")
    return r.stdout if check else r.returncode


def may(path, how, uid, gid=OTHER):
    """Can that user do it? By trying."""
    script = {"r": 'cat "$0" >/dev/null', "w": ': >>"$0"',
              "l": 'ls "$0" >/dev/null', "c": ': >"$0/made" && rm "$0/made"'}
    return run("sh", "-c", script[how] + " 2>/dev/null", path,
               ids=(uid, gid), check=False) == 0


def acl(path):
    """The entries of getfacl, without comments."""
    text = run("getfacl", "-cnpE", path)
    return sorted(line for line in text.split("\n") if line)


class Case(unittest.TestCase):
    options = ("--posix-acl",)

    def setUp(self):
        self.place = mountlib.Place()
        self.addCleanup(self.place.remove)
        self.place.start(*self.options)

    def path(self, *names):
        return os.path.join(self.place.mnt, *names)

    def below(self, *names):
        return os.path.join(self.place.share, *names)

    def make(self, name, mode=0o640):
        with open(self.path(name), "w") as f:
            f.write("text")
        os.chmod(self.path(name), mode)
        return self.path(name)


class Lists(Case):
    def test_enforced(self):
        f = self.make("f")
        self.assertFalse(may(f, "r", USER))
        run("setfacl", "-m", f"u:{USER}:r", f)
        self.assertTrue(may(f, "r", USER))
        self.assertFalse(may(f, "w", USER))
        self.assertFalse(may(f, "r", OTHER))
        run("setfacl", "-m", f"u:{USER}:rw,g:{GROUP}:r", f)
        self.assertTrue(may(f, "w", USER))
        self.assertTrue(may(f, "r", OTHER, GROUP))
        self.assertFalse(may(f, "w", OTHER, GROUP))
        # A list can also take away.
        os.chmod(f, 0o666)
        run("setfacl", "-m", f"u:{USER}:-", f)
        self.assertTrue(may(f, "r", OTHER))
        self.assertFalse(may(f, "r", USER))
        run("setfacl", "-b", f)
        self.assertTrue(may(f, "r", USER))

    def test_same_on_both_sides(self):
        f = self.make("f")
        run("setfacl", "-m", f"u:{USER}:rx,g:{GROUP}:w", f)
        self.assertEqual(acl(f), acl(self.below("f")))
        self.assertIn(f"user:{USER}:r-x", acl(f))
        run("setfacl", "-x", f"u:{USER}", self.below("f"))
        mountlib.wait_for("the change below", lambda: acl(f) ==
                          acl(self.below("f")))

    def test_mask_and_mode(self):
        f = self.make("f")
        run("setfacl", "-m", f"u:{USER}:rw", f)
        self.assertEqual(os.stat(f).st_mode & 0o777, 0o660)
        os.chmod(f, 0o600)
        self.assertIn("mask::---", acl(f))
        self.assertFalse(may(f, "r", USER))
        self.assertEqual(acl(f), acl(self.below("f")))

    def test_inherited(self):
        d = self.path("d")
        os.mkdir(d)
        os.chmod(d, 0o777)
        run("setfacl", "-d", "-m", f"u::rwx,u:{USER}:rwx,g::rx,o::-", d)
        old = os.umask(0o077)
        try:
            os.close(os.open(d + "/file", os.O_CREAT | os.O_WRONLY, 0o666))
            os.mkdir(d + "/dir", 0o777)
            os.mkfifo(d + "/fifo", 0o666)
            fd = os.open(d, os.O_TMPFILE | os.O_RDWR, 0o666)
            self.assertEqual(os.fstat(fd).st_mode & 0o777, 0o660)
            os.close(fd)
        finally:
            os.umask(old)
        # The default list counts, not the umask.
        for name in "file", "fifo":
            self.assertEqual(os.stat(f"{d}/{name}").st_mode & 0o777, 0o660)
            self.assertIn(f"user:{USER}:rwx", acl(f"{d}/{name}"))
            self.assertIn("mask::rw-", acl(f"{d}/{name}"))
        self.assertIn(f"default:user:{USER}:rwx", acl(d + "/dir"))
        self.assertIn(f"user:{USER}:rwx", acl(d + "/dir"))
        self.assertTrue(may(d + "/file", "w", USER))
        self.assertTrue(may(d + "/dir", "c", USER))
        self.assertFalse(may(d + "/file", "r", OTHER))
        for name in "file", "dir", "fifo":
            self.assertEqual(acl(f"{d}/{name}"), acl(self.below("d", name)))

    def test_umask_without_list(self):
        old = os.umask(0o027)
        try:
            os.close(os.open(self.path("f"), os.O_CREAT, 0o666))
            os.mkdir(self.path("d"), 0o777)
            os.mkfifo(self.path("p"), 0o666)
        finally:
            os.umask(old)
        self.assertEqual(os.stat(self.path("f")).st_mode & 0o7777, 0o640)
        self.assertEqual(os.stat(self.path("d")).st_mode & 0o7777, 0o750)
        self.assertEqual(os.stat(self.path("p")).st_mode & 0o7777, 0o640)

    def test_set_gid_goes(self):
        """Who is not in the file's group and sets a list loses the bit."""
        f = self.make("f")
        os.chown(f, USER, GROUP)
        os.chmod(f, 0o2770)
        run("setfacl", "-m", "u:1:r", f, ids=(USER, OTHER))
        self.assertFalse(os.stat(f).st_mode & 0o2000)
        os.chmod(f, 0o2770)
        run("setfacl", "-m", "u:2:r", f, ids=(USER, GROUP))
        self.assertTrue(os.stat(f).st_mode & 0o2000)


class NoLists(Case):
    options = ()

    def test_kept_but_not_enforced(self):
        f = self.make("f")
        run("setfacl", "-m", f"u:{USER}:rw", self.below("f"))
        self.assertFalse(may(f, "r", OTHER))

    def test_umask(self):
        old = os.umask(0o027)
        try:
            os.close(os.open(self.path("f"), os.O_CREAT, 0o666))
        finally:
            os.umask(old)
        self.assertEqual(os.stat(self.path("f")).st_mode & 0o7777, 0o640)


def create_as(path, mode, groups):
    """Make a file as USER with those groups. 0 or errno."""
    pid = os.fork()
    if not pid:
        error = 255
        try:
            os.umask(0)
            os.setgroups(groups)
            os.setgid(OTHER)
            os.setuid(USER)
            os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
            error = 0
        except OSError as e:
            error = e.errno
        finally:
            os._exit(error)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Groups(Case):
    """A user who is in the directory's group, but not with his first one."""
    options = ()

    def setUp(self):
        if [int(n) for n in os.uname().release.split(".")[:2]] < [6, 3]:
            self.skipTest("this kernel's FUSE does not say the group")
        super().setUp()

    def make_in(self, name, mode, *groups):
        """Mode and group of what USER makes in a directory of GROUP."""
        d = self.path("d")
        if not os.path.exists(d):
            os.mkdir(d)
            os.chown(d, 0, GROUP)
            os.chmod(d, 0o2770 if groups else 0o2777)
        error = create_as(f"{d}/{name}", mode, groups)
        if error:
            raise OSError(error, os.strerror(error))
        st = os.stat(self.below("d", name))
        self.assertEqual((st.st_uid, st.st_gid), (USER, GROUP))
        return st.st_mode & 0o7777

    def test_set_gid_stays(self):
        self.assertEqual(self.make_in("f", 0o2755, GROUP), 0o2755)
        # and the next one does not have what that one had
        os.chmod(self.path("d"), 0o2777)
        self.assertEqual(self.make_in("g", 0o2755), 0o755)

    def test_several_groups(self):
        self.assertEqual(self.make_in("f", 0o2755, 1, GROUP, 2), 0o2755)


class GroupsDecide(Groups):
    """The host looks at the user's rights by itself."""
    options = ("--modcaps=-dac_override",)

    def test_others_may_not(self):
        self.make_in("f", 0o644, GROUP)
        with self.assertRaises(PermissionError):
            self.make_in("g", 0o644)
        self.assertFalse(os.path.exists(self.below("d", "g")))


class Birth(Case):
    options = ()

    def statx(self, path):
        """(mask, time of birth) of statx(2)."""
        libc = ctypes.CDLL(None, use_errno=True)
        buf = ctypes.create_string_buffer(256)
        if libc.statx(-100, path.encode(), 0, 0xfff, buf):
            raise OSError(ctypes.get_errno(), path)
        mask, = struct.unpack_from("=I", buf, 0)
        return mask, struct.unpack_from("=qI", buf, 0x50)

    def test_same_as_below(self):
        f = self.make("f")
        want = self.statx(self.below("f"))
        if not want[0] & 0x800:
            self.skipTest("this file system knows none")
        got = self.statx(f)
        if not got[0] & 0x800:
            self.skipTest("this kernel's FUSE does not ask (before 6.6)")
        self.assertEqual(got[1], want[1])


if __name__ == "__main__":
    mountlib.private_mounts()
    mountlib.need_fuse()
    if os.geteuid() != 0 or not shutil.which("setfacl"):
        print("takes root, setfacl and getfacl")
        sys.exit(77)
    unittest.main()
