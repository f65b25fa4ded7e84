# SPDX-License-Identifier: BSD-2-Clause
"""What the guests do. Each function is one test; see BY_NAME at the end."""
import os
import re
import signal
import time

import changes
import lives
import machines
import share as shares
import together
from machines import daemons

DAX_WINDOW = '512M'
MANY_NAMES = 3000


class Place:
    """A share, its daemon and its guests; end() is for what went well."""

    def __init__(self, work):
        self.share = work + '/share'
        self.put = shares.fill(self.share)
        self.daemon = None
        self.guests = []

    def put_text(self, name, text):
        with open(f'{self.share}/{name}', 'w') as f:
            f.write(text)

    def serve(self, *options, kind='orield'):
        if kind == 'orield':
            options = ('--tag=' + machines.TAG,) + options
            # In a sandbox the leak check of ASan cannot work.
            if os.environ.get('ORIEL_TEST_SECCOMP') == 'none':
                options += ('--sandbox=none',)
        self.daemon = daemons.Daemon(kind, self.share, *options)

    def serve_dax(self, *options, window=DAX_WINDOW):
        self.serve('--guest-dax=auto', '--guest-window=' + window,
                   '--request-queues=1', *options)
        while 'sharing' not in self.daemon.log() and self.daemon.alive():
            time.sleep(0.05)
        if 'DAX for guests: a window' not in self.daemon.log():
            # Not privileged, or a kernel before 6.9: the log says which.
            machines.daemons.skip(self.daemon.log())

    def boot(self, machine, socket=None, **kwargs):
        guest = machines.Guest(machine, socket or self.daemon.socket,
                               **kwargs)
        self.guests.append(guest)
        print(f'booted {machine}, Linux {guest.kernel}', flush=True)
        return guest

    def counts(self):
        """{operation: how often}"""
        return {k: int(v) for k, v in re.findall(r'([A-Z][A-Z_0-9]+)=(\d+)',
                                                 self.report())}

    def queue_counts(self):
        """{queue: requests}; 0 is the one for what has priority"""
        return {int(k): int(v) for k, v in re.findall(r' (\d+)=(\d+)',
                                                      self.report())}

    def report(self):
        """What the daemon says on SIGUSR1: three lines."""
        before = self.daemon.log().count(' operations:')
        self.daemon.process.send_signal(signal.SIGUSR1)
        for _ in range(600):
            lines = self.daemon.log().splitlines()
            ops = [i for i, l in enumerate(lines) if ' operations:' in l]
            if len(ops) > before:
                return '\n'.join(lines[ops[-1] - 2:ops[-1] + 1])
            time.sleep(0.1)
        raise AssertionError('no report on SIGUSR1:\n' + self.daemon.log())

    def end(self):
        for guest in self.guests:
            if guest.process:
                guest.kernel_is_well()
                guest.power_off()
        if self.daemon.kind == 'orield':
            assert self.daemon.alive(), 'the daemon ended:\n' + \
                self.daemon.log()
        self.daemon.stop()
        self.daemon = None

    def clean(self):
        for guest in self.guests:
            guest.close()
        if self.daemon:
            print('daemon log:\n' + self.daemon.log()[-4000:])
            self.daemon.kill()


def work(place, guest, options=''):
    """What every machine does: the same programs, the same sums."""
    guest.mount(options)
    shares.check(guest.run('basic.sh'), place.share, place.put)
    guest.run('guest_ops files t-files')
    guest.run(f'guest_ops names t-names {MANY_NAMES}')
    guest.run('guest_ops xattr t-xattr')
    guest.run('guest_ops locks t-locks')
    shares.check_ops(place.share, MANY_NAMES)
    # A second life of the same device, with nothing cached.
    guest.unmount()
    guest.mount(options)
    said = guest.run('sha256sum out/par2')
    assert shares.sha256(place.put['big']) == said[-1].split()[0]


def with_orield(machine, *options):
    def scenario(place):
        place.serve(*options)
        work(place, place.boot(machine))
    return scenario


def with_virtiofsd(place):
    """The C virtiofsd of Debian 12: shows that the harness itself is right."""
    place.serve('-o', 'xattr', kind='qemu')
    work(place, place.boot('qemu'))


# ------------------------------------------------------------------- DAX

def dax(machine, options, mapped):
    """@mapped: reads and overwrites go through the window; else none does."""
    def scenario(place):
        place.serve_dax()
        guest = place.boot(machine)
        work(place, guest, options)
        guest.unmount()
        guest.mount(options)
        before = place.counts()
        said = guest.run('sha256sum in/big in/odd')
        sums = [shares.sha256(place.put[n]) for n in ('big', 'odd')]
        assert [l.split()[0] for l in said] == sums, said
        guest.run('dd if=in/text of=in/big bs=21 seek=1000 conv=notrunc '
                  '2>/dev/null && sync')
        want = bytearray(place.put['big'])
        want[21000:21021] = place.put['text']
        assert shares.read(place.share + '/in/big') == want
        after = place.counts()
        n = {k: after[k] - before.get(k, 0) for k in after}
        if mapped:
            # READ: in/text of 21 bytes may be too small for a mapping.
            assert n.get('READ', 0) <= 1 and not n.get('WRITE', 0), n
            assert n.get('SETUPMAPPING', 0) >= 4, n
        else:
            assert n.get('READ', 0) >= 5 and n.get('WRITE', 0) >= 1, n
            assert not after.get('SETUPMAPPING', 0), after
    return scenario


BY_NAME = {
    'qemu': with_orield('qemu'),
    'qemu-virtiofsd': with_virtiofsd,
    'plain': with_orield('plain'),
    'uml': with_orield('uml'),
    'pool': with_orield('plain', '--thread-pool-size=4'),
    'queues': together.queues,
    'submounts': together.submounts,
    'lives': lives.lives('qemu'),
    'lives-uml': lives.lives('uml'),
    'shares': lives.several,
    'dax-shares': lives.dax_several,
    'locks': together.locks,
    'programs': together.programs('plain', '', window=False),
    'dax-programs': together.programs('dax', 'dax=always', window=True),
    'dax-shared-page': together.shared_page,
    'resize': changes.resize('plain', ''),
    'dax-resize': changes.dax_resize,
    'dax-cut': changes.dax_cut,
    'dax-growing': changes.growing,
    'dax-second-life': changes.second_life,
    'dax-small-window': changes.small_window,
    'dax-many-ranges': changes.many_ranges,
    'dax-sqlite': together.sqlite,
    'dax-never': dax('dax', 'dax=never', False),
    'dax-always': dax('dax', 'dax=always', True),
    'dax-always-old': dax('dax-old', 'dax=always', True),
    'dax-inode': dax('dax', 'dax=inode', True),
}
