/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel put: standard input into a file of a share.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conn.h"

#define PUT_BUF_BYTES ((size_t)1 << 20)

struct put_opts {
	int append;
	int no_clobber;
};

#define AT(field) offsetof(struct put_opts, field)

static const struct opt put_options[] = {
	{ 'a', "append", OPT_FLAG, AT(append), 1, NULL,
	  "add to the file instead of replacing what it has" },
	{ 'n', "no-clobber", OPT_FLAG, AT(no_clobber), 1, NULL,
	  "fail if the file exists" },
	{ 0 },
};

/* Fill @buf from stdin: pipes give little at a time, messages cost. */
static ssize_t read_full(char *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(STDIN_FILENO, buf + done, len - done);

		if (n < 0 && errno == EINTR && !cli_signal())
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int put_stream(struct oriel_file *f, char *buf)
{
	off_t off = 0;
	ssize_t n, w;

	while ((n = read_full(buf, PUT_BUF_BYTES)) > 0) {
		for (ssize_t done = 0; done < n; done += w) {
			w = oriel_pwrite(f, buf + done, (size_t)(n - done),
					 off);
			if (w <= 0)
				return w < 0 ? (int)w : -EIO;
			off += w;
		}
	}
	return (int)n;
}

static void put_one(struct cli *c, struct oriel_session *s,
		    const struct addr *a, const void *opts)
{
	const struct put_opts *o = opts;
	int flags = O_WRONLY | O_CREAT | (o->append ? O_APPEND : O_TRUNC) |
		    (o->no_clobber ? O_EXCL : 0);
	char *buf = malloc(PUT_BUF_BYTES);
	mode_t mask = umask(0);
	struct oriel_file *f;
	int r = buf ? 0 : -ENOMEM;

	umask(mask);
	if (r >= 0)
		r = oriel_open(s, a->path, flags, 0666 & ~mask, &f);
	if (r >= 0) {
		int closed;

		r = put_stream(f, buf);
		closed = oriel_close(f);
		r = r < 0 ? r : closed;
	}
	if (r < 0)
		cli_fail(c, s, a->text, r);
	free(buf);
}

static int put_run(struct cli *c, const void *opts)
{
	return conn_each(c, put_one, opts);
}

const struct command cmd_put = {
	.name = "put",
	.operands = "[OPTION...] SHARE:PATH",
	.summary = "Write standard input to a file",
	.examples = "  tar c . | oriel put /run/vm.sock:backup.tar\n"
		    "  date | oriel put -a /srv/data:log\n",
	.opts = put_options,
	.opts_size = sizeof(struct put_opts),
	.min_args = 1,
	.max_args = 1,
	.flags = CMD_CONNECTS,
	.run = put_run,
};
