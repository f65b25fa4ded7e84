#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Linux as the client of a daemon: one scenario, named by the argument.

Every scenario starts a daemon on a fresh folder, boots one guest or more of
machines.py, lets them do things, and compares with what the host sees.
"""
import os
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import scenarios  # noqa: E402


def main():
    scenario = scenarios.BY_NAME[sys.argv[1]]
    # Not /tmp: that may be a file system without attributes or DAX.
    base = os.environ.get('ORIEL_GUEST_DIR') or os.environ.get('ORIEL_BUILD')
    work = tempfile.mkdtemp(prefix='oriel-guest-', dir=base)
    # The daemon's own user need not be ours.
    os.chmod(work, 0o755)
    place = scenarios.Place(work)
    try:
        scenario(place)
        place.end()
    finally:
        place.clean()
        shutil.rmtree(work, ignore_errors=True)
    print('GUEST-OK')
    return 0


if __name__ == '__main__':
    sys.exit(main())
