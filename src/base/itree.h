/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interval tree: closed intervals [start, last] of uint64_t, overlaps allowed,
 * node inside the element, balanced, augmented with the largest "last" of each
 * subtree. Guarded by the owner's lock; no allocation, no failure.
 */
#ifndef ORIEL_BASE_ITREE_H
#define ORIEL_BASE_ITREE_H

#include "base/util.h"

struct itree_node {
	struct itree_node *parent;
	struct itree_node *left;
	struct itree_node *right;
	int height;
	uint64_t start;    /* set by the owner before insertion */
	uint64_t last;     /* inclusive; >= start */
	uint64_t max_last; /* of this subtree */
};

struct itree {
	struct itree_node *root;
	size_t count;
};

void itree_init(struct itree *t);
void itree_insert(struct itree *t, struct itree_node *n);
void itree_remove(struct itree *t, struct itree_node *n);

/* The first node (lowest start, then insertion order) that intersects
 * [@start, @last], or NULL. O(log n). */
struct itree_node *itree_first(const struct itree *t, uint64_t start,
			       uint64_t last);
/* The next one after @n in the same order, or NULL. */
struct itree_node *itree_next(const struct itree_node *n, uint64_t start,
			      uint64_t last);

/* Whole-structure check (order, balance, augmentation, count); for tests. */
bool itree_is_valid(const struct itree *t);

#endif
