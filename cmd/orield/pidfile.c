/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SOCKET.pid, as virtiofsd makes it: our process's number, under a lock as long
 * as we live. Two daemons that find the same dead socket cannot both take it,
 * and who supervises us finds us. The file goes with the socket; whoever
 * removes it must have the lock, so that nobody removes a successor's.
 */
#include "orield.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

/* One a socket, in their order; -1: it could not be made. */
static int pid_fds[ORIELD_SHARES_MAX];
static unsigned n_pid_fds;

static int fill_path(const char *socket_path, char *buf, size_t size)
{
	int n = snprintf(buf, size, "%s.pid", socket_path);

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/* Is what we hold still what the name means? */
static bool is_current(int fd, const char *path)
{
	struct stat ours;
	struct stat there;

	return !fstat(fd, &ours) && !lstat(path, &there) &&
	       ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

/* -EWOULDBLOCK: somebody alive has it. */
static int lock_file(const char *path)
{
	int tries;

	for (tries = 0; tries < 16; tries++) {
		int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC |
			      O_NONBLOCK, 0644);

		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			int r = -errno;

			close(fd);
			return r;
		}
		if (is_current(fd, path))
			return fd;
		close(fd); /* it was being removed */
	}
	return -EBUSY;
}

int orield_pidfile_make(const char *socket_path, struct orield_error *err)
{
	char path[256];
	int r = fill_path(socket_path, path, sizeof(path));
	int fd = r ? r : lock_file(path);

	if (fd == -EWOULDBLOCK)
		return orield_fail(err, -EADDRINUSE, "another process listens"
				   " on %s: it holds %s", socket_path, path);
	if (n_pid_fds == ORIELD_SHARES_MAX) {
		fd_close(&fd);
		return orield_fail(err, -E2BIG, "too many sockets");
	}
	if (fd < 0)
		/* a socket can be of use all the same */
		log_warn("no %s: %s", path, strerror(-fd));
	else if (ftruncate(fd, 0) || dprintf(fd, "%d\n", (int)getpid()) < 0)
		log_warn("cannot write %s: %s", path, strerror(errno));
	pid_fds[n_pid_fds++] = fd < 0 ? -1 : fd;
	return 0;
}

void orield_pidfile_drop(const char *socket_path)
{
	char path[256];
	int fd;

	if (!n_pid_fds)
		return;
	fd = pid_fds[--n_pid_fds];
	if (fd >= 0 && !fill_path(socket_path, path, sizeof(path)) &&
	    is_current(fd, path))
		unlink(path);
	fd_close(&fd);
}

void orield_pidfile_release(void)
{
	while (n_pid_fds)
		fd_close(&pid_fds[--n_pid_fds]);
}

void orield_pidfile_remove(const char *socket_path)
{
	const struct timespec pause = { .tv_nsec = 10000000 };
	char path[256];
	int tries;

	if (fill_path(socket_path, path, sizeof(path)))
		return;
	/* the daemon that just ended lets go of it a moment later */
	for (tries = 0; tries < 100; tries++) {
		int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC |
			      O_NONBLOCK);

		if (fd < 0)
			return;
		if (!flock(fd, LOCK_EX | LOCK_NB)) {
			if (is_current(fd, path))
				unlink(path);
			close(fd);
			return;
		}
		close(fd);
		nanosleep(&pause, NULL);
	}
}
