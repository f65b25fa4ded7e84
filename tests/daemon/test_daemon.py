#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""orield between clients that harm it and clients that must not notice.

    test_daemon.py memory|limits|ends|walls|options|start|shares [CASE...]

Every case gets a Rig: a daemon with a neighbour session on it. Afterwards the
neighbour must be served, and threads, descriptors and mappings of the daemon
must be what they were before (docs/design/threat-model.md names the cases).
"""
import os
import shutil
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                '../interop'))
import daemons  # noqa: E402
import wire_fuse as fuse  # noqa: E402


class Rig:
    """@options: of the daemon; @neighbour: with a session that must live;
    @how: for subprocess.Popen."""

    def __init__(self, *options, neighbour=True, how=None):
        self.root = tempfile.mkdtemp(prefix='oriel-daemon-')
        self.share = os.path.join(self.root, 'share')
        os.mkdir(self.share)
        self.make('witness', b'witness')
        if not any(o.startswith('--sandbox') for o in options):
            options = ('--sandbox=none', *options)
        if how and 'user' in how:
            os.chown(self.root, how['user'], how['group'])
        self.daemon = daemons.Daemon('orield', self.share, *options, how=how)
        self.neighbour = None
        if neighbour:
            self.neighbour = fuse.Session(self.daemon.socket)
            self.node = self.neighbour.lookup(fuse.ROOT, 'witness').nodeid
            self.fh = self.neighbour.open(self.node)
            # Reaping of an earlier connection may still be under way.
            self.before = self.counts()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self.check()
                if self.neighbour:
                    self.neighbour.close()
                self.daemon.stop()
            else:
                print('daemon log:\n' + self.daemon.log()[-3000:])
                self.daemon.kill()
        finally:
            shutil.rmtree(self.root, ignore_errors=True)

    def make(self, name, data):
        path = os.path.join(self.share, name)
        with open(path, 'wb') as f:
            f.write(data)
        return path

    def session(self, **how):
        return fuse.Session(self.daemon.socket, **how)

    def proc(self, name):
        return f'/proc/{self.daemon.process.pid}/{name}'

    def counts(self):
        """Threads, descriptors, shared mappings. Not all mappings: malloc(3)
        keeps an arena for each thread there ever was."""
        with open(self.proc('maps')) as f:
            shared = sum(1 for line in f if line.split()[1].endswith('s'))
        return len(os.listdir(self.proc('task'))), self.daemon.fds(), shared

    def served(self):
        assert self.daemon.alive(), 'the daemon died:\n' + self.daemon.log()
        got = self.neighbour.read(self.node, self.fh, 0, 100)
        assert got == b'witness', got

    def settled(self):
        """Everything of clients that left is gone."""
        limit = time.monotonic() + 20
        while self.counts() != self.before and time.monotonic() < limit:
            time.sleep(0.02)
        assert self.counts() == self.before, \
            f'threads, fds, mappings: {self.before}, now {self.counts()}'

    def check(self):
        assert self.daemon.alive(), 'the daemon died:\n' + self.daemon.log()
        if self.neighbour:
            self.served()
            self.settled()


def groups():
    import cases_ends
    import cases_left
    import cases_limits
    import cases_lives
    import cases_memory
    import cases_options
    import cases_shares
    import cases_start
    import cases_walls
    return {'options': cases_options.CASES,
            'start': cases_start.CASES + cases_left.CASES,
            'memory': cases_memory.CASES, 'limits': cases_limits.CASES,
            'ends': cases_ends.CASES + cases_lives.CASES, 'walls': cases_walls.CASES,
            'shares': cases_shares.CASES}


def main():
    group, *only = sys.argv[1:]
    failed = 0
    for case in groups()[group]:
        if only and case.__name__ not in only:
            continue
        try:
            case()
            print('ok', case.__name__, flush=True)
        except Exception:
            failed += 1
            print('FAILED', case.__name__)
            traceback.print_exc(file=sys.stdout)
            sys.stdout.flush()
    print(f'{failed} failed', flush=True)
    # Threads of windows whose daemon is gone must not keep us.
    os._exit(1 if failed else 0)


if __name__ == '__main__':
    sys.modules['test_daemon'] = sys.modules['__main__']
    main()
