/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The background thread of a window. It has two jobs: to evict when free
 * ranges run below low water, so that a fault finds one at once, and to set up
 * the range ahead of a sequential reader.
 *
 * It is started by the first thing there is to do, sleeps when there is
 * nothing, and never tries again by itself what did not work: the next fault
 * or the next reader kicks it. Without it (not configured, or no thread to be
 * had) faults evict inline and nobody reads ahead.
 *
 * The queue holds a reference (file_get()) to every file it names.
 *
 * Thread rule: any thread; the state is guarded by window->lock.
 */
#include "dax/dax_internal.h"

#include <signal.h>
#include <string.h>

static bool has_work_locked(const struct dax_window *w)
{
	return w->is_stopping || w->is_kicked || w->n_queued > 0;
}

static struct dax_prefetch pop_locked(struct dax_window *w)
{
	struct dax_prefetch p = w->queue[0];

	w->n_queued--;
	memmove(&w->queue[0], &w->queue[1],
		w->n_queued * sizeof(w->queue[0]));
	return p;
}

/* Evict until there is enough, or nobody can be evicted. */
static void refill(struct dax_window *w)
{
	uint32_t missing;

	do {
		pthread_mutex_lock(&w->lock);
		missing = w->n_free < w->low_water && !w->is_stopping ?
			  w->low_water - w->n_free : 0;
		pthread_mutex_unlock(&w->lock);
	} while (missing && dax_reclaim(w, missing, false));
}

static void prefetch(struct dax_window *w, const struct dax_prefetch *p)
{
	struct dax_want want = {
		.file_start = p->file_start,
		.file_last = p->file_start + ((UINT64_C(1) << w->shift) - 1),
		.intent = DAX_READ,
		.fh = DAX_NO_HANDLE,
		.is_prefetch = true,
	};
	void *file = p->inode->file;
	int err;

	/* Ahead of need: whoever comes to need it will see the error. */
	err = dax_fault(p->inode, &want, NULL);
	(void)err;
	w->cfg.ops->file_put(w->cfg.owner, file);
}

static void *worker(void *arg)
{
	struct dax_window *w = arg;
	struct dax_prefetch p;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		while (!has_work_locked(w))
			pthread_cond_wait(&w->wake, &w->lock);
		if (w->is_stopping)
			break;
		if (w->n_queued > 0) {
			p = pop_locked(w);
			pthread_mutex_unlock(&w->lock);
			prefetch(w, &p);
		} else {
			w->is_kicked = false;
			pthread_mutex_unlock(&w->lock);
			refill(w);
		}
		pthread_mutex_lock(&w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Is there a thread to do it, now or already? */
static bool start_locked(struct dax_window *w)
{
	sigset_t all, old;

	if (!w->cfg.background || w->is_stopping)
		return false;
	if (w->has_thread)
		return true;
	/* The application's signals are none of its business. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	w->has_thread = !pthread_create(&w->thread, NULL, worker, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return w->has_thread;
}

void dax_worker_kick_locked(struct dax_window *w)
{
	if (!w->is_kicked && start_locked(w)) {
		w->is_kicked = true;
		pthread_cond_signal(&w->wake);
	}
}

static bool is_queued_locked(const struct dax_window *w,
			     const struct dax_inode *di, uint64_t file_start)
{
	unsigned i;

	for (i = 0; i < w->n_queued; i++)
		if (w->queue[i].inode == di &&
		    w->queue[i].file_start == file_start)
			return true;
	return false;
}

void dax_prefetch_hint(struct dax_inode *di, uint64_t file_start)
{
	struct dax_window *w = di->window;

	pthread_mutex_lock(&w->lock);
	if (w->n_free > w->low_water &&
	    w->n_queued < ARRAY_LEN(w->queue) &&
	    !is_queued_locked(w, di, file_start) && start_locked(w) &&
	    w->cfg.ops->file_get(w->cfg.owner, di->file)) {
		w->queue[w->n_queued].inode = di;
		w->queue[w->n_queued++].file_start = file_start;
		pthread_cond_signal(&w->wake);
	}
	pthread_mutex_unlock(&w->lock);
}

void dax_window_stop(struct dax_window *w)
{
	struct dax_prefetch p;
	bool join;

	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->is_stopping = true;
	join = w->has_thread;
	w->has_thread = false;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	if (join)
		pthread_join(w->thread, NULL);

	/* Nobody adds to the queue any more. */
	while (w->n_queued > 0) {
		p = pop_locked(w);
		w->cfg.ops->file_put(w->cfg.owner, p.inode->file);
	}
}
