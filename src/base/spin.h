/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Waiting by polling, for a peer that may share our processor, as may others.
 *
 * Nobody tells us who is where, and it changes; what a yield did tells most:
 *
 *   what we wait for is there, soon   the peer is here. Every moment that we
 *                                     poll is one it lacks: yield sooner.
 *   nothing has come, soon            the peer runs elsewhere: yield later.
 *   we are back after a long time     somebody else is here, who costs us a
 *                                     time slice with every yield: hush. For
 *                                     the next waits do not yield, poll only
 *                                     briefly, and then sleep. Who is woken is
 *                                     let in before those who keep running.
 *
 * The way to fewer yields is steeper than the way to more, so that a few
 * coincidences do not keep us yielding for nothing.
 *
 *	spin_begin(&w, &habit, for_ns);
 *	while (!there && spin_step(&w))
 *		;
 *	spin_end(&w);
 *	if (!there)
 *		sleep;
 *
 * Thread rule: one thread at a time.
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
/* A yield that took longer let others run than our peer. */
#define SPIN_YIELD_LONG_NS 50000u
/* Polling while hushed, and for how many waits: doubled when it goes on. */
#define SPIN_HUSH_NS 3000u
#define SPIN_HUSH_MIN 32u
#define SPIN_HUSH_MAX 4096u
/* Looks between two looks at the clock, which costs about as much. */
#define SPIN_STEPS_PER_CLOCK 4u

/* What is remembered from one wait to the next; zero-initialise. */
struct spin_habit {
	uint32_t gap_ns;   /* 0: none known */
	uint16_t hush;     /* waits still to be spent so */
	uint16_t hush_len; /* of the latest time; 0: long ago */
};

/* One wait. */
struct spin_wait {
	struct spin_habit *habit;
	uint64_t end_ns;   /* when to stop polling */
	uint64_t yield_ns; /* when to yield */
	uint32_t gap_ns;
	unsigned steps;
	bool yielded; /* the last step did, and came back soon */
	bool was_long; /* a yield was */
};

static inline void spin_begin(struct spin_wait *w, struct spin_habit *habit,
			      uint64_t for_ns)
{
	uint64_t now = clock_now_ns();

	w->habit = habit;
	w->gap_ns = habit->gap_ns ? habit->gap_ns : SPIN_GAP_MAX_NS;
	w->end_ns = now + (habit->hush ? min_u64(for_ns, SPIN_HUSH_NS) :
					 for_ns);
	w->yield_ns = habit->hush ? UINT64_MAX : now + w->gap_ns;
	w->steps = 0;
	w->yielded = false;
	w->was_long = false;
}

static inline bool spin_yield(struct spin_wait *w, uint64_t now)
{
	uint64_t after;

	sched_yield();
	after = clock_now_ns();
	w->was_long = after - now >= SPIN_YIELD_LONG_NS;
	w->yielded = !w->was_long;
	w->yield_ns = after + w->gap_ns;
	if (w->was_long)
		w->end_ns = after;
	return !w->was_long;
}

/* What we wait for is not there. False: not worth polling any longer. */
static inline bool spin_step(struct spin_wait *w)
{
	uint64_t now;

	w->yielded = false;
	cpu_relax();
	if (++w->steps % SPIN_STEPS_PER_CLOCK)
		return true;
	now = clock_now_ns();
	if (now >= w->end_ns)
		return false;
	return now < w->yield_ns || spin_yield(w, now);
}

/* It is there, or we give up: learn from it. */
static inline void spin_end(const struct spin_wait *w)
{
	struct spin_habit *h = w->habit;

	if (w->was_long) {
		h->hush_len = (uint16_t)min_u64(
			max_u64(2 * (uint64_t)h->hush_len, SPIN_HUSH_MIN),
			SPIN_HUSH_MAX);
		h->hush = h->hush_len;
		h->gap_ns = SPIN_GAP_MAX_NS;
	} else if (h->hush) {
		h->hush--;
	} else if (w->yielded) {
		h->gap_ns = (uint32_t)max_u64(w->gap_ns / 2, SPIN_GAP_MIN_NS);
		h->hush_len = 0;
	} else {
		h->gap_ns = (uint32_t)min_u64(4 * (uint64_t)w->gap_ns,
					      SPIN_GAP_MAX_NS);
	}
}

#endif
