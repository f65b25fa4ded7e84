/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory table: mmaps of the driver's memory and the translation of its
 * addresses.
 *
 * Two counts. A map's refs: whoever uses or publishes it. A region's map_refs:
 * the maps that contain this mmap, since a new map takes over the regions of
 * the old one while queue threads still use that; the last map unmaps.
 *
 * No address range of a region wraps around (mem_region_map() sees to it), and
 * translation compares offsets by subtraction, so no sum here can overflow.
 *
 * The descriptor's file can shrink after it was mapped. Who must survive that
 * demands a sealed file, or handles SIGBUS with mem_map_blank(). For that there
 * is a list of all live mappings, read without a lock: a slot's size is written
 * before its base, and a reader looks at the base again after the size. It is
 * the whole region that is replaced, not a page: one mapping stays one mapping,
 * so a hostile driver cannot make more of them than the system allows.
 *
 * Thread rule: see the header; a map is changed only before it is published.
 */
#include "ring/mem_map.h"

#include <errno.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/assert.h"

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

/* A mapping of this process; base 0: free, or not mapped yet. */
struct live {
	_Atomic uintptr_t base;
	_Atomic uint64_t size;
	bool used; /* live_lock */
};

static pthread_mutex_t live_lock = PTHREAD_MUTEX_INITIALIZER;
static struct live lives[MEM_MAP_MAX_LIVE];
static unsigned live_next;  /* where to look for a free one; live_lock */
static unsigned live_count; /* live_lock */
static uint64_t live_bytes; /* live_lock */

/* Reserve a slot for a mapping of @size bytes. */
static int live_take(uint64_t size, unsigned *ret)
{
	int err = -ENOSPC;

	pthread_mutex_lock(&live_lock);
	if (live_count < MEM_MAP_MAX_LIVE &&
	    size <= MEM_MAP_MAX_LIVE_BYTES - live_bytes) {
		while (lives[live_next].used)
			live_next = (live_next + 1) % MEM_MAP_MAX_LIVE;
		lives[live_next].used = true;
		atomic_store_explicit(&lives[live_next].size, size,
				      memory_order_relaxed);
		live_count++;
		live_bytes += size;
		*ret = live_next;
		err = 0;
	}
	pthread_mutex_unlock(&live_lock);
	return err;
}

static void live_publish(unsigned slot, void *base)
{
	/* release: the size before the base; pairs with mem_map_blank() */
	atomic_store_explicit(&lives[slot].base, (uintptr_t)base,
			      memory_order_release);
}

static void live_give_back(unsigned slot)
{
	struct live *l = &lives[slot];

	pthread_mutex_lock(&live_lock);
	live_count--;
	live_bytes -= atomic_load_explicit(&l->size, memory_order_relaxed);
	l->used = false;
	pthread_mutex_unlock(&live_lock);
}

int mem_quota_take(struct mem_quota *q, uint64_t size)
{
	/* relaxed: counts of their own, nothing is published by them */
	if (atomic_fetch_add_explicit(&q->regions, 1, memory_order_relaxed) >=
	    q->max_regions)
		goto err_region;
	if (size > q->max_bytes ||
	    atomic_fetch_add_explicit(&q->bytes, size, memory_order_relaxed) >
	    q->max_bytes - size) {
		if (size <= q->max_bytes)
			atomic_fetch_sub_explicit(&q->bytes, size,
						  memory_order_relaxed);
		goto err_region;
	}
	return 0;

err_region:
	atomic_fetch_sub_explicit(&q->regions, 1, memory_order_relaxed);
	return -ENOSPC;
}

void mem_quota_give_back(struct mem_quota *q, uint64_t size)
{
	atomic_fetch_sub_explicit(&q->bytes, size, memory_order_relaxed);
	atomic_fetch_sub_explicit(&q->regions, 1, memory_order_relaxed);
}

/* Zeros at [@p, @p + @len), which are mapped. */
static bool blank(uintptr_t p, size_t len)
{
	return mmap((void *)p, len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE,
		    -1, 0) != MAP_FAILED;
}

bool mem_map_blank(const void *addr)
{
	const uintptr_t a = (uintptr_t)addr;

	for (unsigned i = 0; i < MEM_MAP_MAX_LIVE; i++) {
		const struct live *l = &lives[i];
		uintptr_t base = atomic_load_explicit(&l->base,
						      memory_order_acquire);
		uint64_t size = atomic_load_explicit(&l->size,
						     memory_order_acquire);

		if (!base || a < base || a - base >= size)
			continue;
		/* Base of one and size of the next user of the slot? Ours is
		 * stable: the caller holds it. */
		if (atomic_load_explicit(&l->base, memory_order_relaxed) !=
		    base)
			continue;
		/* A page will do where so much memory is not to be had. */
		return blank(base, size) ||
		       blank(align_down(a, 4096), 4096);
	}
	return false;
}

/* 0 is the device of no file that can be opened. */
static _Atomic uint64_t trusted_dev;

void mem_map_trust_dev(dev_t dev)
{
	/* relaxed: set before there are threads */
	atomic_store_explicit(&trusted_dev, dev, memory_order_relaxed);
}

int mem_map_new(const struct mem_map *old, unsigned n_new,
		struct mem_map **ret)
{
	unsigned n_old = old ? old->n_regions : 0;
	struct mem_map *m;

	if (n_new > MEM_MAP_MAX_REGIONS || n_old > MEM_MAP_MAX_REGIONS - n_new)
		return -E2BIG;
	m = calloc(1, sizeof(*m) + (n_old + n_new) * sizeof(m->regions[0]));
	if (!m)
		return -ENOMEM;
	atomic_init(&m->refs, 1);
	m->window_gpa = old ? old->window_gpa : 0;
	m->window_size = old ? old->window_size : 0;
	m->n_regions = n_old;
	for (unsigned i = 0; i < n_old; i++) {
		m->regions[i] = old->regions[i];
		/* relaxed: @old holds one, so it cannot reach 0 meanwhile */
		if (m->regions[i].map_refs)
			atomic_fetch_add_explicit(m->regions[i].map_refs, 1,
						  memory_order_relaxed);
	}
	*ret = m;
	return 0;
}

/* What an mmap offset into @fd must be a multiple of. */
static int map_granule(int fd, const struct stat *st, uint64_t *ret)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct statfs fs;

	if (st->st_dev == atomic_load_explicit(&trusted_dev,
					       memory_order_relaxed)) {
		*ret = page;
		return 0;
	}
	if (fstatfs(fd, &fs) != 0)
		return -errno;
	/*
	 * Whoever serves such a file can let every access to it wait for ever,
	 * with locks of our address space held.
	 */
	if ((unsigned long)fs.f_type == FUSE_SUPER_MAGIC)
		return -EOPNOTSUPP;
	if ((unsigned long)fs.f_type == HUGETLBFS_MAGIC &&
	    st->st_blksize > 0 && is_pow2((uint64_t)st->st_blksize))
		page = max_u64(page, (uint64_t)st->st_blksize);
	*ret = page;
	return 0;
}

/* Does the file really have these bytes? What may be mapped beyond its end
 * only faults. */
static int check_file(int fd, uint64_t fd_off, uint64_t size, uint64_t *granule)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -errno;
	if (st.st_size < 0 ||
	    !range_fits(fd_off, size, (uint64_t)st.st_size))
		return -EINVAL;
	return map_granule(fd, &st, granule);
}

int mem_region_map(struct mem_region *r, int fd, uint64_t fd_off, uint64_t gpa,
		   uint64_t uaddr, uint64_t size)
{
	uint64_t granule = 0, lead, map_size;
	_Atomic unsigned *refs;
	unsigned slot;
	void *base;
	int err;

	if (size == 0 || !range_fits(gpa, size, UINT64_MAX) ||
	    !range_fits(uaddr, size, UINT64_MAX))
		return -EINVAL;
	err = check_file(fd, fd_off, size, &granule);
	if (err)
		return err;
	/* Sums are safe: off_t bounds both. */
	lead = fd_off - align_down(fd_off, granule);
	map_size = align_up(lead + size, granule);
	refs = malloc(sizeof(*refs));
	if (!refs)
		return -ENOMEM;
	atomic_init(refs, 1);
	err = live_take(map_size, &slot);
	if (err)
		goto err_refs;
	base = mmap(NULL, map_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    (off_t)(fd_off - lead));
	if (base == MAP_FAILED) {
		err = -errno;
		goto err_slot;
	}
	live_publish(slot, base);
	/* Guest memory in our core dumps helps nobody. */
	(void)madvise(base, map_size, MADV_DONTDUMP);
	*r = (struct mem_region){
		.gpa = gpa,
		.uaddr = uaddr,
		.size = size,
		.host = (unsigned char *)base + lead,
		.map_base = base,
		.map_size = map_size,
		.map_refs = refs,
		.slot = slot,
	};
	return 0;

err_slot:
	live_give_back(slot);
err_refs:
	free(refs);
	return err;
}

static void region_unref(struct mem_region *r)
{
	const bool counted = r->map_refs != NULL;

	if (counted) {
		/* release: our accesses end; acquire: so did the others' */
		if (atomic_fetch_sub_explicit(r->map_refs, 1,
					      memory_order_acq_rel) > 1)
			return;
		free(r->map_refs);
		live_publish(r->slot, NULL);
	}
	if (r->map_base)
		munmap(r->map_base, r->map_size);
	if (counted)
		live_give_back(r->slot);
	if (counted && r->quota)
		mem_quota_give_back(r->quota, r->size);
}

void mem_map_remove(struct mem_map *m, unsigned i)
{
	oriel_assert(i < m->n_regions);
	region_unref(&m->regions[i]);
	m->n_regions--;
	memmove(&m->regions[i], &m->regions[i + 1],
		(m->n_regions - i) * sizeof(m->regions[0]));
}

void mem_map_ref(struct mem_map *m)
{
	/* relaxed: the caller's own reference keeps it alive */
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
}

void mem_map_unref(struct mem_map *m)
{
	/* acq_rel: as in region_unref() */
	if (!m || atomic_fetch_sub_explicit(&m->refs, 1,
					    memory_order_acq_rel) > 1)
		return;
	for (unsigned i = 0; i < m->n_regions; i++)
		region_unref(&m->regions[i]);
	free(m);
}

void *mem_map_gpa(const struct mem_map *m, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < m->n_regions; i++) {
		const struct mem_region *r = &m->regions[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->size)
			return range_fits(gpa - r->gpa, len, r->size) ?
			       r->host + (gpa - r->gpa) : NULL;
	}
	return NULL;
}

void *mem_map_uaddr(const struct mem_map *m, uint64_t uaddr, uint64_t len)
{
	for (unsigned i = 0; i < m->n_regions; i++) {
		const struct mem_region *r = &m->regions[i];

		/* Not unique as gpa is: another region may still hold it. */
		if (uaddr >= r->uaddr &&
		    uaddr - r->uaddr < r->size &&
		    range_fits(uaddr - r->uaddr, len, r->size))
			return r->host + (uaddr - r->uaddr);
	}
	return NULL;
}

bool mem_map_window(const struct mem_map *m, uint64_t gpa, uint64_t len,
		    uint64_t *ret_off)
{
	if (gpa < m->window_gpa ||
	    !range_fits(gpa - m->window_gpa, len, m->window_size))
		return false;
	*ret_off = gpa - m->window_gpa;
	return true;
}

bool mem_map_overlaps(const struct mem_map *m, uint64_t gpa, uint64_t size)
{
	for (unsigned i = 0; i < m->n_regions; i++) {
		const struct mem_region *r = &m->regions[i];

		/* The one that starts later starts inside the other. */
		if (gpa >= r->gpa ? gpa - r->gpa < r->size
				  : r->gpa - gpa < size)
			return true;
	}
	return false;
}
