/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside the front end: its parts and who does what.
 *
 *   frontend.c            life cycle, queues, kicks and calls
 *   frontend_handshake.c  the messages that set a connection up
 *   frontend_memory.c     the one shared memory file: rings, then the arena
 *   frontend_window.c     the reserved window and the back-end channel
 */
#ifndef ORIEL_VHOST_FRONTEND_PRIV_H
#define ORIEL_VHOST_FRONTEND_PRIV_H

#include <pthread.h>

#include "base/itree.h"
#include "vhost/frontend.h"
#include "vhost/vhost_msg.h"

/*
 * Address of the shared memory in the device's eyes, in descriptors and in
 * SET_VRING_ADDR alike. It is no address of this process: the peer only needs
 * a number it can look up in the memory table, and where our mappings lie is
 * nothing it should know. Not 0, so that a forgotten address is an error.
 */
#define FE_GPA_BASE UINT64_C(0x100000000)

/* One queue's place in the shared memory (byte offsets) and descriptors. */
struct fe_queue {
	struct ring_driver *drv;
	int kick_fd;
	int call_fd;
	uint64_t desc_off;
	uint64_t avail_off;
	uint64_t used_off;
	uint64_t indirect_off;
};

struct vhost_frontend {
	struct vhost_frontend_config cfg;
	struct vhost_frontend_info info;
	int sock; /* -1 until the handshake is done: the caller's till then */
	int chan; /* our end of the back-end channel, or -1 */
	int dead; /* 0, or the sticky error of vhost_frontend_service() */
	bool ack; /* REPLY_ACK negotiated: ask for replies to commands */
	bool shmem; /* SHMEM negotiated */

	struct fe_queue *queues; /* info.n_queues */
	int mem_fd;
	unsigned char *mem;
	uint64_t mem_bytes;
	uint64_t arena_off;

	void *reserved; /* address space the window was cut from */
	uint64_t reserved_bytes;
	pthread_mutex_t window_lock; /* the next two */
	struct itree mappings; /* struct fe_mapping, by window offset */
	struct list wants;     /* struct vhost_want */

	struct vhost_rx rx;      /* main socket */
	struct vhost_rx chan_rx; /* back-end channel */

	char why[128]; /* text behind info.no_window_why */
	char *errbuf;  /* during vhost_frontend_new() only */
	size_t errlen;
};

/* Write the sentence into the caller's buffer; returns @err. */
int fe_error(struct vhost_frontend *fe, int err, const char *fmt, ...)
	ORIEL_PRINTF(3, 4);

static inline bool fe_has_feature(const struct vhost_frontend *fe, int bit)
{
	return fe->info.virtio_features >> bit & 1;
}

/* frontend_handshake.c: before and after memory and queues exist. */
ORIEL_MUST_CHECK int fe_negotiate(struct vhost_frontend *fe);
ORIEL_MUST_CHECK int fe_start_queues(struct vhost_frontend *fe);

/* frontend_memory.c */
ORIEL_MUST_CHECK int fe_memory_create(struct vhost_frontend *fe);
void fe_memory_destroy(struct vhost_frontend *fe);

/* frontend_window.c */
ORIEL_MUST_CHECK int fe_window_reserve(struct vhost_frontend *fe,
				       uint64_t offered_bytes);
void fe_window_destroy(struct vhost_frontend *fe);
/* Serve one message of the channel: 1 served, 0 nothing there, or -errno. */
ORIEL_MUST_CHECK int fe_channel_step(struct vhost_frontend *fe);

#endif
