# SPDX-License-Identifier: BSD-2-Clause
"""oriel watch: lines come while the changes are made."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile

import clilib


class Watch(clilib.Case):
    def start(self, *args):
        """A running oriel watch, which watches already."""
        p = subprocess.Popen(
            [clilib.ORIEL, "watch", "-v", *args], cwd=self.dir, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.stderr.close)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        for line in p.stderr:
            if line == "oriel: watch: watching\n":
                return p
        self.fail("it ended")

    def until(self, p, kind, what):
        """Read up to the line that says it; the kernel may put several kinds
        into one."""
        seen = []
        for line in p.stdout:
            seen.append(line)
            kinds, _, name = line.rstrip("\n").partition(" ")
            if kind in kinds.split(",") and name == what:
                return
        self.fail("%s %s not in %r" % (kind, what, seen))

    def test_lines(self):
        os.mkdir(self.path("d"))
        p = self.start("s:d")
        self.put("d/x", b"1")
        self.until(p, "create", "s:d/x")
        os.rename(self.path("d/x"), self.path("d/y"))
        self.until(p, "moved-from", "s:d/x")
        self.until(p, "moved-to", "s:d/y")
        os.mkdir(self.path("d/sub"))
        self.until(p, "create", "s:d/sub/")
        os.rmdir(self.path("d/sub"))
        os.unlink(self.path("d/y"))
        self.until(p, "delete", "s:d/y")
        os.rmdir(self.path("d"))
        self.until(p, "gone", "s:d/")
        p.send_signal(signal.SIGTERM)
        p.wait(60)

    def test_json_and_count(self):
        os.mkdir(self.path("a"))
        p = self.start("--json", "-n1", "s", ":a")
        self.put("a/f")
        obj = json.loads(p.stdout.readline())
        self.assertEqual((obj["schema_version"], obj["command"], obj["path"],
                          obj["name"], obj["events"], obj["directory"]),
                         (1, "watch", "a", "f", ["create"], False))
        self.assertEqual(p.wait(60), 0)

    def test_errors(self):
        self.oriel("watch", "s:no", status=1,
                   err="oriel: watch: s:no: No such file or directory\n")
        os.mkfifo(self.path("p"))
        self.oriel("watch", "s:p", status=1,
                   err="oriel: watch: s:p: Operation not supported\n")

    def test_the_daemon_goes(self):
        sock = os.path.join(self.dir, "sock")
        orield = os.path.join(os.path.dirname(clilib.ORIEL), "orield")
        r, w = os.pipe()
        d = subprocess.Popen(
            [os.environ.get("ORIEL_DAEMON", orield), "--socket-path=" + sock,
             "--shared-dir=" + self.share, "--ready-fd=%d" % w,
             "--sandbox=none", "--seccomp=none"],
            pass_fds=[w], stderr=subprocess.DEVNULL)
        os.close(w)
        with os.fdopen(r) as f:
            self.assertTrue(f.readline().startswith("READY"))
        p = self.start("sock:/")
        d.kill()
        d.wait()
        self.assertEqual(p.wait(60), 1)
        self.assertIn("oriel: watch: sock:/: ", p.stderr.read())


def has_fanotify():
    """Containers may forbid it, and older file systems have no handles."""
    libc = ctypes.CDLL(None)
    fd = libc.fanotify_init(0x1e01, 0)  # FAN_REPORT_DFID_NAME_TARGET
    if fd < 0:
        return False
    r = libc.fanotify_mark(fd, 1, ctypes.c_uint64(0x100), -100,
                           tempfile.gettempdir().encode())
    os.close(fd)
    return r == 0


if __name__ == "__main__":
    if not has_fanotify():
        print("no fanotify here")
        sys.exit(77)
    clilib.main()
