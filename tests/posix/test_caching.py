#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""posix_ops and fsx through a mount under each way of caching.

    test_caching.py POSIX_OPS FSX WAY [CASE]...

The kernel is the client here, so this is what --cache, --writeback and
--allow-mmap do to programs. What passes on the directory itself must pass,
but for EXCEPT.
"""

import os
import subprocess
import sys

import mountlib
from test_posix import run

COLLAPSE = "space-collapse-insert"
WAYS = {
    "writeback": ["--writeback"],
    "always-writeback": ["--cache=always", "--writeback"],
    "metadata": ["--cache=metadata", "--allow-mmap"],
    "never": ["--cache=never", "--allow-mmap", "--allow-direct-io"],
}
# While the kernel holds back what was written, nobody knows where it will lie,
# what holes remain, or whether it is too far: the first to hear of that is who
# syncs.
LATER = {"stat-fields", "space-punch", "space-seek-hole", "data-far",
         "data-sync"}
EXCEPT = {"writeback": LATER, "always-writeback": LATER, "metadata": set(),
          "never": set()}


def fsx_at(fsx, place):
    """Random operations; then above and below are the same. Complaints."""
    above = os.path.join(place.mnt, "fsx")
    status = subprocess.run([fsx, above, "--ops=1500", "--seed=7"],
                            check=False).returncode
    bad = ["fsx ended with %d" % status] if status else []
    with open(above, "rb") as f:
        os.fsync(f.fileno())
        data = f.read()
    with open(os.path.join(place.share, "fsx"), "rb") as f:
        if f.read() != data:
            bad.append("fsx's file differs from below")
    return bad


def main():
    ops, fsx, way, *cases = sys.argv[1:]
    mountlib.private_mounts()
    mountlib.need_fuse()
    place = mountlib.Place()
    try:
        native, said = run(ops, place.share, *cases)
        place.start("--passthrough=never", *WAYS[way])
        mounted, said = run(ops, place.mnt, "--without=collapse", *cases)
        bad = [n for n, v in native.items()
               if v == "ok" and mounted.get(n) != "ok" and n != COLLAPSE
               and n not in EXCEPT[way]]
        if not cases:
            bad += fsx_at(fsx, place)
        status = place.stop()
        if status:
            bad.append("the daemon's status %s" % status)
        if bad:
            print(said + place.logged())
            print("failed:", ", ".join(bad))
            return 1
        print("%d cases" % len(native))
        return 0
    finally:
        place.remove()


if __name__ == "__main__":
    sys.exit(main())
