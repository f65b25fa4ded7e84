/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A sample of all sessions as text: a table with a line each, of which columns
 * are left out that the view is too narrow for; then the sections of the one
 * that is selected, which share the lines that are left: the first are wanted
 * most, and what remains is the map's. Pure but for the stream and the clock.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fmt.h"
#include "top.h"

#define WIDE 110u /* columns: from here on, what else the daemon knows */
#define LOW 20u   /* rows: below, titles have one line */

/* ------------------------------------------------------------------ order */

static double busy(const struct top_row *r)
{
	return top_request_rate(r) + top_rate(r, ORIEL_PEER_HITS);
}

static double window_bytes(const struct top_row *r)
{
	return top_rate(r, ORIEL_PEER_WINDOW_READ_BYTES) +
	       top_rate(r, ORIEL_PEER_WINDOW_WRITE_BYTES);
}

static double key_of(const struct top_row *r, enum top_sort sort)
{
	switch (sort) {
	case TOP_BY_MSGS:
		return top_request_rate(r);
	case TOP_BY_HITS:
		return top_rate(r, ORIEL_PEER_HITS);
	case TOP_BY_BYTES:
		return window_bytes(r);
	case TOP_BY_MISSES:
		return top_rate(r, ORIEL_PEER_MISSES);
	default:
		return 0; /* they are by id */
	}
}

const struct top_row **top_sorted(const struct top *t, const struct top_view *v)
{
	const struct top_row **all = calloc(t->n ? t->n : 1, sizeof(*all));
	size_t i, k;

	if (!all)
		return NULL;
	/* by insertion: they are few, and the same ones stay in order */
	for (i = 0; i < t->n; i++) {
		double key = key_of(&t->rows[i], v->sort);

		for (k = i; k && key_of(all[k - 1], v->sort) < key; k--)
			all[k] = all[k - 1];
		all[k] = &t->rows[i];
	}
	return all;
}

struct top_row *top_selected(const struct top *t, const struct top_view *v)
{
	struct top_row *most = top_find(t, v->selected);
	size_t i;

	if (most)
		return most;
	for (i = 0; i < t->n; i++)
		if (!most || busy(&t->rows[i]) > busy(most))
			most = &t->rows[i];
	return most;
}

/* ------------------------------------------------------------------ table */

static void print_counts(FILE *f, const struct top *t)
{
	fprintf(f, "%zu session%s", t->n, t->n == 1 ? "" : "s");
	if (t->hidden)
		fprintf(f, ", %" PRIu32 " of other users not shown", t->hidden);
}

static void print_first(FILE *f, const struct top *t, const struct top_view *v)
{
	time_t now = time(NULL);
	char clock[16] = "";
	struct tm tm;

	if (!v->is_live) {
		print_counts(f, t);
		fputc('\n', f);
		return;
	}
	if (localtime_r(&now, &tm))
		strftime(clock, sizeof(clock), "%H:%M:%S ", &tm);
	fprintf(f, "%soriel top%s %s", v->colors ? "\033[1m" : "",
		v->colors ? "\033[0m" : "", clock);
	if (v->is_paused)
		fputs("PAUSED ", f);
	print_counts(f, t);
	fprintf(f, "  %s\n", t->share);
}

static void print_head(FILE *f, const struct top_view *v)
{
	if (v->colors)
		fputs("\033[7m", f);
	fprintf(f, "%6s", "id");
	if (v->columns >= TOP_NARROW)
		fprintf(f, " %7s %-8s", "pid", "user");
	fprintf(f, " %-*s %6s %6s %5s", v->columns >= TOP_NARROW ? 12 : 8,
		"program", "msgs/s", "hits/s", "hit%");
	if (v->columns >= TOP_NARROW)
		fprintf(f, " %8s/s %4s", "window", "maps");
	if (v->columns >= WIDE)
		fprintf(f, " %6s %9s %6s %7s %6s", "miss/s", "message/s",
			"files", "known", "fds");
	fputs(v->colors ? "\033[0m\n" : "\n", f);
}

/* Its own claim: the daemon has no part in most. */
static double mappings_of(const struct top_row *r)
{
	return r->now && r->now->valid ?
		       (double)r->now->counters[ORIEL_PEER_MAPPINGS] :
		       (double)r->peer.mappings;
}

static void print_row(FILE *f, const struct top_row *r,
		      const struct top_view *v, bool is_selected)
{
	const double percent = top_hit_percent(r);
	char a[FMT_LEN], b[FMT_LEN], user[64];
	const char *name = *r->name ? r->name : top_kind(&r->peer);

	fprintf(f, "%c%5" PRIu64, is_selected ? '>' : ' ', r->peer.id);
	if (v->columns >= TOP_NARROW)
		fprintf(f, " %7" PRId64 " %-8.8s", r->peer.pid,
			top_user(&r->peer, user, sizeof(user)));
	fprintf(f, " %-*.*s %6s %6s ", v->columns >= TOP_NARROW ? 12 : 8,
		v->columns >= TOP_NARROW ? 12 : 8, name,
		fmt_count(top_request_rate(r), a),
		fmt_count(top_rate(r, ORIEL_PEER_HITS), b));
	if (percent < 0)
		fputs("    -", f);
	else
		fprintf(f, "%5.1f", percent);
	if (v->columns >= TOP_NARROW)
		fprintf(f, " %10s %4s", fmt_bytes(window_bytes(r), a),
			fmt_count(mappings_of(r), b));
	if (v->columns >= WIDE)
		fprintf(f, " %6s %9s %6" PRIu64 " %7" PRIu64 " %6" PRIu64,
			fmt_count(top_rate(r, ORIEL_PEER_MISSES), a),
			fmt_bytes(top_rate(r, ORIEL_PEER_MESSAGE_READ_BYTES) +
				  top_rate(r, ORIEL_PEER_MESSAGE_WRITE_BYTES),
				  b),
			r->peer.handles, r->peer.nodes, r->peer.fds);
	fputc('\n', f);
}

/* At most @room rows, the selected one among them. */
static void print_rows(FILE *f, const struct top *t, const struct top_view *v,
		       const struct top_row *selected, size_t room)
{
	const struct top_row **all = top_sorted(t, v);
	size_t i, first = 0;

	for (i = 0; all && i < t->n; i++)
		if (all[i] == selected && i >= room)
			first = i - room + 1;
	for (i = first; all && i < t->n && i - first < room; i++)
		print_row(f, all[i], v, v->is_live && all[i] == selected);
	free(all);
}

/* --------------------------------------------------------------- sections */

static const char help[] =
	"  q        quit\n"
	"  p, space pause, and go on\n"
	"  s        sort: id, msgs, hits, bytes, misses\n"
	"  up, down select a session (j, k)\n"
	"  b        show the busiest session again\n"
	"  +, -     longer, shorter between two samples\n"
	"  h, ?     this, and back\n"
	"\n"
	"  misses   new: set up now   small: not worth it\n"
	"           full: no room     backoff: asked in vain lately\n"
	"           failed            nowait: would have waited\n"
	"  map      digits are how much a place was used lately\n";

static void print_keys(FILE *f, const struct top_view *v)
{
	static const char *const sorts[] = { "id", "msgs", "hits", "bytes",
					     "misses" };

	_Static_assert(ARRAY_LEN(sorts) == TOP_SORT_COUNT, "all");
	if (!v->has_keys)
		fprintf(f, "every %g s; Ctrl-C ends\n", v->interval_ms / 1e3);
	else if (v->columns >= TOP_NARROW)
		fprintf(f, "q quit  p %s  s sort: %s  up/down select  "
			"+/- every %g s  h help\n", v->is_paused ? "go on" :
			"pause", sorts[v->sort], v->interval_ms / 1e3);
	else
		fprintf(f, "q quit p pause s sort:%s h help\n",
			sorts[v->sort]);
}

/* The lines that section @what takes without limit. */
static unsigned lines_of(const struct top_row *r, const struct top_view *v,
			 enum top_section what)
{
	const char *p;
	unsigned n = 0;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return 0;
	top_section(f, r, v, what, 0);
	if (!fclose(f))
		for (p = text; *p; p++)
			n += *p == '\n';
	free(text);
	return n;
}

/* Its first @lines lines; how many they are. */
static unsigned print_section(FILE *f, const struct top_row *r,
			      const struct top_view *v, enum top_section what,
			      unsigned lines)
{
	char *text = NULL, *p;
	unsigned n = 0;
	size_t len;
	FILE *m = lines ? open_memstream(&text, &len) : NULL;

	if (!m)
		return 0;
	top_section(m, r, v, what, v->rows ? lines : 0);
	if (!fclose(m)) {
		for (p = text; *p && n < lines; p++)
			n += *p == '\n';
		fwrite(text, 1, (size_t)(p - text), f);
	}
	free(text);
	return n;
}

/* How many lines of @room, of which there are enough without a limit, are each
 * section's. */
static void divide(const struct top_row *r, const struct top_view *v,
		   unsigned room, unsigned take[TOP_SECTIONS])
{
	unsigned what;

	for (what = 0; what < TOP_SECTIONS; what++) {
		take[what] = lines_of(r, v, what);
		if (!v->rows)
			continue;
		if (what == TOP_TITLE && v->rows < LOW)
			take[what] = 1;
		if (what == TOP_MAP && take[what] > 3)
			take[what] = 3; /* for a start */
		if (take[what] > room)
			take[what] = room;
		room -= take[what];
	}
	if (v->rows && take[TOP_MAP])
		take[TOP_MAP] += room;
}

/* In at most @room lines; how many they are. */
static unsigned print_sections(FILE *f, const struct top_row *r,
			       const struct top_view *v, unsigned room)
{
	static const enum top_section shown[] = { TOP_TITLE, TOP_IO,
		TOP_MISS_CAUSES, TOP_LATENCIES, TOP_OPS, TOP_FILES, TOP_MAP };
	unsigned take[TOP_SECTIONS], i, n = 0;

	_Static_assert(ARRAY_LEN(shown) == TOP_SECTIONS, "all");
	divide(r, v, room, take);
	for (i = 0; i < TOP_SECTIONS; i++)
		n += print_section(f, r, v, shown[i], take[shown[i]]);
	return n;
}

/* A line for each session, but half of the screen at most: what remains. */
static unsigned room_of_rows(const struct top *t, unsigned rows)
{
	unsigned half = rows / 2 ? rows / 2 : 1;

	return t->n < half ? (unsigned)t->n : half;
}

static void print_help(FILE *f, const struct top_view *v)
{
	const char *p;
	unsigned n = 0;

	for (p = help; *p && n + 1 < v->rows; p++) {
		n += *p == '\n';
		fputc(*p, f);
	}
}

void top_text(FILE *f, const struct top *t, const struct top_view *v)
{
	const struct top_row *r = top_selected(t, v);
	/* title, head, and keys */
	unsigned left = v->rows > 3 ? v->rows - 3 : 1, rows;

	print_first(f, t, v);
	if (v->wants_help) {
		print_help(f, v);
		return;
	}
	print_head(f, v);
	if (!v->rows) {
		print_rows(f, t, v, r, SIZE_MAX);
		if (r)
			print_sections(f, r, v, 0);
		return;
	}
	rows = room_of_rows(t, left);
	print_rows(f, t, v, r, rows);
	left -= rows;
	if (r)
		left -= print_sections(f, r, v, left);
	else if (left) {
		fputs("  nobody else is connected\n", f);
		left--;
	}
	while (left--)
		fputc('\n', f);
	print_keys(f, v);
}
