/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Driver against device in one thread, at random: chains of any shape, served
 * in any order, notifications switched on and off on both sides. Checked: every
 * chain arrives whole and once, its answer comes back to its token, and a side
 * that sleeps is always called. Enough chains for the indices to wrap around.
 */
#include <errno.h>

#include "rig.h"

#define N_CHAINS (1u << 17)
#define SEG_MAX 48u
#define REC_BYTES (RING_DRIVER_MAX_SEGS * SEG_MAX)

/* One chain from the driver's point of view. */
struct rec {
	struct ring_seg segs[RING_DRIVER_MAX_SEGS];
	unsigned n_out, n_in;
	uint32_t in_bytes;
	uint32_t written; /* by the device */
	unsigned char fill;
	bool busy;
};

/* One chain in the device's hands. */
struct held {
	struct rec *rec;
	uint16_t head;
};

struct pair {
	struct rig *r;
	struct rec *recs; /* capacity */
	struct held *held;
	unsigned capacity, n_held, n_busy;
	unsigned added, done;
	bool driver_sleeps, device_sleeps;
	unsigned calls, kicks;
};

static unsigned char *rec_mem(const struct pair *p, const struct rec *rec)
{
	return p->r->data + (size_t)(rec - p->recs) * REC_BYTES;
}

static struct rec *free_rec(struct pair *p)
{
	unsigned i = (unsigned)rig_below(p->capacity);

	while (p->recs[i].busy)
		i = (i + 1) % p->capacity;
	return &p->recs[i];
}

static void shape_rec(struct pair *p, struct rec *rec)
{
	unsigned n = 1 + (unsigned)rig_below(RING_DRIVER_MAX_SEGS);
	unsigned char *m = rec_mem(p, rec);

	rec->n_out = (unsigned)rig_below(n + 1);
	rec->n_in = n - rec->n_out;
	rec->in_bytes = 0;
	rec->fill = (unsigned char)rig_rnd();
	for (unsigned i = 0; i < n; i++) {
		rec->segs[i].gpa = rig_gpa(p->r, m + i * SEG_MAX);
		rec->segs[i].len = 1 + (uint32_t)rig_below(SEG_MAX);
		if (i >= rec->n_out)
			rec->in_bytes += rec->segs[i].len;
		memset(m + i * SEG_MAX, i < rec->n_out ? rec->fill + (int)i : 0,
		       SEG_MAX);
	}
}

static void wake_device(struct pair *p)
{
	if (ring_driver_needs_kick(p->r->drv)) {
		p->kicks++;
		p->device_sleeps = false;
	}
	assert_false(p->device_sleeps); /* it has work and was not told */
}

static void driver_adds(struct pair *p)
{
	unsigned n = 1 + (unsigned)rig_below(4);
	struct rec *rec;

	while (n-- && p->n_busy < p->capacity && p->added < N_CHAINS) {
		rec = free_rec(p);
		shape_rec(p, rec);
		assert_int_equal(ring_driver_add(p->r->drv, rec->segs,
						 rec->n_out, rec->n_in, rec),
				 0);
		rec->busy = true;
		p->n_busy++;
		p->added++;
	}
	if (p->n_busy == p->capacity)
		assert_int_equal(ring_driver_add(p->r->drv, p->recs[0].segs, 1,
						 0, p), -EAGAIN);
	if (ring_device_has_avail(&p->r->dev))
		wake_device(p);
}

/* Which record is this chain? Its first segment's place says. */
static struct rec *rec_of_chain(const struct pair *p)
{
	const struct ring_chain *c = &p->r->chain;
	const unsigned char *first = c->iov[0].iov_base;

	return &p->recs[(size_t)(first - p->r->data) / REC_BYTES];
}

static void check_chain(const struct pair *p, const struct rec *rec)
{
	const struct ring_chain *c = &p->r->chain;
	uint64_t out = 0;

	assert_true(rec->busy);
	assert_int_equal(c->n_out, rec->n_out);
	assert_int_equal(c->n_in, rec->n_in);
	for (unsigned i = 0; i < c->n_out + c->n_in; i++) {
		const unsigned char *b = c->iov[i].iov_base;

		assert_ptr_equal(b, rec_mem(p, rec) + i * SEG_MAX);
		assert_int_equal(c->iov[i].iov_len, rec->segs[i].len);
		if (i >= c->n_out)
			continue;
		out += c->iov[i].iov_len;
		for (size_t k = 0; k < c->iov[i].iov_len; k++)
			if (b[k] != (unsigned char)(rec->fill + i))
				fail_msg("segment %u byte %zu", i, k);
	}
	assert_int_equal(c->out_bytes, out);
	assert_int_equal(c->in_bytes, rec->in_bytes);
}

/* Write the answer into the first @rec->written writable bytes. */
static void answer(struct rec *rec, const struct ring_chain *c)
{
	uint32_t left = rec->written;

	for (unsigned i = c->n_out; i < c->n_out + c->n_in && left; i++) {
		size_t n = min_u64(left, c->iov[i].iov_len);

		memset(c->iov[i].iov_base, rec->fill ^ 0x55, n);
		left -= (uint32_t)n;
	}
}

static void device_pops(struct pair *p)
{
	unsigned n = 1 + (unsigned)rig_below(4);
	struct rec *rec;
	int got;

	while (n-- && !p->device_sleeps) {
		got = rig_pop(p->r);
		assert_in_range(got, 0, 1);
		if (!got)
			break;
		rec = rec_of_chain(p);
		check_chain(p, rec);
		rec->written = (uint32_t)rig_below(rec->in_bytes + 1);
		answer(rec, &p->r->chain);
		p->held[p->n_held++] = (struct held){ rec, p->r->chain.head };
	}
}

static void device_pushes(struct pair *p)
{
	unsigned n = 1 + (unsigned)rig_below(4);
	unsigned i;

	if (!p->n_held)
		return;
	while (n-- && p->n_held) {
		i = (unsigned)rig_below(p->n_held);
		ring_device_push(&p->r->dev, p->held[i].head,
				 p->held[i].rec->written);
		p->held[i] = p->held[--p->n_held];
	}
	if (ring_device_needs_call(&p->r->dev)) {
		p->calls++;
		p->driver_sleeps = false;
	}
	assert_false(p->driver_sleeps);
}

static void check_answer(const struct pair *p, const struct rec *rec)
{
	uint32_t left = rec->written;

	for (unsigned i = rec->n_out; i < rec->n_out + rec->n_in; i++) {
		const unsigned char *b = rec_mem(p, rec) + i * SEG_MAX;
		uint32_t n = (uint32_t)min_u64(left, rec->segs[i].len);

		for (uint32_t k = 0; k < SEG_MAX; k++)
			if (b[k] != (k < n ? rec->fill ^ 0x55 : 0))
				fail_msg("answer %u byte %u", i, k);
		left -= n;
	}
}

static void driver_polls(struct pair *p)
{
	unsigned n = 1 + (unsigned)rig_below(6);
	uint32_t len;
	void *token;
	int got;

	while (n-- && !p->driver_sleeps) {
		bool has = ring_driver_has_used(p->r->drv);
		struct rec *rec;

		got = ring_driver_poll(p->r->drv, &token, &len);
		assert_int_equal(got, has);
		if (!got)
			break;
		rec = token;
		assert_true(rec->busy);
		assert_int_equal(len, rec->written);
		check_answer(p, rec);
		rec->busy = false;
		p->n_busy--;
		p->done++;
	}
}

/* Ask, look once more, sleep: as the headers say. Or ask to be left alone. */
static void switch_notifications(struct pair *p)
{
	bool want = rig_below(2);

	if (rig_below(2)) {
		if (p->driver_sleeps)
			return;
		ring_driver_want_call(p->r->drv, want);
		p->driver_sleeps = want && !ring_driver_has_used(p->r->drv);
	} else {
		if (p->device_sleeps)
			return;
		ring_device_want_kick(&p->r->dev, want);
		p->device_sleeps = want && !ring_device_has_avail(&p->r->dev);
	}
}

static void step(struct pair *p)
{
	switch (rig_below(6)) {
	case 0:
		driver_adds(p);
		break;
	case 1:
	case 2:
		device_pops(p);
		break;
	case 3:
		device_pushes(p);
		break;
	case 4:
		driver_polls(p);
		break;
	default:
		switch_notifications(p);
	}
}

static void run_pair(unsigned size, bool indirect, bool event_idx)
{
	struct pair p = { .r = rig_new(size, indirect, event_idx,
				       (uint64_t)size * REC_BYTES) };

	p.capacity = ring_driver_capacity(p.r->drv);
	assert_int_equal(p.capacity, indirect ? size
					      : size / RING_DRIVER_MAX_SEGS);
	p.recs = calloc(p.capacity, sizeof(*p.recs));
	p.held = calloc(p.capacity, sizeof(*p.held));
	while (p.done < N_CHAINS) {
		/* All asleep and nothing on its way: the driver goes on. */
		if (p.driver_sleeps && p.n_busy == 0)
			p.driver_sleeps = false;
		step(&p);
	}
	assert_int_equal(p.added, N_CHAINS);
	assert_true(p.kicks > 0 && p.calls > 0);
	assert_null(ring_driver_detach(p.r->drv));
	free(p.recs);
	free(p.held);
	rig_free(p.r);
}

static void test_indirect_event(void **state)
{
	(void)state;
	run_pair(64, true, true);
}

static void test_indirect_flags(void **state)
{
	(void)state;
	run_pair(64, true, false);
}

static void test_direct_event(void **state)
{
	(void)state;
	run_pair(64, false, true);
}

static void test_direct_flags(void **state)
{
	(void)state;
	run_pair(64, false, false);
}

static void test_smallest(void **state)
{
	(void)state;
	run_pair(1, true, true);
	run_pair(RING_DRIVER_MAX_SEGS, false, true);
}

static void test_largest(void **state)
{
	(void)state;
	run_pair(RING_MAX_SIZE, true, true);
	run_pair(RING_MAX_SIZE, false, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_indirect_event),
		cmocka_unit_test(test_indirect_flags),
		cmocka_unit_test(test_direct_event),
		cmocka_unit_test(test_direct_flags),
		cmocka_unit_test(test_smallest),
		cmocka_unit_test(test_largest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
