/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Counting the queues that are busy: when nobody may poll, and when they may
 * again. The clock is ours.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vhost/backend_priv.h"

#define TICK UINT64_C(0x100000)
#define QUEUES 9
#define THREADS 4
#define ROUNDS 2000

/* The first @n of @counted are busy at @now; is that too many? */
static bool busy(struct vhost_crowd *c, uint32_t *counted, unsigned n,
		 uint64_t now)
{
	bool over = false;

	for (unsigned i = 0; i < n; i++)
		over = crowd_is_over(c, &counted[i], now);
	return over;
}

static void test_none(void **state)
{
	uint32_t counted = 0;

	assert_false(crowd_is_over(NULL, &counted, 7 * TICK));
}

/* However often it comes, a queue is one. */
static void test_one_counts_once(void **state)
{
	struct vhost_crowd c = { .most = 1 };
	uint32_t counted = 0;

	for (unsigned i = 0; i < 1000; i++)
		assert_false(crowd_is_over(&c, &counted,
					   5 * TICK + i * TICK / 100));
}

static void test_limit(void **state)
{
	struct vhost_crowd c = { .most = QUEUES - 1 };
	uint32_t counted[QUEUES] = { 0 };

	assert_false(busy(&c, counted, QUEUES - 1, 7 * TICK));
	assert_true(busy(&c, counted, QUEUES, 7 * TICK));
	/* At the begin of a tick those of the one before are still there. */
	assert_true(crowd_is_over(&c, &counted[0], 8 * TICK));
	/* Nobody else has come meanwhile. */
	assert_false(crowd_is_over(&c, &counted[0], 9 * TICK));
}

static void test_pause(void **state)
{
	struct vhost_crowd c = { .most = 2 };
	uint32_t counted[QUEUES] = { 0 };

	assert_true(busy(&c, counted, QUEUES, 3 * TICK));
	assert_false(busy(&c, counted, 2, 5 * TICK));
	/* The clock's ticks do not all fit into the word. */
	assert_true(busy(&c, counted, QUEUES, (TICK << 12) + 3 * TICK));
	assert_false(busy(&c, counted, 2, (TICK << 12) + 5 * TICK));
}

struct racer {
	struct vhost_crowd *c;
	pthread_barrier_t *together;
	pthread_t thread;
};

static void *race(void *arg)
{
	struct racer *r = arg;
	uint32_t counted = 0;

	for (uint64_t t = 1; t <= ROUNDS; t++) {
		pthread_barrier_wait(r->together);
		crowd_is_over(r->c, &counted, 2 * t * TICK);
		pthread_barrier_wait(r->together);
		/* all are counted: one more would be too many, none is */
		if (crowd_is_over(r->c, &counted, 2 * t * TICK))
			return r;
	}
	return NULL;
}

/* No count is lost, and none is made twice. */
static void test_race(void **state)
{
	struct vhost_crowd c = { .most = THREADS };
	struct racer r[THREADS];
	pthread_barrier_t together;
	uint32_t one_more = 0;

	assert_int_equal(pthread_barrier_init(&together, NULL, THREADS), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		r[i] = (struct racer){ .c = &c, .together = &together };
		assert_int_equal(pthread_create(&r[i].thread, NULL, race,
						&r[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		void *wrong;

		pthread_join(r[i].thread, &wrong);
		assert_null(wrong);
	}
	assert_true(crowd_is_over(&c, &one_more, 2 * ROUNDS * TICK));
	pthread_barrier_destroy(&together);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_one_counts_once),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
