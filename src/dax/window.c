/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ranges of the window: who has which.
 *
 * Free ranges are in one list, taken from the head and given back to the tail:
 * a range rests as long as possible before it is used again, so that a stale
 * pointer shows as wrong data in tests soon (nothing is where it was) and
 * costs nothing. New ones come first: they are put at the head when they are
 * wanted, so that what a program never uses of its window is no memory. A taken
 * range is BUSY until it is bound to a mapping, and BUSY again from the moment
 * its mapping cannot be found any more until it is given back. Only MAPPED
 * ranges can be victims of reclaim. One whose set-up or removal timed out is
 * LOST: used for another file it could still turn into the old one, or go, when
 * the peer gets to it.
 *
 * Neighbours: a caller may name the range it would like. When the range before
 * it in the window holds the range before it in the file, the kernel joins the
 * two mappings into one area, of which a process has only 65530.
 *
 * Thread rule: any thread. Everything happens under window->lock, except that
 * taking a run may have to evict, which happens outside of it.
 */
#include "dax/dax_internal.h"

#include <errno.h>

#include "base/log.h"

#define RUN_ATTEMPTS 4

static struct dax_range *range_at(struct dax_window *w, uint32_t r)
{
	oriel_assert(r < w->n_ranges);
	return &w->ranges[r];
}

/* Range @r is in the free list if it is free. */
static void begin_locked(struct dax_window *w, uint32_t r)
{
	while (w->first_new <= r)
		list_add_head(&w->free,
			      &range_at(w, w->first_new++)->free_link);
}

static void take_locked(struct dax_window *w, struct dax_range *r)
{
	oriel_assert(r->state == DAX_RANGE_FREE && w->n_free > 0);
	list_del(&r->free_link);
	r->state = DAX_RANGE_BUSY;
	w->n_free--;
}

static void give_locked(struct dax_window *w, struct dax_range *r)
{
	oriel_assert(r->state == DAX_RANGE_BUSY && !r->mapping);
	if (r->claim == DAX_CLAIM_WAITS) {
		r->claim = DAX_CLAIM_HOLDS; /* stays busy, for the pin */
		return;
	}
	r->state = DAX_RANGE_FREE;
	list_add_tail(&w->free, &r->free_link);
	w->n_free++;
}

static struct dax_range *pick_locked(struct dax_window *w, uint32_t near)
{
	if (near < w->n_ranges && w->ranges[near].state == DAX_RANGE_FREE) {
		begin_locked(w, near);
		return &w->ranges[near];
	}
	if (w->first_new < w->n_ranges)
		begin_locked(w, w->first_new);
	return list_entry(w->free.next, struct dax_range, free_link);
}

int dax_ranges_take(struct dax_window *w, uint32_t near, uint32_t floor,
		    uint32_t *ret_first)
{
	struct dax_range *r = NULL;

	pthread_mutex_lock(&w->lock);
	if (w->n_free > floor) {
		r = pick_locked(w, near);
		take_locked(w, r);
	}
	if (w->n_free < w->low_water)
		dax_worker_kick_locked(w);
	pthread_mutex_unlock(&w->lock);
	if (!r)
		return -EBUSY;
	*ret_first = (uint32_t)(r - w->ranges);
	return 0;
}

void dax_ranges_give(struct dax_window *w, uint32_t first, uint32_t n)
{
	uint32_t i;

	pthread_mutex_lock(&w->lock);
	for (i = 0; i < n; i++)
		give_locked(w, range_at(w, first + i));
	pthread_mutex_unlock(&w->lock);
}

void dax_ranges_settle(struct dax_window *w, uint32_t first, uint32_t n,
		       int err)
{
	uint32_t i;

	if (err != -ETIMEDOUT) {
		dax_ranges_give(w, first, n);
		return;
	}
	log_warn("dax: no answer: %u ranges from %u are not used any more", n,
		 first);
	pthread_mutex_lock(&w->lock);
	for (i = 0; i < n; i++)
		range_at(w, first + i)->state = DAX_RANGE_LOST;
	pthread_mutex_unlock(&w->lock);
}

/*
 * Somebody was set up after the youngest: the burst that it was set up for is
 * over, and its mark starts to mean something (see reclaim.c).
 */
static void grow_up_locked(struct dax_window *w, struct dax_mapping *m)
{
	struct dax_mapping *youngest = w->ranges[w->youngest].mapping;

	if (youngest && youngest != m) {
		atomic_store_explicit(&youngest->seen, false,
				      memory_order_relaxed);
		atomic_store_explicit(&youngest->referenced, false,
				      memory_order_relaxed);
	}
	w->youngest = m->first_range;
}

void dax_ranges_bind(struct dax_window *w, struct dax_mapping *m)
{
	struct dax_range *r;
	uint32_t i;

	pthread_mutex_lock(&w->lock);
	for (i = 0; i < m->n_ranges; i++) {
		r = range_at(w, m->first_range + i);
		oriel_assert(r->state == DAX_RANGE_BUSY && !r->mapping);
		r->mapping = m;
		r->state = DAX_RANGE_MAPPED;
	}
	grow_up_locked(w, m);
	w->n_mappings++;
	pthread_mutex_unlock(&w->lock);
}

void dax_ranges_unbind(struct dax_window *w, struct dax_mapping *m)
{
	struct dax_range *r;
	uint32_t i;

	pthread_mutex_lock(&w->lock);
	for (i = 0; i < m->n_ranges; i++) {
		r = range_at(w, m->first_range + i);
		oriel_assert(r->mapping == m);
		r->mapping = NULL;
		r->state = DAX_RANGE_BUSY;
	}
	w->n_mappings--;
	pthread_mutex_unlock(&w->lock);
}

/* -------------------------------------------------------------------- runs */

/* What it costs to have this range: 0 free, 1 an eviction; false: not to be
 * had now. */
static bool run_cost_locked(const struct dax_range *r, uint32_t *ret_cost)
{
	if (r->claim || r->state == DAX_RANGE_BUSY ||
	    r->state == DAX_RANGE_LOST)
		return false;
	if (r->state == DAX_RANGE_FREE) {
		*ret_cost = 0;
		return true;
	}
	/* A hint: looked at again, under the inode's lock, when evicting. */
	if (atomic_load_explicit(&r->mapping->pins, memory_order_relaxed))
		return false;
	*ret_cost = 1;
	return true;
}

/* The run of @n ranges with the fewest evictions, by sliding over all. */
static bool find_run_locked(struct dax_window *w, uint32_t n,
			    uint32_t *ret_first)
{
	uint32_t i, len = 0, sum = 0, cost, out, best = UINT32_MAX;

	for (i = 0; i < w->n_ranges; i++) {
		if (!run_cost_locked(&w->ranges[i], &cost)) {
			len = 0;
			sum = 0;
			continue;
		}
		sum += cost;
		if (len == n) {
			/* cannot fail: nothing changed under the lock */
			out = w->ranges[i - n].state == DAX_RANGE_MAPPED;
			sum -= out;
		} else {
			len++;
		}
		if (len == n && sum < best) {
			best = sum;
			*ret_first = i - n + 1;
			if (!best)
				break;
		}
	}
	return best != UINT32_MAX;
}

/* Take what is free of the run and claim the rest. */
static bool claim_run(struct dax_window *w, uint32_t n, uint32_t *ret_first)
{
	struct dax_range *r;
	bool found;
	uint32_t i;

	pthread_mutex_lock(&w->lock);
	found = find_run_locked(w, n, ret_first);
	if (found)
		begin_locked(w, *ret_first + n - 1);
	for (i = 0; found && i < n; i++) {
		r = range_at(w, *ret_first + i);
		r->claim = DAX_CLAIM_WAITS;
		if (r->state == DAX_RANGE_FREE) {
			take_locked(w, r);
			r->claim = DAX_CLAIM_HOLDS;
		}
	}
	pthread_mutex_unlock(&w->lock);
	return found;
}

/* Drop the claims. All ours: keep them. Otherwise give back what we have. */
static bool settle_run(struct dax_window *w, uint32_t first, uint32_t n)
{
	struct dax_range *r;
	bool have_all = true, holds;
	uint32_t i;

	pthread_mutex_lock(&w->lock);
	for (i = 0; i < n; i++)
		have_all &= range_at(w, first + i)->claim == DAX_CLAIM_HOLDS;
	for (i = 0; i < n; i++) {
		r = range_at(w, first + i);
		holds = r->claim == DAX_CLAIM_HOLDS;
		r->claim = DAX_CLAIM_NONE;
		if (holds && !have_all)
			give_locked(w, r);
	}
	if (w->n_free < w->low_water)
		dax_worker_kick_locked(w);
	pthread_mutex_unlock(&w->lock);
	return have_all;
}

int dax_ranges_take_run(struct dax_window *w, uint32_t n, uint32_t *ret_first)
{
	uint32_t first = 0, i;
	int attempt;

	for (attempt = 0; attempt < RUN_ATTEMPTS; attempt++) {
		if (!claim_run(w, n, &first))
			break;
		for (i = 0; i < n; i++)
			dax_reclaim_at(w, first + i);
		if (settle_run(w, first, n)) {
			*ret_first = first;
			return 0;
		}
	}
	return -ENOSPC;
}
