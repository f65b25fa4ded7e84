/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * FORGET: lookups given back on the high-priority queue. Nobody waits for it:
 * what cannot be sent now is kept and goes in one BATCH_FORGET with the next,
 * or after the next request of any kind.
 * The queue has its own slots and is reaped here, under forget_lock.
 */
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"

_Static_assert(sizeof(struct fuse_in_header) +
			       sizeof(struct fuse_batch_forget_in) +
			       CLIENT_FORGET_BATCH *
				       sizeof(struct fuse_forget_one) <=
		       CLIENT_SLOT_IN_BYTES,
	       "a batch fits a slot");

static struct ring_driver *hiprio(struct oriel_session *s)
{
	return vhost_frontend_queue(s->fe, CLIENT_QUEUE_HIPRIO);
}

/* Slots whose FORGET the daemon has taken are free again (state DONE). */
static void reap_locked(struct oriel_session *s)
{
	uint32_t len;
	void *token;
	int r;

	while ((r = ring_driver_poll(hiprio(s), &token, &len)) > 0) {
		struct client_slot *slot = token;

		atomic_store_explicit(&slot->state, SLOT_DONE,
				      memory_order_relaxed);
		s->forget_in_flight--;
	}
	if (r < 0)
		client_die(s, r);
}

static struct client_slot *slot_locked(struct oriel_session *s)
{
	for (unsigned i = 0; i < CLIENT_FORGET_SLOTS; i++) {
		struct client_slot *slot = &s->forget_slots[i];

		if (atomic_load_explicit(&slot->state, memory_order_relaxed) ==
		    SLOT_DONE)
			return slot;
	}
	return NULL;
}

/* Encode up to a batch of what is queued; returns how many. */
static size_t encode_locked(struct oriel_session *s, struct client_slot *slot,
			    size_t *ret_len)
{
	size_t n = (size_t)min_u64(s->n_forgets, CLIENT_FORGET_BATCH);
	struct fuse_in_header h = { .unique = 1 };
	unsigned char *p = slot->in + sizeof(h);

	if (n == 1) {
		struct fuse_forget_in in = {
			.nlookup = s->forgets[0].nlookup,
		};

		h.opcode = FUSE_FORGET;
		h.nodeid = s->forgets[0].nodeid;
		memcpy(p, &in, sizeof(in));
		p += sizeof(in);
	} else {
		struct fuse_batch_forget_in in = { .count = (uint32_t)n };

		h.opcode = FUSE_BATCH_FORGET;
		memcpy(p, &in, sizeof(in));
		p += sizeof(in);
		memcpy(p, s->forgets, n * sizeof(*s->forgets));
		p += n * sizeof(*s->forgets);
	}
	*ret_len = (size_t)(p - slot->in);
	h.len = (uint32_t)*ret_len;
	memcpy(slot->in, &h, sizeof(h));
	return n;
}

/* Send as much as the queue takes. */
static void send_locked(struct oriel_session *s)
{
	bool kick = false;

	reap_locked(s);
	while (s->n_forgets > 0 && !client_is_dead(s)) {
		struct client_slot *slot = slot_locked(s);
		struct ring_seg seg;
		size_t len, n;

		if (!slot)
			break;
		n = encode_locked(s, slot, &len);
		seg.gpa = s->fi->arena_gpa + (uint64_t)(slot->in - s->fi->arena);
		seg.len = (uint32_t)len;
		if (ring_driver_add(hiprio(s), &seg, 1, 0, slot))
			break;
		atomic_store_explicit(&slot->state, SLOT_PENDING,
				      memory_order_relaxed);
		s->forget_in_flight++;
		s->n_forgets -= n;
		memmove(s->forgets, s->forgets + n,
			s->n_forgets * sizeof(*s->forgets));
		kick |= ring_driver_needs_kick(hiprio(s));
		atomic_fetch_add_explicit(&s->n_forgotten, n,
					  memory_order_relaxed);
	}
	if (kick)
		vhost_frontend_kick(s->fe, CLIENT_QUEUE_HIPRIO);
	atomic_store_explicit(&s->forgets_wait, s->n_forgets > 0,
			      memory_order_relaxed);
}

static int queue_locked(struct oriel_session *s, uint64_t nodeid,
			uint64_t nlookup)
{
	if (s->n_forgets == s->cap_forgets) {
		size_t cap = s->cap_forgets ? 2 * s->cap_forgets : 64;
		struct fuse_forget_one *p =
			realloc(s->forgets, cap * sizeof(*p));

		if (!p)
			return -ENOMEM;
		s->forgets = p;
		s->cap_forgets = cap;
	}
	s->forgets[s->n_forgets].nodeid = nodeid;
	s->forgets[s->n_forgets].nlookup = nlookup;
	s->n_forgets++;
	return 0;
}

void client_forget(struct oriel_session *s, uint64_t nodeid, uint64_t nlookup)
{
	if (nodeid == FUSE_ROOT_ID || client_is_dead(s) ||
	    atomic_load(&s->closing))
		return;
	pthread_mutex_lock(&s->forget_lock);
	if (queue_locked(s, nodeid, nlookup))
		log_warn("no memory to give node %llu back: the daemon keeps "
			 "it until the session ends",
			 (unsigned long long)nodeid);
	send_locked(s);
	pthread_mutex_unlock(&s->forget_lock);
}

void client_forget_more(struct oriel_session *s)
{
	/* relaxed: what is missed now is seen by the next request */
	if (!atomic_load_explicit(&s->forgets_wait, memory_order_relaxed) ||
	    pthread_mutex_trylock(&s->forget_lock))
		return;
	send_locked(s);
	pthread_mutex_unlock(&s->forget_lock);
}

void client_forget_flush(struct oriel_session *s, int timeout_ms)
{
	uint64_t deadline_ns = clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	const struct timespec nap = { .tv_nsec = 200 * 1000 };

	pthread_mutex_lock(&s->forget_lock);
	for (;;) {
		send_locked(s);
		if ((!s->n_forgets && !s->forget_in_flight) ||
		    client_is_dead(s) || clock_now_ns() >= deadline_ns)
			break;
		pthread_mutex_unlock(&s->forget_lock);
		nanosleep(&nap, NULL);
		pthread_mutex_lock(&s->forget_lock);
	}
	pthread_mutex_unlock(&s->forget_lock);
}
