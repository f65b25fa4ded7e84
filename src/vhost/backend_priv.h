/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside the back end: its parts and who does what.
 *
 *   backend.c          life cycle, the loop over the main channel
 *   backend_msgs.c     one handler a message, in a table with its shape
 *   backend_mem.c      the memory table
 *   backend_queue.c    starting and stopping queues
 *   backend_worker.c   what their threads do
 *   backend_crowd.c    how many queues of all are busy
 *   backend_later.c    requests that are answered later
 *   backend_inflight.c requests that outlive this process
 *   backend_window.c   buffers that lie in the guest's own window
 *   backend_channel.c  SHMEM_MAP and SHMEM_UNMAP over the back-end channel
 *
 * Threads: "main" is the one inside vhost_backend_run(). It alone changes the
 * state of queues, and only while a queue's thread does not run, except for
 * the notifiers (call_lock) and the memory map (mem_lock). A queue thread that
 * waits for an answer on the back-end channel holds no lock at all: the channel
 * is marked busy instead. So main never waits for the front end, and the one thing
 * main does wait for, the end of a queue thread, first cancels such a wait.
 *
 * Locks: vq.lead, then vq.ring_lock, then any one of these, none taken inside
 * another: mem_lock, chan.lock, vq.call_lock, vq.later_lock.
 */
#ifndef ORIEL_VHOST_BACKEND_PRIV_H
#define ORIEL_VHOST_BACKEND_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/spin.h"
#include "vhost/backend.h"
#include "vhost/vhost_msg.h"

/*
 * Where "there is something" is written: an eventfd, or a stream socket. The
 * front end has the same open file and can make a write to it block at any
 * time, so it is written without a lock, by queue threads only, which vq_stop()
 * can interrupt. Counted: by the queue and by the thread that writes.
 */
struct vq_notifier {
	_Atomic unsigned refs;
	int fd;
	bool is_sock;
};

/* A thread that serves a queue. */
struct vq_worker {
	struct vhost_vq *vq;
	pthread_t thread;
	struct ring_chain *chain;     /* the one being handled */
	struct mem_map *mem; /* the map it lies in; kept until the thread sleeps */
	uint32_t mem_gen;    /* which one that is */
};

struct vhost_vq {
	struct vhost_backend *be;
	unsigned index;

	/* What the front end said; main only, constant while running. */
	unsigned size;
	uint16_t base;
	bool size_set;
	bool addr_set;
	bool kick_set; /* kick_fd is meant to be used, even if it is -1 */
	bool enabled;
	struct vhost_user_vring_addr addr;
	int kick_fd; /* -1 with kick_set: the ring is to be polled */
	bool kick_is_sock;

	pthread_mutex_t call_lock;
	struct vq_notifier *call; /* guarded by call_lock; NULL: none */
	struct vq_notifier *err;  /* guarded by call_lock; NULL: none */

	/* The threads. */
	bool running;         /* main only: they are to be joined */
	unsigned n_workers;   /* constant; as wake_fd from the first start on */
	struct vq_worker *workers;
	pthread_mutex_t lead;      /* of a pool: see backend_worker.c */
	pthread_mutex_t ring_lock; /* of a pool: over what is in dev */
	bool broken; /* lead; the queue has come to an end */
	bool recent; /* lead; a request was taken since the last sleep */
	int wake_fd;          /* interrupts poll(2) of the one that waits */
	_Atomic bool stop;
	_Atomic bool recall; /* call is new: a call may have gone to the old */
	struct ring_inflight_state inflight;
	struct ring_device dev; /* theirs while they run */
	struct spin_habit habit;
	uint32_t counted; /* the one that waits: see backend_crowd.c */
	struct mem_map *ring_mem; /* keeps the memory the ring lies in */

	pthread_mutex_t later_lock;
	struct list answers; /* of kept requests; guarded by later_lock */
	_Atomic bool has_answers;
};

/* The back-end channel. */
struct vhost_channel {
	pthread_mutex_t lock;
	pthread_cond_t idle; /* busy went false, or cancelled went up */
	int fd;              /* changed under lock while not busy */
	bool busy;           /* guarded by lock: somebody uses fd and rx */
	bool dead;           /* guarded by lock */
	unsigned cancelled;  /* guarded by lock: waits end while > 0 */
	int cancel_fd;       /* readable while cancelled > 0 */
	uint64_t poll_ns;    /* before sleeping for an answer; constant */

	/* Used by whoever made it busy. */
	struct vhost_rx rx;
	struct spin_habit habit;
	bool owed;                /* an answer nobody waited for will come */
	uint32_t owed_request;    /* ... to this request */
	struct vhost_user_mmap owed_range;
	bool owed_undo; /* it is a MAP: if it succeeded, unmap */
	bool owed_done; /* the MAP before it did succeed */
};

struct vhost_backend {
	struct vhost_backend_config cfg;
	unsigned n_queues; /* hiprio included */
	int stop_fd;       /* readable: run() is to end */
	_Atomic int failed; /* why, if not stopped from outside: -errno */

	/* Main only; queue threads get copies when they start. */
	int sock;
	uint64_t features;
	uint64_t protocol;
	struct vhost_rx rx;

	pthread_mutex_t mem_lock;
	struct mem_map *mem; /* guarded by mem_lock; NULL: no table yet */
	_Atomic uint32_t mem_gen; /* counts changes of mem */

	struct mem_map *inflight; /* main only; NULL: not tracked. One region */
	unsigned inflight_queues;
	unsigned inflight_size; /* descriptors a queue has room for */

	struct vhost_channel chan;
	_Atomic bool has_shmem; /* SHMEM and BACKEND_REQ acknowledged */
	_Atomic bool is_oriel;
	_Atomic bool has_barrier; /* SHARED_OBJECT acknowledged, by a guest's */

	struct vhost_vq vqs[];
};

/* Log a violation of message @name and return -EPROTO. */
int be_violation(const char *name, const char *fmt, ...) ORIEL_PRINTF(2, 3);

/* End the session from any thread with @err. Async-signal-safe. */
void be_fail(struct vhost_backend *be, int err);

/* backend_msgs.c: handle be->rx. 0, or the error that ends the session. */
ORIEL_MUST_CHECK int be_dispatch(struct vhost_backend *be);

/* backend_mem.c; main only, except be_mem_get(): any thread, NULL if none. */
ORIEL_MUST_CHECK int be_mem_set_table(struct vhost_backend *be);
ORIEL_MUST_CHECK int be_mem_add(struct vhost_backend *be);
ORIEL_MUST_CHECK int be_mem_remove(struct vhost_backend *be);
struct mem_map *be_mem_get(struct vhost_backend *be);
void be_mem_clear(struct vhost_backend *be);

/* backend_queue.c; main only. */
void vq_init(struct vhost_backend *be, unsigned i);
void vq_done(struct vhost_vq *vq);
/* Start the thread if the queue is complete and enabled. -EPROTO: logged. */
ORIEL_MUST_CHECK int vq_try_start(struct vhost_vq *vq, const char *name);
ORIEL_MUST_CHECK int be_try_start_all(struct vhost_backend *be,
				      const char *name);
/* Stop and join; afterwards vq->base is where to continue. */
void vq_stop(struct vhost_vq *vq);
void be_stop_all(struct vhost_backend *be);
/* Forget everything the front end said about the queue. */
void vq_reset(struct vhost_vq *vq);
/*
 * May @fd serve as a kick, call or error descriptor? An eventfd (an inode
 * without a type), made non-blocking so that a full one does not hold a thread
 * (the front end can undo that: see struct vq_notifier), or a socket. Nothing
 * else: writing to a pipe without reader is a SIGPIPE, and a file is always
 * readable.
 */
bool vq_fd_is_usable(int fd);
/* Take over @fd (-1: none), on success. */
ORIEL_MUST_CHECK int vq_set_call(struct vhost_vq *vq, int fd);
ORIEL_MUST_CHECK int vq_set_err(struct vhost_vq *vq, int fd);
void vq_set_kick(struct vhost_vq *vq, int fd);

/* backend_worker.c */
void vq_wake(struct vhost_vq *vq);
void vq_unwake(struct vhost_vq *vq);
void vq_notifier_put(struct vq_notifier *to);
void *vq_worker_main(void *worker);
struct vq_worker *vq_worker_self(void); /* on its thread */

/*
 * backend_crowd.c: any thread. Count the queue whose last tick @counted is, and
 * say whether too many are busy for any of them to poll. NULL: never.
 */
bool crowd_is_over(struct vhost_crowd *c, uint32_t *counted, uint64_t now_ns);

/* backend_later.c: on the queue's thread, and when there is none. */
unsigned vq_take_answers(struct vhost_vq *vq); /* how many were pushed */
void vq_drop_answers(struct vhost_vq *vq);

/* backend_inflight.c; main only */
ORIEL_MUST_CHECK int be_inflight_get(struct vhost_backend *be);
ORIEL_MUST_CHECK int be_inflight_set(struct vhost_backend *be);
void be_inflight_clear(struct vhost_backend *be);
/* Fill vq->inflight for a ring whose used index is @used_idx. -EPROTO: logged. */
ORIEL_MUST_CHECK int be_inflight_attach(struct vhost_vq *vq, uint16_t used_idx);

/* backend_window.c */
/* Is it a piece of the guest's window? Then @m is told where that is. */
bool be_is_window_piece(const struct vhost_backend *be, struct mem_map *m,
			const struct vhost_user_mem_region *r, int fd);
/*
 * Give every segment of @c a pointer, into *@ret_pieces (NULL if it has them all;
 * else to be released when the chain has been handled). -EFAULT: some have none,
 * but the first of either direction has; -EPROTO: they have not.
 */
ORIEL_MUST_CHECK int be_window_resolve(struct vhost_backend *be,
				       struct ring_chain *c,
				       struct mem_map **ret_pieces);

/* backend_channel.c */
ORIEL_MUST_CHECK int chan_init(struct vhost_channel *c, uint64_t poll_ns);
void chan_done(struct vhost_channel *c);
/* Nobody uses it any more: every queue thread has ended. */
void chan_close(struct vhost_channel *c);
/* Take over @fd; -EBUSY while a request is under way (@fd stays). */
ORIEL_MUST_CHECK int chan_set(struct vhost_channel *c, int fd);
/* The device was reset: a mapping still owed is gone without an UNMAP. */
void chan_drop_owed_mapping(struct vhost_channel *c);
/* Between the two every wait on the channel fails with -ECANCELED. */
void chan_cancel_begin(struct vhost_channel *c);
void chan_cancel_end(struct vhost_channel *c);

#endif
