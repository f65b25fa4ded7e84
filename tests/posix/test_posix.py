#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""posix_ops on an ordinary directory, and on the same through a mount.

    test_posix.py POSIX_OPS native|plain|passthrough [CASE]...

Natively every case has to pass or say what the file system lacks; through the
mount, what passed natively has to pass, but for EXCEPT.
"""

import subprocess
import sys

import mountlib

# What the kernel's own FUSE does not pass on, whoever serves it.
EXCEPT = {
    "plain": {"collapse": "space-collapse-insert"},
    # With passthrough the kernel writes as a user without CAP_FSETID (the safe
    # side), on a file of its own that keeps the flags of open(2).
    "passthrough": {"collapse": "space-collapse-insert",
                    "append-off": "open-append-off",
                    "root-keeps-suid": "perm-root-keeps-suid"},
}


def run(ops, directory, *args):
    """{case: "ok", "skip" or "FAIL"}, and all that was said."""
    r = subprocess.run([ops, directory, *args], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True)
    if r.returncode not in (0, 1):
        raise SystemExit(r.stdout)
    verdicts = {}
    for line in r.stdout.splitlines():
        word, _, name = line.partition(" ")
        if word in ("ok", "skip", "FAIL"):
            verdicts[name.split(":")[0]] = word
    return verdicts, r.stdout


def main():
    ops, way, *cases = sys.argv[1:]
    mountlib.private_mounts()
    if way != "native":
        mountlib.need_fuse()
    place = mountlib.Place()
    try:
        native, said = run(ops, place.share, *cases)
        bad = [n for n, v in native.items() if v == "FAIL"]
        if way != "native" and not bad:
            place.start("--passthrough=" +
                        ("auto" if way == "passthrough" else "never"))
            options = ["--without=" + w for w in EXCEPT[way]]
            mounted, said = run(ops, place.mnt, *options, *cases)
            bad = [n for n, v in native.items()
                   if v == "ok" and mounted.get(n) != "ok"
                   and n not in EXCEPT[way].values()]
            status = place.stop()
            said += place.logged()
            if status:
                bad.append("the daemon's status %s" % status)
        if bad:
            print(said)
            print("failed:", ", ".join(bad))
            return 1
        print("%d cases" % len(native))
        return 0
    finally:
        place.remove()


if __name__ == "__main__":
    sys.exit(main())
