/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a device has taken from a queue and not given back, in memory that
 * outlives it (vhost-user protocol, "Inflight I/O tracking", split rings): its
 * successor finds there the requests that the one before did not finish, in the
 * order in which they were taken.
 *
 * The memory is the front end's and may contain anything; it is read in
 * ring_inflight_attach() only, each field once, and written after that. One
 * thread at a time, which is the device's.
 */
#ifndef ORIEL_RING_INFLIGHT_H
#define ORIEL_RING_INFLIGHT_H

#include "base/util.h"

struct ring_inflight_desc {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};

/* The part of one queue; a fresh one is all zeros. */
struct ring_inflight {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct ring_inflight_desc desc[];
};

_Static_assert(sizeof(struct ring_inflight) == 16, "protocol text");
_Static_assert(sizeof(struct ring_inflight_desc) == 16, "protocol text");

/* Bytes of the part of a queue of at most @size descriptors. */
static inline uint64_t ring_inflight_bytes(unsigned size)
{
	return align_up(sizeof(struct ring_inflight) +
			(uint64_t)size * sizeof(struct ring_inflight_desc), 64);
}

/* The device's side of it. */
struct ring_inflight_state {
	struct ring_inflight *shared; /* NULL: not tracked */
	uint64_t counter;             /* of the next request taken */
	uint16_t *heads;              /* to be served again, oldest first */
	unsigned n;
	unsigned next;
	bool fresh; /* nobody has used it: there was no device before */
};

/*
 * Take over @shared, which has room for @size descriptors, for a ring of
 * @ring_size whose used index is @used_idx. 0; -EINVAL: what is in it is not of
 * this layout or size; -ENOMEM. @st->heads is to be freed by
 * ring_inflight_detach().
 */
ORIEL_MUST_CHECK int ring_inflight_attach(struct ring_inflight_state *st,
					  struct ring_inflight *shared,
					  unsigned size, unsigned ring_size,
					  uint16_t used_idx);
void ring_inflight_detach(struct ring_inflight_state *st);

/* @head was taken; before it is looked at. */
void ring_inflight_taken(struct ring_inflight_state *st, uint16_t head);
/* It is given back: before the used index moves, and after, to @used_idx. */
void ring_inflight_before_push(struct ring_inflight_state *st, uint16_t head);
void ring_inflight_after_push(struct ring_inflight_state *st, uint16_t head,
			      uint16_t used_idx);

#endif
