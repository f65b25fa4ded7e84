/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command line: getopt_long(3) over the table, then what only the whole can
 * tell. See options.h for the other parts.
 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WINDOW_DEFAULT GIB(64)
#define GUEST_WINDOW_DEFAULT MIB(512)
#define POLL_US_DEFAULT 200 /* well over a round trip, well under 1 ms */
#define MAX_ROWS 96
#define FIRST_ROW 256

static void make_getopt_table(struct option *ret)
{
	unsigned i;

	memset(ret, 0, (MAX_ROWS + 1) * sizeof(*ret));
	for (i = 0; i < option_n_rows && i < MAX_ROWS; i++) {
		ret[i].name = option_rows[i].name;
		ret[i].has_arg = option_rows[i].metavar ? required_argument :
							  no_argument;
		ret[i].val = FIRST_ROW + (int)i;
	}
}

/* getopt_long() did not like @word; say why in terms of the option. */
static void explain_bad(const char *word, int code, struct orield_error *err)
{
	const char *name = strncmp(word, "--", 2) ? word : word + 2;
	size_t len = strcspn(name, "=");
	const char *instead = option_refused(name, len);

	if (instead)
		orield_fail(err, -ENOTSUP, "option --%.*s of virtiofsd is not"
			    " implemented here: %s", (int)len, name, instead);
	else
		orield_fail(err, -EINVAL, code == ':' ?
			    "option '%s' needs a value" :
			    "unknown option '%s' or value where none belongs"
			    " (see --help)", word);
}

/* ------------------------------------------------------------ the whole */

/* The one socket systemd listens on for us. */
static int take_systemd_socket(struct orield_options *opt,
			       struct orield_error *err)
{
	int n = option_systemd_sockets(err);

	if (n <= 0)
		return n;
	if (n != 1)
		return orield_fail(err, -EINVAL, "LISTEN_FDS=%d: exactly one"
				   " socket is served without --share", n);
	opt->listen_fd = OPTION_LISTEN_FDS;
	opt->systemd_socket = true;
	return 0;
}

static int check_ways(struct orield_options *opt, struct orield_error *err)
{
	int ways = !!opt->socket_path + (opt->listen_fd >= 0) +
		   (opt->connected_fd >= 0);
	int r;

	if (!ways && !opt->mount_dir) {
		r = take_systemd_socket(opt, err);
		if (r)
			return r;
		ways = opt->listen_fd >= 0;
	}
	if (ways > 1 || (!ways && !opt->mount_dir))
		return orield_fail(err, -EINVAL, "exactly one of --socket-path,"
				   " --fd, --connected-fd and a socket of"
				   " systemd is needed, or --mount");
	if (opt->socket_group && !opt->socket_path)
		return orield_fail(err, -EINVAL,
				   "--socket-group needs --socket-path");
	return 0;
}

static bool maps_root(const struct orield_id_ranges *ids)
{
	unsigned i;

	for (i = 0; i < ids->n; i++) {
		if (!ids->range[i].inside)
			return true;
	}
	return false;
}

static int check_users(struct orield_options *opt, struct orield_error *err)
{
	bool maps = opt->uid_map.n || opt->gid_map.n;

	if (maps && opt->sandbox != ORIELD_SANDBOX_NAMESPACE &&
	    opt->sandbox != ORIELD_SANDBOX_AUTO)
		return orield_fail(err, -EINVAL, "--uid-map and --gid-map need"
				   " --sandbox=namespace");
	if (maps && (!opt->uid_map.n || !opt->gid_map.n))
		return orield_fail(err, -EINVAL, "--uid-map and --gid-map are"
				   " needed both or not at all");
	if (maps && (!maps_root(&opt->uid_map) || !maps_root(&opt->gid_map)))
		return orield_fail(err, -EINVAL, "--uid-map and --gid-map must"
				   " say who is 0 inside: the daemon is");
	if (maps)
		opt->sandbox = ORIELD_SANDBOX_NAMESPACE;
	if ((!server_ids_empty(&opt->uids) || !server_ids_empty(&opt->gids)) &&
	    option_hide_acls(opt))
		return orield_fail(err, -EINVAL, "--xattrmap: one rule less,"
				   " with --translate-uid and -gid");
	return 0;
}

int option_check_share(struct orield_options *opt, struct orield_error *err)
{
	int r = check_users(opt, err);

	if (r)
		return r;
	if (opt->posix_acl && !opt->xattr)
		return orield_fail(err, -EINVAL, "--posix-acl keeps access lists"
				   " as extended attributes: not with"
				   " --no-xattr");
	if (opt->security_label && !opt->xattr)
		return orield_fail(err, -EINVAL, "--security-label keeps labels"
				   " as extended attributes: not with"
				   " --no-xattr");
	if (opt->posix_acl &&
	    (!server_ids_empty(&opt->uids) || !server_ids_empty(&opt->gids)))
		return orield_fail(err, -EINVAL, "--posix-acl: the users in"
				   " access lists are not translated: not with"
				   " --translate-uid and -gid; --uid-map does"
				   " that");
	if (opt->writeback && opt->cache != SERVER_CACHE_AUTO &&
	    opt->cache != SERVER_CACHE_ALWAYS)
		return orield_fail(err, -EINVAL, "--writeback needs"
				   " --cache=auto or always: without a cache"
				   " there is nothing to write back");
	return 0;
}

static int check(struct orield_options *opt, struct orield_error *err)
{
	int r;

	if (opt->n_shares)
		r = option_make_shares(opt, err);
	else if (!opt->shared_dir)
		r = orield_fail(err, -EINVAL, "--shared-dir is missing");
	else
		r = check_ways(opt, err);
	/* of the whole it is asked too: it has the users of the process */
	if (!r)
		r = option_check_share(opt, err);
	if (r)
		return r;
	if (opt->daemonize && (opt->exit_with_parent || opt->systemd_socket))
		return orield_fail(err, -EINVAL, "--daemonize leaves the parent"
				   " and systemd behind: not with"
				   " --exit-with-parent or its sockets");
	return 0;
}

static const struct orield_options defaults = {
	.tag = "oriel",
	.listen_fd = -1,
	.connected_fd = -1,
	.ready_fd = -1,
	.xattr = true,
	.passthrough = true,
	.notify = true,
	.log_level = LOG_LEVEL_INFO,
	.window_bytes = WINDOW_DEFAULT,
	.guest_window_bytes = GUEST_WINDOW_DEFAULT,
	.poll_us = POLL_US_DEFAULT,
	.request_queues = 4,
};

static enum orield_parse apply_short(struct orield_options *opt, int c,
				     struct orield_error *err)
{
	err->text[0] = '\0';
	switch (c) {
	case 'o':
		return option_set_o(opt, optarg, err) ? ORIELD_PARSE_BAD :
							ORIELD_PARSE_RUN;
	case 'd':
		opt->log_level = LOG_LEVEL_DEBUG;
		return ORIELD_PARSE_RUN;
	case 'h':
		option_print("help");
		return ORIELD_PARSE_DONE;
	case 'V':
		option_print("version");
		return ORIELD_PARSE_DONE;
	default: /* -f: the foreground is where it runs */
		return ORIELD_PARSE_RUN;
	}
}

static enum orield_parse apply_one(struct orield_options *opt, int c,
				   struct orield_error *err)
{
	const struct option_row *row;

	if (c < FIRST_ROW)
		return apply_short(opt, c, err);
	row = &option_rows[c - FIRST_ROW];
	if (row->kind == OPTION_PRINT && option_print(row->name))
		return ORIELD_PARSE_DONE;
	return option_apply(row, opt, optarg, err) ? ORIELD_PARSE_BAD :
						     ORIELD_PARSE_RUN;
}

static enum orield_parse print_qemu_args(struct orield_options *opt,
					 struct orield_error *err)
{
	unsigned i;

	if (!opt->n_shares)
		orield_print_qemu_args(opt);
	else if (option_make_shares(opt, err))
		return ORIELD_PARSE_BAD;
	for (i = 0; i < opt->n_shares; i++)
		orield_print_qemu_args(&opt->shares[i]);
	return ORIELD_PARSE_DONE;
}

enum orield_parse orield_options_parse(struct orield_options *opt, int argc,
				       char **argv, struct orield_error *err)
{
	struct option table[MAX_ROWS + 1];
	enum orield_parse p;
	int c;

	*opt = defaults;
	make_getopt_table(table);
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":o:dfhV", table, NULL)) != -1) {
		if (c == '?' || c == ':') {
			explain_bad(argv[optind - 1], c, err);
			return ORIELD_PARSE_BAD;
		}
		p = apply_one(opt, c, err);
		if (p != ORIELD_PARSE_RUN)
			return p;
	}
	if (optind < argc) {
		orield_fail(err, -EINVAL, "unexpected argument '%s'",
			    argv[optind]);
		return ORIELD_PARSE_BAD;
	}
	if (opt->print_qemu_args)
		return print_qemu_args(opt, err);
	return check(opt, err) ? ORIELD_PARSE_BAD : ORIELD_PARSE_RUN;
}

void orield_options_free(struct orield_options *opt)
{
	unsigned i;

	for (i = 0; opt->shares && i < opt->n_shares; i++)
		free(opt->shares[i].xattrmap);
	free(opt->shares);
	opt->shares = NULL;
	free(opt->xattrmap);
	opt->xattrmap = NULL;
}
