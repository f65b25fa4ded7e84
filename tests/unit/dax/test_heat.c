/* SPDX-License-Identifier: BSD-2-Clause */
/* Pictures of heat: what is hot, whose it is, that looking changes nothing, and
 * the tick that makes a session look whether somebody wants one. */
#include "test.h"

#define FILES 20u
#define RANGES 256u

struct ctx {
	struct fake f;
	struct fake_file file[FILES];
	uint8_t cells[RANGES];
	uint32_t n;
	uint32_t per;
	struct dax_hot_files most;
};

static struct ctx *start(uint32_t ranges)
{
	const struct fake_options o = {
		.ranges = ranges, .range_bytes = RANGE,
	};
	struct ctx *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	fake_init(&c->f, &o);
	for (unsigned i = 0; i < FILES; i++)
		fake_file_init(&c->f, &c->file[i], 32 * RANGE);
	return c;
}

static void finish(struct ctx *c)
{
	assert_true(dax_window_is_valid(c->f.w));
	for (unsigned i = 0; i < FILES; i++)
		fake_file_done(&c->file[i]);
	fake_done(&c->f);
	free(c);
}

static void look(struct ctx *c, uint32_t max)
{
	memset(c->cells, 0xff, sizeof(c->cells));
	c->n = dax_window_heat(c->f.w, c->cells, max, &c->per, &c->most);
}

static void test_warmer_and_colder(void **state)
{
	struct ctx *c = start(8);
	struct dax_pin pin;
	unsigned char b = 0;

	look(c, RANGES);
	assert_int_equal(c->n, 0);
	assert_int_equal(c->most.n, 0);
	touch(&c->file[0], 0);
	touch(&c->file[0], 1);
	for (unsigned i = 0; i < 5; i++) {
		touch(&c->file[0], 0);
		look(c, RANGES);
		assert_int_equal(c->n, 2);
		assert_int_equal(c->per, 1);
		assert_int_equal(c->cells[0], i < 3 ? 3 + 2 * i : 9);
		assert_int_equal(c->cells[1], i < 2 ? 3 - i : 1);
	}
	look(c, RANGES);
	assert_int_equal(c->cells[0], 8);
	assert_int_equal(write_at(&c->file[0], &b, 1, 0, RANGE).done, 1);
	assert_int_equal(dax_pin(&c->file[0].di, RANGE, 1, DAX_READ,
				 UINT64_MAX, 0, &pin), 0);
	look(c, RANGES);
	assert_true(c->cells[0] & DAX_HEAT_WRITABLE);
	assert_false(c->cells[0] & DAX_HEAT_PINNED);
	assert_true(c->cells[1] & DAX_HEAT_PINNED);
	/* both in one cell: the hottest, and all flags */
	look(c, 1);
	assert_int_equal(c->n, 1);
	assert_int_equal(c->per, 2);
	assert_int_equal(c->cells[0] & ~DAX_HEAT_MASK,
			 DAX_HEAT_WRITABLE | DAX_HEAT_PINNED);
	assert_true((c->cells[0] & DAX_HEAT_MASK) > 6);
	dax_unpin(&c->file[0].di, &pin);
	dax_inode_shrink(&c->file[0].di);
	look(c, RANGES);
	assert_int_equal(c->n, 0);
	finish(c);
}

/* More files than are kept, of which none has its ranges side by side. */
static void test_most(void **state)
{
	struct ctx *c = start(RANGES);

	/* twice: what was new is not what is hot */
	for (unsigned k = 0; k < 2 * FILES; k++)
		for (unsigned i = 0; i < FILES; i++) {
			/* file i has (i * 7 % 20) + 1 ranges: all differ */
			if (k % FILES <= i * 7 % FILES)
				touch(&c->file[i], k % FILES);
		}
	look(c, RANGES);
	assert_int_equal(c->n, FILES * (FILES + 1) / 2);
	assert_int_equal(c->most.n, DAX_HOT_FILES);
	for (unsigned i = 0; i < DAX_HOT_FILES; i++) {
		const struct dax_hot_file *f = &c->most.file[i];
		const struct fake_file *file = (void *)(uintptr_t)f->id;

		assert_int_equal(f->ranges, FILES - i);
		assert_int_equal((file - c->file) * 7 % FILES,
				 FILES - i - 1);
		assert_int_equal(f->heat, 3);
	}
	finish(c);
}

/* Who is evicted is the same with a look at every step as without. */
static void test_looking_changes_nothing(void **state)
{
	char pic[2][64];

	for (unsigned looks = 0; looks < 2; looks++) {
		struct ctx *c = start(12);

		for (unsigned i = 0; i < 400; i++) {
			touch(&c->file[i * i % 3], i * 5 % 7 + i % 11);
			if (looks)
				look(c, RANGES);
		}
		picture(&c->f, pic[looks], sizeof(pic[0]));
		assert_true(stats_of(&c->f).reclaimed > 0);
		finish(c);
	}
	assert_string_equal(pic[0], pic[1]);
}

static void test_tick(void **state)
{
	struct ctx *c = start(4);
	uint64_t hits = stats_of(&c->f).hits;
	unsigned char buf[16];

	touch(&c->file[0], 0);
	for (unsigned i = 0; i < 2560; i++)
		assert_true(dax_read_hit(&c->file[0].di, buf, 16, i));
	assert_int_equal(stats_of(&c->f).hits, hits + 2560);
	assert_int_equal(atomic_load(&c->f.n_ticks), 10);
	/* several at once: two ranges a call */
	touch(&c->file[0], 1);
	for (unsigned i = 0; i < 640; i++)
		assert_int_equal(read_at(&c->file[0], buf, 16, RANGE - 8,
					 UINT64_MAX).done, 16);
	assert_int_equal(atomic_load(&c->f.n_ticks), 15);
	/* what is passed on */
	atomic_store(&c->f.fail_map, -EIO);
	assert_int_equal(touch(&c->file[1], 5), DAX_BYPASS);
	assert_int_equal(atomic_load(&c->f.n_ticks), 16);
	finish(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_warmer_and_colder),
		cmocka_unit_test(test_most),
		cmocka_unit_test(test_looking_changes_nothing),
		cmocka_unit_test(test_tick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
