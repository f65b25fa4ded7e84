/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device's side of a split virtqueue. One thread at a time (the queue's
 * thread). The driver is hostile: every shared field is read once; the number
 * of descriptors, indirect tables (one level), loops, addresses and lengths
 * are bounded inside the loop; a violation is -EPROTO, after which the queue
 * must be stopped.
 */
#ifndef ORIEL_RING_RING_DEVICE_H
#define ORIEL_RING_RING_DEVICE_H

#include <sys/uio.h>

#include "base/util.h"
#include "ring/inflight.h"
#include "ring/mem_map.h"
#include "ring/ring.h"

/* Most segments of one chain, readable and writable together: 1 MiB in 4 KiB
 * pages, headers, and room for larger requests. */
#define RING_CHAIN_MAX 1100u

struct ring_device_config {
	unsigned size; /* power of two <= RING_MAX_SIZE */
	struct ring_desc *desc;
	struct ring_avail *avail;
	struct ring_used *used;
	uint16_t last_avail; /* SET_VRING_BASE */
	bool indirect;       /* VIRTIO_F_INDIRECT_DESC negotiated */
	bool event_idx;      /* VIRTIO_F_EVENT_IDX negotiated */
	/* NULL: none. Else attached; what it has to be served again comes first,
	 * and unless it is fresh last_avail is what it and the ring say. */
	struct ring_inflight_state *inflight;
};

struct ring_device {
	struct ring_device_config cfg;
	uint16_t last_avail; /* next entry to pop */
	uint16_t used_idx;   /* next used entry to write */
	uint16_t signalled_used; /* used index at the last should_notify */
	bool signalled_valid;
	unsigned in_flight; /* popped and not pushed; at most cfg.size */
	unsigned again;     /* of cfg.inflight, not popped yet */
	uint16_t armed;     /* avail_event as last stored */
	bool want_kick;
	bool broken; /* a violation was seen */
};

/* A segment that lies in the DAX window, at @off of it. */
struct ring_away {
	unsigned seg; /* iov[seg], whose iov_base is NULL */
	uint64_t off;
};

/*
 * One popped chain. iov[0 .. n_out) are readable, iov[n_out .. n_out + n_in)
 * writable; they point into the driver's memory, whose content may change at
 * any time. Valid while the caller holds its reference on the memory map. The
 * n_away segments of away[], by rising seg, have no pointer yet.
 */
struct ring_chain {
	uint16_t head;
	unsigned n_out;
	unsigned n_in;
	uint64_t out_bytes;
	uint64_t in_bytes;
	struct iovec iov[RING_CHAIN_MAX];
	unsigned n_away;
	struct ring_away away[RING_CHAIN_MAX];
};

/* 0, or -EINVAL for a bad size or a NULL or misaligned part. Continues from
 * the used index found in memory. */
ORIEL_MUST_CHECK int ring_device_init(struct ring_device *d,
				      const struct ring_device_config *cfg);

/*
 * Take the next available chain. 1: *@chain is filled; 0: none (and while
 * kicks are wanted, one will come for the next); -EPROTO: the
 * driver broke the rules (*@ret_why says how, a static string with no values;
 * may be NULL). A chain with an address outside @mem and its window is -EPROTO
 * too.
 */
ORIEL_MUST_CHECK int ring_device_pop(struct ring_device *d,
				     const struct mem_map *mem,
				     struct ring_chain *chain,
				     const char **ret_why);

/*
 * Something is there to pop: have it travel here while the caller gets ready.
 * @last is the chain popped before, which the next one is most likely like: a
 * driver uses the memory again that it used last. A hint; @last's memory may
 * be gone.
 */
void ring_device_expect(const struct ring_device *d,
			const struct ring_chain *last);

/* Is there something to pop? One load. */
bool ring_device_has_avail(const struct ring_device *d);

/* Give back @head; @written bytes were stored in its writable part. */
void ring_device_push(struct ring_device *d, uint16_t head, uint32_t written);

/* After pushes: does the driver want a call? Contains the full barrier. */
bool ring_device_needs_call(struct ring_device *d);

/* Ask for or suppress kicks; after asking, look once more with
 * ring_device_has_avail() before sleeping. */
void ring_device_want_kick(struct ring_device *d, bool want);

#endif
