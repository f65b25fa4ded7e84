# SPDX-License-Identifier: BSD-2-Clause
"""The plots, as SVG text. Colours are the page's CSS variables, so that they
follow light and dark."""
import html
import math

from targets import KIB, MIB, size, time

COLOURS = {'oriel': 'oriel', 'memcpy': 'limit', 'mmap': 'limit',
           'orield': 'oriel', 'orield-plain': 'oriel', 'io_uring': 'other',
           'virtiofsd': 'peer', 'virtiofsd, one CPU': 'peer',
           'passthrough_ll': 'peer', 'bindfs': 'other'}
# 16 GiB at random by four jobs; the kernel's client, 32 .. 1 GiB of window,
# MB/s; github.com/rhvgoyal/virtiofs-tests, December 2020.
PUBLISHED = [(0.5, 2093), (1, 497), (2, 51.3), (4, 35.0), (8, 29.6)]
W, LEFT = 520, 130


def colour(name):
    return f"var(--{COLOURS.get(name, 'native')})"


def text(x, y, s, extra=''):
    return f'<text x="{x:.1f}" y="{y:.1f}" {extra}>{html.escape(s)}</text>'


def frame(height, title, sub, body):
    return (f'<svg viewBox="0 0 {W} {height}" role="img">'
            f'<title>{html.escape(title)}</title>'
            + text(0, 16, title, 'class="t"') + text(0, 34, sub, 'class="d"')
            + body + '</svg>')


def bars(title, sub, groups):
    """groups: [(words, [(name, ns)])], on one logarithmic axis"""
    every = [v for _, rows in groups for _, v in rows if v > 0]
    lo, hi = math.log(min(every)) - 0.7, math.log(max(every))
    scale = (W - LEFT - 70) / max(hi - lo, 1e-9)
    y, out = 52, ''
    for words, rows in groups:
        if words:
            out += text(0, y + 11, words, 'class="d"')
            y += 19
        for name, v in rows:
            w = max((math.log(max(v, 1e-3)) - lo) * scale, 2)
            out += (text(0, y + 12, name)
                    + f'<rect x="{LEFT}" y="{y}" width="{w:.1f}" height="15" '
                    f'rx="3" fill="{colour(name)}"/>'
                    + text(LEFT + w + 6, y + 12, time(v)))
            y += 19
        limit = dict(rows).get('memcpy')
        if limit:
            x = LEFT + (math.log(limit) - lo) * scale
            top = y - 19 * len(rows) - 2
            out += (f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{y - 2}" '
                    'stroke="var(--limit)" stroke-dasharray="4 3"/>')
        y += 8
    return frame(y + 4, title, sub, out)


def lines(title, sub, series, labels):
    """series: [(name, colour, [(x, y)])]; both axes logarithmic"""
    x_label, form_x, form_y = labels
    xs = [x for _, _, p in series for x, _ in p]
    ys = [y for _, _, p in series for _, y in p if y > 0]
    x0, x1 = math.log(min(xs)), math.log(max(xs))
    y0, y1 = math.log(min(ys)), math.log(max(ys))
    left, right, top, bottom = 62, W - 14, 76, 290

    def at(x, y):
        return (left + (math.log(x) - x0) / max(x1 - x0, 1e-9) *
                (right - left),
                bottom - (math.log(y) - y0) / max(y1 - y0, 1e-9) *
                (bottom - top))
    out = (f'<path d="M{left} {top}V{bottom}H{right}" fill="none" '
           'stroke="var(--line)"/>')
    ticks = sorted(set(xs))
    for x in ticks[::max(1, len(ticks) // 7)]:
        out += text(at(x, min(ys))[0] - 10, bottom + 16, form_x(x),
                    'class="d"')
    for i in range(5):
        y = math.exp(y0 + (y1 - y0) * i / 4)
        out += text(0, at(min(xs), y)[1] + 4, form_y(y), 'class="d"')
        out += (f'<path d="M{left} {at(min(xs), y)[1]:.1f}H{right}" '
                'stroke="var(--line)" stroke-dasharray="2 4"/>')
    out += text(left, bottom + 34, x_label, 'class="d"')
    x = left
    for name, stroke, points in series:
        d = 'M' + ' L'.join('%.1f %.1f' % at(*p) for p in points if p[1] > 0)
        dash = '' if stroke != 'limit' else ' stroke-dasharray="5 3"'
        out += (f'<path d="{d}" fill="none" stroke="var(--{stroke})" '
                f'stroke-width="2.4"{dash}/>')
        out += (f'<rect x="{x}" y="46" width="12" height="12" rx="3" '
                f'fill="var(--{stroke})"/>' + text(x + 17, 56, name))
        x += 30 + 7 * len(name)
    return frame(bottom + 42, title, sub, out)


def window_bars(f, name, title):
    groups = []
    for n in (256 * KIB, 16 * MIB, 512 * MIB):
        ways = f.case(name, fs='ext4', set_bytes=n, off=0)
        if ways:
            groups.append((f'working set {size(n)}',
                           [(k, w['ns_per_op']) for k, w in ways.items()]))
    return groups and bars(title, 'time a call, logarithmic; dashed: the '
                           'physical limit, a bare memcpy', groups)


def message_bars(f):
    groups, seen = [], set()
    for r in f.rows:
        if r['set_bytes'] or (r['case'], r['fs']) in seen:
            continue
        seen.add((r['case'], r['fs']))
        ways = f.case(r['case'], fs=r['fs'])
        if r['fs'] == 'ext4':
            groups.append((r['case'], [(k, w['ns_per_op'])
                                       for k, w in ways.items()]))
    return groups and bars('By message', 'time an operation, logarithmic; no '
                           'caches: each asks the daemon', groups)


def fuse_bars(f):
    groups = [(op, [(k, ns) for k, (ns, _) in by.items() if k != 'with-locks'])
              for op, by in f.fuse().items()
              if 'read 4' in op or 'write 4' in op or 'stat' in op]
    return groups and bars('The kernel as client: FUSE', 'orield --mount with '
                           'passthrough and without (-plain); best place of '
                           'each', groups)


def sweep_lines(f):
    out = []
    rows = (f.data('sweep') or {}).get('results', [])
    for pattern in dict.fromkeys(r['pattern'] for r in rows):
        mine = [r for r in rows if r['pattern'] == pattern]
        series = [('with the window', 'oriel',
                   [(r['set_over_window'], r['vs_native']) for r in mine]),
                  ('window off', 'native',
                   [(r['set_over_window'], r['vs_native'] / r['vs_off'])
                    for r in mine])]
        if pattern == 'random':
            series.append(("published, kernel's client*", 'limit',
                           [(x, y / PUBLISHED[0][1]) for x, y in PUBLISHED]))
        out.append(lines(f'Sets larger than the window: {pattern}',
                         '4 KiB reads, as fast as pread() with the file held '
                         '(1x)' + ('; *of its own best, 16 GiB, 2020'
                                   if pattern == 'random' else ''),
                         series, ('working set / window', '{:g}'.format,
                                  '{:.2g}x'.format)))
    return out


def latency_lines(f):
    for c in (f.data('fio') or {}).get('cases', []):
        series = [(w['name'],
                   {'oriel': 'oriel', 'mmap': 'limit', 'psync': 'native',
                    'io_uring': 'other'}.get(w['name'], 'peer'),
                   [(100 / (100 - p), ns) for p, ns in w.get('latency', [])
                    if p < 100])
                  for w in c['contestants'] if w['name'] != 'io_uring-64']
        series = [s for s in series if s[2]]
        if c['case'] == 'read-4k' and series:
            return [lines('Latency distribution, 4 KiB random read (fio)',
                          '64 MiB in the page cache; fio reads the clock '
                          'twice an I/O', series,
                          ('percentile', lambda x: f'{100 - 100 / x:.4g}',
                           time))]
    return []


def fio_bars(f):
    groups = [(f"{c['case']}, {c['buffers']} buffers",
               [(w['name'], w['ns_per_io']) for w in c['contestants']
                if w['name'] != 'io_uring-64'])
              for c in (f.data('fio') or {}).get('cases', [])]
    return groups and bars("fio's engines and ours", 'time an I/O, '
                           "logarithmic; fio's own work included", groups)


def plots(f):
    out = [window_bars(f, 'read-4k', '4 KiB random read'),
           window_bars(f, 'overwrite-4k', '4 KiB overwrite')]
    out += sweep_lines(f)
    out += latency_lines(f)
    out += [message_bars(f), fuse_bars(f), fio_bars(f)]
    return [p for p in out if p]
