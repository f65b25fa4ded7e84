/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Private to src/client: a session, its requests, inodes and files.
 *
 * LOCKS, in the order in which they are taken (a thread holding one takes only
 * those below it):
 *
 *   queue->lock      mutex: of one queue (queue.h); above submit_lock, nothing
 *                    is sent with it
 *   inode->lock      rwlock: size-changing and overwriting I/O exclusive;
 *                    held across messages
 *   (locks of src/dax)
 *   append_lock          mutex: handles that gather appends, the worker's state;
 *                        short
 *   held_lock            mutex: descriptors that came with mappings; mmap(2)
 *   session->table_lock  mutex: hash, LRU, inode.refs, inode.nlookup; short
 *   inode->attr_lock     mutex: attributes and their validity; short
 *   forget_lock          mutex: queue 0, its slots, the forgets not yet sent
 *   submit_lock          mutex: free slots, the request queue's available ring
 *   wait_lock            mutex: the list of followers
 *   watch_lock           mutex: watches and their events; above table_lock,
 *                        nothing is sent with it
 *   close_lock           mutex: handles to be closed; nothing is taken with it
 *
 * The right to reap (session->reaping) is no lock but a flag that one waiting
 * thread holds; it is never waited for, see call.c.
 */
#ifndef ORIEL_CLIENT_CLIENT_H
#define ORIEL_CLIENT_CLIENT_H

#include <oriel/oriel.h>

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/spin.h"
#include "base/util.h"
#include "dax/dax.h"
#include "client/gauge.h"
#include "embed/embed.h"
#include "vhost/frontend.h"
#include "wire/fuse.h"

#define CLIENT_QUEUE_HIPRIO 0u
#define CLIENT_QUEUE_REQUEST 1u

#define CLIENT_SLOT_IN_BYTES 4096u  /* header, fixed arguments, names */
#define CLIENT_SLOT_OUT_BYTES 4096u /* header, fixed results */
/* Most slots that client_post() leaves alone. */
#define CLIENT_SLOTS_KEPT 8u
#define CLIENT_FORGET_SLOTS 16u
#define CLIENT_FORGET_BATCH 128u
#define CLIENT_MAX_IOV 1024

/* ------------------------------------------------------------- requests */

enum client_slot_state {
	SLOT_PENDING,  /* in the ring, its owner is awake */
	SLOT_SLEEPING, /* in the ring, its owner sleeps on the word */
	SLOT_LEAD,     /* in the ring, its owner is asked to reap */
	SLOT_DONE,     /* answered, or given up with slot.err */
};

/* One request in flight: a fixed piece of the arena. */
struct client_slot {
	_Atomic uint32_t state; /* enum client_slot_state; futex */
	int err;                /* with SLOT_DONE: the transport's verdict */
	uint32_t used_len;      /* what the device says it wrote */
	uint64_t unique;
	bool abandoned;         /* its owner timed out; guarded by submit_lock */
	struct client_async *async; /* who takes the answer; NULL: the owner;
				       guarded by submit_lock */
	unsigned char *in;      /* CLIENT_SLOT_IN_BYTES */
	unsigned char *out;     /* CLIENT_SLOT_OUT_BYTES */
	unsigned char *data;    /* session->slot_data_bytes */
	struct list node;       /* free list (submit_lock) or followers
				   (wait_lock) */
};

/*
 * One FUSE request as the operations see it. Zero-initialise; everything
 * pointed to stays the caller's and is used until client_call() returns.
 */
struct client_call {
	uint32_t opcode;
	uint64_t nodeid;
	const void *arg; /* fixed part after the header */
	size_t arg_len;
	const char *names[2]; /* NUL-terminated, after the fixed part */
	const struct iovec *in; /* bulk data to send */
	unsigned n_in;
	size_t in_len;
	size_t in_skip; /* bytes of @in to pass over first */
	void *out;      /* fixed result */
	size_t out_len; /* its size */
	size_t out_min; /* shortest acceptable; 0: out_len */
	const struct iovec *bulk; /* where bulk results go */
	unsigned n_bulk;
	size_t bulk_len;  /* most bytes wanted */
	size_t bulk_skip; /* bytes of @bulk to pass over first */
	size_t ret_bulk;  /* bytes that came */
	bool maps;        /* may lead to SHMEM_MAP: serve the channel */
	uint32_t timeout_ms; /* 0: the session's */
};

/* Send and wait. 0, the daemon's -errno, or the transport's. */
ORIEL_MUST_CHECK int client_call(struct oriel_session *s,
				 struct client_call *c);

ORIEL_MUST_CHECK int client_calls_init(struct oriel_session *s);
void client_calls_done(struct oriel_session *s);

/* The session is over: remember why, end every wait. Idempotent. */
void client_die(struct oriel_session *s, int err);

/* Give @nlookup references of @nodeid back. Never waits for an answer. */
void client_forget(struct oriel_session *s, uint64_t nodeid, uint64_t nlookup);
/* Send what waits for a slot, if there is one now and nobody else does. */
void client_forget_more(struct oriel_session *s);
/* Push out what is still queued; at most @timeout_ms. */
void client_forget_flush(struct oriel_session *s, int timeout_ms);

/* --------------------------------------------------------------- inodes */

/* Of the descriptors of an inode; see held.c. */
enum client_held_kind {
	CLIENT_HELD_READ,
	CLIENT_HELD_WRITE, /* serves reading too */
	CLIENT_HELD,
};

struct client_inode {
	struct oriel_session *s;
	uint64_t nodeid;
	uint64_t generation;
	uint32_t type; /* S_IFMT bits; never change */

	/* guarded by session->table_lock */
	unsigned refs;
	uint64_t nlookup;
	bool hashed;
	bool nameless; /* lost a name and was not looked up since: its last
			  user is the last */
	struct list hash_node;
	struct list lru_node;

	pthread_rwlock_t lock; /* see the head of this file */
	_Atomic uint64_t size; /* changed under attr_lock, read without */
	_Atomic bool bad;      /* stale generation: I/O says -EIO */
	/* who holds gathered appends; changes under lock (append.c) */
	struct oriel_file *_Atomic appender;
	_Atomic unsigned n_maps; /* oriel_map() not given back: no gathering */
	/* extend.c, under lock: by message since the last try for a descriptor,
	 * and how many have to be */
	unsigned n_extended;
	unsigned extend_patience;
	_Atomic bool mtime_owed; /* window writes not yet in mtime */
	_Atomic bool privs_clean; /* set-uid and capabilities dropped since the
				     last look (row B9) */

	pthread_mutex_t attr_lock;
	struct fuse_attr attr;   /* guarded by attr_lock */
	uint64_t attr_until_ns;  /* guarded by attr_lock; 0: not valid */
	uint64_t attr_version;   /* guarded by attr_lock */
	uint64_t cut_version;    /* guarded by attr_lock: of our last truncation */

	struct dax_inode dax;

	/* held.c: -1, or a descriptor. Written under held_lock. */
	_Atomic int held[CLIENT_HELD];
	_Atomic bool held_used;
	struct list held_node; /* session->held; guarded by held_lock */
};

ORIEL_MUST_CHECK int client_inodes_init(struct oriel_session *s);
/* Drop every inode; the session must be closed for messages. */
void client_inodes_done(struct oriel_session *s);

/* Of a reply that is too old to say anything of a known inode. */
#define CLIENT_VERSION_OLD UINT64_MAX

/*
 * The inode of a reply that counts as a lookup, with one reference. @version is
 * client_version() from before the request, or CLIENT_VERSION_OLD: count it and
 * do not believe the attributes. On failure the lookup has been given back.
 */
ORIEL_MUST_CHECK int client_inode_get(struct oriel_session *s,
				      const struct fuse_entry_out *entry,
				      uint64_t version,
				      struct client_inode **ret);
void client_inode_ref(struct client_inode *ino);
/* Take inode->lock for writing: 0, or -ETIMEDOUT when the daemon has answered
 * nobody for the session's time limit. */
ORIEL_MUST_CHECK int client_inode_lock(struct client_inode *ino);
void client_inode_unlock(struct client_inode *ino);
/* One of its names was removed: it is not worth keeping for the next user. */
void client_inode_nameless(struct client_inode *ino);
/* The last reference leaves it in the cache, which may evict another one. */
void client_inode_put(struct client_inode *ino);

/* The one known by that number, no reference taken, or NULL. table_lock. */
struct client_inode *client_inode_find_locked(struct oriel_session *s,
					      uint64_t nodeid);

/* Order of local changes and replies: attributes from a request sent before a
 * local change are dropped. */
uint64_t client_version(struct oriel_session *s);
/* A local change: attributes known so far and those in flight are void. */
void client_attr_invalidate(struct client_inode *ino);
/* The same, and the size is at least @size. */
void client_size_raise(struct client_inode *ino, uint64_t size);
/* A reply to a request sent at @version showed bytes up to @size; void if there
 * was a local change since. */
void client_size_seen(struct client_inode *ino, uint64_t size,
		      uint64_t version);
/* A write of ours, sent at @version without the inode's lock, ended at @size:
 * the size is at least that, unless we have truncated it since. */
void client_size_grown(struct client_inode *ino, uint64_t size,
		       uint64_t version);
/* The size is @size now (truncation). */
void client_size_set(struct client_inode *ino, uint64_t size);
/* The size was @size after a change of ours, which was begun at @version. False:
 * there was another one, so it has to be asked for. */
ORIEL_MUST_CHECK bool client_size_is(struct client_inode *ino, uint64_t size,
				     uint64_t version);
/* Attributes from a reply. */
void client_attr_apply(struct client_inode *ino, const struct fuse_attr *attr,
		       uint64_t valid_s, uint32_t valid_ns, uint64_t version);
/* Copy valid attributes to *@ret; false if there are none. */
bool client_attr_cached(struct client_inode *ino, struct fuse_attr *ret);
/* Is what a request of @version was told still so, as far as we are concerned? */
bool client_attr_is_current(struct client_inode *ino, uint64_t version);
/* GETATTR. @fh FUSE_WIRE_NO_FH: by nodeid. */
ORIEL_MUST_CHECK int client_getattr(struct client_inode *ino, uint64_t fh,
				    struct fuse_attr *ret);
/* SETATTR; applies and returns the new attributes. */
ORIEL_MUST_CHECK int client_do_setattr(struct client_inode *ino,
				       struct fuse_setattr_in *in,
				       struct fuse_attr *ret);
/* Settle mtime if window writes owe it (row B8). */
ORIEL_MUST_CHECK int client_settle_times(struct client_inode *ino, uint64_t fh);
/* The same for every inode of the session, open or not, once each; the first
 * error, after all were tried. */
ORIEL_MUST_CHECK int client_settle_all(struct oriel_session *s);
/* Set-uid, set-gid and capabilities go before the first window write (B9). */
ORIEL_MUST_CHECK int client_drop_privs(struct client_inode *ino);
void client_attr_to_stat(const struct client_inode *ino,
			 const struct fuse_attr *a, struct oriel_stat *ret);

/* ------------------------------------------------------------ path cache */

ORIEL_MUST_CHECK int client_paths_init(struct oriel_session *s);
void client_paths_done(struct oriel_session *s);
/* True: *@ret is what a stat of @path found lately, which is still believed. */
bool client_paths_stat(struct oriel_session *s, const char *path, bool nofollow,
		       struct oriel_stat *ret);
/* @path was found to be @ino. @names_changed: client_names_changed() from
 * before. */
void client_paths_learn(struct client_inode *ino, const char *path,
			bool nofollow, uint64_t names_changed);
/* How long an entry is valid is known from this reply. */
void client_paths_entry(struct oriel_session *s,
			const struct fuse_entry_out *entry);

/* ----------------------------------------------------------- held files */

void client_held_init(struct oriel_session *s);
void client_held_done(struct oriel_session *s);
void client_held_inode_init(struct client_inode *ino);
/* Close what @ino has; nobody may use it any more. */
void client_held_drop(struct client_inode *ino);
/* @fd came with a mapping of @ino; keeps it or closes it. */
void client_held_adopt(struct client_inode *ino, int fd, bool writable);
/* Is there one? A hint. */
bool client_held_has(struct client_inode *ino, bool writes);
/* Map without the daemon: 0; -ENOENT: nothing is held for that; or -errno. */
ORIEL_MUST_CHECK int client_held_map(struct client_inode *ino,
				     const struct dax_map_request *req);
/* pread(2) of a held descriptor; -ENOENT if there is none. */
ORIEL_MUST_CHECK ssize_t client_held_read(struct client_inode *ino, void *buf,
					  size_t len, uint64_t pos);
/* pwrite(2) of a held descriptor; -ENOENT if there is none. The inode's lock is
 * held, and the bytes are below the size. */
ORIEL_MUST_CHECK ssize_t client_held_write(struct client_inode *ino,
					   const void *buf, size_t len,
					   uint64_t pos);
/* A descriptor to write with, and may it be used? A hint. */
bool client_held_writes(struct client_inode *ino);
#define CLIENT_AT_END UINT64_MAX
/* pwritev(2) at @pos, or at the end, wherever that is; where the file ended
 * afterwards in *@ret_end. */
ORIEL_MUST_CHECK ssize_t client_held_extend(struct client_inode *ino,
					    const struct iovec *iov,
					    unsigned n_iov, uint64_t pos,
					    uint64_t *ret_end);
/* Are the bytes (@len > 0) in memory but for an eighth? True if that cannot be
 * told. */
bool client_held_is_resident(struct client_inode *ino, uint64_t off,
			     uint64_t len);

/* ---------------------------------------------------------------- paths */

#define CLIENT_WALK_NOFOLLOW 1u /* of the last component */

/* A resolved path; release with client_walk_done(). */
struct client_walk {
	struct client_inode *dir; /* of the last name; never NULL */
	char name[FUSE_WIRE_NAME_MAX + 1]; /* "" when the path is the root, or
					      ends in "." or ".." */
	struct client_inode *ino; /* what it names; NULL: not there, or not
				     looked up */
	bool must_be_dir; /* trailing slash */
	/* with @ino, if this walk looked it up: what it was told, when */
	struct fuse_attr attr;
	uint64_t version; /* CLIENT_VERSION_OLD: it did not */
};

/* What a walk is to do with the regular file (O_DIRECTORY: the directory) that it
 * ends in, if it can be had with the same message. */
struct client_walk_open {
	int flags;           /* of open(2), as the daemon is to see them */
	struct iovec data;   /* read its beginning into it, and close it again if
				that is all of it; iov_len 0: do not */
	/* what has been done */
	bool tried;          /* err, or a handle unless it is closed again */
	bool has_fh;
	bool has_data;
	int err;
	uint64_t fh;
	uint32_t fopen_flags;
	size_t data_len;
};

/* Resolve all of @path; -ENOENT if the last component is not there. */
ORIEL_MUST_CHECK int client_walk(struct oriel_session *s, const char *path,
				 unsigned flags, struct client_walk *ret);
/* As client_walk(), but a missing last component is success, ino NULL. @open
 * NULL: only resolve. On failure too a handle may be in @open. */
ORIEL_MUST_CHECK int client_walk_create(struct oriel_session *s,
					const char *path, unsigned flags,
					struct client_walk_open *open,
					struct client_walk *ret);
/* Directory and name only; -EBUSY if there is no name ("/", "a/.."). */
ORIEL_MUST_CHECK int client_walk_parent(struct oriel_session *s,
					const char *path,
					struct client_walk *ret);
void client_walk_done(struct client_walk *w);
/* One LOOKUP. */
ORIEL_MUST_CHECK int client_lookup(struct client_inode *dir, const char *name,
				   struct client_inode **ret);
/* The same, and the attributes that came with it. */
ORIEL_MUST_CHECK int client_lookup_attr(struct client_inode *dir,
					const char *name, struct fuse_attr *attr,
					struct client_inode **ret);
ORIEL_MUST_CHECK ssize_t client_readlink(struct client_inode *ino, char *buf,
					 size_t len);

/* ----------------------------------------------------------- compound.c */

/* Names to be looked up one after the other, in one message. */
struct client_names {
	char path[FUSE_WIRE_WALK_PATH]; /* slashes between them, no NUL */
	size_t len;
	unsigned n;
	/* found: counted inodes, the attributes of the last one */
	struct client_inode *found[FUSE_WIRE_WALK_NAMES];
	unsigned n_found;
	int err; /* of the name after those; 0: it ends with what leads no
		    further */
	struct fuse_attr attr;
};

/* Is the daemon one that can be asked for several things at once? */
bool client_can_compound(const struct oriel_session *s);
/* Add a name; false: there is no room for it. */
bool client_names_add(struct client_names *names, const char *name, size_t len);
/*
 * Look them up from @dir on, and open what the last one names (@open may be
 * NULL). 0: @names->found are the caller's. -EOPNOTSUPP: this daemon has to be
 * asked one by one; or another -errno. Outputs are of a success only.
 */
ORIEL_MUST_CHECK int client_compound(struct client_inode *dir,
				     struct client_names *names,
				     struct client_walk_open *open);
/* RELEASE; nothing can be done about a failure. */
void client_release(struct oriel_session *s, uint32_t opcode, uint64_t nodeid,
		    uint64_t fh);
/* Close @fh, which was open for reading, along with something else that is asked
 * for, or by @opcode now. */
void client_release_later(struct oriel_session *s, uint32_t opcode,
			  uint64_t nodeid, uint64_t fh);
/* @nodeid's are closed now, if there are any. */
void client_release_now(struct oriel_session *s, uint64_t nodeid);

/* ---------------------------------------------------------------- files */

struct oriel_file {
	struct oriel_session *s;
	struct client_inode *ino;
	uint64_t fh;
	int flags;          /* open(2) flags */
	bool has_fh;        /* RELEASE is owed */
	bool no_flush;      /* the daemon says that close(2) cannot fail */
	struct list node;   /* session->files; guarded by table_lock */
	char *path;         /* for error texts */
	struct client_append *append; /* NULL: never gathered; inode->lock */
	_Atomic int append_err; /* of a flush, not yet told */
};

/* Let go of what oriel_map() still holds. */
void client_unmap_all(struct oriel_session *s);

/* ------------------------------------------------------------- sessions */

#define CLIENT_CLOSING 8u

/* A handle that the next request that can takes along to be closed. */
struct client_closing {
	uint64_t nodeid;
	uint64_t fh;
	uint32_t opcode; /* to release it by itself */
};

struct oriel_session {
	struct oriel_options opts; /* defaults filled in */
	char *share;
	struct vhost_frontend *fe;
	const struct vhost_frontend_info *fi;
	struct embed_child child; /* child.pid 0: not embedded */
	pid_t peer_pid;

	/* INIT's outcome; constant afterwards */
	uint64_t fuse_flags;
	uint32_t minor;
	uint32_t max_write;
	uint32_t max_read;
	bool dax_by_attr; /* HAS_INODE_DAX: per file, by the daemon */
	char dax_why[200];
	uint32_t uid;
	uint32_t gid;
	uint32_t pid; /* getpid(2) is a system call */

	_Atomic int dead;     /* 0, or the sticky -errno */
	_Atomic bool closing; /* oriel_disconnect() closed the files */
	_Atomic uint64_t goodbye_ns; /* 0, or when to stop waiting: set as
					oriel_disconnect() begins */

	struct dax_window *dax; /* NULL: messages only */

	/* path_cache.c; NULL: off */
	struct client_paths *paths;      /* table_lock */
	_Atomic uint64_t entry_valid_ns; /* the least of all that came */
	_Atomic uint64_t names_changed;  /* requests that may have */

	/* held.c: held_lock */
	pthread_mutex_t held_lock;
	struct list held; /* client_inode.held_node, oldest first */
	unsigned n_held;  /* descriptors */
	unsigned max_held; /* constant */
	bool holds_for_writes; /* constant: pwrite(2) does as FUSE_WRITE */

	_Atomic uint64_t nosys; /* bits: opcodes answered with -ENOSYS */

	_Atomic bool compound; /* the daemon knows FUSE_WIRE_IOC_WALK */
	/* compound.c: close_lock */
	pthread_mutex_t close_lock;
	struct client_closing closing_fhs[CLIENT_CLOSING];
	_Atomic unsigned n_closing_fhs; /* changed under the lock, looked at
					   without */

	/* inodes: table_lock */
	pthread_mutex_t table_lock;
	struct list *hash;
	size_t hash_len; /* power of two */
	struct list lru; /* refs 0, least recently used first */
	size_t n_inodes;
	size_t n_lru;
	struct list evict_later; /* client_inode.lru_node; table_lock */
	struct list files;
	size_t n_files;
	struct list pins; /* oriel_mapping.node */
	struct list queues; /* oriel_queue.node */
	struct client_inode *root;
	_Atomic uint64_t version;

	/* forgets: forget_lock */
	pthread_mutex_t forget_lock;
	struct client_slot forget_slots[CLIENT_FORGET_SLOTS];
	unsigned forget_in_flight;
	struct fuse_forget_one *forgets; /* not yet sent */
	size_t n_forgets;
	size_t cap_forgets;
	_Atomic bool forgets_wait; /* n_forgets is not 0; changed under the
				      lock, looked at without */

	/* requests: submit_lock */
	pthread_mutex_t submit_lock;
	pthread_cond_t slot_freed;
	struct client_slot *slots;
	unsigned n_slots;
	size_t slot_data_bytes;
	struct list free_slots;
	unsigned n_abandoned; /* slots whose owner timed out */
	unsigned n_posts;     /* slots that client_post() uses, or has used and
				 whose answers are late */
	unsigned max_posts;   /* constant */
	struct list posts_wait; /* client_async.node: for a slot */
	unsigned max_in_flight;
	uint64_t next_unique;
	struct ring_driver *rq;

	/* waiting: see call.c */
	_Atomic bool reaping;
	_Atomic bool lead_asleep; /* the leader sleeps, or is about to */
	pthread_mutex_t wait_lock;
	struct list followers;
	_Atomic unsigned maps_pending;
	_Atomic uint64_t n_answers; /* that it makes headway */
	_Atomic uint64_t spin_ns;  /* polling before sleeping */
	struct spin_habit habit;   /* of who has the right to reap */

	/* watch.c: watch_lock */
	pthread_mutex_t watch_lock;
	struct list watches;
	uint64_t next_watch;
	pthread_t watch_thread;
	bool watching;   /* there is such a thread, or has been */
	bool watch_stop; /* it has to end */
	int watch_err;   /* why it did by itself; 0: it runs */

	struct client_gauge gauge;

	/* append.c: append_lock */
	pthread_mutex_t append_lock;
	pthread_cond_t append_wake;
	struct list appends; /* handles that hold something, oldest first */
	pthread_t append_thread;
	bool appending; /* there is such a thread */
	bool append_stop;
	uint64_t append_next_ns; /* when it wakes by itself; 0: awake */

	_Atomic uint64_t n_requests;
	_Atomic uint64_t n_forgotten;
	_Atomic uint64_t n_sleeps;
	_Atomic uint64_t msg_read_bytes;
	_Atomic uint64_t held_read_bytes;
	_Atomic uint64_t held_written_bytes;
	_Atomic uint64_t msg_write_bytes;
};

/* 0, or why nothing can be asked any more. */
static inline int client_is_dead(struct oriel_session *s)
{
	/* pairs with the release in client_die() */
	return atomic_load_explicit(&s->dead, memory_order_acquire);
}

/* Has @opcode (< 64) been answered with -ENOSYS before? */
bool client_is_nosys(struct oriel_session *s, uint32_t opcode);

/* DAX callbacks of src/dax; owner is the session, file the client_inode. */
extern const struct dax_owner_ops client_dax_ops;

/* Message I/O, at most one request each. @skip bytes of @iov are passed over. */
ORIEL_MUST_CHECK ssize_t client_msg_read(struct oriel_file *f,
					 const struct iovec *iov,
					 unsigned n_iov, size_t skip,
					 size_t len, uint64_t pos);

/* What is to be written: @len bytes of @iov from @skip on; skip 0: all of it. */
struct client_write {
	const struct iovec *iov;
	unsigned n_iov;
	size_t skip;
	size_t len;
	uint64_t pos; /* with O_APPEND: where the end is believed to be */
};

/* extend.c; inode->lock is held for writing. Bytes (> 0) or -errno; what is
 * known of the size is as it has to be afterwards. */
ORIEL_MUST_CHECK ssize_t client_msg_write(struct oriel_file *f,
					  const struct client_write *w);
/* The same, which may need no message. */
ORIEL_MUST_CHECK ssize_t client_extend(struct oriel_file *f,
				       const struct client_write *w);

/* End what oriel_queue_free() was not called for. */
void client_queues_done(struct oriel_session *s);

/* Watches end, and their thread; for oriel_disconnect(). */
void client_watches_init(struct oriel_session *s);
void client_watches_done(struct oriel_session *s);

/* --------------------------------------------------------------- gauge.c */

void client_gauge_init(struct oriel_session *s);
/* Say in FUSE_INIT where the page is, if there is one and a daemon for it. */
void client_gauge_place(struct oriel_session *s, struct fuse_init_in *in);
/* The session is whole: it may be looked at. */
void client_gauge_start(struct oriel_session *s);
/* Before anything that it looks at goes; also if never started. */
void client_gauge_stop(struct oriel_session *s);
void client_gauge_message(struct oriel_session *s, uint32_t opcode,
			  uint64_t start_ns) __attribute__((cold));

/* Is there a question, or has there been one lately? */
static inline bool client_gauge_is_asked(const struct oriel_session *s)
{
	/* relaxed: a hint, one message more or less */
	return __atomic_load_n(s->gauge.ask, __ATOMIC_RELAXED) !=
	       atomic_load_explicit(&s->gauge.quiet, memory_order_relaxed);
}

/* A message that was sent at @start_ns has been answered. */
static inline void client_gauge_hook(struct oriel_session *s, uint32_t opcode,
				     uint64_t start_ns)
{
	if (ORIEL_UNLIKELY(client_gauge_is_asked(s)))
		client_gauge_message(s, opcode, start_ns);
}

/* For dax_owner_ops.tick: there is I/O that sends no message. */
void client_gauge_tick(void *owner) __attribute__((cold));

/* --------------------------------------------------------------- errors */

/* Remember the sentence for this thread and return @err. */
int client_fail(int err, const char *fmt, ...) ORIEL_PRINTF(2, 3);
/* The same for connects. */
int client_connect_fail(int err, const char *fmt, ...) ORIEL_PRINTF(2, 3);
void client_connect_ok(void);

/* Requests of this session that may have changed a name. */
static inline uint64_t client_names_changed(struct oriel_session *s)
{
	/* acquire: pairs with the release in client_call() */
	return atomic_load_explicit(&s->names_changed, memory_order_acquire);
}

#endif
