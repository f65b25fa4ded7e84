/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost-user front end: life cycle and everyday use. See frontend_priv.h for
 * the other parts and frontend.h for the thread rules.
 *
 * Until the handshake is done the socket stays the caller's; everything else
 * is owned by the object from the moment it is made, and one destructor takes
 * whatever is there, so each failure has the same way out.
 */
#include "vhost/frontend_priv.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

/* Messages served per call, so that a chatty back end cannot keep us. */
#define SERVICE_BATCH 64

int fe_error(struct vhost_frontend *fe, int err, const char *fmt, ...)
{
	va_list ap;

	if (fe->errbuf && fe->errlen) {
		va_start(ap, fmt);
		vsnprintf(fe->errbuf, fe->errlen, fmt, ap);
		va_end(ap);
	}
	return err;
}

static int check_config(const struct vhost_frontend_config *c)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (c->request_queues == 0 || c->request_queues > 255)
		return -EINVAL;
	if (!is_pow2(c->queue_size) || c->queue_size > RING_MAX_SIZE ||
	    c->queue_size < RING_DRIVER_MAX_SEGS)
		return -EINVAL;
	if (c->arena_bytes == 0 || !is_aligned(c->arena_bytes, page))
		return -EINVAL;
	if (c->max_window_bytes && !is_pow2(c->window_align))
		return -EINVAL;
	return c->timeout_ms > 0 ? 0 : -EINVAL;
}

static int alloc_queues(struct vhost_frontend *fe)
{
	fe->queues = calloc(fe->info.n_queues, sizeof(*fe->queues));
	if (!fe->queues)
		return fe_error(fe, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < fe->info.n_queues; i++) {
		fe->queues[i].kick_fd = -1;
		fe->queues[i].call_fd = -1;
	}
	return 0;
}

static int queue_init(struct vhost_frontend *fe, struct fe_queue *q)
{
	struct ring_driver_config rc = {
		.size = fe->cfg.queue_size,
		.desc = (void *)(fe->mem + q->desc_off),
		.avail = (void *)(fe->mem + q->avail_off),
		.used = (void *)(fe->mem + q->used_off),
		.event_idx = fe_has_feature(fe, VIRTIO_F_EVENT_IDX),
	};
	int err;

	if (fe_has_feature(fe, VIRTIO_F_INDIRECT_DESC)) {
		rc.indirect = (void *)(fe->mem + q->indirect_off);
		rc.indirect_gpa = FE_GPA_BASE + q->indirect_off;
	}
	q->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	q->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->kick_fd < 0 || q->call_fd < 0)
		return fe_error(fe, -errno, "no notification descriptor "
				"(eventfd): %s", strerror(errno));
	err = ring_driver_new(&rc, &q->drv);
	return err ? fe_error(fe, err, "cannot set up a queue") : 0;
}

static void queues_free(struct vhost_frontend *fe)
{
	for (unsigned i = 0; fe->queues && i < fe->info.n_queues; i++) {
		ring_driver_free(fe->queues[i].drv);
		fd_close(&fe->queues[i].kick_fd);
		fd_close(&fe->queues[i].call_fd);
	}
	free(fe->queues);
}

static int connect_all(struct vhost_frontend *fe)
{
	int err = fe_negotiate(fe);

	if (!err)
		err = alloc_queues(fe);
	if (!err)
		err = fe_memory_create(fe);
	for (unsigned i = 0; !err && i < fe->info.n_queues; i++)
		err = queue_init(fe, &fe->queues[i]);
	if (!err)
		err = fe_start_queues(fe);
	return err;
}

int vhost_frontend_new(const struct vhost_frontend_config *cfg,
		       struct vhost_frontend **ret, char *errbuf,
		       size_t errlen)
{
	struct vhost_frontend *fe = calloc(1, sizeof(*fe));
	int err;

	if (!fe) {
		if (errbuf && errlen)
			snprintf(errbuf, errlen, "out of memory");
		return -ENOMEM;
	}
	fe->cfg = *cfg;
	fe->errbuf = errbuf;
	fe->errlen = errlen;
	fe->sock = -1;
	fe->chan = -1;
	fe->mem_fd = -1;
	itree_init(&fe->mappings);
	list_init(&fe->wants);
	pthread_mutex_init(&fe->window_lock, NULL);

	err = check_config(cfg);
	if (err)
		fe_error(fe, err, "bad front-end configuration");
	else
		err = connect_all(fe);
	if (err) {
		vhost_frontend_free(fe);
		return err;
	}
	vhost_rx_next(&fe->rx);
	fe->errbuf = NULL;
	fe->sock = cfg->sock;
	*ret = fe;
	return 0;
}

void vhost_frontend_free(struct vhost_frontend *fe)
{
	if (!fe)
		return;
	vhost_rx_next(&fe->rx);
	vhost_rx_next(&fe->chan_rx);
	fd_close(&fe->sock);
	fd_close(&fe->chan);
	queues_free(fe);
	fe_memory_destroy(fe);
	fe_window_destroy(fe);
	pthread_mutex_destroy(&fe->window_lock);
	free(fe);
}

const struct vhost_frontend_info *
vhost_frontend_info(const struct vhost_frontend *fe)
{
	return &fe->info;
}

struct ring_driver *vhost_frontend_queue(struct vhost_frontend *fe, unsigned i)
{
	return i < fe->info.n_queues ? fe->queues[i].drv : NULL;
}

void vhost_frontend_kick(struct vhost_frontend *fe, unsigned i)
{
	const uint64_t one = 1;
	struct pollfd p = { .fd = fe->queues[i].kick_fd, .events = POLLOUT };
	ssize_t n;
	int r;

	/*
	 * Full: the kick is pending. Not left to O_NONBLOCK, which the daemon
	 * has the same open file to clear with. A signal is no reason to leave
	 * the daemon asleep.
	 */
	do
		r = poll(&p, 1, 0);
	while (r < 0 && errno == EINTR);
	if (r != 1 || !(p.revents & POLLOUT))
		return;
	n = write(p.fd, &one, sizeof(one));
	(void)n; /* filled meanwhile: as above */
}

int vhost_frontend_call_fd(const struct vhost_frontend *fe, unsigned i)
{
	return fe->queues[i].call_fd;
}

void vhost_frontend_ack_call(struct vhost_frontend *fe, unsigned i)
{
	const int fd = fe->queues[i].call_fd;
	uint64_t count;
	struct iovec iov = { &count, sizeof(count) };
	ssize_t n = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

	/* An old kernel: wait never is what O_NONBLOCK says, while it does. */
	if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		n = read(fd, &count, sizeof(count));
	(void)n; /* EAGAIN: somebody else drained it */
}

int vhost_frontend_sock_fd(const struct vhost_frontend *fe)
{
	return fe->sock;
}

int vhost_frontend_channel_fd(const struct vhost_frontend *fe)
{
	return fe->chan;
}

static int serve_channel(struct vhost_frontend *fe)
{
	for (int i = 0; i < SERVICE_BATCH; i++) {
		int r = fe_channel_step(fe);

		if (r == 0)
			return 0;
		if (r == -ECONNRESET)
			return -ENOTCONN;
		if (r < 0) {
			log_error("vhost: back-end channel: %s", strerror(-r));
			return -EPROTO;
		}
	}
	return 0;
}

/* No request is under way: a byte on the main socket can only be an error. */
static int look_at_socket(struct vhost_frontend *fe)
{
	char c;
	ssize_t n = recv(fe->sock, &c, 1, MSG_PEEK | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n > 0) {
		log_error("vhost: the daemon sent a message nobody asked for");
		return -EPROTO;
	}
	return -ENOTCONN;
}

int vhost_frontend_service(struct vhost_frontend *fe)
{
	struct pollfd p[2] = {
		{ .fd = fe->chan, .events = POLLIN },
		{ .fd = fe->sock, .events = POLLIN },
	};

	/* One system call when nothing is there: this is called in a spin. */
	if (fe->dead || poll(p, 2, 0) <= 0)
		return fe->dead;
	if (p[0].revents)
		fe->dead = serve_channel(fe);
	if (!fe->dead && p[1].revents)
		fe->dead = look_at_socket(fe);
	return fe->dead;
}

unsigned vhost_frontend_mappings(const struct vhost_frontend *fe)
{
	return (unsigned)fe->mappings.count;
}
