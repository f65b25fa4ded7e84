/* SPDX-License-Identifier: BSD-2-Clause */
/* Several threads for one queue. */
#include "pair.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define IN_FLIGHT 24u
#define ROUNDS 20000u

static const struct pair_options pool = { .workers = 4, .poll_ns = 20000 };

/* A request that takes its time holds up no other of the same queue. */
static void test_side_by_side(void **state)
{
	const struct pair_request wait = { .op = OP_WAIT };
	const struct pair_request echo = { .op = OP_ECHO, .len = 8 };
	uint32_t len;
	struct pair p;
	unsigned slot;

	(void)state;
	pair_start(&p, &pool);
	for (slot = 0; slot < 3; slot++)
		pair_submit(&p, 1, slot, &wait, NULL);
	wait_for(&p.waiting, 3);
	for (unsigned i = 0; i < 100; i++) {
		pair_submit(&p, 1, 3, &echo, "12345678");
		assert_int_equal(pair_wait(&p, 1, &len), 3);
		assert_int_equal(len, 8);
		assert_memory_equal(pair_answer(&p, 3), "12345678", 8);
	}
	/* All four are busy: the next one waits for one of them. */
	pair_submit(&p, 1, 3, &wait, NULL);
	wait_for(&p.waiting, 4);
	pair_submit(&p, 1, 4, &echo, "abcdefgh");
	atomic_store(&p.gate, true);
	for (unsigned seen = 0; seen != 0x1f;) {
		slot = pair_wait(&p, 1, &len);
		assert_false(seen & 1u << slot);
		seen |= 1u << slot;
	}
	pair_finish(&p, 0);
	assert_int_equal(atomic_load(&p.starts), 1 + 4);
}

/* What comes back belongs to what was asked, in whatever order. */
static void test_many(void **state)
{
	struct pair_request echo = { .op = OP_ECHO };
	uint64_t mark[IN_FLIGHT];
	uint64_t next = 1;
	struct pair p;

	(void)state;
	pair_start(&p, &pool);
	for (unsigned done = 0; done < ROUNDS;) {
		unsigned slot = done < IN_FLIGHT ? done : 0;
		uint32_t len;

		if (done >= IN_FLIGHT) {
			slot = pair_wait(&p, 1, &len);
			assert_int_equal(len, 8 + mark[slot] % 100 * 8);
			assert_memory_equal(pair_answer(&p, slot), &mark[slot],
					    8);
		}
		mark[slot] = next++;
		echo.len = 8 + mark[slot] % 100 * 8;
		{
			uint64_t data[101];

			for (unsigned i = 0; i < 101; i++)
				data[i] = mark[slot];
			pair_submit(&p, 1, slot, &echo, data);
		}
		done++;
	}
	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		uint32_t len;

		(void)pair_wait(&p, 1, &len);
	}
	pair_finish(&p, 0);
}

/* Kept requests are answered by whoever leads. */
static void test_later(void **state)
{
	const struct pair_request later = { .op = OP_LATER, .len = 7 };
	struct pair p;
	uint32_t len;

	(void)state;
	pair_start(&p, &pool);
	for (unsigned i = 0; i < 200; i++) {
		for (unsigned slot = 0; slot < 8; slot++)
			pair_submit(&p, 1, slot, &later, NULL);
		for (unsigned n = 0; n < 8;)
			n += pair_answer_one(&p, i);
		for (unsigned n = 0; n < 8; n++)
			(void)pair_wait(&p, 1, &len);
	}
	pair_finish(&p, 0);
}

/* One of them meets a broken driver: the queue ends, with all its threads. */
static void test_broken(void **state)
{
	struct pair p;

	(void)state;
	pair_start(&p, &pool);
	pair_submit(&p, 1, 0, &(struct pair_request){ .op = OP_BAD }, NULL);
	wait_for(&p.stops, 4);
	pair_finish(&p, 0);
}

/* The front end goes while they are at work. */
static void test_ends_at_work(void **state)
{
	const struct pair_request echo = { .op = OP_ECHO, .len = 64 };
	char data[64] = { 0 };

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		struct pair p;

		pair_start(&p, &pool);
		for (unsigned slot = 0; slot < 32; slot++)
			pair_submit(&p, 1, slot, &echo, data);
		pair_finish(&p, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_side_by_side),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_later),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_ends_at_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
