/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command line. Options are spelled as virtiofsd spells them; each is one
 * row of the table, with the function that takes its argument. What virtiofsd
 * knows and we do not is refused by name: silence would promise it.
 */
#include "orield.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_DEFAULT GIB(64)
#define POLL_US_DEFAULT 200 /* well over a round trip, well under 1 ms */
#define WINDOW_MAX (UINT64_C(1) << 46)

typedef int set_fn(struct orield_options *opt, const char *arg);

struct option_row {
	const char *name;
	const char *metavar; /* NULL: takes no argument */
	set_fn *set;
	const char *help;
};

/* --------------------------------------------------------------- numbers */

static int parse_u64(const char *arg, uint64_t max, uint64_t *ret)
{
	char *end;
	unsigned long long v;

	errno = 0;
	v = strtoull(arg, &end, 10);
	if (errno || end == arg || *end || *arg == '-' || v > max)
		return -EINVAL;
	*ret = v;
	return 0;
}

/* "64G", "512M", "0". */
static int parse_size(const char *arg, uint64_t *ret)
{
	static const char units[] = "KMGT";
	char num[24];
	size_t len = strlen(arg);
	const char *unit = len ? strchr(units, arg[len - 1]) : NULL;
	unsigned shift = 0;
	uint64_t v;

	if (!len || len >= sizeof(num))
		return -EINVAL;
	memcpy(num, arg, len + 1);
	if (unit && *unit) {
		shift = 10 * (unsigned)(unit - units + 1);
		num[len - 1] = '\0';
	}
	if (parse_u64(num, UINT64_MAX >> shift, &v))
		return -EINVAL;
	*ret = v << shift;
	return 0;
}

static int parse_fd(const char *arg, int *ret)
{
	uint64_t v;

	if (parse_u64(arg, INT32_MAX, &v))
		return -EINVAL;
	*ret = (int)v;
	return 0;
}

/* Which of the NULL-terminated @words is @arg? */
static int parse_word(const char *arg, const char *const *words, int *ret)
{
	int i;

	for (i = 0; words[i]; i++) {
		if (!strcmp(arg, words[i])) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

/* --------------------------------------------------------------- setters */

static int set_socket_path(struct orield_options *opt, const char *arg)
{
	opt->socket_path = arg;
	return *arg ? 0 : -EINVAL;
}

static int set_socket_group(struct orield_options *opt, const char *arg)
{
	opt->socket_group = arg;
	return 0;
}

static int set_shared_dir(struct orield_options *opt, const char *arg)
{
	opt->shared_dir = arg;
	return *arg ? 0 : -EINVAL;
}

static int set_mount(struct orield_options *opt, const char *arg)
{
	opt->mount_dir = arg;
	return *arg ? 0 : -EINVAL;
}

static int set_passthrough(struct orield_options *opt, const char *arg)
{
	static const char *const words[] = { "never", "auto", NULL };
	int i;
	int r = parse_word(arg, words, &i);

	if (!r)
		opt->passthrough = i;
	return r;
}

static int set_fd(struct orield_options *opt, const char *arg)
{
	return parse_fd(arg, &opt->listen_fd);
}

static int set_connected_fd(struct orield_options *opt, const char *arg)
{
	return parse_fd(arg, &opt->connected_fd);
}

static int set_ready_fd(struct orield_options *opt, const char *arg)
{
	return parse_fd(arg, &opt->ready_fd);
}

static int set_tag(struct orield_options *opt, const char *arg)
{
	if (!*arg || strlen(arg) >= sizeof(opt->tag))
		return -EINVAL;
	strcpy(opt->tag, arg);
	return 0;
}

static int set_readonly(struct orield_options *opt, const char *arg)
{
	opt->readonly = true;
	return 0;
}

static int set_xattr(struct orield_options *opt, const char *arg)
{
	opt->xattr = true;
	return 0;
}

static int set_guest_dax(struct orield_options *opt, const char *arg)
{
	opt->guest_dax = true;
	return 0;
}

static int set_no_xattr(struct orield_options *opt, const char *arg)
{
	opt->xattr = false;
	return 0;
}

static int set_exit_with_parent(struct orield_options *opt, const char *arg)
{
	opt->exit_with_parent = true;
	return 0;
}

static int set_cache(struct orield_options *opt, const char *arg)
{
	static const char *const words[] = { "auto", "always", "never", NULL };
	int i;
	int r = parse_word(arg, words, &i);

	if (!r)
		opt->cache = (enum server_cache)i;
	return r;
}

static int set_sandbox(struct orield_options *opt, const char *arg)
{
	static const char *const words[] = { "auto", "namespace", "chroot",
					     "none", NULL };
	int i;
	int r = parse_word(arg, words, &i);

	if (!r)
		opt->sandbox = (enum orield_sandbox)i;
	return r;
}

static int set_seccomp(struct orield_options *opt, const char *arg)
{
	static const char *const words[] = { "kill", "log", "none", NULL };
	int i;
	int r = parse_word(arg, words, &i);

	if (!r)
		opt->seccomp = (enum orield_seccomp)i;
	return r;
}

static int set_rlimit_nofile(struct orield_options *opt, const char *arg)
{
	return parse_u64(arg, 1u << 30, &opt->rlimit_nofile);
}

static int set_log_level(struct orield_options *opt, const char *arg)
{
	return log_level_parse(arg, &opt->log_level);
}

static int set_window(struct orield_options *opt, const char *arg)
{
	uint64_t v;

	if (parse_size(arg, &v) || v > WINDOW_MAX || !is_aligned(v, MIB(2)))
		return -EINVAL;
	opt->window_bytes = v;
	return 0;
}

static int set_poll_us(struct orield_options *opt, const char *arg)
{
	return parse_u64(arg, 1000000, &opt->poll_us);
}

static int set_request_queues(struct orield_options *opt, const char *arg)
{
	uint64_t v;

	if (parse_u64(arg, 64, &v) || !v)
		return -EINVAL;
	opt->request_queues = (unsigned)v;
	return 0;
}

/* Handled in orield_options_parse(). */
static int print_only(struct orield_options *opt, const char *arg)
{
	return 0;
}

/* ----------------------------------------------------------------- table */

static const struct option_row rows[] = {
	{ "shared-dir", "DIR", set_shared_dir, "the directory to share" },
	{ "socket-path", "PATH", set_socket_path,
	  "listen on this UNIX socket" },
	{ "socket-group", "GROUP", set_socket_group,
	  "who may connect besides the owner" },
	{ "fd", "N", set_fd, "descriptor N is the listening socket" },
	{ "mount", "DIR", set_mount,
	  "mount the share there, on this machine, by /dev/fuse" },
	{ "passthrough", "auto|never", set_passthrough,
	  "with --mount: let the kernel read and write files itself" },
	{ "tag", "TAG", set_tag,
	  "name guests mount it by (36 bytes; default: oriel)" },
	{ "readonly", NULL, set_readonly, "nothing can be changed" },
	{ "cache", "auto|always|never", set_cache,
	  "how long clients believe attributes: 1 s, a day, not at all" },
	{ "xattr", NULL, set_xattr, "offer extended attributes (default)" },
	{ "no-xattr", NULL, set_no_xattr, "do not" },
	{ "guest-dax", NULL, set_guest_dax,
	  "mark files for DAX to guests too; QEMU 11.1 fails on most of them" },
	{ "window", "SIZE", set_window,
	  "size of the DAX window: 2M steps, K M G T; 0: none (default: 64G)" },
	{ "request-queues", "N", set_request_queues,
	  "request queues offered, 1 to 64 (default: 4)" },
	{ "poll-us", "N", set_poll_us,
	  "poll this long after a request before sleeping (default: 200)" },
	{ "sandbox", "auto|namespace|chroot|none", set_sandbox,
	  "how to lock the daemon in (default: auto, the strongest)" },
	{ "seccomp", "kill|log|none", set_seccomp,
	  "what an unforeseen system call does (default: kill)" },
	{ "rlimit-nofile", "N", set_rlimit_nofile,
	  "most open files (default: 1000000 or the hard limit)" },
	{ "log-level", "off|error|warn|info|debug|trace", set_log_level,
	  "what is written to stderr (default: info)" },
	{ "connected-fd", "N", set_connected_fd,
	  "serve the client connected on descriptor N, then exit" },
	{ "ready-fd", "N", set_ready_fd,
	  "write READY or ERROR there, one line" },
	{ "exit-with-parent", NULL, set_exit_with_parent,
	  "end when the parent process does" },
	{ "print-capabilities", NULL, print_only, "as JSON, then exit" },
	{ "version", NULL, print_only, "print the version, then exit" },
	{ "help", NULL, print_only, "print this, then exit" },
};

/* What virtiofsd has and we do not, to be refused by name. */
static const char *const not_here[] = {
	"thread-pool-size", "posix-acl", "no-posix-acl", "xattrmap",
	"security-label", "no-security-label", "announce-submounts",
	"no-announce-submounts", "inode-file-handles", "allow-mmap",
	"no-readdirplus", "writeback", "allow-direct-io", "no-killpriv-v2",
	"killpriv-v2", "preserve-noatime", "uid-map", "gid-map",
	"translate-uid", "translate-gid", "modcaps", "migration-mode",
	"migration-on-error", "migration-verify-handles",
	"migration-confirm-paths", "syslog", "daemonize",
};

static void print_help(void)
{
	size_t i;

	printf("Usage: orield --shared-dir=DIR --socket-path=PATH [OPTION]...\n"
	       "Share a directory with virtio-fs clients: liboriel, QEMU,"
	       " cloud-hypervisor, ...\n\n");
	for (i = 0; i < ARRAY_LEN(rows); i++) {
		char left[64];

		snprintf(left, sizeof(left), "--%s%s%s", rows[i].name,
			 rows[i].metavar ? "=" : "",
			 rows[i].metavar ? rows[i].metavar : "");
		if (strlen(left) > 30)
			printf("  %s\n  %-30s %s\n", left, "", rows[i].help);
		else
			printf("  %-30s %s\n", left, rows[i].help);
	}
	printf("\nSIGTERM and SIGINT end it; SIGUSR1 logs what is open.\n\n"
	       "Examples:\n"
	       "  Share /srv/models read-only with programs on this machine:\n"
	       "    orield --shared-dir=/srv/models --readonly"
	       " --socket-path=/run/models.sock\n"
	       "    oriel ls /run/models.sock:/\n"
	       "  A guest's share, small window, without name spaces:\n"
	       "    orield --shared-dir=/srv/vm1 --socket-path=/run/vm1.sock"
	       " --tag=data --window=1G --sandbox=chroot\n");
}

static void print_capabilities(void)
{
	printf("{\n"
	       "  \"type\": \"fs\",\n"
	       "  \"version\": \"" ORIELD_VERSION "\",\n"
	       "  \"features\": [\"separate-options\", \"readonly\","
	       " \"dax-window\", \"multiple-clients\"]\n"
	       "}\n");
}

static bool print_and_done(const char *name)
{
	if (!strcmp(name, "help"))
		print_help();
	else if (!strcmp(name, "version"))
		printf("orield " ORIELD_VERSION "\n");
	else if (!strcmp(name, "print-capabilities"))
		print_capabilities();
	else
		return false;
	return true;
}

static void make_getopt_table(struct option *ret)
{
	size_t i;

	memset(ret, 0, (ARRAY_LEN(rows) + 1) * sizeof(*ret));
	for (i = 0; i < ARRAY_LEN(rows); i++) {
		ret[i].name = rows[i].name;
		ret[i].has_arg = rows[i].metavar ? required_argument :
						   no_argument;
		ret[i].val = 256 + (int)i;
	}
}

/* getopt_long() did not like @word; say why in terms of the option. */
static void explain_bad(const char *word, int code, struct orield_error *err)
{
	const char *name = strncmp(word, "--", 2) ? word : word + 2;
	size_t len = strcspn(name, "=");
	size_t i;

	for (i = 0; i < ARRAY_LEN(not_here); i++) {
		if (strlen(not_here[i]) != len ||
		    strncmp(name, not_here[i], len))
			continue;
		orield_fail(err, -EINVAL,
			    "option --%s of virtiofsd is not implemented here",
			    not_here[i]);
		return;
	}
	orield_fail(err, -EINVAL, code == ':' ?
		    "option '%s' needs a value" :
		    "unknown option '%s' or value where none belongs"
		    " (see --help)", word);
}

static int check(const struct orield_options *opt, struct orield_error *err)
{
	int ways = !!opt->socket_path + (opt->listen_fd >= 0) +
		   (opt->connected_fd >= 0);

	if (!opt->shared_dir)
		return orield_fail(err, -EINVAL, "--shared-dir is missing");
	if (ways > 1 || (!ways && !opt->mount_dir))
		return orield_fail(err, -EINVAL, "exactly one of --socket-path,"
				   " --fd and --connected-fd is needed, or"
				   " --mount");
	if (opt->socket_group && !opt->socket_path)
		return orield_fail(err, -EINVAL,
				   "--socket-group needs --socket-path");
	return 0;
}

static const struct orield_options defaults = {
	.tag = "oriel",
	.listen_fd = -1,
	.connected_fd = -1,
	.ready_fd = -1,
	.xattr = true,
	.passthrough = true,
	.log_level = LOG_LEVEL_INFO,
	.window_bytes = WINDOW_DEFAULT,
	.poll_us = POLL_US_DEFAULT,
	.request_queues = 4,
};

enum orield_parse orield_options_parse(struct orield_options *opt, int argc,
				       char **argv, struct orield_error *err)
{
	struct option table[ARRAY_LEN(rows) + 1];
	int c;

	*opt = defaults;
	make_getopt_table(table);
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", table, NULL)) != -1) {
		const struct option_row *row;

		if (c < 256) {
			explain_bad(argv[optind - 1], c, err);
			return ORIELD_PARSE_BAD;
		}
		row = &rows[c - 256];
		if (print_and_done(row->name))
			return ORIELD_PARSE_DONE;
		if (row->set(opt, optarg)) {
			orield_fail(err, -EINVAL,
				    "--%s: '%s' is not one of %s", row->name,
				    optarg, row->metavar);
			return ORIELD_PARSE_BAD;
		}
	}
	if (optind < argc) {
		orield_fail(err, -EINVAL, "unexpected argument '%s'",
			    argv[optind]);
		return ORIELD_PARSE_BAD;
	}
	return check(opt, err) ? ORIELD_PARSE_BAD : ORIELD_PARSE_RUN;
}
