/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Coalesced appends (oriel_coalesce()): small writes at the end of a file are
 * copied into a buffer of the handle and sent as one FUSE_WRITE.
 *
 * Invariants, for one inode:
 *   - at most one handle holds gathered bytes: inode->appender. Another handle
 *     that writes has them sent first, so the order of writes is kept;
 *   - gathered bytes are one run that begins at the end as known here. Anything
 *     but the run's continuation has it sent first;
 *   - nothing is gathered while a pointer of oriel_map() is out (inode->n_maps):
 *     nobody is asked when a pointer is followed;
 *   - inode->size never includes them. So a read below it needs no look here,
 *     and a program that dies loses the tail of what it wrote, never a middle;
 *   - a message holds whole writes, at most max_write bytes;
 *   - a flush that fails is not tried again: after a time-out nobody knows
 *     whether the daemon did it, and twice would be worse than an error.
 *
 * THREADS: appender and the buffer change under inode->lock (exclusive). The
 * session's list of gathering handles has append_lock, which comes after
 * inode->lock and before table_lock; nothing is sent with it. The worker takes a
 * reference on the inode under append_lock, lets go, and then flushes as anybody
 * does: the handle cannot be freed before it is off the list.
 */
#include "client/append.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"

#define DEFAULT_MS 10u
#define MAX_MS 60000u
#define RETRY_MS 100u /* a lock that could not be had */

struct client_append {
	struct oriel_file *f;
	unsigned char *buf;
	size_t cap; /* 0: gathers no more */
	size_t len;
	uint64_t pos;    /* of buf[0] */
	uint64_t max_ns; /* longest that a byte waits */
	struct list node;    /* session->appends: append_lock */
	uint64_t since_ns;   /* the same */
};

/* ------------------------------------------------------------- flushing */

static void unlist(struct oriel_session *s, struct client_append *a)
{
	pthread_mutex_lock(&s->append_lock);
	list_del(&a->node);
	list_init(&a->node);
	pthread_mutex_unlock(&s->append_lock);
}

void client_append_flush(struct client_inode *ino)
{
	struct oriel_file *f = atomic_load_explicit(&ino->appender,
						    memory_order_relaxed);
	struct client_append *a;
	struct client_write w = { .n_iov = 1 };
	struct iovec iov;
	ssize_t n = 0;

	if (!f)
		return;
	a = f->append;
	iov = (struct iovec){ .iov_base = a->buf, .iov_len = a->len };
	w.iov = &iov;
	while (w.skip < a->len && n >= 0) {
		w.len = a->len - w.skip;
		w.pos = a->pos + w.skip;
		n = client_extend(f, &w);
		w.skip += n > 0 ? (size_t)n : 0;
	}
	if (n < 0)
		atomic_store(&f->append_err, (int)n);
	a->len = 0;
	unlist(ino->s, a);
	atomic_store_explicit(&ino->appender, NULL, memory_order_relaxed);
}

int client_append_settle_slow(struct client_inode *ino)
{
	int err = client_inode_lock(ino);

	if (err)
		return err;
	client_append_flush(ino);
	client_inode_unlock(ino);
	return 0;
}

/* The inode of one that has gathered since before @until_ns, referenced. The
 * caller holds append_lock. */
static struct client_inode *oldest(struct oriel_session *s, uint64_t until_ns)
{
	struct client_append *a;

	if (list_is_empty(&s->appends))
		return NULL;
	/* they are added at the tail, in the order of since_ns */
	a = list_entry(s->appends.next, struct client_append, node);
	if (a->since_ns > until_ns)
		return NULL;
	client_inode_ref(a->f->ino);
	return a->f->ino;
}

int client_append_settle_all(struct oriel_session *s)
{
	uint64_t now = clock_now_ns();
	struct client_inode *ino;
	int err = 0;

	while (!err) {
		pthread_mutex_lock(&s->append_lock);
		ino = oldest(s, now);
		pthread_mutex_unlock(&s->append_lock);
		if (!ino)
			break;
		err = client_append_settle_slow(ino);
		client_inode_put(ino);
	}
	return err;
}

/* ------------------------------------------------------------ the worker */

/* Under append_lock: which is due (referenced), else when to look again in
 * *@ret_ns; 0: when told. */
static struct client_inode *due(struct oriel_session *s, uint64_t *ret_ns)
{
	uint64_t now = clock_now_ns(), at;
	struct client_append *a;

	*ret_ns = 0;
	for (struct list *n = s->appends.next; n != &s->appends; n = n->next) {
		a = list_entry(n, struct client_append, node);
		at = a->since_ns + a->max_ns;
		if (at <= now) {
			client_inode_ref(a->f->ino);
			return a->f->ino;
		}
		if (!*ret_ns || at < *ret_ns)
			*ret_ns = at;
	}
	return NULL;
}

/* Under append_lock. */
static void wait_until(struct oriel_session *s, uint64_t ns)
{
	struct timespec ts = { .tv_sec = (time_t)(ns / NS_PER_S),
			       .tv_nsec = (long)(ns % NS_PER_S) };

	s->append_next_ns = ns ? ns : UINT64_MAX;
	if (ns)
		pthread_cond_timedwait(&s->append_wake, &s->append_lock, &ts);
	else
		pthread_cond_wait(&s->append_wake, &s->append_lock);
	s->append_next_ns = 0;
}

static void *append_main(void *arg)
{
	struct oriel_session *s = arg;
	struct client_inode *ino;
	uint64_t at;
	int err;

	pthread_mutex_lock(&s->append_lock);
	while (!s->append_stop) {
		ino = due(s, &at);
		if (!ino) {
			wait_until(s, at);
			continue;
		}
		pthread_mutex_unlock(&s->append_lock);
		err = client_append_settle_slow(ino);
		client_inode_put(ino);
		pthread_mutex_lock(&s->append_lock);
		if (err && !s->append_stop)
			wait_until(s, clock_now_ns() + RETRY_MS * NS_PER_MS);
	}
	pthread_mutex_unlock(&s->append_lock);
	return NULL;
}

static int worker_start(struct oriel_session *s)
{
	int err = 0;

	pthread_mutex_lock(&s->append_lock);
	if (!s->appending) {
		err = -pthread_create(&s->append_thread, NULL, append_main, s);
		s->appending = !err;
	}
	pthread_mutex_unlock(&s->append_lock);
	return err;
}

void client_appends_init(struct oriel_session *s)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&s->append_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->append_wake, &attr);
	pthread_condattr_destroy(&attr);
	list_init(&s->appends);
}

void client_appends_done(struct oriel_session *s)
{
	if (!s->appending)
		return;
	pthread_mutex_lock(&s->append_lock);
	s->append_stop = true;
	pthread_cond_signal(&s->append_wake);
	pthread_mutex_unlock(&s->append_lock);
	pthread_join(s->append_thread, NULL);
	s->appending = false;
}

/* ------------------------------------------------------------- gathering */

/* Does a write at @pos go on where the file, as written here, ends? */
static bool continues(struct oriel_file *f, uint64_t pos)
{
	struct oriel_file *by = atomic_load_explicit(&f->ino->appender,
						     memory_order_relaxed);
	uint64_t end = by ? by->append->pos + by->append->len :
			    atomic_load(&f->ino->size);

	return (f->flags & O_APPEND) || pos == end;
}

/* False: somebody is mapping the file. Either do_map() sees the appender, and
 * waits for the lock to send, or its count is seen here. */
static bool begin(struct oriel_file *f)
{
	struct client_append *a = f->append;
	struct oriel_session *s = f->s;

	atomic_store(&f->ino->appender, f);
	if (atomic_load(&f->ino->n_maps)) {
		atomic_store(&f->ino->appender, NULL);
		return false;
	}
	a->pos = atomic_load(&f->ino->size);
	pthread_mutex_lock(&s->append_lock);
	a->since_ns = clock_now_ns();
	list_add_tail(&s->appends, &a->node);
	/* a stream of buffers wakes it once a deadline, not once a buffer */
	if (a->since_ns + a->max_ns < s->append_next_ns)
		pthread_cond_signal(&s->append_wake);
	pthread_mutex_unlock(&s->append_lock);
	return true;
}

ssize_t client_append_take_slow(struct oriel_file *f, const struct iovec *iov,
				unsigned n_iov, size_t len, uint64_t pos)
{
	struct client_append *a = f->append;
	struct oriel_file *by = atomic_load_explicit(&f->ino->appender,
						     memory_order_relaxed);
	bool fits = a && len <= a->cap && !atomic_load(&f->ino->n_maps);
	int err;

	if (by && (by != f || !fits || len > a->cap - a->len ||
		   !continues(f, pos)))
		client_append_flush(f->ino);
	err = client_append_error(f);
	if (err)
		return err;
	if (!fits || !continues(f, pos))
		return 0;
	if (!atomic_load_explicit(&f->ino->appender, memory_order_relaxed) &&
	    !begin(f))
		return 0;
	for (unsigned i = 0; i < n_iov; i++) {
		if (!iov[i].iov_len)
			continue;
		memcpy(a->buf + a->len, iov[i].iov_base, iov[i].iov_len);
		a->len += iov[i].iov_len;
	}
	return (ssize_t)len;
}

void client_append_close(struct oriel_file *f)
{
	if (!f->append)
		return;
	/* whoever holds it waits for an answer, and no longer than allowed */
	while (client_inode_lock(f->ino))
		;
	if (atomic_load(&f->ino->appender) == f)
		client_append_flush(f->ino);
	client_inode_unlock(f->ino);
	free(f->append->buf);
	free(f->append);
	f->append = NULL;
}

/* --------------------------------------------------------------- the call */

/* inode->lock is held for writing, and nothing is gathered. */
static int set_buffer(struct oriel_file *f, size_t bytes, uint32_t max_ms)
{
	struct client_append *a = f->append;
	unsigned char *buf = malloc(bytes);

	if (!buf)
		return -ENOMEM;
	if (!a) {
		a = calloc(1, sizeof(*a));
		if (!a) {
			free(buf);
			return -ENOMEM;
		}
		a->f = f;
		list_init(&a->node);
		f->append = a;
	}
	free(a->buf);
	a->buf = buf;
	a->cap = bytes;
	a->max_ns = (max_ms ? max_ms : DEFAULT_MS) * NS_PER_MS;
	return 0;
}

static int coalesce(struct oriel_file *f, size_t bytes, uint32_t max_ms)
{
	int err;

	if ((f->flags & O_ACCMODE) == O_RDONLY || !S_ISREG(f->ino->type))
		return -EBADF;
	if ((f->flags & (O_SYNC | O_DSYNC)) || max_ms > MAX_MS)
		return -EINVAL;
	if (f->s->opts.no_background)
		return -EOPNOTSUPP;
	err = bytes ? worker_start(f->s) : 0;
	if (!err)
		err = client_inode_lock(f->ino);
	if (err)
		return err;
	client_append_flush(f->ino);
	if (bytes)
		err = set_buffer(f, (size_t)min_u64(bytes, f->s->max_write),
				 max_ms);
	else if (f->append)
		f->append->cap = 0;
	client_inode_unlock(f->ino);
	return err;
}

int oriel_coalesce(struct oriel_file *f, size_t bytes, uint32_t max_ms)
{
	int err = coalesce(f, bytes, max_ms);

	return err ? client_fail(err, "coalesce appends to %s, %zu bytes, %u ms",
				 f->path, bytes, max_ms) :
		     0;
}
