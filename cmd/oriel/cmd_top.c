/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel top: the live sessions of a daemon, again and again. On a terminal they
 * have the whole screen, and there are keys; elsewhere samples follow each other
 * as plain text. One thread only.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conn.h"
#include "screen.h"
#include "top.h"

struct top_opts {
	int json;
	int once;
	int sort; /* enum top_sort */
	uint32_t interval_ms;
	uint64_t count; /* 0: without end */
	uint64_t session;
};

#define AT(field) offsetof(struct top_opts, field)

static const struct opt top_options[] = {
	{ 'i', "interval", OPT_SECONDS, AT(interval_ms), 0, "SECONDS",
	  "between two samples; by default 1" },
	{ 'n', "count", OPT_SIZE, AT(count), 0, "N",
	  "end after N samples" },
	{ 0, "once", OPT_FLAG, AT(once), 1, NULL,
	  "one sample: the same as --count=1" },
	{ 0, "session", OPT_SIZE, AT(session), 0, "ID",
	  "only this one" },
	{ 0, "sort", OPT_CHOICE, AT(sort), 0, TOP_SORTS,
	  "what the lines are ordered by" },
	{ 0, "json", OPT_FLAG, AT(json), 1, NULL,
	  "one JSON object a sample and line" },
	{ 0 },
};

#define INTERVAL_MS 1000u
#define ASKED_MAX 32u      /* sessions that are asked for statistics */
#define KEEP_MS 4000u      /* they take latencies for five seconds */
#define SLICE_MS 200u      /* a signal may come just before poll(2) */
#define FIRST_MS 250u      /* rates are wanted soon */
#define INTERVAL_MIN_MS 100u
#define INTERVAL_MAX_MS 60000u

/* ------------------------------------------------------- one after another */

/* False: a signal came. */
static bool pause_ms(struct top *t, uint32_t ms)
{
	const uint64_t start = cli_now_ns();
	uint64_t kept = start, now = start;

	while (!cli_signal() && now - start < (uint64_t)ms * 1000000) {
		uint64_t left = ms - (now - start) / 1000000;

		poll(NULL, 0, (int)(left < SLICE_MS ? left : SLICE_MS));
		now = cli_now_ns();
		if (now - kept >= (uint64_t)KEEP_MS * 1000000) {
			top_keep(t, ASKED_MAX, t->only);
			kept = now;
		}
	}
	return !cli_signal();
}

static unsigned colors_of(const struct cli *c)
{
	return !cli_color(c) ? 0 : screen_has_256_colors() ? 256 : 8;
}

/* Of those whose details are shown. */
static void take_names(struct top *t, const struct top_view *v, bool all)
{
	struct top_row *r = top_selected(t, v);
	size_t i;

	for (i = 0; all && i < t->n; i++)
		top_take_names(t, &t->rows[i]);
	if (!all && r)
		top_take_names(t, r);
}

static void follow(struct top *t, const struct top_opts *o)
{
	const struct top_view v = {
		.columns = cli_width(STDOUT_FILENO),
		.colors = colors_of(t->c),
		.sort = (enum top_sort)o->sort,
		.selected = t->only,
	};
	uint64_t left = o->once ? 1 : o->count;

	if (!top_take(t, ASKED_MAX, t->only))
		return;
	while (pause_ms(t, o->interval_ms ? o->interval_ms : INTERVAL_MS) &&
	       top_take(t, ASKED_MAX, t->only)) {
		take_names(t, &v, o->json);
		if (o->json)
			top_json(t);
		else
			top_text(stdout, t, &v);
		if (fflush(stdout) || (left && --left == 0))
			break;
	}
}

/* ------------------------------------------------------------------- live */

static void draw(struct top *t, struct top_view *v)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return;
	v->rows = screen_rows();
	v->columns = screen_columns();
	v->has_keys = screen_has_keys();
	take_names(t, v, false);
	top_text(f, t, v);
	if (!fclose(f))
		screen_draw(text);
	free(text);
}

/* The one @step lines below. */
static void select_next(const struct top *t, struct top_view *v, int step)
{
	const struct top_row *now = top_selected(t, v);
	const struct top_row **all = top_sorted(t, v);
	size_t i;

	for (i = 0; all && i < t->n; i++)
		if (all[i] == now)
			break;
	if (all && i < t->n) {
		if (step < 0 ? i > 0 : i + 1 < t->n)
			i += step < 0 ? (size_t)-1 : 1;
		v->selected = all[i]->peer.id;
	}
	free(all);
}

static void change_interval(struct top_view *v, bool is_longer)
{
	uint32_t ms = is_longer ? 2 * v->interval_ms : v->interval_ms / 2;

	if (ms >= INTERVAL_MIN_MS && ms <= INTERVAL_MAX_MS)
		v->interval_ms = ms;
}

/* False: quit. */
static bool on_key(const struct top *t, struct top_view *v, int key)
{
	switch (key) {
	case 'q':
		return false;
	case 'p':
	case ' ':
		v->is_paused = !v->is_paused;
		break;
	case 's':
		v->sort = (v->sort + 1) % TOP_SORT_COUNT;
		break;
	case 'h':
	case '?':
		v->wants_help = !v->wants_help;
		break;
	case 'b':
		v->selected = 0;
		break;
	case '+':
	case '-':
		change_interval(v, key == '+');
		break;
	case 'k':
	case 'j':
	case SCREEN_UP:
	case SCREEN_DOWN:
		select_next(t, v, key == 'k' || key == SCREEN_UP ? -1 : 1);
		break;
	}
	return true;
}

/* Keys until it is time for the next sample; false: it is over. */
static bool wait_live(struct top *t, struct top_view *v, uint32_t ms)
{
	const uint64_t start = cli_now_ns();
	uint64_t kept = start;

	for (;;) {
		uint64_t now = cli_now_ns();
		uint64_t gone_ms = (now - start) / 1000000;
		int key;

		if (cli_signal() || ferror(stdout))
			return false;
		if (!v->is_paused && gone_ms >= ms)
			return true;
		if (!v->is_paused &&
		    now - kept >= (uint64_t)KEEP_MS * 1000000) {
			top_keep(t, ASKED_MAX, v->selected);
			kept = now;
		}
		key = screen_wait(v->is_paused || ms - gone_ms > KEEP_MS ?
				  KEEP_MS : (uint32_t)(ms - gone_ms));
		if (key == SCREEN_NOTHING)
			continue;
		if (!on_key(t, v, key))
			return false;
		draw(t, v);
	}
}

static void follow_live(struct top *t, const struct top_opts *o)
{
	struct top_view v = {
		.colors = colors_of(t->c),
		.sort = (enum top_sort)o->sort,
		.selected = t->only,
		.interval_ms = o->interval_ms ? o->interval_ms : INTERVAL_MS,
		.is_live = true,
	};
	uint64_t left = o->count;
	uint32_t first = v.interval_ms < FIRST_MS ? v.interval_ms : FIRST_MS;

	if (!top_take(t, ASKED_MAX, t->only))
		return;
	t->on_fail = screen_end;
	screen_begin();
	draw(t, &v);
	while (wait_live(t, &v, first ? first : v.interval_ms) &&
	       top_take(t, ASKED_MAX, v.selected)) {
		first = 0;
		draw(t, &v);
		if (left && --left == 0)
			break;
	}
	screen_end();
	t->on_fail = NULL;
}

static int top_run(struct cli *c, const void *opts)
{
	const struct top_opts *o = opts;
	struct top t = { .c = c, .share = c->args[0], .only = o->session };
	struct stat st;

	if (!stat(t.share, &st) && S_ISDIR(st.st_mode))
		return cli_usage(c, "%s is a directory: name the socket of a "
				 "daemon that others are connected to",
				 t.share);
	cli_catch_signals();
	t.s = conn_get(c, t.share);
	if (t.s && !o->json && !o->once && o->count != 1 &&
	    screen_is_possible())
		follow_live(&t, o);
	else if (t.s)
		follow(&t, o);
	top_done(&t);
	return c->status;
}

const struct command cmd_top = {
	.name = "top",
	.operands = "[OPTION...] SOCKET",
	.summary = "Look at the live sessions of a daemon",
	.text = "A line a session: messages and hits a second, hits of all"
		" steps, bytes a second\nthrough the window, mappings. Below,"
		" of the busiest or of --session: misses by\ncause, latencies"
		" of messages, requests, the files that are mapped most, and\n"
		"the window by heat. A session that does nothing tells nothing."
		" Those of other\nusers are shown to root and to the daemon's"
		" user only. The daemon has to be an\norield. On a terminal there are keys: h tells"
		" them, q quits.\nElsewhere samples follow each other as text,"
		" until a signal.\n",
	.examples = "  oriel top /run/data.sock\n"
		    "  oriel top --once --json /run/data.sock | jq .sessions\n"
		    "  oriel top -i 5 --session=3 /run/data.sock\n",
	.opts = top_options,
	.opts_size = sizeof(struct top_opts),
	.min_args = 1,
	.max_args = 1,
	.flags = CMD_CONNECTS,
	.run = top_run,
};
