/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is done with the data of an open file: READ, WRITE, and what concerns
 * its extents. READ and WRITE hand the client's pieces to preadv(2) and
 * pwritev(2); a buffer of ours is used only where the file is open with O_DIRECT
 * and the pieces are not aligned (bounce.c).
 */
#include "server/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define HDR_IN sizeof(struct fuse_in_header)
#define HDR_OUT sizeof(struct fuse_out_header)

/* --------------------------------------------------------- READ and WRITE */

enum how {
	HOW_READ,
	HOW_WRITE,
	HOW_APPEND, /* at the end, wherever that is by now */
};

/* One system call for up to IOV_MAX pieces; a single one needs no array. */
static ssize_t transfer_once(int fd, const struct iovec *iov, unsigned n,
			     off_t off, enum how how)
{
	if (how == HOW_APPEND)
		return pwritev2(fd, iov, (int)n, off, RWF_APPEND);
	if (n == 1)
		return how == HOW_WRITE ?
			       pwrite(fd, iov->iov_base, iov->iov_len, off) :
			       pread(fd, iov->iov_base, iov->iov_len, off);
	return how == HOW_WRITE ? pwritev(fd, iov, (int)n, off) :
				  preadv(fd, iov, (int)n, off);
}

/* All pieces of @iov at @off; stops at the first short call. */
static ssize_t transfer(int fd, const struct iovec *iov, unsigned n,
			uint64_t off, enum how how)
{
	size_t done = 0;

	while (n) {
		unsigned now = n < IOV_MAX ? n : IOV_MAX;
		size_t want = server_iov_len(iov, now);
		ssize_t r = transfer_once(fd, iov, now, (off_t)(off + done),
					  how);

		if (r < 0)
			return done ? (ssize_t)done : -errno;
		done += (size_t)r;
		if ((size_t)r < want)
			break;
		iov += now;
		n -= now;
	}
	return (ssize_t)done;
}

/* The first @n pieces of the thread's array; O_DIRECT may need a detour. */
static ssize_t move(struct server_req *req, int fd, unsigned n, uint64_t off,
		    enum how how)
{
	const struct server_bounce b = {
		.fd = fd,
		.iov = req->t->iov,
		.n = n,
		.off = off,
		.write = how != HOW_READ,
		.append = how == HOW_APPEND,
	};
	ssize_t r = transfer(fd, req->t->iov, n, off, how);

	if (ORIEL_UNLIKELY(r == -EINVAL) && req->share->cfg.allow_direct_io)
		r = server_bounce(req->t, &b);
	return r;
}

/* A client that writes back has decided where what is appended goes. */
static enum how how_to_write(const struct server_req *req,
			     const struct fuse_write_in *in)
{
	if (!(in->flags & O_APPEND) || server_writes_back(req) ||
	    (in->write_flags & FUSE_WRITE_CACHE))
		return HOW_WRITE;
	return HOW_APPEND;
}

ssize_t server_op_read(struct server_req *req)
{
	struct server_handle *h;
	struct fuse_read_in in;
	size_t len;
	unsigned n;
	ssize_t r;

	memcpy(&in, req->t->arg, sizeof(in));
	if (in.offset > INT64_MAX)
		return -EINVAL;
	len = min_u64(in.size, req->in_len - HDR_OUT);
	len = min_u64(len, FUSE_WIRE_MAX_WRITE);
	len = min_u64(len, INT64_MAX - in.offset);
	h = server_handle_get(req->s, in.fh, false);
	if (!h)
		return -EBADF;
	n = server_iov_slice(req->in, req->n_in, HDR_OUT, len, req->t->iov);
	r = move(req, h->fd, n, in.offset, HOW_READ);
	server_handle_put(h);
	req->direct = true;
	return r;
}

ssize_t server_read_behind(struct server_req *req, int fd, size_t skip,
			   size_t len)
{
	unsigned n = server_iov_slice(req->in, req->n_in, HDR_OUT + skip, len,
				      req->t->iov);

	return move(req, fd, n, 0, HOW_READ);
}

/* A privileged client writes to a set-uid file: the bits stay. */
static bool keeps_suid(struct server_req *req, int fd, uint32_t write_flags)
{
	struct stat st;

	if (server_kills_suid(req, write_flags & FUSE_WRITE_KILL_SUIDGID))
		return false;
	return !fstat(fd, &st) && (st.st_mode & (S_ISUID | S_ISGID));
}

/* Where the file ends now, after an append of who wants to know; else 0. */
static uint64_t end_after(const struct server_req *req, int fd,
			  const struct fuse_write_in *in)
{
	struct stat st;

	if (in->padding != FUSE_WIRE_WRITE_ASK_END ||
	    how_to_write(req, in) != HOW_APPEND ||
	    req->in_len < HDR_OUT + sizeof(struct fuse_wire_write_out) ||
	    fstat(fd, &st))
		return 0;
	return (uint64_t)st.st_size;
}

ssize_t server_op_write(struct server_req *req)
{
	struct fuse_wire_write_out *out = (void *)req->t->reply;
	struct server_handle *h;
	struct fuse_write_in in;
	uint64_t end = 0;
	bool keep;
	unsigned n;
	ssize_t r;

	memcpy(&in, req->t->arg, sizeof(in));
	if (in.size > req->data_len || in.size > FUSE_WIRE_MAX_WRITE)
		return -EINVAL;
	if (in.offset > (uint64_t)INT64_MAX - in.size)
		return -EFBIG;
	h = server_handle_get(req->s, in.fh, false);
	if (!h)
		return -EBADF;
	n = server_iov_slice(req->out, req->n_out, HDR_IN + sizeof(in),
			     in.size, req->t->iov);
	keep = keeps_suid(req, h->fd, in.write_flags);
	if (keep)
		server_fsetid_raise(req->t);
	r = move(req, h->fd, n, in.offset, how_to_write(req, &in));
	if (keep)
		server_fsetid_lower(req->t);
	if (r >= 0)
		end = end_after(req, h->fd, &in);
	server_handle_put(h);
	if (r < 0)
		return r;
	memset(out, 0, sizeof(*out));
	out->size = (uint32_t)r;
	out->end = end;
	return end ? sizeof(*out) : sizeof(struct fuse_write_out);
}

/* ----------------------------------------------------------------- others */

ssize_t server_op_flush(struct server_req *req)
{
	struct server_handle *h;
	struct fuse_flush_in in;
	int r = 0;
	int fd;

	memcpy(&in, req->t->arg, sizeof(in));
	h = server_handle_get(req->s, in.fh, false);
	if (!h)
		return -EBADF;
	/* Network file systems report late write errors at close(2). */
	fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 3);
	if (fd >= 0 && close(fd))
		r = -errno;
	server_locks_drop_owner(req->s, h->inode, in.lock_owner);
	server_handle_put(h);
	return r;
}

ssize_t server_op_fsync(struct server_req *req)
{
	struct server_handle *h;
	struct fuse_fsync_in in;
	int r;

	memcpy(&in, req->t->arg, sizeof(in));
	h = server_handle_get(req->s, in.fh, false);
	if (!h)
		return -EBADF;
	r = in.fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(h->fd) :
						    fsync(h->fd);
	r = r ? -errno : 0;
	server_handle_put(h);
	return r;
}

ssize_t server_op_fallocate(struct server_req *req)
{
	struct fuse_fallocate_in in;
	struct server_handle *h;
	int r;

	memcpy(&in, req->t->arg, sizeof(in));
	if (in.offset > INT64_MAX || in.length > INT64_MAX ||
	    !range_fits(in.offset, in.length, INT64_MAX))
		return -EFBIG;
	h = server_handle_get(req->s, in.fh, false);
	if (!h)
		return -EBADF;
	r = fallocate(h->fd, (int)in.mode, (off_t)in.offset,
		      (off_t)in.length) ? -errno : 0;
	server_handle_put(h);
	return r;
}

ssize_t server_op_lseek(struct server_req *req)
{
	struct fuse_lseek_out *out = (struct fuse_lseek_out *)req->t->reply;
	struct server_handle *h;
	struct fuse_lseek_in in;
	off_t pos;

	memcpy(&in, req->t->arg, sizeof(in));
	if (in.offset > INT64_MAX)
		return in.whence == SEEK_DATA || in.whence == SEEK_HOLE ?
			       -ENXIO : -EINVAL;
	/* The position of our descriptor is nobody's: no SEEK_CUR. */
	if (in.whence != SEEK_DATA && in.whence != SEEK_HOLE &&
	    in.whence != SEEK_END && in.whence != SEEK_SET)
		return -EINVAL;
	h = server_handle_get(req->s, in.fh, false);
	if (!h)
		return -EBADF;
	pos = lseek(h->fd, (off_t)in.offset, (int)in.whence);
	if (pos < 0)
		pos = -errno;
	server_handle_put(h);
	if (pos < 0)
		return pos;
	out->offset = (uint64_t)pos;
	return sizeof(*out);
}

/*
 * The older reply has 32 bits for what was copied; and nobody's copy_file_range(2)
 * does 4 GiB in one call, whatever it is asked for.
 */
#define COPY_MAX (UINT64_C(0xffffffff) & ~UINT64_C(0xffff))

static ssize_t copy_range(struct server_handle *from, struct server_handle *to,
			  const struct fuse_copy_file_range_in *in)
{
	off_t off_in = (off_t)in->off_in;
	off_t off_out = (off_t)in->off_out;
	ssize_t r = copy_file_range(from->fd, &off_in, to->fd, &off_out,
				    min_u64(in->len, COPY_MAX), 0);

	return r < 0 ? -errno : r;
}

/* Bytes copied, or the error: what both requests have in common. */
static ssize_t copy_asked(struct server_req *req)
{
	struct fuse_copy_file_range_in in;
	struct server_handle *from;
	struct server_handle *to;
	ssize_t r = -EBADF;

	memcpy(&in, req->t->arg, sizeof(in));
	if (in.flags || in.off_in > INT64_MAX || in.off_out > INT64_MAX)
		return -EINVAL;
	from = server_handle_get(req->s, in.fh_in, false);
	to = server_handle_get(req->s, in.fh_out, false);
	if (from && to)
		r = copy_range(from, to, &in);
	if (from)
		server_handle_put(from);
	if (to)
		server_handle_put(to);
	return r;
}

ssize_t server_op_copy_file_range(struct server_req *req)
{
	struct fuse_write_out *out = (struct fuse_write_out *)req->t->reply;
	ssize_t r = copy_asked(req);

	if (r < 0)
		return r;
	memset(out, 0, sizeof(*out));
	out->size = (uint32_t)r;
	return sizeof(*out);
}

ssize_t server_op_copy_file_range_64(struct server_req *req)
{
	struct fuse_wire_copy_file_range_out *out = (void *)req->t->reply;
	ssize_t r = copy_asked(req);

	if (r < 0)
		return r;
	out->bytes_copied = (uint64_t)r;
	return sizeof(*out);
}

ssize_t server_op_syncfs(struct server_req *req)
{
	struct server_share *sh = req->share;
	const struct server_inode *dir = sh->root;
	int fd;
	int r = server_fd_reserve(sh);

	if (r)
		return r;
	if (S_ISDIR(req->inode->type))
		dir = req->inode;
	/* O_PATH descriptors cannot be synced; any file of the fs will do. */
	fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		r = -errno;
		server_fd_release(sh);
		return r;
	}
	r = syncfs(fd) ? -errno : 0;
	server_fd_drop(sh, fd);
	return r;
}
