/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost-user back end: life cycle and the loop over the main channel. The other
 * parts and the thread and lock rules are in backend_priv.h.
 *
 * However a session ends (the peer leaves, breaks the protocol, or we are told
 * to stop) the way out is the same: stop and join all queue threads, tell the
 * owner (ops->reset), close everything.
 */
#include "vhost/backend_priv.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

int be_violation(const char *name, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_error("vhost: %s: %s", name, text);
	return -EPROTO;
}

static void request_stop(struct vhost_backend *be)
{
	const uint64_t one = 1;
	const int saved = errno;
	ssize_t n = write(be->stop_fd, &one, sizeof(one));

	(void)n; /* full: it is readable already */
	errno = saved;
}

void be_fail(struct vhost_backend *be, int err)
{
	/* pairs with the acquire load in end_of_session() */
	atomic_store_explicit(&be->failed, err, memory_order_release);
	request_stop(be);
}

void vhost_backend_stop(struct vhost_backend *be)
{
	request_stop(be);
}

static int check_config(const struct vhost_backend_config *c)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (c->sock < 0 || !c->ops || !c->ops->handle)
		return -EINVAL;
	if (c->request_queues == 0 || c->request_queues > 255)
		return -EINVAL;
	return is_aligned(c->window_bytes, page) ? 0 : -EINVAL;
}

static int init(struct vhost_backend *be)
{
	int err = chan_init(&be->chan, be->cfg.poll_ns);

	if (err)
		return err;
	be->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (be->stop_fd < 0)
		return -errno;
	for (unsigned i = 0; i < be->n_queues; i++)
		vq_init(be, i);
	return 0;
}

int vhost_backend_new(const struct vhost_backend_config *cfg,
		      struct vhost_backend **ret)
{
	const unsigned n_queues = cfg->request_queues + 1;
	struct vhost_backend *be;
	int err = check_config(cfg);

	if (err)
		return err;
	be = calloc(1, sizeof(*be) + n_queues * sizeof(be->vqs[0]));
	if (!be)
		return -ENOMEM;
	be->cfg = *cfg;
	be->cfg.tag[sizeof(be->cfg.tag) - 1] = '\0';
	be->n_queues = n_queues;
	be->stop_fd = -1;
	be->sock = -1;
	pthread_mutex_init(&be->mem_lock, NULL);
	err = init(be);
	if (err) {
		vhost_backend_free(be);
		return err;
	}
	be->sock = cfg->sock;
	*ret = be;
	return 0;
}

/* The next message into be->rx. */
static int next_message(struct vhost_backend *be)
{
	const struct vhost_user_header *h = &be->rx.msg.hdr;
	int err;

	vhost_rx_next(&be->rx);
	err = vhost_receive(&be->rx, be->sock, be->stop_fd, VHOST_NO_DEADLINE);
	if (err == -EMFILE)
		log_error("vhost: out of file descriptors: those of a message "
			  "are lost");
	if (err != -EPROTO)
		return err;
	if (be->rx.got < sizeof(*h))
		return be_violation("header", "cut short after %zu bytes",
				    be->rx.got);
	return be_violation("header", "request %u, flags 0x%x, size %u, "
			    "%u descriptors, %zu bytes came", h->request,
			    h->flags, h->size, be->rx.n_fds, be->rx.got);
}

/* What run() returns for the error that ended the loop. */
static int end_of_session(struct vhost_backend *be, int err)
{
	/* pairs with the release store in be_fail() */
	int failed = atomic_load_explicit(&be->failed, memory_order_acquire);

	if (err == -ECANCELED && failed)
		return failed;
	if (err == -ECONNRESET || err == -EPIPE)
		return 0;
	return err;
}

int vhost_backend_run(struct vhost_backend *be)
{
	int err = 0;

	while (!err) {
		err = next_message(be);
		if (!err)
			err = be_dispatch(be);
	}
	be_stop_all(be);
	atomic_store_explicit(&be->has_shmem, false, memory_order_relaxed);
	if (be->cfg.ops->reset)
		be->cfg.ops->reset(be->cfg.ctx);
	for (unsigned i = 0; i < be->n_queues; i++)
		vq_reset(&be->vqs[i]);
	be_inflight_clear(be);
	be_mem_clear(be);
	vhost_rx_next(&be->rx);
	chan_close(&be->chan);
	fd_close(&be->sock);
	return end_of_session(be, err);
}

void vhost_backend_free(struct vhost_backend *be)
{
	if (!be)
		return;
	for (unsigned i = 0; i < be->n_queues; i++)
		vq_done(&be->vqs[i]);
	chan_done(&be->chan);
	be_inflight_clear(be);
	be_mem_clear(be);
	fd_close(&be->sock);
	fd_close(&be->stop_fd);
	pthread_mutex_destroy(&be->mem_lock);
	free(be);
}
