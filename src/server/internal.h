/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside the FUSE server. One request runs like this:
 *
 *   server_session_handle()   session.c  copies header and arguments once,
 *                                        checks lengths against the table
 *   op_*()                    op_*.c     works on the copy; leaves its answer
 *                                        in req->reply, returns its length
 *   the reply header is written last.
 *
 * LOCKS, in the order in which they are taken; none is held over a system call
 * on a file except map_lock and dax_lock:
 *   share->peers_lock  which sessions there are (op_peer.c); short, but above
 *                      session->lock
 *   session->map_lock  the session's window mappings; held while the front end
 *                      is asked to map or unmap
 *   inode->dax_lock    the descriptors an inode keeps for mappings; held while
 *                      one is opened, which can take as long as somebody's
 *                      lease on the file: so it is not the share's
 *   backing_lock       which files the client's kernel reads and writes
 *                      itself; held while an id is asked for
 *   handle->dir_lock   position of an open directory
 *   session->lock_lock the session's owners of locks, and who waits
 *   session->lock      the session's tables of nodes and handles
 *   share->lock        the share's inodes by (dev, ino, mount)
 *   share->cache.lock  descriptors of inodes with a file handle (file_handle.c)
 *
 * LIFE OF AN INODE. It lives as long as somebody counts it: each session that
 * knows its nodeid, each handle, each mapping, each request that uses it, and
 * the share its root. Its O_PATH descriptor keeps the kernel's inode alive, so
 * the (dev, ino) key cannot come to mean another file while we have it; or its
 * file handle tells the two apart (file_handle.c). inode->fd may be used by who
 * has pinned the inode: every request has those that it names, every handle.
 */
#ifndef ORIEL_SERVER_INTERNAL_H
#define ORIEL_SERVER_INTERNAL_H

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "base/itree.h"
#include "base/list.h"
#include "server/hash.h"
#include "server/server.h"
#include "wire/fuse.h"

/* Arguments of one request without the data of WRITE. */
#define SERVER_ARG_MAX (72u << 10)
/* One reply without the data of READ. */
#define SERVER_REPLY_MAX (64u << 10)
#define SERVER_DENTS_MAX (32u << 10)
#define SERVER_IOV_MAX 1104u
/* Mappings of one session; a front end's kernel allows about as many. */
#define SERVER_MAPPINGS_MAX 65536u
#define SERVER_STATX_MASK (STATX_BASIC_STATS | STATX_MNT_ID)

struct server_inode_key {
	uint64_t dev;
	uint64_t ino;
	uint64_t mnt;
};

/* Which descriptor a mapping uses. */
enum server_dax_kind {
	SERVER_DAX_READ,
	SERVER_DAX_WRITE,
	SERVER_DAX_GUEST_READ,  /* where the file cannot be opened for more */
	SERVER_DAX_GUEST_WRITE,
	SERVER_DAX_KINDS,
};

/* A descriptor open for I/O that mappings share. Under inode->dax_lock. */
/* What a session has had opened for mappings, which may outlive it in those of
 * others: counted, and goes with its last descriptor. */
struct server_tally {
	_Atomic unsigned refs;
	_Atomic uint64_t fds;
};

struct server_dax_fd {
	int fd; /* valid while users > 0 */
	unsigned users;
	struct server_tally *payer; /* whose part of the descriptors it is of */
};

/* Can close(2) of a file report what a write did? As its file system is. */
enum server_close_fails {
	CLOSE_UNKNOWN = 0, /* not asked yet */
	CLOSE_NEVER_FAILS,
	CLOSE_MAY_FAIL,
};

struct server_inode {
	struct hash_node by_key; /* share->lock */
	struct server_inode_key key;
	uint64_t nodeid;
	mode_t type; /* S_IFMT bits; never change */
	int fd;      /* O_PATH; with a handle: -1 while closed */
	unsigned pins;              /* the rest: only with a handle */
	int mount_fd;
	struct file_handle *handle; /* NULL: fd is always open */
	struct list idle;           /* in the cache: open, no pins */
	_Atomic uint64_t refs;
	_Atomic uint8_t close_fails; /* enum server_close_fails */
	_Atomic(struct watch_node *) watch; /* NULL: none; see watch.h */
	pthread_mutex_t dax_lock;
	struct server_dax_fd dax[SERVER_DAX_KINDS];
};

struct server_counters {
	_Atomic uint64_t fds;
	_Atomic uint64_t handles;
	_Atomic uint64_t mappings;
	_Atomic uint64_t sessions;
	_Atomic uint64_t waits; /* for locks, each with a thread */
	/* of sessions that have gone; those of the others are with them */
	_Atomic uint64_t ops[64];
	_Atomic uint64_t queues[16];
};

#define SERVER_MOUNTS_MAX 64u

/* A mount below the share, with any directory on it. */
struct server_mount {
	uint64_t mnt;
	int fd;
};

/* Open descriptors of inodes with a handle that nobody has pinned. */
struct server_fd_cache {
	pthread_mutex_t lock;
	struct list idle; /* the one unused for longest first */
	unsigned n_idle;
	unsigned max;
};

struct server_share {
	_Atomic unsigned refs;
	pthread_mutex_t mounts_lock;
	struct server_mount *mounts; /* NULL: no file handles. mounts_lock */
	unsigned n_mounts;           /* mounts_lock */
	struct server_fd_cache cache;
	struct server_share_config cfg; /* with descriptors of our own */
	struct server_inode *root;
	uint64_t fd_limit;
	uint64_t session_limit; /* of a session: server_quota_locked() */
	_Atomic uint64_t next_nodeid;
	pthread_mutex_t watch_lock; /* while it is started */
	_Atomic(struct server_watch *) watch; /* NULL: not, or not possible */
	pthread_mutex_t lock;
	struct hash_table by_key;
	uint64_t gone; /* inodes that went since memory was given back; lock */
	pthread_mutex_t peers_lock;
	struct list peers;      /* sessions, by id; peers_lock */
	uint64_t last_peer;     /* peers_lock */
	struct server_counters n;
};

/* What one session knows of an inode; session->lock. */
struct server_node {
	struct hash_node by_id;
	struct server_inode *inode; /* counted */
	uint64_t nlookup;
};

/* An open file or directory; counted by the table and by requests. */
struct server_handle {
	struct hash_node by_fh; /* session->lock */
	uint64_t fh;
	_Atomic unsigned refs;
	struct server_share *share;
	struct server_inode *inode; /* counted */
	int fd;
	bool is_dir;
	pthread_mutex_t dir_lock;
	uint64_t dir_pos; /* where fd stands */
	uint64_t dents_tag; /* of entries read by it since its last beginning;
			       no other has the number; dir_lock */
};

struct server_session {
	pthread_mutex_t backing_lock; /* the three below */
	struct hash_table backings;   /* by nodeid */
	struct list idle;             /* backings without users, oldest first */
	unsigned n_idle;
	struct server_share *share;
	struct server_session_config cfg;
	struct list target; /* watch->targets_lock */
	_Atomic bool is_oriel; /* liboriel is the client; as of INIT */
	pthread_mutex_t subs_lock; /* the rest but for "listening"; op_watch.c */
	struct list subs;
	unsigned n_subs;
	struct list events;
	unsigned n_events;
	bool events_lost;
	int no_event_waits;        /* > 0: none may begin */
	bool events_closed;        /* the same, until the next INIT */
	void *event_wait;          /* a token, or NULL */
	uint64_t event_unique;
	bool listening;            /* watch->listeners_lock */
	struct list listener;      /* the same */
	_Atomic bool ready;         /* INIT was answered */
	_Atomic uint64_t flags;     /* agreed */
	_Atomic bool is_guest;      /* see window_ops; as of INIT */
	pthread_mutex_t lock;
	struct hash_table nodes;
	struct hash_table handles;
	uint64_t next_fh;
	pthread_mutex_t map_lock;
	struct itree maps;
	struct server_tally *tally;
	pthread_mutex_t lock_lock;    /* the rest; see op_lock.c */
	pthread_cond_t wait_ended;
	struct list lock_owners;
	_Atomic uint64_t n_owners;    /* those and the waiting: descriptors */
	struct list waits;
	unsigned n_waits;
	int no_waits;                 /* > 0: none may begin */
	uint64_t early[16];           /* requests interrupted too early */
	unsigned early_next;
	struct list peer;             /* share->peers_lock; so is the id */
	uint64_t id;
	uint64_t since_ns;            /* when it began */
	_Atomic uint64_t n_maps;
	_Atomic uint64_t gauge_gpa;   /* 0: it has no gauge page */
	_Atomic uint64_t gauge_ask_gpa;
	_Atomic bool no_names;        /* its files' are told nobody */
	_Atomic uint64_t ops[64];     /* requests by opcode (63: all above) */
	_Atomic uint64_t queues[16];  /* by queue (15: all above) */
};

#define SERVER_GROUPS_MAX 32 /* of the daemon's own; with more they stay */
#define SERVER_EXT_MAX 4096u /* bytes of a request's extensions */

/* Entries of a directory that one of its descriptors has delivered (op_dir.c). */
struct server_dents {
	uint64_t tag; /* whose: server_handle.dents_tag; 0: nobody's */
	uint64_t off; /* what the first of them, at buf[at], is asked for with */
	size_t at;
	size_t len;   /* 0: there are none from @off on */
	_Alignas(16) unsigned char buf[SERVER_DENTS_MAX];
};

/*
 * What a request leaves to be done when it is answered (after.c): closing files
 * takes as long as opening them, and nobody waits for it.
 */
struct server_after {
	struct server_session *s; /* NULL: nothing; it outlives its requests */
	int fd;                   /* -1: none; with its reservation */
	struct server_handle *dir; /* NULL: none; counted */
	size_t dir_want;          /* bytes of entries to read ahead */
	unsigned n_fhs;
	uint64_t fhs[FUSE_WIRE_WALK_CLOSES];
};

/* Buffers and credentials of one serving thread. */
struct server_thread {
	_Alignas(16) unsigned char arg[SERVER_ARG_MAX];
	_Alignas(16) unsigned char reply[SERVER_REPLY_MAX];
	_Alignas(16) unsigned char ext[SERVER_EXT_MAX];
	struct server_dents dents;
	struct iovec iov[SERVER_IOV_MAX];
	uint64_t caps;      /* effective while serving: without CAP_FSETID */
	uint64_t permitted;
	uid_t uid;          /* the daemon's own */
	gid_t gid;
	bool can_switch;    /* may act as the client's user */
	bool switched;
	void *bounce;       /* FUSE_WIRE_MAX_WRITE bytes, or NULL */
	bool masked;        /* a umask of the client's is set */
	bool grouped;       /* a group of the client's user is set */
	int n_groups;       /* the daemon's own; -1: they cannot be changed */
	gid_t groups[SERVER_GROUPS_MAX];
	struct server_after after;
	bool own_cwd;       /* cwd is /proc/self/fd, this thread's only */
};

/* One request in work. */
struct server_req {
	struct server_session *s;
	struct server_share *share;
	struct server_thread *t;
	struct fuse_in_header hdr;  /* checked: len covers header and arg */
	unsigned queue;
	size_t arg_len;             /* bytes in t->arg */
	size_t data_len;            /* of WRITE, behind the arguments */
	size_t ext_off;             /* in the message: its extensions */
	size_t ext_len;
	struct server_inode *inode; /* of hdr.nodeid, where the op names one */
	const struct iovec *out;
	unsigned n_out;
	const struct iovec *in;
	unsigned n_in;
	size_t in_len;
	bool has_group; /* act with this one, too (the host's number) */
	uint32_t group;
	struct fuse_label_view label; /* of what it makes; into t->ext */
	bool direct; /* the payload is already in @in */
	bool covered; /* changes of the directory it is about are noticed */
};

/* session.c: each copies, @src being the client's memory or the other way. */
size_t server_iov_len(const struct iovec *iov, unsigned n);
size_t server_iov_read(const struct iovec *iov, unsigned n, size_t off,
		       void *dst, size_t len);
size_t server_iov_write(const struct iovec *iov, unsigned n, size_t off,
			const void *src, size_t len);
/* The pieces of [@off, @off + @len) of @iov into @dst; how many there are. */
unsigned server_iov_slice(const struct iovec *iov, unsigned n, size_t off,
			  size_t len, struct iovec *dst);

/* share.c: 0, or -EMFILE */
ORIEL_MUST_CHECK int server_fd_reserve(struct server_share *sh);
/* May @s have one more node, handle, owner of locks or mapped file? 0 or
 * -EMFILE; s->lock is held. */
ORIEL_MUST_CHECK int server_quota_locked(const struct server_session *s);
/* How many descriptors are on its account; s->lock is held. */
uint64_t server_fds_locked(const struct server_session *s);
void server_fd_release(struct server_share *sh); /* one reservation */
void server_fd_drop(struct server_share *sh, int fd); /* close and release */

/*
 * after.c: close @fh / @fd when @req is answered, or at once where nobody would do
 * it then or descriptors are scarce. At most FUSE_WIRE_WALK_CLOSES handles and
 * one descriptor a request.
 */
void server_after_close_handle(struct server_req *req, uint64_t fh);
void server_after_close_fd(struct server_req *req, int fd);
/* Read what of @dir comes next, about @want bytes; or do not. Once a request. */
void server_after_read_dir(struct server_req *req, struct server_handle *dir,
			   size_t want);

/* op_dir.c: for after.c */
void server_dir_read_ahead(struct server_thread *t, struct server_handle *h,
			   size_t want);

/* inode.c */
void server_inode_ref(struct server_inode *ino);
void server_inode_unref(struct server_share *sh, struct server_inode *ino);
/*
 * The inode of @name in @dirfd ("": of @dirfd itself), which @stx describes,
 * counted; or NULL if the table does not have it.
 */
struct server_inode *server_inode_find(struct server_share *sh, int dirfd,
				       const char *name,
				       const struct statx *stx);
/* The same, entered with @fd (O_PATH, one reservation) if it is new; @fd is
 * used up in any case. */
ORIEL_MUST_CHECK int server_inode_adopt(struct server_share *sh, int fd,
					const struct statx *stx,
					struct server_inode **ret);
/* The inode behind an open descriptor. */
ORIEL_MUST_CHECK int server_inode_of_fd(struct server_share *sh, int fd,
					struct statx *stx,
					struct server_inode **ret);
/* Open for I/O: regular files only; one reservation goes with the result. */
ORIEL_MUST_CHECK int server_inode_open(struct server_share *sh,
				       struct server_inode *ino, int flags);
ORIEL_MUST_CHECK int server_inode_stat(const struct server_inode *ino,
				       struct statx *ret);
/* "17", for paths relative to proc_fd; @buf of at least 12 bytes. */
const char *server_fd_name(int fd, char *buf);

/* file_handle.c */
void server_fh_init(struct server_share *sh);
ORIEL_MUST_CHECK int server_fh_start(struct server_share *sh);
void server_fh_done(struct server_share *sh);
/* The handle of @name in @dirfd ("": of @dirfd); NULL: there is none. */
struct file_handle *server_fh_new(struct server_share *sh, int dirfd,
				  const char *name);
bool server_fh_equal(const struct file_handle *a, const struct file_handle *b);
/* What to open handles of @key's mount with, or -1; @path_fd is of the inode. */
int server_mount_fd(struct server_share *sh, const struct server_inode_key *key,
		    mode_t type, int path_fd);
ORIEL_MUST_CHECK int server_inode_pin_slow(struct server_share *sh,
					   struct server_inode *ino);
void server_inode_unpin_slow(struct server_share *sh, struct server_inode *ino);
void server_inode_close(struct server_share *sh, struct server_inode *ino);
/* Close the descriptor that nobody used for longest. False: there is none. */
bool server_fh_evict(struct server_share *sh);

/* Keep inode->fd open. 0; -ESTALE: the file is gone; -EMFILE; else -errno. */
ORIEL_MUST_CHECK static inline int server_inode_pin(struct server_share *sh,
						    struct server_inode *ino)
{
	return ORIEL_LIKELY(!ino->handle) ? 0 : server_inode_pin_slow(sh, ino);
}

static inline void server_inode_unpin(struct server_share *sh,
				      struct server_inode *ino)
{
	if (ORIEL_UNLIKELY(ino->handle != NULL))
		server_inode_unpin_slow(sh, ino);
}

/* nodes.c: what a session knows, and lookup */
/* Counted and pinned: 0, -ESTALE: it does not know it, or as pinning. */
ORIEL_MUST_CHECK int server_node_get(struct server_session *s, uint64_t nodeid,
				     struct server_inode **ret);
void server_node_put(struct server_session *s, struct server_inode *ino);
/* Count one lookup of @ino, whose reference is used up in any case. */
ORIEL_MUST_CHECK int server_node_add(struct server_session *s,
				     struct server_inode *ino);
void server_node_forget(struct server_session *s, uint64_t nodeid, uint64_t n);
void server_nodes_clear(struct server_session *s);
ORIEL_MUST_CHECK int server_lookup(struct server_req *req,
				   struct server_inode *dir, const char *name,
				   struct fuse_entry_out *ret);
/* The same, and the inode itself: counted and pinned (server_node_put()). */
ORIEL_MUST_CHECK int server_lookup_keep(struct server_req *req,
					struct server_inode *dir,
					const char *name,
					struct fuse_entry_out *ret,
					struct server_inode **ret_ino);
/* Reply entry for @ino, counting one lookup; its reference is used up. */
ORIEL_MUST_CHECK int server_entry(struct server_req *req,
				  struct server_inode *ino,
				  const struct statx *stx,
				  struct fuse_entry_out *ret);
void server_fill_attr(const struct server_session *s, const struct statx *stx,
		      struct fuse_attr *ret);
uint64_t server_valid_seconds(const struct server_share *sh);

/* watch.c: what others change. @start: begin now, where that is possible. */
struct server_watch *server_watch_get(struct server_share *sh, bool start);
void server_watch_free(struct server_share *sh);
/* Have changes in @dir (pinned) noticed from now on; false: they are not. */
bool server_watch_dir(struct server_req *req, struct server_inode *dir);
/* @ino was found in such a directory. */
void server_watch_found(struct server_share *sh, struct server_inode *ino);
/* The last reference has gone. */
void server_watch_gone(struct server_share *sh, struct server_inode *ino);
/* How long attributes and, if req->covered, a name are believed, in seconds. */
uint64_t server_watch_seconds(const struct server_req *req,
			      struct server_inode *ino,
			      const struct statx *stx);
/* A session that is to be told begins and ends. */
void server_watch_enter(struct server_session *s);
void server_watch_leave(struct server_session *s);

/* op_watch.c: watches of a client */
void server_subs_init(struct server_session *s);
void server_subs_clear(struct server_session *s); /* all of them go */
void server_subs_done(struct server_session *s);
void server_subs_cancel(struct server_session *s, bool begin);

/* op_peer.c: sessions that others can look at */
void server_peers_init(struct server_share *sh);
void server_peers_done(struct server_share *sh);
void server_peer_enter(struct server_session *s);
void server_peer_leave(struct server_session *s);
/* FUSE_INIT says where its gauge page is. */
void server_peer_gauge(struct server_session *s, const struct fuse_init_in *in);
/* Requests of all sessions that are and have been. */
void server_peers_count(struct server_share *sh, struct server_stats *ret);
ssize_t server_op_peer(struct server_req *req, const struct fuse_ioctl_in *in);

/* op_walk.c */
ssize_t server_op_walk(struct server_req *req, const struct fuse_ioctl_in *in);

/* op_file.c: as OPEN does; a descriptor with one reservation, or -errno. */
ORIEL_MUST_CHECK int server_open_fd(struct server_req *req,
				    struct server_inode *ino,
				    const struct fuse_open_in *in);
/* A handle for it; @fd is used up in any case. */
ORIEL_MUST_CHECK int server_open_handle(struct server_req *req,
					struct server_inode *ino, int fd,
					struct fuse_open_out *ret);
/* op_dir.c: as OPENDIR does. */
ORIEL_MUST_CHECK int server_open_dir(struct server_req *req,
				     struct server_inode *dir,
				     struct fuse_open_out *ret);
/* op_data.c: the first @len bytes of the file into the client's memory, behind
 * @skip bytes of the answer. */
ORIEL_MUST_CHECK ssize_t server_read_behind(struct server_req *req, int fd,
					    size_t skip, size_t len);

/* handles.c */
ORIEL_MUST_CHECK int server_handle_new(struct server_session *s, int fd,
				       struct server_inode *ino, bool is_dir,
				       uint64_t *ret_fh);
struct server_handle *server_handle_get(struct server_session *s, uint64_t fh,
					bool is_dir);
/* No entries that any thread has are this directory's any more; dir_lock. */
void server_handle_retag(struct server_handle *h);
void server_handle_hold(struct server_handle *h); /* one more reference */
void server_handle_put(struct server_handle *h);
ORIEL_MUST_CHECK int server_handle_close(struct server_session *s, uint64_t fh,
					 bool is_dir);
void server_handles_clear(struct server_session *s);

/*
 * backing.c: called for each open of a regular file, before the client hears of
 * it; its id, or 0; and for each RELEASE, and when a node is forgotten.
 */
uint32_t server_backing_get(struct server_session *s,
			    const struct server_inode *ino); /* pinned */
void server_backing_put(struct server_session *s, uint64_t nodeid);
void server_backing_forget(struct server_session *s, uint64_t nodeid);
void server_backings_clear(struct server_session *s);

/* thread.c */
struct server_thread *server_thread_get(void); /* NULL: no memory */
struct server_thread *server_thread_peek(void); /* NULL: it served nothing */
/* Act as who asks until leave; @keep_dac: the client has checked access. */
ORIEL_MUST_CHECK int server_creds_enter(struct server_req *req, bool keep_dac);
void server_creds_leave(struct server_thread *t);
/* Set-uid and set-gid bits survive what follows, where we may say so. */
void server_fsetid_raise(struct server_thread *t);
void server_fsetid_lower(struct server_thread *t);
/*
 * The mode to make something with: @mode less @umask; or @mode as it is, where
 * the kernel takes @umask for this thread until leave, because an access list of
 * the directory counts instead of it.
 */
mode_t server_mask_enter(struct server_req *req, mode_t mode, mode_t umask);
void server_mask_leave(struct server_thread *t);
/* Make relative paths of this thread start in /proc/self/fd. */
ORIEL_MUST_CHECK int server_thread_enter_proc(struct server_thread *t,
					      int proc_fd);

/* maps.c */
ORIEL_MUST_CHECK int server_map_setup(struct server_session *s,
				      struct server_inode *ino,
				      const struct fuse_setupmapping_in *in);
ORIEL_MUST_CHECK int server_map_remove(struct server_session *s, uint64_t off,
				       uint64_t len);
/* Forget all; @tell the front end (false: it has dropped them itself). */
ORIEL_MUST_CHECK int server_maps_init(struct server_session *s);
void server_maps_clear(struct server_session *s, bool tell);
void server_maps_done(struct server_session *s);
bool server_has_window(const struct server_session *s);

/* op_lock.c */
void server_locks_init(struct server_session *s);
/* All waits end, all POSIX locks go. */
void server_locks_clear(struct server_session *s);
void server_locks_done(struct server_session *s);
void server_locks_drop_handle(struct server_session *s, uint64_t fh);
/* The locks of one owner on one file: it has closed it. */
void server_locks_drop_owner(struct server_session *s,
			     const struct server_inode *ino, uint64_t owner);

/* session.c, names.c: arguments */
ORIEL_MUST_CHECK int server_arg_name(const struct server_req *req, size_t *pos,
				     const char **ret);
/* Drop what set-uid, set-gid and capabilities grant, on an open file. */
ORIEL_MUST_CHECK int server_clear_privileges(int fd);
/* Must the bits go when this request (with @kill as its flag) writes? */
bool server_kills_suid(const struct server_req *req, bool kill);

/* ids.c: the header's numbers become the host's. -EPERM: forbidden here. */
ORIEL_MUST_CHECK int server_ids_of_request(struct server_req *req);

/* label.c: the label of the request, if it has one, for what is open as @fd, or
 * for @name in req->inode, which is removed where that fails. */
ORIEL_MUST_CHECK int server_label_fd(struct server_req *req, int fd);
ORIEL_MUST_CHECK int server_label_name(struct server_req *req, const char *name,
				       bool is_dir);

/* bounce.c */
struct server_bounce {
	int fd;
	const struct iovec *iov;
	unsigned n;
	uint64_t off;
	bool write;
	bool append; /* with write: at the end of the file */
};
/* pread(2) or pwrite(2) by an aligned buffer. Bytes, or -errno. */
ssize_t server_bounce(struct server_thread *t, const struct server_bounce *b);

/* op_file.c: does this client's kernel keep written data to itself? */
bool server_writes_back(const struct server_req *req);
/* op_file.c, also for directories: FOPEN_* by the share's policy */
uint32_t server_open_flags(const struct server_share *sh, bool is_dir);

/* op_*.c: bytes of reply, or -errno. */
typedef ssize_t server_op_fn(struct server_req *req);
server_op_fn server_op_init, server_op_destroy;
server_op_fn server_op_lookup, server_op_forget, server_op_batch_forget;
server_op_fn server_op_statx;
server_op_fn server_op_readlink, server_op_symlink, server_op_mknod;
server_op_fn server_op_mkdir, server_op_unlink, server_op_rmdir;
server_op_fn server_op_rename, server_op_rename2, server_op_link;
server_op_fn server_op_getattr, server_op_setattr, server_op_access;
server_op_fn server_op_statfs;
server_op_fn server_op_open, server_op_create, server_op_tmpfile;
server_op_fn server_op_read, server_op_write, server_op_flush;
server_op_fn server_op_release, server_op_fsync, server_op_fallocate;
server_op_fn server_op_lseek, server_op_copy_file_range, server_op_syncfs;
server_op_fn server_op_copy_file_range_64;
server_op_fn server_op_opendir, server_op_readdir, server_op_readdirplus;
server_op_fn server_op_releasedir, server_op_fsyncdir;
server_op_fn server_op_setxattr, server_op_getxattr, server_op_listxattr;
server_op_fn server_op_removexattr;
server_op_fn server_op_getlk, server_op_setlk, server_op_setlkw;
server_op_fn server_op_interrupt;
server_op_fn server_op_ioctl;
server_op_fn server_op_setupmapping, server_op_removemapping;

#endif
