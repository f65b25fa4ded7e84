/* SPDX-License-Identifier: BSD-2-Clause */
/* Files that are read cheaply without us: what is mapped all the same, and
 * when; see admit.c. */
#include "test.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define PATIENCE 4u
#define BIG_RANGE MIB(1)

struct ctx {
	struct fake f;
	struct fake_file file;
	unsigned char buf[BIG_RANGE];
};

static struct ctx *start_with(struct fake_options o, uint64_t size)
{
	struct ctx *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	o.patience = o.patience ? o.patience : PATIENCE;
	fake_init(&c->f, &o);
	atomic_store(&c->f.is_cheap, true);
	fake_file_init(&c->f, &c->file, size);
	return c;
}

static struct ctx *start(uint32_t ranges, uint64_t range_bytes, uint64_t size)
{
	return start_with((struct fake_options){ .ranges = ranges,
						 .range_bytes = range_bytes },
			  size);
}

static void finish(struct ctx *c)
{
	assert_true(dax_window_is_valid(c->f.w));
	fake_file_done(&c->file);
	fake_done(&c->f);
	free(c);
}

static enum dax_stop read_size(struct ctx *c, uint64_t pos, size_t len)
{
	struct dax_result r;

	dax_read(&c->file.di, c->buf, len, pos, c->f.range_bytes * 64, 1, 0,
		 &r);
	if (r.stop == DAX_DONE)
		assert_true(fake_is_pattern(c->buf, len, pos));
	return r.stop;
}

/* Here and there: mapped at the PATIENCE-th touch, each range for itself. */
static void test_touches(void **state)
{
	struct ctx *c = start(8, RANGE, 64 * RANGE);
	static const unsigned at[] = { 3, 1, 6 };

	for (unsigned n = 1; n < PATIENCE; n++)
		for (unsigned i = 0; i < ARRAY_LEN(at); i++)
			assert_int_equal(read_size(c, at[i] * RANGE + 9 * n,
						   5), DAX_BYPASS);
	assert_int_equal(c->f.maps, 0);
	assert_int_equal(c->f.n_asked, 0);
	for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
		assert_int_equal(read_size(c, at[i] * RANGE + 900, 5),
				 DAX_DONE);
		assert_int_equal(c->f.maps, i + 1);
	}
	assert_int_equal(stats_of(&c->f).bypassed,
			 (PATIENCE - 1) * ARRAY_LEN(at));
	finish(c);
}

/* Writes for themselves: patience where the owner can do without us, and what is
 * mapped for reading is not made writable before that. */
static void test_writes(void **state)
{
	struct ctx *c = start(8, RANGE, 64 * RANGE);
	struct dax_result r;

	atomic_store(&c->f.is_cheap, false);
	atomic_store(&c->f.writes_cheaply, true);
	assert_int_equal(read_size(c, RANGE, 5), DAX_DONE);
	assert_int_equal(c->f.maps, 1);
	for (unsigned n = 1; n < PATIENCE; n++) {
		dax_write(&c->file.di, c->buf, 5, RANGE + 9 * n, 64 * RANGE, 1,
			  0, &r);
		assert_int_equal(r.stop, DAX_BYPASS);
		assert_int_equal(r.done, 0);
		assert_int_equal(r.bypass_bytes, 5);
	}
	assert_int_equal(c->f.maps, 1);
	dax_write(&c->file.di, c->buf, 5, RANGE + 900, 64 * RANGE, 1, 0, &r);
	assert_int_equal(r.stop, DAX_DONE);
	assert_int_equal(c->f.maps, 2);
	finish(c);
}

/* Of @len bytes at @p: pages that need no fault. */
static unsigned present(const unsigned char *p, size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned n = 0;
	uint64_t entry;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	for (size_t i = 0; i < len / page; i++) {
		assert_int_equal(pread(fd, &entry, sizeof(entry),
				       (off_t)(((uintptr_t)p / page + i) *
					       sizeof(entry))),
				 sizeof(entry));
		n += entry >> 63;
	}
	close(fd);
	return n;
}

/* A run of writes takes no fault for each page: 16 times what it has been, and
 * whole ranges after that. */
static void test_ahead(void **state)
{
	struct ctx *c = start_with((struct fake_options){
			.ranges = 8, .range_bytes = MIB(2), .patience = 8 },
		3 * MIB(2));
	unsigned char *first = c->f.base, *second;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct dax_result r;
	uint64_t pos = 0;

	atomic_store(&c->f.writes_cheaply, true);
	for (; !c->f.maps; pos += KIB(4))
		dax_write(&c->file.di, c->buf, KIB(4), pos, 5 * MIB(1), 1, 0,
			  &r);
	assert_int_equal(pos, KIB(68));
	first += c->f.log[0].window_off;
	if (!present(first + MIB(1), page)) {
		assert_int_equal(madvise(first, page, MADV_POPULATE_WRITE), -1);
		skip(); /* before Linux 5.14 */
	}
	assert_int_equal(present(first, KIB(64)), 0);
	assert_int_equal(present(first + KIB(64), MIB(1)), MIB(1) / page);
	assert_int_equal(present(first + KIB(64) + MIB(1), MIB(2) - KIB(64) -
							   MIB(1)), 0);
	for (; c->f.maps == 1; pos += KIB(4))
		dax_write(&c->file.di, c->buf, KIB(4), pos, 5 * MIB(1), 1, 0,
			  &r);
	assert_int_equal(pos, MIB(2) + KIB(4));
	second = c->f.base + c->f.log[1].window_off;
	assert_int_equal(present(second, MIB(2)), MIB(2) / page);
	/* not past the end of the file as the caller knows it */
	for (; c->f.maps == 2; pos += KIB(4))
		dax_write(&c->file.di, c->buf, KIB(4), pos, 5 * MIB(1), 1, 0,
			  &r);
	second = c->f.base + c->f.log[2].window_off;
	assert_int_equal(present(second, MIB(2)), MIB(1) / page);
	finish(c);
}

/* The first set-up of a file is what makes it cheap: if it is not in memory, that
 * is better than the fault which would bring it. */
static void test_first_is_cold(void **state)
{
	struct ctx *c = start(8, RANGE, 64 * RANGE);

	atomic_store(&c->f.is_cheap, false);
	atomic_store(&c->f.turns_cheap, true);
	atomic_store(&c->f.is_absent, true);
	assert_int_equal(read_size(c, 7, 5), DAX_BYPASS);
	assert_int_equal(c->f.maps, 1);
	assert_int_equal(read_size(c, 7, 5), DAX_DONE);
	assert_int_equal(c->f.maps, 1);
	finish(c);
}

/* Not cheap any more, or not patient: at the first touch. */
static void test_at_once(void **state)
{
	struct ctx *c = start(8, RANGE, 64 * RANGE);
	struct dax_result r;

	assert_int_equal(read_size(c, 0, 5), DAX_BYPASS);
	dax_write(&c->file.di, c->buf, 5, RANGE, 64 * RANGE, 1, 0, &r);
	assert_int_equal(r.stop, DAX_DONE);
	assert_int_equal(c->f.maps, 1);
	atomic_store(&c->f.is_cheap, false);
	assert_int_equal(read_size(c, 0, 5), DAX_DONE);
	assert_int_equal(c->f.maps, 2);
	assert_int_equal(c->f.n_asked, 0);
	finish(c);
}

/* Small steps one after the other: 64 KiB of them, then each range as it comes;
 * and a step that jumps ends that. */
static void test_run(void **state)
{
	struct ctx *c = start_with((struct fake_options){
			.ranges = 8, .range_bytes = RANGE, .patience = 8 },
		64 * RANGE);
	uint64_t pos = 0;

	for (; pos < KIB(64); pos += KIB(4))
		assert_int_equal(read_size(c, pos, KIB(4)), DAX_BYPASS);
	assert_int_equal(read_size(c, pos, KIB(4)), DAX_DONE);
	for (pos += KIB(4); pos < 4 * RANGE; pos += KIB(4))
		assert_int_equal(read_size(c, pos, KIB(4)), DAX_DONE);
	assert_int_equal(read_size(c, 20 * RANGE, 5), DAX_BYPASS);
	assert_int_equal(read_size(c, 10 * RANGE, 5), DAX_BYPASS);
	finish(c);
}

/* Several runs through one file, side by side: none hides the others. Mapped after
 * as many small steps as one alone, in each range, and not for one more. */
static void test_runs_side_by_side(void **state)
{
	enum { RUNS = 3, STEPS = 16 };
	struct ctx *c = start_with((struct fake_options){
			.ranges = 8, .range_bytes = RANGE, .patience = 8 },
		64 * RANGE);

	for (unsigned n = 0; n < STEPS; n++)
		for (unsigned i = 0; i < RUNS; i++)
			assert_int_equal(read_size(c, 8 * i * RANGE + 64 * n,
						   64), DAX_BYPASS);
	assert_int_equal(c->f.maps, 0);
	for (unsigned i = 0; i < RUNS; i++)
		assert_int_equal(read_size(c, 8 * i * RANGE + 64 * STEPS, 64),
				 DAX_DONE);
	assert_int_equal(c->f.maps, RUNS);
	/* in the next range, too; and who jumps there is no run */
	for (unsigned n = 0; n < STEPS; n++)
		assert_int_equal(read_size(c, RANGE + 64 * n, 64), DAX_BYPASS);
	assert_int_equal(read_size(c, RANGE + 64 * (STEPS + 1), 64),
			 DAX_BYPASS);
	finish(c);
}

/* Medium steps: each half a MiB that is gone through is a touch, however it is
 * cut, and the second scan maps as it begins. */
static void test_medium_scan(void **state)
{
	struct ctx *c = start_with((struct fake_options){
			.ranges = 8, .range_bytes = MIB(2), .patience = 8 },
		2 * MIB(2));

	for (uint64_t pos = 0; pos < MIB(2); pos += KIB(64))
		assert_int_equal(read_size(c, pos, KIB(64)), DAX_BYPASS);
	assert_int_equal(read_size(c, 0, KIB(64)), DAX_DONE);
	assert_int_equal(c->f.maps, 1);
	/* that it was gone through in half is less */
	for (unsigned scan = 0; scan < 2; scan++)
		for (uint64_t pos = MIB(2); pos < MIB(3); pos += KIB(64))
			assert_int_equal(read_size(c, pos, KIB(64)),
					 DAX_BYPASS);
	assert_int_equal(c->f.maps, 1);
	finish(c);
}

/* A run through what is not in memory asks now and then, not at each step. */
static void test_absent_run(void **state)
{
	struct ctx *c = start_with((struct fake_options){
			.ranges = 8, .range_bytes = BIG_RANGE, .patience = 8 },
		8 * BIG_RANGE);
	unsigned n;

	atomic_store(&c->f.is_absent, true);
	for (n = 0; n < 4000; n++)
		assert_int_equal(read_size(c, 64 * n, 64), DAX_BYPASS);
	assert_in_range(c->f.n_asked, 1, 4000 / 16);
	finish(c);
}

/* Large steps one after the other are left to the system call the first time;
 * they count for more than small ones. */
static void test_scan(void **state)
{
	struct ctx *c = start_with((struct fake_options){
			.ranges = 8, .range_bytes = BIG_RANGE, .patience = 8 },
		8 * BIG_RANGE);
	unsigned scans;

	for (uint64_t pos = 0; pos < 8 * BIG_RANGE; pos += BIG_RANGE)
		assert_int_equal(read_size(c, pos, BIG_RANGE), DAX_BYPASS);
	assert_int_equal(c->f.maps, 0);
	for (scans = 1; c->f.maps < 8 && scans < 8; scans++)
		for (uint64_t pos = 0; pos < 8 * BIG_RANGE; pos += BIG_RANGE)
			read_size(c, pos, BIG_RANGE);
	assert_int_equal(c->f.maps, 8);
	assert_in_range(scans, 2, 4);
	finish(c);
}

/* What is not in memory is not mapped, and is asked about again, but not at
 * each touch; when it is there it is mapped. */
static void test_absent(void **state)
{
	struct ctx *c = start(8, RANGE, 64 * RANGE);
	unsigned n;

	atomic_store(&c->f.is_absent, true);
	for (n = 0; n < 10 * PATIENCE; n++)
		assert_int_equal(read_size(c, 2 * RANGE + 7 * n, 5),
				 DAX_BYPASS);
	assert_int_equal(c->f.maps, 0);
	assert_in_range(c->f.n_asked, 2, 10 * PATIENCE / 2);
	atomic_store(&c->f.is_absent, false);
	for (n = 0; n < PATIENCE && !c->f.maps; n++)
		read_size(c, 2 * RANGE, 5);
	assert_int_equal(c->f.maps, 1);
	finish(c);
}

/* The last range of a file is as long as the file. */
static void test_end_of_file(void **state)
{
	struct ctx *c = start(8, RANGE, RANGE + 100);
	struct dax_result r;

	for (unsigned n = 0; n < PATIENCE; n++)
		dax_read(&c->file.di, c->buf, 50, RANGE + 20, RANGE + 100, 1,
			 0, &r);
	assert_int_equal(r.stop, DAX_DONE);
	assert_int_equal(c->f.n_asked, 1);
	finish(c);
}

/* Random reads of more than fits: an eviction costs many system calls, so there
 * are many of these for one. */
static void test_few_evictions(void **state)
{
	struct ctx *c = start_with((struct fake_options){
			.ranges = 8, .range_bytes = RANGE, .admit_touches = 2 },
		64 * RANGE);
	struct dax_stats st;
	uint64_t x = 1;

	for (unsigned n = 0; n < 20000; n++) {
		x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
		read_size(c, (x >> 40) % 16 * RANGE + n % 4096 * 8, 5);
	}
	st = stats_of(&c->f);
	print_message("%llu misses, %llu evictions\n",
		      (unsigned long long)st.misses,
		      (unsigned long long)st.reclaimed);
	assert_true(st.reclaimed > 0);
	assert_true(st.reclaimed < st.misses / 32);
	finish(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_touches),
		cmocka_unit_test(test_writes),
		cmocka_unit_test(test_ahead),
		cmocka_unit_test(test_first_is_cold),
		cmocka_unit_test(test_at_once),
		cmocka_unit_test(test_run),
		cmocka_unit_test(test_runs_side_by_side),
		cmocka_unit_test(test_medium_scan),
		cmocka_unit_test(test_absent_run),
		cmocka_unit_test(test_scan),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_end_of_file),
		cmocka_unit_test(test_few_evictions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
