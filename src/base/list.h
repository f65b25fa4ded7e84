/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A circular doubly linked list with the node inside the element. A node that
 * is in no list points at itself, so list_del() of it is harmless and
 * list_is_empty(node) tells whether it is queued. One thread at a time, or
 * under the lock of whoever owns the head.
 */
#ifndef ORIEL_BASE_LIST_H
#define ORIEL_BASE_LIST_H

#include "base/util.h"

struct list {
	struct list *prev;
	struct list *next;
};

static inline void list_init(struct list *l)
{
	l->prev = l;
	l->next = l;
}

static inline bool list_is_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_insert_(struct list *prev, struct list *next,
				struct list *node)
{
	node->prev = prev;
	node->next = next;
	prev->next = node;
	next->prev = node;
}

static inline void list_add_head(struct list *head, struct list *node)
{
	list_insert_(head, head->next, node);
}

static inline void list_add_tail(struct list *head, struct list *node)
{
	list_insert_(head->prev, head, node);
}

static inline void list_del(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

/* Remove and return the first node, or NULL. */
static inline struct list *list_pop_head(struct list *head)
{
	struct list *node = head->next;

	if (node == head)
		return NULL;
	list_del(node);
	return node;
}

#define list_entry(ptr, type, member) container_of(ptr, type, member)

#define list_for_each(pos, head) \
	for ((pos) = (head)->next; (pos) != (head); (pos) = (pos)->next)

/* @tmp keeps the successor: @pos may be deleted in the body. */
#define list_for_each_safe(pos, tmp, head)                          \
	for ((pos) = (head)->next, (tmp) = (pos)->next;             \
	     (pos) != (head); (pos) = (tmp), (tmp) = (pos)->next)

#endif
