#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""One daemon with many clients, many shares, many inodes, large windows.

    bench_scale.py CROWD [--json=FILE] [--dir=DIR] [--quick]

CROWD is oriel-crowd: clients that are processes, told what to do. The report
has curves: what is on either axis and, for each series, points (x, y).
"""
import argparse
import json
import os
import platform
import sys
import time

import rig

WINDOWS_GIB = [1, 4, 16, 64]


class Curve:
    """@x, @y: (what, unit); logarithmic axes unless told."""

    def __init__(self, name, title, x, y, note='', log=('x', 'y')):
        self.json = {'curve': name, 'title': title, 'note': note,
                     'x': {'label': x[0], 'unit': x[1], 'log': 'x' in log},
                     'y': {'label': y[0], 'unit': y[1], 'log': 'y' in log},
                     'series': []}

    def point(self, series, x, y):
        for s in self.json['series']:
            if s['name'] == series:
                break
        else:
            s = {'name': series, 'points': []}
            self.json['series'].append(s)
        s['points'].append([x, round(y, 4)])


def memory_kib():
    """What the whole machine has left, kernel memory included."""
    return rig.fields(rig.proc('', 'meminfo'))['MemAvailable']


def check(answer):
    if answer['failed']:
        sys.exit(f"bench_scale: {answer['failed']} clients: {answer['error']}")
    return answer


def per(many, before, n):
    return {k: (many[k] - before[k]) / n for k in many}


# ------------------------------------------------------------- clients

def client_curves():
    clients = ('clients', '')
    return {
        'memory': Curve('client-memory', 'Memory of an idle client', clients,
                        ('memory per client', 'KiB'),
                        'PSS and page tables; whole machine: what is no longer '
                        'available, the kernel\'s own and the clients\' '
                        'processes included'),
        'things': Curve('client-things', 'What the daemon has for a client',
                        clients, ('per client', '')),
        'idle': Curve('client-idle', 'Processor time of idle clients', clients,
                      ('all together', '% of one processor'), log='x'),
        'connect': Curve('client-connect', 'All connect at once, and read',
                         clients, ('per client', 'us')),
        'rate': Curve('client-rate', 'Operations of all clients together',
                      clients, ('operations', '1/s')),
        'fair': Curve('client-fairness', 'How evenly they are shared', clients,
                      ('Jain index', ''), '1: all the same; native: the same '
                      'number of processes with fstatat(2)', log='x'),
        'least': Curve('client-least', 'The client that got least', clients,
                       ('its part of an equal share', ''), log='x'),
        'pause': Curve('client-pause', 'The longest any client waited',
                       clients, ('one operation', 'ms')),
    }


def measure_idle(daemon, crowd, n, curves, seconds):
    def now():
        return rig.cpu_s(daemon.pid), sum(rig.cpu_s(p) for p in crowd.pids)

    time.sleep(0.3)
    before = now()
    time.sleep(seconds)
    for name, a, b in zip(('daemon', 'clients'), before, now()):
        curves['idle'].point(name, n, 100 * (b - a) / seconds)


def measure_work(crowd, n, curves, ms):
    for op in ('hit', 'stat', 'native'):
        a = check(crowd.ask(f'run {op} {n} {ms} 1'))
        ops = a['ops']
        curves['rate'].point(op, n, sum(ops) / (a['ns'] / 1e9))
        curves['fair'].point(op, n, rig.jain(ops))
        curves['least'].point(op, n, min(ops) * n / max(1, sum(ops)))
        curves['pause'].point(op, n, max(a['longest_ns']) / 1e6)


def clients(o, n, curves):
    daemon = rig.Daemon(parent=o.dir)
    crowd = rig.Crowd(o.crowd, n, daemon.sockets,
                      NATIVE=daemon.shares[0] + '/data')
    try:
        machine = memory_kib()
        before = rig.takes(daemon.pid)
        a = check(crowd.ask('connect'))
        curves['connect'].point('all at once', n, a['ns'] / 1e3 / n)
        each = per(rig.takes(daemon.pid), before, n)
        own = rig.takes(crowd.pids[-1])
        m = curves['memory']
        m.point('daemon', n, each['pss_kib'])
        m.point('daemon, page tables', n, each['page_tables_kib'])
        m.point('client', n, own['pss_kib'])
        m.point('client, page tables', n, own['page_tables_kib'])
        m.point('whole machine', n, (machine - memory_kib()) / n)
        for thing in ('threads', 'descriptors', 'mappings'):
            curves['things'].point(thing, n, each[thing])
        measure_idle(daemon, crowd, n, curves, 1 if o.quick else 2)
        measure_work(crowd, n, curves, o.ms * (4 if n >= 1000 else 1))
    finally:
        crowd.end()
        daemon.end()


def greedy(o, curve):
    """One client has many threads; the others one each."""
    daemon = rig.Daemon(parent=o.dir)
    crowd = rig.Crowd(o.crowd, 10, daemon.sockets)
    try:
        check(crowd.ask('connect'))
        for threads in (1, 4, 16, 64):
            ops = check(crowd.ask(f'run stat 10 {o.ms} {threads}'))['ops']
            fair = sum(ops) / 10
            curve.point('the greedy one', threads, ops[0] / fair)
            curve.point('the others, mean', threads, sum(ops[1:]) / 9 / fair)
            curve.point('the others, least', threads, min(ops[1:]) / fair)
    finally:
        crowd.end()
        daemon.end()


# -------------------------------------------------------------- shares

def shares(o, n, curves):
    """@n shares in one daemon, each with a client."""
    daemon = rig.Daemon(parent=o.dir, shares=n)
    crowd = rig.Crowd(o.crowd, n, daemon.sockets)
    try:
        before = rig.takes(daemon.pid)
        curves['memory'].point('daemon, no clients', n,
                               before['pss_kib'] / n)
        check(crowd.ask('connect'))
        after = rig.takes(daemon.pid)
        curves['memory'].point('daemon, a client each', n,
                               after['pss_kib'] / n)
        a = check(crowd.ask(f'run stat {n} {o.ms} 1'))
        curves['rate'].point('stat', n, sum(a['ops']) / (a['ns'] / 1e9))
        curves['fair'].point('stat', n, rig.jain(a['ops']))
    finally:
        crowd.end()
        daemon.end()


# -------------------------------------------------------------- inodes

def make_files(n):
    def dress(share):
        for i in range(n):
            if i % 1000 == 0:
                os.mkdir(f'{share}/{i // 1000:03}')
            os.mknod(f'{share}/{i // 1000:03}/{i % 1000:03}')
    return dress


def inodes(o, n, curves):
    """One client looks at @n files and remembers all of them."""
    handles = os.geteuid() == 0
    daemon = rig.Daemon(*(['--inode-file-handles=prefer'] if handles else []),
                        parent=o.dir, dress=make_files(n))
    crowd = rig.Crowd(o.crowd, 1, daemon.sockets, INODES=n + 10000)
    try:
        check(crowd.ask('connect'))
        before = rig.takes(daemon.pid), rig.takes(crowd.pids[0])
        a = crowd.ask(f'do walk {n}')
        if a['failed'] and not handles:
            return
        check(a)
        for name, b, pid in zip(('daemon', 'client'), before,
                                (daemon.pid, crowd.pids[0])):
            each = per(rig.takes(pid), b, n)
            curves['memory'].point(name, n, each['pss_kib'] * 1024)
            curves['things'].point(name, n, each['descriptors'] * n)
        curves['time'].point('first look', n, a['ns'] / n)
        a = check(crowd.ask(f'do walk {n}'))
        curves['time'].point('again', n, a['ns'] / n)
    finally:
        crowd.end()
        daemon.end()


# ------------------------------------------------------------- windows

def windows(o, gib, curves):
    """What a window costs that is there and not used."""
    daemon = rig.Daemon(f'--window={gib}G', parent=o.dir)
    crowd = rig.Crowd(o.crowd, 2, daemon.sockets, WINDOW=gib << 10)
    try:
        empty = rig.takes(crowd.pids[1])
        a = check(crowd.ask('connect'))
        own = per(rig.takes(crowd.pids[1]), empty, 1)
        curves['attach'].point('connect and read', gib, min(a['each_ns']) / 1e3)
        m = curves['memory']
        m.point('client, memory', gib, own['pss_kib'])
        m.point('client, page tables', gib, own['page_tables_kib'])
        m.point('daemon, memory', gib, rig.takes(daemon.pid)['pss_kib'])
        curves['space'].point('client', gib, own['address_space_kib'] / 2**20)
    finally:
        crowd.end()
        daemon.end()


def filled(o, ranges, curves):
    """A window of 64 GiB with @ranges of 2 MiB mapped, a page of each used."""
    def dress(share):
        with open(share + '/large', 'wb') as f:
            f.truncate(ranges << 21)

    daemon = rig.Daemon('--window=64G', parent=o.dir, dress=dress)
    crowd = rig.Crowd(o.crowd, 1, daemon.sockets, WINDOW=64 << 10)
    try:
        check(crowd.ask('connect'))
        before = rig.takes(crowd.pids[0])
        a = check(crowd.ask(f'do touch {ranges}'))
        each = per(rig.takes(crowd.pids[0]), before, ranges)
        curves['each'].point('page tables', ranges,
                             each['page_tables_kib'] * 1024)
        curves['each'].point('memory', ranges, each['pss_kib'] * 1024)
        curves['fill'].point('map and read', ranges, a['ns'] / 1e3 / ranges)
    finally:
        crowd.end()
        daemon.end()


# ---------------------------------------------------------------- all

def run(o):
    groups = []

    def group(curves):
        groups.extend(curves.values())
        return curves

    c = group(client_curves())
    for n in [1, 10, 100] + ([] if o.quick else [1000]):
        o.say(f'{n} clients')
        clients(o, n, c)
    c = group({'g': Curve('greedy', 'One client of ten with many threads',
                          ('its threads', ''), ('part of an equal share', ''),
                          log='x')})
    o.say('a greedy client')
    greedy(o, c['g'])
    x = ('shares, a client each', '')
    c = group({
        'memory': Curve('share-memory', 'Memory of a share', x,
                        ('daemon, per share', 'KiB')),
        'rate': Curve('share-rate', 'Operations over all shares', x,
                      ('stat', '1/s')),
        'fair': Curve('share-fairness', 'How evenly they are shared', x,
                      ('Jain index', ''), log='x')})
    for n in (1, 8, 64):
        o.say(f'{n} shares')
        shares(o, n, c)
    x = ('inodes the client remembers', '')
    c = group({
        'memory': Curve('inode-memory', 'Memory of an inode', x,
                        ('per inode', 'bytes'), 'remembered by file handle'),
        'things': Curve('inode-descriptors', 'Descriptors for inodes', x,
                        ('more than with none', '')),
        'time': Curve('inode-time', 'A stat of one more', x,
                      ('each', 'ns'))})
    for n in [1000, 10_000, 100_000] + ([] if o.quick else [1_000_000]):
        o.say(f'{n} inodes')
        inodes(o, n, c)
    x = ('window', 'GiB')
    c = group({
        'attach': Curve('window-attach', 'Time to connect', x,
                        ('and read the first bytes', 'us')),
        'memory': Curve('window-memory', 'Memory of a window not used', x,
                        ('more than with no session', 'KiB')),
        'space': Curve('window-space', 'Address space reserved', x,
                       ('of the client', 'GiB'))})
    for gib in WINDOWS_GIB:
        o.say(f'{gib} GiB window')
        windows(o, gib, c)
    x = ('ranges of 2 MiB mapped', '')
    c = group({
        'each': Curve('window-range', 'What a mapped range costs', x,
                      ('client, per range', 'bytes'),
                      'one page of each range was read: the file is sparse'),
        'fill': Curve('window-fill', 'Mapping one more range', x,
                      ('each', 'us'))})
    for n in [64, 512, 4096] + ([] if o.quick else [32768 - 64]):
        o.say(f'{n} ranges')
        filled(o, n, c)
    return [g.json for g in groups]


def print_curves(curves):
    for c in curves:
        print(f"{c['title']}: {c['y']['label']} {c['y']['unit']}")
        for s in c['series']:
            points = ', '.join(f'{x:g}: {y:g}' for x, y in s['points'])
            print(f"    {s['name']:22} {points}")


def main():
    p = argparse.ArgumentParser()
    p.add_argument('crowd')
    p.add_argument('--json', help='where the report goes')
    p.add_argument('--dir', default=os.environ.get('ORIEL_BENCH_DIR',
                                                   '/dev/shm'))
    p.add_argument('--quick', action='store_true')
    o = p.parse_args()
    o.ms = 500 if o.quick else 2000
    begin = time.monotonic()

    def say(what):
        print(f'{time.monotonic() - begin:6.1f} s  {what}', file=sys.stderr,
              flush=True)

    o.say = say
    report = {'schema_version': 1, 'kernel': platform.release(),
              'cpus': len(os.sched_getaffinity(0)),
              'load': round(os.getloadavg()[0], 2), 'quick': o.quick,
              'slice_ms': o.ms, 'curves': run(o)}
    report['seconds'] = round(time.monotonic() - begin, 1)
    print_curves(report['curves'])
    if o.json:
        with open(o.json, 'w') as f:
            json.dump(report, f, indent=1)
    return 0


if __name__ == '__main__':
    sys.exit(main())
