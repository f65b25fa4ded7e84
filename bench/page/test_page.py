#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The pages of 'make bench', made of recorded numbers and of a tiny real run.

    test_page.py BUILD

recorded.json is a --quick run of all steps, on a busy machine: it has every
plot. The real run is interrupted once, and must leave nothing behind.
"""
import copy
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as tree

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import render  # noqa: E402
import run  # noqa: E402
from targets import Facts, lines  # noqa: E402

TITLES = ['One random 4 KiB read', '4 KiB random read', '4 KiB overwrite',
          '64 B random read', '1 MiB sequential read',
          'Files larger than the window', 'beside the published collapse',
          'Asking the server', 'latency of 4 KiB reads', 'What it costs',
          'fio: 4 KiB random read', 'Memory of an idle client',
          'Mapping one more range']
# lines of the table that this recording has a number for, in words
LINES = ['pointer borrowed', 'one call', 'overwritten', 'of four names',
         'page cache empty', '2 MiB written over',
         'zipf, scattered', 'two threads', 'open, read 16 KiB, close',
         'readdir, a name', 'appends gathered', 'after 5 ms idle',
         'processor time, idle', 'against FUSE with passthrough']


def check(ok, what):
    if not ok:
        sys.exit('test_page: ' + what)


def figures(page):
    return [tree.fromstring(p.split('</svg>')[0] + '</svg>')
            for p in page.split('<figure>')[1:]]


def box(t):
    """Of a text, with letters on the narrow side: (x0, x1, y)"""
    x, y, w = float(t.get('x')), float(t.get('y')), 5.6 * len(t.text or '')
    kind = (t.get('class') or '').split()
    x -= w if 'e' in kind else w / 2 if 'm' in kind else 0
    return x, x + w, y


def check_figure(svg):
    title = svg.find('title').text
    _, _, width, height = map(float, svg.get('viewBox').split())
    for number in re.findall(r'[^a-z](nan|inf)', tree.tostring(
            svg, encoding='unicode').lower()):
        check(False, f'{title}: {number}')
    boxes = [box(t) for t in svg.findall('text')]
    for i, (x0, x1, y) in enumerate(boxes):
        check(x0 > -6 and x1 < width + 6 and 0 < y <= height,
              f'{title}: a text outside: {svg.findall("text")[i].text}')
        for k, (a0, a1, b) in enumerate(boxes[:i]):
            check(abs(b - y) > 9 or x1 < a0 or a1 < x0, '%s: "%s" over "%s"' % (
                title, svg.findall('text')[i].text,
                svg.findall('text')[k].text))
    for r in svg.findall('rect'):
        check(float(r.get('x')) + float(r.get('width')) <= width and
              float(r.get('width')) >= 0, title + ': a bar outside')
    for c in svg.findall('circle'):
        check(0 <= float(c.get('cx')) <= width and
              0 <= float(c.get('cy')) <= height, title + ': a dot outside')


def test_recorded(every):
    page = render.page(every, Facts(every))
    found = figures(page)
    titles = [s.find('title').text for s in found]
    for t in TITLES:
        check(any(t in title for title in titles), f'no plot "{t}"')
    curves = every['steps']['scale']['data']['curves']
    check(len(titles) >= len(TITLES) + len(curves) - 2, 'plots are missing')
    for s in found:
        check_figure(s)
    table = render.readme_table(every, Facts(every))
    rows = table.splitlines()
    check(len(rows) <= 36, f'the table for the README has {len(rows)} lines')
    for words in LINES:
        line = next((r for r in rows if words in r), None)
        check(line and 'not measured' not in line, f'no number for "{words}"')
    for _, items in lines(Facts(every)):
        for i in items:
            check(i['verdict'] != 'short' or i['why'],
                  'a shortfall is not explained: ' + i['label'])
    check('where the targets were set' in table, 'no price of a system call')


def test_holes(every):
    """Steps that could not run leave the others alone."""
    for name in every['steps']:
        less = copy.deepcopy(every)
        less['steps'][name] = {'absent': 'no loop device <here>'}
        page = render.page(less, Facts(less))
        check('no loop device &lt;here&gt;' in page, 'absence not reported')
        for s in figures(page):
            check_figure(s)
    less['steps'] = {n: {'absent': 'x'} for n in every['steps']}
    check('not measured' in render.readme_table(less, Facts(less)),
          'a missing case has a verdict')


class Options:
    steps = list(run.STEPS)
    quick = False


def test_budget():
    full = sum(s[1] for s in run.STEPS.values())
    first = Options.steps[0]
    check(full <= run.BUDGET, f'the steps take {full} s of {run.BUDGET}')
    check(run.plan(Options, first, full)[0] == 'full', 'not in full')
    short = sum(s[2] for s in run.STEPS.values())
    how, why = run.plan(Options, first, short)
    check(how == 'short' and 'shortened' in why, 'was not shortened')
    how, why = run.plan(Options, first, 1)
    check(how is None and 'left out' in why, 'was not left out')


def start(build, out, *more):
    for d in ('disk', 'shm'):
        os.makedirs(f'{out}/{d}', exist_ok=True)
    return subprocess.Popen([sys.executable, HERE + '/run.py', build,
                             '--quick', '--out=' + out, f'--dir={out}/disk',
                             f'--shm-dir={out}/shm', *more])


def left_behind(out):
    """Files, mounts and processes that belong to @out."""
    found = os.listdir(out + '/disk') + os.listdir(out + '/shm')
    with open('/proc/self/mounts') as f:
        found += [line for line in f if out in line]
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/cmdline') as f:
                if int(pid) != os.getpid() and out in f.read():
                    found.append('process ' + pid)
        except OSError:
            pass
    return found


def test_interrupt(build, out):
    p = start(build, out, '--steps=suite')
    end = time.monotonic() + 60
    while time.monotonic() < end and p.poll() is None and not any(
            'data' in files for _, _, files in os.walk(out + '/disk')):
        time.sleep(0.01)
    p.send_signal(signal.SIGINT)
    check(p.wait() == 130, 'was not interrupted')
    check(not left_behind(out), f'left behind: {left_behind(out)}')


def test_run(build, out):
    p = start(build, out, '--steps=suite', '--only=read-4k')
    check(p.wait() == 0, 'run.py failed')
    check(not left_behind(out), f'left behind: {left_behind(out)}')
    with open(out + '/bench.json') as f:
        every = json.load(f)
    check('data' in every['steps']['suite'],
          'the suite was not measured: %s' % every['steps']['suite'])
    with open(out + '/table-readme.md') as f:
        row = next(r for r in f if '4 KiB random read' in r)
    check('met' in row and 'x' in row.split('|')[3], 'no verdict: ' + row)
    for name in ('bench.html', 'report.md'):
        check(os.path.getsize(f'{out}/{name}') > 1000, name)


def main():
    with open(HERE + '/recorded.json') as f:
        every = json.load(f)
    test_recorded(every)
    test_holes(every)
    test_budget()
    with tempfile.TemporaryDirectory() as out:
        test_interrupt(sys.argv[1], out)
        test_run(sys.argv[1], out)


if __name__ == '__main__':
    main()
