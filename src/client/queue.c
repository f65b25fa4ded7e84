/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queues: many requests at a time from one thread.
 *
 * THE LIFE OF A REQUEST
 *
 *   free -> prepared -> (submit: queue_op_begin()) -> now, complete: a hit
 *                             |
 *          +--> posted --(answer, on whoever reaps)--+   now  \
 *          |    held: posted when the one before     |         > taken: free
 *   next --+    it is complete                       +-> next  /
 *          |    work: the worker's                   |   done
 *          +----------------------------------------+
 *
 * queue_go() does what a request needs next, queue_op.c says what that is. The
 * queue's own thread completes hits into `now`, which needs no lock; everything
 * else ends in `done`, by whatever thread.
 *
 * INVARIANTS
 *  - n_pending counts what is neither free nor prepared; it is at most entries,
 *    so there is always room for a completion.
 *  - Nobody must reap for a queue all the time. Who wants its completions does:
 *    wait leads or follows with the bell, peek takes what is in the ring,
 *    and while the descriptor is armed the sentry waits (queue_help.c).
 *  - Who completes rings the bell of who waits under queue->lock, with n_done
 *    and want; so either it sees want, or the other sees n_done.
 *  - A held write has one before it in `order`, of the same inode, that is under
 *    way; whoever completes that one posts it.
 *  - Nothing touches the queue after the last of n_pending was put into `done`
 *    and the lock released.
 *
 * Thread rule: at oriel.h. Lock: queue->lock, see queue.h.
 */
#include "client/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/epoch.h"
#include "base/fd.h"

#define ENTRIES_MAX 32768u
/* Between two looks after time-outs while waiting, at most. */
#define SLICE_NS (250 * NS_PER_MS)
/* Peeks that find nothing until one looks at the clock, and how often then the
 * connection and time-outs are looked at. */
#define IDLE_PEEKS 128u
#define LOOK_NS (5 * NS_PER_MS)

/* ------------------------------------------------------------ completions */

static void signal_locked(struct oriel_queue *q)
{
	const uint64_t one = 1;
	ssize_t n;

	queue_unwatch_locked(q);
	if (q->signalled)
		return;
	q->signalled = true;
	n = write(q->fd, &one, sizeof(one));
	(void)n; /* ours, and its count is 0 */
}

/* The oldest held write of the same inode as @op, which is complete. */
static struct queue_op *release_next_locked(struct queue_op *op)
{
	struct list *node;

	list_del(&op->order_node);
	list_for_each(node, &op->q->order) {
		struct queue_op *next =
			list_entry(node, struct queue_op, order_node);

		if (next->held && next->req.file->ino == op->req.file->ino) {
			next->held = false;
			return next;
		}
	}
	return NULL;
}

/* Returns a write that @op held up, or NULL. */
static struct queue_op *complete(struct queue_op *op)
{
	struct oriel_queue *q = op->q;
	struct oriel_session *s = q->s;
	struct queue_op *next = NULL;
	bool rang = false;
	unsigned n;

	pthread_mutex_lock(&q->lock);
	if (op->ordered)
		next = release_next_locked(op);
	list_add_tail(&q->done, &op->node);
	/* release: pairs with the acquire in collect() */
	n = atomic_fetch_add_explicit(&q->n_done, 1, memory_order_release) + 1;
	if (q->want && n >= q->want) {
		q->want = 0;
		client_bell_ring(&q->bell);
		rang = true;
	}
	if (q->armed)
		signal_locked(q);
	pthread_mutex_unlock(&q->lock);
	/* no more of the queue, unless @next is there */
	if (rang)
		client_wait_nudge(s);
	return next;
}

/* Take note of a message. False: @op has to wait for one before it. */
static bool may_post(struct queue_op *op)
{
	struct oriel_queue *q = op->q;
	struct list *node;
	bool held;

	pthread_mutex_lock(&q->lock);
	if (op->ordered && list_is_empty(&op->order_node)) {
		list_for_each(node, &q->order)
			op->held |= list_entry(node, struct queue_op,
					       order_node)->req.file->ino ==
				    op->req.file->ino;
		list_add_tail(&q->order, &op->order_node);
	}
	held = op->held;
	if (!held) {
		atomic_fetch_add_explicit(&q->n_messages, 1,
					  memory_order_relaxed);
		if (q->armed && queue_watch_locked(q))
			signal_locked(q); /* then its owner must look */
	}
	pthread_mutex_unlock(&q->lock);
	return !held; /* and if so, it may be another thread's by now */
}

static void message_over(struct oriel_queue *q)
{
	atomic_fetch_sub_explicit(&q->n_messages, 1, memory_order_relaxed);
}

static bool is_closing(struct oriel_queue *q)
{
	bool closing;

	pthread_mutex_lock(&q->lock);
	closing = q->closing;
	pthread_mutex_unlock(&q->lock);
	return closing;
}

/* 0: on its way, and no longer ours. */
static int post(struct queue_op *op)
{
	int err;

	if (!may_post(op))
		return 0;
	err = is_closing(op->q) ? -ECANCELED :
				  client_post(op->q->s, &op->async);
	if (err)
		message_over(op->q);
	return err;
}

static int hand_to_worker(struct queue_op *op)
{
	struct oriel_queue *q = op->q;
	int err;

	pthread_mutex_lock(&q->lock);
	err = queue_work_locked(q);
	if (!err)
		list_add_tail(&q->work, &op->node);
	pthread_mutex_unlock(&q->lock);
	return err;
}

void queue_go(struct queue_op *op, enum queue_next next)
{
	int err;

	while (op) {
		switch (next) {
		case QUEUE_DONE:
			op = complete(op);
			next = QUEUE_MESSAGE;
			break;
		case QUEUE_MESSAGE:
			err = post(op);
			if (!err)
				return;
			next = queue_op_answer(op, err);
			break;
		case QUEUE_WORK:
			err = hand_to_worker(op);
			if (!err)
				return;
			op->result = err;
			next = QUEUE_DONE;
			break;
		}
	}
}

void queue_op_answered(struct client_async *a, int err)
{
	struct queue_op *op = container_of(a, struct queue_op, async);

	message_over(op->q);
	queue_go(op, queue_op_answer(op, err));
}

void queue_expire(struct oriel_queue *q, uint64_t now_ns, bool only_reads)
{
	for (unsigned i = 0; i < q->entries; i++) {
		struct queue_op *op = &q->ops[i];

		if (only_reads && op->req.op != ORIEL_OP_READ &&
		    op->req.op != ORIEL_OP_READV)
			continue;
		if (client_post_cancel(q->s, &op->async, now_ns))
			queue_op_answered(&op->async, -ETIMEDOUT);
	}
}

/* ------------------------------------------------------------- new, free */

static void op_init(struct oriel_queue *q, struct queue_op *op)
{
	op->q = q;
	op->async.done = queue_op_answered;
	list_init(&op->async.node);
	list_init(&op->order_node);
	list_add_tail(&q->free, &op->node);
}

static void bell_init(struct client_slot *bell)
{
	/* in and out stay NULL: it never is in the ring */
	client_slot_init(bell);
}

static void queue_destroy(struct oriel_queue *q)
{
	fd_close(&q->fd);
	pthread_cond_destroy(&q->worker.wake);
	pthread_cond_destroy(&q->sentry.wake);
	pthread_mutex_destroy(&q->lock);
	free(q->ops);
	free(q);
}

int oriel_queue_new(struct oriel_session *s, unsigned entries, unsigned flags,
		    struct oriel_queue **ret)
{
	struct oriel_queue *q;

	if (!entries || entries > ENTRIES_MAX || flags)
		return client_fail(-EINVAL, "queue of %u entries, flags 0x%x",
				   entries, flags);
	q = calloc(1, sizeof(*q));
	if (!q)
		return client_fail(-ENOMEM, "queue of %u entries", entries);
	q->ops = calloc(entries, sizeof(*q->ops));
	if (!q->ops) {
		free(q);
		return client_fail(-ENOMEM, "queue of %u entries", entries);
	}
	q->s = s;
	q->entries = entries;
	q->fd = -1;
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->worker.wake, NULL);
	pthread_cond_init(&q->sentry.wake, NULL);
	list_init(&q->free);
	list_init(&q->prepared);
	list_init(&q->now);
	list_init(&q->done);
	list_init(&q->order);
	list_init(&q->work);
	bell_init(&q->bell);
	bell_init(&q->sentry_bell);
	for (unsigned i = 0; i < entries; i++)
		op_init(q, &q->ops[i]);
	pthread_mutex_lock(&s->table_lock);
	list_add_tail(&s->queues, &q->node);
	pthread_mutex_unlock(&s->table_lock);
	*ret = q;
	return 0;
}

/* Until nothing is under way. */
static void settle(struct oriel_queue *q)
{
	struct oriel_completion out[32];
	struct oriel_session *s = q->s;

	pthread_mutex_lock(&q->lock);
	q->closing = true;
	pthread_mutex_unlock(&q->lock);
	while (q->n_pending > 0) {
		/* relaxed: set once, by the thread that disconnects */
		uint64_t until = atomic_load_explicit(&s->goodbye_ns,
						      memory_order_relaxed);
		bool all = until && clock_now_ns() >= until;

		queue_expire(q, UINT64_MAX, !all);
		oriel_queue_wait(q, out, ARRAY_LEN(out), 1,
				 (int64_t)(20 * NS_PER_MS));
	}
}

void oriel_queue_free(struct oriel_queue *q)
{
	if (!q)
		return;
	epoch_leave_all(); /* it waits */
	settle(q);
	queue_threads_stop(q);
	pthread_mutex_lock(&q->s->table_lock);
	list_del(&q->node);
	pthread_mutex_unlock(&q->s->table_lock);
	queue_destroy(q);
}

void client_queues_done(struct oriel_session *s)
{
	while (!list_is_empty(&s->queues))
		oriel_queue_free(list_entry(s->queues.next, struct oriel_queue,
					    node));
}

/* --------------------------------------------------------------- submitting */

static bool flags_are_known(const struct oriel_request *r)
{
	switch (r->op) {
	case ORIEL_OP_FSYNC:
		return !(r->flags & ~ORIEL_FSYNC_DATA);
	case ORIEL_OP_OPEN:
	case ORIEL_OP_STAT:
		return true; /* they look for themselves */
	}
	return r->flags == 0;
}

static bool is_complete(const struct oriel_queue *q,
			const struct oriel_request *r)
{
	switch (r->op) {
	case ORIEL_OP_READ:
	case ORIEL_OP_WRITE:
	case ORIEL_OP_READV:
	case ORIEL_OP_WRITEV:
	case ORIEL_OP_FSYNC:
	case ORIEL_OP_FALLOCATE:
		return r->file && r->file->s == q->s;
	case ORIEL_OP_OPEN:
		return r->path && r->ret_file;
	case ORIEL_OP_STAT:
		return r->path && r->ret_stat;
	}
	return false;
}

int oriel_queue_prepare(struct oriel_queue *q, const struct oriel_request *r)
{
	struct list *node;

	if (!is_complete(q, r) || !flags_are_known(r))
		return client_fail(-EINVAL, "queue: request %u", r->op);
	node = list_pop_head(&q->free);
	if (!node)
		return -EAGAIN;
	list_entry(node, struct queue_op, node)->req = *r;
	list_add_tail(&q->prepared, node);
	return 0;
}

int oriel_queue_submit(struct oriel_queue *q)
{
	struct list *node;
	int n = 0;

	while ((node = list_pop_head(&q->prepared))) {
		struct queue_op *op = list_entry(node, struct queue_op, node);
		enum queue_next next = queue_op_begin(op);

		n++;
		q->n_pending++;
		if (next != QUEUE_DONE) {
			queue_go(op, next);
			continue;
		}
		list_add_tail(&q->now, &op->node);
		q->n_now++;
	}
	if (q->n_now && q->fd >= 0) {
		pthread_mutex_lock(&q->lock);
		if (q->armed)
			signal_locked(q);
		pthread_mutex_unlock(&q->lock);
	}
	return n;
}

/* --------------------------------------------------------------- completing */

/* Move up to @max of @list into @out. */
static unsigned take(struct oriel_queue *q, struct list *list,
		     struct oriel_completion *out, unsigned max)
{
	struct list *node;
	unsigned n = 0;

	while (n < max && (node = list_pop_head(list))) {
		struct queue_op *op = list_entry(node, struct queue_op, node);

		out[n].user_data = op->req.user_data;
		out[n++].result = op->result;
		list_add_head(&q->free, &op->node);
	}
	q->n_pending -= n;
	return n;
}

static void disarm(struct oriel_queue *q)
{
	uint64_t count;
	ssize_t n;

	pthread_mutex_lock(&q->lock);
	if (q->armed)
		queue_unwatch_locked(q);
	if (q->signalled) {
		n = read(q->fd, &count, sizeof(count));
		(void)n; /* ours, and readable */
		q->signalled = false;
	}
	pthread_mutex_unlock(&q->lock);
}

/* What there is. */
static unsigned collect(struct oriel_queue *q, struct oriel_completion *out,
			unsigned max)
{
	unsigned n = take(q, &q->now, out, max), m;

	q->n_now -= n;
	/* acquire: pairs with the release in complete() */
	if (n == max ||
	    !atomic_load_explicit(&q->n_done, memory_order_acquire))
		return n;
	pthread_mutex_lock(&q->lock);
	m = take(q, &q->done, out + n, max - n);
	atomic_fetch_sub_explicit(&q->n_done, m, memory_order_relaxed);
	pthread_mutex_unlock(&q->lock);
	return n + m;
}

static bool has_answers(struct oriel_queue *q)
{
	struct oriel_session *s = q->s;

	return atomic_load_explicit(&q->n_messages, memory_order_relaxed) &&
	       (ring_driver_has_used(s->rq) || client_is_dead(s));
}

/* One who only peeks must notice that the daemon is gone, or hangs. */
static void look_around(struct oriel_queue *q)
{
	uint64_t now;

	if (++q->idle_peeks % IDLE_PEEKS)
		return;
	now = clock_now_ns();
	if (now - q->looked_ns < LOOK_NS)
		return;
	q->looked_ns = now;
	client_reap_once(q->s, true);
	queue_expire(q, now, false);
}

int oriel_queue_peek(struct oriel_queue *q, struct oriel_completion *out,
		     unsigned max)
{
	unsigned n;

	if (q->fd >= 0)
		disarm(q);
	if (has_answers(q))
		client_reap_once(q->s, false);
	n = collect(q, out, max);
	if (!n && q->n_pending)
		look_around(q);
	client_forget_more(q->s);
	return (int)n;
}

/* Until @n completions are in `done`: 0, or -ETIMEDOUT. */
static int wait_done(struct oriel_queue *q, unsigned n, uint64_t deadline_ns)
{
	bool there;
	int err;

	pthread_mutex_lock(&q->lock);
	there = atomic_load_explicit(&q->n_done, memory_order_relaxed) >= n;
	if (!there) {
		q->want = n;
		atomic_store_explicit(&q->bell.state, SLOT_PENDING,
				      memory_order_relaxed);
	}
	pthread_mutex_unlock(&q->lock);
	if (there)
		return 0;
	err = client_slot_wait(q->s, &q->bell, deadline_ns);
	pthread_mutex_lock(&q->lock);
	q->want = 0;
	pthread_mutex_unlock(&q->lock);
	return err;
}

static uint64_t deadline_after(uint64_t now, int64_t timeout_ns)
{
	return timeout_ns < 0 || (uint64_t)timeout_ns > UINT64_MAX - now ?
		       UINT64_MAX :
		       now + (uint64_t)timeout_ns;
}

/* How often to look after time-outs: they need not be exact. */
static uint64_t slice_ns(const struct oriel_session *s)
{
	return min_u64(SLICE_NS, max_u64(s->opts.timeout_ms, 4) *
					 (NS_PER_MS / 4));
}

static unsigned wait_for(struct oriel_queue *q, struct oriel_completion *out,
			 unsigned max, unsigned min, int64_t timeout_ns)
{
	uint64_t now = clock_now_ns();
	uint64_t deadline = deadline_after(now, timeout_ns);
	unsigned n = 0;
	int err;

	for (;;) {
		err = wait_done(q, min - n,
				min_u64(deadline, now + slice_ns(q->s)));
		n += collect(q, out + n, max - n);
		if (n >= min)
			return n;
		now = clock_now_ns();
		if (err)
			queue_expire(q, now, false);
		if (now >= deadline)
			return n + collect(q, out + n, max - n);
	}
}

int oriel_queue_wait(struct oriel_queue *q, struct oriel_completion *out,
		     unsigned max, unsigned min, int64_t timeout_ns)
{
	unsigned n;

	if (epoch_is_inside())
		return client_fail(-EDEADLK, "wait for a queue: this thread has "
				   "borrowed: oriel_return() first");
	if (q->fd >= 0)
		disarm(q);
	if (has_answers(q))
		client_reap_once(q->s, false);
	n = collect(q, out, max);
	if (min > max)
		min = max;
	if (min > n + q->n_pending)
		min = n + q->n_pending;
	if (n < min)
		n += wait_for(q, out + n, max - n, min - n, timeout_ns);
	client_forget_more(q->s);
	return (int)n;
}

unsigned oriel_queue_pending(const struct oriel_queue *q)
{
	return q->n_pending;
}

/* ------------------------------------------------------------- descriptor */

int oriel_queue_fd(struct oriel_queue *q)
{
	int fd;

	if (q->fd >= 0)
		return q->fd;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return client_fail(-errno, "queue: eventfd");
	q->fd = fd;
	return fd;
}

int oriel_queue_arm(struct oriel_queue *q)
{
	int err = 0;

	if (q->fd < 0)
		return client_fail(-EBADF, "queue: arm without descriptor");
	pthread_mutex_lock(&q->lock);
	if (!q->signalled) {
		q->armed = true;
		if (q->n_now ||
		    atomic_load_explicit(&q->n_done, memory_order_relaxed))
			signal_locked(q);
		else
			err = queue_watch_locked(q);
		if (err)
			q->armed = false;
	}
	pthread_mutex_unlock(&q->lock);
	return err;
}
