/* SPDX-License-Identifier: BSD-2-Clause */
/* See rig.h. One region in the memory map, not ours to unmap. */
#include "rig.h"

#include <sys/mman.h>

static uint64_t place(uint64_t *end, uint64_t bytes)
{
	uint64_t at = align_up(*end, 64);

	*end = at + bytes;
	return at;
}

static void make_map(struct rig *r)
{
	assert_int_equal(mem_map_new(NULL, 1, &r->map), 0);
	r->map->regions[0] = (struct mem_region){
		.gpa = RIG_GPA,
		.uaddr = (uintptr_t)r->mem,
		.size = r->mem_bytes,
		.host = r->mem,
	};
	r->map->n_regions = 1;
}

static void make_sides(struct rig *r, bool indirect, bool event_idx)
{
	struct ring_driver_config drv = {
		.size = r->size,
		.desc = r->desc,
		.avail = r->avail,
		.used = r->used,
		.indirect = indirect ? r->indirect : NULL,
		.indirect_gpa = indirect ? rig_gpa(r, r->indirect) : 0,
		.event_idx = event_idx,
	};
	struct ring_device_config dev = {
		.size = r->size,
		.desc = r->desc,
		.avail = r->avail,
		.used = r->used,
		.indirect = indirect,
		.event_idx = event_idx,
	};

	assert_int_equal(ring_driver_new(&drv, &r->drv), 0);
	assert_int_equal(ring_device_init(&r->dev, &dev), 0);
}

struct rig *rig_new(unsigned size, bool indirect, bool event_idx,
		    uint64_t data_bytes)
{
	uint64_t end = 0;
	uint64_t desc = place(&end, ring_desc_bytes(size));
	uint64_t avail = place(&end, ring_avail_bytes(size));
	uint64_t used = place(&end, ring_used_bytes(size));
	uint64_t table = place(&end, ring_desc_bytes(size) *
				     RING_DRIVER_MAX_SEGS);
	uint64_t data = place(&end, data_bytes);
	struct rig *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->size = size;
	r->mem_bytes = end;
	r->mem = mmap(NULL, end, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(r->mem, MAP_FAILED);
	r->desc = (void *)(r->mem + desc);
	r->avail = (void *)(r->mem + avail);
	r->used = (void *)(r->mem + used);
	r->indirect = (void *)(r->mem + table);
	r->data = r->mem + data;
	r->data_bytes = data_bytes;
	make_map(r);
	make_sides(r, indirect, event_idx);
	return r;
}

void rig_free(struct rig *r)
{
	ring_driver_free(r->drv);
	mem_map_unref(r->map);
	munmap(r->mem, r->mem_bytes);
	free(r);
}

int rig_pop(struct rig *r)
{
	r->why = NULL;
	return ring_device_pop(&r->dev, r->map, &r->chain, &r->why);
}

static uint64_t rng;

uint64_t rig_rnd(void)
{
	if (!rng) {
		const char *s = getenv("ORIEL_TEST_SEED");

		rng = s ? strtoull(s, NULL, 0) : 0;
		if (!rng)
			rng = UINT64_C(0x2545f491);
		print_message("ORIEL_TEST_SEED=%llu\n",
			      (unsigned long long)rng);
	}
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

uint64_t rig_below(uint64_t n)
{
	return rig_rnd() % n;
}
