# SPDX-License-Identifier: BSD-2-Clause
"""What a user reads when something is wrong with the share."""

import os
import shutil
import signal
import socket
import subprocess
import time
import unittest

import clilib


def answers(path):
    """Does somebody listen there?"""
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(path)
        except OSError:
            return False
    return True


class Shares(clilib.Case):
    def fails(self, share, word):
        """All subcommands that connect say the same kind of line."""
        for cmd in ("ls", "cat", "df", "info", "stat"):
            r = self.run_raw(cmd, share)
            self.assertEqual((r.status, r.out), (1, ""), (cmd, r.err))
            self.assertTrue(r.err.startswith(f"oriel: {cmd}: {share}: "),
                            r.err)
            self.assertIn(word, r.err)
            self.assertEqual(r.err.count(f"{share}: "), 1, r.err)
            self.assertEqual(r.err.count("\n"), 1, r.err)

    def test_no_such_share(self):
        self.fails("/no/such/share", "No such file or directory")

    def test_a_file_as_share(self):
        with open(os.path.join(self.dir, "file"), "wb"):
            pass
        self.fails("file", "neither a directory nor a socket")

    def test_nobody_listens(self):
        path = os.path.join(self.dir, "sock")
        s = socket.socket(socket.AF_UNIX)
        s.bind(path)
        s.close()
        self.fails("sock", "nobody listens on this socket")

    def test_somebody_else_listens(self):
        path = os.path.join(self.dir, "sock")
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            s.listen(8)
            s.settimeout(60)
            p = subprocess.Popen([clilib.ORIEL, "ls", "sock"], cwd=self.dir,
                                 stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
            conn, _ = s.accept()
            conn.recv(12)
            conn.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            conn.close()
            out, err = p.communicate(timeout=60)
        self.assertEqual((p.returncode, out), (1, b""))
        self.assertTrue(err.startswith(b"oriel: ls: sock: "), err)

    def test_somebody_who_says_nothing(self):
        path = os.path.join(self.dir, "sock")
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            s.listen(8)
            r = self.run_raw("ls", "--timeout=0.3", "sock")
        self.assertEqual((r.status, r.out), (1, ""))
        self.assertTrue(r.err.startswith("oriel: ls: sock: "), r.err)

    def test_no_daemon_to_start(self):
        r = self.run_raw("ls", "--daemon=/no/orield", "s")
        self.assertEqual((r.status, r.out), (1, ""))
        self.assertTrue(r.err.startswith("oriel: ls: s: "), r.err)
        self.assertIn("/no/orield", r.err)

    def test_one_of_two_shares(self):
        self.put("a", b"")
        r = self.run_raw("ls", "/no/such", "s")
        self.assertEqual(r.status, 1)
        self.assertIn("a\n", r.out)
        self.assertTrue(r.err.startswith("oriel: ls: /no/such: "), r.err)

    def test_readonly(self):
        self.put("f", b"data")
        os.mkdir(self.path("d"))
        for args in (("put", "s:f"), ("mv", "s:f", ":g"), ("rm", "s:f"),
                     ("mkdir", "s:e"), ("truncate", "-s0", "s:f"),
                     ("touch", "s:new"), ("ln", "-s", "x", "s:l"),
                     ("cp", "s:f", ":g")):
            r = self.run_raw(args[0], "--readonly", *args[1:], stdin=b"x")
            self.assertEqual(r.status, 1, args)
            self.assertRegex(r.err, rf"^oriel: {args[0]}: s:\S+: "
                             "Read-only file system\n$")
        self.assertEqual(self.oriel("cat", "--readonly", "s:f").out, "data")
        self.oriel("mkdir", "--readonly", "-p", "s:d")
        self.assertEqual(sorted(os.listdir(self.share)), ["d", "f"])

    def test_file_errors(self):
        self.put("f", b"")
        os.symlink("loop", self.path("loop"))
        os.mkfifo(self.path("fifo"))
        for args, text in (
                (("cat", "s:"), "s:: Is a directory"),
                (("cat", "s:f/x"), "s:f/x: Not a directory"),
                (("cat", "s:loop"), "s:loop: Too many levels of symbolic "
                 "links"),
                (("ls", "s:no"), "s:no: No such file or directory"),
                (("cat", "s:fifo"), "s:fifo: No such device or address")):
            self.oriel(*args, status=1, err=f"oriel: {args[0]}: {text}\n")

    def test_paths_do_not_leave_the_share(self):
        with open(os.path.join(self.dir, "outside"), "wb") as f:
            f.write(b"secret")
        os.symlink("../outside", self.path("rel"))
        os.symlink(os.path.join(self.dir, "outside"), self.path("abs"))
        for path in ("../outside", "rel", "abs", "/../outside"):
            r = self.run_raw("cat", f"s:{path}")
            self.assertEqual((r.status, r.out), (1, ""), path)

    @unittest.skipIf(os.getuid() == 0, "root reads everything")
    def test_unreadable_as_user(self):
        self.put("secret", b"x", 0)
        self.oriel("cat", "s:secret", status=1,
                   err="oriel: cat: s:secret: Permission denied\n")

    @unittest.skipUnless(os.getuid() == 0 and shutil.which("setpriv"),
                         "needs root and setpriv")
    def test_unreadable_as_another_user(self):
        self.put("secret", b"x", 0o600)
        os.chmod(self.dir, 0o755)
        if subprocess.call(["setpriv", "--reuid=65534", "--regid=65534",
                            "--clear-groups", "test", "-x", clilib.ORIEL]):
            self.skipTest("the build is not readable for others")
        r = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534",
                            "--clear-groups", clilib.ORIEL, "cat",
                            "s:secret"], cwd=self.dir,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual((r.returncode, r.stdout, r.stderr), (
            1, b"", b"oriel: cat: s:secret: Permission denied\n"))


@unittest.skipUnless(os.getuid() == 0 and shutil.which("mount"),
                     "needs root for a small tmpfs")
class FullDisk(clilib.Case):
    def setUp(self):
        super().setUp()
        if subprocess.call(["mount", "-t", "tmpfs", "-o", "size=2M", "oriel",
                            self.share], stderr=subprocess.DEVNULL):
            self.skipTest("mount is not allowed here")
        self.addCleanup(subprocess.call, ["umount", "-l", self.share])

    def test_put_and_cp(self):
        big = os.path.join(self.dir, "big")
        with open(big, "wb") as f:
            f.write(os.urandom(4 << 20))
        self.oriel("cp", "big", "s:", status=1,
                   err="oriel: cp: s:/big: No space left on device\n")
        self.assertEqual(os.listdir(self.share), [])
        # What was there is not removed.
        self.put("old", b"x")
        self.oriel("cp", "big", "s:old", status=1,
                   err="oriel: cp: s:old: No space left on device\n")
        self.assertEqual(os.listdir(self.share), ["old"])
        with open(big, "rb") as f:
            self.oriel("put", "s:new", stdin=f.read(), status=1,
                       err="oriel: put: s:new: No space left on device\n")
        r = self.run_raw("bench", "--time=0.1", "s")
        self.assertEqual(r.status, 1)
        self.assertRegex(r.err, r"^oriel: bench: s: 98 MiB are needed, \S+ "
                         r"[KM]?i?B are free: .*\n$")
        self.assertEqual(sorted(os.listdir(self.share)), ["new", "old"])


class Daemon(clilib.Case):
    """oriel serve, and what happens when that daemon dies."""

    def serve(self, *args):
        sock = os.path.join(self.dir, "sock")
        p = subprocess.Popen([clilib.ORIEL, "serve", "s", "sock", *args],
                             cwd=self.dir, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE)

        def stop():
            p.terminate()
            p.wait(timeout=60)
            p.stderr.close()
        self.addCleanup(stop)
        deadline = time.monotonic() + 60
        while not answers(sock):
            self.assertIsNone(p.poll(), p.stderr.read() if p.poll() else "")
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        return p

    def test_a_socket_is_a_share(self):
        self.put("f", b"served")
        self.serve()
        self.assertEqual(self.oriel("cat", "sock:f").out, "served")
        self.oriel("cp", "sock:f", "s:g")
        self.oriel("put", "sock:h", stdin=b"h")
        self.assertEqual((self.get("g"), self.get("h")), (b"served", b"h"))

    def test_options_go_to_the_daemon(self):
        self.put("f", b"served")
        self.serve("--readonly")
        self.oriel("put", "sock:f", stdin=b"x", status=1,
                   err="oriel: put: sock:f: Read-only file system\n")

    def test_wrong_directory(self):
        self.oriel("serve", "no", "sock", status=1,
                   err="oriel: serve: no: No such file or directory\n")
        self.put("f", b"")
        self.oriel("serve", "s/f", "sock", status=1,
                   err="oriel: serve: s/f: Not a directory\n")
        self.oriel("serve", "s", "sock", "x", status=2, err="oriel: serve: "
                   "extra operand 'x' (options of the daemon are written "
                   "--name=VALUE)\nTry 'oriel serve --help'.\n")

    def test_no_daemon_program(self):
        self.oriel("serve", "s", "sock", status=1,
                   env={"ORIEL_DAEMON": "/no/orield"},
                   err="oriel: serve: /no/orield: cannot start the daemon: "
                   "No such file or directory\n")

    def test_daemon_killed_while_we_write(self):
        daemon = self.serve()
        p = subprocess.Popen([clilib.ORIEL, "put", "sock:f"], cwd=self.dir,
                             stdin=subprocess.PIPE, stderr=subprocess.PIPE,
                             stdout=subprocess.PIPE)
        p.stdin.write(b"x" * (3 << 20))
        p.stdin.flush()
        deadline = time.monotonic() + 60
        while not os.path.exists(self.path("f")):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        daemon.send_signal(signal.SIGKILL)
        daemon.wait(timeout=60)
        try:
            p.stdin.write(b"x" * (3 << 20))
        except BrokenPipeError:
            pass
        _, err = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 1)
        self.assertTrue(err.startswith(b"oriel: put: sock:f: "), err)


if __name__ == "__main__":
    clilib.main()
