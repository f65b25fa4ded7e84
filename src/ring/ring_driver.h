/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver's side of a split virtqueue: offers descriptor chains, reaps used
 * ones. Owner-locked: add/publish under the submitter's lock, poll and the
 * notification switches under the reaper's lock; the two may run at the same
 * time, so a head goes back to the free stack by an atomic hand-over inside.
 * The device's answers are checked: an id that is not in flight, or a used
 * index that runs ahead of what was offered, is -EPROTO for ever after.
 */
#ifndef ORIEL_RING_RING_DRIVER_H
#define ORIEL_RING_RING_DRIVER_H

#include <stdatomic.h>

#include "base/util.h"
#include "ring/ring.h"

/* Most segments in one chain. */
#define RING_DRIVER_MAX_SEGS 8u

/* A piece of a chain, in the device's address space. */
struct ring_seg {
	uint64_t gpa;
	uint32_t len;
};

struct ring_driver_config {
	unsigned size;           /* entries, power of two <= RING_MAX_SIZE */
	struct ring_desc *desc;  /* zeroed shared memory, 16-aligned */
	struct ring_avail *avail; /* 2-aligned */
	struct ring_used *used;  /* 4-aligned */
	/*
	 * With VIRTIO_F_INDIRECT_DESC: size * RING_DRIVER_MAX_SEGS descriptors
	 * in shared memory, and their device address. Else NULL and 0: a chain
	 * then takes RING_DRIVER_MAX_SEGS consecutive descriptors and
	 * size / RING_DRIVER_MAX_SEGS chains fit.
	 */
	struct ring_desc *indirect;
	uint64_t indirect_gpa;
	bool event_idx; /* VIRTIO_F_EVENT_IDX negotiated */
};

struct ring_driver; /* opaque */

/* 0, -ENOMEM, or -EINVAL on a bad size. The memory stays the caller's. */
ORIEL_MUST_CHECK int ring_driver_new(const struct ring_driver_config *cfg,
				     struct ring_driver **ret);
void ring_driver_free(struct ring_driver *d); /* NULL is fine */

/* Number of chains that can be in flight at once. */
unsigned ring_driver_capacity(const struct ring_driver *d);

/* A chain will be added before long: fetch what that writes. A hint. */
void ring_driver_expect(const struct ring_driver *d);

/* Chains offered and not yet polled; the submitter's to ask. */
unsigned ring_driver_in_flight(const struct ring_driver *d);

/*
 * Put a chain of @n_out readable and then @n_in writable segments into the
 * ring (n_out + n_in in 1..RING_DRIVER_MAX_SEGS, each length > 0) and publish
 * it. @token (not NULL) comes back from ring_driver_poll(). Returns 0, -EAGAIN
 * when the ring is full, -EINVAL for a bad count, a zero length, a NULL token
 * or more than 4 GiB - 1 in all, -EPROTO after an earlier violation.
 */
ORIEL_MUST_CHECK int ring_driver_add(struct ring_driver *d,
				     const struct ring_seg *segs,
				     unsigned n_out, unsigned n_in,
				     void *token);

/*
 * After one or more ring_driver_add(): does the device want a kick? Contains
 * the full barrier that orders the published index before the look at the
 * device's suppression flag.
 */
bool ring_driver_needs_kick(struct ring_driver *d);

/*
 * Take one used chain: 1 with *@ret_token and *@ret_len (what the device says
 * it wrote; never more than the chain's writable bytes, else -EPROTO),
 * 0 when there is none (and while calls are wanted, one will come for the
 * next), -EPROTO on a violation (sticky).
 */
ORIEL_MUST_CHECK int ring_driver_poll(struct ring_driver *d, void **ret_token,
				      uint32_t *ret_len);

/* Is there something to poll? One load, no side effect, any thread. */
bool ring_driver_has_used(const struct ring_driver *d);

/*
 * Ask for (true; so it is after ring_driver_new()) or suppress call
 * notifications. After asking, the caller
 * must look once more with ring_driver_has_used() before it sleeps; the call
 * contains the barrier that makes this sound.
 */
void ring_driver_want_call(struct ring_driver *d, bool want);

/*
 * Take back every chain in flight (the device is gone). One by one: NULL at
 * the end. Under both locks, or with nobody else adding or polling; from the
 * first call on add and poll say -EPROTO.
 */
void *ring_driver_detach(struct ring_driver *d);

#endif
