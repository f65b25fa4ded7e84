#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""One daemon with two hundred clients, each a process, at once.

    test_scale.py CROWD [CASE...]

What is asserted are bytes, numbers of things and who got an answer: nothing is
timed, so a loaded machine only takes longer.
"""
import os
import re
import resource
import sys
import time

import rig

# Sanitizers make each of them many times as large.
SANITIZED = 'ORIEL_TEST_SECCOMP' in os.environ
CLIENTS = 40 if SANITIZED else 200
# Of one that has one request queue, as liboriel's have: see docs/design/scale.md
CLIENT_THREADS = 3
CLIENT_FDS = 12


def until(what, *args):
    """Wait for @what() to be true; the test's own time-out ends it."""
    while not what(*args):
        time.sleep(0.02)


def threads(daemon):
    return len(os.listdir(f'/proc/{daemon.pid}/task'))


def descriptors(daemon):
    return len(os.listdir(f'/proc/{daemon.pid}/fd'))


def good(answer):
    assert answer['failed'] == 0, answer['error']
    return answer


def crowd():
    """All connect at once, read what they should, and each goes on being
    served: after most were killed, and while one asks with many threads."""
    daemon = rig.Daemon()
    base = threads(daemon), descriptors(daemon)
    crowd = rig.Crowd(program, CLIENTS, daemon.sockets)
    good(crowd.ask('connect'))
    more = threads(daemon) - base[0]
    # TSan starts one of its own with the first
    assert CLIENTS * CLIENT_THREADS <= more <= \
        CLIENTS * CLIENT_THREADS + SANITIZED, more
    # and one for the file
    more = descriptors(daemon) - base[1]
    assert CLIENTS < more <= CLIENTS * CLIENT_FDS + 8, more
    # Each does ten, however long that takes; the first one does not stop.
    good(crowd.ask(f'run check {CLIENTS} 1 16'))
    good(crowd.ask(f'run stat {CLIENTS} 1 16'))
    stay = CLIENTS // 5
    crowd.ask(f'kill 8 {CLIENTS - stay}')
    until(lambda: threads(daemon) <=
          base[0] + stay * CLIENT_THREADS + SANITIZED)
    until(lambda: descriptors(daemon) <= base[1] + stay * CLIENT_FDS + 8)
    # who is left, and who comes now
    good(crowd.ask(f'run check {CLIENTS} 1 1'))
    late = rig.Crowd(program, CLIENTS - stay, daemon.sockets)
    good(late.ask('connect'))
    assert late.end() == 0 and crowd.end() == 0
    until(lambda: threads(daemon) <= base[0] + SANITIZED)
    until(lambda: descriptors(daemon) <= base[1] + 8)
    assert daemon.end() == 0


def idle():
    """Who has asked for nothing for a while costs no processor time: nobody in
    the daemon wakes up even once."""
    daemon = rig.Daemon()
    crowd = rig.Crowd(program, CLIENTS // 2, daemon.sockets)
    good(crowd.ask('connect'))

    def switches():
        """How often each thread has slept."""
        return {task: re.search(
            r'\nvoluntary_ctxt_switches:\s+(\d+)',
            rig.proc(daemon.pid, f'task/{task}/status')).group(1)
            for task in os.listdir(f'/proc/{daemon.pid}/task')}

    def rests():
        """Nobody woke up for half a second: soon true, or never. But TSan's own
        thread does all the time."""
        before = switches()
        time.sleep(0.5)
        after = switches()
        return sum(after[t] != before[t] for t in after) <= SANITIZED

    until(rests)
    assert crowd.end() == 0
    daemon.end()


def shares():
    """Many shares of one daemon, five clients each. What is
    written to one of them shows to its clients only."""
    daemon = rig.Daemon(shares=CLIENTS // 5)
    crowd = rig.Crowd(program, CLIENTS, daemon.sockets)
    good(crowd.ask('connect'))
    with open(daemon.shares[3] + '/data', 'r+b') as f:
        f.write(bytes(rig.FILE_BYTES))
    failed = crowd.ask(f'run check {CLIENTS} 1 1')['failed']
    assert failed == CLIENTS // len(daemon.shares), failed
    assert crowd.end() == 0
    assert daemon.end() == 0


def full():
    """Who is one too many is told so, and the daemon says what to do."""
    daemon = rig.Daemon('--max-clients=3')
    crowd = rig.Crowd(program, 5, daemon.sockets)
    assert crowd.ask('connect')['failed'] == 2
    # of the other two, no file is open
    assert crowd.ask('run check 5 1 1')['failed'] == 2
    assert crowd.end() == 0
    until(lambda: daemon.log().count('there are 3, which is the most of this '
                                     'share: see --max-clients') == 2)
    daemon.end()
    daemon = rig.Daemon('--max-clients=1024', '--request-queues=64')
    until(lambda: '--max-clients=1024: there can be 124, for lack of threads'
          in daemon.log())
    daemon.end()


def no_descriptors():
    """More clients than descriptors: the daemon says how many there are, and
    goes on when some have left."""
    daemon = rig.Daemon('--rlimit-nofile=200')
    crowd = rig.Crowd(program, 40, daemon.sockets)
    assert crowd.ask('connect')['failed'] >= 20
    assert re.search(r'out of file descriptors: the limit is 200, a client'
                     r' takes up to 23; raise', daemon.log()), daemon.log()
    crowd.end()
    until(lambda: threads(daemon) <= 1 + SANITIZED)
    crowd = rig.Crowd(program, 2, daemon.sockets)
    good(crowd.ask('connect'))
    assert crowd.end() == 0
    assert daemon.end() == 0


CASES = [crowd, idle, shares, full, no_descriptors]


def enough(what, need, have):
    if have != resource.RLIM_INFINITY and have < need:
        print(f'skipped: {need} {what} are needed, the limit is {have}')
        sys.exit(77)


def main():
    enough('descriptors', 4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    enough('processes', 2000, resource.getrlimit(resource.RLIMIT_NPROC)[1])
    for case in CASES:
        if len(sys.argv) > 2 and case.__name__ not in sys.argv[2:]:
            continue
        case()
        print('ok', case.__name__, flush=True)
    return 0


program = sys.argv[1]
if __name__ == '__main__':
    sys.exit(main())
