/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation. The broker is a child with the daemon's descriptor
 * table, but memory of its own: a descriptor's number is all that has to be
 * passed, and whoever takes over the daemon cannot take over the broker's
 * code, which does two ioctls of /dev/fuse and nothing else (its own system
 * call filter sees to that) with CAP_SYS_ADMIN as its only capability.
 *
 * Without CAP_FSETID the kernel, which uses the broker's credentials for what
 * it reads and writes, drops set-uid and set-gid bits of what is written to.
 *
 * They talk over a pair of sockets, a message each way; only "open" has an
 * answer. Not by a futex: a socket tells the scheduler that who sends is about
 * to sleep, so the broker runs on the same core at once, instead of one that
 * has to be woken. The broker trusts nothing in a message but that it is three
 * numbers.
 *
 * It shares the descriptors, so while it lives /dev/fuse stays open: it must
 * not outlive us. PR_SET_PDEATHSIG ends it with our main thread. And its own
 * death closes nothing, so an answer is waited for a second at a time.
 */
#include "fusedev/broker.h"

#include <errno.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "fusedev/dev.h"

enum verb {
	VERB_OPEN,
	VERB_CLOSE,
	VERB_QUIT,
};

struct message {
	uint32_t verb;
	int32_t dev_fd;
	uint32_t arg; /* descriptor or id */
};

struct fuse_broker {
	pid_t pid;
	int sock[2]; /* ours, the broker's */
	pthread_mutex_t lock; /* who asks; and "dead" */
	bool dead;
};

/* ----------------------------------------------------------- the broker */

/* Not by a library: they remember the process that asked first. */
static bool drop_privileges(void)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	const struct __user_cap_data_struct d[2] = {
		{ .effective = 1u << CAP_SYS_ADMIN,
		  .permitted = 1u << CAP_SYS_ADMIN },
	};

	return !syscall(SYS_capset, &h, d) &&
	       !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* Nothing is given back: free(3) may make calls that are not allowed now. */
static bool filter_calls(void)
{
	static const char *const allowed[] = {
		"ioctl", "read", "write", "exit_group", "restart_syscall",
	};
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	size_t i;

	for (i = 0; ctx && i < ARRAY_LEN(allowed); i++) {
		if (seccomp_rule_add(ctx, SCMP_ACT_ALLOW,
				     seccomp_syscall_resolve_name(allowed[i]),
				     0))
			return false;
	}
	return ctx && !seccomp_load(ctx);
}

/* False: time to end. */
static bool serve_one(int sock)
{
	struct message m;
	int32_t result;
	ssize_t n = read(sock, &m, sizeof(m));

	if (n < 0 && errno == EINTR)
		return true;
	if (n != sizeof(m) || m.verb == VERB_QUIT)
		return false;
	/* the numbers are the kernel's to judge */
	if (m.verb != VERB_OPEN) {
		(void)!fuse_dev_backing_close(m.dev_fd, m.arg);
		return true;
	}
	result = fuse_dev_backing_open(m.dev_fd, (int)m.arg);
	return write(sock, &result, sizeof(result)) == sizeof(result);
}

static _Noreturn void broker_main(int sock, pid_t parent)
{
	prctl(PR_SET_NAME, "orield-broker");
	/* a parent that died before is noticed by its number */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent ||
	    !drop_privileges() || !filter_calls())
		_exit(1);
	while (serve_one(sock))
		;
	_exit(0);
}

/* ----------------------------------------------------------- the daemon */

static bool may_broker(void)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct d[2];

	return !syscall(SYS_capget, &h, d) &&
	       (d[0].effective & (1u << CAP_SYS_ADMIN));
}

static int make_sockets(int *sock)
{
	const struct timeval second = { .tv_sec = 1 };
	int r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock))
		return -errno;
	if (!setsockopt(sock[0], SOL_SOCKET, SO_RCVTIMEO, &second,
			sizeof(second)) &&
	    !setsockopt(sock[0], SOL_SOCKET, SO_SNDTIMEO, &second,
			sizeof(second)))
		return 0;
	r = -errno;
	fd_close_all(sock, 2);
	return r;
}

int fuse_broker_start(struct fuse_broker **ret)
{
	struct fuse_broker *b;
	pid_t parent = getpid();
	int r;

	if (!may_broker())
		return -EPERM;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	r = make_sockets(b->sock);
	if (r)
		goto err_free;
	b->pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (b->pid == 0)
		broker_main(b->sock[1], parent);
	if (b->pid < 0) {
		r = -errno;
		goto err_close;
	}
	pthread_mutex_init(&b->lock, NULL);
	*ret = b;
	return 0;

err_close:
	fd_close_all(b->sock, 2);
err_free:
	free(b);
	return r;
}

static void look_after(struct fuse_broker *b)
{
	if (waitpid(b->pid, NULL, WNOHANG) == b->pid)
		b->dead = true;
}

static bool ask_locked(struct fuse_broker *b, enum verb verb, int dev_fd,
		       uint32_t arg)
{
	const struct message m = { verb, dev_fd, arg };

	while (!b->dead) {
		if (send(b->sock[0], &m, sizeof(m), MSG_NOSIGNAL) == sizeof(m))
			return true;
		if (errno != EAGAIN && errno != EINTR)
			return false;
		look_after(b);
	}
	return false;
}

static int hear_locked(struct fuse_broker *b)
{
	int32_t result;

	while (!b->dead) {
		if (recv(b->sock[0], &result, sizeof(result), 0) ==
		    sizeof(result))
			return result;
		if (errno != EAGAIN && errno != EINTR)
			return -EIO;
		look_after(b);
	}
	return -EIO;
}

int fuse_broker_open(struct fuse_broker *b, int dev_fd, int file_fd)
{
	int r = -EIO;

	pthread_mutex_lock(&b->lock);
	if (ask_locked(b, VERB_OPEN, dev_fd, (uint32_t)file_fd))
		r = hear_locked(b);
	pthread_mutex_unlock(&b->lock);
	return r;
}

void fuse_broker_close(struct fuse_broker *b, int dev_fd, uint32_t id)
{
	pthread_mutex_lock(&b->lock);
	(void)ask_locked(b, VERB_CLOSE, dev_fd, id);
	pthread_mutex_unlock(&b->lock);
}

void fuse_broker_stop(struct fuse_broker *b)
{
	bool told;

	if (!b)
		return;
	pthread_mutex_lock(&b->lock);
	told = ask_locked(b, VERB_QUIT, -1, 0);
	pthread_mutex_unlock(&b->lock);
	if (told && !b->dead) {
		while (waitpid(b->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	pthread_mutex_destroy(&b->lock);
	fd_close_all(b->sock, 2);
	free(b);
}
