/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Between the parts of what carries requests: call.c (slots, encoding, checking
 * answers, requests that are waited for), wait.c (who takes answers out of the
 * ring, and how one waits), post.c (requests that nobody waits for). The theory
 * is at the head of call.c.
 */
#ifndef ORIEL_CLIENT_CALL_H
#define ORIEL_CLIENT_CALL_H

#include "client/client.h"

/*
 * A request without a thread that waits: whoever reaps its answer checks it,
 * copies it out and calls done(). Zero-initialise, fill call and done; the
 * object and all that call points to stay as they are until done(), or until
 * client_post_cancel() gave them back.
 */
struct client_async {
	struct client_call call;
	/* On any thread, with no lock held but maybe the right to reap: may
	 * take locks that are never held across a request, may post, must not
	 * wait. @err as client_call() returns it. */
	void (*done)(struct client_async *a, int err);
	/* submit_lock */
	uint64_t deadline_ns;     /* for who looks: client_post_cancel() */
	bool posted;              /* done() is still to come */
	bool sending;             /* a thread is putting it into the ring */
	struct client_slot *slot; /* in the ring; NULL: waits for a slot */
	struct list node;         /* session->posts_wait */
};

/* post.c -------------------------------------------------------------- */

/* Send, or queue for a slot; never blocks. 0: done() will be called, perhaps
 * before this returns. Or -errno, and it will not. */
ORIEL_MUST_CHECK int client_post(struct oriel_session *s,
				 struct client_async *a);
/* Give up if its time is over at @now_ns (UINT64_MAX: in any case).
 * True: done() is not and will not be called, nothing of @a is used any more
 * (the daemon may still carry the request out). False: done() is under way, or
 * was called, or its time is not over, or it is just being
 * sent: ask again. */
bool client_post_cancel(struct oriel_session *s, struct client_async *a,
			uint64_t now_ns);
/* Its answer came, or there will be none: @slot, which was @a's, is free. */
void client_post_answer(struct oriel_session *s, struct client_slot *slot,
			struct client_async *a);
/* Slots have become free: send what waits for one. */
void client_posts_pump(struct oriel_session *s);
/* The session is dead: those that wait for a slot. */
void client_posts_give_up(struct oriel_session *s);

/* call.c -------------------------------------------------------------- */

void client_slot_init(struct client_slot *slot);
struct client_slot *client_slot_take_locked(struct oriel_session *s);
void client_slot_free_locked(struct oriel_session *s, struct client_slot *slot);
/* Put a request into the ring. On failure nothing is in flight. */
ORIEL_MUST_CHECK int client_slot_submit(struct oriel_session *s,
					struct client_slot *slot,
					const struct client_call *c);
/* Check the answer and copy it out. */
ORIEL_MUST_CHECK int client_slot_decode(struct oriel_session *s,
					const struct client_slot *slot,
					struct client_call *c);
/* The answer is there, or there will be none (@err). Leader only. */
void client_slot_complete(struct oriel_session *s, struct client_slot *slot,
			  uint32_t used_len, int err);

static inline bool client_slot_is_done(const struct client_slot *slot)
{
	/* pairs with the exchange in client_slot_mark() */
	return atomic_load_explicit(&slot->state, memory_order_acquire) ==
	       SLOT_DONE;
}

/* Make it done. SLOT_SLEEPING: and wake its owner. */
static inline uint32_t client_slot_mark(struct client_slot *slot)
{
	/* pairs with the load in client_slot_is_done(); seq_cst: before the
	 * look at lead_asleep in client_wait_nudge() */
	return atomic_exchange_explicit(&slot->state, SLOT_DONE,
					memory_order_seq_cst);
}

/* wait.c -------------------------------------------------------------- */

/*
 * Until @slot is done: 0; or -ETIMEDOUT, and it may still become so. Reaps for
 * everybody while nobody else does. @slot is in the ring; or it never is, and
 * somebody will call client_bell_ring().
 */
ORIEL_MUST_CHECK int client_slot_wait(struct oriel_session *s,
				      struct client_slot *slot,
				      uint64_t deadline_ns);
/* Make a bell done and wake who follows with it. */
void client_bell_ring(struct client_slot *bell);
/* After client_bell_ring() by a thread that may not be the leader: its owner may
 * be, and asleep as such. A system call if somebody is. */
void client_wait_nudge(struct oriel_session *s);
/* Take what is there if nobody else does. @service: and look after the
 * connection, which is a system call. */
void client_reap_once(struct oriel_session *s, bool service);

#endif
