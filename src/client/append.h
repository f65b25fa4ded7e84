/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Small writes at the end of a file, gathered and sent as one FUSE_WRITE. See
 * append.c; docs/design/append.md has the promises.
 */
#ifndef ORIEL_CLIENT_APPEND_H
#define ORIEL_CLIENT_APPEND_H

#include "client/client.h"

void client_appends_init(struct oriel_session *s);
/* The worker ends. Every file is closed. */
void client_appends_done(struct oriel_session *s);

/* Send what @ino's gathering handle holds. inode->lock is held for writing. A
 * failure is remembered for that handle, and what was not written is gone. */
void client_append_flush(struct client_inode *ino);
/* client_append_settle() when there is something. */
ORIEL_MUST_CHECK int client_append_settle_slow(struct client_inode *ino);
/* All of the session's that were gathered before this call. */
ORIEL_MUST_CHECK int client_append_settle_all(struct oriel_session *s);
/* The file closes: nothing stays behind, whatever it takes. */
void client_append_close(struct oriel_file *f);
/* client_append_take() when this handle, or another, gathers. */
ORIEL_MUST_CHECK ssize_t client_append_take_slow(struct oriel_file *f,
						 const struct iovec *iov,
						 unsigned n_iov, size_t len,
						 uint64_t pos);

static inline bool client_append_pending(struct client_inode *ino)
{
	/* it only says whether to take the lock; in order with n_maps, for
	 * oriel_map() */
	return atomic_load(&ino->appender);
}

/* Nothing gathered is outstanding for @ino when this returns 0; -ETIMEDOUT as
 * client_inode_lock(), which must not be held. */
ORIEL_MUST_CHECK static inline int
client_append_settle(struct client_inode *ino)
{
	return ORIEL_UNLIKELY(client_append_pending(ino)) ?
		       client_append_settle_slow(ino) :
		       0;
}

/* What a flush on behalf of @f said, once. */
ORIEL_MUST_CHECK static inline int client_append_error(struct oriel_file *f)
{
	return atomic_load_explicit(&f->append_err, memory_order_relaxed) ?
		       atomic_exchange(&f->append_err, 0) :
		       0;
}

/* A write; inode->lock is held for writing. @len: gathered. 0: it is for the
 * caller to do, and all before it is sent. -errno: of an earlier one. */
ORIEL_MUST_CHECK static inline ssize_t
client_append_take(struct oriel_file *f, const struct iovec *iov,
		   unsigned n_iov, size_t len, uint64_t pos)
{
	if (ORIEL_LIKELY(!f->append && !client_append_pending(f->ino)))
		return 0;
	return client_append_take_slow(f, iov, n_iov, len, pos);
}

#endif
