/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The share's inode table: one entry per (device, inode, mount) that somebody
 * knows, each with an O_PATH descriptor or a file handle. Nodeids count up and
 * are never used again, and only the sessions' own tables turn them into inodes:
 * a client can forge a number, not a file.
 *
 * Files are opened for I/O only here, through /proc/self/fd/N, which names
 * exactly the inode of our O_PATH descriptor: no path is walked, no symbolic
 * link followed. Devices, FIFOs and sockets are never opened.
 */
#include "server/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/assert.h"

static struct server_inode_key key_of(const struct statx *stx)
{
	struct server_inode_key key = {
		.dev = (uint64_t)stx->stx_dev_major << 32 | stx->stx_dev_minor,
		.ino = stx->stx_ino,
		.mnt = stx->stx_mask & STATX_MNT_ID ? stx->stx_mnt_id : 0,
	};

	return key;
}

static uint64_t key_hash(const struct server_inode_key *key)
{
	return hash_mix(key->ino ^ hash_mix(key->dev ^ key->mnt << 20));
}

static bool key_is_equal(const struct server_inode_key *a,
			 const struct server_inode_key *b)
{
	return a->ino == b->ino && a->dev == b->dev && a->mnt == b->mnt;
}

/* Without a descriptor the number may mean another file by now. */
static bool is_it(const struct server_inode *ino,
		  const struct server_inode_key *key,
		  const struct file_handle *handle)
{
	return key_is_equal(&ino->key, key) &&
	       (!ino->handle || (handle && server_fh_equal(ino->handle, handle)));
}

static struct server_inode *find_locked(struct server_share *sh,
					const struct server_inode_key *key,
					const struct file_handle *handle)
{
	const uint64_t hash = key_hash(key);
	struct hash_node *n = hash_table_first(&sh->by_key, hash);

	for (; n; n = hash_table_next(n->next, hash)) {
		struct server_inode *ino =
			container_of(n, struct server_inode, by_key);

		if (is_it(ino, key, handle))
			return ino;
	}
	return NULL;
}

void server_inode_ref(struct server_inode *ino)
{
	atomic_fetch_add_explicit(&ino->refs, 1, memory_order_relaxed);
}

/* Drop a reference that is not the last one; false: it may be. */
static bool unref_fast(struct server_inode *ino)
{
	uint64_t n = atomic_load_explicit(&ino->refs, memory_order_relaxed);

	while (n > 1) {
		if (atomic_compare_exchange_weak_explicit(
			    &ino->refs, &n, n - 1, memory_order_acq_rel,
			    memory_order_relaxed))
			return true;
	}
	return false;
}

static void inode_free(struct server_inode *ino)
{
	pthread_mutex_destroy(&ino->dax_lock);
	free(ino);
}

/*
 * A client has forgotten very many: what they took goes back to the system, or
 * the daemon would stay as large as it ever was. Seldom, because it costs: when
 * hardly any are left, not while half of them are still to go.
 */
static bool is_time_to_trim_locked(struct server_share *sh)
{
	if (++sh->gone < 8192 || sh->by_key.count > sh->gone / 16)
		return false;
	sh->gone = 0;
	return true;
}

void server_inode_unref(struct server_share *sh, struct server_inode *ino)
{
	bool trim;
	unsigned i;

	if (ORIEL_LIKELY(unref_fast(ino)))
		return;
	/* The last one goes under the lock: a finder may revive it before. */
	pthread_mutex_lock(&sh->lock);
	if (atomic_fetch_sub_explicit(&ino->refs, 1,
				      memory_order_acq_rel) != 1) {
		pthread_mutex_unlock(&sh->lock);
		return;
	}
	hash_table_del(&sh->by_key, &ino->by_key);
	trim = is_time_to_trim_locked(sh);
	pthread_mutex_unlock(&sh->lock);
	for (i = 0; i < SERVER_DAX_KINDS; i++)
		oriel_assert(ino->dax[i].users == 0);
	server_watch_gone(sh, ino);
	server_inode_close(sh, ino);
	inode_free(ino);
	if (ORIEL_UNLIKELY(trim))
		malloc_trim(0);
}

struct server_inode *server_inode_find(struct server_share *sh, int dirfd,
				       const char *name,
				       const struct statx *stx)
{
	struct file_handle *handle = server_fh_new(sh, dirfd, name);
	struct server_inode_key key = key_of(stx);
	struct server_inode *ino;

	pthread_mutex_lock(&sh->lock);
	ino = find_locked(sh, &key, handle);
	if (ino)
		server_inode_ref(ino);
	pthread_mutex_unlock(&sh->lock);
	free(handle);
	return ino;
}

static struct server_inode *inode_new(struct server_share *sh, int fd,
				      const struct statx *stx)
{
	struct server_inode *ino = calloc(1, sizeof(*ino));

	if (!ino)
		return NULL;
	ino->key = key_of(stx);
	ino->type = stx->stx_mode & S_IFMT;
	ino->fd = fd;
	ino->nodeid = atomic_fetch_add_explicit(&sh->next_nodeid, 1,
						memory_order_relaxed);
	atomic_init(&ino->refs, 1);
	pthread_mutex_init(&ino->dax_lock, NULL);
	/* The root is in use all the time; what has no name may be gone when its
	 * last descriptor is. */
	if (!sh->mounts || !sh->root || !stx->stx_nlink)
		return ino;
	ino->mount_fd = server_mount_fd(sh, &ino->key, ino->type, fd);
	if (ino->mount_fd >= 0)
		ino->handle = server_fh_new(sh, fd, "");
	ino->pins = ino->handle != NULL;
	return ino;
}

int server_inode_adopt(struct server_share *sh, int fd, const struct statx *stx,
		       struct server_inode **ret)
{
	struct server_inode *fresh = inode_new(sh, fd, stx);
	struct server_inode *ino;

	if (!fresh) {
		server_fd_drop(sh, fd);
		return -ENOMEM;
	}
	pthread_mutex_lock(&sh->lock);
	ino = find_locked(sh, &fresh->key, fresh->handle);
	if (ino)
		server_inode_ref(ino);
	else
		hash_table_add(&sh->by_key, &fresh->by_key,
			       key_hash(&fresh->key));
	pthread_mutex_unlock(&sh->lock);
	server_inode_unpin(sh, fresh);
	if (ino) {
		server_inode_close(sh, fresh);
		inode_free(fresh);
		fresh = ino;
	}
	*ret = fresh;
	return 0;
}

const char *server_fd_name(int fd, char *buf)
{
	char *p = buf + 11;
	unsigned v = (unsigned)fd;

	*p = '\0';
	do {
		*--p = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	return p;
}

int server_inode_of_fd(struct server_share *sh, int fd, struct statx *stx,
		       struct server_inode **ret)
{
	struct server_inode *ino;
	char name[12];
	int path_fd;
	int r;

	if (statx(fd, "", AT_EMPTY_PATH, SERVER_STATX_MASK, stx))
		return -errno;
	ino = server_inode_find(sh, fd, "", stx);
	if (ino) {
		*ret = ino;
		return 0;
	}
	r = server_fd_reserve(sh);
	if (r)
		return r;
	path_fd = openat(sh->cfg.proc_fd, server_fd_name(fd, name),
			 O_PATH | O_CLOEXEC);
	if (path_fd < 0) {
		r = -errno;
		server_fd_release(sh);
		return r;
	}
	return server_inode_adopt(sh, path_fd, stx, ret);
}

int server_inode_stat(const struct server_inode *ino, struct statx *ret)
{
	if (statx(ino->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, ret))
		return -errno;
	return 0;
}

/* Why a file that is not regular cannot be opened for I/O. */
static int refuse_type(mode_t type)
{
	switch (type) {
	case S_IFREG:
		return 0;
	case S_IFDIR:
		return -EISDIR;
	case S_IFLNK:
		return -ELOOP;
	default:
		return -ENXIO;
	}
}

int server_inode_open(struct server_share *sh, struct server_inode *ino,
		      int flags)
{
	char name[12];
	int fd;
	int r = refuse_type(ino->type);

	if (r)
		return r;
	if (sh->cfg.readonly &&
	    ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)))
		return -EROFS;
	r = server_inode_pin(sh, ino);
	if (r)
		return r;
	r = server_fd_reserve(sh);
	if (r)
		goto unpin;
	fd = openat(sh->cfg.proc_fd, server_fd_name(ino->fd, name),
		    (flags & ~(O_NOFOLLOW | O_CREAT | O_EXCL)) | O_CLOEXEC |
			    O_NOCTTY);
	r = fd < 0 ? -errno : fd;
	if (fd < 0)
		server_fd_release(sh);
unpin:
	server_inode_unpin(sh, ino);
	return r;
}
