/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Waiting by polling, for a peer that may share our processor.
 *
 * If it does, each moment we poll is one it cannot use, and we should yield at
 * once; if it does not, a yield gains nothing, and next to other busy programs
 * may cost a time slice. Nobody tells us which it is, and it changes. But when
 * what we wait for is there right after a yield that came back soon, yielding
 * probably brought it: then the next wait yields sooner. In all other cases
 * the next one yields later. The way up is steeper than the way down, so that
 * a few coincidences do not keep us yielding for nothing.
 *
 *	spin_begin(&w, gap, ...);
 *	while (!there)
 *		if (!spin_step(&w))
 *			sleep;
 *	gap = spin_next_gap(&w);
 *
 * Thread rule: a spin_wait belongs to one thread; the gap may be anybody's.
 */
#ifndef ORIEL_BASE_SPIN_H
#define ORIEL_BASE_SPIN_H

#include <sched.h>
#include <stdbool.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/util.h"

/* Polling between two yields, nanoseconds. */
#define SPIN_GAP_MIN_NS 100u
#define SPIN_GAP_MAX_NS 8000u
/* A yield that took longer let somebody else run, not our peer. */
#define SPIN_YIELD_SOON_NS 20000u
/* Looks between two looks at the clock, which costs about as much. */
#define SPIN_STEPS_PER_CLOCK 4u

struct spin_wait {
	uint64_t end_ns;   /* when to stop polling */
	uint64_t yield_ns; /* when to yield */
	uint32_t gap_ns;
	unsigned steps;
	bool yielded; /* the last step did, and came back soon */
};

static inline void spin_begin(struct spin_wait *w, uint32_t gap_ns,
			      uint64_t for_ns)
{
	uint64_t now = clock_now_ns();

	w->end_ns = now + for_ns;
	w->yield_ns = now + gap_ns;
	w->gap_ns = gap_ns;
	w->steps = 0;
	w->yielded = false;
}

/* What we wait for is not there. False: not worth polling any longer. */
static inline bool spin_step(struct spin_wait *w)
{
	uint64_t now, after;

	w->yielded = false;
	cpu_relax();
	if (++w->steps % SPIN_STEPS_PER_CLOCK)
		return true;
	now = clock_now_ns();
	if (now >= w->end_ns)
		return false;
	if (now < w->yield_ns)
		return true;
	sched_yield();
	after = clock_now_ns();
	w->yielded = after - now < SPIN_YIELD_SOON_NS;
	w->yield_ns = after + w->gap_ns;
	return true;
}

/* It is there, or we gave up: the gap for the next wait. */
static inline uint32_t spin_next_gap(const struct spin_wait *w)
{
	if (w->yielded)
		return (uint32_t)max_u64(w->gap_ns / 2, SPIN_GAP_MIN_NS);
	return (uint32_t)min_u64(4 * (uint64_t)w->gap_ns, SPIN_GAP_MAX_NS);
}

#endif
