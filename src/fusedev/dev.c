/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system calls of /dev/fuse; see dev.h. One read(2) is one request, one
 * write(2) is one answer; the kernel keeps them apart and cuts nothing, so
 * there is no state here. Layouts newer than the system's <linux/fuse.h> are
 * declared below, with their numbers.
 */
#include "fusedev/dev.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

/* 7.40 */
struct backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};

#define IOC_CLONE _IOR(229, 0, uint32_t)
#define IOC_BACKING_OPEN _IOW(229, 1, struct backing_map)
#define IOC_BACKING_CLOSE _IOW(229, 2, uint32_t)

int fuse_dev_open(int *ret_fd)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int fuse_dev_clone(int fd, int *ret_fd)
{
	uint32_t of = (uint32_t)fd;
	int clone = -1;
	int r = fuse_dev_open(&clone);

	if (r)
		return r;
	if (ioctl(clone, IOC_CLONE, &of)) {
		r = -errno;
		close(clone);
		return r;
	}
	*ret_fd = clone;
	return 0;
}

int fuse_dev_mount(int fd, const struct fuse_dev_mount *m)
{
	unsigned long flags = MS_NOSUID | MS_NODEV;
	char data[160];

	if (m->readonly)
		flags |= MS_RDONLY;
	snprintf(data, sizeof(data),
		 "fd=%d,rootmode=40000,user_id=%u,group_id=%u,"
		 "default_permissions%s", fd, (unsigned)geteuid(),
		 (unsigned)getegid(), m->allow_other ? ",allow_other" : "");
	if (mount("orield", m->dir, "fuse.orield", flags, data))
		return -errno;
	return 0;
}

/* ------------------------------------------------- fusermount3, for users */

/* Only calls that are safe after fork(2) of a process with threads. */
static void exec_helper(char *const *argv, int comm_fd)
{
	char env[32];
	char *envp[] = { env, NULL };

	if (comm_fd >= 0) {
		fcntl(comm_fd, F_SETFD, 0);
		snprintf(env, sizeof(env), "_FUSE_COMMFD=%d", comm_fd);
	} else {
		envp[0] = NULL;
	}
	execve("/bin/fusermount3", argv, envp);
	execve("/usr/bin/fusermount3", argv, envp);
	execve("/usr/local/bin/fusermount3", argv, envp);
	_exit(127);
}

static int wait_helper(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return -ENOENT;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EPERM;
}

int fuse_dev_mount_helper(const struct fuse_dev_mount *m, int *ret_fd)
{
	char options[96];
	char *argv[] = { (char[]){ "fusermount3" }, (char[]){ "-o" }, options,
			 (char[]){ "--" }, (char *)(uintptr_t)m->dir, NULL };
	unsigned n = 0;
	int fd = -1;
	int sv[2];
	pid_t pid;
	char c;
	int r;

	snprintf(options, sizeof(options),
		 "fsname=orield,subtype=orield,default_permissions%s%s",
		 m->readonly ? ",ro" : "",
		 m->allow_other ? ",allow_other" : "");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return -errno;
	pid = fork();
	if (pid == 0)
		exec_helper(argv, sv[1]);
	r = pid < 0 ? -errno : 0;
	close(sv[1]);
	if (!r) {
		/* the descriptor comes with one byte, or there is an end */
		int r2 = fd_recv(sv[0], &c, 1, &fd, 1, &n, -1);

		r = wait_helper(pid);
		if (!r)
			r = r2;
	}
	close(sv[0]);
	if (!r && n != 1)
		r = -EPROTO;
	if (r)
		fd_close(&fd);
	else
		*ret_fd = fd;
	return r;
}

int fuse_dev_unmount_helper(const char *dir, bool lazy)
{
	char *argv[] = { (char[]){ "fusermount3" }, (char[]){ "-u" },
			 (char[]){ "-q" }, (char[]){ "--" },
			 (char *)(uintptr_t)dir, NULL };
	char *argv_lazy[] = { (char[]){ "fusermount3" }, (char[]){ "-u" },
			      (char[]){ "-q" }, (char[]){ "-z" },
			      (char[]){ "--" }, (char *)(uintptr_t)dir, NULL };
	pid_t pid = fork();

	if (pid == 0)
		exec_helper(lazy ? argv_lazy : argv, -1);
	return pid < 0 ? -errno : wait_helper(pid);
}

/* ----------------------------------------------------- requests, answers */

ssize_t fuse_dev_read(int fd, void *buf, size_t size)
{
	ssize_t n = read(fd, buf, size);

	if (ORIEL_LIKELY(n >= 0))
		return n;
	switch (errno) {
	case EINTR:
	case EAGAIN:
	case ENOENT: /* interrupted before we could take it */
		return 0;
	case ECONNABORTED:
	case EPERM: /* not mounted, or not any more */
		return -ENODEV;
	default:
		return -errno;
	}
}

int fuse_dev_write(int fd, const void *buf, size_t len)
{
	ssize_t n;

	do {
		n = write(fd, buf, len);
	} while (n < 0 && errno == EINTR);
	/* ENOENT: whoever asked was interrupted and has gone */
	if (n < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

/* ---------------------------------------------------------- passthrough */

int fuse_dev_backing_open(int fd, int file_fd)
{
	struct backing_map map = { .fd = file_fd };
	int id = ioctl(fd, IOC_BACKING_OPEN, &map);

	if (id < 0)
		return -errno;
	return id ? id : -EPROTO;
}

int fuse_dev_backing_close(int fd, uint32_t id)
{
	return ioctl(fd, IOC_BACKING_CLOSE, &id) ? -errno : 0;
}
