/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests that no thread waits for. One is in the ring with a slot, or waits in
 * session->posts_wait for one; the thread that reaps its answer, or finds the
 * session dead, finishes it.
 *
 * INVARIANT: while a request waits for a slot, either client_post() may not have
 * more of them (n_posts == max_posts), and then the one that finishes next sends
 * it; or all are in use by others, and whoever frees one next does
 * (client_posts_pump()). What is dead has nothing waiting: client_posts_give_up()
 * comes after session->dead was set, and client_post() looks at that under the
 * same lock.
 *
 * Thread rule: any thread. Lock: submit_lock, released before done() is called.
 */
#include "client/call.h"

#include <errno.h>

#include "base/clock.h"

/* The next that waits, with a slot to send it in; NULL if there is none, or no
 * slot. */
static struct client_async *next_locked(struct oriel_session *s,
					struct client_slot **ret_slot)
{
	struct client_async *a;
	struct client_slot *slot;

	if (list_is_empty(&s->posts_wait) || s->n_posts >= s->max_posts)
		return NULL;
	slot = client_slot_take_locked(s);
	if (!slot)
		return NULL;
	a = list_entry(list_pop_head(&s->posts_wait), struct client_async,
		       node);
	a->slot = slot;
	a->sending = true;
	slot->async = a;
	s->n_posts++;
	*ret_slot = slot;
	return a;
}

/* Give @slot back, which is not in the ring. */
static void put_slot(struct oriel_session *s, struct client_slot *slot)
{
	pthread_mutex_lock(&s->submit_lock);
	client_slot_free_locked(s, slot);
	s->n_posts--;
	pthread_mutex_unlock(&s->submit_lock);
}

/*
 * Into the ring. @slot belongs to @a already, so that its answer, which may come
 * before this returns, finds it. 0, or -errno and @a is posted no more.
 */
static int send(struct oriel_session *s, struct client_slot *slot,
		struct client_async *a)
{
	int err = client_slot_submit(s, slot, &a->call);

	if (!err) {
		atomic_fetch_add_explicit(&s->n_requests, 1,
					  memory_order_relaxed);
		return 0;
	}
	if (err == -EPROTO)
		client_die(s, err);
	pthread_mutex_lock(&s->submit_lock);
	a->posted = false;
	a->sending = false;
	a->slot = NULL;
	pthread_mutex_unlock(&s->submit_lock);
	put_slot(s, slot);
	return err;
}

void client_posts_pump(struct oriel_session *s)
{
	struct client_slot *slot;
	struct client_async *a;
	int err;

	for (;;) {
		pthread_mutex_lock(&s->submit_lock);
		a = next_locked(s, &slot);
		pthread_mutex_unlock(&s->submit_lock);
		if (!a)
			return;
		err = send(s, slot, a);
		if (err)
			a->done(a, err);
	}
}

int client_post(struct oriel_session *s, struct client_async *a)
{
	struct client_slot *slot;
	struct client_async *next = NULL;
	uint64_t deadline_ns;
	int err;

	if (client_is_nosys(s, a->call.opcode))
		return -ENOSYS;
	deadline_ns = clock_now_ns() + s->opts.timeout_ms * NS_PER_MS;
	pthread_mutex_lock(&s->submit_lock);
	err = client_is_dead(s);
	if (!err) {
		a->deadline_ns = deadline_ns;
		a->posted = true;
		a->sending = false;
		a->slot = NULL;
		list_add_tail(&s->posts_wait, &a->node);
		/* in turn: maybe another one */
		next = next_locked(s, &slot);
	}
	pthread_mutex_unlock(&s->submit_lock);
	if (!next)
		return err;
	err = send(s, slot, next);
	if (err && next != a) {
		next->done(next, err);
		err = 0;
	}
	return err;
}

bool client_post_cancel(struct oriel_session *s, struct client_async *a,
			uint64_t now_ns)
{
	bool ours;

	pthread_mutex_lock(&s->submit_lock);
	ours = a->posted && !a->sending && now_ns >= a->deadline_ns;
	if (ours && a->slot) {
		a->slot->async = NULL;
		a->slot->abandoned = true;
		a->slot = NULL;
		s->n_abandoned++;
		s->n_posts--;
		/* as in wait_or_abandon() */
		pthread_cond_broadcast(&s->slot_freed);
	} else if (ours) {
		list_del(&a->node);
	}
	if (ours)
		a->posted = false;
	pthread_mutex_unlock(&s->submit_lock);
	return ours;
}

void client_post_answer(struct oriel_session *s, struct client_slot *slot,
			struct client_async *a)
{
	int err = client_slot_decode(s, slot, &a->call);

	put_slot(s, slot);
	if (err == -ENOSYS && a->call.opcode < 64)
		atomic_fetch_or_explicit(&s->nosys,
					 UINT64_C(1) << a->call.opcode,
					 memory_order_relaxed);
	client_posts_pump(s);
	a->done(a, err);
}

void client_posts_give_up(struct oriel_session *s)
{
	struct client_async *a;
	struct list *node;

	for (;;) {
		pthread_mutex_lock(&s->submit_lock);
		node = list_pop_head(&s->posts_wait);
		a = node ? list_entry(node, struct client_async, node) : NULL;
		if (a)
			a->posted = false;
		pthread_mutex_unlock(&s->submit_lock);
		if (!a)
			return;
		a->done(a, client_is_dead(s));
	}
}
