/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Waiting for answers: leaders and followers. States, invariant and how long
 * is polled before sleeping: at the head of call.c.
 *
 * Thread rule: any thread; what says "leader only" by the one that holds
 * session->reaping.
 */
#include "client/call.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/futex.h"

/*
 * The least polling. It must outlast a daemon on the same processor, which runs
 * when we yield: two threads that are both runnable get spread over processors
 * by the scheduler, two that wake each other in turn do not.
 */
#define SPIN_MIN_NS (20 * NS_PER_US)
#define SPIN_CHECK_MASK 31u
/* A header and the longest fixed result but one. */
#define ANSWER_PREFETCH_BYTES (3 * ORIEL_CACHE_LINE)
/* Longest sleep before a leader looks at the socket and deadline again. */
#define SLEEP_SLICE_MS 500

void client_bell_ring(struct client_slot *bell)
{
	if (client_slot_mark(bell) == SLOT_SLEEPING)
		futex_wake(&bell->state, 1);
}

static bool slot_rings(const struct client_slot *slot)
{
	/* seq_cst: after the store of lead_asleep in lead_sleep() */
	return atomic_load_explicit(&slot->state, memory_order_seq_cst) ==
	       SLOT_DONE;
}

void client_wait_nudge(struct oriel_session *s)
{
	const uint64_t one = 1;
	ssize_t n;

	if (!atomic_load_explicit(&s->lead_asleep, memory_order_seq_cst))
		return;
	n = write(vhost_frontend_call_fd(s->fe, CLIENT_QUEUE_REQUEST), &one,
		  sizeof(one));
	(void)n; /* full: it is readable */
}

/* With the right to reap, after client_die(): answer everything in flight. */
static void give_up_all(struct oriel_session *s)
{
	struct client_slot *slot;

	pthread_mutex_lock(&s->submit_lock);
	while ((slot = ring_driver_detach(s->rq))) {
		pthread_mutex_unlock(&s->submit_lock);
		client_slot_complete(s, slot, 0, client_is_dead(s));
		pthread_mutex_lock(&s->submit_lock);
	}
	pthread_mutex_unlock(&s->submit_lock);
	client_posts_give_up(s);
}

/* -------------------------------------------------------------- reaping */

static bool lead_try(struct oriel_session *s)
{
	bool expected = false;

	/* seq_cst: follow() has stored SLEEPING before, and lead_leave() looks
	 * for that after its own store */
	return !atomic_load_explicit(&s->reaping, memory_order_seq_cst) &&
	       atomic_compare_exchange_strong_explicit(&s->reaping, &expected,
						       true,
						       memory_order_seq_cst,
						       memory_order_relaxed);
}

/* Give up the right to reap, then make sure that a follower takes it. */
static void lead_leave(struct oriel_session *s)
{
	struct list *node;
	struct client_slot *slot;
	uint32_t old;

	/* pairs with the exchange in lead_try() */
	atomic_store_explicit(&s->reaping, false, memory_order_seq_cst);
	pthread_mutex_lock(&s->wait_lock);
	list_for_each(node, &s->followers) {
		slot = list_entry(node, struct client_slot, node);
		old = SLOT_SLEEPING;
		if (atomic_compare_exchange_strong(&slot->state, &old,
						   SLOT_LEAD)) {
			futex_wake(&slot->state, 1);
			break;
		}
		if (old == SLOT_PENDING || old == SLOT_LEAD)
			break; /* awake, and will try before it sleeps */
	}
	pthread_mutex_unlock(&s->wait_lock);
}

/* Take all answers that are there. Leader only. */
static int reap(struct oriel_session *s)
{
	uint32_t used_len;
	void *token;
	int r;

	while ((r = ring_driver_poll(s->rq, &token, &used_len)) > 0)
		client_slot_complete(s, token, used_len, 0);
	return r;
}

static void spin_adapt(struct oriel_session *s, bool slept)
{
	uint64_t max = (uint64_t)s->opts.poll_us * NS_PER_US;
	uint64_t now = atomic_load_explicit(&s->spin_ns, memory_order_relaxed);
	uint64_t next;

	/* relaxed: a hint, any value between the bounds is right */
	if (slept)
		next = max_u64(now / 2, min_u64(SPIN_MIN_NS, max));
	else
		next = min_u64(now * 2, max);
	if (next != now)
		atomic_store_explicit(&s->spin_ns, next, memory_order_relaxed);
}

/*
 * Sleep until something happens or @deadline_ns. Leader only. Who makes @slot
 * done without being the leader looks at lead_asleep after that, and we at the
 * slot after lead_asleep: one of us sees the other.
 */
static int lead_sleep(struct oriel_session *s, const struct client_slot *slot,
		      uint64_t deadline_ns)
{
	struct pollfd p[3] = {
		{ .fd = vhost_frontend_call_fd(s->fe, CLIENT_QUEUE_REQUEST),
		  .events = POLLIN },
		{ .fd = vhost_frontend_sock_fd(s->fe), .events = POLLIN },
		{ .fd = vhost_frontend_channel_fd(s->fe), .events = POLLIN },
	};
	uint64_t now = clock_now_ns();
	int timeout_ms = SLEEP_SLICE_MS;
	int err = 0;

	if (now >= deadline_ns)
		return -ETIMEDOUT;
	if (deadline_ns - now < SLEEP_SLICE_MS * NS_PER_MS)
		timeout_ms = (int)((deadline_ns - now) / NS_PER_MS) + 1;
	ring_driver_want_call(s->rq, true);
	atomic_store_explicit(&s->lead_asleep, true, memory_order_seq_cst);
	if (!ring_driver_has_used(s->rq) && !slot_rings(slot)) {
		atomic_fetch_add_explicit(&s->n_sleeps, 1,
					  memory_order_relaxed);
		if (poll(p, ARRAY_LEN(p), timeout_ms) > 0) {
			if (p[0].revents)
				vhost_frontend_ack_call(s->fe,
							CLIENT_QUEUE_REQUEST);
			if (p[1].revents || p[2].revents)
				err = vhost_frontend_service(s->fe);
		}
	}
	atomic_store_explicit(&s->lead_asleep, false, memory_order_relaxed);
	ring_driver_want_call(s->rq, false);
	return err;
}

/* Something has come, most likely for us: have its first lines travel here
 * while we look for whom it is. A hint; nothing is read. */
static void prefetch_answer(const struct client_slot *slot)
{
	if (!slot->out)
		return; /* a bell */
	for (size_t i = 0; i < ANSWER_PREFETCH_BYTES; i += ORIEL_CACHE_LINE)
		__builtin_prefetch(slot->out + i);
}

/* Reap until @slot is answered. Has the right to reap. 0, -ETIMEDOUT, or the
 * session's end. */
static int lead(struct oriel_session *s, const struct client_slot *slot,
		uint64_t deadline_ns)
{
	struct spin_wait w;
	bool slept = false;
	int err;

	spin_begin(&w, &s->habit,
		   atomic_load_explicit(&s->spin_ns, memory_order_relaxed));
	for (unsigned i = 1;; i++) {
		err = client_is_dead(s);
		if (ring_driver_has_used(s->rq))
			prefetch_answer(slot);
		if (!err)
			err = reap(s);
		if (err)
			return err;
		if (client_slot_is_done(slot)) {
			spin_end(&w);
			spin_adapt(s, slept);
			return 0;
		}
		/* acquire: pairs with the increment in client_call() */
		if (atomic_load_explicit(&s->maps_pending,
					 memory_order_acquire) &&
		    !(i & 7)) {
			err = vhost_frontend_service(s->fe);
			if (err)
				return err;
		}
		if (spin_step(&w))
			continue;
		slept = true;
		err = lead_sleep(s, slot, deadline_ns);
		if (err)
			return err;
	}
}

/*
 * Wait for somebody else to reap @slot's answer; returns when it is there, or
 * when this thread has the right to reap (*@ret_lead).
 */
static int follow(struct oriel_session *s, struct client_slot *slot,
		  uint64_t deadline_ns, bool *ret_lead)
{
	uint64_t now = clock_now_ns();
	uint64_t spin_until = now + atomic_load_explicit(&s->spin_ns,
							 memory_order_relaxed);
	uint32_t expected;
	int err = 0;

	*ret_lead = false;
	while (now < spin_until) {
		for (unsigned i = 0; i < SPIN_CHECK_MASK; i++) {
			if (client_slot_is_done(slot))
				return 0;
			cpu_relax();
		}
		if (lead_try(s)) {
			*ret_lead = true;
			return 0;
		}
		now = clock_now_ns();
	}
	pthread_mutex_lock(&s->wait_lock);
	list_add_tail(&s->followers, &slot->node);
	pthread_mutex_unlock(&s->wait_lock);
	expected = SLOT_PENDING;
	/* asleep before the last try to lead: see INVARIANT */
	if (atomic_compare_exchange_strong(&slot->state, &expected,
					   SLOT_SLEEPING)) {
		if (lead_try(s))
			*ret_lead = true;
		else if (now >= deadline_ns)
			err = -ETIMEDOUT;
		else
			futex_wait(&slot->state, SLOT_SLEEPING,
				   min_u64(deadline_ns - now,
					   SLEEP_SLICE_MS * NS_PER_MS));
		/* awake again: not asleep, not invited, unless answered */
		expected = SLOT_SLEEPING;
		atomic_compare_exchange_strong(&slot->state, &expected,
					       SLOT_PENDING);
		expected = SLOT_LEAD;
		atomic_compare_exchange_strong(&slot->state, &expected,
					       SLOT_PENDING);
	}
	pthread_mutex_lock(&s->wait_lock);
	list_del(&slot->node);
	pthread_mutex_unlock(&s->wait_lock);
	return err;
}

/* As the leader: reap, and on the session's end answer everybody. */
static int wait_as_leader(struct oriel_session *s, struct client_slot *slot,
			  uint64_t deadline_ns)
{
	int err = lead(s, slot, deadline_ns);

	if (err && err != -ETIMEDOUT) {
		client_die(s, err);
		give_up_all(s);
		err = 0;
	}
	lead_leave(s);
	return err;
}

/* Nothing is in flight any more, but others may still be about to ring. */
static int bell_wait_dead(struct client_slot *bell, uint64_t deadline_ns)
{
	uint64_t now = clock_now_ns();
	uint32_t expected = SLOT_PENDING;

	if (now >= deadline_ns)
		return -ETIMEDOUT;
	if (!atomic_compare_exchange_strong(&bell->state, &expected,
					    SLOT_SLEEPING))
		return 0;
	futex_wait(&bell->state, SLOT_SLEEPING,
		   min_u64(deadline_ns - now, SLEEP_SLICE_MS * NS_PER_MS));
	expected = SLOT_SLEEPING;
	atomic_compare_exchange_strong(&bell->state, &expected, SLOT_PENDING);
	return 0;
}

int client_slot_wait(struct oriel_session *s, struct client_slot *slot,
		     uint64_t deadline_ns)
{
	bool lead_now = lead_try(s);
	int err = 0;

	while (!client_slot_is_done(slot) && !err) {
		if (!slot->out && client_is_dead(s)) {
			if (lead_now)
				lead_leave(s);
			lead_now = false;
			client_reap_once(s, false); /* all is given up */
			err = bell_wait_dead(slot, deadline_ns);
		} else if (lead_now) {
			err = wait_as_leader(s, slot, deadline_ns);
			lead_now = false;
		} else {
			err = follow(s, slot, deadline_ns, &lead_now);
		}
	}
	if (lead_now)
		lead_leave(s);
	/* a leader that left may have counted on this thread */
	if (err && lead_try(s))
		lead_leave(s);
	return err;
}

void client_reap_once(struct oriel_session *s, bool service)
{
	int err;

	if (!lead_try(s))
		return;
	err = client_is_dead(s);
	if (!err && service)
		err = vhost_frontend_service(s->fe);
	if (!err)
		err = reap(s);
	if (err) {
		client_die(s, err);
		give_up_all(s);
	}
	lead_leave(s);
}
