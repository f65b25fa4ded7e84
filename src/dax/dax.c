/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The DAX engine: windows and inodes come and go here.
 *
 * THEORY OF OPERATION
 *
 * Objects. A WINDOW is one region of shared memory, cut into equal RANGES. A
 * MAPPING ties a piece of a file, one range long and aligned to ranges, to a
 * range of the window (a pinned one: several ranges long, to as many adjacent
 * ones). An INODE has its mappings in an interval TREE, and the same once more
 * in an INDEX, an array by file range that readers walk without a lock. The
 * OWNER is whoever uses us: it has the connection, and it is asked to make
 * file bytes appear at a window offset, and to make them go.
 *
 *	file    |  0  |  1  |  2  |  3  |  4  |         file ranges
 *	              \      \________
 *	index   [ - ]  [ * ]  [ * ]  [ - ]  [ - ]       what readers load
 *	                |      |
 *	tree           (m1)   (m2)                      the truth
 *	                |      |________
 *	window  |  0  |  1  |  2  |  3  |  4  |         ranges: free, busy, mapped
 *
 * The life of a mapping.
 *
 *	            take a range         owner maps it
 *	   (free) --------------> busy ---------------> READ-ONLY --+
 *	     ^                     ^ |                    |   |     | upgrade:
 *	     |       map failed    | | for a write        |   |     | map again
 *	     +---------------------+ +--------------> WRITABLE <----+
 *	     |                                            |   |
 *	     |     unmapped       readers left            |   |  evicted, shrunk,
 *	     +------------- busy <------------- unlinked <+---+  inode gone
 *
 * PINNED is not a state but a count, on a read-only or a writable mapping: the
 * arrows to "unlinked" are closed while it is not zero. REFERENCED is a mark
 * on either, set by copies and cleared by the clock of reclaim.
 *
 * Invariants (dax_window_is_valid() checks them).
 *  1. A range is in the free list, or busy and somebody's local business, or
 *     bound to exactly one mapping, or lost; never two of these.
 *  2. A mapping is bound to ranges if and only if it is in its inode's tree.
 *  3. An index slot that is not empty points at a mapping in the tree that
 *     covers its file range. An empty slot says nothing.
 *  4. Ptr, file_start and the ranges of a mapping do not change while it can
 *     be found; writable only goes from false to true.
 *  5. A mapping is unlinked only under its inode's write lock and only without
 *     pins; it is unmapped and its ranges are used again only after every
 *     reader that may have found it has left.
 *  6. A file range is asked for at most once at a time: map() is called under
 *     the inode's write lock after a look at the tree.
 *
 * Locks, in the order in which they are taken:
 *	inode->lock    (rwlock) the tree, n_mappings, stores to the index, and
 *	               raising pins. Held across map(), never across unmap()
 *	               except when upgrading with a peer that cannot replace.
 *	window->lock   (mutex) ranges, free list, clock, prefetch queue. A few
 *	               instructions; file_get() is called under it.
 *	stats lock     blocks of counters. A leaf.
 * Two inode locks are never held together: eviction, which locks the victim's
 * inode, is always done before the faulting inode is locked, or after.
 *
 * Why lookups need no lock. A reader enters an epoch section, loads the index
 * and its slot, and copies. Whoever wants a mapping gone first clears the slot
 * and then waits for all sections that were open: a reader either does not see
 * the mapping, or is waited for. The same holds for the index when it is
 * replaced by a larger one. Inside a section a thread may fault on a page but
 * waits for no lock and for no peer, so the wait ends.
 *
 * What reclaim may take. Any mapping of any inode that is not pinned, not
 * busy, and whose file the owner lets us hold (file_get()). Never one that was
 * referenced since the clock last came by, unless everything was. A file that
 * is being torn down is left to dax_inode_done(). When free ranges have run
 * out, a miss must be worth an eviction (admit.c), else it goes by message.
 *
 * What failure costs. A set-up that fails costs a message instead. A session
 * that is gone leaves what is mapped readable: nothing is asked any more,
 * lookups go on. No error of the owner, no lack of memory, range or thread
 * stops a read that a message could serve.
 *
 * Thread rule: any thread, except where dax.h says otherwise.
 */
#include "dax/dax_internal.h"

#include <errno.h>
#include <stdlib.h>

/* Evict in the background below a sixteenth of the window, 64 ranges at most. */
#define LOW_WATER_PARTS 16u
#define LOW_WATER_MAX 64u

/* Nothing is written to them: 1 MiB of 64 GiB would become memory. */
static void ranges_init(struct dax_window *w)
{
	_Static_assert(!DAX_RANGE_FREE && !DAX_CLAIM_NONE, "as calloc() left");
	list_init(&w->free);
	w->first_new = 0;
	w->n_free = w->n_ranges;
}

static int window_init(struct dax_window *w)
{
	int err;

	w->ranges = calloc(w->n_ranges, sizeof(*w->ranges));
	if (!w->ranges)
		return -ENOMEM;
	err = dax_ghost_new(w->n_ranges, &w->ghost);
	if (err)
		goto err_ranges;
	err = -pthread_mutex_init(&w->lock, NULL);
	if (err)
		goto err_ghost;
	err = -pthread_cond_init(&w->wake, NULL);
	if (err)
		goto err_lock;
	ranges_init(w);
	dax_stat_window_init(w);
	return 0;

err_lock:
	pthread_mutex_destroy(&w->lock);
err_ghost:
	dax_ghost_free(w->ghost);
err_ranges:
	free(w->ranges);
	return err;
}

static bool config_is_valid(const struct dax_config *cfg)
{
	return is_pow2(cfg->range_bytes) && cfg->bytes >= cfg->range_bytes &&
	       cfg->bytes / cfg->range_bytes < DAX_NO_RANGE && cfg->ops;
}

int dax_window_new(const struct dax_config *cfg, struct dax_window **ret)
{
	struct dax_window *w;
	int err;

	if (!config_is_valid(cfg))
		return -EINVAL;
	w = aligned_alloc(ORIEL_CACHE_LINE, sizeof(*w));
	if (!w)
		return -ENOMEM;
	*w = (struct dax_window){ .cfg = *cfg };
	w->shift = (unsigned)__builtin_ctzll(cfg->range_bytes);
	w->n_ranges = (uint32_t)(cfg->bytes >> w->shift);
	if (cfg->background)
		w->low_water = (uint32_t)min_u64(w->n_ranges / LOW_WATER_PARTS,
						 LOW_WATER_MAX);
	err = window_init(w);
	if (err) {
		free(w);
		return err;
	}
	*ret = w;
	return 0;
}

void dax_window_free(struct dax_window *w)
{
	if (!w)
		return;
	dax_window_stop(w);
	oriel_assert(w->n_mappings == 0);
	dax_stat_window_done(w);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	dax_ghost_free(w->ghost);
	free(w->heat);
	free(w->ranges);
	free(w);
}

uint64_t dax_window_range_bytes(const struct dax_window *w)
{
	return UINT64_C(1) << w->shift;
}

/* ------------------------------------------------------------------ inodes */

void dax_inode_init(struct dax_inode *di, struct dax_window *w, void *file)
{
	*di = (struct dax_inode){ .window = w, .file = file };
	/* Without attributes this cannot fail. */
	pthread_rwlock_init(&di->lock, NULL);
	itree_init(&di->tree);
	atomic_init(&di->index, NULL);
	atomic_init(&di->next_seq, 0);
	atomic_init(&di->run_end, 0);
	atomic_init(&di->run_bytes, 0);
}

/* Row A25. The locks are for reclaim, which may be looking at our mappings
 * from the window's side until they are unbound. */
static void remove_all(struct dax_inode *di)
{
	struct dax_mapping *m;
	struct itree_node *n;
	struct dax_doomed d;

	dax_doomed_init(&d);
	pthread_rwlock_wrlock(&di->lock);
	while ((n = itree_first(&di->tree, 0, UINT64_MAX))) {
		m = container_of(n, struct dax_mapping, node);
		oriel_assert(!dax_mapping_is_pinned(m));
		dax_doomed_add_locked(&d, m);
	}
	pthread_rwlock_unlock(&di->lock);
	dax_doomed_finish(&d, di);
}

void dax_inode_done(struct dax_inode *di)
{
	if (di->window) {
		remove_all(di);
		oriel_assert(di->n_mappings == 0);
		/* No reader: by contract no other thread uses the inode. */
		dax_index_free(atomic_load_explicit(&di->index,
						    memory_order_relaxed));
		atomic_store_explicit(&di->index, NULL, memory_order_relaxed);
	}
	pthread_rwlock_destroy(&di->lock);
}

void dax_inode_invalidate(struct dax_inode *di, uint64_t pos, uint64_t len)
{
	struct dax_window *w = di->window;
	uint64_t first, last, i;

	if (!w || !len)
		return;
	atomic_store_explicit(&di->next_seq, 0, memory_order_relaxed);
	first = pos >> w->shift;
	last = (pos + min_u64(len - 1, UINT64_MAX - pos)) >> w->shift;
	/* Touch counts wear off by themselves: for a huge piece let them. */
	for (i = first; i <= last && i - first < w->n_ranges; i++)
		dax_admit_forget(w, di, i << w->shift);
}
