#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""orield --mount as a program: how it begins, refuses and ends."""

import gzip
import os
import pwd
import shutil
import signal
import subprocess
import sys
import unittest

import mountlib


class Case(unittest.TestCase):
    def setUp(self):
        self.place = mountlib.Place()
        self.addCleanup(self.place.remove)

    def path(self, *names):
        return os.path.join(self.place.mnt, *names)

    def refused(self, *words, args=(), place=None):
        """It does not start, status 1, and says @words; nothing is mounted."""
        place = place or self.place
        r = subprocess.run(place.command(*args), stderr=subprocess.PIPE,
                           text=True, timeout=mountlib.PATIENCE)
        self.assertEqual(r.returncode, 1, r.stderr)
        for word in words:
            self.assertIn(word, r.stderr)
        self.assertFalse(place.is_mounted())


class Life(Case):
    def test_serves_both_ways(self):
        p = self.place.start()
        with open(self.path("a"), "w") as f:
            f.write("from the mount")
        with open(os.path.join(p.share, "a")) as f:
            self.assertEqual(f.read(), "from the mount")
        with open(os.path.join(p.share, "b"), "w") as f:
            f.write("from below")
        with open(self.path("b")) as f:
            self.assertEqual(f.read(), "from below")
        self.assertEqual(sorted(os.listdir(p.mnt)), ["a", "b"])
        self.assertEqual(p.stop(), 0)
        self.assertEqual(os.listdir(p.mnt), [])

    def test_interrupt(self):
        self.place.start()
        self.assertEqual(self.place.stop(signal.SIGINT), 0)

    def test_killed(self):
        """What is left after SIGKILL is an ordinary empty directory."""
        p = self.place.start()
        os.mkdir(self.path("d"))
        self.assertEqual(p.stop(signal.SIGKILL), -signal.SIGKILL)
        self.assertEqual(os.listdir(p.mnt), [])

    def test_killed_in_use(self):
        p = self.place.start()
        with open(self.path("f"), "w") as f:
            f.write("x")
            f.flush()
            cwd = os.open(p.mnt, os.O_RDONLY)
            try:
                p.stop(signal.SIGKILL)
                self.assertRaises(OSError, os.stat, "f", dir_fd=cwd)
            finally:
                os.close(cwd)
            try:
                f.close()
            except OSError:
                pass

    def test_told_to_end_in_use(self):
        """An open file does not keep it; what was written is there."""
        p = self.place.start()
        fd = os.open(self.path("f"), os.O_RDWR | os.O_CREAT, 0o644)
        os.write(fd, b"kept")
        self.assertEqual(p.stop(), 0)
        with self.assertRaises(OSError):
            os.fstat(fd)
        try:
            os.close(fd)
        except OSError:
            pass
        with open(os.path.join(p.share, "f")) as f:
            self.assertEqual(f.read(), "kept")

    def test_umount(self):
        """Somebody else unmounts: the daemon ends by itself, with success."""
        p = self.place.start()
        os.mkdir(self.path("d"))
        subprocess.run(["umount", p.mnt], check=True)
        self.assertEqual(p.proc.wait(mountlib.PATIENCE), 0)
        self.assertIn("was unmounted", p.logged())

    def test_umount_lazy(self):
        p = self.place.start()
        fd = os.open(self.path("f"), os.O_RDWR | os.O_CREAT, 0o644)
        subprocess.run(["umount", "-l", p.mnt], check=True)
        # still served to who has it open
        os.write(fd, b"late")
        self.assertIsNone(p.proc.poll())
        os.close(fd)
        self.assertEqual(p.proc.wait(mountlib.PATIENCE), 0)
        with open(os.path.join(p.share, "f")) as f:
            self.assertEqual(f.read(), "late")

    def test_another_mount_on_top_stays(self):
        """It takes away its own mount only."""
        p = self.place.start()
        subprocess.run(["mount", "-t", "tmpfs", "none", p.mnt], check=True)
        try:
            p.proc.send_signal(signal.SIGTERM)
            p.proc.wait(mountlib.PATIENCE)
            self.assertEqual(mountlib.mounts().count(p.mnt), 2)
        finally:
            subprocess.run(["umount", p.mnt], check=True)
            subprocess.run(["umount", "-l", p.mnt], check=True)

    def test_with_socket(self):
        """The same daemon listens too, and goes on when it is unmounted."""
        p = self.place
        sock = os.path.join(p.dir, "sock")
        p.start("--socket-path=" + sock)
        with open(self.path("f"), "w") as f:
            f.write("x")
        oriel = os.path.join(os.path.dirname(mountlib.DAEMON), "oriel")
        for _ in range(2):
            r = subprocess.run([oriel, "cat", sock + ":/f"],
                               stdout=subprocess.PIPE, check=True,
                               timeout=mountlib.PATIENCE)
            self.assertEqual(r.stdout, b"x")
            if p.is_mounted():
                subprocess.run(["umount", p.mnt], check=True)
        self.assertEqual(p.stop(), 0)

    def test_readonly(self):
        p = self.place
        with open(os.path.join(p.share, "f"), "w") as f:
            f.write("x")
        p.start("--readonly")
        with open(self.path("f")) as f:
            self.assertEqual(f.read(), "x")
        for change in (lambda: os.mkdir(self.path("d")),
                       lambda: os.unlink(self.path("f")),
                       lambda: os.chmod(self.path("f"), 0),
                       lambda: os.open(self.path("f"), os.O_RDWR)):
            with self.assertRaises(OSError) as e:
                change()
            self.assertEqual(e.exception.errno, 30)

    def test_nosuid_nodev(self):
        self.place.start()
        with open("/proc/self/mountinfo") as f:
            line = next(x for x in f if x.split()[4] == self.place.mnt)
        self.assertIn("nosuid", line)
        self.assertIn("nodev", line)
        self.assertIn("default_permissions", line)
        self.assertIn("fuse.orield", line)


def kernel_has_passthrough():
    try:
        with gzip.open("/proc/config.gz", "rt") as f:
            return "CONFIG_FUSE_PASSTHROUGH=y" in f.read()
    except OSError:
        return False


@unittest.skipIf(os.geteuid() != 0, "passthrough needs root")
@unittest.skipUnless(kernel_has_passthrough(), "not in this kernel")
class Passthrough(Case):
    """Data do not go through the daemon, and nothing gets mixed up."""

    def requests(self):
        """How many there were so far."""
        before = self.place.logged().count("requests ")
        self.place.proc.send_signal(signal.SIGUSR1)
        mountlib.wait_for("the log", lambda: self.place.logged().count(
            "requests ") > before)
        return int(self.place.logged().rsplit("requests ", 1)[1].split()[0])

    def transfer(self, *args):
        """Requests for 48 MiB written and read, of 1 MiB each at most."""
        data = os.urandom(1 << 20)
        self.place.start(*args)
        start = self.requests()
        with open(self.path("f"), "wb") as f:
            for _ in range(48):
                f.write(data)
        with open(self.path("f"), "rb") as f:
            for _ in range(48):
                self.assertEqual(f.read(1 << 20), data)
        return self.requests() - start

    def test_no_data_requests(self):
        # names and attributes, which a slow machine asks for twice
        self.assertLess(self.transfer(), 32)
        self.place.stop()
        os.unlink(os.path.join(self.place.share, "f"))
        self.assertGreater(self.transfer("--passthrough=never"), 48)

    def test_attributes_follow(self):
        """Size and times after writes of the kernel and from below."""
        p = self.place.start()
        below = os.path.join(p.share, "f")
        with open(self.path("f"), "wb", buffering=0) as f:
            for n in range(1, 20):
                f.write(b"x" * 1000)
                self.assertEqual(os.stat(self.path("f")).st_size, n * 1000)
                self.assertEqual(os.stat(self.path("f")).st_mtime_ns,
                                 os.stat(below).st_mtime_ns)
            f.truncate(10)
            self.assertEqual(os.stat(self.path("f")).st_size, 10)
            self.assertEqual(os.stat(below).st_size, 10)

    def test_seen_at_once(self):
        """One page cache: what is written below is read above."""
        p = self.place.start()
        with open(self.path("f"), "wb+", buffering=0) as above:
            above.write(b"one")
            with open(os.path.join(p.share, "f"), "rb+", buffering=0) as f:
                for n in range(50):
                    f.seek(0)
                    f.write(b"%03d" % n)
                    above.seek(0)
                    self.assertEqual(above.read(), b"%03d" % n)

    def test_many_opens(self):
        """More files than ids are kept for, opened again and removed."""
        self.place.start()
        for n in range(600):
            with open(self.path(str(n)), "w") as f:
                f.write(str(n))
        for n in range(600):
            with open(self.path(str(n))) as f, \
                    open(self.path(str(n)), "r+") as g:
                self.assertEqual(f.read(), str(n))
                os.unlink(self.path(str(n)))
                g.write("gone")
        self.assertEqual(os.listdir(self.place.mnt), [])

    def test_removed_files_give_their_space_back(self):
        """An id that is kept for the next open is not kept for ever."""
        p = self.place
        subprocess.run(["mount", "-t", "tmpfs", "none", p.share], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", p.share])
        p.start()
        empty = os.statvfs(p.share).f_bfree
        for _ in range(3):
            with open(self.path("f"), "wb") as f:
                f.write(b"x" * (4 << 20))
            self.assertLess(os.statvfs(p.share).f_bfree, empty)
            os.unlink(self.path("f"))
            mountlib.wait_for("the space",
                              lambda: os.statvfs(p.share).f_bfree == empty)
        p.stop()


class Refusals(Case):
    def test_not_a_directory(self):
        os.rmdir(self.place.mnt)
        self.refused("No such file", self.place.mnt)
        with open(self.place.mnt, "w"):
            pass
        self.refused("is not a directory", self.place.mnt)

    def test_inside_the_share(self):
        p = self.place
        p.mnt = os.path.join(p.share, "mnt")
        os.mkdir(p.mnt)
        self.refused("is inside the shared directory")
        p.mnt = p.share
        self.refused("is inside the shared directory")
        link = os.path.join(p.dir, "link")
        os.symlink(p.share, link)
        p.mnt = os.path.join(link, "mnt")
        self.refused("is inside the shared directory")

    def test_around_the_share(self):
        self.place.mnt = self.place.dir
        self.refused("is inside", "the shared directory")

    def test_mounted_already(self):
        self.place.start()
        second = mountlib.Place()
        self.addCleanup(second.remove)
        own = second.mnt
        second.mnt = self.place.mnt
        r = subprocess.run(second.command(), stderr=subprocess.PIPE,
                           text=True, timeout=mountlib.PATIENCE)
        self.assertEqual(r.returncode, 1)
        self.assertIn("mounted", r.stderr)
        second.mnt = own
        self.assertEqual(mountlib.mounts().count(self.place.mnt), 1)

    def test_option_errors(self):
        for arg in ("--mount=", "--passthrough=maybe"):
            r = subprocess.run([mountlib.DAEMON, arg,
                                "--shared-dir=" + self.place.share],
                               stderr=subprocess.PIPE, text=True)
            self.assertEqual(r.returncode, 2, arg)
            self.assertIn(arg.split("=")[0], r.stderr)


@unittest.skipIf(os.geteuid() != 0, "starts as another user: needs root")
@unittest.skipIf(shutil.which("fusermount3") is None, "no fusermount3")
class Unprivileged(Case):
    """A user without rights mounts by fusermount3."""

    def setUp(self):
        super().setUp()
        user = pwd.getpwnam("nobody")
        self.ids = {"user": user.pw_uid, "group": user.pw_gid,
                    "extra_groups": []}
        for d in (self.place.share, self.place.mnt):
            os.chown(d, user.pw_uid, user.pw_gid)
        if not os.path.exists("/etc/mtab"):
            self.skipTest("no /etc/mtab")
        # the build may be where others may not look
        exe = os.path.join(self.place.dir, "orield")
        shutil.copy(mountlib.DAEMON, exe)
        os.chmod(exe, 0o755)
        self.addCleanup(setattr, mountlib, "DAEMON", mountlib.DAEMON)
        mountlib.DAEMON = exe

    def start(self):
        try:
            self.place.start(**self.ids)
        except AssertionError as e:
            if "cannot mount" in str(e):
                self.skipTest(str(e))
            raise

    def as_user(self, *argv):
        return subprocess.run(argv, **self.ids, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True,
                              timeout=mountlib.PATIENCE)

    def test_mount(self):
        self.start()
        r = self.as_user("sh", "-c", "echo mine >%s && cat %s" %
                         (self.path("f"), self.path("f")))
        self.assertEqual((r.returncode, r.stdout), (0, "mine\n"))
        st = os.stat(os.path.join(self.place.share, "f"))
        self.assertEqual(st.st_uid, self.ids["user"])
        self.assertEqual(self.place.stop(), 0)

    def test_fusermount_u(self):
        self.start()
        r = self.as_user("fusermount3", "-u", self.place.mnt)
        self.assertEqual(r.returncode, 0, r.stdout)
        self.assertEqual(self.place.proc.wait(mountlib.PATIENCE), 0)

    def test_killed(self):
        self.start()
        self.place.stop(signal.SIGKILL)
        self.assertEqual(os.listdir(self.place.mnt), [])


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    mountlib.private_mounts()
    mountlib.need_fuse()
    unittest.main(verbosity=2)
