/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The FUSE server: a share (a directory, its policy, its inode table) and
 * sessions on it (handles, mappings, lookup counts of one client).
 *
 * Threads: a share may be used by any number of sessions at once. One session's
 * server_session_handle() may be called from several queue threads at once.
 *
 * A thread that serves requests changes: it loses CAP_FSETID from its effective
 * set, and its working directory may become /proc/self/fd (its own only). The
 * process's umask should be 0.
 */
#ifndef ORIEL_SERVER_SERVER_H
#define ORIEL_SERVER_SERVER_H

#include <sys/uio.h>

#include "base/util.h"
#include "server/ids.h"
#include "server/xattrmap.h"

/* Of one virtual machine: each mapping is a piece of its memory to QEMU, which
 * ends when it has more than 512. */
#define SERVER_GUEST_MAPPINGS_MAX 500u

struct server_share;   /* opaque; counted */
struct server_session; /* opaque */

enum server_cache {
	SERVER_CACHE_AUTO,   /* timeouts of 1 s */
	SERVER_CACHE_ALWAYS, /* 86400 s */
	SERVER_CACHE_NEVER,  /* 0; data neither: FOPEN_DIRECT_IO */
	SERVER_CACHE_METADATA, /* 86400 s, but data as with NEVER */
};

/* Inodes that clients know: held open, or remembered by file handle, which
 * takes CAP_DAC_READ_SEARCH and a file system that has them. */
enum server_file_handles {
	SERVER_HANDLES_NEVER,
	SERVER_HANDLES_PREFER,    /* where it works; else it says why not */
	SERVER_HANDLES_MANDATORY, /* server_share_new() fails if it does not */
};

struct server_share_config {
	enum server_file_handles file_handles;
	unsigned spare_fds; /* with handles: kept open in case; 0: 1024 */
	int root_fd;      /* the directory, O_PATH or O_RDONLY; dup'ed */
	int proc_fd;      /* /proc/self/fd of this process, opened before any
			     sandbox closed; dup'ed */
	unsigned n_shares; /* of the process: each has as many descriptors and
			      threads; 0: one */
	bool readonly;
	bool no_posix_locks; /* they are each client's own affair */
	bool no_flock;
	bool no_notify;   /* nobody is told of what others change */
	bool xattr;
	bool posix_acl;   /* the client enforces them; only with xattr */
	bool security_label; /* clients send one with what they make */
	bool no_submounts; /* mounts below are not announced as such */
	enum server_cache cache;
	uint64_t dax_min_bytes; /* smaller files are not FUSE_ATTR_DAX */
	bool allow_mmap;      /* shared mappings of FOPEN_DIRECT_IO files */
	bool allow_direct_io; /* O_DIRECT of the client reaches open(2) */
	bool no_readdirplus;
	bool writeback;       /* FUSE_WRITEBACK_CACHE; see op_file.c */
	bool no_killpriv;     /* do not agree to FUSE_HANDLE_KILLPRIV_V2 */
	bool keep_noatime;    /* O_NOATIME that may not be is EPERM, not off */
	bool own_timeout;     /* @timeout_s instead of what @cache says */
	uint32_t timeout_s;
	struct server_ids uids;
	struct server_ids gids;
	const struct server_xattrmap *xattrmap; /* NULL: names are the same;
						   outlives the share */
	/*
	 * What clients that are not liboriel are given to map in place of the
	 * file (see src/facade): QEMU (11.1) maps whole ranges or nothing. NULL:
	 * the file itself, for monitors that map past its end.
	 */
	const struct server_guest_files *guest_files;
	void *guest_files_ctx;
};

struct server_guest_files {
	/* A descriptor that stands for @fd, which stays the caller's; or
	 * -errno. Any thread. */
	int (*open)(void *ctx, int fd, bool writable);
};

/* How a session reaches the DAX window; all NULL-able as a whole. Calls come
 * from within server_session_handle(), on its thread. */
struct server_window_ops {
	/* As vhost_backend_map/unmap. */
	int (*map)(void *ctx, int fd, uint64_t fd_off, uint64_t shm_off,
		   uint64_t len, bool writable);
	int (*unmap)(void *ctx, uint64_t shm_off, uint64_t len);
	/* Asked at INIT: did the front end agree to mappings? NULL: yes. */
	bool (*usable)(void *ctx);
	/* Asked at INIT: is it a virtual machine monitor? NULL: no. */
	bool (*is_guest)(void *ctx);
};

/*
 * Passthrough, where the client is the kernel of this machine. Calls come from
 * any serving thread, one at a time.
 */
struct server_backing_ops {
	/* Let the kernel do the I/O of files on @fd (O_PATH) itself: 0 and an
	 * id that is not 0, or -errno. */
	int (*open)(void *ctx, int fd, uint32_t *ret_id);
	void (*close)(void *ctx, uint32_t id);
};

/*
 * Requests that are answered later, from a thread of the server's own. NULL as
 * a whole: none is, and waiting for a lock is refused with -EAGAIN.
 */
struct server_later_ops {
	/* From within server_session_handle(), which will return SERVER_LATER:
	 * keep the request. A token, or NULL if it cannot be. */
	void *(*keep)(void *ctx, unsigned queue);
	/* Its whole answer. Any thread; uses the token up. */
	void (*answer)(void *ctx, void *token, const void *data, size_t len);
};

/* Messages that answer nobody: FUSE_NOTIFY_*, header and all. */
struct server_notify_ops {
	/* On a thread of the server's own, which may wait. 0 or -errno. */
	int (*send)(void *ctx, const void *msg, size_t len);
};

/*
 * Memory of a client that another one's thread may look at: its gauge page. NULL
 * as a whole: none has any.
 */
struct server_memory_ops {
	/* Keep [@gpa, @gpa + @len) mapped, at *@ret: a token, or NULL if it is
	 * not all there. Any thread. */
	void *(*hold)(void *ctx, uint64_t gpa, uint64_t len, void **ret);
	/* The same thread; also when the client has gone. */
	void (*drop)(void *token);
	/* This thread is going to touch such memory, or is through: if it is
	 * taken away meanwhile, that is not its own client's doing. */
	void (*touch)(bool begin);
};

/* Who a client is, as the system says, in our name spaces. */
struct server_cred {
	bool known;
	uint32_t pid;
	uint32_t uid;
	uint32_t gid;
};

#define SERVER_LATER ((ssize_t)-(1 << 20)) /* no errno */

struct server_session_config {
	const struct server_backing_ops *backing_ops; /* NULL: none */
	void *backing_ctx;
	const struct server_later_ops *later_ops;
	void *later_ctx;
	const struct server_notify_ops *notify_ops; /* NULL: none */
	void *notify_ctx;
	const struct server_memory_ops *memory_ops; /* NULL: none */
	void *memory_ctx;
	struct server_cred cred;
	bool calls_after; /* the caller does: server_after(), for each request */
	uint64_t window_bytes; /* 0: none */
	const struct server_window_ops *window_ops;
	void *window_ctx;
};

ORIEL_MUST_CHECK int server_share_new(const struct server_share_config *cfg,
				      struct server_share **ret);
void server_share_ref(struct server_share *sh);
void server_share_unref(struct server_share *sh); /* NULL is fine */

ORIEL_MUST_CHECK int server_session_new(struct server_share *sh,
					const struct server_session_config *cfg,
					struct server_session **ret);
/* Every handle, lookup count and mapping of the session goes. NULL is fine. */
void server_session_free(struct server_session *s);
/* The same without freeing: the device was reset; the next request is INIT. */
void server_session_reset(struct server_session *s);
/* The same, but the mappings stay until that INIT: the window is as it was. */
void server_session_restart(struct server_session *s);

/*
 * Between @begin and its end no request is kept; when the call for @begin
 * returns, all that were have been answered. Nests. Any thread.
 */
void server_session_cancel(struct server_session *s, bool begin);

/*
 * Serve one FUSE request: @out (n_out pieces, readable, in the client's memory:
 * copied once, then checked) to @in (n_in pieces, writable). Returns the bytes
 * written to @in (0 for FORGET), SERVER_LATER (see above), or -EPROTO when the
 * request is too broken to be answered (no whole header, no room for a reply
 * header).
 */
ssize_t server_session_handle(struct server_session *s, unsigned queue,
			      const struct iovec *out, unsigned n_out,
			      const struct iovec *in, unsigned n_in);

/*
 * Do what the request that this thread has served left for the time after its
 * answer; of sessions with calls_after, which must not end before. @answered: the
 * client has the answer, and its next request on this queue is this thread's, too
 * (what liboriel asks is all on one queue). Closes files
 * and reads directories: takes as long as that.
 */
void server_after(bool answered);

/*
 * The mapping of @s that window offset @off is in: where it begins and how long
 * it is, and the file, as a new descriptor of the caller's, with the offset of
 * its first byte. 0; -ENXIO: nothing is mapped there; -EMFILE. Any thread.
 */
struct server_piece {
	uint64_t start; /* window offset */
	uint64_t len;   /* bytes */
	int fd;
	uint64_t fd_off;
};
ORIEL_MUST_CHECK int server_session_piece(struct server_session *s,
					  uint64_t off,
					  struct server_piece *ret);

/*
 * Answer the request that begins in @out with the error @err (negative) and
 * nothing else. Returns as server_session_handle() does.
 */
ssize_t server_refuse(const struct iovec *out, const struct iovec *in, int err);

/* For tests, statistics and leak checks; each counted now or since start. */
struct server_stats {
	uint64_t inodes;   /* in the share's table */
	uint64_t fds;      /* descriptors held by table and handles */
	uint64_t handles;  /* open files and directories, all sessions */
	uint64_t mappings; /* window mappings, all sessions */
	uint64_t sessions;
	uint64_t requests;
	uint64_t ops[64];  /* by FUSE opcode (63: all above) */
	uint64_t queues[16]; /* by queue, hiprio first (15: all above) */
};
void server_share_stats(struct server_share *sh, struct server_stats *ret);

#endif
