/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Starting and stopping queues. One runs while it is complete (size, addresses,
 * kick descriptor, memory) and enabled; main starts and joins its threads, which
 * backend_worker.c is about, and touches the queue only in between.
 *
 * A front end can make a thread of ours wait: by the descriptors it gave us,
 * whose O_NONBLOCK it shares, or by what the request does. Main must get the
 * thread back nonetheless, so a thread that does not stop by itself is sent
 * SIGURG, again and again, whose handler does nothing but interrupt.
 */
#include "vhost/backend_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/fd.h"
#include "base/log.h"

/* What the hiprio queue carries is done at once: it has one in any case. */
static int workers_new(struct vhost_vq *vq)
{
	unsigned n = vq->index ? vq->be->cfg.workers : 1;

	if (!vq->workers) {
		vq->n_workers = n ? n : 1;
		vq->workers = calloc(vq->n_workers, sizeof(*vq->workers));
	}
	if (!vq->workers)
		return -ENOMEM;
	for (unsigned i = 0; i < vq->n_workers; i++) {
		struct vq_worker *w = &vq->workers[i];

		w->vq = vq;
		if (!w->chain)
			w->chain = malloc(sizeof(*w->chain));
		if (!w->chain)
			return -ENOMEM;
		w->chain->n_out = 0; /* for ring_device_expect() */
	}
	return 0;
}

/*
 * What only a queue that runs needs: most of those that are offered never do.
 * Kept from the first start on; also when it fails halfway.
 */
static int prepare(struct vhost_vq *vq)
{
	if (vq->wake_fd < 0)
		vq->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return vq->wake_fd < 0 ? -errno : workers_new(vq);
}

void vq_init(struct vhost_backend *be, unsigned i)
{
	struct vhost_vq *vq = &be->vqs[i];

	vq->be = be;
	vq->index = i;
	vq->kick_fd = -1;
	vq->wake_fd = -1;
	pthread_mutex_init(&vq->call_lock, NULL);
	pthread_mutex_init(&vq->later_lock, NULL);
	pthread_mutex_init(&vq->lead, NULL);
	pthread_mutex_init(&vq->ring_lock, NULL);
	list_init(&vq->answers);
}

void vq_done(struct vhost_vq *vq)
{
	if (!vq->be)
		return; /* vq_init() was not reached */
	vq_reset(vq);
	fd_close(&vq->wake_fd);
	vq_drop_answers(vq);
	pthread_mutex_destroy(&vq->later_lock);
	pthread_mutex_destroy(&vq->call_lock);
	pthread_mutex_destroy(&vq->lead);
	pthread_mutex_destroy(&vq->ring_lock);
	for (unsigned i = 0; vq->workers && i < vq->n_workers; i++)
		free(vq->workers[i].chain);
	free(vq->workers);
}

/* The ring in our memory: -ENXIO if its addresses lie in no region. */
static int find_ring(const struct vhost_vq *vq, const struct mem_map *mem,
		     struct ring_device_config *rc)
{
	const struct vhost_user_vring_addr *a = &vq->addr;

	rc->desc = mem_map_uaddr(mem, a->desc, ring_desc_bytes(vq->size));
	rc->avail = mem_map_uaddr(mem, a->avail, ring_avail_bytes(vq->size));
	rc->used = mem_map_uaddr(mem, a->used, ring_used_bytes(vq->size));
	return rc->desc && rc->avail && rc->used ? 0 : -ENXIO;
}

static int ring_init(struct vhost_vq *vq, const struct mem_map *mem,
		     const char *name)
{
	struct ring_device_config rc = {
		.size = vq->size,
		.last_avail = vq->base,
		.indirect = vq->be->features >> VIRTIO_F_INDIRECT_DESC & 1,
		.event_idx = vq->be->features >> VIRTIO_F_EVENT_IDX & 1,
	};
	int err = find_ring(vq, mem, &rc);

	if (!err && vq->be->inflight) {
		err = be_inflight_attach(vq, shm_load_u16(&rc.used->idx));
		if (err)
			return err;
		rc.inflight = vq->inflight.shared ? &vq->inflight : NULL;
	}
	if (!err)
		err = ring_device_init(&vq->dev, &rc);
	if (err)
		ring_inflight_detach(&vq->inflight);
	if (err)
		return be_violation(name, "queue %u: ring of %u at 0x%" PRIx64
				    ", 0x%" PRIx64 ", 0x%" PRIx64 ": %s",
				    vq->index, vq->size, vq->addr.desc,
				    vq->addr.avail, vq->addr.used,
				    err == -ENXIO ? "not in shared memory"
						  : "bad alignment or size");
	return 0;
}

static void on_sigurg(int sig)
{
	/* only to interrupt */
}

/* Without SA_RESTART. Nobody else uses it: its default is to be ignored. */
static void take_sigurg(void)
{
	struct sigaction sa = { .sa_flags = 0 };

	sa.sa_handler = on_sigurg;
	sigemptyset(&sa.sa_mask);
	sigaction(SIGURG, &sa, NULL);
}

/* Join, and interrupt it if it does not come. */
static void join(struct vq_worker *w)
{
	uint64_t patience_ns = NS_PER_S;
	struct timespec until;

	for (;;) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += (long)(patience_ns % NS_PER_S);
		until.tv_sec += (time_t)(patience_ns / NS_PER_S) +
				until.tv_nsec / (long)NS_PER_S;
		until.tv_nsec %= (long)NS_PER_S;
		if (pthread_timedjoin_np(w->thread, NULL, &until) !=
		    ETIMEDOUT)
			return;
		pthread_kill(w->thread, SIGURG);
		patience_ns = 50 * NS_PER_MS;
	}
}

/* The first @n of them, which have been told to. */
static void join_workers(struct vhost_vq *vq, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		join(&vq->workers[i]);
}

static void tell_to_stop(struct vhost_vq *vq)
{
	atomic_store_explicit(&vq->stop, true, memory_order_relaxed);
	vq_wake(vq);
}

/*
 * Signals that report our own faults stay open, the others are for the
 * threads of the program.
 */
static int spawn_one(struct vq_worker *w)
{
	static const int faults[] = { SIGBUS, SIGSEGV, SIGFPE, SIGILL,
				      SIGTRAP, SIGABRT, SIGSYS };
	sigset_t block, old;
	char name[16];
	int err;

	sigfillset(&block);
	for (size_t i = 0; i < ARRAY_LEN(faults); i++)
		sigdelset(&block, faults[i]);
	sigdelset(&block, SIGURG);
	pthread_sigmask(SIG_SETMASK, &block, &old);
	err = pthread_create(&w->thread, NULL, vq_worker_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return -err;
	snprintf(name, sizeof(name), "oriel-q%u", w->vq->index);
	pthread_setname_np(w->thread, name);
	return 0;
}

static int spawn(struct vhost_vq *vq)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int err;

	pthread_once(&once, take_sigurg);
	for (unsigned i = 0; i < vq->n_workers; i++) {
		err = spawn_one(&vq->workers[i]);
		if (!err)
			continue;
		tell_to_stop(vq);
		join_workers(vq, i);
		return err;
	}
	return 0;
}

int vq_try_start(struct vhost_vq *vq, const char *name)
{
	struct mem_map *mem;
	int err;

	if (vq->running || !vq->enabled || !vq->kick_set || !vq->size_set ||
	    !vq->addr_set)
		return 0;
	mem = be_mem_get(vq->be);
	if (!mem || mem->n_regions == 0) {
		mem_map_unref(mem);
		return 0; /* regions come later, and then we are back */
	}
	err = prepare(vq);
	if (!err)
		err = ring_init(vq, mem, name);
	if (!err) {
		vq->ring_mem = mem;
		vq->broken = false;
		vq->recent = false;
		atomic_store_explicit(&vq->stop, false, memory_order_relaxed);
		err = spawn(vq);
	}
	if (err) {
		ring_inflight_detach(&vq->inflight);
		vq->ring_mem = NULL;
		mem_map_unref(mem);
		return err;
	}
	vq->running = true;
	return 0;
}

int be_try_start_all(struct vhost_backend *be, const char *name)
{
	int err = 0;

	for (unsigned i = 0; !err && i < be->n_queues; i++)
		err = vq_try_start(&be->vqs[i], name);
	return err;
}

static void stop_begin(struct vhost_vq *vq)
{
	if (vq->running)
		tell_to_stop(vq);
}

static void stop_end(struct vhost_vq *vq)
{
	if (!vq->running)
		return;
	join_workers(vq, vq->n_workers);
	vq->running = false;
	vq_drop_answers(vq);
	vq->base = vq->dev.last_avail;
	ring_inflight_detach(&vq->inflight);
	vq_unwake(vq);
	mem_map_unref(vq->ring_mem);
	vq->ring_mem = NULL;
}

/* Between the two nobody waits for the front end or for anything kept. */
static void cancel_begin(struct vhost_backend *be)
{
	chan_cancel_begin(&be->chan);
	if (be->cfg.ops->cancel)
		be->cfg.ops->cancel(be->cfg.ctx, true);
}

static void cancel_end(struct vhost_backend *be)
{
	if (be->cfg.ops->cancel)
		be->cfg.ops->cancel(be->cfg.ctx, false);
	chan_cancel_end(&be->chan);
}

void vq_stop(struct vhost_vq *vq)
{
	if (!vq->running)
		return;
	cancel_begin(vq->be);
	stop_begin(vq);
	stop_end(vq);
	cancel_end(vq->be);
}

void be_stop_all(struct vhost_backend *be)
{
	cancel_begin(be);
	for (unsigned i = 0; i < be->n_queues; i++)
		stop_begin(&be->vqs[i]);
	for (unsigned i = 0; i < be->n_queues; i++)
		stop_end(&be->vqs[i]);
	cancel_end(be);
}

bool vq_fd_is_usable(int fd)
{
	struct stat st;
	mode_t type;
	int flags;

	if (fstat(fd, &st))
		return false;
	type = st.st_mode & S_IFMT;
	if (type == S_IFSOCK)
		return true;
	flags = fcntl(fd, F_GETFL);
	if (type != 0 || flags < 0)
		return false;
	return flags & O_NONBLOCK ||
	       fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

static bool is_socket(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

static void set_notifier(struct vhost_vq *vq, struct vq_notifier **which,
			 struct vq_notifier *to)
{
	struct vq_notifier *old;

	pthread_mutex_lock(&vq->call_lock);
	old = *which;
	*which = to;
	pthread_mutex_unlock(&vq->call_lock);
	vq_notifier_put(old);
}

static int notifier_new(int fd, struct vq_notifier **ret)
{
	struct vq_notifier *to = NULL;

	if (fd >= 0) {
		to = malloc(sizeof(*to));
		if (!to)
			return -ENOMEM;
		atomic_init(&to->refs, 1);
		to->fd = fd;
		to->is_sock = is_socket(fd);
	}
	*ret = to;
	return 0;
}

int vq_set_call(struct vhost_vq *vq, int fd)
{
	struct vq_notifier *to = NULL;
	int err = notifier_new(fd, &to);

	if (err)
		return err;
	set_notifier(vq, &vq->call, to);
	/* One may have gone to the old descriptor, which nobody reads. */
	if (to && vq->running) {
		/* release: the new one is there; pairs with vq_loop() */
		atomic_store_explicit(&vq->recall, true, memory_order_release);
		vq_wake(vq);
	}
	return 0;
}

int vq_set_err(struct vhost_vq *vq, int fd)
{
	struct vq_notifier *to = NULL;
	int err = notifier_new(fd, &to);

	if (!err)
		set_notifier(vq, &vq->err, to);
	return err;
}

void vq_set_kick(struct vhost_vq *vq, int fd)
{
	fd_close(&vq->kick_fd);
	vq->kick_fd = fd;
	vq->kick_is_sock = is_socket(fd);
}

void vq_reset(struct vhost_vq *vq)
{
	vq_stop(vq);
	fd_close(&vq->kick_fd);
	set_notifier(vq, &vq->call, NULL);
	set_notifier(vq, &vq->err, NULL);
	vq->size_set = false;
	vq->addr_set = false;
	vq->kick_set = false;
	vq->enabled = false;
	vq->base = 0;
}
