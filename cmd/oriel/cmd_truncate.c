/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel truncate: set the size of files, absolutely or from what it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include "conn.h"
#include "fmt.h"
#include "resize.h"

struct truncate_opts {
	const char *size;
	int no_create;
};

#define AT(field) offsetof(struct truncate_opts, field)

static const struct opt truncate_options[] = {
	{ 's', "size", OPT_STR, AT(size), 0, "SIZE",
	  "the size: N, +N more, -N less, <N at most, >N at least" },
	{ 'c', "no-create", OPT_FLAG, AT(no_create), 1, NULL,
	  "do not create files" },
	{ 0 },
};

int resize_parse(const char *text, struct resize *ret)
{
	struct resize z = { .op = '=' };
	int r;

	if (*text && strchr("+-<>/%", *text))
		z.op = *text++;
	r = fmt_parse_size(text, &z.bytes);
	if (r < 0)
		return r;
	if (z.bytes > INT64_MAX)
		return -ERANGE;
	if (!z.bytes && (z.op == '/' || z.op == '%'))
		return -EINVAL;
	*ret = z;
	return 0;
}

int resize_apply(const struct resize *z, uint64_t old, off_t *ret)
{
	uint64_t n = z->bytes, rest = z->op == '/' || z->op == '%' ?
		     old % z->bytes : 0;

	if (z->op == '+')
		n = n <= INT64_MAX - old ? old + n : UINT64_MAX;
	else if (z->op == '-')
		n = n < old ? old - n : 0;
	else if (z->op == '<')
		n = old < n ? old : n;
	else if (z->op == '>')
		n = old > n ? old : n;
	else if (z->op == '/')
		n = old - rest;
	else if (z->op == '%')
		n = rest ? old + (z->bytes - rest) : old;
	if (n > INT64_MAX)
		return -EFBIG;
	*ret = (off_t)n;
	return 0;
}

static int truncate_file(struct oriel_file *f, const struct resize *z)
{
	struct oriel_stat st;
	off_t size;
	int r = oriel_fstat(f, ORIEL_FORCE_SYNC, &st);

	if (r >= 0)
		r = resize_apply(z, st.size, &size);
	return r < 0 ? r : oriel_ftruncate(f, size);
}

static void truncate_one(struct cli *c, struct oriel_session *s,
			 const struct addr *a, const void *opts)
{
	const struct truncate_opts *o = opts;
	int flags = O_WRONLY | (o->no_create ? 0 : O_CREAT);
	mode_t mask = umask(0);
	struct oriel_file *f;
	struct resize z;
	int r, closed;

	umask(mask);
	resize_parse(o->size, &z); /* checked in truncate_run() */
	r = oriel_open(s, a->path, flags, 0666 & ~mask, &f);
	if (r == -ENOENT && o->no_create)
		return;
	if (r >= 0) {
		r = truncate_file(f, &z);
		closed = oriel_close(f);
		r = r < 0 ? r : closed;
	}
	if (r < 0)
		cli_fail(c, s, a->text, r);
}

static int truncate_run(struct cli *c, const void *opts)
{
	const struct truncate_opts *o = opts;
	struct resize z;

	if (!o->size)
		return cli_usage(c, "-s SIZE is needed");
	if (resize_parse(o->size, &z) < 0)
		return cli_usage(c, "--size: '%s' is not a size (4096, 64K, "
				 "+1M, %%4K)", o->size);
	return conn_each(c, truncate_one, opts);
}

const struct command cmd_truncate = {
	.name = "truncate",
	.operands = "-s SIZE [OPTION...] SHARE:PATH...",
	.summary = "Set the size of files",
	.text = "What is added reads as zeros. SIZE may also be /N (down) or "
		"%N (up to a\nmultiple of N).\n",
	.examples = "  oriel truncate -s 1G /srv/data:disk.img\n"
		    "  oriel truncate -s -4K /srv/data:log\n",
	.opts = truncate_options,
	.opts_size = sizeof(struct truncate_opts),
	.min_args = 1,
	.max_args = -1,
	.flags = CMD_CONNECTS,
	.run = truncate_run,
};
