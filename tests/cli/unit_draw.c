/* SPDX-License-Identifier: BSD-2-Clause */
/* What is drawn: the window's picture, the progress of a copy, columns. */
#include "unit.h"

#include "ls.h"
#include "picture.h"
#include "progress.h"

static const struct picture_style plain = { .width = 24, .max_rows = 2 };

static void cell_shows_what_is_rarest(void **state)
{
	struct picture_cell c = picture_cell_of("....", 4);

	assert_int_equal(c.kind, PICTURE_FREE);
	assert_int_equal(c.used_percent, 0);
	c = picture_cell_of("r.Rr", 4);
	assert_int_equal(c.kind, PICTURE_READ);
	assert_true(c.recent);
	assert_int_equal(c.used_percent, 75);
	c = picture_cell_of("rrwr", 4);
	assert_int_equal(c.kind, PICTURE_WRITE);
	assert_false(c.recent);
	c = picture_cell_of("W#r.", 4);
	assert_int_equal(c.kind, PICTURE_PINNED);
}

static void one_of_many_is_seen(void **state)
{
	char many[1001];

	memset(many, '.', sizeof(many));
	many[777] = 'r';
	assert_int_equal(picture_cell_of(many, 1001).used_percent, 1);
}

/* All ranges have a cell, no cell is without a range, and it fits. */
static void grid_covers_all(void **state)
{
	for (size_t n = 1; n < 5000; n += n < 100 ? 1 : 37) {
		struct picture_grid g = picture_grid_of(n, &plain);
		size_t cells = (n + g.ranges_per_cell - 1) /
			       g.ranges_per_cell;

		assert_true(g.columns <= 20 && g.columns >= 1);
		assert_true(g.rows <= 2 && g.rows >= 1);
		assert_true(cells <= g.columns * g.rows);
		assert_true(cells > g.columns * (g.rows - 1));
	}
}

static char *drawn(const char *ranges, const struct picture_style *s)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	picture_draw(f, ranges, strlen(ranges), s, 2 << 20);
	fclose(f);
	return text;
}

static void picture_in_letters(void **state)
{
	char *text = drawn("rRwW#.........................r", &plain);

	/* 31 ranges in 2 rows of 20: one a cell, the rest blank. */
	assert_non_null(strstr(text, "  |rRwW#...............|\n"
				     "  |..........r         |\n"));
	assert_non_null(strstr(text, "capital: used lately"));
	assert_non_null(strstr(text, "one cell is 2 MiB, 1 range;"));
	assert_null(strchr(text, '\033'));
	free(text);
}

static void free_end_is_said_in_words(void **state)
{
	char many[20001], *text;

	memset(many, '.', 20000);
	many[20000] = 0;
	many[2] = 'R';
	text = drawn(many, &plain);
	assert_non_null(strstr(text, "  |..R.................|\n"
				     "   and 19980 free ranges (39.0 GiB) "
				     "after these\n"));
	assert_non_null(strstr(text, "one cell is 2 MiB, 1 range;"));
	free(text);
}

static void picture_in_colour(void **state)
{
	struct picture_style s = plain;
	char *text;

	s.color = s.utf8 = true;
	text = drawn("R.", &s);
	assert_non_null(strstr(text, "\033[1;32m\u2588\033[0m"));
	assert_non_null(strstr(text, "\033[2m\u00b7\033[0m"));
	free(text);
}

static void progress_lines(void **state)
{
	struct progress p = {
		.kind = PROGRESS_LINE, .width = 120, .start_ns = 0,
		.done_bytes = 25 << 20, .total_bytes = 100 << 20,
		.done_files = 3, .total_files = 12,
	};
	char line[200];

	progress_line(&p, UINT64_C(5000000000), line, sizeof(line));
	assert_string_equal(line, " 25 %  25 MiB of 100 MiB  5 MiB/s  "
			    "ETA 0:15  3/12 files [#####---------------]");
	assert_int_equal(progress_percent(&p), 25);
	p.width = 20;
	progress_line(&p, UINT64_C(5000000000), line, sizeof(line));
	assert_true(strlen(line) < 20);
	p.width = 120;
	p.total_bytes = 0;
	progress_line(&p, UINT64_C(5000000000), line, sizeof(line));
	assert_string_equal(line, "25 MiB  5 MiB/s  3/12 files");
	assert_int_equal(progress_percent(&p), 25);
	/* More than was there when it was measured. */
	p.total_bytes = 1;
	assert_int_equal(progress_percent(&p), 100);
}

static void progress_for_programs(void **state)
{
	struct progress p = { .kind = PROGRESS_NUMBERS, .total_bytes = 1000,
			      .last_percent = -1 };
	char got[256] = "";
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	p.fd = fds[1];
	progress_bytes(&p, 100);
	progress_bytes(&p, 1);
	progress_bytes(&p, 399);
	progress_end(&p, true);
	close(fds[1]);
	assert_true(read(fds[0], got, sizeof(got) - 1) > 0);
	assert_string_equal(got, "10/100\n50/100\n100/100\n");
	close(fds[0]);
}

static void columns(void **state)
{
	const unsigned widths[] = { 3, 10, 4, 5, 6 };
	unsigned cols[5];

	/* Two columns of three rows: 3 10 4 | 5 6. */
	assert_true(ls_columns(widths, 5, 2, 80, cols));
	assert_int_equal(cols[0], 12);
	assert_int_equal(cols[1], 8);
	assert_true(ls_columns(widths, 5, 2, 18, cols));
	assert_false(ls_columns(widths, 5, 2, 17, cols));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cell_shows_what_is_rarest),
		cmocka_unit_test(one_of_many_is_seen),
		cmocka_unit_test(grid_covers_all),
		cmocka_unit_test(picture_in_letters),
		cmocka_unit_test(free_end_is_said_in_words),
		cmocka_unit_test(picture_in_colour),
		cmocka_unit_test(progress_lines),
		cmocka_unit_test(progress_for_programs),
		cmocka_unit_test(columns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
