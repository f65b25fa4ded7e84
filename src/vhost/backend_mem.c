/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory table of the back end. Main builds a new map for each change and
 * publishes it under mem_lock; queue threads keep a reference until they
 * sleep or see the change, so the old one is unmapped when the last of them has.
 *
 * A refused change leaves the old table in force.
 */
#include "vhost/backend_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/log.h"

struct mem_map *be_mem_get(struct vhost_backend *be)
{
	struct mem_map *m;

	pthread_mutex_lock(&be->mem_lock);
	m = be->mem;
	if (m)
		mem_map_ref(m);
	pthread_mutex_unlock(&be->mem_lock);
	return m;
}

struct mem_map *vhost_backend_hold(struct vhost_backend *be, uint64_t gpa,
				   uint64_t len, void **ret)
{
	struct mem_map *m = be_mem_get(be);
	void *p = m ? mem_map_gpa(m, gpa, len) : NULL;

	if (!p) {
		mem_map_unref(m);
		return NULL;
	}
	*ret = p;
	return m;
}

static void publish(struct vhost_backend *be, struct mem_map *m)
{
	struct mem_map *old;

	pthread_mutex_lock(&be->mem_lock);
	old = be->mem;
	be->mem = m;
	/* Pairs with the load in take_mem(), by way of the acknowledgement and
	 * of the request that the front end makes after it. */
	atomic_fetch_add_explicit(&be->mem_gen, 1, memory_order_release);
	pthread_mutex_unlock(&be->mem_lock);
	mem_map_unref(old);
}

void be_mem_clear(struct vhost_backend *be)
{
	publish(be, NULL);
}

/* More than any machine has; see also MEM_MAP_MAX_LIVE_BYTES. */
#define TABLE_MAX_BYTES (UINT64_C(16) << 40)

static uint64_t table_bytes(const struct mem_map *m)
{
	uint64_t sum = 0;

	/* cannot overflow: each was checked against the rest of the limit */
	for (unsigned i = 0; i < m->n_regions; i++)
		sum += m->regions[i].size;
	return sum;
}

/* What users forget most often; said where it shows. */
#define SHARE_RAM "the machine's RAM is not shared with us; in QEMU it takes " \
	"-object memory-backend-memfd,id=mem,size=...,share=on and -numa " \
	"node,memdev=mem or -machine memory-backend=mem"

/* Map @r from @fd at @to, if the back end's quota, where it has one, allows. */
static int map_region(struct vhost_backend *be, struct mem_region *to,
		      const struct vhost_user_mem_region *r, int fd)
{
	struct mem_quota *q = be->cfg.mem_quota;
	int err = q ? mem_quota_take(q, r->size) : 0;

	if (err)
		return err;
	err = mem_region_map(to, fd, r->mmap_offset, r->gpa, r->uaddr,
			     r->size);
	if (!err)
		to->quota = q;
	else if (q)
		mem_quota_give_back(q, r->size);
	return err;
}

/* Map @r from @fd as the next region of @m. */
static int add_region(struct vhost_backend *be, struct mem_map *m,
		      const struct vhost_user_mem_region *r, int fd,
		      const char *name)
{
	struct mem_region *to = &m->regions[m->n_regions];
	int err;

	if (be_is_window_piece(be, m, r, fd))
		return 0;
	if (mem_map_overlaps(m, r->gpa, r->size))
		return be_violation(name, "region 0x%" PRIx64 " + 0x%" PRIx64
				    " overlaps another", r->gpa, r->size);
	if (r->size > TABLE_MAX_BYTES - table_bytes(m))
		return be_violation(name, "region 0x%" PRIx64 " + 0x%" PRIx64
				    ": too much memory", r->gpa, r->size);
	err = map_region(be, to, r, fd);
	if (err) {
		log_error("vhost: %s: cannot map 0x%" PRIx64 " bytes at 0x%"
			  PRIx64 " of the descriptor for address 0x%" PRIx64
			  ": %s%s", name, r->size, r->mmap_offset, r->gpa,
			  strerror(-err), err == -EINVAL || err == -ENODEV ?
			  " (perhaps " SHARE_RAM ")" : "");
		return err;
	}
	m->n_regions++;
	return 0;
}

int be_mem_set_table(struct vhost_backend *be)
{
	const struct vhost_user_mem_table *t = &be->rx.msg.u.mem;
	const char *name = "SET_MEM_TABLE";
	struct mem_map *m = NULL;
	int err;

	if (t->n_regions > VHOST_USER_TABLE_REGIONS)
		return be_violation(name, "%" PRIu32 " regions, at most %u",
				    t->n_regions, VHOST_USER_TABLE_REGIONS);
	if (be->rx.n_fds < t->n_regions)
		return be_violation(name, "%" PRIu32 " regions with %u"
				    " descriptors: " SHARE_RAM, t->n_regions,
				    be->rx.n_fds);
	if (!t->n_regions)
		log_warn("vhost: %s: no memory at all: " SHARE_RAM, name);
	if (be->rx.msg.hdr.size < 8 + t->n_regions * sizeof(t->regions[0]) ||
	    be->rx.n_fds != t->n_regions)
		return be_violation(name, "%" PRIu32 " regions in %" PRIu32
				    " bytes with %u descriptors",
				    t->n_regions, be->rx.msg.hdr.size,
				    be->rx.n_fds);
	err = mem_map_new(NULL, t->n_regions, &m);
	if (!err && be->mem) {
		/* Where the window is, with nothing mapped in it, too. */
		m->window_gpa = be->mem->window_gpa;
		m->window_size = be->mem->window_size;
	}
	for (unsigned i = 0; !err && i < t->n_regions; i++)
		err = add_region(be, m, &t->regions[i], be->rx.fds[i], name);
	if (err) {
		mem_map_unref(m);
		return err;
	}
	publish(be, m);
	return be_try_start_all(be, name);
}

int be_mem_add(struct vhost_backend *be)
{
	struct mem_map *m = NULL;
	int err;

	if (!be->rx.n_fds)
		return be_violation("ADD_MEM_REG", "no descriptor: " SHARE_RAM);
	err = mem_map_new(be->mem, 1, &m);
	if (!err)
		err = add_region(be, m, &be->rx.msg.u.region.region,
				 be->rx.fds[0], "ADD_MEM_REG");
	if (err) {
		mem_map_unref(m);
		return err;
	}
	publish(be, m);
	return be_try_start_all(be, "ADD_MEM_REG");
}

static bool is_region(const struct mem_region *a,
		      const struct vhost_user_mem_region *b)
{
	return a->gpa == b->gpa && a->uaddr == b->uaddr && a->size == b->size;
}

/* Take region @i out of @m, a copy of a map that is still referenced. */
static void drop_region(struct mem_map *m, unsigned i)
{
	if (m->regions[i].map_refs)
		atomic_fetch_sub_explicit(m->regions[i].map_refs, 1,
					  memory_order_relaxed);
	m->regions[i] = m->regions[--m->n_regions];
}

int be_mem_remove(struct vhost_backend *be)
{
	const struct vhost_user_mem_region *r = &be->rx.msg.u.region.region;
	struct mem_map *m = NULL;
	uint64_t off;
	int err;

	if (be->mem && mem_map_window(be->mem, r->gpa, r->size, &off))
		return 0; /* was never taken for memory */
	err = mem_map_new(be->mem, 0, &m);
	if (err)
		return err;
	for (unsigned i = 0; i < m->n_regions; i++) {
		if (!is_region(&m->regions[i], r))
			continue;
		drop_region(m, i);
		publish(be, m);
		return 0;
	}
	mem_map_unref(m);
	log_error("vhost: REM_MEM_REG: no region 0x%" PRIx64 " + 0x%" PRIx64,
		  r->gpa, r->size);
	return -ENOENT;
}
