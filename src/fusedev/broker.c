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
 * They meet in one page: a request, and a word "state" that says whose turn it
 * is. FREE and DONE: the daemon's, under its lock; ASKED: the broker's. The
 * broker trusts nothing there but that it is two numbers.
 *
 * It shares the descriptors, so while it lives /dev/fuse stays open: it must
 * not outlive us. PR_SET_PDEATHSIG ends it with our main thread.
 */
#include "fusedev/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fusedev/dev.h"

enum state {
	FREE,
	ASKED,
	DONE,
	QUIT, /* the broker's last */
};

enum verb {
	VERB_OPEN,
	VERB_CLOSE,
};

/* The page both see. */
struct board {
	_Atomic uint32_t state;
	_Atomic uint32_t verb;
	_Atomic int32_t dev_fd;
	_Atomic uint32_t arg; /* descriptor or id */
	_Atomic int32_t result;
};

struct fuse_broker {
	struct board *board;
	pid_t pid;
	pthread_mutex_t lock; /* who asks; and "dead" */
	bool dead;
};

/* Between processes: base/futex.h is for one. */
static int wait_while(_Atomic uint32_t *word, uint32_t value, bool forever)
{
	const struct timespec ts = { .tv_sec = 1 };

	if (syscall(SYS_futex, word, FUTEX_WAIT, value, forever ? NULL : &ts,
		    NULL, 0))
		return -errno;
	return 0;
}

static void wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

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
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);

	return ctx &&
	       !seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 0) &&
	       !seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(futex), 0) &&
	       !seccomp_rule_add(ctx, SCMP_ACT_ALLOW,
				 SCMP_SYS(restart_syscall), 0) &&
	       !seccomp_rule_add(ctx, SCMP_ACT_ALLOW,
				 SCMP_SYS(exit_group), 0) &&
	       !seccomp_load(ctx);
}

static int serve(struct board *b)
{
	/* read once; the numbers are the kernel's to judge */
	uint32_t verb = atomic_load_explicit(&b->verb, memory_order_relaxed);
	int dev = atomic_load_explicit(&b->dev_fd, memory_order_relaxed);
	uint32_t arg = atomic_load_explicit(&b->arg, memory_order_relaxed);

	if (verb == VERB_OPEN)
		return fuse_dev_backing_open(dev, (int)arg);
	return fuse_dev_backing_close(dev, arg);
}

static _Noreturn void broker_main(struct board *b, pid_t parent)
{
	prctl(PR_SET_NAME, "orield-broker");
	/* a parent that died before is noticed by its number */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent ||
	    !drop_privileges() || !filter_calls())
		_exit(1);
	for (;;) {
		uint32_t state = atomic_load_explicit(&b->state,
						      memory_order_acquire);

		/* pairs with the release in ask_locked() */
		if (state == QUIT)
			_exit(0);
		if (state != ASKED) {
			(void)wait_while(&b->state, state, true);
			continue;
		}
		atomic_store_explicit(&b->result, serve(b),
				      memory_order_relaxed);
		/* pairs with the acquire in finish_locked() */
		atomic_store_explicit(&b->state, DONE, memory_order_release);
		wake(&b->state);
	}
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
	b->board = mmap(NULL, sizeof(*b->board), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (b->board == MAP_FAILED) {
		r = -errno;
		goto err_free;
	}
	b->pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (b->pid == 0)
		broker_main(b->board, parent);
	if (b->pid < 0) {
		r = -errno;
		goto err_unmap;
	}
	pthread_mutex_init(&b->lock, NULL);
	*ret = b;
	return 0;

err_unmap:
	munmap(b->board, sizeof(*b->board));
err_free:
	free(b);
	return r;
}

/* Wait for what was asked last. Its result, or -EIO. */
static int finish_locked(struct fuse_broker *b)
{
	struct board *board = b->board;

	while (!b->dead) {
		/* pairs with the release in broker_main() */
		uint32_t state = atomic_load_explicit(&board->state,
						      memory_order_acquire);

		if (state != ASKED)
			return atomic_load_explicit(&board->result,
						    memory_order_relaxed);
		if (wait_while(&board->state, ASKED, false) == -ETIMEDOUT &&
		    waitpid(b->pid, NULL, WNOHANG) == b->pid)
			b->dead = true;
	}
	return -EIO;
}

static void ask_locked(struct fuse_broker *b, enum verb verb, int dev_fd,
		       uint32_t arg)
{
	struct board *board = b->board;

	atomic_store_explicit(&board->verb, verb, memory_order_relaxed);
	atomic_store_explicit(&board->dev_fd, dev_fd, memory_order_relaxed);
	atomic_store_explicit(&board->arg, arg, memory_order_relaxed);
	/* pairs with the acquire in broker_main() */
	atomic_store_explicit(&board->state, ASKED, memory_order_release);
	wake(&board->state);
}

int fuse_broker_open(struct fuse_broker *b, int dev_fd, int file_fd)
{
	int r;

	pthread_mutex_lock(&b->lock);
	r = finish_locked(b);
	if (!b->dead) {
		ask_locked(b, VERB_OPEN, dev_fd, (uint32_t)file_fd);
		r = finish_locked(b);
	}
	pthread_mutex_unlock(&b->lock);
	return r;
}

void fuse_broker_close(struct fuse_broker *b, int dev_fd, uint32_t id)
{
	pthread_mutex_lock(&b->lock);
	(void)finish_locked(b);
	if (!b->dead)
		ask_locked(b, VERB_CLOSE, dev_fd, id);
	pthread_mutex_unlock(&b->lock);
}

void fuse_broker_stop(struct fuse_broker *b)
{
	if (!b)
		return;
	pthread_mutex_lock(&b->lock);
	(void)finish_locked(b);
	atomic_store_explicit(&b->board->state, QUIT, memory_order_release);
	wake(&b->board->state);
	pthread_mutex_unlock(&b->lock);
	if (!b->dead) {
		while (waitpid(b->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	pthread_mutex_destroy(&b->lock);
	munmap(b->board, sizeof(*b->board));
	free(b);
}
