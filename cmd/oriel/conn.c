/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connecting: the common options become oriel_options, sessions are kept in a
 * list until the end of the invocation.
 */
#include "conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct conn {
	struct conn *next;
	struct oriel_session *session; /* NULL: it failed, and was reported */
	char *share;
};

#define AT(field) offsetof(struct common, field)

const struct opt conn_opts[] = {
	{ 0, "dax", OPT_CHOICE, AT(dax), 0, "auto|never|always",
	  "use the DAX window (default: auto)" },
	{ 0, "window", OPT_SIZE, AT(window_bytes), 0, "SIZE",
	  "reserve at most SIZE of window" },
	{ 0, "readonly", OPT_FLAG, AT(readonly), 1, NULL,
	  "directory shares: refuse every change" },
	{ 0, "sandbox", OPT_CHOICE, AT(sandbox), 0,
	  "auto|namespace|chroot|none",
	  "directory shares: how the daemon is confined" },
	{ 0, "daemon", OPT_STR, AT(daemon), 0, "PROGRAM",
	  "directory shares: the daemon to start" },
	{ 0, "timeout", OPT_SECONDS, AT(timeout_ms), 0, "SECONDS",
	  "longest wait for an answer (default: 30)" },
	{ 0, "color", OPT_CHOICE, AT(color), 0, "auto|always|never",
	  "colours (auto: on a terminal without NO_COLOR)" },
	{ 'v', "verbose", OPT_COUNT, AT(verbose), 0, NULL,
	  "log lines of the library on stderr; twice: all" },
	{ 0 },
};

static void print_log(void *ctx, int level, const char *text)
{
	static const char *const names[] = { "off", "error", "warn", "info",
					     "debug" };

	fprintf(stderr, "oriel: %s: %s\n",
		level >= 0 && level <= 4 ? names[level] : "log", text);
}

static struct oriel_options options_of(const struct common *o)
{
	return (struct oriel_options){
		.size = sizeof(struct oriel_options),
		.dax = (enum oriel_dax_mode)o->dax,
		.window_bytes = o->window_bytes,
		.timeout_ms = o->timeout_ms,
		.readonly = o->readonly,
		.sandbox = (enum oriel_sandbox)o->sandbox,
		.daemon_path = o->daemon,
	};
}

static struct oriel_session *conn_connect(struct cli *c, const char *share)
{
	struct oriel_options opts = options_of(&c->common);
	struct oriel_session *s = NULL;
	size_t len = strlen(share);
	const char *why;
	int r;

	if (c->common.verbose)
		oriel_set_log(c->common.verbose > 1 ? 4 : 3, print_log, NULL);
	r = oriel_connect(share, &opts, &s);
	if (r >= 0)
		return s;
	why = oriel_connect_error();
	/* Sentences about the share begin with it; say it once. */
	if (strncmp(why, share, len) == 0 && strncmp(why + len, ": ", 2) == 0)
		why += len + 2;
	cli_error(c, share, "%s", *why ? why : oriel_strerror(r));
	return NULL;
}

int conn_again(struct cli *c, const char *share, struct oriel_session **ret)
{
	struct oriel_options opts = options_of(&c->common);

	return oriel_connect(share, &opts, ret);
}

struct oriel_session *conn_get(struct cli *c, const char *share)
{
	struct conn *n;

	for (n = c->conns; n; n = n->next)
		if (strcmp(n->share, share) == 0) {
			c->status = n->session ? c->status : CLI_FAILED;
			return n->session;
		}
	n = calloc(1, sizeof(*n));
	if (n)
		n->share = strdup(share);
	if (!n || !n->share) {
		free(n);
		cli_error(c, share, "%s", oriel_strerror(-ENOMEM));
		return NULL;
	}
	n->session = conn_connect(c, share);
	n->next = c->conns;
	c->conns = n;
	return n->session;
}

void conn_close_all(struct cli *c)
{
	while (c->conns) {
		struct conn *n = c->conns;

		c->conns = n->next;
		oriel_disconnect(n->session);
		free(n->share);
		free(n);
	}
}

bool conn_addr(struct cli *c, const char *text, const char *prev, bool local,
	       struct addr *ret)
{
	int r = addr_parse(text, prev, local, ret);

	if (r == -EINVAL)
		cli_usage(c, "'%s' names no share and none came before it",
			  text);
	else if (r < 0)
		cli_error(c, text, "%s", oriel_strerror(r));
	return r >= 0;
}

int conn_each(struct cli *c, conn_each_fn *fn, const void *opts)
{
	struct addr prev = { 0 };

	for (int i = 0; i < c->n_args && c->status != CLI_USAGE; i++) {
		struct oriel_session *s;
		struct addr a;

		if (cli_signal() || !conn_addr(c, c->args[i], prev.share, false,
					       &a))
			break;
		addr_done(&prev);
		prev = a;
		s = conn_get(c, a.share);
		if (s)
			fn(c, s, &a, opts);
	}
	addr_done(&prev);
	return c->status;
}
