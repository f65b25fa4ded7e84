# SPDX-License-Identifier: BSD-2-Clause
"""Help, version, usage errors: words and exit statuses."""

import subprocess

import clilib

COMMANDS = ["ls", "cat", "cp", "put", "mv", "rm", "mkdir", "ln", "readlink",
            "stat", "df", "touch", "truncate", "info", "bench", "serve",
            "watch"]


class Usage(clilib.Case):
    def test_no_word_is_a_usage_error_with_the_list(self):
        r = self.run_raw()
        self.assertEqual(r.status, 2)
        self.assertEqual(r.out, "")
        for cmd in COMMANDS:
            self.assertIn(f"\n  {cmd} ", r.err)

    def test_help_is_data(self):
        top = self.oriel("--help").out
        self.assertEqual(top, self.oriel("help").out)
        for cmd in COMMANDS:
            text = self.oriel(cmd, "--help").out
            self.assertIn(f"Usage: oriel {cmd} ", text)
            self.assertIn("Examples:\n  ", text)
            self.assertIn("      --help", text)
            self.assertEqual(text, self.oriel("help", cmd).out)
            for line in text.splitlines():
                self.assertLessEqual(len(line), 100, line)

    def test_help_wins_over_wrong_words(self):
        self.oriel("ls", "--nonsense", "--help")

    def test_version(self):
        self.assertRegex(self.oriel("--version").out,
                         r"^oriel \d+\.\d+\.\d+ \(library \d+\.\d+\.\d+\)\n$")

    def test_unknown_words(self):
        self.oriel("sl", status=2, err="oriel: unknown subcommand 'sl'; did "
                   "you mean 'ls'?\nTry 'oriel --help'.\n")
        self.oriel("frobnicate", status=2, err="oriel: unknown subcommand "
                   "'frobnicate'\nTry 'oriel --help'.\n")
        self.oriel("help", "trunkate", status=2, err="oriel: unknown "
                   "subcommand 'trunkate'; did you mean 'truncate'?\n"
                   "Try 'oriel --help'.\n")
        self.oriel("--frob", status=2, err="oriel: unknown option '--frob'\n"
                   "Try 'oriel --help'.\n")
        self.oriel("ls", "--jsom", "s", status=2, err="oriel: ls: unknown "
                   "option '--jsom'; did you mean '--json'?\n"
                   "Try 'oriel ls --help'.\n")
        self.oriel("cat", "-Z", status=2, err="oriel: cat: unknown option "
                   "'-Z'\nTry 'oriel cat --help'.\n")

    def test_operand_counts(self):
        for cmd in COMMANDS:
            if cmd == "serve":
                continue
            text = f"missing operand\nTry 'oriel {cmd} --help'.\n"
            self.oriel(cmd, status=2, err=f"oriel: {cmd}: {text}")
        self.oriel("mv", "s:a", status=2, err="oriel: mv: missing operand "
                   "after 's:a'\nTry 'oriel mv --help'.\n")
        self.oriel("info", "s", "t", status=2, err="oriel: info: extra "
                   "operand 't'\nTry 'oriel info --help'.\n")
        self.oriel("serve", "s", status=2, err="oriel: serve: missing "
                   "operand: DIR and SOCKET\nTry 'oriel serve --help'.\n")

    def test_wrong_values(self):
        for args, text in [
            (("ls", "--timeout=x", "s"),
             "ls: --timeout: 'x' is not a number of seconds"),
            (("ls", "--dax=perhaps", "s"),
             "ls: --dax: 'perhaps' is none of auto|never|always"),
            (("mkdir", "-m", "9", "s:d"),
             "mkdir: --mode: '9' is not an octal mode"),
            (("truncate", "s:f"), "truncate: -s SIZE is needed"),
            (("truncate", "-s", "1Q", "s:f"), "truncate: --size: '1Q' is not "
             "a size (4096, 64K, +1M, %4K)"),
            (("touch", "-d", "soon", "s:f"),
             "touch: --date: 'soon' is not a time"),
            (("info", "--can=fly", "s"), "info: --can: 'fly' is neither "
             "'dax', 'map', 'write' nor a FUSE feature"),
            (("cp", "a", "b"), "cp: no operand is in a share (SHARE:PATH): "
             "'a'"),
            (("cat", ":x"), "cat: ':x' names no share and none came before "
             "it"),
            (("cp", "--progress=x", "s:a", "b"),
             "cp: --progress: 'x' is not a descriptor"),
            (("mv", "--exchange", "s:a", "s:b", "s:c"),
             "mv: --exchange takes two names"),
        ]:
            self.oriel(*args, status=2,
                       err=f"oriel: {text}\nTry 'oriel {args[0]} --help'.\n")

    def test_two_dashes_end_the_options(self):
        self.put("-l", b"dash")
        self.put("x", b"x")
        self.oriel("cp", "--", "local:-nothing", "s:y", status=1,
                   err="oriel: cp: -nothing: No such file or directory\n")
        self.assertEqual(self.oriel("cat", "--", "s:-l").out, "dash")

    def test_options_after_operands(self):
        self.put("a", b"")
        self.assertEqual(self.oriel("ls", "s", "-1").out, "a\n")


class Output(clilib.Case):
    def test_full_output_device(self):
        self.put("f", b"x" * 100000)
        with open("/dev/full", "wb") as full:
            for args in (("ls", "s"), ("cat", "s:f"), ("--help",),
                         ("stat", "--json", "s:f")):
                r = self.run_raw(*args, stdout=full)
                self.assertEqual(r.status, 1, args)
                self.assertIn("write error: No space left on device", r.err)

    def test_closed_output(self):
        self.put("f", b"x")
        r = subprocess.run(["sh", "-c", '"$0" ls s >&-', clilib.ORIEL],
                           cwd=self.dir, stderr=subprocess.PIPE)
        self.assertEqual(r.returncode, 1)
        self.assertEqual(r.stderr,
                         b"oriel: ls: write error: Bad file descriptor\n")

    def test_reader_that_goes_away_is_quiet(self):
        self.put("f", b"x" * (8 << 20))
        p = subprocess.Popen([clilib.ORIEL, "cat", "s:f"], cwd=self.dir,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        p.stdout.read(10)
        p.stdout.close()
        err = p.stderr.read()
        p.stderr.close()
        self.assertEqual((p.wait(timeout=60), err), (1, b""))

    def test_verbose_puts_the_log_on_stderr_only(self):
        self.put("f", b"x")
        r = self.run_raw("ls", "-vv", "s")
        self.assertEqual((r.status, r.out), (0, "f\n"))
        for line in r.err.splitlines():
            self.assertRegex(line, r"^oriel: (error|warn|info|debug): ")


if __name__ == "__main__":
    clilib.main()
