# SPDX-License-Identifier: BSD-2-Clause
"""oriel top on a terminal: what is drawn, keys, and how it is left."""

import os
import re
import signal

import clilib
import toplib


class Screen(toplib.Case):
    def busy(self):
        c = self.client()
        if not os.path.exists(self.path("f")):
            self.put("f", os.urandom(8 << 20))
        c.do("open", "f")
        for i in range(20):
            c.do("read", i % 4 << 21)
        c.do("spin")
        return c

    def live(self, *args, **kwargs):
        return toplib.Live(self, "top", "-i0.1", *args, "sock", **kwargs)

    def test_sizes(self):
        a, b = self.busy(), self.busy()
        for rows, columns in ((24, 80), (50, 160), (12, 40)):
            t = self.live(rows=rows, columns=columns)
            words = ["  attr ", "STATFS"] if rows > 12 else []
            t.until_shown(" of 64 GiB", "q quit", "misses/s:",
                          "window:", "by message:", *words)
            text = t.until("map", lambda text: re.search(
                r"(?m)^  [0-9.]+$", text) and all(w in text for w in words))
            lines = text.split("\n")
            self.assertEqual(len(lines), rows)
            self.assertTrue(lines[0].startswith("oriel top "), lines[0])
            self.assertIn("2 sessions", lines[0])
            self.assertTrue(lines[-1].startswith("q quit"), lines[-1])
            self.assertEqual(" %d " % b.pid in text, columns > 40)
            self.assertEqual(" known " in lines[1], columns >= 110)
            self.assertTrue(t.term.colored)
            t.keys(b"q")
            self.assertEqual(t.wait(), 0)
            self.assertTrue(t.is_restored())
        del a

    def test_tiny(self):
        self.busy()
        for rows, columns in ((1, 1), (2, 10), (3, 20), (5, 200)):
            t = self.live(rows=rows, columns=columns)
            t.until("picture", lambda text: text.startswith("oriel top"
                                                            [:columns]))
            t.keys(b"hhq")
            self.assertEqual(t.wait(), 0)

    def test_resize(self):
        self.busy()
        t = self.live()
        t.until_shown("q quit", "misses/s:")
        for rows, columns in ((40, 132), (10, 50), (24, 80)):
            t.resize(rows, columns)
            t.until("redrawing", lambda text: text.split("\n")[-1].startswith(
                "q quit") and text.startswith("oriel top "))
            t.until_shown("session 1")
        t.keys(b"q")
        self.assertEqual(t.wait(), 0)

    def test_keys(self):
        a, b = self.busy(), self.client()
        t = self.live()
        t.until("the busy one", lambda text: re.search(
            r"(?m)^> +\d+ +%d " % a.pid, text))
        t.keys(b"j")
        t.until("the other", lambda text: re.search(
            r"(?m)^> +\d+ +%d " % b.pid, text))
        t.keys(b"\033[A")
        t.until("the busy one", lambda text: re.search(
            r"(?m)^> +\d+ +%d " % a.pid, text))
        for sort in ("msgs", "hits", "bytes", "misses", "id"):
            t.keys(b"s")
            t.until_shown("sort: " + sort)
        t.keys(b"h")
        t.until_shown("pause, and go on")
        t.keys(b"h")
        t.until_shown("misses/s:")
        t.keys(b"p")
        t.until_shown("PAUSED", "p go on")
        t.keys(b"+")
        t.until_shown("every 0.2 s")
        t.keys(b"p")
        t.until("going on", lambda text: "PAUSED" not in text)
        t.keys(b"q")
        self.assertEqual(t.wait(), 0)
        self.assertTrue(t.is_restored())

    def test_sessions_come_and_go(self):
        t = self.live()
        t.until_shown("0 sessions", "nobody else is connected")
        a = self.busy()
        t.until_shown("1 session ", " %d " % a.pid)
        b = self.busy()
        t.until_shown("2 sessions", " %d " % b.pid)
        a.p.kill()
        t.until("the end of it",
                lambda text: "1 session " in text and
                " %d " % a.pid not in text)
        b.p.kill()
        t.until_shown("nobody else is connected")

    def test_signals(self):
        self.busy()
        for sig in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            t = self.live()
            t.until_shown("q quit")
            self.assertFalse(t.is_restored())
            os.kill(t.pid, sig)
            self.assertEqual(t.wait(), -sig)
            self.assertTrue(t.is_restored())
        t = self.live()
        t.until_shown("q quit")
        t.keys(b"\003")
        self.assertEqual(t.wait(), -signal.SIGINT)
        self.assertTrue(t.is_restored())

    def test_stop_and_continue(self):
        self.busy()
        t = self.live()
        t.until_shown("q quit")
        t.keys(b"\032")
        self.assertIsNone(t.wait(os.WUNTRACED))
        self.assertTrue(t.is_restored())
        t.term.resize(24, 80)
        os.kill(t.pid, signal.SIGCONT)
        t.until_shown("q quit", "session 1")
        t.keys(b"q")
        self.assertEqual(t.wait(), 0)
        self.assertTrue(t.is_restored())

    def test_the_daemon_ends(self):
        t = self.live()
        t.until_shown("q quit")
        self.daemon.kill()
        self.assertEqual(t.wait(), 1)
        self.assertTrue(t.is_restored())
        self.assertIn("oriel: top: sock: ", "".join(t.term.shown))

    def test_twice_to_a_daemon_that_hangs(self):
        t = self.live()
        t.until_shown("q quit")
        self.daemon.send_signal(signal.SIGSTOP)
        while t.read(0.5):
            pass
        t.keys(b"\003")
        t.read(0.3)
        t.keys(b"\003")
        self.assertEqual(t.wait(), -signal.SIGINT)
        self.daemon.send_signal(signal.SIGCONT)
        self.assertTrue(t.is_restored())

    def test_without_colors(self):
        self.busy()
        t = self.live(env={"NO_COLOR": "1"})
        t.until_shown("q quit", "of 64 GiB")
        self.assertFalse(t.term.colored)
        t = self.live("--color=never")
        t.until_shown("q quit", "of 64 GiB")
        self.assertFalse(t.term.colored)
        t = self.live(env={"TERM": "linux"})
        t.until_shown("q quit", "of 64 GiB")
        self.assertTrue(t.term.colored)
        self.assertNotIn(b"38;5", t.raw)

    def test_dumb(self):
        self.busy()
        t = self.live("-n2", env={"TERM": "dumb"})
        self.assertEqual(t.wait(), 0)
        self.assertNotIn(b"\033", t.raw)
        self.assertEqual(t.raw.count(b"1 session\r\n"), 2)
        self.assertTrue(t.is_restored())

    def test_a_number_of_samples(self):
        t = self.live("-n3")
        self.assertEqual(t.wait(), 0)
        self.assertIn(b"\033[?1049h", t.raw)
        self.assertTrue(t.is_restored())


if __name__ == "__main__":
    clilib.main()
