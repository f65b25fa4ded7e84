# SPDX-License-Identifier: BSD-2-Clause
"""oriel top: a real daemon, real clients that wait, and what top says."""

import json
import os
import signal
import struct
import subprocess
import time

import clilib
import toplib


class Top(toplib.Case):
    def test_none(self):
        obj = self.top()
        self.assertEqual((obj["command"], obj["share"], obj["sessions"],
                          obj["hidden"]), ("top", "sock", [], 0))

    def test_two(self):
        a, b = self.client(), self.client()
        a.do("spin")
        b.do("spin")
        both = self.claims(2)
        self.assertEqual([s["pid"] for s in both], [a.pid, b.pid])
        for s in both:
            self.assertEqual((s["uid"], s["kind"], s["name"]),
                             (os.getuid(), "liboriel", "top-client"))
            self.assertEqual(s["ops"]["INIT"], 1)
            self.assertEqual(s["claims"]["counters"]["hits"], 0)
            self.assertGreater(s["claims"]["counters"]["requests"], 1)
        one = self.top("--session=%d" % both[1]["id"])
        self.assertEqual([s["pid"] for s in one["sessions"]], [b.pid])

    def test_idle_and_only_hits(self):
        """A session that does nothing has no thread to answer, and nothing of
        it is waited for; one that only hits sends no message, but answers, and
        the thread that it has for it ends when nobody looks."""
        self.put("f", os.urandom(4 << 20))
        a = self.client()
        a.do("open", "f")
        for _ in range(20):
            a.do("read", 0)
        self.assertEqual(a.threads(), 1)
        (s,) = self.top()["sessions"]
        self.assertNotIn("claims", s)
        # names and open in one (docs/design/compound.md)
        self.assertEqual(s["ops"]["IOCTL"], 1)
        self.assertEqual(a.threads(), 1)
        r = self.oriel("top", "-i0.05", "--once", "sock")
        self.assertIn("it does nothing", r.out)
        a.do("spin", "hits")
        before = self.top()["sessions"][0]["requests"]
        (s,) = self.claims()
        self.assertEqual(s["requests"], before)
        self.assertGreater(s["claims"]["counters"]["hits"], 255)
        # a sanitizer may have one, too
        watched = self.until(
            lambda: self.top() and (lambda n: n > 1 and n)(a.threads()))
        while a.threads() == watched:  # five seconds
            time.sleep(0.1)
        self.until(lambda: self.top() and a.threads() == watched)  # anew

    def test_it_leaves_while_it_is_watched(self):
        """Four threads find at once that there is a question; the thread that
        one of them starts is no hindrance to leaving."""
        self.put("f", bytes(4 << 20))
        for _ in range(4):
            a = self.client()
            a.do("open", "f")
            a.do("spin", "threads")
            (s,) = self.claims()
            self.assertGreater(s["claims"]["counters"]["requests"], 1)
            a.p.stdin.close()
            self.assertEqual(a.p.wait(100), 0)

    def test_no_background(self):
        """Without a thread messages answer."""
        a = toplib.Client(self, "alone")
        a.do("spin")
        (s,) = self.claims(also=lambda c: "attr" in c["latencies"])
        self.assertEqual(s["claims"]["counters"]["hits"], 0)
        self.assertEqual(a.threads(), 1)

    def test_counts_of_a_load(self):
        self.put("f", os.urandom(4 << 20))
        a = self.client()
        a.do("open", "f")
        for i in range(40):
            a.do("read", i % 2 << 21)
        a.do("spin")
        # the two are counted one after the other
        (s,) = self.claims(also=lambda c: c["counters"]["misses"] ==
                           sum(c["misses"].values()))
        n = s["claims"]["counters"]
        self.assertEqual((s["pid"], n["open_files"], s["handles"]),
                         (a.pid, 1, 1))
        done = n["window_read_bytes"] + n["message_read_bytes"]
        self.assertGreaterEqual(done, 64 * n["hits"])
        # whatever is mapped has its digit
        self.assertEqual(sum(c != "0" for c in s["claims"]["heat"]),
                         n["mappings"])
        self.assertEqual(n["mappings"], 2)

    def test_files_mapped_most(self):
        os.mkdir(self.path("d"))
        for name, size in (("d/large", 5), ("small", 1), ("odd\n\033x", 3)):
            self.put(name, bytes(size << 21))
        a = self.client()
        for name, size in (("small", 1), ("d/large", 5), ("odd\n\033x", 3)):
            a.do("open", name.replace("\n", "%n").replace("\033", "%e"))
            for i in range(20 * size):
                a.do("read", i % size << 21)
        a.do("spin")
        (s,) = self.claims()
        self.assertEqual([(f["name"], f["ranges"])
                          for f in s["claims"]["files"]],
                         [("d/large", 5), ("odd??x", 3), ("small", 1)])
        out = self.text("mapped:")
        self.assertRegex(out, r"mapped: +10 MiB \d d/large\n +6 MiB")
        os.rename(self.path("d/large"), self.path("renamed"))
        os.unlink(self.path("small"))
        (s,) = self.claims()
        self.assertEqual([f["name"].split(" ")[0]
                          for f in s["claims"]["files"]],
                         ["renamed", "odd??x", "small"])

    def test_file_names_are_private(self):
        self.put("f", bytes(4 << 20))
        a = toplib.Client(self, "private")
        a.do("open", "f")
        for i in range(20):
            a.do("read", 0)
        a.do("spin")
        (s,) = self.claims()
        self.assertEqual(s["claims"]["counters"]["mappings"], 1)
        self.assertEqual(s["claims"]["files"], [])

    def test_latencies_of_a_slow_daemon(self):
        """Messages that take a third of a second or more are seen as such."""
        a = self.client()
        a.do("idle")
        p = subprocess.Popen([clilib.ORIEL, "top", "-i0.05", "--json", "sock"],
                             cwd=self.dir, stdout=subprocess.PIPE)
        self.addCleanup(p.wait)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.kill)
        slow, sent = [], 0
        while not slow:
            self.assertLess(sent, 50)
            a.do("slow", self.daemon.pid, 333)
            sent += 1
            after = 0
            while after < 3:
                (s,) = json.loads(p.stdout.readline())["sessions"]
                after += s["ops"].get("STATFS", 0) == sent
                lat = s.get("claims", {"latencies": {}})["latencies"]
                # half a bucket less, at most
                slow += [x for x in lat.values()
                         if x["p99_ns"] > 333e6 * 15 / 16]
        self.assertEqual(list(slow[0]), ["n", "p50_ns", "p90_ns", "p99_ns",
                                         "p999_ns", "max_ns"])
        self.assertLessEqual(slow[0]["n"], 2 * sent)
        self.assertGreater(slow[0]["max_ns"], 333e6)
        self.assertGreaterEqual(slow[0]["p999_ns"], slow[0]["p99_ns"])

    def test_text_and_an_end(self):
        a = self.client()
        a.do("spin")
        out = self.text("misses/s:")
        self.assertIn("1 session\n", out)
        self.assertIn(" %d " % a.pid, out)
        self.assertNotIn("\033", out)
        self.assertLessEqual(max(map(len, out.splitlines())), 80)
        p = subprocess.Popen([clilib.ORIEL, "top", "-i0.05", "--json", "sock"],
                             cwd=self.dir, stdout=subprocess.PIPE)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.kill)
        self.assertEqual(len(json.loads(p.stdout.readline())["sessions"]), 1)
        a.p.kill()
        for line in p.stdout:
            if not json.loads(line)["sessions"]:
                break
        else:
            self.fail("top ended")
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.wait(60), -signal.SIGTERM)

    def scribble(self, pid):
        """A page (src/wire/gauge.h, behind the arena) that looks whole and has
        nothing but ones in it."""
        with open("/proc/%d/maps" % pid) as f:
            (line,) = [x for x in f if "memfd:oriel-rings" in x]
        page = bytearray(b"\xff" * 16384)
        struct.pack_into("<III", page, 0, 0x45475547, 2, 16384)
        struct.pack_into("<I", page, 128, 7)
        struct.pack_into("<I", page, 136 + 13240, 7)
        with open("/proc/%d/mem" % pid, "r+b", buffering=0) as f:
            f.seek(int(line.split()[0].split("-")[1], 16) - len(page))
            f.write(page)

    def test_a_page_that_lies(self):
        a = self.client()
        os.kill(a.pid, signal.SIGSTOP)
        self.scribble(a.pid)
        (s,) = self.top()["sessions"]
        self.assertEqual(s["claims"]["heat"], "9" * 4096)
        self.assertEqual(s["claims"]["counters"]["hits"], 2 ** 64 - 1)
        r = self.oriel("top", "-i0.05", "--once", "sock")
        self.assertTrue(r.out.replace("\n", "").isprintable())
        self.assertLessEqual(max(map(len, r.out.splitlines())), 80)
        self.assertEqual(len(self.top()["sessions"]), 1)

    def test_no_daemon_of_others(self):
        r = self.run_raw("top", "--once", "s")
        self.assertEqual(r.status, 2)
        self.assertIn("s is a directory", r.err)


if __name__ == "__main__":
    clilib.main()
