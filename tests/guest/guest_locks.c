/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Locks in a guest: among its own programs, and one end of a lock that the
 * host or another guest has the other end of.
 */
#include "guest_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

static int posix_lock(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock l = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = start,
		.l_len = len,
	};

	return fcntl(fd, cmd, &l);
}

static void flock_twice(const char *path)
{
	int a = open(path, O_RDWR | O_CREAT, 0644);
	int b = open(path, O_RDWR);

	must(a >= 0 && b >= 0);
	must(!flock(a, LOCK_EX | LOCK_NB));
	must_fail(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	must_fail(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	must(!flock(a, LOCK_SH | LOCK_NB) && !flock(b, LOCK_SH | LOCK_NB));
	must_fail(flock(a, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	must(!flock(b, LOCK_UN) && !flock(a, LOCK_EX | LOCK_NB));
	must(!close(a)); /* the lock goes with its file */
	must(!flock(b, LOCK_EX | LOCK_NB) && !close(b));
}

/* In the child: bytes 10 to 19 are locked by @owner, the others free. */
static int see_range(const char *path, pid_t owner)
{
	struct flock l = { .l_type = F_WRLCK, .l_start = 0, .l_len = 0 };
	int fd = open(path, O_RDWR);

	must(fd >= 0);
	must(posix_lock(fd, F_SETLK, F_WRLCK, 15, 1) == -1);
	must(errno == EAGAIN || errno == EACCES);
	must(!posix_lock(fd, F_SETLK, F_WRLCK, 0, 10));
	must(!posix_lock(fd, F_SETLK, F_WRLCK, 20, 0));
	must(!fcntl(fd, F_GETLK, &l));
	must(l.l_type == F_WRLCK && l.l_start == 10 && l.l_len == 10);
	must(l.l_pid == owner);
	return 0;
}

static void posix_range(const char *path)
{
	int fd = open(path, O_RDWR);
	pid_t child;
	int status;

	must(fd >= 0 && !posix_lock(fd, F_SETLK, F_WRLCK, 10, 10));
	child = fork();
	must(child >= 0);
	if (!child)
		_exit(see_range(path, getppid()));
	must(waitpid(child, &status, 0) == child && status == 0);
	must(!posix_lock(fd, F_SETLK, F_UNLCK, 0, 0) && !close(fd));
}

int guest_locks(int argc, char **argv)
{
	must(argc == 1);
	flock_twice(argv[0]);
	posix_range(argv[0]);
	return 0;
}

/* flock|posix FILE: 0, or -1 with errno. */
static int lock(int argc, char **argv, bool wait)
{
	int fd;

	must(argc == 2);
	fd = open(argv[1], O_RDWR);
	must(fd >= 0);
	if (!strcmp(argv[0], "flock"))
		return flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB));
	return posix_lock(fd, wait ? F_SETLKW : F_SETLK, F_WRLCK, 0, 0);
}

/* Says "@lock free" or "@lock busy"; gives it back by ending. */
int guest_try_lock(int argc, char **argv)
{
	int r = lock(argc, argv, false);

	must(!r || errno == EAGAIN || errno == EACCES);
	printf("@lock %s\n", r ? "busy" : "free");
	return 0;
}

/* Takes it, says so by making FILE.held, keeps it until it is killed. */
int guest_hold_lock(int argc, char **argv)
{
	char name[4096];

	must(!lock(argc, argv, true));
	snprintf(name, sizeof(name), "%s.held", argv[1]);
	must(open(name, O_WRONLY | O_CREAT, 0644) >= 0);
	for (;;)
		pause();
}
