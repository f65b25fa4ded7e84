# SPDX-License-Identifier: BSD-2-Clause
"""cp in all directions: contents, attributes, holes, failures, progress."""

import os
import pty
import signal
import stat
import subprocess
import time

import clilib


def tree_of(root):
    """{path: (type and mode, target or content)} of all that is in root."""
    ret = {}
    for top, dirs, files in os.walk(root):
        for name in dirs + files:
            path = os.path.join(top, name)
            st = os.lstat(path)
            if stat.S_ISLNK(st.st_mode):
                what = os.readlink(path)
            elif stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    what = f.read()
            else:
                what = None
            ret[os.path.relpath(path, root)] = (oct(st.st_mode), what)
    return ret


class Copy(clilib.Case):
    def setUp(self):
        super().setUp()
        self.addCleanup(os.umask, os.umask(0o022))
        self.local = os.path.join(self.dir, "w")
        os.mkdir(self.local)
        self.other = os.path.join(self.dir, "s2")
        os.mkdir(self.other)

    def make_tree(self, root):
        os.makedirs(os.path.join(root, "t/sub/deep"))
        for name, data, mode in (("t/a", b"alpha", 0o644),
                                 ("t/sub/x", os.urandom(200_000), 0o755),
                                 ("t/sub/deep/e", b"", 0o400),
                                 ("t/big", os.urandom(5_000_000), 0o600)):
            with open(os.path.join(root, name), "wb") as f:
                f.write(data)
            os.chmod(os.path.join(root, name), mode)
        os.symlink("../nowhere", os.path.join(root, "t/dangling"))
        os.symlink("sub", os.path.join(root, "t/link"))
        os.chmod(os.path.join(root, "t/sub/deep"), 0o555)

    def test_trees_in_every_direction(self):
        self.make_tree(self.share)
        want = tree_of(self.path("t"))
        self.oriel("cp", "-r", "s:t", "w")
        self.assertEqual(tree_of(os.path.join(self.local, "t")), want)
        self.oriel("cp", "-r", "w/t", "s:up")
        self.assertEqual(tree_of(self.path("up")), want)
        self.oriel("cp", "-r", "s:t", ":same")
        self.assertEqual(tree_of(self.path("same")), want)
        self.oriel("cp", "-r", "s:t", "s2:")
        self.assertEqual(tree_of(os.path.join(self.other, "t")), want)
        # And again over what is there.
        if os.getuid() == 0:
            self.oriel("cp", "-r", "s:t", "s2:")
            self.assertEqual(tree_of(os.path.join(self.other, "t")), want)

    def test_root_of_a_share(self):
        self.make_tree(self.share)
        self.oriel("cp", "-r", "s:", "new")
        self.assertEqual(tree_of(os.path.join(self.dir, "new")),
                         tree_of(self.share))
        self.oriel("cp", "-r", "s:/", "w")
        self.assertEqual(tree_of(self.local), tree_of(self.share))

    def test_destinations(self):
        self.put("a", b"A")
        self.put("b", b"B")
        self.oriel("cp", "s:a", "w/c")
        self.oriel("cp", "s:a", "s:b", "w")
        self.oriel("cp", "-v", "w/c", "s:")
        self.assertEqual(sorted(os.listdir(self.local)), ["a", "b", "c"])
        self.assertEqual(self.get("c"), b"A")
        r = self.oriel("cp", "-v", "s:b", "s:c")
        self.assertEqual(r.out, "s:b -> s:c\n")
        self.assertEqual(self.get("c"), b"B")
        self.oriel("cp", "s:a", "s:b", "w/no", status=1,
                   err="oriel: cp: w/no: No such file or directory\n")
        self.oriel("cp", "s:a", "w/no/", status=1,
                   err="oriel: cp: w/no/: No such file or directory\n")
        self.oriel("cp", "-T", "s:a", "s2:", status=1,
                   err="oriel: cp: s2:/: Is a directory\n")

    def test_local_names_with_a_colon(self):
        with open(os.path.join(self.dir, "x:y"), "wb") as f:
            f.write(b"colon")
        self.oriel("cp", "./x:y", "s:")
        self.assertEqual(self.get("x:y"), b"colon")
        self.oriel("cp", "local:x:y", "s:z")
        self.assertEqual(self.get("z"), b"colon")
        self.oriel("cp", "s:x:y", "./p:q")
        with open(os.path.join(self.dir, "p:q"), "rb") as f:
            self.assertEqual(f.read(), b"colon")

    def test_preserve(self):
        self.put("f", b"data", 0o666)
        os.utime(self.path("f"), ns=(10**9 + 1, 2 * 10**9 + 3))
        self.oriel("cp", "-p", "s:f", "w")
        st = os.stat(os.path.join(self.local, "f"))
        self.assertEqual((st.st_mtime_ns, st.st_atime_ns, st.st_mode & 0o7777),
                         (2 * 10**9 + 3, 10**9 + 1, 0o666))
        self.oriel("cp", "-p", "w/f", "s:g")
        st = os.stat(self.path("g"))
        self.assertEqual((st.st_mtime_ns, st.st_mode & 0o7777),
                         (2 * 10**9 + 3, 0o666))
        self.oriel("cp", "s:f", "w/plain")
        st = os.stat(os.path.join(self.local, "plain"))
        self.assertEqual(st.st_mode & 0o7777, 0o644)

    def test_holes(self):
        size = 256 << 20
        with open(self.path("sparse"), "wb") as f:
            f.truncate(size)
            f.seek(100 << 20)
            f.write(b"middle")
        used = os.stat(self.path("sparse")).st_blocks
        if used > 4096:
            self.skipTest("no holes here")
        for dst, path in (("w/sparse", os.path.join(self.local, "sparse")),
                          ("s:copy", self.path("copy")),
                          ("s2:copy", os.path.join(self.other, "copy"))):
            self.oriel("cp", "s:sparse", dst)
            st = os.stat(path)
            self.assertEqual(st.st_size, size, dst)
            self.assertLessEqual(st.st_blocks, used + 64, dst)
            self.assertEqual(subprocess.call(["cmp", self.path("sparse"),
                                              path]), 0)

    def test_existing_files(self):
        self.put("f", b"new")
        self.put("g", b"old and longer")
        self.oriel("cp", "-n", "s:f", ":g")
        self.assertEqual(self.get("g"), b"old and longer")
        self.oriel("cp", "s:f", ":g")
        self.assertEqual(self.get("g"), b"new")

    def test_same_file_is_not_destroyed(self):
        self.put("f", b"precious")
        err = "is the same file as its source\n"
        self.oriel("cp", "s:f", "s:f", status=1, err=f"oriel: cp: s:f: {err}")
        self.oriel("cp", "s:f", "s/f", status=1, err=f"oriel: cp: s/f: {err}")
        self.oriel("cp", "s/f", "s:f", status=1, err=f"oriel: cp: s:f: {err}")
        self.oriel("cp", "s:f", "./s:f", status=1,
                   err=f"oriel: cp: ./s:f: {err}")
        self.assertEqual(self.get("f"), b"precious")

    def test_not_into_itself(self):
        os.mkdir(self.path("d"))
        self.put("d/x", b"x")
        for dst in ("s:d/e", "s/d/f"):
            r = self.run_raw("cp", "-r", "s:d", dst)
            self.assertLessEqual(len(tree_of(self.path("d"))), 8, dst)
            self.assertTrue(r.status in (0, 1))

    def test_failures_are_told_and_the_rest_is_done(self):
        self.put("a", b"A")
        os.mkdir(self.path("d"))
        os.mkfifo(self.path("d/fifo"))
        self.put("d/z", b"Z")
        self.oriel("cp", "s:no", ":a", "w", status=1,
                   err="oriel: cp: s:no: No such file or directory\n")
        self.assertTrue(os.path.exists(os.path.join(self.local, "a")))
        self.oriel("cp", "s:d", "w", status=1, err="oriel: cp: s:d: is a "
                   "directory (-r copies those)\n")
        self.oriel("cp", "-r", "s:d", "w", status=1, err="oriel: cp: "
                   "s:d/fifo: not a file, directory or link: not copied\n")
        self.assertEqual(os.listdir(os.path.join(self.local, "d")), ["z"])

    def test_nothing_is_written_through_a_link_below(self):
        os.mkdir(self.path("d"))
        self.put("d/f", b"evil")
        victim = os.path.join(self.dir, "victim")
        with open(victim, "wb") as f:
            f.write(b"precious")
        os.mkdir(os.path.join(self.local, "d"))
        os.symlink(victim, os.path.join(self.local, "d/f"))
        r = self.run_raw("cp", "-r", "s:d", "w")
        self.assertEqual(r.status, 1)
        with open(victim, "rb") as f:
            self.assertEqual(f.read(), b"precious")

    def test_progress_for_programs(self):
        self.put("f", os.urandom(8 << 20))
        r, w = os.pipe()
        self.oriel("cp", f"--progress={w}", "s:f", "w", pass_fds=(w,))
        os.close(w)
        with os.fdopen(r) as f:
            lines = f.read().splitlines()
        numbers = [int(x.removesuffix("/100")) for x in lines]
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertEqual(numbers[-1], 100)
        self.assertGreater(len(numbers), 2)

    def test_progress_line_when_asked(self):
        self.put("f", os.urandom(1 << 20))
        r = self.run_raw("cp", "--progress", "s:f", "w")
        self.assertEqual((r.status, r.out), (0, ""))
        self.oriel("cp", "s:f", "w")

    def on_a_terminal(self, *args):
        """What oriel writes to a terminal as stderr."""
        master, slave = pty.openpty()
        p = subprocess.Popen([clilib.ORIEL, *args], cwd=self.dir,
                             stdout=subprocess.DEVNULL, stderr=slave)
        os.close(slave)
        out = b""
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:
                part = b""
            if not part:
                break
            out += part
        os.close(master)
        return p.wait(timeout=60), out.decode()

    def test_progress_on_a_terminal(self):
        self.put("f", os.urandom(256 << 20))
        status, out = self.on_a_terminal("cp", "s:f", "w/1")
        self.assertEqual(status, 0)
        if out:  # nothing when it took less than the time between drawings
            self.assertRegex(out, r"\r *\d+ %  [0-9.]+ MiB of 256 MiB  ")
            self.assertTrue(out.endswith("\r\033[K"), out)
        self.assertEqual(self.on_a_terminal("cp", "-q", "s:f", "w/2"),
                         (0, ""))
        status, out = self.on_a_terminal("cp", "-q", b"s:\x1b[2J", "w")
        self.assertEqual((status, out), (
            1, "\r\033[Koriel: cp: $'s:\\e[2J': No such file or directory"
            "\r\n"))

    def test_interrupted_copy_leaves_nothing(self):
        with open(self.path("big"), "wb") as f:
            for _ in range(64):
                f.write(os.urandom(1 << 20))
        p = subprocess.Popen([clilib.ORIEL, "cp", "s:big", "w/big"],
                             cwd=self.dir, stderr=subprocess.PIPE)
        out = os.path.join(self.local, "big")
        deadline = time.monotonic() + 30
        while not os.path.exists(out) and p.poll() is None and \
                time.monotonic() < deadline:
            time.sleep(0.0005)
        p.send_signal(signal.SIGINT)
        p.stderr.close()
        status = p.wait(timeout=60)
        if status == 0:
            self.skipTest("the copy was done before the signal")
        self.assertEqual(status, -signal.SIGINT)
        self.assertFalse(os.path.exists(out))


if __name__ == "__main__":
    clilib.main()
