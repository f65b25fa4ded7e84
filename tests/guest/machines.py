# SPDX-License-Identifier: BSD-2-Clause
"""Linux kernels in machines without hardware: what they are made of, and a
guest that does what it is told.

    qemu     QEMU of Debian 12, vhost-user-fs-pci, Debian 12's kernel
    dax      QEMU >= 11.1 of forky, a DAX window, forky's kernel
    dax-old  the same with Debian 12's kernel
    plain    QEMU >= 11.1 with its vhost-user-fs-pci, forky's kernel
    queues   the same with four processors and as many request queues
    uml      User-Mode Linux of forky

A guest is one process of the host and one folder; both go with close(). It is
driven from one thread.
"""
import glob
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'interop'))
import daemons  # noqa: E402

TAG = 'guestshare'
# Emulated, on a machine that does other things: these end what hangs.
BOOT_SECONDS = 180
RUN_SECONDS = 240
# In the order in which they need each other; what is built in is passed over.
MODULES = ('drivers/virtio/virtio_ring', 'drivers/virtio/virtio',
           'drivers/virtio/virtio_pci_legacy_dev',
           'drivers/virtio/virtio_pci_modern_dev',
           'drivers/virtio/virtio_pci', 'fs/fuse/fuse', 'fs/fuse/virtiofs')
WITH_DAX = ('dax', 'dax-old')


def cache():
    base = os.environ.get('ORIEL_GUEST_CACHE')
    if not base:
        base = os.path.join(os.environ.get('XDG_CACHE_HOME') or
                            os.path.expanduser('~/.cache'), 'oriel')
    os.makedirs(base, exist_ok=True)
    return base


def need(*tools):
    for tool in tools:
        if not shutil.which(tool):
            daemons.skip('no ' + tool)


def fetched(script, name):
    """The folder @name of the cache, filled by @script."""
    folder = os.path.join(cache(), name)
    if subprocess.run([os.path.join(HERE, script), folder]).returncode:
        daemons.skip(f'{script} could not fetch what it should')
    return folder


def debian_kernel():
    """(kernel, modules) of Debian 12."""
    folder = fetched('get-kernel', 'kernel')
    return (sorted(glob.glob(folder + '/boot/vmlinuz-*'))[-1],
            sorted(glob.glob(folder + '/lib/modules/*'))[-1])


def forky():
    return fetched('get-forky', 'forky') + '/root'


def forky_kernel():
    modules = sorted(glob.glob(forky() + '/usr/lib/modules/*'))[-1]
    kernel = [modules + '/vmlinuz'] + glob.glob(forky() + '/boot/vmlinuz-*')
    return [k for k in kernel if os.path.exists(k)][0], modules


def forky_qemu():
    """(command, environment)"""
    root = forky()
    libs = root + '/usr/lib/x86_64-linux-gnu'
    return ([root + '/ld.so', '--library-path', libs,
             root + '/usr/bin/qemu-system-x86_64',
             '-L', root + '/usr/share/seabios', '-L',
             root + '/usr/share/qemu'],
            {'QEMU_MODULE_DIR': libs + '/qemu'})


# ------------------------------------------------------------- initramfs

def libraries(program):
    """The shared objects that @program needs."""
    out = subprocess.run(['ldd', program], capture_output=True, text=True)
    return re.findall(r'(/\S+) \(0x', out.stdout)


def add_program(root, program, *more_names):
    """@program (a path) and its libraries into the folder @root."""
    for path in [program] + libraries(program):
        target = root + path
        if not os.path.exists(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(path, target)
    for name in more_names:
        os.makedirs(os.path.dirname(root + name), exist_ok=True)
        os.symlink(program, root + name)


def add_modules(root, modules):
    with open(root + '/modules/order', 'w') as order:
        for name in MODULES:
            for found in glob.glob(f'{modules}/kernel/{name}.ko*'):
                shutil.copy(found, root + '/modules')
                order.write(os.path.basename(found) + '\n')


def build_initramfs(path, modules, programs):
    """busybox, init, our program, @programs with their libraries."""
    root = tempfile.mkdtemp(prefix='oriel-initramfs-')
    try:
        for folder in ('bin', 'modules'):
            os.makedirs(f'{root}/{folder}')
        shutil.copy('/bin/busybox', root + '/bin/busybox')
        shutil.copy(os.environ['ORIEL_GUEST_OPS'], root + '/bin/guest_ops')
        for name, target in (('init', '/init'), ('basic.sh', '/bin/basic.sh'),
                             ('guest_fio', '/bin/guest_fio')):
            shutil.copy(f'{HERE}/{name}', root + target)
            os.chmod(root + target, 0o755)
        add_modules(root, modules)
        for program in programs:
            need(program[0])
            add_program(root, shutil.which(program[0]), *program[1:])
        names = subprocess.run(['find', '.', '-print0'], cwd=root, check=True,
                               capture_output=True).stdout
        with open(path, 'wb') as out:
            subprocess.run(['cpio', '-0', '-o', '-H', 'newc', '--quiet',
                            '-R', '0:0'], cwd=root, input=names, stdout=out,
                           check=True)
    finally:
        shutil.rmtree(root)


# -------------------------------------------------------------- machines

def qemu_command(machine, folder, socket, memory, programs):
    """(command, environment) of a QEMU machine."""
    need('cpio', 'busybox')
    env = {}
    if machine == 'qemu':
        need('qemu-system-x86_64')
        qemu = ['qemu-system-x86_64']
    else:
        qemu, env = forky_qemu()
    kernel, modules = debian_kernel() if machine in ('qemu', 'dax-old') \
        else forky_kernel()
    device = f'vhost-user-fs-pci,chardev=c0,tag={TAG}'
    if machine == 'queues':
        device += ',num-request-queues=4'
    if machine in WITH_DAX:
        device = 'vhost-user-test-device-pci,chardev=c0,virtio-id=26,' \
            'num_vqs=2,config_size=44'
    initrd = folder + '/initrd'
    build_initramfs(initrd, modules, programs)
    return (qemu + [
        '-accel', 'tcg', '-M', 'q35', '-cpu', 'max', '-m', memory,
        '-nodefaults', '-nographic', '-no-reboot', '-serial', 'stdio',
        '-kernel', kernel, '-initrd', initrd,
        '-append', 'console=ttyS0 panic=-1 quiet no_timer_check',
        '-object', f'memory-backend-memfd,id=mem,size={memory},share=on',
        '-numa', 'node,memdev=mem', '-chardev', f'socket,id=c0,path={socket}',
        '-device', device] +
        (['-smp', '4'] if machine == 'queues' else []), env)


def uml_command(folder, socket, memory, programs):
    need('cpio', 'busybox')
    root = forky()
    modules = sorted(glob.glob(root + '/usr/lib/uml/modules/*'))[-1]
    initrd = folder + '/initrd'
    build_initramfs(initrd, modules, programs)
    return ([root + '/linux.uml', 'mem=' + memory, 'initrd=' + initrd,
             f'virtio_uml.device={socket}:26', 'con=null',
             'con0=fd:0,fd:1', 'uml_dir=' + folder, 'panic=-1', 'quiet'],
            {'LD_LIBRARY_PATH': root + '/usr/lib/x86_64-linux-gnu'})


class Guest:
    """One that has come up; its share is not mounted yet."""

    def __init__(self, machine, socket, memory='256M', programs=(),
                 reset=False):
        self.machine = machine
        self.console = ''   # all it ever said
        self.partial = b''
        self.pending = []   # lines that came behind what was waited for
        self.folder = tempfile.mkdtemp(prefix='oriel-vm-')
        self.errors = open(self.folder + '/stderr', 'w+b')
        self.process = None
        try:
            if machine == 'uml':
                command, env = uml_command(self.folder, socket, memory,
                                           programs)
            else:
                command, env = qemu_command(machine, self.folder, socket,
                                            memory, programs)
            if reset:  # 'reboot' is one, not the end
                command.remove('-no-reboot')
            self.command = command
            # UML's loader is found from where it is started.
            cwd = os.path.dirname(command[0]) if machine == 'uml' else None
            self.process = subprocess.Popen(
                command, cwd=cwd, env={**os.environ, **env}, bufsize=0,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=self.errors)
            self.kernel = self.wait_for('@ready', BOOT_SECONDS)[1]
        except BaseException:
            self.close()
            raise

    def failed(self, why):
        print(' '.join(self.command))
        print(self.console[-6000:])
        self.errors.seek(0)
        print(self.errors.read()[-2000:].decode(errors='replace'))
        return AssertionError(f'guest {self.machine}: {why}')

    def read_lines(self, seconds):
        """Whole lines, at least one; [] when that takes too long."""
        fd = self.process.stdout.fileno()
        until = time.monotonic() + seconds
        while b'\n' not in self.partial:
            left = until - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                return []
            data = os.read(fd, 65536)
            if not data:
                raise self.failed(f'ended: {self.process.wait(60)}')
            self.partial += data
        whole, self.partial = self.partial.rsplit(b'\n', 1)
        text = whole.decode(errors='replace').replace('\r', '')
        text = re.sub(r'\x1bc|\x1b\[[?0-9;]*[a-zA-Z]', '', text)
        self.console += text + '\n'
        return text.split('\n')

    def wait_for(self, word, seconds):
        """The words of the line that starts with @word."""
        return self.collect(word, seconds)[-1].split()

    def collect(self, word, seconds=RUN_SECONDS):
        """The lines up to the one that starts with @word, and this one."""
        until = time.monotonic() + seconds
        lines = []
        while True:
            got = self.pending or self.read_lines(until - time.monotonic())
            self.pending = []
            if not got:
                raise self.failed(f'no {word} within {seconds} s')
            for i, line in enumerate(got):
                lines.append(line)
                if line.startswith(word):
                    self.pending = got[i + 1:]
                    return lines

    def type(self, line):
        """Start @line; finish() waits for its end."""
        assert len(line) < 4000 and '\n' not in line
        self.console += f'$ {line}\n'
        os.write(self.process.stdin.fileno(), line.encode() + b'\n')

    def finish(self, seconds=RUN_SECONDS):
        """(status, lines)"""
        lines = self.collect('@done', seconds)
        return int(lines[-1].split()[1]), [l for l in lines[:-1] if l]

    def run(self, line, seconds=RUN_SECONDS):
        """The lines that @line says; its status has to be 0."""
        self.type(line)
        status, lines = self.finish(seconds)
        if status:
            raise self.failed(f'"{line}" ends with {status}')
        return lines

    def fails(self, line):
        self.type(line)
        return self.finish()[0] != 0

    def mount(self, options='', tag=TAG):
        self.run(f'mount -t virtiofs {"-o " + options if options else ""} '
                 f'{tag} /mnt && cd /mnt')

    def unmount(self):
        self.run('cd / && umount /mnt')

    def kernel_is_well(self):
        said = self.run("dmesg | grep -E 'BUG|WARNING:|Oops|Call Trace' "
                        '|| true')
        if said:
            raise self.failed(f'its kernel says {said}')

    def power_off(self):
        self.type('cd / && umount /mnt; poweroff -f')
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            raise self.failed('does not power off') from None
        if status:
            raise self.failed(f'its machine ended with {status}')
        self.close()

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None
        self.errors.close()
        shutil.rmtree(self.folder, ignore_errors=True)
