# SPDX-License-Identifier: BSD-2-Clause
"""Start the daemon under test, in a folder of its own, and take it down."""
import os
import shutil
import subprocess
import sys
import tempfile

QEMU_VIRTIOFSD = '/usr/lib/qemu/virtiofsd'
# Where 'make' puts it; the test suite names its own.
OURS = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                    '../../build/bin/orield')
SKIP = 77


def skip(why):
    print('SKIP:', why)
    sys.exit(SKIP)


class Daemon:
    """kind: 'orield' (path from ORIEL_DAEMON) or 'qemu', the C virtiofsd of
    Debian 12, which ends with its first client. share: a directory; or, by
    tag, several (and their options), then sockets has theirs."""

    def __init__(self, kind, share, *options, how=None):
        self.kind = kind
        self.folder = tempfile.mkdtemp(prefix='oriel-wire-')
        self.socket = os.path.join(self.folder, 'socket')
        self.log_path = os.path.join(self.folder, 'log')
        if kind == 'qemu':
            if not os.access(QEMU_VIRTIOFSD, os.X_OK):
                skip('no ' + QEMU_VIRTIOFSD)
            if os.getuid() != 0:
                skip('that virtiofsd runs as root only')
            self.argv = [QEMU_VIRTIOFSD, '--socket-path=' + self.socket,
                         '-o', 'source=' + share, '-o', 'sandbox=chroot']
        else:
            self.argv = [os.environ.get('ORIEL_DAEMON') or OURS,
                         *self.what(share)]
            if os.environ.get('ORIEL_TEST_SECCOMP'):
                self.argv.append('--seccomp=' +
                                 os.environ['ORIEL_TEST_SECCOMP'])
        self.argv += options
        self.how = how or {}
        if 'user' in self.how:
            os.chown(self.folder, self.how['user'], self.how['group'])
        self.process = None
        self.start()

    def what(self, share):
        if isinstance(share, str):
            return ['--socket-path=' + self.socket, '--shared-dir=' + share]
        self.sockets = {tag: f'{self.folder}/{tag}.sock' for tag in share}
        return [f'--share=tag={tag},socket={self.sockets[tag]},path={where}'
                for tag, where in share.items()]

    def start(self):
        with open(self.log_path, 'ab') as log:
            self.process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                **self.how)

    def restart_if_single(self):
        """Before a further session: virtiofsd left with the last one."""
        if self.kind == 'qemu':
            self.process.wait(30)
            self.start()

    def alive(self):
        return self.process.poll() is None

    def log(self):
        with open(self.log_path, errors='replace') as f:
            return f.read()

    def fds(self):
        """How many descriptors it holds."""
        return len(os.listdir(f'/proc/{self.process.pid}/fd'))

    def held(self):
        """What a client may make it hold, by name: descriptors, threads, and
        pieces of clients' memory."""
        proc = f'/proc/{self.process.pid}'
        with open(proc + '/maps') as f:
            pieces = sum('/memfd:' in line for line in f)
        return {'descriptors': self.fds(), 'pieces of memory': pieces,
                'threads': len(os.listdir(proc + '/task'))}

    def resident(self):
        """Bytes."""
        with open(f'/proc/{self.process.pid}/statm') as f:
            return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')

    def kill(self):
        """End it whatever it does."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self, expect_clean=True):
        """End it with SIGTERM; sanitizers report here. Returns the status."""
        if self.alive():
            self.process.terminate()
        try:
            status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError('the daemon ignored SIGTERM:\n' + self.log())
        text = self.log()
        shutil.rmtree(self.folder, ignore_errors=True)
        for bad in ('AddressSanitizer', 'ThreadSanitizer', 'LeakSanitizer',
                    'runtime error:'):
            if bad in text:
                raise AssertionError(text)
        if expect_clean and self.kind != 'qemu' and status not in (0, -15):
            raise AssertionError(f'the daemon ended with {status}:\n{text}')
        return status
