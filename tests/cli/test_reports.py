# SPDX-License-Identifier: BSD-2-Clause
"""stat, df and info: text, JSON, answers by exit status."""

import json
import os
import re

import clilib


class JsonCase(clilib.Case):
    def json(self, *args):
        r = self.oriel(*args)
        self.assertEqual(r.out.count("\n"), 1)
        obj = json.loads(r.out)
        self.assertEqual(obj["schema_version"], 1)
        self.assertEqual(obj["command"], args[0])
        return obj


class Reports(JsonCase):
    def test_stat_text(self):
        self.put("f", b"12345", 0o640)
        os.utime(self.path("f"), (1770091506, 1770091506))
        st = os.stat(self.path("f"))
        out = self.oriel("stat", "s:f").out
        self.assertIn("  File: s:f\n", out)
        self.assertIn("(0640/-rw-r-----)", out)
        self.assertIn("Modify: 2026-02-03 04:05:06.000000000 +0000\n", out)
        out = self.oriel("stat", "-c", "%s|%a|%A|%F|%h|%i|%u|%g|%Y|%n|%%|%q",
                         "s:f").out
        self.assertEqual(out, f"5|640|-rw-r-----|regular file|1|{st.st_ino}|"
                         f"{st.st_uid}|{st.st_gid}|1770091506|s:f|%|?\n")

    def test_stat_links(self):
        self.put("f", b"12345")
        os.symlink("f", self.path("l"))
        self.assertIn("  File: s:l -> f\n", self.oriel("stat", "s:l").out)
        self.assertEqual(self.oriel("stat", "-Lc", "%s", "s:l").out, "5\n")
        self.assertEqual(self.json("stat", "--json", "s:l")["target"], "f")

    def test_stat_json(self):
        self.put("f", b"12345", 0o640)
        os.utime(self.path("f"), ns=(1, 1770091506_000000007))
        obj = self.json("stat", "--json", "s:f")
        self.assertEqual((obj["size_bytes"], obj["mode"], obj["type"]),
                         (5, "0640", "regular file"))
        self.assertEqual(obj["inode"], os.stat(self.path("f")).st_ino)
        text = self.oriel("stat", "--json", "s:f").out
        self.assertIn('"mtime_s":1770091506.000000007', text)

    def test_ls_json(self):
        os.mkdir(self.path("d"))
        self.put("d/f", b"123")
        os.symlink("x", self.path("d/l"))
        obj = self.json("ls", "--json", "s:d")
        self.assertEqual([(e["name"], e["type"]) for e in obj["entries"]],
                         [("f", "regular file"), ("l", "symbolic link")])
        self.assertEqual(obj["entries"][1]["target"], "x")
        lines = self.oriel("ls", "-R", "--json", "s").out.splitlines()
        self.assertEqual([json.loads(x)["path"] for x in lines],
                         ["/", "/d"])

    def test_df(self):
        v = os.statvfs(self.share)
        obj = self.json("df", "--json", "s")
        self.assertEqual(obj["size_bytes"], v.f_blocks * v.f_frsize)
        self.assertEqual(obj["inodes"], v.f_files)
        out = self.oriel("df", "s", "s:/").out.splitlines()
        self.assertEqual(len(out), 3)
        self.assertRegex(out[0], "^Share +1K-blocks +Used +Available +Use%$")
        self.assertRegex(out[1], r"^s +\d+ +\d+ +\d+ +(\d+%|-)$")
        self.assertRegex(self.oriel("df", "-h", "s").out.splitlines()[1],
                         r"^s +[0-9.]+[KMGTP]? ")


class Info(JsonCase):
    def test_dax_is_said_first_and_loudly(self):
        out = self.oriel("info", "s").out
        self.assertTrue(out.startswith("DAX: ON\n"), out)
        out = self.oriel("info", "--dax=never", "s").out
        self.assertRegex(out, r"\ADAX: OFF - because \S.*\n")

    def test_text(self):
        out = self.oriel("info", "--sandbox=none", "s").out
        self.assertRegex(out, r"\nDaemon: +our own.*, pid \d+\n")
        self.assertRegex(out, r"\nSandbox: +none")
        self.assertRegex(out, r"\nProtocol: +FUSE 7\.\d+, \d+ request queue")
        self.assertIn("MAP_ALIGNMENT", out)
        self.assertRegex(out, r"\n   one cell is \S+ \S+, \d+ ranges?;")
        self.assertNotIn("\033", out)

    def test_picture_shows_the_file_that_was_read(self):
        self.put("big", os.urandom(9 << 20))
        before = self.json("info", "--json", "s")
        self.assertEqual(before["window"]["picture"], "")
        after = self.json("info", "--json", "s:big")
        picture = after["window"]["picture"]
        used = [c for c in picture if c in "rRwW#"]
        self.assertGreaterEqual(len(used), 4)
        self.assertEqual(len(used), after["window"]["ranges_mapped"])
        self.assertGreaterEqual(after["counters"]["window_read_bytes"] +
                                after["counters"]["message_read_bytes"] +
                                after["counters"]["held_read_bytes"],
                                9 << 20)
        out = self.oriel("info", "s:big").out
        self.assertTrue(re.search(r"\n  \|[.rRwW#]*[rR]", out), out)
        out = self.oriel("info", "--color=always", "s:big").out
        self.assertIn("\033[1;32mDAX: ON\033[0m", out)
        self.assertIn("\u2588", out)

    def test_json(self):
        obj = self.json("info", "--json", "--readonly", "s")
        self.assertIs(obj["dax"], True)
        self.assertEqual(obj["dax_why_not"], "")
        self.assertIs(obj["readonly"], True)
        self.assertIs(obj["embedded"], True)
        self.assertGreater(obj["daemon_pid"], 0)
        w = obj["window"]
        self.assertEqual(w["ranges"] * w["range_bytes"], w["size_bytes"])
        self.assertIn("MAP_ALIGNMENT", obj["fuse_features"])
        obj = self.json("info", "--json", "--dax=never", "s")
        self.assertIs(obj["dax"], False)
        self.assertNotEqual(obj["dax_why_not"], "")

    def test_questions(self):
        self.assertEqual(self.oriel("info", "--can", "dax", "s").out, "")
        self.oriel("info", "--can=dax", "--dax=never", "s", status=1)
        self.oriel("info", "--can=write", "s")
        self.oriel("info", "--can=write", "--readonly", "s", status=1)
        self.oriel("info", "--can=map_alignment", "s")
        r = self.run_raw("info", "--can=dax", "/no/such")
        self.assertEqual(r.status, 2)


if __name__ == "__main__":
    clilib.main()
