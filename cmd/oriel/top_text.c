/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A sample of all sessions as text: a line each, then what the busiest ones say
 * of themselves: latencies, misses by cause, and their window coloured by heat.
 * Names were made printable when they were taken. Pure but for the stream.
 */
#include <inttypes.h>

#include "fmt.h"
#include "top.h"

#define MAP_LINES 4u
#define INDENT 2u

static void print_head(FILE *f, const struct top *t)
{
	fprintf(f, "%zu session%s", t->n, t->n == 1 ? "" : "s");
	if (t->hidden)
		fprintf(f, ", %" PRIu32 " of other users not shown", t->hidden);
	fputs("\n   id     pid user     program      msgs/s  hits/s  hit%"
	      "   window/s maps\n", f);
}

static void print_row(FILE *f, const struct top_row *r)
{
	const double bytes = top_rate(r, ORIEL_PEER_WINDOW_READ_BYTES) +
			     top_rate(r, ORIEL_PEER_WINDOW_WRITE_BYTES);
	const double percent = top_hit_percent(r);
	char user[64], msgs[FMT_LEN], hits[FMT_LEN], size[FMT_LEN];

	fprintf(f, "%5" PRIu64 " %7" PRId64 " %-8.8s %-12.12s ", r->peer.id,
		r->peer.pid, top_user(&r->peer, user, sizeof(user)),
		*r->name ? r->name : top_kind(&r->peer));
	fprintf(f, "%6s %7s ", fmt_count(top_request_rate(r), msgs),
		fmt_count(top_rate(r, ORIEL_PEER_HITS), hits));
	if (percent < 0)
		fputs("    -", f);
	else
		fprintf(f, "%5.1f", percent);
	fprintf(f, " %10s %4" PRIu64 "\n", fmt_bytes(bytes, size),
		r->peer.mappings);
}

static void print_latencies(FILE *f, const struct top_row *r)
{
	char a[FMT_LEN], b[FMT_LEN], c[FMT_LEN];

	for (unsigned i = 0; i < ORIEL_LATENCIES; i++) {
		struct top_latency l = top_latency_of(r, i);

		if (l.n)
			fprintf(f, "  %-6s %8" PRIu64 " messages  p50 %9s"
				"  p99 %9s  max %9s\n", oriel_latency_name(i),
				l.n, fmt_ns(l.p50, a), fmt_ns(l.p99, b),
				fmt_ns(l.max, c));
	}
}

static void print_io(FILE *f, const struct top_row *r)
{
	static const struct {
		const char *name;
		enum oriel_peer_counter what;
	} rates[] = {
		{ "window reads", ORIEL_PEER_WINDOW_READ_BYTES },
		{ "writes", ORIEL_PEER_WINDOW_WRITE_BYTES },
		{ "message reads", ORIEL_PEER_MESSAGE_READ_BYTES },
		{ "writes", ORIEL_PEER_MESSAGE_WRITE_BYTES },
	};
	char buf[FMT_LEN];

	fputs(" ", f);
	for (size_t i = 0; i < ARRAY_LEN(rates); i++)
		fprintf(f, "%s %s %s/s", i ? "," : "", rates[i].name,
			fmt_bytes(top_rate(r, rates[i].what), buf));
	fputs("\n  misses/s:", f);
	for (unsigned i = 0; i < ORIEL_MISSES; i++)
		fprintf(f, " %s %s", oriel_miss_name(i),
			fmt_count(top_miss_rate(r, i), buf));
	fputc('\n', f);
}

/* From blue to red, of the 256 colours. */
static unsigned color_of(unsigned heat)
{
	static const unsigned char colors[] = { 240, 25, 31, 37, 71, 106, 142,
						178, 208, 196 };

	return colors[heat < sizeof(colors) ? heat : sizeof(colors) - 1];
}

static void print_cell(FILE *f, uint8_t cell, bool color)
{
	unsigned heat = cell & ORIEL_CELL_HEAT;
	char c = heat ? (char)('0' + heat % 10) : '.';

	if (cell & ORIEL_CELL_PINNED)
		c = '#';
	if (color)
		fprintf(f, "\033[38;5;%um%c\033[0m", color_of(heat), c);
	else
		fputc(c, f);
}

static void print_map(FILE *f, const struct top_row *r, unsigned columns,
		      bool color)
{
	const struct oriel_peer_stats *st = r->now;
	uint32_t width = columns > 2 * INDENT + 1 ? columns - 2 * INDENT : 1;
	uint32_t per = st->n_cells / (MAP_LINES * width) + 1, i, k, n = 0;

	for (i = 0; i < st->n_cells; i += per) {
		uint8_t flags = 0, heat = 0;

		for (k = i; k < i + per && k < st->n_cells; k++) {
			uint8_t here = st->cells[k] & ORIEL_CELL_HEAT;

			heat = here > heat ? here : heat;
			flags |= st->cells[k] & ~ORIEL_CELL_HEAT;
		}
		if (n % width == 0)
			fputs("  ", f);
		print_cell(f, flags | heat, color);
		if (++n % width == 0)
			fputc('\n', f);
	}
	if (n % width)
		fputc('\n', f);
	if (n)
		fputs("  window: . free, 1 cold .. 9 hot, # pinned\n", f);
}

static void print_detail(FILE *f, const struct top_row *r, unsigned columns,
			 bool color)
{
	if (!r->now || !r->now->valid) {
		if (r->peer.flags & ORIEL_PEER_GAUGE)
			fprintf(f, "session %" PRIu64 " has not answered yet\n",
				r->peer.id);
		return;
	}
	fprintf(f, "session %" PRIu64 " %s", r->peer.id, r->name);
	if (top_idle_s(r))
		fprintf(f, ", idle for %" PRIu64 " s", top_idle_s(r));
	fputc('\n', f);
	print_io(f, r);
	print_latencies(f, r);
	print_map(f, r, columns, color);
}

static double busy(const struct top_row *r)
{
	return top_request_rate(r) + top_rate(r, ORIEL_PEER_HITS);
}

void top_text(FILE *f, const struct top *t, unsigned columns, bool color)
{
	const struct top_row *most = NULL;
	size_t i;

	print_head(f, t);
	for (i = 0; i < t->n; i++) {
		print_row(f, &t->rows[i]);
		if (!most || busy(&t->rows[i]) > busy(most))
			most = &t->rows[i];
	}
	/* the busiest; --session shows another one */
	if (most)
		print_detail(f, most, columns, color);
}
