/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How hot the ranges of a window are, for pictures: each look finds out which
 * were used since the look before. A hit leaves one mark only, for reclaim; a
 * look takes it away and leaves "seen" in its place, which reclaim counts the
 * same. So a window that is looked at evicts what it would have evicted, and one
 * that is not pays nothing. Files are counted on the way, in memory that is given
 * back.
 *
 * Thread rule: any thread, but one look at a time. Window->lock is held for a few
 * ranges at once, as the clock does.
 */
#include "dax/dax_internal.h"

#include <stdlib.h>

#define LOOK_CHUNK 256u
#define WARMER 2u

/* Was it used since the last look? window->lock is held. */
static bool look_at(struct dax_mapping *m)
{
	/* relaxed, all: marks, they order nothing */
	if (!atomic_load_explicit(&m->referenced, memory_order_relaxed))
		return false;
	atomic_store_explicit(&m->seen, true, memory_order_relaxed);
	atomic_store_explicit(&m->referenced, false, memory_order_relaxed);
	return true;
}

static uint8_t next_heat(uint8_t old, bool was_used)
{
	unsigned heat = old & DAX_HEAT_MASK;

	if (was_used)
		heat += heat ? WARMER : 1 + WARMER;
	else if (heat)
		heat--;
	return (uint8_t)(heat < 1 ? 1 : heat > DAX_HEAT_MAX ? DAX_HEAT_MAX :
							      heat);
}

static uint8_t look_locked(struct dax_window *w, uint32_t i)
{
	const struct dax_range *r = &w->ranges[i];
	struct dax_mapping *m = r->mapping;
	uint8_t heat;

	if (r->state != DAX_RANGE_MAPPED)
		return 0;
	/* one of several ranges: as the first, which has just been looked at */
	if (m->first_range != i)
		return w->heat[m->first_range];
	heat = next_heat(w->heat[i], look_at(m));
	if (atomic_load_explicit(&m->writable, memory_order_relaxed))
		heat |= DAX_HEAT_WRITABLE;
	if (dax_mapping_is_pinned(m))
		heat |= DAX_HEAT_PINNED;
	return heat;
}

/* Ranges of one file next to each other in the window. */
struct runs {
	struct dax_hot_file *run; /* NULL: nobody wants them, or no memory */
	uint32_t n;
	uint32_t max;
};

static void count_locked(struct dax_window *w, uint32_t i, struct runs *runs)
{
	const void *file = w->ranges[i].mapping->inode->file;
	const uint64_t id = w->cfg.ops->file_id(w->cfg.owner, file);
	const uint8_t heat = w->heat[i] & DAX_HEAT_MASK;
	struct dax_hot_file *last = runs->run + runs->n - 1;

	if (!runs->n || last->id != id) {
		if (runs->n == runs->max)
			return; /* of those that came while we looked */
		last = &runs->run[runs->n++];
		*last = (struct dax_hot_file){ .id = id };
	}
	last->ranges++;
	last->heat = heat > last->heat ? heat : last->heat;
}

/* Look at all; returns the end of the last range that is not free. */
static uint32_t look(struct dax_window *w, struct runs *runs)
{
	uint32_t i = 0, all, end, used = 0;

	do {
		pthread_mutex_lock(&w->lock);
		all = w->first_new;
		end = i + (uint32_t)min_u64(LOOK_CHUNK, all - i);
		for (; i < end; i++) {
			w->heat[i] = look_locked(w, i);
			if (!w->heat[i])
				continue;
			used = i + 1;
			if (runs->run)
				count_locked(w, i, runs);
		}
		pthread_mutex_unlock(&w->lock);
	} while (i < all);
	return used;
}

static int by_id(const void *a, const void *b)
{
	const struct dax_hot_file *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static void keep_most(const struct dax_hot_file *f, struct dax_hot_files *most)
{
	unsigned i = most->n;

	if (i < DAX_HOT_FILES)
		most->n++;
	else if (most->file[--i].ranges >= f->ranges)
		return;
	for (; i && most->file[i - 1].ranges < f->ranges; i--)
		most->file[i] = most->file[i - 1];
	most->file[i] = *f;
}

/* Add up the runs of each file. */
static void sum_up(struct runs *runs, struct dax_hot_files *most)
{
	struct dax_hot_file *r = runs->run, f;
	uint32_t i = 0;

	most->n = 0;
	if (runs->n)
		qsort(r, runs->n, sizeof(*r), by_id);
	while (i < runs->n) {
		f = r[i++];
		for (; i < runs->n && r[i].id == f.id; i++) {
			f.ranges += r[i].ranges;
			f.heat = r[i].heat > f.heat ? r[i].heat : f.heat;
		}
		keep_most(&f, most);
	}
}

static uint8_t cell_of(const uint8_t *heat, uint32_t n)
{
	uint8_t flags = 0, most = 0;
	uint32_t i;

	for (i = 0; i < n; i++) {
		uint8_t here = heat[i] & DAX_HEAT_MASK;

		flags |= (uint8_t)(heat[i] & ~DAX_HEAT_MASK);
		most = here > most ? here : most;
	}
	return flags | most;
}

uint32_t dax_window_heat(struct dax_window *w, uint8_t *cells, uint32_t max,
			 uint32_t *ret_ranges_per_cell,
			 struct dax_hot_files *ret_files)
{
	struct runs runs = { 0 };
	uint32_t used, per, i, n = 0;

	if (!w->heat)
		w->heat = calloc(w->n_ranges, 1);
	if (!w->heat || !max)
		return 0;
	pthread_mutex_lock(&w->lock);
	runs.max = w->first_new;
	pthread_mutex_unlock(&w->lock);
	if (w->cfg.ops->file_id && runs.max)
		runs.run = calloc(runs.max, sizeof(*runs.run));
	used = look(w, &runs);
	sum_up(&runs, ret_files);
	free(runs.run);
	per = used ? (used - 1) / max + 1 : 1;
	for (i = 0; i < used; i += per)
		cells[n++] = cell_of(w->heat + i,
				     (uint32_t)min_u64(per, used - i));
	*ret_ranges_per_cell = per;
	return n;
}
