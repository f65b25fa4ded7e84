#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""fsx through the mount: several at once, each on a file of its own.

    test_fsx.py FSX plain|passthrough

ORIEL_TEST_FSX_SECONDS makes it run that long, with new seeds.
"""

import os
import random
import subprocess
import sys

import mountlib

AT_ONCE = 3


def main():
    fsx, way = sys.argv[1:]
    seconds = int(os.environ.get("ORIEL_TEST_FSX_SECONDS", "0"))
    mountlib.private_mounts()
    mountlib.need_fuse()
    place = mountlib.Place()
    try:
        place.start("--passthrough=" +
                    ("auto" if way == "passthrough" else "never"))
        procs = []
        for n in range(AT_ONCE):
            seed = random.randrange(1 << 32) if seconds else n + 1
            length = ("--seconds=%d" % seconds) if seconds else "--ops=1500"
            procs.append(subprocess.Popen(
                [fsx, os.path.join(place.mnt, "f%d" % n), length,
                 "--seed=%d" % seed]))
        bad = [p.wait() for p in procs]
        # what was written is what is there
        for n in range(AT_ONCE):
            name = "f%d" % n
            with open(os.path.join(place.mnt, name), "rb") as above, \
                    open(os.path.join(place.share, name), "rb") as below:
                if above.read() != below.read():
                    print(name, "differs from below")
                    bad.append(1)
        status = place.stop()
        if any(bad) or status:
            print(place.logged())
            print("fsx:", bad, "the daemon's status:", status)
            return 1
        return 0
    finally:
        place.remove()


if __name__ == "__main__":
    sys.exit(main())
