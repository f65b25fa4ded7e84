# SPDX-License-Identifier: BSD-2-Clause
"""What the process is left with: capabilities, and users of a name space."""
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


CASES = [capabilities, maps_of_users_who_are_not_root, maps_by_newuidmap]
