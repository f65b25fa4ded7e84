/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process that may do what the sandboxed daemon may not: tell the kernel
 * which file does the I/O of an open one, which takes CAP_SYS_ADMIN.
 */
#ifndef ORIEL_FUSEDEV_BROKER_H
#define ORIEL_FUSEDEV_BROKER_H

#include "base/util.h"

struct fuse_broker;

/*
 * Start it, from the main thread, before any other and before privileges go.
 * It ends when the main thread does. -EPERM: no CAP_SYS_ADMIN.
 */
ORIEL_MUST_CHECK int fuse_broker_start(struct fuse_broker **ret);
/* NULL is fine. Its descriptors are ours; after this only we have them. */
void fuse_broker_stop(struct fuse_broker *b);

/* As fuse_dev_backing_open(), of our descriptors. Any thread. */
ORIEL_MUST_CHECK int fuse_broker_open(struct fuse_broker *b, int dev_fd,
				      int file_fd);
/* Returns before it is done. */
void fuse_broker_close(struct fuse_broker *b, int dev_fd, uint32_t id);

#endif
