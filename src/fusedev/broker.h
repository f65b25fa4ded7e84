/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process that may do what the sandboxed daemon may not: tell the kernel
 * which file does the I/O of an open one of a FUSE connection, which takes
 * CAP_SYS_ADMIN. Both the mount (--mount) and the facade (DAX of guests) have
 * one, each of its own connection.
 */
#ifndef ORIEL_FUSEDEV_BROKER_H
#define ORIEL_FUSEDEV_BROKER_H

#include <sys/types.h>

#include "base/util.h"

struct fuse_broker;

struct fuse_broker_config {
	int dev; /* /dev/fuse, of a connection; stays the caller's */
	/* Most files registered at a time; 0: as many as a process may have
	 * open, whatever its limit is. */
	uint32_t max_files;
	/* Called in the broker's process once it has dropped what it does not
	 * need, to forbid it all other system calls: it receives and sends on
	 * @sock, and calls ioctl(2) of @dev, statx(2), close(2), exit(2). NULL:
	 * nothing is forbidden. Negative ends it. */
	int (*confine)(void *ctx, int sock, int dev);
	void *ctx;
};

/*
 * Start it (fork(2)): from the main thread, before any other and before
 * privileges go. It ends when the caller's process does. -EPERM: no
 * CAP_SYS_ADMIN.
 */
ORIEL_MUST_CHECK int fuse_broker_start(const struct fuse_broker_config *cfg,
				       struct fuse_broker **ret);
/* Waits for its end. NULL is fine. */
void fuse_broker_stop(struct fuse_broker *b);

/*
 * Make @file_fd, a regular file, a backing file; O_PATH will do. Its id (> 0),
 * or -errno: -ENFILE: max_files; -EIO: the broker is gone. Any thread.
 */
ORIEL_MUST_CHECK int fuse_broker_open(struct fuse_broker *b, int file_fd);
/* Returns before it is done. */
void fuse_broker_close(struct fuse_broker *b, uint32_t id);

/*
 * Inside, and for tests: what crosses the socket, one datagram each. OPEN comes
 * with one descriptor and is answered by an int32_t, the id or -errno; CLOSE is
 * not answered. Whatever else comes is answered with -EINVAL.
 */
enum fuse_broker_op {
	FUSE_BROKER_OPEN = 1,
	FUSE_BROKER_CLOSE = 2,
};
struct fuse_broker_request {
	uint32_t op;
	uint32_t id; /* CLOSE */
};
int fuse_broker_socket(const struct fuse_broker *b);
pid_t fuse_broker_pid(const struct fuse_broker *b);

#endif
