/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver against a device that breaks the rules: each violation is -EPROTO
 * for ever after, no token comes back twice, and what is in flight can still
 * be taken back. Shared memory the driver wrote is not trusted later.
 */
#include <errno.h>

#include "rig.h"

#define SIZE 16u

static int tokens[SIZE + 1];

static int add(struct rig *r, unsigned i, unsigned n_out, unsigned n_in)
{
	struct ring_seg segs[RING_DRIVER_MAX_SEGS];

	for (unsigned k = 0; k < RING_DRIVER_MAX_SEGS; k++)
		segs[k] = (struct ring_seg){ rig_gpa(r, r->data), 10 };
	return ring_driver_add(r->drv, segs, n_out, n_in, &tokens[i]);
}

/* A ring with two chains in flight of 20 writable bytes each: the first offered
 * first. */
static struct rig *busy(bool indirect)
{
	struct rig *r = rig_new(SIZE, indirect, false, 64);

	assert_int_equal(add(r, 0, 1, 2), 0);
	assert_int_equal(add(r, 1, 1, 2), 0);
	return r;
}

static uint16_t head_of(const struct rig *r, unsigned i)
{
	return r->avail->ring[i];
}

/* The device writes a used entry. */
static void use(struct rig *r, uint32_t id, uint32_t len)
{
	r->used->ring[r->used->idx % SIZE] = (struct ring_used_elem){ id, len };
	shm_store_release_u16(&r->used->idx, (uint16_t)(r->used->idx + 1));
}

static int poll_one(struct rig *r, int *ret_token, uint32_t *ret_len)
{
	void *token = NULL;
	int got = ring_driver_poll(r->drv, &token, ret_len);

	if (got == 1)
		*ret_token = (int)((int *)token - tokens);
	else
		assert_null(token);
	return got;
}

/* The next poll finds a violation; @left chains can be taken back. */
static void refused(struct rig *r, unsigned left)
{
	unsigned n = 0;
	int token;
	uint32_t len;

	assert_int_equal(poll_one(r, &token, &len), -EPROTO);
	assert_int_equal(add(r, 2, 1, 1), -EPROTO);
	/* The device behaves again: too late. */
	r->used->idx = 0;
	assert_int_equal(poll_one(r, &token, &len), -EPROTO);
	while (ring_driver_detach(r->drv))
		n++;
	assert_int_equal(n, left);
	assert_null(ring_driver_detach(r->drv));
	rig_free(r);
}

static void run_bad_ids(bool indirect)
{
	static const uint32_t bad[] = { SIZE, SIZE + 1, 0x10000, UINT32_MAX };
	struct rig *r;

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		r = busy(indirect);
		use(r, bad[i], 0);
		refused(r, 2);
	}
	/* In range and not in flight, or never a head. */
	for (uint32_t id = 0; id < SIZE; id++) {
		r = busy(indirect);
		if (id == head_of(r, 0) || id == head_of(r, 1)) {
			rig_free(r);
			continue;
		}
		use(r, id, 0);
		refused(r, 2);
	}
	/* The upper half of the id counts. */
	r = busy(indirect);
	use(r, head_of(r, 0) | 0x10000u, 0);
	refused(r, 2);
}

static void test_bad_ids(void **state)
{
	(void)state;
	run_bad_ids(true);
	run_bad_ids(false);
}

static void run_twice(bool indirect)
{
	struct rig *r = busy(indirect);
	uint32_t len;
	int token;

	use(r, head_of(r, 1), 7);
	use(r, head_of(r, 1), 7);
	assert_int_equal(poll_one(r, &token, &len), 1);
	assert_int_equal(token, 1);
	assert_int_equal(len, 7);
	refused(r, 1);
}

static void test_twice(void **state)
{
	(void)state;
	run_twice(true);
	run_twice(false);
}

static void test_index_ahead(void **state)
{
	struct rig *r = busy(true);

	(void)state;
	use(r, head_of(r, 0), 0);
	use(r, head_of(r, 1), 0);
	use(r, head_of(r, 1), 0); /* one more than there are */
	refused(r, 2);
	r = busy(true);
	r->used->idx = 0xffff; /* backwards */
	refused(r, 2);
	r = busy(true);
	r->used->idx = SIZE;
	refused(r, 2);
}

/* The driver's avail index in memory is not what counts. */
static void test_forged_avail(void **state)
{
	struct rig *r = busy(true);

	(void)state;
	r->avail->idx = 10;
	r->used->idx = 5;
	refused(r, 2);
}

static void test_length(void **state)
{
	struct rig *r = busy(true);
	uint32_t len;
	int token;

	(void)state;
	use(r, head_of(r, 0), 20);
	assert_int_equal(poll_one(r, &token, &len), 1);
	assert_int_equal(len, 20);
	use(r, head_of(r, 1), 21);
	refused(r, 1);
	r = busy(true);
	use(r, head_of(r, 0), UINT32_MAX);
	refused(r, 2);
	r = rig_new(SIZE, true, false, 64);
	assert_int_equal(add(r, 0, 1, 0), 0);
	use(r, 0, 1); /* nothing to write at all */
	refused(r, 1);
}

/* The device scribbles over descriptors and the indirect table: what the
 * driver believes about its chains does not change. */
static void test_scribbled_descriptors(void **state)
{
	struct rig *r = busy(true);
	uint32_t len;
	int token;

	(void)state;
	memset(r->desc, 0xff, ring_desc_bytes(SIZE));
	memset(r->indirect, 0xff, ring_desc_bytes(SIZE));
	use(r, 1, 20);
	assert_int_equal(poll_one(r, &token, &len), 1);
	assert_int_equal(token, 1);
	/* And a chain added now is whole. */
	r->dev.last_avail = 2;
	assert_int_equal(add(r, 2, 2, 1), 0);
	assert_int_equal(rig_pop(r), 1);
	assert_int_equal(r->chain.n_out, 2);
	assert_int_equal(r->chain.n_in, 1);
	rig_free(r);
}

static void run_fill(bool indirect)
{
	struct rig *r = rig_new(SIZE, indirect, true, 64);
	unsigned cap = ring_driver_capacity(r->drv);
	bool seen[SIZE] = { false };
	int *token;

	for (unsigned round = 0; round < 3; round++) {
		uint32_t len;
		void *back;

		for (unsigned i = 0; i < cap; i++)
			assert_int_equal(add(r, i, 1, 1), 0);
		assert_int_equal(add(r, SIZE, 1, 1), -EAGAIN);
		while (rig_pop(r) == 1)
			ring_device_push(&r->dev, r->chain.head, 3);
		if (round == 2)
			break;
		for (unsigned i = 0; i < cap; i++)
			assert_int_equal(ring_driver_poll(r->drv, &back, &len),
					 1);
	}
	/* Not polled: all in flight, each comes back once. */
	while ((token = ring_driver_detach(r->drv))) {
		assert_in_range(token - tokens, 0, cap - 1);
		assert_false(seen[token - tokens]);
		seen[token - tokens] = true;
	}
	for (unsigned i = 0; i < cap; i++)
		assert_true(seen[i]);
	rig_free(r);
}

static void test_fill_and_detach(void **state)
{
	(void)state;
	run_fill(true);
	run_fill(false);
}

static void test_detach_ends(void **state)
{
	struct rig *r = busy(true);
	uint32_t len;
	int token;

	(void)state;
	use(r, head_of(r, 0), 0);
	assert_non_null(ring_driver_detach(r->drv));
	assert_int_equal(poll_one(r, &token, &len), -EPROTO);
	assert_int_equal(add(r, 3, 1, 1), -EPROTO);
	assert_non_null(ring_driver_detach(r->drv));
	assert_null(ring_driver_detach(r->drv));
	rig_free(r);
}

/* Our own mistakes, which leave the ring as it was. */
static void test_add_refuses(void **state)
{
	struct rig *r = rig_new(SIZE, true, false, 64);
	struct ring_seg seg[2] = { { rig_gpa(r, r->data), 4 }, { 0, 0 } };

	(void)state;
	assert_int_equal(add(r, 0, 0, 0), -EINVAL);
	assert_int_equal(add(r, 0, RING_DRIVER_MAX_SEGS, 1), -EINVAL);
	assert_int_equal(add(r, 0, UINT32_MAX, 2), -EINVAL);
	assert_int_equal(add(r, 0, 2, UINT32_MAX), -EINVAL);
	assert_int_equal(ring_driver_add(r->drv, seg, 1, 1, r), -EINVAL);
	assert_int_equal(ring_driver_add(r->drv, seg, 1, 0, NULL), -EINVAL);
	seg[1].len = UINT32_MAX;
	assert_int_equal(ring_driver_add(r->drv, seg, 1, 1, r), -EINVAL);
	seg[1].len = UINT32_MAX - 4;
	assert_int_equal(r->avail->idx, 0);
	assert_int_equal(ring_driver_add(r->drv, seg, 1, 1, r), 0);
	assert_int_equal(add(r, 0, RING_DRIVER_MAX_SEGS, 0), 0);
	assert_int_equal(add(r, 0, 0, RING_DRIVER_MAX_SEGS), 0);
	assert_int_equal(r->avail->idx, 3);
	rig_free(r);
}

static void test_new_refuses(void **state)
{
	struct rig *r = rig_new(SIZE, true, false, 64);
	struct ring_driver_config good = {
		.size = SIZE,
		.desc = r->desc,
		.avail = r->avail,
		.used = r->used,
		.indirect = r->indirect,
		.indirect_gpa = RIG_GPA,
	}, bad;
	struct ring_driver *d = NULL;

	(void)state;
#define REFUSE(field, value)                                          \
	do {                                                          \
		bad = good;                                           \
		bad.field = (value);                                  \
		assert_int_equal(ring_driver_new(&bad, &d), -EINVAL); \
		assert_null(d);                                       \
	} while (0)
	REFUSE(size, 0);
	REFUSE(size, 12);
	REFUSE(size, 65536);
	REFUSE(desc, NULL);
	REFUSE(avail, NULL);
	REFUSE(used, NULL);
	REFUSE(desc, (void *)((char *)good.desc + 8));
	REFUSE(avail, (void *)((char *)good.avail + 1));
	REFUSE(used, (void *)((char *)good.used + 2));
	REFUSE(indirect, (void *)((char *)good.indirect + 8));
	REFUSE(indirect_gpa, RIG_GPA + 8);
	good.indirect = NULL;
	REFUSE(size, RING_DRIVER_MAX_SEGS / 2);
#undef REFUSE
	assert_int_equal(ring_driver_new(&good, &d), 0);
	ring_driver_free(d);
	ring_driver_free(NULL);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_ids),
		cmocka_unit_test(test_twice),
		cmocka_unit_test(test_index_ahead),
		cmocka_unit_test(test_forged_avail),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_scribbled_descriptors),
		cmocka_unit_test(test_fill_and_detach),
		cmocka_unit_test(test_detach_ends),
		cmocka_unit_test(test_add_refuses),
		cmocka_unit_test(test_new_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
