# SPDX-License-Identifier: BSD-2-Clause
"""Which plots there are, and what each is made of. A plot that nothing was
measured for is left out."""
import svg
from targets import KIB, MIB, PEERS, size, speed, time

# 16 GiB at random by four jobs; the kernel's client, windows of 32 .. 2 GiB,
# MB/s; github.com/rhvgoyal/virtiofs-tests, December 2020.
PUBLISHED = [(0.5, 2093), (1, 497), (2, 51.3), (4, 35.0), (8, 29.6)]
COLOURS = {'oriel': 'oriel', 'memcpy': 'limit', 'mmap': 'limit',
           'io_uring': 'other', 'virtiofsd': 'peer', 'orield': 'third',
           'orield-plain': 'third', 'passthrough_ll': 'peer',
           'bindfs': 'other'}
SETS = (256 * KIB, 16 * MIB, 512 * MIB)


def colour(name):
    return COLOURS.get(name, 'native')


def window_bars(f, name, title):
    groups = []
    for n in SETS:
        ways = f.case(name, fs='ext4', set_bytes=n, off=0)
        if ways:
            groups.append((f'working set of {size(n)}',
                           ways.get('memcpy', {}).get('ns_per_op'),
                           [(k, w['ns_per_op'], colour(k))
                            for k, w in ways.items()]))
    return groups and svg.bars(
        title, 'Time of one call, logarithmic. Dashed: the physical limit, a '
        'copy in memory by the same loop.', groups, time, left=76)


def every_way(f):
    """One 4 KiB read, by everything that was measured."""
    rows = []
    ways = f.case('read-4k', fs='ext4', set_bytes=16 * MIB, off=0)
    names = {'oriel': 'Oriel, window', 'pread': 'pread(), no server at all',
             'memcpy': 'memcpy() in memory'}
    for k, w in ways.items():
        rows.append((names.get(k, k), w['ns_per_op'], colour(k)))
    ways = f.case('read-4k-message', fs='ext4')
    if 'oriel' in ways:
        rows.append(('Oriel, by message', ways['oriel']['ns_per_op'], 'third'))
    theirs = [w['ns_per_op'] for k, w in ways.items() if 'virtiofsd' in k]
    if theirs:
        rows.append(("QEMU's virtiofsd", min(theirs), 'peer'))
    words = {'orield': 'FUSE: orield, passthrough', 'orield-plain':
             'FUSE: orield, without', 'passthrough_ll':
             "FUSE: libfuse's passthrough_ll", 'bindfs': 'FUSE: bindfs'}
    for k, (ns, _) in f.fuse().get('read 4k rand', {}).items():
        if k in words:
            rows.append((words[k], ns, colour(k)))
    rows.sort(key=lambda r: r[1])
    limit = next((v for n, v, _ in rows if n.startswith('memcpy')), None)
    return rows and svg.bars(
        'One random 4 KiB read of a shared file, by every way there is',
        'Time of one read on the same ext4, page cache warm; shorter is '
        'better, logarithmic. Dashed: the physical limit. Each server in the '
        'placement where it is fastest (same core, other core, free).',
        [('', limit, rows)], time, svg.FULL, 210)


SWEEP = {'random': ('uniform', 'oriel'),
         'zipf': ('zipf, hot pages anywhere', 'other'),
         'zipf-near': ('zipf, hot pages adjacent', 'peer'),
         'sequential': ('sequential', 'native'),
         'scan+hot': ('scan beside a hot set', 'third')}
RATIOS = [0.25, 0.5, 1, 2, 4, 8]


def sweep_axis():
    return ('size of the working set / size of the window', '{:g}x'.format,
            True, RATIOS)


def sweep_native(f):
    rows = (f.data('sweep') or {}).get('results', [])
    series = [(words, paint, False,
               [(r['set_over_window'], r['vs_native']) for r in rows
                if r['pattern'] == p]) for p, (words, paint) in SWEEP.items()]
    series.append(('uniform, no window at all', 'limit', True,
                   [(r['set_over_window'], r['vs_native'] / r['vs_off'])
                    for r in rows if r['pattern'] == 'random']))
    return rows and svg.lines(
        'Files larger than the window: against the system call',
        '4 KiB reads. Above 1x: faster than pread() on the same file, kept '
        'open.', [s for s in series if s[3]], sweep_axis(),
        ('times as fast as pread(), logarithmic', '{:g}x'.format, True, None),
        level=(1, 'pread()'))


def sweep_published(f):
    rows = [r for r in (f.data('sweep') or {}).get('results', [])
            if r['pattern'] == 'random' and r['set_over_window'] >= 0.5]
    if not rows:
        return None
    best = rows[0]['oriel_ns']
    series = [('Oriel', 'oriel', False,
               [(r['set_over_window'], 100 * best / r['oriel_ns'])
                for r in rows]),
              ("Linux' virtio-fs client*", 'limit', False,
               [(x, 100 * y / PUBLISHED[0][1]) for x, y in PUBLISHED])]
    return svg.lines(
        'The same, beside the published collapse of the kernel\'s client',
        'Uniform 4 KiB reads; 100 %: the set is half the window. *16 GiB set, '
        'virtiofs-tests, 2020; not run here.', series,
        sweep_axis(), ('speed that is left, %, logarithmic',
                       '{:g} %'.format, True, [1, 3, 10, 30, 100]),
        ends='{:.2g} %'.format)


def latency(f):
    names = {'oriel': ('Oriel', 'oriel'), 'mmap': ('mmap, no server', 'limit'),
             'psync': ('pread', 'native'), 'io_uring': ('io_uring', 'other')}
    for c in (f.data('fio') or {}).get('cases', []):
        series = [(*names[w['name']], False,
                   [(100 / (100 - p), ns) for p, ns in w.get('latency', [])
                    if p < 99.995 and ns])
                  for w in c['contestants'] if w['name'] in names]
        series = [s for s in series if s[3]]
        if c['case'] == 'read-4k' and series:
            return svg.lines(
                'How long the slow ones take: latency of 4 KiB reads',
                'fio, one at a time, 64 MiB in the page cache. At 99.9: one '
                'read in a thousand takes longer. Two readings of the clock '
                'are in each.', series,
                ('percentile', lambda x: f'{100 - 100 / x:.4g}', True,
                 [2, 10, 100, 1000, 10000]),
                ('time of one read, logarithmic', time, True, None), h=400)
    return None


MESSAGES = [('stat', 'stat', 'stat'),
            ('open-close', 'open and close', 'open+close'),
            ('stat-deep', 'stat of a path of four names', None),
            ('open-read-close', 'open, read 16 KiB, close', None),
            ('read-file', 'the same in one call', None),
            ('readdir', 'readdir, a name', 'readdir'),
            ('readdir-stat', 'readdir with stat, a name', None),
            ('read-4k-message', 'read 4 KiB, no window', 'read 4k rand'),
            ('queue-64-message', 'the same, 64 at a time', None),
            ('append-4k-message', 'append 4 KiB, no window', None),
            ('append-4k', 'append 4 KiB, window', None),
            ('append-4k-gathered', 'append 4 KiB, gathered', None),
            ('append-64-gathered', 'append 64 B, gathered', None)]


def messages(f):
    rows = []
    for name, words, op in MESSAGES:
        ways = f.case(name, fs='ext4')
        if 'oriel' not in ways:
            continue
        by = {'oriel': ways['oriel']['ns_per_op']}
        for k, w in ways.items():
            kind = 'virtiofsd' if 'virtiofsd' in k else 'native'
            if k != 'oriel' and w['ns_per_op'] < by.get(kind, 1e18):
                by[kind] = w['ns_per_op']
        fuse = [ns for k, (ns, _) in f.fuse().get(op, {}).items()
                if k in PEERS]
        if fuse:
            by['fuse'] = min(fuse)
        rows.append((words, by, f"{time(by['oriel'])}, "
                     f"{speed(ways['oriel']['speed'])} of native"))
    return rows and svg.dots(
        'Asking the server: names, small files, appends',
        'Time of one operation, logarithmic, left is better; nothing believed '
        'from before. FUSE and virtiofsd: the best server in its best '
        'placement.', rows,
        {'oriel': ('Oriel', 'oriel'), 'native': ('system call, no server',
                                                 'native'),
         'virtiofsd': ("QEMU's virtiofsd", 'peer'), 'fuse': ('FUSE', 'other')},
        time)


COSTS = ('stat', 'open-close', 'open-read-close', 'read-4k-message',
         'append-4k-message')


def cpu(f):
    groups = []
    for name, words, _ in MESSAGES:
        if name not in COSTS:
            continue
        ways = f.case(name, fs='ext4')
        rows = [('Oriel' if k == 'oriel' else k.replace(', one CPU', ', 1 CPU'),
                 [w['cpu_us'], w['daemon_cpu_us']]) for k, w in ways.items()]
        if rows:
            groups.append((words, rows))
    return groups and svg.stacked(
        'What it costs: processor time of both processes',
        'Microseconds an operation. Polling buys latency with it.', groups,
        [('client', 'oriel'), ('daemon', 'third')], '{:.3g} us'.format)


FIO = {'read-4k': '4 KiB random read', 'overwrite-4k': '4 KiB overwrite',
       'read-1m-seq': '1 MiB sequential read'}


def fio(f):
    words = {'psync': 'psync', 'oriel': 'Oriel'}
    out = []
    for case, title in FIO.items():
        groups = []
        for c in (f.data('fio') or {}).get('cases', []):
            rows = [(words.get(w['name'], w['name']), w['ns_per_io'],
                     colour(w['name'])) for w in c['contestants']
                    if w['name'] != 'io_uring-64']
            where = ('on a page boundary' if c['buffers'] == 'aligned' else
                     "fio's default, +16 B")
            if c['case'] == case:
                groups.append((f'buffers {where}', None, rows))
        if groups:
            out.append(svg.bars('fio: ' + title, 'Time of one I/O, '
                                'logarithmic.', groups, time, svg.THIRD, 64))
    return out


# What a reader who has not seen docs/design/scale.md should know.
NOTES = {'client-fairness': 'Jain index of what each client got done: 1 is '
         'equal parts. native: processes that call fstatat(2)',
         'share-fairness': 'Jain index over clients, one for each share: 1 is '
         'equal parts',
         'client-least': '1: it got as much as the others. 0: nothing',
         'client-pause': 'native: processes that call fstatat(2)',
         'client-rate': 'hit: 64 bytes from the window; stat: a round trip; '
         'native: processes that call fstatat(2)',
         'client-things': 'Of the one daemon process',
         'greedy': '1: each client got the same, however many threads it has',
         'window-space': 'Reserved, not memory'}
PALETTE = ('oriel', 'native', 'peer', 'other', 'limit', 'third')


def unit_form(unit):
    if unit in ('us', 'ms', 'ns'):
        scale = {'ns': 1, 'us': 1e3, 'ms': 1e6}[unit]
        return lambda v: time(v * scale) if v else '0'
    if unit in ('bytes', 'KiB'):
        scale = 1024 if unit == 'KiB' else 1

        def form(v):
            for n, u in ((1 << 30, 'GiB'), (1 << 20, 'MiB'), (1 << 10, 'KiB')):
                if v * scale >= n:
                    return f'{v * scale / n:.3g} {u}'
            return f'{v * scale:.4g} B'
        return form
    return svg.plain


def scale(f):
    out = []
    for c in (f.data('scale') or {}).get('curves', []):
        x, y = c['x'], c['y']
        series = [(s['name'], PALETTE[i % len(PALETTE)], False, s['points'])
                  for i, s in enumerate(c['series']) if s['points']]
        if not series:
            continue
        positive = any(v > 0 for s in series for _, v in s[3])
        xs = sorted({p[0] for s in series for p in s[3]})
        out.append(svg.lines(
            c['title'], NOTES.get(c['curve'], c['note']), series,
            (x['label'] + (f", {x['unit']}" if x['unit'] else ''), svg.plain,
             x['log'], xs),
            (y['label'] + (f", {y['unit']}" if y['unit'] else '') +
             (', logarithmic' if y['log'] else ''), unit_form(y['unit']),
             y['log'] and positive, None), svg.THIRD, 130))
    return out


def sections(f):
    """[(heading, sentence, columns, [svg])]"""
    every = [
        ('Through the window', 'The server maps pieces of the file into the '
         'client once; after that a read or an overwrite is a copy in memory.',
         1, [every_way(f)]),
        ('', '', 2, [
            window_bars(f, 'read-4k', '4 KiB random read'),
            window_bars(f, 'overwrite-4k', '4 KiB overwrite'),
            window_bars(f, 'read-64', '64 B random read'),
            window_bars(f, 'read-1m-seq', '1 MiB sequential read')]),
        ('When the window is too small', 'Every client has a limit to what it '
         'maps. Beyond it, nothing may be slower than without a window.', 2,
         [sweep_native(f), sweep_published(f)]),
        ('By message', 'What no window can answer goes to the server and '
         'back, through memory that both share.', 1, [messages(f)]),
        ('', '', 2, [latency(f), cpu(f)]),
        ("In fio's words", 'The same by the benchmark everybody knows, with '
         'the engine of contrib/fio; mmap has no server. About 0.35 us of '
         "fio's own work are in each.", 3, fio(f)),
        ('Many clients, shares, inodes', 'One daemon, clients that are '
         'processes; what bends these is in docs/design/scale.md.', 3,
         scale(f))]
    return [(t, s, n, [p for p in plots if p]) for t, s, n, plots in every
            if any(plots)]
