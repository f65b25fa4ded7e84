#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What liboriel exports is what the header declares and the map lists.

    check_exports.py LIBRARY MAP HEADER
"""
import re
import subprocess
import sys


def exported(library):
    out = subprocess.run(['nm', '-D', '--defined-only', library], check=True,
                         capture_output=True, text=True).stdout
    names = set()
    for line in out.splitlines():
        _, kind, name = line.rsplit(None, 2)
        if kind != 'A':  # the version node itself
            names.add(name.split('@')[0])
    return names


def mapped(path):
    with open(path) as f:
        text = re.sub(r'/\*.*?\*/', '', f.read(), flags=re.S)
    names = set()
    for block in re.findall(r'\{(.*?)\}', text, re.S):
        public = re.split(r'\blocal\s*:', block)[0]
        names |= set(re.findall(r'\b(\w+)\s*;', public))
    return names


def declared(path):
    with open(path) as f:
        text = re.sub(r'/\*.*?\*/', '', f.read(), flags=re.S)
    text = re.sub(r'^\s*#.*(\\\n.*)*', '', text, flags=re.M)
    return set(re.findall(r'\bORIEL_API\b[^;]*?\b(\w+)\s*\(', text))


def main():
    library, map_path, header = sys.argv[1:]
    sets = {'the library': exported(library), 'the map': mapped(map_path),
            'the header': declared(header)}
    everything = set().union(*sets.values())
    bad = 0
    for where, names in sets.items():
        for name in sorted(everything - names):
            print(f'{name} is not in {where}')
            bad += 1
    for name in sorted(everything):
        if not name.startswith('oriel_'):
            print(f'{name} does not start with oriel_')
            bad += 1
    if len(everything) < 10:
        print('hardly any symbol found: is this check broken?')
        bad += 1
    print(f'{len(everything)} symbols, {bad} differences')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
