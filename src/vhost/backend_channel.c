/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SHMEM_MAP and SHMEM_UNMAP: requests of ours to the front end, on the channel
 * it gave us, one at a time and always with NEED_REPLY.
 *
 * Who has a request makes the channel busy, sends, and waits for the answer
 * with no lock held, so that main can go on serving the front end: QEMU sends
 * memory regions on the main channel before it reads ours. Main cancels every
 * wait while it stops queues: the front end may be waiting for exactly that.
 *
 * A request whose answer was not waited for (cancelled, timed out) is owed: the
 * answer will come some time and must not be taken for that of the next one.
 * So the next one first receives it, and if it says that a mapping was made
 * after all, undoes it, since its caller was told that it failed.
 *
 * QEMU 11.1 answers a MAP before the mapping is in the guest's memory: a guest
 * that is quick would read 0xff. Requests are handled one after the other, so
 * the answer to one more, which changes nothing, says that the first is done:
 * the removal of an object that was never shared.
 */
#include "vhost/backend_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

#define ANSWER_TIMEOUT_NS (5 * NS_PER_S)

int chan_init(struct vhost_channel *c, uint64_t poll_ns)
{
	c->fd = -1;
	c->poll_ns = poll_ns;
	c->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->cancel_fd < 0)
		return -errno;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->idle, NULL);
	return 0;
}

void chan_close(struct vhost_channel *c)
{
	vhost_rx_next(&c->rx);
	fd_close(&c->fd);
}

void chan_done(struct vhost_channel *c)
{
	if (c->cancel_fd < 0)
		return;
	chan_close(c);
	fd_close(&c->cancel_fd);
	pthread_cond_destroy(&c->idle);
	pthread_mutex_destroy(&c->lock);
}

int chan_set(struct vhost_channel *c, int fd)
{
	int err = -EBUSY;

	pthread_mutex_lock(&c->lock);
	if (!c->busy) {
		vhost_rx_next(&c->rx);
		fd_close(&c->fd);
		c->fd = fd;
		c->dead = false;
		c->owed = false;
		err = 0;
	}
	pthread_mutex_unlock(&c->lock);
	return err;
}

void chan_drop_owed_mapping(struct vhost_channel *c)
{
	/* The answer is still to come, but like one of an UNMAP. */
	pthread_mutex_lock(&c->lock);
	if (c->owed)
		c->owed_undo = false;
	pthread_mutex_unlock(&c->lock);
}

void chan_cancel_begin(struct vhost_channel *c)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&c->lock);
	if (c->cancelled++ == 0 && write(c->cancel_fd, &one, sizeof(one)) < 0)
		log_error("vhost: cannot cancel: %s", strerror(errno));
	pthread_cond_broadcast(&c->idle);
	pthread_mutex_unlock(&c->lock);
}

void chan_cancel_end(struct vhost_channel *c)
{
	uint64_t count;

	pthread_mutex_lock(&c->lock);
	if (--c->cancelled == 0 && read(c->cancel_fd, &count,
					sizeof(count)) < 0)
		log_error("vhost: cannot go on: %s", strerror(errno));
	pthread_mutex_unlock(&c->lock);
}

/* Make the channel busy. */
static int chan_acquire(struct vhost_channel *c)
{
	int err = 0;

	pthread_mutex_lock(&c->lock);
	while (c->busy && !c->cancelled)
		pthread_cond_wait(&c->idle, &c->lock);
	if (c->cancelled)
		err = -ECANCELED;
	else if (c->fd < 0 || c->dead)
		err = -ENOTCONN;
	else
		c->busy = true;
	pthread_mutex_unlock(&c->lock);
	return err;
}

static void chan_release(struct vhost_channel *c, bool dead)
{
	pthread_mutex_lock(&c->lock);
	c->busy = false;
	if (dead)
		c->dead = true;
	pthread_cond_signal(&c->idle);
	pthread_mutex_unlock(&c->lock);
}

static int bad_answer(const struct vhost_channel *c, uint32_t request)
{
	const struct vhost_user_header *h = &c->rx.msg.hdr;

	return be_violation(vhost_user_backend_request_name(request),
			    "as answer came request %" PRIu32 ", flags 0x%"
			    PRIx32 ", %" PRIu32 " bytes, %u descriptors",
			    h->request, h->flags, h->size, c->rx.n_fds);
}

/*
 * Look for the answer for poll_ns before sleeping: the front end is waiting for
 * the request that led to ours, so it is awake, and its answer is there sooner
 * than a sleeper would be.
 */
static int chan_poll(struct vhost_channel *c)
{
	struct spin_wait w;
	int r;

	if (!c->poll_ns)
		return 0;
	spin_begin(&w, &c->habit, c->poll_ns);
	do {
		r = vhost_rx_step(&c->rx, c->fd);
	} while (!r && spin_step(&w));
	spin_end(&w);
	return r;
}

static int chan_receive(struct vhost_channel *c, uint64_t deadline_ns)
{
	int r = chan_poll(c);

	if (r)
		return r < 0 ? r : 0;
	return vhost_receive(&c->rx, c->fd, c->cancel_fd, deadline_ns);
}

/*
 * The front end's word on @request: 0 and *@ret_result, which is 0 or a
 * negative errno, or the error that kept us from hearing it.
 */
static int chan_answer(struct vhost_channel *c, uint32_t request,
		       uint64_t deadline_ns, int *ret_result)
{
	const struct vhost_user_header *h = &c->rx.msg.hdr;
	int err = chan_receive(c, deadline_ns);
	int64_t v;

	if (err == -EPROTO ||
	    (!err && (h->request != request || c->rx.n_fds ||
		      !(h->flags & VHOST_USER_F_REPLY) ||
		      h->size != sizeof(uint64_t))))
		return bad_answer(c, request);
	if (err)
		return err;
	v = (int64_t)c->rx.msg.u.u64;
	vhost_rx_next(&c->rx);
	if (v == 0)
		*ret_result = 0;
	else
		*ret_result = v < 0 && v >= -4095 ? (int)v : -EFAULT;
	return 0;
}

static int chan_request(struct vhost_channel *c,
			const struct vhost_user_msg *m, int fd,
			uint64_t deadline_ns, int *ret_result)
{
	const struct vhost_tx tx = { c->fd, c->cancel_fd, deadline_ns };
	int err = vhost_send(&tx, m, &fd, fd >= 0 ? 1 : 0);

	if (err)
		return err;
	c->owed = true;
	c->owed_done = false;
	c->owed_undo = m->hdr.request == VHOST_USER_BACKEND_SHMEM_MAP;
	c->owed_request = m->hdr.request;
	c->owed_range = m->u.mmap;
	err = chan_answer(c, m->hdr.request, deadline_ns, ret_result);
	if (!err)
		c->owed = false;
	return err;
}

static void fill_msg(struct vhost_user_msg *m, uint32_t request)
{
	m->hdr.request = request;
	m->hdr.flags = VHOST_USER_VERSION | VHOST_USER_F_NEED_REPLY;
	m->hdr.size = sizeof(m->u.mmap);
	memset(&m->u.mmap, 0, sizeof(m->u.mmap));
}

/* Unmap what was mapped for a caller that has been told it was not. */
static int chan_undo(struct vhost_channel *c, uint64_t deadline_ns)
{
	struct vhost_user_msg m;
	int result;

	fill_msg(&m, VHOST_USER_BACKEND_SHMEM_UNMAP);
	m.u.mmap.shm_offset = c->owed_range.shm_offset;
	m.u.mmap.len = c->owed_range.len;
	return chan_request(c, &m, -1, deadline_ns, &result);
}

/* Receive the answer nobody waited for; take back what it reports done. */
static int chan_settle(struct vhost_channel *c, uint64_t deadline_ns)
{
	int result = 0;
	int err;

	if (!c->owed)
		return 0;
	err = chan_answer(c, c->owed_request, deadline_ns, &result);
	if (err)
		return err;
	c->owed = false;
	return c->owed_undo && (c->owed_done || !result) ? chan_undo(c, deadline_ns) : 0;
}

/*
 * After a MAP: 0 when it has taken effect. Cancelled or timed out, it is undone
 * like one that was not waited for.
 */
static int chan_barrier(struct vhost_channel *c, uint64_t deadline_ns)
{
	/* any that nobody shares */
	static const struct vhost_user_shared_object nobodys = {
		"oriel: in order",
	};
	/* Room there is: the channel is idle. Half a message would end it. */
	const struct vhost_tx tx = { c->fd, -1, deadline_ns };
	struct vhost_user_msg m;
	int result;
	int err;

	fill_msg(&m, VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE);
	m.hdr.size = sizeof(m.u.object);
	m.u.object = nobodys;
	if (vhost_send(&tx, &m, NULL, 0))
		return -ENOTCONN;
	c->owed = true;
	c->owed_done = true;
	c->owed_undo = true;
	c->owed_request = m.hdr.request;
	err = chan_answer(c, m.hdr.request, deadline_ns, &result);
	if (!err)
		c->owed = false;
	return err;
}

static int exchange(struct vhost_backend *be, const struct vhost_user_msg *m,
		    int fd)
{
	const uint64_t deadline_ns = clock_now_ns() + ANSWER_TIMEOUT_NS;
	struct vhost_channel *c = &be->chan;
	int result = 0;
	int err = chan_acquire(c);

	if (err)
		return err;
	err = chan_settle(c, deadline_ns);
	if (!err)
		err = chan_request(c, m, fd, deadline_ns, &result);
	if (!err && !result && fd >= 0 &&
	    atomic_load_explicit(&be->has_barrier, memory_order_relaxed))
		err = chan_barrier(c, deadline_ns);
	if (err == -ECONNRESET)
		err = -ENOTCONN;
	if (err == -ENOTCONN || err == -EPROTO)
		atomic_store_explicit(&be->has_shmem, false,
				      memory_order_relaxed);
	chan_release(c, err == -ENOTCONN || err == -EPROTO);
	if (err == -EPROTO) {
		be_fail(be, err);
		return -ENOTCONN;
	}
	if (err == -ETIMEDOUT)
		log_error("vhost: %s: no answer within five seconds",
			  vhost_user_backend_request_name(m->hdr.request));
	return err ? err : result;
}

bool vhost_backend_has_shmem(const struct vhost_backend *be)
{
	return atomic_load_explicit(&be->has_shmem, memory_order_relaxed);
}

bool vhost_backend_is_oriel(const struct vhost_backend *be)
{
	return atomic_load_explicit(&be->is_oriel, memory_order_relaxed);
}

static int check_range(const struct vhost_backend *be, uint64_t off,
		       uint64_t len)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (!vhost_backend_has_shmem(be))
		return -ENOTCONN;
	if (len == 0 || !is_aligned(off | len, page) ||
	    !range_fits(off, len, vhost_backend_is_oriel(be) ?
			be->cfg.window_bytes : be->cfg.guest_window_bytes))
		return -EINVAL;
	return 0;
}

int vhost_backend_map(struct vhost_backend *be, int fd, uint64_t fd_off,
		      uint64_t shm_off, uint64_t len, bool writable)
{
	struct vhost_user_msg m;
	int err = check_range(be, shm_off, len);

	if (err)
		return err;
	fill_msg(&m, VHOST_USER_BACKEND_SHMEM_MAP);
	m.u.mmap.fd_offset = fd_off;
	m.u.mmap.shm_offset = shm_off;
	m.u.mmap.len = len;
	m.u.mmap.flags = writable ? VHOST_USER_MMAP_F_RW : 0;
	return exchange(be, &m, fd);
}

int vhost_backend_unmap(struct vhost_backend *be, uint64_t shm_off,
			uint64_t len)
{
	struct vhost_user_msg m;
	int err = check_range(be, shm_off, len);

	if (err)
		return err;
	fill_msg(&m, VHOST_USER_BACKEND_SHMEM_UNMAP);
	m.u.mmap.shm_offset = shm_off;
	m.u.mmap.len = len;
	return exchange(be, &m, -1);
}
