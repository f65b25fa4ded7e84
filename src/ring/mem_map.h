/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory table of a vhost-user connection: which pieces of the driver's
 * memory are mapped here, and the only functions that turn an address of the
 * driver into a pointer. Both take the length, so that no caller can forget
 * the bound.
 *
 * A map is immutable once published and counted by references: the thread that
 * reads the control channel replaces it while queue threads still use the old
 * one. Any thread.
 */
#ifndef ORIEL_RING_MEM_MAP_H
#define ORIEL_RING_MEM_MAP_H

#include <stdatomic.h>
#include <sys/types.h>

#include "base/util.h"

#define MEM_MAP_MAX_REGIONS 512
/*
 * All maps of the process together: what a peer makes us map must not use up
 * our address space (128 TiB at least) or the number of mappings (65530 by
 * default), which the others need too.
 */
#define MEM_MAP_MAX_LIVE 16384u
#define MEM_MAP_MAX_LIVE_BYTES (UINT64_C(64) << 40)

/*
 * Memory on FUSE is refused, since whoever serves it can hold our accesses for
 * ever; but this one file system (st_dev) is our own. Call it before threads
 * use maps.
 */
void mem_map_trust_dev(dev_t dev);

/*
 * A part of what the process may map, for all who were given the same one
 * together; it outlives their regions. Atomic counts, so any thread.
 */
struct mem_quota {
	unsigned max_regions;
	uint64_t max_bytes;
	_Atomic unsigned regions;
	_Atomic uint64_t bytes;
};

/* 0, or -ENOSPC: the quota has no @size bytes or no region more. */
ORIEL_MUST_CHECK int mem_quota_take(struct mem_quota *q, uint64_t size);
void mem_quota_give_back(struct mem_quota *q, uint64_t size);

/* One mapped region. [host, host + size) is readable and writable. */
struct mem_region {
	uint64_t gpa;      /* address in descriptors */
	uint64_t uaddr;    /* address in SET_VRING_ADDR (the driver's own) */
	uint64_t size;     /* bytes */
	unsigned char *host;
	void *map_base;    /* what munmap() gets; NULL: not ours to unmap */
	uint64_t map_size;
	_Atomic unsigned *map_refs; /* maps sharing this mmap; NULL if none */
	unsigned slot;     /* in the list of live mappings, with map_refs */
	struct mem_quota *quota; /* gets size back, with map_refs; or NULL */
};

struct mem_map {
	_Atomic unsigned refs;
	/* Where in the driver's memory the DAX window lies; size 0: not known.
	 * It is no region: what is in it is for the device to find out. */
	uint64_t window_gpa;
	uint64_t window_size;
	unsigned n_regions;
	struct mem_region regions[];
};

/*
 * A map with the regions of @old (may be NULL) plus room for @n_new more, which
 * the caller fills in before publishing: n_regions counts the old ones; fill
 * regions[n_regions], then increment it. *@ret has one reference.
 * Returns 0 or -ENOMEM, -E2BIG over MEM_MAP_MAX_REGIONS.
 */
ORIEL_MUST_CHECK int mem_map_new(const struct mem_map *old, unsigned n_new,
				 struct mem_map **ret);

/*
 * mmap @fd at @fd_off for @size bytes and describe it as @r. The descriptor
 * stays the caller's. Fails with -EINVAL on a zero size, on wrap-around of
 * gpa, uaddr or offset, or if the file is shorter than @fd_off + @size; with
 * -ENOSPC when the process has too many regions or bytes of them.
 */
ORIEL_MUST_CHECK int mem_region_map(struct mem_region *r, int fd,
				    uint64_t fd_off, uint64_t gpa,
				    uint64_t uaddr, uint64_t size);

/* Take region @i out of @m, which is not published yet. */
void mem_map_remove(struct mem_map *m, unsigned i);

void mem_map_ref(struct mem_map *m);
/* NULL is fine. The last reference unmaps. */
void mem_map_unref(struct mem_map *m);

/* NULL if [@gpa, @gpa + @len) is not wholly inside one region. */
void *mem_map_gpa(const struct mem_map *m, uint64_t gpa, uint64_t len);
void *mem_map_uaddr(const struct mem_map *m, uint64_t uaddr, uint64_t len);

/* Does [@gpa, @gpa + @len) lie in the window? At *@ret_off of it, then. */
bool mem_map_window(const struct mem_map *m, uint64_t gpa, uint64_t len,
		    uint64_t *ret_off);

/*
 * The region that holds @addr, if one does, becomes zeros of our own instead of
 * the driver's file, in every map: for the handler of the SIGBUS that its loss
 * caused. False: no region, or it could not be done. Async-signal-safe; the
 * caller has a reference to a map with the region.
 */
bool mem_map_blank(const void *addr);

/* Would @r overlap a region of @m in guest addresses? */
bool mem_map_overlaps(const struct mem_map *m, uint64_t gpa, uint64_t size);

#endif
