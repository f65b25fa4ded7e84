/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shared memory of a front end: one sealed memfd, mapped once and handed
 * over as one region. Layout, every queue on pages of its own:
 *
 *   queue 0: descriptors | available | used | indirect tables   (64-aligned)
 *   queue 1: ...
 *   a word that asks for the gauge page, in a line of its own
 *   arena
 *   the gauge page, not touched until somebody wants to know
 *
 * The word follows the last queue's rings, in a page that requests use anyway.
 *
 * Sizes come from our own configuration, so sums are checked once, here, and
 * nothing a peer says takes part in them.
 */
#include "vhost/frontend_priv.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"

/* Take @bytes at the next cache line after *@end. */
static uint64_t place(uint64_t *end, uint64_t bytes)
{
	uint64_t off = align_up(*end, ORIEL_CACHE_LINE);

	*end = off + bytes;
	return off;
}

/* @ret_ask_off: room for a word beside the rings. */
static uint64_t layout_queue(struct vhost_frontend *fe, struct fe_queue *q,
			     uint64_t off, uint64_t *ret_ask_off)
{
	unsigned size = fe->cfg.queue_size;
	uint64_t end = off;

	q->desc_off = place(&end, ring_desc_bytes(size));
	q->avail_off = place(&end, ring_avail_bytes(size));
	q->used_off = place(&end, ring_used_bytes(size));
	*ret_ask_off = place(&end, ORIEL_CACHE_LINE);
	if (fe_has_feature(fe, VIRTIO_F_INDIRECT_DESC))
		q->indirect_off = place(&end, ring_desc_bytes(size) *
					      RING_DRIVER_MAX_SEGS);
	return align_up(end, (uint64_t)sysconf(_SC_PAGESIZE));
}

int fe_memory_create(struct vhost_frontend *fe)
{
	uint64_t off = 0, ask_off = 0, bytes;
	void *mem;
	int err;

	for (unsigned i = 0; i < fe->info.n_queues; i++)
		off = layout_queue(fe, &fe->queues[i], off, &ask_off);
	fe->arena_off = off;
	if (!range_fits(off, fe->cfg.arena_bytes,
			INT64_MAX - fe->cfg.gauge_bytes))
		return fe_error(fe, -EINVAL, "the arena is too large");

	bytes = off + fe->cfg.arena_bytes + fe->cfg.gauge_bytes;
	err = fd_memfd("oriel-rings", bytes, &fe->mem_fd);
	if (err)
		return fe_error(fe, err, "no shared memory (memfd_create)");
	mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fe->mem_fd,
		   0);
	if (mem == MAP_FAILED)
		return fe_error(fe, -errno, "no shared memory (mmap)");
	fe->mem = mem;
	fe->mem_bytes = bytes;
	fe->info.arena = fe->mem + off;
	fe->info.arena_gpa = FE_GPA_BASE + off;
	fe->info.arena_bytes = fe->cfg.arena_bytes;
	if (fe->cfg.gauge_bytes) {
		fe->info.gauge = fe->info.arena + fe->cfg.arena_bytes;
		fe->info.gauge_gpa = fe->info.arena_gpa + fe->cfg.arena_bytes;
		fe->info.gauge_ask = (uint32_t *)(void *)(fe->mem + ask_off);
		fe->info.gauge_ask_gpa = FE_GPA_BASE + ask_off;
	}
	return 0;
}

void fe_memory_destroy(struct vhost_frontend *fe)
{
	if (fe->mem)
		munmap(fe->mem, fe->mem_bytes);
	fe->mem = NULL;
	fd_close(&fe->mem_fd);
}
