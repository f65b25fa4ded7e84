# SPDX-License-Identifier: BSD-2-Clause
"""A daemon, a crowd of clients (crowd.c), and what they take; for bench_scale.py
and tests/scale."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

SOURCE = os.environ.get('ORIEL_SOURCE') or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), '../..')
BUILD = os.environ.get('ORIEL_BUILD') or os.path.join(SOURCE, 'build')
ORIELD = os.environ.get('ORIEL_DAEMON') or os.path.join(BUILD, 'bin/orield')
FILE_BYTES = 1 << 20
# The leak check of a sanitized daemon needs its /proc, and system calls.
SANDBOX = ['--seccomp=' + os.environ['ORIEL_TEST_SECCOMP'], '--sandbox=none'] \
    if 'ORIEL_TEST_SECCOMP' in os.environ else []
TICK_S = 1 / os.sysconf('SC_CLK_TCK')


def pattern():
    """What crowd.c compares with."""
    return bytes((i * 131 + (i >> 8) * 17) & 255 for i in range(FILE_BYTES))


class Crowd:
    """@env: see crowd.c."""

    def __init__(self, program, clients, sockets, **env):
        env = {'ORIEL_CROWD_' + k: str(v) for k, v in env.items()}
        self.process = subprocess.Popen(
            [program, str(clients), *sockets], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env={**os.environ, **env})
        self.pids = self.ask('pids')['pids']

    def ask(self, order):
        self.process.stdin.write(order + '\n')
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f'{order}: the crowd ended')
        return json.loads(line)

    def end(self):
        """Its exit status; 0: each left as it should."""
        try:
            self.process.stdin.write('quit\n')
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        return self.process.wait()


class Daemon:
    """With @shares directories; the first has "data" and @dress(its path)."""

    def __init__(self, *options, shares=1, parent=None, dress=None):
        self.root = tempfile.mkdtemp(prefix='oriel-scale-', dir=parent)
        self.shares = [f'{self.root}/s{i}' for i in range(shares)]
        self.sockets = [f'{self.root}/s{i}.sock' for i in range(shares)]
        self.log_path = self.root + '/log'
        data = pattern()
        for share in self.shares:
            os.mkdir(share)
            with open(share + '/data', 'wb') as f:
                f.write(data)
        if dress:
            dress(self.shares[0])
        if shares == 1:
            where = ['--shared-dir=' + self.shares[0],
                     '--socket-path=' + self.sockets[0]]
        else:
            where = [f'--share=tag=s{i},path={p},socket={s}' for i, (p, s)
                     in enumerate(zip(self.shares, self.sockets))]
        ready, there = os.pipe()
        with open(self.log_path, 'wb') as log:
            self.process = subprocess.Popen(
                [ORIELD, *where, *options, f'--ready-fd={there}',
                 '--exit-with-parent',
                 *SANDBOX],
                stderr=log, pass_fds=[there])
        os.close(there)
        with os.fdopen(ready) as f:
            said = f.readline()
        if not said.startswith('READY'):
            text = said + self.log()
            self.end()
            raise RuntimeError(text)
        self.pid = self.process.pid

    def log(self):
        with open(self.log_path, errors='replace') as f:
            return f.read()

    def end(self):
        self.process.terminate()
        code = self.process.wait()
        if code:
            print(self.log()[-3000:], file=sys.stderr)
        shutil.rmtree(self.root, ignore_errors=True)
        return code


def proc(pid, name):
    with open(f'/proc/{pid}/{name}') as f:
        return f.read()


def fields(text):
    """{name: number} of the lines "Name:  number kB"."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(':')
        word = rest.split()
        if word and word[0].isdigit():
            found[name] = int(word[0])
    return found


def takes(pid):
    """What a process takes: KiB, and numbers of things."""
    status = fields(proc(pid, 'status'))
    return {'pss_kib': fields(proc(pid, 'smaps_rollup'))['Pss'],
            'page_tables_kib': status['VmPTE'],
            'address_space_kib': status['VmSize'],
            'threads': status['Threads'],
            'descriptors': len(os.listdir(f'/proc/{pid}/fd')),
            'mappings': proc(pid, 'maps').count('\n')}


def cpu_s(pid):
    """Processor time so far, seconds."""
    word = proc(pid, 'stat').rpartition(')')[2].split()
    return (int(word[11]) + int(word[12])) * TICK_S


def jain(numbers):
    """1: all have the same; 1/n: one has all."""
    squares = sum(n * n for n in numbers)
    return sum(numbers) ** 2 / (len(numbers) * squares) if squares else 0
