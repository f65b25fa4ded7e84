# SPDX-License-Identifier: BSD-2-Clause
"""Clients that are killed in every state, and a daemon that has only one."""
import errno
import fcntl
import os
import signal
import socket
import struct
import subprocess
import time

import daemons
import wire_client as wire
import wire_fuse as fuse
from test_daemon import Rig

RANGE = 2 << 20


def connected(rig):
    return wire.connect(rig.daemon.socket)


def half_a_message(rig):
    sock = wire.connect(rig.daemon.socket)
    sock.send(struct.pack('=III', 5, 1, 40) + b'half')
    return sock


def negotiated(rig):
    d = wire.Device(rig.daemon.socket, start=False)
    d.negotiate()
    return d


def with_memory(rig):
    d = negotiated(rig)
    d.ack(wire.SET_FEATURES, struct.pack('=Q', 1 << 30 | 1 << 32))
    d.set_memory()
    return d


def started(rig):
    return wire.Device(rig.daemon.socket)


def initialised(rig):
    return rig.session()


def holding(rig):
    """Nodes, handles, mappings."""
    s = rig.session()
    e = s.lookup(fuse.ROOT, 'big')
    for i in range(30):
        s.open(e.nodeid)
        s.opendir(fuse.ROOT)
        s.setupmapping(e.nodeid, 0, RANGE, i * RANGE,
                       fuse.MAP_READ | i % 2 * fuse.MAP_WRITE)
    return s


def asking(rig):
    """Requests under way."""
    s = rig.session()
    e = s.lookup(fuse.ROOT, 'big')
    fh = s.open(e.nodeid)
    for _ in range(8):
        s.submit_request(fuse.READ, e.nodeid, struct.pack(
            '<QQIIQII', fh, 0, 1 << 20, 0, 0, 0, 0), 1 << 20)
    return s


def in_setupmapping(rig):
    """The daemon waits for our answer to SHMEM_MAP."""
    s = rig.session()
    e = s.lookup(fuse.ROOT, 'big')
    s.window.carry_out = lambda *a: time.sleep(60)
    s.submit_request(fuse.SETUPMAPPING, e.nodeid, struct.pack(
        '<5Q', fuse.NO_HANDLE, 0, RANGE, 1, 0), 0)
    time.sleep(0.05)
    return s


def in_a_full_call(rig):
    import cases_limits
    s = rig.session()
    cases_limits.stuck(s, s.queues[1])
    return s


def killed(rig, state):
    """A process of its own goes to @state, is killed, and leaves nothing."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        keep = state(rig)
        os.write(w, b'!')
        signal.pause()
        os._exit(keep is None)
    os.close(w)
    assert os.read(r, 1) == b'!', state.__name__
    os.close(r)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    rig.settled()
    rig.served()


def killed_in_every_state():
    with Rig() as rig:
        rig.make('big', bytes(RANGE))
        for state in (connected, half_a_message, negotiated, with_memory,
                      started, initialised, holding, asking, in_setupmapping,
                      in_a_full_call):
            for _ in range(2):
                killed(rig, state)


def init_and_reset_with_everything():
    """A second INIT and a reset take handles, nodes and mappings along."""
    with Rig() as rig:
        rig.make('big', bytes(RANGE))
        s = holding(rig)
        held = rig.daemon.fds()
        s.init()
        assert not s.window.mappings, 'INIT left mappings'
        assert rig.daemon.fds() <= held - 60, 'INIT left descriptors'
        s.close()
        rig.settled()
        s = holding(rig)
        s.ack(wire.RESET_DEVICE)
        assert rig.daemon.fds() <= held - 60, 'a reset left descriptors'
        s.close(False)


def single(sock, share, *options, **how):
    argv = [os.environ.get('ORIEL_DAEMON') or daemons.OURS,
            f'--connected-fd={sock}', '--shared-dir=' + share,
            '--sandbox=none', *options]
    if os.environ.get('ORIEL_TEST_SECCOMP'):
        argv.append('--seccomp=' + os.environ['ORIEL_TEST_SECCOMP'])
    how.setdefault('pass_fds', [sock])
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL, **how)


def only_client():
    """--connected-fd: the daemon ends with its client, however that goes."""
    def leave(sock):
        sock.close()

    def say_rubbish(sock):
        sock.send(b'GET / HTTP/1.0\r\n\r\n')
        try:
            assert sock.recv(100) == b''
        except ConnectionResetError:
            pass  # it had not read all

    def half(sock):
        sock.send(b'\1\0\0')
        sock.shutdown(socket.SHUT_WR)

    with Rig(neighbour=False) as rig:
        for end in leave, say_rubbish, half:
            ours, theirs = socket.socketpair()
            daemon = single(theirs.fileno(), rig.share)
            theirs.close()
            end(ours)
            assert daemon.wait(30) == 0, end.__name__
            ours.close()
        ours, theirs = socket.socketpair()
        daemon = single(theirs.fileno(), rig.share)
        theirs.close()
        daemon.terminate()
        assert daemon.wait(30) in (0, -15)
        ours.close()


def locked(s, node, fh, opcode):
    """GETLK and the like for all of the file, exclusively."""
    return s.submit_request(opcode, node, struct.pack(
        '<QQQQIIII', fh, 1, 0, 2**63 - 1, fcntl.F_WRLCK, 1, 0, 0))


def requests_survive():
    """A request is under way when the daemon is killed, another is queued when
    there is none. The next daemon answers both, though it can do neither: it
    knows no files of the other."""
    with Rig(neighbour=False) as rig:
        path = os.path.join(rig.share, 'witness')
        s = fuse.Session(rig.daemon.socket, init=False, window=False)
        wanted = struct.pack('<QQHHI', 0, 0, 2, s.num, 0)
        answer, fds = s.channel.ask_fds(31, wanted)
        size, _, n, num, _ = struct.unpack('<QQHHI', answer)
        assert n == 2 and num == s.num and size >= 2 * 16 * num, answer
        for q in s.queues:
            s.stop_queue(q)
        queues, s.queues = s.queues, []
        s.ack(32, answer, fds)
        for q in queues:
            s.start_queue(q)
        s.init(more=[1])
        node = s.lookup(fuse.ROOT, 'witness').nodeid
        fh = s.open(node, os.O_RDWR)
        with open(path, 'r+b') as f:
            fcntl.lockf(f, fcntl.LOCK_EX)
            waits = locked(s, node, fh, 33)
            s.getattr(node)  # answered, out of order
            rig.daemon.process.kill()
            rig.daemon.process.wait()
            late = s.submit_request(fuse.GETATTR, node, bytes(16), 104)
            rig.daemon.start()
            t = fuse.Session(rig.daemon.socket, init=False, window=False,
                             start=False)
            t.negotiate()
            t.ack(wire.SET_FEATURES, struct.pack(
                '=Q', 1 << wire.VF_PROTOCOL | 1 << wire.VF_VERSION_1))
            t.mem.close()
            t.mem, t.free_slots, t.unique = s.mem, s.free_slots, s.unique
            t.set_memory()
            t.ack(32, answer, fds)
            for q in s.queues:
                t.start_queue(q)
            for token in waits, late:
                try:
                    t.finish_request(token)
                    raise AssertionError('served by who cannot')
                except fuse.FuseError as e:
                    assert e.errno == errno.EIO, e
        t.init()
        assert t.lookup(fuse.ROOT, 'witness').attr.size == 7
        assert 'served again' in rig.daemon.log(), rig.daemon.log()
        t.close()
        s.channel.close()
        for fd in fds:
            os.close(fd)


CASES = [requests_survive, killed_in_every_state, init_and_reset_with_everything, only_client]
