#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""orield --mount against libfuse's passthrough_ll and bindfs.

    bench_mount.py MOUNT_OPS ORIELD [--rounds N] [--ms N] [--json FILE]

All serve a directory of their own on the same file system; mount_ops goes from
one to the next, and each round gives one ratio. Thrice: server and client on
one core, on two, and left to the scheduler. A ratio above 1: orield is faster.
passthrough_ll is compiled from libfuse3-dev's examples.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

EXAMPLE = "/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c"
PATIENCE = 30


def build_example(where):
    """libfuse's example as a program, or None."""
    if not os.path.exists(EXAMPLE):
        return None
    exe = os.path.join(where, "passthrough_ll")
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"],
                           stdout=subprocess.PIPE, text=True)
    if flags.returncode:
        return None
    r = subprocess.run(["cc", "-O2", "-w", "-o", exe, EXAMPLE,
                        *flags.stdout.split()])
    return exe if r.returncode == 0 else None


class Server:
    def __init__(self, name, base, command):
        self.name = name
        self.share = os.path.join(base, name + ".share")
        self.mnt = os.path.join(base, name + ".mnt")
        os.mkdir(self.share)
        os.mkdir(self.mnt)
        self.command = [w.replace("SHARE", self.share)
                        .replace("MNT", self.mnt) for w in command]
        self.proc = None

    def start(self, pin):
        self.proc = subprocess.Popen(pin + self.command,
                                     stderr=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE
        while not os.path.ismount(self.mnt):
            if self.proc.poll() is not None or time.monotonic() > end:
                raise SystemExit("%s does not mount" % self.name)
            time.sleep(0.02)

    def stop(self):
        if self.proc:
            subprocess.run(["umount", "-l", self.mnt])
            self.proc.terminate()
            self.proc.wait(PATIENCE)
            self.proc = None


def servers(base, orield):
    """Ours first."""
    ours = [orield, "--mount=MNT", "--shared-dir=SHARE", "--log-level=error"]
    # The others take no fcntl locks to their server: neither do these two.
    found = [Server("orield", base, ours + ["--no-posix-lock"]),
             Server("orield-plain", base, ours + ["--no-posix-lock",
                                                  "--passthrough=never"]),
             Server("with-locks", base, ours)]
    example = build_example(base)
    if example:
        found.append(Server("passthrough_ll", base,
                            [example, "-f", "-o", "source=SHARE,allow_other",
                             "-o", "default_permissions", "MNT"]))
    if shutil.which("bindfs"):
        found.append(Server("bindfs", base,
                            ["bindfs", "-f", "--multithreaded", "SHARE",
                             "MNT"]))
    return found


def measure(args, found, pin, client_pin):
    """{op: {server: [ns of each round]}}"""
    for s in found:
        s.start(pin)
    try:
        r = subprocess.run(client_pin + [args.mount_ops, str(args.rounds),
                                  str(args.ms)] + [s.mnt for s in found],
                           stdout=subprocess.PIPE, text=True, check=True)
    finally:
        for s in found:
            s.stop()
    result = {}
    for line in r.stdout.splitlines():
        name, index, ns = line.split("\t")
        op = name.split(" ", 1)[1]
        result.setdefault(op, {}).setdefault(
            found[int(index)].name, []).append(float(ns))
    return result


def ratio(theirs, ours):
    return statistics.median(t / o for t, o in zip(theirs, ours))


def table(title, result, names):
    print("\n%s: ns an operation (median); how much faster than it is orield,"
          " orield-plain (median of rounds)" % title)
    print("%-14s" % "" + "".join("%16s" % n for n in names) +
          "".join("%22s" % n for n in names[3:]))
    for op, by in result.items():
        row = "%-14s" % op
        for n in names:
            row += "%16.0f" % statistics.median(by[n])
        for n in names[3:]:
            row += "%22s" % ("%.2f %.2f" % (ratio(by[n], by["orield"]),
                                           ratio(by[n], by["orield-plain"])))
        print(row)


def save(path, out):
    """After each place: whoever ends us has what there is."""
    with open(path + ".new", "w") as f:
        json.dump(out, f, indent=1)
    os.rename(path + ".new", path)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("mount_ops")
    p.add_argument("orield")
    p.add_argument("--rounds", type=int, default=9)
    p.add_argument("--ms", type=int, default=40)
    p.add_argument("--json")
    p.add_argument("--dir", default=os.environ.get("ORIEL_BENCH_DIR",
                                                   "/var/tmp"))
    args = p.parse_args()
    out = {}
    one, two = ["taskset", "-c", "0"], ["taskset", "-c", "1"]
    places = [("same core", one, one), ("free", [], [])]
    if len(os.sched_getaffinity(0)) > 1:
        places.insert(1, ("other core", one, two))
    for title, pin, client_pin in places:
        base = tempfile.mkdtemp(prefix="oriel-bench-", dir=args.dir)
        try:
            found = servers(base, args.orield)
            out[title] = measure(args, found, pin, client_pin)
            table(title, out[title], [s.name for s in found])
        finally:
            shutil.rmtree(base, ignore_errors=True)
        if args.json:
            save(args.json, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
