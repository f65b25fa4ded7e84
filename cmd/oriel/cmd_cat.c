/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel cat: the bytes of files on stdout, up to the end the file has when it
 * is reached.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "conn.h"

#define CAT_BUF_BYTES ((size_t)1 << 20)

static int cat_file(struct cli *c, struct oriel_file *f, char *buf,
		    bool *ret_lost)
{
	off_t off = 0;

	for (;;) {
		ssize_t n = oriel_pread(f, buf, CAT_BUF_BYTES, off);

		if (n <= 0)
			return (int)n;
		if (!cli_write_stdout(c, buf, (size_t)n)) {
			*ret_lost = true;
			return 0;
		}
		off += n;
	}
}

static int cat_path(struct cli *c, struct oriel_session *s, const char *path,
		    bool *ret_lost)
{
	char *buf = malloc(CAT_BUF_BYTES);
	struct oriel_file *f;
	int r = buf ? 0 : -ENOMEM;

	if (r >= 0)
		r = oriel_open(s, path, O_RDONLY, 0, &f);
	if (r >= 0) {
		r = cat_file(c, f, buf, ret_lost);
		oriel_close(f);
	}
	free(buf);
	return r;
}

static void cat_one(struct cli *c, struct oriel_session *s,
		    const struct addr *a, const void *opts)
{
	bool lost = false;
	int r = cat_path(c, s, a->path, &lost);

	if (r < 0)
		cli_fail(c, s, a->text, r);
	if (lost) /* nobody can read what the other files have */
		c->n_args = 0;
}

static int cat_run(struct cli *c, const void *opts)
{
	return conn_each(c, cat_one, opts);
}

const struct command cmd_cat = {
	.name = "cat",
	.operands = "[OPTION...] SHARE:PATH...",
	.summary = "Write files to standard output",
	.examples = "  oriel cat /srv/data:etc/config\n"
		    "  oriel cat /run/vm.sock:a.log :b.log | grep error\n",
	.min_args = 1,
	.max_args = -1,
	.flags = CMD_CONNECTS,
	.run = cat_run,
};
