/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reclaim: whom to evict, and how.
 *
 * WHOM. Second chance: a hand goes round the ranges of the window. A mapping
 * that was referenced since the hand last passed loses the mark and stays; one
 * that was not goes. Pinned mappings, busy ranges and files that are being
 * torn down are passed over. Two rounds without a victim mean that there is
 * none now; nobody waits for one to appear.
 * A mark is worth nothing while the burst of accesses goes on that a mapping
 * was set up for: every range of a scan has that. So the mark is taken away
 * when the next mapping is set up, and only what is used after that counts.
 *
 * HOW. The hand stops at a victim; its inode is held (file_get(), under
 * window->lock, which also keeps the mapping and the inode from going) and
 * neighbours of the same inode join the batch. With window->lock dropped, the
 * inode's lock is taken and every victim looked at again. Then the batch is
 * unlinked, and the rest (wait for readers, one request, give back) needs no
 * lock at all. The faulting thread holds none either while it reclaims
 * (mapping.c), so there is no order to break between inodes.
 *
 * Thread rule: any thread, no dax lock held.
 */
#include "dax/dax_internal.h"

#define SCAN_CHUNK 256u /* ranges looked at in one hold of the lock */

/* Victims of one inode, by range: pointers would not survive the lock. */
struct batch {
	struct dax_inode *inode; /* held */
	uint32_t n;
	uint32_t range[DAX_UNMAP_BATCH];
};

static bool is_mapped(const struct dax_range *r)
{
	return r->state == DAX_RANGE_MAPPED;
}

/* Hold the inode of @m for the batch, or check that it is the batch's. */
static bool batch_holds(struct dax_window *w, struct batch *b,
			const struct dax_mapping *m)
{
	if (b->inode)
		return b->inode == m->inode;
	if (!w->cfg.ops->file_get(w->cfg.owner, m->inode->file))
		return false;
	b->inode = m->inode;
	return true;
}

/* Was it used since the hand last passed? Then not, this time. */
static bool second_chance(struct dax_mapping *m)
{
	/* relaxed: marks, they order nothing */
	if (!atomic_load_explicit(&m->referenced, memory_order_relaxed) &&
	    !atomic_load_explicit(&m->seen, memory_order_relaxed))
		return false;
	atomic_store_explicit(&m->referenced, false, memory_order_relaxed);
	atomic_store_explicit(&m->seen, false, memory_order_relaxed);
	m->uses++;
	return true;
}

/*
 * Move the hand over at most @steps ranges. Returns the steps taken: fewer if
 * the batch has @want ranges, or if, having some, it met a victim of another
 * inode.
 */
static uint32_t sweep_locked(struct dax_window *w, uint32_t steps,
			     uint32_t want, struct batch *b)
{
	struct dax_mapping *m;
	struct dax_range *r;
	uint32_t i;

	for (i = 0; i < steps && b->n < want; i++) {
		r = &w->ranges[w->hand];
		m = r->mapping;
		if (is_mapped(r) && w->hand == m->first_range &&
		    !dax_mapping_is_pinned(m) && !second_chance(m)) {
			if (batch_holds(w, b, m))
				b->range[b->n++] = w->hand;
			else if (b->inode)
				break;
		}
		w->hand = (w->hand + 1) % w->n_ranges;
	}
	return i;
}

static void find_victims(struct dax_window *w, uint32_t want, struct batch *b)
{
	uint64_t left = 2 * (uint64_t)w->n_ranges;
	uint32_t chunk, done;

	want = (uint32_t)min_u64(want, ARRAY_LEN(b->range));
	do {
		chunk = (uint32_t)min_u64(left, SCAN_CHUNK);
		pthread_mutex_lock(&w->lock);
		done = sweep_locked(w, chunk, want, b);
		pthread_mutex_unlock(&w->lock);
		left -= done;
	} while (left > 0 && done == chunk && b->n == 0);
}

/* The mapping that starts at range @r now, if it may go. Inode lock held for
 * writing: it stays as it is. */
static struct dax_mapping *victim_locked(struct dax_window *w,
					 struct dax_inode *di, uint32_t r)
{
	struct dax_mapping *m = NULL;

	pthread_mutex_lock(&w->lock);
	if (is_mapped(&w->ranges[r]) && w->ranges[r].mapping->inode == di)
		m = w->ranges[r].mapping;
	pthread_mutex_unlock(&w->lock);
	return m && !dax_mapping_is_pinned(m) ? m : NULL;
}

/* Evict the batch and let its inode go. */
static uint32_t evict(struct dax_window *w, const struct batch *b, bool learn)
{
	struct dax_inode *di = b->inode;
	void *file = di->file;
	struct dax_mapping *m;
	struct dax_doomed d;
	uint32_t i, n;

	dax_doomed_init(&d);
	pthread_rwlock_wrlock(&di->lock);
	for (i = 0; i < b->n; i++) {
		m = victim_locked(w, di, b->range[i]);
		if (!m)
			continue;
		dax_doomed_add_locked(&d, m);
		/* No longer the sweep's: its count may be read. */
		if (learn)
			dax_admit_learn(w, m->uses > 0);
	}
	pthread_rwlock_unlock(&di->lock);
	n = dax_doomed_finish(&d, di);
	dax_count(w, DAX_N_RECLAIMED, n);
	/* May tear the inode down: nothing of ours is held. */
	w->cfg.ops->file_put(w->cfg.owner, file);
	return n;
}

uint32_t dax_reclaim(struct dax_window *w, uint32_t want, bool is_inline)
{
	struct batch b = { .n = 0 };
	uint32_t n;

	find_victims(w, want, &b);
	if (!b.inode)
		return 0;
	n = evict(w, &b, true);
	if (is_inline)
		dax_count(w, DAX_N_RECLAIMED_INLINE, n);
	return n;
}

uint32_t dax_reclaim_at(struct dax_window *w, uint32_t r)
{
	struct batch b = { .n = 0 };

	pthread_mutex_lock(&w->lock);
	if (is_mapped(&w->ranges[r]) && !dax_mapping_is_pinned(w->ranges[r].mapping) &&
	    batch_holds(w, &b, w->ranges[r].mapping))
		b.range[b.n++] = r;
	pthread_mutex_unlock(&w->lock);
	if (!b.inode)
		return 0;
	return evict(w, &b, false);
}

/* --------------------------------------------------------------- shrinking */

void dax_inode_shrink(struct dax_inode *di)
{
	struct itree_node *n, *next;
	struct dax_mapping *m;
	struct dax_doomed d;

	if (!di->window)
		return;
	dax_doomed_init(&d);
	pthread_rwlock_wrlock(&di->lock);
	for (n = itree_first(&di->tree, 0, UINT64_MAX); n; n = next) {
		next = itree_next(n, 0, UINT64_MAX);
		m = container_of(n, struct dax_mapping, node);
		if (!dax_mapping_is_pinned(m))
			dax_doomed_add_locked(&d, m);
	}
	pthread_rwlock_unlock(&di->lock);
	dax_count(di->window, DAX_N_RECLAIMED, dax_doomed_finish(&d, di));
}

/* Hold the inode of the first idle mapping at or after *@r; NULL: none. */
static struct dax_inode *next_idle(struct dax_window *w, uint32_t *r)
{
	struct batch b = { .n = 0 };

	pthread_mutex_lock(&w->lock);
	for (; *r < w->first_new && !b.inode; (*r)++)
		if (is_mapped(&w->ranges[*r]) &&
		    !dax_mapping_is_pinned(w->ranges[*r].mapping))
			batch_holds(w, &b, w->ranges[*r].mapping);
	pthread_mutex_unlock(&w->lock);
	return b.inode;
}

void dax_window_shrink(struct dax_window *w)
{
	struct dax_inode *di;
	uint32_t r = 0;

	while ((di = next_idle(w, &r))) {
		dax_inode_shrink(di);
		w->cfg.ops->file_put(w->cfg.owner, di->file);
	}
}
