/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests and their answers.
 *
 * THE LIFE OF A REQUEST. client_call() takes a slot (a piece of the arena),
 * encodes the request into it, offers it to the ring and waits. There is no
 * thread that receives: one of the waiting threads, the leader, takes answers
 * out of the ring for everybody; the others, followers, spin a little on their
 * own slot's state and then sleep on it.
 *
 *   free -> PENDING --(answer reaped)-------------------> DONE -> free
 *              |  \--(owner sleeps)--> SLEEPING --(answer)--^
 *              |                           \--(leader leaves)--> LEAD, awake
 *              \--(owner times out)--> abandoned: freed when the answer comes
 *
 * INVARIANT: while a request is in flight and its owner waits, somebody leads,
 * or its owner is awake and about to try. A follower puts itself on the list,
 * marks itself SLEEPING, then tries to lead once more, and only then sleeps; a
 * leader gives the right to reap up first and then looks at the list and wakes
 * one. So either the follower gets the right, or the leader sees it asleep.
 * Whoever leaves without an answer, and may have been invited to lead, sees to
 * it that somebody else does.
 *
 * WAITING. The leader polls the used ring for session->spin_ns, which grows
 * while answers arrive in that time and shrinks while they do not; then it asks
 * for a call notification and sleeps in poll(2) on the queue's eventfd, the
 * main socket (the daemon's death) and the back-end channel (SHMEM_MAP). While a
 * SETUPMAPPING is in flight it also serves the channel as it spins: the daemon
 * maps before it answers.
 *
 * Everything the device wrote is copied out of shared memory before it is
 * checked. A slot whose owner gave up is not reused before its answer came: the
 * device may still write into it.
 */
#include "client/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/futex.h"
#include "base/log.h"

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
/* The same for one who waits for a slot held by an answer that came too late. */
#define ABANDONED_SLICE_NS (5 * NS_PER_MS)

static uint64_t slot_gpa(const struct oriel_session *s, const void *p)
{
	return s->fi->arena_gpa +
	       (uint64_t)((const unsigned char *)p - s->fi->arena);
}

/* ---------------------------------------------------------- set-up, end */

static void slot_init(struct client_slot *slot)
{
	atomic_init(&slot->state, SLOT_DONE);
	slot->abandoned = false;
	list_init(&slot->node);
}

int client_calls_init(struct oriel_session *s)
{
	unsigned char *p = s->fi->arena;
	uint64_t left = s->fi->arena_bytes;
	size_t fixed = CLIENT_SLOT_IN_BYTES + CLIENT_SLOT_OUT_BYTES;
	unsigned capacity;

	list_init(&s->free_slots);
	list_init(&s->followers);
	s->next_unique = 2;
	s->rq = vhost_frontend_queue(s->fe, CLIENT_QUEUE_REQUEST);
	/* nobody sleeps on FORGETs: they are reaped with the next one */
	ring_driver_want_call(vhost_frontend_queue(s->fe, CLIENT_QUEUE_HIPRIO),
			      false);
	ring_driver_want_call(s->rq, false);
	atomic_init(&s->spin_ns, (uint64_t)s->opts.poll_us * NS_PER_US);

	for (unsigned i = 0; i < CLIENT_FORGET_SLOTS; i++) {
		if (left < CLIENT_SLOT_IN_BYTES)
			return -EINVAL;
		slot_init(&s->forget_slots[i]);
		s->forget_slots[i].in = p;
		p += CLIENT_SLOT_IN_BYTES;
		left -= CLIENT_SLOT_IN_BYTES;
	}
	s->slot_data_bytes = FUSE_WIRE_MAX_WRITE;
	while (s->slot_data_bytes > KIB(64) &&
	       left / (fixed + s->slot_data_bytes) < 8)
		s->slot_data_bytes /= 2;
	capacity = ring_driver_capacity(s->rq);
	s->n_slots = (unsigned)min_u64(left / (fixed + s->slot_data_bytes),
				       capacity);
	if (s->n_slots < 2)
		return -EINVAL;
	s->slots = calloc(s->n_slots, sizeof(*s->slots));
	if (!s->slots)
		return -ENOMEM;
	for (unsigned i = 0; i < s->n_slots; i++) {
		slot_init(&s->slots[i]);
		s->slots[i].in = p;
		s->slots[i].out = p + CLIENT_SLOT_IN_BYTES;
		s->slots[i].data = p + fixed;
		p += fixed + s->slot_data_bytes;
		list_add_tail(&s->free_slots, &s->slots[i].node);
	}
	return 0;
}

void client_calls_done(struct oriel_session *s)
{
	free(s->slots);
	s->slots = NULL;
	free(s->forgets);
	s->forgets = NULL;
}

/* ---------------------------------------------------------------- slots */

static void deadline_to_timespec(uint64_t deadline_ns, struct timespec *ts)
{
	ts->tv_sec = (time_t)(deadline_ns / NS_PER_S);
	ts->tv_nsec = (long)(deadline_ns % NS_PER_S);
}

static void slot_free_locked(struct oriel_session *s, struct client_slot *slot)
{
	slot->abandoned = false;
	/* the most recently used first: its memory is warm */
	list_add_head(&s->free_slots, &slot->node);
	pthread_cond_signal(&s->slot_freed);
}

static void slot_put(struct oriel_session *s, struct client_slot *slot)
{
	pthread_mutex_lock(&s->submit_lock);
	slot_free_locked(s, slot);
	pthread_mutex_unlock(&s->submit_lock);
}

/* The answer is there, or there will be none (@err). Leader only. */
static void slot_complete(struct oriel_session *s, struct client_slot *slot,
			  uint32_t used_len, int err)
{
	uint32_t old;

	atomic_fetch_add_explicit(&s->n_answers, 1, memory_order_relaxed);
	pthread_mutex_lock(&s->submit_lock);
	if (slot->abandoned) {
		s->n_abandoned--;
		slot_free_locked(s, slot);
		pthread_mutex_unlock(&s->submit_lock);
		return;
	}
	slot->used_len = used_len;
	slot->err = err;
	/* pairs with the acquire load in slot_is_done() */
	old = atomic_exchange_explicit(&slot->state, SLOT_DONE,
				       memory_order_acq_rel);
	pthread_mutex_unlock(&s->submit_lock);
	if (old == SLOT_SLEEPING)
		futex_wake(&slot->state, 1);
}

static bool slot_is_done(const struct client_slot *slot)
{
	/* pairs with the exchange in slot_complete() */
	return atomic_load_explicit(&slot->state, memory_order_acquire) ==
	       SLOT_DONE;
}

/* -------------------------------------------------------------- the end */

void client_die(struct oriel_session *s, int err)
{
	int expected = 0;

	/* pairs with the acquire in client_is_dead() */
	if (!atomic_compare_exchange_strong_explicit(&s->dead, &expected, err,
						     memory_order_acq_rel,
						     memory_order_acquire))
		return;
	if (!atomic_load(&s->closing))
		log_warn("session %s ended: %s", s->share, oriel_strerror(err));
	/* Whoever waits for a slot or follows looks at s->dead when awake. */
	pthread_mutex_lock(&s->submit_lock);
	pthread_cond_broadcast(&s->slot_freed);
	pthread_mutex_unlock(&s->submit_lock);
}

/* With the right to reap, after client_die(): answer everything in flight. */
static void give_up_all(struct oriel_session *s)
{
	struct client_slot *slot;

	pthread_mutex_lock(&s->submit_lock);
	while ((slot = ring_driver_detach(s->rq))) {
		pthread_mutex_unlock(&s->submit_lock);
		slot_complete(s, slot, 0, client_is_dead(s));
		pthread_mutex_lock(&s->submit_lock);
	}
	pthread_mutex_unlock(&s->submit_lock);
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
		slot_complete(s, token, used_len, 0);
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

/* Sleep until something happens or @deadline_ns. Leader only. */
static int lead_sleep(struct oriel_session *s, uint64_t deadline_ns)
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
	if (!ring_driver_has_used(s->rq)) {
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
	ring_driver_want_call(s->rq, false);
	return err;
}

/* Something has come, most likely for us: have its first lines travel here
 * while we look for whom it is. A hint; nothing is read. */
static void prefetch_answer(const struct client_slot *slot)
{
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
		if (slot_is_done(slot)) {
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
		err = lead_sleep(s, deadline_ns);
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
			if (slot_is_done(slot))
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

/* Until @slot is done: 0. -ETIMEDOUT: the slot is no longer the caller's. */
static int slot_wait(struct oriel_session *s, struct client_slot *slot,
		     uint64_t deadline_ns)
{
	bool lead_now = lead_try(s);
	int err = 0;

	while (!slot_is_done(slot) && !err) {
		if (lead_now) {
			err = wait_as_leader(s, slot, deadline_ns);
			lead_now = false;
		} else {
			err = follow(s, slot, deadline_ns, &lead_now);
		}
	}
	if (lead_now)
		lead_leave(s);
	if (!err)
		return 0;
	/* a leader that left may have counted on this thread */
	if (lead_try(s))
		lead_leave(s);
	pthread_mutex_lock(&s->submit_lock);
	if (slot_is_done(slot)) {
		err = 0;
	} else {
		slot->abandoned = true;
		s->n_abandoned++;
		/* who waits for a slot must look for its answer from now on */
		pthread_cond_broadcast(&s->slot_freed);
	}
	pthread_mutex_unlock(&s->submit_lock);
	return err;
}

/* Take what is there if nobody else does. */
static void reap_for_nobody(struct oriel_session *s)
{
	int err;

	if (!lead_try(s))
		return;
	err = client_is_dead(s);
	if (!err)
		err = reap(s);
	if (err) {
		client_die(s, err);
		give_up_all(s);
	}
	lead_leave(s);
}

/* Wait for a slot to be freed, at most until @deadline_ns. */
static int slot_wait_free_locked(struct oriel_session *s, uint64_t deadline_ns)
{
	uint64_t now = clock_now_ns();
	uint64_t until_ns = deadline_ns;
	struct timespec ts;

	if (now >= deadline_ns)
		return -ETIMEDOUT;
	/* answers to those who gave up are nobody's: look for them */
	if (s->n_abandoned) {
		pthread_mutex_unlock(&s->submit_lock);
		reap_for_nobody(s);
		pthread_mutex_lock(&s->submit_lock);
		until_ns = min_u64(deadline_ns, now + ABANDONED_SLICE_NS);
	}
	if (list_is_empty(&s->free_slots)) {
		deadline_to_timespec(until_ns, &ts);
		pthread_cond_timedwait(&s->slot_freed, &s->submit_lock, &ts);
	}
	return 0;
}

/* Waits for a free slot. Blocks until @deadline_ns. */
static int slot_take(struct oriel_session *s, uint64_t deadline_ns,
		     struct client_slot **ret)
{
	struct list *node;
	int err = 0;

	pthread_mutex_lock(&s->submit_lock);
	for (;;) {
		err = client_is_dead(s);
		if (err)
			break;
		node = list_pop_head(&s->free_slots);
		if (node) {
			*ret = list_entry(node, struct client_slot, node);
			(*ret)->unique = s->next_unique;
			s->next_unique += 2; /* the low bit is INTERRUPT's */
			break;
		}
		err = slot_wait_free_locked(s, deadline_ns);
		if (err)
			break;
	}
	pthread_mutex_unlock(&s->submit_lock);
	return err;
}

/* ------------------------------------------------- encoding, submitting */

/* Copy @len bytes of @iov after @skip into @dst. */
static void gather(unsigned char *dst, const struct iovec *iov, unsigned n,
		   size_t skip, size_t len)
{
	for (unsigned i = 0; i < n && len > 0; i++) {
		size_t have = iov[i].iov_len;
		size_t now;

		if (skip >= have) {
			skip -= have;
			continue;
		}
		now = (size_t)min_u64(have - skip, len);
		memcpy(dst, (const char *)iov[i].iov_base + skip, now);
		dst += now;
		len -= now;
		skip = 0;
	}
}

static void scatter(const struct iovec *iov, unsigned n, size_t skip,
		    const unsigned char *src, size_t len)
{
	for (unsigned i = 0; i < n && len > 0; i++) {
		size_t have = iov[i].iov_len;
		size_t now;

		if (skip >= have) {
			skip -= have;
			continue;
		}
		now = (size_t)min_u64(have - skip, len);
		memcpy((char *)iov[i].iov_base + skip, src, now);
		src += now;
		len -= now;
		skip = 0;
	}
}

/* Header, fixed argument and names into the slot; returns their length. */
static int encode(struct oriel_session *s, struct client_slot *slot,
		  const struct client_call *c, size_t *ret_len)
{
	struct fuse_in_header h = {
		.opcode = c->opcode,
		.unique = slot->unique,
		.nodeid = c->nodeid,
		.uid = s->uid,
		.gid = s->gid,
		.pid = s->pid,
	};
	size_t len = sizeof(h) + c->arg_len;

	oriel_assert(len <= CLIENT_SLOT_IN_BYTES);
	oriel_assert(c->in_len <= s->slot_data_bytes);
	oriel_assert(c->bulk_len <= s->slot_data_bytes);
	if (c->arg_len)
		memcpy(slot->in + sizeof(h), c->arg, c->arg_len);
	for (unsigned i = 0; i < ARRAY_LEN(c->names) && c->names[i]; i++) {
		size_t n = strlen(c->names[i]) + 1;

		if (n > CLIENT_SLOT_IN_BYTES - len)
			return -ENAMETOOLONG;
		memcpy(slot->in + len, c->names[i], n);
		len += n;
	}
	h.len = (uint32_t)(len + c->in_len);
	memcpy(slot->in, &h, sizeof(h));
	if (c->in_len)
		gather(slot->data, c->in, c->n_in, c->in_skip, c->in_len);
	*ret_len = len;
	return 0;
}

static int submit(struct oriel_session *s, struct client_slot *slot,
		  const struct client_call *c)
{
	struct ring_seg segs[4];
	unsigned n_out = 1, n_in = 1;
	size_t in_len;
	bool kick = false;
	int err;

	err = encode(s, slot, c, &in_len);
	if (err)
		return err;
	segs[0].gpa = slot_gpa(s, slot->in);
	segs[0].len = (uint32_t)in_len;
	if (c->in_len) {
		segs[n_out].gpa = slot_gpa(s, slot->data);
		segs[n_out++].len = (uint32_t)c->in_len;
	}
	segs[n_out].gpa = slot_gpa(s, slot->out);
	segs[n_out].len =
		(uint32_t)(sizeof(struct fuse_out_header) + c->out_len);
	if (c->bulk_len) {
		segs[n_out + n_in].gpa = slot_gpa(s, slot->data);
		segs[n_out + n_in++].len = (uint32_t)c->bulk_len;
	}
	slot->err = 0;
	atomic_store_explicit(&slot->state, SLOT_PENDING,
			      memory_order_relaxed);
	pthread_mutex_lock(&s->submit_lock);
	err = client_is_dead(s);
	if (!err)
		err = ring_driver_add(s->rq, segs, n_out, n_in, slot);
	if (!err)
		kick = ring_driver_needs_kick(s->rq);
	pthread_mutex_unlock(&s->submit_lock);
	if (kick)
		vhost_frontend_kick(s->fe, CLIENT_QUEUE_REQUEST);
	return err;
}

/* Check the answer and copy it out. */
static int decode(struct oriel_session *s, const struct client_slot *slot,
		  struct client_call *c)
{
	size_t out_min = c->out_min ? c->out_min : c->out_len;
	struct fuse_out_header oh;
	size_t body, fixed;

	if (slot->err)
		return slot->err;
	memcpy(&oh, slot->out, sizeof(oh));
	if (slot->used_len < sizeof(oh) || oh.len < sizeof(oh) ||
	    oh.len > slot->used_len || oh.unique != slot->unique ||
	    oh.error > 0 || oh.error <= -4096) {
		log_error("%s: bad reply header: len %u, used %u, unique %llu "
			  "(sent %llu), error %d",
			  fuse_opcode_name(c->opcode), oh.len, slot->used_len,
			  (unsigned long long)oh.unique,
			  (unsigned long long)slot->unique, oh.error);
		client_die(s, -EPROTO);
		return -EPROTO;
	}
	if (oh.error)
		return oh.error;
	body = oh.len - sizeof(oh);
	if (body < out_min || body > c->out_len + c->bulk_len) {
		log_error("%s: reply of %zu bytes, expected %zu to %zu",
			  fuse_opcode_name(c->opcode), body, out_min,
			  c->out_len + c->bulk_len);
		client_die(s, -EPROTO);
		return -EPROTO;
	}
	fixed = (size_t)min_u64(body, c->out_len);
	if (c->out_len) {
		memset(c->out, 0, c->out_len);
		memcpy(c->out, slot->out + sizeof(oh), fixed);
	}
	c->ret_bulk = body - fixed;
	scatter(c->bulk, c->n_bulk, c->bulk_skip, slot->data, c->ret_bulk);
	return 0;
}

bool client_is_nosys(struct oriel_session *s, uint32_t opcode)
{
	return opcode < 64 &&
	       (atomic_load_explicit(&s->nosys, memory_order_relaxed) >>
			opcode & 1);
}

#define BIT(opcode) (UINT64_C(1) << (opcode))
/* What may make a path lead elsewhere. */
#define CHANGE_NAMES                                                        \
	(BIT(FUSE_SYMLINK) | BIT(FUSE_MKNOD) | BIT(FUSE_MKDIR) |            \
	 BIT(FUSE_UNLINK) | BIT(FUSE_RMDIR) | BIT(FUSE_RENAME) |            \
	 BIT(FUSE_RENAME2) | BIT(FUSE_LINK) | BIT(FUSE_CREATE))

int client_call(struct oriel_session *s, struct client_call *c)
{
	uint32_t timeout_ms = c->timeout_ms ? c->timeout_ms :
					      s->opts.timeout_ms;
	const uint64_t start_ns = clock_now_ns();
	uint64_t deadline_ns = start_ns + timeout_ms * NS_PER_MS;
	/* relaxed: set once, by the thread that disconnects */
	uint64_t goodbye_ns = atomic_load_explicit(&s->goodbye_ns,
						   memory_order_relaxed);
	struct client_slot *slot;
	int err;

	if (goodbye_ns)
		deadline_ns = min_u64(deadline_ns, goodbye_ns);
	if (client_is_nosys(s, c->opcode))
		return -ENOSYS;
	err = slot_take(s, deadline_ns, &slot);
	if (err)
		return err;
	if (c->maps)
		atomic_fetch_add_explicit(&s->maps_pending, 1,
					  memory_order_acq_rel);
	err = submit(s, slot, c);
	if (!err) {
		atomic_fetch_add_explicit(&s->n_requests, 1,
					  memory_order_relaxed);
		err = slot_wait(s, slot, deadline_ns);
		if (!err)
			err = decode(s, slot, c);
		else
			slot = NULL; /* abandoned */
	} else if (err == -EPROTO) {
		client_die(s, err);
	}
	if (c->maps)
		atomic_fetch_sub_explicit(&s->maps_pending, 1,
					  memory_order_acq_rel);
	if (slot)
		slot_put(s, slot);
	client_gauge_hook(s, c->opcode, start_ns);
	if (c->opcode < 64 && (CHANGE_NAMES >> c->opcode & 1))
		/* whatever came of it; with client_names_changed() */
		atomic_fetch_add_explicit(&s->names_changed, 1,
					  memory_order_release);
	client_forget_more(s);
	if (err == -ENOSYS && c->opcode < 64)
		atomic_fetch_or_explicit(&s->nosys, UINT64_C(1) << c->opcode,
					 memory_order_relaxed);
	return err;
}
