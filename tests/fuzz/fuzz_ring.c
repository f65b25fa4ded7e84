/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rings with a hostile other end. The first byte chooses the side under test
 * and the features; then comes the first content of the shared memory, then a
 * script of operations, among them writes to that memory by the other end.
 *
 * What is demanded: no access outside the regions (they are separate
 * allocations, so ASan sees one), chains within their bounds, every token back
 * exactly once, and a violation that stays one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "ring/mem_map.h"
#include "ring/ring_device.h"
#include "ring/ring_driver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEMAND(cond)             \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

/* Two regions, the first of which contains the ring; small addresses, so that
 * inputs hit them. */
#define A_BYTES 4096u
#define B_GPA 8192u
#define B_BYTES 1024u
#define WINDOW_GPA 65536u
#define WINDOW_BYTES 65536u
#define DESC_OFF 0u
#define AVAIL_OFF 1024u
#define USED_OFF 1536u
#define INDIRECT_OFF 2048u
#define MAX_TOKENS 32u
#define MAX_OPS 4096u

struct input {
	const uint8_t *p;
	size_t left;
};

static unsigned take8(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->p++;
}

static unsigned take16(struct input *in)
{
	unsigned low = take8(in);

	return low | take8(in) << 8;
}

struct world {
	struct input in;
	unsigned size;
	bool indirect, event_idx;
	unsigned char *a, *b;
};

static struct ring_desc *descs(const struct world *w)
{
	return (void *)(w->a + DESC_OFF);
}

static struct ring_avail *avail(const struct world *w)
{
	return (void *)(w->a + AVAIL_OFF);
}

static struct ring_used *used(const struct world *w)
{
	return (void *)(w->a + USED_OFF);
}

/* The other end writes one or two bytes, or moves its index on. */
static void scribble(struct world *w, uint16_t *idx)
{
	unsigned how = take8(&w->in);
	unsigned at = take16(&w->in) % (A_BYTES - 1);

	if (how & 1) {
		shm_store_u16(idx, (uint16_t)(shm_load_u16(idx) +
					      (how >> 1 & 3)));
		return;
	}
	w->a[at] = (unsigned char)take8(&w->in);
	if (how & 2)
		w->a[at + 1] = (unsigned char)take8(&w->in);
}

/* -------------------------------------------------------------- device */

static bool is_inside(const struct world *w, const struct iovec *v)
{
	uintptr_t p = (uintptr_t)v->iov_base;

	return range_fits(p - (uintptr_t)w->a, v->iov_len, A_BYTES) ||
	       range_fits(p - (uintptr_t)w->b, v->iov_len, B_BYTES);
}

static void check_chain(const struct world *w, const struct ring_chain *c)
{
	uint64_t out = 0, in = 0;
	unsigned away = 0;

	DEMAND(c->head < w->size);
	DEMAND(c->n_out <= RING_CHAIN_MAX &&
	       c->n_in <= RING_CHAIN_MAX - c->n_out);
	for (unsigned i = 0; i < c->n_out + c->n_in; i++) {
		DEMAND(c->iov[i].iov_len > 0);
		if (away < c->n_away && c->away[away].seg == i) {
			DEMAND(!c->iov[i].iov_base);
			DEMAND(range_fits(c->away[away].off, c->iov[i].iov_len,
					  WINDOW_BYTES));
			away++;
		} else {
			DEMAND(is_inside(w, &c->iov[i]));
		}
		if (i < c->n_out)
			out += c->iov[i].iov_len;
		else
			in += c->iov[i].iov_len;
	}
	DEMAND(away == c->n_away);
	DEMAND(out == c->out_bytes && in == c->in_bytes);
	DEMAND(out + in <= UINT32_MAX);
}

static struct mem_map *make_map(const struct world *w)
{
	struct mem_map *m;

	if (mem_map_new(NULL, 2, &m))
		return NULL;
	m->regions[0] = (struct mem_region){
		.gpa = 0, .size = A_BYTES, .host = w->a,
	};
	m->regions[1] = (struct mem_region){
		.gpa = B_GPA, .size = B_BYTES, .host = w->b,
	};
	m->n_regions = 2;
	m->window_gpa = WINDOW_GPA;
	m->window_size = WINDOW_BYTES;
	return m;
}

static void run_device(struct world *w, struct mem_map *m)
{
	struct ring_device_config cfg = {
		.size = w->size, .desc = descs(w), .avail = avail(w),
		.used = used(w), .last_avail = (uint16_t)take16(&w->in),
		.indirect = w->indirect, .event_idx = w->event_idx,
	};
	static struct ring_chain chain;
	struct ring_device d;
	unsigned in_flight = 0;
	bool broken = false;
	const char *why;
	int r;

	DEMAND(ring_device_init(&d, &cfg) == 0);
	for (unsigned i = 0; i < MAX_OPS && w->in.left; i++) {
		switch (take8(&w->in) % 6) {
		case 0:
		case 1:
			why = NULL;
			r = ring_device_pop(&d, m, &chain, &why);
			DEMAND(r == -EPROTO || (r >= 0 && r <= 1 && !broken));
			DEMAND((r < 0) == (why != NULL));
			broken = r < 0;
			if (r == 1)
				check_chain(w, &chain);
			in_flight += r == 1;
			DEMAND(in_flight <= w->size);
			break;
		case 2:
			if (!in_flight)
				break;
			in_flight--;
			ring_device_push(&d, (uint16_t)(take8(&w->in) %
							w->size), 1);
			break;
		case 3:
			(void)ring_device_needs_call(&d);
			break;
		case 4:
			ring_device_want_kick(&d, take8(&w->in) & 1);
			break;
		default:
			scribble(w, &avail(w)->idx);
		}
	}
}

/* -------------------------------------------------------------- driver */

struct token {
	bool busy;
	uint32_t in_bytes;
};

static void add(struct world *w, struct ring_driver *d, struct token *tokens,
		bool broken)
{
	struct ring_seg segs[RING_DRIVER_MAX_SEGS];
	unsigned n_out = take8(&w->in) % (RING_DRIVER_MAX_SEGS + 1);
	unsigned n_in = take8(&w->in) % (RING_DRIVER_MAX_SEGS + 1);
	struct token *t = tokens;
	int err;

	while (t < tokens + MAX_TOKENS - 1 && t->busy)
		t++;
	DEMAND(!t->busy);
	for (unsigned i = 0; i < RING_DRIVER_MAX_SEGS; i++)
		segs[i] = (struct ring_seg){ B_GPA, 1 + take8(&w->in) };
	t->in_bytes = 0;
	for (unsigned i = n_out; i < n_out + n_in && i < ARRAY_LEN(segs); i++)
		t->in_bytes += segs[i].len;
	err = ring_driver_add(d, segs, n_out, n_in, t);
	DEMAND(!err || err == -EAGAIN || err == -EINVAL || err == -EPROTO);
	DEMAND(err || (!broken && n_out + n_in >= 1 &&
		       n_out + n_in <= RING_DRIVER_MAX_SEGS));
	t->busy = !err;
}

/* Returns whether the device was found out. */
static bool poll_one(struct ring_driver *d, bool broken)
{
	uint32_t len = 0;
	void *token = NULL;
	int r = ring_driver_poll(d, &token, &len);
	struct token *t = token;

	DEMAND(r == -EPROTO || (r >= 0 && r <= 1 && !broken));
	DEMAND((r == 1) == (token != NULL));
	if (r == 1) {
		DEMAND(t->busy);
		DEMAND(len <= t->in_bytes);
		t->busy = false;
	}
	return r < 0;
}

static void detach_all(struct ring_driver *d, struct token *tokens)
{
	struct token *t;

	while ((t = ring_driver_detach(d))) {
		DEMAND(t->busy);
		t->busy = false;
	}
	for (unsigned i = 0; i < MAX_TOKENS; i++)
		DEMAND(!tokens[i].busy);
}

static void run_driver(struct world *w)
{
	struct ring_driver_config cfg = {
		.size = w->size, .desc = descs(w), .avail = avail(w),
		.used = used(w), .event_idx = w->event_idx,
		.indirect = w->indirect ? (void *)(w->a + INDIRECT_OFF) : NULL,
		.indirect_gpa = w->indirect ? INDIRECT_OFF : 0,
	};
	struct token tokens[MAX_TOKENS] = { { .busy = false } };
	struct ring_driver *d;
	bool broken = false;

	if (ring_driver_new(&cfg, &d))
		return;
	DEMAND(ring_driver_capacity(d) < MAX_TOKENS);
	for (unsigned i = 0; i < MAX_OPS && w->in.left; i++) {
		switch (take8(&w->in) % 6) {
		case 0:
			add(w, d, tokens, broken);
			break;
		case 1:
		case 2:
			broken = poll_one(d, broken);
			break;
		case 3:
			(void)ring_driver_needs_kick(d);
			break;
		case 4:
			ring_driver_want_call(d, take8(&w->in) & 1);
			break;
		default:
			scribble(w, &used(w)->idx);
		}
	}
	detach_all(d, tokens);
	ring_driver_free(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = { .in = { data, size } };
	unsigned first = take8(&w.in);
	unsigned content = take16(&w.in) % (A_BYTES + 1);
	struct mem_map *m;

	w.indirect = first & 2;
	w.event_idx = first & 4;
	/* 16 descriptors' worth of indirect memory is all there is room for. */
	w.size = 1u << (first >> 3 & 7) % 5;
	w.a = aligned_alloc(64, A_BYTES);
	w.b = malloc(B_BYTES);
	m = w.a && w.b ? make_map(&w) : NULL;
	if (m) {
		memset(w.a, 0, A_BYTES);
		memset(w.b, 0, B_BYTES);
		for (unsigned i = 0; i < content && w.in.left; i++)
			w.a[i] = (unsigned char)take8(&w.in);
		if (first & 1)
			run_driver(&w);
		else
			run_device(&w, m);
	}
	mem_map_unref(m);
	free(w.a);
	free(w.b);
	return 0;
}
