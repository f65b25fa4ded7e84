#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""From bench.json: report.md, table-readme.md and bench.html.

    render.py BENCH.JSON DIR
"""
import html
import json
import sys

import svg
from targets import Facts, size, time, verdicts

CSS = '''
:root { --ink: #1c2330; --dim: #667085; --paper: #fbfbf9; --line: #dfe2e8;
 --oriel: #d9480f; --native: #4263eb; --limit: #868e96; --peer: #0c8599;
 --other: #9c36b5; --good: #2b8a3e; --bad: #c92a2a }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --dim: #98a2b3;
 --paper: #14171d; --line: #313844; --oriel: #ff8a4c; --native: #91a7ff;
 --limit: #adb5bd; --peer: #3bc9db; --other: #da77f2; --good: #69db7c;
 --bad: #ff8787 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1120px; padding: 36px 28px; color: var(--ink);
 background: var(--paper); font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif }
h1 { font-size: 30px; margin: 0 } h2 { font-size: 20px; margin: 40px 0 6px }
p { margin: 4px 0 12px; color: var(--dim) }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 22px }
@media (max-width: 900px) { .two { grid-template-columns: 1fr } }
figure { margin: 0; border: 1px solid var(--line); border-radius: 10px;
 padding: 14px } svg { width: 100%; height: auto; display: block }
svg text { fill: var(--ink); font: 12px system-ui, "DejaVu Sans", sans-serif }
svg .t { font-size: 14px; font-weight: 600 } svg .d { fill: var(--dim) }
table { border-collapse: collapse; width: 100%; font-size: 13px }
td, th { text-align: left; padding: 4px 8px; border-bottom: 1px solid
 var(--line); vertical-align: top } .n { text-align: right;
 font-variant-numeric: tabular-nums; white-space: nowrap }
.stretch, .met { color: var(--good); font-weight: 600 } .short { color:
 var(--bad); font-weight: 600 }
'''


def machine_line(every):
    m = every['machine']
    return (f"{m['cpus']} x {m['cpu']}, Linux {m['kernel']}, "
            f"{m['memory_mib'] // 1024} GiB, load before "
            f"{m['load_before']:.2f}, {m['seconds']} s in all, {m['date']}" +
            (' (--quick: not to be trusted)' if every['quick'] else ''))


def number(x, unit):
    if x is None:
        return '-'
    return f'{x:.2f}x' if unit == 'x' else f'{x:.3g} {unit}'


def aim(r, key):
    if r[key] is None:
        return '-'
    return ('≥ ' if r['up'] else '≤ ') + (
        f"{r[key]:g}x" if r['unit'] == 'x' else f"{r[key]:g} {r['unit']}")


def cells(r):
    return [r['what'], aim(r, 'target'), aim(r, 'stretch'),
            number(r['got'], r['unit']), r['verdict'], r['why']]


HEAD = ['what', 'target', 'stretch', 'measured', 'verdict', 'why it is short']


def md_table(head, rows):
    return '\n'.join(['| ' + ' | '.join(head) + ' |', '|---' * len(head) + '|']
                     + ['| ' + ' | '.join(str(c).replace('|', '/')
                                          for c in r) + ' |' for r in rows])


def html_table(head, rows):
    def cell(i, c):
        c = str(c)
        kind = ('n' if c[:1].isdigit() or c[:1] in '≥≤' else
                c if c in ('met', 'short', 'stretch') else '')
        return f'<td class="{kind}">{html.escape(c)}</td>'
    return ('<table><tr>' + ''.join(f'<th>{html.escape(h)}</th>' for h in head)
            + '</tr>' + ''.join(
                '<tr>' + ''.join(cell(i, c) for i, c in enumerate(r)) + '</tr>'
                for r in rows) + '</table>')


def absences(every):
    return [f"{n}: absent: {s['absent']}" for n, s in every['steps'].items()
            if 'absent' in s]


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


def readme_table(every, f):
    return machine_line(every) + '\n\n' + md_table(
        HEAD, [cells(r) for r in verdicts(f)]) + '\n'


def report(every, f):
    parts = ['# Benchmark report\n', readme_table(every, f)]
    for title, head, rows in tables(f):
        parts.append(f'## {title}\n\n' + md_table(head, rows) + '\n')
    parts.append('\n'.join('* ' + n for n in notes(every, f)) + '\n')
    return '\n'.join(parts)


def page(every, f):
    figures = ''.join(f'<figure>{p}</figure>' for p in svg.plots(f))
    body = (f'<h1>Oriel: files at the price of memory</h1>'
            f'<p>{html.escape(machine_line(every))}</p>'
            f'<div class="two">{figures}</div><h2>Aims and what came out</h2>'
            + html_table(HEAD, [cells(r) for r in verdicts(f)]))
    for title, head, rows in tables(f):
        body += f'<h2>{html.escape(title)}</h2>' + html_table(head, rows)
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
