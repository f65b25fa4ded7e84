# SPDX-License-Identifier: BSD-2-Clause
"""Names that are odd: not UTF-8, control characters, long, on a terminal."""

import json
import os
import pty
import subprocess

import clilib

LATIN = b"caf\xe9"
STEER = b"red\x1b[31m"
LINE = b"two\nlines"


class OddNames(clilib.Case):
    def setUp(self):
        super().setUp()
        for name in (LATIN, STEER, LINE, b"plain", "gr\u00fc\u00df".encode()):
            with open(os.path.join(os.fsencode(self.share), name), "wb") as f:
                f.write(name)

    def test_bytes_are_kept_when_not_on_a_terminal(self):
        out = self.oriel("ls", "s").raw
        for name in (LATIN, STEER, LINE):
            self.assertIn(name + b"\n", out)

    def test_json_is_valid_and_loses_nothing(self):
        r = self.oriel("ls", "--json", "s")
        obj = json.loads(r.raw.decode("utf-8"))
        self.assertEqual(obj["schema_version"], 1)
        names = set()
        for e in obj["entries"]:
            if "name_hex" in e:
                names.add(bytes.fromhex(e["name_hex"]))
                self.assertIn("\ufffd", e["name"])
            else:
                names.add(e["name"].encode())
        self.assertEqual(names, set(os.listdir(os.fsencode(self.share))))

    def test_stat_json(self):
        r = self.oriel("stat", "--json", b"s:" + LATIN)
        obj = json.loads(r.raw.decode("utf-8"))
        self.assertEqual(bytes.fromhex(obj["path_hex"]), LATIN)

    def test_they_can_be_used(self):
        for name in (LATIN, STEER, LINE):
            self.assertEqual(self.oriel("cat", b"s:" + name).raw, name)
        self.oriel("cp", "-r", "s:", "copy")
        self.assertEqual(
            sorted(os.listdir(os.fsencode(self.dir) + b"/copy")),
            sorted(os.listdir(os.fsencode(self.share))))
        self.oriel("rm", b"s:" + LATIN, b":" + STEER, b":" + LINE)
        self.assertEqual(len(os.listdir(self.share)), 2)

    def test_quoted_on_a_terminal(self):
        master, slave = pty.openpty()
        p = subprocess.Popen([clilib.ORIEL, "ls", "-1", "--color=never", "s"],
                             cwd=self.dir, stdout=slave, stdin=slave,
                             env=dict(os.environ, LC_ALL="C.UTF-8"))
        os.close(slave)
        out = b""
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:
                break
            if not part:
                break
            out += part
        os.close(master)
        self.assertEqual(p.wait(timeout=60), 0)
        lines = out.replace(b"\r\n", b"\n").decode().splitlines()
        self.assertIn("$'caf\\351'", lines)
        self.assertIn("$'red\\e[31m'", lines)
        self.assertIn("$'two\\nlines'", lines)
        self.assertIn("plain", lines)
        self.assertIn("gr\u00fc\u00df", lines)

    def test_names_of_255_and_of_300_bytes(self):
        longest = "n" * 255
        self.oriel("touch", f"s:{longest}")
        self.assertIn(longest, os.listdir(self.share))
        for cmd in ("cat", "ls", "stat", "rm", "touch", "mkdir", "readlink"):
            self.oriel(cmd, "s:" + "n" * 300, status=1, err=f"oriel: {cmd}: "
                       f"s:{'n' * 300}: File name too long\n")


if __name__ == "__main__":
    clilib.main()
