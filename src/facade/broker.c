/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The broker: a process of its own that makes files the backing files of a FUSE
 * connection, since that takes CAP_SYS_ADMIN, which a process that reads the
 * bytes of strangers must not have. It reads nothing but the fixed messages of
 * its parent, has no descriptors besides the connection and the socket, and may
 * call five system calls. It ends when the parent's end of the socket closes.
 *
 * Each request is one datagram, with the file's descriptor or the id; each gets
 * one answer, also one that was not understood.
 *
 * Thread rule: one request at a time; facade.c has the lock.
 */
#include "facade/facade.h"

#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "wire/fuse.h"

enum broker_op {
	BROKER_REGISTER = 1,
	BROKER_UNREGISTER = 2,
};

struct broker_request {
	uint32_t op;
	uint32_t id;
};

/* Room for one descriptor, aligned as a control message. */
union control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(sizeof(int))];
};

static void fill_message(struct msghdr *m, struct iovec *iov,
			 union control *c)
{
	memset(m, 0, sizeof(*m));
	memset(c, 0, sizeof(*c));
	m->msg_iov = iov;
	m->msg_iovlen = 1;
	m->msg_control = c->buf;
	m->msg_controllen = sizeof(c->buf);
}

/* ------------------------------------------------------- in the broker */

/* 1: a request, *@ret_fd its descriptor or -1; 0: the parent has gone. */
static int take_request(int sock, struct broker_request *ret, int *ret_fd)
{
	struct iovec iov = { ret, sizeof(*ret) };
	struct cmsghdr *c;
	union control control;
	struct msghdr m;
	ssize_t n;

	fill_message(&m, &iov, &control);
	do {
		n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return 0;
	*ret_fd = -1;
	c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	if (n != sizeof(*ret))
		ret->op = 0;
	return 1;
}

static int32_t serve_request(int dev, const struct broker_request *req, int fd)
{
	struct fuse_wire_backing_map map = { .fd = fd };
	uint32_t id = req->id;
	int r = -1;

	errno = EINVAL;
	if (req->op == BROKER_REGISTER && fd >= 0)
		r = ioctl(dev, FUSE_WIRE_IOC_BACKING_OPEN, &map);
	else if (req->op == BROKER_UNREGISTER)
		r = ioctl(dev, FUSE_WIRE_IOC_BACKING_CLOSE, &id);
	return r < 0 ? -errno : r;
}

/* Only CAP_SYS_ADMIN stays. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct d[2] = { { .effective = 0 } };

	d[0].effective = 1u << CAP_SYS_ADMIN;
	d[0].permitted = 1u << CAP_SYS_ADMIN;
	if (syscall(SYS_capset, &h, d) ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return 0;
}

static void close_all_but(int a, int b)
{
	unsigned low = (unsigned)(a < b ? a : b);
	unsigned high = (unsigned)(a < b ? b : a);

	if (low > 0)
		(void)syscall(SYS_close_range, 0, low - 1, 0);
	if (high > low + 1)
		(void)syscall(SYS_close_range, low + 1, high - 1, 0);
	(void)syscall(SYS_close_range, high + 1, ~0u, 0);
}

static _Noreturn void broker_main(int sock, int dev,
				  const struct facade_config *cfg)
{
	struct broker_request req;
	int32_t answer;
	int fd;

	/* The end of the socket is what ends it, not a terminal's Ctrl-C. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	(void)prctl(PR_SET_NAME, "orield-broker");
	close_all_but(sock, dev);
	if (drop_capabilities() || (cfg->confine && cfg->confine(cfg->ctx)))
		_exit(1);
	while (take_request(sock, &req, &fd)) {
		answer = serve_request(dev, &req, fd);
		fd_close(&fd);
		if (send(sock, &answer, sizeof(answer), MSG_NOSIGNAL) < 0)
			break;
	}
	_exit(0);
}

/* ------------------------------------------------------- in the daemon */

int facade_broker_start(struct facade_broker *b, int dev,
			const struct facade_config *cfg)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	pid = fork();
	if (pid < 0) {
		int r = -errno;

		close(pair[0]);
		close(pair[1]);
		return r;
	}
	if (!pid) {
		close(pair[0]);
		broker_main(pair[1], dev, cfg);
	}
	close(pair[1]);
	b->sock = pair[0];
	b->pid = pid;
	return 0;
}

static int ask(struct facade_broker *b, struct broker_request req, int fd)
{
	struct iovec iov = { &req, sizeof(req) };
	union control control;
	struct cmsghdr *c;
	struct msghdr m;
	int32_t answer;
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
		n = sendmsg(b->sock, &m, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	do {
		n = recv(b->sock, &answer, sizeof(answer), 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == sizeof(answer) ? answer : -ECHILD;
}

int facade_broker_register(struct facade_broker *b, int fd)
{
	return ask(b, (struct broker_request){ .op = BROKER_REGISTER }, fd);
}

void facade_broker_unregister(struct facade_broker *b, int id)
{
	(void)!ask(b, (struct broker_request){ .op = BROKER_UNREGISTER,
					       .id = (uint32_t)id }, -1);
}

void facade_broker_stop(struct facade_broker *b)
{
	fd_close(&b->sock);
	if (b->pid <= 0)
		return;
	while (waitpid(b->pid, NULL, 0) < 0 && errno == EINTR)
		;
	b->pid = 0;
}
