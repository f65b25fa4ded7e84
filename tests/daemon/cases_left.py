# SPDX-License-Identifier: BSD-2-Clause
"""What the process is left with: capabilities, and users of a name space."""
import ctypes
import os
import shutil
import subprocess

import wire_fuse as fuse
from cases_start import Place, SECCOMP, command, running, until
from test_daemon import Rig


def status(daemon):
    with open(f'/proc/{daemon.pid}/status') as f:
        return dict(line.rstrip('\n').split(':', 1) for line in f)


CAPS = 0x880000db  # CHOWN ... SETFCAP: what stays by itself
MKNOD = 1 << 27


def capabilities():
    if os.getuid():
        print('  only root has some')
        return
    with open('/proc/self/status') as f:
        mine = next(int(line.split()[1], 16) for line in f
                    if line.startswith('CapEff'))
    name, extra = next((n, 1 << bit) for n, bit in (
        ('sys_chroot', 18), ('kill', 5), ('net_bind_service', 10))
        if mine >> bit & 1)
    for words, want in ([], CAPS), (['--modcaps=-mknod'], CAPS & ~MKNOD), \
            ([f'--modcaps=+{name}:-CAP_MKNOD'], CAPS & ~MKNOD | extra), \
            (['-o', f'modcaps=+{name}'], CAPS | extra):
        with Rig(*words) as rig:
            for which in 'CapEff', 'CapPrm':
                got = int(status(rig.daemon.process)[which], 16)
                assert got == want & mine, (words, which, hex(got))


READ_SEARCH = 2  # CAP_DAC_READ_SEARCH, which opens files by handle


def without_read_search():
    """In the child: what it executes cannot have the capability."""
    if ctypes.CDLL(None).prctl(24, READ_SEARCH, 0, 0, 0):
        raise OSError('PR_CAPBSET_DROP')


def right_to_open_by_handle():
    """It is kept for --inode-file-handles only; without it mandatory does not
    start, and prefer says so and serves."""
    with open('/proc/self/status') as f:
        mine = next(int(line.split()[1], 16) for line in f
                    if line.startswith('CapEff'))
    if os.getuid() or not mine >> READ_SEARCH & 1:
        print('  only root has it')
        return
    for words, want in ((), 0), (('--inode-file-handles=prefer',), 1):
        with Rig(*words) as rig:
            got = int(status(rig.daemon.process)['CapEff'], 16)
            assert got >> READ_SEARCH & 1 == want, (words, hex(got))
    how = dict(preexec_fn=without_read_search)
    with Rig('--inode-file-handles=prefer', how=how) as rig:
        assert 'no CAP_DAC_READ_SEARCH' in rig.daemon.log(), rig.daemon.log()
        s = rig.session()
        assert s.lookup(fuse.ROOT, 'witness').attr.size == 7
        s.close()
    with Place() as p:
        r = subprocess.run(command(
            '--shared-dir=' + p.share, '--socket-path=' + p.socket,
            '--inode-file-handles=mandatory'), capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=60, **how)
        assert r.returncode == 1, r
        assert 'mandatory takes CAP_DAC_READ_SEARCH' in r.stderr, r
        assert not os.path.exists(p.socket)


def maps_of_users_who_are_not_root():
    """One's own user alone needs no help; more is newuidmap's business."""
    if os.getuid():
        print('  only root starts as others')
        return
    how = dict(user=65534, group=65534, extra_groups=[])
    if subprocess.run(['unshare', '-r', 'true'], stderr=subprocess.DEVNULL,
                      **how).returncode or SECCOMP:
        print('  no name spaces here')
        return
    with Rig('--sandbox=namespace', '--uid-map=:0:65534:1:',
             '--gid-map=:0:65534:1:', how=how) as rig:
        os.chown(rig.share, 65534, 65534)
        s = rig.session()
        s.mkdir(fuse.ROOT, 'mine')
        assert s.lookup(fuse.ROOT, 'mine').attr.uid == 0
        assert os.stat(rig.share + '/mine').st_uid == 65534
        s.close()
    with Place() as p:
        os.chmod(p.root, 0o777)
        os.mkdir(p.root + '/bin', 0o755)
        tool = p.root + '/bin/newuidmap'
        with open(tool, 'w') as f:
            f.write(f'#!/bin/sh\necho "$@" > {p.root}/said\nexit 1\n')
        os.chmod(tool, 0o755)
        r = subprocess.run(command(
            '--shared-dir=' + p.share, '--socket-path=' + p.socket,
            '--uid-map=:0:65534:1:', '--uid-map=:1:100000:9',
            '--gid-map=:0:65534:1:', sandbox='namespace'),
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
            env={**os.environ, 'PATH': p.root + '/bin:' + os.environ['PATH']},
            **how)
        assert r.returncode == 1 and '/etc/subuid' in r.stderr, r
        with open(p.root + '/said') as f:
            assert f.read().split()[1:] == '0 65534 1 1 100000 9'.split()


def own_etc(p):
    """An /etc in which user 65534 has numbers to give away."""
    etc = p.root + '/etc'
    os.mkdir(etc)
    for name in 'passwd', 'group', 'nsswitch.conf', 'ld.so.cache':
        if os.path.exists('/etc/' + name):
            shutil.copy('/etc/' + name, etc)
    for name in 'subuid', 'subgid':
        with open(f'{etc}/{name}', 'w') as f:
            f.write('65534:100000:1000\nnobody:100000:1000\n')
    return etc


def maps_by_newuidmap():
    """A user whom /etc/subuid gives a range, in a mount name space of ours."""
    if os.getuid() or SECCOMP or not shutil.which('newuidmap') or \
            not shutil.which('setpriv') or \
            subprocess.run(['unshare', '-m', 'true']).returncode:
        print('  needs root, newuidmap and name spaces')
        return
    with Place() as p:
        for folder in p.root, p.share:
            os.chmod(folder, 0o777)
        etc = own_etc(p)
        script = 'mount --bind "$1" /etc && shift && exec setpriv ' \
            '--reuid=65534 --regid=65534 --clear-groups "$@"'
        with running(['unshare', '-m', 'sh', '-c', script, 'sh', etc,
                      *command('--shared-dir=' + p.share,
                               '--socket-path=' + p.socket,
                               '--uid-map=:0:65534:1:',
                               '--uid-map=:1:100000:999:',
                               '--gid-map=:0:65534:1:',
                               '--gid-map=:1:100000:999:',
                               sandbox='namespace')]):
            until(lambda: os.path.exists(p.socket), p.socket)
            s = fuse.Session(p.socket)
            s.uid, s.gid = 7, 8
            s.mkdir(fuse.ROOT, 'of-7')
            st = os.stat(p.share + '/of-7')
            assert (st.st_uid, st.st_gid) == (100006, 100007), st
            s.close()


CASES = [capabilities, right_to_open_by_handle,
         maps_of_users_who_are_not_root, maps_by_newuidmap]
