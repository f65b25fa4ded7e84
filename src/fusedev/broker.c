/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation. The broker is a child with memory, descriptors and
 * signals of its own. It has two descriptors, the connection it was started for
 * and a socket, CAP_SYS_ADMIN as its only capability, and a filter of the system
 * calls below. Whoever has taken over the daemon can ask it for two things, and
 * reach nothing else through it: register a regular file that the daemon has a
 * descriptor of, so many at most, and take that back.
 *
 * It reads a fixed number of bytes and room for one descriptor; what is longer,
 * shorter or comes with more descriptors is refused, and the surplus closed by
 * the kernel. Nothing that was received is ever a number of a descriptor.
 *
 * They talk over a pair of sockets, not by a futex: a socket tells the scheduler
 * that who sends is about to sleep, so the broker runs on the same core at once,
 * instead of one that has to be woken. Datagrams stay in order, so a close needs
 * no answer.
 *
 * It ends when the daemon's end of the socket closes. A process that the daemon
 * started may have a copy of that end, so PR_SET_PDEATHSIG does it as well.
 * Every signal that can be is blocked: those of a terminal, of a service manager
 * or of whoever may kill the daemon are for the daemon, whose end is enough.
 *
 * Without CAP_FSETID the kernel, which uses the broker's credentials for what
 * it reads and writes, drops set-uid and set-gid bits of what is written to.
 *
 * Locks: "lock" of a struct fuse_broker, its socket; held for an answer.
 */
#include "fusedev/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "fusedev/dev.h"

/* What Linux lets a process have open unless told otherwise. */
#define MAX_FILES (1u << 20)

struct fuse_broker {
	pid_t pid;
	int sock;
	pthread_mutex_t lock; /* who asks */
};

/* A control message with room for one descriptor. */
union control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(sizeof(int))];
};

/*
 * CMSG_LEN, not CMSG_SPACE: that has padding, into which the kernel would put a
 * second descriptor.
 */
static void fill_message(struct msghdr *m, struct iovec *iov, union control *c)
{
	memset(m, 0, sizeof(*m));
	memset(c, 0, sizeof(*c));
	m->msg_iov = iov;
	m->msg_iovlen = 1;
	m->msg_control = c->buf;
	m->msg_controllen = CMSG_LEN(sizeof(int));
}

/* ----------------------------------------------------------- the broker */

/* State of the broker's process. */
struct desk {
	int sock;
	int dev;
	uint32_t files;
	uint32_t max_files;
};

/* The one descriptor of @m, or -1. */
static int fd_of(struct msghdr *m)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	int fd = -1;

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
}

/*
 * False: the daemon has gone. *@ret_fd: a descriptor to be closed, or -1. A
 * request that is not one has op 0.
 */
static bool take_request(int sock, struct fuse_broker_request *ret, int *ret_fd)
{
	struct fuse_broker_request req = { 0 };
	struct iovec iov = { &req, sizeof(req) };
	union control control;
	struct msghdr m;
	ssize_t n;

	fill_message(&m, &iov, &control);
	do {
		n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	/* an empty datagram looks like the end, and is nothing we get */
	if (n <= 0)
		return false;
	*ret_fd = fd_of(&m);
	if (n != sizeof(req) || (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ||
	    (req.op == FUSE_BROKER_OPEN) != (*ret_fd >= 0))
		req.op = 0;
	*ret = req;
	return true;
}

static int32_t open_file(struct desk *d, int fd)
{
	struct statx stx;
	int id;

	if (d->files >= d->max_files)
		return -ENFILE;
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &stx))
		return -errno;
	/* older kernels take pipes, devices and directories, too */
	if (!(stx.stx_mask & STATX_TYPE) || !S_ISREG(stx.stx_mode))
		return -EINVAL;
	id = fuse_dev_backing_open(d->dev, fd);
	if (id > 0)
		d->files++;
	return id;
}

/* The answer, or 0: there is none. */
static int32_t serve_request(struct desk *d,
			     const struct fuse_broker_request *req, int fd)
{
	switch (req->op) {
	case FUSE_BROKER_OPEN:
		return open_file(d, fd);
	case FUSE_BROKER_CLOSE:
		/* an id that is none is the kernel's to refuse */
		if (!fuse_dev_backing_close(d->dev, req->id))
			d->files--;
		return 0;
	default:
		return -EINVAL;
	}
}

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
	       !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_DUMPABLE, 0);
}

static bool block_signals(void)
{
	sigset_t all;

	sigfillset(&all);
	return !sigprocmask(SIG_SETMASK, &all, NULL);
}

static bool close_all_but(int a, int b)
{
	unsigned low = (unsigned)(a < b ? a : b);
	unsigned high = (unsigned)(a < b ? b : a);

	if (low > 0 && syscall(SYS_close_range, 0, low - 1, 0))
		return false;
	if (high > low + 1 && syscall(SYS_close_range, low + 1, high - 1, 0))
		return false;
	return !syscall(SYS_close_range, high + 1, ~0u, 0);
}

static _Noreturn void broker_main(struct desk *d,
				  const struct fuse_broker_config *cfg,
				  pid_t parent)
{
	struct fuse_broker_request req;
	int32_t answer;
	int fd;

	/* a parent that died before is noticed by its number */
	if (!block_signals() || !close_all_but(d->sock, d->dev) ||
	    !drop_privileges() || prctl(PR_SET_NAME, "orield-broker") ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		_exit(1);
	if (cfg->confine && cfg->confine(cfg->ctx, d->sock, d->dev))
		_exit(1);
	while (take_request(d->sock, &req, &fd)) {
		answer = serve_request(d, &req, fd);
		fd_close(&fd);
		if (answer && send(d->sock, &answer, sizeof(answer),
				   MSG_NOSIGNAL) < 0)
			break;
	}
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

/* fork(2) into broker_main(). The pid, or -errno. */
static pid_t spawn(const struct fuse_broker_config *cfg, const int *pair)
{
	const pid_t parent = getpid();
	struct desk d = {
		.sock = pair[1],
		.dev = cfg->dev,
		.max_files = cfg->max_files ? cfg->max_files : MAX_FILES,
	};
	pid_t pid = fork();

	if (pid == 0)
		broker_main(&d, cfg, parent);
	return pid < 0 ? -errno : pid;
}

int fuse_broker_start(const struct fuse_broker_config *cfg,
		      struct fuse_broker **ret)
{
	struct fuse_broker *b;
	int pair[2];
	int r;

	if (!may_broker())
		return -EPERM;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		r = -errno;
		goto err_free;
	}
	b->pid = spawn(cfg, pair);
	close(pair[1]);
	if (b->pid < 0) {
		r = b->pid;
		goto err_close;
	}
	b->sock = pair[0];
	pthread_mutex_init(&b->lock, NULL);
	*ret = b;
	return 0;

err_close:
	close(pair[0]);
err_free:
	free(b);
	return r;
}

/* 0; -EIO: the broker is gone; else -errno. */
static int send_request(int sock, enum fuse_broker_op op, uint32_t id, int fd)
{
	struct fuse_broker_request req = { op, id };
	struct iovec iov = { &req, sizeof(req) };
	union control control;
	struct cmsghdr *c;
	struct msghdr m;
	ssize_t n;

	fill_message(&m, &iov, &control);
	if (fd >= 0) {
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	} else {
		m.msg_control = NULL;
		m.msg_controllen = 0;
	}
	do {
		n = sendmsg(sock, &m, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EPIPE || errno == ECONNRESET ? -EIO : -errno;
	return 0;
}

static int take_answer(int sock)
{
	int32_t answer;
	ssize_t n;

	do {
		n = recv(sock, &answer, sizeof(answer), 0);
	} while (n < 0 && errno == EINTR);
	return n == sizeof(answer) ? answer : -EIO;
}

int fuse_broker_open(struct fuse_broker *b, int file_fd)
{
	int r;

	if (file_fd < 0)
		return -EBADF;
	pthread_mutex_lock(&b->lock);
	r = send_request(b->sock, FUSE_BROKER_OPEN, 0, file_fd);
	if (!r)
		r = take_answer(b->sock);
	pthread_mutex_unlock(&b->lock);
	return r;
}

void fuse_broker_close(struct fuse_broker *b, uint32_t id)
{
	pthread_mutex_lock(&b->lock);
	/* ids end with the connection, if the broker is gone */
	(void)!send_request(b->sock, FUSE_BROKER_CLOSE, id, -1);
	pthread_mutex_unlock(&b->lock);
}

void fuse_broker_stop(struct fuse_broker *b)
{
	if (!b)
		return;
	close(b->sock);
	while (waitpid(b->pid, NULL, 0) < 0 && errno == EINTR)
		;
	pthread_mutex_destroy(&b->lock);
	free(b);
}

int fuse_broker_socket(const struct fuse_broker *b)
{
	return b->sock;
}

pid_t fuse_broker_pid(const struct fuse_broker *b)
{
	return b->pid;
}
