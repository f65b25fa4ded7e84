/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Admission: is a range that is not mapped worth mapping, and worth evicting
 * another one for (row B2)?
 *
 * IS IT WORTH MAPPING? Yes, where the alternative is a message. Where it is a
 * system call (dax_owner_ops.is_cheap) a set-up costs as much as a dozen of
 * them and what the faults cost, and pays only for what is read again: after
 * config.patience touches, where each 512 KiB that are gone through count as one,
 * so that a range that is scanned once in large steps is not mapped, and as its
 * second scan begins it is. In small steps one scan is dozens of system calls: it is
 * mapped after STEPS_MAX of them. That is remembered for each range, as many may
 * go through one file side by side; the latest of them is not held up at each
 * range anew (io.c).
 *
 * IS IT WORTH AN EVICTION? Only asked when free ranges have run out.
 *
 * An eviction costs about as much as three messages (a removal, a set-up, the
 * page faults). A working set larger than the window must not pay that on
 * every miss, so two questions are asked.
 *
 * 1. Has this range been touched admit_touches times? A ghost table remembers
 *    touches of ranges that are not mapped. It is small and has no chains: a
 *    range has a set of GHOST_WAYS slots, where a newcomer replaces one whose
 *    count has worn off. (With a single slot each, two ranges that share it and
 *    take turns would never get past 1.) It is halved from time to time. A read
 *    that goes on where the last read of the range ended is the same touch: a
 *    scan touches each range once, however small its steps are.
 *
 * 2. Can we afford it? Every miss sent by message earns a credit, an eviction
 *    costs the current price. The price doubles when the evicted mapping had
 *    not been used again after its first burst (setting it up had been a
 *    waste) and falls by a 64th when it had. So it settles where about one
 *    eviction in 64 is wasted: with random access to S ranges through a window
 *    of W that is about four hits for each eviction, whatever S and W are.
 *    A price of 1 holds nobody up; it is halved now and then, too. Where the
 *    alternative is a system call, everything costs CHEAP_FACTOR times that.
 *
 * All of it is a heuristic: the counters are atomics without order, and two
 * threads may lose a touch to each other.
 *
 * Thread rule: any thread; does not block.
 */
#include "dax/dax_internal.h"

#include <errno.h>
#include <stdlib.h>

#define GHOST_MIN_SLOTS 1024u
#define GHOST_WAYS 4u             /* slots of a set: half a cache line */
#define PRICE_ONE 64u             /* the price is kept in 64ths */
#define PRICE_MAX (256u * PRICE_ONE)
#define CHEAP_FACTOR 32u /* an eviction and a set-up over what a hit saves */
#define TOUCH_SHIFT 19   /* one touch more for each 512 KiB gone through */
#define COUNT_MAX 15u /* what fits; who is gone is soon worn down */
#define SCAN_AGAIN 4u /* more for who begins anew after a scan of the range */
#define STEPS_MAX 15u /* as many system calls cost what a mapping does */

/* A slot is one word: 24 bits of tag, 4 of steps, 4 of count, 32 of where it
 * ended. */
struct ghost_slot {
	uint32_t tag;
	uint32_t steps; /* small ones that went on, one after the other */
	uint32_t count;
	uint32_t end; /* offset in the range after the last touch */
};

struct dax_ghost {
	size_t n_slots; /* power of two */
	_Atomic uint32_t price;   /* of an eviction, in 64ths of a credit */
	_Atomic uint32_t credits; /* in 64ths too */
	_Atomic uint64_t touches; /* since the last ageing */
	_Atomic uint64_t slot[];
};

static struct ghost_slot unpack(uint64_t v)
{
	return (struct ghost_slot){ (uint32_t)(v >> 40),
				    (uint32_t)(v >> 36) & 0xf,
				    (uint32_t)(v >> 32) & 0xf, (uint32_t)v };
}

static uint64_t pack(struct ghost_slot s)
{
	return (uint64_t)s.tag << 40 | (uint64_t)s.steps << 36 |
	       (uint64_t)s.count << 32 | s.end;
}

/* Relaxed everywhere below: counts, that order nothing. */
static uint64_t load(_Atomic uint64_t *p)
{
	return atomic_load_explicit(p, memory_order_relaxed);
}

static void store(_Atomic uint64_t *p, uint64_t v)
{
	atomic_store_explicit(p, v, memory_order_relaxed);
}

int dax_ghost_new(uint32_t n_ranges, struct dax_ghost **ret)
{
	struct dax_ghost *g;
	size_t n = GHOST_MIN_SLOTS;

	while (n < (size_t)n_ranges * 8)
		n *= 2;
	g = calloc(1, sizeof(*g) + n * sizeof(g->slot[0]));
	if (!g)
		return -ENOMEM;
	g->n_slots = n;
	atomic_init(&g->price, PRICE_ONE);
	*ret = g;
	return 0;
}

void dax_ghost_free(struct dax_ghost *g)
{
	free(g);
}

/* Mixes all bits of both; splitmix64's finish. */
static uint64_t hash(const struct dax_inode *di, uint64_t range)
{
	uint64_t h = (uintptr_t)di + range * UINT64_C(0x9e3779b97f4a7c15);

	h = (h ^ (h >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	h = (h ^ (h >> 27)) * UINT64_C(0x94d049bb133111eb);
	return h ^ (h >> 31);
}

static uint32_t tag_of(uint64_t h)
{
	return (uint32_t)(h >> 40);
}

static void age(struct dax_ghost *g)
{
	struct ghost_slot s;
	uint32_t price;
	size_t i;

	if (atomic_fetch_add_explicit(&g->touches, 1, memory_order_relaxed) <
	    8 * g->n_slots)
		return;
	store(&g->touches, 0);
	price = atomic_load_explicit(&g->price, memory_order_relaxed);
	price = (uint32_t)max_u64(price / 2, PRICE_ONE);
	atomic_store_explicit(&g->price, price, memory_order_relaxed);
	for (i = 0; i < g->n_slots; i++) {
		s = unpack(load(&g->slot[i]));
		s.count /= 2;
		store(&g->slot[i], pack(s));
	}
}

/* The slots in which a range may be remembered. */
static _Atomic uint64_t *set_of(struct dax_ghost *g, uint64_t h)
{
	return &g->slot[h & (g->n_slots - 1) & ~(size_t)(GHOST_WAYS - 1)];
}

/* The slot of @h: its own, or the one it may have when that has worn off. Which
 * one that is changes from touch to touch without a pattern: were it always the
 * one that counts least, newcomers would only replace each other. */
static _Atomic uint64_t *find_slot(struct dax_ghost *g, uint64_t h)
{
	uint64_t turn = load(&g->touches) * UINT64_C(0x9e3779b97f4a7c15);
	_Atomic uint64_t *set = set_of(g, h);
	struct ghost_slot s;
	unsigned way;

	for (way = 0; way < GHOST_WAYS; way++) {
		s = unpack(load(&set[way]));
		if (s.tag == tag_of(h) && s.count)
			return &set[way];
	}
	return &set[(turn >> 32) % GHOST_WAYS];
}

/* The step goes on where the last one in this range ended, or not. Counts of who
 * is cheap: there a scan is worth it when it has cost enough system calls, or
 * comes again; elsewhere it is one touch. */
static void count_step(struct ghost_slot *s, struct dax_want *want)
{
	uint32_t off = (uint32_t)(want->pos - want->file_start);
	uint32_t end = off + (uint32_t)want->len;
	bool goes_on = s->count > 0 && off > 0 && off == s->end;

	s->count += !goes_on;
	if (want->is_cheap && !goes_on && !off && s->count > 1 &&
	    s->end == want->file_last - want->file_start + 1)
		s->count += SCAN_AGAIN;
	if (want->is_cheap)
		s->count += (end >> TOUCH_SHIFT) - (off >> TOUCH_SHIFT);
	s->count = (uint32_t)min_u64(s->count, COUNT_MAX);
	if (!goes_on || want->len >= DAX_LARGE_STEP)
		s->steps = 0;
	else if (s->steps < STEPS_MAX)
		s->steps++;
	else
		want->is_scanned = true;
	s->end = end;
}

uint32_t dax_touch(struct dax_window *w, struct dax_inode *di,
		   struct dax_want *want)
{
	struct dax_ghost *g = w->ghost;
	uint64_t h = hash(di, want->file_start >> w->shift);
	_Atomic uint64_t *slot = find_slot(g, h);
	struct ghost_slot s = unpack(load(slot));

	age(g);
	if (s.tag != tag_of(h) && s.count > 1) {
		/* Somebody else's: wear it down. */
		s.count--;
		store(slot, pack(s));
		return 1;
	}
	if (s.tag != tag_of(h))
		s = (struct ghost_slot){ .tag = tag_of(h) };
	count_step(&s, want);
	store(slot, pack(s));
	return s.count;
}

bool dax_is_patient(const struct dax_window *w, const struct dax_want *want)
{
	return want->touches >= min_u64(w->cfg.patience, COUNT_MAX);
}

void dax_admit_later(struct dax_window *w, struct dax_inode *di,
		     const struct dax_want *want)
{
	uint64_t h = hash(di, want->file_start >> w->shift);
	_Atomic uint64_t *slot = find_slot(w->ghost, h);
	struct ghost_slot s = unpack(load(slot));

	if (s.tag != tag_of(h))
		return;
	s.count = (s.count + 1) / 2;
	s.steps = 0;
	store(slot, pack(s));
}

/* What an eviction costs now, in 64ths. */
static uint32_t price_of(struct dax_ghost *g, const struct dax_want *want)
{
	return (want->is_cheap ? CHEAP_FACTOR : 1) *
	       atomic_load_explicit(&g->price, memory_order_relaxed);
}

/* Earn one credit; how many there are. Savings are no licence for a burst: at
 * most two evictions' worth. */
static uint32_t earn(struct dax_ghost *g, uint32_t price)
{
	uint32_t have = atomic_load_explicit(&g->credits,
					     memory_order_relaxed);

	have = (uint32_t)min_u64((uint64_t)have + PRICE_ONE,
				 2 * (uint64_t)price);
	atomic_store_explicit(&g->credits, have, memory_order_relaxed);
	return have;
}

bool dax_is_affordable(struct dax_window *w, const struct dax_want *want)
{
	struct dax_ghost *g = w->ghost;
	uint32_t price;

	if (!w->cfg.admit_touches ||
	    atomic_load_explicit(&w->n_free, memory_order_relaxed) >
		    w->low_water)
		return true;
	price = price_of(g, want);
	/* who can afford it goes on to dax_admit(), and earns there */
	return atomic_load_explicit(&g->credits, memory_order_relaxed) +
		       PRICE_ONE >= price || earn(g, price) >= price;
}

bool dax_admit(struct dax_window *w, const struct dax_want *want)
{
	struct dax_ghost *g = w->ghost;
	uint32_t price, have;

	if (!w->cfg.admit_touches)
		return true;
	price = price_of(g, want);
	have = earn(g, price);
	if (want->touches < min_u64(w->cfg.admit_touches, COUNT_MAX) ||
	    have < price)
		return false;
	atomic_store_explicit(&g->credits, have - price, memory_order_relaxed);
	return true;
}

void dax_admit_learn(struct dax_window *w, bool was_used_again)
{
	struct dax_ghost *g = w->ghost;
	uint32_t price = atomic_load_explicit(&g->price, memory_order_relaxed);

	if (was_used_again)
		price -= price / 64;
	else
		price *= 2;
	price = (uint32_t)max_u64(PRICE_ONE, min_u64(price, PRICE_MAX));
	atomic_store_explicit(&g->price, price, memory_order_relaxed);
}

void dax_admit_forget(struct dax_window *w, struct dax_inode *di,
		      uint64_t file_start)
{
	uint64_t h = hash(di, file_start >> w->shift);
	_Atomic uint64_t *set = set_of(w->ghost, h);
	unsigned way;

	for (way = 0; way < GHOST_WAYS; way++)
		if (unpack(load(&set[way])).tag == tag_of(h))
			store(&set[way], 0);
}
