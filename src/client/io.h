/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One read or write under way, for who drives it step by step: io.c, which
 * decides between window and message, and queue_op.c, which must not wait.
 */
#ifndef ORIEL_CLIENT_IO_H
#define ORIEL_CLIENT_IO_H

#include "client/client.h"

#define IO_NOWAIT DAX_NOWAIT
/* Reads: send no message, but say in msg_len that one is due. */
#define IO_DEFER (1u << 30)

/* The caller's buffers and how far it got. */
struct io {
	struct oriel_file *f;
	const struct iovec *iov;
	unsigned n_iov;
	size_t len; /* of all buffers */
	size_t done;
	uint64_t pos; /* of the first byte */
	unsigned flags;
	size_t msg_len; /* IO_DEFER: bytes that FUSE_READ is to fetch next */
};

/* Fill @io; the sum of lengths and the last offset must be representable. */
ORIEL_MUST_CHECK int client_io_init(struct io *io, struct oriel_file *f,
				    const struct iovec *iov, int n_iov,
				    off_t off);
/* Go on with it: the count so far, or -errno if that is 0. With IO_DEFER it may
 * have stopped for a message: see msg_len. */
ssize_t client_io_read(struct io *io);
ssize_t client_io_write(struct io *io);

#endif
