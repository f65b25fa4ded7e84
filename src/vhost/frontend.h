/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost-user front end: one connection to a virtio-fs back end. It creates the
 * shared memory (rings and a request arena), hands it over with the queues,
 * reserves the DAX window and serves the back end's SHMEM_MAP / SHMEM_UNMAP.
 *
 * Threads: vhost_frontend_new/free by one thread; submitting to a queue's
 * driver under the caller's lock for that queue; vhost_frontend_service() under
 * one lock of the caller; want, unwant, map and unmap by any thread. Nothing here
 * starts a thread or blocks without limit.
 */
#ifndef ORIEL_VHOST_FRONTEND_H
#define ORIEL_VHOST_FRONTEND_H

#include "base/list.h"
#include "base/util.h"
#include "ring/ring_driver.h"

struct vhost_frontend_config {
	int sock;                /* connected UNIX stream socket; stays the
				    caller's until success */
	unsigned request_queues; /* wanted, >= 1; fewer if the peer has fewer */
	unsigned queue_size;     /* entries, power of two */
	uint64_t arena_bytes;    /* request memory, page multiple */
	uint64_t gauge_bytes;    /* more, for the gauge page; page multiple */
	/*
	 * Most bytes of window to reserve: the window is the smaller of this
	 * and what the back end says. 0: no window.
	 */
	uint64_t max_window_bytes;
	uint64_t window_align;   /* power of two; alignment of the base */
	int timeout_ms;          /* for each answer of the handshake */
};

struct vhost_frontend; /* opaque */

/* What was agreed; pointers live as long as the front end. */
struct vhost_frontend_info {
	uint64_t virtio_features;
	uint64_t protocol_features;
	unsigned n_queues; /* hiprio included: queue 0, then requests */
	unsigned char *arena;
	uint64_t arena_gpa;
	uint64_t arena_bytes;
	unsigned char *gauge; /* of cfg.gauge_bytes; NULL: none asked for */
	uint64_t gauge_gpa;
	uint32_t *gauge_ask;  /* a cache line of its own among the queues */
	uint64_t gauge_ask_gpa;
	unsigned char *window; /* NULL: none */
	uint64_t window_bytes;
	const char *no_window_why; /* NULL when there is one; else a sentence
				      such as "the daemon does not offer
				      shared memory (SHMEM, protocol bit 22)" */
	char tag[37]; /* "" if the back end has no CONFIG */
};

/*
 * Handshake. On failure -errno and @errbuf (@errlen bytes, may be NULL) holds a
 * sentence: which message, what came, what was expected. -EPROTO: the peer does
 * not speak vhost-user or broke its rules; -ETIMEDOUT: no answer; -ECONNRESET:
 * closed. On success @cfg->sock belongs to the front end.
 */
ORIEL_MUST_CHECK int vhost_frontend_new(const struct vhost_frontend_config *cfg,
					struct vhost_frontend **ret,
					char *errbuf, size_t errlen);
/* Closes the connection and unmaps arena and window. NULL is fine. */
void vhost_frontend_free(struct vhost_frontend *fe);

const struct vhost_frontend_info *
vhost_frontend_info(const struct vhost_frontend *fe);

/* Queue @i's driver, kick, and the descriptors to poll(2) on. */
struct ring_driver *vhost_frontend_queue(struct vhost_frontend *fe, unsigned i);
void vhost_frontend_kick(struct vhost_frontend *fe, unsigned i);
int vhost_frontend_call_fd(const struct vhost_frontend *fe, unsigned i);
/* Drain the call eventfd after poll(2) said it is readable. */
void vhost_frontend_ack_call(struct vhost_frontend *fe, unsigned i);
/* Readable or hung up: call vhost_frontend_service(). -1 if there is none. */
int vhost_frontend_sock_fd(const struct vhost_frontend *fe);
int vhost_frontend_channel_fd(const struct vhost_frontend *fe);

/*
 * Serve what waits on the back-end channel and look whether the main socket is
 * still open; never blocks. Each SHMEM_MAP / UNMAP is checked: region 0 only,
 * page-aligned, inside the window, no overlap with a live mapping (unless it is
 * exactly the same range: replaced), a regular file or memfd, one descriptor;
 * UNMAP names one whole mapping. A request that breaks these rules is refused
 * (negative errno in the reply), a malformed message ends the session.
 * Returns 0, or -ENOTCONN / -EPROTO once the session is dead (sticky).
 */
ORIEL_MUST_CHECK int vhost_frontend_service(struct vhost_frontend *fe);

/*
 * The wish for the descriptor that comes with a mapping. Fill in where it will
 * be, call want(), ask the back end for the mapping, call unwant(): @fd is -1, or
 * the caller's, and byte @file_off of it is at @window_off. The file is a regular
 * one, open for reading, and for writing if @writable. Any thread; the structure
 * stays where it is in between.
 */
struct vhost_want {
	uint64_t window_off; /* in; bytes, as in the back end's SHMEM_MAP */
	uint64_t len;        /* in */
	int fd;
	uint64_t file_off;
	bool writable;
	struct list node;    /* private */
};
void vhost_frontend_want(struct vhost_frontend *fe, struct vhost_want *w);
void vhost_frontend_unwant(struct vhost_frontend *fe, struct vhost_want *w);

/* A piece of a file and where it goes; page multiples. */
struct vhost_local_map {
	int fd; /* the caller's; used during the call */
	uint64_t file_off;
	uint64_t window_off;
	uint64_t len;
	bool writable;
};

/*
 * Map @p into the window without the back end, in one step over what is there
 * (which must be nothing, or exactly this range). What was there stays if the file
 * cannot be mapped like that. Any thread; does not block. -EEXIST: overlaps something else;
 * -ERANGE; -ENOSPC: too many mappings; -ENOMEM; what mmap(2) says.
 */
ORIEL_MUST_CHECK int vhost_frontend_map(struct vhost_frontend *fe,
					const struct vhost_local_map *p);
/* Undo it. -EREMOTE: the back end has mapped this range (too) and must be asked;
 * -ENOENT. Any thread; does not block. */
ORIEL_MUST_CHECK int vhost_frontend_unmap(struct vhost_frontend *fe,
					  uint64_t window_off, uint64_t len);

/* Live mappings; for tests and statistics. */
unsigned vhost_frontend_mappings(const struct vhost_frontend *fe);

#endif
