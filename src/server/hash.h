/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A chained hash table with the node inside the element. Keys are already
 * mixed 64-bit values; what they stand for, the owner compares. Growing may
 * fail for lack of memory: chains then get longer, nothing else happens.
 * Guarded by the owner's lock.
 */
#ifndef ORIEL_SERVER_HASH_H
#define ORIEL_SERVER_HASH_H

#include "base/util.h"

struct hash_node {
	struct hash_node *next;
	uint64_t hash;
};

struct hash_table {
	struct hash_node **buckets;
	size_t n_buckets; /* power of two */
	size_t count;
};

/* Spread @v over 64 bits (a finaliser in the manner of splitmix64). */
static inline uint64_t hash_mix(uint64_t v)
{
	v += UINT64_C(0x9e3779b97f4a7c15);
	v = (v ^ (v >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	v = (v ^ (v >> 27)) * UINT64_C(0x94d049bb133111eb);
	return v ^ (v >> 31);
}

/* 0 or -ENOMEM. */
ORIEL_MUST_CHECK int hash_table_init(struct hash_table *t);
/* The table must be empty, or its elements are forgotten. */
void hash_table_done(struct hash_table *t);

void hash_table_add(struct hash_table *t, struct hash_node *n, uint64_t hash);
void hash_table_del(struct hash_table *t, struct hash_node *n);

/* First node with @hash, and the next after @n with the same hash, or NULL. */
static inline struct hash_node *hash_table_next(struct hash_node *n,
						uint64_t hash)
{
	while (n && n->hash != hash)
		n = n->next;
	return n;
}

static inline struct hash_node *hash_table_first(const struct hash_table *t,
						 uint64_t hash)
{
	return hash_table_next(t->buckets[hash & (t->n_buckets - 1)], hash);
}

/* Call @fn for every node; it must not change the table. */
void hash_table_each(const struct hash_table *t,
		     void (*fn)(struct hash_node *n, void *ctx), void *ctx);

/* Take out any one node; NULL when the table is empty. */
struct hash_node *hash_table_pop(struct hash_table *t, size_t *cursor);

#endif
