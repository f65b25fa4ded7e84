/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by mount.c (before the sandbox) and mount_serve.c (inside). */
#ifndef ORIELD_MOUNT_H
#define ORIELD_MOUNT_H

#include <pthread.h>
#include <stdatomic.h>

#include "orield.h"

#define ORIELD_MOUNT_THREADS 8u

/* The main thread's, but for what is atomic. */
struct orield_mount {
	char *dir; /* resolved */
	uint64_t mount_id;
	bool notify;        /* the kernel is told of changes by others */
	bool by_helper;     /* fusermount3 did it, and will undo it */
	struct fuse_broker *broker; /* NULL: no passthrough */
	_Atomic bool complained;
	int fds[ORIELD_MOUNT_THREADS]; /* of /dev/fuse, one a thread */
	unsigned n_threads; /* valid fds */
	pid_t janitor;
	int janitor_pipe; /* -1: no janitor */
	/* mount_serve.c */
	struct server_session *session;
	pthread_t threads[ORIELD_MOUNT_THREADS];
	unsigned n_started;
	int done_fd; /* eventfd; rung by the last thread to end */
	_Atomic unsigned n_running;
};

/*
 * Unmount, and wait until that is done. False: it was not there to be removed,
 * or something lies on top of it. More than once is fine.
 */
bool orield_mount_remove(struct orield_mount *m);

#endif
