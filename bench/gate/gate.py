#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Instructions an operation takes, against those that are committed.

    gate.py [--renew] [--json] PROGRAM BASELINE COMPILER OPTIMIZATION

PROGRAM is oriel-bench-gate, which runs client and daemon in turns, so that the
counts are the same each time, on a busy machine too. BASELINE has the counts
of each compiler (instructions.json here). A case that takes 5 % more than its
baseline, on either side, is a failure: either the change is to be reconsidered,
or it is worth it, and then

    meson test -C build gate-instructions      says the command for
    bench/gate/gate.py --renew ...             which writes what is now

belongs into the same commit, whose message says why. Exits with 77 where there
is nothing to compare with: no valgrind, another compiler or other optimization.

Not counted: what copies and compares memory and strings (other code on each
processor), the kernel, and what makes the two take turns.
"""
import argparse
import collections
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

LIMIT = 0.05
# Functions of the C library that are chosen by processor.
BY_PROCESSOR = re.compile(r'^_*(mem|str|stp|wcs|wmem)[a-z]*(_|$)')
# Files, by the last part of their name, whose functions are not counted.
NOT_OURS = {'turns.c', 'gate.c'}

VALGRIND = ['valgrind', '--tool=callgrind', '--separate-threads=yes',
            '--compress-strings=no', '--compress-pos=no',
            '--dump-before=turns_mark_client',
            '--dump-before=turns_mark_daemon']


def count(path):
    """Instructions in one dump, of the functions that count."""
    total, counted, inclusive, source = 0, False, False, ''
    with open(path, errors='replace') as f:
        for line in f:
            if line.startswith('fl='):
                source = os.path.basename(line[3:].strip())
            elif line.startswith('fn='):
                counted = source not in NOT_OURS and \
                    not BY_PROCESSOR.match(line[3:].strip())
            elif line.startswith('calls='):
                inclusive = True  # the next line is the callee's cost
            elif line[:1].isdigit():
                if counted and not inclusive:
                    total += int(line.split()[1])
                inclusive = False
    return total


def sides(folder, stretch):
    """(client, daemon) of the stretch, counted from 1: they write what they
    have done one after the other."""
    parts = []
    for part in (2 * stretch - 1, 2 * stretch):
        dumps = glob.glob(f'{folder}/out.{part}-*')
        if len(dumps) != 1:
            sys.exit(f'gate: {len(dumps)} files for part {part}')
        parts.append(count(dumps[0]))
    return tuple(parts)


def run(program, folder):
    """[(case, operations)], one for each stretch."""
    share = os.path.join(folder, 'share')
    os.mkdir(share)
    done = subprocess.run(
        VALGRIND + [f'--callgrind-out-file={folder}/out', program, share],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f'{done.stderr}gate: {program} ended with {done.returncode}')
    return [line.split() for line in done.stdout.splitlines()]


def measure(program):
    """{case: {'client': instructions an operation, 'daemon': ...}}"""
    parent = os.environ.get('ORIEL_BENCH_DIR', '/dev/shm')
    found = collections.defaultdict(list)
    with tempfile.TemporaryDirectory(prefix='oriel-gate-', dir=parent) as d:
        for stretch, (case, n) in enumerate(run(program, d), 1):
            if case != '-':
                found[case].append((int(n), sides(d, stretch)))
    result = {}
    for case, ((n, few), (n2, many)) in found.items():
        client, daemon = ((b - a) / (n2 - n) for a, b in zip(few, many))
        result[case] = {'client': round(client, 1), 'daemon': round(daemon, 1)}
    if not result:
        sys.exit('gate: nothing was measured')
    return result


def compare(baseline, now):
    """Prints the table. The cases that fail, and whether any got better."""
    failed, better = [], False
    print(f'{"case":<20}{"side":<8}{"baseline":>10}{"now":>10}{"":>9}')
    for case in sorted(set(baseline) | set(now), key=list(now).index
                       if set(baseline) <= set(now) else None):
        for side in ('client', 'daemon'):
            was = baseline.get(case, {}).get(side)
            is_ = now.get(case, {}).get(side)
            if was is None or is_ is None:
                print(f'{case:<20}{side:<8}{was or "-":>10}{is_ or "-":>10}'
                      '   not in both')
                failed.append(case)
                continue
            if not was and not is_:
                continue
            change = (is_ - was) / was if was else float('inf')
            word = ''
            if change >= LIMIT:
                failed.append(case)
                word = '   MORE'
            elif change <= -LIMIT:
                better, word = True, '   less'
            print(f'{case:<20}{side:<8}{was:>10.1f}{is_:>10.1f}'
                  f'{change:>+8.1%}{word}')
    return failed, better


def read_all(path):
    try:
        with open(path) as f:
            return json.load(f)
    except FileNotFoundError:
        return {}


def renew(path, compiler, now):
    everything = read_all(path)
    everything[compiler] = now
    with open(path, 'w') as f:
        json.dump(everything, f, indent=1)
        f.write('\n')
    print(f'{path}: written for {compiler}; commit it with the change that '
          'made it so, and say why')


def why_skip(args):
    if not shutil.which('valgrind'):
        return 'no valgrind (scripts/deps test installs it)'
    if args.optimization != '2':
        return f'this build has -O{args.optimization}; the counts are for -O2'
    if not (args.renew or args.json) and \
            args.compiler not in read_all(args.baseline):
        return f'no counts for {args.compiler} in {args.baseline}'
    return None


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--renew', action='store_true')
    p.add_argument('--json', action='store_true')
    p.add_argument('program')
    p.add_argument('baseline')
    p.add_argument('compiler')
    p.add_argument('optimization')
    args = p.parse_args()
    reason = why_skip(args)
    if reason:
        print(f'gate: {reason}')
        return 77
    now = measure(args.program)
    if args.json:
        print(json.dumps(now, indent=1))
        return 0
    if args.renew:
        renew(args.baseline, args.compiler, now)
        return 0
    failed, better = compare(read_all(args.baseline)[args.compiler], now)
    again = f'{sys.argv[0]} --renew {" ".join(sys.argv[1:])}'
    if failed:
        print(f'\n{", ".join(dict.fromkeys(failed))}: 5 % or more above what '
              f'is committed. If it is worth it:\n{again}')
        return 1
    if better:
        print(f'\nBetter than what is committed; hold on to it:\n{again}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
