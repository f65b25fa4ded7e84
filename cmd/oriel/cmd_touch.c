/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel touch: set times, creating what does not exist.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>

#include "conn.h"
#include "fmt.h"

struct touch_opts {
	int no_create;
	int atime_only;
	int mtime_only;
	int no_follow;
	const char *date;
};

#define AT(field) offsetof(struct touch_opts, field)

static const struct opt touch_options[] = {
	{ 'c', "no-create", OPT_FLAG, AT(no_create), 1, NULL,
	  "do not create files" },
	{ 'a', NULL, OPT_FLAG, AT(atime_only), 1, NULL,
	  "the access time only" },
	{ 'm', NULL, OPT_FLAG, AT(mtime_only), 1, NULL,
	  "the modification time only" },
	{ 'h', "no-dereference", OPT_FLAG, AT(no_follow), 1, NULL,
	  "a link itself" },
	{ 'd', "date", OPT_STR, AT(date), 0, "TIME",
	  "instead of now: '2026-02-03 04:05:06', '@SECONDS'" },
	{ 0 },
};

static struct oriel_setattr touch_times(const struct touch_opts *o)
{
	struct timespec t = { .tv_nsec = UTIME_NOW };
	struct oriel_setattr set = { 0 };

	if (o->date)
		fmt_parse_time(o->date, &t); /* checked in touch_run() */
	if (o->atime_only || !o->mtime_only)
		set.mask |= ORIEL_SET_ATIME;
	if (o->mtime_only || !o->atime_only)
		set.mask |= ORIEL_SET_MTIME;
	set.atime = t;
	set.mtime = t;
	return set;
}

static int touch_create(struct oriel_session *s, const char *path)
{
	mode_t mask = umask(0);
	struct oriel_file *f;
	int r;

	umask(mask);
	r = oriel_open(s, path, O_WRONLY | O_CREAT, 0666 & ~mask, &f);
	return r < 0 ? r : oriel_close(f);
}

static void touch_one(struct cli *c, struct oriel_session *s,
		      const struct addr *a, const void *opts)
{
	const struct touch_opts *o = opts;
	struct oriel_setattr set = touch_times(o);
	unsigned flags = o->no_follow ? ORIEL_NOFOLLOW : 0;
	int r = oriel_setattr(s, a->path, flags, &set);

	if (r == -ENOENT && (o->no_create || o->no_follow))
		return;
	if (r == -ENOENT) {
		r = touch_create(s, a->path);
		/* A new file has the time of now already. */
		if (r >= 0 && o->date)
			r = oriel_setattr(s, a->path, flags, &set);
	}
	if (r < 0)
		cli_fail(c, s, a->text, r);
}

static int touch_run(struct cli *c, const void *opts)
{
	const struct touch_opts *o = opts;
	struct timespec t;

	if (o->date && fmt_parse_time(o->date, &t) < 0)
		return cli_usage(c, "--date: '%s' is not a time", o->date);
	return conn_each(c, touch_one, opts);
}

const struct command cmd_touch = {
	.name = "touch",
	.operands = "[OPTION...] SHARE:PATH...",
	.summary = "Set times of files, or create them",
	.examples = "  oriel touch /srv/data:stamp\n"
		    "  oriel touch -d '2026-02-03 04:05' /srv/data:file\n",
	.opts = touch_options,
	.opts_size = sizeof(struct touch_opts),
	.min_args = 1,
	.max_args = -1,
	.flags = CMD_CONNECTS,
	.run = touch_run,
};
