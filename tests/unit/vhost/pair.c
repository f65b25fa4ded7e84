/* SPDX-License-Identifier: BSD-2-Clause */
/* See pair.h. The arena is cut into slots: request, then room for an answer. */
#include "pair.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define LIMIT_NS (20 * NS_PER_S)
#define ARENA_SLOTS 64u

static void nap(void)
{
	const struct timespec ts = { .tv_nsec = 1000000 };

	nanosleep(&ts, NULL);
}

void wait_for(_Atomic unsigned *v, unsigned want)
{
	const uint64_t end = clock_now_ns() + LIMIT_NS;

	while (atomic_load(v) < want) {
		assert_true(clock_now_ns() < end);
		nap();
	}
}

static unsigned count_dir(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

unsigned count_fds(void)
{
	return count_dir("/proc/self/fd");
}

unsigned count_threads(void)
{
	return count_dir("/proc/self/task");
}

int pattern_file(uint64_t bytes, uint64_t seed)
{
	uint64_t block[512];
	int fd = memfd_create("pattern", MFD_CLOEXEC);

	assert_true(fd >= 0);
	for (uint64_t off = 0; off < bytes; off += sizeof(block)) {
		for (unsigned i = 0; i < 512; i++)
			block[i] = seed + off + i * 8;
		assert_int_equal(pwrite(fd, block, sizeof(block), (off_t)off),
				 sizeof(block));
	}
	return fd;
}

void pair_set_file(struct pair *p, unsigned i, int fd)
{
	int old = atomic_exchange(&p->files[i], fd);

	fd_close(&old);
}

/* --- the back end's side ------------------------------------------------ */

static void copy_out(const struct ring_chain *c, void *buf, size_t len)
{
	size_t got = 0;

	for (unsigned i = 0; i < c->n_out && got < len; i++) {
		size_t n = min_u64(c->iov[i].iov_len, len - got);

		memcpy((char *)buf + got, c->iov[i].iov_base, n);
		got += n;
	}
}

static uint32_t answer(struct ring_chain *c, const void *buf, size_t len)
{
	size_t put = 0;

	for (unsigned i = c->n_out; i < c->n_out + c->n_in && put < len; i++) {
		size_t n = min_u64(c->iov[i].iov_len, len - put);

		memcpy(c->iov[i].iov_base, (const char *)buf + put, n);
		put += n;
	}
	return (uint32_t)put;
}

static uint32_t echo(struct ring_chain *c, const struct pair_request *r)
{
	char *buf = malloc(sizeof(*r) + r->len);
	uint32_t n;

	copy_out(c, buf, sizeof(*r) + r->len);
	n = answer(c, buf + sizeof(*r), r->len);
	free(buf);
	return n;
}

static int run_op(struct pair *p, const struct pair_request *r)
{
	int err;

	switch (r->op) {
	case OP_MAP:
		atomic_fetch_add(&p->waiting, 1);
		err = vhost_backend_map(p->be, p->files[r->file], r->fd_off,
					r->shm_off, r->len, r->writable);
		return err;
	case OP_UNMAP:
		return vhost_backend_unmap(p->be, r->shm_off, r->len);
	case OP_WAIT:
		atomic_fetch_add(&p->waiting, 1);
		while (!atomic_load(&p->gate))
			nap();
		return 0;
	default:
		return -ENOSYS;
	}
}

static bool take_kept(struct pair *p, unsigned which, struct pair_kept *ret)
{
	bool found;

	pthread_mutex_lock(&p->kept_lock);
	found = p->n_kept > 0;
	if (found) {
		which %= p->n_kept;
		*ret = p->kept[which];
		p->kept[which] = p->kept[--p->n_kept];
	}
	pthread_mutex_unlock(&p->kept_lock);
	return found;
}

bool pair_answer_one(struct pair *p, unsigned which)
{
	struct pair_kept k;

	if (!take_kept(p, which, &k))
		return false;
	vhost_backend_answer(k.later, &k.mark, sizeof(k.mark));
	return true;
}

static int keep(struct pair *p, unsigned queue, const struct pair_request *r)
{
	struct pair_kept k = { .mark = (int32_t)r->len };

	pthread_mutex_lock(&p->kept_lock);
	if (!p->no_keep && p->n_kept < ARRAY_LEN(p->kept)) {
		k.later = vhost_backend_keep(p->be, queue);
		assert_non_null(k.later);
		p->kept[p->n_kept++] = k;
	}
	pthread_mutex_unlock(&p->kept_lock);
	return k.later ? VHOST_LATER : 0;
}

static void cancel(void *ctx, bool begin)
{
	const int32_t gone = -EINTR;
	struct pair *p = ctx;
	struct pair_kept k;

	pthread_mutex_lock(&p->kept_lock);
	p->no_keep += begin ? 1 : -1u;
	pthread_mutex_unlock(&p->kept_lock);
	while (begin && take_kept(p, 0, &k)) {
		atomic_fetch_add(&p->cancelled, 1);
		vhost_backend_answer(k.later, &gone, sizeof(gone));
	}
}

static int handle(void *ctx, unsigned queue, struct ring_chain *chain,
		  uint32_t *ret_written)
{
	struct pair *p = ctx;
	struct pair_request r = { .op = UINT32_MAX };
	int32_t result;

	(void)queue;
	if (chain->out_bytes < sizeof(r))
		return -EPROTO;
	copy_out(chain, &r, sizeof(r));
	if (r.op == OP_BAD)
		return -EPROTO;
	if (r.op == OP_ECHO && r.len <= PAIR_SLOT) {
		*ret_written = echo(chain, &r);
		return 0;
	}
	if (r.op == OP_LATER && keep(p, queue, &r) == VHOST_LATER)
		return VHOST_LATER;
	result = run_op(p, &r);
	*ret_written = answer(chain, &result, sizeof(result));
	return 0;
}

static int refuse(void *ctx, const struct ring_chain *c, int err,
		  uint32_t *ret_written)
{
	const int32_t result = err;

	(void)ctx;
	if (c->iov[c->n_out].iov_len < sizeof(result))
		return -EPROTO;
	memcpy(c->iov[c->n_out].iov_base, &result, sizeof(result));
	*ret_written = sizeof(result);
	return 0;
}

static int window_piece(void *ctx, uint64_t off, struct vhost_piece *ret)
{
	const struct pair *p = ctx;

	for (unsigned i = 0; i < ARRAY_LEN(p->pieces); i++) {
		if (off < p->pieces[i].start ||
		    off - p->pieces[i].start >= p->pieces[i].len)
			continue;
		*ret = p->pieces[i];
		ret->fd = dup(ret->fd);
		return 0;
	}
	return -ENXIO;
}

static void thread_start(void *ctx, unsigned queue)
{
	(void)queue;
	atomic_fetch_add(&((struct pair *)ctx)->starts, 1);
}

static void thread_stop(void *ctx, unsigned queue)
{
	(void)queue;
	atomic_fetch_add(&((struct pair *)ctx)->stops, 1);
}

static void reset(void *ctx)
{
	atomic_fetch_add(&((struct pair *)ctx)->resets, 1);
}

static const struct vhost_backend_ops ops = {
	.handle = handle,
	.refuse = refuse,
	.window_piece = window_piece,
	.thread_start = thread_start,
	.thread_stop = thread_stop,
	.cancel = cancel,
	.reset = reset,
};

static void *backend_main(void *arg)
{
	struct pair *p = arg;

	p->run_result = vhost_backend_run(p->be);
	return NULL;
}

void pair_start_backend(struct pair *p, int sock, const struct pair_options *o)
{
	const struct vhost_backend_config cfg = {
		.sock = sock,
		.request_queues = o->server_queues ? o->server_queues : 1,
		.window_bytes = o->no_window ? 0 : PAIR_WINDOW,
		.guest_window_bytes = o->no_window ? 0 : PAIR_WINDOW,
		.guest_window_dev = o->window_dev,
		.workers = o->workers,
		.tag = "pair",
		.poll_ns = o->poll_ns,
		.mem_slots = true,
		.ops = &ops,
		.ctx = p,
	};

	memset(p, 0, sizeof(*p));
	pthread_mutex_init(&p->kept_lock, NULL);
	for (int i = 0; i < PAIR_FILES; i++)
		p->files[i] = -1;
	assert_int_equal(vhost_backend_new(&cfg, &p->be), 0);
	assert_int_equal(pthread_create(&p->thread, NULL, backend_main, p), 0);
}

struct vhost_frontend_config pair_frontend_config(int sock,
						const struct pair_options *o)
{
	return (struct vhost_frontend_config){
		.sock = sock,
		.request_queues = o->client_queues ? o->client_queues : 1,
		.queue_size = o->queue_size ? o->queue_size : 64,
		.arena_bytes = 2 * (uint64_t)PAIR_SLOT * ARENA_SLOTS,
		.max_window_bytes = GIB(1),
		.window_align = MIB(2),
		.timeout_ms = 10000,
	};
}

void pair_start(struct pair *p, const struct pair_options *o)
{
	struct vhost_frontend_config cfg;
	int s[2], err;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s),
			 0);
	pair_start_backend(p, s[0], o);
	cfg = pair_frontend_config(s[1], o);
	err = vhost_frontend_new(&cfg, &p->fe, p->error, sizeof(p->error));
	if (err)
		print_error("%s\n", p->error);
	assert_int_equal(err, 0);
}

void pair_join(struct pair *p)
{
	if (!p->joined)
		assert_int_equal(pthread_join(p->thread, NULL), 0);
	p->joined = true;
}

void pair_finish(struct pair *p, int result)
{
	vhost_frontend_free(p->fe);
	p->fe = NULL;
	pair_join(p);
	assert_int_equal(p->run_result, result);
	assert_true(atomic_load(&p->resets) >= 1);
	assert_int_equal(atomic_load(&p->starts), atomic_load(&p->stops));
	vhost_backend_free(p->be);
	for (unsigned i = 0; i < PAIR_FILES; i++)
		pair_set_file(p, i, -1);
}

/* --- the front end's side ------------------------------------------------ */

static unsigned char *slot_mem(struct pair *p, unsigned slot)
{
	assert_true(slot < ARENA_SLOTS);
	return vhost_frontend_info(p->fe)->arena + 2 * slot * PAIR_SLOT;
}

const void *pair_answer(struct pair *p, unsigned slot)
{
	return slot_mem(p, slot) + PAIR_SLOT;
}

void pair_submit(struct pair *p, unsigned queue, unsigned slot,
		 const struct pair_request *r, const void *payload)
{
	const struct vhost_frontend_info *info = vhost_frontend_info(p->fe);
	struct ring_driver *d = vhost_frontend_queue(p->fe, queue);
	unsigned char *mem = slot_mem(p, slot);
	uint64_t gpa = info->arena_gpa + (uint64_t)(mem - info->arena);
	struct ring_seg segs[4] = {
		{ gpa, sizeof(*r) },
		{ gpa + sizeof(*r), (uint32_t)r->len },
		{ gpa + PAIR_SLOT, 8 },
		{ gpa + PAIR_SLOT + 8, PAIR_SLOT - 8 },
	};
	unsigned n_out = 1;

	memcpy(mem, r, sizeof(*r));
	memset(mem + PAIR_SLOT, 0xee, PAIR_SLOT);
	if (payload && r->len) {
		memcpy(mem + sizeof(*r), payload, r->len);
		n_out = 2;
	} else {
		segs[1] = segs[2];
		segs[2] = segs[3];
	}
	assert_int_equal(ring_driver_add(d, segs, n_out, 2,
					 (void *)(uintptr_t)(slot + 1)), 0);
	if (ring_driver_needs_kick(d))
		vhost_frontend_kick(p->fe, queue);
}

unsigned pair_wait(struct pair *p, unsigned queue, uint32_t *ret_len)
{
	struct ring_driver *d = vhost_frontend_queue(p->fe, queue);
	struct pollfd f[3] = {
		{ .fd = vhost_frontend_call_fd(p->fe, queue),
		  .events = POLLIN },
		{ .fd = vhost_frontend_channel_fd(p->fe), .events = POLLIN },
		{ .fd = vhost_frontend_sock_fd(p->fe), .events = POLLIN },
	};
	void *token = NULL;

	for (;;) {
		int r = ring_driver_poll(d, &token, ret_len);

		assert_true(r >= 0);
		if (r)
			return (unsigned)(uintptr_t)token - 1;
		ring_driver_want_call(d, true);
		if (!ring_driver_has_used(d))
			assert_true(poll(f, 3, 20000) > 0);
		if (f[0].revents)
			vhost_frontend_ack_call(p->fe, queue);
		assert_int_equal(vhost_frontend_service(p->fe), 0);
	}
}

int pair_do(struct pair *p, unsigned queue, const struct pair_request *r)
{
	uint32_t len = 0;
	int32_t result;

	pair_submit(p, queue, 0, r, NULL);
	assert_int_equal(pair_wait(p, queue, &len), 0);
	assert_int_equal(len, sizeof(result));
	memcpy(&result, pair_answer(p, 0), sizeof(result));
	return result;
}
