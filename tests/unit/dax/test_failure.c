/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Everything that can fail fails once, at every place: the N-th allocation,
 * the N-th map(), for N = 1 until the scenario gets through untouched. Each
 * time all bytes must still be right (bypassed ones are the caller's), and no
 * range, pin, reference or memory may be lost (the last by the leak checker).
 * The allocation functions are wrapped by the linker.
 */
#include "test.h"

#include <stdio.h>
#include <unistd.h>

static _Atomic int fail_alloc_at; /* 0: never; counts down to 1 */
static _Atomic bool fail_threads;

static bool alloc_fails(void)
{
	int n = atomic_load(&fail_alloc_at);

	while (n > 0 && !atomic_compare_exchange_weak(&fail_alloc_at, &n,
						      n - 1))
		;
	return n == 1;
}

void *__real_calloc(size_t n, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__real_malloc(size_t size);
int __real_pthread_create(pthread_t *t, const pthread_attr_t *attr,
			  void *(*fn)(void *), void *arg);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
void *__wrap_malloc(size_t size);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *attr,
			  void *(*fn)(void *), void *arg);

void *__wrap_calloc(size_t n, size_t size)
{
	return alloc_fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return alloc_fails() ? NULL : __real_aligned_alloc(align, size);
}

void *__wrap_malloc(size_t size)
{
	return alloc_fails() ? NULL : __real_malloc(size);
}

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *attr,
			  void *(*fn)(void *), void *arg)
{
	return atomic_load(&fail_threads) ? EAGAIN :
	       __real_pthread_create(t, attr, fn, arg);
}

static void must(bool cond, const char *what)
{
	if (cond)
		return;
	fprintf(stderr, "failed: %s\n", what);
	abort();
}

struct scene {
	struct fake f;
	struct fake_file a, b;
	unsigned char buf[3 * RANGE];
	bool in_place;
	unsigned fail_map_at;
	bool began; /* the window could be made */
};

/* As a caller does it: what is bypassed is read and written by message. */
static void read_all(struct scene *s, struct fake_file *file, uint64_t pos,
		     size_t len)
{
	size_t done = 0;
	struct dax_result r;

	while (done < len) {
		r = read_at(file, s->buf + done, len - done, pos + done,
			    8 * RANGE);
		done += r.done;
		if (r.stop == DAX_DONE)
			break;
		must(r.stop == DAX_BYPASS && r.bypass_bytes > 0, "bypass");
		must(pread(file->fd, s->buf + done, r.bypass_bytes,
			   (off_t)(pos + done)) == (ssize_t)r.bypass_bytes,
		     "pread");
		done += r.bypass_bytes;
	}
	must(done == len && fake_is_pattern(s->buf, len, pos), "the bytes");
}

static void write_some(struct scene *s, struct fake_file *file, uint64_t pos)
{
	unsigned char b = fake_byte(pos);
	struct dax_result r = write_at(file, &b, 1, pos, 8 * RANGE);

	if (r.stop == DAX_BYPASS)
		must(pwrite(file->fd, &b, 1, (off_t)pos) == 1, "pwrite");
	else
		must(r.stop == DAX_DONE && r.done == 1, "write");
}

static void pin_some(struct fake_file *file, uint64_t pos, uint64_t len,
		     enum dax_intent intent)
{
	struct dax_pin pin;
	int err = dax_pin(&file->di, pos, len, intent, UINT64_MAX, 0, &pin);

	if (err) {
		must(err == -ENOMEM || err == -ENOSPC, "the error of a pin");
		return;
	}
	must(fake_is_pattern(pin.ptr, len, pos), "pinned bytes");
	dax_unpin(&file->di, &pin);
}

static void act(struct scene *s)
{
	struct dax_stats st;

	read_all(s, &s->a, 10, 2 * RANGE);
	write_some(s, &s->a, RANGE + 5); /* upgrade */
	write_some(s, &s->b, 5);
	read_all(s, &s->b, 6 * RANGE, RANGE); /* evicts */
	pin_some(&s->a, RANGE + 9, RANGE, DAX_READ);
	pin_some(&s->b, 3 * RANGE, 2 * RANGE, DAX_WRITE);
	read_all(s, &s->a, 0, 3 * RANGE);
	must(dax_window_is_valid(s->f.w), "validity");
	dax_inode_shrink(&s->a.di);
	read_all(s, &s->a, 5 * RANGE, 3 * RANGE);
	dax_window_shrink(s->f.w);
	dax_window_stats(s->f.w, &st);
	must(st.free_ranges == st.ranges && !st.pinned, "nothing lost");
	read_all(s, &s->b, 5 * RANGE, 2 * RANGE);
}

/* In a thread of its own, so that a thread's first allocations fail too. */
static void *play(void *arg)
{
	struct scene *s = arg;
	const struct fake_options o = {
		.ranges = 3, .range_bytes = RANGE,
		.replace_in_place = s->in_place,
	};
	struct dax_config cfg;
	int err;

	fake_config(&s->f, &o, &cfg);
	err = dax_window_new(&cfg, &s->f.w);
	must(!err || err == -ENOMEM, "a window's error");
	s->began = !err;
	if (s->began) {
		atomic_store(&s->f.fail_at, s->fail_map_at);
		fake_file_init(&s->f, &s->a, 8 * RANGE);
		fake_file_init(&s->f, &s->b, 8 * RANGE);
		act(s);
		fake_file_done(&s->a);
		fake_file_done(&s->b);
	}
	return NULL;
}

/* Plays it; returns whether the failure never came. */
static bool run_scene(bool in_place, int alloc_at, unsigned map_at)
{
	struct scene *s = __real_calloc(1, sizeof(*s));
	bool untouched;
	pthread_t t;

	assert_non_null(s);
	s->in_place = in_place;
	s->fail_map_at = map_at;
	atomic_store(&fail_alloc_at, alloc_at);
	assert_int_equal(__real_pthread_create(&t, NULL, play, s), 0);
	pthread_join(t, NULL);
	untouched = alloc_at ? atomic_exchange(&fail_alloc_at, 0) > 0 :
			       atomic_load(&s->f.fail_at) > 0;
	fake_done(&s->f);
	free(s);
	return untouched;
}

static void test_allocations(void **state)
{
	int n, in_place;

	for (in_place = 0; in_place < 2; in_place++) {
		for (n = 1; !run_scene(in_place, n, 0); n++)
			assert_true(n < 1000);
		print_message("%d allocations failed\n", n - 1);
		assert_true(n > 10);
	}
}

static void test_maps(void **state)
{
	unsigned n;
	int in_place;

	for (in_place = 0; in_place < 2; in_place++) {
		for (n = 1; !run_scene(in_place, 0, n); n++)
			assert_true(n < 1000);
		print_message("%u set-ups failed\n", n - 1);
		assert_true(n > 8);
	}
}

/* No thread to be had: faults evict inline, nobody reads ahead. */
static void test_no_thread(void **state)
{
	const struct fake_options o = {
		.ranges = 5, .range_bytes = RANGE, .background = true,
	};
	struct scene *s = calloc(1, sizeof(*s));
	uint64_t i;

	assert_non_null(s);
	atomic_store(&fail_threads, true);
	fake_init(&s->f, &o);
	fake_file_init(&s->f, &s->a, 8 * RANGE);
	for (i = 0; i < 40; i++)
		read_all(s, &s->a, i % 8 * RANGE, RANGE);
	assert_true(stats_of(&s->f).reclaimed_inline > 0);
	assert_int_equal(stats_of(&s->f).prefetched, 0);
	fake_file_done(&s->a);
	fake_done(&s->f);
	atomic_store(&fail_threads, false);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_allocations),
		cmocka_unit_test(test_maps),
		cmocka_unit_test(test_no_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
