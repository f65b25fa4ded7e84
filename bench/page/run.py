#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Everything 'make bench' measures, and the pages made of it.

    run.py BUILD [--out=DIR] [--quick] [--steps=NAME,...] [--budget=SECONDS]

Steps are programs of their own, one after the other; one that cannot run here
(no root, no loop device, no FUSE, nothing installed) is reported with the
reason and leaves the others alone. They share a budget of seconds: one for
which too little is left is shortened, then left out, and the report says so.

Whatever way it ends, also by Ctrl-C, nothing stays: every step has a session of
its own, its orphans become ours and are killed, what is mounted below the
scratch directories is unmounted, and the directories go.
"""
import argparse
import ctypes
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
BUDGET = 500        # seconds, of the ten minutes that compiling is part of
SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
PR_SET_CHILD_SUBREAPER = 36


class Absent(Exception):
    """A step that this machine cannot do."""


class Late(Absent):
    """One whose time was over. What it had written by then counts."""


# ---------------------------------------------------------------- processes

def children():
    """Of ours, adopted ones too."""
    with open(f'/proc/self/task/{os.getpid()}/children') as f:
        return [int(pid) for pid in f.read().split()]


def kill_children():
    """And theirs, which become ours when these die."""
    for _ in range(200):
        left = children()
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass


def run(o, command):
    """Until it ends, or the time of the step is over."""
    env = dict(os.environ, ORIEL_DAEMON=o.build + '/bin/orield',
               ORIEL_BUILD=o.build, ORIEL_SOURCE=SOURCE)
    log = tempfile.TemporaryFile('w+')
    p = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL,
                         stdout=log, stderr=log, start_new_session=True)
    try:
        code = p.wait(max(o.until - time.monotonic(), 1))
    except subprocess.TimeoutExpired:
        raise Late('was ended when its part of the time was over') from None
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()
        kill_children()
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

def run_for(o, out, command):
    """What @command wrote to @out, as far as it came."""
    try:
        run(o, command)
    except Late:
        if not os.path.exists(out):
            raise
        o.notes.append('its part of the time was over before it was through')
    return load(out)


def suite(o, scratch, *more):
    # it leaves out cases, but what it has begun may take a while to end
    seconds = max((o.until - time.monotonic()) * 0.85, 1)
    return run_for(o, scratch + '/results.json', [
        o.build + '/bench/oriel-bench-suite', '--out=' + scratch,
        f'--seconds={seconds:.0f}', '--shm=' + o.shm,
        *(['--quick', '--rounds=9'] if o.short else []), *more])


def step_suite(o, scratch):
    return suite(o, scratch, '--disk=' + scratch,
                 *(['--only=' + o.only, '--one'] if o.only else []))


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
    run(o, ['mkfs.xfs', '-q', image])
    try:
        # mount makes the loop device, and it goes with the mount
        run(o, ['mount', '-o', 'loop', image, mnt])
        return suite(o, scratch, '--one', '--disk=' + mnt)
    finally:
        unmount_below(scratch)


def python_step(o, scratch, program, *args):
    out = scratch + '/out.json'
    return run_for(o, out, [
        sys.executable, os.path.join(SOURCE, 'bench', program), *args,
        '--json=' + out, '--dir=' + scratch])


def step_fuse(o, scratch):
    if os.geteuid():
        raise Absent('needs root to mount')
    if not os.path.exists('/dev/fuse'):
        raise Absent('there is no /dev/fuse')
    return python_step(o, scratch, 'bench_mount.py',
                       o.build + '/bench/mount_ops', o.build + '/bin/orield',
                       *(['--rounds=3', '--ms=5'] if o.short else []))


def step_fio(o, scratch):
    if not shutil.which('fio'):
        raise Absent('fio is not installed')
    return python_step(o, scratch, 'bench_fio.py',
                       *(['--quick'] if o.short else []))


def step_sweep(o, scratch):
    run(o, [o.build + '/bench/oriel-bench-sweep', scratch,
            scratch + '/out.json', *(['--quick'] if o.short else [])])
    return load(scratch + '/out.json')


def step_scale(o, scratch):
    """Short always: its curves bend at counts, not at nanoseconds."""
    return python_step(o, o.shm, 'scale/bench_scale.py',
                       o.build + '/bench/scale/oriel-crowd', '--quick')


# name: what it does, seconds of a full one, of a short one; on an idle machine
STEPS = {'suite': (step_suite, 182, 28), 'sweep': (step_sweep, 45, 8),
         'xfs': (step_xfs, 70, 12), 'fuse': (step_fuse, 90, 25),
         'fio': (step_fio, 70, 35), 'scale': (step_scale, 20, 20)}


# --------------------------------------------------------------- cleaning up

def unmount_below(folder):
    with open('/proc/self/mounts') as f:
        at = [line.split()[1] for line in f]
    for mnt in reversed([m for m in at if m.startswith(folder + '/')]):
        subprocess.run(['umount', '-l', mnt], stderr=subprocess.DEVNULL)


def remove(folder):
    unmount_below(folder)
    shutil.rmtree(folder, ignore_errors=True)


def make_scratch(o):
    """Two folders that hold all there is; no signal comes in between."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    o.top = tempfile.mkdtemp(prefix='oriel-bench-', dir=o.dir)
    o.shm = tempfile.mkdtemp(prefix='oriel-bench-', dir=o.shm_dir)


def remove_scratch(o):
    for s in SIGNALS:
        signal.signal(s, signal.SIG_IGN)
    kill_children()
    remove(o.top)
    remove(o.shm)


# ------------------------------------------------------------------- budget

def plan(o, name, left):
    """('full' | 'short' | None, why) with @left seconds for this step, and a
    short one of each that follows."""
    _, full, short = STEPS[name]
    after = o.steps[o.steps.index(name) + 1:]
    mine = left - sum(STEPS[n][2] for n in after)
    if mine >= full or (o.quick and left >= short):
        return 'full', ''
    if left >= short:
        return 'short', f'shortened: {left:.0f} s were left of the budget'
    return None, f'left out: {left:.0f} s were left of the budget'


# However slow the machine is, a step takes no more than so many times what a
# full one does on an idle one.
PATIENCE = 1.6


def do_step(o, name, end):
    work, full, short = STEPS[name]
    left = end - time.monotonic()
    how, why = plan(o, name, left)
    if not how:
        return {'absent': why}
    after = sum(STEPS[n][2] for n in o.steps[o.steps.index(name) + 1:])
    start = time.monotonic()
    o.short = o.quick or how == 'short'
    o.notes = [why] if why else []
    o.until = start + min(max(left - after, min(left, short)),
                          max(PATIENCE * full, 60))
    scratch = tempfile.mkdtemp(dir=o.top)
    try:
        got = {'data': work(o, scratch),
               'seconds': round(time.monotonic() - start, 1)}
        return dict(got, note='; '.join(o.notes)) if o.notes else got
    except (Absent, OSError, ValueError, KeyError) as e:
        return {'absent': str(e)}
    finally:
        kill_children()
        remove(scratch)


def cpu_name():
    with open('/proc/cpuinfo') as f:
        for line in f:
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.machine()


def measure(o):
    every = {'schema_version': 2, 'quick': o.quick, 'steps': {},
             'machine': {'cpu': cpu_name(), 'cpus': os.cpu_count(),
                         'kernel': platform.release(),
                         'memory_mib': os.sysconf('SC_PHYS_PAGES') *
                         os.sysconf('SC_PAGE_SIZE') >> 20,
                         'load_before': os.getloadavg()[0],
                         'budget': o.budget,
                         'date': time.strftime('%Y-%m-%d')}}
    start = time.monotonic()
    for name in o.steps:
        print(f'bench: {name} ...', flush=True)
        got = do_step(o, name, start + o.budget)
        every['steps'][name] = got
        print(f'bench: {name}: ' + (f"absent: {got['absent']}" if 'absent' in
                                    got else f"{got['seconds']} s" + (
                                        '; ' + got['note'] if 'note' in got
                                        else '')), flush=True)
    every['machine']['seconds'] = round(time.monotonic() - start)
    return every


def options():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('build', help='the release build')
    p.add_argument('--out', default='.')
    p.add_argument('--dir', default='/var/tmp', help='parent of scratch '
                   'directories (default: /var/tmp)')
    p.add_argument('--shm-dir', default='/dev/shm', help='the same, on tmpfs')
    p.add_argument('--only', help='this case of the suite only')
    p.add_argument('--budget', type=float, default=BUDGET, help='seconds, for '
                   'all steps together (default: %(default)s)')
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
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.makedirs(o.out, exist_ok=True)
    for s in SIGNALS:
        signal.signal(s, stop)
    make_scratch(o)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        every = measure(o)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        remove_scratch(o)
    with open(o.out + '/bench.json', 'w') as f:
        json.dump(every, f, indent=1)
        f.write('\n')
    render.write_all(every, o.out)
    print(f'bench: {o.out}/bench.html, report.md, table-readme.md, bench.json')
    if not any('data' in s for s in every['steps'].values()):
        sys.exit('bench: nothing could be measured')


if __name__ == '__main__':
    main()
