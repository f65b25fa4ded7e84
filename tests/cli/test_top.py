# SPDX-License-Identifier: BSD-2-Clause
"""oriel top: a real daemon, real clients that wait, and what top says."""

import json
import os
import signal
import struct
import subprocess

import clilib
import toplib


class Top(toplib.Case):
    def test_none(self):
        obj = self.top()
        self.assertEqual((obj["command"], obj["share"], obj["sessions"],
                          obj["hidden"]), ("top", "sock", [], 0))

    def test_two(self):
        a, b = self.client(), self.client()
        obj = self.top()
        self.assertEqual([s["pid"] for s in obj["sessions"]], [a.pid, b.pid])
        for s in obj["sessions"]:
            self.assertEqual((s["uid"], s["kind"], s["name"]),
                             (os.getuid(), "liboriel", "top-client"))
            self.assertEqual(s["ops"]["INIT"], 1)
            self.assertEqual(s["claims"]["counters"]["hits"], 0)
            self.assertGreater(s["claims"]["counters"]["requests"], 1)
        one = self.top("--session=%d" % obj["sessions"][1]["id"])
        self.assertEqual([s["pid"] for s in one["sessions"]], [b.pid])

    def test_counts_of_a_load(self):
        size = 4 << 20
        self.put("f", os.urandom(size))
        r, w = os.pipe()
        # cat cannot go on when the pipe is full: it is there to be looked at
        p = subprocess.Popen([clilib.ORIEL, "cat", "sock:f"], cwd=self.dir,
                             stdout=w)
        os.close(w)
        with os.fdopen(r, "rb") as f:
            f.read(65536)
            (s,) = self.top()["sessions"]
            n = s["claims"]["counters"]
            self.assertEqual((s["pid"], n["open_files"], s["handles"]),
                             (p.pid, 1, 1))
            done = n["window_read_bytes"] + n["message_read_bytes"]
            self.assertGreaterEqual(done, 65536)
            self.assertLessEqual(done, size)
            self.assertEqual(sum(s["claims"]["misses"].values()), n["misses"])
            # whatever is mapped has its digit
            self.assertEqual(
                any(c != "0" for c in s["claims"]["heat"]),
                n["mappings"] > 0)
            while f.read(1 << 20):
                pass
        self.assertEqual(p.wait(60), 0)

    def test_latencies_of_a_slow_daemon(self):
        """All messages of a kind take a third of a second or more: so do its
        percentiles, all of them, and each is counted once."""
        a = self.client()
        a.do("idle")
        p = subprocess.Popen([clilib.ORIEL, "top", "-i0.05", "--json", "sock"],
                             cwd=self.dir, stdout=subprocess.PIPE)
        self.addCleanup(p.wait)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.kill)
        seen = sent = 0
        while not seen:
            a.do("slow", self.daemon.pid, 333)
            sent += 1
            for line in p.stdout:
                (s,) = json.loads(line)["sessions"]
                if "claims" in s and s["ops"].get("STATFS", 0) == sent:
                    break
            lat = s["claims"]["latencies"].get("attr")
            if lat:
                seen = lat["n"]
                self.assertLessEqual(seen, sent)
                for key in ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"):
                    # half a bucket less, at most
                    self.assertGreater(lat[key], 333e6 * 15 / 16)
                    self.assertLessEqual(lat[key], lat["max_ns"])

    def test_text_and_an_end(self):
        a = self.client()
        r = self.oriel("top", "-i0.05", "--once", "sock")
        self.assertIn("1 session\n", r.out)
        self.assertIn(" %d " % a.pid, r.out)
        self.assertIn("misses/s:", r.out)
        self.assertNotIn("\033", r.out)
        self.assertLessEqual(max(map(len, r.out.splitlines())), 80)
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
        struct.pack_into("<III", page, 0, 0x45475547, 1, 16384)
        struct.pack_into("<I", page, 128, 7)
        struct.pack_into("<I", page, 136 + 12984, 7)
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
