/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests that name an entry of a directory. Each name is one checked
 * component, resolved against the parent's own descriptor and never followed:
 * nothing here can leave the share. What is created belongs to the client's
 * user, and the mode is what it asked for less its umask (ours is 0), which an
 * access list of the directory replaces where the client knows access lists.
 */
#include "server/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static ssize_t reply_lookup(struct server_req *req, const char *name)
{
	struct fuse_entry_out *out = (struct fuse_entry_out *)req->t->reply;
	int r = server_lookup(req, req->inode, name, out);

	return r ? r : (ssize_t)sizeof(*out);
}

ssize_t server_op_lookup(struct server_req *req)
{
	const char *name;
	size_t pos = 0;
	int r = server_arg_name(req, &pos, &name);

	return r ? r : reply_lookup(req, name);
}

/* --------------------------------------------------------------- FORGET */

ssize_t server_op_forget(struct server_req *req)
{
	struct fuse_forget_in in;

	memcpy(&in, req->t->arg, sizeof(in));
	server_node_forget(req->s, req->hdr.nodeid, in.nlookup);
	return 0;
}

ssize_t server_op_batch_forget(struct server_req *req)
{
	struct fuse_batch_forget_in in;
	struct fuse_forget_one one;
	size_t pos = sizeof(in);
	uint32_t i;

	memcpy(&in, req->t->arg, sizeof(in));
	for (i = 0; i < in.count; i++) {
		/* the count is the client's; the message ends where it ends */
		if (!range_fits(pos, sizeof(one), req->arg_len))
			break;
		memcpy(&one, req->t->arg + pos, sizeof(one));
		pos += sizeof(one);
		server_node_forget(req->s, one.nodeid, one.nlookup);
	}
	return 0;
}

/* ------------------------------------------------------------- creation */

static int enter(struct server_req *req)
{
	if (!S_ISDIR(req->inode->type))
		return -ENOTDIR;
	return server_creds_enter(req, true);
}

/* After a creation whose system call returned @r: the entry, or the error. */
static ssize_t created(struct server_req *req, int r, const char *name)
{
	if (r)
		r = -errno;
	server_mask_leave(req->t);
	server_creds_leave(req->t);
	if (!r)
		r = server_label_name(req, name,
				      req->hdr.opcode == FUSE_MKDIR);
	return r ? r : reply_lookup(req, name);
}

ssize_t server_op_mkdir(struct server_req *req)
{
	struct fuse_mkdir_in in;
	size_t pos = sizeof(in);
	const char *name;
	mode_t mode;
	int r;

	memcpy(&in, req->t->arg, sizeof(in));
	r = server_arg_name(req, &pos, &name);
	if (!r)
		r = enter(req);
	if (r)
		return r;
	mode = server_mask_enter(req, in.mode & 07777, in.umask);
	return created(req, mkdirat(req->inode->fd, name, mode), name);
}

/* The other way round of what attributes are sent with. */
static dev_t local_rdev(uint32_t rdev)
{
	return makedev((rdev & 0xfff00) >> 8,
		       (rdev & 0xff) | ((rdev >> 12) & 0xfff00));
}

ssize_t server_op_mknod(struct server_req *req)
{
	struct fuse_mknod_in in;
	size_t pos = sizeof(in);
	const char *name;
	mode_t mode;
	int r;

	memcpy(&in, req->t->arg, sizeof(in));
	r = server_arg_name(req, &pos, &name);
	if (!r)
		r = enter(req);
	if (r)
		return r;
	mode = server_mask_enter(req, in.mode, in.umask);
	return created(req, mknodat(req->inode->fd, name, mode,
				    local_rdev(in.rdev)), name);
}

ssize_t server_op_symlink(struct server_req *req)
{
	const char *name;
	const char *target;
	size_t pos = 0;
	int r = server_arg_name(req, &pos, &name);

	if (!r)
		r = fuse_take_string((const char *)req->t->arg, req->arg_len,
				     &pos, &target);
	if (!r)
		r = enter(req);
	if (r)
		return r;
	/* Any target: it is the client that follows it, in its own tree. */
	return created(req, symlinkat(target, req->inode->fd, name), name);
}

ssize_t server_op_link(struct server_req *req)
{
	struct fuse_link_in in;
	struct server_inode *old;
	size_t pos = sizeof(in);
	const char *name;
	char fd_name[12];
	int r;

	memcpy(&in, req->t->arg, sizeof(in));
	r = server_arg_name(req, &pos, &name);
	if (r)
		return r;
	if (!S_ISDIR(req->inode->type))
		return -ENOTDIR;
	r = server_node_get(req->s, in.oldnodeid, &old);
	if (r)
		return r;
	/* needs no CAP_DAC_READ_SEARCH, which AT_EMPTY_PATH would */
	r = linkat(req->share->cfg.proc_fd, server_fd_name(old->fd, fd_name),
		   req->inode->fd, name, AT_SYMLINK_FOLLOW) ? -errno : 0;
	server_node_put(req->s, old);
	return r ? r : reply_lookup(req, name);
}

/* -------------------------------------------------- removal and renaming */

static ssize_t unlink_name(struct server_req *req, int flags)
{
	const char *name;
	size_t pos = 0;
	int r = server_arg_name(req, &pos, &name);

	if (r)
		return r;
	return unlinkat(req->inode->fd, name, flags) ? -errno : 0;
}

ssize_t server_op_unlink(struct server_req *req)
{
	return unlink_name(req, 0);
}

ssize_t server_op_rmdir(struct server_req *req)
{
	return unlink_name(req, AT_REMOVEDIR);
}

static ssize_t rename_names(struct server_req *req, size_t pos,
			    uint64_t newdir, unsigned flags)
{
	struct server_inode *to;
	const char *old_name;
	const char *new_name;
	int r = server_arg_name(req, &pos, &old_name);

	if (!r)
		r = server_arg_name(req, &pos, &new_name);
	if (r)
		return r;
	r = server_node_get(req->s, newdir, &to);
	if (r)
		return r;
	r = renameat2(req->inode->fd, old_name, to->fd, new_name, flags) ?
		    -errno : 0;
	server_node_put(req->s, to);
	return r;
}

ssize_t server_op_rename(struct server_req *req)
{
	struct fuse_rename_in in;

	memcpy(&in, req->t->arg, sizeof(in));
	return rename_names(req, sizeof(in), in.newdir, 0);
}

ssize_t server_op_rename2(struct server_req *req)
{
	struct fuse_rename2_in in;

	memcpy(&in, req->t->arg, sizeof(in));
	if (in.flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE |
				   RENAME_WHITEOUT))
		return -EINVAL;
	return rename_names(req, sizeof(in), in.newdir, in.flags);
}

ssize_t server_op_readlink(struct server_req *req)
{
	size_t room = min_u64(req->in_len - sizeof(struct fuse_out_header),
			      FUSE_WIRE_PATH_MAX);
	ssize_t n;

	if (!S_ISLNK(req->inode->type))
		return -EINVAL;
	if (!room)
		return -EINVAL;
	n = readlinkat(req->inode->fd, "", (char *)req->t->reply, room);
	return n < 0 ? -errno : n;
}
