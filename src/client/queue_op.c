/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a request of a queue needs next: nothing (the window had it), a message,
 * or somebody who may wait. The order of things is that of io.c:
 *
 *   read   hits at once; small files, files without window, and what is at or
 *          past the size as known by FUSE_READ; else work: set-ups, which then
 *          go on, or read with a descriptor that is held, or say that a message
 *          it has to be
 *   write  overwrites that hit at once; O_APPEND, O_SYNC and overwrites of what
 *          may be in the window as work: locks, set-ups, set-uid bits; the rest
 *          by FUSE_WRITE, without the inode's lock
 *   fsync  by message, unless times of window writes are owed
 *   gathered appends that are not sent yet make all of these work
 *   fallocate, open, stat  work
 *
 * WRITES WITHOUT THE INODE'S LOCK. The lock orders our window writes and our
 * truncations, because the daemon does not see the former. A FUSE_WRITE is
 * ordered by the daemon; what is left is our belief of the size when its answer
 * is taken in after that of a truncation. So the answer raises the size only if
 * none of ours was done since it was sent (client_size_grown()). A size that is
 * believed too small is safe: the daemon is asked.
 *
 * Thread rule: whoever has the request.
 */
#include "client/append.h"
#include "client/queue.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static enum queue_next done(struct queue_op *op, int64_t result)
{
	op->result = result;
	return QUEUE_DONE;
}

/* All of it, or what it came to before @err. */
static enum queue_next io_done(struct queue_op *op, int err)
{
	return done(op, op->io.done > 0 ? (int64_t)op->io.done : err);
}

static bool is_small(const struct queue_op *op)
{
	struct client_inode *ino = op->io.f->ino;

	/* acquire: pairs with the stores in attr.c */
	return atomic_load_explicit(&ino->size, memory_order_acquire) <
	       op->io.f->s->opts.small_file_bytes;
}

static int io_begin(struct queue_op *op)
{
	const struct oriel_request *r = &op->req;
	bool vector = r->op == ORIEL_OP_READV || r->op == ORIEL_OP_WRITEV;
	const struct iovec *iov = r->iov;
	int n_iov = r->len > CLIENT_MAX_IOV ? -1 : (int)r->len;

	if (!vector) {
		op->one = (struct iovec){ r->buf, (size_t)r->len };
		iov = &op->one;
		n_iov = 1;
	}
	return client_io_init(&op->io, r->file, iov, n_iov, (off_t)r->off);
}

/* ---------------------------------------------------------------- reading */

static enum queue_next read_message(struct queue_op *op, size_t len)
{
	struct io *io = &op->io;
	struct oriel_file *f = io->f;

	io->msg_len = (size_t)min_u64(len, f->s->max_read);
	op->version = client_version(f->s);
	op->in.read = (struct fuse_read_in){
		.fh = f->fh,
		.offset = io->pos + io->done,
		.size = (uint32_t)io->msg_len,
		.flags = (uint32_t)f->flags,
	};
	op->async.call = (struct client_call){
		.opcode = FUSE_READ,
		.nodeid = f->ino->nodeid,
		.arg = &op->in.read,
		.arg_len = sizeof(op->in.read),
		.bulk = io->iov,
		.n_bulk = io->n_iov,
		.bulk_skip = io->done,
		.bulk_len = io->msg_len,
	};
	return QUEUE_MESSAGE;
}

/* @flags: IO_NOWAIT, or 0 for who may wait for set-ups. */
static enum queue_next read_on(struct queue_op *op, unsigned flags)
{
	struct io *io = &op->io;
	ssize_t n;

	io->flags = flags | IO_DEFER;
	io->msg_len = 0;
	n = client_io_read(io);
	if (io->msg_len)
		return read_message(op, io->msg_len);
	if (!(flags & IO_NOWAIT) || (n >= 0 && io->done == io->len) ||
	    (n < 0 && n != -EAGAIN))
		return done(op, n);
	if (is_small(op))
		return read_message(op, io->len - io->done);
	return QUEUE_WORK;
}

static enum queue_next read_begin(struct queue_op *op)
{
	const struct oriel_request *r = &op->req;
	ssize_t n = 0;
	int err;

	if (client_append_pending(r->file->ino)) {
		err = io_begin(op);
		return err ? done(op, err) : QUEUE_WORK;
	}
	if (r->op == ORIEL_OP_READ) {
		n = oriel_pread_nowait(r->file, r->buf, (size_t)r->len,
				       (off_t)r->off);
		if (n != -EAGAIN && (n < 0 || (uint64_t)n == r->len))
			return done(op, n);
	}
	err = io_begin(op);
	if (err)
		return done(op, err);
	op->io.done = n > 0 ? (size_t)n : 0;
	return read_on(op, IO_NOWAIT);
}

static enum queue_next read_answer(struct queue_op *op, int err)
{
	struct client_inode *ino = op->io.f->ino;
	struct oriel_session *s = op->q->s;
	uint64_t pos = op->io.pos + op->io.done;
	size_t n = op->async.call.ret_bulk;

	if (err)
		return io_done(op, err);
	atomic_fetch_add_explicit(&s->msg_read_bytes, n, memory_order_relaxed);
	op->io.done += n;
	/* as in io.c */
	if (n > 0 && pos + n > atomic_load_explicit(&ino->size,
						    memory_order_acquire))
		client_size_seen(ino, pos + n, op->version);
	if (n < op->io.msg_len || op->io.done == op->io.len)
		return io_done(op, 0);
	return read_on(op, IO_NOWAIT);
}

/* ---------------------------------------------------------------- writing */

static enum queue_next write_message(struct queue_op *op)
{
	struct io *io = &op->io;
	struct oriel_file *f = io->f;
	size_t len = (size_t)min_u64(io->len - io->done, f->s->max_write);
	bool clean = atomic_load_explicit(&f->ino->privs_clean,
					  memory_order_relaxed);

	op->version = client_version(f->s);
	op->in.write = (struct fuse_write_in){
		.fh = f->fh,
		.offset = io->pos + io->done,
		.size = (uint32_t)len,
		.flags = (uint32_t)f->flags,
		.write_flags = clean ? 0 : FUSE_WRITE_KILL_SUIDGID,
	};
	op->async.call = (struct client_call){
		.opcode = FUSE_WRITE,
		.nodeid = f->ino->nodeid,
		.arg = &op->in.write,
		.arg_len = sizeof(op->in.write),
		.in = io->iov,
		.n_in = io->n_iov,
		.in_len = len,
		.in_skip = io->done,
		.out = &op->write_out,
		.out_len = sizeof(op->write_out),
	};
	return QUEUE_MESSAGE;
}

static enum queue_next write_begin(struct queue_op *op)
{
	const struct oriel_request *r = &op->req;
	struct client_inode *ino = r->file->ino;
	struct io *io = &op->io;
	uint64_t size;
	ssize_t n;
	int err = io_begin(op);

	if (err)
		return done(op, err);
	if (r->op == ORIEL_OP_WRITE) {
		n = oriel_pwrite_nowait(r->file, r->buf, (size_t)r->len,
					(off_t)r->off);
		io->done = n > 0 ? (size_t)n : 0;
	} else {
		io->flags = IO_NOWAIT;
		n = client_io_write(io);
	}
	if (n != -EAGAIN && (n < 0 || io->done == io->len))
		return done(op, n);
	if ((r->file->flags & (O_APPEND | O_SYNC | O_DSYNC)) ||
	    client_append_pending(ino))
		return QUEUE_WORK;
	/* acquire: pairs with the stores in attr.c */
	size = atomic_load_explicit(&ino->size, memory_order_acquire);
	op->ordered = !range_fits(io->pos, io->len, size);
	if (!op->ordered && ino->dax.window && !is_small(op))
		return QUEUE_WORK;
	return write_message(op);
}

static enum queue_next write_answer(struct queue_op *op, int err)
{
	struct client_inode *ino = op->io.f->ino;
	struct oriel_session *s = op->q->s;
	uint32_t n = op->write_out.size;

	if (!err && n > op->async.call.in_len) {
		client_die(s, -EPROTO);
		err = -EPROTO;
	}
	if (!err && n == 0)
		err = -EIO; /* no progress and no reason: do not loop */
	if (err) {
		client_attr_invalidate(ino);
		return io_done(op, err);
	}
	atomic_fetch_add_explicit(&s->msg_write_bytes, n,
				  memory_order_relaxed);
	op->io.done += n;
	client_size_grown(ino, op->io.pos + op->io.done, op->version);
	if (op->io.done == op->io.len)
		return io_done(op, 0);
	return write_message(op);
}

/* ------------------------------------------------------------------ others */

static enum queue_next fsync_begin(struct queue_op *op)
{
	struct oriel_file *f = op->req.file;
	bool data = op->req.flags & ORIEL_FSYNC_DATA;

	if (client_append_pending(f->ino) ||
	    atomic_load_explicit(&f->append_err, memory_order_relaxed) ||
	    (!data && (f->flags & O_ACCMODE) != O_RDONLY &&
	     atomic_load_explicit(&f->ino->mtime_owed, memory_order_relaxed)))
		return QUEUE_WORK;
	op->in.fsync = (struct fuse_fsync_in){
		.fh = f->fh,
		.fsync_flags = data ? FUSE_FSYNC_FDATASYNC : 0,
	};
	op->async.call = (struct client_call){
		.opcode = S_ISDIR(f->ino->type) ? FUSE_FSYNCDIR : FUSE_FSYNC,
		.nodeid = f->ino->nodeid,
		.arg = &op->in.fsync,
		.arg_len = sizeof(op->in.fsync),
	};
	return QUEUE_MESSAGE;
}

enum queue_next queue_op_begin(struct queue_op *op)
{
	op->ordered = false;
	switch (op->req.op) {
	case ORIEL_OP_READ:
	case ORIEL_OP_READV:
		return read_begin(op);
	case ORIEL_OP_WRITE:
	case ORIEL_OP_WRITEV:
		return write_begin(op);
	case ORIEL_OP_FSYNC:
		return fsync_begin(op);
	}
	return QUEUE_WORK;
}

enum queue_next queue_op_answer(struct queue_op *op, int err)
{
	switch (op->req.op) {
	case ORIEL_OP_READ:
	case ORIEL_OP_READV:
		return read_answer(op, err);
	case ORIEL_OP_WRITE:
	case ORIEL_OP_WRITEV:
		return write_answer(op, err);
	case ORIEL_OP_FSYNC:
		return done(op, err == -ENOSYS ? 0 : err);
	}
	return done(op, err);
}

enum queue_next queue_op_work(struct queue_op *op)
{
	const struct oriel_request *r = &op->req;

	switch (r->op) {
	case ORIEL_OP_READ:
	case ORIEL_OP_READV:
		return read_on(op, 0);
	case ORIEL_OP_WRITE:
	case ORIEL_OP_WRITEV:
		op->io.flags = 0;
		return done(op, client_io_write(&op->io));
	case ORIEL_OP_FSYNC:
		return done(op, r->flags & ORIEL_FSYNC_DATA ?
					oriel_fdatasync(r->file) :
					oriel_fsync(r->file));
	case ORIEL_OP_FALLOCATE:
		return done(op, oriel_fallocate(r->file, (int)r->mode,
						(off_t)r->off, (off_t)r->len));
	case ORIEL_OP_OPEN:
		return done(op, oriel_open(op->q->s, r->path, (int)r->flags,
					   (mode_t)r->mode, r->ret_file));
	case ORIEL_OP_STAT:
		return done(op, oriel_stat(op->q->s, r->path, r->flags,
					   r->ret_stat));
	}
	return done(op, -EINVAL);
}
