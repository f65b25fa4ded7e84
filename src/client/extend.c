/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writes that make a file longer, or may: data and size change together, so the
 * window is of no use. Two ways, both one system call on the file for a write of
 * up to max_write bytes:
 *
 *   by descriptor  where one is held to write with (held.c): pwritev(2) here,
 *                  with RWF_APPEND for a handle that appends. Nobody is asked.
 *   by message     else, and for whatever the first way did not do, so that
 *                  errors are the daemon's: FUSE_WRITE.
 *
 * Descriptors come with writable mappings, which a file that is only appended to
 * never gets. So after some messages one is asked for: the range at the end is
 * mapped. What is asked for in vain is asked for less and less often.
 *
 * With O_APPEND others may have appended, or truncated the file, and where it
 * ends is for the file to say: fstat(2), or a field of our own daemon's answer,
 * or else a GETATTR.
 *
 * THREADS: inode->lock is held for writing throughout.
 */
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>

#define PATIENCE_MIN 8u
#define PATIENCE_MAX 4096u

/* A write that was begun at @version reached @reached if it was done where it was
 * meant to; the file ended at @end afterwards (CLIENT_AT_END: not known). */
static void extended(struct oriel_file *f, uint64_t reached, uint64_t end,
		     uint64_t version)
{
	struct client_inode *ino = f->ino;
	struct fuse_attr attr;

	if (!(f->flags & O_APPEND)) {
		client_size_raise(ino, reached);
		return;
	}
	if (end != CLIENT_AT_END && client_size_is(ino, end, version))
		return;
	client_attr_invalidate(ino);
	/* what was known of the size stays, then */
	if (client_getattr(ino, f->fh, &attr))
		client_attr_invalidate(ino);
}

/* --------------------------------------------------------- by descriptor */

static ssize_t by_descriptor(struct oriel_file *f, const struct client_write *w)
{
	struct client_inode *ino = f->ino;
	uint64_t version = client_version(f->s);
	bool append = f->flags & O_APPEND;
	uint64_t end;
	ssize_t n;

	if (w->skip || !client_held_writes(ino) || client_is_dead(f->s))
		return -ENOENT;
	if (!atomic_load_explicit(&ino->privs_clean, memory_order_relaxed) &&
	    client_drop_privs(ino))
		return -ENOENT; /* the daemon's write(2) may clear them */
	n = client_held_extend(ino, w->iov, w->n_iov,
			       append ? CLIENT_AT_END : w->pos, &end);
	if (n > 0)
		extended(f, w->pos + (uint64_t)n, end, version);
	return n;
}

/* Another one went by message: is it time to have a descriptor? */
static void want_descriptor(struct oriel_file *f)
{
	struct oriel_session *s = f->s;
	struct client_inode *ino = f->ino;
	uint64_t size = atomic_load(&ino->size);
	struct dax_pin pin;

	if (!ino->dax.window || !s->max_held || !s->holds_for_writes || !size ||
	    client_held_has(ino, true))
		return;
	if (!ino->extend_patience)
		ino->extend_patience = PATIENCE_MIN;
	if (++ino->n_extended < ino->extend_patience)
		return;
	ino->n_extended = 0;
	ino->extend_patience = (unsigned)min_u64(2 * ino->extend_patience,
						 PATIENCE_MAX);
	if (!atomic_load_explicit(&ino->privs_clean, memory_order_relaxed) &&
	    client_drop_privs(ino))
		return;
	if (!dax_pin(&ino->dax, size - 1, 1, DAX_WRITE, f->fh, 0, &pin))
		dax_unpin(&ino->dax, &pin);
}

/* ------------------------------------------------------------ by message */

static int send_write(struct oriel_file *f, const struct client_write *w,
		      struct fuse_wire_write_out *out)
{
	struct oriel_session *s = f->s;
	struct fuse_write_in in = {
		.fh = f->fh,
		.offset = w->pos,
		.size = (uint32_t)min_u64(w->len, s->max_write),
		.flags = (uint32_t)f->flags,
	};
	struct client_call c = {
		.opcode = FUSE_WRITE,
		.nodeid = f->ino->nodeid,
		.arg = &in,
		.arg_len = sizeof(in),
		.in = w->iov,
		.n_in = w->n_iov,
		.in_skip = w->skip,
		.in_len = in.size,
		.out = out,
		.out_len = sizeof(struct fuse_write_out),
	};
	int err;

	if (!atomic_load_explicit(&f->ino->privs_clean, memory_order_relaxed))
		in.write_flags |= FUSE_WRITE_KILL_SUIDGID;
	if (f->flags & O_APPEND) {
		in.padding = FUSE_WIRE_WRITE_ASK_END;
		c.out_min = c.out_len;
		c.out_len = sizeof(*out);
	}
	out->end = 0;
	err = client_call(s, &c);
	if (err)
		return err;
	if (out->size > in.size || out->end > INT64_MAX) {
		client_die(s, -EPROTO);
		return -EPROTO;
	}
	/* no progress and no reason: do not loop */
	return out->size ? 0 : -EIO;
}

ssize_t client_msg_write(struct oriel_file *f, const struct client_write *w)
{
	uint64_t version = client_version(f->s);
	struct fuse_wire_write_out out;
	int err = send_write(f, w, &out);

	if (err) {
		client_attr_invalidate(f->ino);
		return err;
	}
	atomic_fetch_add_explicit(&f->s->msg_write_bytes, out.size,
				  memory_order_relaxed);
	extended(f, w->pos + out.size, out.end ? out.end : CLIENT_AT_END,
		 version);
	return (ssize_t)out.size;
}

ssize_t client_extend(struct oriel_file *f, const struct client_write *w)
{
	ssize_t n = by_descriptor(f, w);

	if (n > 0)
		return n;
	n = client_msg_write(f, w);
	if (n > 0)
		want_descriptor(f);
	return n;
}
