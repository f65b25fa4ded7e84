/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Watches. The daemon keeps one queue of events for the session; one thread
 * here waits for it (a request that is answered when there is something) and
 * sorts what came into the watches' own queues, each with an eventfd that is
 * readable while there is something to read. The thread starts with the first
 * watch and ends with the session.
 *
 * A watch is up to two at the daemon: of the file (an even id), and of the
 * directory it was found in (the next odd one), which says when it lost its
 * name: the daemon holds the file, so the file itself would never say so.
 *
 * What the daemon sends is checked; a queue that is full is emptied and says
 * that events were lost.
 *
 * Lock: watch_lock over all of it. No request is sent with it. The thread
 * touches a watch only under it, and only while it is on the list.
 */
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define QUEUE_DEFAULT 4096u
#define QUEUE_MAX 65536u
#define TAKE_BYTES 60000u
#define NAME_EVENTS                                                    \
	(FUSE_WIRE_WATCH_DELETE | FUSE_WIRE_WATCH_MOVED_FROM |        \
	 FUSE_WIRE_WATCH_MOVED_TO)
/* Between tries when the daemon has no room for one that waits. */
#define PAUSE_NS 20000000L

struct event {
	struct list link;
	uint32_t mask;
	uint32_t namelen;
	uint64_t cookie;
	char name[];
};

struct oriel_watch {
	struct oriel_session *s;
	struct client_inode *ino; /* counted */
	struct client_inode *dir; /* counted; NULL: the root is watched */
	uint64_t id;              /* even; with 1: the one of @dir */
	char name[FUSE_WIRE_NAME_MAX + 1]; /* in @dir */
	uint32_t mask;
	uint32_t max;
	int fd;
	struct event *current; /* the reader's */
	/* watch_lock */
	struct list link;
	struct list events;
	uint32_t n_events;
	bool lost;
};

_Static_assert(ORIEL_WATCH_CREATE == FUSE_WIRE_WATCH_CREATE &&
	       ORIEL_WATCH_GONE == FUSE_WIRE_WATCH_GONE &&
	       ORIEL_WATCH_OVERFLOW == FUSE_WIRE_WATCH_OVERFLOW &&
	       ORIEL_WATCH_ISDIR == FUSE_WIRE_WATCH_ISDIR, "the same bits");

/* --------------------------------------------------------------- requests */

static int watch_ioctl(struct oriel_session *s, uint64_t nodeid, uint32_t cmd,
		       const struct fuse_wire_watch *arg)
{
	struct {
		struct fuse_ioctl_in in;
		struct fuse_wire_watch arg;
	} in = { .in = { .fh = FUSE_WIRE_NO_FH, .cmd = cmd } };
	struct fuse_ioctl_out out;
	struct client_call c = {
		.opcode = FUSE_IOCTL,
		.nodeid = nodeid,
		.arg = &in,
		.arg_len = sizeof(in.in),
		.out = &out,
		.out_len = sizeof(out),
		.timeout_ms = cmd == FUSE_WIRE_IOC_WATCH_WAIT ? UINT32_MAX : 0,
	};
	int err;

	if (arg) {
		in.arg = *arg;
		in.in.in_size = sizeof(in.arg);
		c.arg_len = sizeof(in);
	}
	err = client_call(s, &c);
	return err == -ENOSYS || err == -ENOTTY ? -EOPNOTSUPP : err;
}

/* Events into @buf of TAKE_BYTES: how many bytes, or -errno. */
static ssize_t take(struct oriel_session *s, unsigned char *buf)
{
	struct fuse_ioctl_in in = {
		.fh = FUSE_WIRE_NO_FH,
		.cmd = FUSE_WIRE_IOC_WATCH_TAKE,
		.out_size = TAKE_BYTES,
	};
	struct fuse_ioctl_out out;
	struct iovec iov = { buf, TAKE_BYTES };
	struct client_call c = {
		.opcode = FUSE_IOCTL,
		.nodeid = FUSE_ROOT_ID,
		.arg = &in,
		.arg_len = sizeof(in),
		.out = &out,
		.out_len = sizeof(out),
		.bulk = &iov,
		.n_bulk = 1,
		.bulk_len = TAKE_BYTES,
	};
	int err = client_call(s, &c);

	return err ? err : (ssize_t)c.ret_bulk;
}

/* ----------------------------------------------------------------- queues */

/* Make the descriptor readable, or not any more. */
static void ring_locked(const struct oriel_watch *w, bool on)
{
	uint64_t v = 1;
	ssize_t n = on ? write(w->fd, &v, sizeof(v)) :
			 read(w->fd, &v, sizeof(v));

	if (n < 0 && errno != EAGAIN)
		log_debug("eventfd: %s", strerror(errno));
}

static void lose_locked(struct oriel_watch *w)
{
	struct list *n;

	while ((n = list_pop_head(&w->events)))
		free(list_entry(n, struct event, link));
	w->n_events = 0;
	w->lost = true;
	ring_locked(w, true);
}

static void push_locked(struct oriel_watch *w, const struct fuse_wire_event *in,
			const char *name, uint32_t namelen)
{
	struct event *e;

	if (w->lost)
		return;
	e = w->n_events < w->max ? malloc(sizeof(*e) + namelen + 1) : NULL;
	if (!e) {
		lose_locked(w);
		return;
	}
	e->mask = in->mask;
	e->cookie = in->cookie;
	e->namelen = namelen;
	memcpy(e->name, name, namelen);
	e->name[namelen] = '\0';
	list_add_tail(&w->events, &e->link);
	w->n_events++;
	ring_locked(w, true);
}

static void take_own_locked(struct oriel_watch *w,
			    const struct fuse_wire_event *e, const char *name)
{
	struct fuse_wire_event known = *e;

	/* what we believed of it is void, whatever the time it was good for */
	client_attr_invalidate(w->ino);
	known.mask &= w->mask | ORIEL_WATCH_ISDIR;
	if (known.mask & ~ORIEL_WATCH_ISDIR)
		push_locked(w, &known, name, e->namelen);
}

/* An event of the directory in which @w was found. */
static void take_above_locked(struct oriel_watch *w,
			      const struct fuse_wire_event *e, const char *name)
{
	struct fuse_wire_event gone = {
		.mask = ORIEL_WATCH_GONE | (e->mask & ORIEL_WATCH_ISDIR),
		.cookie = e->cookie,
	};

	if (!(e->mask & NAME_EVENTS) || !(w->mask & ORIEL_WATCH_GONE) ||
	    strlen(w->name) != e->namelen || memcmp(w->name, name, e->namelen))
		return;
	push_locked(w, &gone, "", 0);
}

static void sort_locked(struct oriel_session *s,
			const struct fuse_wire_event *e, const char *name)
{
	struct list *pos;

	list_for_each(pos, &s->watches) {
		struct oriel_watch *w = list_entry(pos, struct oriel_watch,
						   link);

		if (!e->id && e->mask & FUSE_WIRE_WATCH_OVERFLOW)
			lose_locked(w);
		else if (e->id == w->id)
			take_own_locked(w, e, name);
		else if (e->id == (w->id | 1))
			take_above_locked(w, e, name);
	}
}

/* 0, or -EPROTO: the daemon talks nonsense. */
static int sort_all(struct oriel_session *s, const unsigned char *buf,
		    size_t len)
{
	struct fuse_wire_event e;
	size_t at = 0;

	while (at < len) {
		if (!range_fits(at, sizeof(e), len))
			return -EPROTO;
		memcpy(&e, buf + at, sizeof(e));
		at += sizeof(e);
		if (e.namelen > FUSE_WIRE_NAME_MAX ||
		    !range_fits(at, align_up(e.namelen, 8), len) ||
		    memchr(buf + at, '/', e.namelen) ||
		    memchr(buf + at, '\0', e.namelen))
			return -EPROTO;
		pthread_mutex_lock(&s->watch_lock);
		sort_locked(s, &e, (const char *)buf + at);
		pthread_mutex_unlock(&s->watch_lock);
		at += align_up(e.namelen, 8);
	}
	return 0;
}

/* ------------------------------------------------------------ the thread */

static bool has_to_stop(struct oriel_session *s)
{
	bool r;

	pthread_mutex_lock(&s->watch_lock);
	r = s->watch_stop;
	pthread_mutex_unlock(&s->watch_lock);
	return r;
}

static int wait_and_take(struct oriel_session *s, unsigned char *buf)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	int err = watch_ioctl(s, FUSE_ROOT_ID, FUSE_WIRE_IOC_WATCH_WAIT, NULL);
	ssize_t n;

	if (err == -EINTR || err == -ENOMEM || err == -EBUSY) {
		/* its queue stands still for a moment, or we are to stop */
		if (!has_to_stop(s))
			nanosleep(&pause, NULL);
		return 0;
	}
	if (err)
		return err;
	do {
		n = take(s, buf);
		err = n > 0 ? sort_all(s, buf, (size_t)n) : (int)n;
	} while (n > 0 && !err);
	if (err == -EPROTO)
		client_die(s, err);
	return err;
}

/* There will be no more events: everybody hears of it. */
static void end_all(struct oriel_session *s, int err)
{
	struct list *pos;

	pthread_mutex_lock(&s->watch_lock);
	s->watch_err = err ? err : -ENOTCONN;
	list_for_each(pos, &s->watches)
		ring_locked(list_entry(pos, struct oriel_watch, link), true);
	pthread_mutex_unlock(&s->watch_lock);
}

static void *watch_main(void *arg)
{
	struct oriel_session *s = arg;
	unsigned char *buf = malloc(TAKE_BYTES);
	int err = buf ? 0 : -ENOMEM;

	while (!err && !has_to_stop(s))
		err = wait_and_take(s, buf);
	end_all(s, err);
	free(buf);
	return NULL;
}

static int start_locked(struct oriel_session *s)
{
	int r;

	if (s->watching)
		return s->watch_err;
	r = -pthread_create(&s->watch_thread, NULL, watch_main, s);
	s->watching = !r;
	return r;
}

/* ---------------------------------------------------------------- a watch */

static int check_options(const struct oriel_watch_options *in,
			 struct oriel_watch_options *out)
{
	const unsigned char *p = (const unsigned char *)in;
	size_t i;

	memset(out, 0, sizeof(*out));
	if (in && !in->size)
		return -EINVAL;
	for (i = sizeof(*out); in && i < in->size; i++) {
		if (p[i])
			return -E2BIG;
	}
	if (in)
		memcpy(out, in, (size_t)min_u64(in->size, sizeof(*out)));
	if (!out->mask)
		out->mask = ORIEL_WATCH_ALL;
	if (!out->queue_max)
		out->queue_max = QUEUE_DEFAULT;
	if (out->mask & ~ORIEL_WATCH_ALL || out->flags & ~ORIEL_NOFOLLOW ||
	    out->queue_max > QUEUE_MAX)
		return -EINVAL;
	return 0;
}

static void watch_free(struct oriel_watch *w)
{
	struct list *n;

	while ((n = list_pop_head(&w->events)))
		free(list_entry(n, struct event, link));
	free(w->current);
	client_inode_put(w->ino);
	client_inode_put(w->dir);
	close(w->fd);
	free(w);
}

/* Takes over the inodes of @walk if it succeeds. */
static int watch_new(struct oriel_session *s, struct client_walk *walk,
		     const struct oriel_watch_options *o,
		     struct oriel_watch **ret)
{
	struct oriel_watch *w;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return -EMFILE;
	w = calloc(1, sizeof(*w));
	if (!w) {
		close(fd);
		return -ENOMEM;
	}
	w->fd = fd;
	w->s = s;
	w->mask = o->mask;
	w->max = o->queue_max;
	list_init(&w->events);
	w->ino = walk->ino;
	walk->ino = NULL;
	if (walk->name[0]) {
		memcpy(w->name, walk->name, sizeof(w->name));
		w->dir = walk->dir;
		walk->dir = NULL;
	}
	*ret = w;
	return 0;
}

/* On the list first: an event may come before the answer. */
static int enter(struct oriel_watch *w)
{
	struct oriel_session *s = w->s;
	int r;

	pthread_mutex_lock(&s->watch_lock);
	r = start_locked(s);
	if (!r) {
		s->next_watch += 2;
		w->id = s->next_watch;
		list_add_tail(&s->watches, &w->link);
	}
	pthread_mutex_unlock(&s->watch_lock);
	return r;
}

static void leave(struct oriel_watch *w)
{
	pthread_mutex_lock(&w->s->watch_lock);
	list_del(&w->link);
	pthread_mutex_unlock(&w->s->watch_lock);
}

static int tell_daemon(struct oriel_watch *w, uint32_t cmd)
{
	struct fuse_wire_watch own = { .id = w->id, .mask = w->mask };
	struct fuse_wire_watch above = { .id = w->id | 1, .mask = NAME_EVENTS };
	const bool add = cmd == FUSE_WIRE_IOC_WATCH_ADD;
	int r = watch_ioctl(w->s, w->ino->nodeid, cmd, &own);

	if ((add && r) || !w->dir || !(w->mask & ORIEL_WATCH_GONE))
		return r;
	r = watch_ioctl(w->s, w->dir->nodeid, cmd, &above);
	if (r && add)
		(void)watch_ioctl(w->s, w->ino->nodeid,
				  FUSE_WIRE_IOC_WATCH_DEL, &own);
	return r;
}

static int start_watch(struct oriel_session *s, struct client_walk *walk,
		       const struct oriel_watch_options *o,
		       struct oriel_watch **ret)
{
	struct oriel_watch *w;
	int err = watch_new(s, walk, o, &w);

	if (err)
		return err;
	err = enter(w);
	if (err) {
		watch_free(w);
		return err;
	}
	err = tell_daemon(w, FUSE_WIRE_IOC_WATCH_ADD);
	if (err) {
		leave(w);
		watch_free(w);
		return err;
	}
	*ret = w;
	return 0;
}

int oriel_watch(struct oriel_session *s, const char *path,
		const struct oriel_watch_options *opts,
		struct oriel_watch **ret)
{
	struct oriel_watch_options o;
	struct client_walk walk;
	int err = check_options(opts, &o);

	if (!err)
		err = client_walk(s, path, o.flags & ORIEL_NOFOLLOW ?
				  CLIENT_WALK_NOFOLLOW : 0, &walk);
	if (!err) {
		err = start_watch(s, &walk, &o, ret);
		client_walk_done(&walk);
	}
	return err ? client_fail(err, "watch %s", path) : 0;
}

int oriel_watch_fd(const struct oriel_watch *w)
{
	return w->fd;
}

int oriel_watch_read(struct oriel_watch *w, struct oriel_watch_event *ret)
{
	struct oriel_watch_event e = { .name = "" };
	struct oriel_session *s = w->s;
	struct list *n;
	int r = 1;

	free(w->current);
	w->current = NULL;
	pthread_mutex_lock(&s->watch_lock);
	n = list_pop_head(&w->events);
	if (n) {
		w->current = list_entry(n, struct event, link);
		w->n_events--;
	} else if (w->lost) {
		w->lost = false;
		e.mask = ORIEL_WATCH_OVERFLOW;
	} else {
		r = s->watch_err;
	}
	/* after an error it stays readable */
	if (!w->n_events && !w->lost && !s->watch_err)
		ring_locked(w, false);
	pthread_mutex_unlock(&s->watch_lock);
	if (w->current) {
		e.mask = w->current->mask;
		e.namelen = w->current->namelen;
		e.name = w->current->name;
		e.cookie = w->current->cookie;
	}
	if (r > 0)
		*ret = e;
	return r < 0 ? client_fail(r, "watch") : r;
}

void oriel_unwatch(struct oriel_watch *w)
{
	if (!w)
		return;
	leave(w);
	if (!client_is_dead(w->s) &&
	    tell_daemon(w, FUSE_WIRE_IOC_WATCH_DEL))
		log_debug("a watch ended late");
	watch_free(w);
}

/* ------------------------------------------------------------- life time */

void client_watches_init(struct oriel_session *s)
{
	pthread_mutex_init(&s->watch_lock, NULL);
	list_init(&s->watches);
}

void client_watches_done(struct oriel_session *s)
{
	struct list *n;
	bool was;

	pthread_mutex_lock(&s->watch_lock);
	was = s->watching;
	s->watch_stop = true;
	pthread_mutex_unlock(&s->watch_lock);
	if (was) {
		/* a daemon that does not answer: the thread ends by this */
		if (watch_ioctl(s, FUSE_ROOT_ID, FUSE_WIRE_IOC_WATCH_CANCEL,
				NULL) == -ETIMEDOUT)
			client_die(s, -ETIMEDOUT);
		pthread_join(s->watch_thread, NULL);
	}
	while ((n = list_pop_head(&s->watches))) {
		struct oriel_watch *w = list_entry(n, struct oriel_watch, link);

		(void)(client_is_dead(s) ||
		       tell_daemon(w, FUSE_WIRE_IOC_WATCH_DEL));
		watch_free(w);
	}
}
