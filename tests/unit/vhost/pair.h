/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Our front end and our back end in one process, over a socket pair: the back
 * end runs in a thread, its handler does what the request says. Also small
 * things every test here needs: counting descriptors and threads, waiting.
 */
#ifndef TESTS_VHOST_PAIR_H
#define TESTS_VHOST_PAIR_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vhost/backend.h"
#include "vhost/frontend.h"

#define PAIR_WINDOW MIB(8)
#define PAIR_SLOT 65536u /* arena bytes a request of the tests may use */
#define PAIR_FILES 4

enum pair_op {
	OP_ECHO,  /* the payload comes back */
	OP_MAP,   /* vhost_backend_map() */
	OP_UNMAP, /* vhost_backend_unmap() */
	OP_WAIT,  /* the handler waits until pair.gate is opened */
	OP_LATER, /* kept in pair.kept until pair_answer_one(), len is its mark */
	OP_BAD,   /* the handler says that the driver broke the protocol */
};

struct pair_request {
	uint32_t op;
	uint32_t file; /* index into pair.files */
	uint64_t fd_off;
	uint64_t shm_off;
	uint64_t len; /* or bytes of payload that follow, for OP_ECHO */
	uint64_t writable;
};

struct pair {
	struct vhost_backend *be;
	struct vhost_frontend *fe;
	pthread_t thread;
	bool joined;
	int run_result;
	_Atomic int files[PAIR_FILES]; /* what OP_MAP can map; -1: none */
	_Atomic unsigned resets;
	_Atomic unsigned starts;
	_Atomic unsigned stops;
	_Atomic unsigned waiting; /* handlers inside OP_WAIT or a map */
	_Atomic bool gate;
	pthread_mutex_t kept_lock;
	struct pair_kept {
		struct vhost_later *later;
		int32_t mark;
	} kept[64]; /* kept_lock */
	unsigned n_kept; /* kept_lock */
	unsigned no_keep; /* kept_lock; between the back end's cancels */
	_Atomic unsigned cancelled;
	/* What window_piece() knows: by window offset, fd_off is 0. */
	struct vhost_piece pieces[2];
	char error[256];
};

struct pair_options {
	unsigned server_queues; /* 0: 1 */
	unsigned client_queues; /* 0: 1 */
	unsigned queue_size;    /* 0: 64 */
	uint64_t poll_ns;
	bool no_window;
	uint64_t window_dev;
	unsigned workers; /* of each request queue; 0: 1 */
};

/* A back end on @sock, running in a thread. Only p->fe is not made. */
void pair_start_backend(struct pair *p, int sock,
			const struct pair_options *o);
/* Both ends, connected. Fails the test if they do not get there. */
void pair_start(struct pair *p, const struct pair_options *o);
/* Close the front end, then expect run() to return @result and free all. */
void pair_finish(struct pair *p, int result);
/* Join the back end's thread; p->run_result is what run() said. */
void pair_join(struct pair *p);
/* A front end's configuration that fits the options. */
struct vhost_frontend_config pair_frontend_config(int sock,
						const struct pair_options *o);

/* Put a request into slot @slot of the arena and offer it; no waiting. */
void pair_submit(struct pair *p, unsigned queue, unsigned slot,
		 const struct pair_request *r, const void *payload);
/*
 * Wait for one answer of @queue while serving the channel. The slot is
 * returned, *@ret_len is what the device wrote. Fails the test after 20 s.
 */
unsigned pair_wait(struct pair *p, unsigned queue, uint32_t *ret_len);
/* Answer bytes of a slot. */
const void *pair_answer(struct pair *p, unsigned slot);
/* Submit and wait; the result of OP_MAP, OP_UNMAP, OP_WAIT. */
int pair_do(struct pair *p, unsigned queue, const struct pair_request *r);

/* Answer one that was kept, with its mark, any of them. False: there is none. */
bool pair_answer_one(struct pair *p, unsigned which);

/* Have OP_MAP use @fd as file @i; the one before is closed. */
void pair_set_file(struct pair *p, unsigned i, int fd);

unsigned count_fds(void);
unsigned count_threads(void);
/* Spin (with sleeps) until *@v reaches @want; fails the test after 20 s. */
void wait_for(_Atomic unsigned *v, unsigned want);
/* A memfd of @bytes where each 8 bytes hold @seed + their offset. */
int pattern_file(uint64_t bytes, uint64_t seed);

#endif
