/* SPDX-License-Identifier: BSD-2-Clause */
/* Windows, ranges and pins: rows A1, A5, A25, A27, B5. */
#include "test.h"

#include <unistd.h>

#include "dax/dax_internal.h"

struct ctx {
	struct fake f;
	struct fake_file file;
	struct fake_file other;
	char pic[64];
};

static struct ctx *start(uint32_t ranges, bool in_place)
{
	const struct fake_options o = {
		.ranges = ranges, .range_bytes = RANGE,
		.replace_in_place = in_place,
	};
	struct ctx *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	fake_init(&c->f, &o);
	fake_file_init(&c->f, &c->file, 16 * RANGE);
	fake_file_init(&c->f, &c->other, 16 * RANGE);
	return c;
}

static void finish(struct ctx *c)
{
	assert_true(dax_window_is_valid(c->f.w));
	fake_file_done(&c->file);
	fake_file_done(&c->other);
	fake_done(&c->f);
	free(c);
}

static uint64_t last_window_range(const struct ctx *c)
{
	return c->f.log[c->f.n_log - 1].window_off / RANGE;
}

static void test_bad_config(void **state)
{
	struct fake *f = calloc(1, sizeof(*f));
	struct dax_config cfg;
	struct dax_window *w = (void *)1;
	const struct fake_options o = { .ranges = 4, .range_bytes = RANGE };

	assert_non_null(f);
	fake_config(f, &o, &cfg);
	cfg.range_bytes = RANGE + 1;
	assert_int_equal(dax_window_new(&cfg, &w), -EINVAL);
	cfg.range_bytes = 0;
	assert_int_equal(dax_window_new(&cfg, &w), -EINVAL);
	cfg.range_bytes = RANGE;
	cfg.bytes = RANGE - 1;
	assert_int_equal(dax_window_new(&cfg, &w), -EINVAL);
	assert_ptr_equal(w, (void *)1);
	/* The rest that is no whole range is not used (A1). */
	cfg.bytes = 3 * RANGE + RANGE / 2;
	assert_int_equal(dax_window_new(&cfg, &w), 0);
	f->w = w;
	assert_int_equal(stats_of(f).ranges, 3);
	assert_int_equal(dax_window_range_bytes(w), RANGE);
	dax_window_free(NULL);
	fake_done(f);
	free(f);
}

/* A5: from the head; given back to the tail; so what was freed rests. */
static void test_fifo(void **state)
{
	struct ctx *c = start(6, false);

	touch(&c->file, 4);
	touch(&c->file, 2);
	touch(&c->file, 0);
	assert_string_equal(picture(&c->f, c->pic, 64), "rrR...");
	dax_inode_shrink(&c->file.di);
	assert_string_equal(picture(&c->f, c->pic, 64), "......");
	touch(&c->other, 8);
	assert_int_equal(last_window_range(c), 3);
	touch(&c->other, 6);
	assert_int_equal(last_window_range(c), 4);
	touch(&c->other, 4);
	assert_int_equal(last_window_range(c), 5);
	touch(&c->other, 2); /* by offset: file range 0, 2, 4 were freed */
	assert_int_equal(last_window_range(c), 2);
	finish(c);
}

/* Neighbours in the file become neighbours in the window if they can. */
static void test_neighbours(void **state)
{
	struct ctx *c = start(8, false);

	touch(&c->file, 0);  /* 0 */
	touch(&c->other, 0); /* 1 */
	touch(&c->file, 1);  /* 1 is taken: 2 */
	assert_int_equal(last_window_range(c), 2);
	touch(&c->other, 5); /* 3 */
	touch(&c->other, 9); /* 4 */
	touch(&c->file, 7);  /* 5 */
	touch(&c->other, 10); /* after 4: taken; the head: 6 */
	assert_int_equal(last_window_range(c), 6);
	dax_inode_shrink(&c->file.di); /* frees 0, 2, 5 */
	touch(&c->other, 1); /* after 1, in the window and in the file */
	assert_int_equal(last_window_range(c), 2);
	finish(c);
}

/* Ranges that nobody has used are not written: they are no memory. They are
 * used up, in order, before anything is used a second time. */
static void test_new_ranges(void **state)
{
	struct ctx *c = start(12, false);
	struct dax_pin pin;

	assert_int_equal(c->f.w->first_new, 0);
	touch(&c->file, 9);
	assert_int_equal(c->f.w->first_new, 1);
	dax_inode_shrink(&c->file.di);
	touch(&c->file, 1);
	assert_int_equal(last_window_range(c), 1);
	assert_int_equal(dax_pin(&c->other.di, 0, 3 * RANGE, DAX_READ,
				 UINT64_MAX, 0, &pin), 0);
	assert_int_equal(c->f.w->first_new, 5);
	assert_true(dax_window_is_valid(c->f.w));
	assert_string_equal(picture(&c->f, c->pic, 64), ".r###.......");
	for (unsigned i = 0; i < 7; i++) {
		touch(&c->file, 2 * i % 15);
		assert_int_equal(stats_of(&c->f).mappings, i + 3);
		assert_int_equal(last_window_range(c), 5 + i);
	}
	assert_int_equal(c->f.w->first_new, 12);
	touch(&c->file, 15);
	assert_int_equal(last_window_range(c), 0);
	dax_unpin(&c->other.di, &pin);
	finish(c);
}

/* The picture tells read, write, referenced, pinned, free. */
static void test_picture(void **state)
{
	struct ctx *c = start(5, false);
	struct dax_pin pin;
	char small[2];

	touch(&c->file, 0);
	write_at(&c->file, "x", 1, RANGE, UINT64_MAX);
	touch(&c->file, 0);
	assert_string_equal(picture(&c->f, c->pic, 64), "RW...");
	assert_int_equal(dax_pin(&c->other.di, 0, 1, DAX_READ, UINT64_MAX, 0,
				 &pin), 0);
	assert_string_equal(picture(&c->f, c->pic, 64), "Rw#..");
	assert_int_equal(dax_window_picture(c->f.w, small, 2), 5);
	assert_memory_equal(small, "Rw", 2);
	dax_unpin(&c->other.di, &pin);
	finish(c);
}

/* A25, A27: one request for all of an inode, at most 128 in each. */
static void test_batched_removal(void **state)
{
	struct ctx *c = start(300, false);
	int i;

	assert_int_equal(ftruncate(c->file.fd, 300 * RANGE), 0);
	for (i = 0; i < 300; i++) {
		unsigned char b;

		read_at(&c->file, &b, 1, (uint64_t)i * RANGE, UINT64_MAX);
	}
	assert_int_equal(stats_of(&c->f).mappings, 300);
	dax_inode_shrink(&c->file.di);
	assert_int_equal(c->f.unmapped, 300);
	assert_int_equal(c->f.unmap_calls, 3);
	assert_int_equal(c->f.largest_unmap, 128);
	assert_int_equal(stats_of(&c->f).free_ranges, 300);
	finish(c);
}

/* A25: a removal that fails frees the range all the same. */
static void test_removal_fails(void **state)
{
	struct ctx *c = start(4, false);

	touch(&c->file, 3);
	atomic_store(&c->f.fail_unmap, -EIO);
	dax_window_shrink(c->f.w);
	assert_int_equal(stats_of(&c->f).free_ranges, 4);
	assert_int_equal(touch(&c->file, 3), DAX_DONE);
	finish(c);
}

static void test_window_shrink(void **state)
{
	struct ctx *c = start(8, false);
	struct dax_pin pin;

	touch(&c->file, 0);
	touch(&c->other, 0);
	touch(&c->file, 1);
	assert_int_equal(dax_pin(&c->other.di, 2 * RANGE, 1, DAX_READ, 0, 0,
				 &pin), 0);
	dax_window_shrink(c->f.w);
	assert_int_equal(stats_of(&c->f).mappings, 1);
	assert_int_equal(stats_of(&c->f).reclaimed, 3);
	dax_unpin(&c->other.di, &pin);
	dax_window_shrink(c->f.w);
	assert_int_equal(stats_of(&c->f).mappings, 0);
	finish(c);
}

/* -------------------------------------------------------------------- pins */

static void test_pin(void **state)
{
	struct ctx *c = start(8, false);
	struct dax_pin pin, again;
	const unsigned char *p;

	/* Contiguous over ranges, one of which is mapped alone already. */
	touch(&c->file, 2);
	assert_int_equal(dax_pin(&c->file.di, RANGE + 5, 2 * RANGE, DAX_READ,
				 9, 0, &pin), 0);
	assert_int_equal(c->f.log[1].len, 3 * RANGE);
	assert_int_equal(c->f.log[1].file_off, RANGE);
	assert_int_equal(c->f.log[1].fh, 9);
	p = pin.ptr;
	assert_true(fake_is_pattern(p, 2 * RANGE, RANGE + 5));
	assert_int_equal(stats_of(&c->f).pinned, 3);
	assert_true(dax_window_is_valid(c->f.w));

	/* What it covers is pinned again for nothing, also NOWAIT. */
	assert_int_equal(dax_pin(&c->file.di, 2 * RANGE, RANGE, DAX_READ, 0,
				 DAX_NOWAIT, &again), 0);
	assert_int_equal(c->f.maps, 2);
	dax_unpin(&c->file.di, &again);
	assert_null(again.ptr);
	assert_int_equal(dax_pin(&c->file.di, 9 * RANGE, 1, DAX_READ, 0,
				 DAX_NOWAIT, &again), -EAGAIN);

	/* And read through, and nobody can take it. */
	assert_int_equal(touch(&c->file, 1), DAX_DONE);
	assert_int_equal(c->f.maps, 2);
	dax_window_shrink(c->f.w);
	assert_int_equal(stats_of(&c->f).mappings, 1);
	assert_true(fake_is_pattern(p, 2 * RANGE, RANGE + 5));
	dax_unpin(&c->file.di, &pin);
	assert_int_equal(stats_of(&c->f).pinned, 0);
	finish(c);
}

static void test_pin_errors(void **state)
{
	struct ctx *c = start(4, false);
	struct dax_pin pin = { .ptr = (void *)1 };
	struct dax_inode none;

	assert_int_equal(dax_pin(&c->file.di, 0, 0, DAX_READ, 0, 0, &pin),
			 -EINVAL);
	assert_int_equal(dax_pin(&c->file.di, 1, UINT64_MAX, DAX_READ, 0, 0,
				 &pin), -EINVAL);
	assert_int_equal(dax_pin(&c->file.di, UINT64_MAX, 1, DAX_READ, 0, 0,
				 &pin), -EINVAL);
	assert_int_equal(dax_pin(&c->file.di, 0, 5 * RANGE, DAX_READ, 0, 0,
				 &pin), -ENOSPC);
	atomic_store(&c->f.fail_map, -EACCES);
	assert_int_equal(dax_pin(&c->file.di, 0, 3 * RANGE, DAX_READ, 0, 0,
				 &pin), -EACCES);
	atomic_store(&c->f.connected, 0);
	assert_int_equal(dax_pin(&c->file.di, 0, 1, DAX_READ, 0, 0, &pin),
			 -ENOTCONN);
	atomic_store(&c->f.connected, 1);
	atomic_store(&c->f.fail_map, -ENOSYS);
	assert_int_equal(dax_pin(&c->file.di, 0, 1, DAX_READ, 0, 0, &pin),
			 -ENODEV);
	assert_int_equal(stats_of(&c->f).free_ranges, 4);
	assert_ptr_equal(pin.ptr, (void *)1);
	dax_inode_init(&none, NULL, NULL);
	assert_int_equal(dax_pin(&none, 0, 1, DAX_READ, 0, 0, &pin), -ENODEV);
	dax_inode_done(&none);
	finish(c);
}

/* A full window: a run is made by evicting what is in the way, of whomever. */
static void test_pin_makes_room(void **state)
{
	struct ctx *c = start(6, false);
	struct dax_pin a, b, more;
	int i;

	for (i = 0; i < 3; i++) {
		touch(&c->file, (uint64_t)(4 * i)); /* 0, 2, 4 */
		touch(&c->other, (uint64_t)(4 * i)); /* 1, 3, 5 */
	}
	assert_int_equal(dax_pin(&c->file.di, 8 * RANGE, 1, DAX_READ, 0, 0, &a),
			 0); /* the one at 4 */
	assert_string_equal(picture(&c->f, c->pic, 64), "rrrr#R");
	assert_int_equal(dax_pin(&c->other.di, 0, 4 * RANGE, DAX_READ, 0, 0,
				 &b), 0);
	assert_string_equal(picture(&c->f, c->pic, 64), "#####r");
	assert_true(fake_is_pattern(b.ptr, 4 * RANGE, 0));
	assert_true(dax_window_is_valid(c->f.w));
	assert_int_equal(dax_pin(&c->other.di, 8 * RANGE, 2 * RANGE, DAX_READ,
				 0, 0, &more), -ENOSPC);
	/* A file that is being torn down cannot be asked for its ranges. */
	dax_unpin(&c->other.di, &b);
	atomic_store(&c->f.refuse_get, 1);
	assert_int_equal(dax_pin(&c->file.di, 0, 3 * RANGE, DAX_READ, 0, 0,
				 &b), -ENOSPC);
	atomic_store(&c->f.refuse_get, 0);
	assert_true(dax_window_is_valid(c->f.w));
	assert_int_equal(dax_pin(&c->file.di, 0, 3 * RANGE, DAX_READ, 0, 0,
				 &b), 0);
	dax_unpin(&c->file.di, &b);
	dax_unpin(&c->file.di, &a);
	finish(c);
}

/* Writing where a reader has pinned: in place, or beside it. */
static void check_pin_and_write(bool in_place)
{
	struct ctx *c = start(6, in_place);
	struct dax_pin r, w;
	const char *seen;

	assert_int_equal(dax_pin(&c->file.di, 10, 3, DAX_READ, 0, 0, &r), 0);
	seen = r.ptr;
	assert_int_equal(write_at(&c->file, "abc", 3, 10, UINT64_MAX).stop,
			 DAX_DONE);
	assert_memory_equal(seen, "abc", 3);
	assert_int_equal(stats_of(&c->f).mappings, in_place ? 1 : 2);
	assert_int_equal(stats_of(&c->f).upgrades, in_place ? 1 : 0);
	assert_int_equal(dax_pin(&c->file.di, 10, 3, DAX_WRITE, 0, 0, &w), 0);
	memcpy(w.ptr, "xyz", 3);
	assert_memory_equal(seen, "xyz", 3);
	assert_int_equal(c->f.maps, 2);
	dax_unpin(&c->file.di, &r);
	/* The index falls back on the one that is left. */
	if (!in_place) {
		dax_window_shrink(c->f.w);
		assert_int_equal(stats_of(&c->f).mappings, 1);
		assert_true(dax_window_is_valid(c->f.w));
		assert_int_equal(write_at(&c->file, "q", 1, 10, UINT64_MAX)
				 .stop, DAX_DONE);
		assert_int_equal(c->f.maps, 2);
	}
	dax_unpin(&c->file.di, &w);
	finish(c);
}

static void test_pin_and_write(void **state)
{
	check_pin_and_write(true);
	check_pin_and_write(false);
}

/* Two mappings over one file range: one goes, the index finds the other. */
static void test_index_falls_back(void **state)
{
	struct ctx *c = start(6, false);
	struct dax_pin two;

	assert_int_equal(dax_pin(&c->file.di, 0, 2 * RANGE, DAX_READ, 0, 0,
				 &two), 0);
	assert_int_equal(write_at(&c->file, "x", 1, 0, UINT64_MAX).stop,
			 DAX_DONE); /* a writable one beside it */
	assert_int_equal(c->f.maps, 2);
	dax_inode_shrink(&c->file.di); /* takes that one */
	assert_int_equal(stats_of(&c->f).mappings, 1);
	assert_true(dax_window_is_valid(c->f.w));
	assert_int_equal(touch(&c->file, 0), DAX_DONE);
	assert_int_equal(c->f.maps, 2);
	dax_unpin(&c->file.di, &two);
	finish(c);
}

/* No answer is not a refusal: the peer may map or remove later. What it may do
 * that to is not given to another file. */
static void test_no_answer(void **state)
{
	struct ctx *c = start(4, false);

	(void)state;
	atomic_store(&c->f.fail_map, -ETIMEDOUT);
	assert_int_equal(touch(&c->file, 0), DAX_BYPASS);
	assert_int_equal(stats_of(&c->f).free_ranges, 3);
	atomic_store(&c->f.fail_map, -EIO);
	assert_int_equal(touch(&c->file, 1), DAX_BYPASS);
	assert_int_equal(stats_of(&c->f).free_ranges, 3);
	atomic_store(&c->f.fail_map, 0);
	while (touch(&c->file, 1) != DAX_DONE) /* it backs off for a while */
		;
	atomic_store(&c->f.fail_unmap, -ETIMEDOUT);
	dax_inode_shrink(&c->file.di);
	atomic_store(&c->f.fail_unmap, 0);
	assert_int_equal(stats_of(&c->f).mappings, 0);
	assert_int_equal(stats_of(&c->f).free_ranges, 2);
	assert_true(dax_window_is_valid(c->f.w));
	/* the other two do all the work, also where a run is wanted */
	for (unsigned i = 0; i < 8; i++)
		touch(&c->file, i);
	assert_int_equal(stats_of(&c->f).mappings, 2);
	assert_true(dax_window_is_valid(c->f.w));
	atomic_store(&c->f.n_lost, 2);
	finish(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_config),
		cmocka_unit_test(test_fifo),
		cmocka_unit_test(test_neighbours),
		cmocka_unit_test(test_new_ranges),
		cmocka_unit_test(test_picture),
		cmocka_unit_test(test_batched_removal),
		cmocka_unit_test(test_removal_fails),
		cmocka_unit_test(test_window_shrink),
		cmocka_unit_test(test_pin),
		cmocka_unit_test(test_pin_errors),
		cmocka_unit_test(test_pin_makes_room),
		cmocka_unit_test(test_pin_and_write),
		cmocka_unit_test(test_index_falls_back),
		cmocka_unit_test(test_no_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
