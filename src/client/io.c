/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading and writing. This is the one place that decides between window and
 * message, in the order of the contract:
 *
 *   read   zero length: 0, before anything else
 *          below the size as known: the window (src/dax); what it passes on
 *          (small file, full window, no window) as FUSE_READ
 *          at and past the size as known: FUSE_READ, so that the end of the file
 *          is always the daemon's and never a guess; there a short answer is the
 *          end
 *          where a descriptor of the file is held (held.c), pread(2) with it is
 *          as good as a FUSE_READ, and nobody has to be asked
 *   write  under the inode's lock, exclusive
 *          ends at or below the size: the window; pwrite(2) of a held descriptor
 *          or FUSE_WRITE where it passes on
 *          small, at the end, and the handle gathers: append.c
 *          ends past it, or O_APPEND: the whole of it at once, by extend.c, so
 *          that data and size change together
 *
 * Reads that hit take no lock (docs/adr/0002): they are ordered with truncation
 * by the page cache itself, as read(2) is.
 *
 * A copy that faults (somebody truncated the file) asks for the size anew and
 * goes on from there; if the size did not change the piece goes by message,
 * which reports the true error.
 */
#include "client/append.h"
#include "client/io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* Of one read by descriptor. It may wait for the disk, and whoever evicts waits
 * for it (held.c). And a longer one than 2 GiB would look like the end. */
#define HELD_READ_MAX ((uint64_t)4 << 20)

/* The piece of the caller's buffers that begins at io->done. */
static void *io_piece(const struct io *io, size_t *ret_len)
{
	size_t skip = io->done;

	for (unsigned i = 0; i < io->n_iov; i++) {
		if (skip < io->iov[i].iov_len) {
			*ret_len = io->iov[i].iov_len - skip;
			return (char *)io->iov[i].iov_base + skip;
		}
		skip -= io->iov[i].iov_len;
	}
	*ret_len = 0;
	return NULL;
}

static ssize_t io_result(const struct io *io, int err)
{
	return io->done > 0 ? (ssize_t)io->done : err;
}

ssize_t client_msg_read(struct oriel_file *f, const struct iovec *iov,
			unsigned n_iov, size_t skip, size_t len, uint64_t pos)
{
	struct oriel_session *s = f->s;
	struct fuse_read_in in = { .fh = f->fh, .offset = pos };
	struct client_call c = {
		.opcode = FUSE_READ,
		.nodeid = f->ino->nodeid,
		.arg = &in,
		.arg_len = sizeof(in),
		.bulk = iov,
		.n_bulk = n_iov,
		.bulk_skip = skip,
	};
	int err;

	c.bulk_len = (size_t)min_u64(len, s->max_read);
	in.size = (uint32_t)c.bulk_len;
	in.flags = (uint32_t)f->flags;
	err = client_call(s, &c);
	if (err)
		return err;
	atomic_fetch_add_explicit(&s->msg_read_bytes, c.ret_bulk,
				  memory_order_relaxed);
	return (ssize_t)c.ret_bulk;
}

/* Ask for the size anew after a fault. *@ret_same: nothing has changed. */
static int refresh_size(struct oriel_file *f, uint64_t old, bool *ret_same)
{
	struct fuse_attr attr;
	int err = client_getattr(f->ino, f->has_fh ? f->fh : FUSE_WIRE_NO_FH,
				 &attr);

	if (err)
		return err;
	*ret_same = attr.size >= old;
	return 0;
}

/*
 * Up to *@len bytes at the current place by the descriptor that is held; -ENOENT
 * if there is none, or it does not say what a message would. Less is asked for
 * if the buffers are in pieces, or if it is much.
 */
static ssize_t read_held(struct io *io, size_t *len)
{
	size_t piece;
	void *buf = io_piece(io, &piece);
	ssize_t n;

	if (client_is_dead(io->f->s))
		return -ENOENT;
	piece = (size_t)min_u64(min_u64(*len, piece), HELD_READ_MAX);
	n = client_held_read(io->f->ino, buf, piece, io->pos + io->done);
	if (n < 0)
		return -ENOENT;
	*len = piece;
	return n;
}

/* Without the window, for up to @len bytes at the current place. 1: go on; 0:
 * end of file; or -errno. */
static int read_message(struct io *io, size_t len)
{
	struct oriel_file *f = io->f;
	size_t want = len;
	uint64_t pos = io->pos + io->done;
	uint64_t version = client_version(f->s);
	ssize_t n = -ENOENT;

	if (!(io->flags & IO_NOWAIT))
		n = read_held(io, &want);
	if (n < 0) {
		want = (size_t)min_u64(len, f->s->max_read);
		if (io->flags & IO_DEFER) {
			io->msg_len = want;
			return -EINPROGRESS;
		}
		n = client_msg_read(f, io->iov, io->n_iov, io->done, want, pos);
	}
	if (n < 0)
		return (int)n;
	io->done += (size_t)n;
	/* somebody else has extended it; nothing read past the end says nothing
	 * of where the end is */
	if (n > 0 && (uint64_t)n + pos > atomic_load_explicit(
						 &f->ino->size,
						 memory_order_acquire))
		client_size_seen(f->ino, pos + (uint64_t)n, version);
	return (size_t)n == want;
}

/* One step of a read; as read_message(). */
static int read_step(struct io *io)
{
	struct client_inode *ino = io->f->ino;
	uint64_t pos = io->pos + io->done;
	/* acquire: pairs with the stores in attr.c */
	uint64_t size = atomic_load_explicit(&ino->size, memory_order_acquire);
	struct dax_result r;
	size_t piece;
	void *buf;
	bool same = false;
	int err;

	if (pos >= size || !ino->dax.window)
		goto message;
	buf = io_piece(io, &piece);
	dax_read(&ino->dax, buf, piece, pos, size,
		 io->f->has_fh ? io->f->fh : FUSE_WIRE_NO_FH, io->flags, &r);
	io->done += r.done;
	switch (r.stop) {
	case DAX_DONE:
		return 1;
	case DAX_BYPASS:
		if (io->flags & IO_NOWAIT)
			return -EAGAIN;
		/* up to the end of the file: ask for all that is left */
		if (pos + r.done + r.bypass_bytes >= size)
			return read_message(io, io->len - io->done);
		return read_message(io, (size_t)min_u64(r.bypass_bytes,
							io->len - io->done));
	case DAX_FAULT:
		if (io->flags & IO_NOWAIT)
			return -EAGAIN;
		err = refresh_size(io->f, size, &same);
		if (err)
			return err;
		return same && !r.done ? read_message(io, io->len - io->done) :
					 1;
	case DAX_AGAIN:
		return -EAGAIN;
	case DAX_ERROR:
		return r.err;
	}
message:
	/* where the end is now takes a round trip */
	if ((io->flags & (IO_NOWAIT | IO_DEFER)) == IO_NOWAIT)
		return -EAGAIN;
	return read_message(io, io->len - io->done);
}

ssize_t client_io_read(struct io *io)
{
	int r;

	if ((io->f->flags & O_ACCMODE) == O_WRONLY)
		return -EBADF;
	if (S_ISDIR(io->f->ino->type))
		return -EISDIR;
	if (io->len == 0)
		return 0;
	if (ORIEL_UNLIKELY(atomic_load_explicit(&io->f->ino->bad,
						memory_order_relaxed)))
		return -EIO;
	/* the hit path needs none of this: what is gathered lies past the size */
	if (!(io->flags & IO_NOWAIT)) {
		r = client_append_settle(io->f->ino);
		if (r)
			return r;
	}
	while (io->done < io->len) {
		r = read_step(io);
		if (r <= 0)
			return io_result(io, r);
	}
	return (ssize_t)io->done;
}

/* -------------------------------------------------------------- writing */

/* Up to @len bytes at the current place, which may extend the file. 1, or
 * -errno. */
static int write_out(struct io *io, size_t len)
{
	const struct client_write w = {
		.iov = io->iov,
		.n_iov = io->n_iov,
		.skip = io->done,
		.len = len,
		.pos = io->pos + io->done,
	};
	ssize_t n = client_extend(io->f, &w);

	if (n < 0)
		return (int)n;
	io->done += (size_t)n;
	return 1;
}

/* The same, below the end and by FUSE_WRITE. */
static int overwrite_message(struct io *io, size_t len)
{
	const struct client_write w = {
		.iov = io->iov,
		.n_iov = io->n_iov,
		.skip = io->done,
		.len = len,
		.pos = io->pos + io->done,
	};
	ssize_t n = client_msg_write(io->f, &w);

	if (n < 0)
		return (int)n;
	io->done += (size_t)n;
	return 1;
}

/* Bytes were written that the daemon does not know of. */
static inline void owe_mtime(struct client_inode *ino)
{
	if (!atomic_load_explicit(&ino->mtime_owed, memory_order_relaxed))
		atomic_store_explicit(&ino->mtime_owed, true,
				      memory_order_relaxed);
}

/* What the window passed on: up to @len bytes, below the size. 1, or -errno. */
static int overwrite_bypassed(struct io *io, uint64_t len)
{
	size_t piece;
	const void *buf = io_piece(io, &piece);
	ssize_t n = -ENOENT;

	if (!client_is_dead(io->f->s))
		n = client_held_write(io->f->ino, buf,
				      (size_t)min_u64(len, piece),
				      io->pos + io->done);
	if (n <= 0) /* a message tells why */
		return overwrite_message(
			io, (size_t)min_u64(len, io->len - io->done));
	io->done += (size_t)n;
	owe_mtime(io->f->ino);
	return 1;
}

/* One step of a write that ends at or below the size. */
static int overwrite_step(struct io *io, uint64_t size)
{
	struct client_inode *ino = io->f->ino;
	struct dax_result r;
	size_t piece;
	const void *buf = io_piece(io, &piece);
	bool same = false;
	int err;

	dax_write(&ino->dax, buf, piece, io->pos + io->done, size, io->f->fh,
		  io->flags, &r);
	io->done += r.done;
	if (r.done)
		owe_mtime(ino);
	switch (r.stop) {
	case DAX_DONE:
		return 1;
	case DAX_BYPASS:
		if (io->flags & IO_NOWAIT)
			return -EAGAIN;
		return overwrite_bypassed(io, r.bypass_bytes);
	case DAX_FAULT:
		if (io->flags & IO_NOWAIT)
			return -EAGAIN;
		err = refresh_size(io->f, size, &same);
		if (err)
			return err;
		return same && !r.done ?
			       overwrite_message(io, io->len - io->done) :
			       1;
	case DAX_AGAIN:
		return -EAGAIN;
	case DAX_ERROR:
		return r.err;
	}
	return -EIO;
}

/* The inode's lock is held for writing. */
static int write_step_locked(struct io *io, bool by_window)
{
	struct client_inode *ino = io->f->ino;
	bool append = io->f->flags & O_APPEND;
	uint64_t size = atomic_load_explicit(&ino->size, memory_order_acquire);

	if (append && io->done == 0)
		io->pos = size;
	if (!append && by_window && ino->dax.window &&
	    io->pos + io->len <= size)
		return overwrite_step(io, size);
	if (io->flags & IO_NOWAIT)
		return -EAGAIN;
	return write_out(io, io->len - io->done);
}

static ssize_t write_locked(struct io *io)
{
	struct client_inode *ino = io->f->ino;
	uint64_t size = atomic_load_explicit(&ino->size, memory_order_acquire);
	bool by_window = !(io->f->flags & O_APPEND) && ino->dax.window &&
			 io->pos + io->len <= size;
	int r;

	if (by_window && !atomic_load_explicit(&ino->privs_clean,
					       memory_order_relaxed)) {
		if (io->flags & IO_NOWAIT)
			return -EAGAIN;
		r = client_drop_privs(ino);
		if (r == -EPERM || r == -EACCES)
			by_window = false; /* no owner: the daemon's write(2)
					      may clear what we may not */
		else if (r)
			return r;
	}
	while (io->done < io->len) {
		r = write_step_locked(io, by_window);
		if (r <= 0)
			return io_result(io, r);
	}
	return (ssize_t)io->done;
}

static int sync_written(struct oriel_file *f)
{
	if (!(f->flags & (O_SYNC | O_DSYNC)))
		return 0;
	return (f->flags & O_SYNC) == O_SYNC ? oriel_fsync(f) :
					       oriel_fdatasync(f);
}

ssize_t client_io_write(struct io *io)
{
	struct client_inode *ino = io->f->ino;
	ssize_t n;
	int err;

	if ((io->f->flags & O_ACCMODE) == O_RDONLY)
		return -EBADF;
	if (io->len == 0)
		return 0;
	if (atomic_load_explicit(&ino->bad, memory_order_relaxed))
		return -EIO;
	if ((io->flags & IO_NOWAIT) && (io->f->flags & (O_SYNC | O_DSYNC)))
		return -EAGAIN;
	if (io->flags & IO_NOWAIT) {
		if (pthread_rwlock_trywrlock(&ino->lock))
			return -EAGAIN;
	} else {
		err = client_inode_lock(ino);
		if (err)
			return err;
	}
	if (!(io->flags & IO_NOWAIT))
		n = client_append_take(io->f, io->iov, io->n_iov, io->len,
				       io->pos);
	else
		n = client_append_pending(ino) ? -EAGAIN :
						 client_append_error(io->f);
	if (n == 0)
		n = write_locked(io);
	client_inode_unlock(ino);
	if (n > 0) {
		err = sync_written(io->f);
		if (err)
			return err;
	}
	return n;
}

/* ------------------------------------------------------------ the calls */

int client_io_init(struct io *io, struct oriel_file *f, const struct iovec *iov,
		   int n_iov, off_t off)
{
	if (n_iov < 0 || n_iov > CLIENT_MAX_IOV || off < 0)
		return -EINVAL;
	io->f = f;
	io->iov = iov;
	io->n_iov = (unsigned)n_iov;
	io->len = 0;
	io->done = 0;
	io->pos = (uint64_t)off;
	io->flags = 0;
	io->msg_len = 0;
	for (int i = 0; i < n_iov; i++) {
		if (iov[i].iov_len > (uint64_t)INT64_MAX - io->len)
			return -EINVAL;
		io->len += iov[i].iov_len;
	}
	return range_fits(io->pos, io->len, INT64_MAX) ? 0 : -EINVAL;
}

static ssize_t report(const struct io *io, const char *what, ssize_t n)
{
	if (ORIEL_UNLIKELY(n < 0) && n != -EAGAIN)
		client_fail((int)n, "%s %s, %zu bytes at %llu", what,
			    io->f->path, io->len, (unsigned long long)io->pos);
	return n;
}

static ssize_t readv_flags(struct oriel_file *f, const struct iovec *iov,
			   int n_iov, off_t off, unsigned flags)
{
	struct io io;
	ssize_t n = client_io_init(&io, f, iov, n_iov, off);

	if (n)
		return client_fail((int)n, "read %s: bad count or offset %lld",
				   f->path, (long long)off);
	io.flags = flags;
	return report(&io, "read", client_io_read(&io));
}

static ssize_t writev_flags(struct oriel_file *f, const struct iovec *iov,
			    int n_iov, off_t off, unsigned flags)
{
	struct io io;
	ssize_t n = client_io_init(&io, f, iov, n_iov, off);

	if (n)
		return client_fail((int)n, "write %s: bad count or offset %lld",
				   f->path, (long long)off);
	io.flags = flags;
	return report(&io, "write", client_io_write(&io));
}

static __attribute__((noinline)) ssize_t
read_one(struct oriel_file *f, void *buf, size_t len, off_t off, unsigned flags)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };

	return readv_flags(f, &iov, 1, off, flags);
}

static __attribute__((noinline)) ssize_t
write_one(struct oriel_file *f, const void *buf, size_t len, off_t off,
	  unsigned flags)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf,
			     .iov_len = len };

	return writev_flags(f, &iov, 1, off, flags);
}

/*
 * The common read, without setting anything up for others: all of it below the
 * size as known, and mapped. Whatever is not so, errors too, is for client_io_read().
 */
static inline bool read_hits(struct oriel_file *f, void *buf, size_t len,
			     off_t off)
{
	struct client_inode *ino = f->ino;
	/* acquire: pairs with the stores in attr.c */
	uint64_t size = atomic_load_explicit(&ino->size, memory_order_acquire);

	return len > 0 && off >= 0 && range_fits((uint64_t)off, len, size) &&
	       (f->flags & O_ACCMODE) != O_WRONLY &&
	       !atomic_load_explicit(&ino->bad, memory_order_relaxed) &&
	       dax_read_hit(&ino->dax, buf, len, (uint64_t)off);
}

ssize_t oriel_pread(struct oriel_file *f, void *buf, size_t len, off_t off)
{
	if (ORIEL_LIKELY(read_hits(f, buf, len, off)))
		return (ssize_t)len;
	return read_one(f, buf, len, off, 0);
}

/*
 * The same for overwrites; whoever has to wait for the lock, append, sync, or
 * drop privileges first, is for client_io_write().
 */
static inline bool write_hits(struct oriel_file *f, const void *buf, size_t len,
			      off_t off)
{
	struct client_inode *ino = f->ino;
	bool hit;

	/* the size is looked at again when it cannot change: this is for who
	 * appends */
	if (len == 0 || off < 0 || (f->flags & O_ACCMODE) == O_RDONLY ||
	    (f->flags & (O_APPEND | O_SYNC | O_DSYNC)) ||
	    (uint64_t)off >= atomic_load_explicit(&ino->size,
						  memory_order_relaxed) ||
	    atomic_load_explicit(&ino->bad, memory_order_relaxed) ||
	    pthread_rwlock_trywrlock(&ino->lock))
		return false;
	hit = range_fits((uint64_t)off, len,
			 atomic_load_explicit(&ino->size,
					      memory_order_acquire)) &&
	      atomic_load_explicit(&ino->privs_clean, memory_order_relaxed) &&
	      !f->append && !client_append_pending(ino) &&
	      dax_write_hit(&ino->dax, buf, len, (uint64_t)off);
	if (hit)
		owe_mtime(ino);
	client_inode_unlock(ino);
	return hit;
}

ssize_t oriel_pwrite(struct oriel_file *f, const void *buf, size_t len,
		     off_t off)
{
	if (ORIEL_LIKELY(write_hits(f, buf, len, off)))
		return (ssize_t)len;
	return write_one(f, buf, len, off, 0);
}

ssize_t oriel_preadv(struct oriel_file *f, const struct iovec *iov, int n_iov,
		     off_t off)
{
	return readv_flags(f, iov, n_iov, off, 0);
}

ssize_t oriel_pwritev(struct oriel_file *f, const struct iovec *iov, int n_iov,
		      off_t off)
{
	return writev_flags(f, iov, n_iov, off, 0);
}

ssize_t oriel_pread_nowait(struct oriel_file *f, void *buf, size_t len,
			   off_t off)
{
	if (ORIEL_LIKELY(read_hits(f, buf, len, off)))
		return (ssize_t)len;
	return read_one(f, buf, len, off, IO_NOWAIT);
}

ssize_t oriel_pwrite_nowait(struct oriel_file *f, const void *buf, size_t len,
			    off_t off)
{
	if (ORIEL_LIKELY(write_hits(f, buf, len, off)))
		return (ssize_t)len;
	return write_one(f, buf, len, off, IO_NOWAIT);
}
