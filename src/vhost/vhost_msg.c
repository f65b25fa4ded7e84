/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Framing: a 12 byte header, then as many bytes of payload as it says. The
 * header is read by itself: reading further could swallow the beginning of the
 * next message and mix up whose descriptors are whose. Descriptors travel with
 * the first byte; ones that arrive later inside the same message are kept with
 * it too (the handler's count check refuses them), never dropped open.
 *
 * base/fd.h has calls for sending and receiving, but they keep their thread
 * until the time is up; here a wait ends when somebody wants the thread back.
 *
 * Invariant: every descriptor the kernel has installed is in rx->fds or closed.
 */
#include "vhost/vhost_msg.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/fd.h"

void vhost_rx_init(struct vhost_rx *rx)
{
	memset(rx, 0, sizeof(*rx));
}

void vhost_rx_next(struct vhost_rx *rx)
{
	fd_close_all(rx->fds, rx->n_fds);
	rx->n_fds = 0;
	rx->got = 0;
}

static int take_fds(struct vhost_rx *rx, struct msghdr *mh)
{
	struct cmsghdr *c;
	int err = 0;

	for (c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		const unsigned char *data = CMSG_DATA(c);
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, data + i * sizeof(fd), sizeof(fd));
			if (rx->n_fds < VHOST_USER_MAX_FDS) {
				rx->fds[rx->n_fds++] = fd;
			} else {
				fd_close(&fd);
				err = -EPROTO;
			}
		}
	}
	if (!(mh->msg_flags & MSG_CTRUNC))
		return err;
	/* The kernel closed what did not fit, here or into our table. */
	return rx->n_fds == VHOST_USER_MAX_FDS ? -EPROTO : -EMFILE;
}

/* Where byte rx->got of the message belongs. */
static void *place_of(struct vhost_rx *rx)
{
	const size_t head = sizeof(rx->msg.hdr);

	if (rx->got < head)
		return (char *)&rx->msg.hdr + rx->got;
	return rx->msg.u.raw + (rx->got - head);
}

/* Read up to message byte @want. 1: there; 0: would block; or -errno. */
static int fill(struct vhost_rx *rx, int sock, size_t want)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * VHOST_USER_MAX_FDS)];
	} ctl;

	while (rx->got < want) {
		struct iovec iov = { place_of(rx), want - rx->got };
		struct msghdr mh = { .msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = &ctl,
				     .msg_controllen = sizeof(ctl) };
		ssize_t n = recvmsg(sock, &mh,
				    MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		int err;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (n == 0)
			return rx->got ? -EPROTO : -ECONNRESET;
		rx->got += (size_t)n;
		err = take_fds(rx, &mh);
		if (err)
			return err;
	}
	return 1;
}

int vhost_rx_step(struct vhost_rx *rx, int sock)
{
	const struct vhost_user_header *h = &rx->msg.hdr;
	int r = fill(rx, sock, sizeof(*h));

	if (r <= 0)
		return r;
	if ((h->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION ||
	    h->size > VHOST_USER_MAX_PAYLOAD)
		return -EPROTO;
	return fill(rx, sock, sizeof(*h) + h->size);
}

/* Milliseconds until @deadline_ns for poll(2), rounded up; 0: it is past. */
static int poll_timeout(uint64_t deadline_ns)
{
	uint64_t now;

	if (deadline_ns == VHOST_NO_DEADLINE)
		return -1;
	now = clock_now_ns();
	if (now >= deadline_ns)
		return 0;
	return (int)min_u64((deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS,
			    INT32_MAX);
}

int vhost_wait(int fd, short events, int wake_fd, uint64_t deadline_ns)
{
	struct pollfd p[2] = {
		{ .fd = fd, .events = events },
		{ .fd = wake_fd, .events = POLLIN }, /* -1 is ignored */
	};

	for (;;) {
		int timeout_ms = poll_timeout(deadline_ns);
		int n = poll(p, 2, timeout_ms);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && p[1].revents)
			return -ECANCELED;
		if (n > 0)
			return 0;
		if (timeout_ms == 0)
			return -ETIMEDOUT;
	}
}

int vhost_receive(struct vhost_rx *rx, int sock, int wake_fd,
		  uint64_t deadline_ns)
{
	for (;;) {
		int r = vhost_rx_step(rx, sock);

		if (r)
			return r < 0 ? r : 0;
		r = vhost_wait(sock, POLLIN, wake_fd, deadline_ns);
		if (r)
			return r;
	}
}

static int try_send(int sock, const struct vhost_user_msg *msg,
		    const int *fds, unsigned n_fds)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * VHOST_USER_MAX_FDS)];
	} ctl = { .buf = { 0 } };
	struct iovec iov[2] = {
		{ (void *)(uintptr_t)&msg->hdr, sizeof(msg->hdr) },
		{ (void *)(uintptr_t)&msg->u, msg->hdr.size },
	};
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	if (n_fds) {
		mh.msg_control = &ctl;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		ctl.align.cmsg_level = SOL_SOCKET;
		ctl.align.cmsg_type = SCM_RIGHTS;
		ctl.align.cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(&ctl.align), fds, sizeof(int) * n_fds);
	}
	n = sendmsg(sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return errno == EPIPE ? -ECONNRESET : -errno;
	/*
	 * Whole or not at all: our messages are smaller than the least socket
	 * buffer, and a stream socket queues that much as one piece.
	 */
	return (size_t)n == sizeof(msg->hdr) + msg->hdr.size ? 0 : -EIO;
}

int vhost_send(const struct vhost_tx *tx, const struct vhost_user_msg *msg,
	       const int *fds, unsigned n_fds)
{
	if (n_fds > VHOST_USER_MAX_FDS)
		return -EINVAL;
	for (;;) {
		int err = try_send(tx->sock, msg, fds, n_fds);

		if (err == -EINTR)
			continue;
		if (err != -EAGAIN)
			return err;
		err = vhost_wait(tx->sock, POLLOUT, tx->wake_fd,
				 tx->deadline_ns);
		if (err)
			return err;
	}
}
