# SPDX-License-Identifier: BSD-2-Clause
"""What is aimed at, and how near a measurement came.

A row asks a Facts for one number and compares it. What is missing is "not
measured"; a shortfall is explained by what was measured beside it.
"""
import statistics

KIB, MIB = 1 << 10, 1 << 20


def size(n):
    return f'{n // MIB} MiB' if n >= MIB else f'{n // KIB} KiB'


def time(ns):
    for unit, scale in (('ns', 1), ('us', 1e3), ('ms', 1e6)):
        if abs(ns) < 1000 * scale or unit == 'ms':
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


def native_of(ways):
    rest = [w for n, w in ways.items() if n != 'oriel']
    return rest[0] if rest else None


def why_short(ways, target):
    """A sentence out of what ran in the same rounds."""
    ours, native, copy = ways['oriel'], native_of(ways), ways.get('memcpy')
    if copy and ours['ns_per_op'] < 4 * copy['ns_per_op']:
        text = (f"memcpy alone is {copy['speed']:.2f}x "
                f"({time(copy['ns_per_op'])}); ")
        if copy['speed'] < target:
            return text + 'the target is past the physical limit here'
        return text + (f"{time(ours['over_third_ns'])} over it, the system "
                       f"call takes {time(native['ns_per_op'])}")
    return (f"the system call takes {time(native['ns_per_op'])}, ours "
            f"{time(ours['ns_per_op'])}, of which the daemon's processor "
            f"time is {time(ours['daemon_cpu_us'] * 1e3)}")


def row(what, target, stretch, got, unit='x', up=True, why=''):
    if got is None:
        return {'what': what, 'target': target, 'stretch': stretch,
                'unit': unit, 'up': up, 'got': None,
                'verdict': 'not measured', 'why': ''}
    def reached(aim):
        return aim is not None and (got >= aim if up else got <= aim)
    verdict = ('stretch' if reached(stretch) else
               'met' if reached(target) else 'short')
    return {'what': what, 'target': target, 'stretch': stretch, 'unit': unit,
            'up': up, 'got': got, 'verdict': verdict,
            'why': why if verdict == 'short' else ''}


def speed_row(f, what, target, stretch, name, **where):
    ways = f.case(name, **where)
    if 'oriel' not in ways:
        return row(what, target, stretch, None)
    return row(what, target, stretch, ways['oriel']['speed'],
               why=why_short(ways, target))


# case, file system, (set, aligned target, stretch, +16 target)
WINDOW = [
    ('read-64', 'ext4', '64 B read', [(256 * KIB, 18, 30, None),
                                      (16 * MIB, 12, 20, None),
                                      (512 * MIB, 10, 15, None)]),
    ('read-4k', 'ext4', '4 KiB random read', [(256 * KIB, 7, 8.5, 4.5),
                                              (16 * MIB, 4, 5, 3),
                                              (512 * MIB, 2, 2.3, 1.8)]),
    ('read-1m-seq', 'ext4', '1 MiB sequential read',
     [(16 * MIB, 1.25, 1.4, 2.2), (512 * MIB, 1.25, 1.4, 2.2)]),
    ('overwrite-4k', 'ext4', '4 KiB overwrite',
     [(256 * KIB, 10, 13, None), (512 * MIB, 7, 8.5, None)]),
    ('overwrite-4k', 'xfs', '4 KiB overwrite', [(512 * MIB, 3, None, None)]),
    ('overwrite-4k', 'tmpfs', '4 KiB overwrite', [(512 * MIB, 2, None, None)]),
]
# names that a case may have, file system, words, target, stretch
MESSAGES = [
    (('stat',), 'ext4', 'stat, always asked', 0.85, 1.0),
    (('stat-cached', 'stat-ttl'), 'ext4', 'stat, attributes valid', 4, 8),
    (('open-close',), 'ext4', 'open and close', 0.75, None),
    (('open-read-close', 'small-file'), 'ext4', 'small file: open, read, '
     'close', 0.75, 0.9),
    (('append-4k',), 'ext4', '4 KiB append', 0.85, 0.95),
    (('append-4k',), 'tmpfs', '4 KiB append', 0.7, None),
    (('append-4k-gathered',), 'ext4', 'coalesced append', 2.5, 3.5),
    (('append-4k-ahead',), 'ext4', 'append into room made ahead', 4, 5),
    (('readdir',), 'ext4', 'readdir, an entry', 0.8, 1.0),
]


def window_rows(f):
    out = []
    for name, fs, words, sets in WINDOW:
        for n, target, stretch, off16 in sets:
            for off, aim, far in ((0, target, stretch), (16, off16, None)):
                if aim is not None:
                    where = f"{words}, {fs}, {size(n)}" + (
                        ', +16 B' if off else '')
                    out.append(speed_row(f, where, aim, far, name, fs=fs,
                                         set_bytes=n, off=off))
    return out


def over_rows(f):
    out = []
    for n in (256 * KIB, 16 * MIB, 512 * MIB):
        ours = f.case('read-4k', fs='ext4', set_bytes=n, off=0).get('oriel')
        out.append(row(f'4 KiB hit over a bare memcpy, {size(n)}', 20, 10,
                       ours['over_third_ns'] if ours else None, 'ns', False,
                       'a hit takes ' + time(ours['ns_per_op'])
                       if ours else ''))
    touch = f.case('first-touch-4k', fs='ext4')
    own = [w for k, w in touch.items() if k not in ('oriel', 'pread')]
    out.append(row('first touch of a 2 MiB range', 18, 12,
                   touch['oriel']['ns_per_op'] / 1e3 if touch else None, 'us',
                   False, 'mmap() and a copy without a daemon take ' +
                   time(own[0]['ns_per_op']) if own else ''))
    return out


def message_rows(f):
    out = []
    for names, fs, words, target, stretch in MESSAGES:
        found = next((n for n in names if f.case(n, fs=fs)), names[0])
        out.append(speed_row(f, f'{words}, {fs}', target, stretch, found,
                             fs=fs))
    return out


def sweep_rows(f):
    out = []
    for pattern, aim in (('random', 0.85), ('zipf', 0.85), ('scan+hot', 0.85)):
        r = f.sweep(pattern, 4)
        where = f'set 4x the window, {pattern}'
        why = (f"window off {time(r['off_ns'])}, native {time(r['native_ns'])}"
               f", with the window {time(r['oriel_ns'])}") if r else ''
        out.append(row(where + ', of the window off', 0.95, None,
                       r and r['vs_off'], why=why))
        out.append(row(where + ', of native', aim, 0.92,
                       r and r['vs_native'], why=why))
    return out


def peer_rows(f):
    """Against FUSE, each server in its best place."""
    out = []
    ours = f.case('read-4k', fs='ext4', set_bytes=16 * MIB, off=0).get('oriel')
    for op, servers in f.fuse().items():
        if ours and 'read 4' in op and 'rand' in op:
            for name, (ns, place) in servers.items():
                if name in ('orield-plain', 'passthrough_ll'):
                    out.append(row(f'4 KiB random read against FUSE ({name}, '
                                   f'{place})', 20, None,
                                   ns / ours['ns_per_op']))
    return out


def verdicts(f):
    return (window_rows(f) + over_rows(f) + sweep_rows(f) + message_rows(f) +
            peer_rows(f))
