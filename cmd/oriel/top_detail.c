/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What one session says of itself, as sections of text, each line clipped to the
 * view: rates, misses by cause, latencies, requests, and the window as a map
 * with the colours of heat. Names were made printable when they were taken. Pure
 * but for the stream.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "fmt.h"
#include "top.h"

#define INDENT 2u
#define MAP_LINES 4u
#define ITEM_LEN 96
#define FILES_SHOWN 8u

/* ------------------------------------------------------- items that flow */

/* Items behind each other; one that would not fit begins a new line. */
struct flow {
	FILE *f;
	unsigned columns;
	unsigned x;
	unsigned indent;
};

static void flow_begin(struct flow *w, FILE *f, unsigned columns,
		       const char *title)
{
	int n = fprintf(f, "  %-11s", title);

	*w = (struct flow){ f, columns, (unsigned)n, INDENT };
}

static void flow_item(struct flow *w, const char *fmt, ...) CLI_PRINTF(2, 3);
static void flow_item(struct flow *w, const char *fmt, ...)
{
	char item[ITEM_LEN];
	unsigned len;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(item, sizeof(item), fmt, ap);
	va_end(ap);
	len = (unsigned)strlen(item);
	if (w->x + 1 + len > w->columns && w->x > w->indent + 1) {
		fprintf(w->f, "\n%*s", (int)w->indent + 1, "");
		w->x = w->indent + 1;
	}
	fprintf(w->f, " %s", item);
	w->x += 1 + len;
}

/* ------------------------------------------------------------------ words */

static void print_title(FILE *f, const struct top_row *r,
			const struct top_view *v)
{
	const struct oriel_peer *p = &r->peer;
	struct flow w = { f, v->columns, 0, 1 };
	char buf[FMT_LEN];
	int n = fprintf(f, "session %" PRIu64 ":", p->id);

	w.x = (unsigned)n;
	if (*r->name)
		flow_item(&w, "%s,", r->name);
	flow_item(&w, "%s,", top_kind(p));
	flow_item(&w, "pid %" PRId64 ",", p->pid);
	flow_item(&w, "up %s", fmt_duration(p->age_ns / 1000000000u, buf));
	if (top_idle_s(r))
		flow_item(&w, "(idle for %s)",
			  fmt_duration(top_idle_s(r), buf));
	flow_item(&w, "%" PRIu64 " files open, %" PRIu64 " known,"
		  " %" PRIu64 " descriptors", p->handles, p->nodes, p->fds);
	fputc('\n', f);
}

static const char *why_nothing(const struct top_row *r)
{
	if (!(r->peer.flags & ORIEL_PEER_READY))
		return "its handshake is not over";
	if (!(r->peer.flags & ORIEL_PEER_GAUGE))
		return "it is no liboriel that tells of itself; requests are"
		       " what the daemon sees";
	return "it does nothing: it answers with what it does next";
}

static void print_io(FILE *f, const struct top_row *r, const struct top_view *v)
{
	static const struct {
		const char *name;
		enum oriel_peer_counter what;
	} rates[] = {
		{ "read", ORIEL_PEER_WINDOW_READ_BYTES },
		{ "write", ORIEL_PEER_WINDOW_WRITE_BYTES },
		{ "read", ORIEL_PEER_MESSAGE_READ_BYTES },
		{ "write", ORIEL_PEER_MESSAGE_WRITE_BYTES },
	};
	const bool is_narrow = v->columns < TOP_NARROW;
	struct flow w;
	char buf[FMT_LEN];
	size_t i;

	flow_begin(&w, f, v->columns, "window:");
	if (!r->now || !r->now->valid) {
		flow_item(&w, "%s", why_nothing(r));
		fputc('\n', f);
		return;
	}
	for (i = 0; i < ARRAY_LEN(rates); i++) {
		if (i == 2) {
			fputc('\n', f);
			flow_begin(&w, f, v->columns, "by message:");
		}
		fmt_bytes(top_rate(r, rates[i].what), buf);
		if (is_narrow)
			flow_item(&w, "%c %s/s", rates[i].name[0], buf);
		else
			flow_item(&w, "%5s %8s/s", rates[i].name, buf);
	}
	if (!is_narrow) {
		flow_item(&w, " maps %s/s",
			  fmt_count(top_rate(r, ORIEL_PEER_SETUPS), buf));
		flow_item(&w, "evicted %s/s",
			  fmt_count(top_rate(r, ORIEL_PEER_RECLAIMED), buf));
	}
	fputc('\n', f);
}

static void print_causes(FILE *f, const struct top_row *r,
			 const struct top_view *v)
{
	struct flow w;
	char buf[FMT_LEN];

	flow_begin(&w, f, v->columns, "misses/s:");
	for (unsigned i = 0; i < ORIEL_MISSES; i++)
		flow_item(&w, "%s %s", oriel_miss_name(i),
			  fmt_count(top_miss_rate(r, i), buf));
	fputc('\n', f);
}

/* -------------------------------------------------------------- latencies */

static void print_latency(FILE *f, const char *name,
			  const struct top_latency *l, double per_s,
			  const struct top_view *v)
{
	const struct {
		double ns;
		unsigned from; /* columns from which on it is shown */
	} parts[] = {
		{ l->p50, 0 }, { l->p90, 60 }, { l->p99, 0 },
		{ l->p999, 70 }, { l->max, 56 },
	};
	char buf[FMT_LEN];

	fprintf(f, "  %-11s%7s", name, fmt_count(per_s, buf));
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		if (v->columns >= parts[i].from)
			fprintf(f, " %8s", fmt_ns(parts[i].ns, buf));
	fputc('\n', f);
}

static void print_latencies(FILE *f, const struct top_row *r,
			    const struct top_view *v)
{
	double s = top_seconds(r);
	unsigned i, n = 0;

	for (i = 0; i < ORIEL_LATENCIES; i++) {
		struct top_latency l = top_latency_of(r, i);

		if (!l.n)
			continue;
		if (!n++)
			fprintf(f, "  %-11s%7s %8s%s %8s%s%s\n", "messages",
				"a s", "p50",
				v->columns >= 60 ? "      p90" : "", "p99",
				v->columns >= 70 ? "    p99.9" : "",
				v->columns >= 56 ? "      max" : "");
		print_latency(f, oriel_latency_name(i), &l,
			      s > 0 ? (double)l.n / s : 0, v);
	}
}

#define OPS_SHOWN 8u

/* The daemon's count, the most frequent first. */
static void print_ops(FILE *f, const struct top_row *r,
		      const struct top_view *v)
{
	unsigned most[OPS_SHOWN], n = 0, i, k;
	struct flow w;
	char buf[FMT_LEN];

	if (!r->now || !r->last)
		return;
	for (i = 0; i < ARRAY_LEN(r->now->ops); i++) {
		double rate = top_op_rate(r, i);

		if (rate <= 0)
			continue;
		for (k = n < OPS_SHOWN ? n++ : OPS_SHOWN;
		     k && top_op_rate(r, most[k - 1]) < rate; k--)
			if (k < OPS_SHOWN)
				most[k] = most[k - 1];
		if (k < OPS_SHOWN)
			most[k] = i;
	}
	flow_begin(&w, f, v->columns, "requests/s:");
	for (i = 0; i < n; i++)
		flow_item(&w, "%s %s", most[i] < 63 ?
			  oriel_opcode_name(most[i]) : "others",
			  fmt_count(top_op_rate(r, most[i]), buf));
	if (!n)
		flow_item(&w, "none");
	fputc('\n', f);
}

/* -------------------------------------------------------------------- map */

/* Backgrounds: of 256 colours from blue to red; of 8, the nearest. */
static void put_color(FILE *f, unsigned heat, unsigned colors)
{
	static const unsigned char of_256[] = { 0, 18, 25, 31, 37, 71, 142,
						178, 208, 196 };
	static const unsigned char of_8[] = { 0, 4, 4, 6, 6, 2, 2, 3, 3, 1 };

	if (!heat)
		fputs(colors == 256 ? "\033[0;38;5;240m" : "\033[0m", f);
	else if (colors == 256)
		fprintf(f, "\033[0;38;5;%u;48;5;%um", heat < 4 ? 255u : 16u,
			of_256[heat]);
	else
		fprintf(f, "\033[0;%u;4%um", heat < 3 || heat == 9 ? 37u : 30u,
			of_8[heat]);
}

static void put_cell(FILE *f, uint8_t cell, unsigned colors, int *last)
{
	unsigned heat = cell & ORIEL_CELL_HEAT;
	char c;

	heat = heat > 9 ? 9 : heat;
	c = heat ? (char)('0' + heat) : '.';
	if (cell & ORIEL_CELL_PINNED)
		c = '#';
	if (colors && *last != (int)heat)
		put_color(f, heat, colors);
	*last = (int)heat;
	fputc(c, f);
}

/* The hottest of the @n cells from @c on, and what any of them has. */
static uint8_t join(const uint8_t *c, uint32_t n)
{
	uint8_t flags = 0, heat = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint8_t here = c[i] & ORIEL_CELL_HEAT;

		heat = here > heat ? here : heat;
		flags |= (uint8_t)(c[i] & ~ORIEL_CELL_HEAT);
	}
	return flags | heat;
}

static void print_legend(FILE *f, const struct top_row *r, uint32_t per,
			 const struct top_view *v)
{
	const struct oriel_peer_stats *st = r->now;
	uint64_t bytes = st->counters[ORIEL_PEER_RANGE_BYTES];
	uint64_t ranges = st->counters[ORIEL_PEER_RANGES];
	uint64_t free = st->counters[ORIEL_PEER_FREE_RANGES];
	char one[FMT_LEN], cell[FMT_LEN];
	int last = -1;
	struct flow w;

	free = free < ranges ? free : ranges;
	flow_begin(&w, f, v->columns, "window:");
	flow_item(&w, "%s of %s", fmt_bytes((double)(ranges - free) *
					    (double)bytes, one),
		  fmt_bytes((double)ranges * (double)bytes, cell));
	fmt_bytes((double)per * st->ranges_per_cell * (double)bytes, cell);
	if (w.x + 40 <= v->columns)
		flow_item(&w, "%s a cell", cell);
	if (w.x + 35 > v->columns)
		return (void)fputc('\n', f);
	fputs(", . free, ", f);
	for (uint8_t heat = 1; heat <= 9; heat++)
		put_cell(f, heat, v->colors, &last);
	fputs(v->colors ? "\033[0m hot, # pinned\n" : " hot, # pinned\n", f);
}

static void print_map(FILE *f, const struct top_row *r,
		      const struct top_view *v, unsigned lines)
{
	const struct oriel_peer_stats *st = r->now;
	uint32_t width = v->columns > 2 * INDENT + 1 ?
				 v->columns - 2 * INDENT : 1;
	uint32_t rows = lines > 1 ? lines - 1 : lines ? 1 : MAP_LINES;
	uint32_t per, i, n = 0;
	int last = -1;

	if (!st->n_cells)
		return;
	per = (st->n_cells - 1) / (rows * width) + 1;
	if (lines != 1)
		print_legend(f, r, per, v);
	for (i = 0; i < st->n_cells; i += per, n++) {
		uint32_t left = st->n_cells - i;

		if (n % width == 0)
			fputs("  ", f);
		put_cell(f, join(st->cells + i, left < per ? left : per),
			 v->colors, &last);
		if (n % width == width - 1 || left <= per) {
			fputs(v->colors ? "\033[0m\n" : "\n", f);
			last = -1;
		}
	}
}

/* -------------------------------------------------------------------- files */

static void print_files(FILE *f, const struct top_row *r,
			const struct top_view *v, unsigned lines)
{
	const struct oriel_peer_stats *st = r->now;
	const double bytes = (double)st->counters[ORIEL_PEER_RANGE_BYTES];
	unsigned i, n = lines ? lines : FILES_SHOWN;
	char buf[FMT_LEN];
	int last;

	for (i = 0; r->files && i < st->n_files && i < n; i++) {
		last = -1;
		fprintf(f, "  %-11s%9s ", i ? "" : "mapped:",
			fmt_bytes((double)st->files[i].ranges * bytes, buf));
		put_cell(f, (uint8_t)st->files[i].heat, v->colors, &last);
		fprintf(f, "%s %s\n", v->colors ? "\033[0m" : "",
			*r->files[i].name ? r->files[i].name : "/");
	}
}

void top_section(FILE *f, const struct top_row *r, const struct top_view *v,
		 enum top_section what, unsigned lines)
{
	const bool is_known = r->now && r->now->valid;

	if (what == TOP_TITLE)
		print_title(f, r, v);
	else if (what == TOP_IO)
		print_io(f, r, v);
	else if (what == TOP_OPS)
		print_ops(f, r, v);
	else if (is_known && what == TOP_MISS_CAUSES)
		print_causes(f, r, v);
	else if (is_known && what == TOP_LATENCIES)
		print_latencies(f, r, v);
	else if (is_known && what == TOP_FILES)
		print_files(f, r, v, lines);
	else if (is_known && what == TOP_MAP)
		print_map(f, r, v, lines);
}
