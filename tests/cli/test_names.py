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

    def on_a_terminal(self, *args, **env):
        master, slave = pty.openpty()
        full = dict(os.environ, LC_ALL="C.UTF-8", TERM="xterm")
        full.pop("NO_COLOR", None)
        full.update(env)
        p = subprocess.Popen([clilib.ORIEL, *args], cwd=self.dir,
                             stdout=slave, stdin=slave, env=full)
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
        return out.replace(b"\r\n", b"\n").decode().splitlines()

    def test_colour_on_a_terminal_unless_not_wanted(self):
        os.mkdir(self.path("dir"))
        blue = "\033[1;34mdir\033[0m"
        self.assertIn(blue, self.on_a_terminal("ls", "-1", "s"))
        self.assertIn("dir", self.on_a_terminal("ls", "-1", "s",
                                                NO_COLOR="1"))
        self.assertIn("dir", self.on_a_terminal("ls", "-1", "s", TERM="dumb"))
        self.assertIn(blue, self.on_a_terminal("ls", "-1", "--color=always",
                                               "s", NO_COLOR="1"))

    def test_listings_never_steer_the_terminal(self):
        os.symlink(STEER, os.path.join(os.fsencode(self.share), b"link"))
        for args in (("ls", "s"), ("ls", "-l", "s"), ("ls", "-R", "s"),
                     ("stat", "s:link"), ("readlink", "s:link"),
                     ("cp", "-rvq", "s:", "copy"), ("info", "s"),
                     ("rm", "-rv", b"s:" + STEER)):
            out = "\n".join(self.on_a_terminal(*args, NO_COLOR="1"))
            self.assertNotIn("\033", out, args)

    def test_quoted_on_a_terminal(self):
        lines = self.on_a_terminal("ls", "-1", "--color=never", "s")
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
