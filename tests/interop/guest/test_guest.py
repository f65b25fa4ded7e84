#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A Linux kernel as the client of a daemon.

    test_guest.py qemu|qemu-dax|uml orield|qemu

The first word is the machine: QEMU's software emulation with its
vhost-user-fs device and Debian's cloud kernel, the same with a DAX window
(QEMU 11.1 or later, $ORIEL_QEMU if it is not in the path), or User-Mode Linux.
The second
is the daemon: ours, or the C virtiofsd of Debian 12's QEMU, which shows that
the harness itself is right. The guest runs ./init; its sums and what it leaves
behind are compared here, on the host's side.
"""
import glob
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import daemons  # noqa: E402

BOOT_SECONDS = 150
TAG = 'guestshare'
# In the order in which they need each other.
QEMU_MODULES = ('drivers/virtio/virtio_ring', 'drivers/virtio/virtio',
                'drivers/virtio/virtio_pci_legacy_dev',
                'drivers/virtio/virtio_pci_modern_dev',
                'drivers/virtio/virtio_pci', 'fs/fuse/fuse',
                'fs/fuse/virtiofs')
UML_MODULES = ('fs/fuse/fuse', 'fs/fuse/virtiofs')


def build_initramfs(path, modules, files):
    """busybox, init, and modules (in order) from the folder @modules."""
    root = tempfile.mkdtemp(prefix='oriel-initramfs-')
    try:
        os.makedirs(root + '/bin')
        os.makedirs(root + '/modules')
        shutil.copy('/bin/busybox', root + '/bin/busybox')
        shutil.copy(HERE + '/init', root + '/init')
        os.chmod(root + '/init', 0o755)
        with open(root + '/modules/order', 'w') as order:
            for name in files:
                found = glob.glob(f'{modules}/kernel/{name}.ko')
                if found:  # absent: built into the kernel
                    shutil.copy(found[0], root + '/modules')
                    order.write(os.path.basename(found[0]) + '\n')
        names = subprocess.run(['find', '.', '-print0'], cwd=root, check=True,
                               capture_output=True).stdout
        with open(path, 'wb') as out:
            subprocess.run(['cpio', '-0', '-o', '-H', 'newc', '--quiet',
                            '-R', '0:0'], cwd=root, input=names, stdout=out,
                           check=True)
    finally:
        shutil.rmtree(root)


def need(*tools):
    for tool in tools:
        if not shutil.which(tool):
            daemons.skip('no ' + tool)


def qemu_command(work, socket):
    device = f'vhost-user-fs-pci,chardev=c0,tag={TAG}'
    return qemu_with('qemu-system-x86_64', work, socket, device, '')


def qemu_dax_command(work, socket):
    """The generic device, whose window comes from the daemon."""
    qemu = os.environ.get('ORIEL_QEMU', 'qemu-system-x86_64')
    need(qemu)
    known = subprocess.run([qemu, '-device', 'help'], capture_output=True)
    if b'vhost-user-test-device-pci' not in known.stdout + known.stderr:
        daemons.skip('this QEMU has no vhost-user-test-device')
    device = 'vhost-user-test-device-pci,chardev=c0,virtio-id=26,' \
        'num_vqs=2,config_size=44'
    return qemu_with(qemu, work, socket, device, 'oriel.options=dax=always')


def qemu_with(qemu, work, socket, device, words):
    need(qemu, 'cpio', 'busybox')
    kernels = os.environ.get('ORIEL_GUEST_KERNEL') or os.path.join(
        os.environ.get('ORIEL_BUILD', work), 'guest-kernel')
    if subprocess.run([HERE + '/get-kernel', kernels]).returncode:
        daemons.skip('cannot fetch a kernel')
    kernel = sorted(glob.glob(kernels + '/boot/vmlinuz-*'))[-1]
    modules = sorted(glob.glob(kernels + '/lib/modules/*'))[-1]
    initrd = os.path.join(work, 'initrd')
    build_initramfs(initrd, modules, QEMU_MODULES)
    return [qemu, '-accel', 'tcg', '-M', 'q35', '-cpu', 'max',
            '-m', '256M', '-nodefaults', '-nographic', '-no-reboot',
            '-serial', 'stdio', '-kernel', kernel, '-initrd', initrd,
            '-append', f'console=ttyS0 panic=-1 quiet oriel.tag={TAG} {words}',
            '-object', 'memory-backend-memfd,id=mem,size=256M,share=on',
            '-numa', 'node,memdev=mem',
            '-chardev', f'socket,id=c0,path={socket}',
            '-device', device]


def uml_runs(work):
    """Whether User-Mode Linux gets as far as a program of ours here. The one
    of Debian 12 does not on processors whose registers take more room than it
    knows of (AMX)."""
    initrd = os.path.join(work, 'probe')
    build_initramfs(initrd, work, ())
    try:
        done = subprocess.run(
            ['linux.uml', 'mem=128M', 'initrd=' + initrd, 'con=null',
             'con0=null,fd:1', 'uml_dir=' + work, 'panic=-1', 'quiet'],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        return False
    return b'@fail' in done.stdout  # there is no share: init says so


def uml_command(work, socket):
    need('linux.uml', 'cpio', 'busybox')
    if not uml_runs(work):
        daemons.skip('User-Mode Linux does not run on this processor')
    modules = sorted(glob.glob('/usr/lib/uml/modules/*'))
    if not modules:
        daemons.skip('no modules of User-Mode Linux')
    initrd = os.path.join(work, 'initrd')
    build_initramfs(initrd, modules[-1], UML_MODULES)
    return ['linux.uml', 'mem=512M', 'initrd=' + initrd,
            'virtio_uml.device=' + socket + ':26', 'con=null',
            'con0=null,fd:1', 'uml_dir=' + work, 'panic=-1', 'quiet',
            f'oriel.tag={TAG}']


def fill(share):
    """What the guest finds. Every byte that matters is random."""
    seed = int(os.environ.get('ORIEL_SEED', random.SystemRandom().getrandbits(32)))
    print('ORIEL_SEED =', seed)
    rng = random.Random(seed)
    put = {'big': rng.randbytes(5 << 20), 'odd': rng.randbytes(1048676),
           'empty': b'', 'text': b'a line with a marker\n'}
    os.makedirs(share + '/in/many')
    for name, data in put.items():
        with open(f'{share}/in/{name}', 'wb') as f:
            f.write(data)
    for i in range(500):
        with open(f'{share}/in/many/{i:04}', 'wb') as f:
            f.write(rng.randbytes(i))
    os.symlink('text', share + '/in/link')
    return put


def run_guest(command):
    """The guest's console."""
    print(' '.join(command), flush=True)
    guest = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        out, _ = guest.communicate(timeout=BOOT_SECONDS)
    except subprocess.TimeoutExpired:
        guest.kill()
        out, _ = guest.communicate()
        print(out.decode(errors='replace'))
        raise AssertionError(f'the guest ran longer than {BOOT_SECONDS} s')
    text = out.decode(errors='replace').replace('\r', '')
    return re.sub(r'\x1bc|\x1b\[[?0-9;]*[a-zA-Z]', '', text)


def read(path):
    with open(path, 'rb') as f:
        return f.read()


def check(console, share, put):
    lines = [l.split() for l in console.splitlines() if l.startswith('@')]
    assert lines and lines[-1] == ['@ok'], f'the guest says {lines[-1:]}'
    sums = {l[1]: l[2] for l in lines if l[0] == '@sum'}
    want = {'in/' + name: put[name] for name in ('big', 'odd', 'empty')}
    want['in/many/0499'] = read(share + '/in/many/0499')
    want['out/copy'] = want['/mnt/out/par2'] = put['big']
    for name, data in want.items():
        assert sums[name] == hashlib.sha256(data).hexdigest(), name
    assert [l[1:] for l in lines if l[0] == '@count'] == [
        ['in/many', '500'], ['out/dir', '201'], ['out/dir', '101']]

    # What it left, seen from the host.
    out = share + '/out/'
    for name in ('copy', 'par1', 'par2'):
        assert read(out + name) == put['big'], name
    assert read(out + 'dir/moved') == b'one\ntwo\nthree\n'
    assert os.readlink(out + 'soft') == 'dir/moved'
    assert os.stat(out + 'hard').st_nlink == 2
    assert os.path.samefile(out + 'hard', out + 'dir/moved')
    patched = bytearray(put['odd'])
    patched[4090:4090 + len(put['text'])] = put['text']
    assert read(out + 'patched') == patched
    assert read(out + 'cut') == put['big'][:12345] + bytes(20000 - 12345)
    assert os.stat(out + 'cut').st_mode & 0o777 == 0o751
    assert read(out + 'sparse') == bytes(3000001)
    assert sorted(os.listdir(out)) == sorted(
        ['copy', 'par1', 'par2', 'dir', 'soft', 'hard', 'patched', 'cut',
         'sparse'])
    assert sorted(os.listdir(out + 'dir')) == sorted(
        ['moved'] + [f'f{i}' for i in range(100, 200)])
    for name, data in put.items():
        assert read(f'{share}/in/{name}') == data, f'in/{name} was changed'


def main():
    machine, kind = sys.argv[1:]
    work = tempfile.mkdtemp(prefix='oriel-guest-')
    share = work + '/share'
    os.mkdir(share)
    daemon = None
    try:
        put = fill(share)
        options = ['--tag=' + TAG] if kind == 'orield' else []
        if machine == 'qemu-dax':
            options += ['--window=512M', '--request-queues=1']
        daemon = daemons.Daemon(kind, share, *options)
        command = {'qemu': qemu_command, 'qemu-dax': qemu_dax_command,
                   'uml': uml_command}[machine](work, daemon.socket)
        console = run_guest(command)
        try:
            check(console, share, put)
            if kind == 'orield':
                assert daemon.alive(), 'the daemon ended with its guest'
        except BaseException:
            print(console)
            print('daemon log:\n' + daemon.log()[-4000:])
            raise
        daemon.stop()
        daemon = None
    finally:
        if daemon:
            daemon.kill()
        shutil.rmtree(work, ignore_errors=True)
    print('GUEST-OK')
    return 0


if __name__ == '__main__':
    sys.exit(main())
