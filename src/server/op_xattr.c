/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Extended attributes. An O_PATH descriptor cannot be used for them, and
 * special files must not be opened, so they are reached as "N" relative to
 * /proc/self/fd (see thread.c): that is the inode itself, also of a symbolic
 * link or a FIFO, and no path is walked.
 */
#include "server/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>

/* Common beginning: is it allowed, and the name of the inode in @buf. */
static int enter(struct server_req *req, char *buf, const char **ret_path)
{
	int r;

	if (!req->share->cfg.xattr)
		return -ENOSYS;
	r = server_thread_enter_proc(req->t, req->share->cfg.proc_fd);
	if (r)
		return -EOPNOTSUPP;
	*ret_path = server_fd_name(req->inode->fd, buf);
	return 0;
}

/* The name in the request as the host has it; in @buf where they differ. */
static int take_xattr_name(const struct server_req *req, size_t *pos,
			   char buf[SERVER_XATTR_NAME], const char **ret)
{
	const struct server_xattrmap *map = req->share->cfg.xattrmap;
	const char *name;
	int r = fuse_take_string((const char *)req->t->arg, req->arg_len, pos,
				 &name);

	if (r)
		return r;
	if (!*name || strlen(name) > FUSE_WIRE_XATTR_NAME_MAX)
		return -ERANGE;
	if (map)
		return server_xattrmap_to_host(map, name, buf, ret);
	*ret = name;
	return 0;
}

/* With SETXATTR_EXT the structure has grown. */
static int take_setxattr_in(const struct server_req *req, size_t *pos,
			    struct fuse_setxattr_in *ret)
{
	uint64_t agreed = atomic_load_explicit(&req->s->flags,
					       memory_order_relaxed);
	size_t size = agreed & FUSE_SETXATTR_EXT ?
			      sizeof(*ret) : FUSE_COMPAT_SETXATTR_IN_SIZE;

	if (req->arg_len < size)
		return -EINVAL;
	memset(ret, 0, sizeof(*ret));
	memcpy(ret, req->t->arg, size);
	*pos = size;
	return 0;
}

/* An access list was set that takes the set-gid bit away. */
static int drop_sgid(struct server_req *req, const char *path)
{
	struct statx stx;
	int r = server_inode_stat(req->inode, &stx);

	if (r || !(stx.stx_mode & S_ISGID))
		return r;
	return fchmodat(req->share->cfg.proc_fd, path,
			stx.stx_mode & 07777 & ~S_ISGID, 0) ? -errno : 0;
}

/*
 * A client that knows access lists says when the set-gid bit has to go; with
 * ours it would go each time, since the group is not ours.
 */
static int set_value(struct server_req *req, const char *path, const char *name,
		     size_t pos, const struct fuse_setxattr_in *in)
{
	uint64_t agreed = atomic_load_explicit(&req->s->flags,
					       memory_order_relaxed);
	bool keep = agreed & FUSE_POSIX_ACL;
	int r;

	if (keep)
		server_fsetid_raise(req->t);
	r = setxattr(path, name, req->t->arg + pos, in->size, (int)in->flags) ?
		    -errno : 0;
	if (keep)
		server_fsetid_lower(req->t);
	return r;
}

ssize_t server_op_setxattr(struct server_req *req)
{
	struct fuse_setxattr_in in;
	const char *name;
	const char *path;
	char host[SERVER_XATTR_NAME];
	char buf[12];
	size_t pos;
	int r = enter(req, buf, &path);

	if (!r)
		r = take_setxattr_in(req, &pos, &in);
	if (!r)
		r = take_xattr_name(req, &pos, host, &name);
	if (r)
		return r;
	if (in.size > FUSE_WIRE_XATTR_SIZE_MAX)
		return -E2BIG;
	if (in.size > req->arg_len - pos)
		return -EINVAL;
	r = set_value(req, path, name, pos, &in);
	if (r)
		return r;
	if (in.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID)
		return drop_sgid(req, path);
	return 0;
}

/* The reply to a question for the size. */
static ssize_t reply_size(struct server_req *req, ssize_t size)
{
	struct fuse_getxattr_out *out =
		(struct fuse_getxattr_out *)req->t->reply;

	if (size < 0)
		return -errno;
	if (req->in_len - sizeof(struct fuse_out_header) < sizeof(*out))
		return -EINVAL;
	memset(out, 0, sizeof(*out));
	out->size = (uint32_t)size;
	return sizeof(*out);
}

/* Bytes of value the client has room for, or -ERANGE via the system call. */
static size_t value_room(const struct server_req *req, uint32_t asked)
{
	size_t room = req->in_len - sizeof(struct fuse_out_header);

	return min_u64(min_u64(asked, room), SERVER_REPLY_MAX);
}

ssize_t server_op_getxattr(struct server_req *req)
{
	struct fuse_getxattr_in in;
	size_t pos = sizeof(in);
	const char *name;
	const char *path;
	char host[SERVER_XATTR_NAME];
	char buf[12];
	size_t room;
	ssize_t n;
	int r = enter(req, buf, &path);

	if (!r)
		r = take_xattr_name(req, &pos, host, &name);
	if (r)
		return r;
	memcpy(&in, req->t->arg, sizeof(in));
	if (!in.size)
		return reply_size(req, getxattr(path, name, NULL, 0));
	room = value_room(req, in.size);
	if (!room)
		return -ERANGE;
	n = getxattr(path, name, req->t->reply, room);
	return n < 0 ? -errno : n;
}

/* All names first: how many the client sees of them only they tell. */
static ssize_t list_mapped(struct server_req *req, const char *path,
			   uint32_t asked)
{
	char *list = (char *)req->t->reply;
	ssize_t n = listxattr(path, list, SERVER_REPLY_MAX);

	if (n < 0)
		return -errno;
	n = (ssize_t)server_xattrmap_list(req->share->cfg.xattrmap, list,
					  (size_t)n);
	if (!asked)
		return reply_size(req, n);
	return (size_t)n > value_room(req, asked) ? -ERANGE : n;
}

ssize_t server_op_listxattr(struct server_req *req)
{
	struct fuse_getxattr_in in;
	const char *path;
	char buf[12];
	size_t room;
	ssize_t n;
	int r = enter(req, buf, &path);

	if (r)
		return r;
	memcpy(&in, req->t->arg, sizeof(in));
	if (req->share->cfg.xattrmap)
		return list_mapped(req, path, in.size);
	if (!in.size)
		return reply_size(req, listxattr(path, NULL, 0));
	room = value_room(req, in.size);
	if (!room)
		return -ERANGE;
	n = listxattr(path, (char *)req->t->reply, room);
	return n < 0 ? -errno : n;
}

ssize_t server_op_removexattr(struct server_req *req)
{
	const char *name;
	const char *path;
	size_t pos = 0;
	char host[SERVER_XATTR_NAME];
	char buf[12];
	int r = enter(req, buf, &path);

	if (!r)
		r = take_xattr_name(req, &pos, host, &name);
	if (r)
		return r;
	return removexattr(path, name) ? -errno : 0;
}
