#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""docs/design/fuse.md names each request that the server has an operation for,
by its right number, and each flag that INIT agrees to; and no others.

    check_fuse_page.py SOURCE
"""
import pathlib
import re
import sys


def served(session):
    """Names in the table of operations."""
    table = session[session.index('static const struct op ops[]'):]
    table = table[:table.index('\n};')]
    return {n.removeprefix('WIRE_')
            for n in re.findall(r'\[FUSE_([A-Z0-9_]+)\] = {', table)}


def flags_of(session):
    """Flags that are offered."""
    text = ''.join(re.findall(r'#define OFFERED\w*\s+(?:\\\n)?(?:.*\\\n)*.*\n',
                              session)) + \
        ' '.join(re.findall(r'offered \|= (.*?);', session, re.S))
    assert 'FUSE_INIT_EXT' in text
    return {n.removeprefix('WIRE_')
            for n in re.findall(r'FUSE_([A-Z0-9_]+)', text)}


def numbers():
    """{name: number} of the kernel's header and of what is newer."""
    found = {'STATX': 52, 'COPY_FILE_RANGE_64': 53}
    header = pathlib.Path('/usr/include/linux/fuse.h').read_text()
    found.update((n, int(v)) for n, v in
                 re.findall(r'^\tFUSE_([A-Z0-9_]+)\s*= (\d+),', header, re.M))
    return found


def main():
    top = pathlib.Path(sys.argv[1])
    session = (top / 'src/server/session.c').read_text()
    page = (top / 'docs/design/fuse.md').read_text()
    requests, flags = page.split('| INIT flag |')
    said, number, bad = {}, numbers(), []
    for line in requests.splitlines():
        cells = [c.strip() for c in line.split('|')]
        for n, name in re.findall(r'\b(\d+) ([A-Z][A-Z0-9_]+)',
                                  cells[1] if len(cells) > 3 else ''):
            said[name] = cells[2]
            if number.get(name) != int(n):
                bad.append(f'{name} is not {n} but {number.get(name)}')
    is_served = served(session)
    bad += [f'{n} is served, but the page has no "yes"'
            for n in sorted(is_served) if said.get(n) != 'yes']
    bad += [f'{n}: the page says yes, the server has no operation'
            for n in sorted(said) if said[n] == 'yes' and n not in is_served]
    yes = flags.split('| all others |')[0]
    named = set(re.findall(r'\b([A-Z][A-Z0-9_]{4,})\b', ''.join(
        line.split('|')[1] for line in yes.splitlines() if '|' in line)))
    offered = flags_of(session)
    bad += [f'INIT flag {n}: offered, not on the page'
            for n in sorted(offered - named)]
    bad += [f'INIT flag {n}: on the page, not offered'
            for n in sorted(named - offered)]
    print('\n'.join(bad) or f'{len(is_served)} requests, {len(offered)} flags')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
