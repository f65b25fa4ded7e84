# SPDX-License-Identifier: BSD-2-Clause
"""What the tests of oriel top share: a daemon, sessions that do as they are
told (top_client.c), and a terminal that is particular."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import clilib

CLIENT = os.path.join(clilib.BUILD, "tests", "cli", "top-client")
PATIENCE = 100  # seconds; what takes longer is not going to happen


class Client:
    def __init__(self, case, *args):
        self.p = subprocess.Popen(
            [CLIENT, "sock", *args], cwd=case.dir, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE)
        case.addCleanup(self.p.stdout.close)
        case.addCleanup(self.p.wait)
        case.addCleanup(self.p.kill)
        case.addCleanup(self.close)
        self.pid = self.p.pid
        self.answer()

    def close(self):
        try:
            self.p.stdin.close()
        except BrokenPipeError:
            pass

    def answer(self):
        if self.p.stdout.readline() != "ok\n":
            raise AssertionError("the client ended")

    def threads(self):
        return len(os.listdir("/proc/%d/task" % self.pid))

    def send(self, *words):
        self.p.stdin.write(" ".join(map(str, words)) + "\n")
        self.p.stdin.flush()

    def do(self, *words):
        self.send(*words)
        self.answer()


class Case(clilib.Case):
    def setUp(self):
        super().setUp()
        self.sock = os.path.join(self.dir, "sock")
        self.start_daemon()

    def start_daemon(self, *options):
        orield = os.path.join(os.path.dirname(clilib.ORIEL), "orield")
        r, w = os.pipe()
        self.daemon = subprocess.Popen(
            [os.environ.get("ORIEL_DAEMON", orield),
             "--socket-path=" + self.sock, "--shared-dir=" + self.share,
             "--ready-fd=%d" % w, "--sandbox=none",
             "--seccomp=" + os.environ.get("ORIEL_TEST_SECCOMP", "kill"),
             *options], pass_fds=[w], stderr=subprocess.DEVNULL)
        self.addCleanup(self.daemon.wait)
        self.addCleanup(self.daemon.kill)
        os.close(w)
        with os.fdopen(r) as f:
            self.assertTrue(f.readline().startswith("READY"))

    def client(self):
        return Client(self)

    def until(self, condition):
        """Try until it is true; what it is then. A session that has no
        processor for as long as top waits is asked again."""
        end = time.monotonic() + PATIENCE
        while not (result := condition()):
            self.assertLess(time.monotonic(), end)
        return result

    def claims(self, n=1, also=lambda claims: True):
        """All sessions, when all @n of them tell of themselves."""
        def answered():
            all_ = self.top()["sessions"]
            self.assertEqual(len(all_), n)
            return all_ if all("claims" in s and also(s["claims"])
                               for s in all_) else None
        return self.until(answered)

    def text(self, *words):
        """What top prints, when it has the words."""
        def printed():
            out = self.oriel("top", "-i0.05", "--once", "sock").out
            return out if all(w in out for w in words) else None
        return self.until(printed)

    def top(self, *args):
        return json.loads(self.oriel("top", "-i0.05", "--once", "--json",
                                     *args, "sock").out)


class Terminal:
    """What oriel draws on. Whatever it does not know, what scrolls and what is
    written beyond the last column is an error."""

    CSI = re.compile(rb"\033\[(\??)([0-9;]*)([A-Za-z])")

    def __init__(self, rows, columns):
        self.modes = {"1049": False, "25": True, "7": True}
        self.resize(rows, columns)
        self.shown = []   # on the ordinary screen, as lines
        self.line = ""
        self.colored = False
        self.rest = b""

    def resize(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.cells = [[" "] * columns for _ in range(rows)]
        self.y = self.x = 0

    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.cells)

    def csi(self, private, args, letter):
        if private:
            self.modes[args] = {"h": True, "l": False}[letter]
        elif letter == "m":
            self.colored |= args not in ("", "0")
        elif (args, letter) == ("", "H"):
            self.y = self.x = 0
        elif (args, letter) == ("", "K"):
            self.cells[self.y][self.x:] = [" "] * (self.columns - self.x)
        elif (args, letter) == ("", "J"):
            self.csi("", "", "K")
            for y in range(self.y + 1, self.rows):
                self.cells[y] = [" "] * self.columns
        else:
            raise AssertionError("sequence %r %r" % (args, letter))

    def put(self, c):
        if not self.modes["1049"]:
            if c == "\n":
                self.shown.append(self.line)
                self.line = ""
            elif c != "\r":
                self.line += c
            return
        if c == "\n":
            self.y += 1
            if self.y >= self.rows:
                raise AssertionError("it scrolls")
        elif c == "\r":
            self.x = 0
        elif not c.isprintable() or self.x >= self.columns:
            raise AssertionError("%r in column %d" % (c, self.x))
        else:
            self.cells[self.y][self.x] = c
            self.x += 1

    def feed(self, data):
        data = self.rest + data
        self.rest = b""
        while data:
            if data[0] != 0x1b:
                self.put(chr(data[0]))
                data = data[1:]
                continue
            m = self.CSI.match(data)
            if not m:
                self.rest = data
                if len(data) > 40:
                    raise AssertionError("sequence %r" % data)
                return
            self.csi(m[1], m[2].decode(), m[3].decode())
            data = data[m.end():]


class Live:
    """oriel on a terminal of its own."""

    def __init__(self, case, *args, rows=24, columns=80, env=None):
        full = dict(os.environ, LC_ALL="C.UTF-8", TERM="xterm-256color")
        for name in ("NO_COLOR", "COLORTERM", "COLUMNS"):
            full.pop(name, None)
        full.update(env or {})
        self.case = case
        self.term = Terminal(rows, columns)
        self.raw = b""
        self.status = None
        master, slave = pty.openpty()
        self.master, self.slave = master, slave
        case.addCleanup(os.close, master)
        case.addCleanup(os.close, slave)
        self.set_size(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.pid = os.fork()
        if not self.pid:
            try:
                os.chdir(case.dir)
                os.setsid()
                fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
                for fd in range(3):
                    os.dup2(slave, fd)
                os.execve(clilib.ORIEL, ["oriel", *args], full)
            finally:
                os._exit(127)
        case.addCleanup(self.end)

    def set_size(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ,
                    struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, rows, columns):
        self.term.resize(rows, columns)
        self.raw = b""
        self.set_size(rows, columns)

    def keys(self, keys):
        os.write(self.master, keys)

    def read(self, seconds):
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        data = os.read(self.master, 1 << 16)
        self.raw += data
        self.term.feed(data)
        return True

    def until(self, what, condition):
        """Go on until @condition(text of the screen); the text."""
        end = time.monotonic() + PATIENCE
        while True:
            text = self.term.text()
            if condition(text):
                return text
            if time.monotonic() > end:
                self.case.fail("no %s in time:\n%s" % (what, text))
            self.read(0.1)

    def until_shown(self, *words):
        return self.until(repr(words),
                          lambda text: all(w in text for w in words))

    def wait(self, options=0):
        """Its status, when it has ended (or stopped), all output read."""
        end = time.monotonic() + PATIENCE
        while True:
            self.read(0.02)
            pid, status = os.waitpid(self.pid, options | os.WNOHANG)
            if pid:
                break
            if time.monotonic() > end:
                self.case.fail("it goes on:\n" + self.term.text())
        while self.read(0):
            pass
        if not os.WIFSTOPPED(status):
            self.status = os.waitstatus_to_exitcode(status)
            return self.status
        return None

    def is_restored(self):
        return (self.term.modes == {"1049": False, "25": True, "7": True} and
                termios.tcgetattr(self.slave) == self.before)

    def end(self):
        if self.status is None:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
