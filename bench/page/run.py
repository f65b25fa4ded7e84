#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Everything 'make bench' measures, and the pages made of it.

    run.py BUILD [--out=DIR] [--quick] [--steps=NAME,...]

Steps are programs of their own, one after the other; one that cannot run here
(no root, no loop device, no FUSE, nothing installed) is reported with the reason
and leaves the others alone. Ctrl-C ends the step and unmounts what was mounted.
"""
import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import render

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
XFS_BYTES = 1400 << 20


class Absent(Exception):
    """A step that this machine cannot do."""


def run(o, command, timeout):
    """Its own process group, so that all of it ends with us."""
    env = dict(os.environ, ORIEL_DAEMON=o.build + '/bin/orield',
               ORIEL_BUILD=o.build, ORIEL_SOURCE=SOURCE)
    log = tempfile.TemporaryFile('w+')
    p = subprocess.Popen(command, env=env, stdout=log, stderr=log,
                         start_new_session=True)
    try:
        code = p.wait(timeout)
    except subprocess.TimeoutExpired:
        raise Absent(f'took longer than {timeout} s') from None
    finally:
        if p.poll() is None:
            os.killpg(p.pid, signal.SIGTERM)
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, signal.SIGKILL)
                p.wait()
        log.seek(0)
        text = log.read().strip()
        log.close()
    if code:
        last = text.splitlines()[-1] if text else 'no message'
        raise Absent(f'ended with {code}: {last[-300:]}')


def load(path):
    with open(path) as f:
        return json.load(f)


# ------------------------------------------------------------------- steps

def suite(o, scratch, *more):
    run(o, [o.build + '/bench/oriel-bench-suite', '--out=' + scratch,
            *(['--quick', '--rounds=9'] if o.quick else []), *more], 300)
    return load(scratch + '/results.json')


def step_suite(o, scratch):
    more = ['--only=read-4k', '--one', '--disk=' + o.dir] if o.quick else []
    return suite(o, scratch, *more)


def step_xfs(o, scratch):
    """The suite on XFS in a file, through a loop device."""
    if os.geteuid():
        raise Absent('needs root to mount')
    if not shutil.which('mkfs.xfs'):
        raise Absent('mkfs.xfs is not installed (xfsprogs)')
    image, mnt = scratch + '/image', scratch + '/mnt'
    os.mkdir(mnt)
    with open(image, 'wb') as f:
        f.truncate(XFS_BYTES)
    run(o, ['mkfs.xfs', '-q', image], 60)
    try:
        # mount makes the loop device, and it goes with the mount
        run(o, ['mount', '-o', 'loop', image, mnt], 60)
        return suite(o, scratch, '--one', '--disk=' + mnt)
    finally:
        unmount_below(scratch)


def python_step(o, scratch, timeout, program, *args):
    out = scratch + '/out.json'
    run(o, [sys.executable, os.path.join(SOURCE, 'bench', program), *args,
            '--json=' + out, '--dir=' + scratch], timeout)
    return load(out)


def step_fuse(o, scratch):
    if os.geteuid():
        raise Absent('needs root to mount')
    if not os.path.exists('/dev/fuse'):
        raise Absent('there is no /dev/fuse')
    return python_step(o, scratch, 200, 'bench_mount.py',
                       o.build + '/bench/mount_ops', o.build + '/bin/orield',
                       *(['--rounds=3', '--ms=5'] if o.quick else []))


def step_fio(o, scratch):
    if not shutil.which('fio'):
        raise Absent('fio is not installed')
    return python_step(o, scratch, 200, 'bench_fio.py',
                       *(['--quick'] if o.quick else []))


def step_sweep(o, scratch):
    exe = o.build + '/bench/oriel-bench-sweep'
    if not os.path.exists(exe):
        raise Absent('was not built')
    run(o, [exe, scratch, scratch + '/out.json',
            *(['--quick'] if o.quick else [])], 200)
    return load(scratch + '/out.json')


STEPS = {'suite': step_suite, 'xfs': step_xfs, 'sweep': step_sweep,
         'fuse': step_fuse, 'fio': step_fio}


# --------------------------------------------------------------- cleaning up

def unmount_below(folder):
    with open('/proc/self/mounts') as f:
        at = [line.split()[1] for line in f]
    for mnt in reversed([m for m in at if m.startswith(folder + '/')]):
        subprocess.run(['umount', '-l', mnt], stderr=subprocess.DEVNULL)


def do_step(o, name):
    scratch = tempfile.mkdtemp(prefix='oriel-bench-', dir=o.dir)
    start = time.monotonic()
    try:
        return {'data': STEPS[name](o, scratch),
                'seconds': round(time.monotonic() - start, 1)}
    except (Absent, OSError, ValueError) as e:
        return {'absent': str(e)}
    finally:
        unmount_below(scratch)
        shutil.rmtree(scratch, ignore_errors=True)


def cpu_name():
    with open('/proc/cpuinfo') as f:
        for line in f:
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.machine()


def measure(o):
    every = {'schema_version': 1, 'quick': o.quick, 'steps': {},
             'machine': {'cpu': cpu_name(), 'cpus': os.cpu_count(),
                         'kernel': platform.release(),
                         'memory_mib': os.sysconf('SC_PHYS_PAGES') *
                         os.sysconf('SC_PAGE_SIZE') >> 20,
                         'load_before': os.getloadavg()[0],
                         'date': time.strftime('%Y-%m-%d')}}
    start = time.monotonic()
    for name in o.steps:
        print(f'bench: {name} ...', flush=True)
        got = do_step(o, name)
        every['steps'][name] = got
        print(f'bench: {name}: ' + (f"absent: {got['absent']}" if 'absent' in
                                    got else f"{got['seconds']} s"),
              flush=True)
    every['machine']['seconds'] = round(time.monotonic() - start)
    return every


def options():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('build', help='the release build')
    p.add_argument('--out', default='.')
    p.add_argument('--dir', default='/var/tmp', help='parent of scratch '
                   'directories (default: /var/tmp)')
    p.add_argument('--quick', action='store_true')
    p.add_argument('--steps', default=','.join(STEPS))
    o = p.parse_args()
    o.build, o.out = os.path.abspath(o.build), os.path.abspath(o.out)
    o.steps = o.steps.split(',')
    if set(o.steps) - set(STEPS):
        p.error('steps are ' + ', '.join(STEPS))
    return o


def stop(*_):
    raise KeyboardInterrupt


def main():
    o = options()
    signal.signal(signal.SIGTERM, stop)
    os.makedirs(o.out, exist_ok=True)
    try:
        every = measure(o)
    except KeyboardInterrupt:
        sys.exit(130)
    with open(o.out + '/bench.json', 'w') as f:
        json.dump(every, f, indent=1)
        f.write('\n')
    render.write_all(every, o.out)
    print(f'bench: {o.out}/bench.html, report.md, table-readme.md, bench.json')
    if not any('data' in s for s in every['steps'].values()):
        sys.exit('bench: nothing could be measured')


if __name__ == '__main__':
    main()
