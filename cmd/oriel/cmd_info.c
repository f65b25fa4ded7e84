/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel info: what was agreed on with the daemon, above all whether DAX is on,
 * and what the window looks like; with --can a yes or no for scripts.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "conn.h"
#include "info.h"

/* Small: what is read in large steps may be read without being mapped. */
#define READ_BUF_BYTES ((size_t)16 << 10)

struct info_opts {
	int json;
	const char *can;
};

#define AT(field) offsetof(struct info_opts, field)

static const struct opt info_options[] = {
	{ 0, "json", OPT_FLAG, AT(json), 1, NULL, "one JSON object" },
	{ 0, "can", OPT_STR, AT(can), 0, "THING",
	  "print nothing; status 0 yes, 1 no, 2 trouble" },
	{ 0 },
};

/* Questions --can answers besides names of FUSE features. */
static bool can_dax(const struct oriel_info *i)
{
	return i->dax;
}

static bool can_write(const struct oriel_info *i)
{
	return !i->readonly;
}

static bool can_map(const struct oriel_info *i)
{
	return i->dax && i->ranges;
}

static const struct {
	const char *name;
	bool (*fn)(const struct oriel_info *i);
} questions[] = {
	{ "dax", can_dax },
	{ "map", can_map },
	{ "write", can_write },
};

/* 1, 0, or -EINVAL for a question nobody knows. */
static int answer(const struct oriel_info *i, const char *what)
{
	for (size_t k = 0; k < ARRAY_LEN(questions); k++)
		if (strcmp(questions[k].name, what) == 0)
			return questions[k].fn(i);
	for (unsigned bit = 0; bit < 64; bit++) {
		const char *name = oriel_fuse_flag_name(bit);

		if (name && strcasecmp(name, what) == 0)
			return i->fuse_flags >> bit & 1;
	}
	return -EINVAL;
}

/* Read the file once from start to end, for the picture. */
static int read_through(struct oriel_session *s, const char *path)
{
	char *buf = malloc(READ_BUF_BYTES);
	struct oriel_file *f;
	off_t off = 0;
	ssize_t n = buf ? oriel_open(s, path, O_RDONLY, 0, &f) : -ENOMEM;

	if (n < 0)
		goto out;
	do {
		n = oriel_pread(f, buf, READ_BUF_BYTES, off);
		off += n > 0 ? n : 0;
	} while (n > 0);
	oriel_close(f);
out:
	free(buf);
	return (int)n;
}

/* The window cannot grow, but ask for its size first all the same. */
static void take_picture(struct oriel_session *s, struct info_report *r)
{
	size_t n = oriel_window_picture(s, NULL, 0);
	size_t now;

	r->picture = n ? malloc(n) : NULL;
	if (!r->picture)
		return;
	now = oriel_window_picture(s, r->picture, n);
	r->n_ranges = now < n ? now : n;
}

static int info_answer(struct cli *c, const char *what,
		       const struct info_report *r)
{
	int yes = answer(&r->i, what);

	if (yes < 0)
		return cli_usage(c, "--can: '%s' is neither 'dax', 'map', "
				 "'write' nor a FUSE feature", what);
	return yes ? CLI_OK : CLI_FAILED;
}

static int info_report(struct cli *c, struct oriel_session *s,
		       const struct addr *a, const struct info_opts *o)
{
	struct info_report rep = {
		.share = a->share, .i = { .size = sizeof(rep.i) },
	};
	int r = a->bare ? 0 : read_through(s, a->path);

	if (r >= 0)
		r = oriel_info(s, &rep.i);
	if (r < 0) {
		cli_fail(c, s, a->text, r);
		return CLI_FAILED;
	}
	if (o->can)
		return info_answer(c, o->can, &rep);
	take_picture(s, &rep);
	if (o->json)
		info_print_json(c, &rep);
	else
		info_print(c, &rep);
	free(rep.picture);
	return c->status;
}

static int info_run(struct cli *c, const void *opts)
{
	const struct info_opts *o = opts;
	struct oriel_session *s;
	struct addr a;
	int status = CLI_FAILED;

	if (!conn_addr(c, c->args[0], NULL, false, &a))
		return c->status;
	s = conn_get(c, a.share);
	if (s)
		status = info_report(c, s, &a, o);
	addr_done(&a);
	/* "no" must not be what a script hears when nobody answered. */
	if (o->can && c->status != CLI_OK)
		status = CLI_USAGE;
	return status;
}

const struct command cmd_info = {
	.name = "info",
	.operands = "[OPTION...] SHARE[:PATH]",
	.summary = "Show whether DAX is on, features, window, counters",
	.text = "With a PATH, that file is read first, so that the picture of "
		"the window shows it.\nTHING is dax, map (pointers into "
		"files), write, or a FUSE feature by its name.\n",
	.examples = "  oriel info /srv/data\n"
		    "  oriel info /srv/data:big.bin\n"
		    "  oriel info --can dax /run/vm.sock || echo slow\n"
		    "  oriel info --json /run/vm.sock | jq .window\n",
	.opts = info_options,
	.opts_size = sizeof(struct info_opts),
	.min_args = 1,
	.max_args = 1,
	.flags = CMD_CONNECTS,
	.run = info_run,
};
