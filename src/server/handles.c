/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Open files and directories of one session. A handle's number counts up and
 * means nothing outside its session. The table holds one reference, each
 * request in work another: RELEASE while a READ runs closes after the READ.
 */
#include "server/internal.h"

#include <errno.h>
#include <stdlib.h>

static _Atomic uint64_t last_tag; /* server_handle.dents_tag */

void server_handle_retag(struct server_handle *h)
{
	h->dents_tag =
		1 + atomic_fetch_add_explicit(&last_tag, 1,
					      memory_order_relaxed);
}

int server_handle_new(struct server_session *s, int fd,
		      struct server_inode *ino, bool is_dir, uint64_t *ret_fh)
{
	struct server_handle *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	r = server_inode_pin(s->share, ino);
	if (r) {
		free(h);
		return r;
	}
	atomic_init(&h->refs, 1);
	h->share = s->share;
	h->inode = ino;
	h->fd = fd;
	h->is_dir = is_dir;
	if (is_dir)
		server_handle_retag(h);
	pthread_mutex_init(&h->dir_lock, NULL);
	pthread_mutex_lock(&s->lock);
	r = server_quota_locked(s);
	if (!r) {
		server_inode_ref(ino);
		h->fh = ++s->next_fh;
		*ret_fh = h->fh;
		hash_table_add(&s->handles, &h->by_fh, hash_mix(h->fh));
		atomic_fetch_add_explicit(&s->share->n.handles, 1,
					  memory_order_relaxed);
	}
	pthread_mutex_unlock(&s->lock);
	if (r) {
		server_inode_unpin(s->share, ino);
		pthread_mutex_destroy(&h->dir_lock);
		free(h);
	}
	return r;
}

static struct server_handle *find_locked(struct server_session *s, uint64_t fh)
{
	uint64_t hash = hash_mix(fh);
	struct hash_node *n = hash_table_first(&s->handles, hash);

	for (; n; n = hash_table_next(n->next, hash)) {
		struct server_handle *h =
			container_of(n, struct server_handle, by_fh);

		if (h->fh == fh)
			return h;
	}
	return NULL;
}

struct server_handle *server_handle_get(struct server_session *s, uint64_t fh,
					bool is_dir)
{
	struct server_handle *h;

	pthread_mutex_lock(&s->lock);
	h = find_locked(s, fh);
	if (h && h->is_dir != is_dir)
		h = NULL;
	if (h)
		atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
	pthread_mutex_unlock(&s->lock);
	return h;
}

void server_handle_hold(struct server_handle *h)
{
	atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
}

void server_handle_put(struct server_handle *h)
{
	/* acq_rel: whoever closes sees that the others are done */
	if (atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) != 1)
		return;
	server_fd_drop(h->share, h->fd);
	server_inode_unpin(h->share, h->inode);
	server_inode_unref(h->share, h->inode);
	pthread_mutex_destroy(&h->dir_lock);
	atomic_fetch_sub_explicit(&h->share->n.handles, 1,
				  memory_order_relaxed);
	free(h);
}

int server_handle_close(struct server_session *s, uint64_t fh, bool is_dir)
{
	struct server_handle *h;

	pthread_mutex_lock(&s->lock);
	h = find_locked(s, fh);
	if (h && h->is_dir != is_dir)
		h = NULL;
	if (h)
		hash_table_del(&s->handles, &h->by_fh);
	pthread_mutex_unlock(&s->lock);
	if (!h)
		return -EBADF;
	if (!is_dir)
		server_backing_put(s, h->inode->nodeid);
	server_handle_put(h);
	return 0;
}

void server_handles_clear(struct server_session *s)
{
	struct hash_node *n;
	size_t cursor = 0;

	for (;;) {
		pthread_mutex_lock(&s->lock);
		n = hash_table_pop(&s->handles, &cursor);
		pthread_mutex_unlock(&s->lock);
		if (!n)
			return;
		server_handle_put(container_of(n, struct server_handle, by_fh));
	}
}
