/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Chained hash table; see hash.h. Invariant: a node hangs in the bucket of its
 * low hash bits, and count is the number of nodes. There are as many buckets as
 * nodes at the most there were lately: it shrinks when seven of eight are empty.
 */
#include "server/hash.h"

#include <errno.h>
#include <stdlib.h>

#define MIN_BUCKETS 64u

int hash_table_init(struct hash_table *t)
{
	struct hash_node **b = calloc(MIN_BUCKETS, sizeof(*b));

	if (!b)
		return -ENOMEM;
	t->buckets = b;
	t->n_buckets = MIN_BUCKETS;
	t->count = 0;
	return 0;
}

void hash_table_done(struct hash_table *t)
{
	free(t->buckets);
	t->buckets = NULL;
	t->n_buckets = 0;
	t->count = 0;
}

/* Where there is no memory it stays as it is. */
static void resize(struct hash_table *t, size_t n)
{
	struct hash_node **b = calloc(n, sizeof(*b));
	size_t i;

	if (!b)
		return;
	for (i = 0; i < t->n_buckets; i++) {
		struct hash_node *e = t->buckets[i];

		while (e) {
			struct hash_node *next = e->next;

			e->next = b[e->hash & (n - 1)];
			b[e->hash & (n - 1)] = e;
			e = next;
		}
	}
	free(t->buckets);
	t->buckets = b;
	t->n_buckets = n;
}

void hash_table_add(struct hash_table *t, struct hash_node *n, uint64_t hash)
{
	struct hash_node **head;

	if (t->count >= t->n_buckets)
		resize(t, t->n_buckets * 2);
	head = &t->buckets[hash & (t->n_buckets - 1)];
	n->hash = hash;
	n->next = *head;
	*head = n;
	t->count++;
}

void hash_table_del(struct hash_table *t, struct hash_node *n)
{
	struct hash_node **p = &t->buckets[n->hash & (t->n_buckets - 1)];

	while (*p && *p != n)
		p = &(*p)->next;
	if (!*p)
		return;
	*p = n->next;
	n->next = NULL;
	t->count--;
	if (t->n_buckets > MIN_BUCKETS && t->count < t->n_buckets / 8)
		resize(t, t->n_buckets / 4);
}

struct hash_node *hash_table_pop(struct hash_table *t, size_t *cursor)
{
	for (; *cursor < t->n_buckets; (*cursor)++) {
		struct hash_node *n = t->buckets[*cursor];

		if (!n)
			continue;
		t->buckets[*cursor] = n->next;
		n->next = NULL;
		t->count--;
		return n;
	}
	return NULL;
}

void hash_table_each(const struct hash_table *t,
		     void (*fn)(struct hash_node *n, void *ctx), void *ctx)
{
	struct hash_node *n;
	size_t i;

	for (i = 0; i < t->n_buckets; i++) {
		for (n = t->buckets[i]; n; n = n->next)
			fn(n, ctx);
	}
}
