/* SPDX-License-Identifier: BSD-2-Clause */
/* Reclaim, admission, the background thread, prefetch: rows B1, B2, B3, B11. */
#include "test.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

struct ctx {
	struct fake f;
	struct fake_file file;
	struct fake_file other;
	char pic[512];
};

static struct ctx *start(const struct fake_options *o)
{
	struct ctx *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	fake_init(&c->f, o);
	fake_file_init(&c->f, &c->file, 32 * RANGE);
	fake_file_init(&c->f, &c->other, 32 * RANGE);
	return c;
}

static void finish(struct ctx *c)
{
	dax_window_stop(c->f.w);
	assert_true(dax_window_is_valid(c->f.w));
	fake_file_done(&c->file);
	fake_file_done(&c->other);
	fake_done(&c->f);
	free(c);
}

static bool is_mapped(struct fake_file *file, uint64_t i)
{
	struct dax_pin pin;

	if (dax_pin(&file->di, i * RANGE, 1, DAX_READ, 0, DAX_NOWAIT, &pin))
		return false;
	dax_unpin(&file->di, &pin);
	return true;
}

/* B1: a full window makes room by itself; every read is right. */
static void test_inline(void **state)
{
	const struct fake_options o = { .ranges = 3, .range_bytes = RANGE };
	struct ctx *c = start(&o);
	int i;

	for (i = 0; i < 100; i++) {
		assert_int_equal(touch(&c->file, (uint64_t)(i * 7 % 32)),
				 DAX_DONE);
		assert_int_equal(touch(&c->other, (uint64_t)(i * 5 % 32)),
				 DAX_DONE);
		assert_true(dax_window_is_valid(c->f.w));
	}
	assert_true(stats_of(&c->f).reclaimed_inline > 50);
	assert_int_equal(stats_of(&c->f).mappings, 3);
	assert_int_equal(stats_of(&c->f).bypassed, 0);
	finish(c);
}

/* Second chance: what was used since the hand passed stays. */
static void test_second_chance(void **state)
{
	const struct fake_options o = { .ranges = 4, .range_bytes = RANGE };
	struct ctx *c = start(&o);
	uint64_t i;

	for (i = 0; i < 4; i++)
		touch(&c->file, 2 * i);
	touch(&c->file, 20); /* all were referenced: a round, then the first */
	assert_false(is_mapped(&c->file, 0));
	assert_string_equal(picture(&c->f, c->pic, 64), "Rrrr");
	for (i = 0; i < 10; i++) {
		/* The hot two are touched between any two evictions. */
		touch(&c->file, 4);
		touch(&c->file, 6);
		touch(&c->file, 21 + i);
		assert_true(is_mapped(&c->file, 4));
		assert_true(is_mapped(&c->file, 6));
	}
	finish(c);
}

/* All pinned: nobody can be evicted, and nobody waits or spins. */
static void test_all_pinned(void **state)
{
	const struct fake_options o = { .ranges = 2, .range_bytes = RANGE };
	struct ctx *c = start(&o);
	struct dax_pin a, b, none;

	assert_int_equal(dax_pin(&c->file.di, 0, 1, DAX_READ, 0, 0, &a), 0);
	assert_int_equal(dax_pin(&c->other.di, 0, 1, DAX_READ, 0, 0, &b), 0);
	assert_int_equal(touch(&c->file, 5), DAX_BYPASS);
	assert_int_equal(dax_pin(&c->file.di, 5 * RANGE, 1, DAX_READ, 0, 0,
				 &none), -ENOSPC);
	assert_int_equal(stats_of(&c->f).bypassed, 1);
	dax_unpin(&c->other.di, &b);
	assert_int_equal(touch(&c->file, 5), DAX_DONE);
	dax_unpin(&c->file.di, &a);
	finish(c);
}

/* A file that is being torn down is not a victim. */
static void test_dying_file(void **state)
{
	const struct fake_options o = { .ranges = 2, .range_bytes = RANGE };
	struct ctx *c = start(&o);

	touch(&c->other, 0);
	touch(&c->other, 1);
	atomic_store(&c->f.refuse_get, 1);
	assert_int_equal(touch(&c->file, 0), DAX_BYPASS);
	atomic_store(&c->f.refuse_get, 0);
	assert_int_equal(touch(&c->file, 0), DAX_DONE);
	finish(c);
}

/* ---------------------------------------------------------------- admission */

/* B2: with the window full, it takes touches; sequential ones are one. */
static void test_admission(void **state)
{
	const struct fake_options o = {
		.ranges = 2, .range_bytes = RANGE, .admit_touches = 3,
	};
	struct ctx *c = start(&o);
	unsigned char buf[1000];
	struct dax_result r;
	int i;

	touch(&c->file, 0);
	touch(&c->file, 1); /* free ranges: at once */
	assert_int_equal(c->f.maps, 2);
	assert_int_equal(touch(&c->file, 5), DAX_BYPASS);
	assert_int_equal(touch(&c->file, 5), DAX_BYPASS);
	assert_int_equal(touch(&c->file, 5), DAX_DONE);
	assert_int_equal(stats_of(&c->f).bypassed, 2);
	for (i = 0; i < 60; i++) {
		r = read_at(&c->file, buf, 1000,
			    8 * RANGE + (uint64_t)i * 1000, UINT64_MAX);
		assert_int_equal(r.stop, DAX_BYPASS);
		assert_int_equal(r.bypass_bytes, 1000);
	}
	finish(c);
}

/* B2, B6: after an invalidation touches count from the beginning. */
static void test_invalidate(void **state)
{
	const struct fake_options o = {
		.ranges = 1, .range_bytes = RANGE, .admit_touches = 2,
	};
	struct ctx *c = start(&o);

	touch(&c->file, 0);
	assert_int_equal(touch(&c->file, 5), DAX_BYPASS);
	dax_inode_invalidate(&c->file.di, 5 * RANGE + 7, 1);
	assert_int_equal(touch(&c->file, 5), DAX_BYPASS);
	assert_int_equal(touch(&c->file, 5), DAX_DONE);
	dax_inode_invalidate(&c->file.di, 0, UINT64_MAX);
	dax_inode_invalidate(&c->file.di, UINT64_MAX, UINT64_MAX);
	assert_true(is_mapped(&c->file, 5)); /* mappings stay */
	finish(c);
}

/* B2: a scan through everything does not evict what is in use. */
static void check_scan(bool background)
{
	const struct fake_options o = {
		.ranges = 10, .range_bytes = RANGE, .admit_touches = 2,
		.background = background,
	};
	struct ctx *c = start(&o);
	unsigned char buf[4096];
	struct dax_stats before, after;
	uint64_t i, pos;

	for (i = 0; i < 8; i++)
		touch(&c->file, i);
	before = stats_of(&c->f);
	for (pos = 0; pos < 32 * RANGE; pos += sizeof(buf)) {
		read_at(&c->other, buf, sizeof(buf), pos, 32 * RANGE);
		touch(&c->file, pos / sizeof(buf) % 8);
	}
	after = stats_of(&c->f);
	/* Every touch of the hot set was a hit. */
	for (i = 0; i < 8; i++)
		assert_true(is_mapped(&c->file, i));
	assert_true(after.reclaimed <= 4);
	assert_true(after.hits - before.hits >= 32 * RANGE / sizeof(buf));
	finish(c);
}

static void test_scan(void **state)
{
	check_scan(false);
	check_scan(true);
}

/*
 * B2, the heart: random touches of a set four times the window. A message
 * costs 1, an eviction with its set-up 3 (a removal, a set-up, page faults).
 * The window must not cost more than having none.
 */
static void check_thrash(uint32_t ranges, uint32_t set)
{
	const struct fake_options o = {
		.ranges = ranges, .range_bytes = 4096, .admit_touches = 2,
	};
	const unsigned rounds = 60000;
	struct ctx *c = start(&o);
	struct dax_stats st;
	uint64_t x = 88172645463325252u;
	unsigned i;

	assert_int_equal(ftruncate(c->file.fd, (off_t)set * 4096), 0);
	for (i = 0; i < rounds; i++) {
		unsigned char b;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		read_at(&c->file, &b, 1, x % set * 4096 + (x >> 40) % 4096,
			UINT64_MAX);
	}
	st = stats_of(&c->f);
	print_message("%u ranges, %u touched: %.3f messages a touch "
		      "(%.3f hits, %.4f evictions)\n", ranges, set,
		      (double)(st.bypassed + 3 * st.setups) / rounds,
		      (double)st.hits / rounds,
		      (double)st.reclaimed / rounds);
	assert_true(st.bypassed + 3 * st.setups < rounds);
	finish(c);
}

static void test_thrash(void **state)
{
	check_thrash(64, 256);
	check_thrash(256, 1024);
	check_thrash(16, 1024);
	check_thrash(4, 16);
}

/* A set that moves is followed: admission does not hold on to the old one.
 * 32 times: which ranges share a place in the ghost table depends on where they
 * are and on the inode's address, and no sharing may keep one out. */
static void test_moving_set(void **state)
{
	const struct fake_options o = {
		.ranges = 8, .range_bytes = RANGE, .admit_touches = 2,
	};
	struct ctx *c = start(&o);
	unsigned i, late_misses = 0;
	struct fake_file big;
	uint64_t set;

	fake_file_init(&c->f, &big, UINT64_C(32) * 8 * RANGE);
	for (set = 0; set < 32; set++)
		for (i = 0; i < 8000; i++)
			if (touch(&big, set * 8 + i * 5 % 8) != DAX_DONE &&
			    i >= 4000)
				late_misses++;
	assert_int_equal(late_misses, 0);
	fake_file_done(&big);
	finish(c);
}

/* --------------------------------------------------------------- background */

static void wait_for(struct fake *f, bool (*is_so)(const struct dax_stats *))
{
	struct dax_stats st = stats_of(f);

	/* Bounded by the test's own time limit only. */
	while (!is_so(&st)) {
		usleep(1000);
		st = stats_of(f);
	}
}

static bool has_low_water(const struct dax_stats *st)
{
	/* counted after they are free */
	return st->free_ranges >= 4 && st->reclaimed >= 4;
}

/* B1: below low water the background thread evicts, in batches. */
static void test_background(void **state)
{
	const struct fake_options o = {
		.ranges = 64, .range_bytes = RANGE, .background = true,
	};
	struct ctx *c = start(&o);
	uint64_t i;

	for (i = 0; i < 60; i++)
		touch(&c->file, i);
	assert_int_equal(stats_of(&c->f).reclaimed, 0);
	for (; i < 64; i++)
		touch(&c->file, i);
	wait_for(&c->f, has_low_water);
	assert_int_equal(stats_of(&c->f).reclaimed_inline, 0);
	assert_int_equal(stats_of(&c->f).bypassed, 0);
	finish(c);
}

/* With nothing to be had the worker sleeps until the next fault. */
static void test_background_all_pinned(void **state)
{
	const struct fake_options o = {
		.ranges = 16, .range_bytes = RANGE, .background = true,
	};
	struct ctx *c = start(&o);
	struct dax_pin pin[16];
	uint64_t i;

	for (i = 0; i < 16; i++)
		assert_int_equal(dax_pin(&c->file.di, i * RANGE, 1, DAX_READ,
					 0, 0, &pin[i]), 0);
	assert_int_equal(touch(&c->other, 0), DAX_BYPASS);
	for (i = 0; i < 16; i++)
		dax_unpin(&c->file.di, &pin[i]);
	assert_int_equal(touch(&c->other, 0), DAX_DONE);
	finish(c);
}

static bool has_prefetched(const struct dax_stats *st)
{
	return st->prefetched > 0;
}

/* B11: the range after the one a sequential reader is in is set up. */
static void test_prefetch(void **state)
{
	const struct fake_options o = {
		.ranges = 20, .range_bytes = RANGE, .background = true,
	};
	struct ctx *c = start(&o);
	static unsigned char buf[RANGE];
	uint64_t i;

	/* Not sequential: the middles of ranges out of order. */
	read_at(&c->other, buf, RANGE, 9 * RANGE, 32 * RANGE);
	read_at(&c->other, buf, RANGE, 4 * RANGE, 32 * RANGE);
	/* The last range of a file has none after it. */
	read_at(&c->other, buf, 100, 0, 100);
	assert_int_equal(c->f.gets, 0);

	for (i = 0; i < 6; i++) {
		read_at(&c->file, buf, RANGE - 4096, i * RANGE, 32 * RANGE);
		while (!is_mapped(&c->file, i + 1))
			usleep(1000); /* the test's time limit */
		read_at(&c->file, buf, 4096, (i + 1) * RANGE - 4096,
			32 * RANGE);
	}
	wait_for(&c->f, has_prefetched);
	assert_int_equal(stats_of(&c->f).prefetched, 6);
	assert_int_equal(stats_of(&c->f).misses, 1 + 3);
	finish(c);
}

/* Prefetch only takes what is plenty. */
static void test_prefetch_needs_room(void **state)
{
	const struct fake_options o = {
		.ranges = 32, .range_bytes = RANGE, .background = true,
	};
	struct ctx *c = start(&o);
	static unsigned char buf[RANGE];
	uint64_t i;

	for (i = 0; i < 29; i++)
		touch(&c->other, 2 * i);
	/* 2 are left: low water, so that nothing is evicted either */
	read_at(&c->file, buf, RANGE, 0, 32 * RANGE);
	assert_int_equal(stats_of(&c->f).free_ranges, 2);
	dax_window_stop(c->f.w);
	assert_int_equal(stats_of(&c->f).prefetched, 0);
	finish(c);
}

/* Stopping gives back the files that were held for reading ahead. */
static void test_stop(void **state)
{
	const struct fake_options o = {
		.ranges = 20, .range_bytes = RANGE, .background = true,
	};
	struct ctx *c = start(&o);
	static unsigned char buf[RANGE];

	touch(&c->file, 0);
	touch(&c->other, 0);
	fake_gate_close(&c->f);
	read_at(&c->file, buf, RANGE, 0, 32 * RANGE); /* the worker waits */
	fake_gate_wait(&c->f, 1);
	read_at(&c->other, buf, RANGE, 0, 32 * RANGE); /* this one is queued */
	assert_int_equal(c->f.gets, 2);
	fake_gate_open(&c->f);
	dax_window_stop(c->f.w);
	dax_window_stop(c->f.w);
	assert_int_equal(c->f.puts, 2);
	finish(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inline),
		cmocka_unit_test(test_second_chance),
		cmocka_unit_test(test_all_pinned),
		cmocka_unit_test(test_dying_file),
		cmocka_unit_test(test_admission),
		cmocka_unit_test(test_invalidate),
		cmocka_unit_test(test_scan),
		cmocka_unit_test(test_thrash),
		cmocka_unit_test(test_moving_set),
		cmocka_unit_test(test_background),
		cmocka_unit_test(test_background_all_pinned),
		cmocka_unit_test(test_prefetch),
		cmocka_unit_test(test_prefetch_needs_room),
		cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
