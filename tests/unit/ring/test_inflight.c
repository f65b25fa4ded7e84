/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Devices that end in the middle: what one has taken and not given back, the
 * next one serves, once, in order.
 */
#include "rig.h"

#include <errno.h>

#define SIZE 64u

struct world {
	struct rig *r;
	struct ring_inflight *shared;
	struct ring_inflight_state st;
	unsigned char tokens[256];
	unsigned next;
};

/* A device takes over where the one before ended, wherever that was. */
static int take_over(struct world *w)
{
	struct ring_device_config cfg = w->r->dev.cfg;
	int err;

	ring_inflight_detach(&w->st);
	err = ring_inflight_attach(&w->st, w->shared, SIZE, SIZE,
				   shm_load_u16(&cfg.used->idx));
	if (err)
		return err;
	cfg.inflight = &w->st;
	return ring_device_init(&w->r->dev, &cfg);
}

static void start(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->r = rig_new(SIZE, false, true, 65536);
	w->shared = calloc(1, ring_inflight_bytes(SIZE));
	assert_int_equal(take_over(w), 0);
	assert_true(w->st.fresh);
}

static void stop(struct world *w)
{
	ring_inflight_detach(&w->st);
	free(w->shared);
	rig_free(w->r);
}

/* Offer a request whose content is its number. */
static void offer(struct world *w)
{
	unsigned i = w->next++ % 200;
	unsigned char *p = w->r->data + 16 * i;
	const struct ring_seg segs[2] = {
		{ rig_gpa(w->r, p), 1 }, { rig_gpa(w->r, p + 8), 1 },
	};

	*p = (unsigned char)i;
	assert_int_equal(ring_driver_add(w->r->drv, segs, 1, 1,
					 &w->tokens[i]), 0);
}

/* Take the next: its number, and its head. -1: there is none. */
static int take(struct world *w, uint16_t *ret_head)
{
	int r = rig_pop(w->r);

	assert_true(r >= 0);
	if (!r)
		return -1;
	*ret_head = w->r->chain.head;
	return *(unsigned char *)w->r->chain.iov[0].iov_base;
}

static int finished(struct world *w)
{
	uint32_t len;
	void *token;

	if (ring_driver_poll(w->r->drv, &token, &len) != 1)
		return -1;
	return (int)((unsigned char *)token - w->tokens);
}

static void test_taken_again(void **state)
{
	struct world w;
	uint16_t h[5], again;

	(void)state;
	start(&w);
	for (unsigned i = 0; i < 5; i++)
		offer(&w);
	for (int i = 0; i < 4; i++)
		assert_int_equal(take(&w, &h[i]), i);
	ring_device_push(&w.r->dev, h[2], 1);
	assert_int_equal(finished(&w), 2);
	/* It ends. The next serves 0, 1, 3, and then what nobody took. */
	assert_int_equal(take_over(&w), 0);
	assert_int_equal(w.st.n, 3);
	assert_int_equal(take(&w, &again), 0);
	assert_int_equal(again, h[0]);
	assert_int_equal(take(&w, &again), 1);
	/* And again, with two of them still open and one still to come. */
	ring_device_push(&w.r->dev, h[1], 1);
	assert_int_equal(finished(&w), 1);
	assert_int_equal(take_over(&w), 0);
	assert_int_equal(w.st.n, 2);
	assert_int_equal(take(&w, &again), 0);
	assert_int_equal(take(&w, &again), 3);
	assert_int_equal(take(&w, &h[4]), 4);
	assert_int_equal(take(&w, &again), -1);
	ring_device_push(&w.r->dev, h[4], 1);
	ring_device_push(&w.r->dev, h[3], 1);
	ring_device_push(&w.r->dev, h[0], 1);
	assert_int_equal(finished(&w), 4);
	assert_int_equal(finished(&w), 3);
	assert_int_equal(finished(&w), 0);
	assert_int_equal(take_over(&w), 0);
	assert_int_equal(w.st.n, 0);
	assert_int_equal(take(&w, &again), -1);
	stop(&w);
}

/* The used index has moved, the mark is still there: it is done. */
static void test_ends_between(void **state)
{
	struct world w;
	uint16_t h[2] = { 0 }, again;

	(void)state;
	start(&w);
	offer(&w);
	offer(&w);
	assert_int_equal(take(&w, &h[0]), 0);
	assert_int_equal(take(&w, &h[1]), 1);
	ring_device_push(&w.r->dev, h[1], 1);
	w.shared->desc[h[1]].inflight = 1;
	w.shared->used_idx--;
	assert_int_equal(take_over(&w), 0);
	assert_int_equal(w.st.n, 1);
	assert_int_equal(take(&w, &again), 0);
	/* Before the index moved: it is not done. */
	ring_inflight_before_push(&w.st, h[0]);
	assert_int_equal(take_over(&w), 0);
	assert_int_equal(take(&w, &again), 0);
	stop(&w);
}

/* Any number of devices, each of which ends anywhere: nothing is lost, nothing
 * is answered twice (ring_driver_poll() would say so). */
static void test_random_ends(void **state)
{
	struct world w;
	unsigned offered = 0, done = 0;

	(void)state;
	start(&w);
	while (done < 20000) {
		uint16_t held[SIZE];
		unsigned n = 0;

		for (unsigned i = (unsigned)rig_below(4); i--;) {
			if (offered - done >= 8)
				break;
			offer(&w);
			offered++;
		}
		for (unsigned i = (unsigned)rig_below(6); i--;)
			if (take(&w, &held[n]) >= 0)
				n++;
		for (unsigned i = (unsigned)rig_below(n + 1); i--;)
			ring_device_push(&w.r->dev, held[--n], 1);
		while (finished(&w) >= 0)
			done++;
		if (n || !rig_below(3))
			assert_int_equal(take_over(&w), 0);
	}
	stop(&w);
}

static void test_not_of_this_queue(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	w.shared->version = 2;
	assert_int_equal(take_over(&w), -EINVAL);
	w.shared->version = 1;
	w.shared->desc_num = SIZE * 2;
	assert_int_equal(take_over(&w), -EINVAL);
	w.shared->desc_num = SIZE;
	w.shared->used_idx = 7;
	w.shared->last_batch_head = SIZE;
	assert_int_equal(take_over(&w), -EINVAL);
	assert_int_equal(ring_inflight_attach(&w.st, w.shared, SIZE, SIZE * 2,
					      0), -EINVAL);
	/* All marked: each is tried, what no driver made ends the queue. */
	w.shared->last_batch_head = 0;
	for (unsigned i = 0; i < SIZE; i++)
		w.shared->desc[i].inflight = 1;
	assert_int_equal(take_over(&w), 0);
	assert_int_equal(w.st.n, SIZE - 1);
	for (unsigned i = 0; i < SIZE; i++)
		w.r->desc[i].addr = 1;
	w.r->desc[w.st.heads[0]].len = 8;
	assert_int_equal(rig_pop(w.r), -EPROTO);
	stop(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_taken_again),
		cmocka_unit_test(test_ends_between),
		cmocka_unit_test(test_random_ends),
		cmocka_unit_test(test_not_of_this_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
