/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Looking at a window from outside: a picture for people, and the check of
 * the invariants (dax.c) for tests. The picture may be taken at any time; the
 * check needs that no other thread is inside.
 */
#include "dax/dax_internal.h"

static char range_char(const struct dax_range *r)
{
	struct dax_mapping *m = r->mapping;
	bool writable, referenced;

	if (r->state != DAX_RANGE_MAPPED)
		return r->state == DAX_RANGE_FREE ? '.' : '~';
	if (dax_mapping_is_pinned(m))
		return '#';
	writable = atomic_load_explicit(&m->writable, memory_order_relaxed);
	referenced = atomic_load_explicit(&m->referenced,
					  memory_order_relaxed) ||
		     atomic_load_explicit(&m->seen, memory_order_relaxed);
	if (referenced)
		return writable ? 'W' : 'R';
	return writable ? 'w' : 'r';
}

size_t dax_window_picture(struct dax_window *w, char *buf, size_t len)
{
	size_t i;

	pthread_mutex_lock(&w->lock);
	for (i = 0; i < w->n_ranges && i < len; i++)
		buf[i] = range_char(&w->ranges[i]);
	pthread_mutex_unlock(&w->lock);
	return w->n_ranges;
}

static bool free_list_is_valid(struct dax_window *w)
{
	struct dax_range *r;
	struct list *pos;
	uint32_t n = 0, i, free_state = 0;

	list_for_each(pos, &w->free) {
		r = list_entry(pos, struct dax_range, free_link);
		if (r->state != DAX_RANGE_FREE || r->mapping ||
		    n++ >= w->n_ranges)
			return false;
	}
	n += w->n_ranges - w->first_new;
	for (i = 0; i < w->n_ranges; i++) {
		free_state += w->ranges[i].state == DAX_RANGE_FREE;
		if (i >= w->first_new && w->ranges[i].free_link.next)
			return false; /* it has been written */
	}
	return n == w->n_free && free_state == n;
}

/* Is @m in the tree of its inode? */
static bool is_in_tree(const struct dax_mapping *m)
{
	const struct itree_node *n;

	for (n = itree_first(&m->inode->tree, m->node.start, m->node.last); n;
	     n = itree_next(n, m->node.start, m->node.last))
		if (n == &m->node)
			return true;
	return false;
}

static bool mapping_is_valid(struct dax_window *w, struct dax_mapping *m)
{
	uint64_t off = (uint64_t)m->first_range << w->shift;
	uint64_t bytes = (uint64_t)m->n_ranges << w->shift;
	uint32_t i;

	if (!m->n_ranges || !range_fits(m->first_range, m->n_ranges,
					w->n_ranges))
		return false;
	for (i = 0; i < m->n_ranges; i++)
		if (w->ranges[m->first_range + i].mapping != m)
			return false;
	return m->ptr == w->cfg.base + off && m->file_start == m->node.start &&
	       m->node.last - m->node.start == bytes - 1 &&
	       is_aligned(m->file_start, UINT64_C(1) << w->shift) &&
	       is_in_tree(m);
}

/* Every slot points at a mapping of the tree that covers its file range. */
static bool index_is_valid(const struct dax_inode *di)
{
	struct dax_index *ix = atomic_load(&di->index);
	unsigned shift = di->window->shift;
	struct dax_mapping *m;
	size_t i;

	for (i = 0; ix && i < ix->n_slots; i++) {
		m = atomic_load(&ix->slot[i].m);
		if (m && (m->inode != di || !is_in_tree(m) ||
			  (uint64_t)i < m->node.start >> shift ||
			  (uint64_t)i > m->node.last >> shift))
			return false;
	}
	return true;
}

bool dax_window_is_valid(struct dax_window *w)
{
	struct dax_range *r;
	uint32_t i, mappings = 0;

	if (!free_list_is_valid(w))
		return false;
	for (i = 0; i < w->n_ranges; i++) {
		r = &w->ranges[i];
		if (r->claim != DAX_CLAIM_NONE ||
		    r->state == DAX_RANGE_BUSY ||
		    (r->state == DAX_RANGE_MAPPED) != (r->mapping != NULL))
			return false;
		if (!r->mapping || r->mapping->first_range != i)
			continue;
		mappings++;
		if (!mapping_is_valid(w, r->mapping) ||
		    !itree_is_valid(&r->mapping->inode->tree) ||
		    r->mapping->inode->tree.count !=
			    r->mapping->inode->n_mappings ||
		    !index_is_valid(r->mapping->inode))
			return false;
	}
	return mappings == w->n_mappings;
}
