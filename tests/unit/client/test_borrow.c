/* SPDX-License-Identifier: BSD-2-Clause */
/* Pointers for a moment: what they show, what they hold up, and what a thread
 * that has one may not do. */
#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/util.h"

#define RANGE 65536u

static struct oriel_session *connect_small(uint64_t window)
{
	struct oriel_options o;

	test_options(&o);
	o.range_bytes = RANGE;
	o.window_bytes = window;
	o.small_file_bytes = ORIEL_MAP_ALL;
	o.admit_touches = ORIEL_MAP_ALL;
	return test_connect(dir, &o);
}

static void test_borrow(void **state)
{
	struct oriel_session *mine = connect_small(64 * RANGE);
	struct oriel_info before;
	struct oriel_file *f;
	const void *p, *q;

	native_pattern(dir, "b", 8 * RANGE + 100, 1);
	f = must_open(mine, "b", O_RDWR);
	ok(oriel_borrow(f, 3 * RANGE + 5, 1000, &p)); /* not mapped yet */
	equals(pattern_check(p, 1000, 1, 3 * RANGE + 5), 1000);
	oriel_return();
	before = must_info(mine);
	ok(oriel_borrow(f, 3 * RANGE, RANGE, &p));
	equals(pattern_check(p, RANGE, 1, 3 * RANGE), RANGE);
	/* what others write is there */
	equals(oriel_pwrite(f, "new", 3, 3 * RANGE), -EDEADLK);
	oriel_return();
	equals(oriel_pwrite(f, "new", 3, 3 * RANGE), 3);
	ok(oriel_borrow(f, 3 * RANGE, 10, &p));
	assert_memory_equal(p, "new", 3);
	/* one more, of the same, and then both go */
	ok(oriel_borrow(f, 3 * RANGE + 1, 10, &q));
	assert_ptr_equal((const char *)p + 1, q);
	oriel_return();
	assert_memory_equal(p, "new", 3);
	oriel_return();
	oriel_return(); /* one too many does no harm */
	/* the end of the file, and of a range */
	ok(oriel_borrow(f, 8 * RANGE + 90, 10, &p));
	equals(pattern_check(p, 10, 1, 8 * RANGE + 90), 10);
	oriel_return();
	equals(oriel_borrow(f, 8 * RANGE + 90, 11, &p), -EAGAIN);
	equals(oriel_borrow(f, 4 * RANGE - 1, 2, &p), -EAGAIN);
	equals(oriel_borrow(f, -1, 2, &p), -EAGAIN);
	equals(oriel_borrow(f, 0, 0, &p), -EAGAIN);
	assert_true(must_info(mine).setups > before.setups);
	ok(oriel_close(f));
	f = must_open(mine, "b", O_WRONLY);
	equals(oriel_borrow(f, 0, 1, &p), -EAGAIN);
	ok(oriel_close(f));
	oriel_disconnect(mine);

	f = must_open(s, "b", O_RDONLY); /* the default session: it has ranges */
	ok(oriel_borrow(f, 0, 1, &p));
	oriel_return();
	ok(oriel_close(f));
}

/* Whoever has borrowed is refused what would wait, and nothing else. */
static void test_refused(void **state)
{
	struct oriel_session *mine = connect_small(64 * RANGE);
	struct oriel_file *f, *other;
	struct oriel_completion done;
	struct oriel_mapping *m;
	struct oriel_queue *q;
	struct oriel_stat st;
	const void *p;
	void *at;
	char buf[100];

	native_pattern(dir, "r", 8 * RANGE, 1);
	f = must_open(mine, "r", O_RDWR);
	other = must_open(mine, "r", O_RDONLY);
	ok(oriel_queue_new(mine, 4, 0, &q));
	ok(oriel_map(f, 2 * RANGE, 10, ORIEL_MAP_READ, &m, &at));
	ok(oriel_borrow(f, 0, 100, &p));
	equals(oriel_pread(f, buf, 100, 50), 100); /* it is mapped */
	equals(pattern_check((unsigned char *)buf, 100, 1, 50), 100);
	equals(oriel_stat(mine, "r", 0, &st), -EDEADLK);
	equals(oriel_ftruncate(f, 10), -EDEADLK);
	equals(oriel_fsync(f), -EDEADLK);
	equals(oriel_close(other), -EDEADLK);
	equals(oriel_borrow(f, 5 * RANGE, 1, &p), -EDEADLK);
	equals(oriel_open(mine, "r", O_RDONLY, 0, &other), -EDEADLK);
	equals(oriel_queue_wait(q, &done, 1, 0, 0), -EDEADLK);
	oriel_unmap(m); /* cannot say no, and need not */
	oriel_return();
	equals(oriel_borrow(f, 5 * RANGE, 1, &p), 0);
	oriel_return();
	equals(oriel_stat(mine, "r", 0, &st), 0);
	equals(st.size, 8 * RANGE);
	ok(oriel_close(f));
	ok(oriel_close(other));
	oriel_queue_free(q);
	oriel_disconnect(mine);
}

/* A mapping of a file that has no name and is not open any more. */
static struct oriel_mapping *map_gone(struct oriel_session *mine)
{
	struct oriel_mapping *m;
	struct oriel_file *f;
	void *at;

	native_pattern(dir, "gone", RANGE, 2);
	f = must_open(mine, "gone", O_RDONLY);
	ok(oriel_map(f, 0, 100, ORIEL_MAP_READ, &m, &at));
	ok(oriel_unlink(mine, "gone"));
	ok(oriel_close(f));
	return m;
}

/* The last use of an inode that nobody knows any more ends while something of
 * another one is borrowed. */
static void test_last_use(void **state)
{
	struct oriel_session *mine = connect_small(64 * RANGE);
	struct oriel_mapping *m;
	struct oriel_file *f;
	const void *p;

	native_pattern(dir, "stays", RANGE, 1);
	f = must_open(mine, "stays", O_RDONLY);
	m = map_gone(mine);
	ok(oriel_borrow(f, 0, 100, &p));
	oriel_unmap(m);
	equals(pattern_check(p, 100, 1, 0), 100);
	oriel_return();
	ok(oriel_close(f)); /* which takes the other along */
	equals(count_maps(0, "/gone"), 0);

	/* left at the end of the session */
	f = must_open(mine, "stays", O_RDONLY);
	m = map_gone(mine);
	ok(oriel_borrow(f, 0, 100, &p));
	oriel_unmap(m);
	oriel_disconnect(mine); /* returns what was borrowed */
	ok(oriel_stat(s, "stays", 0, &(struct oriel_stat){ 0 }));
}

/* A window of three ranges, readers that borrow, and others that make each other
 * evict: what was borrowed stays what it was until it is returned. */
struct worker {
	struct oriel_file *f;
	struct rng random;
	bool borrows;
	_Atomic bool *stop;
	uint64_t n;
};

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	unsigned char buf[200];
	const void *p;

	while (!atomic_load(w->stop)) {
		off_t off = (off_t)rng_below(&w->random, 40 * RANGE - 200);
		int err;

		if (!w->borrows) {
			must(oriel_pread(w->f, buf, 200, off) == 200, "a read");
			must(pattern_check(buf, 200, 1, (uint64_t)off) == 200,
			     "what was read");
			w->n++;
			continue;
		}
		err = oriel_borrow(w->f, off, 200, &p);
		must(!err || err == -EAGAIN, "borrowing: %d", err);
		if (err)
			continue;
		must(pattern_check(p, 200, 1, (uint64_t)off) == 200,
		     "what was borrowed");
		sched_yield();
		must(pattern_check(p, 200, 1, (uint64_t)off) == 200,
		     "what is still borrowed");
		oriel_return();
		w->n++;
	}
	return NULL;
}

static void test_evictions(void **state)
{
	enum { THREADS = 4 };
	struct oriel_session *mine = connect_small(3 * RANGE);
	struct worker w[THREADS];
	pthread_t t[THREADS];
	_Atomic bool stop = false;
	struct oriel_file *f;

	native_pattern(dir, "evict", 40 * RANGE, 1);
	f = must_open(mine, "evict", O_RDONLY);
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ f, { i + 1 }, i & 1, &stop, 0 };
		ok(pthread_create(&t[i], NULL, worker_main, &w[i]));
	}
	while (must_info(mine).reclaimed < 300)
		nap_ms(5);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < THREADS; i++) {
		ok(pthread_join(t[i], NULL));
		assert_true(w[i].n > 0);
	}
	ok(oriel_close(f));
	oriel_disconnect(mine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_borrow),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_last_use),
		cmocka_unit_test(test_evictions),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
