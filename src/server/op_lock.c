/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Locks that really lock: between clients, and between clients and programs of
 * this machine.
 *
 * flock(2) locks belong to an open file: ours is the handle's, so theirs is the
 * kernel's business. POSIX locks belong to an owner, whom the client names by a
 * number (the table of files of one of its processes). Each (inode, owner) gets
 * an open file of its own here, with "open file description" locks, which are
 * gone when it is closed: that is what FLUSH, sent at each close of the client,
 * does, as POSIX wants it.
 *
 * WAITING. A lock is first tried. If somebody has it, a thread of its own waits
 * for it, so that no queue stands still, and answers the request when it has it
 * (struct server_later_ops). A wait ends early when the client interrupts the
 * request, or when the session is reset or goes: the thread is sent SIGURG,
 * again and again, since one that comes before the system call is lost.
 * The number of waits is bounded: all of the process, of which each share has
 * a part, and of that no session has more than three quarters. Deadlocks are not
 * detected.
 *
 * Lock: s->lock_lock, over the owners and the waits; above session->lock in the
 * order, and nothing that can wait is called with it. A wait is on the list
 * from before its request could be interrupted until its thread does nothing
 * with the session any more.
 */
#include "server/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define WAITS_MAX 1024u /* of a process: each is a thread */
#define WAITS_MAX_SHARE 256u
#define WAITS_MIN_SHARE 16u
#define NS_PER_10_MS 10000000L

/* Who owns POSIX locks on an inode. Counted: the list, and who uses fd. */
struct lock_owner {
	struct list link;
	unsigned refs;              /* lock_lock */
	struct server_session *s;
	struct server_inode *inode; /* counted */
	uint64_t owner;
	uint64_t fh;  /* the handle last used; lock_lock */
	uint32_t pid; /* the client's process; lock_lock */
	int fd;
};

struct lock_wait {
	struct list link;
	struct server_session *s;
	uint64_t unique;
	void *token;
	bool cancelled;       /* lock_lock */
	pthread_t thread;
	bool has_thread;      /* lock_lock; thread is valid */
	struct lock_owner *owner; /* one of the two */
	struct server_handle *handle;
	struct flock fl;
	int flock_op;
};

/* ----------------------------------------------------------------- owners */

static void owner_put_locked(struct lock_owner *o, struct list *dead)
{
	if (--o->refs == 0)
		list_add_tail(dead, &o->link);
}

/* Outside of the lock: closing can take its time. */
static void bury(struct list *dead)
{
	struct list *n;

	while ((n = list_pop_head(dead))) {
		struct lock_owner *o = list_entry(n, struct lock_owner, link);

		server_fd_drop(o->s->share, o->fd);
		server_inode_unref(o->s->share, o->inode);
		atomic_fetch_sub_explicit(&o->s->n_owners, 1,
					  memory_order_relaxed);
		free(o);
	}
}

static void owner_put(struct server_session *s, struct lock_owner *o)
{
	struct list dead;

	list_init(&dead);
	pthread_mutex_lock(&s->lock_lock);
	owner_put_locked(o, &dead);
	pthread_mutex_unlock(&s->lock_lock);
	bury(&dead);
}

static struct lock_owner *owner_find_locked(struct server_session *s,
					    const struct server_inode *ino,
					    uint64_t owner)
{
	struct list *pos;

	list_for_each(pos, &s->lock_owners) {
		struct lock_owner *o = list_entry(pos, struct lock_owner, link);

		if (o->inode == ino && o->owner == owner)
			return o;
	}
	return NULL;
}

/* With as much access as there is: write locks need writing. */
static int open_for_locks(struct server_share *sh, struct server_inode *ino)
{
	int fd = server_inode_open(sh, ino, O_RDWR);

	if (fd == -EACCES || fd == -EROFS || fd == -EPERM || fd == -ETXTBSY)
		fd = server_inode_open(sh, ino, O_RDONLY);
	return fd;
}

/* Of the session's part of the descriptors. */
static int owner_reserve(struct server_session *s)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = server_quota_locked(s);
	if (!r)
		atomic_fetch_add_explicit(&s->n_owners, 1,
					  memory_order_relaxed);
	pthread_mutex_unlock(&s->lock);
	return r;
}

static int owner_new(struct server_session *s, struct server_inode *ino,
		     uint64_t owner, struct lock_owner **ret)
{
	struct lock_owner *o;
	int r = owner_reserve(s);

	if (r)
		return -ENOLCK;
	o = calloc(1, sizeof(*o));
	r = o ? open_for_locks(s->share, ino) : -ENOMEM;
	if (r < 0) {
		atomic_fetch_sub_explicit(&s->n_owners, 1,
					  memory_order_relaxed);
		free(o);
		return r == -EMFILE ? -ENOLCK : r;
	}
	server_inode_ref(ino);
	o->fd = r;
	o->s = s;
	o->inode = ino;
	o->owner = owner;
	o->refs = 1; /* the list's */
	*ret = o;
	return 0;
}

/* Counted for the caller; made if it is not there. */
static int owner_get(struct server_session *s, struct server_inode *ino,
		     uint64_t owner, struct lock_owner **ret)
{
	struct lock_owner *o, *made;
	struct list dead;
	int r;

	pthread_mutex_lock(&s->lock_lock);
	o = owner_find_locked(s, ino, owner);
	if (o)
		o->refs++;
	pthread_mutex_unlock(&s->lock_lock);
	if (o) {
		*ret = o;
		return 0;
	}
	r = owner_new(s, ino, owner, &made);
	if (r)
		return r;
	list_init(&dead);
	pthread_mutex_lock(&s->lock_lock);
	o = owner_find_locked(s, ino, owner);
	if (o) {
		owner_put_locked(made, &dead);
	} else {
		o = made;
		list_add_tail(&s->lock_owners, &o->link);
	}
	o->refs++;
	pthread_mutex_unlock(&s->lock_lock);
	bury(&dead);
	*ret = o;
	return 0;
}

/*
 * The handle has gone, and with it those who locked by it and never flush: the
 * kernel does not say when an "open file description" owner of its own goes.
 */
void server_locks_drop_handle(struct server_session *s, uint64_t fh)
{
	struct list dead;
	struct list *pos;
	struct list *tmp;

	list_init(&dead);
	pthread_mutex_lock(&s->lock_lock);
	list_for_each_safe(pos, tmp, &s->lock_owners) {
		struct lock_owner *o = list_entry(pos, struct lock_owner, link);

		if (o->fh != fh)
			continue;
		list_del(&o->link);
		owner_put_locked(o, &dead);
	}
	pthread_mutex_unlock(&s->lock_lock);
	bury(&dead);
}

void server_locks_drop_owner(struct server_session *s,
			     const struct server_inode *ino, uint64_t owner)
{
	struct lock_owner *o;
	struct list dead;

	list_init(&dead);
	pthread_mutex_lock(&s->lock_lock);
	o = owner_find_locked(s, ino, owner);
	if (o) {
		list_del(&o->link);
		owner_put_locked(o, &dead);
	}
	pthread_mutex_unlock(&s->lock_lock);
	bury(&dead);
}

/* ---------------------------------------------------------------- waiting */

static void on_signal(int sig)
{
	/* only to interrupt */
}

static void take_signal(void)
{
	struct sigaction sa = { .sa_flags = 0 };

	sa.sa_handler = on_signal;
	sigemptyset(&sa.sa_mask);
	sigaction(SIGURG, &sa, NULL);
}

static int try_lock(struct lock_wait *w, bool wait)
{
	int r;

	if (w->owner)
		r = fcntl(w->owner->fd, wait ? F_OFD_SETLKW : F_OFD_SETLK,
			  &w->fl);
	else
		r = flock(w->handle->fd, w->flock_op | (wait ? 0 : LOCK_NB));
	if (!r)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static bool is_cancelled(struct lock_wait *w)
{
	bool r;

	pthread_mutex_lock(&w->s->lock_lock);
	r = w->cancelled;
	pthread_mutex_unlock(&w->s->lock_lock);
	return r;
}

static void answer(struct lock_wait *w, int err)
{
	const struct fuse_out_header h = {
		.len = sizeof(h), .error = err, .unique = w->unique,
	};

	w->s->cfg.later_ops->answer(w->s->cfg.later_ctx, w->token, &h,
				    sizeof(h));
}

/* Give back what @w holds, take it off the list; the session may go then. */
static void wait_end(struct lock_wait *w)
{
	struct server_session *s = w->s;

	if (w->owner)
		owner_put(s, w->owner);
	if (w->handle)
		server_handle_put(w->handle);
	atomic_fetch_sub_explicit(&s->share->n.waits, 1, memory_order_relaxed);
	pthread_mutex_lock(&s->lock_lock);
	list_del(&w->link);
	s->n_waits--;
	pthread_cond_broadcast(&s->wait_ended);
	pthread_mutex_unlock(&s->lock_lock);
	free(w);
}

static void *wait_main(void *arg)
{
	struct lock_wait *w = arg;
	int r;

	do {
		r = is_cancelled(w) ? -EINTR : try_lock(w, true);
	} while (r == -EINTR && !is_cancelled(w));
	answer(w, r);
	wait_end(w);
	return NULL;
}

static void lock_wait_kill_locked(struct lock_wait *w)
{
	w->cancelled = true;
	if (w->has_thread)
		pthread_kill(w->thread, SIGURG);
}

/* A little time for waits to end in; lock_lock is held. */
static void pause_locked(struct server_session *s)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += NS_PER_10_MS;
	if (t.tv_nsec >= 1000000000L) {
		t.tv_nsec -= 1000000000L;
		t.tv_sec++;
	}
	pthread_cond_timedwait(&s->wait_ended, &s->lock_lock, &t);
}

void server_session_cancel(struct server_session *s, bool begin)
{
	struct list *pos;

	server_subs_cancel(s, begin);
	pthread_mutex_lock(&s->lock_lock);
	s->no_waits += begin ? 1 : -1;
	while (begin && !list_is_empty(&s->waits)) {
		list_for_each(pos, &s->waits)
			lock_wait_kill_locked(
				list_entry(pos, struct lock_wait, link));
		pause_locked(s);
	}
	pthread_mutex_unlock(&s->lock_lock);
}

static struct lock_wait *wait_find_locked(struct server_session *s,
					  uint64_t unique)
{
	struct list *pos;

	list_for_each(pos, &s->waits) {
		struct lock_wait *w = list_entry(pos, struct lock_wait, link);

		if (w->unique == unique)
			return w;
	}
	return NULL;
}

/* Interrupts of requests that do not wait are forgotten, but for the last few:
 * one can overtake the request it is about. */
static void remember_locked(struct server_session *s, uint64_t unique)
{
	s->early[s->early_next++ % ARRAY_LEN(s->early)] = unique;
}

static bool came_early_locked(const struct server_session *s, uint64_t unique)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(s->early); i++) {
		if (s->early[i] == unique)
			return true;
	}
	return false;
}

ssize_t server_op_interrupt(struct server_req *req)
{
	struct server_session *s = req->s;
	struct fuse_interrupt_in in;
	struct lock_wait *w;

	memcpy(&in, req->t->arg, sizeof(in));
	pthread_mutex_lock(&s->lock_lock);
	if (!wait_find_locked(s, in.unique))
		remember_locked(s, in.unique);
	while ((w = wait_find_locked(s, in.unique))) {
		lock_wait_kill_locked(w);
		pause_locked(s);
	}
	pthread_mutex_unlock(&s->lock_lock);
	return 0;
}

static unsigned waits_max(const struct server_share *sh)
{
	return (unsigned)max_u64(min_u64(WAITS_MAX / sh->cfg.n_shares,
					 WAITS_MAX_SHARE), WAITS_MIN_SHARE);
}

/* On the list, or why not. */
static int wait_enter(struct lock_wait *w)
{
	struct server_session *s = w->s;
	const unsigned max = waits_max(s->share);
	int r = 0;

	if (atomic_fetch_add_explicit(&s->share->n.waits, 1,
				      memory_order_relaxed) >= max)
		r = -ENOLCK;
	pthread_mutex_lock(&s->lock_lock);
	if (!r && s->n_waits >= max - max / 4)
		r = -ENOLCK;
	if (!r && (s->no_waits || came_early_locked(s, w->unique)))
		r = -EINTR;
	if (!r) {
		list_add_tail(&s->waits, &w->link);
		s->n_waits++;
	}
	pthread_mutex_unlock(&s->lock_lock);
	if (r)
		atomic_fetch_sub_explicit(&s->share->n.waits, 1,
					  memory_order_relaxed);
	return r;
}

/* Have a thread wait; from then on it is @w's. */
static int wait_start(struct lock_wait *w)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct server_session *s = w->s;
	pthread_t t;
	int r;

	pthread_once(&once, take_signal);
	pthread_mutex_lock(&s->lock_lock);
	r = -pthread_create(&t, NULL, wait_main, w);
	if (!r) {
		/* It cannot have left: it needs the lock for that. */
		pthread_detach(t);
		w->thread = t;
		w->has_thread = true;
	}
	pthread_mutex_unlock(&s->lock_lock);
	return r;
}

/* @w is the caller's, with what it holds; used up. */
static ssize_t wait_for(struct server_req *req, struct lock_wait *w)
{
	const struct server_later_ops *ops = req->s->cfg.later_ops;
	int r = wait_enter(w);

	if (r)
		goto err;
	w->token = ops->keep(req->s->cfg.later_ctx, req->queue);
	r = w->token ? wait_start(w) : -ENOMEM;
	if (!r)
		return SERVER_LATER;
	if (w->token)
		answer(w, -ENOLCK);
	r = w->token ? SERVER_LATER : -ENOLCK;
	wait_end(w);
	return r;

err:
	if (w->owner)
		owner_put(req->s, w->owner);
	if (w->handle)
		server_handle_put(w->handle);
	free(w);
	return r;
}

/* ------------------------------------------------------------- operations */

static int to_flock(const struct fuse_file_lock *lk, struct flock *ret)
{
	uint64_t last = min_u64(lk->end, INT64_MAX);

	if (lk->start > INT64_MAX || lk->end < lk->start)
		return -EINVAL;
	if (lk->type != F_RDLCK && lk->type != F_WRLCK && lk->type != F_UNLCK)
		return -EINVAL;
	memset(ret, 0, sizeof(*ret));
	ret->l_type = (short)lk->type;
	ret->l_whence = SEEK_SET;
	ret->l_start = (off_t)lk->start;
	/* 0: to the end, wherever it comes to be */
	ret->l_len = last == INT64_MAX ? 0 : (off_t)(last - lk->start + 1);
	return 0;
}

static int to_flock_op(uint32_t type)
{
	switch (type) {
	case F_RDLCK:
		return LOCK_SH;
	case F_WRLCK:
		return LOCK_EX;
	case F_UNLCK:
		return LOCK_UN;
	default:
		return -EINVAL;
	}
}

/* Who was not promised locks has them for itself. */
static bool is_agreed(const struct server_session *s, uint32_t lk_flags)
{
	return atomic_load_explicit(&s->flags, memory_order_relaxed) &
	       (lk_flags & FUSE_LK_FLOCK ? FUSE_FLOCK_LOCKS : FUSE_POSIX_LOCKS);
}

/* What SETLK wants, ready to be tried. Holds the owner or the handle. */
static int want_lock(struct server_req *req, const struct fuse_lk_in *in,
		     struct lock_wait *w)
{
	struct server_handle *h = server_handle_get(req->s, in->fh, false);
	int r;

	if (!h)
		return -EBADF;
	memset(w, 0, sizeof(*w));
	w->s = req->s;
	w->unique = req->hdr.unique;
	if (in->lk_flags & FUSE_LK_FLOCK) {
		r = w->flock_op = to_flock_op(in->lk.type);
		if (r >= 0) {
			w->handle = h;
			return 0;
		}
	} else {
		r = to_flock(&in->lk, &w->fl);
		if (!r)
			r = owner_get(req->s, h->inode, in->owner, &w->owner);
	}
	server_handle_put(h);
	return r;
}

static void want_no_more(struct lock_wait *w)
{
	if (w->owner)
		owner_put(w->s, w->owner);
	if (w->handle)
		server_handle_put(w->handle);
}

/* Whose the locks are, for GETLK, and when they go. */
static void note_user(struct server_session *s, struct lock_owner *o,
		      const struct fuse_lk_in *in)
{
	if (!o)
		return;
	pthread_mutex_lock(&s->lock_lock);
	o->fh = in->fh;
	if (in->lk.pid)
		o->pid = in->lk.pid;
	pthread_mutex_unlock(&s->lock_lock);
}

static ssize_t set_lock(struct server_req *req, bool wait)
{
	struct lock_wait want, *w;
	struct fuse_lk_in in;
	int r;

	memcpy(&in, req->t->arg, sizeof(in));
	if (!is_agreed(req->s, in.lk_flags))
		return -ENOSYS;
	if (in.lk_flags & ~(uint32_t)FUSE_LK_FLOCK)
		return -EINVAL;
	r = want_lock(req, &in, &want);
	if (r)
		return r;
	note_user(req->s, want.owner, &in);
	r = try_lock(&want, false);
	if (r != -EAGAIN || !wait) {
		want_no_more(&want);
		return r;
	}
	w = malloc(sizeof(*w));
	if (!w) {
		want_no_more(&want);
		return -ENOLCK;
	}
	*w = want;
	return wait_for(req, w);
}

ssize_t server_op_setlk(struct server_req *req)
{
	return set_lock(req, false);
}

ssize_t server_op_setlkw(struct server_req *req)
{
	return set_lock(req, req->s->cfg.later_ops != NULL);
}

/*
 * Which of this client's processes has the lock @fl describes? The one who sees
 * nobody else's there. 0: none of them, or several.
 */
static uint32_t holder(struct server_session *s, const struct lock_owner *who,
		       const struct flock *fl)
{
	uint32_t pid = 0;
	struct list *pos;

	pthread_mutex_lock(&s->lock_lock);
	list_for_each(pos, &s->lock_owners) {
		struct lock_owner *o = list_entry(pos, struct lock_owner, link);
		struct flock probe = *fl;

		probe.l_type = F_WRLCK;
		probe.l_pid = 0;
		if (o == who || o->inode != who->inode)
			continue;
		if (!fcntl(o->fd, F_OFD_GETLK, &probe) &&
		    probe.l_type == F_UNLCK)
			pid = o->pid;
	}
	pthread_mutex_unlock(&s->lock_lock);
	return pid;
}

ssize_t server_op_getlk(struct server_req *req)
{
	struct fuse_lk_out out = { .lk = { .type = F_UNLCK } };
	struct lock_wait w;
	struct fuse_lk_in in;
	int r;

	memcpy(&in, req->t->arg, sizeof(in));
	if (!is_agreed(req->s, 0))
		return -ENOSYS;
	if (in.lk_flags || in.lk.type == F_UNLCK)
		return -EINVAL;
	r = want_lock(req, &in, &w);
	if (r)
		return r;
	note_user(req->s, w.owner, &in);
	if (fcntl(w.owner->fd, F_OFD_GETLK, &w.fl))
		r = -errno;
	else if (w.fl.l_type != F_UNLCK)
		out.lk.pid = holder(req->s, w.owner, &w.fl);
	want_no_more(&w);
	if (r)
		return r;
	if (w.fl.l_type != F_UNLCK) {
		out.lk.start = (uint64_t)w.fl.l_start;
		out.lk.end = w.fl.l_len ?
			(uint64_t)(w.fl.l_start + w.fl.l_len - 1) : INT64_MAX;
		out.lk.type = (uint32_t)w.fl.l_type;
	}
	memcpy(req->t->reply, &out, sizeof(out));
	return sizeof(out);
}

/* ---------------------------------------------------------------- session */

void server_locks_init(struct server_session *s)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&s->lock_lock, NULL);
	/* who set the clock back would have us pause for that long */
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->wait_ended, &attr);
	pthread_condattr_destroy(&attr);
	list_init(&s->lock_owners);
	list_init(&s->waits);
}

void server_locks_clear(struct server_session *s)
{
	struct list dead;
	struct list *n;

	server_session_cancel(s, true);
	list_init(&dead);
	pthread_mutex_lock(&s->lock_lock);
	/* the next client counts its requests from the start */
	memset(s->early, 0, sizeof(s->early));
	while ((n = list_pop_head(&s->lock_owners)))
		owner_put_locked(list_entry(n, struct lock_owner, link), &dead);
	pthread_mutex_unlock(&s->lock_lock);
	bury(&dead);
	server_session_cancel(s, false);
}

void server_locks_done(struct server_session *s)
{
	pthread_cond_destroy(&s->wait_ended);
	pthread_mutex_destroy(&s->lock_lock);
}
