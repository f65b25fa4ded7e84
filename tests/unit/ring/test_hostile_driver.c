/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device against a driver that breaks the rules: each violation is refused
 * with its reason and stops the queue; what is odd but legal is served.
 */
#include <errno.h>

#include "rig.h"

#define SIZE 8u
#define NEXT RING_DESC_F_NEXT
#define WRITE RING_DESC_F_WRITE
#define INDIRECT RING_DESC_F_INDIRECT

/* The rig's own driver stays idle; the test writes the ring. */
static struct rig *hostile(bool indirect)
{
	return rig_new(SIZE, indirect, false, MIB(1));
}

static void set(struct ring_desc *at, uint64_t gpa, uint64_t len,
		unsigned flags, unsigned next)
{
	*at = (struct ring_desc){ gpa, (uint32_t)len, (uint16_t)flags,
				  (uint16_t)next };
}

static uint64_t data_gpa(const struct rig *r)
{
	return rig_gpa(r, r->data);
}

static void offer(struct rig *r, unsigned head)
{
	r->avail->ring[r->avail->idx % SIZE] = (uint16_t)head;
	shm_store_release_u16(&r->avail->idx, (uint16_t)(r->avail->idx + 1));
}

/* The chain on offer is refused with @why, and so is everything after. */
static void refused(struct rig *r, const char *why)
{
	assert_int_equal(rig_pop(r), -EPROTO);
	assert_string_equal(r->why, why);
	assert_int_equal(r->dev.last_avail, (uint16_t)r->dev.cfg.last_avail);
	set(&r->desc[0], data_gpa(r), 16, 0, 0);
	r->avail->idx = r->dev.last_avail;
	offer(r, 0);
	assert_int_equal(rig_pop(r), -EPROTO);
	assert_string_equal(r->why, "earlier violation");
	assert_int_equal(ring_device_pop(&r->dev, r->map, &r->chain, NULL),
			 -EPROTO);
	rig_free(r);
}

static void served(struct rig *r, unsigned n_out, unsigned n_in)
{
	assert_int_equal(rig_pop(r), 1);
	assert_null(r->why);
	assert_int_equal(r->chain.n_out, n_out);
	assert_int_equal(r->chain.n_in, n_in);
	rig_free(r);
}

static void test_index_ahead(void **state)
{
	struct rig *r = hostile(false);

	(void)state;
	r->avail->idx = SIZE + 1;
	refused(r, "available index runs ahead of the ring");
	r = hostile(false);
	r->avail->idx = 0xffff; /* backwards */
	refused(r, "available index runs ahead of the ring");
}

static void test_full_ring_is_fine(void **state)
{
	struct rig *r = hostile(false);

	(void)state;
	for (unsigned i = 0; i < SIZE; i++) {
		set(&r->desc[i], data_gpa(r), 16, 0, 0);
		offer(r, i);
	}
	for (unsigned i = 0; i < SIZE; i++)
		assert_int_equal(rig_pop(r), 1);
	assert_int_equal(rig_pop(r), 0);
	rig_free(r);
}

static void test_head_out_of_range(void **state)
{
	struct rig *r = hostile(false);

	(void)state;
	offer(r, SIZE);
	refused(r, "head beyond the descriptor table");
}

static void test_next_out_of_range(void **state)
{
	struct rig *r = hostile(false);

	(void)state;
	set(&r->desc[0], data_gpa(r), 16, NEXT, SIZE);
	offer(r, 0);
	refused(r, "next beyond the descriptor table");
}

static void test_loops(void **state)
{
	struct rig *r = hostile(false);

	(void)state;
	set(&r->desc[0], data_gpa(r), 16, NEXT, 0);
	offer(r, 0);
	refused(r, "loop in the descriptor table");
	r = hostile(false);
	for (unsigned i = 0; i < SIZE; i++) /* of zero length, too */
		set(&r->desc[i], 0, 0, NEXT, (i + 1) % SIZE);
	offer(r, 3);
	refused(r, "loop in the descriptor table");
}

static void test_longest_direct_chain(void **state)
{
	struct rig *r = hostile(false);

	(void)state;
	for (unsigned i = 0; i < SIZE; i++)
		set(&r->desc[i], data_gpa(r), 16,
		    (i ? NEXT : 0) | (i < 4 ? WRITE : 0), i - 1);
	offer(r, SIZE - 1);
	served(r, 4, 4);
}

static void test_order(void **state)
{
	struct rig *r = hostile(false);

	(void)state;
	set(&r->desc[0], data_gpa(r), 16, NEXT | WRITE, 1);
	set(&r->desc[1], data_gpa(r), 16, 0, 0);
	offer(r, 0);
	refused(r, "readable segment after a writable one");
}

static void outside(uint64_t gpa, uint64_t len)
{
	struct rig *r = hostile(false);

	set(&r->desc[0], gpa, len, 0, 0);
	offer(r, 0);
	refused(r, "segment outside the memory table");
}

static void test_outside(void **state)
{
	struct rig *r = hostile(false);
	uint64_t end = RIG_GPA + r->mem_bytes;

	(void)state;
	rig_free(r);
	outside(0, 1);
	outside(RIG_GPA - 1, 1);
	outside(RIG_GPA - 1, 2);
	outside(end, 1);
	outside(end - 1, 2);
	outside(UINT64_MAX, 1);
	outside(UINT64_MAX, 2);
	outside(UINT64_MAX - 15, 16);
	outside(RIG_GPA, UINT32_MAX);
	r = hostile(false);
	set(&r->desc[0], end - 1, 1, 0, 0); /* the last byte is fine */
	offer(r, 0);
	served(r, 1, 0);
}

static void test_zero_length(void **state)
{
	struct rig *r = hostile(false);

	(void)state;
	set(&r->desc[0], data_gpa(r), 16, NEXT, 1);
	set(&r->desc[1], UINT64_MAX, 0, NEXT, 2); /* not looked up */
	set(&r->desc[2], data_gpa(r), 16, WRITE | NEXT, 3);
	set(&r->desc[3], 0, 0, WRITE, 0);
	offer(r, 0);
	served(r, 1, 1);
	r = hostile(false);
	set(&r->desc[5], 0, 0, 0, 0); /* nothing at all */
	offer(r, 5);
	assert_int_equal(rig_pop(r), 1);
	assert_int_equal(r->chain.head, 5);
	assert_int_equal(r->chain.out_bytes + r->chain.in_bytes, 0);
	ring_device_push(&r->dev, 5, 0);
	rig_free(r);
}

/* More than 4 GiB in one chain, all of it inside one huge region. */
static void test_total_length(void **state)
{
	struct rig *r = hostile(false);

	(void)state;
	r->map->regions[0].size = UINT64_C(1) << 40; /* never touched */
	set(&r->desc[0], RIG_GPA, UINT32_MAX - 10, NEXT, 1);
	set(&r->desc[1], RIG_GPA, 11, WRITE, 0);
	offer(r, 0);
	refused(r, "chain of more than 4 GiB");
	r = hostile(false);
	r->map->regions[0].size = UINT64_C(1) << 40;
	set(&r->desc[0], RIG_GPA, UINT32_MAX - 10, NEXT, 1);
	set(&r->desc[1], RIG_GPA, 10, WRITE, 0);
	offer(r, 0);
	served(r, 1, 1);
}

/* One head offered again and again without an answer. */
static void test_in_flight(void **state)
{
	struct rig *r = hostile(false);

	(void)state;
	set(&r->desc[0], data_gpa(r), 16, 0, 0);
	for (unsigned i = 0; i < SIZE; i++) {
		offer(r, 0);
		assert_int_equal(rig_pop(r), 1);
	}
	offer(r, 0);
	ring_device_push(&r->dev, 0, 0);
	assert_int_equal(rig_pop(r), 1);
	offer(r, 0);
	assert_int_equal(rig_pop(r), -EPROTO);
	assert_string_equal(r->why, "more chains than descriptors");
	rig_free(r);
}

/* A main table entry for @n entries of the indirect memory. */
static struct rig *with_table(unsigned flags, uint64_t bytes)
{
	struct rig *r = hostile(true);

	set(&r->desc[0], rig_gpa(r, r->indirect), bytes, INDIRECT | flags, 1);
	set(&r->desc[1], data_gpa(r), 16, 0, 0);
	offer(r, 0);
	return r;
}

static void test_indirect_not_negotiated(void **state)
{
	struct rig *r = hostile(false);

	(void)state;
	set(&r->desc[0], rig_gpa(r, r->indirect), 16, INDIRECT, 0);
	set(&r->indirect[0], data_gpa(r), 16, 0, 0);
	offer(r, 0);
	refused(r, "indirect, not negotiated");
}

static void test_indirect_with_next(void **state)
{
	(void)state;
	refused(with_table(NEXT, 16), "indirect descriptor with a next one");
}

static void test_indirect_length(void **state)
{
	static const uint64_t bad[] = { 0, 1, 15, 17, 31, UINT32_MAX };
	struct rig *r;

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		refused(with_table(0, bad[i]), "indirect table of a bad length");
	refused(with_table(0, 65537 * 16), "indirect table too long");
	r = with_table(0, 65536 * 16); /* not too long, but this far back: */
	r->desc[0].addr = data_gpa(r) + 16;
	refused(r, "indirect table outside the memory table");
}

static void test_indirect_outside(void **state)
{
	struct rig *r = with_table(0, 32);

	(void)state;
	r->desc[0].addr = RIG_GPA + r->mem_bytes - 16;
	refused(r, "indirect table outside the memory table");
	r = with_table(0, 16);
	r->desc[0].addr += 4;
	refused(r, "indirect table not aligned");
}

static void test_indirect_nested(void **state)
{
	struct rig *r = with_table(0, 16);

	(void)state;
	set(&r->indirect[0], rig_gpa(r, r->indirect), 16, INDIRECT, 0);
	refused(r, "indirect table inside another");
}

static void test_indirect_next(void **state)
{
	struct rig *r = with_table(0, 32);

	(void)state;
	set(&r->indirect[0], data_gpa(r), 16, NEXT, 2);
	set(&r->indirect[2], data_gpa(r), 16, 0, 0);
	refused(r, "next beyond the indirect table");
	r = with_table(0, 32);
	set(&r->indirect[0], data_gpa(r), 16, NEXT, 1);
	set(&r->indirect[1], data_gpa(r), 16, NEXT, 0);
	refused(r, "loop in an indirect table");
	r = with_table(0, 16);
	set(&r->indirect[0], data_gpa(r), 16, NEXT, 0);
	refused(r, "loop in an indirect table");
}

static void test_indirect_order_and_outside(void **state)
{
	struct rig *r = with_table(0, 32);

	(void)state;
	set(&r->indirect[0], data_gpa(r), 16, NEXT | WRITE, 1);
	set(&r->indirect[1], data_gpa(r), 16, 0, 0);
	refused(r, "readable segment after a writable one");
	r = with_table(0, 32);
	set(&r->indirect[0], data_gpa(r), 16, NEXT, 1);
	set(&r->indirect[1], 0, 16, 0, 0);
	refused(r, "segment outside the memory table");
}

/* Virtio 2.7.5.3.2: plain descriptors may precede the table; WRITE on the
 * indirect descriptor itself means nothing; unused entries are no fault. */
static void test_indirect_odd_but_legal(void **state)
{
	struct rig *r = with_table(WRITE, 64);

	(void)state;
	set(&r->indirect[0], data_gpa(r), 16, NEXT, 3);
	set(&r->indirect[3], data_gpa(r), 16, WRITE, 9);
	r->avail->ring[0] = 7;
	set(&r->desc[7], data_gpa(r), 32, NEXT, 0);
	served(r, 2, 1);
}

static void long_chain(unsigned n, bool ok)
{
	struct rig *r = with_table(0, (uint64_t)n * 16);
	struct ring_desc *table = (void *)r->data;

	r->desc[0].addr = data_gpa(r);
	for (unsigned i = 0; i < n; i++)
		set(&table[i], data_gpa(r), 1, i + 1 < n ? NEXT : 0, i + 1);
	if (ok)
		served(r, n, 0);
	else
		refused(r, "too many segments in a chain");
}

static void test_chain_max(void **state)
{
	(void)state;
	long_chain(RING_CHAIN_MAX, true);
	long_chain(RING_CHAIN_MAX + 1, false);
	long_chain(65536 / 2, false);
}

/* A driver may not move the indices under us either: resuming at a base, the
 * entry there is used, and the used index goes on from memory. */
static void test_resume(void **state)
{
	struct rig *r = hostile(false);
	struct ring_device_config cfg = r->dev.cfg;

	(void)state;
	cfg.last_avail = 0xfffe;
	r->avail->idx = 0xfffe;
	r->used->idx = 0xffff;
	assert_int_equal(ring_device_init(&r->dev, &cfg), 0);
	set(&r->desc[2], data_gpa(r), 16, WRITE, 0);
	for (unsigned i = 0; i < 4; i++)
		offer(r, 2);
	assert_int_equal(r->avail->idx, 2);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(rig_pop(r), 1);
		ring_device_push(&r->dev, r->chain.head, i);
	}
	assert_int_equal(rig_pop(r), 0);
	assert_int_equal(r->used->idx, 3);
	assert_int_equal(r->used->ring[SIZE - 1].len, 0);
	assert_int_equal(r->used->ring[0].len, 1);
	assert_int_equal(r->used->ring[2].len, 3);
	assert_int_equal(r->used->ring[2].id, 2);
	rig_free(r);
}

static void test_init_refuses(void **state)
{
	struct rig *r = hostile(false);
	struct ring_device_config good = r->dev.cfg, bad;
	struct ring_device d;

	(void)state;
#define REFUSE(field, value)                                          \
	do {                                                          \
		bad = good;                                           \
		bad.field = (value);                                  \
		assert_int_equal(ring_device_init(&d, &bad), -EINVAL); \
	} while (0)
	REFUSE(size, 0);
	REFUSE(size, 3);
	REFUSE(size, 65536);
	REFUSE(desc, NULL);
	REFUSE(avail, NULL);
	REFUSE(used, NULL);
	REFUSE(desc, (void *)((char *)good.desc + 8));
	REFUSE(avail, (void *)((char *)good.avail + 1));
	REFUSE(used, (void *)((char *)good.used + 2));
#undef REFUSE
	assert_int_equal(ring_device_init(&d, &good), 0);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_index_ahead),
		cmocka_unit_test(test_full_ring_is_fine),
		cmocka_unit_test(test_head_out_of_range),
		cmocka_unit_test(test_next_out_of_range),
		cmocka_unit_test(test_loops),
		cmocka_unit_test(test_longest_direct_chain),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_outside),
		cmocka_unit_test(test_zero_length),
		cmocka_unit_test(test_total_length),
		cmocka_unit_test(test_in_flight),
		cmocka_unit_test(test_indirect_not_negotiated),
		cmocka_unit_test(test_indirect_with_next),
		cmocka_unit_test(test_indirect_length),
		cmocka_unit_test(test_indirect_outside),
		cmocka_unit_test(test_indirect_nested),
		cmocka_unit_test(test_indirect_next),
		cmocka_unit_test(test_indirect_order_and_outside),
		cmocka_unit_test(test_indirect_odd_but_legal),
		cmocka_unit_test(test_chain_max),
		cmocka_unit_test(test_resume),
		cmocka_unit_test(test_init_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
