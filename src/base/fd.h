/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * File descriptors: closing, shared memory, passing over a UNIX socket. All
 * calls may be used from any thread; descriptors made here are close-on-exec.
 */
#ifndef ORIEL_BASE_FD_H
#define ORIEL_BASE_FD_H

#include <sys/types.h>

#include "base/util.h"

/* Most descriptors one message may carry. */
#define FD_MSG_MAX 32

/* Close *@fd once if it is open (>= 0) and set it to -1. errno is kept. */
void fd_close(int *fd);

/* Close the first @n descriptors of @fds, each as fd_close(). */
void fd_close_all(int *fds, unsigned n);

/*
 * Anonymous shared memory of @size bytes, sealed against growing and
 * shrinking. Returns 0 and the descriptor in *@ret_fd, or -errno.
 */
ORIEL_MUST_CHECK int fd_memfd(const char *name, uint64_t size, int *ret_fd);

/*
 * Send @len bytes with @n_fds descriptors on the first byte. Blocks until all
 * went or @timeout_ms passed (-1: no limit) on a socket that stays full. No
 * SIGPIPE. Returns 0, -ETIMEDOUT, or -errno (-EPIPE: the peer is gone).
 */
ORIEL_MUST_CHECK int fd_send(int sock, const void *buf, size_t len,
			     const int *fds, unsigned n_fds, int timeout_ms);

/*
 * Receive exactly @len bytes. Descriptors that came along are appended to
 * @fds (capacity @max_fds, *@n_fds in and out); surplus ones are closed and
 * make the call fail with -EPROTO. @timeout_ms is the limit for the whole
 * message (-1: none; 0: -EAGAIN if nothing is there yet, but a message that
 * has begun is waited for one second). Returns 0, -ECONNRESET at end of
 * stream, -EAGAIN, -ETIMEDOUT, or -errno. On failure all received descriptors
 * are closed and *@n_fds is 0.
 */
ORIEL_MUST_CHECK int fd_recv(int sock, void *buf, size_t len, int *fds,
			     unsigned max_fds, unsigned *n_fds, int timeout_ms);

#endif
