/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * /dev/fuse as a channel of requests: open, mount, one more descriptor per
 * thread, read, answer. Knows no operation. Any thread; a descriptor belongs
 * to one thread at a time.
 */
#ifndef ORIEL_FUSEDEV_DEV_H
#define ORIEL_FUSEDEV_DEV_H

#include <sys/types.h>

#include "base/util.h"

/* What the kernel wants to be free in a buffer besides a write's data. */
#define FUSE_DEV_HEAD 4096u

struct fuse_dev_mount {
	const char *dir;
	bool readonly;
	bool allow_other; /* users besides the one that mounts */
};

/* A descriptor of /dev/fuse, not mounted yet. */
ORIEL_MUST_CHECK int fuse_dev_open(int *ret_fd);
/* Another descriptor of what @fd serves; needs /dev/fuse to be in reach. */
ORIEL_MUST_CHECK int fuse_dev_clone(int fd, int *ret_fd);
/* mount(2) of @fd: CAP_SYS_ADMIN. -EPERM: try fuse_dev_mount_helper(). */
ORIEL_MUST_CHECK int fuse_dev_mount(int fd, const struct fuse_dev_mount *m);
/* By fusermount3, which users may run. *@ret_fd is a mounted descriptor. */
ORIEL_MUST_CHECK int fuse_dev_mount_helper(const struct fuse_dev_mount *m,
					   int *ret_fd);
/* Run fusermount3 to unmount; @lazy: what is in use goes when it is not. */
ORIEL_MUST_CHECK int fuse_dev_unmount_helper(const char *dir, bool lazy);

/*
 * The next request, whole. Its length; 0: none, ask again; -ENODEV: unmounted
 * or aborted, the end; or -errno.
 */
ssize_t fuse_dev_read(int fd, void *buf, size_t size);
/* Send an answer of @len bytes. One that nobody waits for any more is fine. */
ORIEL_MUST_CHECK int fuse_dev_write(int fd, const void *buf, size_t len);

/*
 * Make the kernel do the I/O of files opened with the id that is returned (> 0)
 * on @file_fd itself. CAP_SYS_ADMIN of the initial user name space; the caller's
 * credentials are those the kernel uses. -ENOTTY: not known here.
 */
ORIEL_MUST_CHECK int fuse_dev_backing_open(int fd, int file_fd);
ORIEL_MUST_CHECK int fuse_dev_backing_close(int fd, uint32_t id);

#endif
