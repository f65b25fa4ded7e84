/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel mv: rename within one share. Each rename is one request: it happens or
 * it does not.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conn.h"

struct mv_opts {
	int no_clobber;
	int exchange;
	int no_target_dir;
	int force;
	int show;
};

#define AT(field) offsetof(struct mv_opts, field)

static const struct opt mv_options[] = {
	{ 'n', "no-clobber", OPT_FLAG, AT(no_clobber), 1, NULL,
	  "never replace an existing name" },
	{ 'f', "force", OPT_FLAG, AT(force), 1, NULL,
	  "replace it (the default; takes -n back)" },
	{ 0, "exchange", OPT_FLAG, AT(exchange), 1, NULL,
	  "swap the two names" },
	{ 'T', "no-target-directory", OPT_FLAG, AT(no_target_dir), 1, NULL,
	  "the last operand is the new name, also if a directory" },
	{ 'v', "verbose", OPT_FLAG, AT(show), 1, NULL,
	  "print each rename" },
	{ 0 },
};

struct mv_job {
	struct cli *c;
	struct oriel_session *s;
	const struct mv_opts *o;
	const struct addr *to;
	bool into; /* @to is a directory to move into */
	unsigned flags;
};

static void mv_show(const struct addr *from, const char *path)
{
	char *text = addr_text(from->share, path);

	fputs("renamed ", stdout);
	cli_print_name(from->text);
	fputs(" -> ", stdout);
	cli_print_name(text ? text : path);
	putchar('\n');
	free(text);
}

static void mv_rename(struct mv_job *j, const struct addr *from,
		      const char *path)
{
	int r = oriel_rename(j->s, from->path, path, j->flags);

	/* -n says: leave it, which is not a failure. */
	if (r == -EEXIST && j->o->no_clobber)
		return;
	if (r < 0)
		cli_fail(j->c, j->s, from->text, r);
	else if (j->o->show)
		mv_show(from, path);
}

static void mv_one(struct mv_job *j, const struct addr *from)
{
	char *base, *path;

	if (!j->into) {
		mv_rename(j, from, j->to->path);
		return;
	}
	base = path_base(from->path);
	path = base && *base ? path_join(j->to->path, base) : NULL;
	if (path)
		mv_rename(j, from, path);
	else
		cli_fail(j->c, j->s, from->text, base ? -EBUSY : -ENOMEM);
	free(path);
	free(base);
}

static bool mv_prepare(struct mv_job *j)
{
	struct oriel_stat st;
	bool one = j->c->n_args == 2;
	int r;

	if (j->o->no_clobber)
		j->flags = RENAME_NOREPLACE;
	if (j->o->exchange)
		j->flags = RENAME_EXCHANGE;
	if (j->o->exchange || j->o->no_target_dir)
		return true;
	r = oriel_stat(j->s, j->to->path, 0, &st);
	j->into = r >= 0 && S_ISDIR(st.mode);
	if (j->into || one)
		return true;
	cli_fail(j->c, j->s, j->to->text, r < 0 ? r : -ENOTDIR);
	return false;
}

static int mv_all(struct mv_job *j, struct addr *ops, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(ops[i].share, j->to->share) != 0)
			return cli_usage(j->c, "'%s' and '%s' are in "
					 "different shares: use 'cp' and 'rm'",
					 ops[i].text, j->to->text);
	j->s = conn_get(j->c, j->to->share);
	if (!j->s || !mv_prepare(j))
		return j->c->status;
	for (int i = 0; i < n; i++)
		mv_one(j, &ops[i]);
	return j->c->status;
}

static int mv_run(struct cli *c, const void *opts)
{
	struct mv_opts o = *(const struct mv_opts *)opts;
	struct mv_job j = { .c = c, .o = &o };
	struct addr *ops;
	int n = 0, r;

	if (o.exchange && c->n_args != 2)
		return cli_usage(c, "--exchange takes two names");
	if (o.exchange && o.no_clobber)
		return cli_usage(c, "--exchange and --no-clobber exclude each "
				 "other");
	o.no_clobber = o.no_clobber && !o.force;
	ops = calloc((size_t)c->n_args, sizeof(*ops));
	if (!ops) {
		cli_error(c, NULL, "%s", oriel_strerror(-ENOMEM));
		return c->status;
	}
	while (n < c->n_args &&
	       conn_addr(c, c->args[n], n ? ops[n - 1].share : NULL, false,
			 &ops[n]))
		n++;
	j.to = &ops[c->n_args - 1];
	r = n == c->n_args ? mv_all(&j, ops, n - 1) : c->status;
	while (n)
		addr_done(&ops[--n]);
	free(ops);
	return r;
}

const struct command cmd_mv = {
	.name = "mv",
	.operands = "[OPTION...] SHARE:PATH... SHARE:PATH",
	.summary = "Rename files within a share",
	.text = "With several sources, or when the last operand is a "
		"directory, into it.\n",
	.examples = "  oriel mv /srv/data:a.txt :b.txt\n"
		    "  oriel mv --exchange /srv/data:current :next\n",
	.opts = mv_options,
	.opts_size = sizeof(struct mv_opts),
	.min_args = 2,
	.max_args = -1,
	.flags = CMD_CONNECTS,
	.run = mv_run,
};
