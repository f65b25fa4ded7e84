/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mappings: how one comes to be, gets writable, and goes.
 *
 * Set-up (row A14): look under the read lock; drop it; take ranges, which may
 * mean evicting and so needs that no inode lock is held; take the write lock
 * and look AGAIN, because another thread may have been through here; only then
 * ask the owner. The owner's round trip happens under the write lock: that is
 * what makes two threads that miss the same range send one request. Hits do
 * not notice.
 *
 * Upgrade (row B4): a mapping set up for reading is asked for once more, with
 * write access. If the peer replaces in place, readers see either the old or
 * the new pages, which are the same bytes. If it does not, the mapping is
 * first made unfindable, left by its readers, and removed. Pinned ones cannot
 * be removed: the writer then gets a second, writable mapping of its own.
 *
 * Taking down is three steps: unlink (under inode->lock, cheap), wait for the
 * readers that may have found it, ask the owner and give the ranges back. The
 * last two need no lock, as nobody can find the mappings any more and their
 * ranges are busy; many mappings share one wait and one request.
 *
 * Thread rule: any thread; lock order inode->lock, then window->lock.
 */
#include "dax/dax_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#include "base/epoch.h"
#include "base/log.h"
#include "dax/guard.h"

static uint64_t window_off(const struct dax_window *w,
			   const struct dax_mapping *m)
{
	return (uint64_t)m->first_range << w->shift;
}

static uint64_t mapping_bytes(const struct dax_window *w,
			      const struct dax_mapping *m)
{
	return (uint64_t)m->n_ranges << w->shift;
}

bool dax_window_may_ask(struct dax_window *w)
{
	return !atomic_load_explicit(&w->is_unsupported,
				     memory_order_relaxed) &&
	       w->cfg.ops->is_connected(w->cfg.owner);
}

struct dax_mapping *dax_mapping_find_locked(const struct dax_inode *di,
					    uint64_t start, uint64_t last,
					    enum dax_intent intent)
{
	struct dax_mapping *m, *second_best = NULL;
	struct itree_node *n;

	for (n = itree_first(&di->tree, start, last); n;
	     n = itree_next(n, start, last)) {
		m = container_of(n, struct dax_mapping, node);
		if (n->start > start || n->last < last)
			continue;
		if (intent == DAX_READ ||
		    atomic_load_explicit(&m->writable, memory_order_relaxed))
			return m;
		second_best = m;
	}
	return second_best;
}

/* The window range after the one that holds the bytes before @start. */
static uint32_t next_to_locked(const struct dax_inode *di, uint64_t start)
{
	struct dax_mapping *m;
	struct itree_node *n;

	n = start ? itree_first(&di->tree, start - 1, start - 1) : NULL;
	if (!n || n->last != start - 1)
		return DAX_NO_RANGE;
	m = container_of(n, struct dax_mapping, node);
	return m->first_range + m->n_ranges;
}

static void link_locked(struct dax_inode *di, struct dax_mapping *m)
{
	itree_insert(&di->tree, &m->node);
	di->n_mappings++;
	dax_ranges_bind(di->window, m);
	dax_index_add_locked(di, m);
}

static void unlink_locked(struct dax_inode *di, struct dax_mapping *m)
{
	itree_remove(&di->tree, &m->node);
	di->n_mappings--;
	dax_ranges_unbind(di->window, m);
	dax_index_remove_locked(di, m);
}

/* -------------------------------------------------------- asking the owner */

static int ask_map(struct dax_inode *di, const struct dax_mapping *m,
		   uint64_t fh, bool writable)
{
	struct dax_window *w = di->window;
	const struct dax_map_request req = {
		.file = di->file,
		.fh = fh,
		.file_off = m->node.start,
		.window_off = window_off(w, m),
		.len = mapping_bytes(w, m),
		.writable = writable,
	};
	int err = w->cfg.ops->map(w->cfg.owner, &req);

	if (err >= 0)
		return 0;
	dax_count(w, DAX_N_SETUP_ERRORS, 1);
	if (err == -ENOSYS)
		atomic_store_explicit(&w->is_unsupported, true,
				      memory_order_relaxed);
	log_info("dax: mapping %llu bytes at %llu of a file failed: %d",
		 (unsigned long long)req.len, (unsigned long long)req.file_off,
		 err);
	/* These two mean something of ours to our callers. */
	return err == -EBUSY || err == -EAGAIN ? -ENOMEM : err;
}

/* 0, or -ETIMEDOUT: it may still be done, later. Other errors are the owner's
 * to tell of. */
static int ask_unmap(struct dax_inode *di,
		     const struct dax_unmap_request *reqs, unsigned n)
{
	struct dax_window *w = di->window;
	int err = 0;

	/* A peer that is gone cleans up by itself (row A26). */
	if (n > 0 && w->cfg.ops->is_connected(w->cfg.owner))
		err = w->cfg.ops->unmap(w->cfg.owner, di->file, reqs, n);
	return err == -ETIMEDOUT ? err : 0;
}

/* ------------------------------------------------------------------ advice */

/*
 * A page that is not in memory is read with what the device's read-ahead puts
 * around it, megabytes, unless we say that this is of no use. Only advice: it
 * does not matter if it is not taken.
 */
static void advise(struct dax_mapping *m, bool is_random)
{
	size_t len = (size_t)m->n_ranges << m->inode->window->shift;

	atomic_store_explicit(&m->is_random, is_random, memory_order_relaxed);
	madvise(m->ptr, len, is_random ? MADV_RANDOM : MADV_NORMAL);
}

void dax_mapping_calm(struct dax_mapping *m)
{
	if (atomic_load_explicit(&m->is_random, memory_order_relaxed))
		advise(m, false);
}

/* Only advice, too: the kernel may not know it (before 5.14), the file may be
 * shorter by now. Whoever stores there takes the faults then. */
void dax_mapping_fill(struct dax_mapping *m, uint64_t pos, uint64_t len)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t off = align_down(pos - m->file_start, page);
	uint64_t have = mapping_bytes(m->inode->window, m) - off;

	madvise(m->ptr + off, (size_t)min_u64(len, have), MADV_POPULATE_WRITE);
}

/* ------------------------------------------------------------------ set-up */

/* The ranges at *@first are gone (DAX_NO_RANGE) once the owner was asked. */
static int setup_locked(struct dax_inode *di, const struct dax_want *want,
			uint32_t *first, struct dax_mapping **ret)
{
	struct dax_window *w = di->window;
	struct dax_mapping *m = aligned_alloc(ORIEL_CACHE_LINE, sizeof(*m));
	int err;

	if (!m)
		return -ENOMEM;
	memset(m, 0, sizeof(*m));
	m->inode = di;
	m->first_range = *first;
	m->file_start = want->file_start;
	m->node.start = want->file_start;
	m->node.last = want->file_last;
	m->n_ranges = (uint32_t)((want->file_last - want->file_start + 1) >>
				 w->shift);
	m->ptr = w->cfg.base + window_off(w, m);
	atomic_init(&m->writable, want->intent == DAX_WRITE);
	/* The copy behind this miss is still to come: not the next victim. */
	atomic_init(&m->referenced, !want->is_prefetch);
	atomic_init(&m->seen, false);
	atomic_init(&m->is_random, false);
	atomic_init(&m->pins, 0);
	list_init(&m->doomed);

	err = ask_map(di, m, want->fh, want->intent == DAX_WRITE);
	if (err) {
		dax_ranges_settle(w, *first, m->n_ranges, err);
		*first = DAX_NO_RANGE;
		free(m);
		return err;
	}
	*first = DAX_NO_RANGE;
	if (want->is_random)
		advise(m, true);
	dax_count(w, DAX_N_SETUPS, 1);
	if (want->is_prefetch)
		dax_count(w, DAX_N_PREFETCHED, 1);
	link_locked(di, m);
	*ret = m;
	return 0;
}

/* ------------------------------------------------------------------ upgrade */

/* Did the peer refuse before it touched what was there? */
static bool is_refusal(int err)
{
	return err == -EROFS || err == -EACCES || err == -EPERM;
}

static int upgrade_in_place_locked(struct dax_inode *di, struct dax_mapping *m,
				   uint64_t fh)
{
	int err = ask_map(di, m, fh, true);
	struct dax_doomed d;

	if (err) {
		/* In doubt the old mapping is not what it was: drop it. */
		if (!is_refusal(err) && !dax_mapping_is_pinned(m)) {
			dax_doomed_init(&d);
			d.err = err;
			dax_doomed_add_locked(&d, m);
			dax_doomed_finish(&d, di);
		}
		return err;
	}
	/* release: a writer that sees it finds the new pages; with io.c */
	atomic_store_explicit(&m->writable, true, memory_order_release);
	dax_index_add_locked(di, m);
	return 0;
}

static int upgrade_anew_locked(struct dax_inode *di, struct dax_mapping *m,
			       uint64_t fh)
{
	struct dax_window *w = di->window;
	const struct dax_unmap_request req = {
		.window_off = window_off(w, m),
		.len = mapping_bytes(w, m),
	};
	int err;

	unlink_locked(di, m);
	epoch_synchronize();
	err = ask_unmap(di, &req, 1);
	if (!err)
		err = ask_map(di, m, fh, true);
	if (err) {
		dax_ranges_settle(w, m->first_range, m->n_ranges, err);
		free(m);
		return err;
	}
	atomic_store_explicit(&m->writable, true, memory_order_relaxed);
	link_locked(di, m);
	return 0;
}

static int upgrade_locked(struct dax_inode *di, struct dax_mapping *m,
			  uint64_t fh)
{
	struct dax_window *w = di->window;
	int err;

	if (w->cfg.replace_in_place)
		err = upgrade_in_place_locked(di, m, fh);
	else
		err = upgrade_anew_locked(di, m, fh);
	if (!err)
		dax_count(w, DAX_N_UPGRADES, 1);
	return err;
}

/* -------------------------------------------------------------------- fault */

enum look {
	LOOK_READY,
	LOOK_UPGRADE, /* there, read-only, and can be made writable */
	LOOK_MISSING,
};

static enum look look_locked(struct dax_inode *di, const struct dax_want *want,
			     struct dax_mapping **ret)
{
	struct dax_mapping *m;

	m = dax_mapping_find_locked(di, want->file_start, want->file_last,
				    want->intent);
	*ret = m;
	if (!m)
		return LOOK_MISSING;
	if (want->intent == DAX_READ ||
	    atomic_load_explicit(&m->writable, memory_order_relaxed))
		return LOOK_READY;
	if (!di->window->cfg.replace_in_place && dax_mapping_is_pinned(m))
		return LOOK_MISSING;
	return LOOK_UPGRADE;
}

static void pin(struct dax_mapping *m, struct dax_mapping **ret_pinned)
{
	if (!ret_pinned)
		return;
	atomic_fetch_add_explicit(&m->pins, 1, memory_order_relaxed);
	*ret_pinned = m;
}

/* Ranges for a missing mapping. No lock held: it may have to evict. */
static int get_ranges(struct dax_inode *di, struct dax_want *want,
		      uint32_t next_to, bool is_pin, uint32_t *ret_first)
{
	struct dax_window *w = di->window;
	uint64_t n = (want->file_last - want->file_start + 1) >> w->shift;
	int attempt;

	if (is_pin && n > 1)
		return n > w->n_ranges ? -ENOSPC :
		       dax_ranges_take_run(w, (uint32_t)n, ret_first);
	if (!dax_ranges_take(w, next_to, is_pin ? 0 : w->low_water, ret_first))
		return 0;
	if (!is_pin && want->is_prefetch)
		return -EBUSY;
	if (!is_pin && !want->touches)
		want->touches = dax_touch(w, di, want);
	if (!is_pin && !dax_admit(w, want))
		return -EBUSY;
	for (attempt = 0; attempt < 3; attempt++) {
		if (!dax_ranges_take(w, next_to, 0, ret_first))
			return 0;
		if (!dax_reclaim(w, 1, true))
			break;
	}
	return is_pin ? -ENOSPC : -EBUSY;
}

/* The second look, with the write lock and, if it was missing, ranges at
 * @first. Whether those were used shows in *@first. */
static int provide_locked(struct dax_inode *di, const struct dax_want *want,
			  uint32_t *first, struct dax_mapping **ret)
{
	switch (look_locked(di, want, ret)) {
	case LOOK_READY:
		if (*first != DAX_NO_RANGE)
			dax_count(di->window, DAX_N_RACES_LOST, 1);
		return 0;
	case LOOK_UPGRADE:
		return upgrade_locked(di, *ret, want->fh);
	case LOOK_MISSING:
		break;
	}
	if (*first == DAX_NO_RANGE)
		return -EAGAIN; /* was to be upgraded, and is gone */
	return setup_locked(di, want, first, ret);
}

int dax_fault(struct dax_inode *di, struct dax_want *want,
	      struct dax_mapping **ret_pinned)
{
	struct dax_window *w = di->window;
	uint32_t next_to, first = DAX_NO_RANGE;
	uint64_t bytes = want->file_last - want->file_start + 1;
	struct dax_mapping *m;
	enum look look;
	int err;

	oriel_assert(is_aligned(want->file_start, UINT64_C(1) << w->shift));
	pthread_rwlock_rdlock(&di->lock);
	look = look_locked(di, want, &m);
	if (look == LOOK_READY)
		pin(m, ret_pinned);
	next_to = next_to_locked(di, want->file_start);
	pthread_rwlock_unlock(&di->lock);
	if (look == LOOK_READY)
		return 0;

	if (!dax_window_may_ask(w))
		return -ENOTCONN;
	err = guard_install();
	if (!err && look == LOOK_MISSING)
		err = get_ranges(di, want, next_to, ret_pinned != NULL, &first);
	if (err)
		return err;

	pthread_rwlock_wrlock(&di->lock);
	err = provide_locked(di, want, &first, &m);
	if (!err)
		pin(m, ret_pinned);
	pthread_rwlock_unlock(&di->lock);
	if (first != DAX_NO_RANGE)
		dax_ranges_give(w, first, (uint32_t)(bytes >> w->shift));
	return err;
}

/* ------------------------------------------------------------- taking down */

void dax_doomed_init(struct dax_doomed *d)
{
	list_init(&d->mappings);
	d->indexes = NULL;
	d->err = 0;
}

void dax_doomed_add_locked(struct dax_doomed *d, struct dax_mapping *m)
{
	struct dax_inode *di = m->inode;

	unlink_locked(di, m);
	list_add_tail(&d->mappings, &m->doomed);
	if (!d->indexes)
		d->indexes = dax_index_retire_locked(di);
}

/* 0, or -ETIMEDOUT if any of the requests did. */
static int unmap_all(struct dax_doomed *d, struct dax_inode *di)
{
	struct dax_unmap_request reqs[DAX_UNMAP_BATCH];
	struct dax_mapping *m;
	struct list *pos;
	unsigned n = 0;
	int err = 0, r;

	list_for_each(pos, &d->mappings) {
		m = list_entry(pos, struct dax_mapping, doomed);
		reqs[n].window_off = window_off(di->window, m);
		reqs[n].len = mapping_bytes(di->window, m);
		if (++n == ARRAY_LEN(reqs)) {
			r = ask_unmap(di, reqs, n);
			err = r ? r : err;
			n = 0;
		}
	}
	r = ask_unmap(di, reqs, n);
	return r ? r : err;
}

uint32_t dax_doomed_finish(struct dax_doomed *d, struct dax_inode *di)
{
	struct dax_mapping *m;
	struct list *node;
	uint32_t n = 0;
	int err;

	if (list_is_empty(&d->mappings))
		return 0;
	epoch_synchronize();
	dax_index_free(d->indexes);
	err = unmap_all(d, di);
	err = err ? err : d->err;
	while ((node = list_pop_head(&d->mappings))) {
		m = list_entry(node, struct dax_mapping, doomed);
		/* Usable again even if the owner failed (row A25). */
		dax_ranges_settle(di->window, m->first_range, m->n_ranges,
				  err);
		if (err != -ETIMEDOUT)
			n += m->n_ranges;
		free(m);
	}
	return n;
}
