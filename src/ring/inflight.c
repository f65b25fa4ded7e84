/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tracking of requests across devices; see inflight.h. Written from the text of
 * the vhost-user protocol.
 *
 * The one moment that needs thought is the end of a device between the move of
 * the used index and the clearing of the mark: the request is done, though its
 * mark is set. Then the recorded used index is not the ring's, and it is the
 * head recorded last that is done.
 */
#include "ring/inflight.h"

#include <errno.h>
#include <stdlib.h>

#include "base/atomic.h"

#define VERSION 1u

struct found {
	uint64_t counter;
	uint16_t head;
};

static int by_counter(const void *a, const void *b)
{
	const struct found *x = a;
	const struct found *y = b;

	return x->counter < y->counter ? -1 : x->counter > y->counter;
}

static void make_fresh(struct ring_inflight *shared, unsigned size,
		       uint16_t used_idx)
{
	shm_store_u16(&shared->desc_num, (uint16_t)size);
	shm_store_u16(&shared->last_batch_head, 0);
	shm_store_u16(&shared->used_idx, used_idx);
	shm_store_release_u16(&shared->version, VERSION);
}

/* The marked ones, into st->heads. */
static int collect(struct ring_inflight_state *st, unsigned ring_size)
{
	struct found *found = calloc(ring_size, sizeof(*found));
	unsigned n = 0;

	if (!found)
		return -ENOMEM;
	for (unsigned i = 0; i < ring_size; i++) {
		const struct ring_inflight_desc *d = &st->shared->desc[i];

		if (!(*(const volatile uint8_t *)&d->inflight))
			continue;
		found[n].counter = shm_load_u64(&d->counter);
		found[n++].head = (uint16_t)i;
	}
	qsort(found, n, sizeof(*found), by_counter);
	st->heads = n ? calloc(n, sizeof(*st->heads)) : NULL;
	if (n && !st->heads) {
		free(found);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < n; i++)
		st->heads[i] = found[i].head;
	/* a peer's number: it may wrap around, and only the order suffers */
	st->counter = n ? found[n - 1].counter + 1 : 0;
	st->n = n;
	free(found);
	return 0;
}

int ring_inflight_attach(struct ring_inflight_state *st,
			 struct ring_inflight *shared, unsigned size,
			 unsigned ring_size, uint16_t used_idx)
{
	uint16_t version = shm_load_u16(&shared->version);
	uint16_t last;

	*st = (struct ring_inflight_state){ .shared = shared };
	if (ring_size > size)
		return -EINVAL;
	if (version == 0) {
		make_fresh(shared, size, used_idx);
		st->fresh = true;
		return 0;
	}
	if (version != VERSION || shm_load_u16(&shared->desc_num) != size)
		return -EINVAL;
	last = shm_load_u16(&shared->last_batch_head);
	if (shm_load_u16(&shared->used_idx) != used_idx) {
		if (last >= ring_size)
			return -EINVAL;
		*(volatile uint8_t *)&shared->desc[last].inflight = 0;
		shm_store_u16(&shared->used_idx, used_idx);
	}
	return collect(st, ring_size);
}

void ring_inflight_detach(struct ring_inflight_state *st)
{
	free(st->heads);
	*st = (struct ring_inflight_state){ .shared = NULL };
}

void ring_inflight_taken(struct ring_inflight_state *st, uint16_t head)
{
	struct ring_inflight_desc *d = &st->shared->desc[head];

	shm_store_u64(&d->counter, st->counter++);
	*(volatile uint8_t *)&d->inflight = 1;
}

void ring_inflight_before_push(struct ring_inflight_state *st, uint16_t head)
{
	uint16_t last = shm_load_u16(&st->shared->last_batch_head);

	shm_store_u16(&st->shared->desc[head].next, last);
	shm_store_release_u16(&st->shared->last_batch_head, head);
}

void ring_inflight_after_push(struct ring_inflight_state *st, uint16_t head,
			      uint16_t used_idx)
{
	*(volatile uint8_t *)&st->shared->desc[head].inflight = 0;
	shm_store_release_u16(&st->shared->used_idx, used_idx);
}
