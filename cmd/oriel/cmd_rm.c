/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel rm: files, and with -r whole trees. Links are removed, never followed.
 * Never asks; never removes the root of a share.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "conn.h"
#include "vfs.h"

/* A daemon can pretend any depth; the stack cannot. */
#define RM_MAX_DEPTH 2000

struct rm_opts {
	int recursive;
	int force;
	int dirs;
	int show;
};

#define AT(field) offsetof(struct rm_opts, field)

static const struct opt rm_options[] = {
	{ 'r', "recursive", OPT_FLAG, AT(recursive), 1, NULL,
	  "directories with all they hold" },
	{ 'R', NULL, OPT_FLAG, AT(recursive), 1, NULL, "the same" },
	{ 'f', "force", OPT_FLAG, AT(force), 1, NULL,
	  "what does not exist is no error" },
	{ 'd', "dir", OPT_FLAG, AT(dirs), 1, NULL,
	  "also empty directories" },
	{ 'v', "verbose", OPT_FLAG, AT(show), 1, NULL,
	  "print each name removed" },
	{ 0 },
};

struct rm_job {
	struct cli *c;
	struct oriel_session *s;
	const char *share;
	const struct rm_opts *o;
	int depth;
};

static void rm_fail(struct rm_job *j, const char *path, int err)
{
	char *text;

	if (err == -ENOENT && j->o->force)
		return;
	text = addr_text(j->share, path);
	cli_fail(j->c, j->s, text ? text : path, err);
	free(text);
}

static void rm_done(struct rm_job *j, const char *path, int r)
{
	char *text;

	if (r < 0)
		rm_fail(j, path, r);
	if (r < 0 || !j->o->show)
		return;
	text = addr_text(j->share, path);
	fputs("removed ", stdout);
	cli_print_name(text ? text : path);
	putchar('\n');
	free(text);
}

static void rm_tree(struct rm_job *j, const char *path);

static void rm_entry(struct rm_job *j, const char *path)
{
	int r = oriel_unlink(j->s, path);

	/* A directory: EISDIR, or EPERM as POSIX has it. */
	if (r == -EISDIR || r == -EPERM) {
		struct oriel_stat st;

		if (oriel_stat(j->s, path, ORIEL_NOFOLLOW, &st) >= 0 &&
		    S_ISDIR(st.mode)) {
			rm_tree(j, path);
			return;
		}
	}
	rm_done(j, path, r);
}

static void rm_tree(struct rm_job *j, const char *path)
{
	struct vfs_names names;
	int r = j->depth >= RM_MAX_DEPTH ? -ELOOP :
					   vfs_list(j->s, path, &names);

	if (r < 0) {
		rm_fail(j, path, r);
		return;
	}
	j->depth++;
	for (size_t i = 0; i < names.n && !cli_signal(); i++) {
		char *sub = path_join(path, names.names[i]);

		if (sub)
			rm_entry(j, sub);
		else
			rm_fail(j, path, -ENOMEM);
		free(sub);
	}
	j->depth--;
	vfs_names_done(&names);
	rm_done(j, path, oriel_rmdir(j->s, path));
}

static void rm_one(struct cli *c, struct oriel_session *s,
		   const struct addr *a, const void *opts)
{
	struct rm_job j = {
		.c = c, .s = s, .share = a->share, .o = opts,
	};
	struct oriel_stat st;
	int r;

	if (path_is_root(a->path)) {
		cli_error(c, a->text, "the root of a share is not removed");
		return;
	}
	r = oriel_stat(s, a->path, ORIEL_NOFOLLOW, &st);
	if (r < 0)
		rm_fail(&j, a->path, r);
	else if (!S_ISDIR(st.mode))
		rm_done(&j, a->path, oriel_unlink(s, a->path));
	else if (j.o->recursive)
		rm_tree(&j, a->path);
	else if (j.o->dirs)
		rm_done(&j, a->path, oriel_rmdir(s, a->path));
	else
		rm_fail(&j, a->path, -EISDIR);
}

static int rm_run(struct cli *c, const void *opts)
{
	return conn_each(c, rm_one, opts);
}

const struct command cmd_rm = {
	.name = "rm",
	.operands = "[OPTION...] SHARE:PATH...",
	.summary = "Remove files and trees",
	.text = "Never asks. Links are removed, not followed.\n",
	.examples = "  oriel rm /srv/data:old.log\n"
		    "  oriel rm -rf /run/vm.sock:cache :tmp\n",
	.opts = rm_options,
	.opts_size = sizeof(struct rm_opts),
	.min_args = 1,
	.max_args = -1,
	.flags = CMD_CONNECTS,
	.run = rm_run,
};
