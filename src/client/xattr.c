/* SPDX-License-Identifier: BSD-2-Clause */
/* Extended attributes by path. */
#include "client/client.h"

#include <errno.h>
#include <string.h>

static unsigned walk_flags(unsigned flags)
{
	return flags & ORIEL_NOFOLLOW ? CLIENT_WALK_NOFOLLOW : 0;
}

static int check_name(const char *name)
{
	size_t len = strlen(name);

	return len && len <= FUSE_WIRE_XATTR_NAME_MAX ? 0 : -ERANGE;
}

static int sticky(int err)
{
	return err == -ENOSYS ? -EOPNOTSUPP : err;
}

/* GETXATTR (@name) or LISTXATTR (NULL): the size, with @len 0 only that. */
static ssize_t query(struct client_inode *ino, const char *name, void *buf,
		     size_t len)
{
	struct fuse_getxattr_in in = {
		.size = (uint32_t)min_u64(len, FUSE_WIRE_XATTR_SIZE_MAX),
	};
	struct fuse_getxattr_out out;
	struct iovec iov = { .iov_base = buf, .iov_len = in.size };
	struct client_call c = {
		.opcode = name ? FUSE_GETXATTR : FUSE_LISTXATTR,
		.nodeid = ino->nodeid,
		.arg = &in,
		.arg_len = sizeof(in),
		.names = { name },
	};
	int err;

	if (in.size == 0) {
		c.out = &out;
		c.out_len = sizeof(out);
	} else {
		c.bulk = &iov;
		c.n_bulk = 1;
		c.bulk_len = in.size;
	}
	err = client_call(ino->s, &c);
	if (err)
		return sticky(err);
	if (in.size)
		return (ssize_t)c.ret_bulk;
	return out.size <= FUSE_WIRE_XATTR_SIZE_MAX ? (ssize_t)out.size :
						      -EIO;
}

ssize_t oriel_getxattr(struct oriel_session *s, const char *path,
		       const char *name, void *buf, size_t len, unsigned flags)
{
	struct client_walk w;
	ssize_t n = check_name(name);

	if (!n)
		n = client_walk(s, path, walk_flags(flags), &w);
	if (!n) {
		n = query(w.ino, name, buf, len);
		client_walk_done(&w);
	}
	return n < 0 ? client_fail((int)n, "getxattr %s of %s", name, path) :
		       n;
}

ssize_t oriel_listxattr(struct oriel_session *s, const char *path, char *buf,
			size_t len, unsigned flags)
{
	struct client_walk w;
	ssize_t n = client_walk(s, path, walk_flags(flags), &w);

	if (!n) {
		n = query(w.ino, NULL, buf, len);
		client_walk_done(&w);
	}
	return n < 0 ? client_fail((int)n, "listxattr %s", path) : n;
}

static int send_set(struct client_inode *ino, const char *name,
		    const void *value, size_t len, int xflags)
{
	struct fuse_setxattr_in in = { .size = (uint32_t)len,
				       .flags = (uint32_t)xflags };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)value,
			     .iov_len = len };
	struct client_call c = {
		.opcode = FUSE_SETXATTR,
		.nodeid = ino->nodeid,
		.arg = &in,
		.arg_len = ino->s->fuse_flags & FUSE_SETXATTR_EXT ?
				   sizeof(in) :
				   FUSE_COMPAT_SETXATTR_IN_SIZE,
		.names = { name },
		.in = &iov,
		.n_in = 1,
		.in_len = len,
	};
	int err = client_call(ino->s, &c);

	client_attr_invalidate(ino);
	atomic_store(&ino->privs_clean, false);
	return sticky(err);
}

int oriel_setxattr(struct oriel_session *s, const char *path, const char *name,
		   const void *value, size_t len, int xflags, unsigned flags)
{
	struct client_walk w;
	int err = check_name(name);

	if (!err && len > FUSE_WIRE_XATTR_SIZE_MAX)
		err = -E2BIG;
	if (!err)
		err = client_walk(s, path, walk_flags(flags), &w);
	if (!err) {
		err = send_set(w.ino, name, value, len, xflags);
		client_walk_done(&w);
	}
	return err ? client_fail(err, "setxattr %s of %s", name, path) : 0;
}

int oriel_removexattr(struct oriel_session *s, const char *path,
		      const char *name, unsigned flags)
{
	struct client_walk w;
	int err = check_name(name);

	if (!err)
		err = client_walk(s, path, walk_flags(flags), &w);
	if (!err) {
		struct client_call c = { .opcode = FUSE_REMOVEXATTR,
					 .nodeid = w.ino->nodeid,
					 .names = { name } };

		err = sticky(client_call(s, &c));
		client_attr_invalidate(w.ino);
		client_walk_done(&w);
	}
	return err ? client_fail(err, "removexattr %s of %s", name, path) : 0;
}
