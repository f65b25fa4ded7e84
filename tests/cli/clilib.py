# SPDX-License-Identifier: BSD-2-Clause
"""What the tests of the command line share: a directory as share, and oriel."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD = os.environ.get("ORIEL_BUILD", "")
ORIEL = os.environ.get("ORIEL") or os.path.join(BUILD, "bin", "oriel")


class Result:
    def __init__(self, proc):
        self.status = proc.returncode
        self.raw = proc.stdout or b""
        self.out = self.raw.decode("utf-8", "surrogateescape")
        self.err = proc.stderr.decode("utf-8", "surrogateescape")


class Case(unittest.TestCase):
    """A temporary directory self.dir with the share self.share in it; oriel
    runs in self.dir, so that the share is called 's'."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="oriel-cli-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.share = os.path.join(self.dir, "s")
        os.mkdir(self.share)

    def run_raw(self, *args, stdin=b"", env=None, **kwargs):
        full = dict(os.environ, LC_ALL="C.UTF-8", TZ="UTC")
        full.update(env or {})
        kwargs.setdefault("stdout", subprocess.PIPE)
        return Result(subprocess.run(
            [ORIEL, *args], input=stdin, stderr=subprocess.PIPE, cwd=self.dir,
            env=full, timeout=120, **kwargs))

    def oriel(self, *args, status=0, err="", **kwargs):
        """Run and check the status and what is on stderr, exactly."""
        r = self.run_raw(*args, **kwargs)
        self.assertEqual((r.status, r.err), (status, err), repr(r.out[:300]))
        return r

    def path(self, *names):
        return os.path.join(self.share, *names)

    def put(self, name, data=b"", mode=None):
        with open(self.path(name), "wb") as f:
            f.write(data)
        if mode is not None:
            os.chmod(self.path(name), mode)

    def get(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()


def main():
    if not os.access(ORIEL, os.X_OK):
        print("no oriel to test: set ORIEL_BUILD")
        sys.exit(77)
    unittest.main()
