/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel readlink: where symbolic links point, as they say it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "conn.h"
#include "vfs.h"

struct readlink_opts {
	int no_newline;
	int zero;
};

#define AT(field) offsetof(struct readlink_opts, field)

static const struct opt readlink_options[] = {
	{ 'n', "no-newline", OPT_FLAG, AT(no_newline), 1, NULL,
	  "nothing after the target" },
	{ 'z', "zero", OPT_FLAG, AT(zero), 1, NULL,
	  "a NUL after it instead of a newline" },
	{ 0 },
};

static void readlink_one(struct cli *c, struct oriel_session *s,
			 const struct addr *a, const void *opts)
{
	const struct readlink_opts *o = opts;
	char *target;
	int r = vfs_readlink(s, a->path, &target);

	if (r < 0) {
		cli_fail(c, s, a->text, r);
		return;
	}
	cli_print_name(target);
	if (!o->no_newline)
		putchar(o->zero ? 0 : '\n');
	free(target);
}

static int readlink_run(struct cli *c, const void *opts)
{
	return conn_each(c, readlink_one, opts);
}

const struct command cmd_readlink = {
	.name = "readlink",
	.operands = "[OPTION...] SHARE:PATH...",
	.summary = "Print the target of symbolic links",
	.examples = "  oriel readlink /srv/data:current\n",
	.opts = readlink_options,
	.opts_size = sizeof(struct readlink_opts),
	.min_args = 1,
	.max_args = -1,
	.flags = CMD_CONNECTS,
	.run = readlink_run,
};
