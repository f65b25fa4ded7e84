# SPDX-License-Identifier: BSD-2-Clause
"""Starting: spellings, refusals, systemd, the pid file, the background, logs."""
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

import daemons
import wire_client as wire
import wire_fuse as fuse
from test_daemon import Rig

ORIELD = os.environ.get('ORIEL_DAEMON') or daemons.OURS
SECCOMP = os.environ.get('ORIEL_TEST_SECCOMP')


def command(*options, sandbox='none'):
    return [ORIELD, *(['--seccomp=' + SECCOMP] if SECCOMP else []),
            *([f'--sandbox={sandbox}'] if sandbox else []), *options]


class Place:
    """A share and a folder for sockets."""

    def __enter__(self):
        self.root = tempfile.mkdtemp(prefix='oriel-start-')
        self.share = os.path.join(self.root, 'share')
        self.socket = os.path.join(self.root, 'socket')
        os.mkdir(self.share)
        with open(os.path.join(self.share, 'witness'), 'w') as f:
            f.write('witness')
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.root, ignore_errors=True)


@contextlib.contextmanager
def running(argv, **how):
    daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL, **how)
    try:
        yield daemon
    finally:
        if daemon.poll() is None:
            daemon.terminate()
        daemon.wait(30)


def serves(path):
    """A session that reads; clients retry, so no need to wait before."""
    s = fuse.Session(path)
    e = s.lookup(fuse.ROOT, 'witness')
    assert s.read(e.nodeid, s.open(e.nodeid), 0, 9) == b'witness'
    s.close()


def until(true, what):
    limit = time.monotonic() + 30
    while not true():
        assert time.monotonic() < limit, what
        time.sleep(0.02)


# Every option of virtiofsd 1.13, and a value for it.
VIRTIOFSD = {
    'shared-dir': 'DIR', 'tag': 'x', 'socket-path': 'PATH',
    'socket-group': 'root', 'fd': '9', 'thread-pool-size': '4',
    'xattr': None, 'posix-acl': None, 'xattrmap': ':ok:all:::',
    'sandbox': 'none', 'seccomp': 'none', 'announce-submounts': None,
    'no-announce-submounts': None, 'inode-file-handles': 'never',
    'cache': 'metadata', 'allow-mmap': None, 'no-readdirplus': None,
    'writeback': None, 'allow-direct-io': None, 'print-capabilities': None,
    'modcaps': '-mknod', 'log-level': 'off', 'syslog': None,
    'rlimit-nofile': '512', 'security-label': None, 'no-killpriv-v2': None,
    'killpriv-v2': None, 'uid-map': ':0:0:1:', 'gid-map': ':0:0:1:',
    'translate-uid': 'map:1:2:3', 'translate-gid': 'squash-host:0:1:9',
    'preserve-noatime': None, 'migration-on-error': 'abort',
    'migration-verify-handles': None, 'migration-confirm-paths': None,
    'migration-mode': 'find-paths', 'readonly': None, 'help': None,
    'version': None,
}


def every_option_of_virtiofsd():
    """Taken, or refused by its name with a word on what to do instead."""
    with Place() as p:
        # --connected-fd=0 is no socket: whoever gets that far ends there.
        base = [ORIELD, '--shared-dir=' + p.share + '/none',
                '--connected-fd=0']
        for name, value in VIRTIOFSD.items():
            if name in ('shared-dir', 'socket-path', 'fd', 'socket-group'):
                continue  # how every test starts it
            word = f'--{name}' + (f'={value}' if value else '')
            argv = base + [word]
            if name.endswith('id-map'):
                argv.append(f'--{"gu"[name[0] == "g"]}id-map={value}')
            r = subprocess.run(argv, capture_output=True, text=True,
                               stdin=subprocess.DEVNULL)
            if r.returncode == 2:
                assert f'--{name}' in r.stderr and \
                    'not implemented here: ' in r.stderr, (word, r.stderr)
                assert len(r.stderr.split('not implemented here: ')[1]) > 20
            elif name in ('help', 'version', 'print-capabilities'):
                assert r.returncode == 0 and r.stdout, word
            else:
                # It was understood: the folder is what is missing.
                assert r.returncode == 1, (word, r)
                assert '/none' in r.stderr or name in ('syslog', 'log-level'), \
                    (word, r.stderr)


def refusals():
    """In words that name what was said."""
    with Place() as p:
        for words, say in (
                (['--thread-pool-size=x'], '--thread-pool-size'),
                (['--cache=some'], "'some' is not one of auto|always"),
                (['--migration-mode=find-paths'], 'cannot be migrated'),
                (['--xattrmap=x'], '--xattrmap'),
                (['--xattrmap=:ok:all:::x'], "at 'x'"),
                (['--modcaps=+fly'], "'+fly'"),
                (['--modcaps=chown'], "'chown'"),
                (['--translate-uid=map:1:2'], "'map:1:2'"),
                (['--translate-uid=swap:1:2:3'], "'swap:1:2:3'"),
                (['--translate-uid=map:1:2:3', '--translate-uid=guest:3:9:1'],
                 'overlaps an earlier'),
                (['--uid-map=:0:0:1:'], 'needed both'),
                (['--uid-map=:1:0:1:', '--gid-map=:0:0:1:'], 'who is 0'),
                (['--uid-map=:0:0:1:', '--gid-map=:0:0:1:',
                  '--sandbox=chroot'], '--sandbox=namespace'),
                (['--writeback', '--cache=never'], '--writeback needs'),
                (['--daemonize', '--exit-with-parent'], '--daemonize'),
                (['-o', 'cache'], '-o cache needs a value'),
                (['-o', 'xattr=1'], '-o xattr takes no value'),
                (['-o', 'fly'], "-o: unknown option 'fly'"),
                (['-o', 'xattrmap=ok'], "at 'ok'"),
                (['-o', 'timeout=soon'], "'soon'"),
                (['-o', 'help'], "unknown option 'help'"),
                (['-x'], "'-x'")):
            r = subprocess.run(
                [ORIELD, '--shared-dir=' + p.share,
                 '--socket-path=' + p.socket, *words],
                capture_output=True, text=True, stdin=subprocess.DEVNULL)
            assert r.returncode == 2 and say in r.stderr, (words, r)
            assert r.stderr.startswith('orield: ') and \
                r.stderr.count('\n') == 1, r.stderr
        r = subprocess.run(
            [ORIELD, '--socket-path=' + p.socket,
             '--shared-dir=' + p.share + '/witness'],
            capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert r.returncode == 1 and 'single file cannot be shared' in r.stderr


def as_libvirt_starts_it():
    """A listening descriptor, and everything else in one -o."""
    with Place() as p:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(p.socket)
        sock.listen(5)
        n = sock.fileno()
        with running(command(
                f'--fd={n}', '-f', '-o', f'source={p.share},cache=always,'
                'no_xattr,sandbox=none,no_flock,no_posix_lock,log_level=err',
                '-o', 'no_readdirplus,killpriv_v2', sandbox=None),
                pass_fds=[n]):
            sock.close()
            s = fuse.Session(p.socket)
            assert s.lookup(fuse.ROOT, 'witness').attr_valid == 86400
            assert not s.flags >> fuse.F_READDIRPLUS & 1
            s.close()
    with Place() as p, open(p.root + '/log', 'w+') as log:
        with running(command('--socket-path=' + p.socket, '-d', '-o',
                             'source=' + p.share), stderr=log):
            serves_when_there(p.socket)


def serves_when_there(path):
    until(lambda: os.path.exists(path), path)
    serves(path)


def descriptor():
    """What libvirt reads to find us: true of this program."""
    name = os.path.join(os.environ['ORIEL_BUILD'], 'contrib/50-orield.json')
    with open(name) as f:
        d = json.load(f)
    assert d['type'] == 'fs' and os.path.isabs(d['binary'])
    assert os.path.basename(d['binary']) == 'orield' and d['description']
    said = json.loads(subprocess.run([ORIELD, '--print-capabilities'],
                                     capture_output=True, text=True,
                                     check=True).stdout)
    assert said['type'] == 'fs' and 'separate-options' in said['features']
    assert set(d['features']) <= set(said['features'])


def manual():
    """Every option has its place in orield(1), and no other has."""
    with open(os.path.join(os.environ['ORIEL_SOURCE'], 'man/orield.1')) as f:
        page = f.read()
    said = subprocess.run([ORIELD, '--help'], capture_output=True, text=True,
                          check=True).stdout
    in_help = set(re.findall(r'^  --([a-z0-9-]+)', said, re.M))
    in_page = set(re.findall(r'Fl Fl ([a-z0-9-]+)', page))
    assert len(in_help) > 30 and in_help == in_page, in_help ^ in_page


# -- systemd

def activated(p, n, environment, *options):
    """Start as systemd does: the variables name the process itself."""
    argv = command('--shared-dir=' + p.share, *options)
    script = 'n=$1; shift; exec 3<&"$n"; export LISTEN_PID=$$; exec "$@"'
    return ['sh', '-c', script, 'sh', str(n), *argv], \
        dict(pass_fds=[n], env={**os.environ, **environment})


def listener(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(5)
    return sock


def socket_activation():
    with Place() as p, listener(p.socket) as sock:
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(p.root + '/notify')
        notify.settimeout(60)
        argv, how = activated(p, sock.fileno(), dict(
            LISTEN_FDS='1', NOTIFY_SOCKET=p.root + '/notify'))
        with running(argv, **how) as daemon:
            assert notify.recv(100) == b'READY=1'
            serves(p.socket)
            daemon.terminate()
            assert notify.recv(100) == b'STOPPING=1'
            assert daemon.wait(30) == 0
        # Not ours to remove: systemd goes on listening.
        assert os.path.exists(p.socket)
        notify.close()


def abstract_notify_socket():
    with Place() as p:
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind('\0oriel' + p.root)
        notify.settimeout(60)
        with running(command('--shared-dir=' + p.share,
                             '--socket-path=' + p.socket),
                     env={**os.environ,
                          'NOTIFY_SOCKET': '@oriel' + p.root}):
            assert notify.recv(100) == b'READY=1'
            serves(p.socket)
        notify.close()


def notify_socket_of_the_client():
    """Who serves one client only has nothing to say to systemd."""
    with Place() as p:
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(p.root + '/notify')
        ours, theirs = socket.socketpair()
        with running(command('--shared-dir=' + p.share,
                             f'--connected-fd={theirs.fileno()}'),
                     pass_fds=[theirs.fileno()],
                     env={**os.environ, 'NOTIFY_SOCKET': p.root + '/notify'}
                     ) as daemon:
            theirs.close()
            channel = wire.Channel(ours)
            channel.ask_u64(wire.GET_FEATURES)
            channel.close()
            assert daemon.wait(30) == 0
        notify.setblocking(False)
        try:
            raise AssertionError(notify.recv(100))
        except BlockingIOError:
            pass
        notify.close()


def more_than_one_socket():
    with Place() as p, listener(p.socket) as sock:
        argv, how = activated(p, sock.fileno(), dict(LISTEN_FDS='2'))
        r = subprocess.run(argv, capture_output=True, text=True,
                           stdin=subprocess.DEVNULL, **how)
        assert r.returncode == 2 and 'exactly one socket' in r.stderr, r


def sockets_of_another():
    """LISTEN_PID of a parent that did not clear it is nothing to us."""
    with Place() as p:
        env = {**os.environ, 'LISTEN_PID': '1', 'LISTEN_FDS': '1'}
        r = subprocess.run(command('--shared-dir=' + p.share),
                           capture_output=True, text=True, env=env,
                           stdin=subprocess.DEVNULL)
        assert r.returncode == 2 and 'exactly one of' in r.stderr, r


def units():
    """Each names the other's socket and options that there are."""
    top = os.path.join(os.environ['ORIEL_SOURCE'], 'contrib/systemd')
    with open(top + '/orield@.service.in') as f:
        service = f.read()
    with open(top + '/orield@.socket') as f:
        sock = f.read()
    assert 'Type=notify' in service and 'ListenStream=' in sock
    start = next(line for line in service.splitlines()
                 if line.startswith('ExecStart='))
    words = [w.split('=')[0] for w in start.split() if w.startswith('--')]
    help_text = subprocess.run([ORIELD, '--help'], capture_output=True,
                               text=True, check=True).stdout
    assert words and all(w + '=' in help_text or w + ' ' in help_text
                         for w in words), words
    if not shutil.which('systemd-analyze'):
        return
    built = os.path.join(os.environ['ORIEL_BUILD'], 'contrib/systemd')
    with open(built + '/orield@.service') as f:
        service = f.read()
    binary = re.search(r'^ExecStart=(\S+)', service, re.M).group(1)
    with Place() as p:
        for name, text in (('service', service.replace(binary, ORIELD)),
                           ('socket', sock)):
            with open(f'{p.root}/orield@.{name}', 'w') as f:
                f.write(text)
        r = subprocess.run(['systemd-analyze', 'verify', '--man=no',
                            p.root + '/orield@x.service',
                            p.root + '/orield@x.socket'],
                           capture_output=True, text=True)
        mine = [line for line in r.stderr.splitlines() if 'orield@' in line]
        assert not mine, mine


# -- the pid file

def pid_file():
    with Place() as p:
        name = p.socket + '.pid'
        argv = command('--shared-dir=' + p.share, '--socket-path=' + p.socket)
        with running(argv) as daemon:
            serves_when_there(p.socket)
            with open(name) as f:
                assert int(f.read()) == daemon.pid
                try:
                    fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    raise AssertionError('it is not locked')
                except BlockingIOError:
                    pass
            r = subprocess.run(argv, capture_output=True, text=True,
                               stdin=subprocess.DEVNULL)
            assert r.returncode == 1 and name in r.stderr, r
            serves(p.socket)
            # Also when it cannot clean up itself.
            daemon.send_signal(signal.SIGKILL)
            daemon.wait(30)
            until(lambda: not os.path.exists(name), 'left behind')
        # One that nobody holds is in nobody's way, whatever it says.
        with open(name, 'w') as f:
            f.write('1\n')
        with running(argv) as daemon:
            serves_when_there(p.socket)
            with open(name) as f:
                assert int(f.read()) == daemon.pid
            daemon.terminate()
            assert daemon.wait(30) == 0
            assert os.listdir(p.root) == ['share']


# -- the background, the log

def background():
    with Place() as p:
        argv = command('--shared-dir=' + p.share, '--socket-path=' + p.socket,
                       '--daemonize')
        r = subprocess.run(argv, capture_output=True, text=True, timeout=60,
                           stdin=subprocess.DEVNULL)
        assert r.returncode == 0, r
        # The pipes of ours ended, so nothing of it has them; and it serves.
        with open(p.socket + '.pid') as f:
            pid = int(f.read())
        try:
            assert os.getsid(pid) == pid
            serves(p.socket)
            again = subprocess.run(argv, capture_output=True, text=True,
                                   timeout=60, stdin=subprocess.DEVNULL)
            assert again.returncode == 1 and 'another process' in again.stderr
        finally:
            os.kill(pid, signal.SIGTERM)
        until(lambda: os.listdir(p.root) == ['share'], 'it does not end')


def to_syslog():
    """In a mount name space of its own, whose /dev/log is ours."""
    if not shutil.which('unshare') or subprocess.run(
            ['unshare', '-rm', 'true'], stderr=subprocess.DEVNULL).returncode:
        print('  no name spaces here')
        return
    with Place() as p:
        log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        log.bind(p.root + '/log')
        log.settimeout(60)
        script = 'mount -t tmpfs none /dev && ln -s "$1" /dev/log && ' \
            'shift && exec "$@"'
        with running(['unshare', '-rm', 'sh', '-c', script, 'sh',
                      p.root + '/log', *command(
                          '--shared-dir=' + p.share, '--syslog',
                          '--socket-path=' + p.socket)],
                     stderr=subprocess.PIPE) as daemon:
            first = log.recv(2000).decode()
            assert re.match(rf'<(28|30)>orield\[{daemon.pid}\]: ', first), first
            while 'sharing' not in first:
                first = log.recv(2000).decode()
            assert first.startswith('<30>'), first
            serves(p.socket)
            daemon.terminate()
            daemon.wait(30)
            assert daemon.stderr.read() == b''
            daemon.stderr.close()
        log.close()


def memory_that_is_not_shared():
    """The mistake that virtual machines are most often configured with."""
    hint = 'memory-backend-memfd,id=mem,size=...,share=on'
    for request, body, how in (
            (wire.SET_MEM_TABLE, struct.pack('=II', 1, 0), 'violation'),
            (wire.SET_MEM_TABLE, struct.pack('=II', 0, 0), 'no memory'),
            (wire.ADD_MEM_REG, struct.pack('=Q', 0), 'no descriptor')):
        with Rig() as rig:
            d = wire.Device(rig.daemon.socket, start=False, window=False)
            some = body[:4] != bytes(4) or request == wire.ADD_MEM_REG
            d.channel.send(request, body + (d.mem.region() if some else b''))
            until(lambda: hint in rig.daemon.log(), how)
            d.close(False)
    with Rig() as rig, open('/dev/zero', 'rb') as zero:
        d = wire.Device(rig.daemon.socket, start=False, window=False)
        d.channel.send(wire.SET_MEM_TABLE, struct.pack('=II', 1, 0) +
                       d.mem.region(), [zero.fileno()])
        until(lambda: hint in rig.daemon.log(), 'no file')
        d.close(False)


CASES = [every_option_of_virtiofsd, refusals, as_libvirt_starts_it, descriptor,
         manual, socket_activation, abstract_notify_socket,
         notify_socket_of_the_client, more_than_one_socket,
         sockets_of_another, units, pid_file, background, to_syslog,
         memory_that_is_not_shared]
