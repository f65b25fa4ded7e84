# SPDX-License-Identifier: BSD-2-Clause
"""Guests that come and go at one daemon, which keeps listening; and guests of
several shares at one."""
import os
import time

import share as shares
import together
from machines import daemons

SECONDS = 60


def left(place, report_has='clients 0, inodes 1, descriptors 1, handles 0, '
         'mappings 0,'):
    """Wait until nothing of a guest is left; how many descriptors there are."""
    until = time.monotonic() + SECONDS
    while report_has not in place.report():
        assert time.monotonic() < until, place.report()
        time.sleep(0.2)
    return place.daemon.fds()


def reads(place, guest):
    said = guest.run('sha256sum in/big')
    assert said[-1].split()[0] == shares.sha256(place.put['big'])


def busy(place, guest, name):
    """An open file, a lock, a program that writes."""
    with open(f'{place.share}/{name}', 'wb'):
        pass
    guest.run(f'guest_ops hold-lock posix {name} & true')
    guest.run('(while true; do cat in/big >>scratch; done) 2>/dev/null & '
              'tail -f in/text >/dev/null & true')
    together.wait_for_path(f'{place.share}/{name}.held')
    assert together.try_lock_here('posix', f'{place.share}/{name}') == 'busy'


def free(place, name):
    until = time.monotonic() + SECONDS
    while together.try_lock_here('posix', f'{place.share}/{name}') == 'busy':
        assert time.monotonic() < until, 'the lock stays'
        time.sleep(0.2)
    os.unlink(f'{place.share}/{name}.held')


def lives(machine):
    """Unmounted and powered off; killed with all hands full; rebooted. Then
    the next comes, and the daemon has what it had before the first."""
    def scenario(place):
        place.serve()
        while 'sharing' not in place.daemon.log() and place.daemon.alive():
            time.sleep(0.05)
        before = left(place)
        for turn in range(2):
            guest = place.boot(machine)
            guest.mount()
            reads(place, guest)
            guest.unmount()
            guest.power_off()
            assert left(place) == before, turn
            guest = place.boot(machine, reset=machine != 'uml')
            guest.mount()
            if machine != 'uml':
                busy(place, guest, f'reset{turn}')
                guest.type('reboot -f')
                guest.wait_for('@ready', 180)
                free(place, f'reset{turn}')
                guest.mount()
                reads(place, guest)
            busy(place, guest, f'killed{turn}')
            guest.close()  # SIGKILL
            free(place, f'killed{turn}')
            assert left(place) == before, turn
        assert 'client 4: left' in place.daemon.log(), place.daemon.log()
    return scenario


def several(place):
    """Two shares of one daemon; a QEMU guest and two UML guests, which learn
    the tag from the daemon. What is written to one is not in the other, and
    who is killed at one is not missed at the other."""
    other = place.share + '-other'
    os.mkdir(other)
    with open(other + '/only-here', 'w') as f:
        f.write('other\n')
    sandbox = ['--sandbox=none'] if \
        os.environ.get('ORIEL_TEST_SECCOMP') == 'none' else []
    place.daemon = daemons.Daemon('orield', {
        'first': place.share, 'second': other + ',cache=never'}, *sandbox)
    sockets = place.daemon.sockets
    first = place.boot('qemu', socket=sockets['first'])
    first.mount()
    reads(place, first)
    twin = place.boot('uml', socket=sockets['first'])
    twin.mount(tag='first')
    second = place.boot('uml', socket=sockets['second'])
    assert second.fails('mount -t virtiofs first /mnt')
    second.mount(tag='second')
    assert second.run('cat only-here') == ['other']
    assert second.fails('ls in') and twin.fails('ls only-here')
    first.run('echo hello >greeting')
    assert twin.run('cat greeting') == ['hello']
    assert second.fails('ls greeting || ls ../greeting || ls /mnt/../greeting')
    second.run('echo hidden >greeting && ln -s ../share/greeting link')
    assert second.fails('cat link')
    with open(place.share + '/greeting') as f:
        assert f.read() == 'hello\n'
    busy(place, first, 'killed')
    first.close()
    free(place, 'killed')
    assert second.run('cat greeting') == ['hidden']
    assert twin.run('cat greeting') == ['hello']
    again = place.boot('qemu', socket=sockets['first'])
    again.mount()
    reads(place, again)
