/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Open directories. Offsets on the wire are those of the file system itself
 * (getdents64), so they stay valid over RELEASEDIR and a daemon's restart. The
 * handle remembers where its descriptor stands, and seeks only when the client
 * continues elsewhere: file systems read a piece again for that.
 *
 * Entries pass through a buffer of the thread's. What of it did not fit into an
 * answer stays for the next, and when a client has read on once, what comes next
 * is read while it is busy with what it has got.
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

/* No offset that can be asked for. */
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

/* The least that is asked of getdents64(2), which must hold the longest name. */
#define DENTS_MIN 1024u

/* How much of getdents64(2) surely fits into @left bytes of an answer: entries
 * grow the more the shorter their names are. */
static size_t will_fit(bool plus, size_t left)
{
	const size_t least = align_up(offsetof(struct dirent64, d_name) + 2, 8);

	return left / entry_room(plus, 1) * least;
}

/* Read entries from @off on, into the thread's buffer. Their bytes or -errno. */
static ssize_t get_dents(struct server_thread *t, struct server_handle *h,
			 uint64_t off, size_t want)
{
	struct server_dents *b = &t->dents;
	const struct dirent64 *d = NULL;
	ssize_t got;
	int r = seek_to(h, off);

	b->tag = 0;
	if (r)
		return r;
	want = max_u64(min_u64(want, SERVER_DENTS_MAX), DENTS_MIN);
	got = getdents64(h->fd, b->buf, want);
	if (got < 0)
		return -errno;
	for (ssize_t at = 0; at < got; at += d->d_reclen)
		d = (const struct dirent64 *)(b->buf + at);
	if (d)
		h->dir_pos = (uint64_t)d->d_off;
	b->tag = h->dents_tag;
	b->off = off;
	b->at = 0;
	b->len = (size_t)got;
	return got;
}

/* Are the entries from @off on in the thread's buffer already? Or that there are
 * none, which is said only once. */
static bool has_dents(struct server_thread *t, const struct server_handle *h,
		      uint64_t off)
{
	const struct server_dents *b = &t->dents;

	return b->tag == h->dents_tag && b->off == off && off &&
	       (b->at < b->len || !b->len);
}

/* Append the buffer's entries. 0, or -ENOSPC: the answer is full. */
static int put_dents(struct dir_reply *dr)
{
	struct server_dents *b = &dr->req->t->dents;

	while (b->at < b->len) {
		const struct dirent64 *d =
			(const struct dirent64 *)(b->buf + b->at);
		int r = put_entry(dr, d);

		if (r)
			return r;
		b->off = (uint64_t)d->d_off;
		b->at += d->d_reclen;
	}
	return 0;
}

static int fill_locked(struct dir_reply *dr, uint64_t off)
{
	struct server_thread *t = dr->req->t;
	int r;

	do {
		if (!has_dents(t, dr->h, off)) {
			size_t want = will_fit(dr->plus, dr->size - dr->pos);
			ssize_t got;

			/* what does not fit may have to be read again */
			if (dr->pos && want < DENTS_MIN)
				return 0;
			got = get_dents(t, dr->h, off, want);
			/* what has been filled in (and counted) must go out */
			if (got < 0)
				return dr->pos ? 0 : (int)got;
		}
		if (!t->dents.len) {
			t->dents.tag = 0;
			return 0; /* the end */
		}
		r = put_dents(dr);
		off = t->dents.off;
	} while (!r);
	/* Not even one entry fits: an empty reply would mean the end. */
	return dr->pos ? 0 : -EINVAL;
}

/*
 * Does this client go on where the thread's buffer ends, or stands? Only liboriel
 * is given what was read before it asked: a kernel believes a listing until it is
 * told of a change, and may have been told already.
 */
static bool goes_on(const struct dir_reply *dr, uint64_t off)
{
	const struct server_dents *b = &dr->req->t->dents;

	return b->tag == dr->h->dents_tag && b->off == off &&
	       atomic_load_explicit(&dr->req->s->is_oriel,
				    memory_order_relaxed);
}

/* The client goes elsewhere, or is given nothing that was left over. */
static void drop_dents(struct dir_reply *dr)
{
	struct server_dents *b = &dr->req->t->dents;

	/* the descriptor stands behind what was not taken */
	if (b->tag == dr->h->dents_tag && b->at < b->len)
		dr->h->dir_pos = DIR_POS_UNKNOWN;
	b->tag = 0;
}

void server_dir_read_ahead(struct server_thread *t, struct server_handle *h,
			   size_t want)
{
	struct server_dents *b = &t->dents;

	pthread_mutex_lock(&h->dir_lock);
	/* an error is found again by who asks */
	if (b->tag == h->dents_tag && b->at >= b->len)
		(void)!get_dents(t, h, b->off, want);
	pthread_mutex_unlock(&h->dir_lock);
}

static ssize_t read_dir(struct server_req *req, bool plus)
{
	struct dir_reply dr = { .req = req, .plus = plus };
	struct fuse_read_in in;
	bool sequential;
	int r;

	memcpy(&in, req->t->arg, sizeof(in));
	dr.size = min_u64(in.size,
			  req->in_len - sizeof(struct fuse_out_header));
	dr.size = min_u64(dr.size, SERVER_REPLY_MAX);
	dr.h = server_handle_get(req->s, in.fh, true);
	if (!dr.h)
		return -EBADF;
	pthread_mutex_lock(&dr.h->dir_lock);
	sequential = goes_on(&dr, in.offset);
	if (!sequential)
		drop_dents(&dr);
	/* from the beginning it is read anew, whichever thread has a part of it */
	if (!in.offset)
		server_handle_retag(dr.h);
	r = fill_locked(&dr, in.offset);
	pthread_mutex_unlock(&dr.h->dir_lock);
	if (sequential && dr.pos)
		server_after_read_dir(req, dr.h, will_fit(plus, dr.size));
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
