/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The threads of a queue: one, or with cfg.workers a pool.
 *
 * Waiting for requests has two stages. For poll_ns after the last request the
 * thread looks at the ring itself, with kicks suppressed: a client that works
 * pays no system call for its request, nor the wake-up of a sleeper. Then it
 * asks for kicks, looks once more (the barrier is in ring_device_want_kick)
 * and sleeps in poll(2) until a kick or main wakes it. The hiprio queue skips
 * the first stage: what it carries is waited for by nobody. So do all while many
 * more queues are busy than there are processors (backend_crowd.c).
 *
 * In a pool the threads take turns: the leader waits and pops; with a chain in
 * hand it leaves the lead to another and serves the request. So requests of one
 * queue are served side by side and answered in any order, and nobody hands
 * anything to anybody. A single thread takes neither of the locks.
 *
 * Locks of a pool: vq->lead, held by the leader while it waits; then
 * vq->ring_lock, over what pop and push both change. Nothing is taken inside.
 */
#include "vhost/backend_priv.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/fd.h"
#include "base/log.h"

/* Which one this thread is. */
static __thread struct vq_worker *me;

/* Chains handled between two looks at what else is due. */
#define BATCH 64

/* How often a ring without a kick descriptor is looked at. */
#define POLLED_RING_MS 1

static bool is_pool(const struct vhost_vq *vq)
{
	return vq->n_workers > 1;
}

static void ring_lock(struct vhost_vq *vq)
{
	if (ORIEL_UNLIKELY(is_pool(vq)))
		pthread_mutex_lock(&vq->ring_lock);
}

static void ring_unlock(struct vhost_vq *vq)
{
	if (ORIEL_UNLIKELY(is_pool(vq)))
		pthread_mutex_unlock(&vq->ring_lock);
}

static bool is_stopping(const struct vhost_vq *vq)
{
	/* Only a flag: what must be seen after it comes by the wake_fd. */
	return atomic_load_explicit(&vq->stop, memory_order_relaxed);
}

void vq_wake(struct vhost_vq *vq)
{
	const uint64_t one = 1;
	ssize_t n = write(vq->wake_fd, &one, sizeof(one));

	(void)n; /* ours, and full only if it is readable already */
}

void vq_unwake(struct vhost_vq *vq)
{
	uint64_t count;
	ssize_t n = read(vq->wake_fd, &count, sizeof(count));

	(void)n; /* may have been drained before */
}

void vq_notifier_put(struct vq_notifier *to)
{
	/* acq_rel: the last one closes what the others are done with */
	if (!to || atomic_fetch_sub_explicit(&to->refs, 1,
					     memory_order_acq_rel) > 1)
		return;
	fd_close(&to->fd);
	free(to);
}

/* Tell the front end; it may not listen, which must not stop us. */
static void notify(struct vhost_vq *vq, struct vq_notifier *const *which)
{
	const uint64_t one = 1;
	struct vq_notifier *to;
	ssize_t n;

	pthread_mutex_lock(&vq->call_lock);
	to = *which;
	if (to)
		atomic_fetch_add_explicit(&to->refs, 1, memory_order_relaxed);
	pthread_mutex_unlock(&vq->call_lock);
	if (!to)
		return;
	if (to->is_sock)
		n = send(to->fd, &one, sizeof(one),
			 MSG_NOSIGNAL | MSG_DONTWAIT);
	else
		n = write(to->fd, &one, sizeof(one));
	(void)n; /* full: a notification is pending; gone: main will notice */
	vq_notifier_put(to);
}

static void vq_call(struct vhost_vq *vq)
{
	notify(vq, &vq->call);
}

/* The queue stops: the driver broke the rules. */
static void vq_broken(struct vhost_vq *vq, const char *why)
{
	log_error("vhost: queue %u stopped: %s", vq->index, why);
	notify(vq, &vq->err);
}

struct vq_worker *vq_worker_self(void)
{
	return me;
}

/* Handle the chain that was popped: as ops->handle(). */
static int handle(struct vq_worker *w, uint32_t *ret_written)
{
	struct vhost_vq *vq = w->vq;
	const struct vhost_backend_config *cfg = &vq->be->cfg;
	struct mem_map *pieces;
	int r = be_window_resolve(vq->be, w->chain, &pieces);

	if (ORIEL_UNLIKELY(r == -EFAULT))
		return cfg->ops->refuse(cfg->ctx, w->chain, r, ret_written);
	if (ORIEL_UNLIKELY(r))
		return r;
	r = cfg->ops->handle(cfg->ctx, vq->index, w->chain, ret_written);
	mem_map_unref(pieces);
	return r;
}

/* Take the memory map for the next chain into w->mem. The front end may have
 * changed its memory since the last one: it counts on the change for whatever it
 * queues after the acknowledgement, so this is asked after the chain was seen.
 * False: there is none. */
static bool take_mem(struct vq_worker *w)
{
	struct vhost_backend *be = w->vq->be;
	uint32_t now = atomic_load_explicit(&be->mem_gen, memory_order_acquire);

	if (w->mem && now == w->mem_gen)
		return true;
	mem_map_unref(w->mem);
	w->mem_gen = now;
	w->mem = be_mem_get(be);
	return w->mem != NULL;
}

/* Take the next chain, which was seen, and the memory it lies in: 1, 0 none there,
 * -EPROTO (reported, if the driver is to blame). */
static int take(struct vq_worker *w)
{
	const char *why = "bad descriptors";
	int r;

	ring_device_expect(&w->vq->dev, w->chain);
	if (!take_mem(w))
		return -EPROTO; /* main never takes it while we run */
	ring_lock(w->vq);
	r = ring_device_pop(&w->vq->dev, w->mem, w->chain, &why);
	ring_unlock(w->vq);
	if (ORIEL_UNLIKELY(r < 0))
		vq_broken(w->vq, why);
	return r;
}

static void after(const struct vhost_vq *vq, bool answered)
{
	const struct vhost_backend_config *cfg = &vq->be->cfg;

	if (cfg->ops->after)
		cfg->ops->after(cfg->ctx, vq->index, answered);
}

/* Serve the chain that was taken and give it back. 0, -EPROTO (reported). */
static int serve(struct vq_worker *w)
{
	struct vhost_vq *vq = w->vq;
	uint32_t written = 0;
	bool call;
	int r = handle(w, &written);

	if (ORIEL_UNLIKELY(r == VHOST_LATER))
		return 0;
	if (ORIEL_UNLIKELY(r < 0)) {
		vq_broken(vq, "a request no driver may send");
		return -EPROTO;
	}
	if (is_pool(vq))
		after(vq, false);
	ring_lock(vq);
	ring_device_push(&vq->dev, w->chain->head, written);
	call = ring_device_needs_call(&vq->dev);
	ring_unlock(vq);
	if (call)
		vq_call(vq);
	if (!is_pool(vq))
		after(vq, true);
	return 0;
}

/* While it sleeps a thread holds no memory that the front end may take back. */
static void drop_mem(struct vq_worker *w)
{
	mem_map_unref(w->mem);
	w->mem = NULL;
}

/* Handle what is there. The number of chains, or -EPROTO. */
static int batch(struct vq_worker *w)
{
	struct vhost_vq *vq = w->vq;
	int n = 0, r = 0;

	while (n < BATCH && !is_stopping(vq) &&
	       ring_device_has_avail(&vq->dev)) {
		r = take(w);
		if (r > 0)
			r = serve(w);
		else if (!r)
			break;
		if (r < 0)
			break;
		n++;
	}
	return r < 0 ? r : n;
}

/* Poll the ring for a while. Is there something to do? */
static bool vq_spin(struct vhost_vq *vq)
{
	struct spin_wait w;
	bool more;

	spin_begin(&w, &vq->habit, vq->be->cfg.poll_ns);
	do {
		more = ring_device_has_avail(&vq->dev) || is_stopping(vq) ||
		       atomic_load_explicit(&vq->has_answers,
					    memory_order_relaxed);
	} while (!more && spin_step(&w));
	spin_end(&w);
	return more;
}

/* Take the kick. -EPROTO if the descriptor can give none. */
static int drain_kick(struct vhost_vq *vq, short revents)
{
	uint64_t count;
	ssize_t n;

	if (!revents)
		return 0;
	if (!(revents & POLLIN))
		n = 0;
	else if (vq->kick_is_sock)
		n = recv(vq->kick_fd, &count, sizeof(count), MSG_DONTWAIT);
	else
		n = read(vq->kick_fd, &count, sizeof(count));
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return 0;
	vq_broken(vq, "its kick descriptor does not work");
	return -EPROTO;
}

static int vq_sleep(struct vhost_vq *vq)
{
	struct pollfd p[2] = {
		{ .fd = vq->kick_fd, .events = POLLIN },
		{ .fd = vq->wake_fd, .events = POLLIN },
	};
	int err = 0;

	ring_device_want_kick(&vq->dev, true);
	if (!ring_device_has_avail(&vq->dev) &&
	    poll(p, 2, vq->kick_fd < 0 ? POLLED_RING_MS : -1) > 0)
		err = drain_kick(vq, p[0].revents);
	if (p[1].revents)
		vq_unwake(vq);
	ring_device_want_kick(&vq->dev, false);
	return err;
}

/* Give back what was answered from elsewhere. */
static void give_answers(struct vhost_vq *vq)
{
	bool call;

	if (ORIEL_LIKELY(!atomic_load_explicit(&vq->has_answers,
					       memory_order_relaxed)))
		return;
	ring_lock(vq);
	call = vq_take_answers(vq) && ring_device_needs_call(&vq->dev);
	ring_unlock(vq);
	if (call)
		vq_call(vq);
}

/* What is due besides requests. */
static void chores(struct vhost_vq *vq)
{
	if (ORIEL_UNLIKELY(atomic_load_explicit(&vq->recall,
						memory_order_relaxed)) &&
	    atomic_exchange_explicit(&vq->recall, false, memory_order_acquire))
		vq_call(vq);
	give_answers(vq);
}

static bool polls(struct vhost_vq *vq)
{
	const struct vhost_backend_config *cfg = &vq->be->cfg;

	if (vq->index == 0 || !cfg->poll_ns)
		return false;
	return !crowd_is_over(cfg->crowd, &vq->counted, clock_now_ns());
}

/* Nothing is there: wait for something. -EPROTO: nothing can come. */
static int wait_for_work(struct vq_worker *w, bool *recent)
{
	if (*recent && polls(w->vq) && vq_spin(w->vq))
		return 0;
	*recent = false;
	drop_mem(w);
	return vq_sleep(w->vq);
}

static void loop(struct vq_worker *w)
{
	struct vhost_vq *vq = w->vq;
	bool recent = false; /* a request was handled since the last sleep */

	while (!is_stopping(vq)) {
		int n;

		chores(vq);
		n = batch(w);
		if (n < 0)
			return;
		if (n > 0)
			recent = true;
		else if (wait_for_work(w, &recent))
			return;
	}
	give_answers(vq);
}

/* As leader: take one chain, and w->mem, which it lies in. 0: the queue ends. */
static int lead(struct vq_worker *w)
{
	struct vhost_vq *vq = w->vq;
	int r;

	while (!vq->broken && !is_stopping(vq)) {
		chores(vq);
		if (!ring_device_has_avail(&vq->dev)) {
			vq->broken = wait_for_work(w, &vq->recent);
			continue;
		}
		r = take(w);
		if (r > 0) {
			vq->recent = true;
			return 1;
		}
		vq->broken = r < 0;
	}
	give_answers(vq);
	return 0;
}

static void pool_loop(struct vq_worker *w)
{
	struct vhost_vq *vq = w->vq;
	int r;

	for (;;) {
		pthread_mutex_lock(&vq->lead);
		r = lead(w);
		pthread_mutex_unlock(&vq->lead);
		if (!r)
			return;
		r = serve(w);
		drop_mem(w); /* it may wait for its turn for long */
		if (r < 0) {
			/* seen by the next leader; the present one is told */
			atomic_store_explicit(&vq->stop, true,
					      memory_order_relaxed);
			vq_wake(vq);
		}
	}
}

void *vq_worker_main(void *arg)
{
	struct vq_worker *w = arg;
	struct vhost_vq *vq = w->vq;
	const struct vhost_backend_config *cfg = &vq->be->cfg;

	me = w;
	if (cfg->ops->thread_start)
		cfg->ops->thread_start(cfg->ctx, vq->index);
	if (is_pool(vq))
		pool_loop(w);
	else
		loop(w);
	drop_mem(w);
	if (cfg->ops->thread_stop)
		cfg->ops->thread_stop(cfg->ctx, vq->index);
	return NULL;
}
