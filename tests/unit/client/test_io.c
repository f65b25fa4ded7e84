/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading and writing: edges, vectors, the calls that do not wait, pointers. */
#include "fixture.h"

#include <sys/mman.h>

#define RANGE 65536

static void test_offsets(void **state)
{
	struct oriel_file *f = must_open(s, "far", O_RDWR | O_CREAT);
	off_t max = INT64_MAX;
	char buf[16] = "0123456789";
	ssize_t n;

	equals(oriel_pread(f, buf, 1, -1), -EINVAL);
	equals(oriel_pwrite(f, buf, 1, -1), -EINVAL);
	equals(oriel_pread(f, buf, 10, max - 9), -EINVAL);
	equals(oriel_pwrite(f, buf, 10, max - 9), -EINVAL);
	equals(oriel_pread(f, buf, SIZE_MAX, 0), -EINVAL);
	equals(oriel_pread(f, buf, 10, max - 10), 0);
	equals(oriel_pread(f, buf, 1, max - 1), 0);
	/* more than any file system has */
	n = oriel_pwrite(f, buf, 10, max - 10);
	assert_true(n == -EFBIG || n == -EINVAL || n == -ENOSPC);
	equals(oriel_ftruncate(f, -1), -EINVAL);
	/* a terabyte of hole, bytes at its end */
	equals(oriel_pwrite(f, "end", 3, 1LL << 40), 3);
	memset(buf, 1, sizeof(buf));
	equals(oriel_pread(f, buf, 16, (1LL << 40) - 5), 8);
	assert_memory_equal(buf, "\0\0\0\0\0end", 8);
	ok(oriel_close(f));
	ok(oriel_unlink(s, "far"));
}

static void test_nothing(void **state)
{
	struct oriel_file *f;
	struct oriel_info before, after;
	char c = 'c';

	native_write(dir, "some", "some", 4);
	f = must_open(s, "some", O_RDWR);
	before = must_info(s);
	equals(oriel_pread(f, &c, 0, 0), 0);
	equals(oriel_pread(f, NULL, 0, 1000), 0);
	equals(oriel_pwrite(f, NULL, 0, 0), 0);
	equals(oriel_pwrite(f, NULL, 0, 1000), 0);
	equals(oriel_preadv(f, NULL, 0, 0), 0);
	after = must_info(s);
	equals(after.requests, before.requests); /* nobody was asked */
	equals(must_stat("some", 0).size, 4);
	equals(c, 'c');
	ok(oriel_close(f));
}

static void test_end_of_file(void **state)
{
	static unsigned char buf[3 * RANGE];
	struct oriel_file *f;

	native_pattern(dir, "two", 2 * RANGE - 100, 8);
	f = must_open(s, "two", O_RDWR);
	equals(oriel_pread(f, buf, sizeof(buf), 0), 2 * RANGE - 100);
	equals(pattern_check(buf, 2 * RANGE - 100, 8, 0), 2 * RANGE - 100);
	equals(oriel_pread(f, buf, 10, 2 * RANGE - 105), 5);
	equals(oriel_pread(f, buf, 10, 2 * RANGE - 100), 0);
	equals(oriel_pread(f, buf, 10, 2 * RANGE), 0);
	equals(oriel_pread(f, buf, 10, 1LL << 40), 0);
	ok(oriel_close(f));
}

/* What others append is there at once, without asking for the size. */
static void test_growth_seen(void **state)
{
	struct oriel_file *f;
	unsigned char buf[100];
	int fd;

	native_pattern(dir, "grows", RANGE, 3);
	fd = open(in_dir(dir, "grows"), O_WRONLY | O_APPEND | O_CLOEXEC);
	f = must_open(s, "grows", O_RDONLY);
	equals(oriel_pread(f, buf, 100, RANGE - 50), 50);
	for (int i = 0; i < 100; i++) {
		memset(buf, 0, sizeof(buf));
		equals(write(fd, "0123456789", 10), 10);
		equals(oriel_pread(f, buf, 100, RANGE + i * 10), 10);
		assert_memory_equal(buf, "0123456789", 10);
	}
	/* a read that begins before the end as it was known */
	equals(write(fd, "abc", 3), 3);
	equals(oriel_pread(f, buf, 100, RANGE + 995), 8);
	assert_memory_equal(buf, "56789abc", 8);
	close(fd);
	ok(oriel_close(f));
}

/* What others write is there at once, in either direction. */
static void test_coherent(void **state)
{
	struct oriel_file *f;
	unsigned char buf[16];
	int fd;

	native_pattern(dir, "both", 4 * RANGE, 3);
	fd = open(in_dir(dir, "both"), O_RDWR | O_CLOEXEC);
	f = must_open(s, "both", O_RDWR);
	for (int i = 0; i < 500; i++) {
		off_t off = i * 523L;
		uint64_t x = (uint64_t)i * 77, y;

		equals(oriel_pwrite(f, &x, 8, off), 8);
		equals(pread(fd, &y, 8, off), 8);
		equals(y, x);
		x++;
		equals(pwrite(fd, &x, 8, off), 8);
		equals(oriel_pread(f, buf, 8, off), 8);
		assert_memory_equal(buf, &x, 8);
	}
	close(fd);
	ok(oriel_close(f));
}

static void test_vectors(void **state)
{
	unsigned char *a = malloc(3 * RANGE), *b = malloc(3 * RANGE);
	struct iovec iov[1025];
	struct oriel_file *f;

	native_pattern(dir, "vec", 3 * RANGE, 5);
	f = must_open(s, "vec", O_RDWR);
	for (int i = 0; i < 1024; i++) {
		iov[i].iov_base = a + i * 100;
		iov[i].iov_len = 100;
	}
	equals(oriel_preadv(f, iov, 1024, 7), 102400);
	equals(pattern_check(a, 102400, 5, 7), 102400);
	equals(oriel_preadv(f, iov, 1025, 0), -EINVAL);
	equals(oriel_preadv(f, iov, -1, 0), -EINVAL);
	equals(oriel_pwritev(f, iov, 1025, 0), -EINVAL);
	/* overwriting, then extending */
	pattern_fill(a, 102400, 6, 0);
	equals(oriel_pwritev(f, iov, 1024, 11), 102400);
	equals(oriel_pwritev(f, iov, 1024, 3 * RANGE - 1000), 102400);
	equals(oriel_pread(f, b, 102400, 11), 102400);
	assert_memory_equal(a, b, 102400);
	equals(oriel_pread(f, b, 102400, 3 * RANGE - 1000), 102400);
	assert_memory_equal(a, b, 102400);
	/* lengths that add up to more than there can be */
	iov[0].iov_len = SIZE_MAX;
	iov[1].iov_len = SIZE_MAX;
	equals(oriel_preadv(f, iov, 2, 0), -EINVAL);
	ok(oriel_close(f));
	free(a);
	free(b);
}

/* One write of many messages, one read of many. */
static void test_large(void **state)
{
	size_t len = 9 * 1000 * 1000 + 7;
	unsigned char *a = malloc(len), *b = malloc(len);
	struct oriel_file *f = must_open(s, "large", O_RDWR | O_CREAT);

	pattern_fill(a, len, 12, 0);
	equals(oriel_pwrite(f, a, len, 3), len);
	equals(oriel_pread(f, b, len, 3), len);
	assert_memory_equal(a, b, len);
	ok(oriel_close(f));
	free(a);
	free(b);
}

static void test_nowait(void **state)
{
	struct oriel_file *f;
	unsigned char buf[200];
	struct oriel_info before, after;

	native_pattern(dir, "nowait", 4 * RANGE, 9);
	f = must_open(s, "nowait", O_RDWR);
	before = must_info(s);
	/* nothing is mapped yet: it would take a round trip */
	equals(oriel_pread_nowait(f, buf, 100, 0), -EAGAIN);
	equals(oriel_pwrite_nowait(f, buf, 100, 0), -EAGAIN);
	equals(oriel_pread_nowait(f, buf, 0, 0), 0);
	after = must_info(s);
	equals(after.requests, before.requests);
	equals(oriel_pread(f, buf, 100, 0), 100);
	equals(oriel_pwrite(f, buf, 100, 0), 100);
	before = must_info(s);
	equals(oriel_pread_nowait(f, buf, 100, 50), 100);
	equals(pattern_check(buf, 100, 9, 50), 100);
	equals(oriel_pwrite_nowait(f, buf, 100, 50), 100);
	/* short where the mapped part ends */
	equals(oriel_pread_nowait(f, buf, 200, RANGE - 60), 60);
	after = must_info(s);
	equals(after.requests, before.requests);
	/* never an extending write */
	equals(oriel_pwrite_nowait(f, buf, 100, 4 * RANGE - 50), -EAGAIN);
	equals(oriel_pwrite_nowait(f, buf, 100, 4 * RANGE), -EAGAIN);
	equals(must_stat("nowait", 0).size, 4 * RANGE);
	/* where the end is now takes a round trip */
	equals(oriel_pread_nowait(f, buf, 100, 4 * RANGE), -EAGAIN);
	equals(oriel_pread_nowait(f, buf, 100, -1), -EINVAL);
	ok(oriel_close(f));
}

static void test_map(void **state)
{
	struct oriel_mapping *m = NULL, *m2;
	struct oriel_file *f;
	unsigned char *p = NULL, buf[100];
	void *q = &p;
	struct oriel_info i;

	native_pattern(dir, "map", 5 * RANGE, 7);
	f = must_open(s, "map", O_RDWR);
	equals(oriel_map(f, 0, 0, ORIEL_MAP_READ, &m, &q), -EINVAL);
	equals(oriel_map(f, -1, 1, ORIEL_MAP_READ, &m, &q), -EINVAL);
	equals(oriel_map(f, 5 * RANGE, 1, ORIEL_MAP_READ, &m, &q), -EINVAL);
	equals(oriel_map(f, 0, 1, 0, &m, &q), -EINVAL);
	equals(oriel_map(f, 0, 1, 4, &m, &q), -EINVAL);
	equals(oriel_map(f, 0, 1ull << 40, ORIEL_MAP_READ, &m, &q), -ENOSPC);
	assert_true(!m && q == (void *)&p);
	/* contiguous over four ranges */
	ok(oriel_map(f, RANGE - 10, 3 * RANGE, ORIEL_MAP_READ | ORIEL_MAP_WRITE,
		     &m, &q));
	p = q;
	equals(pattern_check(p, 3 * RANGE, 7, RANGE - 10), 3 * RANGE);
	i = must_info(s);
	assert_true(i.pinned_ranges >= 4);
	/* by pointer, by call and by others: all the same bytes */
	memcpy(p + 100, "pointer", 7);
	equals(oriel_pread(f, buf, 7, RANGE + 90), 7);
	assert_memory_equal(buf, "pointer", 7);
	equals(oriel_pwrite(f, "written", 7, RANGE + 90), 7);
	assert_memory_equal(p + 100, "written", 7);
	/* a second one, and it outlives the file */
	ok(oriel_map(f, 2 * RANGE, 10, ORIEL_MAP_READ, &m2, &q));
	ok(oriel_close(f));
	equals(pattern_check(p + 200, 1000, 7, RANGE + 190), 1000);
	equals(pattern_check(q, 10, 7, 2 * RANGE), 10);
	oriel_unmap(m);
	equals(pattern_check(q, 10, 7, 2 * RANGE), 10);
	oriel_unmap(m2);
	oriel_unmap(NULL);
	i = must_info(s);
	equals(i.pinned_ranges, 0);
}

/* oriel_copy() stops where the file ends; touching would be SIGBUS. */
static void test_copy_truncated(void **state)
{
	unsigned char *buf = malloc(2 * RANGE);
	struct oriel_mapping *m;
	struct oriel_file *f;
	void *p;

	native_pattern(dir, "cut", 2 * RANGE, 7);
	f = must_open(s, "cut", O_RDWR);
	ok(oriel_map(f, 0, 2 * RANGE, ORIEL_MAP_READ | ORIEL_MAP_WRITE, &m,
		     &p));
	equals(oriel_copy(buf, p, 2 * RANGE, m), 2 * RANGE);
	ok(truncate(in_dir(dir, "cut"), RANGE + 4096));
	equals(oriel_copy(buf, p, 2 * RANGE, m), RANGE + 4096);
	equals(pattern_check(buf, RANGE + 4096, 7, 0), RANGE + 4096);
	equals(oriel_copy(buf, (char *)p + RANGE + 4096, 100, m), 0);
	equals(oriel_copy((char *)p + RANGE, buf, RANGE, m), 4096);
	assert_true(must_info(s).alive);
	/* longer again: zeros, not what was there */
	ok(truncate(in_dir(dir, "cut"), 2 * RANGE));
	equals(oriel_copy(buf, p, 2 * RANGE, m), 2 * RANGE);
	for (size_t i = RANGE + 4096; i < 2 * RANGE; i++)
		equals(buf[i], 0);
	oriel_unmap(m);
	ok(oriel_close(f));
	free(buf);
}

/* Reads and writes at a size that is no longer true. */
static void test_truncated_by_others(void **state)
{
	unsigned char *buf = malloc(4 * RANGE);
	struct oriel_file *f;
	struct oriel_info before;

	native_pattern(dir, "shrunk", 4 * RANGE, 7);
	f = must_open(s, "shrunk", O_RDWR);
	equals(oriel_pread(f, buf, 4 * RANGE, 0), 4 * RANGE);
	before = must_info(s);
	ok(truncate(in_dir(dir, "shrunk"), RANGE));
	equals(oriel_pread(f, buf, 4 * RANGE, 0), RANGE);
	equals(pattern_check(buf, RANGE, 7, 0), RANGE);
	assert_true(must_info(s).faults > before.faults);
	equals(oriel_pread(f, buf, 10, 2 * RANGE), 0);
	/* the same for a write: it extends the file again, as pwrite(2) */
	native_pattern(dir, "shrunk", 4 * RANGE, 7);
	equals(oriel_pread(f, buf, 4 * RANGE, 0), 4 * RANGE);
	ok(truncate(in_dir(dir, "shrunk"), RANGE));
	equals(oriel_pwrite(f, "there", 5, 3 * RANGE), 5);
	equals(must_stat("shrunk", 0).size, 3 * RANGE + 5);
	equals(oriel_pread(f, buf, 4 * RANGE, 0), 3 * RANGE + 5);
	equals(pattern_check(buf, RANGE, 7, 0), RANGE);
	for (size_t i = RANGE; i < 3 * RANGE; i++)
		equals(buf[i], 0);
	assert_memory_equal(buf + 3 * RANGE, "there", 5);
	ok(oriel_close(f));
	free(buf);
}

/* Everything without a window: the same answers. */
static void test_without_window(void **state)
{
	struct oriel_session *s2;
	struct oriel_options o;
	struct oriel_mapping *m;
	struct oriel_file *f;
	unsigned char *buf = malloc(4 * RANGE);
	void *p;

	test_options(&o);
	o.dax = ORIEL_DAX_NEVER;
	s2 = test_connect(dir, &o);
	native_pattern(dir, "plain", 4 * RANGE, 7);
	f = must_open(s2, "plain", O_RDWR);
	equals(oriel_pread(f, buf, 4 * RANGE, 5), 4 * RANGE - 5);
	equals(pattern_check(buf, 4 * RANGE - 5, 7, 5), 4 * RANGE - 5);
	equals(oriel_pwrite(f, "abc", 3, 100), 3);
	equals(oriel_pwrite(f, "abc", 3, 4 * RANGE - 1), 3);
	equals(must_stat("plain", 0).size, 4 * RANGE + 2);
	equals(oriel_map(f, 0, 1, ORIEL_MAP_READ, &m, &p), -ENODEV);
	equals(oriel_pread_nowait(f, buf, 1, 0), -EAGAIN);
	equals(must_info(s2).dax, 0);
	assert_non_null(strstr(must_info(s2).dax_why, "never"));
	equals(oriel_window_picture(s2, (char *)buf, 10), 0);
	ok(oriel_close(f));
	oriel_disconnect(s2);
	free(buf);
}

/* Small files go by message, until they are no longer small. */
static void test_small_files(void **state)
{
	struct oriel_session *s2;
	struct oriel_options o;
	struct oriel_file *f;
	unsigned char buf[100];

	test_options(&o);
	o.small_file_bytes = 0; /* the default: 64 KiB */
	s2 = test_connect(dir, &o);
	native_pattern(dir, "little", 60000, 7);
	f = must_open(s2, "little", O_RDWR);
	for (int i = 0; i < 10; i++)
		equals(oriel_pread(f, buf, 100, i * 1000), 100);
	equals(pattern_check(buf, 100, 7, 9000), 100);
	equals(must_info(s2).setups, 0);
	ok(oriel_ftruncate(f, 200000));
	for (int i = 0; i < 10; i++)
		equals(oriel_pread(f, buf, 100, i * 1000), 100);
	equals(pattern_check(buf, 100, 7, 9000), 100);
	assert_true(must_info(s2).setups > 0);
	ok(oriel_close(f));
	oriel_disconnect(s2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_offsets),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_end_of_file),
		cmocka_unit_test(test_growth_seen),
		cmocka_unit_test(test_coherent),
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_nowait),
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_copy_truncated),
		cmocka_unit_test(test_truncated_by_others),
		cmocka_unit_test(test_without_window),
		cmocka_unit_test(test_small_files),
	};

	return cmocka_run_group_tests_name("client-io", tests, fixture_setup,
					   fixture_teardown);
}
