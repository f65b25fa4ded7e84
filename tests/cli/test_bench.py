# SPDX-License-Identifier: BSD-2-Clause
"""oriel bench: what it measures, says and leaves behind (nothing)."""

import json
import os
import pty
import re
import signal
import subprocess
import time
import unittest

import clilib

SOURCE = os.environ.get("ORIEL_SOURCE") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..")
VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
NAMES = ["read_64b_random", "read_4k_random", "read_1m_sequential",
         "overwrite_4k_random", "borrow_4k_random", "first_touch_4k",
         "first_read_1m", "stat", "open_read_close_4k", "append_4k",
         "readdir"]


class BenchCase(clilib.Case):
    def bench(self, *args):
        r = self.oriel("bench", "-q", "-t0.5", "--size=8M", "--json",
                       *args)
        self.assertEqual(r.out.count("\n"), 1)
        obj = json.loads(r.out)
        self.assertEqual((obj["schema_version"], obj["command"]),
                         (1, "bench"))
        obj["codes"] = [x["code"] for x in obj["reasons"]]
        return obj

    def skipped(self, obj):
        return [t["name"] for t in obj["tests"] if "skipped" in t]

    def serve(self, *args):
        sock = os.path.join(self.dir, "sock")
        orield = os.path.join(os.path.dirname(clilib.ORIEL), "orield")
        r, w = os.pipe()
        d = subprocess.Popen(
            [os.environ.get("ORIEL_DAEMON", orield), "--socket-path=" + sock,
             "--shared-dir=" + self.share, "--ready-fd=%d" % w,
             "--sandbox=none", "--seccomp=none", *args],
            pass_fds=[w], stderr=subprocess.DEVNULL)
        self.addCleanup(d.wait)
        self.addCleanup(d.kill)
        os.close(w)
        with os.fdopen(r) as f:
            self.assertTrue(f.readline().startswith("READY"))
        return d

    def measuring(self, *args, **kwargs):
        """A bench that has made its files and goes on for long."""
        p = subprocess.Popen(
            [clilib.ORIEL, "bench", "-t", "600", "--size=1M", *args],
            cwd=self.dir, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, **kwargs)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.stderr.close)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        while not self.has_all():
            self.assertIsNone(p.poll(), "it ended")
            time.sleep(0.01)
        return p

    def has_all(self):
        """Have all its files been made?"""
        for name in os.listdir(self.share):
            if name.startswith(".oriel-bench-"):
                return os.path.exists(self.path(name, "names", "255"))
        return False


class Measure(BenchCase):
    def test_json(self):
        self.put("keep", b"x")
        obj = self.bench("s")
        self.assertEqual([t["name"] for t in obj["tests"]], NAMES)
        self.assertEqual(self.skipped(obj), [])
        for t in obj["tests"]:
            self.assertGreater(t["latency_ns"], 0)
            self.assertGreater(t["native_latency_ns"], 0)
            self.assertGreater(t["speed_vs_native_ratio"], 0)
            self.assertLessEqual(t["latency_p50_ns"], t["latency_p99_ns"])
            self.assertLessEqual(t["latency_round_p10_ns"],
                                 t["latency_round_p90_ns"])
            self.assertLessEqual(t["native_latency_p50_ns"],
                                 t["native_latency_p99_ns"])
            self.assertIn(t["grade"], ("fast", "fair", "slow"))
            self.assertGreaterEqual(t["cpu_us"], 0)
        for t in obj["tests"][:4]:
            self.assertGreater(t["memcpy_latency_ns"], 0)
            self.assertIn("over_memcpy_ns", t)
            self.assertGreater(t["throughput_bytes_per_s"], 0)
        self.assertGreater(obj["tests"][7]["requests"], 0)
        self.assertEqual(obj["file_size_bytes"], 8 << 20)
        self.assertEqual(obj["directory_entries"], 256)
        self.assertEqual((obj["rounds"], obj["dax"]), (5, True))
        self.assertRegex(obj["verdict"], r"^DAX is on: \d+ % of the bytes")
        for code in ("no_window", "small_window", "passed_by", "refused"):
            self.assertNotIn(code, obj["codes"])
        for x in obj["reasons"]:
            self.assertRegex(x["text"], r"\d")
        self.assertEqual(os.listdir(self.share), ["keep"])

    def test_window_off(self):
        obj = self.bench("--dax=never", "--no-native", "s")
        self.assertEqual(self.skipped(obj),
                         ["borrow_4k_random", "first_touch_4k",
                          "first_read_1m"])
        self.assertIs(obj["dax"], False)
        self.assertRegex(obj["verdict"], r"^DAX is OFF: .*dax=never")
        self.assertIn("no_window", obj["codes"])
        text = obj["reasons"][obj["codes"].index("no_window")]["text"]
        self.assertRegex(text, r"--dax=never .* is a message: [\d.]+ [num]s "
                               r"for 4 KiB.* Leave it out\.")
        for t in obj["tests"]:
            self.assertNotIn("native_latency_ns", t)
            self.assertNotIn("memcpy_latency_ns", t)

    def test_window_smaller_than_the_set(self):
        obj = self.bench("--window=2M", "--cases=read", "s")
        self.assertIn("small_window", obj["codes"])
        text = obj["reasons"][obj["codes"].index("small_window")]["text"]
        self.assertRegex(text, r"^The window \(2 MiB\) is smaller than the "
                               r"file \(8 MiB\): \d+ % of the bytes")
        self.assertEqual(len(obj["tests"]), 4)  # readdir, too
        for t in obj["tests"]:
            self.assertNotIn("memcpy_latency_ns", t)

    def test_cases(self):
        obj = self.bench("--cases=stat,read_4k_random", "s")
        self.assertEqual([t["name"] for t in obj["tests"]],
                         ["read_4k_random", "stat"])
        for word, near in ("stst", "; did you mean 'stat'?"), \
                ("", "; there are " + ", ".join(NAMES)):
            self.oriel("bench", "--cases=read," + word, "s", status=2,
                       err=f"oriel: bench: --cases: no case '{word}'{near}\n"
                           "Try 'oriel bench --help'.\n")
        self.assertEqual(os.listdir(self.share), [])

    def test_text(self):
        for args in ["s"], ["--no-native", "s"], ["--readonly", "s"], \
                ["--dax=never", "s"]:
            out = self.oriel("bench", "-q", "--size=8M", *args).out
            for line in out.splitlines():
                self.assertLess(len(line), 80)
            if "--readonly" not in args:
                self.assertRegex(out, r"random read, 4 KiB +[\d.]+ [num]s +"
                                      r"[\d.]+ [num]s +\S+ [KMG]iB/s ")
            self.assertEqual("native: not known" in out, "--no-native" in args)
            self.assertRegex(out, r"\nDAX is (on|OFF)")
            self.assertRegex(out, r"\n(Fast|Fair|Slow): +\w")
        self.assertIn("1. There is no window", out)
        out = self.oriel("bench", "-q", "--cases=stat", "--color=always",
                         "s").out
        self.assertRegex(out, r"\n\033\[3[123]m(Fast|Fair|Slow):\033\[0m stat")
        self.assertEqual(os.listdir(self.share), [])

    def test_a_file_that_exists_is_only_read(self):
        data = os.urandom(2 << 20)
        self.put("mine", data)
        obj = self.bench("s:mine")
        self.assertEqual(self.skipped(obj), [
            "overwrite_4k_random", "first_touch_4k", "append_4k"])
        self.assertIn("speed_vs_native_ratio", obj["tests"][0])
        self.assertEqual(obj["file_size_bytes"], 2 << 20)
        self.assertEqual(self.get("mine"), data)
        self.assertEqual(os.listdir(self.share), ["mine"])
        self.assertEqual(self.bench("--size=1M", "--cases=stat", "s:mine")
                         ["file_size_bytes"], 1 << 20)
        self.put("short", b"x")
        self.oriel("bench", "s:short", status=1, err="oriel: bench: s:short: "
                   "shorter than 1 MiB, which is too little to measure\n")

    def test_one_processor(self):
        cpus = os.sched_getaffinity(0)
        self.addCleanup(os.sched_setaffinity, 0, cpus)
        os.sched_setaffinity(0, {min(cpus)})
        obj = self.bench("--cases=stat", "s")
        self.assertEqual(obj["processors"], 1)
        self.assertIn("one_processor", obj["codes"])
        self.assertNotIn("sleeps", obj["codes"])

    def test_one_session_only(self):
        self.serve("--max-clients=1")
        obj = self.bench("--cases=first,stat", "sock")
        for t in obj["tests"][:2]:
            self.assertEqual(t["skipped"],
                             "the daemon takes no second session")
        self.assertGreater(obj["tests"][2]["latency_ns"], 0)

    def test_no_space(self):
        r = self.run_raw("bench", "--size=1E", "s")
        self.assertEqual((r.status, r.out), (1, ""))
        self.assertRegex(r.err, r"^oriel: bench: s: 1.00 EiB are needed, .* are "
                         r"free: give a smaller --size, or measure a file "
                         r"that exists\n$")
        self.assertEqual(os.listdir(self.share), [])
        for size, why in ("5E", "at most 4E"), ("1K", "at least 1M"):
            self.oriel("bench", "--size=" + size, "s", status=2,
                       err=f"oriel: bench: --size: {why}\n"
                           "Try 'oriel bench --help'.\n")

    def test_a_new_name(self):
        self.oriel("bench", "-q", "--size=1M", "--cases=stat", "s:here")
        self.assertEqual(os.listdir(self.share), [])

    def test_read_only_share(self):
        os.mkdir(self.path("d"))
        data = os.urandom(5 << 20)
        self.put("d/long", data)
        self.put("short", b"x")
        obj = self.bench("--readonly", "s")
        self.assertEqual(self.skipped(obj),
                         ["overwrite_4k_random", "append_4k"])
        self.assertEqual({t["skipped"] for t in obj["tests"]
                          if "skipped" in t}, {"the share is read-only"})
        self.assertEqual(obj["file_size_bytes"], 5 << 20)
        self.assertEqual(self.get("d/long"), data)
        os.unlink(self.path("d/long"))
        obj = self.bench("--readonly", "s")
        self.assertEqual(len(self.skipped(obj)), 9)
        self.assertIn("no_file", obj["codes"])
        self.assertEqual(sorted(os.listdir(self.share)), ["d", "short"])

    def test_native(self):
        self.serve()
        obj = self.bench("--cases=append,stat", "--native=s", "sock")
        for t in obj["tests"]:
            self.assertGreater(t["speed_vs_native_ratio"], 0)
        os.mkdir(os.path.join(self.dir, "other"))
        self.oriel("bench", "--native=other", "sock", status=1,
                   err="oriel: bench: other: this is not the directory that "
                       "the share shows\n")
        self.oriel("bench", "--native=none", "sock", status=1,
                   err="oriel: bench: none: No such file or directory\n")
        self.assertEqual(os.listdir(self.share), [])

    @unittest.skipUnless(os.access(VIRTIOFSD, os.X_OK) and os.getuid() == 0,
                         "needs root and QEMU's virtiofsd")
    def test_another_daemon(self):
        log = os.path.join(self.dir, "log")
        with open(log, "w") as f:
            p = subprocess.Popen(
                [VIRTIOFSD, "-f", "--socket-path=" +
                 os.path.join(self.dir, "sock"), "-o",
                 "source=" + self.share, "-o", "sandbox=chroot"],
                stdout=f, stderr=f)
        self.addCleanup(p.wait)
        self.addCleanup(p.terminate)
        with open(log) as f:
            while "Waiting" not in f.read():
                if p.poll() is not None:
                    self.skipTest("it does not start here")
                f.seek(0)
                time.sleep(0.01)
        obj = self.bench("--native=s", "sock")
        self.assertEqual(self.skipped(obj),
                         ["borrow_4k_random", "first_touch_4k",
                          "first_read_1m"])
        self.assertIn("DAX is OFF: the daemon does not offer", obj["verdict"])
        self.assertIn("no_window", obj["codes"])
        self.assertEqual(os.listdir(self.share), [])


class Ends(BenchCase):
    def test_signal(self):
        """The daemon of a directory gets what the terminal sends, too."""
        self.put("keep", b"x")
        for whole_group in False, True:
            p = self.measuring("s", start_new_session=True)
            if whole_group:
                os.killpg(p.pid, signal.SIGINT)
            else:
                p.send_signal(signal.SIGINT)
            self.assertEqual(p.wait(100), -signal.SIGINT)
            self.assertEqual((p.stdout.read(), p.stderr.read()), ("", ""))
            self.assertEqual(os.listdir(self.share), ["keep"])

    def test_daemon_killed(self):
        d = self.serve()
        p = self.measuring("--cases=stat", "--native=s", "sock")
        d.kill()
        self.assertEqual(p.wait(100), 1)
        self.assertEqual(p.stdout.read(), "")
        self.assertRegex(p.stderr.read(), r"^oriel: bench: sock: the daemon "
                         r"was lost in '[^']+': .*\n$")
        self.assertEqual(os.listdir(self.share), [])

    def test_daemon_killed_and_files_out_of_reach(self):
        d = self.serve()
        p = self.measuring("--cases=stat", "--json", "sock")
        d.kill()
        self.assertEqual(p.wait(100), 1)
        self.assertEqual(p.stdout.read(), "")
        self.assertRegex(p.stderr.read(), r"the daemon was lost in '[^']+': "
                         r".*\n.*\.oriel-bench-\d+-0 is left behind: .*\n$")

    def test_daemon_hangs(self):
        d = self.serve()
        p = self.measuring("--cases=stat", "--native=s", "--timeout=5",
                           "sock")
        d.send_signal(signal.SIGSTOP)
        self.assertEqual(p.wait(100), 1)
        self.assertRegex(p.stderr.read(), r"^oriel: bench: sock: the daemon "
                         r"was lost in '[^']+': .*\n$")
        self.assertEqual(os.listdir(self.share), [])

    def test_truncated_under_pointers(self):
        """A fault in a borrowed page is an error of that case."""
        p = self.measuring("--cases=borrow", "--json", "s")
        for name in os.listdir(self.share):
            os.truncate(self.path(name, "data"), 0)
        p.wait(100)
        self.assertEqual((p.returncode, p.stderr.read()), (1, ""))
        self.assertIn("error", json.loads(p.stdout.read())["tests"][0])
        self.assertEqual(os.listdir(self.share), [])

    def test_signal_while_files_are_made(self):
        p = subprocess.Popen([clilib.ORIEL, "bench", "s"], cwd=self.dir,
                             stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        while not os.listdir(self.share):
            self.assertIsNone(p.poll(), "it ended")
        p.terminate()
        self.assertEqual(p.communicate(timeout=100), (b"", b""))
        self.assertEqual(p.returncode, -signal.SIGTERM)
        self.assertEqual(os.listdir(self.share), [])

    def test_progress(self):
        """On a terminal there is a line, which is wiped at the end."""
        term, end = pty.openpty()
        with open(os.path.join(self.dir, "out"), "w+") as out:
            p = subprocess.Popen(
                [clilib.ORIEL, "bench", "-q", "--size=1M", "--cases=stat",
                 "s"], cwd=self.dir, stdout=out, stderr=end)
            os.close(end)
            seen, more = b"", b"x"
            while more:
                seen += more
                try:
                    more = os.read(term, 4096)
                except OSError:  # the last one has closed it
                    break
            os.close(term)
            self.assertEqual(p.wait(100), 0)
            out.seek(0)
            self.assertNotIn("left", out.read())
        seen = seen.decode()
        self.assertTrue(seen.startswith("x\rmaking files\033[K"), repr(seen))
        self.assertRegex(seen, r"\r\[#*-+\] stat +0:0\d left\033\[K")
        self.assertTrue(seen.endswith("\r\033[K"), repr(seen))

    def test_manual(self):
        """All cases and reasons that there are."""
        with open(os.path.join(SOURCE, "man", "oriel.1")) as f:
            man = f.read()
        with open(os.path.join(SOURCE, "cmd", "oriel", "bench_verdict.c")) as f:
            codes = re.findall(r'say\(v, "(\w+)"', f.read())
        self.assertGreater(len(codes), 9)
        for name in NAMES + codes:
            self.assertIn(f".It {name} Ta ", man)


if __name__ == "__main__":
    clilib.main()
