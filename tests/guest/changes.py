# SPDX-License-Identifier: BSD-2-Clause
"""What happens to a guest that goes on while something changes under it: file
sizes, its own driver, its kernel, the room in its window."""
import os
import random
import signal
import time

import share as shares

FILE_BYTES = 4 << 20
SIZES = (0, 1, 4096, 4097, 1 << 20, (1 << 20) + 1, 2 << 20, (2 << 20) + 5,
         3 << 20, FILE_BYTES)
RESIZES = 150
RANGE = 2 << 20


def what_was_seen(lines):
    """{pread|mmap|pwrite: {what: how often}}"""
    seen = {}
    for words in (l.split() for l in lines if l.startswith('@saw')):
        seen[words[1]] = {k: int(v) for k, v in
                          (w.split('=') for w in words[2:])}
    return seen


def hammer(place, guest, writes, change):
    """What the guest sees while @change(size, pattern, path) is done to its
    file; None if its machine was ended by SIGBUS."""
    path = place.share + '/changing'
    pattern = shares.guest_pattern(7, 0, FILE_BYTES)
    with open(path, 'wb') as f:
        f.write(pattern)
    guest.type(f'guest_ops hammer changing {FILE_BYTES} stop {writes}')
    guest.collect('@started')
    rng = random.Random(5)
    for _ in range(RESIZES):
        change(rng.choice(SIZES), pattern, path)
        time.sleep(rng.random() * .04)
        if guest.process.poll() is not None:
            assert guest.process.returncode == -signal.SIGBUS
            return None
    with open(path, 'r+b') as f:
        f.write(pattern)
    with open(place.share + '/stop', 'wb'):
        pass
    status, said = guest.finish()
    assert status == 0, said
    seen = what_was_seen(said)
    for how in seen.values():
        assert how['wrong'] == 0, seen
    assert seen['pread']['whole'] and seen['mmap']['whole'], seen
    # When things are quiet again, all is as it should be.
    guest.unmount()
    os.truncate(path, FILE_BYTES)
    guest.mount()
    said = guest.run('sha256sum changing')
    assert said[-1].split()[0] == shares.sha256(pattern)
    return seen


def cut_and_grow(size, pattern, path):
    os.truncate(path, size)
    with open(path, 'r+b') as f:
        f.write(pattern[:size // 2])


def extend_and_rewrite(size, pattern, path):
    """Never shorter than what the guest knows."""
    os.truncate(path, FILE_BYTES + size)
    with open(path, 'r+b') as f:
        f.write(pattern)


def resize(machine, options):
    """The host cuts and grows a file that a guest reads by read(2) and by
    mapping, and writes; no byte is seen that never was in the file."""
    def scenario(place):
        place.serve()
        guest = place.boot(machine)
        guest.mount(options)
        print('the guest saw', hammer(place, guest, 1, cut_and_grow))
    return scenario


def dax_resize(place):
    """The same with DAX, growing and rewriting only."""
    place.serve_dax()
    guest = place.boot('dax')
    guest.mount('dax=always')
    seen = hammer(place, guest, 1, extend_and_rewrite)
    print('the guest saw', seen)
    assert seen and not any(s['sigbus'] for s in seen.values()), seen


def dax_cut(place):
    """The host cuts a file that a guest has in its window. The machine's own
    access then faults, and QEMU, which takes no SIGBUS under emulation, may
    end: docs/design/guests.md. The daemon and other guests go on."""
    place.serve_dax()
    victim = place.boot('dax')
    other = place.boot('dax-old')
    check_share(place, other)
    victim.mount('dax=always')
    print('the guest saw', hammer(place, victim, 0, cut_and_grow))
    other.unmount()
    check_share(place, other)
    if victim.process.poll() is not None:
        victim.close()
    assert place.daemon.alive()


def growing(place):
    """A file that is mapped already grows, on either side, with a tail that is
    no whole page: nothing of it needs a new mapping."""
    place.serve_dax('--cache=never')
    path = place.share + '/growing'
    pattern = shares.guest_pattern(3, 0, RANGE + 8192)
    ends = (2088, 4096, 70000, 1 << 20, RANGE - 8, RANGE + 2088)
    with open(path, 'wb') as f:
        f.write(pattern[:ends[0]])
    guest = place.boot('dax')
    guest.mount('dax=always')
    for i, end in enumerate(ends):
        if i:
            with open(path, 'r+b') as f:
                f.seek(ends[i - 1])
                f.write(pattern[ends[i - 1]:end])
        said = guest.run('sha256sum growing')
        assert said[-1].split()[0] == shares.sha256(pattern[:end]), end
    # And the guest's own: append, cut, append.
    guest.run('cp growing own && cat growing >>own && truncate -s 100001 own '
              '&& cat growing >>own && sync')
    whole = pattern[:ends[-1]]
    assert shares.read(place.share + '/own') == whole[:100001] + whole
    n = place.counts()
    assert n.get('READ', 0) == 0, n


def check_share(place, guest, options='dax=always'):
    guest.mount(options)
    said = guest.run('sha256sum in/big in/odd')
    sums = [shares.sha256(place.put[n]) for n in ('big', 'odd')]
    assert [l.split()[0] for l in said] == sums, said


def second_life(place):
    """The driver is taken off and put on; the machine is reset; it is pulled
    out. The daemon starts afresh each time and keeps nothing."""
    place.serve_dax()
    guest = place.boot('dax', reset=True)
    check_share(place, guest)
    guest.unmount()
    guest.run('cd /sys/bus/virtio/drivers/virtiofs && for d in virtio*; do '
              'echo $d >unbind && echo $d >bind; done')
    check_share(place, guest)
    for _ in range(2):
        # With the share mounted and a file open.
        guest.run('tail -f in/text >/dev/null & true')
        guest.type('reboot -f')
        guest.wait_for('@ready', 180)
        check_share(place, guest)
    guest.close()
    other = place.boot('dax-old')
    check_share(place, other)
    other.unmount()
    other.power_off()
    until = time.monotonic() + 60
    while 'clients 0, ' not in place.report():
        assert time.monotonic() < until, place.report()
        time.sleep(.2)
    assert 'handles 0, mappings 0' in place.report(), place.report()


def small_window(place):
    """8 ranges of window: a file of 24, and all of it written anew."""
    place.serve_dax(window='16M')
    rng = random.Random(11)
    data = rng.randbytes(48 << 20)
    with open(place.share + '/large', 'wb') as f:
        f.write(data)
    guest = place.boot('dax')
    guest.mount('dax=always')
    said = guest.run('sha256sum large')
    assert said[-1].split()[0] == shares.sha256(data)
    guest.run('dd if=large of=second bs=1M 2>/dev/null && sync')
    assert shares.read(place.share + '/second') == data
    n = place.counts()
    assert n.get('SETUPMAPPING', 0) >= 48 and not n.get('READ', 0), n


def many_ranges(place):
    """More files than the window has ranges (256), and than QEMU has room for
    (512): each is mapped at its turn, and QEMU lives."""
    count = 700
    place.serve_dax()
    os.mkdir(place.share + '/small')
    total = bytearray()
    for i in range(count):
        data = b'%d\n' % i * (i % 9 + 1)
        total += data
        with open(f'{place.share}/small/{i:04}', 'wb') as f:
            f.write(data)
    guest = place.boot('dax')
    guest.mount('dax=always')
    # All stay known, so that their ranges do.
    for _ in range(2):
        said = guest.run('cat small/* >/tmp/all; sha256sum </tmp/all')
        assert said[-1].split()[0] == shares.sha256(total), said
    n = place.counts()
    assert n.get('SETUPMAPPING', 0) >= count and not n.get('READ', 0), n
