/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * O_DIRECT from memory that is not aligned for it. A client's pages are, but
 * the one page may be cut by a message's header (always so on /dev/fuse), and
 * the client cannot help it: it gave aligned memory to its own kernel. So what
 * the file system refuses is tried once more through a buffer of the thread's
 * own. What is refused then, by its offset or length, is the client's fault.
 */
#include "server/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define ALIGNMENT 4096u

static ssize_t through(const struct server_bounce *b, void *buf, size_t len)
{
	struct iovec iov = { buf, len };
	ssize_t n;

	if (!b->write) {
		n = pread(b->fd, buf, len, (off_t)b->off);
		if (n < 0)
			return -errno;
		server_iov_write(b->iov, b->n, 0, buf, (size_t)n);
		return n;
	}
	server_iov_read(b->iov, b->n, 0, buf, len);
	if (b->append)
		n = pwritev2(b->fd, &iov, 1, (off_t)b->off, RWF_APPEND);
	else
		n = pwrite(b->fd, buf, len, (off_t)b->off);
	return n < 0 ? -errno : n;
}

ssize_t server_bounce(struct server_thread *t, const struct server_bounce *b)
{
	size_t len = server_iov_len(b->iov, b->n);

	if (len > FUSE_WIRE_MAX_WRITE)
		return -EINVAL;
	if (!t->bounce)
		t->bounce = aligned_alloc(ALIGNMENT, FUSE_WIRE_MAX_WRITE);
	if (!t->bounce)
		return -ENOMEM;
	return through(b, t->bounce, len);
}
