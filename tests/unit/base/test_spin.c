/* SPDX-License-Identifier: BSD-2-Clause */
/* Polling waits: when they end, and how the gap between yields moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/spin.h"

static void test_ends(void **state)
{
	struct spin_wait w;
	uint64_t steps = 0, begin = clock_now_ns();

	spin_begin(&w, SPIN_GAP_MIN_NS, 2 * NS_PER_MS);
	while (spin_step(&w))
		steps++;
	assert_true(clock_now_ns() - begin >= 2 * NS_PER_MS);
	assert_true(steps > 0);
}

static void test_nothing_to_wait_for(void **state)
{
	struct spin_wait w;
	unsigned steps = 0;

	spin_begin(&w, SPIN_GAP_MAX_NS, 0);
	while (spin_step(&w))
		steps++;
	assert_in_range(steps, 0, SPIN_STEPS_PER_CLOCK);
	/* no time to yield in */
	assert_false(w.yielded);
}

/* A yield that helped halves the gap, down to the least. */
static void test_sooner(void **state)
{
	struct spin_wait w = { .gap_ns = SPIN_GAP_MAX_NS, .yielded = true };

	assert_int_equal(spin_next_gap(&w), SPIN_GAP_MAX_NS / 2);
	for (int i = 0; i < 40; i++)
		w.gap_ns = spin_next_gap(&w);
	assert_int_equal(w.gap_ns, SPIN_GAP_MIN_NS);
}

/* Two helpful yields do not outweigh one wait without. */
static void test_later(void **state)
{
	struct spin_wait w = { .gap_ns = SPIN_GAP_MIN_NS, .yielded = false };
	uint32_t gap_ns = w.gap_ns;

	w.gap_ns = spin_next_gap(&w);
	w.yielded = true;
	w.gap_ns = spin_next_gap(&w);
	w.gap_ns = spin_next_gap(&w);
	assert_true(w.gap_ns >= gap_ns);
	w.yielded = false;
	for (int i = 0; i < 40; i++)
		w.gap_ns = spin_next_gap(&w);
	assert_int_equal(w.gap_ns, SPIN_GAP_MAX_NS);
}

/* Only the last step counts. */
static void test_yield_is_forgotten(void **state)
{
	struct spin_wait w;

	spin_begin(&w, SPIN_GAP_MAX_NS, NS_PER_S);
	w.yielded = true;
	assert_true(spin_step(&w));
	assert_false(w.yielded);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_nothing_to_wait_for),
		cmocka_unit_test(test_sooner),
		cmocka_unit_test(test_later),
		cmocka_unit_test(test_yield_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
