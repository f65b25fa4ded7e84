/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device's side of a split virtqueue (virtio 1.2, section 2.7).
 *
 * Everything in the ring belongs to the driver, who may change it at any time.
 * Each field is read once into a local copy, and only the copy is checked and
 * used. What bounds the work of one pop: the main table is walked for at most
 * `size` descriptors and an indirect table (one, at the end of the chain) for
 * at most its own number of entries, itself at most INDIRECT_MAX; a chain has
 * at most RING_CHAIN_MAX segments; chains in flight are never more than
 * descriptors.
 *
 * Segments of length zero are legal to look at and are left out of the chain.
 *
 * Barriers: the acquire of avail->idx pairs with the driver's release of it;
 * our release of used->idx pairs with the driver's acquire. Two stores are
 * followed by a load of what the other side stores, so they need the full one:
 * used->idx before used_event (ring_device_needs_call()), and avail_event or
 * flags before avail->idx (arm(), ring_device_want_kick()).
 *
 * Thread rule: one thread at a time.
 */
#include "ring/ring_device.h"

#include <errno.h>

#include "base/atomic.h"

/* More entries than `next` can name are never reached. */
#define INDIRECT_MAX 65536u

/* What of a request and of an answer is fetched ahead: header, fixed part. */
#define REQUEST_BYTES (2 * ORIEL_CACHE_LINE)
#define ANSWER_BYTES (3 * ORIEL_CACHE_LINE)

/* The driver's used_event: last word of its part. */
static const uint16_t *used_event(const struct ring_device *d)
{
	return &d->cfg.avail->ring[d->cfg.size];
}

/* Our avail_event: last word of our part. */
static uint16_t *avail_event(const struct ring_device *d)
{
	return (uint16_t *)(void *)&d->cfg.used->ring[d->cfg.size];
}

static bool pointer_is_bad(const void *p, uintptr_t align)
{
	return !p || ((uintptr_t)p & (align - 1));
}

int ring_device_init(struct ring_device *d,
		     const struct ring_device_config *cfg)
{
	if (!is_pow2(cfg->size) || cfg->size > RING_MAX_SIZE ||
	    pointer_is_bad(cfg->desc, 16) || pointer_is_bad(cfg->avail, 2) ||
	    pointer_is_bad(cfg->used, 4))
		return -EINVAL;
	*d = (struct ring_device){
		.cfg = *cfg,
		.last_avail = cfg->last_avail,
		.used_idx = shm_load_u16(&cfg->used->idx),
	};
	if (cfg->inflight && !cfg->inflight->fresh) {
		d->again = cfg->inflight->n;
		d->last_avail = (uint16_t)(d->used_idx + d->again);
	}
	shm_store_u16(&cfg->used->flags, 0);
	ring_device_want_kick(d, true);
	return 0;
}

/* State of one pop. */
struct walk {
	const struct mem_map *mem;
	struct ring_chain *chain;
	const char *why;  /* what was wrong */
	uint64_t bytes;   /* both directions */
};

/* Returns -EPROTO, for "return fail(...)". */
static int fail(struct walk *w, const char *why)
{
	w->why = why;
	return -EPROTO;
}

/* One descriptor, each field loaded once. */
static struct ring_desc load_desc(const struct ring_desc *p)
{
	struct ring_desc copy = {
		.addr = shm_load_u64(&p->addr),
		.len = shm_load_u32(&p->len),
		.flags = shm_load_u16(&p->flags),
		.next = shm_load_u16(&p->next),
	};

	return copy;
}

/* Append the segment @desc (a copy) to the chain. */
static int add_segment(struct walk *w, const struct ring_desc *desc)
{
	struct ring_chain *c = w->chain;
	const unsigned seg = c->n_out + c->n_in;
	bool writable = desc->flags & RING_DESC_F_WRITE;
	uint64_t off;
	void *p;

	if (!writable && c->n_in > 0)
		return fail(w, "readable segment after a writable one");
	if (desc->len == 0)
		return 0;
	if (seg == RING_CHAIN_MAX)
		return fail(w, "too many segments in a chain");
	if (desc->len > UINT32_MAX - w->bytes)
		return fail(w, "chain of more than 4 GiB");
	p = mem_map_gpa(w->mem, desc->addr, desc->len);
	if (!p && !mem_map_window(w->mem, desc->addr, desc->len, &off))
		return fail(w, "segment outside the memory table");
	if (!p)
		c->away[c->n_away++] = (struct ring_away){ seg, off };
	w->bytes += desc->len;
	c->iov[seg] = (struct iovec){ p, desc->len };
	if (writable) {
		c->n_in++;
		c->in_bytes += desc->len;
	} else {
		c->n_out++;
		c->out_bytes += desc->len;
	}
	return 0;
}

/* Walk the indirect table that @desc (a copy) points at. */
static int walk_indirect(struct walk *w, const struct ring_desc *desc)
{
	unsigned count = desc->len / sizeof(struct ring_desc);
	const struct ring_desc *table;
	struct ring_desc copy = { .next = 0 };
	int err;

	if (desc->flags & RING_DESC_F_NEXT)
		return fail(w, "indirect descriptor with a next one");
	if (count == 0 || desc->len % sizeof(struct ring_desc))
		return fail(w, "indirect table of a bad length");
	if (count > INDIRECT_MAX)
		return fail(w, "indirect table too long");
	table = mem_map_gpa(w->mem, desc->addr, desc->len);
	if (!table)
		return fail(w, "indirect table outside the memory table");
	if (pointer_is_bad(table, _Alignof(struct ring_desc)))
		return fail(w, "indirect table not aligned");
	for (unsigned steps = 0; steps < count; steps++) {
		if (copy.next >= count)
			return fail(w, "next beyond the indirect table");
		copy = load_desc(&table[copy.next]);
		if (copy.flags & RING_DESC_F_INDIRECT)
			return fail(w, "indirect table inside another");
		err = add_segment(w, &copy);
		if (err)
			return err;
		if (!(copy.flags & RING_DESC_F_NEXT))
			return 0;
	}
	return fail(w, "loop in an indirect table");
}

/* Walk the chain that begins at @head of the main table. */
static int walk_chain(const struct ring_device *d, struct walk *w,
		      uint16_t head)
{
	struct ring_desc copy = { .next = head };
	int err;

	for (unsigned steps = 0; steps < d->cfg.size; steps++) {
		if (copy.next >= d->cfg.size)
			return fail(w, "next beyond the descriptor table");
		copy = load_desc(&d->cfg.desc[copy.next]);
		if (copy.flags & RING_DESC_F_INDIRECT) {
			if (!d->cfg.indirect)
				return fail(w, "indirect, not negotiated");
			return walk_indirect(w, &copy);
		}
		err = add_segment(w, &copy);
		if (err)
			return err;
		if (!(copy.flags & RING_DESC_F_NEXT))
			return 0;
	}
	return fail(w, "loop in the descriptor table");
}

/* Tell the driver at which index we want a kick. */
static void arm(struct ring_device *d)
{
	d->armed = d->last_avail;
	shm_store_u16(avail_event(d), d->armed);
	/* before the next load of avail->idx; the driver's pair is in
	 * ring_driver_needs_kick() */
	shm_full_barrier();
}

/*
 * How many chains are on offer, or -EPROTO. A device that sees none but wants
 * a kick must have asked for it at the index it has reached by now, and looks
 * once more after that.
 */
static int count_avail(struct ring_device *d, struct walk *w)
{
	/* pairs with the driver's release of the index */
	uint16_t idx = shm_load_acquire_u16(&d->cfg.avail->idx);

	if (idx == d->last_avail && d->want_kick && d->cfg.event_idx &&
	    d->armed != d->last_avail) {
		arm(d);
		idx = shm_load_acquire_u16(&d->cfg.avail->idx);
	}
	if ((uint16_t)(idx - d->last_avail) > d->cfg.size)
		return fail(w, "available index runs ahead of the ring");
	return (uint16_t)(idx - d->last_avail);
}

/* The head of the next chain: 1, 0 none, -EPROTO. */
static int next_head(struct ring_device *d, struct walk *w, uint16_t *ret)
{
	int n;

	if (ORIEL_UNLIKELY(d->again)) {
		struct ring_inflight_state *st = d->cfg.inflight;

		*ret = st->heads[st->next];
		return 1;
	}
	n = count_avail(d, w);
	if (n <= 0)
		return n;
	*ret = shm_load_u16(
		&d->cfg.avail->ring[d->last_avail & (d->cfg.size - 1)]);
	return 1;
}

static void is_taken(struct ring_device *d, uint16_t head)
{
	if (ORIEL_UNLIKELY(d->again)) {
		d->again--;
		d->cfg.inflight->next++;
		return;
	}
	d->last_avail++;
	if (ORIEL_UNLIKELY(d->cfg.inflight != NULL))
		ring_inflight_taken(d->cfg.inflight, head);
}

/* The answer and its entry in the used ring will be written where the driver
 * has read the ones before: have the lines come while the request is served. */
static void expect_answer(const struct ring_device *d,
			  const struct ring_chain *c)
{
	const struct iovec *in = &c->iov[c->n_out];

	prefetch_lines_to_write(
		(uintptr_t)&d->cfg.used->ring[d->used_idx & (d->cfg.size - 1)],
		sizeof(struct ring_used_elem));
	if (c->n_in)
		prefetch_lines_to_write((uintptr_t)in->iov_base,
					min_u64(in->iov_len, ANSWER_BYTES));
}

static int pop(struct ring_device *d, struct walk *w)
{
	struct ring_chain *c = w->chain;
	int n, err;

	n = next_head(d, w, &c->head);
	if (n <= 0)
		return n;
	if (d->in_flight >= d->cfg.size)
		return fail(w, "more chains than descriptors");
	c->n_out = 0;
	c->n_in = 0;
	c->out_bytes = 0;
	c->in_bytes = 0;
	c->n_away = 0;
	if (c->head >= d->cfg.size)
		return fail(w, "head beyond the descriptor table");
	err = walk_chain(d, w, c->head);
	if (err)
		return err;
	is_taken(d, c->head);
	d->in_flight++;
	expect_answer(d, c);
	return 1;
}

int ring_device_pop(struct ring_device *d, const struct mem_map *mem,
		    struct ring_chain *chain, const char **ret_why)
{
	struct walk w = { .mem = mem, .chain = chain };
	int r;

	if (ORIEL_UNLIKELY(d->broken))
		r = fail(&w, "earlier violation");
	else
		r = pop(d, &w);
	if (ORIEL_UNLIKELY(r < 0)) {
		d->broken = true;
		if (ret_why)
			*ret_why = w.why;
	}
	return r;
}

void ring_device_expect(const struct ring_device *d,
			const struct ring_chain *last)
{
	prefetch_lines(
		(uintptr_t)&d->cfg.avail->ring[d->last_avail &
					       (d->cfg.size - 1)],
		sizeof(uint16_t));
	if (last->n_out)
		prefetch_lines((uintptr_t)last->iov[0].iov_base, REQUEST_BYTES);
}

bool ring_device_has_avail(const struct ring_device *d)
{
	/* acquire: pairs with the driver's release of the index */
	return shm_load_acquire_u16(&d->cfg.avail->idx) != d->last_avail ||
	       ORIEL_UNLIKELY(d->again);
}

void ring_device_push(struct ring_device *d, uint16_t head, uint32_t written)
{
	struct ring_used_elem *e =
		&d->cfg.used->ring[d->used_idx & (d->cfg.size - 1)];

	shm_store_u32(&e->id, head);
	shm_store_u32(&e->len, written);
	d->used_idx++;
	if (d->in_flight > 0)
		d->in_flight--;
	if (ORIEL_UNLIKELY(d->cfg.inflight != NULL))
		ring_inflight_before_push(d->cfg.inflight, head);
	/* release: entry and data before the index; pairs with the acquire in
	 * ring_driver_poll() */
	shm_store_release_u16(&d->cfg.used->idx, d->used_idx);
	if (ORIEL_UNLIKELY(d->cfg.inflight != NULL))
		ring_inflight_after_push(d->cfg.inflight, head, d->used_idx);
}

bool ring_device_needs_call(struct ring_device *d)
{
	uint16_t old = d->signalled_used;
	bool first = !d->signalled_valid;

	/* used->idx before the driver's wish; its pair is in
	 * ring_driver_want_call() */
	shm_full_barrier();
	if (!d->cfg.event_idx)
		return !(shm_load_u16(&d->cfg.avail->flags) &
			 RING_AVAIL_F_NO_INTERRUPT);
	d->signalled_used = d->used_idx;
	d->signalled_valid = true;
	return first || ring_need_event(shm_load_u16(used_event(d)),
					d->used_idx, old);
}

void ring_device_want_kick(struct ring_device *d, bool want)
{
	d->want_kick = want;
	if (!d->cfg.event_idx) {
		shm_store_u16(&d->cfg.used->flags,
			      (uint16_t)(want ? 0 : RING_USED_F_NO_NOTIFY));
		if (want)
			shm_full_barrier(); /* as in arm() */
		return;
	}
	if (want) {
		arm(d);
		return;
	}
	d->armed = (uint16_t)(d->last_avail + RING_EVENT_FAR);
	shm_store_u16(avail_event(d), d->armed);
}
