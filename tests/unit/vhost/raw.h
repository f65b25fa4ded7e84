/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vhost-user peer written byte by byte, with none of the code under test: it
 * says whatever a test wants, in whatever order. As a front end it also has a
 * memory file with rings, driven by ring_driver.
 */
#ifndef TESTS_VHOST_RAW_H
#define TESTS_VHOST_RAW_H

#include "pair.h"
#include "wire/vhost_user.h"

#define RAW_MEM MIB(4)
#define RAW_GPA UINT64_C(0x40000000)
#define RAW_UADDR UINT64_C(0x7f0000000000)
#define RAW_RING 64u
#define RAW_REQ UINT64_C(0x100000) /* requests lie here, 64 KiB each */

/* One message as it came. */
struct raw_msg {
	struct vhost_user_header hdr;
	union {
		uint64_t u64;
		struct vhost_user_vring_state state;
		struct vhost_user_config config;
		struct vhost_user_shmem_config shmem;
		struct vhost_user_mmap mmap;
		uint8_t raw[VHOST_USER_MAX_PAYLOAD];
	} u;
	int fds[VHOST_USER_MAX_FDS];
	unsigned n_fds;
};

struct raw_queue {
	struct ring_driver *d;
	int kick_fd;
	int call_fd;
};

struct raw {
	int sock;
	int chan; /* our end; -1 until raw_give_channel() */
	int mem_fd;
	unsigned char *mem;
	struct raw_queue q[3];
};

/* Send header and @size payload bytes; @fds stay ours. */
void raw_send(int sock, uint32_t request, uint32_t flags, const void *payload,
	      uint32_t size);
void raw_send_fds(int sock, uint32_t request, uint32_t flags,
		  const void *payload, uint32_t size, const int *fds,
		  unsigned n_fds);
/* Receive one message; fails the test after 20 s or at end of stream. */
void raw_recv(int sock, struct raw_msg *m);
/* Wait until the peer has closed the connection; what came before is read. */
void raw_expect_eof(int sock);

/* A peer with memory and drivers for 3 queues; nothing is sent yet. */
void raw_init(struct raw *r, int sock);
void raw_done(struct raw *r);
/* Fresh rings and descriptors, as after a reset. */
void raw_new_rings(struct raw *r);

/* Single steps. All of them without NEED_REPLY. */
void raw_u64(struct raw *r, uint32_t request, uint64_t v);
void raw_state(struct raw *r, uint32_t request, unsigned queue, unsigned num);
uint64_t raw_get(struct raw *r, uint32_t request);
void raw_vring_fd(struct raw *r, uint32_t request, unsigned queue, int fd);
void raw_vring_addr(struct raw *r, unsigned queue);
void raw_mem_table(struct raw *r);
struct vhost_user_one_region raw_region(void);
void raw_give_channel(struct raw *r);
/* Size, base, addresses, call, kick. */
void raw_vring(struct raw *r, unsigned queue);
/* Features with REPLY_ACK and SHMEM, channel, memory, queues 0-2 enabled. */
void raw_connect(struct raw *r);

/* Offer @segs of queue @queue; @token comes back. */
void raw_offer(struct raw *r, unsigned queue, const struct ring_seg *segs,
	       unsigned n_out, unsigned n_in, void *token);
/* Offer a request of pair.h in place @slot; wait for the answer's result. */
void raw_submit(struct raw *r, unsigned queue, unsigned slot,
		const struct pair_request *req);
/* Wait for one; its token. */
void *raw_wait(struct raw *r, unsigned queue, uint32_t *ret_len);
int raw_result(struct raw *r, unsigned queue);
/* Submit an OP_ECHO of eight bytes and check the answer. */
void raw_echo(struct raw *r, unsigned queue);

#endif
