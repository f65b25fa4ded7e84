/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The picture of the window. Without colour each cell is a letter of what is
 * rarest in it; with colour and UTF-8 it is a shade of how full it is, coloured
 * by the same rule.
 */
#include "picture.h"

#include "fmt.h"

static enum picture_kind kind_of(char ch)
{
	switch (ch) {
	case '#':
		return PICTURE_PINNED;
	case 'w':
	case 'W':
		return PICTURE_WRITE;
	case 'r':
	case 'R':
		return PICTURE_READ;
	default:
		return PICTURE_FREE;
	}
}

struct picture_cell picture_cell_of(const char *ranges, size_t n)
{
	struct picture_cell cell = { 0 };
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		enum picture_kind k = kind_of(ranges[i]);

		used += k != PICTURE_FREE;
		cell.kind = k > cell.kind ? k : cell.kind;
		cell.recent |= ranges[i] == 'R' || ranges[i] == 'W';
	}
	/* One range of a thousand is still something to see. */
	cell.used_percent = (unsigned)(used * 100 / n);
	if (used && !cell.used_percent)
		cell.used_percent = 1;
	return cell;
}

struct picture_grid picture_grid_of(size_t n, const struct picture_style *s)
{
	struct picture_grid g = { .ranges_per_cell = 1 };
	size_t most = s->width > 6 ? s->width - 4 : 2;
	size_t cells = most * (s->max_rows ? s->max_rows : 1);

	g.ranges_per_cell = (n + cells - 1) / cells;
	cells = (n + g.ranges_per_cell - 1) / g.ranges_per_cell;
	g.columns = cells < most ? cells : most;
	g.rows = (cells + g.columns - 1) / g.columns;
	return g;
}

static char letter_of(const struct picture_cell *c)
{
	static const char seldom[] = ".rw#", lately[] = ".RW#";

	return c->recent ? lately[c->kind] : seldom[c->kind];
}

static const char *shade_of(const struct picture_cell *c)
{
	static const char *const shades[] = { "\u2591", "\u2592", "\u2593",
					      "\u2588" };

	if (!c->used_percent)
		return "\u00b7";
	return shades[c->used_percent >= 100 ? 3 : c->used_percent / 34];
}

static const char *color_of(const struct picture_cell *c)
{
	static const char *const seldom[] = { "\033[2m", "\033[32m",
					      "\033[33m", "\033[35m" };
	static const char *const lately[] = { "\033[2m", "\033[1;32m",
					      "\033[1;33m", "\033[1;35m" };

	return c->recent ? lately[c->kind] : seldom[c->kind];
}

static void draw_cell(FILE *f, const struct picture_cell *c,
		      const struct picture_style *s)
{
	if (!s->color)
		fputc(letter_of(c), f);
	else if (s->utf8)
		fprintf(f, "%s%s\033[0m", color_of(c), shade_of(c));
	else
		fprintf(f, "%s%c\033[0m", color_of(c), letter_of(c));
}

static void draw_sample(FILE *f, const char *ranges, const char *text,
			const struct picture_style *s)
{
	struct picture_cell c = picture_cell_of(ranges, 1);

	fputs("  ", f);
	draw_cell(f, &c, s);
	fprintf(f, " %s", text);
}

static void draw_legend(FILE *f, const struct picture_grid *g,
			const struct picture_style *s, size_t range_bytes)
{
	char cell[FMT_LEN];

	fputs(" ", f);
	draw_sample(f, ".", "free", s);
	draw_sample(f, "r", "read-only", s);
	draw_sample(f, "w", "writable", s);
	draw_sample(f, "#", "pinned", s);
	fputs(s->color ? "  bright: used lately\n" :
			 "  capital: used lately\n", f);
	fprintf(f, "   one cell is %s, %zu range%s; it shows what is rarest "
		"in it\n",
		fmt_bytes((double)g->ranges_per_cell * (double)range_bytes,
			  cell),
		g->ranges_per_cell, g->ranges_per_cell == 1 ? "" : "s");
}

/* The ranges worth drawing: free ones at the end are said in words, so that
 * a few used ones of a large window get cells of their own. */
static size_t shown_ranges(const char *ranges, size_t n,
			   const struct picture_style *s)
{
	size_t least = s->width > 6 ? s->width - 4 : 2;
	size_t last = n;

	while (last && kind_of(ranges[last - 1]) == PICTURE_FREE)
		last--;
	last = last > least ? last : least;
	return last < n ? last : n;
}

static void draw_rest(FILE *f, size_t rest, size_t range_bytes)
{
	char bytes[FMT_LEN];

	if (rest)
		fprintf(f, "   and %zu free range%s (%s) after these\n", rest,
			rest == 1 ? "" : "s",
			fmt_bytes((double)rest * (double)range_bytes, bytes));
}

void picture_draw(FILE *f, const char *ranges, size_t n_ranges,
		  const struct picture_style *s, size_t range_bytes)
{
	size_t n = shown_ranges(ranges, n_ranges, s);
	struct picture_grid g = picture_grid_of(n, s);

	for (size_t row = 0; row < g.rows; row++) {
		fputs("  |", f);
		for (size_t col = 0; col < g.columns; col++) {
			size_t at = (row * g.columns + col) *
				    g.ranges_per_cell;
			struct picture_cell c;

			if (at >= n) {
				fputc(' ', f);
				continue;
			}
			c = picture_cell_of(ranges + at,
					    n - at < g.ranges_per_cell ?
					    n - at : g.ranges_per_cell);
			draw_cell(f, &c, s);
		}
		fputs("|\n", f);
	}
	draw_rest(f, n_ranges - n, range_bytes);
	draw_legend(f, &g, s, range_bytes);
}
