/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A ring in plain memory with a driver and a device on it. Tests reach into
 * every part; hostile sides write the shared parts themselves.
 */
#ifndef TESTS_RING_RIG_H
#define TESTS_RING_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "ring/mem_map.h"
#include "ring/ring_device.h"
#include "ring/ring_driver.h"

#define RIG_GPA UINT64_C(0x7000000000) /* of the memory's first byte */

struct rig {
	unsigned size;
	uint64_t mem_bytes;
	unsigned char *mem;
	struct ring_desc *desc;
	struct ring_avail *avail;
	struct ring_used *used;
	struct ring_desc *indirect; /* always there, used or not */
	unsigned char *data;
	uint64_t data_bytes;
	struct mem_map *map;
	struct ring_driver *drv;
	struct ring_device dev;
	struct ring_chain chain; /* for pops */
	const char *why;         /* of the last rig_pop() */
};

/* Both sides stand; the device's notifications are wanted, as after init. */
struct rig *rig_new(unsigned size, bool indirect, bool event_idx,
		    uint64_t data_bytes);
void rig_free(struct rig *r);

static inline uint64_t rig_gpa(const struct rig *r, const void *p)
{
	return RIG_GPA + (uint64_t)((const unsigned char *)p - r->mem);
}

/* Pop into r->chain. */
int rig_pop(struct rig *r);

/* Seeded by ORIEL_TEST_SEED, printed once. */
uint64_t rig_rnd(void);
/* 0 .. n - 1 */
uint64_t rig_below(uint64_t n);

#endif
