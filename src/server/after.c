/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is done when a request has been answered. It stays on the request's
 * thread and comes before the next request of the thread, so with one thread a
 * client finds done what it was told is done. Whoever has several threads for
 * one client calls server_after() before it gives the answer; then nothing is done
 * that only saves time.
 */
#include "server/internal.h"

/* Half of what may be open is: what waits to be closed could be missed. */
static bool is_scarce(struct server_session *s)
{
	struct server_share *sh = s->share;
	bool r;

	if (atomic_load_explicit(&sh->n.fds, memory_order_relaxed) >
	    sh->fd_limit / 2)
		return true;
	pthread_mutex_lock(&s->lock);
	r = server_fds_locked(s) > sh->session_limit / 2;
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* NULL: do it now. */
static struct server_after *begin(struct server_req *req)
{
	struct server_after *a = &req->t->after;

	if (!req->s->cfg.calls_after)
		return NULL;
	if (!a->s) {
		if (is_scarce(req->s))
			return NULL;
		a->s = req->s;
		a->fd = -1;
		a->dir = NULL;
		a->n_fhs = 0;
	}
	return a;
}

static void close_handle(struct server_session *s, uint64_t fh)
{
	server_locks_drop_handle(s, fh);
	/* one that is not there is the client's own business */
	if (server_handle_close(s, fh, false))
		(void)!server_handle_close(s, fh, true);
}

void server_after_close_handle(struct server_req *req, uint64_t fh)
{
	struct server_after *a = begin(req);

	if (a)
		a->fhs[a->n_fhs++] = fh;
	else
		close_handle(req->s, fh);
}

void server_after_close_fd(struct server_req *req, int fd)
{
	struct server_after *a = begin(req);

	if (a)
		a->fd = fd;
	else
		server_fd_drop(req->share, fd);
}

void server_after_read_dir(struct server_req *req, struct server_handle *dir,
			   size_t want)
{
	struct server_after *a = begin(req);

	if (!a)
		return;
	server_handle_hold(dir);
	a->dir = dir;
	a->dir_want = want;
}

void server_after(bool answered)
{
	struct server_thread *t = server_thread_peek();
	struct server_after *a = t ? &t->after : NULL;

	if (ORIEL_LIKELY(!a || !a->s))
		return;
	for (unsigned i = 0; i < a->n_fhs; i++)
		close_handle(a->s, a->fhs[i]);
	if (a->fd >= 0)
		server_fd_drop(a->s->share, a->fd);
	if (a->dir && answered)
		server_dir_read_ahead(t, a->dir, a->dir_want);
	if (a->dir)
		server_handle_put(a->dir);
	a->s = NULL;
}
