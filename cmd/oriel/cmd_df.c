/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel df: space and inodes of the file system behind a share.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conn.h"
#include "fmt.h"
#include "json.h"

struct df_opts {
	int human;
	int inodes;
	int json;
	int titled; /* the heading was printed */
};

#define AT(field) offsetof(struct df_opts, field)

static const struct opt df_options[] = {
	{ 'h', "human-readable", OPT_FLAG, AT(human), 1, NULL,
	  "sizes like 1.5K, 23M" },
	{ 'i', "inodes", OPT_FLAG, AT(inodes), 1, NULL,
	  "inodes instead of space" },
	{ 0, "json", OPT_FLAG, AT(json), 1, NULL,
	  "one JSON object a share, one a line" },
	{ 0 },
};

struct df_numbers {
	uint64_t total, used, avail;
	int percent; /* -1: there is no total */
};

static struct df_numbers df_of(uint64_t total, uint64_t free_all,
			       uint64_t avail)
{
	struct df_numbers n = { .total = total, .avail = avail };
	long double usable;

	n.used = free_all <= total ? total - free_all : 0;
	usable = (long double)n.used + avail;
	n.percent = -1;
	if (usable > 0) { /* rounded up, as df does */
		long double p = 100 * (long double)n.used / usable;

		n.percent = (int)p + ((long double)(int)p < p);
	}
	return n;
}

static char *df_cell(uint64_t v, const struct df_opts *o, char *buf)
{
	if (o->human)
		return fmt_human(v, buf);
	snprintf(buf, FMT_LEN, "%" PRIu64, o->inodes ? v : (v + 1023) / 1024);
	return buf;
}

static void df_print(const struct addr *a, const struct df_numbers *n,
		     struct df_opts *o)
{
	char t[3][FMT_LEN], percent[16] = "-";

	if (!o->titled)
		printf("%-24s %12s %12s %12s %5s\n", "Share",
		       o->inodes ? "Inodes" : o->human ? "Size" : "1K-blocks",
		       o->inodes ? "IUsed" : "Used",
		       o->inodes ? "IFree" : "Available",
		       o->inodes ? "IUse%" : "Use%");
	o->titled = 1;
	if (n->percent >= 0)
		snprintf(percent, sizeof(percent), "%d%%", n->percent);
	printf("%-24s %12s %12s %12s %5s\n", a->text,
	       df_cell(n->total, o, t[0]), df_cell(n->used, o, t[1]),
	       df_cell(n->avail, o, t[2]), percent);
}

static void df_json(struct cli *c, const struct addr *a,
		    const struct df_numbers *bytes,
		    const struct df_numbers *inodes, const struct statvfs *v)
{
	cJSON *obj = json_report(c);

	json_add_name(obj, "share", a->share);
	json_add_name(obj, "path", a->path);
	json_add_u64(obj, "size_bytes", bytes->total);
	json_add_u64(obj, "used_bytes", bytes->used);
	json_add_u64(obj, "available_bytes", bytes->avail);
	json_add_u64(obj, "inodes", inodes->total);
	json_add_u64(obj, "inodes_used", inodes->used);
	json_add_u64(obj, "inodes_available", inodes->avail);
	json_add_u64(obj, "block_bytes", v->f_frsize);
	json_add_u64(obj, "name_max_bytes", v->f_namemax);
	json_print(c, obj);
}

static void df_one(struct cli *c, struct oriel_session *s,
		   const struct addr *a, const void *opts)
{
	struct df_opts *o = (struct df_opts *)opts;
	struct df_numbers bytes, inodes;
	struct statvfs v;
	uint64_t unit;
	int r = oriel_statfs(s, a->path, &v);

	if (r < 0) {
		cli_fail(c, s, a->text, r);
		return;
	}
	unit = v.f_frsize ? v.f_frsize : v.f_bsize;
	bytes = df_of(v.f_blocks * unit, v.f_bfree * unit, v.f_bavail * unit);
	inodes = df_of(v.f_files, v.f_ffree, v.f_favail);
	if (o->json)
		df_json(c, a, &bytes, &inodes, &v);
	else
		df_print(a, o->inodes ? &inodes : &bytes, o);
}

static int df_run(struct cli *c, const void *opts)
{
	return conn_each(c, df_one, opts);
}

const struct command cmd_df = {
	.name = "df",
	.operands = "[OPTION...] SHARE[:PATH]...",
	.summary = "Show free space",
	.examples = "  oriel df -h /srv/data\n"
		    "  oriel df --json /run/vm.sock | jq .available_bytes\n",
	.opts = df_options,
	.opts_size = sizeof(struct df_opts),
	.min_args = 1,
	.max_args = -1,
	.flags = CMD_CONNECTS,
	.run = df_run,
};
