/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cases that are about neither copies nor messages: a pointer borrowed from
 * the window, two threads beside one, the first request after idleness.
 *
 * Thread rule: one thread, but for the helpers that a case starts and joins.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

static off_t page_within(uint64_t *random, size_t set)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return (off_t)((*random & (set / KIB(4) - 1)) * KIB(4));
}

/* -------------------------------------------------------------- borrowing */

#define BORROW_SET MIB(16)

struct borrow {
	struct place *p;
	uint64_t random;
};

static int borrow_oriel(void *ctx, size_t n)
{
	struct borrow *b = ctx;
	const void *at;
	int err;

	for (size_t i = 0; i < n; i++) {
		err = oriel_borrow(b->p->f, page_within(&b->random, BORROW_SET),
				   KIB(4), &at);
		if (err)
			return err;
		oriel_return();
	}
	return 0;
}

/* One that may be kept. */
static int borrow_map(void *ctx, size_t n)
{
	struct borrow *b = ctx;
	struct oriel_mapping *m;
	void *at;
	int err;

	for (size_t i = 0; i < n; i++) {
		err = oriel_map(b->p->f, page_within(&b->random, BORROW_SET),
				KIB(4), ORIEL_MAP_READ, &m, &at);
		if (err)
			return err;
		oriel_unmap(m);
	}
	return 0;
}

static int borrow_native(void *ctx, size_t n)
{
	struct borrow *b = ctx;

	for (size_t i = 0; i < n; i++) {
		void *at = mmap(NULL, KIB(4), PROT_READ, MAP_SHARED, b->p->fd,
				page_within(&b->random, BORROW_SET));

		if (at == MAP_FAILED)
			return -errno;
		munmap(at, KIB(4));
	}
	return 0;
}

static int lend(struct place *p, const char *name, int (*run)(void *, size_t))
{
	struct borrow b[2] = { { p, 88172645463325252u },
			       { p, 88172645463325252u } };
	struct match m = {
		.name = name, .fs = p->fs, .folios = p->folios,
		.set_bytes = BORROW_SET, .n_ways = 2,
		.ways = {
			{ .name = "oriel", .run = run, .ctx = &b[0],
			  .daemon = &p->daemon },
			{ .name = "mmap, munmap", .run = borrow_native,
			  .ctx = &b[1] },
		},
	};

	return is_wanted(p->su, name) ? match_run(p->su, &m) : 0;
}

static int borrow_case(struct place *p)
{
	int err = lend(p, "borrow-4k", borrow_oriel);

	return err ? err : lend(p, "map-4k", borrow_map);
}

/* ------------------------------------------------------------ two threads */

enum how { BY_ORIEL, BY_PREAD, BY_MEMCPY };

struct crew {
	struct place *p;
	enum how how;
	unsigned n_threads;
};

struct worker {
	struct place *p;
	enum how how;
	unsigned char *buf;
	uint64_t random;
	size_t n;
	int err;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct place *p = w->p;
	size_t set = p->bytes;

	for (size_t i = 0; i < w->n && !w->err; i++) {
		off_t off = page_within(&w->random, set);
		ssize_t got = (ssize_t)KIB(4);

		if (w->how == BY_ORIEL)
			got = oriel_pread(p->f, w->buf, KIB(4), off);
		else if (w->how == BY_PREAD)
			got = pread(p->fd, w->buf, KIB(4), off);
		else
			memcpy(w->buf, p->map + off, KIB(4));
		__asm__ volatile("" ::: "memory");
		if (got != (ssize_t)KIB(4))
			w->err = -EIO;
	}
	return NULL;
}

/* The last part of the work is this thread's. */
static int crew_run(void *ctx, size_t n)
{
	struct crew *c = ctx;
	struct worker w[2];
	pthread_t other;
	int err;

	for (unsigned i = 0; i < c->n_threads; i++)
		w[i] = (struct worker){
			.p = c->p, .how = c->how,
			.buf = c->p->buf + i * KIB(64),
			.random = 88172645463325252u + i * 7919u,
			.n = i ? n / 2 : n - n / 2 * (c->n_threads - 1),
		};
	if (c->n_threads == 1) {
		work(&w[0]);
		return w[0].err;
	}
	err = -pthread_create(&other, NULL, work, &w[1]);
	if (err)
		return err;
	work(&w[0]);
	pthread_join(other, NULL);
	return w[0].err ? w[0].err : w[1].err;
}

/* Enough that to start a thread is nothing beside it, for each way the same:
 * how many fit into a slice cannot be learned from one that starts a thread. */
#define OP_NS 50u

static int threads_case(struct place *p)
{
	size_t n = (size_t)p->su->slice_ns / OP_NS;
	struct crew c[4] = { { p, BY_ORIEL, 2 }, { p, BY_ORIEL, 1 },
			     { p, BY_MEMCPY, 2 }, { p, BY_MEMCPY, 1 } };
	struct crew native[2] = { { p, BY_PREAD, 2 }, { p, BY_PREAD, 1 } };
	struct match m = {
		.name = "two-threads-4k", .fs = p->fs, .folios = p->folios,
		.set_bytes = p->bytes, .n_ways = 4,
		.ways = {
			{ .name = "oriel", .run = crew_run, .ctx = &c[0],
			  .daemon = &p->daemon },
			{ .name = "one thread", .run = crew_run, .ctx = &c[1] },
			{ .name = "memcpy", .run = crew_run, .ctx = &c[2] },
			{ .name = "memcpy, one thread", .run = crew_run,
			  .ctx = &c[3] },
		},
	};
	struct match by_pread = {
		.name = "two-threads-pread", .fs = p->fs, .folios = p->folios,
		.set_bytes = p->bytes, .n_ways = 2,
		.ways = {
			{ .name = "pread", .run = crew_run, .ctx = &native[0] },
			{ .name = "one thread", .run = crew_run,
			  .ctx = &native[1] },
		},
	};
	int err;

	for (unsigned i = 0; i < m.n_ways; i++)
		m.ways[i].fixed_n = n;
	by_pread.ways[0].fixed_n = by_pread.ways[1].fixed_n = n;
	err = match_run(p->su, &m);
	return err ? err : match_run(p->su, &by_pread);
}

/* --------------------------------------------------------- after idleness */

/* Both ends have long stopped to poll. */
#define IDLE_US 5000

struct idle {
	struct place *p;
	int to, from;   /* eventfds */
	pthread_t echo;
};

static int idle_begin(void *ctx)
{
	(void)ctx;
	usleep(IDLE_US);
	return 0;
}

static int idle_oriel(void *ctx, size_t n)
{
	struct idle *d = ctx;
	struct oriel_stat st;
	int err = 0;

	for (size_t i = 0; !err && i < n; i++)
		err = oriel_stat(d->p->s, "data", ORIEL_FORCE_SYNC, &st);
	return err;
}

static void *echo(void *arg)
{
	struct idle *d = arg;
	eventfd_t v;

	while (!eventfd_read(d->to, &v) && v == 1)
		eventfd_write(d->from, 1);
	return NULL;
}

static int idle_eventfd(void *ctx, size_t n)
{
	struct idle *d = ctx;
	eventfd_t v;

	for (size_t i = 0; i < n; i++)
		if (eventfd_write(d->to, 1) || eventfd_read(d->from, &v))
			return -errno;
	return 0;
}

static int idle_match(struct idle *d)
{
	struct place *p = d->p;
	struct match m = {
		.name = "after-idle", .fs = p->fs, .folios = p->folios,
		.n_ways = 2,
		.ways = {
			{ .name = "oriel", .begin = idle_begin,
			  .run = idle_oriel, .ctx = d, .fixed_n = 1,
			  .daemon = &p->daemon },
			{ .name = "eventfd, there and back",
			  .begin = idle_begin, .run = idle_eventfd, .ctx = d,
			  .fixed_n = 1 },
		},
	};

	return match_run(p->su, &m);
}

static int idle_case(struct place *p)
{
	struct idle d = { .p = p, .to = eventfd(0, EFD_CLOEXEC),
			  .from = eventfd(0, EFD_CLOEXEC) };
	int err = -EMFILE;

	if (d.to >= 0 && d.from >= 0)
		err = -pthread_create(&d.echo, NULL, echo, &d);
	if (!err) {
		err = idle_match(&d);
		eventfd_write(d.to, 2);
		pthread_join(d.echo, NULL);
	}
	close(d.to);
	close(d.from);
	return err;
}

int wait_cases(struct place *p)
{
	int err = borrow_case(p);

	if (!err)
		err = threads_case(p);
	return err ? err : idle_case(p);
}
