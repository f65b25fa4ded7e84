/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests that are answered later, from other threads than the queue's. */
#include "pair.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define MARK 1000u

static int32_t mark_of(struct pair *p, unsigned slot)
{
	int32_t v;

	memcpy(&v, pair_answer(p, slot), sizeof(v));
	return v;
}

static void submit(struct pair *p, unsigned slot)
{
	const struct pair_request r = { .op = OP_LATER, .len = MARK + slot };

	pair_submit(p, 1, slot, &r, NULL);
}

static void wait_kept(struct pair *p, unsigned n)
{
	unsigned now;

	do {
		pthread_mutex_lock(&p->kept_lock);
		now = p->n_kept;
		pthread_mutex_unlock(&p->kept_lock);
		usleep(100);
	} while (now < n);
}

/* Out of order, others in between, each once and with its own answer. */
static void check_out_of_order(uint64_t poll_ns)
{
	const struct pair_options o = { .poll_ns = poll_ns };
	const struct pair_request e = { .op = OP_ECHO, .len = 8 };
	struct pair p;
	uint64_t seen = 0;
	uint32_t len = 0;
	unsigned i;

	pair_start(&p, &o);
	for (i = 0; i < 20; i++)
		submit(&p, i);
	wait_kept(&p, 20);
	pair_submit(&p, 1, 30, &e, "passing");
	assert_int_equal(pair_wait(&p, 1, &len), 30);
	for (i = 0; i < 20; i++) {
		unsigned slot;

		assert_true(pair_answer_one(&p, i * 7));
		slot = pair_wait(&p, 1, &len);
		assert_int_equal(len, sizeof(int32_t));
		assert_int_equal(mark_of(&p, slot), MARK + slot);
		assert_false(seen >> slot & 1);
		seen |= UINT64_C(1) << slot;
	}
	assert_false(pair_answer_one(&p, 0));
	pair_finish(&p, 0);
}

static void test_out_of_order(void **state)
{
	(void)state;
	check_out_of_order(0);
	check_out_of_order(200 * NS_PER_US);
}

/* The front end goes with requests kept: they are cancelled, nothing is lost. */
static void test_left_behind(void **state)
{
	const struct pair_options o = { 0 };
	struct pair p;
	unsigned i;

	(void)state;
	pair_start(&p, &o);
	for (i = 0; i < 10; i++)
		submit(&p, i);
	wait_kept(&p, 10);
	pair_finish(&p, 0);
	assert_int_equal(atomic_load(&p.cancelled), 10);
}

struct answerer {
	struct pair *p;
	_Atomic bool *stop;
	unsigned seed;
};

static void *answer_main(void *arg)
{
	struct answerer *a = arg;

	while (!atomic_load(a->stop)) {
		if (!pair_answer_one(a->p, (unsigned)rand_r(&a->seed)))
			usleep(10);
	}
	return NULL;
}

/* Four threads answer what one queue keeps. */
static void test_threads(void **state)
{
	const struct pair_options o = { .poll_ns = 20 * NS_PER_US };
	_Atomic bool stop = false;
	struct answerer a[4];
	pthread_t t[4];
	struct pair p;
	uint32_t len = 0;

	(void)state;
	pair_start(&p, &o);
	for (unsigned i = 0; i < 4; i++) {
		a[i] = (struct answerer){ &p, &stop, i };
		assert_int_equal(pthread_create(&t[i], NULL, answer_main,
						&a[i]), 0);
	}
	for (unsigned round = 0; round < 100; round++) {
		uint64_t seen = 0;

		for (unsigned i = 0; i < 30; i++)
			submit(&p, i);
		for (unsigned i = 0; i < 30; i++) {
			unsigned slot = pair_wait(&p, 1, &len);

			assert_int_equal(mark_of(&p, slot), MARK + slot);
			assert_false(seen >> slot & 1);
			seen |= UINT64_C(1) << slot;
		}
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	pair_finish(&p, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_out_of_order),
		cmocka_unit_test(test_left_behind),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
