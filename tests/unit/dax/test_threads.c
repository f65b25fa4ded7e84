/* SPDX-License-Identifier: BSD-2-Clause */
/* What threads do to each other: rows A14, A17; counters of threads. */
#include "test.h"

#include <unistd.h>

#include "base/epoch.h"

#define THREADS 6

struct ctx {
	struct fake f;
	struct fake_file file;
	pthread_barrier_t barrier;
	_Atomic int phase;
};

static struct ctx *start(uint32_t ranges, bool background)
{
	const struct fake_options o = {
		.ranges = ranges, .range_bytes = RANGE,
		.background = background,
	};
	struct ctx *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	fake_init(&c->f, &o);
	fake_file_init(&c->f, &c->file, 16 * RANGE);
	pthread_barrier_init(&c->barrier, NULL, THREADS);
	return c;
}

static void finish(struct ctx *c)
{
	dax_window_stop(c->f.w);
	assert_true(dax_window_is_valid(c->f.w));
	fake_file_done(&c->file);
	fake_done(&c->f);
	pthread_barrier_destroy(&c->barrier);
	free(c);
}

static void run_threads(struct ctx *c, void *(*fn)(void *), unsigned n)
{
	pthread_t t[THREADS];
	unsigned i;

	for (i = 0; i < n; i++)
		assert_int_equal(pthread_create(&t[i], NULL, fn, c), 0);
	for (i = 0; i < n; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
}

/* cmocka's assertions jump, which only its own thread may do. */
static void must(bool cond)
{
	if (!cond)
		abort();
}

static enum dax_stop quiet_touch(struct fake_file *file, uint64_t i)
{
	unsigned char b;

	return read_at(file, &b, 1, i * RANGE, UINT64_MAX).stop;
}

/* A14: all miss the same range at once: one request. */
static void *miss_together(void *arg)
{
	struct ctx *c = arg;
	uint64_t i;

	for (i = 0; i < 16; i++) {
		pthread_barrier_wait(&c->barrier);
		must(quiet_touch(&c->file, i) == DAX_DONE);
	}
	return NULL;
}

static void test_one_request(void **state)
{
	unsigned round, lost = 0;

	for (round = 0; round < 30; round++) {
		struct ctx *c = start(16 + THREADS, false);

		run_threads(c, miss_together, THREADS);
		assert_int_equal(c->f.maps, 16);
		assert_int_equal(stats_of(&c->f).setups, 16);
		assert_int_equal(stats_of(&c->f).free_ranges, THREADS);
		lost += (unsigned)stats_of(&c->f).races_lost;
		finish(c);
	}
	print_message("%u races lost\n", lost);
}

/* A14 for certain: the loser has its spare range before the winner maps. */
static void *miss_slowly(void *arg)
{
	struct ctx *c = arg;

	must(quiet_touch(&c->file, 3) == DAX_DONE);
	return NULL;
}

static void test_race_lost(void **state)
{
	struct ctx *c = start(4, false);
	pthread_t t[2];
	int i;

	/* Both look before either may lock for writing. */
	pthread_rwlock_rdlock(&c->file.di.lock);
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, miss_slowly, c), 0);
	while (stats_of(&c->f).free_ranges > 2)
		usleep(1000); /* until both have a range; the test's limit */
	pthread_rwlock_unlock(&c->file.di.lock);
	for (i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(c->f.maps, 1);
	assert_int_equal(stats_of(&c->f).races_lost, 1);
	assert_int_equal(stats_of(&c->f).free_ranges, 3);
	finish(c);
}

/* A17: a reader that is in the middle of a copy keeps its range. */
static void *be_a_reader(void *arg)
{
	struct ctx *c = arg;

	must(epoch_enter());
	atomic_store(&c->phase, 1);
	while (atomic_load(&c->phase) != 2)
		usleep(1000);
	/* Nothing was removed under us, however long that took. */
	must(c->f.unmapped == 0);
	epoch_exit();
	return NULL;
}

static void *evict(void *arg)
{
	struct ctx *c = arg;

	dax_window_shrink(c->f.w);
	return NULL;
}

static void *upgrade(void *arg)
{
	struct ctx *c = arg;

	must(write_at(&c->file, "x", 1, 0, UINT64_MAX).stop == DAX_DONE);
	return NULL;
}

static void check_reader_keeps(void *(*remover)(void *))
{
	struct ctx *c = start(4, false);
	pthread_t r, e;

	assert_int_equal(touch(&c->file, 0), DAX_DONE);
	assert_int_equal(pthread_create(&r, NULL, be_a_reader, c), 0);
	while (atomic_load(&c->phase) != 1)
		usleep(1000);
	assert_int_equal(pthread_create(&e, NULL, remover, c), 0);
	while (stats_of(&c->f).mappings > 0)
		usleep(1000);
	/* Unlinked. Give it time to do wrong. */
	usleep(30000);
	assert_int_equal(stats_of(&c->f).free_ranges, 3);
	atomic_store(&c->phase, 2);
	pthread_join(r, NULL);
	pthread_join(e, NULL);
	assert_int_equal(c->f.unmapped, 1);
	finish(c);
}

static void test_reader_keeps(void **state)
{
	check_reader_keeps(evict);
	check_reader_keeps(upgrade);
}

/* Hits need no lock: they go on while a set-up of the same file waits. */
static void *miss_9(void *arg)
{
	struct ctx *c = arg;

	must(quiet_touch(&c->file, 9) == DAX_DONE);
	return NULL;
}

static void test_hit_during_setup(void **state)
{
	struct ctx *c = start(4, false);
	pthread_t t;
	int i;

	touch(&c->file, 0);
	fake_gate_close(&c->f);
	assert_int_equal(pthread_create(&t, NULL, miss_9, c), 0);
	fake_gate_wait(&c->f, 1);
	for (i = 0; i < 100; i++)
		assert_int_equal(touch(&c->file, 0), DAX_DONE);
	fake_gate_open(&c->f);
	pthread_join(t, NULL);
	finish(c);
}

/* Counts of threads that have ended, and of windows at the same address. */
static void *touch_100(void *arg)
{
	struct ctx *c = arg;
	int i;

	for (i = 0; i < 100; i++)
		must(quiet_touch(&c->file, 0) == DAX_DONE);
	return NULL;
}

static void test_counters(void **state)
{
	struct ctx *c, *d;
	int i;

	for (i = 0; i < 20; i++) {
		c = start(4, false);
		d = start(4, false);
		/* not by all at once: each would want a range to map it in */
		touch(&c->file, 0);
		run_threads(c, touch_100, THREADS);
		touch(&c->file, 0);
		touch(&d->file, 0);
		touch(&c->file, 0);
		touch(&d->file, 0);
		assert_int_equal(stats_of(&c->f).bytes_read,
				 THREADS * 100 + 3);
		assert_int_equal(stats_of(&c->f).hits + stats_of(&c->f).misses,
				 THREADS * 100 + 3);
		assert_int_equal(stats_of(&d->f).bytes_read, 2);
		assert_int_equal(stats_of(&d->f).hits, 1);
		finish(d);
		finish(c);
	}
}

/* A thread outlives the windows it used. */
static void *use_many_windows(void *arg)
{
	struct ctx *outer = arg, *c;
	int i;

	for (i = 0; i < 50; i++) {
		const struct fake_options o = { .ranges = 2,
						.range_bytes = RANGE };

		c = calloc(1, sizeof(*c));
		must(c != NULL);
		fake_init(&c->f, &o);
		fake_file_init(&c->f, &c->file, RANGE);
		must(quiet_touch(&c->file, 0) == DAX_DONE);
		must(stats_of(&c->f).misses == 1);
		fake_file_done(&c->file);
		fake_done(&c->f);
		free(c);
		must(quiet_touch(&outer->file, 0) == DAX_DONE);
	}
	return NULL;
}

static void test_thread_outlives(void **state)
{
	struct ctx *c = start(4, false);

	run_threads(c, use_many_windows, 3);
	assert_int_equal(stats_of(&c->f).bytes_read, 150);
	finish(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_request),
		cmocka_unit_test(test_race_lost),
		cmocka_unit_test(test_reader_keeps),
		cmocka_unit_test(test_hit_during_setup),
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_thread_outlives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
