/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel cp: which source goes where; the copying is in copy_*.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conn.h"
#include "copy.h"

#define AT(field) offsetof(struct cp_opts, field)

static const struct opt cp_options[] = {
	{ 'r', "recursive", OPT_FLAG, AT(recursive), 1, NULL,
	  "directories with all they hold, links as links" },
	{ 'R', NULL, OPT_FLAG, AT(recursive), 1, NULL, "the same" },
	{ 'p', "preserve", OPT_FLAG, AT(preserve), 1, NULL,
	  "keep mode, times and, if allowed, owner" },
	{ 'n', "no-clobber", OPT_FLAG, AT(no_clobber), 1, NULL,
	  "leave existing files alone" },
	{ 'f', "force", OPT_FLAG, AT(force), 1, NULL,
	  "remove what cannot be opened for writing" },
	{ 'T', "no-target-directory", OPT_FLAG, AT(no_target_dir), 1, NULL,
	  "the last operand is the copy, also if a directory" },
	{ 'v', "verbose", OPT_FLAG, AT(show), 1, NULL,
	  "print each name copied" },
	{ 'q', "quiet", OPT_FLAG, AT(quiet), 1, NULL, "no progress" },
	{ 0, "progress", OPT_MAYBE, AT(progress), 0, "FD",
	  "progress also without a terminal; \"N/100\" lines to FD" },
	{ 0 },
};

struct cp_plan {
	struct copy_job job;
	struct addr *ops;
	int n_ops;
	bool into; /* the last operand is a directory to copy into */
};

static bool side_open(struct cli *c, const struct addr *a,
		      struct copy_side *ret)
{
	*ret = (struct copy_side){ .share = a->share };
	if (!a->share)
		return true;
	ret->s = conn_get(c, a->share);
	return ret->s != NULL;
}

/* Where @from goes when the destination is a directory; to be freed. The
 * contents of a root, which has no name, go straight into it. */
static char *cp_target(const struct cp_plan *p, const struct addr *from)
{
	const struct addr *to = &p->ops[p->n_ops - 1];
	char *base, *path;

	if (!p->into || path_is_root(from->path))
		return strdup(to->path);
	base = path_base(from->path);
	path = base ? path_join(to->path, base) : NULL;
	free(base);
	return path;
}

static void cp_each(struct cp_plan *p, void (*fn)(struct cp_plan *p,
						  const struct addr *from))
{
	for (int i = 0; i < p->n_ops - 1 && !cli_signal(); i++)
		if (side_open(p->job.c, &p->ops[i], &p->job.src))
			fn(p, &p->ops[i]);
}

static void cp_measure(struct cp_plan *p, const struct addr *from)
{
	copy_measure(&p->job, from->path);
}

static void cp_copy(struct cp_plan *p, const struct addr *from)
{
	char *dst = cp_target(p, from);

	if (dst)
		copy_path(&p->job, from->path, dst);
	else
		cli_fail(p->job.c, NULL, from->text, -ENOMEM);
	free(dst);
}

/* False after a usage error. */
static bool progress_setup(struct cp_plan *p)
{
	const struct cp_opts *o = p->job.o;
	struct progress *g = &p->job.progress;
	char *end;
	long fd;

	g->fd = STDERR_FILENO;
	g->last_percent = -1;
	if (o->progress && *o->progress) {
		fd = strtol(o->progress, &end, 10);
		if (*end || fd < 0 || fd > 1 << 20) {
			cli_usage(p->job.c, "--progress: '%s' is not a "
				  "descriptor", o->progress);
			return false;
		}
		g->fd = (int)fd;
		g->kind = PROGRESS_NUMBERS;
	} else if (o->progress ||
		   (!o->quiet && cli_is_tty(STDERR_FILENO))) {
		g->kind = PROGRESS_LINE;
		g->width = cli_width(STDERR_FILENO);
	}
	return true;
}

static bool cp_destination(struct cp_plan *p)
{
	const struct addr *to = &p->ops[p->n_ops - 1];
	struct copy_job *j = &p->job;
	struct oriel_stat st;
	size_t len = strlen(to->path);
	int r;

	if (!side_open(j->c, to, &j->dst))
		return false;
	r = vfs_stat(j->dst.s, to->path, true, &st);
	p->into = r >= 0 && S_ISDIR(st.mode) && !j->o->no_target_dir;
	if (p->into || (p->n_ops == 2 && r >= 0))
		return true;
	if (p->n_ops == 2 && r == -ENOENT &&
	    (j->o->recursive || !len || to->path[len - 1] != '/'))
		return true;
	cli_fail(j->c, j->dst.s, to->text, r < 0 ? r : -ENOTDIR);
	return false;
}

static void cp_all(struct cp_plan *p)
{
	struct copy_job *j = &p->job;

	if (!progress_setup(p) || !cp_destination(p))
		return;
	j->buf = malloc(COPY_BUF_BYTES);
	if (!j->buf) {
		cli_fail(j->c, NULL, NULL, -ENOMEM);
		return;
	}
	j->umask = umask(0);
	umask(j->umask);
	cli_catch_signals();
	if (j->progress.kind)
		cp_each(p, cp_measure);
	j->progress.start_ns = cli_now_ns();
	cp_each(p, cp_copy);
	progress_end(&j->progress, j->c->status == CLI_OK);
	free(j->buf);
}

/* Parse all operands; at least one must be in a share. */
static bool cp_operands(struct cp_plan *p)
{
	struct cli *c = p->job.c;
	const char *share = NULL;

	while (p->n_ops < c->n_args &&
	       conn_addr(c, c->args[p->n_ops], share, true,
			 &p->ops[p->n_ops])) {
		if (p->ops[p->n_ops].share)
			share = p->ops[p->n_ops].share;
		p->n_ops++;
	}
	if (p->n_ops < c->n_args)
		return false;
	if (!share)
		cli_usage(c, "no operand is in a share (SHARE:PATH): '%s'",
			  p->ops[0].text);
	return share != NULL;
}

static int cp_run(struct cli *c, const void *opts)
{
	struct cp_plan p = { .job = { .c = c, .o = opts } };

	p.ops = calloc((size_t)c->n_args, sizeof(*p.ops));
	if (!p.ops) {
		cli_fail(c, NULL, NULL, -ENOMEM);
		return c->status;
	}
	if (cp_operands(&p))
		cp_all(&p);
	while (p.n_ops)
		addr_done(&p.ops[--p.n_ops]);
	free(p.ops);
	return c->status;
}

const struct command cmd_cp = {
	.name = "cp",
	.operands = "[OPTION...] SOURCE... DEST",
	.summary = "Copy files to, from and between shares",
	.text = "SOURCE and DEST are SHARE:PATH or local; one of them is in a "
		"share. Holes stay\nholes. Into DEST when that is a "
		"directory. What fails is reported and the rest\ncopied; a "
		"copy that was begun and failed is removed.\n",
	.examples = "  oriel cp /run/vm.sock:var/log/syslog .\n"
		    "  oriel cp -rp ./site /srv/data:www\n"
		    "  oriel cp -r /srv/data: ./backup\n"
		    "  oriel cp ./a:b /srv/data:   (a local file with ':')\n",
	.opts = cp_options,
	.opts_size = sizeof(struct cp_opts),
	.min_args = 2,
	.max_args = -1,
	.flags = CMD_CONNECTS,
	.run = cp_run,
};
