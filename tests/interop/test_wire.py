#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Speak vhost-user and FUSE to a daemon, byte by byte.

    test_wire.py sessions|hostile|fields|guest orield|qemu [--OPTION...] [CASE...]

'sessions' are well-formed, the others are not; 'guest' is 'fields' of a front
end that is no program of ours. --OPTIONs are the daemon's. It is started here,
on a directory of its own, and must outlive every case; sanitizer reports in
its log fail the test.
"""
import os
import shutil
import sys
import tempfile
import time
import traceback

import daemons
import wire_frontends
import wire_fuse
import wire_hostile_fields
import wire_hostile_fuse
import wire_hostile_vhost
import wire_sessions


class Context:
    """What a case gets."""

    def __init__(self, kind, more):
        self.kind = kind
        self.options = more
        self.root = tempfile.mkdtemp(prefix='oriel-share-')
        self.share = os.path.join(self.root, 'share')
        os.mkdir(self.share)
        options = []
        if kind == 'orield':
            options = ['--sandbox=none', '--tag=wiretag', *more]
        self.daemon = daemons.Daemon(kind, self.share, *options)
        self.used = False
        self.resident = None
        self.guest = False  # sessions are those of a machine's monitor
        self.sessions = []

    def session(self, **options):
        if self.used:
            self.daemon.restart_if_single()
        self.used = True
        s = Managed(self.daemon.socket, guest=self.guest, **options)
        self.sessions.append(s)
        return s

    def empty_share(self):
        for entry in os.scandir(self.share):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)

    def close_all_but(self, *keep):
        for s in self.sessions:
            if s not in keep:
                s.close_once(False)
        self.sessions = list(keep)

    def case_done(self):
        """What was asked leaves no memory behind: after the first case it
        has its threads' stacks and buffers; sanitizers keep what was freed."""
        now = self.daemon.resident()
        if self.resident is None:
            self.resident = now
        limit = (400 if os.environ.get('ORIEL_TEST_SECCOMP') else 16) << 20
        grown = now - self.resident
        if grown > limit:
            raise AssertionError(f'it has grown by {grown >> 20} MiB')

    def end_case(self):
        self.close_all_but()
        if not self.daemon.alive() and self.kind == 'orield':
            raise AssertionError('the daemon died:\n' + self.daemon.log())

    def done(self):
        try:
            self.daemon.stop()
        finally:
            shutil.rmtree(self.root, ignore_errors=True)


class Managed(wire_fuse.Session):
    """A session for 'with', closed once."""
    closed = False

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close_once(politely=kind is None)

    def close(self, politely=True):
        self.close_once(politely)

    def close_once(self, politely):
        if not self.closed:
            self.closed = True
            super().close(politely)


def more_than(t, at_rest):
    """What the daemon holds beyond that."""
    return {what: n - at_rest[what] for what, n in t.daemon.held().items()
            if n > at_rest[what]}


def in_company(case):
    """The case, and what must be true around every hostile one: a session of
    before lives, a new one is served, and nothing stays behind."""
    def checked(t):
        witness = os.path.join(t.share, 'file')
        with open(witness, 'wb') as f:
            f.write(b'witness')
        neighbour = t.session()
        node = neighbour.lookup(wire_fuse.ROOT, 'file').nodeid
        fh = neighbour.open(node)
        os.unlink(witness)
        at_rest = t.daemon.held()
        case(t)
        assert t.daemon.alive(), 'the daemon died'
        assert neighbour.read(node, fh, 0, 100) == b'witness'
        t.close_all_but(neighbour)
        # Who is served now was accepted after all the others.
        t.session().close()
        limit = time.monotonic() + 60
        left = more_than(t, at_rest)
        while left and time.monotonic() < limit:
            time.sleep(0.02)
            left = more_than(t, at_rest)
        assert not left, f'what stayed: {left}'
        neighbour.close()
        t.empty_share()
        wire_sessions.files(t)
        if t.session().window:
            t.empty_share()
            wire_sessions.dax_read_and_write(t)
    checked.__name__ = case.__name__
    return checked


def main():
    group, kind, *only = sys.argv[1:]
    if group == 'sessions':
        cases = wire_sessions.COMMON + \
            (wire_sessions.OURS + wire_frontends.CASES
             if kind == 'orield' else [])
    elif group == 'fields':
        cases = [in_company(c) for c in wire_hostile_fields.CASES]
    elif group == 'guest':
        cases = [in_company(c) for c in wire_hostile_fields.CASES +
                 [wire_hostile_fuse.mappings, wire_hostile_fuse.forgetting,
                  wire_hostile_vhost.back_end_channel]]
    else:
        cases = [in_company(c) for c in wire_hostile_fuse.CASES +
                 wire_hostile_vhost.CASES]
    options = [w for w in only if w.startswith('--')]
    t = Context(kind, options)
    t.guest = group == 'guest'
    only = [w for w in only if not w.startswith('--')]
    failed = 0
    try:
        for case in cases:
            if only and case.__name__ not in only:
                continue
            try:
                t.empty_share()
                case(t)
                t.end_case()
                print('ok', case.__name__, flush=True)
                if group != 'sessions':
                    t.case_done()
            except Exception:
                failed += 1
                print('FAILED', case.__name__)
                traceback.print_exc(file=sys.stdout)
                print('daemon log:\n' + t.daemon.log()[-4000:], flush=True)
                t.sessions = []
                if not t.daemon.alive() and kind == 'orield':
                    t.daemon.start()
    finally:
        t.done()
    print(f'{failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
