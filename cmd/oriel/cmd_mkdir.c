/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel mkdir: directories, with -p also those above.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conn.h"
#include "fmt.h"

struct mkdir_opts {
	const char *mode;
	int parents;
	int show;
};

#define AT(field) offsetof(struct mkdir_opts, field)

static const struct opt mkdir_options[] = {
	{ 'm', "mode", OPT_STR, AT(mode), 0, "MODE",
	  "permissions in octal (default: 777 less the umask)" },
	{ 'p', "parents", OPT_FLAG, AT(parents), 1, NULL,
	  "also the directories above; existing ones are fine" },
	{ 'v', "verbose", OPT_FLAG, AT(show), 1, NULL,
	  "print each directory made" },
	{ 0 },
};

static mode_t current_umask(void)
{
	mode_t m = umask(0);

	umask(m);
	return m;
}

/* True when @path is a directory, perhaps through a link. */
static bool is_dir(struct oriel_session *s, const char *path)
{
	struct oriel_stat st;

	return oriel_stat(s, path, 0, &st) >= 0 && S_ISDIR(st.mode);
}

/* Make what is above @path; what exists is passed over. */
static int make_parents(struct oriel_session *s, char *path)
{
	char *p = path + strspn(path, "/");
	int r = 0;

	for (; r >= 0 && (p = strchr(p, '/')); *p = '/', p += strspn(p, "/")) {
		*p = 0;
		r = oriel_mkdir(s, path, 0777 & ~current_umask());
		if (r < 0 && is_dir(s, path))
			r = 0;
		if (r < 0) {
			*p = '/';
			break;
		}
	}
	return r;
}

static int make_path(struct oriel_session *s, const char *path, mode_t mode,
		     const struct mkdir_opts *o)
{
	char *copy = strdup(path);
	size_t len = copy ? strlen(copy) : 0;
	int r = copy ? 0 : -ENOMEM;

	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = 0;
	if (r >= 0 && o->parents)
		r = make_parents(s, copy);
	if (r >= 0)
		r = oriel_mkdir(s, copy, mode);
	if (r < 0 && o->parents && is_dir(s, copy))
		r = 1; /* was there: leave its mode alone */
	free(copy);
	return r;
}

static void mkdir_one(struct cli *c, struct oriel_session *s,
		      const struct addr *a, const void *opts)
{
	const struct mkdir_opts *o = opts;
	mode_t mode = 0777 & ~current_umask();
	int r;

	if (o->mode)
		fmt_parse_mode(o->mode, &mode);
	r = make_path(s, a->path, mode, o);
	/* mkdir(2) leaves out the set-id bits that -m may ask for. */
	if (r == 0 && o->mode && mode & 07000)
		r = oriel_chmod(s, a->path, mode);
	if (r < 0)
		cli_fail(c, s, a->text, r);
	if (r == 0 && o->show) {
		fputs("created directory ", stdout);
		cli_print_name(a->text);
		putchar('\n');
	}
}

static int mkdir_run(struct cli *c, const void *opts)
{
	const struct mkdir_opts *o = opts;
	mode_t mode;

	if (o->mode && fmt_parse_mode(o->mode, &mode) < 0)
		return cli_usage(c, "--mode: '%s' is not an octal mode",
				 o->mode);
	return conn_each(c, mkdir_one, opts);
}

const struct command cmd_mkdir = {
	.name = "mkdir",
	.operands = "[OPTION...] SHARE:PATH...",
	.summary = "Make directories",
	.examples = "  oriel mkdir -p /srv/data:a/b/c\n"
		    "  oriel mkdir -m 700 /run/vm.sock:private\n",
	.opts = mkdir_options,
	.opts_size = sizeof(struct mkdir_opts),
	.min_args = 1,
	.max_args = -1,
	.flags = CMD_CONNECTS,
	.run = mkdir_run,
};
