/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of src/dax share with each other and with nobody else. Read
 * the theory of operation at the head of dax.c first.
 *
 *   window.c   ranges, the free list, runs of adjacent ranges
 *   mapping.c  set-up, look-again, upgrade, taking down
 *   index.c    the array that lock-free readers walk
 *   io.c       read and write: hit, miss, bypass
 *   pin.c      contiguous pinned views
 *   reclaim.c  whom to evict; shrinking
 *   admit.c    who is worth evicting somebody for
 *   worker.c   the background thread: refill and prefetch
 *   stats.c    counters per thread
 *   heat.c     how hot ranges are, for who watches
 *   check.c    pictures and the whole-structure check
 */
#ifndef ORIEL_DAX_INTERNAL_H
#define ORIEL_DAX_INTERNAL_H

#include "base/assert.h"
#include "dax/dax.h"

#define DAX_NO_RANGE UINT32_MAX
#define DAX_NO_HANDLE UINT64_MAX
#define DAX_UNMAP_BATCH 128u
#define DAX_PREFETCH_QUEUE 16u

/* ---------------------------------------------------------------- objects */

enum dax_range_state {
	DAX_RANGE_FREE, /* in the free list */
	DAX_RANGE_BUSY, /* somebody is setting it up or taking it down */
	DAX_RANGE_MAPPED,
	DAX_RANGE_LOST, /* map() or unmap() timed out: the peer may still do
			   it, at any time; never used again */
};

/* A pin gathers adjacent ranges: those in use are waited for. */
enum dax_claim {
	DAX_CLAIM_NONE,
	DAX_CLAIM_WAITS, /* whoever gives it back gives it to the pin */
	DAX_CLAIM_HOLDS, /* it has come; BUSY */
};

/* A slot of the window. All fields are guarded by window->lock. */
struct dax_range {
	struct list free_link;
	struct dax_mapping *mapping; /* MAPPED only */
	enum dax_range_state state;
	enum dax_claim claim;
};

/*
 * A file range tied to @n_ranges adjacent window ranges. The first group is
 * what a hit reads; it is constant while the mapping can be found.
 */
struct dax_mapping {
	/* what a hit looks at is one cache line */
	_Alignas(ORIEL_CACHE_LINE) unsigned char *ptr; /* byte at file_start */
	uint64_t file_start;
	_Atomic bool writable;
	_Atomic bool referenced; /* since the clock hand last passed */
	_Atomic bool seen; /* the same, but heat.c took that mark away */
	_Atomic bool is_random;  /* the kernel was told not to read ahead */

	_Atomic unsigned pins; /* raised under inode->lock (either way) */
	uint32_t first_range;
	uint32_t n_ranges;
	struct dax_inode *inode;
	struct itree_node node; /* guarded by inode->lock */
	struct list doomed;     /* of whoever takes it down */
	unsigned uses; /* sweeps that found it referenced; window->lock */
};

/* Exact with the inode's lock held for writing: then pins can only fall. */
static inline bool dax_mapping_is_pinned(const struct dax_mapping *m)
{
	/* pairs with the release in dax_unpin() */
	return atomic_load_explicit(&m->pins, memory_order_acquire) > 0;
}

/* Derived from the tree; written under inode->lock, read without. */
struct dax_index_slot {
	struct dax_mapping *_Atomic m;
	/* Where the file range most likely is in our memory: to have it travel
	 * while the mapping itself is still looked at. No pointer. */
	_Atomic uintptr_t near;
};

struct dax_index {
	size_t n_slots;
	struct dax_index *older; /* replaced; may still have readers */
	struct dax_index_slot slot[];
};

enum dax_counter {
	DAX_N_HITS,
	DAX_N_MISSES,
	DAX_N_SETUPS,
	DAX_N_SETUP_ERRORS,
	DAX_N_RACES_LOST,
	DAX_N_UPGRADES,
	DAX_N_RECLAIMED,
	DAX_N_RECLAIMED_INLINE,
	DAX_N_PREFETCHED,
	DAX_N_BYPASSED,
	DAX_N_FAULTS,
	DAX_N_BYTES_READ,
	DAX_N_BYTES_WRITTEN,
	DAX_N_MISS, /* the first of DAX_MISSES */
	DAX_N_MISS_LAST = DAX_N_MISS + DAX_MISSES - 1,
	DAX_COUNTERS,
};

struct dax_prefetch {
	struct dax_inode *inode; /* its file is held by file_get() */
	uint64_t file_start;
};

struct dax_ghost; /* touch counts of ranges that are not mapped; admit.c */

struct dax_window {
	/* Constant after dax_window_new(); read by every hit. */
	struct dax_config cfg;
	unsigned shift; /* log2 of a range */
	uint32_t n_ranges;
	uint32_t low_water; /* free ranges kept for admitted ones */
	uint64_t id;        /* never used twice in a process; see stats.c */
	struct dax_range *ranges;
	struct dax_ghost *ghost;
	uint8_t *heat; /* of each range, as of the last look; NULL: none. Used
			  by who looks */
	_Atomic bool is_unsupported; /* map() said -ENOSYS */

	/*
	 * Taken after inode->lock, held for a few instructions, never across
	 * a callback that may wait. Guards everything below and all ranges.
	 */
	_Alignas(ORIEL_CACHE_LINE) pthread_mutex_t lock;
	struct list free; /* without the new ones */
	uint32_t first_new; /* from here on none was ever taken: free, and
			       never written */
	_Atomic uint32_t n_free; /* changed under the lock */
	uint32_t n_mappings;
	uint32_t hand;     /* of the clock */
	uint32_t youngest; /* the range that was bound last */

	/* The worker; see worker.c. */
	pthread_cond_t wake;
	pthread_t thread;
	bool has_thread;
	bool is_stopping;
	bool is_kicked;
	struct dax_prefetch queue[DAX_PREFETCH_QUEUE];
	unsigned n_queued;

	/* Guarded by the lock in stats.c. */
	struct list stat_blocks;
	uint64_t retired[DAX_COUNTERS]; /* of threads that have ended */
	_Atomic uint64_t shared[DAX_COUNTERS]; /* no memory for a block */
};

/* --------------------------------------------------------------- window.c */

/*
 * Take one free range, @near if that one is free, else the head of the list,
 * but only if more than @floor are free. 0 or -EBUSY.
 */
ORIEL_MUST_CHECK int dax_ranges_take(struct dax_window *w, uint32_t near,
				     uint32_t floor, uint32_t *ret_first);
/* Take @n adjacent ranges, evicting whoever is in the way. 0 or -ENOSPC. */
ORIEL_MUST_CHECK int dax_ranges_take_run(struct dax_window *w, uint32_t n,
					 uint32_t *ret_first);
/* Back to the tail of the free list (or to the pin that claimed them). */
void dax_ranges_give(struct dax_window *w, uint32_t first, uint32_t n);
/* What becomes of busy ranges when the owner said @err. */
void dax_ranges_settle(struct dax_window *w, uint32_t first, uint32_t n,
		       int err);
/* Tie the ranges of @m to it / untie them, leaving them busy. */
void dax_ranges_bind(struct dax_window *w, struct dax_mapping *m);
void dax_ranges_unbind(struct dax_window *w, struct dax_mapping *m);

/* -------------------------------------------------------------- mapping.c */

/* What a miss is asked to provide. */
struct dax_want {
	uint64_t file_start; /* aligned to ranges */
	uint64_t file_last;  /* inclusive */
	enum dax_intent intent;
	uint64_t fh;
	uint64_t pos; /* the touch behind it, for admission */
	size_t len;
	bool is_prefetch;
	bool is_cheap;  /* not to map costs no round trip */
	bool is_random; /* by what was seen, reading ahead is of no use */
	uint64_t ahead; /* bytes from @pos that are soon stored to; mostly 0 */
	bool is_scanned; /* by dax_touch(): in many small steps, one after the
			    other, whatever others do meanwhile */
	uint32_t touches; /* of the range, this one too; 0: not counted yet */
};

/*
 * Make a mapping exist that covers @want: find it, upgrade it, or set it up.
 * 0; -EBUSY: no range, or not worth one; -EAGAIN: it changed under us, look
 * again; -ENOTCONN, -ENOSYS, -ENOMEM; or the owner's error. Blocks. With
 * @ret_pinned the mapping is returned with one pin more.
 */
ORIEL_MUST_CHECK int dax_fault(struct dax_inode *di,
			       struct dax_want *want,
			       struct dax_mapping **ret_pinned);

/*
 * A mapping that covers [@start, @last]; for DAX_WRITE a writable one if there
 * is one, else a read-only one. NULL: none. Inode lock held, either way.
 */
struct dax_mapping *dax_mapping_find_locked(const struct dax_inode *di,
					    uint64_t start, uint64_t last,
					    enum dax_intent intent);

/* Mappings of one inode on their way out. */
struct dax_doomed {
	struct list mappings;
	struct dax_index *indexes; /* replaced ones that go along */
	int err; /* -ETIMEDOUT: a map() over them may still happen */
};

void dax_doomed_init(struct dax_doomed *d);
/* Make @m unfindable. Inode lock held for writing. */
void dax_doomed_add_locked(struct dax_doomed *d, struct dax_mapping *m);
/*
 * Wait for readers, unmap, give the ranges back, free. Returns the number of
 * ranges. No dax lock of this thread may be held except inode->lock.
 */
uint32_t dax_doomed_finish(struct dax_doomed *d, struct dax_inode *di);

bool dax_window_may_ask(struct dax_window *w);

/* Bytes from which on a step counts as large. */
#define DAX_LARGE_STEP ((size_t)64 << 10)

/* Let the kernel read ahead in @m again. In a read section. */
void dax_mapping_calm(struct dax_mapping *m);
/* Make @len bytes at @pos of the file ready for stores, in place of a fault for
 * each page. In a read section, @m is writable. */
void dax_mapping_fill(struct dax_mapping *m, uint64_t pos, uint64_t len);

/* ---------------------------------------------------------------- index.c */

/* The slot of file range @i, or NULL. */
static inline struct dax_index_slot *dax_index_slot(const struct dax_inode *di,
						    uint64_t i)
{
	/* pairs with the release in index_grow() */
	struct dax_index *ix = atomic_load_explicit(&di->index,
						    memory_order_acquire);

	return ix && i < ix->n_slots ? &ix->slot[i] : NULL;
}

static inline struct dax_mapping *dax_index_get(const struct dax_inode *di,
						uint64_t i)
{
	struct dax_index_slot *slot = dax_index_slot(di, i);

	/* pairs with the release in put_locked() */
	return slot ? atomic_load_explicit(&slot->m, memory_order_acquire) :
		      NULL;
}

void dax_index_add_locked(struct dax_inode *di, struct dax_mapping *m);
void dax_index_remove_locked(struct dax_inode *di, struct dax_mapping *m);
/* Detach what was replaced; free it after the next epoch_synchronize(). */
struct dax_index *dax_index_retire_locked(struct dax_inode *di);
void dax_index_free(struct dax_index *ix);

/* -------------------------------------------------------------- reclaim.c */

/*
 * Evict up to @want ranges by second chance; returns how many became free.
 * No dax lock held. Waits for readers and for REMOVEMAPPING.
 */
uint32_t dax_reclaim(struct dax_window *w, uint32_t want, bool is_inline);
/* Evict the mapping at range @r if nothing pins it. As above. */
uint32_t dax_reclaim_at(struct dax_window *w, uint32_t r);

/* ---------------------------------------------------------------- admit.c */

ORIEL_MUST_CHECK int dax_ghost_new(uint32_t n_ranges, struct dax_ghost **ret);
void dax_ghost_free(struct dax_ghost *g);
/* Count a touch of a range that is not mapped; how many there have been, with
 * large ones counting more than once. At least 1. */
uint32_t dax_touch(struct dax_window *w, struct dax_inode *di,
		   struct dax_want *want);
/* Has it been touched often enough to be mapped though doing without is cheap? */
bool dax_is_patient(const struct dax_window *w, const struct dax_want *want);
/* Not yet: some of its touches do not count any more. */
void dax_admit_later(struct dax_window *w, struct dax_inode *di,
		     const struct dax_want *want);
/* Is there room, or could an eviction be afforded now? Earns a credit if not. A
 * look before anything that costs more. */
bool dax_is_affordable(struct dax_window *w, const struct dax_want *want);
/* Is a range touched so often worth an eviction, and can we afford it? */
bool dax_admit(struct dax_window *w, const struct dax_want *want);
/* Tell the price of evictions how the victim had done. */
void dax_admit_learn(struct dax_window *w, bool was_used_again);
void dax_admit_forget(struct dax_window *w, struct dax_inode *di,
		      uint64_t file_start);

/* --------------------------------------------------------------- worker.c */

/* Free ranges ran below low water. window->lock held. Never waits. */
void dax_worker_kick_locked(struct dax_window *w);
/* A reader passed the middle of the range before @file_start. */
void dax_prefetch_hint(struct dax_inode *di, uint64_t file_start);
void dax_worker_stop(struct dax_window *w);

/* ---------------------------------------------------------------- stats.c */

/* The counters of one thread in one window. */
struct dax_stat_block {
	_Alignas(ORIEL_CACHE_LINE) _Atomic uint64_t n[DAX_COUNTERS];
	uint64_t window_id;        /* constant */
	struct dax_stat_block *next; /* of this thread; owner thread only */
	struct dax_window *window; /* NULL: gone. Guarded by the stats lock */
	struct list in_window;     /* guarded by the stats lock */
};

extern __thread struct dax_stat_block *dax_stat_last
	__attribute__((tls_model("initial-exec")));

/* This thread's block in @w; NULL without memory for one. */
struct dax_stat_block *dax_stat_find(struct dax_window *w)
	__attribute__((cold));
void dax_count_shared(struct dax_window *w, enum dax_counter c, uint64_t n)
	__attribute__((cold));
void dax_stat_window_init(struct dax_window *w);
void dax_stat_window_done(struct dax_window *w);

static inline struct dax_stat_block *dax_stat_block(struct dax_window *w)
{
	struct dax_stat_block *b = dax_stat_last;

	if (ORIEL_LIKELY(b && b->window_id == w->id))
		return b;
	return dax_stat_find(w);
}

/* What it is now. */
static inline uint64_t dax_block_add(struct dax_stat_block *b,
				     enum dax_counter c, uint64_t n)
{
	/* Relaxed, not an atomic addition: only this thread writes it. */
	n += atomic_load_explicit(&b->n[c], memory_order_relaxed);
	atomic_store_explicit(&b->n[c], n, memory_order_relaxed);
	return n;
}

static inline void dax_count(struct dax_window *w, enum dax_counter c,
			     uint64_t n)
{
	struct dax_stat_block *b = dax_stat_block(w);

	if (ORIEL_LIKELY(b != NULL))
		(void)dax_block_add(b, c, n);
	else
		dax_count_shared(w, c, n);
}

#endif
