/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How many queues are busy, of all the back ends that share a struct
 * vhost_crowd: those that have had a request in this tick of about a
 * millisecond, or in the one before.
 *
 * While they are no more than the processors, polling a ring costs nobody
 * anything that he would use. Beyond that, who polls keeps a processor from
 * somebody who has a request to serve or to make: all of them together get less
 * done, and those that happen to poll get most of it. Then nobody polls.
 *
 * A queue counts itself once a tick, so the shared word is written a few
 * thousand times a second by each, whatever it does.
 *
 * Threads: any. The counts are hints; they are exact but for a queue that slips
 * into the next tick between its look at the clock and its counting.
 */
#include "vhost/backend_priv.h"

/* 2^20 ns */
#define TICK_SHIFT 20
#define COUNT_BITS 16
#define COUNT_MAX ((UINT64_C(1) << COUNT_BITS) - 1)

/* In one word: the tick, how many in the one before, how many in it. */
static uint64_t word_make(uint64_t tick, uint64_t before, uint64_t count)
{
	return tick << 2 * COUNT_BITS | before << COUNT_BITS | count;
}

static uint64_t word_tick(uint64_t word)
{
	return word >> 2 * COUNT_BITS;
}

static uint64_t word_count(uint64_t word)
{
	return word & COUNT_MAX;
}

/* The word when one more is counted in @tick. */
static uint64_t word_next(uint64_t word, uint64_t tick)
{
	const uint64_t before = word >> COUNT_BITS & COUNT_MAX;
	const uint64_t count = word_count(word);

	if (word_tick(word) == tick)
		return word_make(tick, before,
				 min_u64(count + 1, COUNT_MAX));
	return word_make(tick, word_tick(word) + 1 == tick ? count : 0, 1);
}

bool crowd_is_over(struct vhost_crowd *c, uint32_t *counted, uint64_t now_ns)
{
	/* as much of it as there is room for in the word */
	const uint32_t tick = (uint32_t)(now_ns >> TICK_SHIFT);
	uint64_t word;
	uint64_t next;

	if (!c)
		return false;
	/* relaxed: nothing is read on the strength of it */
	word = atomic_load_explicit(&c->word, memory_order_relaxed);
	while (*counted != tick) {
		next = word_next(word, tick);
		if (!atomic_compare_exchange_weak_explicit(&c->word, &word,
				next, memory_order_relaxed,
				memory_order_relaxed))
			continue;
		*counted = tick;
		word = next;
	}
	return max_u64(word_count(word), word >> COUNT_BITS & COUNT_MAX) >
	       c->most;
}
