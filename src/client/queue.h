/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Private to queue.c (the calls, and who has which request), queue_op.c (what a
 * request needs next) and queue_help.c (the threads). States and invariants:
 * docs/design/async.md and the head of queue.c.
 */
#ifndef ORIEL_CLIENT_QUEUE_H
#define ORIEL_CLIENT_QUEUE_H

#include "client/call.h"
#include "client/io.h"

/* What a request needs next. */
enum queue_next {
	QUEUE_DONE,    /* nothing: result is set */
	QUEUE_MESSAGE, /* op->async is to be posted */
	QUEUE_WORK,    /* queue_op_work(), which may block */
};

/* One request. Belongs to one party at a time: the queue's thread (free,
 * prepared, just submitted, complete), the ring (posted), a list under
 * queue->lock (held, work, done), or the thread that is at it. */
struct queue_op {
	struct client_async async;
	struct oriel_queue *q;
	struct list node;       /* free, prepared, now, done, work */
	struct list order_node; /* queue->order */
	struct oriel_request req;
	int64_t result;
	struct iovec one; /* READ, WRITE */
	struct io io;
	uint64_t version; /* client_version() before the message */
	bool ordered;     /* an extending write */
	bool held;        /* waits for one before it: guarded by queue->lock */
	union {
		struct fuse_read_in read;
		struct fuse_write_in write;
		struct fuse_fsync_in fsync;
	} in;
	struct fuse_write_out write_out;
};

/* A thread of the queue. */
struct queue_thread {
	pthread_t thread;
	pthread_cond_t wake;
	bool started;
};

struct oriel_queue {
	struct oriel_session *s;
	struct list node; /* session->queues; table_lock */
	unsigned entries;
	struct queue_op *ops;

	/* of the thread that uses the queue */
	struct list free;
	struct list prepared;
	struct list now; /* complete since submit: hits */
	unsigned n_now;
	unsigned n_pending; /* submitted, not taken */
	unsigned idle_peeks;
	uint64_t looked_ns; /* when a peek last looked after time-outs */

	pthread_mutex_t lock; /* over all below */
	struct list done;
	_Atomic unsigned n_done; /* looked at without the lock */
	unsigned want;           /* n_done for which to ring; 0: nobody waits */
	struct client_slot bell; /* of who waits */
	_Atomic unsigned n_messages; /* posted; looked at without the lock */
	struct list order;       /* extending writes, oldest first */
	struct list work;
	bool closing; /* oriel_queue_free(): no further steps */
	bool stop;    /* the threads shall end */
	int fd;       /* -1: none asked for; set by the queue's thread */
	bool armed;
	bool signalled;           /* the descriptor is readable */
	struct queue_thread worker;
	struct queue_thread sentry;
	struct client_slot sentry_bell;
};

/* queue_op.c: none waits but queue_op_work(). */
enum queue_next queue_op_begin(struct queue_op *op);
enum queue_next queue_op_answer(struct queue_op *op, int err);
enum queue_next queue_op_work(struct queue_op *op);

/* queue.c */
/* Do what @op needs next; any thread, no lock held. Does not wait. */
void queue_go(struct queue_op *op, enum queue_next next);
/* The answer is there; client_async.done. */
void queue_op_answered(struct client_async *a, int err);
/* Give up messages whose time is over at @now_ns, or @only_reads. */
void queue_expire(struct oriel_queue *q, uint64_t now_ns, bool only_reads);

/* queue_help.c */
/* Something is in queue->work: 0, or -EAGAIN (no thread). */
ORIEL_MUST_CHECK int queue_work_locked(struct oriel_queue *q);
/* Armed, or posted while armed: see that somebody reaps. */
ORIEL_MUST_CHECK int queue_watch_locked(struct oriel_queue *q);
/* Nobody need reap for the descriptor any more. */
void queue_unwatch_locked(struct oriel_queue *q);
/* End both threads; nothing is under way. */
void queue_threads_stop(struct oriel_queue *q);

#endif
