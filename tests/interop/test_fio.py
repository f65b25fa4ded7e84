# SPDX-License-Identifier: BSD-2-Clause
"""The engine for fio: built for the fio that is here, then fio --verify through
it, on a directory and on the socket of an orield, checked by fio's own psync.

    test_fio.py data|jobs|errors
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from daemons import QEMU_VIRTIOFSD, SKIP, Daemon

SOURCE = os.environ.get('ORIEL_SOURCE') or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), '../..')
BUILD = os.environ.get('ORIEL_BUILD') or os.path.join(SOURCE, 'build')
WAYS = re.compile(r'oriel: (\S+): window (on|off), read (\d+) KiB, '
                  r'written (\d+) KiB; by message read (\d+) KiB, '
                  r'written (\d+) KiB; by descriptor read (\d+) KiB, '
                  r'written (\d+) KiB')


def build():
    r = subprocess.run([SOURCE + '/contrib/fio/build', BUILD],
                       stdout=subprocess.PIPE, text=True)
    if r.returncode == SKIP:
        sys.exit(SKIP)
    assert r.returncode == 0, f'contrib/fio/build: {r.returncode}'
    return r.stdout.strip()


def daemon(kind, share):
    """One that listens."""
    d = Daemon(kind, share)
    until = time.monotonic() + 60
    while True:
        with open('/proc/net/unix') as f:
            if any(' 00010000 ' in line and line.endswith(f' {d.socket}\n')
                   for line in f):
                return d
        assert d.alive() and time.monotonic() < until, d.log()
        time.sleep(0.02)


class Bench:
    """A directory that is the share, and fio beside it."""

    def __init__(self, engine):
        self.engine = engine
        self.dir = tempfile.mkdtemp(prefix='oriel-fio-')
        self.share = self.dir + '/share'
        os.mkdir(self.share)

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    def argv(self, options):
        o = {'name': 'j', 'ioengine': 'external:' + self.engine,
             'share': self.share, 'size': '8m', 'bs': '4k',
             'verify_fatal': '1', 'eta': 'never'}
        o.update(options)
        return ['fio'] + [f'--{k}' if v is None else f'--{k}={v}'
                          for k, v in o.items() if v is not False]

    def run(self, **options):
        r = subprocess.run(self.argv(options), cwd=self.dir, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=200)
        return r.returncode, r.stdout

    def ok(self, **options):
        """Run; [(job, 'on', KiB read, written, by message read, written,
        by descriptor read, written)]."""
        status, out = self.run(**options)
        assert status == 0, f'fio {options}: {status}\n{out}'
        assert 'err= 0' in out, out
        ways = [(m[0], m[1], *map(int, m[2:])) for m in WAYS.findall(out)]
        assert ways, out
        return ways

    def native(self, **options):
        """The same by fio's psync on the file itself."""
        status, out = self.run(ioengine='psync', share=False,
                               directory=self.share, **options)
        assert status == 0, f'psync {options}: {status}\n{out}'

    def fails(self, *sentences, **options):
        status, out = self.run(**options)
        assert status != 0, out
        for s in sentences:
            assert s in out, f'no "{s}" in\n{out}'
        return out

    def size(self, name):
        return os.stat(f'{self.share}/{name}').st_size


def verify(b, name, how, **more):
    """Written through the engine, read back through it and by psync."""
    o = dict(dict(filename=name, rw='randwrite', verify='crc32c'), **more)
    ways = b.ok(**o, **how)
    b.native(**o, verify_only=None)
    b.ok(**o, **how, verify_only=None)
    return ways


def data_window(b):
    (_, dax, read, written, _, by_message, _, held), = verify(
        b, 'window', {'dax': 'always'})
    # What is there already is overwritten in the window, and all read there.
    assert dax == 'on' and read >= 8192, (dax, read)
    assert written + by_message + held >= 8192, (written, by_message, held)
    (_, _, _, written, _, by_message, _, held), = b.ok(
        filename='window', rw='randwrite', dax='always')
    assert written >= 8000 and by_message == 0, (written, by_message)
    assert written + held >= 8192, (written, held)


def data_messages(b):
    (_, dax, read, written, message_read, message_written, *_), = verify(
        b, 'message', {'dax': 'never'})
    assert (dax, read, written) == ('off', 0, 0), (dax, read, written)
    assert message_read >= 8192 and message_written >= 8192


def data_small_window(b):
    """Four ranges of 64 KiB for 8 MiB."""
    verify(b, 'small', {'dax': 'always', 'window': '256k', 'range': '64k'})


def data_sizes(b):
    """Blocks across pages and ranges, an odd end, fsyncs, growing."""
    verify(b, 'odd', {}, bsrange='512-9k', bs_unaligned=None, size='3000007',
           bs=False)
    assert b.size('odd') <= 3000007
    verify(b, 'large', {}, bs='1m', size='16m', rw='write')
    verify(b, 'synced', {}, fsync='16', fdatasync='5')
    verify(b, 'dsync', {}, sync='dsync', size='1m')
    verify(b, 'grows', {}, rw='write', fallocate='none')
    verify(b, 'mixed', {}, rw='randrw', rwmixread='30', fallocate='none')


def data_read(b):
    """What psync wrote, and a file that the engine makes to have something to
    read."""
    o = dict(filename='native', rw='randwrite', verify='crc32c')
    b.native(**o)
    b.ok(**o, verify_only=None)
    (_, _, read, *_, held, _), = b.ok(filename='made', rw='randread')
    read += held
    assert read >= 8191 and b.size('made') == 8 << 20, read
    with open(b.share + '/made', 'rb') as f:
        assert any(f.read(4096)), 'made without data'
    # Only what is missing is filled in.
    with open(b.share + '/made', 'r+b') as f:
        f.write(b'kept')
    b.ok(filename='made', rw='randread', size='9m')
    with open(b.share + '/made', 'rb') as f:
        assert f.read(4) == b'kept'
    assert b.size('made') == 9 << 20


def data_trim(b):
    b.ok(filename='trimmed', rw='randread')
    b.ok(filename='trimmed', rw='randtrim')
    with open(b.share + '/trimmed', 'rb') as f:
        assert not any(f.read()), 'bytes are left after a trim of all'


def jobs_processes(b):
    ways = b.ok(rw='randwrite', verify='crc32c', numjobs='2')
    assert len(ways) == 2, ways
    assert sorted(os.listdir(b.share)) == ['j.0.0', 'j.1.0']


def jobs_threads(b):
    ways = b.ok(rw='randwrite', verify='crc32c', numjobs='3', thread=None)
    assert len(ways) == 3, ways
    assert len(os.listdir(b.share)) == 3


def jobs_late_files(b):
    """Files laid out by the jobs themselves, also at open."""
    b.ok(rw='randread', numjobs='2', create_serialize='0')
    b.ok(rw='randwrite', verify='crc32c', numjobs='2', create_on_open='1',
         name='late')
    assert len(os.listdir(b.share)) == 4


def jobs_many_files(b):
    b.ok(rw='randwrite', verify='crc32c', nrfiles='40', openfiles='7',
         filesize='64k', size=False)
    assert len(os.listdir(b.share)) == 40
    b.ok(rw='randread', nrfiles='40', openfiles='7', filesize='64k',
         size=False, unlink='1')
    assert os.listdir(b.share) == []


def jobs_one_daemon(b):
    """Two processes, each with a session of its own, behind one socket."""
    d = daemon('orield', b.share)
    try:
        for dax in 'always', 'never':
            b.ok(share=d.socket, dax=dax, rw='randwrite', verify='crc32c',
                 numjobs='2')
        b.ok(share=d.socket, rw='randrw', numjobs='2', thread=None,
             filename='together', verify='crc32c', offset_increment='8m')
        assert b.size('together') == 16 << 20
    finally:
        d.stop()


def jobs_foreign(b):
    """A daemon without a window. It ends with its first session: in threads
    there is only one, in processes there is one for set-up before."""
    if not os.access(QEMU_VIRTIOFSD, os.X_OK) or os.getuid() != 0:
        print('not tried: ' + QEMU_VIRTIOFSD)
        return
    with open(b.share + '/there', 'wb') as f:
        f.write(bytes(8 << 20))
    for how in {'thread': None}, {}:
        d = daemon('qemu', b.share)
        o = dict(share=d.socket, filename='there', rw='randwrite',
                 verify='crc32c', **how)
        try:
            if how:
                (_, dax, _, _, read, written, *_), = b.ok(**o)
                assert dax == 'off' and read >= 8192 and written >= 8192
            else:
                b.fails('oriel: j: share=', **o)
        finally:
            d.stop(expect_clean=False)


def errors_sentences(b):
    """Each says which job, what and why; fio says more."""
    b.fails('oriel: j: share= is missing', share=False, rw='read')
    b.fails('oriel: j: share=/nowhere: No such file or directory',
            share='/nowhere', rw='read')
    b.fails('oriel: j: cannot make no/such: ', filename='no/such', rw='write')
    b.fails('oriel: j: direct=1: ', direct='1', rw='write')
    os.mkdir(b.share + '/folder')
    b.fails('oriel: j: cannot stat folder: Is a directory', filename='folder',
            rw='read')
    b.fails('failed parsing dax=', dax='often', rw='read')
    b.fails('oriel: j: cannot make absent: ', filename='absent', rw='read',
            allow_file_create='0')
    b.fails('oriel: j: daemon_cpu=', rw='read', daemon_cpu='1023')
    assert sorted(os.listdir(b.share)) == ['folder']


def errors_wrong_data(b):
    """--verify really compares."""
    o = dict(filename='f', rw='write', verify='crc32c')
    b.ok(**o)
    with open(b.share + '/f', 'r+b') as f:
        f.seek(5 << 20)
        f.write(b'wrong')
    b.fails('verify: ', **o, verify_only=None)


def errors_full(b):
    """More than any file system has."""
    b.fails('oriel: j: cannot fill huge: ', filename='huge', rw='read',
            size='8000000t')


def errors_daemon_dies(b):
    """In the middle of a run: an error with a sentence, not a hang."""
    d = daemon('orield', b.share)
    p = subprocess.Popen(
        b.argv(dict(share=d.socket, filename='f', rw='randwrite',
                    dax='never', time_based=None, runtime='100')),
        cwd=b.dir, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)
    try:
        while not os.path.exists(b.share + '/f'):
            assert p.poll() is None, p.stdout.read()
            time.sleep(0.02)
        # It is at work when the session of the set-up has been followed.
        time.sleep(0.5)
        d.process.send_signal(signal.SIGKILL)
        out = p.communicate(timeout=100)[0]
        assert p.returncode != 0, out
        assert 'oriel: ' in out, out
    finally:
        p.kill()
        p.wait()
        d.kill()


def main():
    part = sys.argv[1] + '_'
    engine = build()
    for name, case in list(globals().items()):
        if not name.startswith(part):
            continue
        print(name, flush=True)
        b = Bench(engine)
        try:
            case(b)
        finally:
            b.remove()


if __name__ == '__main__':
    main()
