# SPDX-License-Identifier: BSD-2-Clause
"""A directory as share, mounted by 'orield --mount' somewhere else."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

DAEMON = os.environ.get("ORIEL_DAEMON", "")
SECCOMP = os.environ.get("ORIEL_TEST_SECCOMP", "kill")
# With the filter, the sandbox too; without (sanitizers), neither.
SANDBOX = "auto" if SECCOMP == "kill" else "none"
PATIENCE = 60


def mounts():
    """The mount points of this name space."""
    with open("/proc/self/mountinfo") as f:
        return [line.split()[4] for line in f]


def wait_for(what, true):
    """Until it is true, however slow the machine; an AssertionError if not."""
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise AssertionError("waited in vain for " + what)
        time.sleep(0.01)


def base_dir():
    """Where shares are made: a file system that knows passthrough, O_TMPFILE
    and O_DIRECT, if there is one."""
    return os.environ.get("ORIEL_TEST_DIR") or "/var/tmp"


class Place:
    """Directories .share and .mnt below .dir; the daemon is .proc."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="oriel-mount-", dir=base_dir())
        os.chmod(self.dir, 0o755)
        self.share = os.path.join(self.dir, "share")
        self.mnt = os.path.join(self.dir, "mnt")
        self.log = os.path.join(self.dir, "log")
        os.mkdir(self.share)
        os.mkdir(self.mnt)
        os.chmod(self.share, 0o777)
        self.proc = None

    def command(self, *args):
        return [DAEMON, "--mount=" + self.mnt, "--shared-dir=" + self.share,
                "--sandbox=" + SANDBOX, "--seccomp=" + SECCOMP, *args]

    def start(self, *args, **kwargs):
        """Mount; the line on --ready-fd says how it went."""
        r, w = os.pipe()
        with open(self.log, "ab") as log:
            self.proc = subprocess.Popen(
                self.command("--ready-fd=%d" % w, *args), stderr=log,
                pass_fds=[w], **kwargs)
        os.close(w)
        with os.fdopen(r) as f:
            line = f.readline()
        if not line.startswith("READY"):
            self.proc.wait(PATIENCE)
            raise AssertionError(line + self.logged())
        return self

    def logged(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def is_mounted(self):
        return self.mnt in mounts()

    def stop(self, sig=signal.SIGTERM):
        """End it by a signal. Its exit status."""
        if self.proc is None:
            return None
        if self.proc.poll() is None:
            self.proc.send_signal(sig)
        status = self.proc.wait(PATIENCE)
        wait_for("the unmount", lambda: not self.is_mounted())
        self.proc = None
        return status

    def remove(self):
        try:
            self.stop()
        finally:
            if self.is_mounted():
                subprocess.run(["umount", "-l", self.mnt], check=False)
            shutil.rmtree(self.dir, ignore_errors=True)


def private_mounts():
    """Go on in a mount name space of our own, so that nothing stays mounted
    whatever happens, and where /dev/fuse is for everybody, as udev has it."""
    inside = "ORIEL_TEST_PRIVATE_MOUNTS"
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return
    if not os.environ.get(inside):
        r = subprocess.run(["unshare", "--mount", "true"], check=False)
        if r.returncode == 0:
            os.environ[inside] = "1"
            os.execvp("unshare", ["unshare", "--mount", sys.executable,
                                  *sys.argv])
        return
    if os.path.exists("/dev/fuse"):
        node = os.path.join(tempfile.mkdtemp(prefix="oriel-fuse-"), "fuse")
        os.mknod(node, 0o20666, os.stat("/dev/fuse").st_rdev)
        os.chmod(node, 0o666)
        subprocess.run(["mount", "--bind", node, "/dev/fuse"], check=False)
        os.unlink(node)
        os.rmdir(os.path.dirname(node))


def need_fuse():
    """Skip the whole test where a FUSE cannot be mounted at all."""
    if not os.access(DAEMON, os.X_OK):
        print("no orield to test: set ORIEL_DAEMON")
        sys.exit(77)
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        print("no /dev/fuse here")
        sys.exit(77)
    place = Place()
    try:
        place.start()
    except AssertionError as e:
        if "cannot mount" in str(e) or "not allowed" in str(e):
            print("no right to mount:", e)
            sys.exit(77)
        raise
    finally:
        place.remove()
