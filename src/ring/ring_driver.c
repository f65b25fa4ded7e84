/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver's side of a split virtqueue (virtio 1.2, section 2.7).
 *
 * Slots. A chain in flight occupies a slot, and the slot's number fixes the
 * descriptors it uses: with indirect tables slot i is descriptor i and entries
 * [i * MAX_SEGS, (i + 1) * MAX_SEGS) of the indirect memory; without, it is
 * descriptors [i * MAX_SEGS, (i + 1) * MAX_SEGS). So nothing is allocated while
 * running, and what the device reports as used is a slot's number.
 *
 * Nothing in shared memory is trusted, not even what we wrote there: what is in
 * flight, with which token and how many writable bytes, is in our own slots,
 * and the indices are our own copies. What the device says (used index, id,
 * length) is loaded once and checked against those.
 *
 * Threads. The submitter's fields and the reaper's lie on different cache lines
 * and each has its lock outside. Between them travel
 *  - a slot's state, stored last by the submitter (release) and looked at first
 *    by the reaper (acquire): the device may name a slot at any time, so it
 *    must be safe to look at any;
 *  - the number of chains offered (`offered`), for the check of the used index;
 *  - free slots: the reaper pushes onto `returned`, the submitter takes that
 *    whole stack at once, so that there is no ABA. It uses the slots returned
 *    last first: with few chains in flight few cache lines are in use.
 *
 * Barriers: the release of avail->idx pairs with the device's acquire, the
 * acquire of used->idx with the device's release. avail->idx before avail_event
 * and used_event (or flags) before used->idx are store before load and need the
 * full one: ring_driver_needs_kick(), arm(), ring_driver_want_call().
 */
#include "ring/ring_driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/log.h"

#define NO_SLOT UINT32_MAX

struct slot {
	_Atomic bool in_flight;
	uint32_t next;     /* in a list of free slots */
	void *token;       /* valid while in flight, as is in_bytes */
	uint64_t in_bytes; /* writable bytes of the chain */
};

struct ring_driver {
	struct ring_driver_config cfg;
	unsigned capacity;
	struct slot *slots; /* capacity */
	_Atomic bool broken;

	/* Submitter's. */
	_Alignas(ORIEL_CACHE_LINE) uint16_t kicked_idx; /* last needs_kick */
	uint32_t hot;  /* free slots, taken from `returned` */
	uint32_t cold; /* free slots never used so far */
	_Atomic uint16_t offered; /* avail index; the reaper reads it */

	/* Reaper's. */
	_Alignas(ORIEL_CACHE_LINE) _Atomic uint16_t last_used; /* next to poll;
								* anybody reads */
	uint16_t armed; /* used_event as last stored */
	bool want_call;
	uint32_t detached; /* slots below hold nothing any more */
	_Atomic uint32_t returned; /* free slots; the submitter takes all */
};

/* Our used_event: last word of our part. */
static uint16_t *used_event(const struct ring_driver *d)
{
	return &d->cfg.avail->ring[d->cfg.size];
}

/* The device's avail_event: last word of its part. */
static const uint16_t *avail_event(const struct ring_driver *d)
{
	return (const uint16_t *)(const void *)&d->cfg.used->ring[d->cfg.size];
}

/* First descriptor of a slot in its table. */
static struct ring_desc *slot_descs(const struct ring_driver *d, uint32_t slot)
{
	struct ring_desc *table = d->cfg.indirect ? d->cfg.indirect
						  : d->cfg.desc;

	return &table[slot * RING_DRIVER_MAX_SEGS];
}

/* The id under which the device sees a slot. */
static uint16_t slot_head(const struct ring_driver *d, uint32_t slot)
{
	return (uint16_t)(d->cfg.indirect ? slot : slot * RING_DRIVER_MAX_SEGS);
}

/* The slot of an id that came from the device, or NO_SLOT. */
static uint32_t head_slot(const struct ring_driver *d, uint32_t head)
{
	uint32_t slot = head;

	if (!d->cfg.indirect) {
		if (head % RING_DRIVER_MAX_SEGS)
			return NO_SLOT;
		slot = head / RING_DRIVER_MAX_SEGS;
	}
	return slot < d->capacity ? slot : NO_SLOT;
}

static bool pointer_is_bad(const void *p, uintptr_t align)
{
	return !p || ((uintptr_t)p & (align - 1));
}

/* Chains that fit, or 0 for a configuration that cannot work. */
static unsigned capacity_of(const struct ring_driver_config *cfg)
{
	if (!is_pow2(cfg->size) || cfg->size > RING_MAX_SIZE ||
	    pointer_is_bad(cfg->desc, 16) || pointer_is_bad(cfg->avail, 2) ||
	    pointer_is_bad(cfg->used, 4))
		return 0;
	if (!cfg->indirect)
		return cfg->size / RING_DRIVER_MAX_SEGS;
	if (pointer_is_bad(cfg->indirect, 16) || cfg->indirect_gpa % 16)
		return 0;
	return cfg->size;
}

static void arm(struct ring_driver *d)
{
	d->armed = atomic_load_explicit(&d->last_used, memory_order_relaxed);
	shm_store_u16(used_event(d), d->armed);
	/* before the next load of used->idx; the device's pair is in
	 * ring_device_needs_call() */
	shm_full_barrier();
}

static void init_ring(struct ring_driver *d)
{
	for (uint32_t i = 0; i < d->capacity; i++)
		d->slots[i].next = i + 1 < d->capacity ? i + 1 : NO_SLOT;
	d->cold = 0;
	d->hot = NO_SLOT;
	atomic_init(&d->returned, NO_SLOT);
	shm_store_u16(&d->cfg.avail->idx, 0);
	shm_store_u16(&d->cfg.avail->flags, 0);
	ring_driver_want_call(d, true);
}

int ring_driver_new(const struct ring_driver_config *cfg,
		    struct ring_driver **ret)
{
	unsigned capacity = capacity_of(cfg);
	struct ring_driver *d;
	void *mem;

	if (!capacity)
		return -EINVAL;
	if (posix_memalign(&mem, ORIEL_CACHE_LINE, sizeof(*d)) != 0)
		return -ENOMEM;
	d = memset(mem, 0, sizeof(*d));
	d->cfg = *cfg;
	d->capacity = capacity;
	d->slots = calloc(capacity, sizeof(d->slots[0]));
	if (!d->slots) {
		free(d);
		return -ENOMEM;
	}
	init_ring(d);
	*ret = d;
	return 0;
}

void ring_driver_free(struct ring_driver *d)
{
	if (!d)
		return;
	free(d->slots);
	free(d);
}

unsigned ring_driver_capacity(const struct ring_driver *d)
{
	return d->capacity;
}

/* ------------------------------------------------------------- submitter */

/* NO_SLOT when all are in flight. */
static uint32_t take_slot(struct ring_driver *d)
{
	uint32_t *list = &d->hot;
	uint32_t slot;

	/* acquire: pairs with the release in return_slot(). The load in front
	 * spares the exchange when nothing came back. */
	if (d->hot == NO_SLOT &&
	    atomic_load_explicit(&d->returned, memory_order_relaxed) != NO_SLOT)
		d->hot = atomic_exchange_explicit(&d->returned, NO_SLOT,
						  memory_order_acquire);
	if (d->hot == NO_SLOT)
		list = &d->cold;
	slot = *list;
	if (slot != NO_SLOT)
		*list = d->slots[slot].next;
	return slot;
}

/* Writable bytes in *@ret_in, or -EINVAL. */
static int check_segs(const struct ring_seg *segs, unsigned n_out,
		      unsigned n_in, uint64_t *ret_in)
{
	uint64_t bytes = 0, out_bytes = 0;

	if (n_out > RING_DRIVER_MAX_SEGS ||
	    n_in > RING_DRIVER_MAX_SEGS - n_out || n_out + n_in == 0)
		return -EINVAL;
	for (unsigned i = 0; i < n_out + n_in; i++) {
		if (segs[i].len == 0)
			return -EINVAL;
		if (i == n_out)
			out_bytes = bytes;
		bytes += segs[i].len;
	}
	if (n_in == 0)
		out_bytes = bytes;
	if (bytes > UINT32_MAX) /* virtio 2.7.5.2: no chain is longer */
		return -EINVAL;
	*ret_in = bytes - out_bytes;
	return 0;
}

/*
 * Write a descriptor unless it stands there already: requests are much alike,
 * and a cache line that is not written need not travel to the device again.
 */
static void write_desc(struct ring_desc *shared, const struct ring_desc *desc)
{
	if (shm_load_u64(&shared->addr) == desc->addr &&
	    shm_load_u32(&shared->len) == desc->len &&
	    shm_load_u16(&shared->flags) == desc->flags &&
	    shm_load_u16(&shared->next) == desc->next)
		return;
	shm_store_u64(&shared->addr, desc->addr);
	shm_store_u32(&shared->len, desc->len);
	shm_store_u16(&shared->flags, desc->flags);
	shm_store_u16(&shared->next, desc->next);
}

static void write_chain(struct ring_driver *d, uint32_t slot,
			const struct ring_seg *segs, unsigned n_out,
			unsigned n_in)
{
	struct ring_desc *desc = slot_descs(d, slot);
	/* `next` counts within an indirect table, else in the main one. */
	uint32_t first = d->cfg.indirect ? 0 : slot_head(d, slot);
	unsigned n = n_out + n_in;
	struct ring_desc one;

	for (unsigned i = 0; i < n; i++) {
		one.addr = segs[i].gpa;
		one.len = segs[i].len;
		one.flags = (i >= n_out ? RING_DESC_F_WRITE : 0) |
			    (i + 1 < n ? RING_DESC_F_NEXT : 0);
		one.next = (uint16_t)(first + i + 1);
		write_desc(&desc[i], &one);
	}
	if (!d->cfg.indirect)
		return;
	one.addr = d->cfg.indirect_gpa + (uint64_t)slot *
		   RING_DRIVER_MAX_SEGS * sizeof(struct ring_desc);
	one.len = (uint32_t)(n * sizeof(struct ring_desc));
	one.flags = RING_DESC_F_INDIRECT;
	one.next = 0;
	write_desc(&d->cfg.desc[slot], &one);
}

/* Offer @slot to the device. */
static void publish(struct ring_driver *d, uint32_t slot)
{
	/* relaxed: only the submitter stores it */
	uint16_t idx = atomic_load_explicit(&d->offered, memory_order_relaxed);

	shm_store_u16(&d->cfg.avail->ring[idx & (d->cfg.size - 1)],
		      slot_head(d, slot));
	idx++;
	/* relaxed: a reaper that sees the chain used has, by way of the device,
	 * acquired the store below, and with it this one */
	atomic_store_explicit(&d->offered, idx, memory_order_relaxed);
	/* release: descriptors and data before the index */
	shm_store_release_u16(&d->cfg.avail->idx, idx);
}

int ring_driver_add(struct ring_driver *d, const struct ring_seg *segs,
		    unsigned n_out, unsigned n_in, void *token)
{
	uint64_t in_bytes;
	struct slot *s;
	uint32_t slot;
	int err;

	err = token ? check_segs(segs, n_out, n_in, &in_bytes) : -EINVAL;
	if (err)
		return err;
	/* relaxed: sooner or later is enough */
	if (atomic_load_explicit(&d->broken, memory_order_relaxed))
		return -EPROTO;
	slot = take_slot(d);
	if (slot == NO_SLOT)
		return -EAGAIN;
	s = &d->slots[slot];
	s->token = token;
	s->in_bytes = in_bytes;
	write_chain(d, slot, segs, n_out, n_in);
	/* release: pairs with the acquire in take_used() */
	atomic_store_explicit(&s->in_flight, true, memory_order_release);
	publish(d, slot);
	return 0;
}

void ring_driver_expect(const struct ring_driver *d)
{
	uint16_t idx = atomic_load_explicit(&d->offered, memory_order_relaxed);

	prefetch_lines_to_write(
		(uintptr_t)&d->cfg.avail->ring[idx & (d->cfg.size - 1)],
		sizeof(uint16_t));
}

unsigned ring_driver_in_flight(const struct ring_driver *d)
{
	/* relaxed: the reaper may be at it */
	return (uint16_t)(atomic_load_explicit(&d->offered,
					       memory_order_relaxed) -
			  atomic_load_explicit(&d->last_used,
					       memory_order_relaxed));
}

bool ring_driver_needs_kick(struct ring_driver *d)
{
	uint16_t old = d->kicked_idx;
	uint16_t new = atomic_load_explicit(&d->offered, memory_order_relaxed);

	/* avail->idx before the device's wish; its pair is in
	 * ring_device_want_kick() */
	shm_full_barrier();
	if (!d->cfg.event_idx)
		return !(shm_load_u16(&d->cfg.used->flags) &
			 RING_USED_F_NO_NOTIFY);
	d->kicked_idx = new;
	return ring_need_event(shm_load_u16(avail_event(d)), new, old);
}

/* ---------------------------------------------------------------- reaper */

/* Give a slot back to the submitter. */
static void return_slot(struct ring_driver *d, uint32_t slot)
{
	struct slot *s = &d->slots[slot];
	uint32_t head = atomic_load_explicit(&d->returned,
					     memory_order_relaxed);

	/* relaxed: handed over by the release below */
	atomic_store_explicit(&s->in_flight, false, memory_order_relaxed);
	/* release: pairs with the acquire in take_slot(). Only the submitter
	 * interferes, and only by taking all. */
	do {
		s->next = head;
	} while (!atomic_compare_exchange_weak_explicit(&d->returned, &head,
							slot,
							memory_order_release,
							memory_order_relaxed));
}

/* For ever after. Returns -EPROTO. */
static int violation(struct ring_driver *d, const char *why)
{
	if (!atomic_exchange(&d->broken, true))
		log_debug("ring: bad device: %s", why);
	return -EPROTO;
}

/* Chains the device has returned, or -EPROTO. */
static int count_used(struct ring_driver *d)
{
	/* relaxed: only the reaper stores it */
	uint16_t last = atomic_load_explicit(&d->last_used,
					     memory_order_relaxed);
	/* acquire: pairs with the device's release of the index */
	uint16_t idx = shm_load_acquire_u16(&d->cfg.used->idx);
	uint16_t offered;

	if (idx == last && d->want_call && d->cfg.event_idx &&
	    d->armed != last) {
		arm(d);
		idx = shm_load_acquire_u16(&d->cfg.used->idx);
	}
	if (idx == last)
		return 0; /* leaves the submitter's cache line alone */
	/* relaxed: see publish() */
	offered = atomic_load_explicit(&d->offered, memory_order_relaxed);
	if ((uint16_t)(idx - last) > (uint16_t)(offered - last))
		return violation(d, "used index runs ahead");
	return (uint16_t)(idx - last);
}

/* Take the used entry at @at. */
static int take_used(struct ring_driver *d, uint16_t at, void **ret_token,
		     uint32_t *ret_len)
{
	const struct ring_used_elem *e =
		&d->cfg.used->ring[at & (d->cfg.size - 1)];
	uint32_t slot = head_slot(d, shm_load_u32(&e->id));
	uint32_t len = shm_load_u32(&e->len);
	const struct slot *s;

	if (slot == NO_SLOT)
		return violation(d, "used id out of range");
	s = &d->slots[slot];
	/* acquire: pairs with the release in ring_driver_add() */
	if (!atomic_load_explicit(&s->in_flight, memory_order_acquire))
		return violation(d, "used id not in flight");
	if (len > s->in_bytes)
		return violation(d, "used length beyond the chain");
	*ret_token = s->token;
	*ret_len = len;
	return_slot(d, slot);
	return 1;
}

int ring_driver_poll(struct ring_driver *d, void **ret_token,
		     uint32_t *ret_len)
{
	uint16_t last = atomic_load_explicit(&d->last_used,
					     memory_order_relaxed);
	int r;

	/* relaxed: sooner or later is enough */
	if (atomic_load_explicit(&d->broken, memory_order_relaxed))
		return -EPROTO;
	r = count_used(d);
	if (r <= 0)
		return r;
	r = take_used(d, last, ret_token, ret_len);
	if (r > 0)
		atomic_store_explicit(&d->last_used, (uint16_t)(last + 1),
				      memory_order_relaxed);
	return r;
}

bool ring_driver_has_used(const struct ring_driver *d)
{
	return shm_load_acquire_u16(&d->cfg.used->idx) !=
	       atomic_load_explicit(&d->last_used, memory_order_relaxed);
}

void ring_driver_want_call(struct ring_driver *d, bool want)
{
	d->want_call = want;
	if (!d->cfg.event_idx) {
		shm_store_u16(&d->cfg.avail->flags,
			      (uint16_t)(want ? 0 :
					 RING_AVAIL_F_NO_INTERRUPT));
		if (want)
			shm_full_barrier(); /* as in arm() */
		return;
	}
	if (want) {
		arm(d);
		return;
	}
	d->armed = (uint16_t)(atomic_load_explicit(&d->last_used,
						   memory_order_relaxed) +
			      RING_EVENT_FAR);
	shm_store_u16(used_event(d), d->armed);
}

void *ring_driver_detach(struct ring_driver *d)
{
	void *token;

	atomic_store(&d->broken, true); /* nothing becomes in flight again */
	for (; d->detached < d->capacity; d->detached++) {
		struct slot *s = &d->slots[d->detached];

		/* acquire: as in take_used() */
		if (!atomic_load_explicit(&s->in_flight, memory_order_acquire))
			continue;
		token = s->token;
		return_slot(d, d->detached++);
		return token;
	}
	return NULL;
}
