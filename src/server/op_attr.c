/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * GETATTR, SETATTR, ACCESS, STATFS. Everything goes to the inode's own O_PATH
 * descriptor, by AT_EMPTY_PATH where the kernel takes it and else through
 * /proc/self/fd/N, so an open handle is not needed, and a symbolic link's own
 * attributes are meant.
 */
#include "server/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

static ssize_t reply_attr(struct server_req *req)
{
	struct fuse_attr_out *out = (struct fuse_attr_out *)req->t->reply;
	struct statx stx;
	int r = server_inode_stat(req->inode, &stx);

	if (r)
		return r;
	memset(out, 0, sizeof(*out));
	out->attr_valid = server_watch_seconds(req, req->inode, &stx);
	server_fill_attr(req->s, &stx, &out->attr);
	return sizeof(*out);
}

/* What of it concerns a client: nothing of where we have mounted what. */
#define ATTRIBUTES (STATX_ATTR_COMPRESSED | STATX_ATTR_IMMUTABLE | \
		    STATX_ATTR_APPEND | STATX_ATTR_NODUMP | \
		    STATX_ATTR_ENCRYPTED | STATX_ATTR_VERITY)

static void fill_statx(const struct server_req *req, const struct statx *stx,
		       struct statx *ret)
{
	const struct server_share_config *cfg = &req->share->cfg;
	const struct statx out = {
		.stx_mask = stx->stx_mask & (STATX_BASIC_STATS | STATX_BTIME),
		.stx_blksize = stx->stx_blksize,
		.stx_attributes = stx->stx_attributes & ATTRIBUTES,
		.stx_attributes_mask = stx->stx_attributes_mask & ATTRIBUTES,
		.stx_nlink = stx->stx_nlink,
		.stx_uid = server_id_to_guest(&cfg->uids, stx->stx_uid),
		.stx_gid = server_id_to_guest(&cfg->gids, stx->stx_gid),
		.stx_mode = stx->stx_mode,
		.stx_ino = stx->stx_ino,
		.stx_size = stx->stx_size,
		.stx_blocks = stx->stx_blocks,
		.stx_atime = stx->stx_atime,
		.stx_btime = stx->stx_btime,
		.stx_ctime = stx->stx_ctime,
		.stx_mtime = stx->stx_mtime,
		.stx_rdev_major = stx->stx_rdev_major,
		.stx_rdev_minor = stx->stx_rdev_minor,
		.stx_dev_major = stx->stx_dev_major,
		.stx_dev_minor = stx->stx_dev_minor,
	};

	*ret = out;
}

/*
 * The basic attributes are always all there, whatever was asked: the client's
 * kernel takes them for those of the inode.
 */
ssize_t server_op_statx(struct server_req *req)
{
	struct fuse_wire_statx_out *out =
		(struct fuse_wire_statx_out *)req->t->reply;
	uint64_t agreed = atomic_load_explicit(&req->s->flags,
					       memory_order_relaxed);
	struct fuse_wire_statx_in in;
	struct statx stx;

	memcpy(&in, req->t->arg, sizeof(in));
	/* It has no room for FUSE_ATTR_DAX: with GETATTR there is. */
	if (agreed & FUSE_HAS_INODE_DAX)
		return -ENOSYS;
	if (statx(req->inode->fd, "", AT_EMPTY_PATH |
		  (int)(in.sx_flags & AT_STATX_SYNC_TYPE),
		  STATX_BASIC_STATS | (in.sx_mask & STATX_BTIME), &stx))
		return -errno;
	memset(out, 0, sizeof(*out));
	out->attr_valid = server_valid_seconds(req->share);
	fill_statx(req, &stx, &out->stat);
	return sizeof(*out);
}

ssize_t server_op_getattr(struct server_req *req)
{
	return reply_attr(req);
}

/* ------------------------------------- set-uid, set-gid, capabilities */

static mode_t suid_bits(mode_t mode)
{
	mode_t bits = mode & S_ISUID;

	/* set-gid without group execution meant mandatory locking */
	if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		bits |= S_ISGID;
	return bits;
}

int server_clear_privileges(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (suid_bits(st.st_mode) &&
	    fchmod(fd, (st.st_mode & 07777) & ~suid_bits(st.st_mode)))
		return -errno;
	if (fgetxattr(fd, "security.capability", NULL, 0) >= 0 &&
	    fremovexattr(fd, "security.capability") && errno != ENODATA)
		return -errno;
	return 0;
}

bool server_kills_suid(const struct server_req *req, bool kill)
{
	uint64_t agreed = atomic_load_explicit(&req->s->flags,
					       memory_order_relaxed);

	/* Who has agreed says it each time; who has not gets the safe way. */
	return kill || !(agreed & FUSE_HANDLE_KILLPRIV_V2);
}

/* -------------------------------------------------------------- SETATTR */

static int set_mode(struct server_req *req, const struct fuse_setattr_in *in)
{
	char name[12];
	mode_t mode = in->mode & 07777;
	int r;

	if (S_ISLNK(req->inode->type))
		return -EOPNOTSUPP;
	/* The client has decided that the set-gid bit may stay. */
	if (mode & S_ISGID)
		server_fsetid_raise(req->t);
	r = fchmodat(req->share->cfg.proc_fd,
		     server_fd_name(req->inode->fd, name), mode, 0);
	r = r ? -errno : 0;
	if (mode & S_ISGID)
		server_fsetid_lower(req->t);
	return r;
}

static int set_owner(struct server_req *req, const struct fuse_setattr_in *in)
{
	const struct server_share_config *cfg = &req->share->cfg;
	uid_t uid = (uid_t)-1;
	gid_t gid = (gid_t)-1;
	int r = 0;

	if (in->valid & FATTR_UID)
		r = server_id_to_host(&cfg->uids, in->uid, &uid);
	if (!r && (in->valid & FATTR_GID))
		r = server_id_to_host(&cfg->gids, in->gid, &gid);
	if (r)
		return r;
	if (fchownat(req->inode->fd, "", uid, gid,
		     AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		return -errno;
	return 0;
}

static int truncate_fd(struct server_req *req, int fd, uint64_t size,
		       bool keep_suid)
{
	int r;

	if (keep_suid)
		server_fsetid_raise(req->t);
	r = ftruncate(fd, (off_t)size) ? -errno : 0;
	if (keep_suid)
		server_fsetid_lower(req->t);
	return r;
}

static int set_size(struct server_req *req, const struct fuse_setattr_in *in)
{
	bool keep = !server_kills_suid(req, in->valid & FATTR_KILL_SUIDGID);
	struct server_handle *h = NULL;
	int fd;
	int r;

	if (in->size > INT64_MAX)
		return -EFBIG;
	if (in->valid & FATTR_FH)
		h = server_handle_get(req->s, in->fh, false);
	if (h && h->inode == req->inode) {
		r = truncate_fd(req, h->fd, in->size, keep);
		server_handle_put(h);
		return r;
	}
	if (h)
		server_handle_put(h);
	fd = server_inode_open(req->share, req->inode, O_WRONLY);
	if (fd < 0)
		return fd;
	r = truncate_fd(req, fd, in->size, keep);
	server_fd_drop(req->share, fd);
	return r;
}

static struct timespec wire_time(uint32_t valid, uint32_t set, uint32_t now,
				 struct timespec given)
{
	struct timespec omit = { .tv_nsec = UTIME_OMIT };
	struct timespec cur = { .tv_nsec = UTIME_NOW };

	if (valid & now)
		return cur;
	return valid & set ? given : omit;
}

static int set_times(struct server_req *req, const struct fuse_setattr_in *in)
{
	struct timespec given[2] = {
		{ (time_t)in->atime, in->atimensec },
		{ (time_t)in->mtime, in->mtimensec },
	};
	struct timespec ts[2];
	char name[12];

	/* UTIME_NOW and UTIME_OMIT are numbers a client could send. */
	if (((in->valid & (FATTR_ATIME | FATTR_ATIME_NOW)) == FATTR_ATIME &&
	     in->atimensec > 999999999) ||
	    ((in->valid & (FATTR_MTIME | FATTR_MTIME_NOW)) == FATTR_MTIME &&
	     in->mtimensec > 999999999))
		return -EINVAL;
	ts[0] = wire_time(in->valid, FATTR_ATIME, FATTR_ATIME_NOW, given[0]);
	ts[1] = wire_time(in->valid, FATTR_MTIME, FATTR_MTIME_NOW, given[1]);
	if (utimensat(req->share->cfg.proc_fd,
		      server_fd_name(req->inode->fd, name), ts, 0))
		return -errno;
	return 0;
}

#define ANY_TIME \
	(FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW)

ssize_t server_op_setattr(struct server_req *req)
{
	struct fuse_setattr_in in;
	int r = 0;

	memcpy(&in, req->t->arg, sizeof(in));
	if (in.valid & (FATTR_UID | FATTR_GID))
		r = set_owner(req, &in);
	/* after the owner: chown clears bits that the mode may set anew */
	if (!r && (in.valid & FATTR_MODE))
		r = set_mode(req, &in);
	if (!r && (in.valid & FATTR_SIZE))
		r = set_size(req, &in);
	if (!r && (in.valid & ANY_TIME))
		r = set_times(req, &in);
	return r ? r : reply_attr(req);
}

/* --------------------------------------------------------------- others */

ssize_t server_op_access(struct server_req *req)
{
	struct fuse_access_in in;
	int r;

	memcpy(&in, req->t->arg, sizeof(in));
	if (in.mask & ~(uint32_t)(R_OK | W_OK | X_OK))
		return -EINVAL;
	if ((in.mask & W_OK) && req->share->cfg.readonly &&
	    (S_ISREG(req->inode->type) || S_ISDIR(req->inode->type)))
		return -EROFS;
	r = server_creds_enter(req, false);
	if (r)
		return r;
	r = faccessat(req->inode->fd, "", (int)in.mask,
		      AT_EMPTY_PATH | AT_EACCESS) ? -errno : 0;
	server_creds_leave(req->t);
	return r;
}

ssize_t server_op_statfs(struct server_req *req)
{
	struct fuse_statfs_out *out = (struct fuse_statfs_out *)req->t->reply;
	struct statfs sf;

	if (fstatfs(req->inode->fd, &sf))
		return -errno;
	memset(out, 0, sizeof(*out));
	out->st.blocks = sf.f_blocks;
	out->st.bfree = sf.f_bfree;
	out->st.bavail = sf.f_bavail;
	out->st.files = sf.f_files;
	out->st.ffree = sf.f_ffree;
	out->st.bsize = (uint32_t)sf.f_bsize;
	out->st.namelen = (uint32_t)sf.f_namelen;
	out->st.frsize = (uint32_t)(sf.f_frsize ? sf.f_frsize : sf.f_bsize);
	return sizeof(*out);
}
