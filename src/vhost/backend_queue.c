/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queue threads. One runs while its queue is complete (size, addresses, kick
 * descriptor, memory) and enabled; main starts and joins it and touches the
 * queue only in between.
 *
 * Waiting for requests has two stages. For poll_ns after the last request the
 * thread looks at the ring itself, with kicks suppressed: a client that works
 * pays no system call for its request, nor the wake-up of a sleeper. Then it
 * asks for kicks, looks once more (the barrier is in ring_device_want_kick)
 * and sleeps in poll(2) until a kick or main wakes it. The hiprio queue skips
 * the first stage: what it carries is waited for by nobody.
 *
 * A front end can make its thread of ours wait: by the descriptors it gave us,
 * whose O_NONBLOCK it shares, or by what the request does. Main must get the
 * thread back nonetheless, so a thread that does not stop by itself is sent
 * SIGURG, again and again, whose handler does nothing but interrupt.
 */
#include "vhost/backend_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/fd.h"
#include "base/log.h"

/* Chains handled with one reference to the memory map. */
#define BATCH 64

/* How often a ring without a kick descriptor is looked at. */
#define POLLED_RING_MS 1

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

static void unwake(struct vhost_vq *vq)
{
	uint64_t count;
	ssize_t n = read(vq->wake_fd, &count, sizeof(count));

	(void)n; /* may have been drained before */
}

static void notifier_put(struct vq_notifier *to)
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
	notifier_put(to);
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

/* Handle the chain that was popped: as ops->handle(). */
static int vq_handle(struct vhost_vq *vq, struct mem_map *mem,
		     uint32_t *ret_written)
{
	const struct vhost_backend_config *cfg = &vq->be->cfg;
	struct mem_map *pieces;
	int r = be_window_resolve(vq->be, vq->chain, &pieces);

	if (ORIEL_UNLIKELY(r == -EFAULT))
		return cfg->ops->refuse(cfg->ctx, vq->chain, r, ret_written);
	if (ORIEL_UNLIKELY(r))
		return r;
	vq->handling_mem = mem;
	r = cfg->ops->handle(cfg->ctx, vq->index, vq->chain, ret_written);
	mem_map_unref(pieces);
	return r;
}

/* One chain: 1 handled, 0 none there, -EPROTO (reported). */
static int vq_one(struct vhost_vq *vq, struct mem_map *mem)
{
	const char *why = "bad descriptors";
	uint32_t written = 0;
	int r = ring_device_pop(&vq->dev, mem, vq->chain, &why);

	if (r == 0)
		return 0;
	if (r > 0) {
		why = "a request no driver may send";
		r = vq_handle(vq, mem, &written);
	}
	if (r < 0) {
		vq_broken(vq, why);
		return -EPROTO;
	}
	if (ORIEL_UNLIKELY(r == VHOST_LATER))
		return 1;
	ring_device_push(&vq->dev, vq->chain->head, written);
	if (ring_device_needs_call(&vq->dev))
		vq_call(vq);
	return 1;
}

/* The memory map for the next chain. The front end may have changed its memory
 * since the last one: it counts on the change for whatever it queues after the
 * acknowledgement, so this is asked after the chain was seen. NULL: none. */
static struct mem_map *vq_mem(struct vhost_vq *vq, struct mem_map *mem,
			      uint32_t *gen)
{
	uint32_t now = atomic_load_explicit(&vq->be->mem_gen,
					    memory_order_acquire);

	if (mem && now == *gen)
		return mem;
	mem_map_unref(mem);
	*gen = now;
	return be_mem_get(vq->be);
}

/* Handle what is there. The number of chains, or -EPROTO. */
static int vq_batch(struct vhost_vq *vq)
{
	struct mem_map *mem = NULL;
	uint32_t gen = 0;
	int n = 0, r = 0;

	while (n < BATCH && !is_stopping(vq) &&
	       ring_device_has_avail(&vq->dev)) {
		mem = vq_mem(vq, mem, &gen);
		if (!mem)
			return -EPROTO; /* main never takes it while we run */
		r = vq_one(vq, mem);
		if (r <= 0)
			break;
		n++;
	}
	mem_map_unref(mem);
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
		unwake(vq);
	ring_device_want_kick(&vq->dev, false);
	return err;
}

/* Give back what was answered from elsewhere. */
static void give_answers(struct vhost_vq *vq)
{
	if (vq_take_answers(vq) && ring_device_needs_call(&vq->dev))
		vq_call(vq);
}

static void vq_loop(struct vhost_vq *vq)
{
	const bool spins = vq->index != 0 && vq->be->cfg.poll_ns;
	bool recent = false; /* a request was handled since the last sleep */

	while (!is_stopping(vq)) {
		int n;

		if (ORIEL_UNLIKELY(atomic_load_explicit(&vq->recall,
							memory_order_relaxed)) &&
		    atomic_exchange_explicit(&vq->recall, false,
					     memory_order_acquire))
			vq_call(vq);
		give_answers(vq);
		n = vq_batch(vq);
		if (n < 0)
			return;
		if (n > 0) {
			recent = true;
			continue;
		}
		if (recent && spins && vq_spin(vq))
			continue;
		recent = false;
		if (vq_sleep(vq))
			return;
	}
	give_answers(vq);
}

static void *vq_thread(void *arg)
{
	struct vhost_vq *vq = arg;
	const struct vhost_backend_config *cfg = &vq->be->cfg;

	if (cfg->ops->thread_start)
		cfg->ops->thread_start(cfg->ctx, vq->index);
	vq_loop(vq);
	if (cfg->ops->thread_stop)
		cfg->ops->thread_stop(cfg->ctx, vq->index);
	return NULL;
}

int vq_init(struct vhost_backend *be, unsigned i)
{
	struct vhost_vq *vq = &be->vqs[i];

	vq->be = be;
	vq->index = i;
	vq->kick_fd = -1;
	vq->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vq->wake_fd < 0)
		return -errno;
	pthread_mutex_init(&vq->call_lock, NULL);
	pthread_mutex_init(&vq->later_lock, NULL);
	list_init(&vq->answers);
	vq->chain = malloc(sizeof(*vq->chain));
	return vq->chain ? 0 : -ENOMEM;
}

void vq_done(struct vhost_vq *vq)
{
	if (!vq->be || vq->wake_fd < 0)
		return; /* vq_init() was not reached, or it failed */
	vq_reset(vq);
	fd_close(&vq->wake_fd);
	vq_drop_answers(vq);
	pthread_mutex_destroy(&vq->later_lock);
	pthread_mutex_destroy(&vq->call_lock);
	free(vq->chain);
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

	if (!err)
		err = ring_device_init(&vq->dev, &rc);
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

/*
 * Signals that report our own faults stay open, the others are for the
 * threads of the program.
 */
static int spawn(struct vhost_vq *vq)
{
	static const int faults[] = { SIGBUS, SIGSEGV, SIGFPE, SIGILL,
				      SIGTRAP, SIGABRT, SIGSYS };
	sigset_t block, old;
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	char name[16];
	int err;

	pthread_once(&once, take_sigurg);
	sigfillset(&block);
	for (size_t i = 0; i < ARRAY_LEN(faults); i++)
		sigdelset(&block, faults[i]);
	sigdelset(&block, SIGURG);
	pthread_sigmask(SIG_SETMASK, &block, &old);
	err = pthread_create(&vq->thread, NULL, vq_thread, vq);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return -err;
	snprintf(name, sizeof(name), "oriel-q%u", vq->index);
	pthread_setname_np(vq->thread, name);
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
	err = ring_init(vq, mem, name);
	if (!err) {
		vq->ring_mem = mem;
		atomic_store_explicit(&vq->stop, false, memory_order_relaxed);
		err = spawn(vq);
	}
	if (err) {
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
	if (!vq->running)
		return;
	atomic_store_explicit(&vq->stop, true, memory_order_relaxed);
	vq_wake(vq);
}

/* Join, and interrupt it if it does not come. */
static void join(struct vhost_vq *vq)
{
	uint64_t patience_ns = NS_PER_S;
	struct timespec until;

	for (;;) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += (long)(patience_ns % NS_PER_S);
		until.tv_sec += (time_t)(patience_ns / NS_PER_S) +
				until.tv_nsec / (long)NS_PER_S;
		until.tv_nsec %= (long)NS_PER_S;
		if (pthread_timedjoin_np(vq->thread, NULL, &until) !=
		    ETIMEDOUT)
			return;
		pthread_kill(vq->thread, SIGURG);
		patience_ns = 50 * NS_PER_MS;
	}
}

static void stop_end(struct vhost_vq *vq)
{
	if (!vq->running)
		return;
	join(vq);
	vq->running = false;
	vq_drop_answers(vq);
	vq->base = vq->dev.last_avail;
	unwake(vq);
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
	notifier_put(old);
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
