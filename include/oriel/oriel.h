/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * liboriel: read and write the files of a share without a mount.
 *
 * A SHARE is the UNIX socket of a virtio-fs daemon (orield, virtiofsd, ...) or
 * a directory, for which a daemon of its own is started in a sandboxed child.
 * Where the daemon offers a DAX window, reads and overwrites are a memory copy,
 * or just a pointer (oriel_map()); everything else is a message.
 *
 * ERRORS. Functions return 0 or a positive count on success and -errno on
 * failure; errno itself is not touched. "Output" arguments are untouched on
 * failure. Every call that talks to the daemon can fail with
 *   -ENOTCONN   the daemon went away; stays so for the session
 *   -EPROTO     the daemon broke the protocol; stays so for the session
 *   -ETIMEDOUT  it did not answer in oriel_options.timeout_ms
 *   -ENOMEM     no memory here, -ENOSYS the daemon does not know the request
 * and with what the daemon's own system call said. oriel_session_error() has
 * the sentence. Calls below list what is theirs beyond that.
 *
 * THREADS. Any number of threads may use one session and one file at the same
 * time. Objects are freed by one thread, when no other uses them. After fork()
 * the child may not use, or free, anything it inherited. A thread must not be
 * cancelled (pthread_cancel) inside a call.
 *
 * BLOCKING. Every call may block for a round trip, except where it says not.
 * No call blocks longer than oriel_options.timeout_ms plus the daemon's work.
 *
 * PATHS are bytes, relative to the share's root; a leading '/' means the root
 * too. "..", and symbolic links, also absolute ones, never leave the share.
 * Names are at most 255 bytes, need not be UTF-8; errors of every path call:
 *   -ENOENT, -ENOTDIR, -ELOOP (40 links), -ENAMETOOLONG, -EACCES, and -EROFS
 *   where the call would change a read-only share.
 *
 * SIGNALS. Where there is a window the library handles SIGBUS and SIGSEGV and
 * passes on what is not its own to the handlers that were there. A handler that
 * the application installs later is noticed, and put behind ours, when a file
 * is opened or a range is mapped; it may find a fault of ours before that if it
 * is installed while files are open. See docs/design/dax.md.
 *
 * COHERENCE. Sizes and attributes are kept for the time the daemon grants, at
 * most oriel_options.attr_ttl_ms. open, stat, a read that reaches the end of
 * the file as known here, and a fault on truncated pages ask the daemon anew.
 * Data read through the window is always the daemon's page cache: never stale.
 * When another process truncates a file, a read below the size as it was known
 * here may return zeros up to the end of the last page until one of the above
 * happens, never old bytes. See docs/design/coherence.md.
 */
#ifndef ORIEL_ORIEL_H
#define ORIEL_ORIEL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ORIEL_VERSION_MAJOR 0
#define ORIEL_VERSION_MINOR 1
#define ORIEL_VERSION_PATCH 0
#define ORIEL_VERSION_STRING "0.1.0"

/* Marks what the library exports. */
#define ORIEL_API __attribute__((visibility("default")))

/* Opaque. A session is a connection to one share. */
struct oriel_session;
/* Opaque. An open file or directory. */
struct oriel_file;
/* Opaque. A pinned view of file bytes. */
struct oriel_mapping;

/* "0.1.0" of the library that runs. Never fails, does not block. */
ORIEL_API const char *oriel_version(void);

/*
 * A short text for a -errno of this library ("No such file or directory").
 * @err may be negative or positive. Never NULL; valid until this thread's next
 * call of it. Does not block.
 */
ORIEL_API const char *oriel_strerror(int err);

/* ------------------------------------------------------------ sessions */

enum oriel_dax_mode {
	ORIEL_DAX_AUTO = 0, /* use the window if the daemon offers one */
	ORIEL_DAX_NEVER,    /* messages only */
	ORIEL_DAX_ALWAYS,   /* fail to connect without one (-ENODEV) */
};

enum oriel_sandbox {
	ORIEL_SANDBOX_AUTO = 0, /* the strongest that works here */
	ORIEL_SANDBOX_NAMESPACE,
	ORIEL_SANDBOX_CHROOT,
	ORIEL_SANDBOX_NONE,
};

/*
 * How to connect. Zero-initialise, set size = sizeof(struct oriel_options), set
 * what you want; 0 means the default everywhere. A field that this library does
 * not know and that is not zero makes the connect fail with -E2BIG.
 */
struct oriel_options {
	size_t size;
	enum oriel_dax_mode dax;
	/* Most bytes of window to reserve (address space, not memory).
	 * Default 64 GiB, or what the daemon offers if that is less. At least
	 * one range. */
	uint64_t window_bytes;
	/* Bytes of one range: power of two, 64 KiB .. 1 GiB. Default 2 MiB. */
	uint64_t range_bytes;
	/* Longest wait for an answer, milliseconds. Default 30000. */
	uint32_t timeout_ms;
	/* Cap on how long attributes are believed, milliseconds. Default 1000;
	 * ORIEL_NO_TTL: never believed. */
	uint32_t attr_ttl_ms;
	/* Inodes remembered when nothing is open. Default 4096. */
	uint32_t inode_cache;
	/* Files shorter than this go by message. Default 64 KiB;
	 * ORIEL_MAP_ALL: none does. */
	uint32_t small_file_bytes;
	/* Longest busy polling for an answer before sleeping, microseconds.
	 * Default 50, at most 10000; ORIEL_NO_POLL: never. */
	uint32_t poll_us;
	/* Request memory, bytes. Default 74 MiB of address space, of which
	 * what is used becomes memory. */
	uint32_t arena_bytes;
	/* Directory shares only: refuse every change (-EROFS). */
	int readonly;
	enum oriel_sandbox sandbox;
	/* Directory shares only: the daemon to start. NULL: $ORIEL_DAEMON, then
	 * the orield beside the library, then the one it was built to find. */
	const char *daemon_path;
	/* Identity sent with requests; used by daemons that trust it. Both 0
	 * with set_identity 0: this process's effective ids. */
	int set_identity;
	uint32_t uid;
	uint32_t gid;
	/* Touches before a range is mapped when the window is full. Default 2;
	 * ORIEL_MAP_ALL: at once, also ranges of a file whose descriptor is
	 * held (without it they have to be touched a few times, too). */
	uint32_t admit_touches;
	/* 1: no background thread; reclaim happens inside calls. */
	int no_background;
	/* Descriptors of files that are kept when the daemon hands them over
	 * with a mapping: with one, further ranges of the file are mapped, and
	 * what the window does not serve is read, overwritten and appended,
	 * without a message. Default an eighth of RLIMIT_NOFILE, at most 1024;
	 * ORIEL_HOLD_NONE: none. Nothing is written with them if there is an
	 * RLIMIT_FSIZE as the session begins; where one is set later, writing
	 * past it raises SIGXFSZ, as pwrite(2) does. */
	uint32_t held_files;
	/* Longest that oriel_stat() believes what it found under a path,
	 * milliseconds, if the attributes are valid as long: no message then,
	 * and what others do to names shows that much later. What this session
	 * does shows at once. The daemon's own limits (its --cache) count too.
	 * Default 0: names are never believed. */
	uint32_t path_ttl_ms;
	/* 1: who may look at this session (oriel_peer_stats(), oriel top: the
	 * same user, root, the daemon's user) is not told which files it has
	 * mapped, nor what they are called. */
	int no_file_names;
};

#define ORIEL_NO_TTL UINT32_MAX
#define ORIEL_MAP_ALL UINT32_MAX
#define ORIEL_NO_POLL UINT32_MAX
#define ORIEL_HOLD_NONE UINT32_MAX

/*
 * Connect to @share: a socket's path, or a directory's. @opts may be NULL.
 * Returns 0 and a session in *@ret, to be freed with oriel_disconnect(), or
 *   -ENOENT        nothing of that name
 *   -ENOTSOCK      neither a directory nor a socket
 *   -ECONNREFUSED  a socket nobody listens on
 *   -EACCES        not allowed
 *   -EPROTO        whoever answers does not speak vhost-user or virtio-fs
 *   -ENODEV        ORIEL_DAX_ALWAYS and no window
 *   -ENOMEM        the window does not fit the address space
 *   -EINVAL, -E2BIG  an option; the text says which
 * oriel_connect_error() then has the sentence.
 */
ORIEL_API int oriel_connect(const char *share, const struct oriel_options *opts,
			    struct oriel_session **ret);

/* The same over a connected UNIX stream socket, which the library then owns,
 * also on failure. */
ORIEL_API int oriel_connect_fd(int sock, const struct oriel_options *opts,
			       struct oriel_session **ret);

/*
 * End the session: files still open are closed, mappings become invalid, the
 * embedded daemon ends. NULL is fine. Blocks for at most a second if the daemon
 * does not answer.
 */
ORIEL_API void oriel_disconnect(struct oriel_session *s);

/* Why this thread's last connect failed: a sentence without newline, "" if it
 * did not. Valid until this thread's next connect. */
ORIEL_API const char *oriel_connect_error(void);

/* What was wrong with this thread's last failed call on any session: which
 * call, which path or offset, what the daemon said. Valid until this thread's
 * next call. Never NULL. */
ORIEL_API const char *oriel_session_error(const struct oriel_session *s);

/* Counters and facts of a session; set size before the call. */
struct oriel_info {
	size_t size;
	char tag[37];            /* the daemon's name for the share, or "" */
	uint32_t proto_major;    /* FUSE version agreed on */
	uint32_t proto_minor;
	uint64_t fuse_flags;     /* INIT flags agreed on, bits 0..63 */
	uint64_t virtio_features;
	uint64_t vhost_features; /* protocol features */
	uint32_t request_queues;
	uint32_t max_read_bytes;
	uint32_t max_write_bytes;
	int dax;                 /* 1: on */
	char dax_why[200];       /* why not, a sentence; "" if on */
	int embedded;            /* 1: the daemon is our child */
	char sandbox[24];        /* of an embedded daemon, as it reported */
	int readonly;            /* 1: an embedded daemon serves read-only */
	int64_t daemon_pid;      /* embedded or by SO_PEERCRED; 0: unknown */
	int alive;               /* 0: the session is dead */
	uint64_t range_bytes;
	uint64_t window_bytes;
	uint64_t ranges;
	uint64_t free_ranges;
	uint64_t mappings;
	uint64_t pinned_ranges;
	uint64_t hits;           /* I/O steps served by the window alone */
	uint64_t misses;
	uint64_t setups;         /* ranges mapped */
	uint64_t setup_errors;
	uint64_t upgrades;
	uint64_t reclaimed;
	uint64_t prefetched;
	uint64_t bypassed;       /* steps that went by message, or by system
				    call with a held descriptor */
	uint64_t faults;         /* copies stopped by foreign truncation */
	uint64_t window_read_bytes;
	uint64_t window_write_bytes;
	uint64_t message_read_bytes;
	uint64_t message_write_bytes;
	uint64_t requests;       /* FUSE requests sent */
	uint64_t forgets;        /* nodes given back */
	uint64_t sleeps;         /* waits that outlasted polling */
	uint64_t inodes;         /* known now */
	uint64_t open_files;
	uint64_t held_files;     /* descriptors kept (oriel_options.held_files) */
	uint64_t held_read_bytes; /* read with them, by system call */
	uint64_t held_written_bytes;
	uint64_t in_flight;      /* requests in the ring now */
	uint64_t max_in_flight;  /* most at once so far */
};

/* Fill *@info. -EINVAL if its size is 0. Does not block. */
ORIEL_API int oriel_info(struct oriel_session *s, struct oriel_info *info);

/*
 * The window as characters, one a range: '.' free, 'r' mapped read-only, 'w'
 * writable, uppercase if used lately, '#' pinned. Writes at most @len bytes (no
 * NUL), returns the number of ranges (0: no window). Does not block.
 */
ORIEL_API size_t oriel_window_picture(struct oriel_session *s, char *buf,
				      size_t len);

/* Name of INIT flag bit @bit (0..63), or NULL. For reports. */
ORIEL_API const char *oriel_fuse_flag_name(unsigned bit);

/* Log lines of the library. @level: 0 off, 1 error, 2 warn, 3 info, 4 debug.
 * Process wide; @fn may be called from any thread, in the middle of a call, and
 * must not call the library. Default: silent. */
ORIEL_API void oriel_set_log(int level,
			     void (*fn)(void *ctx, int level, const char *text),
			     void *ctx);

/* ---------------------------------------------------------- open files */

/*
 * Open @path with the flags of open(2): O_RDONLY, O_WRONLY or O_RDWR, and
 * O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY, O_NOFOLLOW, O_SYNC,
 * O_DSYNC, O_NOATIME; others are -EINVAL. @mode as there (the process's umask
 * is not applied). *@ret is freed by oriel_close().
 * Errors also: -EEXIST, -EISDIR, -ENXIO (a socket, FIFO or device: never
 * opened), -EMFILE/-ENFILE (the daemon is out of descriptors), -ETXTBSY.
 */
ORIEL_API int oriel_open(struct oriel_session *s, const char *path, int flags,
			 mode_t mode, struct oriel_file **ret);

/*
 * Close. Timestamps owed for window writes are settled first (see
 * oriel_pwrite()). The file is freed whatever is returned; NULL is fine.
 * Errors: what the daemon's flush said (-EIO, -ENOSPC, -EDQUOT): data written
 * earlier may be lost.
 */
ORIEL_API int oriel_close(struct oriel_file *f);

/*
 * Read at most @len bytes at offset @off (bytes). Short only at the end of the
 * file. Returns the count, 0 at or past the end.
 * Errors: -EBADF (not open for reading), -EINVAL (@off < 0, or @off + @len
 * over 2^63 - 1), -EISDIR, -EIO, -EFAULT is not detected: a bad @buf crashes.
 */
ORIEL_API ssize_t oriel_pread(struct oriel_file *f, void *buf, size_t len,
			      off_t off);

/*
 * Read the beginning of the file at @path, at most @len bytes: as oriel_open()
 * for reading, oriel_pread() at 0 and oriel_close(), but one message instead of
 * several where the daemon is an orield and @len at most its largest read
 * (oriel_info.max_read_bytes). Short only if the file is; returns the count.
 * Errors: those of oriel_open() and oriel_pread().
 */
ORIEL_API ssize_t oriel_read_file(struct oriel_session *s, const char *path,
				  void *buf, size_t len);

/*
 * Write @len bytes at @off (with O_APPEND: at the end). A write that ends past
 * the end of the file goes as one system call with a descriptor that is held
 * (oriel_options.held_files), or as one message per oriel_info.max_write_bytes,
 * so that data and size change together; one that overwrites goes through the
 * window. Returns the count; short only when part went in and then something
 * failed (disk full).
 * Window writes show in mtime and ctime at the next stat, fsync or close here;
 * they clear set-uid and set-gid bits as write(2) does.
 * Errors: -EBADF, -EINVAL, -EFBIG, -ENOSPC, -EDQUOT, -EROFS, -EIO.
 */
ORIEL_API ssize_t oriel_pwrite(struct oriel_file *f, const void *buf,
			       size_t len, off_t off);

/*
 * Gather small writes at the end of @f: they are copied here, at most @bytes of
 * them (no more than oriel_info.max_write_bytes), and written in one piece when
 *   the next one does not fit, or is not where the last one ended;
 *   this session reads the file at or past the end that the daemon knows of,
 *   asks for its attributes, changes them or its size, maps or copies it, or
 *   writes to it through another handle;
 *   oriel_fsync, oriel_fdatasync, oriel_sync, oriel_close, oriel_disconnect;
 *   they have waited for @max_ms milliseconds (0: 10; at most 60000).
 * Until then nobody else sees them, and they are lost if this process dies:
 * always the newest, so that the file is a prefix of what was written. If the
 * sending fails the bytes are gone, and the next write (whose own bytes are not
 * taken), fsync or close on @f says why, once. @bytes 0: send, gather no more.
 * mtime is the time of the sending. No effect on the _nowait calls. While a
 * pointer of oriel_map() to the file is out, nothing is gathered.
 * Errors: -EBADF (not a file open for writing), -EINVAL (O_SYNC, O_DSYNC, or
 * @max_ms), -EOPNOTSUPP (oriel_options.no_background), -EAGAIN (no thread).
 */
ORIEL_API int oriel_coalesce(struct oriel_file *f, size_t bytes,
			     uint32_t max_ms);

/* Scatter and gather; as pread/pwrite of the concatenation. @n_iov 0..1024. */
ORIEL_API ssize_t oriel_preadv(struct oriel_file *f, const struct iovec *iov,
			       int n_iov, off_t off);
ORIEL_API ssize_t oriel_pwritev(struct oriel_file *f, const struct iovec *iov,
				int n_iov, off_t off);

/*
 * The same, but never blocking: what the window can serve at once is served
 * (possibly short), otherwise -EAGAIN: a lock, a free range or a round trip
 * would have to be waited for. An extending write is always -EAGAIN, and so is
 * a read at or past the end as known: where the end is now is for the daemon
 * to say.
 */
ORIEL_API ssize_t oriel_pread_nowait(struct oriel_file *f, void *buf,
				     size_t len, off_t off);
ORIEL_API ssize_t oriel_pwrite_nowait(struct oriel_file *f, const void *buf,
				      size_t len, off_t off);

#define ORIEL_MAP_READ 1u
#define ORIEL_MAP_WRITE 2u

/*
 * A pointer to @len bytes of the file at @off, in the window, without a copy;
 * contiguous across ranges. The ranges stay pinned until oriel_unmap(); the
 * pointer is invalid after that and after oriel_disconnect(), but outlives
 * oriel_close(@f). Reads and writes through it are those of mmap(MAP_SHARED):
 * coherent with everybody, mtime settled as for oriel_pwrite(). Touching bytes
 * past the end of the file's last page raises SIGBUS, also when somebody
 * truncates the file later: use oriel_copy() where that can happen.
 * Errors: -ENODEV (no window, or this file is not in it), -EINVAL (@len 0,
 * @off < 0, starts at or past the end of the file), -EACCES (WRITE on a file
 * not open for writing), -ENOSPC (window too full or too small).
 */
ORIEL_API int oriel_map(struct oriel_file *f, off_t off, size_t len,
			unsigned prot, struct oriel_mapping **ret_map,
			void **ret_ptr);

/* Let go. NULL is fine. Never fails; may wait for a round trip when it is the
 * last use of the inode and another one has to leave the cache. */
ORIEL_API void oriel_unmap(struct oriel_mapping *m);

/*
 * The same for a moment, at the price of a look: a pointer to @len bytes at @off
 * in *@ret_ptr, to be read by the calling thread until it says oriel_return().
 * They must lie in one range (oriel_info.range_bytes) and below the size as
 * known. No mapping of this process goes away meanwhile, so whoever has to evict
 * one waits: borrow for as long as a copy would take, not longer. Until it
 * returns what it has borrowed the thread may read and borrow more of what is
 * mapped (each with an oriel_return() of its own); a call that would have to wait
 * is refused with -EDEADLK, oriel_close() too; oriel_disconnect() and
 * oriel_queue_free() return everything first. A truncation by others raises
 * SIGBUS, as with oriel_map(). Maps the range if it is not, and may block for
 * that as oriel_map() does.
 * Errors: -EAGAIN (not in one range, not below the size, no window or no room in
 * it: oriel_pread() serves), -EDEADLK (it would have to be mapped first, and the
 * thread has borrowed already).
 */
ORIEL_API int oriel_borrow(struct oriel_file *f, off_t off, size_t len,
			   const void **ret_ptr);
/* The calling thread is done with what it borrowed last. Does not block. */
ORIEL_API void oriel_return(void);

/* Copy from or to mapped bytes; a truncation by others makes it short instead
 * of raising SIGBUS. Returns the bytes copied. Does not block. */
ORIEL_API size_t oriel_copy(void *dst, const void *src, size_t len,
			    struct oriel_mapping *m);

/* Data (and with fsync metadata) of @f to stable storage, window writes
 * included. Errors: -EIO, -ENOSPC: something written earlier is lost. */
ORIEL_API int oriel_fsync(struct oriel_file *f);
ORIEL_API int oriel_fdatasync(struct oriel_file *f);

/* Everything of the share to stable storage. */
ORIEL_API int oriel_sync(struct oriel_session *s);

/* Set the size, bytes. Bytes beyond the old end read as zeros.
 * Errors: -EBADF, -EINVAL (negative), -EFBIG, -ENOSPC. */
ORIEL_API int oriel_ftruncate(struct oriel_file *f, off_t size);

/* fallocate(2) with its FALLOC_FL_* modes; -EOPNOTSUPP where the file system
 * or the daemon cannot. */
ORIEL_API int oriel_fallocate(struct oriel_file *f, int mode, off_t off,
			      off_t len);

/* SEEK_DATA or SEEK_HOLE from @off, or SEEK_END (@off added to the size).
 * Returns an offset; -ENXIO past the end. There is no file position. */
ORIEL_API off_t oriel_lseek(struct oriel_file *f, off_t off, int whence);

/* Copy @len bytes between two files of one session inside the daemon. Returns
 * the count (may be short); -EXDEV for two sessions, -EOPNOTSUPP. */
ORIEL_API ssize_t oriel_copy_file_range(struct oriel_file *in, off_t off_in,
					struct oriel_file *out, off_t off_out,
					size_t len);

/* The session a file belongs to. */
ORIEL_API struct oriel_session *oriel_file_session(const struct oriel_file *f);

/* -------------------------------------------------------------- queues */

/*
 * Many requests at a time from one thread. What the window can serve is done
 * inside oriel_queue_submit(), without a message; everything else is under way
 * when it returns, and ends as a completion. docs/design/async.md has the
 * whole, examples/async.c a program.
 *
 * A queue is one thread's at a time; there may be any number of queues, beside
 * each other and beside the other calls on the same session and files. Threads
 * of the library finish requests, too: those that wait in other calls of the
 * session, and up to two of the queue's own, which start when they are needed
 * (one for what takes several steps, one for oriel_queue_arm()).
 *
 * ORDER. Requests may be carried out, and complete, in any order: who wants
 * a write before a sync, or two overlapping writes one after the other, waits
 * for the first. But writes through one queue that extend the same file take
 * effect in the order of their submission.
 */

/* Opaque. */
struct oriel_queue;

enum oriel_op {
	ORIEL_OP_READ = 1,
	ORIEL_OP_WRITE,
	ORIEL_OP_READV,
	ORIEL_OP_WRITEV,
	ORIEL_OP_FSYNC,
	ORIEL_OP_FALLOCATE,
	ORIEL_OP_OPEN,
	ORIEL_OP_STAT,
};

#define ORIEL_FSYNC_DATA 1u /* as oriel_fdatasync() */

/*
 * One request: zero-initialise, set op and what it needs. The file, buffers,
 * iovecs, path and results it points to stay the caller's and must stay there
 * until it is complete; the structure itself is copied.
 */
struct oriel_request {
	uint32_t op;        /* enum oriel_op */
	/* FSYNC: 0 or ORIEL_FSYNC_DATA; OPEN: as oriel_open(); STAT: as
	 * oriel_stat(); others 0 */
	uint32_t flags;
	uint64_t user_data; /* comes back with the completion */
	struct oriel_file *file; /* all but OPEN, STAT */
	void *buf;               /* READ; WRITE, which only reads from it */
	const struct iovec *iov; /* READV, WRITEV */
	uint64_t len;            /* bytes; READV, WRITEV: iovecs, 0..1024 */
	int64_t off;             /* bytes */
	uint32_t mode;           /* OPEN: permissions; FALLOCATE: its mode */
	const char *path;        /* OPEN, STAT */
	struct oriel_file **ret_file; /* OPEN */
	struct oriel_stat *ret_stat;  /* STAT */
};

struct oriel_completion {
	uint64_t user_data;
	int64_t result; /* what the call of that name returns: a count, 0, or
			   -errno; oriel_session_error() has no sentence */
};

/*
 * A queue for @entries requests (1..32768) that are prepared, under way, or
 * complete and not yet taken. More than oriel_options.arena_bytes has slots for
 * (64 by default) wait in line inside. @flags 0. *@ret is freed by
 * oriel_queue_free(). Errors: -EINVAL, -ENOMEM. Does not block.
 */
ORIEL_API int oriel_queue_new(struct oriel_session *s, unsigned entries,
			      unsigned flags, struct oriel_queue **ret);

/* Add a request to those that the next submit starts. Errors: -EAGAIN (no
 * entry is free: take completions), -EINVAL (unknown op or flag, no file or
 * result, a file of another session). What is wrong with offset, count or file
 * is for the completion to say. Does not block. */
ORIEL_API int oriel_queue_prepare(struct oriel_queue *q,
				  const struct oriel_request *r);

/* Start all that was prepared. Returns how many. Never blocks for the daemon,
 * for a lock that is held across messages, or for room. */
ORIEL_API int oriel_queue_submit(struct oriel_queue *q);

/* Take at most @max completions that are there; returns how many. Does not
 * block. */
ORIEL_API int oriel_queue_peek(struct oriel_queue *q,
			       struct oriel_completion *out, unsigned max);

/*
 * Take at most @max completions, and wait until there are @min (fewer, if no
 * more are under way) or for @timeout_ns nanoseconds (negative: no limit).
 * Returns how many, 0 included. Every request completes in the end: with
 * -ETIMEDOUT if a message was not answered in oriel_options.timeout_ms, with
 * -ENOTCONN if the daemon went away.
 */
ORIEL_API int oriel_queue_wait(struct oriel_queue *q,
			       struct oriel_completion *out, unsigned max,
			       unsigned min, int64_t timeout_ns);

/* Requests submitted whose completions were not taken. Does not block. */
ORIEL_API unsigned oriel_queue_pending(const struct oriel_queue *q);

/*
 * A descriptor for poll(2), made at the first call; -errno if there is none to
 * be had. It belongs to @q, and is readable when oriel_queue_arm() was called
 * and a completion is there, until the next peek or wait. Who never arms pays
 * nothing for it.
 */
ORIEL_API int oriel_queue_fd(struct oriel_queue *q);

/* Make the descriptor readable as soon as there is a completion; at once if
 * there is one. For one time: arm again before each poll(2), after taking what
 * there is. Errors: -EBADF (no oriel_queue_fd() yet), -EAGAIN (no thread can be
 * had). Does not block. */
ORIEL_API int oriel_queue_arm(struct oriel_queue *q);

/*
 * End a queue. What was not submitted is dropped; reads under way are given up;
 * all else under way is waited for, as long as its timeout, or not started.
 * After that nothing of the caller's is used any more. NULL is fine; those
 * left are ended by oriel_disconnect(). Files must be closed after the requests
 * on them have completed.
 */
ORIEL_API void oriel_queue_free(struct oriel_queue *q);

/* ---------------------------------------------------------- attributes */

#define ORIEL_NOFOLLOW 0x100u   /* of the last component */
#define ORIEL_FORCE_SYNC 0x200u /* ask the daemon even if we know */

struct oriel_stat {
	uint64_t ino;
	uint64_t size;    /* bytes */
	uint64_t blocks;  /* 512-byte units */
	uint32_t mode;    /* type and permissions */
	uint32_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint32_t rdev_major;
	uint32_t rdev_minor;
	uint32_t blksize; /* bytes */
	uint32_t dax;     /* 1: reads of this file go through the window */
	struct timespec atime;
	struct timespec mtime;
	struct timespec ctime;
};

/* @flags: ORIEL_NOFOLLOW, ORIEL_FORCE_SYNC. A path is always asked for. */
ORIEL_API int oriel_stat(struct oriel_session *s, const char *path,
			 unsigned flags, struct oriel_stat *ret);
/* @flags: ORIEL_FORCE_SYNC; without it no message while attributes are valid. */
ORIEL_API int oriel_fstat(struct oriel_file *f, unsigned flags,
			  struct oriel_stat *ret);

#define ORIEL_SET_MODE 1u
#define ORIEL_SET_UID 2u
#define ORIEL_SET_GID 4u
#define ORIEL_SET_SIZE 8u
#define ORIEL_SET_ATIME 16u /* tv_nsec may be UTIME_NOW */
#define ORIEL_SET_MTIME 32u

struct oriel_setattr {
	uint32_t mask; /* ORIEL_SET_* */
	uint32_t mode; /* permissions only */
	uint32_t uid;
	uint32_t gid;
	uint64_t size; /* bytes */
	struct timespec atime;
	struct timespec mtime;
};

/* Change what @set->mask names, in one request. @flags: ORIEL_NOFOLLOW.
 * Errors: -EPERM, -EINVAL (unknown bit in the mask), those of ftruncate. */
ORIEL_API int oriel_setattr(struct oriel_session *s, const char *path,
			    unsigned flags, const struct oriel_setattr *set);
ORIEL_API int oriel_fsetattr(struct oriel_file *f,
			     const struct oriel_setattr *set);
/* Shorthands of oriel_setattr(). */
ORIEL_API int oriel_truncate(struct oriel_session *s, const char *path,
			     off_t size);
ORIEL_API int oriel_chmod(struct oriel_session *s, const char *path,
			  mode_t mode);
ORIEL_API int oriel_chown(struct oriel_session *s, const char *path, uid_t uid,
			  gid_t gid, unsigned flags);
ORIEL_API int oriel_utimens(struct oriel_session *s, const char *path,
			    const struct timespec times[2], unsigned flags);

ORIEL_API int oriel_statfs(struct oriel_session *s, const char *path,
			   struct statvfs *ret);

/* --------------------------------------------------------------- names */

ORIEL_API int oriel_mkdir(struct oriel_session *s, const char *path,
			  mode_t mode);
/* S_IFREG, S_IFIFO, S_IFSOCK, or with privilege S_IFCHR and S_IFBLK. */
ORIEL_API int oriel_mknod(struct oriel_session *s, const char *path,
			  mode_t mode, dev_t dev);
ORIEL_API int oriel_symlink(struct oriel_session *s, const char *target,
			    const char *path);
/* Writes at most @len bytes without NUL; returns the target's full length. */
ORIEL_API ssize_t oriel_readlink(struct oriel_session *s, const char *path,
				 char *buf, size_t len);
/* @path becomes another name of @old (not followed if it is a link). */
ORIEL_API int oriel_link(struct oriel_session *s, const char *old,
			 const char *path);
ORIEL_API int oriel_unlink(struct oriel_session *s, const char *path);
ORIEL_API int oriel_rmdir(struct oriel_session *s, const char *path);
/* @flags: 0, or RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT. */
ORIEL_API int oriel_rename(struct oriel_session *s, const char *old,
			   const char *path, unsigned flags);

/* --------------------------------------------------------- directories */

struct oriel_dirent {
	uint64_t ino;
	uint64_t off;     /* cookie: oriel_seekdir() continues after it */
	uint32_t type;    /* DT_* */
	uint32_t namelen; /* bytes */
	const char *name; /* NUL-terminated; valid until the next call on @d */
	int has_stat;     /* 1: @st is filled */
	struct oriel_stat st;
};

/* Opaque. A directory being read; one thread at a time. */
struct oriel_dir;

#define ORIEL_DIR_STAT 1u /* fetch attributes along (READDIRPLUS) */

ORIEL_API int oriel_opendir(struct oriel_session *s, const char *path,
			    unsigned flags, struct oriel_dir **ret);
/* 1 with *@ret filled ("." and ".." included), 0 at the end, or -errno. */
ORIEL_API int oriel_readdir(struct oriel_dir *d, struct oriel_dirent *ret);
/* Continue after the entry with cookie @off; 0: from the start. No message. */
ORIEL_API void oriel_seekdir(struct oriel_dir *d, uint64_t off);
ORIEL_API int oriel_fsyncdir(struct oriel_dir *d);
ORIEL_API void oriel_closedir(struct oriel_dir *d); /* NULL is fine */

/* ------------------------------------------------- extended attributes */

/* As getxattr(2): @len 0 asks for the size. -ERANGE, -ENODATA, -EOPNOTSUPP. */
ORIEL_API ssize_t oriel_getxattr(struct oriel_session *s, const char *path,
				 const char *name, void *buf, size_t len,
				 unsigned flags);
ORIEL_API ssize_t oriel_listxattr(struct oriel_session *s, const char *path,
				  char *buf, size_t len, unsigned flags);
/* @xflags: 0, XATTR_CREATE or XATTR_REPLACE. */
ORIEL_API int oriel_setxattr(struct oriel_session *s, const char *path,
			     const char *name, const void *value, size_t len,
			     int xflags, unsigned flags);
ORIEL_API int oriel_removexattr(struct oriel_session *s, const char *path,
				const char *name, unsigned flags);

/* -------------------------------------------------------------- watches */

/* What happens to a watched directory's entries, or to a watched file. */
#define ORIEL_WATCH_CREATE (1u << 0)     /* a name was made */
#define ORIEL_WATCH_DELETE (1u << 1)     /* a name was removed */
#define ORIEL_WATCH_MODIFY (1u << 2)     /* a file's data or size changed */
#define ORIEL_WATCH_ATTRIB (1u << 3)     /* other attributes, or links */
#define ORIEL_WATCH_MOVED_FROM (1u << 4) /* a name went elsewhere */
#define ORIEL_WATCH_MOVED_TO (1u << 5)   /* a name came from elsewhere */
#define ORIEL_WATCH_GONE (1u << 6)       /* what is watched lost its name */
#define ORIEL_WATCH_ALL 0x7fu
/* Only in events: */
#define ORIEL_WATCH_OVERFLOW (1u << 16)  /* events were lost: look anew */
#define ORIEL_WATCH_ISDIR (1u << 17)     /* the name is, or was, a directory */

/* Opaque. A file or directory being watched. */
struct oriel_watch;

/* Zero-initialise, set size = sizeof(struct oriel_watch_options); 0 means the
 * default. Unknown fields that are not zero: -E2BIG. */
struct oriel_watch_options {
	size_t size;
	uint32_t mask;      /* ORIEL_WATCH_*; default: all */
	unsigned flags;     /* 0 or ORIEL_NOFOLLOW */
	uint32_t queue_max; /* events kept; default 4096, at most 65536 */
};

struct oriel_watch_event {
	uint32_t mask;    /* ORIEL_WATCH_*; more than one if they came as one */
	uint32_t namelen; /* bytes */
	const char *name; /* in the directory, NUL-terminated, "" for what is
			     watched itself; valid until the next read */
	uint64_t cookie;  /* MOVED_FROM and MOVED_TO of the same file have the
			     same; 0: unknown */
};

/*
 * Watch @path, a directory (its entries, not what is below them) or a regular
 * file, for changes by anybody: programs of the daemon's machine, other
 * clients, and this one. Stores through mappings (mmap(2), the window) are not
 * noticed. One thread of the library waits for events while anything is
 * watched. @opts may be NULL. *@ret is freed by oriel_unwatch().
 * Errors also: -EOPNOTSUPP (the daemon, its kernel or its file system has no
 * watches, or @path is another kind of file), -ENOSPC (too many watches).
 */
ORIEL_API int oriel_watch(struct oriel_session *s, const char *path,
			  const struct oriel_watch_options *opts,
			  struct oriel_watch **ret);

/* A descriptor that is readable while oriel_watch_read() has something to say;
 * for poll(2) only. It belongs to @w. Does not block. */
ORIEL_API int oriel_watch_fd(const struct oriel_watch *w);

/*
 * The next event: 1 with *@ret filled, 0 if there is none now, or why there
 * will be none any more (-ENOTCONN: the daemon went away), after all events
 * before it. One thread at a time for each watch. Does not block.
 */
ORIEL_API int oriel_watch_read(struct oriel_watch *w,
			       struct oriel_watch_event *ret);

/* End a watch, also after the daemon went away. NULL is fine. Those left are
 * ended by oriel_disconnect(). */
ORIEL_API void oriel_unwatch(struct oriel_watch *w);

/* ------------------------------------------------- sessions of a daemon */

#define ORIEL_PEER_SELF (1u << 0)  /* the session that asks */
#define ORIEL_PEER_READY (1u << 1) /* its handshake is over */
#define ORIEL_PEER_ORIEL (1u << 2) /* liboriel */
#define ORIEL_PEER_GUEST (1u << 3) /* a virtual machine monitor */
#define ORIEL_PEER_GAUGE (1u << 4) /* it can be asked for statistics */

/* A session of the daemon, as the daemon sees it; set size before the call. */
struct oriel_peer {
	size_t size;
	uint64_t id;       /* never used twice by a share; ascending */
	uint64_t age_ns;   /* since it connected */
	uint64_t requests; /* FUSE requests it has sent */
	uint64_t mappings; /* in its window */
	uint64_t handles;  /* open files and directories */
	uint64_t nodes;    /* files it knows */
	uint64_t fds;      /* descriptors the daemon holds for it */
	int64_t pid;       /* 0: unknown */
	uint32_t uid;      /* UINT32_MAX: unknown; so is gid */
	uint32_t gid;
	uint32_t flags;    /* ORIEL_PEER_* */
	uint32_t hidden;   /* at the end of the list: how many were left out */
};

/*
 * The first session of this share with an id above @after (0: of all), which
 * may be @s itself: 1 with *@ret filled; 0 at the end, with ret->hidden only.
 * Those of other users are left out, unless this process is root's or the
 * daemon's own user's.
 * Errors also: -EINVAL (size is 0), -EOPNOTSUPP (the daemon does not tell).
 */
ORIEL_API int oriel_peer_next(struct oriel_session *s, uint64_t after,
			      struct oriel_peer *ret);

/* What struct oriel_peer_stats counts; those of struct oriel_info. */
enum oriel_peer_counter {
	ORIEL_PEER_HITS,
	ORIEL_PEER_MISSES,
	ORIEL_PEER_SETUPS,
	ORIEL_PEER_SETUP_ERRORS,
	ORIEL_PEER_UPGRADES,
	ORIEL_PEER_RECLAIMED,
	ORIEL_PEER_PREFETCHED,
	ORIEL_PEER_BYPASSED,
	ORIEL_PEER_FAULTS,
	ORIEL_PEER_WINDOW_READ_BYTES,
	ORIEL_PEER_WINDOW_WRITE_BYTES,
	ORIEL_PEER_MESSAGE_READ_BYTES,
	ORIEL_PEER_MESSAGE_WRITE_BYTES,
	ORIEL_PEER_REQUESTS,
	ORIEL_PEER_FORGETS,
	ORIEL_PEER_SLEEPS,
	/* from here on as they are, not since the session began */
	ORIEL_PEER_INODES,
	ORIEL_PEER_OPEN_FILES,
	ORIEL_PEER_RANGE_BYTES,
	ORIEL_PEER_RANGES,
	ORIEL_PEER_FREE_RANGES,
	ORIEL_PEER_MAPPINGS,
	ORIEL_PEER_PINNED_RANGES,
	ORIEL_PEER_DAX, /* 1: on */
	ORIEL_PEER_COUNTERS,
};

/* Why a step of a read or write was no hit. */
enum oriel_miss {
	ORIEL_MISS_NEW,     /* not mapped, or not to be written: now it is */
	ORIEL_MISS_SMALL,   /* the file is too small for the window */
	ORIEL_MISS_FULL,    /* the window is full, and it not worth a place */
	ORIEL_MISS_BACKOFF, /* set-ups for this file failed: not tried again yet */
	ORIEL_MISS_FAILED,  /* the set-up failed */
	ORIEL_MISS_NOWAIT,  /* the caller would not wait */
	ORIEL_MISSES,
};

/* Which latencies are told apart: from a message to its answer. */
enum oriel_latency {
	ORIEL_LATENCY_NAME,  /* LOOKUP and what else takes names */
	ORIEL_LATENCY_ATTR,
	ORIEL_LATENCY_OPEN,  /* and close */
	ORIEL_LATENCY_READ,
	ORIEL_LATENCY_WRITE,
	ORIEL_LATENCY_DIR,
	ORIEL_LATENCY_MAP,   /* SETUPMAPPING and REMOVEMAPPING */
	ORIEL_LATENCY_OTHER,
	ORIEL_LATENCIES,
};

/* "hits", "new", "name": as used in reports; NULL: no such number. */
ORIEL_API const char *oriel_peer_counter_name(unsigned counter);
ORIEL_API const char *oriel_miss_name(unsigned miss);
ORIEL_API const char *oriel_latency_name(unsigned latency);
/* "LOOKUP"; "unknown". */
ORIEL_API const char *oriel_opcode_name(unsigned opcode);

#define ORIEL_LATENCY_BUCKETS 256
/* Least latency of bucket @bucket (0..256), nanoseconds; the last one has no
 * end. */
ORIEL_API uint64_t oriel_latency_ns(unsigned bucket);

/* A cell of the window's picture. */
#define ORIEL_CELL_HEAT 0x0fu /* 0 free, 1 not used lately .. 9 hot */
#define ORIEL_CELL_WRITABLE 0x10u
#define ORIEL_CELL_PINNED 0x20u
#define ORIEL_CELLS_MAX 4096

#define ORIEL_PEER_FILES 16

/* A file with ranges in the window. */
struct oriel_peer_file {
	uint64_t node;   /* for oriel_peer_name() */
	uint64_t ranges;
	uint32_t heat;   /* of its hottest range */
};

/*
 * What a session says of itself: its own claim, bounded but not proven. Set size
 * before the call.
 */
struct oriel_peer_stats {
	size_t size;
	uint64_t ops[64];  /* the daemon's count of requests by FUSE opcode (63:
			      all above); all that follows is the session's */
	uint32_t valid;    /* 0: it has nothing to say, or not yet; the rest is 0 */
	uint64_t when_ns;  /* CLOCK_MONOTONIC, when it was published */
	uint64_t age_ns;   /* since then */
	uint32_t answers;  /* which question it answers */
	uint32_t asked;    /* the number of this call's question; 0: none */
	uint32_t ranges_per_cell;
	uint32_t n_cells;  /* the ranges behind them are free */
	uint32_t timed;    /* latencies are being taken */
	char name[32];     /* the program, any bytes */
	uint64_t counters[64];               /* by enum oriel_peer_counter */
	uint64_t misses[16];                 /* by enum oriel_miss */
	uint32_t latencies[8][ORIEL_LATENCY_BUCKETS]; /* counts since watched
					first, by enum oriel_latency; wrap */
	uint8_t cells[ORIEL_CELLS_MAX];      /* ORIEL_CELL_* */
	uint32_t n_files;  /* those with most ranges in the window, in order */
	struct oriel_peer_file files[ORIEL_PEER_FILES];
};

/*
 * What is known of session @id. With @ask it is asked to publish: it notices with
 * its next message, or the 256th hit of a thread, and one that does nothing does
 * not. So look again some milliseconds later, until ret->answers is what was
 * asked, or later (others ask, too, and it wraps). Latencies are taken while it is
 * asked at least every five seconds.
 * Errors also: -EINVAL (size is 0), -ENOENT (it has gone), -EACCES (not yours to
 * see), -EOPNOTSUPP.
 */
ORIEL_API int oriel_peer_stats(struct oriel_session *s, uint64_t id, int ask,
			       struct oriel_peer_stats *ret);

/*
 * The path below the share, as the daemon knows it now, of a file that session
 * @id uses, into @buf (@len bytes, with its NUL); "" is the root.
 * Errors also: -ENOENT (the session has gone, or the file has no name any more),
 * -ESTALE (it does not use such a file), -EACCES (not yours to see, or it does
 * not want it: oriel_options.no_file_names), -ENAMETOOLONG, -EOPNOTSUPP.
 */
ORIEL_API int oriel_peer_name(struct oriel_session *s, uint64_t id,
			      uint64_t node, char *buf, size_t len);

#ifdef __cplusplus
}
#endif

#endif
