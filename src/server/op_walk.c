/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * WALK, of a client that is liboriel: what would be a LOOKUP for each component
 * of a path, an OPEN, a READ and a RELEASE, in one request
 * (docs/design/compound.md). Each step is the same function that serves the
 * request of its own, so nothing can be had by it that could not be had so.
 *
 * The argument is checked as a whole, and the room for the answer, before the
 * first step. From then on there is always an answer, which says how far it
 * came: the client counts the lookups in it. So none is ever to be taken back.
 *
 * It never follows a symbolic link, nor goes up: what is no directory ends it,
 * and the client goes on from there.
 */
#include "server/internal.h"

#include <errno.h>
#include <string.h>

#define HDR_OUT sizeof(struct fuse_out_header)

/* One request under way. */
struct walk {
	struct fuse_wire_walk_in in;
	const char *path; /* in.path_len bytes, of the thread's argument */
	size_t head;      /* the answer without data */
	size_t room;      /* for data */
	struct server_inode *at; /* where it is; counted and pinned unless it is
				    the request's */
	struct fuse_wire_walk_out out;
	size_t data_len;
};

/* -------------------------------------------------------------- argument */

/* The component at *@pos into @name of FUSE_WIRE_NAME_MAX + 1 bytes: 1, 0 at the
 * end, or -EINVAL: there is none where one has to be, or it is not a name. */
static int next_name(const struct walk *w, size_t *pos, char *name)
{
	const char *p = w->path + *pos;
	size_t left = w->in.path_len - *pos;
	const char *slash = left ? memchr(p, '/', left) : NULL;
	size_t len = slash ? (size_t)(slash - p) : left;

	if (!left)
		return 0;
	/* no slash at the end: a name has to follow it */
	if (len > FUSE_WIRE_NAME_MAX || memchr(p, '\0', len) ||
	    (slash && len + 1 == left))
		return -EINVAL;
	memcpy(name, p, len);
	name[len] = '\0';
	*pos += slash ? len + 1 : len;
	return fuse_check_name(name) ? -EINVAL : 1;
}

/* Every name of it, and no more than were announced. */
static int check_path(const struct walk *w)
{
	char name[FUSE_WIRE_NAME_MAX + 1];
	size_t pos = 0;
	unsigned n = 0;
	int r;

	while ((r = next_name(w, &pos, name)) > 0)
		n++;
	if (r || n != w->in.n_names)
		return -EINVAL;
	/* only to close handles: nothing is opened */
	return n || !w->in.flags ? 0 : -EINVAL;
}

static int check_flags(const struct fuse_wire_walk_in *in)
{
	const uint32_t all = FUSE_WIRE_WALK_OPEN | FUSE_WIRE_WALK_READ |
			     FUSE_WIRE_WALK_CLOSE;
	uint32_t flags = in->flags;

	if (flags & ~all ||
	    ((flags & FUSE_WIRE_WALK_READ) && !(flags & FUSE_WIRE_WALK_OPEN)) ||
	    ((flags & FUSE_WIRE_WALK_CLOSE) && !(flags & FUSE_WIRE_WALK_READ)))
		return -EINVAL;
	/* these are a CREATE's, or change the file */
	if (in->open_flags & (O_CREAT | O_EXCL | O_TRUNC))
		return -EINVAL;
	if ((flags & FUSE_WIRE_WALK_READ) &&
	    ((in->open_flags & O_ACCMODE) != O_RDONLY ||
	     (in->open_flags & O_DIRECTORY)))
		return -EINVAL;
	return 0;
}

/* Copy and check the argument, and the room for the answer. */
static int take(const struct server_req *req, const struct fuse_ioctl_in *ioctl,
		struct walk *w)
{
	size_t have = req->arg_len - sizeof(*ioctl);
	const unsigned char *p = req->t->arg + sizeof(*ioctl);
	size_t room = req->in_len - HDR_OUT;
	size_t closes;

	if (ioctl->in_size != have || have < sizeof(w->in))
		return -EINVAL;
	memcpy(&w->in, p, sizeof(w->in));
	have -= sizeof(w->in);
	if (w->in.n_names > FUSE_WIRE_WALK_NAMES ||
	    w->in.n_close > FUSE_WIRE_WALK_CLOSES ||
	    w->in.path_len > FUSE_WIRE_WALK_PATH)
		return -EINVAL;
	closes = w->in.n_close * sizeof(uint64_t);
	if (have != closes + w->in.path_len)
		return -EINVAL;
	w->path = (const char *)p + sizeof(w->in) + closes;
	w->head = sizeof(struct fuse_ioctl_out) + sizeof(w->out) +
		  w->in.n_names * sizeof(struct fuse_entry_out);
	if (room < w->head || check_flags(&w->in))
		return -EINVAL;
	w->room = min_u64(room - w->head, FUSE_WIRE_MAX_WRITE);
	return check_path(w);
}

/* ----------------------------------------------------------------- steps */

static void close_handles(struct server_req *req, const struct walk *w)
{
	const unsigned char *p = req->t->arg + sizeof(struct fuse_ioctl_in) +
				 sizeof(w->in);
	uint64_t fh;
	uint32_t i;

	for (i = 0; i < w->in.n_close; i++) {
		memcpy(&fh, p + i * sizeof(fh), sizeof(fh));
		server_after_close_handle(req, fh);
	}
}

/* Names until the last, an error, or something that leads no further. */
static void look_up(struct server_req *req, struct walk *w,
		    struct fuse_entry_out *entries)
{
	char name[FUSE_WIRE_NAME_MAX + 1];
	struct server_inode *found;
	size_t pos = 0;

	while (next_name(w, &pos, name) > 0) {
		w->out.error = server_lookup_keep(req, w->at, name,
						  &entries[w->out.n], &found);
		if (w->out.error)
			return;
		w->out.n++;
		if (w->at != req->inode)
			server_node_put(req->s, w->at);
		w->at = found;
		if (!S_ISDIR(found->type))
			return;
	}
}

/* True: that was all of it, which is in the answer. */
static bool read_whole(struct server_req *req, struct walk *w, int fd)
{
	size_t want = min_u64(w->in.size, w->room);
	ssize_t n = server_read_behind(req, fd, w->head, want);

	if (n < 0)
		return false; /* it may ask itself, and be told why */
	w->data_len = (size_t)n;
	w->out.flags |= FUSE_WIRE_WALK_READ;
	/* its end, or all that is asked for */
	return (w->in.flags & FUSE_WIRE_WALK_CLOSE) &&
	       ((size_t)n < want || w->in.size == want);
}

/* 0: *@ret is a handle; 1: no handle is needed any more; or -errno. */
static int open_file(struct server_req *req, struct walk *w,
		     struct fuse_open_out *ret)
{
	struct fuse_open_in in = { .flags = w->in.open_flags };
	int fd = server_open_fd(req, w->at, &in);

	if (fd < 0)
		return fd;
	if ((w->in.flags & FUSE_WIRE_WALK_READ) && read_whole(req, w, fd)) {
		server_after_close_fd(req, fd);
		return 1;
	}
	return server_open_handle(req, w->at, fd, ret);
}

/* What is asked to be opened as what it is. */
static void open_found(struct server_req *req, struct walk *w)
{
	const bool as_dir = w->in.open_flags & O_DIRECTORY;
	struct fuse_open_out opened = { 0 };
	int r;

	if (!(w->in.flags & FUSE_WIRE_WALK_OPEN) || w->out.error ||
	    w->out.n < w->in.n_names ||
	    w->at->type != (as_dir ? S_IFDIR : S_IFREG))
		return;
	r = as_dir ? server_open_dir(req, w->at, &opened) :
		     open_file(req, w, &opened);
	if (r < 0) {
		w->out.error = r;
		w->out.flags = 0;
		w->data_len = 0;
		return;
	}
	w->out.flags |= FUSE_WIRE_WALK_OPEN | (r ? FUSE_WIRE_WALK_CLOSE : 0);
	w->out.fh = opened.fh;
	w->out.open_flags = opened.open_flags;
}

ssize_t server_op_walk(struct server_req *req, const struct fuse_ioctl_in *in)
{
	const size_t out_at = sizeof(struct fuse_ioctl_out);
	unsigned char *reply = req->t->reply;
	struct walk w = { .at = req->inode };
	int r = take(req, in, &w);

	if (r)
		return r;
	memset(reply, 0, w.head);
	close_handles(req, &w);
	look_up(req, &w,
		(struct fuse_entry_out *)(reply + out_at + sizeof(w.out)));
	open_found(req, &w);
	if (w.at != req->inode)
		server_node_put(req->s, w.at);
	memcpy(reply + out_at, &w.out, sizeof(w.out));
	if (!w.data_len)
		return (ssize_t)w.head;
	server_iov_write(req->in, req->n_in, HDR_OUT, reply, w.head);
	req->direct = true;
	return (ssize_t)(w.head + w.data_len);
}
