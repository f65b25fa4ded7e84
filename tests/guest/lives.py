# SPDX-License-Identifier: BSD-2-Clause
"""Guests that come and go at one daemon, which keeps listening; and guests of
several shares at one."""
import os
import random
import re
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


def sandbox():
    """In one the leak check of ASan cannot work."""
    return ['--sandbox=none'] if \
        os.environ.get('ORIEL_TEST_SECCOMP') == 'none' else []


def several(place):
    """Two shares of one daemon; a QEMU guest and two UML guests, which learn
    the tag from the daemon. What is written to one is not in the other, and
    who is killed at one is not missed at the other."""
    other = place.share + '-other'
    os.mkdir(other)
    with open(other + '/only-here', 'w') as f:
        f.write('other\n')
    place.daemon = daemons.Daemon('orield', {
        'first': place.share, 'second': other + ',cache=never'}, *sandbox())
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


def dax_several(place):
    """A window for the guests of two shares at once, by one broker; and none
    on a share that cannot be changed."""
    other = place.share + '-other'
    frozen = place.share + '-frozen'
    same = {}
    for path in place.share, other, frozen:
        os.makedirs(path, exist_ok=True)
        same[path] = random.Random(path).randbytes(5 << 20)
        with open(path + '/same', 'wb') as f:
            f.write(same[path])
    place.daemon = daemons.Daemon('orield', {
        'first': place.share, 'second': other, 'third': frozen + ',readonly'},
        '--guest-dax=auto', '--guest-window=256M', '--request-queues=1',
        *sandbox())
    while 'sharing' not in place.daemon.log() and place.daemon.alive():
        time.sleep(0.05)
    if 'DAX for guests: a window' not in place.daemon.log():
        daemons.skip(place.daemon.log())
    guests = {}
    for tag, path in ('first', place.share), ('second', other):
        guest = place.boot('dax', socket=place.daemon.sockets[tag])
        guest.mount('dax=always', tag=tag)
        guests[path] = guest
    for path, guest in guests.items():
        said = guest.run('sha256sum same')
        assert said[-1].split()[0] == shares.sha256(same[path]), path
    guests[other].run('echo second | dd of=same conv=notrunc 2>/dev/null '
                      '&& sync')
    assert shares.read(other + '/same')[:7] == b'second\n'
    assert shares.read(place.share + '/same') == same[place.share]
    said = guests[place.share].run('sha256sum same')
    assert said[-1].split()[0] == shares.sha256(same[place.share])
    place.report()
    log = place.daemon.log()
    for tag in 'first', 'second':
        line = re.findall(f': {tag}: operations:(.*)', log)[-1]
        assert 'SETUPMAPPING=' in line and ' READ=' not in line, line
    guest = place.boot('plain', socket=place.daemon.sockets['third'])
    guest.mount()
    said = guest.run('sha256sum same')
    assert said[-1].split()[0] == shares.sha256(same[frozen])
    assert guest.fails('echo x >new')
