/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Looking at the sessions of the share: who they are, what they ask for, and
 * what they say of themselves in their gauge pages (docs/design/top.md).
 *
 * A page is memory that its owner can write at any time. It is copied once, with
 * bounds of our own, and nothing in the copy is looked at here: the asker's
 * library does that. The one thing written is the word that asks for news, and
 * nobody waits for them.
 *
 * Lock: share->peers_lock over the list; a session that leaves takes itself out
 * first of all, so what is found in it is whole while the lock is held. The page
 * is touched without it, in memory that is kept for that long.
 */
#include "server/internal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/futex.h"
#include "wire/gauge.h"

/* What users without a number in our user name space look like: any of them. */
#define NOBODY_UID 65534u

/* An owner that writes all the time is not waited for. */
#define COPY_ATTEMPTS 4

void server_peers_init(struct server_share *sh)
{
	pthread_mutex_init(&sh->peers_lock, NULL);
	list_init(&sh->peers);
}

void server_peers_done(struct server_share *sh)
{
	pthread_mutex_destroy(&sh->peers_lock);
}

void server_peer_enter(struct server_session *s)
{
	struct server_share *sh = s->share;

	s->since_ns = clock_now_ns();
	pthread_mutex_lock(&sh->peers_lock);
	s->id = ++sh->last_peer;
	list_add_tail(&sh->peers, &s->peer);
	pthread_mutex_unlock(&sh->peers_lock);
}

void server_peer_leave(struct server_session *s)
{
	struct server_share *sh = s->share;
	size_t i;

	pthread_mutex_lock(&sh->peers_lock);
	list_del(&s->peer);
	for (i = 0; i < ARRAY_LEN(s->ops); i++)
		sh->n.ops[i] += s->ops[i];
	for (i = 0; i < ARRAY_LEN(s->queues); i++)
		sh->n.queues[i] += s->queues[i];
	pthread_mutex_unlock(&sh->peers_lock);
}

void server_peer_gauge(struct server_session *s, const struct fuse_init_in *in)
{
	uint64_t gpa = in->unused[FUSE_WIRE_INIT_GAUGE_LOW] |
		       (uint64_t)in->unused[FUSE_WIRE_INIT_GAUGE_HIGH] << 32;
	uint64_t below = in->unused[FUSE_WIRE_INIT_GAUGE_ASK];

	if (in->unused[0] != FUSE_WIRE_INIT_MAGIC ||
	    in->unused[FUSE_WIRE_INIT_GAUGE_BYTES] != GAUGE_BYTES ||
	    !is_aligned(gpa, GAUGE_BYTES / 4) || !below || below > gpa ||
	    !is_aligned(below, ORIEL_CACHE_LINE))
		gpa = 0;
	/* a relaxed pair: FUSE_INIT comes once, and who takes half of it finds
	 * zeros or other memory of that client */
	atomic_store_explicit(&s->gauge_ask_gpa, gpa - below,
			      memory_order_relaxed);
	atomic_store_explicit(&s->no_names,
			      in->unused[FUSE_WIRE_INIT_GAUGE_FLAGS] &
				      FUSE_WIRE_GAUGE_NO_NAMES,
			      memory_order_relaxed);
	atomic_store_explicit(&s->gauge_gpa, gpa, memory_order_relaxed);
}

static uint64_t count_of(_Atomic uint64_t *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

void server_peers_count(struct server_share *sh, struct server_stats *ret)
{
	struct list *pos;
	size_t i;

	pthread_mutex_lock(&sh->peers_lock);
	for (i = 0; i < ARRAY_LEN(ret->ops); i++)
		ret->ops[i] = count_of(&sh->n.ops[i]);
	for (i = 0; i < ARRAY_LEN(ret->queues); i++)
		ret->queues[i] = count_of(&sh->n.queues[i]);
	list_for_each(pos, &sh->peers) {
		struct server_session *s =
			list_entry(pos, struct server_session, peer);

		for (i = 0; i < ARRAY_LEN(ret->ops); i++)
			ret->ops[i] += count_of(&s->ops[i]);
		for (i = 0; i < ARRAY_LEN(ret->queues); i++)
			ret->queues[i] += count_of(&s->queues[i]);
	}
	pthread_mutex_unlock(&sh->peers_lock);
	ret->requests = 0;
	for (i = 0; i < ARRAY_LEN(ret->queues); i++)
		ret->requests += ret->queues[i];
}

/* ---------------------------------------------------------------- answers */

/* Its own; root, and who runs the daemon: all; others: those of their user. */
static bool may_see(const struct server_session *who,
		    const struct server_session *what)
{
	const struct server_cred *a = &who->cfg.cred;
	const struct server_cred *b = &what->cfg.cred;

	if (who == what)
		return true;
	if (!a->known || a->uid == NOBODY_UID)
		return false;
	return a->uid == 0 || a->uid == geteuid() ||
	       (b->known && a->uid == b->uid);
}

static uint32_t flags_of(struct server_session *s, const struct server_req *req)
{
	uint32_t flags = s == req->s ? FUSE_WIRE_PEER_SELF : 0;

	/* relaxed, all: facts for people */
	if (atomic_load_explicit(&s->ready, memory_order_relaxed))
		flags |= FUSE_WIRE_PEER_READY;
	if (atomic_load_explicit(&s->is_oriel, memory_order_relaxed))
		flags |= FUSE_WIRE_PEER_ORIEL;
	if (atomic_load_explicit(&s->is_guest, memory_order_relaxed))
		flags |= FUSE_WIRE_PEER_GUEST;
	if (atomic_load_explicit(&s->gauge_gpa, memory_order_relaxed))
		flags |= FUSE_WIRE_PEER_GAUGE;
	return flags;
}

static void fill(struct server_session *s, const struct server_req *req,
		 struct fuse_wire_peer *ret)
{
	const struct server_cred *cred = &s->cfg.cred;
	size_t i;

	*ret = (struct fuse_wire_peer){
		.id = s->id,
		.age_ns = clock_now_ns() - s->since_ns,
		.mappings = count_of(&s->n_maps),
		.pid = cred->known ? cred->pid : 0,
		.uid = cred->known ? cred->uid : UINT32_MAX,
		.gid = cred->known ? cred->gid : UINT32_MAX,
		.flags = flags_of(s, req),
	};
	for (i = 0; i < ARRAY_LEN(s->queues); i++)
		ret->requests += count_of(&s->queues[i]);
	pthread_mutex_lock(&s->lock);
	ret->handles = s->handles.count;
	ret->nodes = s->nodes.count;
	ret->fds = server_fds_locked(s);
	pthread_mutex_unlock(&s->lock);
}

static ssize_t op_next(struct server_req *req, uint64_t after)
{
	struct fuse_wire_peer *out = (struct fuse_wire_peer *)
		(req->t->reply + sizeof(struct fuse_ioctl_out));
	struct server_share *sh = req->share;
	struct fuse_wire_peer p = { 0 };
	struct list *pos;
	uint32_t hidden = 0;

	pthread_mutex_lock(&sh->peers_lock);
	list_for_each(pos, &sh->peers) {
		struct server_session *s =
			list_entry(pos, struct server_session, peer);

		if (!may_see(req->s, s)) {
			hidden++;
		} else if (s->id > after) {
			fill(s, req, &p);
			break;
		}
	}
	pthread_mutex_unlock(&sh->peers_lock);
	if (!p.id)
		p.hidden = hidden;
	memcpy(out, &p, sizeof(p));
	return sizeof(struct fuse_ioctl_out) + sizeof(p);
}

/* ------------------------------------------------------------------ pages */

/* Ask for news: the number of the question. */
static uint32_t ask(uint32_t *word)
{
	uint32_t n = __atomic_add_fetch(word, 1, __ATOMIC_RELEASE);

	futex_wake_shared(word, 1);
	return n;
}

static void copy_page(const struct gauge_page *page, unsigned char *dst)
{
	uint32_t head, tail;
	unsigned i;

	for (i = 0; i < COPY_ATTEMPTS; i++) {
		/* pairs with the release in client_gauge_publish() */
		head = __atomic_load_n(&page->head, __ATOMIC_ACQUIRE);
		memcpy(dst, page, GAUGE_BYTES);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		tail = __atomic_load_n(&page->tail, __ATOMIC_RELAXED);
		if (head == tail)
			break;
	}
	/* in the copy, what was found: the asker sees whether it is whole */
	memcpy(dst + offsetof(struct gauge_page, head), &head, sizeof(head));
	memcpy(dst + offsetof(struct gauge_page, tail), &tail, sizeof(tail));
}

static struct server_session *find_locked(struct server_share *sh, uint64_t id)
{
	struct list *pos;

	list_for_each(pos, &sh->peers) {
		struct server_session *s =
			list_entry(pos, struct server_session, peer);

		if (s->id == id)
			return s;
	}
	return NULL;
}

/* A session's page and word, kept; taken under the lock, used without. */
struct kept {
	const struct server_memory_ops *ops;
	void *token; /* NULL: it has none */
	void *page;
	void *ask_token;
	void *ask;
};

static void keep(struct server_session *s, struct kept *k)
{
	uint64_t gpa = count_of(&s->gauge_gpa);

	k->ops = s->cfg.memory_ops;
	if (!gpa || !k->ops)
		return;
	k->token = k->ops->hold(s->cfg.memory_ctx, gpa, GAUGE_BYTES, &k->page);
	k->ask_token = k->ops->hold(s->cfg.memory_ctx,
				    count_of(&s->gauge_ask_gpa),
				    sizeof(uint32_t), &k->ask);
}

/* Both are there, and where they can be used: a hostile client's need not. */
static bool is_kept(const struct kept *k)
{
	return k->token && k->ask_token &&
	       is_aligned((uintptr_t)k->page, ORIEL_CACHE_LINE) &&
	       is_aligned((uintptr_t)k->ask, sizeof(uint32_t));
}

static void drop(struct kept *k)
{
	if (k->token)
		k->ops->drop(k->token);
	if (k->ask_token)
		k->ops->drop(k->ask_token);
}

static int look_up(struct server_req *req, uint64_t id,
		   struct fuse_wire_peer *p, uint64_t *ops, struct kept *k)
{
	struct server_share *sh = req->share;
	struct server_session *s;
	size_t i;
	int r = 0;

	pthread_mutex_lock(&sh->peers_lock);
	s = find_locked(sh, id);
	if (!s)
		r = -ENOENT;
	else if (!may_see(req->s, s))
		r = -EACCES;
	if (!r) {
		fill(s, req, p);
		for (i = 0; i < FUSE_WIRE_PEER_OPS; i++)
			ops[i] = count_of(&s->ops[i]);
		keep(s, k);
	}
	pthread_mutex_unlock(&sh->peers_lock);
	return r;
}

static ssize_t op_stats(struct server_req *req,
			const struct fuse_wire_peer_in *in)
{
	unsigned char *out = req->t->reply + sizeof(struct fuse_ioctl_out);
	uint64_t ops[FUSE_WIRE_PEER_OPS];
	struct fuse_wire_peer p;
	struct kept k = { 0 };
	size_t len = sizeof(struct fuse_ioctl_out) + sizeof(p) + sizeof(ops);
	int r = look_up(req, in->id, &p, ops, &k);

	if (r)
		return r;
	if (is_kept(&k)) {
		k.ops->touch(true);
		copy_page(k.page, out + sizeof(p) + sizeof(ops));
		if (in->ask)
			p.asked = ask(k.ask);
		k.ops->touch(false);
		len += GAUGE_BYTES;
	}
	drop(&k);
	memcpy(out, &p, sizeof(p));
	memcpy(out + sizeof(p), ops, sizeof(ops));
	return (ssize_t)len;
}

/* ------------------------------------------------------------------ names */

/* The node of that session, pinned: who puts it needs the share only. */
static int find_node(struct server_req *req, uint64_t id, uint64_t node,
		     struct server_inode **ret)
{
	struct server_share *sh = req->share;
	struct server_session *s;
	int r;

	pthread_mutex_lock(&sh->peers_lock);
	s = find_locked(sh, id);
	if (!s)
		r = -ENOENT;
	else if (!may_see(req->s, s) ||
		 /* no pair: it is set before the session has any node */
		 !atomic_load_explicit(&s->gauge_gpa, memory_order_relaxed) ||
		 atomic_load_explicit(&s->no_names, memory_order_relaxed))
		r = -EACCES;
	else
		r = server_node_get(s, node, ret);
	pthread_mutex_unlock(&sh->peers_lock);
	return r;
}

/* What the system calls @fd, as seen by this process; its length. */
static ssize_t path_of(struct server_share *sh, int fd, char *buf, size_t len)
{
	char name[12];
	ssize_t n = readlinkat(sh->cfg.proc_fd, server_fd_name(fd, name), buf,
			       len);

	if (n < 0)
		return -errno;
	return (size_t)n < len ? n : -ENAMETOOLONG;
}

/* Below the share: what is before that is told nobody. */
static ssize_t path_below(struct server_share *sh, int fd, char *buf)
{
	char root[PATH_MAX];
	ssize_t skip = path_of(sh, sh->root->fd, root, sizeof(root));
	ssize_t n = path_of(sh, fd, buf, PATH_MAX);

	if (skip < 0 || n < 0)
		return skip < 0 ? skip : n;
	if (skip == 1)
		skip = 0; /* "/", as of a sandbox */
	if (n < skip || memcmp(root, buf, (size_t)skip) ||
	    (n > skip && buf[skip] != '/'))
		return -ENOENT;
	skip += n > skip; /* and the slash */
	memmove(buf, buf + skip, (size_t)(n - skip));
	return n - skip;
}

static ssize_t op_peer_name(struct server_req *req,
			    const struct fuse_ioctl_in *in)
{
	size_t room = req->in_len - sizeof(struct fuse_out_header);
	struct fuse_wire_peer_name_in arg;
	struct server_inode *ino;
	ssize_t n;

	if (in->in_size != sizeof(arg) ||
	    room < sizeof(struct fuse_ioctl_out) + PATH_MAX ||
	    req->arg_len < sizeof(*in) + sizeof(arg))
		return -EINVAL;
	memcpy(&arg, req->t->arg + sizeof(*in), sizeof(arg));
	n = find_node(req, arg.id, arg.node, &ino);
	if (n)
		return n;
	n = path_below(req->share, ino->fd, (char *)req->t->reply +
					    sizeof(struct fuse_ioctl_out));
	server_inode_unpin(req->share, ino);
	server_inode_unref(req->share, ino);
	if (n < 0)
		return n;
	memset(req->t->reply, 0, sizeof(struct fuse_ioctl_out));
	return n + (ssize_t)sizeof(struct fuse_ioctl_out);
}

ssize_t server_op_peer(struct server_req *req, const struct fuse_ioctl_in *in)
{
	struct fuse_wire_peer_in arg;
	size_t room = req->in_len - sizeof(struct fuse_out_header);
	size_t need = sizeof(struct fuse_ioctl_out) +
		      sizeof(struct fuse_wire_peer);

	if (in->cmd == FUSE_WIRE_IOC_PEER_NAME)
		return op_peer_name(req, in);
	if (in->cmd == FUSE_WIRE_IOC_PEER_STATS)
		need += FUSE_WIRE_PEER_OPS * sizeof(uint64_t) + GAUGE_BYTES;
	if (in->in_size != sizeof(arg) || room < need ||
	    req->arg_len < sizeof(*in) + sizeof(arg))
		return -EINVAL;
	memcpy(&arg, req->t->arg + sizeof(*in), sizeof(arg));
	memset(req->t->reply, 0, sizeof(struct fuse_ioctl_out));
	return in->cmd == FUSE_WIRE_IOC_PEER_NEXT ? op_next(req, arg.id) :
						    op_stats(req, &arg);
}
