/* SPDX-License-Identifier: BSD-2-Clause */
/* Making, linking, removing and renaming names. */
#include "client/client.h"

#include <errno.h>
#include <stdio.h> /* RENAME_EXCHANGE */
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* A request in w->dir whose reply is an entry: count it and let it go. */
static int make_entry(struct client_walk *w, struct client_call *c)
{
	struct oriel_session *s = w->dir->s;
	struct fuse_entry_out out;
	struct client_inode *ino;
	uint64_t version = client_version(s);
	int err;

	c->nodeid = w->dir->nodeid;
	c->out = &out;
	c->out_len = sizeof(out);
	err = client_call(s, c);
	client_attr_invalidate(w->dir);
	if (err)
		return err;
	err = client_inode_get(s, &out, version, &ino);
	if (!err)
		client_inode_put(ino);
	return err;
}

/* One of MKDIR, MKNOD, SYMLINK, LINK at @path. */
static int make_at(struct oriel_session *s, const char *path,
		   struct client_call *c, bool dir_allowed)
{
	struct client_walk w;
	int err = client_walk_parent(s, path, &w);

	if (err == -EBUSY)
		return -EEXIST; /* the root, "." and ".." are there */
	if (err)
		return err;
	if (w.must_be_dir && !dir_allowed)
		err = -ENOENT;
	c->names[0] = w.name;
	if (!err)
		err = make_entry(&w, c);
	client_walk_done(&w);
	return err;
}

int oriel_mkdir(struct oriel_session *s, const char *path, mode_t mode)
{
	struct fuse_mkdir_in in = { .mode = mode & 07777u };
	struct client_call c = { .opcode = FUSE_MKDIR,
				 .arg = &in,
				 .arg_len = sizeof(in) };
	int err = make_at(s, path, &c, true);

	return err ? client_fail(err, "mkdir %s", path) : 0;
}

int oriel_mknod(struct oriel_session *s, const char *path, mode_t mode,
		dev_t dev)
{
	struct fuse_mknod_in in = { .mode = mode };
	struct client_call c = { .opcode = FUSE_MKNOD,
				 .arg = &in,
				 .arg_len = sizeof(in) };
	unsigned minor_nr = minor(dev);
	int err;

	in.rdev = (minor_nr & 0xff) | (major(dev) << 8) |
		  ((minor_nr & ~0xffu) << 12);
	err = make_at(s, path, &c, false);
	return err ? client_fail(err, "mknod %s", path) : 0;
}

int oriel_symlink(struct oriel_session *s, const char *target, const char *path)
{
	struct client_call c = { .opcode = FUSE_SYMLINK };
	struct client_walk w;
	size_t len = strlen(target);
	struct iovec iov = { .iov_base = (void *)(uintptr_t)target,
			     .iov_len = len + 1 };
	int err;

	if (!len)
		err = -ENOENT;
	else if (len >= FUSE_WIRE_PATH_MAX)
		err = -ENAMETOOLONG;
	else
		err = client_walk_parent(s, path, &w);
	if (err == -EBUSY)
		err = -EEXIST;
	else if (!err) {
		c.names[0] = w.name;
		c.in = &iov; /* too long for the header's piece */
		c.n_in = 1;
		c.in_len = len + 1;
		err = make_entry(&w, &c);
		client_walk_done(&w);
	}
	return err ? client_fail(err, "symlink %s", path) : 0;
}

ssize_t oriel_readlink(struct oriel_session *s, const char *path, char *buf,
		       size_t len)
{
	char target[FUSE_WIRE_PATH_MAX];
	struct client_walk w;
	ssize_t n = client_walk(s, path, CLIENT_WALK_NOFOLLOW, &w);

	if (!n) {
		n = client_readlink(w.ino, target, sizeof(target));
		client_walk_done(&w);
	}
	if (n < 0)
		return client_fail((int)n, "readlink %s", path);
	memcpy(buf, target, (size_t)min_u64((uint64_t)n, len));
	return n;
}

int oriel_link(struct oriel_session *s, const char *old, const char *path)
{
	struct fuse_link_in in;
	struct client_call c = { .opcode = FUSE_LINK,
				 .arg = &in,
				 .arg_len = sizeof(in) };
	struct client_walk w;
	int err = client_walk(s, old, CLIENT_WALK_NOFOLLOW, &w);

	if (!err) {
		in.oldnodeid = w.ino->nodeid;
		err = S_ISDIR(w.ino->type) ? -EPERM :
					     make_at(s, path, &c, false);
		client_attr_invalidate(w.ino);
		client_walk_done(&w);
	}
	return err ? client_fail(err, "link %s to %s", path, old) : 0;
}

/*
 * UNLINK or RMDIR of w->name. The name is looked up first: some daemons (the
 * virtiofsd of QEMU) act only on names that the client knows, as a kernel would.
 */
static int send_remove(struct client_walk *w, uint32_t opcode)
{
	struct client_call c = { .opcode = opcode,
				 .nodeid = w->dir->nodeid,
				 .names = { w->name } };
	int err = client_lookup(w->dir, w->name, &w->ino);

	if (err)
		return err;
	if (w->must_be_dir && !S_ISDIR(w->ino->type))
		return -ENOTDIR;
	err = client_call(w->dir->s, &c);
	client_attr_invalidate(w->dir);
	client_attr_invalidate(w->ino); /* nlink, ctime */
	if (!err) {
		client_inode_nameless(w->ino);
		client_release_now(w->dir->s, w->ino->nodeid);
	}
	return err;
}

static int remove_name(struct oriel_session *s, const char *path,
		       uint32_t opcode)
{
	struct client_walk w;
	int err = client_walk_parent(s, path, &w);

	if (err == -EBUSY && opcode == FUSE_UNLINK)
		return -EISDIR;
	if (err)
		return err;
	err = send_remove(&w, opcode);
	client_walk_done(&w);
	return err;
}

int oriel_unlink(struct oriel_session *s, const char *path)
{
	int err = remove_name(s, path, FUSE_UNLINK);

	return err ? client_fail(err, "unlink %s", path) : 0;
}

int oriel_rmdir(struct oriel_session *s, const char *path)
{
	int err = remove_name(s, path, FUSE_RMDIR);

	return err ? client_fail(err, "rmdir %s", path) : 0;
}

static int send_rename(struct client_walk *from, struct client_walk *to,
		       unsigned flags)
{
	struct fuse_rename_in in = { .newdir = to->dir->nodeid };
	struct fuse_rename2_in in2 = { .newdir = to->dir->nodeid,
				       .flags = flags };
	struct client_call c = {
		.opcode = flags ? FUSE_RENAME2 : FUSE_RENAME,
		.nodeid = from->dir->nodeid,
		.arg = flags ? (const void *)&in2 : &in,
		.arg_len = flags ? sizeof(in2) : sizeof(in),
		.names = { from->name, to->name },
	};
	/* both names are made known first, see send_remove() */
	int err = client_lookup(from->dir, from->name, &from->ino);

	if (!err)
		err = client_lookup(to->dir, to->name, &to->ino);
	if (err == -ENOENT && from->ino)
		err = 0; /* a new name */
	if (err)
		return err;
	err = client_call(from->dir->s, &c);
	client_attr_invalidate(from->dir);
	client_attr_invalidate(to->dir);
	client_attr_invalidate(from->ino);
	if (to->ino)
		client_attr_invalidate(to->ino);
	if (to->ino && !err && !(flags & RENAME_EXCHANGE)) {
		client_inode_nameless(to->ino);
		client_release_now(to->dir->s, to->ino->nodeid);
	}
	return err == -ENOSYS && flags ? -EINVAL : err;
}

int oriel_rename(struct oriel_session *s, const char *old, const char *path,
		 unsigned flags)
{
	struct client_walk from, to;
	int err = client_walk_parent(s, old, &from);

	if (!err) {
		err = client_walk_parent(s, path, &to);
		if (!err) {
			err = send_rename(&from, &to, flags);
			client_walk_done(&to);
		}
		client_walk_done(&from);
	}
	return err ? client_fail(err, "rename %s to %s", old, path) : 0;
}
