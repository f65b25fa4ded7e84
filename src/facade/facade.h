/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Descriptors of files that have no end.
 *
 * A virtual machine monitor (QEMU 11.1) maps a piece of a file only if the file
 * has all of it; a guest asks for whole 2 MiB ranges of files of any size, that
 * grow later. So the monitor is given the descriptor of a *facade*: a file of a
 * private FUSE mount of this process whose size is as good as endless and whose
 * reads, writes and mappings the kernel passes through to the real file (Linux
 * 6.9). What is mapped is the real file's page cache: nothing has to be kept
 * coherent, growth needs no new mapping, and once it is mapped this process is
 * not needed any more.
 *
 * Needs CAP_SYS_ADMIN outside of any user name space when facade_new() is
 * called; later it is used by the broker only.
 */
#ifndef ORIEL_FACADE_FACADE_H
#define ORIEL_FACADE_FACADE_H

#include <sys/types.h>

#include "base/util.h"

struct facade; /* opaque */

struct facade_config {
	/* Forbid the broker's process all but what it needs, as in struct
	 * fuse_broker_config (fusedev/broker.h). NULL: nothing. */
	int (*confine)(void *ctx, int sock, int dev);
	void *ctx;
};

/*
 * Make the mount and start the broker (fork(2): call it while the process has
 * one thread). Nothing is served yet. -EPERM: not privileged; -ENODEV, -ENOENT:
 * no FUSE here; else -errno.
 */
ORIEL_MUST_CHECK int facade_new(const struct facade_config *cfg,
				struct facade **ret);
/*
 * Start to serve: a thread that lives until facade_free(). Then try it all on a
 * file in memory. 0; -EOPNOTSUPP: this kernel has no pass-through; else -errno.
 */
ORIEL_MUST_CHECK int facade_start(struct facade *f);

/*
 * A descriptor of an endless file that is @fd (a regular file, which stays the
 * caller's), open for reading, and for writing if @writable, which @fd must be
 * open for. Any thread; waits for the broker and the serving thread, which wait
 * for nobody else. The descriptor, or -errno: -ELOOP: the file system is itself
 * stacked too deep; what opening the file anew gives.
 */
ORIEL_MUST_CHECK int facade_open(struct facade *f, int fd, bool writable);

/* st_dev of its files. */
dev_t facade_dev(const struct facade *f);

/* Mappings of its files stay, everything else ends. NULL is fine. */
void facade_free(struct facade *f);

#endif
