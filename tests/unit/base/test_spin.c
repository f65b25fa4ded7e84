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
	struct spin_habit h = { .gap_ns = SPIN_GAP_MIN_NS };
	struct spin_wait w;
	uint64_t steps = 0;

	spin_begin(&w, &h, 2 * NS_PER_MS);
	while (spin_step(&w))
		steps++;
	/* it ends in time, or because somebody else is here */
	assert_true(clock_now_ns() >= w.end_ns);
	assert_true(steps > 0);
}

static void test_nothing_to_wait_for(void **state)
{
	struct spin_habit h = { 0 };
	struct spin_wait w;
	unsigned steps = 0;

	spin_begin(&w, &h, 0);
	while (spin_step(&w))
		steps++;
	assert_in_range(steps, 0, SPIN_STEPS_PER_CLOCK);
	/* no time to yield in */
	assert_false(w.yielded);
	assert_false(w.was_long);
}

/* A wait that ended with a step that yielded so. */
static void wait_once(struct spin_habit *h, bool yielded, bool was_long)
{
	struct spin_wait w;

	spin_begin(&w, h, NS_PER_MS);
	w.yielded = yielded;
	w.was_long = was_long;
	spin_end(&w);
}

/* A yield that helped halves the gap, down to the least. */
static void test_sooner(void **state)
{
	struct spin_habit h = { 0 };

	wait_once(&h, true, false);
	assert_int_equal(h.gap_ns, SPIN_GAP_MAX_NS / 2);
	for (int i = 0; i < 40; i++)
		wait_once(&h, true, false);
	assert_int_equal(h.gap_ns, SPIN_GAP_MIN_NS);
}

/* Two helpful yields do not outweigh one wait without. */
static void test_later(void **state)
{
	struct spin_habit h = { .gap_ns = SPIN_GAP_MIN_NS };

	wait_once(&h, false, false);
	wait_once(&h, true, false);
	wait_once(&h, true, false);
	assert_true(h.gap_ns >= SPIN_GAP_MIN_NS);
	for (int i = 0; i < 40; i++)
		wait_once(&h, false, false);
	assert_int_equal(h.gap_ns, SPIN_GAP_MAX_NS);
}

/* How many waits pass before one would yield again? */
static unsigned count_hushed(struct spin_habit *h)
{
	struct spin_wait w;
	unsigned n = 0;

	for (;; n++) {
		spin_begin(&w, h, NS_PER_S);
		if (w.yield_ns != UINT64_MAX)
			return n;
		assert_true(w.end_ns <= clock_now_ns() + SPIN_HUSH_NS);
		spin_end(&w);
	}
}

/* A time slice lost: no yields for a while, longer each time. */
static void test_hush(void **state)
{
	struct spin_habit h = { 0 };

	wait_once(&h, false, true);
	assert_int_equal(count_hushed(&h), SPIN_HUSH_MIN);
	wait_once(&h, false, true);
	assert_int_equal(count_hushed(&h), 2 * SPIN_HUSH_MIN);
	for (int i = 0; i < 20; i++)
		wait_once(&h, false, true);
	assert_int_equal(count_hushed(&h), SPIN_HUSH_MAX);
	/* a yield that helped: whoever it was is gone */
	wait_once(&h, true, false);
	wait_once(&h, false, true);
	assert_int_equal(count_hushed(&h), SPIN_HUSH_MIN);
}

/* Only the last step counts. */
static void test_yield_is_forgotten(void **state)
{
	struct spin_habit h = { 0 };
	struct spin_wait w;

	spin_begin(&w, &h, NS_PER_S);
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
		cmocka_unit_test(test_hush),
		cmocka_unit_test(test_yield_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
