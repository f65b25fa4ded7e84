/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Open directories. Offsets on the wire are those of the file system itself
 * (getdents64), so they stay valid over RELEASEDIR and a daemon's restart. The
 * handle remembers where its descriptor stands, and seeks only when the client
 * continues elsewhere.
 *
 * READDIRPLUS never loses a name: where an inode cannot be had (no descriptors
 * left, say) the entry goes out with nodeid 0 and the client looks it up later.
 */
#include "server/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define DIR_POS_UNKNOWN UINT64_MAX

int server_open_dir(struct server_req *req, struct server_inode *dir,
		    struct fuse_open_out *ret)
{
	uint64_t fh;
	int fd;
	int r;

	if (!S_ISDIR(dir->type))
		return -ENOTDIR;
	r = server_fd_reserve(req->share);
	if (r)
		return r;
	fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		r = -errno;
		server_fd_release(req->share);
		return r;
	}
	r = server_handle_new(req->s, fd, dir, true, &fh);
	if (r) {
		server_fd_drop(req->share, fd);
		return r;
	}
	memset(ret, 0, sizeof(*ret));
	ret->fh = fh;
	ret->open_flags = server_open_flags(req->share, true);
	/* a listing is believed until we say otherwise */
	if (req->s->cfg.notify_ops && server_watch_get(req->share, false) &&
	    !server_watch_dir(req, dir))
		ret->open_flags = 0;
	return 0;
}

ssize_t server_op_opendir(struct server_req *req)
{
	struct fuse_open_out *out = (struct fuse_open_out *)req->t->reply;
	int r = server_open_dir(req, req->inode, out);

	return r ? r : (ssize_t)sizeof(*out);
}

ssize_t server_op_releasedir(struct server_req *req)
{
	struct fuse_release_in in;

	memcpy(&in, req->t->arg, sizeof(in));
	return server_handle_close(req->s, in.fh, true);
}

ssize_t server_op_fsyncdir(struct server_req *req)
{
	struct server_handle *h;
	struct fuse_fsync_in in;
	int r;

	memcpy(&in, req->t->arg, sizeof(in));
	h = server_handle_get(req->s, in.fh, true);
	if (!h)
		return -EBADF;
	r = in.fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(h->fd) :
						    fsync(h->fd);
	r = r ? -errno : 0;
	server_handle_put(h);
	return r;
}

/* A reply of READDIR or READDIRPLUS that is being filled. */
struct dir_reply {
	struct server_req *req;
	struct server_handle *h;
	bool plus;
	size_t size; /* room */
	size_t pos;  /* used */
};

static bool is_dot(const char *name)
{
	return name[0] == '.' &&
	       (!name[1] || (name[1] == '.' && !name[2]));
}

/* Room of one entry: header, name, padding. */
static size_t entry_room(bool plus, size_t namelen)
{
	size_t head = plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;

	return align_up(head + namelen, 8);
}

/* 0: appended (or gone meanwhile); -ENOSPC: no room. */
static int put_entry(struct dir_reply *dr, const struct dirent64 *d)
{
	struct fuse_entry_out entry = { 0 };
	size_t namelen = strlen(d->d_name);
	uint64_t ino = d->d_ino;
	int r;

	if (entry_room(dr->plus, namelen) > dr->size - dr->pos)
		return -ENOSPC;
	/* What is above the share is nobody's business. */
	if (dr->h->inode == dr->req->share->root && is_dot(d->d_name))
		ino = dr->h->inode->key.ino;
	if (dr->plus && !is_dot(d->d_name)) {
		r = server_lookup(dr->req, dr->h->inode, d->d_name, &entry);
		if (r == -ENOENT)
			return 0;
		if (r)
			memset(&entry, 0, sizeof(entry));
	}
	r = fuse_put_dirent(dr->req->t->reply, dr->size, &dr->pos, ino,
			    (uint64_t)d->d_off, d->d_type, d->d_name, namelen,
			    dr->plus ? &entry : NULL);
	if (r && entry.nodeid)
		server_node_forget(dr->req->s, entry.nodeid, 1);
	return r;
}

static int seek_to(struct server_handle *h, uint64_t off)
{
	if (off > INT64_MAX)
		return -EINVAL;
	if (h->dir_pos == off)
		return 0;
	if (lseek(h->fd, (off_t)off, SEEK_SET) < 0)
		return -errno;
	h->dir_pos = off;
	return 0;
}

/*
 * Read a batch of entries and append them. 1: there may be more; 0: end of the
 * directory; -ENOSPC: the reply is full.
 */
static int fill_batch(struct dir_reply *dr)
{
	struct server_handle *h = dr->h;
	char *buf = (char *)dr->req->t->dents;
	size_t left = dr->size - dr->pos;
	size_t want = max_u64(min_u64(dr->plus ? left / 4 : left,
				      SERVER_DENTS_MAX), 1024);
	ssize_t got = getdents64(h->fd, buf, want);
	ssize_t at = 0;

	if (got < 0)
		return -errno;
	while (at < got) {
		struct dirent64 *d = (struct dirent64 *)(buf + at);
		int r = put_entry(dr, d);

		if (r) {
			/* the descriptor stands behind what was not taken */
			h->dir_pos = DIR_POS_UNKNOWN;
			return r;
		}
		h->dir_pos = (uint64_t)d->d_off;
		at += d->d_reclen;
	}
	return got > 0;
}

static int fill_locked(struct dir_reply *dr, uint64_t off)
{
	int r = seek_to(dr->h, off);

	if (r)
		return r;
	do {
		r = fill_batch(dr);
	} while (r > 0);
	/* What has been filled in (and counted) must go out. */
	if (dr->pos)
		return 0;
	/* Not even one entry fits: an empty reply would mean the end. */
	return r == -ENOSPC ? -EINVAL : r;
}

static ssize_t read_dir(struct server_req *req, bool plus)
{
	struct dir_reply dr = { .req = req, .plus = plus };
	struct fuse_read_in in;
	int r;

	memcpy(&in, req->t->arg, sizeof(in));
	dr.size = min_u64(in.size,
			  req->in_len - sizeof(struct fuse_out_header));
	dr.size = min_u64(dr.size, SERVER_REPLY_MAX);
	dr.h = server_handle_get(req->s, in.fh, true);
	if (!dr.h)
		return -EBADF;
	pthread_mutex_lock(&dr.h->dir_lock);
	r = fill_locked(&dr, in.offset);
	pthread_mutex_unlock(&dr.h->dir_lock);
	server_handle_put(dr.h);
	return r < 0 ? r : (ssize_t)dr.pos;
}

ssize_t server_op_readdir(struct server_req *req)
{
	return read_dir(req, false);
}

ssize_t server_op_readdirplus(struct server_req *req)
{
	return read_dir(req, true);
}
