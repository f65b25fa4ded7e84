/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost-user back end: one connection from a front end, served by its own
 * threads: the caller's thread reads the main channel, one thread a queue pops
 * and handles chains, and the back-end channel is written by whichever queue
 * thread maps. They never wait for each other in a circle: a queue thread that
 * waits for the answer to SHMEM_MAP holds no lock the main channel needs.
 *
 * Kick, call and error descriptors must be eventfds (they are made non-blocking,
 * for the front end too) or sockets; anything else ends the session.
 *
 * A queue thread polls its ring for poll_ns after the last request, then asks
 * for kicks and sleeps: an idle session costs no processor time.
 */
#ifndef ORIEL_VHOST_BACKEND_H
#define ORIEL_VHOST_BACKEND_H

#include "base/util.h"
#include "ring/ring_device.h"

struct vhost_backend; /* opaque */
struct vhost_later;   /* opaque: a request to be answered later */

/* What handle() returns for a chain that vhost_backend_keep() has taken. */
#define VHOST_LATER 1
/* Most bytes of such an answer. */
#define VHOST_LATER_MAX 128u

/* A mapping in the window. */
struct vhost_piece {
	uint64_t start; /* window offset */
	uint64_t len;
	int fd;         /* of the file, the receiver's to close */
	uint64_t fd_off;
};

struct vhost_backend_ops {
	/*
	 * Handle one chain of queue @queue (0: hiprio), on that queue's thread.
	 * Fill the writable part, set *@ret_written and return 0; or keep the
	 * chain and return VHOST_LATER. A negative return means the driver broke
	 * the protocol: the queue is stopped.
	 */
	int (*handle)(void *ctx, unsigned queue, struct ring_chain *chain,
		      uint32_t *ret_written);
	/*
	 * The chain is answered: what nobody waits for. On the same thread, before
	 * it takes the next chain; where the queue has more than one thread,
	 * already before the answer (not @answered), so that the driver never
	 * finds undone what was done before its next request on this queue. May
	 * be NULL.
	 */
	void (*after)(void *ctx, unsigned queue, bool answered);
	/*
	 * Answer the chain, whose segments are not all to be had, with @err (a
	 * guest's buffer in its own window, where nothing is mapped), as handle()
	 * does. Only the first segment of either direction may be used. NULL
	 * where there is no guest_window_dev.
	 */
	int (*refuse)(void *ctx, const struct ring_chain *chain, int err,
		      uint32_t *ret_written);
	/* The mapping that window offset @off is in: 0, or -errno. Any thread. */
	int (*window_piece)(void *ctx, uint64_t off, struct vhost_piece *ret);
	/*
	 * Called on queue @queue's thread when it starts and ends; may be NULL.
	 */
	void (*thread_start)(void *ctx, unsigned queue);
	void (*thread_stop)(void *ctx, unsigned queue);
	/*
	 * A queue is about to stop (@begin) or has: every chain that was kept
	 * must be answered before the first returns, and none may be kept until
	 * the second. Main thread; may be NULL where nothing is kept.
	 */
	void (*cancel)(void *ctx, bool begin);
	/*
	 * The front end has reset the device or gone: no queue is running. All
	 * SHMEM mappings are already considered gone by the front end.
	 */
	void (*reset)(void *ctx);
	/*
	 * A queue that had been used starts at 0 again: a driver has taken over
	 * that knows nothing of what was, after a reboot that the front end did
	 * not tell of. No queue is running; the mappings are as they were. Not
	 * every front end shows it in this way. May be NULL.
	 */
	void (*restart)(void *ctx);
};

/*
 * Shared by the back ends of a process: when more of their queues are busy than
 * @most, none of them polls. Zero-initialise the rest.
 */
struct vhost_crowd {
	unsigned most; /* constant */
	_Alignas(ORIEL_CACHE_LINE) _Atomic uint64_t word;
};

struct vhost_backend_config {
	int sock;                /* connected; closed by run() */
	unsigned request_queues; /* offered */
	unsigned workers;        /* threads a request queue has; 0: one */
	uint64_t window_bytes;   /* for liboriel; 0: none */
	uint64_t guest_window_bytes; /* for all others; 0: none. Not larger */
	/*
	 * st_dev of the files in it; 0: none of its own. A monitor tells us such
	 * a file as a piece of the guest's memory: that is where the window is,
	 * which lies at a multiple of its size (as all of PCI does).
	 */
	uint64_t guest_window_dev;
	char tag[37];
	uint64_t poll_ns;        /* busy polling after the last request */
	struct vhost_crowd *crowd; /* may be NULL; outlives the back end */
	bool mem_slots;          /* offer CONFIGURE_MEM_SLOTS */
	struct mem_quota *mem_quota; /* for the front end's memory; may be
					NULL; outlives the back end */
	const struct vhost_backend_ops *ops;
	void *ctx;
};

/* Copies @cfg; @cfg->sock belongs to the back end on success. 0 or -errno. */
ORIEL_MUST_CHECK int vhost_backend_new(const struct vhost_backend_config *cfg,
				       struct vhost_backend **ret);

/*
 * Serve the connection until the peer leaves (0), breaks the protocol (-EPROTO,
 * logged with the message's name and values), vhost_backend_stop() is called
 * (-ECANCELED) or the system fails us (other -errno, logged). All queue threads
 * have ended and ops->reset() was called when it returns. Once per object.
 */
ORIEL_MUST_CHECK int vhost_backend_run(struct vhost_backend *be);

/* Make run() return soon. Any thread; async-signal-safe. */
void vhost_backend_stop(struct vhost_backend *be);

/* After run() has returned (or was never called). NULL is fine. */
void vhost_backend_free(struct vhost_backend *be);

/* Did the front end agree to SHMEM and give us a back-end channel? */
bool vhost_backend_has_shmem(const struct vhost_backend *be);
/* Is the front end liboriel (VHOST_USER_PF_ORIEL)? */
bool vhost_backend_is_oriel(const struct vhost_backend *be);

/*
 * Keep [@gpa, @gpa + @len) of the front end's memory mapped, at *@ret: a map to be
 * given to mem_map_unref(), also after vhost_backend_free(); NULL if it is not
 * all there. Any thread.
 */
struct mem_map *vhost_backend_hold(struct vhost_backend *be, uint64_t gpa,
				   uint64_t len, void **ret);

/*
 * From within handle(), on queue @queue's thread: the chain that is being
 * handled is going to be answered later, handle() will return VHOST_LATER. NULL
 * (no memory; room for the answer in too many pieces): it is not.
 */
struct vhost_later *vhost_backend_keep(struct vhost_backend *be,
				       unsigned queue);
/*
 * Answer it with @len (at most VHOST_LATER_MAX) bytes, which are copied; @l is
 * used up. Any thread; does not wait. Also after the queue has stopped, but not
 * after vhost_backend_free().
 */
void vhost_backend_answer(struct vhost_later *l, const void *data, size_t len);

/*
 * Ask the front end to map [@fd_off, @fd_off + @len) of @fd at @shm_off of the
 * window / to unmap exactly that. Blocks until it answered (always with
 * NEED_REPLY), five seconds at most. Queue threads only. The descriptor stays
 * the caller's. Returns 0, the front end's refusal as -EFAULT or its negative
 * errno, -ENOTCONN, -ETIMEDOUT; -ECANCELED when queues are being stopped. After
 * the last two a map that did happen is undone before the next request.
 */
ORIEL_MUST_CHECK int vhost_backend_map(struct vhost_backend *be, int fd,
				       uint64_t fd_off, uint64_t shm_off,
				       uint64_t len, bool writable);
ORIEL_MUST_CHECK int vhost_backend_unmap(struct vhost_backend *be,
					 uint64_t shm_off, uint64_t len);

#endif
