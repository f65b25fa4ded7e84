#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Reads and overwrites in a Linux guest: orield with DAX, orield without, and
the C virtiofsd of Debian 12. One emulated guest for each, up at the same time
and asked in turn; only ratios count.

    bench_guest.py [OUT.json]
"""
import itertools
import json
import os
import shutil
import statistics
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '../../tests/guest'))
import scenarios  # noqa: E402


FILE_BYTES = 32 << 20
SHARED_BYTES = 64 << 20
ROUNDS = 3
OPS = {4096: 2048, 1 << 20: 32}


def memory_of(pids):
    """Bytes that are these processes' own: no page of a shared file."""
    total = 0
    for pid in pids:
        with open(f'/proc/{pid}/status') as f:
            total += sum(int(l.split()[1]) << 10 for l in f
                         if l.startswith(('RssAnon', 'RssShmem')))
    return total


def cached(guest):
    """Bytes of the guest's page cache."""
    said = guest.run("grep '^Cached' /proc/meminfo")
    return int(said[-1].split()[1]) << 10


class Side:
    """One of the contestants."""

    def __init__(self, name, work, machine, options, kind):
        self.place = scenarios.Place(work)
        self.name = name
        try:
            for file, size in (('file', FILE_BYTES), ('big', SHARED_BYTES)):
                with open(f'{self.place.share}/{file}', 'wb') as f:
                    f.write(os.urandom(size))
            if machine == 'dax':
                self.place.serve_dax()
            else:
                self.place.serve(kind=kind)
            self.guest = self.place.boot(machine)
            self.guest.mount(options)
        except BaseException:
            self.place.clean()
            raise

    def measure(self, job, block):
        """Nanoseconds an operation, with no page of the file in the guest."""
        self.guest.run('echo 3 >/proc/sys/vm/drop_caches')
        said = self.guest.run(f'guest_ops bench file {" ".join(job[:2])} '
                              f'{block} {job[2]} {OPS[block]}')
        return int(said[-1].split()[1]) / OPS[block]


def run_jobs(sides):
    rows = []
    jobs = itertools.product(('read', 'write'), ('seq', 'rand'),
                             ('psync', 'mmap'), OPS)
    for *job, block in jobs:
        taken = {s.name: [] for s in sides}
        for _ in range(ROUNDS):
            for side in sides:
                taken[side.name].append(side.measure(job, block))
        ns = {name: statistics.median(t) for name, t in taken.items()}
        rows.append({'job': ' '.join(job), 'block': block, 'ns': ns})
        print(f'{" ".join(job):18}{block:9}' + ''.join(
            f'{ns[s.name] / 1000:14.1f}' for s in sides) +
            ''.join(f'{ns[s.name] / ns["dax"]:9.1f}x' for s in sides[1:]),
            flush=True)
    return rows


def page_cache(side):
    """What reading a file once adds to the guest's page cache."""
    side.guest.run('echo 3 >/proc/sys/vm/drop_caches')
    before = cached(side.guest)
    side.guest.run('cat big | wc -c')
    return max(0, cached(side.guest) - before)


def three_guests(side, machine, options):
    """What the host pays when two more guests read a file of SHARED_BYTES."""
    more = [side.place.boot(machine) for _ in range(2)]
    guests = [side.guest] + more
    for guest in more:
        guest.mount(options)
    side.guest.run('echo 3 >/proc/sys/vm/drop_caches')
    pids = [g.process.pid for g in guests]
    before = memory_of(pids)
    for guest in guests:
        guest.run('cat big | wc -c')
    grown = memory_of(pids) - before
    for guest in more:
        guest.close()
    return max(0, grown)


def main():
    base = tempfile.mkdtemp(prefix='oriel-bench-guest-',
                            dir=os.environ.get('ORIEL_BUILD'))
    os.chmod(base, 0o755)
    sides = []
    setups = (('dax', 'dax', 'dax=always', 'orield'),
              ('no dax', 'plain', '', 'orield'),
              ('virtiofsd', 'plain', '', 'qemu'))
    try:
        for i, (name, machine, options, kind) in enumerate(setups):
            work = f'{base}/{i}'
            os.mkdir(work)
            sides.append(Side(name, work, machine, options, kind))
        print(f'{"us an operation":27}' +
              ''.join(f'{s.name:>14}' for s in sides) +
              ''.join(f'{"/dax":>10}' for s in sides[1:]))
        result = {'rows': run_jobs(sides), 'page_cache': {}, 'three': {}}
        for side in sides:
            result['page_cache'][side.name] = page_cache(side)
        for side, setup in zip(sides[:2], setups):
            result['three'][side.name] = three_guests(side, setup[1], setup[2])
        print(f'guest page cache after reading {SHARED_BYTES >> 20} MiB:',
              {k: f'{v >> 20} MiB' for k, v in result['page_cache'].items()})
        print(f'host memory for three guests reading {SHARED_BYTES >> 20} MiB:',
              {k: f'{v >> 20} MiB' for k, v in result['three'].items()})
        if len(sys.argv) > 1:
            with open(sys.argv[1], 'w') as f:
                json.dump(result, f, indent=1)
    finally:
        for side in sides:
            side.place.clean()
        shutil.rmtree(base, ignore_errors=True)


if __name__ == '__main__':
    main()
