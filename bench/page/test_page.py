#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""One real, tiny run of run.py, and the pages it must make of it.

    test_page.py BUILD
"""
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as tree

HERE = os.path.dirname(os.path.abspath(__file__))


def check(ok, what):
    if not ok:
        sys.exit('test_page: ' + what)


def main():
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([sys.executable, HERE + '/run.py', sys.argv[1],
                        '--quick', '--steps=suite', '--out=' + out,
                        '--dir=' + out], check=True)
        with open(out + '/bench.json') as f:
            every = json.load(f)
        check('data' in every['steps']['suite'],
              'the suite was not measured: %s' % every['steps']['suite'])
        with open(out + '/table-readme.md') as f:
            rows = [r for r in f if '4 KiB random read' in r and 'x |' in r]
        check(any(v in r for r in rows for v in ('met', 'short', 'stretch')),
              'no verdict')
        every['steps']['xfs'] = {'absent': 'no loop device <here>'}
        del every['steps']['suite']['data']['results'][3:]
        with open(out + '/bench.json', 'w') as f:
            json.dump(every, f)
        subprocess.run([sys.executable, HERE + '/render.py',
                        out + '/bench.json', out], check=True)
        with open(out + '/bench.html') as f:
            page = f.read()
        check('no loop device &lt;here&gt;' in page, 'absence not reported')
        check('not measured' in page, 'a missing case has a verdict')
        plots = [p.split('</svg>')[0] + '</svg>'
                 for p in page.split('<figure>')[1:]]
        check(plots, 'no plot')
        for p in plots:
            tree.fromstring(p)


if __name__ == '__main__':
    main()
