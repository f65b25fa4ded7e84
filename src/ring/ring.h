/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Layout of the split virtqueue (virtio 1.2, section 2.7), little endian, and
 * the sizes of its parts. Shared by ring_driver.h and ring_device.h.
 */
#ifndef ORIEL_RING_RING_H
#define ORIEL_RING_RING_H

#include "base/util.h"

#define RING_MAX_SIZE 32768u

#define RING_DESC_F_NEXT 1u
#define RING_DESC_F_WRITE 2u
#define RING_DESC_F_INDIRECT 4u
#define RING_AVAIL_F_NO_INTERRUPT 1u
#define RING_USED_F_NO_NOTIFY 1u

/* Virtio feature bits that change how a ring is used. */
#define VIRTIO_F_INDIRECT_DESC 28
#define VIRTIO_F_EVENT_IDX 29
#define VIRTIO_F_VERSION_1 32

struct ring_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

struct ring_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[]; /* size entries, then used_event */
};

struct ring_used_elem {
	uint32_t id;
	uint32_t len;
};

struct ring_used {
	uint16_t flags;
	uint16_t idx;
	struct ring_used_elem ring[]; /* size entries, then avail_event */
};

_Static_assert(sizeof(struct ring_desc) == 16, "virtio 2.7.5");
_Static_assert(sizeof(struct ring_used_elem) == 8, "virtio 2.7.8");

static inline uint64_t ring_desc_bytes(unsigned size)
{
	return (uint64_t)size * sizeof(struct ring_desc);
}

static inline uint64_t ring_avail_bytes(unsigned size)
{
	return 4 + 2 * (uint64_t)size + 2;
}

static inline uint64_t ring_used_bytes(unsigned size)
{
	return 4 + 8 * (uint64_t)size + 2;
}

/*
 * An event index this far ahead suppresses notifications: reached after that
 * many chains (one notification too many, no harm), and not "just passed" for
 * a peer whose last look was a while ago.
 */
#define RING_EVENT_FAR 0x8000u

/* virtio 2.7.7.1: must the other side be told, having asked for @event? */
static inline bool ring_need_event(uint16_t event, uint16_t new_idx,
				   uint16_t old_idx)
{
	return (uint16_t)(new_idx - event - 1) < (uint16_t)(new_idx - old_idx);
}

#endif
