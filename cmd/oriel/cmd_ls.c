/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel ls: what is in directories. Attributes come along with the names where
 * the daemon sends them, and are asked for one by one where it does not.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conn.h"
#include "ls.h"
#include "vfs.h"

#define LS_MAX_DEPTH 2000
#define LS_MAX_ENTRIES ((size_t)1 << 24)

#define AT(field) offsetof(struct ls_opts, field)

static const struct opt ls_options[] = {
	{ 'a', "all", OPT_FLAG, AT(all), 1, NULL,
	  "also names with a leading dot" },
	{ 'A', "almost-all", OPT_FLAG, AT(all), 2, NULL,
	  "the same without . and .." },
	{ 'C', NULL, OPT_FLAG, AT(format), 'C', NULL,
	  "columns (default on a terminal)" },
	{ '1', NULL, OPT_FLAG, AT(format), '1', NULL, "one name a line" },
	{ 'l', NULL, OPT_FLAG, AT(format), 'l', NULL,
	  "mode, links, owner, size, time, name" },
	{ 'h', "human-readable", OPT_FLAG, AT(human), 1, NULL,
	  "sizes like 1.5K, 23M" },
	{ 'n', "numeric-uid-gid", OPT_FLAG, AT(numeric), 1, NULL,
	  "owners as numbers" },
	{ 'i', "inode", OPT_FLAG, AT(inode), 1, NULL, "inode numbers" },
	{ 'F', "classify", OPT_FLAG, AT(classify), 1, NULL,
	  "append one of */=@| to names" },
	{ 'd', "directory", OPT_FLAG, AT(dir_itself), 1, NULL,
	  "a directory itself, not what is in it" },
	{ 'R', "recursive", OPT_FLAG, AT(recursive), 1, NULL,
	  "also what is in subdirectories" },
	{ 't', NULL, OPT_FLAG, AT(sort), 't', NULL, "newest first" },
	{ 'S', NULL, OPT_FLAG, AT(sort), 'S', NULL, "largest first" },
	{ 'U', NULL, OPT_FLAG, AT(sort), 'U', NULL, "as the daemon lists" },
	{ 'r', "reverse", OPT_FLAG, AT(reverse), 1, NULL, "last first" },
	{ 0, "json", OPT_FLAG, AT(json), 1, NULL,
	  "one JSON object a directory, one a line" },
	{ 0 },
};

struct ls_job {
	struct cli *c;
	struct oriel_session *s;
	const char *share;
	const struct ls_opts *o;
	int depth;
};

/* Something was printed, so that the next directory needs a blank line. */
static bool ls_printed;

static void list_done(struct ls_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].name);
		free(l->v[i].target);
	}
	free(l->v);
	*l = (struct ls_list){ 0 };
}

static int list_add(struct ls_list *l, const char *name,
		    const struct oriel_stat *st)
{
	struct ls_entry *e;

	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;

		if (cap > LS_MAX_ENTRIES)
			return -EOVERFLOW;
		e = reallocarray(l->v, cap, sizeof(*e));
		if (!e)
			return -ENOMEM;
		l->v = e;
		l->cap = cap;
	}
	e = &l->v[l->n];
	*e = (struct ls_entry){ .name = strdup(name), .has_stat = st != NULL };
	if (!e->name)
		return -ENOMEM;
	if (st)
		e->st = *st;
	l->n++;
	return 0;
}

static bool is_shown(const struct ls_opts *o, const char *name)
{
	if (name[0] != '.' || o->all == 1)
		return true;
	return o->all == 2 && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

static void ls_fail(struct ls_job *j, const char *path, int err)
{
	char *text = addr_text(j->share, path);

	cli_fail(j->c, j->s, text ? text : path, err);
	free(text);
}

/* Does the output need more than names? */
static bool needs_stat(const struct ls_job *j)
{
	const struct ls_opts *o = j->o;

	return o->format == 'l' || o->json || o->recursive || o->classify ||
	       o->inode || o->sort == 't' || o->sort == 'S' ||
	       cli_color(j->c);
}

/* ".." of the root is the root: nothing outside is asked for. */
static int stat_entry(struct ls_job *j, const char *dir, struct ls_entry *e)
{
	char *path = path_join(dir, e->name);
	int r = path ? oriel_stat(j->s, path, ORIEL_NOFOLLOW, &e->st) :
		       -ENOMEM;

	if (r < 0 && path)
		ls_fail(j, path, r);
	e->has_stat = r >= 0;
	free(path);
	return r;
}

static void complete_entry(struct ls_job *j, const char *dir,
			   struct ls_entry *e)
{
	char *path;

	if (!e->has_stat)
		stat_entry(j, dir, e);
	if (!e->has_stat || !S_ISLNK(e->st.mode) ||
	    (j->o->format != 'l' && !j->o->json))
		return;
	path = path_join(dir, e->name);
	if (path && vfs_readlink(j->s, path, &e->target) < 0)
		e->target = NULL;
	free(path);
}

static int read_dir(struct ls_job *j, const char *path, struct ls_list *l)
{
	unsigned flags = needs_stat(j) ? ORIEL_DIR_STAT : 0;
	struct oriel_dirent e;
	struct oriel_dir *d;
	int r = oriel_opendir(j->s, path, flags, &d);

	if (r < 0)
		return r;
	while ((r = oriel_readdir(d, &e)) > 0) {
		if (is_shown(j->o, e.name))
			r = list_add(l, e.name, e.has_stat ? &e.st : NULL);
		if (r < 0 || cli_signal())
			break;
	}
	oriel_closedir(d);
	if (!flags)
		return r;
	for (size_t i = 0; i < l->n; i++)
		complete_entry(j, path, &l->v[i]);
	return r;
}

static void ls_dir(struct ls_job *j, const char *path, bool title);

static void ls_subdirs(struct ls_job *j, const char *path,
		       const struct ls_list *l)
{
	if (j->depth >= LS_MAX_DEPTH) {
		ls_fail(j, path, -ELOOP);
		return;
	}
	j->depth++;
	for (size_t i = 0; i < l->n && !cli_signal(); i++) {
		const struct ls_entry *e = &l->v[i];
		char *sub;

		if (!e->has_stat || !S_ISDIR(e->st.mode) ||
		    strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
			continue;
		sub = path_join(path, e->name);
		if (sub)
			ls_dir(j, sub, true);
		free(sub);
	}
	j->depth--;
}

static void ls_title(const struct ls_job *j, const char *path)
{
	char *text = addr_text(j->share, path);

	if (ls_printed)
		putchar('\n');
	cli_print_name(text ? text : path);
	puts(":");
	free(text);
}

static void ls_dir(struct ls_job *j, const char *path, bool title)
{
	struct ls_list l = { 0 };
	int r = read_dir(j, path, &l);

	if (r < 0)
		ls_fail(j, path, r);
	if (r >= 0 || l.n) {
		ls_sort(&l, j->o);
		if (j->o->json) {
			ls_print_json(j->c, &l, j->share, path);
		} else {
			if (title)
				ls_title(j, path);
			ls_print(j->c, &l, j->o, true);
			ls_printed = true;
		}
	}
	if (j->o->recursive)
		ls_subdirs(j, path, &l);
	list_done(&l);
}

/* An operand that is not listed but is the listing. */
static void ls_file(struct ls_job *j, const struct addr *a,
		    const struct oriel_stat *st)
{
	struct ls_list l = { 0 };
	int r = list_add(&l, a->text, st);

	if (r < 0) {
		ls_fail(j, a->path, r);
		return;
	}
	if (S_ISLNK(st->mode) &&
	    vfs_readlink(j->s, a->path, &l.v[0].target) < 0)
		l.v[0].target = NULL;
	if (j->o->json)
		ls_print_json(j->c, &l, a->share, a->path);
	else
		ls_print(j->c, &l, j->o, false);
	ls_printed = true;
	list_done(&l);
}

static void ls_one(struct cli *c, struct oriel_session *s,
		   const struct addr *a, const void *opts)
{
	struct ls_job j = {
		.c = c, .s = s, .share = a->share, .o = opts,
	};
	/* As ls: a link given by name is followed unless it is the thing
	 * that is shown. */
	bool nofollow = j.o->dir_itself || j.o->format == 'l';
	struct oriel_stat st;
	int r = oriel_stat(s, a->path, nofollow ? ORIEL_NOFOLLOW : 0, &st);

	if (r < 0)
		cli_fail(c, s, a->text, r);
	else if (S_ISDIR(st.mode) && !j.o->dir_itself)
		ls_dir(&j, a->path, c->n_args > 1 || j.o->recursive);
	else
		ls_file(&j, a, &st);
}

static int ls_run(struct cli *c, const void *opts)
{
	return conn_each(c, ls_one, opts);
}

const struct command cmd_ls = {
	.name = "ls",
	.operands = "[OPTION...] SHARE[:PATH]...",
	.summary = "List directories",
	.text = "Sorted by name (bytes). Odd names are quoted on a terminal "
		"only. In JSON, a name\nthat is not UTF-8 has its bytes in "
		"name_hex.\n",
	.examples = "  oriel ls /srv/data\n"
		    "  oriel ls -lht /run/vm.sock:var/log\n"
		    "  oriel ls --json /srv/data: | jq -r .entries[].name\n",
	.opts = ls_options,
	.opts_size = sizeof(struct ls_opts),
	.min_args = 1,
	.max_args = -1,
	.flags = CMD_CONNECTS,
	.run = ls_run,
};
