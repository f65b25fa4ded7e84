/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Notifications, step by step: who must be told when, and that suppression
 * does suppress. The rules of section 2.7.7 and 2.7.10.
 */
#include "rig.h"

static void add(struct rig *r, unsigned n)
{
	struct ring_seg seg = { rig_gpa(r, r->data), 8 };

	while (n--)
		assert_int_equal(ring_driver_add(r->drv, &seg, 0, 1, r), 0);
}

/* Pop and push back @n chains. */
static void serve(struct rig *r, unsigned n)
{
	while (n--) {
		assert_int_equal(rig_pop(r), 1);
		ring_device_push(&r->dev, r->chain.head, 4);
	}
}

static void reap(struct rig *r, unsigned n)
{
	uint32_t len;
	void *token;

	while (n--) {
		assert_int_equal(ring_driver_poll(r->drv, &token, &len), 1);
		assert_ptr_equal(token, r);
		assert_int_equal(len, 4);
	}
}

static void reap_none(struct rig *r)
{
	uint32_t len = 77;
	void *token = &len;

	assert_int_equal(ring_driver_poll(r->drv, &token, &len), 0);
	assert_ptr_equal(token, &len);
	assert_int_equal(len, 77);
}

/* Index at which calls are asked for, in the driver's part. */
static uint16_t used_event(const struct rig *r)
{
	return r->avail->ring[r->size];
}

static uint16_t avail_event(const struct rig *r)
{
	const void *p = &r->used->ring[r->size];

	return shm_load_u16(p);
}

static void test_need_event(void **state)
{
	(void)state;
	assert_true(ring_need_event(0, 1, 0));
	assert_false(ring_need_event(1, 1, 0));
	assert_true(ring_need_event(1, 2, 0));
	assert_false(ring_need_event(0, 2, 1));   /* passed before */
	assert_true(ring_need_event(0xffff, 0, 0xffff));
	assert_true(ring_need_event(0xfffe, 3, 0xfff0));
	assert_false(ring_need_event(3, 3, 0xfff0));
	assert_false(ring_need_event(5, 9, 9)); /* nothing new */
}

/* With event indices one kick for the first of a batch, none for the rest. */
static void test_event_kick_once(void **state)
{
	struct rig *r = rig_new(16, true, true, 64);

	(void)state;
	add(r, 1);
	assert_true(ring_driver_needs_kick(r->drv));
	assert_false(ring_driver_needs_kick(r->drv));
	add(r, 3);
	assert_false(ring_driver_needs_kick(r->drv));
	serve(r, 4);
	assert_int_equal(avail_event(r), 0);
	/* The device finds nothing more: that alone asks again. */
	assert_int_equal(rig_pop(r), 0);
	assert_int_equal(avail_event(r), 4);
	add(r, 2);
	assert_true(ring_driver_needs_kick(r->drv));
	rig_free(r);
}

static void test_event_call_once(void **state)
{
	struct rig *r = rig_new(16, true, true, 64);

	(void)state;
	add(r, 8);
	serve(r, 1);
	assert_true(ring_device_needs_call(&r->dev));
	serve(r, 3);
	assert_false(ring_device_needs_call(&r->dev));
	reap(r, 4);
	assert_int_equal(used_event(r), 0);
	reap_none(r);
	assert_int_equal(used_event(r), 4);
	serve(r, 2);
	assert_true(ring_device_needs_call(&r->dev));
	reap(r, 2);
	/* Asked in advance: still the next. */
	ring_driver_want_call(r->drv, true);
	assert_int_equal(used_event(r), 6);
	serve(r, 1);
	assert_true(ring_device_needs_call(&r->dev));
	rig_free(r);
}

/* The first answer of a device is always announced: what the driver saw of an
 * earlier device is not known. */
static void test_first_call(void **state)
{
	struct rig *r = rig_new(16, true, true, 64);

	(void)state;
	ring_driver_want_call(r->drv, false);
	add(r, 2);
	serve(r, 1);
	assert_true(ring_device_needs_call(&r->dev));
	serve(r, 1);
	assert_false(ring_device_needs_call(&r->dev));
	rig_free(r);
}

static void run_suppressed(bool event_idx)
{
	struct rig *r = rig_new(16, true, event_idx, 64);

	add(r, 1);
	serve(r, 1);
	(void)ring_device_needs_call(&r->dev);
	(void)ring_driver_needs_kick(r->drv);
	reap(r, 1);
	ring_driver_want_call(r->drv, false);
	ring_device_want_kick(&r->dev, false);
	for (unsigned i = 0; i < 2000; i++) {
		unsigned n = 1 + i % 16;

		add(r, n);
		assert_false(ring_driver_needs_kick(r->drv));
		serve(r, n);
		assert_int_equal(rig_pop(r), 0);
		assert_false(ring_device_needs_call(&r->dev));
		reap(r, n);
		reap_none(r);
	}
	ring_driver_want_call(r->drv, true);
	ring_device_want_kick(&r->dev, true);
	add(r, 1);
	assert_true(ring_driver_needs_kick(r->drv));
	serve(r, 1);
	assert_true(ring_device_needs_call(&r->dev));
	rig_free(r);
}

static void test_suppressed(void **state)
{
	(void)state;
	run_suppressed(true);
	run_suppressed(false);
}

/* The flags: what stands in memory, and that each side obeys the other's. */
static void test_flags(void **state)
{
	struct rig *r = rig_new(16, false, false, 64);

	(void)state;
	assert_int_equal(r->avail->flags, 0);
	assert_int_equal(r->used->flags, 0);
	ring_driver_want_call(r->drv, false);
	assert_int_equal(r->avail->flags, RING_AVAIL_F_NO_INTERRUPT);
	ring_device_want_kick(&r->dev, false);
	assert_int_equal(r->used->flags, RING_USED_F_NO_NOTIFY);
	assert_false(ring_driver_needs_kick(r->drv));
	assert_false(ring_device_needs_call(&r->dev));
	/* Without event indices the events mean nothing. */
	assert_int_equal(used_event(r), 0);
	assert_int_equal(avail_event(r), 0);
	rig_free(r);
}

/* With event indices the flags stay 0 and the other's are not looked at. */
static void test_event_ignores_flags(void **state)
{
	struct rig *r = rig_new(16, true, true, 64);

	(void)state;
	ring_driver_want_call(r->drv, false);
	ring_device_want_kick(&r->dev, false);
	assert_int_equal(r->avail->flags, 0);
	assert_int_equal(r->used->flags, 0);
	ring_driver_want_call(r->drv, true);
	ring_device_want_kick(&r->dev, true);
	r->avail->flags = RING_AVAIL_F_NO_INTERRUPT;
	r->used->flags = RING_USED_F_NO_NOTIFY;
	add(r, 1);
	assert_true(ring_driver_needs_kick(r->drv));
	serve(r, 1);
	assert_true(ring_device_needs_call(&r->dev));
	rig_free(r);
}

static void test_has(void **state)
{
	struct rig *r = rig_new(16, true, true, 64);

	(void)state;
	assert_false(ring_device_has_avail(&r->dev));
	assert_false(ring_driver_has_used(r->drv));
	add(r, 1);
	assert_true(ring_device_has_avail(&r->dev));
	assert_false(ring_driver_has_used(r->drv));
	serve(r, 1);
	assert_false(ring_device_has_avail(&r->dev));
	assert_true(ring_driver_has_used(r->drv));
	reap(r, 1);
	assert_false(ring_driver_has_used(r->drv));
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_need_event),
		cmocka_unit_test(test_event_kick_once),
		cmocka_unit_test(test_event_call_once),
		cmocka_unit_test(test_first_call),
		cmocka_unit_test(test_suppressed),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_event_ignores_flags),
		cmocka_unit_test(test_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
