/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel stat: what the daemon says about a file, as text, by a format, or as
 * JSON.
 */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "conn.h"
#include "fmt.h"
#include "json.h"
#include "vfs.h"

struct stat_opts {
	int follow;
	int json;
	const char *format;
};

#define AT(field) offsetof(struct stat_opts, field)

static const struct opt stat_options[] = {
	{ 'L', "dereference", OPT_FLAG, AT(follow), 1, NULL,
	  "follow links" },
	{ 'c', "format", OPT_STR, AT(format), 0, "FORMAT",
	  "print FORMAT with its % sequences replaced" },
	{ 0, "json", OPT_FLAG, AT(json), 1, NULL,
	  "one JSON object a file, one a line" },
	{ 0 },
};

static void print_user(uint32_t uid)
{
	const struct passwd *pw = getpwuid(uid);

	fputs(pw ? pw->pw_name : "UNKNOWN", stdout);
}

static void print_group(uint32_t gid)
{
	const struct group *gr = getgrgid(gid);

	fputs(gr ? gr->gr_name : "UNKNOWN", stdout);
}

/* Numbers that a sequence prints as they are. */
static bool format_number(const struct oriel_stat *st, char k)
{
	const struct {
		char key;
		int64_t v;
	} numbers[] = {
		{ 's', (int64_t)st->size }, { 'i', (int64_t)st->ino },
		{ 'h', st->nlink }, { 'u', st->uid }, { 'g', st->gid },
		{ 'b', (int64_t)st->blocks }, { 'B', 512 },
		{ 'o', st->blksize }, { 'X', st->atime.tv_sec },
		{ 'Y', st->mtime.tv_sec }, { 'Z', st->ctime.tv_sec },
	};

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (numbers[i].key == k) {
			printf("%" PRId64, numbers[i].v);
			return true;
		}
	return false;
}

static bool format_text(const struct addr *a, const struct oriel_stat *st,
			char k)
{
	char buf[FMT_LEN];

	switch (k) {
	case 'n': cli_print_name(a->text); return true;
	case 'a': printf("%o", st->mode & 07777); return true;
	case 'f': printf("%x", st->mode); return true;
	case 't': printf("%x", st->rdev_major); return true;
	case 'T': printf("%x", st->rdev_minor); return true;
	case 'A': fputs(fmt_mode(st->mode, buf), stdout); return true;
	case 'F': fputs(fmt_type(st->mode), stdout); return true;
	case 'U': print_user(st->uid); return true;
	case 'G': print_group(st->gid); return true;
	case 'x': fputs(fmt_full_time(&st->atime, buf), stdout); return true;
	case 'y': fputs(fmt_full_time(&st->mtime, buf), stdout); return true;
	case 'z': fputs(fmt_full_time(&st->ctime, buf), stdout); return true;
	case '%': putchar('%'); return true;
	default: return false;
	}
}

static void print_format(const struct addr *a, const struct oriel_stat *st,
			 const char *format)
{
	for (const char *p = format; *p; p++) {
		if (*p != '%' || !p[1]) {
			putchar(*p);
			continue;
		}
		p++;
		if (!format_text(a, st, *p) && !format_number(st, *p))
			printf("?");
	}
	putchar('\n');
}

static void print_human(const struct addr *a, const struct oriel_stat *st,
			const char *target)
{
	char buf[FMT_LEN];

	fputs("  File: ", stdout);
	cli_print_name(a->text);
	if (target) {
		fputs(" -> ", stdout);
		cli_print_name(target);
	}
	printf("\n  Size: %-15" PRIu64 " Allocated: %-12s %s\n", st->size,
	       fmt_bytes((double)st->blocks * 512, buf), fmt_type(st->mode));
	printf(" Inode: %-15" PRIu64 " Links: %-16u DAX: %s\n", st->ino,
	       st->nlink, st->dax ? "yes" : "no");
	if (S_ISCHR(st->mode) || S_ISBLK(st->mode))
		printf("Device: %u, %u\n", st->rdev_major, st->rdev_minor);
	printf("Access: (%04o/%s)  Uid: (%u/", st->mode & 07777,
	       fmt_mode(st->mode, buf), st->uid);
	print_user(st->uid);
	printf(")  Gid: (%u/", st->gid);
	print_group(st->gid);
	printf(")\nAccess: %s\n", fmt_full_time(&st->atime, buf));
	printf("Modify: %s\n", fmt_full_time(&st->mtime, buf));
	printf("Change: %s\n", fmt_full_time(&st->ctime, buf));
}

static void print_json(struct cli *c, const struct addr *a,
		       const struct oriel_stat *st, const char *target)
{
	cJSON *obj = json_report(c);

	json_add_name(obj, "share", a->share);
	json_add_name(obj, "path", a->path);
	json_add_stat(obj, st);
	if (target)
		json_add_name(obj, "target", target);
	json_print(c, obj);
}

static void stat_one(struct cli *c, struct oriel_session *s,
		     const struct addr *a, const void *opts)
{
	const struct stat_opts *o = opts;
	struct oriel_stat st;
	char *target = NULL;
	int r;

	r = oriel_stat(s, a->path, o->follow ? 0 : ORIEL_NOFOLLOW, &st);
	if (r >= 0 && S_ISLNK(st.mode))
		r = vfs_readlink(s, a->path, &target);
	if (r < 0)
		cli_fail(c, s, a->text, r);
	else if (o->json)
		print_json(c, a, &st, target);
	else if (o->format)
		print_format(a, &st, o->format);
	else
		print_human(a, &st, target);
	free(target);
}

static int stat_run(struct cli *c, const void *opts)
{
	return conn_each(c, stat_one, opts);
}

const struct command cmd_stat = {
	.name = "stat",
	.operands = "[OPTION...] SHARE:PATH...",
	.summary = "Show what is known about files",
	.text = "FORMAT sequences: %n name, %s size, %b blocks of %B bytes, "
		"%a mode in octal,\n%A mode in letters, %f mode in "
		"hexadecimal, %F type, %i inode, %h links,\n%u %U owner, "
		"%g %G group, %o preferred I/O size, %x %X access, %y %Y "
		"change of\ndata, %z %Z change of status (as text, as "
		"seconds), %t %T device, %%.\n",
	.examples = "  oriel stat /srv/data:file\n"
		    "  oriel stat -c '%s %n' /srv/data:a :b\n"
		    "  oriel stat --json /run/vm.sock: | jq .mtime_s\n",
	.opts = stat_options,
	.opts_size = sizeof(struct stat_opts),
	.min_args = 1,
	.max_args = -1,
	.flags = CMD_CONNECTS,
	.run = stat_run,
};
