/* SPDX-License-Identifier: BSD-2-Clause */
/* flock(2), fcntl(2) locks of processes and of open files. */
#include "posix.h"

#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>

static struct flock range(short type, off_t start, off_t len)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET,
			    .l_start = start, .l_len = len };

	return fl;
}

static int set(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock fl = range(type, start, len);

	return fcntl(fd, cmd, &fl);
}

/*
 * After close(2) of who had the lock: soon. Where locks are a server's, it hears
 * of the last close when that has returned already.
 */
static int flock_soon(int fd, int how)
{
	unsigned tries;
	int r = -1;

	for (tries = 0; tries < 10000; tries++) {
		r = flock(fd, how | LOCK_NB);
		if (!r || errno != EWOULDBLOCK)
			break;
		usleep(1000);
	}
	return r;
}

static int ofd_soon(int fd)
{
	unsigned tries;
	int r = -1;

	for (tries = 0; tries < 10000; tries++) {
		r = set(fd, F_OFD_SETLK, F_WRLCK, 0, 0);
		if (!r || errno != EAGAIN)
			break;
		usleep(1000);
	}
	return r;
}

static void flock_opens(void)
{
	int a = (int)MUST(open("f", O_RDWR | O_CREAT, 0644));
	int b = (int)MUST(open("f", O_RDONLY));
	int c;

	OK(flock(a, LOCK_SH));
	OK(flock(b, LOCK_SH | LOCK_NB));
	ERR(EWOULDBLOCK, flock(a, LOCK_EX | LOCK_NB));
	OK(flock(b, LOCK_UN));
	/* what failed may have cost the shared lock: take it again */
	OK(flock(a, LOCK_EX | LOCK_NB));
	ERR(EWOULDBLOCK, flock(b, LOCK_SH | LOCK_NB));
	/* a duplicate is the same open file */
	c = (int)OK(dup(a));
	OK(flock(c, LOCK_EX | LOCK_NB));
	OK(close(a));
	ERR(EWOULDBLOCK, flock(b, LOCK_SH | LOCK_NB));
	OK(close(c));
	OK(flock_soon(b, LOCK_EX));
	ERR(EINVAL, flock(b, 0));
	OK(close(b));
}

static int lock_fd;

static void other_asks(void)
{
	struct flock fl = range(F_WRLCK, 0, 0);

	ERR(EAGAIN, set(lock_fd, F_SETLK, F_WRLCK, 0, 10));
	ERR(EAGAIN, set(lock_fd, F_SETLK, F_RDLCK, 9, 1));
	OK(set(lock_fd, F_SETLK, F_WRLCK, 10, 10));
	OK(set(lock_fd, F_SETLK, F_RDLCK, 100, 0));
	OK(fcntl(lock_fd, F_GETLK, &fl));
	EQ(fl.l_type, F_WRLCK);
	EQ(fl.l_start, 0);
	EQ(fl.l_len, 10);
	EQ(fl.l_pid, getppid());
}

static void posix_ranges(void)
{
	struct flock fl = range(F_WRLCK, 0, 0);

	lock_fd = (int)MUST(open("f", O_RDWR | O_CREAT, 0644));
	OK(set(lock_fd, F_SETLK, F_WRLCK, 0, 10));
	posix_fork(other_asks);
	/* the child's own went with it */
	OK(fcntl(lock_fd, F_GETLK, &fl));
	EQ(fl.l_type, F_UNLCK);
	OK(set(lock_fd, F_SETLK, F_UNLCK, 3, 2));
	OK(set(lock_fd, F_SETLK, F_RDLCK, 0, 10));
	ERR(EINVAL, set(lock_fd, F_SETLK, F_WRLCK, -1, 1));
	ERR(EINVAL, set(lock_fd, F_SETLK, 99, 0, 1));
	OK(close(lock_fd));
}

static void asks_free(void)
{
	OK(set(lock_fd, F_SETLK, F_WRLCK, 0, 0));
}

static void posix_close_drops(void)
{
	int other;

	lock_fd = (int)MUST(open("f", O_RDWR | O_CREAT, 0644));
	OK(set(lock_fd, F_SETLK, F_WRLCK, 0, 0));
	/* closing any descriptor of the file drops the process's locks */
	other = (int)OK(open("f", O_RDONLY));
	OK(close(other));
	posix_fork(asks_free);
	OK(close(lock_fd));
}

static void lock_modes(void)
{
	int ro;
	int wo;

	posix_put("f", NULL, 0644);
	ro = (int)OK(open("f", O_RDONLY));
	wo = (int)OK(open("f", O_WRONLY));
	ERR(EBADF, set(ro, F_SETLK, F_WRLCK, 0, 0));
	ERR(EBADF, set(wo, F_SETLK, F_RDLCK, 0, 0));
	OK(set(ro, F_SETLK, F_RDLCK, 0, 0));
	OK(close(ro));
	OK(close(wo));
}

static void ofd_locks(void)
{
	int a = (int)MUST(open("f", O_RDWR | O_CREAT, 0644));
	int b = (int)MUST(open("f", O_RDWR));
	struct flock fl = range(F_WRLCK, 0, 0);

	OK(set(a, F_OFD_SETLK, F_WRLCK, 0, 100));
	ERR(EAGAIN, set(b, F_OFD_SETLK, F_RDLCK, 50, 1));
	OK(set(b, F_OFD_SETLK, F_WRLCK, 100, 1));
	OK(fcntl(b, F_OFD_GETLK, &fl));
	EQ(fl.l_type, F_WRLCK);
	EQ(fl.l_pid, -1);
	OK(close(a));
	OK(ofd_soon(b));
	OK(close(b));
}

/* One waits until the other lets go. */
static void lock_waits(void)
{
	int to[2];
	int status = -1;
	char c = 0;
	pid_t pid;

	lock_fd = (int)MUST(open("f", O_RDWR | O_CREAT, 0644));
	MUST(pipe(to));
	OK(set(lock_fd, F_SETLK, F_WRLCK, 0, 0));
	pid = fork();
	if (pid == 0) {
		if (write(to[1], "r", 1) != 1)
			_exit(2);
		_exit(set(lock_fd, F_SETLKW, F_WRLCK, 0, 0) ? 1 : 0);
	}
	EQ(read(to[0], &c, 1), 1);
	usleep(20000);
	EQ(waitpid(pid, &status, WNOHANG), 0);
	OK(set(lock_fd, F_SETLK, F_UNLCK, 0, 0));
	EQ(waitpid(pid, &status, 0), pid);
	EQ(status, 0);
	OK(close(lock_fd));
}

static void nothing(int sig)
{
}

static void lock_interrupted(void)
{
	const struct sigaction sa = { .sa_handler = nothing };
	int status = -1;
	int to[2];
	char c = 0;
	pid_t pid;

	lock_fd = (int)MUST(open("f", O_RDWR | O_CREAT, 0644));
	MUST(pipe(to));
	OK(flock(lock_fd, LOCK_EX));
	pid = fork();
	if (pid == 0) {
		int own = open("f", O_RDWR);
		int r;

		sigaction(SIGUSR1, &sa, NULL);
		if (write(to[1], "r", 1) != 1)
			_exit(2);
		r = flock(own, LOCK_EX);
		_exit(r && errno == EINTR ? 0 : 1);
	}
	EQ(read(to[0], &c, 1), 1);
	/* until it waits, a signal comes too early: send more of them */
	while (waitpid(pid, &status, WNOHANG) == 0) {
		kill(pid, SIGUSR1);
		usleep(10000);
	}
	EQ(status, 0);
	OK(close(lock_fd));
}

const struct posix_case cases_lock[] = {
	{ "lock-flock", flock_opens, 0 },
	{ "lock-posix-ranges", posix_ranges, 0 },
	{ "lock-posix-close", posix_close_drops, 0 },
	{ "lock-modes", lock_modes, 0 },
	{ "lock-ofd", ofd_locks, 0 },
	{ "lock-waits", lock_waits, 0 },
	{ "lock-interrupted", lock_interrupted, 0 },
	{ NULL, NULL, 0 },
};
