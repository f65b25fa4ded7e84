/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The threads of a queue. Each starts when it is first needed, and ends with
 * the queue.
 *
 * The worker does what may wait, one request after the other.
 *
 * The sentry reaps while the queue's own thread sleeps on the descriptor.
 * INVARIANT: while the queue is armed and has messages under way, the sentry
 * waits with a bell, and so leads or follows (call.c). Armed is what
 * oriel_queue_arm() sets and the next completion, peek or wait takes back, which
 * also rings the bell: then it need not wait any more, and leaves when it has
 * seen to what it was woken for.
 */
#include "client/queue.h"

#include <errno.h>
#include <signal.h>

#include "base/clock.h"
#include "base/log.h"

#define SLICE_NS (250 * NS_PER_MS)

static int start_locked(struct oriel_queue *q, struct queue_thread *t,
			void *(*fn)(void *))
{
	sigset_t all, old;
	int err;

	if (t->started)
		return 0;
	/* The application's signals are none of its business. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&t->thread, NULL, fn, q);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	t->started = !err;
	return err ? -EAGAIN : 0;
}

/* ----------------------------------------------------------------- worker */

static void *worker_main(void *arg)
{
	struct oriel_queue *q = arg;
	struct queue_op *op;
	struct list *node;
	bool closing;

	pthread_mutex_lock(&q->lock);
	for (;;) {
		node = list_pop_head(&q->work);
		if (!node) {
			if (q->stop)
				break;
			pthread_cond_wait(&q->worker.wake, &q->lock);
			continue;
		}
		closing = q->closing;
		pthread_mutex_unlock(&q->lock);
		op = list_entry(node, struct queue_op, node);
		if (closing) {
			op->result = -ECANCELED;
			queue_go(op, QUEUE_DONE);
		} else {
			queue_go(op, queue_op_work(op));
		}
		pthread_mutex_lock(&q->lock);
	}
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

int queue_work_locked(struct oriel_queue *q)
{
	int err = start_locked(q, &q->worker, worker_main);

	if (!err)
		pthread_cond_signal(&q->worker.wake);
	return err;
}

/* ----------------------------------------------------------------- sentry */

static bool is_needed_locked(struct oriel_queue *q)
{
	return q->armed && atomic_load_explicit(&q->n_messages,
						memory_order_relaxed) > 0;
}

static void *sentry_main(void *arg)
{
	struct oriel_queue *q = arg;

	pthread_mutex_lock(&q->lock);
	while (!q->stop) {
		uint64_t now;

		if (!is_needed_locked(q)) {
			pthread_cond_wait(&q->sentry.wake, &q->lock);
			continue;
		}
		atomic_store_explicit(&q->sentry_bell.state, SLOT_PENDING,
				      memory_order_relaxed);
		pthread_mutex_unlock(&q->lock);
		now = clock_now_ns();
		if (client_slot_wait(q->s, &q->sentry_bell, now + SLICE_NS))
			queue_expire(q, clock_now_ns(), false);
		pthread_mutex_lock(&q->lock);
	}
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

int queue_watch_locked(struct oriel_queue *q)
{
	int err;

	if (!is_needed_locked(q))
		return 0;
	err = start_locked(q, &q->sentry, sentry_main);
	if (!err)
		pthread_cond_signal(&q->sentry.wake);
	return err;
}

void queue_unwatch_locked(struct oriel_queue *q)
{
	q->armed = false;
	if (q->sentry.started)
		client_bell_ring(&q->sentry_bell);
}

/* -------------------------------------------------------------------- end */

void queue_threads_stop(struct oriel_queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->stop = true;
	pthread_cond_signal(&q->worker.wake);
	pthread_cond_signal(&q->sentry.wake);
	queue_unwatch_locked(q);
	pthread_mutex_unlock(&q->lock);
	/* it may be the leader, and asleep */
	client_wait_nudge(q->s);
	if (q->worker.started)
		pthread_join(q->worker.thread, NULL);
	if (q->sentry.started)
		pthread_join(q->sentry.thread, NULL);
}
