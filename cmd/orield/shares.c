/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shared directories, one or several (--share). Each has options of its
 * own, a socket, and a struct server_share with its own inodes: what a client
 * of one is given means nothing to another. What they have in common is the
 * process, of whose descriptors and threads each gets an equal part.
 *
 * Main thread only.
 */
#include "orield.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

const char *orield_share_name(const struct orield_share *share)
{
	return share->opt->several ? share->opt->tag : NULL;
}

bool orield_all_readonly(const struct orield_options *opt)
{
	unsigned i;

	for (i = 0; i < opt->n_shares; i++) {
		if (!opt->shares[i].readonly)
			return false;
	}
	return opt->n_shares || opt->readonly;
}

bool orield_listens(const struct orield_options *opt)
{
	return opt->n_shares || opt->socket_path || opt->listen_fd >= 0;
}

bool orield_file_handles(const struct orield_options *opt)
{
	unsigned i;

	for (i = 0; i < opt->n_shares; i++) {
		if (opt->shares[i].file_handles != SERVER_HANDLES_NEVER)
			return true;
	}
	return !opt->n_shares && opt->file_handles != SERVER_HANDLES_NEVER;
}

/* "share docs: " before what went wrong with one of several. */
static int name_share(const struct orield_share *share, int r,
		      struct orield_error *err)
{
	char text[sizeof(err->text)];

	if (!r || !orield_share_name(share))
		return r;
	memcpy(text, err->text, sizeof(text));
	return orield_fail(err, r, "share %s: %s", share->opt->tag, text);
}

/* ------------------------------------------------------------- directory */

static int open_dir(struct orield_share *share, struct orield_error *err)
{
	const char *dir = share->opt->shared_dir;

	share->root_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (share->root_fd < 0 && errno == ENOTDIR)
		return orield_fail(err, -ENOTDIR, "%s is not a directory; a"
				   " single file cannot be shared: share the"
				   " directory that holds it", dir);
	if (share->root_fd < 0)
		return orield_fail(err, -errno, "cannot open directory %s: %s",
				   dir, strerror(errno));
	return 0;
}

int orield_shares_open(const struct orield_options *opt,
		       struct orield_shares *s, struct orield_error *err)
{
	unsigned n = opt->n_shares ? opt->n_shares : 1;
	unsigned i;
	int r = 0;

	s->v = calloc(n, sizeof(*s->v));
	if (!s->v)
		return orield_fail(err, -ENOMEM, "no memory");
	s->n = n;
	for (i = 0; i < n; i++)
		s->v[i] = (struct orield_share){
			.opt = opt->n_shares ? &opt->shares[i] : opt,
			.root_fd = -1,
			.listen_fd = -1,
		};
	for (i = 0; !r && i < n; i++)
		r = name_share(&s->v[i], open_dir(&s->v[i], err), err);
	return r;
}

/* ---------------------------------------------------------------- sockets */

/* A client's socket we were started with. */
static int check_connected(int fd, struct orield_error *err)
{
	if (fcntl(fd, F_SETFD, FD_CLOEXEC))
		return orield_fail(err, -errno, "--connected-fd=%d: %s", fd,
				   strerror(errno));
	return 0;
}

static int listen_for(struct orield_share *share, struct orield_error *err)
{
	const struct orield_options *opt = share->opt;
	int r;

	if (opt->connected_fd >= 0)
		return check_connected(opt->connected_fd, err);
	if (!opt->socket_path && opt->listen_fd < 0)
		return 0;
	r = orield_listen(opt, &share->listen_fd, err);
	if (!r && opt->socket_path) {
		int r2 = orield_janitor_add(opt->socket_path);

		if (r2)
			log_warn("%s will stay when this ends: %s",
				 opt->socket_path, strerror(-r2));
	}
	return r;
}

/* Also when not all could be made: those that were must go. */
static void start_janitor(const struct orield_shares *s, const int more_fds[2])
{
	int fds[2 * ORIELD_SHARES_MAX + 2] = { more_fds[0], more_fds[1] };
	bool made = false;
	unsigned n = 2;
	unsigned i;
	int r;

	for (i = 0; i < s->n; i++) {
		made = made || (s->v[i].opt->socket_path &&
				s->v[i].listen_fd >= 0);
		fds[n++] = s->v[i].root_fd;
		fds[n++] = s->v[i].listen_fd;
	}
	r = made ? orield_janitor_start(fds, n) : 0;
	if (r)
		log_warn("sockets will stay when this ends: %s", strerror(-r));
}

int orield_shares_listen(struct orield_shares *s, const int more_fds[2],
			 struct orield_error *err)
{
	unsigned i;
	int r = 0;

	for (i = 0; !r && i < s->n; i++) {
		orield_log_about(orield_share_name(&s->v[i]));
		r = name_share(&s->v[i], listen_for(&s->v[i], err), err);
	}
	orield_log_about(NULL);
	start_janitor(s, more_fds);
	return r;
}

/* ---------------------------------------------------------------- serving */

static int make(struct orield_share *share, unsigned n_shares, int proc_fd,
		const struct orield_guest *guest)
{
	const struct orield_options *opt = share->opt;
	/* QEMU maps for writing whatever it is given */
	bool facade = guest->facade && !opt->readonly;
	const struct server_share_config cfg = {
		.root_fd = share->root_fd,
		.proc_fd = proc_fd,
		.n_shares = n_shares,
		.readonly = opt->readonly,
		.posix_acl = opt->posix_acl,
		.security_label = opt->security_label,
		.no_submounts = opt->no_submounts,
		.file_handles = opt->file_handles,
		.xattr = opt->xattr,
		.guest_files = facade ? &orield_guest_files : NULL,
		.guest_files_ctx = facade ? guest->facade : NULL,
		.cache = opt->cache,
		.allow_mmap = opt->allow_mmap,
		.allow_direct_io = opt->allow_direct_io,
		.no_readdirplus = opt->no_readdirplus,
		.writeback = opt->writeback,
		.no_killpriv = opt->no_killpriv,
		.no_posix_locks = opt->no_posix_locks,
		.no_flock = opt->no_flock,
		.no_notify = !opt->notify,
		.keep_noatime = opt->preserve_noatime,
		.own_timeout = opt->own_timeout,
		.timeout_s = opt->timeout_s,
		.uids = opt->uids,
		.gids = opt->gids,
		.xattrmap = opt->xattrmap,
	};

	return server_share_new(&cfg, &share->server);
}

static int explain(const struct orield_options *opt, int r,
		   struct orield_error *err)
{
	bool handles = opt->file_handles == SERVER_HANDLES_MANDATORY;

	if (handles && r == -EPERM)
		return orield_fail(err, r, "--inode-file-handles=mandatory"
				   " takes CAP_DAC_READ_SEARCH, of root outside"
				   " of any user name space");
	if (handles && r == -EOPNOTSUPP)
		return orield_fail(err, r, "--inode-file-handles=mandatory: the"
				   " file system of %s, or this kernel, has no"
				   " file handles", opt->shared_dir);
	return orield_fail(err, r, "cannot share %s: %s", opt->shared_dir,
			   strerror(-r));
}

int orield_shares_make(struct orield_shares *s, int proc_fd,
		       const struct orield_guest *guest,
		       struct orield_error *err)
{
	unsigned i;
	int r;

	for (i = 0; i < s->n; i++) {
		r = make(&s->v[i], s->n, proc_fd, guest);
		if (r)
			return name_share(&s->v[i], explain(s->v[i].opt, r, err),
					  err);
	}
	return 0;
}

void orield_shares_done(struct orield_shares *s)
{
	unsigned i;

	for (i = 0; i < s->n; i++) {
		server_share_unref(s->v[i].server);
		fd_close(&s->v[i].listen_fd);
		fd_close(&s->v[i].root_fd);
	}
	free(s->v);
	s->v = NULL;
	s->n = 0;
}
