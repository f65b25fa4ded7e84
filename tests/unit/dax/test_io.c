/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading and writing through the window: rows A7-A19, A26, B3, B4, B12. */
#include "test.h"

#include <unistd.h>

struct ctx {
	struct fake f;
	struct fake_file file;
	unsigned char buf[8 * RANGE];
};

static const struct fake_options plain = { .ranges = 8, .range_bytes = RANGE };
static const struct fake_options in_place = {
	.ranges = 8, .range_bytes = RANGE, .replace_in_place = true,
};

static struct ctx *start(const struct fake_options *o, uint64_t size)
{
	struct ctx *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	fake_init(&c->f, o);
	fake_file_init(&c->f, &c->file, size);
	return c;
}

static void finish(struct ctx *c)
{
	assert_true(dax_window_is_valid(c->f.w));
	fake_file_done(&c->file);
	fake_done(&c->f);
	free(c);
}

/* A7, A8: what the owner is asked for: whole ranges, aligned down. */
static void test_request(void **state)
{
	struct ctx *c = start(&plain, 4 * RANGE);
	struct dax_map_request *q = c->f.log;
	struct dax_result r;

	dax_read(&c->file.di, c->buf, 10, 2 * RANGE + 5, 4 * RANGE, 77, 0, &r);
	assert_int_equal(r.stop, DAX_DONE);
	assert_int_equal(r.done, 10);
	assert_true(fake_is_pattern(c->buf, 10, 2 * RANGE + 5));
	assert_int_equal(c->f.maps, 1);
	assert_ptr_equal(q->file, &c->file);
	assert_int_equal(q->fh, 77);
	assert_int_equal(q->file_off, 2 * RANGE);
	assert_int_equal(q->window_off, 0);
	assert_int_equal(q->len, RANGE);
	assert_false(q->writable);
	finish(c);
}

/* A12: the second look finds it; nobody is asked, hits are counted. */
static void test_hit(void **state)
{
	struct ctx *c = start(&plain, 4 * RANGE);
	struct dax_stats st;
	int i;

	for (i = 0; i < 10; i++)
		assert_int_equal(touch(&c->file, 1), DAX_DONE);
	st = stats_of(&c->f);
	assert_int_equal(c->f.maps, 1);
	assert_int_equal(st.misses, 1);
	assert_int_equal(st.hits, 9);
	assert_int_equal(st.setups, 1);
	assert_int_equal(st.bytes_read, 10);
	assert_int_equal(st.mappings, 1);
	finish(c);
}

/* A15: across ranges, to the end of file and no further. */
static void test_spans_ranges(void **state)
{
	struct ctx *c = start(&plain, 4 * RANGE);
	uint64_t size = 3 * RANGE + 100, pos = RANGE - 7;
	struct dax_result r;

	memset(c->buf, 0xee, sizeof(c->buf));
	r = read_at(&c->file, c->buf, 4 * RANGE, pos, size);
	assert_int_equal(r.stop, DAX_DONE);
	assert_int_equal(r.done, size - pos);
	assert_true(fake_is_pattern(c->buf, r.done, pos));
	assert_int_equal(c->buf[r.done], 0xee);
	assert_int_equal(c->f.maps, 4);
	finish(c);
}

/* A13, A19: at or past the end, and nothing at all: no lookup, no request. */
static void test_nothing_to_do(void **state)
{
	struct ctx *c = start(&plain, RANGE);
	struct dax_stats st;
	struct dax_result r;

	r = read_at(&c->file, c->buf, 10, 100, 100);
	assert_int_equal(r.stop, DAX_DONE);
	assert_int_equal(r.done, 0);
	r = read_at(&c->file, c->buf, 10, UINT64_MAX, 100);
	assert_int_equal(r.stop, DAX_DONE);
	r = read_at(&c->file, c->buf, 0, 5, 100);
	assert_int_equal(r.stop, DAX_DONE);
	assert_int_equal(r.done, 0);
	r = write_at(&c->file, c->buf, 0, 500, 100);
	assert_int_equal(r.stop, DAX_DONE);
	st = stats_of(&c->f);
	assert_int_equal(c->f.maps + st.misses + st.hits, 0);
	finish(c);
}

/* A16, A22: a write at the end is an error, one that crosses it is cut. */
static void test_write_at_end(void **state)
{
	struct ctx *c = start(&plain, RANGE);
	struct dax_result r;
	unsigned char tail;

	r = write_at(&c->file, "abcd", 4, 100, 100);
	assert_int_equal(r.stop, DAX_ERROR);
	assert_int_equal(r.err, -EIO);
	assert_int_equal(r.done, 0);
	assert_int_equal(c->f.maps, 0);
	r = write_at(&c->file, "abcd", 4, 97, 100);
	assert_int_equal(r.stop, DAX_DONE);
	assert_int_equal(r.done, 3);
	assert_int_equal(pread(c->file.fd, c->buf, 3, 97), 3);
	assert_memory_equal(c->buf, "abc", 3);
	assert_int_equal(pread(c->file.fd, &tail, 1, 100), 1);
	assert_int_equal(tail, fake_byte(100));
	finish(c);
}

/* A10: an error leaves no range, no mapping; B3: and is a bypass. */
static void test_map_error(void **state)
{
	static const int errors[] = { -ENOMEM, -EBUSY, -ENOSPC, -EIO, -EACCES,
				      -EROFS, -ENOTCONN };
	struct ctx *c = start(&plain, 4 * RANGE);
	struct dax_result r;
	struct dax_stats st;
	size_t i;

	for (i = 0; i < ARRAY_LEN(errors); i++) {
		atomic_store(&c->f.fail_map, errors[i]);
		do /* those that are backed off ask nobody */
			r = read_at(&c->file, c->buf, 2 * RANGE, 10, 4 * RANGE);
		while (c->f.maps == i);
		assert_int_equal(r.stop, DAX_BYPASS);
		assert_int_equal(r.done, 0);
		assert_int_equal(r.bypass_bytes, RANGE - 10);
		assert_true(dax_window_is_valid(c->f.w));
		st = stats_of(&c->f);
		assert_int_equal(st.free_ranges, 8);
		assert_int_equal(st.mappings, 0);
		assert_int_equal(st.setup_errors, i + 1);
	}
	assert_true(st.bypassed >= ARRAY_LEN(errors));
	finish(c);
}

/* Failures in a row are tried less and less often; a success forgives. */
static void test_backoff(void **state)
{
	struct ctx *c = start(&plain, 4 * RANGE);
	int i;

	atomic_store(&c->f.fail_map, -EIO);
	for (i = 0; i < 1000; i++)
		assert_int_equal(touch(&c->file, 0), DAX_BYPASS);
	assert_true(c->f.maps >= 2 && c->f.maps < 20);
	atomic_store(&c->f.fail_map, 0);
	for (i = 0; i < 2000 && touch(&c->file, 0) != DAX_DONE; i++)
		;
	assert_int_equal(touch(&c->file, 0), DAX_DONE);
	/* A new failure starts from the beginning: the next miss asks. */
	i = (int)c->f.maps;
	atomic_store(&c->f.fail_map, -EIO);
	touch(&c->file, 1);
	touch(&c->file, 1);
	assert_int_equal(c->f.maps, i + 2);
	finish(c);
}

/* ENOSYS: nobody is asked again, for any file. What is mapped still serves. */
static void test_enosys(void **state)
{
	struct ctx *c = start(&plain, 4 * RANGE);
	struct fake_file other;

	fake_file_init(&c->f, &other, RANGE);
	assert_int_equal(touch(&c->file, 0), DAX_DONE);
	atomic_store(&c->f.fail_map, -ENOSYS);
	assert_int_equal(touch(&c->file, 1), DAX_BYPASS);
	atomic_store(&c->f.fail_map, 0);
	assert_int_equal(c->f.maps, 2);
	assert_int_equal(touch(&c->file, 1), DAX_BYPASS);
	assert_int_equal(touch(&other, 0), DAX_BYPASS);
	assert_int_equal(c->f.maps, 2);
	assert_int_equal(touch(&c->file, 0), DAX_DONE);
	fake_file_done(&other);
	finish(c);
}

/* A26, B13: not connected: hits go on, misses bypass, nothing is asked. */
static void test_disconnected(void **state)
{
	struct ctx *c = start(&plain, 4 * RANGE);

	assert_int_equal(touch(&c->file, 0), DAX_DONE);
	atomic_store(&c->f.connected, 0);
	assert_int_equal(touch(&c->file, 0), DAX_DONE);
	assert_int_equal(touch(&c->file, 1), DAX_BYPASS);
	assert_int_equal(c->f.maps, 1);
	fake_file_done(&c->file);
	assert_int_equal(c->f.unmap_calls, 0);
	fake_file_init(&c->f, &c->file, RANGE);
	finish(c);
}

/* B12: short files go by message; B3: so does everything without a window. */
static void test_bypass(void **state)
{
	struct fake_options o = plain;
	struct ctx *c;
	struct dax_inode none;
	struct dax_result r;

	o.small_file_bytes = KIB(64);
	c = start(&o, 4 * RANGE);
	r = read_at(&c->file, c->buf, 100, 0, KIB(64) - 1);
	assert_int_equal(r.stop, DAX_BYPASS);
	assert_int_equal(r.bypass_bytes, 100);
	assert_int_equal(c->f.maps, 0);
	assert_int_equal(stats_of(&c->f).bypassed, 1);
	r = read_at(&c->file, c->buf, 100, 0, KIB(64));
	assert_int_equal(r.stop, DAX_DONE);

	dax_inode_init(&none, NULL, NULL);
	dax_read(&none, c->buf, 100, 0, 50, 0, 0, &r);
	assert_int_equal(r.stop, DAX_BYPASS);
	assert_int_equal(r.bypass_bytes, 50);
	dax_write(&none, c->buf, 100, 0, 500, 0, 0, &r);
	assert_int_equal(r.stop, DAX_BYPASS);
	dax_inode_shrink(&none);
	dax_inode_invalidate(&none, 0, 100);
	dax_inode_done(&none);
	finish(c);
}

/* A18: NOWAIT serves hits and waits for nothing. */
static void test_nowait(void **state)
{
	struct ctx *c = start(&plain, 4 * RANGE);
	struct dax_result r;

	assert_int_equal(touch(&c->file, 0), DAX_DONE);
	dax_read(&c->file.di, c->buf, 2 * RANGE, 10, 4 * RANGE, 0, DAX_NOWAIT,
		 &r);
	assert_int_equal(r.stop, DAX_AGAIN);
	assert_int_equal(r.done, RANGE - 10);
	assert_true(fake_is_pattern(c->buf, r.done, 10));
	dax_write(&c->file.di, c->buf, 1, 10, 4 * RANGE, 0, DAX_NOWAIT, &r);
	assert_int_equal(r.stop, DAX_AGAIN);
	/* The lock is held: a miss must not wait for it. */
	pthread_rwlock_wrlock(&c->file.di.lock);
	dax_read(&c->file.di, c->buf, 1, RANGE, 4 * RANGE, 0, DAX_NOWAIT, &r);
	assert_int_equal(r.stop, DAX_AGAIN);
	dax_read(&c->file.di, c->buf, 1, 0, 4 * RANGE, 0, DAX_NOWAIT, &r);
	assert_int_equal(r.stop, DAX_DONE);
	pthread_rwlock_unlock(&c->file.di.lock);
	assert_int_equal(c->f.maps, 1);
	finish(c);
}

/* B4: for reading first, writable when written; and then both serve. */
static void check_upgrade(const struct fake_options *o, unsigned unmaps)
{
	struct ctx *c = start(o, 2 * RANGE);
	unsigned char back[3];

	assert_int_equal(touch(&c->file, 1), DAX_DONE);
	assert_int_equal(write_at(&c->file, "xyz", 3, RANGE + 4, 2 * RANGE)
			 .stop, DAX_DONE);
	assert_int_equal(c->f.maps, 2);
	assert_true(c->f.log[1].writable);
	assert_int_equal(c->f.log[1].window_off, c->f.log[0].window_off);
	assert_int_equal(c->f.log[1].file_off, c->f.log[0].file_off);
	assert_int_equal(c->f.unmapped, unmaps);
	assert_int_equal(pread(c->file.fd, back, 3, RANGE + 4), 3);
	assert_memory_equal(back, "xyz", 3);
	assert_int_equal(touch(&c->file, 1), DAX_DONE);
	assert_int_equal(write_at(&c->file, "abc", 3, RANGE, 2 * RANGE).stop,
			 DAX_DONE);
	assert_int_equal(c->f.maps, 2);
	assert_int_equal(stats_of(&c->f).upgrades, 1);
	assert_int_equal(stats_of(&c->f).mappings, 1);
	assert_int_equal(stats_of(&c->f).bytes_written, 6);
	finish(c);
}

static void test_upgrade_in_place(void **state)
{
	check_upgrade(&in_place, 0);
}

static void test_upgrade_anew(void **state)
{
	check_upgrade(&plain, 1);
}

/* A refused upgrade is a bypass, and reading goes on. */
static void check_upgrade_refused(const struct fake_options *o, int err)
{
	struct ctx *c = start(o, 2 * RANGE);

	assert_int_equal(touch(&c->file, 0), DAX_DONE);
	atomic_store(&c->f.fail_writable, err);
	assert_int_equal(write_at(&c->file, "x", 1, 0, RANGE).stop,
			 DAX_BYPASS);
	assert_true(dax_window_is_valid(c->f.w));
	assert_int_equal(touch(&c->file, 0), DAX_DONE);
	assert_int_equal(stats_of(&c->f).upgrades, 0);
	assert_int_equal(stats_of(&c->f).setup_errors, 1);
	/* In place, a refusal leaves the mapping; anything else drops it. */
	assert_int_equal(c->f.maps,
			 o->replace_in_place && err == -EROFS ? 2 : 3);
	finish(c);
}

static void test_upgrade_refused(void **state)
{
	check_upgrade_refused(&in_place, -EROFS);
	check_upgrade_refused(&in_place, -ENOMEM);
	check_upgrade_refused(&plain, -EROFS);
}

/* A write that comes first is mapped for writing at once. */
static void test_write_first(void **state)
{
	struct ctx *c = start(&plain, 2 * RANGE);

	assert_int_equal(write_at(&c->file, "x", 1, 0, RANGE).stop, DAX_DONE);
	assert_int_equal(touch(&c->file, 0), DAX_DONE);
	assert_int_equal(c->f.maps, 1);
	assert_true(c->f.log[0].writable);
	finish(c);
}

/* Beyond the index's cap the tree answers; and it counts as a hit. */
static void test_beyond_index(void **state)
{
	struct ctx *c = start(&plain, RANGE);
	uint64_t far = (UINT64_C(1) << 22) * RANGE, size = far + RANGE;
	unsigned char back = 0;

	assert_int_equal(ftruncate(c->file.fd, (off_t)size), 0);
	assert_int_equal(write_at(&c->file, "x", 1, far, size).stop, DAX_DONE);
	assert_int_equal(read_at(&c->file, &back, 1, far, size).stop, DAX_DONE);
	assert_int_equal(back, 'x');
	assert_int_equal(c->f.maps, 1);
	assert_int_equal(stats_of(&c->f).hits, 1);
	finish(c);
}

/* A file range far out makes the index grow; old answers stay. */
static void test_index_grows(void **state)
{
	struct ctx *c = start(&plain, RANGE);
	static const uint64_t at[] = { 0, 20, 100, 5000, 70000 };
	unsigned char back;
	size_t i, j;

	assert_int_equal(ftruncate(c->file.fd, (off_t)(80000 * RANGE)), 0);
	for (i = 0; i < ARRAY_LEN(at); i++) {
		assert_int_equal(write_at(&c->file, "x", 1, at[i] * RANGE,
					  UINT64_MAX).stop, DAX_DONE);
		assert_true(dax_window_is_valid(c->f.w));
		for (j = 0; j <= i; j++) {
			back = 0;
			read_at(&c->file, &back, 1, at[j] * RANGE, UINT64_MAX);
			assert_int_equal(back, 'x');
		}
	}
	assert_int_equal(c->f.maps, ARRAY_LEN(at));
	assert_int_equal(stats_of(&c->f).hits, 15);
	finish(c);
}

/* The common case alone: what is one, what it does, and what it leaves. */
static void test_only_hits(void **state)
{
	struct ctx *c = start(&plain, 4 * RANGE);
	struct dax_inode *di = &c->file.di;
	struct dax_stats st;

	/* not mapped: nobody is asked */
	assert_false(dax_read_hit(di, c->buf, 10, 5));
	assert_int_equal(c->f.maps, 0);
	assert_int_equal(touch(&c->file, 0), DAX_DONE);
	assert_true(dax_read_hit(di, c->buf, 100, 5));
	assert_true(fake_is_pattern(c->buf, 100, 5));
	/* to the last byte of a range, and one more */
	assert_true(dax_read_hit(di, c->buf, 10, RANGE - 10));
	assert_true(fake_is_pattern(c->buf, 10, RANGE - 10));
	assert_false(dax_read_hit(di, c->buf, 10, RANGE - 9));
	/* over the middle somebody has to look who reads on */
	assert_false(dax_read_hit(di, c->buf, 10, RANGE / 2 - 5));
	/* mapped for reading only */
	assert_false(dax_write_hit(di, "xyz", 3, 7));
	assert_int_equal(write_at(&c->file, "x", 1, 0, RANGE).stop, DAX_DONE);
	assert_true(dax_write_hit(di, "xyz", 3, RANGE / 2 - 1));
	assert_int_equal(pread(c->file.fd, c->buf, 3, RANGE / 2 - 1), 3);
	assert_memory_equal(c->buf, "xyz", 3);
	st = stats_of(&c->f);
	assert_int_equal(st.hits, 3);
	assert_int_equal(st.bytes_read, 1 + 100 + 10);
	assert_int_equal(st.bytes_written, 1 + 3);
	finish(c);
}

/* A page that is gone is no hit; the long way says what it is. */
static void test_only_hits_fault(void **state)
{
	struct ctx *c = start(&plain, 2 * RANGE);
	struct dax_result r;

	assert_int_equal(touch(&c->file, 0), DAX_DONE);
	assert_int_equal(ftruncate(c->file.fd, 4096), 0);
	assert_true(dax_read_hit(&c->file.di, c->buf, 4096, 0));
	assert_false(dax_read_hit(&c->file.di, c->buf, 100, 8192));
	r = read_at(&c->file, c->buf, 100, 8192, RANGE);
	assert_int_equal(r.stop, DAX_FAULT);
	assert_int_equal(r.done, 0);
	assert_int_equal(stats_of(&c->f).faults, 1);
	finish(c);
}

/* No window: everything is for somebody else. */
static void test_only_hits_no_window(void **state)
{
	struct dax_inode di;
	char c = 'x';

	dax_inode_init(&di, NULL, NULL);
	assert_false(dax_read_hit(&di, &c, 1, 0));
	assert_false(dax_write_hit(&di, &c, 1, 0));
	dax_inode_done(&di);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_hit),
		cmocka_unit_test(test_spans_ranges),
		cmocka_unit_test(test_nothing_to_do),
		cmocka_unit_test(test_write_at_end),
		cmocka_unit_test(test_map_error),
		cmocka_unit_test(test_backoff),
		cmocka_unit_test(test_enosys),
		cmocka_unit_test(test_disconnected),
		cmocka_unit_test(test_bypass),
		cmocka_unit_test(test_nowait),
		cmocka_unit_test(test_upgrade_in_place),
		cmocka_unit_test(test_upgrade_anew),
		cmocka_unit_test(test_upgrade_refused),
		cmocka_unit_test(test_write_first),
		cmocka_unit_test(test_beyond_index),
		cmocka_unit_test(test_index_grows),
		cmocka_unit_test(test_only_hits),
		cmocka_unit_test(test_only_hits_fault),
		cmocka_unit_test(test_only_hits_no_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
