# SPDX-License-Identifier: BSD-2-Clause
"""ls, cat, put, mv, rm, mkdir, touch, truncate, ln, readlink on a directory."""

import os
import stat

import clilib


class Ls(clilib.Case):
    def setUp(self):
        super().setUp()
        self.put("b", b"12345", 0o640)
        self.put("a", b"1" * 2000, 0o755)
        self.put(".hidden", b"")
        os.mkdir(self.path("d"))
        self.put("d/inner", b"x")
        os.symlink("b", self.path("l"))
        for name, t in (("a", 100), ("b", 300), ("d", 200)):
            os.utime(self.path(name), (t, t))
        os.utime(self.path("l"), (400, 400), follow_symlinks=False)

    def test_names(self):
        self.assertEqual(self.oriel("ls", "s").out, "a\nb\nd\nl\n")
        self.assertEqual(self.oriel("ls", "s:").out, "a\nb\nd\nl\n")
        self.assertEqual(self.oriel("ls", "s:d").out, "inner\n")
        self.assertEqual(self.oriel("ls", "-A", "s").out,
                         ".hidden\na\nb\nd\nl\n")
        self.assertEqual(self.oriel("ls", "-a", "s").out,
                         ".\n..\n.hidden\na\nb\nd\nl\n")
        self.assertEqual(self.oriel("ls", "-F", "s").out, "a*\nb\nd/\nl@\n")

    def test_orders(self):
        self.assertEqual(self.oriel("ls", "-t", "s").out, "l\nb\nd\na\n")
        self.assertEqual(self.oriel("ls", "-tr", "s").out, "a\nd\nb\nl\n")
        self.assertEqual(self.oriel("ls", "-r", "s").out, "l\nd\nb\na\n")
        files = [x for x in self.oriel("ls", "-S", "s").out.split()
                 if x in "ab"]
        self.assertEqual(files, ["a", "b"])

    def test_long(self):
        lines = self.oriel("ls", "-ln", "s").out.splitlines()
        self.assertRegex(lines[0], r"^total \d+$")
        uid, gid = os.getuid(), os.getgid()
        self.assertRegex(lines[1], rf"^-rwxr-xr-x +1 {uid} +{gid} +2000 "
                         r"Jan  1  1970 a$")
        self.assertRegex(lines[3], r"^drwx.* d$")
        self.assertRegex(lines[4], r"^lrwxrwxrwx .* l -> b$")
        self.assertIn(" 2.0K ", self.oriel("ls", "-lh", "s:a").out)

    def test_directory_itself_and_files(self):
        self.assertEqual(self.oriel("ls", "-d", "s:d").out, "s:d\n")
        self.assertEqual(self.oriel("ls", "s:a").out, "s:a\n")
        # A link to a directory is listed, unless -l shows the link.
        os.symlink("d", self.path("dl"))
        self.assertEqual(self.oriel("ls", "s:dl").out, "inner\n")
        self.assertRegex(self.oriel("ls", "-l", "s:dl").out, "^l.*-> d\n$")

    def test_recursive_and_several(self):
        self.assertEqual(self.oriel("ls", "-R", "s:").out,
                         "s:/:\na\nb\nd\nl\n\ns:/d:\ninner\n")
        self.assertEqual(self.oriel("ls", "s:d", ":d").out,
                         "s:d:\ninner\n\ns:d:\ninner\n")

    def test_columns_and_colour(self):
        out = self.oriel("ls", "-C", "s", env={"COLUMNS": "80"}).out
        self.assertEqual(out, "a  b  d  l\n")
        out = self.oriel("ls", "-C", "s", env={"COLUMNS": "5"}).out
        self.assertEqual(out, "a  d\nb  l\n")
        out = self.oriel("ls", "--color=always", "s").out
        self.assertIn("\033[1;34md\033[0m\n", out)
        self.assertNotIn("\033", self.oriel("ls", "s").out)

    def test_many_entries(self):
        os.mkdir(self.path("many"))
        names = sorted(f"file-{i:05d}" for i in range(3000))
        for n in names:
            os.close(os.open(self.path("many", n), os.O_CREAT))
        self.assertEqual(self.oriel("ls", "s:many").out.split(), names)
        out = self.oriel("ls", "-l", "s:many").out.splitlines()
        self.assertEqual(len(out), 3001)


class Content(clilib.Case):
    def test_cat(self):
        data = os.urandom(3_000_001)
        self.put("f", data)
        self.put("g", b"tail")
        self.put("empty", b"")
        self.assertEqual(self.oriel("cat", "s:f", ":empty", ":g").raw,
                         data + b"tail")
        for mode in ("never", "always", "auto"):
            self.assertEqual(
                self.oriel("cat", f"--dax={mode}", "s:f").raw, data)

    def test_put(self):
        data = os.urandom(2_500_000)
        self.oriel("put", "s:f", stdin=data)
        self.assertEqual(self.get("f"), data)
        self.oriel("put", "-a", "s:f", stdin=b"more")
        self.assertEqual(self.get("f"), data + b"more")
        self.oriel("put", "s:f", stdin=b"short")
        self.assertEqual(self.get("f"), b"short")
        self.oriel("put", "-n", "s:f", stdin=b"x", status=1,
                   err="oriel: put: s:f: File exists\n")
        self.assertEqual(self.get("f"), b"short")

    def test_cat_goes_on_after_a_failure(self):
        self.put("g", b"rest")
        r = self.oriel("cat", "s:nothing", ":g", status=1, err="oriel: cat: "
                       "s:nothing: No such file or directory\n")
        self.assertEqual(r.out, "rest")


class Names(clilib.Case):
    def test_mv(self):
        self.put("a", b"A")
        self.put("b", b"B")
        os.mkdir(self.path("d"))
        self.oriel("mv", "s:a", "s:c")
        self.assertEqual(self.get("c"), b"A")
        self.assertFalse(os.path.exists(self.path("a")))
        self.assertEqual(self.oriel("mv", "-v", "s:c", ":b", ":d").out,
                         "renamed s:c -> s:d/c\n"
                         "renamed :b -> s:d/b\n")
        self.assertEqual(self.get("d/b"), b"B")
        self.oriel("mv", "--exchange", "s:d/b", ":d/c")
        self.assertEqual(self.get("d/b"), b"A")
        self.oriel("mv", "-n", "s:d/b", ":d/c")
        self.assertEqual((self.get("d/b"), self.get("d/c")), (b"A", b"B"))
        self.oriel("mv", "-nf", "s:d/b", ":d/c")
        self.assertEqual(self.get("d/c"), b"A")

    def test_mv_failures(self):
        self.put("a", b"A")
        self.put("b", b"B")
        os.mkdir(os.path.join(self.dir, "t"))
        self.oriel("mv", "s:nothing", "s:x", status=1, err="oriel: mv: "
                   "s:nothing: No such file or directory\n")
        self.oriel("mv", "s:a", "s:b", "s:no", status=1, err="oriel: mv: "
                   "s:no: No such file or directory\n")
        self.oriel("mv", "s:a", "t:a", status=2, err="oriel: mv: 's:a' and "
                   "'t:a' are in different shares: use 'cp' and 'rm'\n"
                   "Try 'oriel mv --help'.\n")
        self.assertEqual(self.get("a"), b"A")

    def test_rm(self):
        self.put("a")
        os.makedirs(self.path("d/e/f"))
        self.put("d/e/x")
        os.symlink("../a", self.path("d/l"))
        self.put("keep")
        os.symlink("../keep", self.path("d/k"))
        self.oriel("rm", "s:d", status=1,
                   err="oriel: rm: s:d: Is a directory\n")
        self.assertIn("removed s:d/e/x\n",
                      self.oriel("rm", "-rv", "s:d", ":a").out)
        self.assertEqual(os.listdir(self.share), ["keep"])
        self.oriel("rm", "s:no", status=1,
                   err="oriel: rm: s:no: No such file or directory\n")
        self.oriel("rm", "-f", "s:no")
        for root in ("s:", "s:/", "s:.", "s"):
            self.oriel("rm", "-rf", root, status=1, err=f"oriel: rm: {root}: "
                       "the root of a share is not removed\n")
        self.assertEqual(os.listdir(self.share), ["keep"])
        os.mkdir(self.path("e"))
        self.oriel("rm", "-d", "s:e")
        self.assertEqual(os.listdir(self.share), ["keep"])

    def test_mkdir(self):
        old = os.umask(0o022)
        self.addCleanup(os.umask, old)
        self.oriel("mkdir", "s:d")
        self.assertEqual(stat.S_IMODE(os.stat(self.path("d")).st_mode), 0o755)
        self.oriel("mkdir", "-m", "2701", "s:m")
        self.assertEqual(stat.S_IMODE(os.stat(self.path("m")).st_mode), 0o2701)
        self.oriel("mkdir", "s:d", status=1,
                   err="oriel: mkdir: s:d: File exists\n")
        self.oriel("mkdir", "-p", "s:d", "s:/x/y//z/")
        self.assertTrue(os.path.isdir(self.path("x/y/z")))
        self.oriel("mkdir", "s:p/q", status=1,
                   err="oriel: mkdir: s:p/q: No such file or directory\n")
        self.put("f")
        self.oriel("mkdir", "-p", "s:f/g", status=1,
                   err="oriel: mkdir: s:f/g: File exists\n")

    def test_touch(self):
        self.oriel("touch", "s:t")
        self.assertEqual(self.get("t"), b"")
        self.oriel("touch", "-c", "s:no")
        self.assertFalse(os.path.exists(self.path("no")))
        self.oriel("touch", "-d", "2026-02-03 04:05:06", "s:t")
        st = os.stat(self.path("t"))
        self.assertEqual((st.st_mtime, st.st_atime), (1770091506, 1770091506))
        self.oriel("touch", "-m", "-d", "@77.25", "s:t")
        st = os.stat(self.path("t"))
        self.assertEqual((st.st_mtime, st.st_atime), (77.25, 1770091506))
        self.oriel("touch", "s:t")
        self.assertGreater(os.stat(self.path("t")).st_mtime, 1770091506)

    def test_truncate(self):
        self.put("t", b"0123456789")
        for size, want in (("4", 4), ("+2K", 2052), ("-52", 2000),
                           ("%4K", 4096), (">1", 4096), ("<1", 1), ("0", 0)):
            self.oriel("truncate", "-s", size, "s:t")
            self.assertEqual(os.stat(self.path("t")).st_size, want, size)
        self.oriel("truncate", "-cs", "5", "s:no")
        self.assertFalse(os.path.exists(self.path("no")))
        self.oriel("truncate", "-s", "1M", "s:new")
        self.assertEqual(self.get("new"), bytes(1 << 20))

    def test_links(self):
        self.put("a", b"A")
        self.oriel("ln", "s:a", ":h")
        self.assertTrue(os.path.samefile(self.path("a"), self.path("h")))
        self.oriel("ln", "-s", "over/there", "s:l")
        self.assertEqual(os.readlink(self.path("l")), "over/there")
        self.assertEqual(self.oriel("readlink", "s:l").out, "over/there\n")
        self.assertEqual(self.oriel("readlink", "-n", "s:l").out,
                         "over/there")
        self.oriel("ln", "-s", "x", "s:l", status=1,
                   err="oriel: ln: s:l: File exists\n")
        self.oriel("ln", "-sf", "x", "s:l")
        self.assertEqual(os.readlink(self.path("l")), "x")
        self.oriel("readlink", "s:a", status=1,
                   err="oriel: readlink: s:a: Invalid argument\n")


if __name__ == "__main__":
    clilib.main()
