/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost-user messages over a UNIX stream socket, for both ends and both
 * channels. Receiving is a state machine that never blocks, so that neither a
 * peer that stops in the middle of a message nor one that does not read can
 * hold a thread; waiting is separate and can always be interrupted through a
 * second descriptor. One thread at a time per struct and per direction.
 */
#ifndef ORIEL_VHOST_MSG_H
#define ORIEL_VHOST_MSG_H

#include "base/util.h"
#include "wire/vhost_user.h"

#define VHOST_NO_DEADLINE UINT64_MAX

/* A message being received, with the descriptors that came with it. */
struct vhost_rx {
	struct vhost_user_msg msg; /* valid up to the bytes got */
	size_t got;                /* header included */
	int fds[VHOST_USER_MAX_FDS]; /* a taker sets its entry to -1 */
	unsigned n_fds;
};

/* Nothing received yet. */
void vhost_rx_init(struct vhost_rx *rx);

/* Close the descriptors nobody took and start over with the next message. */
void vhost_rx_next(struct vhost_rx *rx);

/*
 * Read what is there; never blocks. 1: rx->msg is complete, its payload is
 * hdr.size bytes; 0: more must come; -ECONNRESET: the stream ended between two
 * messages; -EPROTO: it ended inside one, the header's version or size is bad,
 * or too many descriptors came; -EMFILE: we have no room for descriptors that
 * came; else -errno. After 1 call vhost_rx_next();
 * after an error the header (if got >= its size) can still be looked at.
 */
ORIEL_MUST_CHECK int vhost_rx_step(struct vhost_rx *rx, int sock);

/*
 * Wait until @fd is ready for @events (POLLIN, POLLOUT), hung up or broken.
 * @wake_fd (-1: none) readable ends the wait. 0, -ECANCELED, -ETIMEDOUT past
 * @deadline_ns of clock_now_ns(), or -errno.
 */
ORIEL_MUST_CHECK int vhost_wait(int fd, short events, int wake_fd,
				uint64_t deadline_ns);

/* vhost_rx_step() until a message is complete: 0, or as those two. */
ORIEL_MUST_CHECK int vhost_receive(struct vhost_rx *rx, int sock, int wake_fd,
				   uint64_t deadline_ns);

/* Where and how long to send. */
struct vhost_tx {
	int sock;
	int wake_fd; /* -1: none */
	uint64_t deadline_ns;
};

/*
 * Send @msg whole, @n_fds descriptors with it. 0, -ECANCELED, -ETIMEDOUT,
 * -ECONNRESET when the peer is gone, or -errno.
 */
ORIEL_MUST_CHECK int vhost_send(const struct vhost_tx *tx,
				const struct vhost_user_msg *msg,
				const int *fds, unsigned n_fds);

#endif
