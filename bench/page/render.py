#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""From bench.json: report.md, table-readme.md and bench.html.

    render.py BENCH.JSON DIR
"""
import html
import json
import sys

import plots
from targets import Facts, K256, M16, calls, lines, size, speed, time

CSS = '''
:root { --ink: #1c2330; --dim: #5d6778; --paper: #fdfdfb; --card: #ffffff;
 --line: #e1e4ea; --oriel: #e8590c; --native: #3b5bdb; --limit: #868e96;
 --peer: #0c8599; --other: #9c36b5; --third: #f2a25c; --good: #2b8a3e;
 --bad: #c92a2a }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaef; --dim: #9aa5b5;
 --paper: #12151a; --card: #191d24; --line: #2e3541; --oriel: #ff8a4c;
 --native: #7f9bff; --limit: #adb5bd; --peer: #3bc9db; --other: #da77f2;
 --third: #ffc078; --good: #69db7c; --bad: #ff8787 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1216px; padding: 34px 32px; color: var(--ink);
 background: var(--paper); font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif }
h1 { font-size: 32px; line-height: 1.2; margin: 0 0 6px }
h2 { font-size: 21px; margin: 44px 0 2px }
p { margin: 2px 0 14px; color: var(--dim); max-width: 980px }
.c1, .c2, .c3 { display: grid; gap: 18px; margin-bottom: 18px }
.c2 { grid-template-columns: 1fr 1fr }
.c3 { grid-template-columns: 1fr 1fr 1fr }
@media (max-width: 900px) { .c2, .c3 { grid-template-columns: 1fr } }
figure, .tile { margin: 0; border: 1px solid var(--line); border-radius: 10px;
 padding: 14px; background: var(--card) }
svg { width: 100%; height: auto; display: block; overflow: visible }
svg text { fill: var(--ink); font: 12px system-ui, "DejaVu Sans", sans-serif;
 paint-order: stroke; stroke: var(--card); stroke-width: 3px }
svg .t { font-size: 15px; font-weight: 600 } svg .h { font-weight: 600 }
svg .d { fill: var(--dim) } svg .m { text-anchor: middle }
svg .e { text-anchor: end }
.tiles { display: grid; grid-template-columns: repeat(5, 1fr); gap: 14px;
 margin: 18px 0 }
@media (max-width: 900px) { .tiles { grid-template-columns: 1fr 1fr } }
.tile b { display: block; font-size: 27px; line-height: 1.25;
 color: var(--oriel) } .tile { font-size: 13px; line-height: 1.4 }
.facts { font-size: 13px; color: var(--dim) } .facts b { color: var(--ink);
 font-weight: 600 }
table { border-collapse: collapse; width: 100%; font-size: 13px }
td, th { text-align: left; padding: 5px 8px; border-bottom: 1px solid
 var(--line); vertical-align: top }
td { font-variant-numeric: tabular-nums }
.met { color: var(--good); font-weight: 600; white-space: nowrap }
.short { color: var(--bad); font-weight: 600; white-space: nowrap }
summary { font-size: 17px; font-weight: 600; cursor: pointer;
 margin: 18px 0 6px }
'''


def machine_line(every):
    m = every['machine']
    return (f"{m['cpus']} x {m['cpu']}, Linux {m['kernel']}, "
            f"{m['memory_mib'] / 1024:.0f} GiB, load before "
            f"{m['load_before']:.2f}, {m['seconds']} s in all, {m['date']}" +
            (' (--quick: not to be trusted)' if every['quick'] else ''))


def calls_line(f):
    got = calls(f)
    if not got:
        return ''
    return ('System calls in this run: ' + ', '.join(
        f'{words} {time(ns)} ({time(there)} where the targets were set)'
        for words, ns, there in got) + '.')


def folio_line(f):
    kinds = dict.fromkeys((r['fs'], r['folios']) for r in f.rows)
    return '; '.join(f'{fs} with {folios} folios' for fs, folios in kinds)


def number(x, unit):
    if x is None:
        return '-'
    if unit == 'x':
        return speed(x)
    scale = {'ns': 1, 'us': 1e3}.get(unit)
    return time(x * scale) if scale else f'{x:.3g} {unit}'


def short_number(x, unit):
    return f'{x:g}x' if unit == 'x' else f'{x:g} {unit}'


def line_cells(what, items):
    """what | target | measured | verdict | why, for several items"""
    aims = dict.fromkeys(short_number(i['target'], i['unit']) for i in items)
    sign = '≥ ' if items[0]['up'] else '≤ '
    target = sign + ' / '.join(
        short_number(i['target'], i['unit']) for i in items) if len(
            aims) > 1 else sign + next(iter(aims))
    labels = [i['label'] for i in items if i['label']]
    what += ': ' + ' / '.join(labels) if labels else ''
    short = [i for i in items if i['verdict'] == 'short']
    missing = [i for i in items if i['got'] is None]
    if len(missing) == len(items):
        verdict = 'not measured'
    elif short:
        verdict = 'not met' if len(short) == len(items) else (
            f'{len(items) - len(short) - len(missing)} of {len(items)} met')
    else:
        verdict = 'met' if not missing else f'{len(items) - len(missing)} of ' \
            f'{len(items)} met, rest not measured'
    why = '; '.join(i['why'] if len(items) == 1 or i['why'].startswith(
        i['label']) else f"{i['label']}: {i['why']}" for i in short)
    return [what, target, ' / '.join(
        number(i['got'], i['unit']) +
        ('*' if i['verdict'] == 'stretch' else '') for i in items),
        verdict, why]


HEAD = ['what', 'target', 'measured', 'verdict', 'why it is short']


def md_table(head, rows):
    return '\n'.join(['| ' + ' | '.join(head) + ' |', '|---' * len(head) + '|']
                     + ['| ' + ' | '.join(str(c).replace('|', '/')
                                          for c in r) + ' |' for r in rows])


def html_table(head, rows):
    def cell(c):
        c = str(c)
        kind = ('short' if 'not met' in c[:8] or ' of ' in c[:5] and 'met' in c
                else 'met' if c == 'met' else '')
        return f'<td class="{kind}">{html.escape(c)}</td>'
    return ('<table><tr>' + ''.join(f'<th>{html.escape(h)}</th>' for h in head)
            + '</tr>' + ''.join('<tr>' + ''.join(cell(c) for c in r) + '</tr>'
                                for r in rows) + '</table>')


def absences(every):
    return [f"{n}: absent: {s['absent']}" for n, s in every['steps'].items()
            if 'absent' in s] + [f"{n}: {s['note']}" for n, s in
                                 every['steps'].items() if 'note' in s]


def all_cases(f):
    """Every line of the suites, whatever its name."""
    return ['case', 'file system', 'folios', 'set', 'buffer', 'contestant',
            'median', 'p10 .. p90', 'times native', 'CPU us client + daemon'], [
        [r['case'], r['fs'], r['folios'],
         size(r['set_bytes']) if r['set_bytes'] else '-',
         {None: '-', 0: 'page', 16: '+16'}.get(r.get('buffer_offset'), '?'),
         r['contestant'], time(r['ns_per_op']),
         f"{time(r['p10'])} .. {time(r['p90'])}", f"{r['speed']:.2f}x",
         f"{r['cpu_us']:.3f} + {r['daemon_cpu_us']:.3f}"] for r in f.rows]


def fuse_table(f):
    ops = f.fuse()
    names = sorted({n for by in ops.values() for n in by})
    return ['operation'] + names, [
        [op] + [f'{time(by[n][0])} ({by[n][1]})' if n in by else '-'
                for n in names] for op, by in ops.items()]


def fio_table(f):
    return ['case', 'buffers', 'engine', 'an I/O', 'p50', 'p99', 'of psync',
            'CPU %'], [
        [c['case'], c['buffers'], w['name'], time(w['ns_per_io']),
         time(w['p50_ns']), time(w['p99_ns']), f"{w['speed_vs_psync']:.2f}x",
         w['cpu_percent']]
        for c in (f.data('fio') or {}).get('cases', [])
        for w in c['contestants']]


def sweep_table(f):
    return ['pattern', 'set / window', 'oriel', 'window off', 'native',
            'of window off', 'of native'], [
        [r['pattern'], f"{r['set_over_window']:g}", time(r['oriel_ns']),
         time(r['off_ns']), time(r['native_ns']), f"{r['vs_off']:.2f}x",
         f"{r['vs_native']:.2f}x"]
        for r in (f.data('sweep') or {}).get('results', [])]


def tables(f):
    return [(t, head, rows) for t, (head, rows) in [
        ('Set larger than the window', sweep_table(f)),
        ('FUSE servers, each in its best place', fuse_table(f)),
        ('fio', fio_table(f)),
        ('Every case of the suite', all_cases(f))] if rows]


def notes(every, f):
    out = absences(every)
    for name in ('suite', 'xfs'):
        out += (f.data(name) or {}).get('notes', [])
    return out


# Said in words, where a target has no number here.
NONE = ('No room is made ahead of appends (docs/adr/0008), so its target has '
        'no line. Passthrough of FUSE is measured by `orield --mount`; libfuse\'s '
        'own example of it, passthrough_hp, is not in Debian\'s libfuse3-dev '
        '(3.14).')


def readme_table(every, f):
    rows = [line_cells(*line) for line in lines(f)]
    return '\n\n'.join(p for p in (
        machine_line(every),
        'Multiples are of the system call on the same file (ext4, page cache '
        'warm) in the same rounds; *: the stretch target too.',
        md_table(HEAD, rows), calls_line(f) + ' ' + NONE) if p) + '\n'


def report(every, f):
    parts = ['# Benchmark report\n', readme_table(every, f)]
    for title, head, rows in tables(f):
        parts.append(f'## {title}\n\n' + md_table(head, rows) + '\n')
    parts.append('\n'.join('* ' + n for n in notes(every, f)) + '\n')
    return '\n'.join(parts)


def tiles(f):
    """The few numbers to take home."""
    out = []
    ours = f.case('read-4k', fs='ext4', set_bytes=M16, off=0).get('oriel')
    if ours:
        out += [(speed(ours['speed']), 'as fast as pread(): 4 KiB at random '
                 f"in 16 MiB, {time(ours['ns_per_op'])}"),
                (f"+{time(max(ours['over_third_ns'], 0))}", 'over a bare '
                 'memcpy() of the same 4 KiB')]
    write = f.case('overwrite-4k', fs='ext4', set_bytes=K256, off=0)
    if write:
        out.append((speed(write['oriel']['speed']), 'as fast as pwrite(): '
                    '4 KiB overwritten in 256 KiB'))
    fuse = [ns for k, (ns, _) in f.fuse().get('read 4k rand', {}).items()
            if k in plots.PEERS]
    if ours and fuse:
        out.append((speed(min(fuse) / ours['ns_per_op']), 'as fast as the '
                    'best FUSE server where it is fastest, 4 KiB read'))
    far = f.sweep('random', 4)
    if far:
        out.append((speed(far['vs_native']), 'of pread() when the file is '
                    '4 times the window, uniformly read'))
    return '<div class="tiles">' + ''.join(
        f'<div class="tile"><b>{html.escape(n)}</b>{html.escape(t)}</div>'
        for n, t in out) + '</div>' if out else ''


def page(every, f):
    body = ('<h1>Oriel: files at the price of memory</h1><p>Files shared by '
            'one process and used by another, in user space on both sides. '
            'Every number below comes from one run of <code>make bench</code>; '
            'contestants take turns in the same process.</p>' + tiles(f) +
            '<div class="facts">' + ''.join(
                f'<div><b>{t}:</b> {html.escape(s)}</div>' for t, s in (
                    ('Machine', machine_line(every)),
                    ('Files', folio_line(f)),
                    ('Price of a call', calls_line(f)),
                    ('Not in full', '; '.join(absences(every)))) if s) +
            '</div>')
    for title, sentence, columns, pictures in plots.sections(f):
        body += (f'<h2>{html.escape(title)}</h2>' if title else '') + (
            f'<p>{html.escape(sentence)}</p>' if sentence else '')
        body += f'<div class="c{columns}">' + ''.join(
            f'<figure>{p}</figure>' for p in pictures) + '</div>'
    body += ('<h2>Aims and what came out</h2><p>Multiples are of the system '
             'call in the same rounds; *: the stretch target too. '
             f'{html.escape(NONE)}</p>' + html_table(
                 HEAD, [line_cells(*line) for line in lines(f)]))
    for title, head, rows in tables(f):
        body += (f'<details><summary>{html.escape(title)}</summary>' +
                 html_table(head, rows) + '</details>')
    body += '<h2>Notes</h2><ul>' + ''.join(
        f'<li>{html.escape(n)}</li>' for n in notes(every, f)) + '</ul>'
    return ('<!doctype html><html lang="en"><meta charset="utf-8"><meta name='
            '"viewport" content="width=device-width"><title>Oriel benchmark'
            f'</title><style>{CSS}</style><body>{body}</body></html>\n')


def write_all(every, out):
    f = Facts(every)
    for name, text in (('report.md', report(every, f)),
                       ('table-readme.md', readme_table(every, f)),
                       ('bench.html', page(every, f))):
        with open(f'{out}/{name}', 'w') as to:
            to.write(text)


if __name__ == '__main__':
    with open(sys.argv[1]) as source:
        write_all(json.load(source), sys.argv[2])
