/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The index of an inode: an array with one slot a file range, pointing at a
 * mapping that covers it, and at the memory itself, which a hit has travel while it
 * looks at the mapping. Derived from the tree, so it may know less than the
 * tree (no memory to grow, file range beyond the cap): an empty slot proves
 * nothing, a full one is always right.
 *
 * Where several mappings cover one file range (a pin over several ranges, a
 * second one because the first was pinned read-only) the slot prefers a
 * writable one.
 *
 * Growing replaces the array. Readers may still walk the old one, so it hangs
 * on the new one until somebody waits for readers anyway. Sizes double: what
 * waits is never more than what is in use. A mapping that is removed need not
 * be removed from replaced arrays: whoever still reads one entered before the
 * removal, and is waited for.
 *
 * Thread rule: _locked ones with inode->lock held for writing.
 */
#include "dax/dax_internal.h"

#include <stdlib.h>

#define INDEX_MIN_SLOTS 16u
#define INDEX_MAX_SLOTS (1u << 20)

static size_t slots_for(uint64_t last)
{
	size_t n = INDEX_MIN_SLOTS;

	while (n <= last)
		n *= 2;
	return n;
}

/* Slot @i from now on says @m; NULL: nothing. */
static void put_locked(const struct dax_inode *di, struct dax_index *ix,
		       uint64_t i, struct dax_mapping *m)
{
	struct dax_index_slot *slot = &ix->slot[i];
	uint64_t pos = i << di->window->shift;

	/* relaxed: a hint */
	atomic_store_explicit(&slot->near,
			      m ? (uintptr_t)m->ptr + (pos - m->file_start) : 0,
			      memory_order_relaxed);
	/* release: the fields of @m; with dax_index_get() */
	atomic_store_explicit(&slot->m, m, memory_order_release);
}

/* The index with room for file range @last, or NULL: beyond the cap, or no
 * memory. */
static struct dax_index *index_grow(struct dax_inode *di, uint64_t last)
{
	/* relaxed: only changed under the lock we hold */
	struct dax_index *old = atomic_load_explicit(&di->index,
						     memory_order_relaxed);
	struct dax_index *ix;
	size_t n, i;

	if (old && last < old->n_slots)
		return old;
	if (last >= INDEX_MAX_SLOTS)
		return NULL;
	n = slots_for(last);
	ix = calloc(1, sizeof(*ix) + n * sizeof(ix->slot[0]));
	if (!ix)
		return NULL;
	ix->n_slots = n;
	ix->older = old;
	for (i = 0; old && i < old->n_slots; i++)
		put_locked(di, ix, i,
			   atomic_load_explicit(&old->slot[i].m,
						memory_order_relaxed));
	/* pairs with the acquire in dax_index_get() */
	atomic_store_explicit(&di->index, ix, memory_order_release);
	return ix;
}

/* Is @m a better answer than @have? Writable ones serve both intents. */
static bool is_better(struct dax_mapping *m, struct dax_mapping *have)
{
	if (!have)
		return true;
	return atomic_load_explicit(&m->writable, memory_order_relaxed) &&
	       !atomic_load_explicit(&have->writable, memory_order_relaxed);
}

void dax_index_add_locked(struct dax_inode *di, struct dax_mapping *m)
{
	uint64_t first = m->node.start >> di->window->shift;
	uint64_t last = m->node.last >> di->window->shift, i;
	struct dax_index *ix = index_grow(di, last);
	struct dax_mapping *have;

	for (i = first; ix && i <= last; i++) {
		have = atomic_load_explicit(&ix->slot[i].m,
					    memory_order_relaxed);
		if (is_better(m, have))
			put_locked(di, ix, i, m);
	}
}

void dax_index_remove_locked(struct dax_inode *di, struct dax_mapping *m)
{
	struct dax_index *ix = atomic_load_explicit(&di->index,
						    memory_order_relaxed);
	unsigned shift = di->window->shift;
	uint64_t first = m->node.start >> shift, last = m->node.last >> shift;
	struct dax_mapping *other;
	uint64_t i;

	for (i = first; ix && i <= last && i < ix->n_slots; i++) {
		if (atomic_load_explicit(&ix->slot[i].m,
					 memory_order_relaxed) != m)
			continue;
		other = dax_mapping_find_locked(
			di, i << shift,
			(i << shift) + (UINT64_C(1) << shift) - 1, DAX_WRITE);
		put_locked(di, ix, i, other);
	}
}

struct dax_index *dax_index_retire_locked(struct dax_inode *di)
{
	struct dax_index *ix = atomic_load_explicit(&di->index,
						    memory_order_relaxed);
	struct dax_index *older = NULL;

	if (ix) {
		older = ix->older;
		ix->older = NULL;
	}
	return older;
}

void dax_index_free(struct dax_index *ix)
{
	struct dax_index *older;

	for (; ix; ix = older) {
		older = ix->older;
		free(ix);
	}
}
