# SPDX-License-Identifier: BSD-2-Clause
"""Several shares in one daemon: walls between them, and fair parts."""
import contextlib
import errno
import fcntl
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile

import wire_client as wire
import wire_fuse as fuse
from cases_limits import number_of, open_all
from cases_start import ORIELD, command, listener, running, until
from cases_walls import refused

TAGS = ['red', 'green', 'blue']
RANGE = 2 << 20
SETLK, SETLKW, F_POSIX_LOCKS = 32, 33, 1


class Shares:
    """A folder, a file of its name and a socket for each of TAGS. @words: by
    tag, more words of its --share; @sockets: whether they are named."""

    def __init__(self, *options, sandbox='none', words=None, sockets=True,
                 tags=TAGS):
        self.root = tempfile.mkdtemp(prefix='oriel-shares-')
        self.tags = tags
        self.log_path = self.root + '/log'
        for tag in tags:
            os.mkdir(self.dir(tag))
            self.make(tag, tag, tag.encode())
        self.argv = command(*(self.word(t, (words or {}).get(t), sockets)
                              for t in tags), *options, sandbox=sandbox)
        self.process = None
        self.how = {}  # for subprocess.Popen

    def dir(self, tag):
        return f'{self.root}/{tag}'

    def socket(self, tag):
        return f'{self.root}/{tag}.sock'

    def word(self, tag, more, sockets):
        return (f'--share=tag={tag},path={self.dir(tag)}' +
                (f',socket={self.socket(tag)}' if sockets else '') +
                (f',{more}' if more else ''))

    def make(self, tag, name, data):
        path = os.path.join(self.dir(tag), name)
        with open(path, 'wb') as f:
            f.write(data)
        return path

    def start(self):
        with open(self.log_path, 'ab') as log:
            self.process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                **self.how)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        try:
            if self.process.poll() is None:
                self.process.terminate()
            status = self.process.wait(60)
            text = self.log()
            if kind:
                print('daemon log:\n' + text[-3000:])
            else:
                assert status == 0, f'{status}\n{text}'
                assert 'Sanitizer' not in text and \
                    'runtime error:' not in text, text
        finally:
            shutil.rmtree(self.root, ignore_errors=True)

    def log(self):
        with open(self.log_path, errors='replace') as f:
            return f.read()

    def session(self, tag, **how):
        return fuse.Session(self.socket(tag), **how)

    def serves(self, tag):
        s = self.session(tag, window=False)
        e = s.lookup(fuse.ROOT, tag)
        assert s.read(e.nodeid, s.open(e.nodeid), 0, 99) == tag.encode()
        s.close()

    def fds(self):
        return len(os.listdir(f'/proc/{self.process.pid}/fd'))


def names(s):
    return {p[0].decode() for p in s.readdir(fuse.ROOT)} - {'.', '..'}


def each_its_own():
    """Directory, tag, policy: none of them is another's."""
    with Shares('--cache=always', words={'green': 'readonly,cache=never',
                                         'blue': 'cache=auto'}) as d:
        ours = {t: d.session(t) for t in TAGS}
        for tag, s in ours.items():
            assert s.config(0, 36).rstrip(b'\0') == tag.encode()
            assert names(s) == {tag}
        valid = {t: s.lookup(fuse.ROOT, t).attr_valid
                 for t, s in ours.items()}
        assert valid == {'red': 86400, 'green': 0, 'blue': 1}, valid
        refused(errno.EROFS, ours['green'].mkdir, fuse.ROOT, 'new')
        ours['red'].mkdir(fuse.ROOT, 'new')
        assert os.listdir(d.dir('green')) == ['green']
        assert names(ours['red']) == {'red', 'new'}
        # One that ends leaves the others.
        ours['green'].close(False)
        for tag in TAGS:
            d.serves(tag)
        for tag in 'red', 'blue':
            ours[tag].close()


def never_the_other():
    """A client of one share reaches nothing of another, by whatever name."""
    with Shares() as d:
        os.symlink('../green/green', d.dir('red') + '/link')
        os.symlink(d.dir('green'), d.dir('red') + '/folder')
        d.make('green', 'secret', b'secret')
        red, green = d.session('red'), d.session('green')
        e = green.lookup(fuse.ROOT, 'secret')
        fh = green.open(e.nodeid, os.O_RDWR)
        for name in ('..', '.', '../green', '../green/secret', '/',
                     d.dir('green'), '../green.sock', ''):
            number = number_of(red.lookup, fuse.ROOT, name)
            assert number in (errno.EINVAL, errno.ENOENT), (name, number)
            number = number_of(red.link, fuse.ROOT, fuse.ROOT, name)
            assert number, name
        # Links are the client's to follow, in its own tree.
        for name in 'link', 'folder':
            n = red.lookup(fuse.ROOT, name).nodeid
            assert red.getattr(n).mode >> 12 == 0o12
            assert number_of(red.open, n) in (errno.ELOOP, errno.EINVAL), name
            assert number_of(red.lookup, n, 'secret') == errno.ENOTDIR
        # Numbers of the other session.
        for number in range(2, 100):
            refused(errno.EBADF, red.read, e.nodeid, number, 0, 9)
            if number > 3:
                assert number_of(red.open, number) in \
                    (errno.ESTALE, errno.ELOOP, errno.EINVAL)
                assert number_of(red.link, number, fuse.ROOT, 'stolen')
        assert green.read(e.nodeid, fh, 0, 99) == b'secret'
        assert 'stolen' not in os.listdir(d.dir('red'))
        assert sorted(os.listdir(d.dir('green'))) == ['green', 'secret']
        red.close()
        green.close()


def locked_in():
    """In name spaces: the root is empty, and ".." of each share's top is that
    top, whatever a descriptor of ours is asked."""
    if os.environ.get('ORIEL_TEST_SECCOMP') == 'none':
        return  # the leak check of ASan cannot work there
    with Shares('--readonly', words={'red': ''}, sandbox='auto') as d:
        d.serves('red')
        if 'sandbox namespace' not in d.log():
            print('  no name spaces here')
            return
        proc = f'/proc/{d.process.pid}'
        assert os.listdir(proc + '/root') == []
        assert os.stat(proc + '/root/..').st_ino == \
            os.stat(proc + '/root').st_ino
        tops = {os.stat(d.dir(t)).st_ino: t for t in TAGS}
        found = set()
        for fd in os.listdir(proc + '/fd'):
            path = f'{proc}/fd/{fd}'
            try:
                tag = tops.get(os.stat(path).st_ino)
            except FileNotFoundError:
                continue  # closed meanwhile
            if not tag or tag not in os.listdir(path):
                continue
            found.add(tag)
            assert os.stat(path + '/..').st_ino == os.stat(path).st_ino, path
            assert os.listdir(path + '/../../..') == [tag]
            flags = os.statvfs(path).f_flag
            assert flags & os.ST_RDONLY and flags & os.ST_NOSUID and \
                flags & os.ST_NODEV, flags
        assert found == set(TAGS), found
        for line in open(proc + '/mountinfo'):
            assert d.root not in line, line
        for tag in TAGS:
            d.serves(tag)


def submounts_come_along():
    """What is mounted below a share when the daemon starts is in it."""
    if os.environ.get('ORIEL_TEST_SECCOMP') == 'none':
        return
    d = Shares(sandbox='auto')
    below = d.dir('green') + '/below'
    os.mkdir(below)
    mounted = subprocess.run(['mount', '-t', 'tmpfs', 'none', below],
                             stderr=subprocess.DEVNULL).returncode == 0
    try:
        d.make('green', 'below/file', b'inside')
        with d:
            s = d.session('green')
            n = s.lookup(fuse.ROOT, 'below').nodeid
            e = s.lookup(n, 'file')
            assert s.read(e.nodeid, s.open(e.nodeid), 0, 9) == b'inside'
            s.close()
    finally:
        if mounted:
            subprocess.run(['umount', below], check=False)


def refusals():
    """Each names the share, and what is wrong with it."""
    d = Shares()
    red, green = (d.word(t, None, True) for t in ('red', 'green'))
    nowhere = f'--share=tag=x,path={d.root}/none,socket={d.root}/x'
    for status, words, say in (
            (2, ['--share=path=/,socket=/x'], 'tag=NAME is missing'),
            (2, ['--share=tag=x,socket=/x'], 'tag x: path=DIR is missing'),
            (2, ['--share=tag=x,path=/'], 'tag x: socket=PATH is missing'),
            (2, ['--share=tag=x,path=/,socket=/s,cache=some'],
             "tag x: --cache: 'some' is not one of"),
            (2, ['--share=path=/,fly,tag=x'], "tag x: unknown option 'fly'"),
            (2, ['--share=tag=x,sandbox=none'], 'tag x: --sandbox is for the'),
            (2, ['--share=tag=x,mount=/mnt'], 'tag x: --mount is for the'),
            (2, ['--share=tag=x,readonly=1'], 'readonly takes no value'),
            (2, ['--share=tag=x,path'], 'path needs a value'),
            (2, ['--share=tag=x,path=/,socket=/s,fd=3'], 'either socket or'),
            (2, ['--share=tag=x,path=/,socket=/s,writeback,cache=never'],
             'tag x: --writeback needs'),
            (2, [red, red], 'two with tag red'),
            (2, [red, f'--share=tag=x,path=/,socket={d.socket("red")}'],
             'red and x have the same socket'),
            (2, [red, '--shared-dir=/'], '--shared-dir and --share'),
            (2, [red, '--socket-path=/x'], '--socket-path and --share'),
            (2, [red, '--tag=x'], '--tag and --share'),
            (2, [red, '--mount=/mnt'], '--mount and --share'),
            (2, [red, '--connected-fd=0'], '--connected-fd and --share'),
            (2, [f'--share=tag={"x" * 37},path=/,socket=/s'], '--tag'),
            (2, ['--max-clients=0'], '--max-clients'),
            (1, [red, green, nowhere], 'share x: cannot open directory'),
            (1, [red, f'--share=tag=x,path=/,socket={d.root}/no/x'],
             'share x: '),
            (1, [red, f'--share=tag=x,path=/,socket={d.root}/x,'
                 'socket-group=no-such-group'], "share x: there is no group"),
            (1, [red, green, '--sandbox=chroot'], '--sandbox=namespace')):
        sandbox = None if '--sandbox=chroot' in words else 'none'
        r = subprocess.run(command(*words, sandbox=sandbox),
                           capture_output=True, text=True,
                           stdin=subprocess.DEVNULL)
        said = r.stderr.splitlines()[-1] if r.stderr else ''
        assert r.returncode == status and say in said, (words, r)
        # Those that were made before are gone again.
        left = [n for n in os.listdir(d.root) if n not in TAGS]
        assert not left, (words, left)
    shutil.rmtree(d.root)


def one_of_them():
    """A single --share is the same as without; a comma in a name."""
    d = Shares(tags=['red'])
    strange = d.dir('red') + ',x'
    os.mkdir(strange)
    d.argv = [w.replace(d.dir('red') + ',socket',
                        d.dir('red') + '\\,x,socket') for w in d.argv]
    shutil.copy(d.dir('red') + '/red', strange)
    with d:
        d.serves('red')


def files_of_each():
    """Socket, SOCKET.pid and its lock for each; gone with the daemon, however
    that ends; and one daemon's share is not another's."""
    with Shares() as d:
        for tag in TAGS:
            d.serves(tag)
            with open(d.socket(tag) + '.pid') as f:
                assert int(f.read()) == d.process.pid
        r = subprocess.run(
            command('--share=tag=new,path=/,socket=' + d.root + '/new',
                    d.word('green', None, True)),
            capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert r.returncode == 1 and 'share green: another process' in \
            r.stderr, r
        d.serves('green')
        d.process.send_signal(signal.SIGKILL)
        d.process.wait(30)
        until(lambda: sorted(os.listdir(d.root)) == sorted(['log', *TAGS]),
              'left behind')
        d.start()
        for tag in TAGS:
            d.serves(tag)


def what_is_said():
    """Lines of a share have its tag; SIGUSR1 tells of each."""
    with Shares() as d:
        s = d.session('green')
        s.lookup(fuse.ROOT, 'green')
        d.serves('blue')
        d.process.send_signal(signal.SIGUSR1)
        until(lambda: re.search('info: blue: operations', d.log()), 'silence')
        log = d.log()
        for tag in TAGS:
            assert re.search(f'info: {tag}: sharing {d.dir(tag)}', log), log
        assert re.search(r'info: green: client \d+: connected', log), log
        assert not re.search(r'info: red: client \d', log), log
        assert re.search('info: red: clients 0, inodes 1,', log), log
        assert re.search('info: green: clients 1, inodes 2,', log), log
        assert re.search('info: green: operations:.* LOOKUP=1', log), log
        assert re.search('info: red: operations: none', log), log
        s.close()


# -- systemd

@contextlib.contextmanager
def activated(d, names_of, n=None):
    """As systemd starts it: descriptors from 3 on, and their names."""
    socks = [listener(d.socket(t)) for t in d.tags]
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(d.root + '/notify')
    notify.settimeout(60)
    # the shell's own redirections must not hit one that is still needed
    high = [os.dup2(s.fileno(), 50 + i) for i, s in enumerate(socks)]
    moves = ' '.join(f'{3 + i}<&{fd}' for i, fd in enumerate(high))
    script = f'exec {moves}; export LISTEN_PID=$$; exec "$@"'
    env = {**os.environ, 'LISTEN_FDS': str(n or len(socks)),
           'NOTIFY_SOCKET': d.root + '/notify'}
    if names_of is not None:
        env['LISTEN_FDNAMES'] = names_of
    try:
        yield ['bash', '-c', script, 'bash', *d.argv], \
            dict(pass_fds=high, env=env), notify
    finally:
        for fd in high:
            os.close(fd)
        for s in (*socks, notify):
            s.close()
        shutil.rmtree(d.root, ignore_errors=True)


def sockets_of_systemd():
    """FileDescriptorName= says whose it is, in whatever order."""
    d = Shares(sockets=False)
    order = ['green', 'blue', 'red']
    d.tags = order
    with activated(d, ':'.join(order)) as (argv, how, notify):
        with running(argv, **how) as daemon:
            assert notify.recv(100) == b'READY=1'
            for tag in TAGS:
                d.serves(tag)
            daemon.terminate()
            assert notify.recv(100) == b'STOPPING=1'
            assert daemon.wait(30) == 0
        assert all(os.path.exists(d.socket(t)) for t in TAGS)


def units():
    """Those for several name each other and options that there are, and
    systemd understands them."""
    top = os.path.join(os.environ['ORIEL_BUILD'], 'contrib/systemd')
    source = os.path.join(os.environ['ORIEL_SOURCE'], 'contrib/systemd')
    with open(top + '/orield-shares.service') as f:
        service = f.read()
    with open(source + '/orield-share@.socket') as f:
        sock = f.read()
    assert 'Service=orield-shares.service' in sock
    assert 'FileDescriptorName=%i' in sock
    shares = re.search('SHARES=(.*)', service).group(1).split()
    binary, *words = re.search('^ExecStart=(.*)', service, re.M).group(1).split()
    assert words[0] == '$SHARES'
    d = Shares(sockets=False, tags=['src', 'out'])
    d.argv = [ORIELD, *(w.replace('/srv', d.root) for w in shares),
              *(w for w in words[1:] if 'sandbox' not in w), *d.argv[1:-2]]
    with activated(d, 'src:out') as (argv, how, notify):
        with running(argv, **how):
            assert notify.recv(100) == b'READY=1'
            d.serves('src')
            d.serves('out')
            refused(errno.EROFS, d.session('src').mkdir, fuse.ROOT, 'new')
    if not shutil.which('systemd-analyze'):
        return
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + '/orield-shares.service', 'w') as f:
            f.write(service.replace(binary, ORIELD))
        with open(folder + '/orield-share@.socket', 'w') as f:
            f.write(sock)
        r = subprocess.run(['systemd-analyze', 'verify', '--man=no',
                            folder + '/orield-shares.service',
                            folder + '/orield-share@x.socket'],
                           capture_output=True, text=True)
        mine = [line for line in r.stderr.splitlines() if 'orield-' in line]
        assert not mine, mine


def command_line():
    """The program oriel at one of several: which it is, and when it is full."""
    oriel = os.path.join(os.environ['ORIEL_BUILD'], 'bin/oriel')
    with Shares(words={'red': 'max-clients=1'}) as d:
        d.serves('green')
        r = subprocess.run([oriel, 'info', d.socket('green') + ':'],
                           capture_output=True, text=True)
        assert r.returncode == 0 and ', tag green' in r.stdout, r
        r = subprocess.run([oriel, 'cat', d.socket('blue') + ':blue'],
                           capture_output=True, text=True)
        assert (r.returncode, r.stdout) == (0, 'blue'), r
        s = d.session('red')
        r = subprocess.run([oriel, 'ls', d.socket('red') + ':'],
                           capture_output=True, text=True)
        assert r.returncode and 'room for one more client' in r.stderr, r
        s.close()


def sockets_nobody_serves():
    for given, say in (('green:blue:red', None), ('green:blue:other', 'other'),
                       ('green:green:red', 'besides'), (None, "tag ''")):
        d = Shares(sockets=False)
        with activated(d, given) as (argv, how, _):
            if not say:
                argv = [a for a in argv if 'tag=blue' not in a]
                say = "'blue'"
            r = subprocess.run(argv, capture_output=True, text=True,
                               stdin=subprocess.DEVNULL, **how)
            assert r.returncode == 2 and say in r.stderr, (given, r)


# -- parts

def descriptors_are_divided():
    """Clients of one share that open all they can leave the others theirs."""
    with Shares('--rlimit-nofile=900') as d:
        hogs = [d.session('red', window=False) for _ in range(2)]
        got = [len(open_all(s, s.lookup(fuse.ROOT, 'red').nodeid))
               for s in hogs]
        assert 150 < sum(got) <= 225, got
        refused(errno.EMFILE, hogs[0].opendir, fuse.ROOT)
        # As much as the first had, for each of the others.
        for tag in 'green', 'blue':
            s = d.session(tag, window=False)
            handles = open_all(s, s.lookup(fuse.ROOT, tag).nodeid)
            assert len(handles) > 150, len(handles)
            s.close()
        for s in hogs:
            s.close()


def gone(sock):
    """The daemon hung up on us."""
    sock.settimeout(60)
    try:
        return sock.recv(1) == b''
    except ConnectionResetError:
        return True


def crowd_at_one():
    """More connections than one share may have: the last are hung up on, and
    the log says why; the others' shares have room."""
    with Shares(words={'red': 'max-clients=5'}) as d:
        d.serves('red')
        until(lambda: 'red: client 1: left' in d.log(), 'still there')
        crowd = [wire.connect(d.socket('red')) for _ in range(8)]
        assert all(gone(s) for s in crowd[5:])
        assert re.search(r'warn: red: refused a client: there are 5,',
                         d.log()), d.log()
        for tag in 'green', 'blue':
            s = [d.session(tag, window=False) for _ in range(7)]
            d.serves(tag)
            for one in s:
                one.close()
        # Half open as they are, they hold nobody up; and when one goes ...
        crowd[0].close()
        until(lambda: len(re.findall('red: client .* left', d.log())) == 2,
              'not noticed')
        d.serves('red')
        for s in crowd:
            s.close()


def the_next_at_once():
    """Where there is room for one, who comes as the other goes is let in."""
    with Shares(words={'red': 'max-clients=1'}) as d:
        for _ in range(50):
            s = d.session('red', window=False)
            s.getattr(fuse.ROOT)
            s.close(False)
        assert 'refused' not in d.log(), d.log()


def as_an_ordinary_user():
    """Who has no rights has name spaces of a user name space."""
    if os.getuid() or os.environ.get('ORIEL_TEST_SECCOMP') == 'none':
        return
    d = Shares(sandbox='auto', words={'blue': 'readonly'})
    subprocess.run(['chown', '-R', '65534:65534', d.root], check=True)
    d.how = dict(user=65534, group=65534, extra_groups=[])
    with d:
        for tag in TAGS:
            d.serves(tag)
        if 'sandbox namespace' not in d.log():
            print('  no name spaces here')
            return
        with open(f'/proc/{d.process.pid}/status') as f:
            assert re.search(r'CapEff:\s0+$', f.read(), re.M)
        s, b = d.session('red'), d.session('blue')
        s.mkdir(fuse.ROOT, 'new')
        refused(errno.EROFS, b.mkdir, fuse.ROOT, 'new')
        assert os.stat(d.dir('red') + '/new').st_uid == 65534
        s.close()
        b.close()


def users_of_all():
    """--uid-map is the process's: every share has the same users."""
    if os.getuid() or os.environ.get('ORIEL_TEST_SECCOMP') == 'none':
        return
    d = Shares('--uid-map=:0:70000:9:', '--gid-map=:0:70000:9:',
               sandbox='namespace')
    subprocess.run(['chown', '-R', '70000:70000', d.root], check=True)
    os.chmod(d.root, 0o777)
    with d:
        for tag in TAGS:
            d.serves(tag)
            s = d.session(tag)
            s.uid = s.gid = 5
            os.chmod(d.dir(tag), 0o777)
            s.mkdir(fuse.ROOT, 'new')
            assert os.stat(d.dir(tag) + '/new').st_uid == 70005
            s.close()


def watched_in_its_own():
    """What others change in a share is told to those who watch it, also where
    it is a mount that is attached nowhere; not what changes in another."""
    oriel = os.path.join(os.environ['ORIEL_BUILD'], 'bin/oriel')
    boxed = os.environ.get('ORIEL_TEST_SECCOMP') != 'none'
    with Shares(sandbox='auto' if boxed else 'none') as d:
        d.serves('red')
        with running([oriel, 'watch', d.socket('red') + ':/'],
                     stdout=subprocess.PIPE, stderr=subprocess.PIPE) as w:
            # Nobody tells when the watch is set: change until it is told.
            n = 0
            while not select.select([w.stdout, w.stderr], [], [], 0.2)[0]:
                assert n < 300, 'nothing was told'
                d.make('green', f'green{n}', b'x')
                d.make('red', f'red{n}', b'x')
                n += 1
            w.terminate()
            said, complaint = w.communicate(timeout=60)
            if not said and (b'not supported' in complaint or
                             b'not implemented' in complaint):
                print('  no watches here')
                return
            assert b'red' in said.split(b'/')[-1], (said, complaint)
            assert b'/green' not in said, said


def qemu_arguments():
    d = Shares()
    r = subprocess.run([*d.argv, '--print-qemu-args'], capture_output=True,
                       text=True)
    assert r.returncode == 0, r
    for tag in TAGS:
        assert f'path={d.socket(tag)}' in r.stdout and f'tag={tag}' in r.stdout
    shutil.rmtree(d.root)


def no_descriptors_for_a_crowd():
    """Connections have their part of the descriptors, too."""
    with Shares('--rlimit-nofile=600') as d:
        d.serves('red')
        crowd = [wire.connect(d.socket('red')) for _ in range(60)]
        until(lambda: 'red: refused a client' in d.log(), 'all were let in')
        assert d.fds() < 150, d.fds()
        for tag in 'green', 'blue':
            d.serves(tag)
        for s in crowd:
            s.close()


def descriptors_of_a_client():
    """No more than the part of a connection that max_clients() reckons."""
    with Shares('--request-queues=1') as d:
        d.serves('red')
        until(lambda: 'red: client 1: left' in d.log(), 'still there')
        before = d.fds()
        crowd = [d.session('red') for _ in range(4)]
        for s in crowd:
            s.setupmapping(s.lookup(fuse.ROOT, 'red').nodeid, 0, RANGE, 0)
            s.getattr(fuse.ROOT)
        # Besides, of all: an inode's, and that of its mappings.
        each = (d.fds() - before - 2) / len(crowd)
        print(f'  {each} descriptors a client')
        assert 6 < each <= 8 + 2 * 3, each
        for s in crowd:
            s.close()


def regions_are_divided():
    """What clients of one share make us map is of that share's part."""
    with Shares() as d:
        fd = os.memfd_create('regions', os.MFD_CLOEXEC)
        os.ftruncate(fd, 8 * wire.PAGE)
        crowd = []

        def add(tag, most):
            n = 0
            while n < most:
                c = wire.Device(d.socket(tag), start=False, window=False)
                c.negotiate()
                crowd.append(c)
                for i in range(512):
                    number = c.channel.ask_u64(
                        wire.ADD_MEM_REG, struct.pack(
                            '=QQQQQ', 0, i * wire.PAGE, wire.PAGE, 0,
                            i * 3 % 8 * wire.PAGE), [fd],
                        wire.VERSION | wire.NEED_REPLY)
                    if number:
                        return number, n
                    n += 1
            return 0, n

        assert add('red', 16384) == (errno.ENOSPC, 16384 // 3)
        d.serves('green')
        assert add('green', 2048) == (0, 2048)
        # Given back when they go.
        for c in crowd:
            c.channel.close()
            c.backend.close()
            c.mem.close()
        until(lambda: len(re.findall('red: client .* left', d.log())) ==
              16384 // 3 // 512 + 1, 'not all left')
        crowd.clear()
        assert add('red', 4096) == (0, 4096)
        for c in crowd:
            c.channel.close()
            c.backend.close()
            c.mem.close()
        os.close(fd)


class Patient(fuse.Session):
    """Can have as many requests under way as there are waits."""
    SLOTS = 20


def locked(s, node, fh, owner, opcode):
    """Ask for the whole file, for @owner; do not wait for the answer."""
    return s.submit_request(opcode, node, struct.pack(
        '<QQQQIIII', fh, owner, 0, (1 << 63) - 1, fcntl.F_WRLCK, 1, 0, 0))


def waits_are_divided():
    """Who waits for a lock has a thread: so many of a share, and three
    quarters of them of one client; the next are told ENOLCK."""
    tags = [f's{i}' for i in range(64)]
    part = 1024 // 64
    alone = part - part // 4
    with Shares('--request-queues=1', tags=tags) as d:
        everybody = []
        for tag in tags[:2]:
            crowd = [Patient(d.socket(tag), window=False, init=False)
                     for _ in range(3)]
            open_files = []
            for s in crowd:
                s.init(more=[F_POSIX_LOCKS])
                node = s.lookup(fuse.ROOT, tag).nodeid
                open_files.append((s, node, s.open(node, os.O_RDWR)))
            s, node, fh = open_files[0]
            s.finish_request(locked(s, node, fh, 1, SETLK))

            for (s, node, fh), room in ((open_files[1], alone),
                                        (open_files[2], part - alone)):
                tokens = [locked(s, node, fh, 100 + i, SETLKW)
                          for i in range(room + 3)]
                for t in tokens[room:]:
                    assert number_of(s.finish_request, t) == errno.ENOLCK
            everybody += crowd
        for tag in tags[2:5]:
            d.serves(tag)
        for s in everybody:
            s.close(False)


CASES = [each_its_own, never_the_other, locked_in, submounts_come_along,
         refusals, one_of_them, files_of_each, what_is_said,
         sockets_of_systemd, units, command_line, sockets_nobody_serves,
         watched_in_its_own, qemu_arguments, as_an_ordinary_user,
         users_of_all,
         the_next_at_once, descriptors_are_divided,
         crowd_at_one, no_descriptors_for_a_crowd, descriptors_of_a_client,
         regions_are_divided, waits_are_divided]
