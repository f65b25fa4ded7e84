/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel ln: another name for a file, or with -s a symbolic link.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "conn.h"

struct ln_opts {
	int symbolic;
	int force;
};

#define AT(field) offsetof(struct ln_opts, field)

static const struct opt ln_options[] = {
	{ 's', "symbolic", OPT_FLAG, AT(symbolic), 1, NULL,
	  "a symbolic link; TARGET is any text" },
	{ 'f', "force", OPT_FLAG, AT(force), 1, NULL,
	  "replace an existing name" },
	{ 0 },
};

struct ln_job {
	struct oriel_session *s;
	const struct ln_opts *o;
	const char *target;
	const char *path;
};

static int ln_make(const struct ln_job *j)
{
	return j->o->symbolic ? oriel_symlink(j->s, j->target, j->path) :
				oriel_link(j->s, j->target, j->path);
}

static void ln_run_at(struct cli *c, const struct ln_job *j, const char *text)
{
	int r = ln_make(j);

	if (r == -EEXIST && j->o->force) {
		r = oriel_unlink(j->s, j->path);
		r = r < 0 ? r : ln_make(j);
	}
	if (r < 0)
		cli_fail(c, j->s, text, r);
}

static int ln_run(struct cli *c, const void *opts)
{
	struct ln_job j = { .o = opts, .target = c->args[0] };
	struct addr old = { 0 }, link;
	bool ok;

	if (!j.o->symbolic && !conn_addr(c, c->args[0], NULL, false, &old))
		return c->status;
	ok = conn_addr(c, c->args[1], old.share, false, &link);
	if (!ok) {
		addr_done(&old);
		return c->status;
	}
	j.path = link.path;
	if (old.share)
		j.target = old.path;
	if (old.share && strcmp(old.share, link.share) != 0)
		cli_usage(c, "'%s' and '%s' are in different shares",
			  c->args[0], c->args[1]);
	else if ((j.s = conn_get(c, link.share)))
		ln_run_at(c, &j, c->args[1]);
	addr_done(&old);
	addr_done(&link);
	return c->status;
}

const struct command cmd_ln = {
	.name = "ln",
	.operands = "[-f] SHARE:OLD SHARE:NEW | -s [-f] TARGET SHARE:NEW",
	.summary = "Make hard or symbolic links",
	.examples = "  oriel ln /srv/data:a :b\n"
		    "  oriel ln -s ../shared/x /srv/data:dir/x\n",
	.opts = ln_options,
	.opts_size = sizeof(struct ln_opts),
	.min_args = 2,
	.max_args = 2,
	.flags = CMD_CONNECTS,
	.run = ln_run,
};
