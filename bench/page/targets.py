# SPDX-License-Identifier: BSD-2-Clause
"""What is aimed at, and how near a measurement came.

A line has items: one number each, with its target. What is missing is "not
measured"; a shortfall is explained by what was measured beside it. Targets are
mostly multiples of the system call's speed. They were set on a machine whose
system calls take what THERE says: a message that costs the same on both is a
smaller multiple where system calls are cheaper, so that is said.
"""
import statistics

KIB, MIB = 1 << 10, 1 << 20
# ns of the system call where the targets were set
THERE = {'stat': 1100, 'open-close': 2500, 'open-read-close': 5000,
         'read-file': 5000,
         'readdir': 200, 'readdir-stat': 1300, 'append-4k': 3200,
         'append-4k-gathered': 3200, 'read-64': 470}
CALLS = [('stat', 'fstatat'), ('open-close', 'openat and close'),
         ('append-4k', 'pwrite of 4 KiB at the end')]

def size(n):
    return f'{n // MIB} MiB' if n >= MIB else f'{n // KIB} KiB'


def time(ns):
    for unit, scale in (('ns', 1), ('us', 1e3), ('ms', 1e6), ('s', 1e9)):
        if abs(ns) < 999.5 * scale or unit == 's':
            return f'{ns / scale:.3g} {unit}'
    return ''


class Facts:
    """One file of measurements, to be asked."""

    def __init__(self, every):
        self.steps = every['steps']
        self.rows = []
        for name in ('suite', 'xfs'):
            self.rows += (self.data(name) or {}).get('results', [])

    def data(self, step):
        return self.steps.get(step, {}).get('data')

    def case(self, name, fs=None, folios=None, set_bytes=None, off=None):
        """{contestant: row}, {} if it was not measured"""
        want = {'case': name, 'fs': fs, 'folios': folios,
                'set_bytes': set_bytes, 'buffer_offset': off}
        out = {}
        for r in self.rows:
            if all(v is None or r.get(k) == v for k, v in want.items()):
                out.setdefault(r['contestant'], r)
        return out

    def fuse(self):
        """{op: {server: (ns, place)}}, each server where it is best"""
        out = {}
        for place, ops in (self.data('fuse') or {}).items():
            for op, servers in ops.items():
                for server, rounds in servers.items():
                    ns = statistics.median(rounds)
                    at = out.setdefault(op, {})
                    if server not in at or ns < at[server][0]:
                        at[server] = ns, place
        return out

    def sweep(self, pattern, ratio):
        for r in (self.data('sweep') or {}).get('results', []):
            if r['pattern'] == pattern and r['set_over_window'] == ratio:
                return r
        return None


PEERS = ('orield-plain', 'passthrough_ll', 'bindfs')


def speed(x):
    return f'{x:.0f}x' if x >= 99.5 else f'{x:.2g}x' if x >= 10 else f'{x:.2f}x'


def item(label, target, stretch, got, why='', unit='x', up=True):
    """One number and how it compares."""
    def reached(aim):
        return aim is not None and (got >= aim if up else got <= aim)
    verdict = ('not measured' if got is None else
               'stretch' if reached(stretch) else
               'met' if reached(target) else 'short')
    return {'label': label, 'target': target, 'stretch': stretch, 'got': got,
            'unit': unit, 'up': up, 'verdict': verdict,
            'why': why if verdict == 'short' else ''}


def why_short(name, ways, target):
    """A sentence out of what ran in the same rounds."""
    ours = ways['oriel']
    native = next((w for n, w in ways.items() if n != 'oriel'), ours)
    copy = ways.get('memcpy')
    if copy:
        if copy['speed'] < target:
            return (f"past what memory allows: a bare memcpy is "
                    f"{speed(copy['speed'])}, ours takes "
                    f"{time(max(ours['over_third_ns'], 0))} more")
        return (f"a bare memcpy takes {time(copy['ns_per_op'])}, ours "
                f"{time(ours['over_third_ns'])} more, the call "
                f"{time(native['ns_per_op'])}")
    text = (f"ours {time(ours['ns_per_op'])}, "
            f"the call {time(native['ns_per_op'])}")
    if name in THERE:
        allowed = THERE[name] / target
        text += f" here, {time(THERE[name])} where the target was set"
        if ours['ns_per_op'] <= allowed:
            text += f' (which allowed {time(allowed)})'
    daemon = ours['daemon_cpu_us'] * 1e3
    if daemon > 50:
        text += f"; of ours {time(daemon)} is the daemon's processor time"
    return text


def of_native(f, label, target, stretch, name, **where):
    """How often as fast as the system call."""
    ways = f.case(name, **where)
    if 'oriel' not in ways:
        return item(label, target, stretch, None)
    return item(label, target, stretch, ways['oriel']['speed'],
                why_short(name, ways, target))


def sets(f, name, aims, off=0, fs='ext4'):
    """A case over working sets; aims: (set, target, stretch)"""
    return [of_native(f, f'{fs} {size(n)}' if fs != 'ext4' else size(n),
                      target, stretch, name, fs=fs, set_bytes=n, off=off,
                      folios=None) for n, target, stretch in aims]


K256, M16, M512 = 256 * KIB, 16 * MIB, 512 * MIB


def window_lines(f):
    write = sets(f, 'overwrite-4k', [(K256, 10, 13), (M512, 7, 8.5)])
    write += sets(f, 'overwrite-4k', [(M512, 3, None)], fs='xfs')
    write += sets(f, 'overwrite-4k', [(M512, 2, None)], fs='tmpfs')
    over = []
    for n in (K256, M16, M512):
        ours = f.case('read-4k', fs='ext4', set_bytes=n, off=0).get('oriel')
        over.append(item(size(n), 20, 10, ours and ours['over_third_ns'],
                         ours and f"a hit takes {time(ours['ns_per_op'])}",
                         'ns', False))
    lend = f.case('borrow-4k', fs='ext4')
    ns = lend['oriel']['ns_per_op'] if lend else None
    return [
        ('4 KiB random read', sets(f, 'read-4k', [
            (K256, 7, 8.5), (M16, 4, 5), (M512, 2, 2.3)])),
        ('the same, buffer 16 B off a page', sets(f, 'read-4k', [
            (K256, 4.5, None), (M16, 3, None), (M512, 1.8, None)], 16)),
        ('64 B random read', sets(f, 'read-64', [
            (K256, 18, 30), (M16, 12, 20), (M512, 10, 15)])),
        ('4 KiB read, time over a bare memcpy', over),
        ('pointer borrowed and returned, no copy', [
            item('', 25, 12, ns, lend and 'mmap and munmap take ' + time(
                lend['mmap, munmap']['ns_per_op']), 'ns', False)]),
        ('1 MiB sequential read', sets(f, 'read-1m-seq', [
            (M16, 1.25, 1.4), (M512, 1.25, 1.4)])),
        ('the same, buffer 16 B off a page', sets(f, 'read-1m-seq', [
            (M16, 2.2, 2.6), (M512, 2.2, 2.6)], 16)),
        ('4 KiB overwrite', write)]


def two_threads(f):
    ways = f.case('two-threads-4k', fs='ext4')
    if not ways:
        return [item('', 1.9, 1.95, None)]
    native = f.case('two-threads-pread', fs='ext4').get('pread')
    bare, one = ways['memcpy'], ways['memcpy, one thread']
    why = (f"bare memcpy {speed(one['ns_per_op'] / bare['ns_per_op'])}" +
           (f", pread {speed(native['speed'])}" if native else ''))
    return [item('', 1.9, 1.95, ways['oriel']['speed'], why)]


def touch_lines(f):
    first = []
    for folios, target, stretch in (('2 MiB', 10, 7), ('small', 20, 15)):
        ways = f.case('first-touch-4k', fs='ext4', folios=folios)
        first.append(item(folios + ' folios', target, stretch,
                          ways['oriel']['ns_per_op'] / 1e3 if ways else None,
                          ways and 'mmap and a copy without a daemon take ' +
                          time(ways['mmap+memcpy']['ns_per_op']), 'us', False))

    def beside(label, target, stretch, name, folios):
        """Against pread, and explained by a mapping without a library."""
        ways = f.case(name, fs='ext4', folios=folios)
        if not ways:
            return item(label, target, stretch, None)
        ours, native, own = (ways[k]['ns_per_op'] for k in (
            'oriel', 'pread', 'mmap+memcpy'))
        return item(label, target, stretch, ways['oriel']['speed'],
                    f'ours {time(ours)}, pread {time(native)}, mmap and a '
                    f'copy without a daemon {time(own)}')
    write = f.case('first-write-2m', fs='ext4', folios='small')
    own = write and write['mmap, stores']['ns_per_op']
    ns = write and write['oriel']['ns_per_op']
    why = write and f'a mapping without a library takes {time(own)}'
    return [
        ('first 4 KiB of a range not mapped yet', first),
        ('first 2 MiB of a range not mapped yet', [
            beside('2 MiB folios', .95, 1.05, 'first-touch-2m', '2 MiB'),
            beside('small folios', .8, None, 'first-touch-2m', 'small')]),
        ('page cache empty', [
            beside('4 KiB', .8, 1.1, 'cold-4k', '2 MiB'),
            beside('2 MiB', 1, 1.1, 'cold-2m', '2 MiB')]),
        ('2 MiB written over pages mapped by reads, copies included', [
            item('a range', 200, 110, ns / 1e3 if write else None, why, 'us',
                 False),
            item('of own mmap', 10, None, own / ns if write else None, why)])]


PATTERN_WORDS = {'random': 'uniform', 'zipf': 'zipf, scattered',
                 'zipf-near': 'zipf, adjacent', 'sequential': 'sequential',
                 'scan+hot': 'scan and hot set', 'overwrite': 'overwritten'}


def sweep_lines(f):
    native, off = [], []
    for pattern, words in PATTERN_WORDS.items():
        r = f.sweep(pattern, 4)
        why = r and (f"{words}: with window {time(r['oriel_ns'])}, off "
                     f"{time(r['off_ns'])}, system call "
                     f"{time(r['native_ns'])}")
        native.append(item(words, .85, .92, r and r['vs_native'], why))
        off.append(item(words, .95, None, r and r['vs_off'], why))
    return [('set 4 times the window', native),
            ('the same, of the same build with no window', off)]


def message_lines(f):
    def n(label, target, stretch, name, fs='ext4'):
        return of_native(f, label, target, stretch, name, fs=fs)
    idle = f.case('after-idle', fs='ext4')
    wake = idle and 1 / idle['oriel']['speed']
    return [
        ('two threads, 4 KiB reads, of one', two_threads(f)),
        ('stat', [n('asked each time', .85, 1, 'stat'),
                  n('believed for a second', 4, 8, 'stat-ttl'),
                  n('of four names', .85, 1, 'stat-deep')]),
        ('open and close', [n('', .75, None, 'open-close')]),
        ('open, read 16 KiB, close', [
            n('three calls', .75, .9, 'open-read-close'),
            n('one call', .75, .9, 'read-file')]),
        ('readdir, a name', [n('names', .8, 1, 'readdir'),
                             n('with stat', .8, 1, 'readdir-stat')]),
        ('4 KiB append', [n('ext4', .85, .95, 'append-4k'),
                          n('tmpfs', .7, None, 'append-4k', 'tmpfs')]),
        ('appends gathered to 64 KiB', [
            n('4 KiB', 2.5, 3.5, 'append-4k-gathered'),
            n('64 B', 2.5, 3.5, 'append-64-gathered')]),
        ('first request after 5 ms idle, of an eventfd\'s way there and back',
         [item('', 1.2, None, wake or None, idle and
               f"ours {time(idle['oriel']['ns_per_op'])}, the eventfds " +
               time(next(w['ns_per_op'] for n, w in idle.items()
                         if n != 'oriel')), 'x', False)]),
        ('processor time, idle', idle_items(f))]


def idle_items(f):
    """% of one processor: what the scale step saw of one idle client."""
    out = []
    for c in (f.data('scale') or {}).get('curves', []):
        if c['curve'] == 'client-idle':
            for s in c['series']:
                out.append(item(s['name'], 0, None, s['points'][0][1],
                                'the share of one processor', '%', False))
    return out or [item('', 0, None, None)]


# op of mount_ops, case of ours, its set, words, target
AGAINST = [('read 4k rand', 'read-4k', M16, '4 KiB read', 20),
           ('write 4k', 'overwrite-4k', M16, '4 KiB overwrite', 20),
           ('read 1m', 'read-1m-seq', M16, '1 MiB read', 4),
           ('stat', 'stat', None, 'stat', 40),
           ('open+close', 'open-close', None, 'open and close', 8)]


def fuse_lines(f):
    """Each server in the place where it is best, the best of them."""
    plain, passed = [], []
    fuse = f.fuse()
    for op, name, n, words, target in AGAINST:
        ours = f.case(name, fs='ext4', set_bytes=n, off=0 if n else
                      None).get('oriel')
        by = {k: v for k, v in fuse.get(op, {}).items() if k in PEERS}
        best = min(by, key=lambda k: by[k][0]) if by else None
        got = by[best][0] / ours['ns_per_op'] if best and ours else None
        plain.append(item(words, target, None, got, got and
                          f"{words}: {best} takes {time(by[best][0])} "
                          f"({by[best][1]}), ours {time(ours['ns_per_op'])}"))
        if op == 'write 4k':
            direct = fuse.get(op, {}).get('orield')
            passed.append(item('4 KiB overwrite', 25, None, direct[0] /
                               ours['ns_per_op'] if direct and ours else None,
                               direct and f'passthrough takes '
                               f'{time(direct[0])} ({direct[1]})'))
    return [('against FUSE, the best of three servers', plain),
            ('against FUSE with passthrough', passed)]


def lines(f):
    """[(what, [item])], every line of the table"""
    return (window_lines(f) + touch_lines(f) + sweep_lines(f) +
            message_lines(f) + fuse_lines(f))


def calls(f):
    """[(call, ns here, ns where the targets were set)]"""
    out = []
    for name, words in CALLS:
        ways = f.case(name, fs='ext4')
        native = next((w for n, w in ways.items() if n != 'oriel'), None)
        if native:
            out.append((words, native['ns_per_op'], THERE[name]))
    native = f.case('read-64', fs='ext4', set_bytes=K256, off=0).get('pread')
    if native:
        out.append(('pread of 64 B', native['ns_per_op'], THERE['read-64']))
    return out
