/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening, making and closing files. Handles are the session's own; the nodeid
 * in the header of a request with a handle is not needed and not looked at.
 */
#include "server/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

/* What of the client's open flags reaches open(2). */
#define OPEN_FLAGS \
	(O_ACCMODE | O_TRUNC | O_SYNC | O_DSYNC | O_NOATIME)

/* ------------------------------------------------------- open and create */

uint32_t server_open_flags(const struct server_share *sh, bool is_dir)
{
	switch (sh->cfg.cache) {
	case SERVER_CACHE_ALWAYS:
		return is_dir ? FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR :
				FOPEN_KEEP_CACHE;
	case SERVER_CACHE_METADATA:
		return is_dir ? FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR :
				FOPEN_DIRECT_IO;
	case SERVER_CACHE_NEVER:
		return is_dir ? 0 : FOPEN_DIRECT_IO;
	default:
		return 0;
	}
}

bool server_writes_back(const struct server_req *req)
{
	return atomic_load_explicit(&req->s->flags, memory_order_relaxed) &
	       FUSE_WRITEBACK_CACHE;
}

/*
 * The client's open flags as we open. A client that writes back reads pages it
 * writes a part of, whatever the file was opened for. O_APPEND comes and goes
 * (fcntl(2)): each WRITE says it anew.
 */
static int local_flags(const struct server_req *req, uint32_t flags)
{
	const struct server_share_config *cfg = &req->share->cfg;
	int may = OPEN_FLAGS | (cfg->allow_direct_io ? O_DIRECT : 0);
	int ret = (int)flags & may;

	if (!server_writes_back(req))
		return ret;
	if ((ret & O_ACCMODE) == O_WRONLY)
		ret = (ret & ~O_ACCMODE) | O_RDWR;
	return ret;
}

/* Does close(2) of @fd never fail? On a local file system. */
static enum server_close_fails ask_close(int fd)
{
	struct statfs sf;

	if (fstatfs(fd, &sf))
		return CLOSE_MAY_FAIL;
	switch ((uint32_t)sf.f_type) {
	case EXT4_SUPER_MAGIC:
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
	case TMPFS_MAGIC:
		return CLOSE_NEVER_FAILS;
	default:
		return CLOSE_MAY_FAIL;
	}
}

/* Need the client not ask for FLUSH when it closes @fd, of @ino? It is also how
 * locks go, where we keep them. */
static bool needs_no_flush(const struct server_req *req,
			   struct server_inode *ino, int fd)
{
	uint64_t agreed = atomic_load_explicit(&req->s->flags,
					       memory_order_relaxed);
	/* relaxed: whoever asks gets the same answer */
	uint8_t known = atomic_load_explicit(&ino->close_fails,
					     memory_order_relaxed);

	if (agreed & (FUSE_POSIX_LOCKS | FUSE_WRITEBACK_CACHE))
		return false;
	if (known == CLOSE_UNKNOWN) {
		known = (uint8_t)ask_close(fd);
		atomic_store_explicit(&ino->close_fails, known,
				      memory_order_relaxed);
	}
	return known == CLOSE_NEVER_FAILS;
}

static void fill_open(const struct server_req *req,
		      struct server_inode *ino, int fd, uint64_t fh,
		      struct fuse_open_out *out)
{
	uint32_t id = server_backing_get(req->s, ino);

	memset(out, 0, sizeof(*out));
	out->fh = fh;
	if (id) {
		out->open_flags = FUSE_WIRE_FOPEN_PASSTHROUGH;
		out->padding = id;
	} else {
		out->open_flags = server_open_flags(req->share, false);
	}
	if (needs_no_flush(req, ino, fd))
		out->open_flags |= FOPEN_NOFLUSH;
}

/* Flags that a second try may do without, when open(2) said @error. */
static int second_flags(const struct server_req *req, uint32_t asked, int tried,
			int error)
{
	/* only the owner may have it, and who that is the client cannot see */
	if (error == -EPERM && !req->share->cfg.keep_noatime)
		return tried & ~O_NOATIME;
	/* a file that may only be written: some pages are better than none */
	if (error == -EACCES && (asked & O_ACCMODE) == O_WRONLY)
		return (tried & ~O_ACCMODE) | O_WRONLY;
	return tried;
}

/* Open @ino as the client says; truncation keeps bits only if it may. */
static int open_as_asked(struct server_req *req, struct server_inode *ino,
			 uint32_t flags, uint32_t open_flags)
{
	bool keep = (flags & O_TRUNC) &&
		    !server_kills_suid(req, open_flags & FUSE_OPEN_KILL_SUIDGID);
	int local = local_flags(req, flags);
	int second;
	int fd;

	if (keep)
		server_fsetid_raise(req->t);
	fd = server_inode_open(req->share, ino, local);
	second = fd < 0 ? second_flags(req, flags, local, fd) : local;
	if (second != local)
		fd = server_inode_open(req->share, ino, second);
	if (keep)
		server_fsetid_lower(req->t);
	return fd;
}

int server_open_fd(struct server_req *req, struct server_inode *ino,
		   const struct fuse_open_in *in)
{
	return open_as_asked(req, ino, in->flags, in->open_flags);
}

int server_open_handle(struct server_req *req, struct server_inode *ino, int fd,
		       struct fuse_open_out *ret)
{
	uint64_t fh;
	int r = server_handle_new(req->s, fd, ino, false, &fh);

	if (r) {
		server_fd_drop(req->share, fd);
		return r;
	}
	fill_open(req, ino, fd, fh, ret);
	return 0;
}

ssize_t server_op_open(struct server_req *req)
{
	struct fuse_open_out *out = (struct fuse_open_out *)req->t->reply;
	struct fuse_open_in in;
	int fd;
	int r;

	memcpy(&in, req->t->arg, sizeof(in));
	fd = server_open_fd(req, req->inode, &in);
	if (fd < 0)
		return fd;
	r = server_open_handle(req, req->inode, fd, out);
	return r ? r : (ssize_t)sizeof(*out);
}

/* Reply of CREATE and TMPFILE for @fd, which is used up in any case. */
static ssize_t reply_created(struct server_req *req, int fd)
{
	struct fuse_entry_out *entry = (struct fuse_entry_out *)req->t->reply;
	struct fuse_open_out *out = (struct fuse_open_out *)(entry + 1);
	struct server_inode *ino;
	struct statx stx;
	uint64_t fh;
	int r = server_inode_of_fd(req->share, fd, &stx, &ino);

	if (r) {
		server_fd_drop(req->share, fd);
		return r;
	}
	r = server_handle_new(req->s, fd, ino, false, &fh);
	if (r) {
		server_inode_unref(req->share, ino);
		server_fd_drop(req->share, fd);
		return r;
	}
	/* before the entry, which uses up our reference */
	fill_open(req, ino, fd, fh, out);
	r = server_entry(req, ino, &stx, entry);
	if (r) {
		if (server_handle_close(req->s, fh, false))
			return -EIO;
		return r;
	}
	return sizeof(*entry) + sizeof(*out);
}

/* Make a new file; -EEXIST if there is something of that name. */
static int create_new(struct server_req *req, const char *name,
		      const struct fuse_create_in *in, int more_flags)
{
	int flags = (local_flags(req, in->flags) & ~O_TRUNC) | more_flags;
	mode_t mode;
	int fd;
	int r = server_fd_reserve(req->share);

	if (r)
		return r;
	r = server_creds_enter(req, true);
	if (r)
		goto err_release;
	mode = server_mask_enter(req, in->mode & 07777, in->umask);
	fd = openat(req->inode->fd, name,
		    flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, mode);
	r = fd < 0 ? -errno : 0;
	server_mask_leave(req->t);
	server_creds_leave(req->t);
	if (r)
		goto err_release;
	r = server_label_fd(req, fd);
	if (r) {
		if (!(more_flags & O_TMPFILE))
			(void)unlinkat(req->inode->fd, name, 0);
		close(fd);
		goto err_release;
	}
	return fd;

err_release:
	server_fd_release(req->share);
	return r;
}

/* CREATE of a name that exists, without O_EXCL: OPEN. */
static ssize_t create_existing(struct server_req *req, const char *name,
			       const struct fuse_create_in *in)
{
	struct fuse_entry_out entry;
	struct server_inode *ino;
	int r = server_lookup(req, req->inode, name, &entry);

	if (r)
		return r;
	r = server_node_get(req->s, entry.nodeid, &ino);
	if (!r) {
		r = open_as_asked(req, ino, in->flags, in->open_flags);
		server_node_put(req->s, ino);
	}
	/* The reply counts a lookup of its own: give this one back after. */
	if (r >= 0)
		r = (int)reply_created(req, r);
	server_node_forget(req->s, entry.nodeid, 1);
	return r;
}

ssize_t server_op_create(struct server_req *req)
{
	struct fuse_create_in in;
	size_t pos = sizeof(in);
	const char *name;
	ssize_t r;
	int tries;

	memcpy(&in, req->t->arg, sizeof(in));
	r = server_arg_name(req, &pos, &name);
	if (r)
		return r;
	if (!S_ISDIR(req->inode->type))
		return -ENOTDIR;
	/*
	 * Never open(2) something existing by name: it might be a FIFO. Others
	 * may remove it between the two steps, but not for ever.
	 */
	for (tries = 0; tries < 16; tries++) {
		r = create_new(req, name, &in, O_CREAT | O_EXCL);
		if (r >= 0)
			return reply_created(req, (int)r);
		if (r != -EEXIST || (in.flags & O_EXCL))
			return r;
		r = create_existing(req, name, &in);
		if (r != -ENOENT)
			return r;
	}
	return r;
}

ssize_t server_op_tmpfile(struct server_req *req)
{
	struct fuse_create_in in;
	int fd;

	memcpy(&in, req->t->arg, sizeof(in));
	if (!S_ISDIR(req->inode->type))
		return -ENOTDIR;
	if ((in.flags & O_ACCMODE) == O_RDONLY)
		return -EINVAL;
	fd = create_new(req, ".", &in, O_TMPFILE | (int)(in.flags & O_EXCL));
	return fd < 0 ? fd : reply_created(req, fd);
}

ssize_t server_op_release(struct server_req *req)
{
	struct fuse_release_in in;

	memcpy(&in, req->t->arg, sizeof(in));
	server_locks_drop_handle(req->s, in.fh);
	return server_handle_close(req->s, in.fh, false);
}
