/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Watches of a client that is liboriel: what watch.c notices, put into a queue
 * of the session, and fetched from there. One request of the session may wait
 * for events (WAIT); it is kept, like a wait for a lock, and answered by the
 * watch's thread. The queue is bounded: when it is full, all that is in it goes
 * and one event says so.
 *
 * A watch counts its inode, so the mark stays, also when the client forgets the
 * node. Watches of a session are bounded; they go with it, or with INIT.
 *
 * Lock: s->subs_lock over all of it; below the watch's listeners_lock. Answers
 * are given with it held, so that no token outlives its session.
 */
#include "server/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>

#define SUBS_MAX 8192u   /* of one session */
#define EVENTS_MAX 8192u /* of one session */

struct sub {
	struct list link;
	uint64_t id;
	uint32_t mask;
	struct server_inode *ino; /* counted */
};

struct queued {
	struct list link;
	struct fuse_wire_event e;
	char name[]; /* e.namelen bytes */
};

void server_subs_init(struct server_session *s)
{
	pthread_mutex_init(&s->subs_lock, NULL);
	list_init(&s->subs);
	list_init(&s->events);
}

void server_subs_done(struct server_session *s)
{
	pthread_mutex_destroy(&s->subs_lock);
}

/* --------------------------------------------------------------- waiting */

static void wake_locked(struct server_session *s, int err)
{
	struct {
		struct fuse_out_header h;
		struct fuse_ioctl_out out;
	} a = { .h = { .unique = s->event_unique, .error = err } };
	void *token = s->event_wait;

	if (!token)
		return;
	a.h.len = err ? sizeof(a.h) : sizeof(a);
	s->event_wait = NULL;
	s->cfg.later_ops->answer(s->cfg.later_ctx, token, &a, a.h.len);
}

void server_subs_cancel(struct server_session *s, bool begin)
{
	pthread_mutex_lock(&s->subs_lock);
	s->no_event_waits += begin ? 1 : -1;
	if (begin)
		wake_locked(s, -EINTR);
	pthread_mutex_unlock(&s->subs_lock);
}

static ssize_t op_wait(struct server_req *req)
{
	struct server_session *s = req->s;
	const struct server_later_ops *ops = s->cfg.later_ops;
	ssize_t r = SERVER_LATER;

	pthread_mutex_lock(&s->subs_lock);
	if (s->n_events || s->events_lost) {
		memset(req->t->reply, 0, sizeof(struct fuse_ioctl_out));
		r = sizeof(struct fuse_ioctl_out);
	} else if (s->no_event_waits || s->events_closed) {
		r = -EINTR;
	} else if (s->event_wait) {
		r = -EBUSY;
	} else {
		s->event_unique = req->hdr.unique;
		s->event_wait = ops->keep(s->cfg.later_ctx, req->queue);
		if (!s->event_wait)
			r = -ENOMEM;
	}
	pthread_mutex_unlock(&s->subs_lock);
	return r;
}

/* It may overtake the WAIT that it is to end: so none begins after it. */
static ssize_t op_cancel(struct server_req *req)
{
	struct server_session *s = req->s;

	pthread_mutex_lock(&s->subs_lock);
	s->events_closed = true;
	wake_locked(s, -EINTR);
	pthread_mutex_unlock(&s->subs_lock);
	memset(req->t->reply, 0, sizeof(struct fuse_ioctl_out));
	return sizeof(struct fuse_ioctl_out);
}

/* ---------------------------------------------------------------- events */

static void drop_events_locked(struct server_session *s)
{
	struct list *n;

	while ((n = list_pop_head(&s->events)))
		free(list_entry(n, struct queued, link));
	s->n_events = 0;
}

static void lose_locked(struct server_session *s)
{
	drop_events_locked(s);
	s->events_lost = true;
}

/* Is it what the last one said? Writes come in crowds. */
static bool is_last_locked(const struct server_session *s,
			   const struct fuse_wire_event *e, const char *name)
{
	const struct queued *q;

	if (list_is_empty(&s->events))
		return false;
	q = list_entry(s->events.prev, struct queued, link);
	return !memcmp(&q->e, e, sizeof(*e)) &&
	       !memcmp(q->name, name, e->namelen);
}

static void put_locked(struct server_session *s,
		       const struct fuse_wire_event *e, const char *name)
{
	struct queued *q;

	if (s->events_lost || is_last_locked(s, e, name))
		return;
	q = s->n_events < EVENTS_MAX ? malloc(sizeof(*q) + e->namelen) : NULL;
	if (!q) {
		lose_locked(s);
		return;
	}
	q->e = *e;
	memcpy(q->name, name, e->namelen);
	list_add_tail(&s->events, &q->link);
	s->n_events++;
}

static uint32_t wire_mask(uint64_t mask)
{
	static const struct {
		uint64_t fan;
		uint32_t wire;
	} bits[] = {
		{ FAN_CREATE, FUSE_WIRE_WATCH_CREATE },
		{ FAN_DELETE, FUSE_WIRE_WATCH_DELETE },
		{ FAN_MODIFY, FUSE_WIRE_WATCH_MODIFY },
		{ FAN_ATTRIB, FUSE_WIRE_WATCH_ATTRIB },
		{ FAN_MOVED_FROM, FUSE_WIRE_WATCH_MOVED_FROM },
		{ FAN_MOVED_TO, FUSE_WIRE_WATCH_MOVED_TO },
		{ FAN_DELETE_SELF, FUSE_WIRE_WATCH_GONE },
	};
	uint32_t r = 0;
	size_t i;

	for (i = 0; i < ARRAY_LEN(bits); i++) {
		if (mask & bits[i].fan)
			r |= bits[i].wire;
	}
	return r;
}

static bool has(struct server_inode *const *inos, unsigned n,
		const struct server_inode *ino)
{
	while (n) {
		if (inos[--n] == ino)
			return true;
	}
	return false;
}

#define OF_ITSELF                                                             \
	(FUSE_WIRE_WATCH_MODIFY | FUSE_WIRE_WATCH_ATTRIB | FUSE_WIRE_WATCH_GONE)

static void deliver_locked(struct server_session *s, const struct sub *sub,
			   const struct watch_event *e)
{
	struct fuse_wire_event w = { .id = sub->id, .cookie = e->cookie };
	const char *name = e->name;
	bool is_inside = has(e->dirs, e->n_dirs, sub->ino);

	w.mask = wire_mask(e->mask) & sub->mask;
	if (!is_inside || !strcmp(name, ".")) {
		if (!is_inside && !has(e->files, e->n_files, sub->ino))
			return;
		w.mask &= OF_ITSELF;
		name = "";
	}
	if (!w.mask)
		return;
	w.namelen = (uint32_t)strlen(name);
	if (e->mask & FAN_ONDIR)
		w.mask |= FUSE_WIRE_WATCH_ISDIR;
	put_locked(s, &w, name);
}

void watch_deliver(struct server_session *s, const struct watch_event *e)
{
	struct list *pos;

	pthread_mutex_lock(&s->subs_lock);
	if (!e)
		lose_locked(s);
	list_for_each(pos, &s->subs) {
		if (e)
			deliver_locked(s, list_entry(pos, struct sub, link), e);
	}
	if (s->n_events || s->events_lost)
		wake_locked(s, 0);
	pthread_mutex_unlock(&s->subs_lock);
}

/* The head of the queue into @buf, if it fits: its size, else 0. */
static size_t take_one_locked(struct server_session *s, unsigned char *buf,
			      size_t room)
{
	struct queued *q;
	size_t len;

	if (list_is_empty(&s->events))
		return 0;
	q = list_entry(s->events.next, struct queued, link);
	len = align_up(sizeof(q->e) + q->e.namelen, 8);
	if (len > room)
		return 0;
	memset(buf, 0, len);
	memcpy(buf, &q->e, sizeof(q->e));
	memcpy(buf + sizeof(q->e), q->name, q->e.namelen);
	list_del(&q->link);
	s->n_events--;
	free(q);
	return len;
}

static ssize_t op_take(struct server_req *req, uint32_t out_size)
{
	const struct fuse_wire_event lost = { .mask = FUSE_WIRE_WATCH_OVERFLOW };
	const size_t head = sizeof(struct fuse_ioctl_out);
	struct server_session *s = req->s;
	unsigned char *out = req->t->reply;
	size_t room = req->in_len - sizeof(struct fuse_out_header) - head;
	size_t at = head;
	size_t len;

	room = head + min_u64(min_u64(room, out_size), SERVER_REPLY_MAX - head);
	memset(out, 0, head);
	pthread_mutex_lock(&s->subs_lock);
	if (s->events_lost && range_fits(at, sizeof(lost), room)) {
		memcpy(out + at, &lost, sizeof(lost));
		at += sizeof(lost);
		s->events_lost = false;
	}
	while ((len = take_one_locked(s, out + at, room - at)))
		at += len;
	pthread_mutex_unlock(&s->subs_lock);
	return (ssize_t)at;
}

/* --------------------------------------------------------------- watches */

static struct sub *find_locked(struct server_session *s, uint64_t id)
{
	struct list *pos;

	list_for_each(pos, &s->subs) {
		struct sub *sub = list_entry(pos, struct sub, link);

		if (sub->id == id)
			return sub;
	}
	return NULL;
}

static void sub_free(struct server_session *s, struct sub *sub)
{
	server_inode_unref(s->share, sub->ino);
	free(sub);
}

static int enter_locked(struct server_session *s, struct sub *sub)
{
	if (s->n_subs >= SUBS_MAX)
		return -ENOSPC;
	if (!sub->id || find_locked(s, sub->id))
		return -EEXIST;
	list_add_tail(&s->subs, &sub->link);
	s->n_subs++;
	return 0;
}

static void listen(struct server_session *s, struct server_watch *w)
{
	pthread_mutex_lock(&w->listeners_lock);
	if (!s->listening)
		list_add_tail(&w->listeners, &s->listener);
	s->listening = true;
	pthread_mutex_unlock(&w->listeners_lock);
}

static int op_del(struct server_session *s, uint64_t id)
{
	struct sub *sub;

	pthread_mutex_lock(&s->subs_lock);
	sub = find_locked(s, id);
	if (sub) {
		list_del(&sub->link);
		s->n_subs--;
	}
	pthread_mutex_unlock(&s->subs_lock);
	if (!sub)
		return -ENOENT;
	sub_free(s, sub);
	return 0;
}

static int op_add(struct server_req *req, const struct fuse_wire_watch *in)
{
	struct server_watch *w = server_watch_get(req->share, true);
	struct server_session *s = req->s;
	struct sub *sub;
	int r;

	if (!w || !(S_ISDIR(req->inode->type) || S_ISREG(req->inode->type)))
		return -EOPNOTSUPP;
	sub = calloc(1, sizeof(*sub));
	if (!sub)
		return -ENOMEM;
	sub->id = in->id;
	sub->mask = in->mask;
	sub->ino = req->inode;
	server_inode_ref(sub->ino);
	listen(s, w);
	pthread_mutex_lock(&s->subs_lock);
	r = enter_locked(s, sub);
	pthread_mutex_unlock(&s->subs_lock);
	if (r) {
		sub_free(s, sub);
		return r;
	}
	if (watch_mark(w, req->inode))
		return 0;
	(void)op_del(s, in->id);
	return -ENOSPC;
}

void server_subs_clear(struct server_session *s)
{
	struct server_watch *w = server_watch_get(s->share, false);
	struct list dead;
	struct list *n;

	if (w) {
		pthread_mutex_lock(&w->listeners_lock);
		if (s->listening)
			list_del(&s->listener);
		s->listening = false;
		pthread_mutex_unlock(&w->listeners_lock);
	}
	list_init(&dead);
	pthread_mutex_lock(&s->subs_lock);
	wake_locked(s, -EINTR);
	drop_events_locked(s);
	s->events_lost = false;
	s->events_closed = false;
	while ((n = list_pop_head(&s->subs)))
		list_add_tail(&dead, n);
	s->n_subs = 0;
	pthread_mutex_unlock(&s->subs_lock);
	while ((n = list_pop_head(&dead)))
		sub_free(s, list_entry(n, struct sub, link));
}

/* ----------------------------------------------------------------- ioctl */

static ssize_t with_argument(struct server_req *req,
			     const struct fuse_ioctl_in *in)
{
	struct fuse_wire_watch arg;
	int r;

	if (in->in_size != sizeof(arg) ||
	    req->arg_len < sizeof(*in) + sizeof(arg))
		return -EINVAL;
	memcpy(&arg, req->t->arg + sizeof(*in), sizeof(arg));
	r = in->cmd == FUSE_WIRE_IOC_WATCH_ADD ? op_add(req, &arg) :
						 op_del(req->s, arg.id);
	if (r)
		return r;
	memset(req->t->reply, 0, sizeof(struct fuse_ioctl_out));
	return sizeof(struct fuse_ioctl_out);
}

ssize_t server_op_ioctl(struct server_req *req)
{
	struct fuse_ioctl_in in;

	if (!atomic_load_explicit(&req->s->is_oriel, memory_order_relaxed))
		return -ENOSYS;
	memcpy(&in, req->t->arg, sizeof(in));
	if (in.cmd == FUSE_WIRE_IOC_WALK)
		return server_op_walk(req, &in);
	if (!req->s->cfg.later_ops)
		return -ENOSYS;
	switch (in.cmd) {
	case FUSE_WIRE_IOC_WATCH_ADD:
	case FUSE_WIRE_IOC_WATCH_DEL:
		return with_argument(req, &in);
	case FUSE_WIRE_IOC_WATCH_WAIT:
		return op_wait(req);
	case FUSE_WIRE_IOC_WATCH_TAKE:
		return op_take(req, in.out_size);
	case FUSE_WIRE_IOC_WATCH_CANCEL:
		return op_cancel(req);
	case FUSE_WIRE_IOC_PEER_NEXT:
	case FUSE_WIRE_IOC_PEER_STATS:
	case FUSE_WIRE_IOC_PEER_NAME:
		return server_op_peer(req, &in);
	default:
		return -ENOTTY;
	}
}
