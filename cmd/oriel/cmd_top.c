/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel top: the live sessions of a daemon, again and again. On a terminal the
 * screen is drawn anew each time, clipped to its size as it is then; elsewhere
 * samples follow each other as plain text. One thread only.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conn.h"
#include "top.h"

struct top_opts {
	int json;
	int once;
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
	{ 0, "json", OPT_FLAG, AT(json), 1, NULL,
	  "one JSON object a sample and line" },
	{ 0 },
};

#define INTERVAL_MS 1000u
#define ASKED_MAX 32u      /* sessions that are asked for statistics */
#define KEEP_MS 4000u      /* they take latencies for five seconds */
#define SLICE_MS 200u      /* a signal may come just before poll(2) */

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

static unsigned terminal_rows(void)
{
	struct winsize ws;

	return !ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) && ws.ws_row ? ws.ws_row :
								     24;
}

/* @text clipped to the terminal: colours have no width. */
static void put_clipped(const char *text, unsigned columns, unsigned rows)
{
	unsigned x = 0, y = 0;

	fputs("\033[H", stdout);
	for (; *text && y + 1 < rows; text++) {
		if (*text == '\033') {
			size_t n = strcspn(text, "m");

			fwrite(text, 1, n + 1, stdout);
			text += n;
		} else if (*text == '\n') {
			fputs("\033[K\n", stdout);
			x = 0;
			y++;
		} else if (x++ < columns) {
			putchar(*text);
		}
	}
	fputs("\033[J", stdout);
}

static void show_text(const struct top *t, bool on_screen)
{
	unsigned columns = cli_width(STDOUT_FILENO);
	char *text = NULL;
	size_t len;
	FILE *f;

	if (!on_screen) {
		top_text(stdout, t, columns, cli_color(t->c));
		return;
	}
	f = open_memstream(&text, &len);
	if (!f)
		return;
	top_text(f, t, columns, cli_color(t->c));
	if (!fclose(f))
		put_clipped(text, columns, terminal_rows());
	free(text);
}

static void follow(struct top *t, const struct top_opts *o)
{
	uint64_t left = o->once ? 1 : o->count;
	bool on_screen = !o->json && left != 1 && cli_is_tty(STDOUT_FILENO);

	if (!top_take(t, ASKED_MAX, t->only))
		return;
	if (on_screen)
		fputs("\033[?1049h\033[?25l", stdout);
	while (pause_ms(t, o->interval_ms ? o->interval_ms : INTERVAL_MS) &&
	       top_take(t, ASKED_MAX, t->only)) {
		if (o->json)
			top_json(t);
		else
			show_text(t, on_screen);
		if (fflush(stdout) || (left && --left == 0))
			break;
	}
	if (on_screen)
		fputs("\033[?25h\033[?1049l", stdout);
	fflush(stdout);
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
	if (t.s)
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
		" of messages, and the window by heat. Sessions of other users"
		"\nare shown to root and to the daemon's user only. The daemon"
		" has to be an orield.\nIt ends by a signal.\n",
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
