#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""orield --mount with fewer descriptors than files: no name vanishes, and what
is refused for want of one can be had when there is one again."""

import errno
import os
import sys
import unittest

import mountlib

COUNT = 600
NOFILE = "--rlimit-nofile=400"  # a third of it is for others


def error_of(call, *args):
    """Its errno, or 0."""
    try:
        call(*args)
    except OSError as e:
        return e.errno
    return 0


def right(file_handles):
    """Can it be had here?"""
    place = mountlib.Place()
    try:
        place.start("--inode-file-handles=" + file_handles)
        return True
    except AssertionError as e:
        if "--inode-file-handles" not in str(e):
            raise
        print("not here:", e)
        return False
    finally:
        place.remove()


class Limits(unittest.TestCase):
    def start(self, *options):
        self.place = mountlib.Place()
        self.addCleanup(self.place.remove)
        self.names = ["file%03d" % i for i in range(COUNT)]
        for name in self.names:
            with open(os.path.join(self.place.share, name), "w") as f:
                f.write(name)
        self.place.start(NOFILE, *options)
        # Kept, because opening it takes a descriptor, too.
        self.dir = os.open(self.place.mnt, os.O_RDONLY)
        self.addCleanup(os.close, self.dir)

    def path(self, name):
        return os.path.join(self.place.mnt, name)

    def listed(self):
        """All of them, each once, with READDIRPLUS and by READDIR: the kernel
        asks for attributes again after somebody has used them."""
        for _ in range(3):
            self.assertEqual(sorted(os.listdir(self.dir)), self.names)
            error_of(os.stat, self.path(self.names[-1]))

    def test_descriptors(self):
        self.start("--inode-file-handles=never")
        # From the end: what comes first, and is asked for by READDIRPLUS for
        # certain, is what there are no descriptors for.
        order = os.listdir(self.place.share)[::-1]
        errors = {n: error_of(os.stat, self.path(n)) for n in order}
        self.assertEqual(set(errors.values()), {0, errno.EMFILE})
        known = [n for n in self.names if not errors[n]]
        refused = [n for n in self.names if errors[n]]
        self.assertGreater(len(known), 100)
        self.listed()
        # Not for ever: a removed file's descriptor is another's, as soon as
        # the kernel has forgotten the file.
        for name in known:
            os.unlink(self.path(name))
        for name in refused[:50]:
            mountlib.wait_for(
                name, lambda n=name: not error_of(os.stat, self.path(n)))
            with open(self.path(name)) as f:
                self.assertEqual(f.read(), name)
        self.names = refused
        self.listed()

    def test_file_handles(self):
        if not right("mandatory"):
            self.skipTest("no file handles")
        self.start("--inode-file-handles=mandatory")
        self.listed()
        for name in self.names:
            with open(self.path(name)) as f:
                self.assertEqual(f.read(), name)
        self.listed()
        fds = len(os.listdir("/proc/%d/fd" % self.place.proc.pid))
        self.assertLess(fds, 400)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    mountlib.private_mounts()
    mountlib.need_fuse()
    unittest.main(verbosity=2)
