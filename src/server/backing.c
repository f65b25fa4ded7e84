/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Passthrough: the client's kernel does the I/O of an open file on our file
 * itself, which it knows by an id that it gave us (server_backing_ops).
 *
 * The kernel's rules, and so ours: all opens of an inode have the same id, or
 * none has one; opens with an id and opens with a page cache of their own do
 * not mix. So an inode is decided about when it is opened first, and stays that
 * way until the last RELEASE. We count an open before the kernel hears of it
 * and until after it has forgotten it, so our count is never the lower one.
 *
 * An id outlives its last open, because most files are opened again; it goes
 * when the client forgets the inode, or when too many are idle.
 *
 * Threads: any. backing_lock is held while an id is asked for, so that two
 * first opens of an inode get the same one.
 */
#include "server/internal.h"

#include <errno.h>
#include <stdlib.h>

/* Idle ids; each keeps a file of ours open in the kernel. */
#define IDLE_MAX 256u

/* What one session knows of an inode's opens; session->backing_lock. */
struct server_backing {
	struct hash_node by_id;
	struct list idle; /* linked while users == 0 */
	uint64_t nodeid;
	uint64_t users;   /* opens */
	uint32_t id;      /* 0: opened without */
	bool forgotten;   /* goes with its last user */
};

static bool is_on(const struct server_session *s)
{
	return s->cfg.backing_ops &&
	       (atomic_load_explicit(&s->flags, memory_order_relaxed) &
		FUSE_WIRE_PASSTHROUGH);
}

static struct server_backing *find_locked(struct server_session *s,
					  uint64_t nodeid)
{
	uint64_t hash = hash_mix(nodeid);
	struct hash_node *n = hash_table_first(&s->backings, hash);

	for (; n; n = hash_table_next(n->next, hash)) {
		struct server_backing *b =
			container_of(n, struct server_backing, by_id);

		if (b->nodeid == nodeid)
			return b;
	}
	return NULL;
}

static void free_locked(struct server_session *s, struct server_backing *b)
{
	hash_table_del(&s->backings, &b->by_id);
	if (!b->users) {
		list_del(&b->idle);
		s->n_idle--;
	}
	if (b->id)
		s->cfg.backing_ops->close(s->cfg.backing_ctx, b->id);
	free(b);
}

static struct server_backing *new_locked(struct server_session *s,
					 const struct server_inode *ino)
{
	struct server_backing *b = calloc(1, sizeof(*b));
	uint32_t id;

	if (!b)
		return NULL;
	b->nodeid = ino->nodeid;
	if (!s->cfg.backing_ops->open(s->cfg.backing_ctx, ino->fd, &id))
		b->id = id;
	hash_table_add(&s->backings, &b->by_id, hash_mix(b->nodeid));
	return b;
}

uint32_t server_backing_get(struct server_session *s,
			    const struct server_inode *ino)
{
	struct server_backing *b;
	uint32_t id = 0;

	if (!is_on(s))
		return 0;
	pthread_mutex_lock(&s->backing_lock);
	b = find_locked(s, ino->nodeid);
	if (b && !b->users) {
		list_del(&b->idle);
		s->n_idle--;
	}
	if (!b)
		b = new_locked(s, ino);
	if (b) {
		b->users++;
		id = b->id;
	}
	pthread_mutex_unlock(&s->backing_lock);
	return id;
}

void server_backing_put(struct server_session *s, uint64_t nodeid)
{
	struct server_backing *b;

	if (!is_on(s))
		return;
	pthread_mutex_lock(&s->backing_lock);
	b = find_locked(s, nodeid);
	if (b && b->users && --b->users == 0) {
		list_add_tail(&s->idle, &b->idle);
		s->n_idle++;
		/* without an id: the next open may have more luck */
		if (b->forgotten || !b->id)
			free_locked(s, b);
		else if (s->n_idle > IDLE_MAX)
			free_locked(s, list_entry(s->idle.next,
						  struct server_backing,
						  idle));
	}
	pthread_mutex_unlock(&s->backing_lock);
}

void server_backing_forget(struct server_session *s, uint64_t nodeid)
{
	struct server_backing *b;

	if (!is_on(s))
		return;
	pthread_mutex_lock(&s->backing_lock);
	b = find_locked(s, nodeid);
	if (b && !b->users)
		free_locked(s, b);
	else if (b)
		b->forgotten = true;
	pthread_mutex_unlock(&s->backing_lock);
}

void server_backings_clear(struct server_session *s)
{
	struct hash_node *n;
	size_t cursor = 0;

	pthread_mutex_lock(&s->backing_lock);
	while ((n = hash_table_pop(&s->backings, &cursor))) {
		struct server_backing *b =
			container_of(n, struct server_backing, by_id);

		if (b->id)
			s->cfg.backing_ops->close(s->cfg.backing_ctx, b->id);
		free(b);
	}
	list_init(&s->idle);
	s->n_idle = 0;
	pthread_mutex_unlock(&s->backing_lock);
}
