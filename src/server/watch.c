/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Changes by others. One fanotify group of the share, made inside the sandbox
 * and so without privileges: it takes marks on single inodes, says which events
 * are our own process's doing, and hides who else did the rest. Directories
 * whose names a client caches are marked; an event names the directory and the
 * file by file handles, of which only a hash is kept here. Two files of one
 * hash would be invalidated together, which is harmless.
 *
 * COVERED is what a change of must be noticed: a name in a marked directory,
 * and the attributes of a file that was found there and has no other name. Only
 * that is answered with long time-outs (server_watch_seconds()); the rest gets short
 * ones. So neither a limit on marks nor a file system without handles makes
 * anything stale for long. Nor does what is told before the client's kernel has
 * the answer that it voids: of a file it learns, the first answer is short, too.
 *
 * The mark comes before the look: a change after statx(2) is an event.
 *
 * Threads: marks are set by serving threads. One thread of its own reads the
 * events and tells the sessions; it serves nothing, so it may wait for what the
 * client's kernel holds. Locks: watch.h.
 */
#include "server/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <unistd.h>

#include "base/log.h"

/* Newer than some headers. */
#define INIT_DFID_NAME_TARGET 0x1e00u /* since Linux 5.17 */
#define INFO_FID 1
#define INFO_DFID_NAME 2
#define NAME_TO_FID 0x200 /* handles that only compare; since Linux 6.5 */

#define MARK_MASK                                                            \
	(FAN_MODIFY | FAN_ATTRIB | FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | \
	 FAN_MOVED_TO | FAN_DELETE_SELF | FAN_MOVE_SELF | FAN_ONDIR |         \
	 FAN_EVENT_ON_CHILD)
#define MARK_MASK_FILE (FAN_MODIFY | FAN_ATTRIB | FAN_DELETE_SELF)
#define MARKS_MAX 100000u
#define BUF_SIZE (64u << 10)
/* Events of a moment are taken together: many writes are one event then. */
#define PAUSE_US 500

/* Of the whole process: other shares may be of the same files. */
static _Atomic uint64_t n_sessions;

/* ------------------------------------------------------------------ nodes */

static uint64_t handle_hash(unsigned type, const unsigned char *data,
			    size_t len)
{
	uint64_t h = hash_mix(type + (uint64_t)len * 0x100);
	uint64_t v;
	size_t n;

	while (len) {
		n = min_u64(len, sizeof(v));
		v = 0;
		memcpy(&v, data, n);
		h = hash_mix(h ^ hash_mix(v));
		data += n;
		len -= n;
	}
	return h;
}

static int fid_of(int fd, uint64_t *ret)
{
	union {
		struct file_handle h;
		unsigned char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} u;
	int mnt;

	u.h.handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(fd, "", &u.h, &mnt, AT_EMPTY_PATH | NAME_TO_FID) &&
	    name_to_handle_at(fd, "", &u.h, &mnt, AT_EMPTY_PATH))
		return -errno;
	*ret = handle_hash((unsigned)u.h.handle_type, u.h.f_handle,
			   u.h.handle_bytes);
	return 0;
}

static int fid_of_inode(struct server_share *sh, struct server_inode *ino,
			uint64_t *ret)
{
	int r = server_inode_pin(sh, ino);

	if (r)
		return r;
	r = fid_of(ino->fd, ret);
	server_inode_unpin(sh, ino);
	return r;
}

/* The node of @ino; made if there is none. */
static struct watch_node *node_of(struct server_watch *w,
				  struct server_inode *ino)
{
	/* acquire: pairs with the release below */
	struct watch_node *n = atomic_load_explicit(&ino->watch,
						    memory_order_acquire);
	struct watch_node *fresh;
	uint64_t fid;

	if (ORIEL_LIKELY(n != NULL))
		return n;
	fresh = calloc(1, sizeof(*fresh));
	if (!fresh)
		return NULL;
	fresh->ino = ino;
	if (fid_of_inode(w->share, ino, &fid)) {
		free(fresh);
		return NULL;
	}
	pthread_mutex_lock(&w->lock);
	n = atomic_load_explicit(&ino->watch, memory_order_relaxed);
	if (!n) {
		hash_table_add(&w->by_fid, &fresh->by_fid, fid);
		n = fresh;
		fresh = NULL;
		atomic_store_explicit(&ino->watch, n, memory_order_release);
	}
	pthread_mutex_unlock(&w->lock);
	free(fresh);
	return n;
}

/* A reference, unless the last one has gone: nobody may know it then. */
static bool ref_if_alive(struct server_inode *ino)
{
	uint64_t n = atomic_load_explicit(&ino->refs, memory_order_relaxed);

	while (n) {
		if (atomic_compare_exchange_weak_explicit(
			    &ino->refs, &n, n + 1, memory_order_relaxed,
			    memory_order_relaxed))
			return true;
	}
	return false;
}

static unsigned find(struct server_watch *w, uint64_t fid,
		     struct server_inode **ret)
{
	struct hash_node *h;
	unsigned n = 0;

	pthread_mutex_lock(&w->lock);
	h = hash_table_first(&w->by_fid, fid);
	for (; h && n < WATCH_SAME_MAX; h = hash_table_next(h->next, fid)) {
		struct watch_node *node =
			container_of(h, struct watch_node, by_fid);

		if (ref_if_alive(node->ino))
			ret[n++] = node->ino;
	}
	pthread_mutex_unlock(&w->lock);
	return n;
}

/* ------------------------------------------------------------------ marks */

static int mark(struct server_watch *w, const struct server_inode *ino,
		unsigned how)
{
	char name[12];

	if (fanotify_mark(w->fan_fd, how,
			  S_ISDIR(ino->type) ? MARK_MASK : MARK_MASK_FILE,
			  w->proc_fd, server_fd_name(ino->fd, name)))
		return -errno;
	return 0;
}

static bool add_mark(struct server_watch *w, struct watch_node *n)
{
	int r = 0;

	pthread_mutex_lock(&w->mark_lock);
	if (!atomic_load_explicit(&n->marked, memory_order_relaxed)) {
		if (atomic_load_explicit(&w->n_marks, memory_order_relaxed) >=
		    MARKS_MAX / w->share->cfg.n_shares)
			r = -ENOSPC;
		if (!r)
			r = mark(w, n->ino, FAN_MARK_ADD);
		if (!r) {
			atomic_fetch_add_explicit(&w->n_marks, 1,
						  memory_order_relaxed);
			/* release: who sees it looks after the mark was set */
			atomic_store_explicit(&n->covered, true,
					      memory_order_release);
			atomic_store_explicit(&n->marked, true,
					      memory_order_release);
		}
	}
	pthread_mutex_unlock(&w->mark_lock);
	/* room may come; rights and handles will not */
	if (r && r != -ENOSPC)
		atomic_store_explicit(&n->failed, true, memory_order_relaxed);
	if (r)
		log_debug("a directory is not watched: %s", strerror(-r));
	return !r;
}

bool watch_mark(struct server_watch *w, struct server_inode *ino)
{
	struct watch_node *n = node_of(w, ino);

	if (!n || atomic_load_explicit(&n->failed, memory_order_relaxed))
		return false;
	/* acquire: pairs with the release in add_mark() */
	return atomic_load_explicit(&n->marked, memory_order_acquire) ||
	       add_mark(w, n);
}

bool server_watch_dir(struct server_req *req, struct server_inode *dir)
{
	struct server_watch *w;

	if (!req->s->cfg.notify_ops)
		return false;
	w = server_watch_get(req->share, false);
	return w && watch_mark(w, dir);
}

void server_watch_found(struct server_share *sh, struct server_inode *ino)
{
	struct server_watch *w = server_watch_get(sh, false);
	struct watch_node *n = w ? node_of(w, ino) : NULL;

	if (n && !atomic_load_explicit(&n->covered, memory_order_relaxed))
		atomic_store_explicit(&n->covered, true, memory_order_relaxed);
}

/* Does anybody else need the kernel's mark? mark_lock is held. */
static bool is_shared(struct server_watch *w, const struct watch_node *n)
{
	const uint64_t fid = n->by_fid.hash;
	struct hash_node *h;
	bool r = false;

	pthread_mutex_lock(&w->lock);
	h = hash_table_first(&w->by_fid, fid);
	for (; h && !r; h = hash_table_next(h->next, fid))
		r = h != &n->by_fid &&
		    atomic_load_explicit(&container_of(h, struct watch_node,
						       by_fid)->marked,
					 memory_order_relaxed);
	pthread_mutex_unlock(&w->lock);
	return r;
}

void server_watch_gone(struct server_share *sh, struct server_inode *ino)
{
	struct watch_node *n = atomic_load_explicit(&ino->watch,
						    memory_order_acquire);
	struct server_watch *w = server_watch_get(sh, false);

	if (ORIEL_LIKELY(!n))
		return;
	if (atomic_load_explicit(&n->marked, memory_order_relaxed)) {
		pthread_mutex_lock(&w->mark_lock);
		atomic_store_explicit(&n->marked, false, memory_order_relaxed);
		atomic_fetch_sub_explicit(&w->n_marks, 1, memory_order_relaxed);
		/* of a file that is gone the kernel has removed it */
		if (!is_shared(w, n) && !server_inode_pin(sh, ino)) {
			(void)mark(w, ino, FAN_MARK_REMOVE);
			server_inode_unpin(sh, ino);
		}
		pthread_mutex_unlock(&w->mark_lock);
	}
	pthread_mutex_lock(&w->lock);
	hash_table_del(&w->by_fid, &n->by_fid);
	atomic_store_explicit(&ino->watch, NULL, memory_order_relaxed);
	pthread_mutex_unlock(&w->lock);
	free(n);
}

/* --------------------------------------------------------------- timeouts */

uint64_t server_watch_seconds(const struct server_req *req,
			      struct server_inode *ino,
			      const struct statx *stx)
{
	uint64_t valid = server_valid_seconds(req->share);
	struct watch_node *n;

	if (!req->s->cfg.notify_ops || !server_watch_get(req->share, false))
		return valid;
	n = atomic_load_explicit(&ino->watch, memory_order_acquire);
	/* by another name it can change where nobody looks */
	if (n && atomic_load_explicit(&n->covered, memory_order_relaxed) &&
	    (S_ISDIR(stx->stx_mode) || stx->stx_nlink < 2))
		return valid;
	return min_u64(valid, 1);
}

/* ----------------------------------------------------------------- events */

static void put_all(struct server_share *sh, struct server_inode **inos,
		    unsigned n)
{
	while (n)
		server_inode_unref(sh, inos[--n]);
}

static void tell(struct server_watch *w, const struct watch_event *e)
{
	/* With another client in this process "own" may be that one's. */
	bool alone = atomic_load_explicit(&n_sessions,
					  memory_order_relaxed) == 1;
	struct list *pos;

	pthread_mutex_lock(&w->targets_lock);
	list_for_each(pos, &w->targets) {
		struct server_session *s =
			list_entry(pos, struct server_session, target);

		if (!e)
			watch_tell_all(s);
		else if (!e->own || !alone)
			watch_tell(s, e);
	}
	pthread_mutex_unlock(&w->targets_lock);
	pthread_mutex_lock(&w->listeners_lock);
	list_for_each(pos, &w->listeners)
		watch_deliver(list_entry(pos, struct server_session, listener),
			      e);
	pthread_mutex_unlock(&w->listeners_lock);
}

/* The handle at @p, of at most @room bytes: its hash, and what follows it. */
static const char *take_handle(const unsigned char *p, size_t room,
			       uint64_t *ret)
{
	struct file_handle h;

	if (room < sizeof(h))
		return NULL;
	memcpy(&h, p, sizeof(h));
	if (!range_fits(sizeof(h), h.handle_bytes, room))
		return NULL;
	*ret = handle_hash((unsigned)h.handle_type, p + sizeof(h),
			   h.handle_bytes);
	return (const char *)p + sizeof(h) + h.handle_bytes;
}

static void take_info(struct server_watch *w, struct watch_event *e,
		      const unsigned char *p, size_t len)
{
	const size_t head = sizeof(struct fanotify_event_info_fid);
	uint8_t type = p[0];
	const char *name;
	uint64_t fid;

	if (len < head)
		return;
	name = take_handle(p + head, len - head, &fid);
	if (!name)
		return;
	if (type == INFO_FID && !e->n_files) {
		e->n_files = find(w, fid, e->files);
		e->cookie = fid;
	} else if (type == INFO_DFID_NAME && !e->n_dirs) {
		e->n_dirs = find(w, fid, e->dirs);
		if (memchr(name, '\0', (size_t)((const char *)p + len - name)))
			e->name = name;
	}
}

static void take_event(struct server_watch *w, const unsigned char *p)
{
	struct fanotify_event_metadata m;
	struct watch_event e = { .name = "." };
	size_t at;

	memcpy(&m, p, sizeof(m));
	if (m.mask & FAN_Q_OVERFLOW) {
		log_info("more changes than can be followed: all that clients"
			 " know is void");
		tell(w, NULL);
		return;
	}
	e.mask = m.mask;
	e.own = m.pid == getpid();
	at = m.metadata_len;
	while (range_fits(at, sizeof(struct fanotify_event_info_header),
			  m.event_len)) {
		struct fanotify_event_info_header h;

		memcpy(&h, p + at, sizeof(h));
		if (h.len < sizeof(h) || !range_fits(at, h.len, m.event_len))
			break;
		take_info(w, &e, p + at, h.len);
		at += h.len;
	}
	tell(w, &e);
	put_all(w->share, e.dirs, e.n_dirs);
	put_all(w->share, e.files, e.n_files);
}

static void take_events(struct server_watch *w, const unsigned char *buf,
			size_t len)
{
	struct fanotify_event_metadata m;
	size_t at = 0;

	while (range_fits(at, sizeof(m), len)) {
		memcpy(&m, buf + at, sizeof(m));
		if (m.event_len < sizeof(m) ||
		    !range_fits(at, m.event_len, len))
			return;
		take_event(w, buf + at);
		at += m.event_len;
	}
}

static void *watch_main(void *arg)
{
	struct server_watch *w = arg;
	unsigned char *buf = malloc(BUF_SIZE);
	struct pollfd p[2] = {
		{ .fd = w->fan_fd, .events = POLLIN },
		{ .fd = w->stop_fd, .events = POLLIN },
	};

	while (buf) {
		ssize_t n;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents)
			break;
		n = read(w->fan_fd, buf, BUF_SIZE);
		if (n > 0)
			take_events(w, buf, (size_t)n);
		else if (n < 0 && errno != EAGAIN && errno != EINTR)
			log_debug("fanotify: %s", strerror(errno));
		usleep(PAUSE_US);
	}
	free(buf);
	return NULL;
}

/* ------------------------------------------------------------- life time */

static int open_group(struct server_watch *w)
{
	w->fan_fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK |
				  INIT_DFID_NAME_TARGET, O_RDONLY);
	if (w->fan_fd < 0)
		return -errno;
	w->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return w->stop_fd < 0 ? -errno : 0;
}

static void watch_free(struct server_watch *w)
{
	if (w->stop_fd >= 0)
		close(w->stop_fd);
	if (w->fan_fd >= 0)
		close(w->fan_fd);
	hash_table_done(&w->by_fid);
	pthread_mutex_destroy(&w->targets_lock);
	pthread_mutex_destroy(&w->listeners_lock);
	pthread_mutex_destroy(&w->mark_lock);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

void server_watch_free(struct server_share *sh)
{
	struct server_watch *w = server_watch_get(sh, false);
	uint64_t one = 1;

	if (!w)
		return;
	if (write(w->stop_fd, &one, sizeof(one)) < 0)
		log_debug("eventfd: %s", strerror(errno));
	pthread_join(w->thread, NULL);
	/* the only inode that is left */
	if (sh->root)
		server_watch_gone(sh, sh->root);
	atomic_store_explicit(&sh->watch, NULL, memory_order_relaxed);
	watch_free(w);
}

/* Does the kernel, and does the file system? */
static int try_out(struct server_watch *w)
{
	struct server_inode *root = w->share->root;
	uint64_t fid;
	int r = open_group(w);

	if (!r)
		r = fid_of(root->fd, &fid);
	if (!r)
		r = mark(w, root, FAN_MARK_ADD);
	if (!r)
		r = mark(w, root, FAN_MARK_REMOVE);
	return r;
}

static int watch_new(struct server_share *sh, struct server_watch **ret)
{
	struct server_watch *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->share = sh;
	w->fan_fd = -1;
	w->stop_fd = -1;
	w->proc_fd = sh->cfg.proc_fd;
	list_init(&w->targets);
	pthread_mutex_init(&w->targets_lock, NULL);
	list_init(&w->listeners);
	pthread_mutex_init(&w->listeners_lock, NULL);
	pthread_mutex_init(&w->mark_lock, NULL);
	pthread_mutex_init(&w->lock, NULL);
	r = hash_table_init(&w->by_fid);
	if (!r)
		r = try_out(w);
	if (!r)
		r = -pthread_create(&w->thread, NULL, watch_main, w);
	if (r)
		watch_free(w);
	else
		*ret = w;
	return r;
}

struct server_watch *server_watch_get(struct server_share *sh, bool start)
{
	/* acquire: pairs with the release below */
	struct server_watch *w = atomic_load_explicit(&sh->watch,
						      memory_order_acquire);
	int r = 0;

	if (w || !start || sh->cfg.no_notify)
		return w;
	pthread_mutex_lock(&sh->watch_lock);
	w = atomic_load_explicit(&sh->watch, memory_order_relaxed);
	if (!w)
		r = watch_new(sh, &w);
	if (!r)
		atomic_store_explicit(&sh->watch, w, memory_order_release);
	pthread_mutex_unlock(&sh->watch_lock);
	if (r)
		log_info("what others change is not noticed: %s", strerror(-r));
	return r ? NULL : w;
}

void server_watch_enter(struct server_session *s)
{
	struct server_watch *w;

	atomic_fetch_add_explicit(&n_sessions, 1, memory_order_relaxed);
	list_init(&s->target);
	if (!s->cfg.notify_ops)
		return;
	w = server_watch_get(s->share, true);
	if (!w)
		return;
	pthread_mutex_lock(&w->targets_lock);
	list_add_tail(&w->targets, &s->target);
	pthread_mutex_unlock(&w->targets_lock);
}

void server_watch_leave(struct server_session *s)
{
	struct server_watch *w = server_watch_get(s->share, false);

	atomic_fetch_sub_explicit(&n_sessions, 1, memory_order_relaxed);
	if (!w || !s->cfg.notify_ops)
		return;
	pthread_mutex_lock(&w->targets_lock);
	list_del(&s->target);
	pthread_mutex_unlock(&w->targets_lock);
}
