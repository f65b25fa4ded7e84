/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inodes: the table by nodeid, the count of lookups owed to the daemon, and the
 * cache of those nobody uses.
 *
 * An inode is in the table from its first reply until it is evicted. refs counts
 * users (open files, operations under way); at 0 it waits in the LRU list, and
 * when there are more than opts.inode_cache of those the oldest goes: out of the
 * table, then its mappings (REMOVEMAPPING), then FORGET with all its lookups
 * (row A25). A nodeid may come back while its old object is on its way out: the
 * counts of both add up at the daemon, so nothing is lost or given twice.
 */
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/epoch.h"
#include "base/log.h"

/* How often one who waits for an inode looks whether there is headway. */
#define LOCK_SLICE_NS 50000000L
/* What dax.h promises at most, and the wire allows. */
#define REMOVE_MAX 128u

int client_inodes_init(struct oriel_session *s)
{
	s->hash_len = 256;
	while (s->hash_len < s->opts.inode_cache && s->hash_len < (1u << 20))
		s->hash_len *= 2;
	s->hash = malloc(s->hash_len * sizeof(*s->hash));
	if (!s->hash)
		return -ENOMEM;
	for (size_t i = 0; i < s->hash_len; i++)
		list_init(&s->hash[i]);
	list_init(&s->lru);
	list_init(&s->evict_later);
	list_init(&s->files);
	return 0;
}

static struct list *bucket(struct oriel_session *s, uint64_t nodeid)
{
	/* Fibonacci hashing: nodeids are often consecutive */
	return &s->hash[(nodeid * UINT64_C(0x9e3779b97f4a7c15) >> 32) &
			(s->hash_len - 1)];
}

struct client_inode *client_inode_find_locked(struct oriel_session *s,
					      uint64_t nodeid)
{
	struct list *head = bucket(s, nodeid), *node;

	list_for_each(node, head) {
		struct client_inode *ino =
			list_entry(node, struct client_inode, hash_node);

		if (ino->nodeid == nodeid)
			return ino;
	}
	return NULL;
}

/* May files of this kind use the window at all? Decided once an inode. */
static bool wants_dax(const struct oriel_session *s,
		      const struct fuse_attr *attr)
{
	if (!s->dax || !S_ISREG(attr->mode))
		return false;
	return !s->dax_by_attr || (attr->flags & FUSE_ATTR_DAX);
}

static int inode_new(struct oriel_session *s,
		     const struct fuse_entry_out *entry,
		     struct client_inode **ret)
{
	struct client_inode *ino = calloc(1, sizeof(*ino));

	if (!ino)
		return -ENOMEM;
	ino->s = s;
	ino->nodeid = entry->nodeid;
	ino->generation = entry->generation;
	ino->type = entry->attr.mode & S_IFMT;
	/* better than nothing, but of unknown age: not valid */
	ino->attr = entry->attr;
	atomic_init(&ino->size, entry->attr.size);
	list_init(&ino->hash_node);
	list_init(&ino->lru_node);
	pthread_rwlock_init(&ino->lock, NULL);
	pthread_mutex_init(&ino->attr_lock, NULL);
	dax_inode_init(&ino->dax, wants_dax(s, &entry->attr) ? s->dax : NULL,
		       ino);
	client_held_inode_init(ino);
	*ret = ino;
	return 0;
}

static void inode_free(struct client_inode *ino)
{
	dax_inode_done(&ino->dax);
	client_held_drop(ino);
	pthread_mutex_destroy(&ino->attr_lock);
	pthread_rwlock_destroy(&ino->lock);
	free(ino);
}

/* Out of the table and the LRU list. */
static void unhash_locked(struct client_inode *ino)
{
	struct oriel_session *s = ino->s;

	if (!ino->hashed)
		return;
	list_del(&ino->hash_node);
	ino->hashed = false;
	s->n_inodes--;
}

static bool is_connected(struct oriel_session *s)
{
	return !client_is_dead(s) && !atomic_load(&s->closing);
}

/* The last of an unhashed inode: mappings, then FORGET. No lock held. */
static void inode_evict(struct client_inode *ino)
{
	struct oriel_session *s = ino->s;
	uint64_t nodeid = ino->nodeid;
	uint64_t nlookup = ino->nlookup;

	/* stores through a pointer that outlived its file (oriel_map) */
	if (is_connected(s) &&
	    client_settle_times(ino, FUSE_WIRE_NO_FH))
		log_debug("node %llu: mtime of window writes is lost",
			  (unsigned long long)nodeid);
	inode_free(ino);
	if (nlookup)
		client_forget(s, nodeid, nlookup);
}

static void ref_locked(struct client_inode *ino)
{
	if (ino->refs++ == 0 && !list_is_empty(&ino->lru_node)) {
		list_del(&ino->lru_node);
		ino->s->n_lru--;
	}
}

void client_inode_ref(struct client_inode *ino)
{
	pthread_mutex_lock(&ino->s->table_lock);
	ref_locked(ino);
	pthread_mutex_unlock(&ino->s->table_lock);
}

/*
 * Whoever holds the lock waits for the daemon, at most as long as we may; but one
 * after the other, that would be several times as long. So all give up when
 * nobody was answered. In slices, because the limit of a lock is a wall clock's.
 */
int client_inode_lock(struct client_inode *ino)
{
	struct oriel_session *s = ino->s;
	uint64_t limit_ns = s->opts.timeout_ms * NS_PER_MS;
	uint64_t seen = atomic_load_explicit(&s->n_answers,
					     memory_order_relaxed);
	uint64_t since_ns;

	if (epoch_is_inside())
		return -EDEADLK; /* oriel_borrow() */
	if (pthread_rwlock_trywrlock(&ino->lock) == 0)
		return 0;
	since_ns = clock_now_ns();
	for (;;) {
		struct timespec ts;
		uint64_t answers;

		clock_gettime(CLOCK_REALTIME, &ts);
		ts.tv_nsec += LOCK_SLICE_NS;
		if (ts.tv_nsec >= (long)NS_PER_S) {
			ts.tv_nsec -= (long)NS_PER_S;
			ts.tv_sec++;
		}
		if (pthread_rwlock_timedwrlock(&ino->lock, &ts) == 0)
			return 0;
		answers = atomic_load_explicit(&s->n_answers,
					       memory_order_relaxed);
		if (answers != seen) {
			seen = answers;
			since_ns = clock_now_ns();
		} else if (clock_now_ns() - since_ns >= limit_ns) {
			return -ETIMEDOUT;
		}
	}
}

void client_inode_unlock(struct client_inode *ino)
{
	pthread_rwlock_unlock(&ino->lock);
}

void client_inode_nameless(struct client_inode *ino)
{
	pthread_mutex_lock(&ino->s->table_lock);
	ino->nameless = true;
	pthread_mutex_unlock(&ino->s->table_lock);
}

void client_inode_put(struct client_inode *ino)
{
	struct oriel_session *s;
	struct client_inode *victim = NULL, *late = NULL;

	if (!ino)
		return;
	s = ino->s;
	pthread_mutex_lock(&s->table_lock);
	oriel_assert(ino->refs > 0);
	if (--ino->refs == 0) {
		if (ino->nameless)
			unhash_locked(ino);
		if (!ino->hashed) {
			victim = ino;
		} else {
			list_add_tail(&s->lru, &ino->lru_node);
			s->n_lru++;
		}
	}
	if (!victim && s->n_lru > s->opts.inode_cache) {
		struct list *node = list_pop_head(&s->lru);

		s->n_lru--;
		victim = list_entry(node, struct client_inode, lru_node);
		unhash_locked(victim);
	}
	if (epoch_is_inside()) {
		/* who has borrowed cannot wait for readers: the next one does */
		if (victim)
			list_add_tail(&s->evict_later, &victim->lru_node);
		victim = NULL;
	} else if (!list_is_empty(&s->evict_later)) {
		late = list_entry(list_pop_head(&s->evict_later),
				  struct client_inode, lru_node);
	}
	pthread_mutex_unlock(&s->table_lock);
	if (victim)
		inode_evict(victim);
	if (late)
		inode_evict(late);
}

/* An entry the daemon may not send. */
static bool entry_is_sane(const struct fuse_entry_out *e)
{
	switch (e->attr.mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		break;
	default:
		return false;
	}
	return e->nodeid != 0 && e->attr.size <= INT64_MAX;
}

int client_inode_get(struct oriel_session *s,
		     const struct fuse_entry_out *entry, uint64_t version,
		     struct client_inode **ret)
{
	struct client_inode *ino, *fresh = NULL, *stale = NULL;
	int err;

	if (!entry_is_sane(entry)) {
		client_die(s, -EPROTO);
		return -EPROTO;
	}
	/* the root's was made up here */
	if (s->paths && entry->nodeid != FUSE_ROOT_ID)
		client_paths_entry(s, entry);
	pthread_mutex_lock(&s->table_lock);
	ino = client_inode_find_locked(s, entry->nodeid);
	if (ino && (ino->generation != entry->generation ||
		    ino->type != (entry->attr.mode & S_IFMT))) {
		/* the number was given to another file: the old one is gone */
		atomic_store(&ino->bad, true);
		unhash_locked(ino);
		if (ino->refs == 0) {
			list_del(&ino->lru_node);
			s->n_lru--;
			stale = ino;
		}
		ino = NULL;
	}
	if (!ino) {
		err = inode_new(s, entry, &fresh);
		if (err) {
			pthread_mutex_unlock(&s->table_lock);
			client_forget(s, entry->nodeid, 1);
			return err;
		}
		ino = fresh;
		ino->hashed = true;
		list_add_head(bucket(s, ino->nodeid), &ino->hash_node);
		s->n_inodes++;
	}
	ino->nlookup++;
	ino->nameless = false;
	ref_locked(ino);
	pthread_mutex_unlock(&s->table_lock);
	if (stale)
		inode_evict(stale);
	if (version != CLIENT_VERSION_OLD)
		client_attr_apply(ino, &entry->attr, entry->attr_valid,
				  entry->attr_valid_nsec, version);
	*ret = ino;
	return 0;
}

/* Inodes of one bucket that owe an mtime, each with a reference. */
static unsigned owing_locked(struct list *head, struct client_inode **v,
			     unsigned max)
{
	struct list *node;
	unsigned n = 0;

	list_for_each(node, head) {
		struct client_inode *ino =
			list_entry(node, struct client_inode, hash_node);

		if (n < max && atomic_load(&ino->mtime_owed)) {
			ref_locked(ino);
			v[n++] = ino;
		}
	}
	return n;
}

int client_settle_all(struct oriel_session *s)
{
	struct client_inode *v[32];
	int first = 0;

	for (size_t i = 0; i < s->hash_len; i++) {
		unsigned n;

		pthread_mutex_lock(&s->table_lock);
		n = owing_locked(&s->hash[i], v, ARRAY_LEN(v));
		pthread_mutex_unlock(&s->table_lock);
		for (unsigned k = 0; k < n; k++) {
			int err = client_settle_times(v[k], FUSE_WIRE_NO_FH);

			if (err && !first)
				first = err;
			client_inode_put(v[k]);
		}
	}
	return first;
}

void client_inodes_done(struct oriel_session *s)
{
	struct list *node;

	if (!s->hash)
		return;
	while ((node = list_pop_head(&s->evict_later)))
		inode_free(list_entry(node, struct client_inode, lru_node));
	for (size_t i = 0; i < s->hash_len; i++) {
		while ((node = list_pop_head(&s->hash[i])))
			inode_free(list_entry(node, struct client_inode,
					      hash_node));
	}
	free(s->hash);
	s->hash = NULL;
}

/* ------------------------------------------------------- DAX's callbacks */

/* SETUPMAPPING, after which the daemon hands a descriptor over. */
static int map_by_daemon(struct oriel_session *s,
			 const struct dax_map_request *req)
{
	struct client_inode *ino = req->file;
	struct fuse_setupmapping_in in = {
		.fh = req->fh,
		.foffset = req->file_off,
		.len = req->len,
		.flags = FUSE_SETUPMAPPING_FLAG_READ |
			 (req->writable ? FUSE_SETUPMAPPING_FLAG_WRITE : 0u),
		.moffset = req->window_off,
	};
	struct client_call c = {
		.opcode = FUSE_SETUPMAPPING,
		.nodeid = ino->nodeid,
		.arg = &in,
		.arg_len = sizeof(in),
		.maps = true,
	};

	struct vhost_want want = { .window_off = req->window_off,
				   .len = req->len };
	int err;

	if (s->max_held == 0)
		return client_call(s, &c);
	vhost_frontend_want(s->fe, &want);
	err = client_call(s, &c);
	vhost_frontend_unwant(s->fe, &want);
	if (want.fd < 0)
		return err;
	if (!err && want.file_off == req->file_off)
		client_held_adopt(ino, want.fd, want.writable);
	else
		close(want.fd);
	return err;
}

static int dax_map(void *owner, const struct dax_map_request *req)
{
	int err = client_held_map(req->file, req);

	/* whatever is wrong with it: the daemon will say */
	return err ? map_by_daemon(owner, req) : 0;
}

/* REMOVEMAPPING of at most 128; records follow the count without padding. */
static int unmap_by_daemon(struct oriel_session *s, struct client_inode *ino,
			   const struct fuse_removemapping_one *v, unsigned n)
{
	struct {
		struct fuse_removemapping_in head;
		unsigned char records[REMOVE_MAX * sizeof(*v)];
	} in = { .head.count = n };
	struct client_call c = {
		.opcode = FUSE_REMOVEMAPPING,
		.nodeid = ino->nodeid,
		.arg = &in,
		.arg_len = sizeof(in.head) + n * sizeof(*v),
		.maps = true,
	};

	memcpy(in.records, v, n * sizeof(*v));
	return client_call(s, &c);
}

/* What we mapped ourselves goes at once, the rest in one request. */
static int dax_unmap(void *owner, void *file,
		     const struct dax_unmap_request *reqs, unsigned n)
{
	struct oriel_session *s = owner;
	struct fuse_removemapping_one v[REMOVE_MAX];
	unsigned n_v = 0;

	oriel_assert(n <= REMOVE_MAX);
	for (unsigned i = 0; i < n; i++) {
		if (!vhost_frontend_unmap(s->fe, reqs[i].window_off,
					  reqs[i].len))
			continue;
		v[n_v++] = (struct fuse_removemapping_one){
			.moffset = reqs[i].window_off,
			.len = reqs[i].len,
		};
	}
	return n_v ? unmap_by_daemon(s, file, v, n_v) : 0;
}

static bool dax_is_cheap(void *owner, void *file, enum dax_intent intent)
{
	return intent == DAX_WRITE ? client_held_writes(file) :
				     client_held_has(file, false);
}

static bool dax_is_resident(void *owner, void *file, uint64_t off,
			    uint64_t len)
{
	return client_held_is_resident(file, off, len);
}

static bool dax_is_connected(void *owner)
{
	return is_connected(owner);
}

static bool dax_file_get(void *owner, void *file)
{
	struct oriel_session *s = owner;
	struct client_inode *ino = file;
	bool alive;

	pthread_mutex_lock(&s->table_lock);
	alive = ino->hashed || ino->refs > 0;
	if (alive)
		ref_locked(ino);
	pthread_mutex_unlock(&s->table_lock);
	return alive;
}

static void dax_file_put(void *owner, void *file)
{
	client_inode_put(file);
}

static uint64_t dax_file_id(void *owner, const void *file)
{
	const struct client_inode *ino = file;

	(void)owner;
	return ino->nodeid;
}

const struct dax_owner_ops client_dax_ops = {
	.map = dax_map,
	.unmap = dax_unmap,
	.is_cheap = dax_is_cheap,
	.is_resident = dax_is_resident,
	.is_connected = dax_is_connected,
	.file_get = dax_file_get,
	.file_put = dax_file_put,
	.file_id = dax_file_id,
	.tick = client_gauge_tick,
};
