/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests that are answered later, from any thread.
 *
 * The queue's thread alone touches the ring and the driver's memory. Whoever
 * answers leaves the bytes with the token and wakes that thread, which copies
 * them and gives the chain back. A token keeps the memory map in which its
 * answer's room lies.
 *
 * When a queue stops, main first has the owner cancel what it kept (ops->cancel),
 * which answers all of it; the thread takes those answers before it ends. What
 * is answered after that, because the thread had ended on its own, is dropped:
 * a broken queue answers nobody.
 *
 * Lock: vq->later_lock, over the list of answers and the count; taken inside
 * nothing, and nothing inside it.
 */
#include "vhost/backend_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/list.h"

#define LATER_ROOM_MAX 8u /* pieces the room for an answer may lie in */

struct vhost_later {
	struct list link;
	struct vhost_vq *vq;
	struct mem_map *mem; /* counted */
	uint16_t head;
	unsigned n_room;
	struct iovec room[LATER_ROOM_MAX];
	uint32_t len;
	unsigned char answer[VHOST_LATER_MAX];
};

/* The first VHOST_LATER_MAX bytes of what the device may write, or all. */
static int take_room(struct vhost_later *l, const struct ring_chain *c)
{
	size_t want = VHOST_LATER_MAX;
	unsigned i;

	for (i = 0; i < c->n_in && want; i++) {
		const struct iovec *from = &c->iov[c->n_out + i];
		size_t len = min_u64(from->iov_len, want);

		if (l->n_room == LATER_ROOM_MAX)
			return -E2BIG;
		l->room[l->n_room++] = (struct iovec){ from->iov_base, len };
		want -= len;
	}
	return 0;
}

struct vhost_later *vhost_backend_keep(struct vhost_backend *be, unsigned queue)
{
	struct vq_worker *w = vq_worker_self();
	struct vhost_vq *vq = &be->vqs[queue];
	struct vhost_later *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	/* The pointers into the window are gone when handle() returns. */
	if (w->chain->n_away) {
		free(l);
		return NULL;
	}
	if (take_room(l, w->chain)) {
		free(l);
		return NULL;
	}
	l->vq = vq;
	l->head = w->chain->head;
	l->mem = w->mem;
	mem_map_ref(l->mem);
	return l;
}

void vhost_backend_answer(struct vhost_later *l, const void *data, size_t len)
{
	struct vhost_vq *vq = l->vq;

	l->len = (uint32_t)min_u64(len, sizeof(l->answer));
	memcpy(l->answer, data, l->len);
	pthread_mutex_lock(&vq->later_lock);
	list_add_tail(&vq->answers, &l->link);
	/* release: pairs with the exchange in vq_take_answers() */
	atomic_store_explicit(&vq->has_answers, true, memory_order_release);
	vq_wake(vq);
	pthread_mutex_unlock(&vq->later_lock);
}

static struct vhost_later *pop_answer(struct vhost_vq *vq)
{
	struct list *n;

	pthread_mutex_lock(&vq->later_lock);
	n = list_pop_head(&vq->answers);
	pthread_mutex_unlock(&vq->later_lock);
	return n ? list_entry(n, struct vhost_later, link) : NULL;
}

static void later_free(struct vhost_later *l)
{
	mem_map_unref(l->mem);
	free(l);
}

/* Into the driver's memory. Returns what went there. */
static uint32_t copy_answer(const struct vhost_later *l)
{
	uint32_t done = 0;
	unsigned i;

	for (i = 0; i < l->n_room && done < l->len; i++) {
		size_t len = min_u64(l->room[i].iov_len, l->len - done);

		memcpy(l->room[i].iov_base, l->answer + done, len);
		done += (uint32_t)len;
	}
	return done;
}

unsigned vq_take_answers(struct vhost_vq *vq)
{
	struct vhost_later *l;
	unsigned n = 0;

	if (ORIEL_LIKELY(!atomic_load_explicit(&vq->has_answers,
					       memory_order_relaxed)))
		return 0;
	/* acquire: the list has what was put there before */
	atomic_exchange_explicit(&vq->has_answers, false,
				 memory_order_acquire);
	while ((l = pop_answer(vq))) {
		ring_device_push(&vq->dev, l->head, copy_answer(l));
		later_free(l);
		n++;
	}
	return n;
}

void vq_drop_answers(struct vhost_vq *vq)
{
	struct vhost_later *l;

	while ((l = pop_answer(vq)))
		later_free(l);
	atomic_store_explicit(&vq->has_answers, false, memory_order_relaxed);
}
