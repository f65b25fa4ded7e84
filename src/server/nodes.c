/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a session knows: nodeid -> inode with the number of lookups the client
 * still has to forget. A nodeid another session was given means nothing here.
 * The root is known without a lookup and cannot be forgotten.
 *
 * LOOKUP of a file the share already knows costs one statx(2): its O_PATH
 * descriptor keeps (dev, ino) from being given to another file, so equal keys
 * are the same file and nothing needs to be opened.
 */
#include "server/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct server_node *find_locked(struct server_session *s,
				       uint64_t nodeid)
{
	uint64_t hash = hash_mix(nodeid);
	struct hash_node *n = hash_table_first(&s->nodes, hash);

	for (; n; n = hash_table_next(n->next, hash)) {
		struct server_node *node =
			container_of(n, struct server_node, by_id);

		if (node->inode->nodeid == nodeid)
			return node;
	}
	return NULL;
}

static struct server_inode *node_ref(struct server_session *s, uint64_t nodeid)
{
	struct server_inode *ino = NULL;
	struct server_node *node;

	if (nodeid == FUSE_ROOT_ID) {
		server_inode_ref(s->share->root);
		return s->share->root;
	}
	pthread_mutex_lock(&s->lock);
	node = find_locked(s, nodeid);
	if (node) {
		ino = node->inode;
		server_inode_ref(ino);
	}
	pthread_mutex_unlock(&s->lock);
	return ino;
}

int server_node_get(struct server_session *s, uint64_t nodeid,
		    struct server_inode **ret)
{
	struct server_inode *ino = node_ref(s, nodeid);
	int r;

	if (!ino)
		return -ESTALE;
	r = server_inode_pin(s->share, ino);
	if (r)
		server_inode_unref(s->share, ino);
	else
		*ret = ino;
	return r;
}

void server_node_put(struct server_session *s, struct server_inode *ino)
{
	server_inode_unpin(s->share, ino);
	server_inode_unref(s->share, ino);
}

/* Count one more lookup if the session knows @ino already. */
static bool count_known(struct server_session *s, struct server_inode *ino)
{
	struct server_node *node;

	pthread_mutex_lock(&s->lock);
	node = find_locked(s, ino->nodeid);
	if (node)
		node->nlookup++;
	pthread_mutex_unlock(&s->lock);
	return node != NULL;
}

int server_node_add(struct server_session *s, struct server_inode *ino)
{
	struct server_node *node;
	struct server_node *other;
	int r = 0;

	if (ino == s->share->root || count_known(s, ino)) {
		server_inode_unref(s->share, ino);
		return 0;
	}
	node = malloc(sizeof(*node));
	if (!node) {
		server_inode_unref(s->share, ino);
		return -ENOMEM;
	}
	node->inode = ino;
	node->nlookup = 1;
	pthread_mutex_lock(&s->lock);
	other = find_locked(s, ino->nodeid);
	if (other)
		other->nlookup++;
	else
		r = server_quota_locked(s);
	if (!other && !r)
		hash_table_add(&s->nodes, &node->by_id, hash_mix(ino->nodeid));
	pthread_mutex_unlock(&s->lock);
	if (other || r) {
		free(node);
		server_inode_unref(s->share, ino);
	}
	return r;
}

void server_node_forget(struct server_session *s, uint64_t nodeid, uint64_t n)
{
	struct server_node *node;

	pthread_mutex_lock(&s->lock);
	node = find_locked(s, nodeid);
	if (node) {
		/* More than it ever had: all of it, not less than nothing. */
		node->nlookup -= min_u64(n, node->nlookup);
		if (node->nlookup)
			node = NULL;
		else
			hash_table_del(&s->nodes, &node->by_id);
	}
	pthread_mutex_unlock(&s->lock);
	if (!node)
		return;
	server_backing_forget(s, nodeid);
	server_inode_unref(s->share, node->inode);
	free(node);
}

void server_nodes_clear(struct server_session *s)
{
	struct hash_node *n;
	size_t cursor = 0;

	for (;;) {
		struct server_node *node;

		pthread_mutex_lock(&s->lock);
		n = hash_table_pop(&s->nodes, &cursor);
		pthread_mutex_unlock(&s->lock);
		if (!n)
			return;
		node = container_of(n, struct server_node, by_id);
		server_inode_unref(s->share, node->inode);
		free(node);
	}
}

uint64_t server_valid_seconds(const struct server_share *sh)
{
	if (sh->cfg.own_timeout)
		return sh->cfg.timeout_s;
	switch (sh->cfg.cache) {
	case SERVER_CACHE_ALWAYS:
	case SERVER_CACHE_METADATA:
		return 86400;
	case SERVER_CACHE_NEVER:
		return 0;
	default:
		return 1;
	}
}

/* The 32 bits of rdev as the kernel lays them out. */
static uint32_t wire_rdev(uint32_t major, uint32_t minor)
{
	return (minor & 0xff) | major << 8 | (minor & ~UINT32_C(0xff)) << 12;
}

void server_fill_attr(const struct server_session *s, const struct statx *stx,
		      struct fuse_attr *ret)
{
	struct fuse_attr a = {
		.ino = stx->stx_ino,
		.size = stx->stx_size,
		.blocks = stx->stx_blocks,
		.atime = (uint64_t)stx->stx_atime.tv_sec,
		.mtime = (uint64_t)stx->stx_mtime.tv_sec,
		.ctime = (uint64_t)stx->stx_ctime.tv_sec,
		.atimensec = stx->stx_atime.tv_nsec,
		.mtimensec = stx->stx_mtime.tv_nsec,
		.ctimensec = stx->stx_ctime.tv_nsec,
		.mode = stx->stx_mode,
		.nlink = stx->stx_nlink,
		.uid = server_id_to_guest(&s->share->cfg.uids, stx->stx_uid),
		.gid = server_id_to_guest(&s->share->cfg.gids, stx->stx_gid),
		.rdev = wire_rdev(stx->stx_rdev_major, stx->stx_rdev_minor),
		.blksize = stx->stx_blksize,
	};
	uint64_t agreed = atomic_load_explicit(&s->flags, memory_order_relaxed);

	if ((agreed & FUSE_HAS_INODE_DAX) && S_ISREG(stx->stx_mode) &&
	    stx->stx_size >= s->share->cfg.dax_min_bytes)
		a.flags |= FUSE_ATTR_DAX;
	*ret = a;
}

int server_entry(struct server_req *req, struct server_inode *ino,
		 const struct statx *stx, struct fuse_entry_out *ret)
{
	uint64_t nodeid = ino->nodeid;
	uint64_t valid = server_watch_seconds(req, ino, stx);
	int r;

	if (req->covered)
		server_watch_found(req->share, ino);
	r = server_node_add(req->s, ino);
	if (r)
		return r;
	memset(ret, 0, sizeof(*ret));
	ret->nodeid = nodeid;
	ret->entry_valid = valid;
	ret->attr_valid = valid;
	server_fill_attr(req->s, stx, &ret->attr);
	return 0;
}

/* Not in the table when looked: open, look at what was opened, enter it. */
static int lookup_open(struct server_share *sh, struct server_inode *dir,
		       const char *name, struct statx *stx,
		       struct server_inode **ret)
{
	int fd;
	int r = server_fd_reserve(sh);

	if (r)
		return r;
	fd = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		r = -errno;
		server_fd_release(sh);
		return r;
	}
	if (statx(fd, "", AT_EMPTY_PATH, SERVER_STATX_MASK, stx)) {
		r = -errno;
		server_fd_drop(sh, fd);
		return r;
	}
	return server_inode_adopt(sh, fd, stx, ret);
}

/* Look @name up: its inode, counted, and what statx(2) says. */
static int find_or_open(struct server_req *req, struct server_inode *dir,
			const char *name, struct statx *stx,
			struct server_inode **ret)
{
	struct server_inode *ino;

	if (!S_ISDIR(dir->type))
		return -ENOTDIR;
	/* before the look: what changes after it is an event */
	req->covered = server_watch_dir(req, dir);
	if (statx(dir->fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
		  SERVER_STATX_MASK, stx))
		return -errno;
	ino = server_inode_find(req->share, dir->fd, name, stx);
	if (ORIEL_UNLIKELY(!ino))
		return lookup_open(req->share, dir, name, stx, ret);
	*ret = ino;
	return 0;
}

/* The entry of what was found in @dir; the reference is used up. */
static int reply_found(struct server_req *req, const struct server_inode *dir,
		       struct server_inode *ino, const struct statx *stx,
		       struct fuse_entry_out *ret)
{
	bool is_mount = S_ISDIR(ino->type) && (ino->key.mnt != dir->key.mnt ||
					       ino->key.dev != dir->key.dev);
	int r = server_entry(req, ino, stx, ret);

	if (!r && is_mount && (atomic_load_explicit(&req->s->flags,
			memory_order_relaxed) & FUSE_SUBMOUNTS))
		ret->attr.flags |= FUSE_ATTR_SUBMOUNT;
	return r;
}

int server_lookup(struct server_req *req, struct server_inode *dir,
		  const char *name, struct fuse_entry_out *ret)
{
	struct server_inode *ino;
	struct statx stx;
	int r = find_or_open(req, dir, name, &stx, &ino);

	return r ? r : reply_found(req, dir, ino, &stx, ret);
}

int server_lookup_keep(struct server_req *req, struct server_inode *dir,
		       const char *name, struct fuse_entry_out *ret,
		       struct server_inode **ret_ino)
{
	struct server_inode *ino;
	struct statx stx;
	int r = find_or_open(req, dir, name, &stx, &ino);

	if (r)
		return r;
	r = server_inode_pin(req->share, ino);
	if (r) {
		server_inode_unref(req->share, ino);
		return r;
	}
	/* one reference for the entry, one for the caller */
	server_inode_ref(ino);
	r = reply_found(req, dir, ino, &stx, ret);
	if (r)
		server_node_put(req->s, ino);
	else
		*ret_ino = ino;
	return r;
}
