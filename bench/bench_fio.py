#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""fio's own engines and ours on the same file, in turns.

    bench_fio.py [--json=FILE] [--dir=DIR] [--rounds=N] [--slice=MS] [--quick]

One fio for each case and kind of buffer. Its jobs wait for each other
(stonewall): psync, mmap, io_uring, oriel, psync, mmap ..., so that whatever else
the machine does hits all of them. A number is the median over the rounds, a
ratio the median of the ratios within the rounds.
"""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile

SOURCE = os.environ.get('ORIEL_SOURCE') or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), '..')
BUILD = os.environ.get('ORIEL_BUILD') or os.path.join(SOURCE, 'build')
FILE_BYTES = 64 << 20
RAMP_MS = 50

CASES = [
    {'case': 'read-4k', 'rw': 'randread', 'bs': 4096},
    {'case': 'overwrite-4k', 'rw': 'randwrite', 'bs': 4096},
    {'case': 'read-1m-seq', 'rw': 'read', 'bs': 1 << 20},
]
BUFFERS = {'aligned': 4096, 'default': None}


def contestants(engine, share):
    """name -> options of its jobs. The first is what others are compared
    with."""
    native = {'filename': share + '/data'}
    return {
        'psync': {'ioengine': 'psync', **native},
        'mmap': {'ioengine': 'mmap', **native},
        'io_uring': {'ioengine': 'io_uring', 'iodepth': 1, **native},
        'io_uring-64': {'ioengine': 'io_uring', 'iodepth': 64, **native},
        'oriel': {'ioengine': 'external:' + engine, 'share': share,
                  'filename': 'data', 'dax': 'always'},
    }


def job_file(o, case, align, ways):
    lines = ['[global]', f'rw={case["rw"]}', f'bs={case["bs"]}',
             f'size={FILE_BYTES}', 'invalidate=0', 'norandommap', 'time_based',
             f'runtime={o.slice}ms', f'ramp_time={RAMP_MS}ms', 'stonewall',
             'random_generator=tausworthe64', 'lat_percentiles=1',
             'clat_percentiles=0']
    if align:
        lines.append(f'iomem_align={align}')
    for n in range(o.rounds):
        for name, options in ways.items():
            lines.append(f'[{name}.{n}]')
            lines += [f'{k}={v}' for k, v in options.items()]
    return '\n'.join(lines) + '\n'


def run_fio(folder, text):
    """[the JSON object of each job]"""
    path = folder + '/jobs'
    with open(path, 'w') as f:
        f.write(text)
    r = subprocess.run(['fio', '--output-format=json', '--eta=never', path],
                       cwd=folder, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True)
    if r.returncode:
        sys.exit(f'bench_fio: fio: {r.stderr}')
    return json.loads(r.stdout[r.stdout.index('{'):])['jobs']


def numbers(job):
    """Of one job: iops and latencies, whichever way it went."""
    side = max((job['read'], job['write']), key=lambda x: x['total_ios'])
    percentiles = side['lat_ns'].get('percentile', {})
    return {'iops': side['iops'],
            'p50_ns': percentiles.get('50.000000', 0),
            'p99_ns': percentiles.get('99.000000', 0),
            'cpu_percent': job['usr_cpu'] + job['sys_cpu'],
            'percentiles': percentiles}


def distribution(all_rounds):
    """[[percent, ns]], each the median over the rounds."""
    keys = all_rounds[0].pop('percentiles')
    rest = [keys] + [r.pop('percentiles') for r in all_rounds[1:]]
    return [[float(k), statistics.median(r.get(k, 0) for r in rest)]
            for k in keys]


def summarize(o, case, align, ways, jobs):
    rounds = {name: [None] * o.rounds for name in ways}
    for job in jobs:
        name, n = job['jobname'].rsplit('.', 1)
        rounds[name][int(n)] = numbers(job)
    base = rounds[next(iter(ways))]
    out = []
    for name, all_rounds in rounds.items():
        latency = distribution(all_rounds)
        one = {k: statistics.median(r[k] for r in all_rounds)
               for k in all_rounds[0]}
        out.append({
            'name': name,
            'ioengine': 'oriel' if name.startswith('oriel') else
                        ways[name]['ioengine'],
            'iodepth': ways[name].get('iodepth', 1),
            'iops': round(one['iops']),
            'ns_per_io': round(1e9 / one['iops'], 1),
            'mib_per_s': round(one['iops'] * case['bs'] / (1 << 20), 1),
            'p50_ns': round(one['p50_ns']), 'p99_ns': round(one['p99_ns']),
            'cpu_percent': round(one['cpu_percent'], 1),
            'latency': latency,
            'speed_vs_psync': round(statistics.median(
                r['iops'] / b['iops'] for r, b in zip(all_rounds, base)), 3),
        })
    return {'case': case['case'], 'block_bytes': case['bs'],
            'buffers': align, 'contestants': out}


def print_case(result):
    print(f"\n{result['case']}, {result['buffers']} buffers")
    print(f"{'':14} {'ns an I/O':>10} {'p99 ns':>9} {'MiB/s':>9} "
          f"{'of psync':>9}")
    for c in result['contestants']:
        print(f"{c['name']:14} {c['ns_per_io']:10.0f} {c['p99_ns']:9} "
              f"{c['mib_per_s']:9.0f} {c['speed_vs_psync']:8.2f}x",
              flush=True)


def make_file(share):
    """In large pieces: file systems that can then keep it in large folios."""
    piece = os.urandom(2 << 20)
    with open(share + '/data', 'wb', buffering=0) as f:
        for _ in range(FILE_BYTES // len(piece)):
            f.write(piece)
        os.fsync(f.fileno())


def file_system(path):
    r = subprocess.run(['stat', '-f', '-c', '%T', path], text=True,
                       stdout=subprocess.PIPE)
    return r.stdout.strip().replace('ext2/ext3', 'ext4')


def measure(o, engine, folder):
    share = folder + '/share'
    os.mkdir(share)
    make_file(share)
    ways = contestants(engine, share)
    report = {'schema_version': 1, 'fio': subprocess.check_output(
                  ['fio', '--version'], text=True).strip(),
              'kernel': platform.release(), 'cpus': os.cpu_count(),
              'file_system': file_system(share), 'file_bytes': FILE_BYTES,
              'rounds': o.rounds, 'slice_ms': o.slice, 'cases': []}
    for case in CASES:
        for name, align in BUFFERS.items():
            jobs = run_fio(folder, job_file(o, case, align, ways))
            result = summarize(o, case, name, ways, jobs)
            report['cases'].append(result)
            print_case(result)
            save(o, report)
    report['load'] = os.getloadavg()[0]
    save(o, report)


def save(o, report):
    """After each case: whoever ends us has what there is."""
    if o.json:
        with open(o.json + '.new', 'w') as f:
            json.dump(report, f, indent=1)
            f.write('\n')
        os.rename(o.json + '.new', o.json)


def options():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--json', help='where the report goes')
    p.add_argument('--dir', default='/var/tmp', help='parent of the scratch '
                   'directory (default: /var/tmp)')
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--slice', type=int, default=150, metavar='MS')
    p.add_argument('--quick', action='store_true', help='30 seconds')
    o = p.parse_args()
    if o.quick:
        o.rounds, o.slice = 3, 60
    return o


def main():
    o = options()
    r = subprocess.run([SOURCE + '/contrib/fio/build', BUILD], text=True,
                       stdout=subprocess.PIPE)
    if r.returncode:
        sys.exit(r.returncode)
    folder = tempfile.mkdtemp(prefix='oriel-fio-', dir=o.dir)
    try:
        measure(o, r.stdout.strip(), folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    main()
