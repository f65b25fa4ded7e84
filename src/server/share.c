/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A share: the directory, its policy, its inode table, its counters. Counted;
 * sessions hold it. Invariant: when the last reference goes no session is left,
 * so the table holds the root only.
 *
 * Descriptors are counted before they are opened and limited below the
 * process's limit, so that clients that open without end are told -EMFILE
 * while the daemon can still accept others. And no session alone gets all: one
 * that takes what it can leaves a quarter to the others. Several shares of one
 * process have equal parts, so that the clients of one cannot starve another's.
 */
#include "server/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

/* A quarter is for connections: each has some twenty descriptors. */
static uint64_t fd_limit(unsigned n_shares)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) || rl.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return (rl.rlim_cur - rl.rlim_cur / 4) / n_shares;
}

uint64_t server_fds_locked(const struct server_session *s)
{
	uint64_t n = s->handles.count +
		     atomic_load_explicit(&s->n_owners, memory_order_relaxed) +
		     atomic_load_explicit(&s->tally->fds, memory_order_relaxed);

	return s->share->mounts ? n : n + s->nodes.count;
}

int server_quota_locked(const struct server_session *s)
{
	return server_fds_locked(s) < s->share->session_limit ? 0 : -EMFILE;
}

int server_fd_reserve(struct server_share *sh)
{
	do {
		uint64_t old = atomic_fetch_add_explicit(&sh->n.fds, 1,
							 memory_order_relaxed);

		if (ORIEL_LIKELY(old < sh->fd_limit))
			return 0;
		server_fd_release(sh);
	} while (server_fh_evict(sh));
	return -EMFILE;
}

void server_fd_release(struct server_share *sh)
{
	atomic_fetch_sub_explicit(&sh->n.fds, 1, memory_order_relaxed);
}

void server_fd_drop(struct server_share *sh, int fd)
{
	close(fd);
	server_fd_release(sh);
}

static int dup_fd(int fd, int *ret)
{
	int d = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (d < 0)
		return -errno;
	*ret = d;
	return 0;
}

/* The root is node 1; the share itself holds its first reference. */
static int open_root(struct server_share *sh)
{
	struct statx stx;
	int fd;
	int r;

	fd = openat(sh->cfg.root_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = server_fd_reserve(sh);
	if (r)
		goto err_close;
	if (statx(fd, "", AT_EMPTY_PATH, SERVER_STATX_MASK, &stx)) {
		r = -errno;
		goto err_release;
	}
	return server_inode_adopt(sh, fd, &stx, &sh->root);

err_release:
	server_fd_release(sh);
err_close:
	close(fd);
	return r;
}

static int start_handles(struct server_share *sh)
{
	int r;

	if (sh->cfg.file_handles == SERVER_HANDLES_NEVER)
		return 0;
	r = server_fh_start(sh);
	if (!r || sh->cfg.file_handles == SERVER_HANDLES_MANDATORY)
		return r;
	log_warn("file handles cannot be used here (%s): files that clients know"
		 " are held open", r == -EPERM ?
		 "no CAP_DAC_READ_SEARCH" : strerror(-r));
	return 0;
}

static void share_free(struct server_share *sh)
{
	server_watch_free(sh);
	if (sh->root)
		server_inode_unref(sh, sh->root);
	hash_table_done(&sh->by_key);
	server_fh_done(sh);
	server_peers_done(sh);
	pthread_mutex_destroy(&sh->watch_lock);
	pthread_mutex_destroy(&sh->lock);
	fd_close(&sh->cfg.root_fd);
	fd_close(&sh->cfg.proc_fd);
	free(sh);
}

int server_share_new(const struct server_share_config *cfg,
		     struct server_share **ret)
{
	struct server_share *sh = calloc(1, sizeof(*sh));
	int r;

	if (!sh)
		return -ENOMEM;
	sh->cfg = *cfg;
	sh->cfg.root_fd = -1;
	sh->cfg.proc_fd = -1;
	atomic_init(&sh->refs, 1);
	atomic_init(&sh->next_nodeid, FUSE_ROOT_ID);
	pthread_mutex_init(&sh->lock, NULL);
	pthread_mutex_init(&sh->watch_lock, NULL);
	server_peers_init(sh);
	server_fh_init(sh);
	if (!sh->cfg.n_shares)
		sh->cfg.n_shares = 1;
	sh->fd_limit = fd_limit(sh->cfg.n_shares);
	sh->session_limit = sh->fd_limit - sh->fd_limit / 4;
	r = hash_table_init(&sh->by_key);
	if (!r)
		r = dup_fd(cfg->root_fd, &sh->cfg.root_fd);
	if (!r)
		r = dup_fd(cfg->proc_fd, &sh->cfg.proc_fd);
	if (!r)
		r = open_root(sh);
	if (!r)
		r = start_handles(sh);
	if (r) {
		share_free(sh);
		return r;
	}
	*ret = sh;
	return 0;
}

void server_share_ref(struct server_share *sh)
{
	atomic_fetch_add_explicit(&sh->refs, 1, memory_order_relaxed);
}

void server_share_unref(struct server_share *sh)
{
	/* acq_rel: the last one sees what all others did */
	if (sh && atomic_fetch_sub_explicit(&sh->refs, 1,
					    memory_order_acq_rel) == 1)
		share_free(sh);
}

static uint64_t counter(_Atomic uint64_t *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

void server_share_stats(struct server_share *sh, struct server_stats *ret)
{
	pthread_mutex_lock(&sh->lock);
	ret->inodes = sh->by_key.count;
	pthread_mutex_unlock(&sh->lock);
	ret->fds = counter(&sh->n.fds);
	ret->handles = counter(&sh->n.handles);
	ret->mappings = counter(&sh->n.mappings);
	ret->sessions = counter(&sh->n.sessions);
	server_peers_count(sh, ret);
}
