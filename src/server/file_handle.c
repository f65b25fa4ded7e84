/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inodes without a descriptor of their own. With cfg.file_handles an inode is
 * remembered by its file handle (name_to_handle_at(2)) and opened, O_PATH, while
 * it is pinned: by the request that names it, by each open handle. Descriptors
 * without a pin stay open for the next time in one LRU list of the share, a
 * thousand or so. So what clients know costs memory, not descriptors.
 *
 * A handle is only ever made here, from a file that was reached by name inside
 * the share; peers never see one. The kernel's handle contains the inode's
 * generation, so a number that is used again does not open another file, and
 * what was opened is checked to be the same (device, inode) besides.
 *
 * Without a handle, because the file system has none or nobody can be its mount
 * descriptor, an inode keeps its descriptor as ever.
 *
 * Lock: cache.lock over inode->fd, pins and the list, for inodes with a handle;
 * taken inside nothing but backing_lock and the session's tables' lock, and
 * nothing inside it. Whoever has a pin reads inode->fd without it. mounts_lock
 * over the list of mounts, which only grows; nothing inside it.
 */
#include "server/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/fd.h"
#include "base/log.h"

#define CACHE_MAX 1024u

/* The most that name_to_handle_at(2) gives. */
struct any_handle {
	struct file_handle h;
	unsigned char data[MAX_HANDLE_SZ];
};

static int take_handle(int dirfd, const char *name, struct any_handle *ret)
{
	int mnt;

	ret->h.handle_bytes = MAX_HANDLE_SZ;
	return name_to_handle_at(dirfd, name, &ret->h, &mnt,
				 *name ? 0 : AT_EMPTY_PATH) ? -errno : 0;
}

struct file_handle *server_fh_new(struct server_share *sh, int dirfd,
				  const char *name)
{
	struct file_handle *copy;
	struct any_handle any;
	size_t size;

	if (!sh->mounts || take_handle(dirfd, name, &any))
		return NULL;
	size = sizeof(any.h) + any.h.handle_bytes;
	copy = malloc(size);
	if (copy)
		memcpy(copy, &any, size);
	return copy;
}

bool server_fh_equal(const struct file_handle *a, const struct file_handle *b)
{
	return a->handle_type == b->handle_type &&
	       a->handle_bytes == b->handle_bytes &&
	       !memcmp(a->f_handle, b->f_handle, a->handle_bytes);
}

/* ---------------------------------------------------------------- mounts */

/* The descriptor of mount @mnt, or -1. */
static int mount_find(struct server_share *sh, uint64_t mnt)
{
	int fd = -1;

	pthread_mutex_lock(&sh->mounts_lock);
	for (unsigned i = 0; fd < 0 && i < sh->n_mounts; i++)
		if (sh->mounts[i].mnt == mnt)
			fd = sh->mounts[i].fd;
	pthread_mutex_unlock(&sh->mounts_lock);
	return fd;
}

/* Take over @fd, a directory on it, unless it has one. */
static int mount_add(struct server_share *sh, uint64_t mnt, int fd)
{
	int have = -1;

	pthread_mutex_lock(&sh->mounts_lock);
	for (unsigned i = 0; have < 0 && i < sh->n_mounts; i++)
		if (sh->mounts[i].mnt == mnt)
			have = sh->mounts[i].fd;
	if (have < 0 && sh->n_mounts < SERVER_MOUNTS_MAX) {
		sh->mounts[sh->n_mounts].mnt = mnt;
		sh->mounts[sh->n_mounts++].fd = fd;
		have = fd;
	}
	pthread_mutex_unlock(&sh->mounts_lock);
	if (have != fd)
		close(fd);
	return have;
}

int server_mount_fd(struct server_share *sh, const struct server_inode_key *key,
		    mode_t type, int path_fd)
{
	int fd = mount_find(sh, key->mnt);

	if (fd >= 0 || !S_ISDIR(type))
		return fd;
	/* O_PATH would not do; once a mount, so not counted */
	fd = openat(path_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -1 : mount_add(sh, key->mnt, fd);
}

/* ------------------------------------------------------------ pin, unpin */

/* Out of the list, which has it; its descriptor is the caller's to drop. */
static int evict_locked(struct server_fd_cache *c, struct server_inode *ino)
{
	int fd = ino->fd;

	list_del(&ino->idle);
	c->n_idle--;
	ino->fd = -1;
	return fd;
}

bool server_fh_evict(struct server_share *sh)
{
	struct server_fd_cache *c = &sh->cache;
	struct list *n;
	int fd = -1;

	pthread_mutex_lock(&c->lock);
	n = c->idle.next;
	if (n != &c->idle)
		fd = evict_locked(c, list_entry(n, struct server_inode, idle));
	pthread_mutex_unlock(&c->lock);
	if (fd < 0)
		return false;
	server_fd_drop(sh, fd);
	return true;
}

static bool pin_if_open(struct server_fd_cache *c, struct server_inode *ino)
{
	bool is_open;

	pthread_mutex_lock(&c->lock);
	is_open = ino->fd >= 0;
	if (is_open && ino->pins++ == 0) {
		list_del(&ino->idle);
		c->n_idle--;
	}
	pthread_mutex_unlock(&c->lock);
	return is_open;
}

static int is_same(const struct server_inode *ino, int fd)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_TYPE, &stx))
		return -errno;
	return stx.stx_ino == ino->key.ino &&
	       ((uint64_t)stx.stx_dev_major << 32 | stx.stx_dev_minor) ==
		       ino->key.dev ? 0 : -ESTALE;
}

static int open_handle(struct server_share *sh, const struct server_inode *ino)
{
	int r = server_fd_reserve(sh);
	int fd;

	if (r)
		return r;
	fd = open_by_handle_at(ino->mount_fd, ino->handle,
			       O_PATH | O_NOFOLLOW | O_CLOEXEC);
	r = fd < 0 ? -errno : is_same(ino, fd);
	if (!r)
		return fd;
	if (fd >= 0)
		close(fd);
	server_fd_release(sh);
	return r;
}

int server_inode_pin_slow(struct server_share *sh, struct server_inode *ino)
{
	struct server_fd_cache *c = &sh->cache;
	int fd;

	if (pin_if_open(c, ino))
		return 0;
	fd = open_handle(sh, ino);
	if (fd < 0)
		return fd;
	if (pin_if_open(c, ino)) {
		server_fd_drop(sh, fd); /* another was faster */
		return 0;
	}
	pthread_mutex_lock(&c->lock);
	if (ino->fd < 0) {
		ino->fd = fd;
		fd = -1;
	} else if (ino->pins == 0) {
		list_del(&ino->idle);
		c->n_idle--;
	}
	ino->pins++;
	pthread_mutex_unlock(&c->lock);
	if (fd >= 0)
		server_fd_drop(sh, fd);
	return 0;
}

void server_inode_unpin_slow(struct server_share *sh, struct server_inode *ino)
{
	struct server_fd_cache *c = &sh->cache;
	bool full = false;

	pthread_mutex_lock(&c->lock);
	oriel_assert(ino->pins > 0);
	if (--ino->pins == 0) {
		list_add_tail(&c->idle, &ino->idle);
		full = ++c->n_idle > c->max;
	}
	pthread_mutex_unlock(&c->lock);
	if (full)
		(void)server_fh_evict(sh);
}

/* The last reference has gone: nobody can pin it any more. */
void server_inode_close(struct server_share *sh, struct server_inode *ino)
{
	struct server_fd_cache *c = &sh->cache;
	int fd = -1;

	if (!ino->handle) {
		fd = ino->fd;
	} else {
		pthread_mutex_lock(&c->lock);
		oriel_assert(ino->pins == 0);
		if (ino->fd >= 0)
			fd = evict_locked(c, ino);
		pthread_mutex_unlock(&c->lock);
	}
	if (fd >= 0)
		server_fd_drop(sh, fd);
	free(ino->handle);
}

/* ------------------------------------------------------------- life time */

/* Does it work for the directory that is shared? */
static int try_out(int root_fd, int mount_fd)
{
	struct any_handle any;
	int r = take_handle(root_fd, "", &any);
	int fd;

	if (r)
		return r;
	fd = open_by_handle_at(mount_fd, &any.h, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

int server_fh_start(struct server_share *sh)
{
	struct statx stx;
	int fd = openat(sh->cfg.root_fd, ".",
			O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : try_out(sh->cfg.root_fd, fd);

	if (!r && statx(fd, "", AT_EMPTY_PATH, SERVER_STATX_MASK, &stx))
		r = -errno;
	if (!r && !(stx.stx_mask & STATX_MNT_ID))
		r = -EOPNOTSUPP; /* Linux before 5.8 */
	if (!r) {
		sh->mounts = calloc(SERVER_MOUNTS_MAX, sizeof(*sh->mounts));
		r = sh->mounts ? 0 : -ENOMEM;
	}
	if (r) {
		fd_close(&fd);
		return r;
	}
	sh->cache.max = (unsigned)min_u64(sh->cfg.spare_fds ? sh->cfg.spare_fds :
					  CACHE_MAX, sh->fd_limit / 8 + 1);
	(void)mount_add(sh, stx.stx_mnt_id, fd);
	return 0;
}

void server_fh_init(struct server_share *sh)
{
	pthread_mutex_init(&sh->mounts_lock, NULL);
	pthread_mutex_init(&sh->cache.lock, NULL);
	list_init(&sh->cache.idle);
}

void server_fh_done(struct server_share *sh)
{
	for (unsigned i = 0; i < sh->n_mounts; i++)
		close(sh->mounts[i].fd);
	free(sh->mounts);
	pthread_mutex_destroy(&sh->cache.lock);
	pthread_mutex_destroy(&sh->mounts_lock);
}
