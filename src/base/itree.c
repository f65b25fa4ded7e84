/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interval tree: an AVL tree ordered by (start, insertion order), in which
 * every node also knows the largest "last" of its subtree. A subtree whose
 * max_last lies below the query's start holds no hit, which is what keeps the
 * searches at O(log n).
 *
 * Invariants, checked by itree_is_valid(): in-order walk has rising starts; the
 * heights of two siblings differ by one at most; height and max_last are those
 * of the children and the node itself; count is the number of nodes.
 *
 * The search rests on one fact: let L be the first node in order whose last is
 * not below the query's start. Everything before L ends too early; everything
 * after L starts no earlier than L. So L is the first hit, or there is none.
 *
 * Thread rule: the owner's lock.
 */
#include "base/itree.h"

#include "base/assert.h"

static int height_of(const struct itree_node *n)
{
	return n ? n->height : 0;
}

static bool reaches(const struct itree_node *n, uint64_t start)
{
	return n && n->max_last >= start;
}

/* Recompute what @n derives from its children. */
static void update(struct itree_node *n)
{
	int l = height_of(n->left);
	int r = height_of(n->right);

	n->height = (l > r ? l : r) + 1;
	n->max_last = n->last;
	if (n->left)
		n->max_last = max_u64(n->max_last, n->left->max_last);
	if (n->right)
		n->max_last = max_u64(n->max_last, n->right->max_last);
}

/* Put @new (may be NULL) where @old hangs below @parent (NULL: the root). */
static void replace_child(struct itree *t, struct itree_node *parent,
			  const struct itree_node *old, struct itree_node *new)
{
	if (!parent)
		t->root = new;
	else if (parent->left == old)
		parent->left = new;
	else
		parent->right = new;
	if (new)
		new->parent = parent;
}

/* Lift the right child of @n above it; returns that child. */
static struct itree_node *rotate_left(struct itree *t, struct itree_node *n)
{
	struct itree_node *up = n->right;

	n->right = up->left;
	if (n->right)
		n->right->parent = n;
	replace_child(t, n->parent, n, up);
	up->left = n;
	n->parent = up;
	update(n);
	update(up);
	return up;
}

/* Lift the left child of @n above it; returns that child. */
static struct itree_node *rotate_right(struct itree *t, struct itree_node *n)
{
	struct itree_node *up = n->left;

	n->left = up->right;
	if (n->left)
		n->left->parent = n;
	replace_child(t, n->parent, n, up);
	up->right = n;
	n->parent = up;
	update(n);
	update(up);
	return up;
}

/* Restore balance at @n alone; returns the root of its subtree. */
static struct itree_node *balance(struct itree *t, struct itree_node *n)
{
	int tilt = height_of(n->left) - height_of(n->right);

	if (tilt > 1) {
		if (height_of(n->left->left) < height_of(n->left->right))
			rotate_left(t, n->left);
		return rotate_right(t, n);
	}
	if (tilt < -1) {
		if (height_of(n->right->right) < height_of(n->right->left))
			rotate_right(t, n->right);
		return rotate_left(t, n);
	}
	return n;
}

/* Repair heights, max_last and balance from @n up to the root. */
static void repair(struct itree *t, struct itree_node *n)
{
	while (n) {
		update(n);
		n = balance(t, n)->parent;
	}
}

void itree_init(struct itree *t)
{
	t->root = NULL;
	t->count = 0;
}

void itree_insert(struct itree *t, struct itree_node *n)
{
	struct itree_node **link = &t->root;
	struct itree_node *parent = NULL;

	oriel_assert(n->start <= n->last);
	while (*link) {
		parent = *link;
		/* Equal starts go right: behind those inserted earlier. */
		link = n->start < parent->start ? &parent->left
						: &parent->right;
	}
	n->parent = parent;
	n->left = NULL;
	n->right = NULL;
	*link = n;
	t->count++;
	repair(t, n);
}

/* @n has two children: hang its successor in its place. Returns the lowest
 * node whose subtree changed. */
static struct itree_node *replace_by_successor(struct itree *t,
					       struct itree_node *n)
{
	struct itree_node *s = n->right;
	struct itree_node *lowest;

	while (s->left)
		s = s->left;
	if (s == n->right) {
		lowest = s;
	} else {
		lowest = s->parent;
		replace_child(t, s->parent, s, s->right);
		s->right = n->right;
		s->right->parent = s;
	}
	s->left = n->left;
	s->left->parent = s;
	replace_child(t, n->parent, n, s);
	return lowest;
}

void itree_remove(struct itree *t, struct itree_node *n)
{
	struct itree_node *lowest = n->parent;

	oriel_assert(t->count > 0);
	if (!n->left)
		replace_child(t, n->parent, n, n->right);
	else if (!n->right)
		replace_child(t, n->parent, n, n->left);
	else
		lowest = replace_by_successor(t, n);
	t->count--;
	n->parent = NULL;
	n->left = NULL;
	n->right = NULL;
	repair(t, lowest);
}

/* The first node below @n that does not end before @start. The caller knows
 * that there is one. */
static struct itree_node *leftmost_reaching(struct itree_node *n,
					    uint64_t start)
{
	for (;;) {
		if (reaches(n->left, start))
			n = n->left;
		else if (n->last >= start)
			return n;
		else
			n = n->right;
	}
}

struct itree_node *itree_first(const struct itree *t, uint64_t start,
			       uint64_t last)
{
	struct itree_node *n = t->root;

	if (!reaches(n, start))
		return NULL;
	n = leftmost_reaching(n, start);
	return n->start <= last ? n : NULL;
}

struct itree_node *itree_next(const struct itree_node *n, uint64_t start,
			      uint64_t last)
{
	struct itree_node *hit = NULL;
	struct itree_node *up = n->parent;

	if (reaches(n->right, start))
		hit = leftmost_reaching(n->right, start);
	for (; !hit && up; n = up, up = up->parent) {
		if (n != up->left)
			continue;
		if (up->last >= start)
			hit = up;
		else if (reaches(up->right, start))
			hit = leftmost_reaching(up->right, start);
	}
	return hit && hit->start <= last ? hit : NULL;
}

/* In-order neighbour, for the check only. */
static const struct itree_node *in_order_next(const struct itree_node *n)
{
	if (n->right) {
		n = n->right;
		while (n->left)
			n = n->left;
		return n;
	}
	while (n->parent && n->parent->right == n)
		n = n->parent;
	return n->parent;
}

/* Is what @n says about itself true, given that its children do not lie? */
static bool node_is_valid(const struct itree_node *n)
{
	struct itree_node fresh = *n;
	int tilt = height_of(n->left) - height_of(n->right);

	update(&fresh);
	return fresh.height == n->height && fresh.max_last == n->max_last &&
	       tilt >= -1 && tilt <= 1 && n->start <= n->last &&
	       (!n->left || n->left->parent == n) &&
	       (!n->right || n->right->parent == n);
}

bool itree_is_valid(const struct itree *t)
{
	const struct itree_node *n = t->root;
	const struct itree_node *prev = NULL;
	size_t seen = 0;

	if (n && n->parent)
		return false;
	while (n && n->left)
		n = n->left;
	for (; n; prev = n, n = in_order_next(n)) {
		if (!node_is_valid(n) || seen++ == t->count)
			return false;
		if (prev && prev->start > n->start)
			return false;
	}
	return seen == t->count;
}
