#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The gate itself: that what takes a tenth more is told, on either side, and
what is within the limit is not; that --renew writes what it then agrees with.

    test_gate.py GATE PROGRAM BASELINE COMPILER OPTIMIZATION
"""
import json
import os
import subprocess
import sys
import tempfile

gate, program, _, compiler, optimization = sys.argv[1:]


def run(path, *options):
    done = subprocess.run([sys.executable, gate, *options, program, path,
                           compiler, optimization], stdout=subprocess.PIPE,
                          text=True)
    return done.returncode, done.stdout


def scaled(counts, factors):
    """As if it had been that much less when it was committed."""
    return {case: {side: n / factors.get((case, side), 1)
                   for side, n in of.items()} for case, of in counts.items()}


def main():
    with tempfile.TemporaryDirectory(prefix='oriel-gate-test-') as folder:
        path = os.path.join(folder, 'counts.json')
        code, text = run(path, '--renew')
        if code == 77:
            print(text, end='')
            return 77
        assert code == 0, text
        with open(path) as f:
            counts = json.load(f)[compiler]

        def verdict(factors):
            with open(path, 'w') as f:
                json.dump({compiler: scaled(counts, factors)}, f)
            return run(path)

        everything = {(c, s) for c in counts for s in ('client', 'daemon')}
        for factors, code in (({}, 0),
                              ({k: 1.04 for k in everything}, 0),
                              ({k: 0.90 for k in everything}, 0),
                              ({('read-64', 'client'): 1.10}, 1),
                              ({('stat', 'daemon'): 1.10}, 1),
                              ({('append-4k', 'client'): 1.10}, 1)):
            got, text = verdict(factors)
            assert got == code, f'{factors}: {got}\n{text}'
            named = [line.split()[0] for line in text.splitlines()
                     if line.endswith('MORE')]
            assert named == ([c for c, _ in factors] if code else []), text
        # A case that is new, or gone, is to be committed too.
        del counts['borrow']
        assert verdict({})[0] == 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
