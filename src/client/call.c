/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests and their answers: slots, encoding, checking. How answers are waited
 * for is in wait.c, requests that no thread waits for are in post.c; the theory
 * of all three is here.
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
 * A request without an owner (client_post()) is taken in by whoever reaps it:
 * checked, copied out, its slot given on to the next that waits for one, and its
 * done() called. Somebody must reap, but nobody need do it at once: who wants
 * such answers waits on a bell, a slot that never is in the ring and is made
 * done when there are enough. So the invariant covers bells as it does slots.
 * Such requests leave some slots to those that are waited for.
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
#include "client/call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/epoch.h"
#include "base/futex.h"
#include "base/log.h"

/* How long one who waits for a slot held by an answer that came too late waits
 * before it looks. */
#define ABANDONED_SLICE_NS (5 * NS_PER_MS)

static uint64_t slot_gpa(const struct oriel_session *s, const void *p)
{
	return s->fi->arena_gpa +
	       (uint64_t)((const unsigned char *)p - s->fi->arena);
}

/* ---------------------------------------------------------- set-up, end */

void client_slot_init(struct client_slot *slot)
{
	atomic_init(&slot->state, SLOT_DONE);
	slot->abandoned = false;
	slot->async = NULL;
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
	list_init(&s->posts_wait);
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
		client_slot_init(&s->forget_slots[i]);
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
		client_slot_init(&s->slots[i]);
		s->slots[i].in = p;
		s->slots[i].out = p + CLIENT_SLOT_IN_BYTES;
		s->slots[i].data = p + fixed;
		p += fixed + s->slot_data_bytes;
		list_add_tail(&s->free_slots, &s->slots[i].node);
	}
	s->max_posts = s->n_slots - min_u64(CLIENT_SLOTS_KEPT, s->n_slots / 2);
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

void client_slot_free_locked(struct oriel_session *s, struct client_slot *slot)
{
	slot->abandoned = false;
	slot->async = NULL;
	/* the most recently used first: its memory is warm */
	list_add_head(&s->free_slots, &slot->node);
	pthread_cond_signal(&s->slot_freed);
}

static void slot_put(struct oriel_session *s, struct client_slot *slot)
{
	bool pump;

	/* the next request will be written here; the device has read the last */
	prefetch_lines_to_write((uintptr_t)slot->in, 2 * ORIEL_CACHE_LINE);
	ring_driver_expect(s->rq);
	pthread_mutex_lock(&s->submit_lock);
	client_slot_free_locked(s, slot);
	pump = !list_is_empty(&s->posts_wait);
	pthread_mutex_unlock(&s->submit_lock);
	if (pump)
		client_posts_pump(s);
}

void client_slot_complete(struct oriel_session *s, struct client_slot *slot,
			  uint32_t used_len, int err)
{
	uint32_t old = SLOT_PENDING;
	struct client_async *a;
	bool abandoned;

	atomic_fetch_add_explicit(&s->n_answers, 1, memory_order_relaxed);
	pthread_mutex_lock(&s->submit_lock);
	slot->used_len = used_len;
	slot->err = err;
	abandoned = slot->abandoned;
	if (abandoned) {
		s->n_abandoned--;
		client_slot_free_locked(s, slot);
	}
	a = slot->async;
	slot->async = NULL;
	if (a)
		a->posted = false;
	if (!a && !abandoned)
		/* under the lock: wait_or_abandon() decides under it, too */
		old = client_slot_mark(slot);
	pthread_mutex_unlock(&s->submit_lock);
	if (a)
		client_post_answer(s, slot, a);
	else if (abandoned)
		client_posts_pump(s);
	else if (old == SLOT_SLEEPING)
		futex_wake(&slot->state, 1);
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

/* --------------------------------------------------------- taking a slot */

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
		client_reap_once(s, false);
		pthread_mutex_lock(&s->submit_lock);
		until_ns = min_u64(deadline_ns, now + ABANDONED_SLICE_NS);
	}
	if (list_is_empty(&s->free_slots)) {
		deadline_to_timespec(until_ns, &ts);
		pthread_cond_timedwait(&s->slot_freed, &s->submit_lock, &ts);
	}
	return 0;
}

/* NULL: all are in use. */
struct client_slot *client_slot_take_locked(struct oriel_session *s)
{
	struct list *node = list_pop_head(&s->free_slots);
	struct client_slot *slot;

	if (!node)
		return NULL;
	slot = list_entry(node, struct client_slot, node);
	slot->unique = s->next_unique;
	s->next_unique += 2; /* the low bit is INTERRUPT's */
	return slot;
}

/* Waits for a free slot. Blocks until @deadline_ns. */
static int slot_take(struct oriel_session *s, uint64_t deadline_ns,
		     struct client_slot **ret)
{
	struct client_slot *slot;
	int err = 0;

	pthread_mutex_lock(&s->submit_lock);
	for (;;) {
		err = client_is_dead(s);
		if (err)
			break;
		slot = client_slot_take_locked(s);
		if (slot) {
			*ret = slot;
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

int client_slot_submit(struct oriel_session *s, struct client_slot *slot,
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
	if (!err) {
		unsigned n = ring_driver_in_flight(s->rq);

		kick = ring_driver_needs_kick(s->rq);
		s->max_in_flight = n > s->max_in_flight ? n : s->max_in_flight;
		if (slot->async)
			slot->async->sending = false;
	}
	pthread_mutex_unlock(&s->submit_lock);
	if (kick)
		vhost_frontend_kick(s->fe, CLIENT_QUEUE_REQUEST);
	return err;
}

int client_slot_decode(struct oriel_session *s, const struct client_slot *slot,
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

/*
 * Until @slot is answered: 0. -ETIMEDOUT: the slot is no longer the caller's.
 */
static int wait_or_abandon(struct oriel_session *s, struct client_slot *slot,
			   uint64_t deadline_ns)
{
	int err = client_slot_wait(s, slot, deadline_ns);

	if (!err)
		return 0;
	pthread_mutex_lock(&s->submit_lock);
	if (client_slot_is_done(slot)) {
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

	if (ORIEL_UNLIKELY(epoch_is_inside()))
		return -EDEADLK; /* oriel_borrow() */
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
	err = client_slot_submit(s, slot, c);
	if (!err) {
		atomic_fetch_add_explicit(&s->n_requests, 1,
					  memory_order_relaxed);
		err = wait_or_abandon(s, slot, deadline_ns);
		if (!err)
			err = client_slot_decode(s, slot, c);
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
