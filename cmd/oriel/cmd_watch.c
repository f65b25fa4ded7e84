/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel watch: what changes in directories and files, as it happens. One line
 * an event, flushed at once, so that it can be read through a pipe.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conn.h"
#include "json.h"

struct watch_opts {
	int json;
	int no_follow;
	uint64_t count; /* 0: without end */
};

/* A signal may come just before poll(2). */
#define LOOK_MS 500

#define AT(field) offsetof(struct watch_opts, field)

static const struct opt watch_options[] = {
	{ 0, "json", OPT_FLAG, AT(json), 1, NULL,
	  "one JSON object a line" },
	{ 'n', "count", OPT_SIZE, AT(count), 0, "N",
	  "end after N events" },
	{ 'P', "no-dereference", OPT_FLAG, AT(no_follow), 1, NULL,
	  "watch symbolic links' own names, not what they point to" },
	{ 0 },
};

struct watched {
	struct oriel_session *s;
	struct oriel_watch *w; /* NULL: ended */
	char *text;            /* the operand */
	char *share;
	char *path;
};

struct watching {
	struct cli *c;
	const struct watch_opts *o;
	struct watched *list;
	struct pollfd *fds;
	unsigned n;
	unsigned n_alive;
	uint64_t left;
};

static const struct {
	uint32_t bit;
	const char *name;
} words[] = {
	{ ORIEL_WATCH_CREATE, "create" },
	{ ORIEL_WATCH_DELETE, "delete" },
	{ ORIEL_WATCH_MODIFY, "modify" },
	{ ORIEL_WATCH_ATTRIB, "attrib" },
	{ ORIEL_WATCH_MOVED_FROM, "moved-from" },
	{ ORIEL_WATCH_MOVED_TO, "moved-to" },
	{ ORIEL_WATCH_GONE, "gone" },
	{ ORIEL_WATCH_OVERFLOW, "overflow" },
};

static void print_text(const struct watched *w,
		       const struct oriel_watch_event *e)
{
	const char *comma = "";

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (!(e->mask & words[i].bit))
			continue;
		printf("%s%s", comma, words[i].name);
		comma = ",";
	}
	putchar(' ');
	cli_print_name(w->text);
	if (e->namelen) {
		size_t len = strlen(w->text);

		if (w->text[len - 1] != '/' && w->text[len - 1] != ':')
			putchar('/');
		cli_print_name(e->name);
	}
	puts(e->mask & ORIEL_WATCH_ISDIR ? "/" : "");
}

static void print_json(struct cli *c, const struct watched *w,
		       const struct oriel_watch_event *e)
{
	cJSON *obj = json_report(c);
	cJSON *events = cJSON_AddArrayToObject(obj, "events");

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (e->mask & words[i].bit)
			cJSON_AddItemToArray(events,
					     cJSON_CreateString(words[i].name));
	json_add_name(obj, "share", w->share);
	json_add_name(obj, "path", w->path);
	if (e->namelen)
		json_add_name(obj, "name", e->name);
	cJSON_AddBoolToObject(obj, "directory",
			      (e->mask & ORIEL_WATCH_ISDIR) != 0);
	if (e->cookie && e->mask & (ORIEL_WATCH_MOVED_FROM |
				    ORIEL_WATCH_MOVED_TO))
		json_add_u64(obj, "cookie", e->cookie);
	json_print(c, obj);
}

/* False: enough. */
static bool read_one(struct watching *all, struct watched *w)
{
	struct oriel_watch_event e;
	int r;

	while ((r = oriel_watch_read(w->w, &e)) > 0) {
		if (all->o->json)
			print_json(all->c, w, &e);
		else
			print_text(w, &e);
		if (fflush(stdout))
			return false;
		if (all->o->count && --all->left == 0)
			return false;
	}
	if (r < 0) {
		cli_fail(all->c, w->s, w->text, r);
		oriel_unwatch(w->w);
		w->w = NULL;
		all->n_alive--;
	}
	return true;
}

static void follow(struct watching *all)
{
	unsigned i;

	while (all->n_alive && !cli_signal()) {
		for (i = 0; i < all->n; i++)
			all->fds[i].fd = all->list[i].w ?
				oriel_watch_fd(all->list[i].w) : -1;
		if (poll(all->fds, all->n, LOOK_MS) < 0 && errno != EINTR) {
			cli_fail(all->c, NULL, "poll", -errno);
			return;
		}
		for (i = 0; i < all->n; i++) {
			if (all->list[i].w && all->fds[i].revents &&
			    !read_one(all, &all->list[i]))
				return;
		}
	}
}

/* What to put before names of a whole share; to be freed. */
static char *path_and_colon(const char *share)
{
	char *r = NULL;

	return asprintf(&r, "%s:", share) < 0 ? NULL : r;
}

/* Watch what operand @a says; false after a message. */
static bool start_one(struct watching *all, const struct addr *a)
{
	struct oriel_watch_options o = {
		.size = sizeof(o),
		.flags = all->o->no_follow ? ORIEL_NOFOLLOW : 0,
	};
	struct watched *w = &all->list[all->n];
	int r;

	w->s = conn_get(all->c, a->share);
	if (!w->s)
		return false;
	w->text = a->bare ? path_and_colon(a->share) : strdup(a->text);
	w->share = strdup(a->share);
	w->path = strdup(a->path);
	r = w->text && w->share && w->path ?
		oriel_watch(w->s, *a->path ? a->path : "/", &o, &w->w) :
		-ENOMEM;
	all->fds[all->n].events = POLLIN;
	all->n++;
	if (r < 0) {
		cli_fail(all->c, w->s, a->text, r);
		return false;
	}
	all->n_alive++;
	return true;
}

static void start_all(struct watching *all)
{
	struct addr prev = { 0 };
	struct cli *c = all->c;

	for (int i = 0; i < c->n_args && c->status != CLI_USAGE; i++) {
		struct addr a;

		if (!conn_addr(c, c->args[i], prev.share, false, &a))
			break;
		addr_done(&prev);
		prev = a;
		(void)start_one(all, &a);
	}
	addr_done(&prev);
}

static int watch_run(struct cli *c, const void *opts)
{
	struct watching all = { .c = c, .o = opts };
	unsigned i;

	all.left = all.o->count;
	all.list = calloc((size_t)c->n_args, sizeof(*all.list));
	all.fds = calloc((size_t)c->n_args, sizeof(*all.fds));
	if (!all.list || !all.fds) {
		cli_fail(c, NULL, NULL, -ENOMEM);
	} else {
		cli_catch_signals();
		start_all(&all);
		if (all.n_alive && c->status != CLI_USAGE) {
			if (c->common.verbose)
				fputs("oriel: watch: watching\n", stderr);
			follow(&all);
		}
	}
	for (i = 0; i < all.n; i++) {
		oriel_unwatch(all.list[i].w);
		free(all.list[i].text);
		free(all.list[i].share);
		free(all.list[i].path);
	}
	free(all.list);
	free(all.fds);
	return c->status;
}

const struct command cmd_watch = {
	.name = "watch",
	.operands = "[OPTION...] SHARE:PATH...",
	.summary = "Print what changes in directories and files, as it happens",
	.text = "A line is the kinds of change (create, delete, modify, attrib,"
		" moved-from,\nmoved-to, gone: what is watched lost its name,"
		" overflow: some were lost) and\nthe file. A directory is"
		" watched, not what is below it. It ends by a signal,\nby"
		" --count, or when the daemon goes, which is a failure.\n",
	.examples = "  oriel watch /srv/data:incoming\n"
		    "  oriel watch --json /run/vm.sock:logs | jq .name\n"
		    "  oriel watch -n 1 /srv/data:done && echo something came\n",
	.opts = watch_options,
	.opts_size = sizeof(struct watch_opts),
	.min_args = 1,
	.max_args = -1,
	.flags = CMD_CONNECTS,
	.run = watch_run,
};
