/* SPDX-License-Identifier: BSD-2-Clause */
/* See fd.h. Partial sends and receives are continued here and nowhere else. */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

void fd_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

void fd_close_all(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		fd_close(&fds[i]);
}

int fd_memfd(const char *name, uint64_t size, int *ret_fd)
{
	int fd, err;

	if (size > INT64_MAX)
		return -EFBIG;
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) <
		    0) {
		err = -errno;
		fd_close(&fd);
		return err;
	}
	*ret_fd = fd;
	return 0;
}

/* Wait for @events; *@deadline_ns 0 means no limit. */
static int wait_ready(int sock, short events, uint64_t deadline_ns)
{
	struct pollfd p = { .fd = sock, .events = events };
	int timeout_ms = -1;
	int n;

	for (;;) {
		if (deadline_ns) {
			uint64_t now = clock_now_ns();

			if (now >= deadline_ns)
				return -ETIMEDOUT;
			timeout_ms = (int)((deadline_ns - now) / NS_PER_MS) + 1;
		}
		n = poll(&p, 1, timeout_ms);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

static uint64_t deadline_from(int timeout_ms)
{
	if (timeout_ms < 0)
		return 0;
	return clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
}

int fd_send(int sock, const void *buf, size_t len, const int *fds,
	    unsigned n_fds, int timeout_ms)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * FD_MSG_MAX)];
	} ctl;
	uint64_t deadline_ns = deadline_from(timeout_ms);
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf,
			     .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;
	ssize_t n;
	int err;

	if (n_fds > FD_MSG_MAX)
		return -EINVAL;
	if (n_fds) {
		memset(&ctl, 0, sizeof(ctl));
		msg.msg_control = ctl.buf;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	while (iov.iov_len > 0) {
		n = sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) {
			iov.iov_base = (char *)iov.iov_base + n;
			iov.iov_len -= (size_t)n;
			msg.msg_control = NULL;
			msg.msg_controllen = 0;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		err = wait_ready(sock, POLLOUT, deadline_ns);
		if (err)
			return err;
	}
	return 0;
}

/* Move the descriptors of @msg into @fds; close what has no room. */
static int take_fds(struct msghdr *msg, int *fds, unsigned max_fds,
		    unsigned *n_fds)
{
	struct cmsghdr *c;
	int err = 0;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int),
			       sizeof(fd));
			if (*n_fds < max_fds) {
				fds[(*n_fds)++] = fd;
			} else {
				fd_close(&fd);
				err = -EPROTO;
			}
		}
	}
	if (msg->msg_flags & MSG_CTRUNC)
		err = -EPROTO;
	return err;
}

static int recv_all(int sock, struct iovec *iov, int *fds, unsigned max_fds,
		    unsigned *n_fds, int timeout_ms)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * FD_MSG_MAX)];
	} ctl;
	uint64_t deadline_ns = deadline_from(timeout_ms);
	bool begun = false;

	while (iov->iov_len > 0) {
		struct msghdr msg = { .msg_iov = iov,
				      .msg_iovlen = 1,
				      .msg_control = ctl.buf,
				      .msg_controllen = sizeof(ctl.buf) };
		ssize_t n = recvmsg(sock, &msg,
				    MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		int err;

		if (n > 0) {
			err = take_fds(&msg, fds, max_fds, n_fds);
			if (err)
				return err;
			iov->iov_base = (char *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
			if (!begun && timeout_ms == 0)
				deadline_ns = deadline_from(1000);
			begun = true;
			continue;
		}
		if (n == 0)
			return -ECONNRESET;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		if (!begun && timeout_ms == 0)
			return -EAGAIN;
		err = wait_ready(sock, POLLIN, deadline_ns);
		if (err)
			return err;
	}
	return 0;
}

int fd_recv(int sock, void *buf, size_t len, int *fds, unsigned max_fds,
	    unsigned *n_fds, int timeout_ms)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	int err = recv_all(sock, &iov, fds, max_fds, n_fds, timeout_ms);

	if (err) {
		fd_close_all(fds, *n_fds);
		*n_fds = 0;
	}
	return err;
}
