#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The checks find what they are there to find: each is run on a small tree
with one breach, and must name it.

    test_checks.py SOURCE_ROOT
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

SPDX = '/* SPDX-License-Identifier: BSD-2-Clause */\n'
# (path, text, breach is expected)
INCLUDES = [
    ('src/base/a.c', '#include "base/b.h"\n', False),
    ('src/base/a.c', '#include "wire/fuse.h"\n', True),
    ('src/wire/a.c', '#include "base/b.h"\n', False),
    ('src/wire/a.c', '#include "../base/b.h"\n', True),
    ('src/dax/a.c', '#include "ring/ring.h"\n', True),
    ('src/dax/a.c', '#include <oriel/oriel.h>\n', True),
    ('src/dax/a.c', '#include <base/b.h>\n', True),
    ('src/dax/a.c', '#include <stdio.h>\n', False),
    ('src/server/a.c', '#include "vhost/backend.h"\n', True),
    ('src/client/a.c', '#include "dax/dax.h"\n', False),
    ('src/client/a.c', '#include "oriel/oriel.h"\n', False),
    ('src/client/a.c', '#include "server/server.h"\n', True),
    ('src/client/a.c', '#include "missing.h"\n', True),
    ('cmd/oriel/a.c', '#include <oriel/oriel.h>\n', False),
    ('cmd/oriel/a.c', '#include "base/b.h"\n', True),
    ('cmd/oriel/a.c', '  #  include "client/client.h"\n', True),
    ('cmd/orield/a.c', '#include "server/server.h"\n', False),
    ('cmd/orield/a.c', '#include "client/client.h"\n', True),
    ('src/novel/a.c', '#include <stdio.h>\n', True),
]
TREE = [
    ('src/a.c', SPDX + 'int a;\n', False),
    ('src/a.c', 'int a;\n', True),
    ('src/a.c', SPDX + 'int a; \n', True),
    ('src/a.c', SPDX + '/* see /' + 'home/me/notes */\n', True),
    ('src/a.c', SPDX + '/* TO' + 'DO: later */\n', True),
    ('src/a.c', SPDX + '/* TO' + 'DO: later, #12 */\n', False),
    ('src/a.c', SPDX + 'int a' + 'a' * 100 + ';\n', True),
    ('src/a.c', SPDX + 'int a;\n' * 1001, True),
    ('scripts/a', '#!/bin/sh\nexit 0\n', True),
]


def run(script, source, path, text):
    """Whether the check finds fault with a tree of this one file."""
    top = pathlib.Path(tempfile.mkdtemp(prefix='oriel-check-'))
    try:
        (top / 'docs/design').mkdir(parents=True)
        shutil.copy(source / 'docs/design/layers.md', top / 'docs/design')
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)
        done = subprocess.run([source / 'scripts' / script, top],
                              capture_output=True, text=True)
        named = any(l.startswith(path + ':') for l in
                    done.stdout.splitlines())
        assert (done.returncode != 0) == named, done.stdout + done.stderr
        return named
    finally:
        shutil.rmtree(top)


def main():
    source = pathlib.Path(sys.argv[1])
    os.environ['GIT_CEILING_DIRECTORIES'] = tempfile.gettempdir()
    bad = 0
    for script, cases in (('check-includes', INCLUDES), ('check-tree', TREE)):
        for path, text, expected in cases:
            if run(script, source, path, text) != expected:
                print(f'{script}: {path} with {text[-60:]!r}: should '
                      f'{"fail" if expected else "pass"}')
                bad += 1
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
