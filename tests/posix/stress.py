#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The file system class of stress-ng through the mount, one after another.

    stress.py [plain|passthrough] [SECONDS EACH]

Each stressor must end by itself: 0, or 2..4 for "not here" and the like, and
the daemon must still serve and end well. Not part of the suite: minutes.
"""

import os
import resource
import shutil
import subprocess
import sys

import mountlib

# They want a device, a whole file system or another kernel's interface.
NOT_OURS = {"binderfs", "bind-mount", "ramfs", "loop", "quota", "procfs",
            "sysfs", "mq", "fanotify", "inotify", "mount", "umount",
            "cachehammer"}
MEANS_NOT_HERE = (3, 4)
# 16384 directories at once; each known one is a descriptor of the daemon's.
MANY_FILES = {"chdir"}
MANY_FILES_LIMIT = 65536


def stressors():
    r = subprocess.run(["stress-ng", "--class", "filesystem?"],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True)
    found = [w for w in r.stdout.split(":", 1)[1].split()
             if w not in NOT_OURS]
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit < MANY_FILES_LIMIT:
        print("left out, %d open files are too few: %s" %
              (limit, " ".join(sorted(MANY_FILES))))
        found = [w for w in found if w not in MANY_FILES]
    return found


def main():
    way = sys.argv[1] if len(sys.argv) > 1 else "passthrough"
    seconds = sys.argv[2] if len(sys.argv) > 2 else "2"
    if shutil.which("stress-ng") is None:
        print("no stress-ng")
        return 77
    mountlib.private_mounts()
    mountlib.need_fuse()
    place = mountlib.Place()
    bad = []
    try:
        place.start("--passthrough=" +
                    ("auto" if way == "passthrough" else "never"))
        for name in stressors():
            r = subprocess.run(
                ["stress-ng", "--" + name, "2", "--timeout", seconds + "s",
                 "--temp-path", place.mnt, "--verify"],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                cwd=place.mnt)
            word = "ok" if r.returncode == 0 else \
                "not here" if r.returncode in MEANS_NOT_HERE else "FAIL"
            print("%-14s %s" % (name, word), flush=True)
            if word == "FAIL":
                print(r.stdout)
                bad.append(name)
            if place.proc.poll() is not None:
                print(place.logged())
                print("the daemon ended with", place.proc.returncode)
                return 1
        with open(os.path.join(place.mnt, "after"), "w") as f:
            f.write("x")
        if place.stop():
            bad.append("the daemon's end")
        print("failed:", ", ".join(bad) if bad else "none")
        return 1 if bad else 0
    finally:
        place.remove()


if __name__ == "__main__":
    sys.exit(main())
