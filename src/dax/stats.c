/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Counters without sharing. Every thread has a block of its own in every
 * window that it uses, and is the only one that writes it; whoever wants the
 * numbers adds up all blocks.
 *
 * A block belongs to two: the window, which sums it, and the thread, which
 * writes it. Either may go first. A window that goes leaves its blocks to
 * their threads, marked; a thread that ends adds its counts to the window's
 * and frees its blocks. Windows are told apart by a number that is never used
 * again, so that a new window at an old one's address does not find the old
 * one's blocks.
 *
 * Thread rule: any thread. The lock here is a leaf: nothing is taken under it.
 */
#include "dax/dax_internal.h"

#include <stdlib.h>

__thread struct dax_stat_block *dax_stat_last
	__attribute__((tls_model("initial-exec")));

/* All blocks of this thread. */
static __thread struct dax_stat_block *own_blocks
	__attribute__((tls_model("initial-exec")));

static pthread_mutex_t stats_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t last_id; /* guarded by stats_lock */

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* only for its destructor */
static bool has_key;

static uint64_t count_of(const struct dax_stat_block *b, enum dax_counter c)
{
	/* relaxed: a snapshot */
	return atomic_load_explicit(&b->n[c], memory_order_relaxed);
}

/* Take the block out of its window, keeping what it counted. */
static void detach_locked(struct dax_stat_block *b)
{
	unsigned c;

	if (!b->window)
		return;
	for (c = 0; c < DAX_COUNTERS; c++)
		b->window->retired[c] += count_of(b, c);
	list_del(&b->in_window);
	b->window = NULL;
}

static void on_thread_exit(void *arg)
{
	struct dax_stat_block *b, *next;

	pthread_mutex_lock(&stats_lock);
	for (b = own_blocks; b; b = next) {
		next = b->next;
		detach_locked(b);
		free(b);
	}
	pthread_mutex_unlock(&stats_lock);
	own_blocks = NULL;
	dax_stat_last = NULL;
}

static void make_key(void)
{
	has_key = !pthread_key_create(&key, on_thread_exit);
}

/* Free this thread's blocks of windows that are gone. */
static void sweep_locked(void)
{
	struct dax_stat_block **link = &own_blocks, *b;

	while ((b = *link)) {
		if (b->window) {
			link = &b->next;
			continue;
		}
		*link = b->next;
		free(b);
	}
}

static struct dax_stat_block *new_block(struct dax_window *w)
{
	struct dax_stat_block *b = NULL;
	unsigned c;

	pthread_once(&key_once, make_key);
	/* Any value but NULL makes the destructor run. */
	if (!has_key || pthread_setspecific(key, &own_blocks))
		return NULL;
	b = aligned_alloc(ORIEL_CACHE_LINE, sizeof(*b));
	if (!b)
		return NULL;
	for (c = 0; c < DAX_COUNTERS; c++)
		atomic_init(&b->n[c], 0);
	b->window_id = w->id;
	b->window = w;
	pthread_mutex_lock(&stats_lock);
	sweep_locked();
	list_add_tail(&w->stat_blocks, &b->in_window);
	pthread_mutex_unlock(&stats_lock);
	b->next = own_blocks;
	own_blocks = b;
	return b;
}

struct dax_stat_block *dax_stat_find(struct dax_window *w)
{
	struct dax_stat_block *b;

	dax_stat_last = NULL; /* may be one that new_block() sweeps away */
	for (b = own_blocks; b; b = b->next)
		if (b->window_id == w->id)
			break;
	if (!b)
		b = new_block(w);
	dax_stat_last = b;
	return b;
}

void dax_count_shared(struct dax_window *w, enum dax_counter c, uint64_t n)
{
	atomic_fetch_add_explicit(&w->shared[c], n, memory_order_relaxed);
}

void dax_stat_window_init(struct dax_window *w)
{
	list_init(&w->stat_blocks);
	pthread_mutex_lock(&stats_lock);
	w->id = ++last_id;
	pthread_mutex_unlock(&stats_lock);
}

void dax_stat_window_done(struct dax_window *w)
{
	struct list *node;

	pthread_mutex_lock(&stats_lock);
	while ((node = list_pop_head(&w->stat_blocks)))
		list_entry(node, struct dax_stat_block, in_window)->window =
			NULL;
	pthread_mutex_unlock(&stats_lock);
}

static void sum(struct dax_window *w, uint64_t n[DAX_COUNTERS])
{
	struct list *pos;
	unsigned c;

	pthread_mutex_lock(&stats_lock);
	for (c = 0; c < DAX_COUNTERS; c++) {
		n[c] = w->retired[c] +
		       atomic_load_explicit(&w->shared[c],
					    memory_order_relaxed);
		list_for_each(pos, &w->stat_blocks)
			n[c] += count_of(list_entry(pos, struct dax_stat_block,
						    in_window), c);
	}
	pthread_mutex_unlock(&stats_lock);
}

void dax_window_stats(const struct dax_window *cw, struct dax_stats *ret)
{
	/* Reading needs the locks. */
	struct dax_window *w = (struct dax_window *)(uintptr_t)cw;
	uint64_t n[DAX_COUNTERS];
	uint32_t i;

	sum(w, n);
	*ret = (struct dax_stats){
		.ranges = w->n_ranges,
		.hits = n[DAX_N_HITS],
		.misses = n[DAX_N_MISSES],
		.setups = n[DAX_N_SETUPS],
		.setup_errors = n[DAX_N_SETUP_ERRORS],
		.races_lost = n[DAX_N_RACES_LOST],
		.upgrades = n[DAX_N_UPGRADES],
		.reclaimed = n[DAX_N_RECLAIMED],
		.reclaimed_inline = n[DAX_N_RECLAIMED_INLINE],
		.prefetched = n[DAX_N_PREFETCHED],
		.bypassed = n[DAX_N_BYPASSED],
		.faults = n[DAX_N_FAULTS],
		.bytes_read = n[DAX_N_BYTES_READ],
		.bytes_written = n[DAX_N_BYTES_WRITTEN],
	};
	for (i = 0; i < DAX_MISSES; i++)
		ret->miss[i] = n[DAX_N_MISS + i];
	pthread_mutex_lock(&w->lock);
	ret->free_ranges = w->n_free;
	ret->mappings = w->n_mappings;
	for (i = 0; i < w->first_new; i++)
		if (w->ranges[i].state == DAX_RANGE_MAPPED &&
		    dax_mapping_is_pinned(w->ranges[i].mapping))
			ret->pinned++;
	pthread_mutex_unlock(&w->lock);
}
