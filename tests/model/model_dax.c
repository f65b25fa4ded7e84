/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Model test of the DAX engine: several threads do random operations through
 * a window of three ranges, and every byte is compared with a plain array.
 *
 *   own file     one a thread; the thread itself truncates it behind the
 *                engine's back, and reads with an old idea of its size. Nobody
 *                else writes it: exact at every step.
 *   shared file  every thread has an area of its own in it, whose borders lie
 *                inside ranges: the mappings are shared, the bytes are not.
 *                Exact at every step.
 *   wild file    truncated and refilled all the time by a thread of its own,
 *                read by all. A byte is the pattern's or zero, a read may stop
 *                with a fault, and nobody dies.
 *
 * A pin, a shrink, an invalidation, a failing set-up may come at any time.
 * What is bypassed goes to the file directly, as the message path would.
 *
 *	ORIEL_MODEL_OPS      operations, all threads together (200000)
 *	ORIEL_MODEL_SEED     (from the clock; printed)
 *	ORIEL_MODEL_THREADS  (4); with 1 there is no other thread at all, and
 *	                     a run repeats exactly
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "fake.h"

#define RANGE KIB(64)
#define MAX_THREADS 16u
#define OWN_BYTES (5 * RANGE)
#define AREA_BYTES (2 * RANGE + 5000)
#define WILD_BYTES (2 * RANGE)
#define MAX_IO (RANGE + RANGE / 2)

struct world {
	struct fake f;
	struct fake_file shared;
	struct fake_file wild;
	uint64_t shared_bytes;
	uint64_t seed;
	unsigned threads;
	unsigned ops; /* a thread */
	_Atomic bool is_over;
};

struct player {
	struct world *w;
	unsigned id;
	unsigned op; /* for the report */
	uint64_t rng;
	struct fake_file own;
	uint64_t own_size;
	unsigned char own_model[OWN_BYTES];
	unsigned char area_model[AREA_BYTES];
	unsigned char buf[MAX_IO + 1];
};

static void die(const struct player *p, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "seed %llu, thread %u, operation %u: ",
		(unsigned long long)p->w->seed, p->id, p->op);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	abort();
}

static uint64_t rnd(struct player *p, uint64_t below)
{
	p->rng ^= p->rng << 13;
	p->rng ^= p->rng >> 7;
	p->rng ^= p->rng << 17;
	return (p->rng >> 11) % below;
}

static void compare(const struct player *p, const unsigned char *have,
		    const unsigned char *want, size_t len, uint64_t pos)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (have[i] != want[i])
			die(p, "byte %llu is %u, not %u",
			    (unsigned long long)(pos + i), have[i], want[i]);
}

/* A piece of [0, @size), often at a border of ranges. */
static size_t piece(struct player *p, uint64_t size, uint64_t *ret_pos)
{
	uint64_t pos = rnd(p, size), len = 1 + rnd(p, rnd(p, 4) ? 3000 : MAX_IO);

	if (!rnd(p, 3))
		pos = min_u64(pos / RANGE * RANGE, size - 1);
	else if (!rnd(p, 3))
		pos = pos > 20 ? pos / RANGE * RANGE + RANGE - 20 : pos;
	if (pos >= size)
		pos = size - 1;
	*ret_pos = pos;
	return (size_t)min_u64(len, size - pos);
}

/* ------------------------------------------- I/O as a caller would do it */

/* Returns the bytes read; fewer than @len only after a fault. */
static size_t do_read(struct player *p, struct fake_file *file, size_t len,
		      uint64_t pos, uint64_t size, bool may_fault)
{
	unsigned flags = rnd(p, 8) ? 0 : DAX_NOWAIT;
	struct dax_result r;
	size_t done = 0;

	memset(p->buf, 0x77, len + 1);
	for (;;) {
		dax_read(&file->di, p->buf + done, len - done, pos + done, size,
			 UINT64_MAX, flags, &r);
		done += r.done;
		if (r.stop == DAX_DONE)
			break;
		if (r.stop == DAX_FAULT) {
			if (!may_fault)
				die(p, "a fault at %llu",
				    (unsigned long long)(pos + done));
			break;
		}
		if (r.stop == DAX_AGAIN && !flags)
			die(p, "AGAIN without NOWAIT");
		flags = 0;
		if (r.stop == DAX_AGAIN)
			continue;
		if (r.stop != DAX_BYPASS || !r.bypass_bytes ||
		    r.bypass_bytes > len - done)
			die(p, "stop %d, bypass %zu", r.stop, r.bypass_bytes);
		if (may_fault)
			break;
		if (pread(file->fd, p->buf + done, r.bypass_bytes,
			  (off_t)(pos + done)) != (ssize_t)r.bypass_bytes)
			die(p, "pread");
		done += r.bypass_bytes;
	}
	if (p->buf[len] != 0x77)
		die(p, "wrote past the buffer");
	return done;
}

static void do_write(struct player *p, struct fake_file *file, size_t len,
		     uint64_t pos, uint64_t size)
{
	struct dax_result r;
	size_t done = 0;

	while (done < len) {
		dax_write(&file->di, p->buf + done, len - done, pos + done,
			  size, UINT64_MAX, 0, &r);
		done += r.done;
		if (r.stop == DAX_DONE)
			break;
		if (r.stop != DAX_BYPASS || !r.bypass_bytes)
			die(p, "write stops with %d", r.stop);
		if (pwrite(file->fd, p->buf + done, r.bypass_bytes,
			   (off_t)(pos + done)) != (ssize_t)r.bypass_bytes)
			die(p, "pwrite");
		done += r.bypass_bytes;
	}
	if (done != len)
		die(p, "wrote %zu of %zu", done, len);
}

static void fill(struct player *p, size_t len)
{
	unsigned char first = (unsigned char)rnd(p, 256);
	size_t i;

	for (i = 0; i < len; i++)
		p->buf[i] = (unsigned char)(first + i * 7);
}

/* -------------------------------------------------------------- operations */

static uint64_t area_pos(const struct player *p)
{
	return p->id * (uint64_t)AREA_BYTES;
}

static void read_area(struct player *p)
{
	uint64_t pos;
	size_t len = piece(p, AREA_BYTES, &pos), n;

	n = do_read(p, &p->w->shared, len, area_pos(p) + pos,
		    p->w->shared_bytes, false);
	if (n != len)
		die(p, "read %zu of %zu", n, len);
	compare(p, p->buf, p->area_model + pos, len, pos);
}

static void write_area(struct player *p)
{
	uint64_t pos;
	size_t len = piece(p, AREA_BYTES, &pos);

	fill(p, len);
	do_write(p, &p->w->shared, len, area_pos(p) + pos, p->w->shared_bytes);
	memcpy(p->area_model + pos, p->buf, len);
}

static void read_own(struct player *p)
{
	uint64_t pos;
	size_t len, n;

	if (!p->own_size)
		return;
	len = piece(p, p->own_size, &pos);
	n = do_read(p, &p->own, len, pos, p->own_size, false);
	if (n != len)
		die(p, "read %zu of %zu", n, len);
	compare(p, p->buf, p->own_model + pos, len, pos);
}

static void write_own(struct player *p)
{
	uint64_t pos;
	size_t len;

	if (!p->own_size)
		return;
	len = piece(p, p->own_size, &pos);
	fill(p, len);
	do_write(p, &p->own, len, pos, p->own_size);
	memcpy(p->own_model + pos, p->buf, len);
}

/* With the size the file once had: zeros to the end of the page, then none. */
static void read_own_stale(struct player *p)
{
	uint64_t pos, end = align_up(p->own_size, 4096);
	size_t len = piece(p, OWN_BYTES, &pos), n;

	n = do_read(p, &p->own, len, pos, OWN_BYTES, true);
	if (pos + n > max_u64(end, pos))
		die(p, "read %zu at %llu of %llu", n, (unsigned long long)pos,
		    (unsigned long long)p->own_size);
	/* The model holds zeros past the size. */
	compare(p, p->buf, p->own_model + pos, n, pos);
}

static void resize_own(struct player *p)
{
	uint64_t size = rnd(p, 3) ? rnd(p, OWN_BYTES + 1) : OWN_BYTES;

	if (ftruncate(p->own.fd, (off_t)size))
		die(p, "ftruncate");
	if (size < p->own_size)
		memset(p->own_model + size, 0, p->own_size - size);
	p->own_size = size;
	if (rnd(p, 2))
		dax_inode_invalidate(&p->own.di, size, UINT64_MAX);
}

static void pin_area(struct player *p)
{
	enum dax_intent intent = rnd(p, 2) ? DAX_WRITE : DAX_READ;
	uint64_t pos;
	size_t len = piece(p, AREA_BYTES, &pos);
	struct dax_pin pin;

	if (dax_pin(&p->w->shared.di, area_pos(p) + pos, len, intent,
		    UINT64_MAX, 0, &pin))
		return; /* the window is tiny, set-ups fail */
	compare(p, pin.ptr, p->area_model + pos, len, pos);
	if (intent == DAX_WRITE) {
		fill(p, len);
		memcpy(pin.ptr, p->buf, len);
		memcpy(p->area_model + pos, p->buf, len);
	}
	if (rnd(p, 2))
		read_area(p);
	dax_unpin(&p->w->shared.di, &pin);
}

static void cut_wild(struct world *w, uint64_t size)
{
	if (ftruncate(w->wild.fd, (off_t)size))
		abort();
}

static void refill_wild(struct world *w)
{
	unsigned char fresh[4096];
	uint64_t pos, i;

	for (pos = 0; pos < WILD_BYTES; pos += sizeof(fresh)) {
		for (i = 0; i < sizeof(fresh); i++)
			fresh[i] = fake_byte(pos + i);
		if (pwrite(w->wild.fd, fresh, sizeof(fresh), (off_t)pos) !=
		    (ssize_t)sizeof(fresh))
			abort();
	}
}

static void read_wild(struct player *p)
{
	uint64_t pos;
	size_t len = piece(p, WILD_BYTES, &pos), n, i;

	if (p->w->threads == 1 && rnd(p, 2))
		cut_wild(p->w, rnd(p, WILD_BYTES));
	else if (p->w->threads == 1)
		refill_wild(p->w);
	n = do_read(p, &p->w->wild, len, pos, WILD_BYTES, true);
	for (i = 0; i < n; i++)
		if (p->buf[i] && p->buf[i] != fake_byte(pos + i))
			die(p, "wild byte %llu is %u",
			    (unsigned long long)(pos + i), p->buf[i]);
}

static void disturb(struct player *p)
{
	switch (rnd(p, 8)) {
	case 0:
		dax_window_shrink(p->w->f.w);
		break;
	case 1:
		dax_inode_shrink(&p->w->shared.di);
		break;
	case 2:
		dax_inode_shrink(&p->own.di);
		break;
	case 3:
		dax_inode_invalidate(&p->w->shared.di, 0, UINT64_MAX);
		break;
	default:
		atomic_store(&p->w->f.fail_at, (unsigned)(1 + rnd(p, 20)));
	}
}

static void step(struct player *p)
{
	uint64_t x = rnd(p, 100);

	if (x < 25)
		read_area(p);
	else if (x < 45)
		write_area(p);
	else if (x < 60)
		read_own(p);
	else if (x < 72)
		write_own(p);
	else if (x < 79)
		read_own_stale(p);
	else if (x < 83)
		resize_own(p);
	else if (x < 88)
		pin_area(p);
	else if (x < 98)
		read_wild(p);
	else
		disturb(p);
}

static void *play(void *arg)
{
	struct player *p = arg;

	for (p->op = 0; p->op < p->w->ops; p->op++)
		step(p);
	return NULL;
}

/* The somebody else who truncates. */
static void *be_wild(void *arg)
{
	struct world *w = arg;
	uint64_t i;

	for (i = 0; !atomic_load(&w->is_over); i++) {
		cut_wild(w, i * 4099 % WILD_BYTES);
		usleep(50);
		refill_wild(w);
		usleep(50);
	}
	return NULL;
}

/* ---------------------------------------------------------------- the games */

static void player_init(struct player *p, struct world *w, unsigned id)
{
	size_t i;

	p->w = w;
	p->id = id;
	p->rng = (w->seed + 1) * UINT64_C(0x9e3779b97f4a7c15) + id * 7919 + 1;
	fake_file_init(&w->f, &p->own, OWN_BYTES);
	p->own_size = OWN_BYTES;
	for (i = 0; i < OWN_BYTES; i++)
		p->own_model[i] = fake_byte(i);
	for (i = 0; i < AREA_BYTES; i++)
		p->area_model[i] = fake_byte(area_pos(p) + i);
}

/* What is in the files themselves, after all. */
static void player_check(struct player *p)
{
	static unsigned char back[OWN_BYTES];
	struct stat st;

	if (pread(p->w->shared.fd, back, AREA_BYTES, (off_t)area_pos(p)) !=
	    (ssize_t)AREA_BYTES)
		die(p, "pread of the area");
	compare(p, back, p->area_model, AREA_BYTES, 0);
	if (fstat(p->own.fd, &st) || (uint64_t)st.st_size != p->own_size ||
	    pread(p->own.fd, back, OWN_BYTES, 0) != (ssize_t)p->own_size)
		die(p, "pread of the own file");
	compare(p, back, p->own_model, p->own_size, 0);
}

static void report(const struct fake_options *o, const struct dax_stats *st)
{
	printf("in_place %d background %d admit %u: %llu hits, %llu set-ups, "
	       "%llu upgrades, %llu reclaimed, %llu bypassed, %llu faults, "
	       "%llu races lost, %llu prefetched\n",
	       o->replace_in_place, o->background, o->admit_touches,
	       (unsigned long long)st->hits, (unsigned long long)st->setups,
	       (unsigned long long)st->upgrades,
	       (unsigned long long)st->reclaimed,
	       (unsigned long long)st->bypassed,
	       (unsigned long long)st->faults,
	       (unsigned long long)st->races_lost,
	       (unsigned long long)st->prefetched);
}

static void game(const struct fake_options *o, uint64_t seed, unsigned threads,
		 unsigned ops)
{
	struct world *w = calloc(1, sizeof(*w));
	struct player *p = calloc(threads, sizeof(*p));
	pthread_t t[MAX_THREADS], wild;
	struct dax_stats st;
	unsigned i;

	if (!w || !p)
		abort();
	w->seed = seed;
	w->threads = threads;
	w->ops = ops / threads;
	w->shared_bytes = threads * (uint64_t)AREA_BYTES;
	fake_init(&w->f, o);
	fake_file_init(&w->f, &w->shared, w->shared_bytes);
	fake_file_init(&w->f, &w->wild, WILD_BYTES);
	for (i = 0; i < threads; i++)
		player_init(&p[i], w, i);
	if (threads > 1 && pthread_create(&wild, NULL, be_wild, w))
		abort();
	for (i = 0; i < threads; i++)
		if (pthread_create(&t[i], NULL, play, &p[i]))
			abort();
	for (i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	atomic_store(&w->is_over, true);
	if (threads > 1)
		pthread_join(wild, NULL);

	dax_window_stop(w->f.w);
	if (!dax_window_is_valid(w->f.w))
		die(&p[0], "the window is not valid");
	dax_window_stats(w->f.w, &st);
	report(o, &st);
	if (st.pinned || !st.hits || !st.setups || !st.reclaimed)
		die(&p[0], "pins were lost, or nothing happened");
	for (i = 0; i < threads; i++) {
		player_check(&p[i]);
		fake_file_done(&p[i].own);
	}
	fake_file_done(&w->shared);
	fake_file_done(&w->wild);
	fake_done(&w->f);
	free(p);
	free(w);
}

static uint64_t from_env(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s && *s ? strtoull(s, NULL, 0) : otherwise;
}

int main(void)
{
	uint64_t seed = from_env("ORIEL_MODEL_SEED", clock_now_ns() % 1000000);
	uint64_t ops = from_env("ORIEL_MODEL_OPS", 200000);
	uint64_t threads = from_env("ORIEL_MODEL_THREADS", 4);
	const unsigned games = 8;
	unsigned i;

	threads = max_u64(1, min_u64(threads, MAX_THREADS));
	printf("ORIEL_MODEL_SEED=%llu ORIEL_MODEL_OPS=%llu "
	       "ORIEL_MODEL_THREADS=%llu\n", (unsigned long long)seed,
	       (unsigned long long)ops, (unsigned long long)threads);
	fflush(stdout);
	for (i = 0; i < games; i++) {
		const struct fake_options o = {
			.ranges = i & 1 ? 3 : 6,
			.range_bytes = RANGE,
			.replace_in_place = i & 2,
			.background = i & 4 && threads > 1,
			.admit_touches = i % 3,
		};

		game(&o, seed + i, (unsigned)threads, (unsigned)(ops / games));
	}
	return 0;
}
