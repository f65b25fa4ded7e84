/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The DAX engine: a window of shared memory cut into ranges, an interval tree
 * of mappings per inode, and copies through them that survive truncation by
 * others. It knows no socket and no file: its owner maps and unmaps.
 *
 * THEORY OF OPERATION is at the head of dax.c: objects, life of a mapping,
 * invariants, lock order, why lookups need no lock, what reclaim may take.
 *
 * Contract: the rows A1-A19, A25-A27 and B1-B7, B11, B12 of the DAX client
 * contract (docs/design/dax.md).
 *
 * Thread rule: any thread, any function, except where it says otherwise; but
 * never from inside an epoch section, nor from a signal handler.
 */
#ifndef ORIEL_DAX_DAX_H
#define ORIEL_DAX_DAX_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/itree.h"
#include "base/list.h"
#include "base/util.h"

struct dax_window;  /* one per session; opaque */
struct dax_inode;   /* one per regular file; below, to be embedded */
struct dax_mapping; /* a file range tied to one or more window ranges */
struct dax_index;   /* what lock-free lookups walk */

enum dax_intent {
	DAX_READ,
	DAX_WRITE,
};

/* What the owner is asked to do; offsets and lengths are bytes, multiples of
 * the range size. */
struct dax_map_request {
	void *file;        /* dax_inode.file */
	uint64_t fh;       /* open handle, or UINT64_MAX */
	uint64_t file_off;
	uint64_t window_off;
	uint64_t len;
	bool writable;
};

struct dax_unmap_request {
	uint64_t window_off;
	uint64_t len;
};

struct dax_owner_ops {
	/*
	 * Make the file range appear at the window offset (SETUPMAPPING). Blocks
	 * for a round trip; called with the inode's dax lock held for writing,
	 * so it must not call back for the same inode.
	 * 0 or -errno. -ENOSYS: never again, the session has no DAX. -EROFS,
	 * -EACCES, -EPERM: refused, what was mapped there before still is.
	 * -ETIMEDOUT: it may still happen; the ranges are never used again.
	 * A copy may raise SIGBUS or SIGSEGV: it ends as if truncated.
	 */
	int (*map)(void *owner, const struct dax_map_request *req);
	/*
	 * Undo @n mappings of one file (REMOVEMAPPING), @n <= 128. Blocks for a
	 * round trip; other threads may be in map() for the same file. An error
	 * is logged by the owner and ignored here: the ranges are usable again,
	 * but for -ETIMEDOUT, as above.
	 */
	int (*unmap)(void *owner, void *file,
		     const struct dax_unmap_request *reqs, unsigned n);
	/* Is the session still connected? If not, nothing is asked any more.
	 * Any context: no waiting, no calls back. */
	bool (*is_connected)(void *owner);
	/*
	 * Keep @file alive across a reclaim of its mappings by another thread /
	 * let it go again. get() false: it is being torn down, skip it; called
	 * with the window's lock held, so it must neither wait nor call back,
	 * nor take a lock under which its owner calls into here: an atomic count
	 * that does not leave zero is what fits. put() is called with no lock
	 * held, on any thread, and may tear the file down.
	 */
	bool (*file_get)(void *owner, void *file);
	void (*file_put)(void *owner, void *file);
	/* Does a read (a write) of @file that is passed on cost a system call,
	 * and no round trip? Then ranges are mapped only when it pays (see
	 * admit.c). NULL: never. Any context: no waiting, no calls back. */
	bool (*is_cheap)(void *owner, void *file, enum dax_intent intent);
	/* Are these bytes, @len > 0, in memory, all or nearly? True if that is
	 * not known. Asked only of files that are cheap. No waiting, no
	 * calls back. */
	bool (*is_resident)(void *owner, void *file, uint64_t off,
			    uint64_t len);
	/* A number of @file for pictures. Any context: no waiting, no calls
	 * back. NULL: they have none. */
	uint64_t (*file_id)(void *owner, const void *file);
	/* Now and then while there is I/O: every 256 hits of a thread, and with
	 * what is passed on. Called with no lock of ours. NULL: nothing to do. */
	void (*tick)(void *owner);
};

struct dax_config {
	unsigned char *base;   /* the window; range-aligned where possible */
	uint64_t bytes;        /* rounded down to whole ranges */
	uint64_t range_bytes;  /* power of two; default 2 MiB */
	/*
	 * Files shorter than this go by message (row B12); 0: all are mapped.
	 */
	uint64_t small_file_bytes;
	/*
	 * Admission (row B2): when free ranges have run out, a missing range is
	 * only set up (by evicting another) after this many touches, and if
	 * evictions pay; until then DAX_BYPASS. Sequential reading of a range is
	 * one touch. 0: always set up.
	 */
	unsigned admit_touches;
	/*
	 * Of a file that is cheap (see dax_owner_ops): touches of a range
	 * before it is mapped, though there may be room. 0: at once.
	 */
	unsigned patience;
	bool replace_in_place; /* the peer replaces an exact overlap: upgrade
				  without unmapping first */
	bool background;       /* run a reclaim and prefetch thread on demand */
	const struct dax_owner_ops *ops;
	void *owner;
};

/* Why a step was no hit; each counted once, by the first attempt. */
enum dax_miss {
	DAX_MISS_NEW,     /* it was set up or upgraded, or somebody else did */
	DAX_MISS_SMALL,   /* the file is too small */
	DAX_MISS_FULL,    /* not worth a range, or there is none */
	DAX_MISS_BACKOFF, /* set-ups failed: not tried again yet */
	DAX_MISS_FAILED,  /* the set-up failed */
	DAX_MISS_NOWAIT,
	DAX_MISSES,
};

/* Monotonic counters; a snapshot, each read once. */
struct dax_stats {
	uint64_t ranges;        /* in the window */
	uint64_t free_ranges;   /* now */
	uint64_t mappings;      /* now */
	uint64_t pinned;        /* ranges pinned by dax_pin(), now */
	uint64_t hits;          /* I/O steps answered by a lookup. Counted per
				   thread, summed here: no shared line written */
	uint64_t misses;        /* lookups that found nothing below the size */
	uint64_t setups;        /* map requests that succeeded */
	uint64_t setup_errors;
	uint64_t races_lost;    /* found set up by another thread on the second
				   look */
	uint64_t upgrades;      /* read-only to writable */
	uint64_t reclaimed;     /* ranges taken back, background and inline */
	uint64_t reclaimed_inline;
	uint64_t prefetched;    /* ranges set up ahead of a reader */
	uint64_t bypassed;      /* steps sent by message: admission, small file,
				   no range */
	uint64_t faults;        /* copies stopped by a fault (truncation) */
	uint64_t bytes_read;    /* through the window */
	uint64_t bytes_written;
	uint64_t miss[DAX_MISSES]; /* misses by cause */
};

/* Set-ups that failed in a row, and misses that shall not try; see io.c. */
struct dax_backoff {
	_Atomic unsigned width;
	_Atomic unsigned skip;
};

/* Embedded in the owner's inode; fields are private to src/dax. */
struct dax_inode {
	struct dax_window *window; /* NULL: this file is not DAX */
	void *file;                /* the owner's, for the callbacks */
	pthread_rwlock_t lock;     /* guards tree and n_mappings */
	struct itree tree;         /* of dax_mapping.node */
	size_t n_mappings;
	struct dax_index *_Atomic index; /* derived from tree; see dax.c */
	_Atomic uint64_t next_seq; /* range whose middle a sequential reader
				      passes next */
	_Atomic uint64_t run_end;  /* where the latest step that was no hit
				      ended */
	_Atomic uint64_t run_bytes; /* of such steps, one after the other */
	struct dax_backoff backoff[2]; /* by dax_intent */
};

/* 0, -ENOMEM, -EINVAL (range size not a power of two, no whole range). */
ORIEL_MUST_CHECK int dax_window_new(const struct dax_config *cfg,
				    struct dax_window **ret);
/* No inode may have mappings and no thread may be inside. NULL is fine. */
void dax_window_free(struct dax_window *w);
/*
 * No background work from now on: waits for what runs, and puts the files that
 * were held for it. To be called before the inodes are torn down; also done by
 * dax_window_free(). Not from a callback. NULL is fine.
 */
void dax_window_stop(struct dax_window *w);
void dax_window_stats(const struct dax_window *w, struct dax_stats *ret);
uint64_t dax_window_range_bytes(const struct dax_window *w);

/*
 * One character a range, for pictures: '.' free, 'r' mapped for reading, 'w'
 * writable, uppercase when referenced since reclaim last looked, '#' pinned,
 * '~' being set up or taken down.
 * Fills at most @len bytes, returns the number of ranges.
 */
size_t dax_window_picture(struct dax_window *w, char *buf, size_t len);

#define DAX_HEAT_MASK 0x0fu
#define DAX_HEAT_MAX 9u
#define DAX_HEAT_WRITABLE 0x10u
#define DAX_HEAT_PINNED 0x20u

#define DAX_HOT_FILES 16u

/* The files with most ranges, in that order. */
struct dax_hot_files {
	unsigned n;
	struct dax_hot_file {
		uint64_t id; /* by dax_owner_ops.file_id */
		uint32_t ranges;
		uint8_t heat; /* of its hottest */
	} file[DAX_HOT_FILES];
};

/*
 * How hot the ranges are: 0 free, 1 mapped but not used lately, up to
 * DAX_HEAT_MAX, by what was used since the look before; with the flags above. As
 * cells of *@ret_ranges_per_cell ranges each, the hottest of them, all flags; at
 * most @max, and how many is returned: those behind are free. One look at a
 * time; takes the window's lock for a few ranges at once.
 */
uint32_t dax_window_heat(struct dax_window *w, uint8_t *cells, uint32_t max,
			 uint32_t *ret_ranges_per_cell,
			 struct dax_hot_files *ret_files);

/* @w NULL: a file without DAX; all other calls then say DAX_BYPASS. */
void dax_inode_init(struct dax_inode *di, struct dax_window *w, void *file);
/*
 * The file leaves the client (row A25): every mapping goes, REMOVEMAPPING is
 * sent batched if still connected. No pins may be left (asserted) and no other
 * thread may use @di.
 */
void dax_inode_done(struct dax_inode *di);

/* Why dax_read() or dax_write() stopped. */
enum dax_stop {
	DAX_DONE,   /* all bytes asked for below @size were copied */
	DAX_BYPASS, /* the next dax_result.bypass_bytes go by message */
	DAX_FAULT,  /* somebody truncated the file: refresh the size, look again */
	DAX_AGAIN,  /* DAX_NOWAIT and it would have blocked */
	DAX_ERROR,  /* dax_result.err: -EIO, a write at or past the size */
};

struct dax_result {
	size_t done; /* bytes copied, from the start, always valid */
	enum dax_stop stop;
	size_t bypass_bytes; /* DAX_BYPASS: up to the end of this range */
	int err;             /* DAX_ERROR: -errno */
};

#define DAX_NOWAIT 1u /* no round trip, no waiting for locks or ranges: what
			 would be a bypass is DAX_AGAIN too */

/*
 * Copy [@pos, min(@pos + @len, @size)) out of / into the file through the
 * window, setting up what is missing. @size is the file's size as the owner
 * knows it; bytes at or past it are the owner's business (hole, row A13; a
 * write that starts there is DAX_ERROR -EIO, row A16). A copy that faults stops
 * there; if the size still covers it after a refresh, send it by message.
 * Set-ups that fail, for whatever reason, are DAX_BYPASS (row B3): the message
 * tells the true error, if there is one. Not connected: hits are served, misses
 * are DAX_BYPASS.
 * @fh as in dax_map_request. Hits take no lock and make no system call.
 */
void dax_read(struct dax_inode *di, void *buf, size_t len, uint64_t pos,
	      uint64_t size, uint64_t fh, unsigned flags,
	      struct dax_result *ret);
void dax_write(struct dax_inode *di, const void *buf, size_t len, uint64_t pos,
	       uint64_t size, uint64_t fh, unsigned flags,
	       struct dax_result *ret);

/*
 * The common case alone: [@pos, @pos + @len), which must be below the size, lies
 * in one range and that is mapped for this intent. True: copied. False: it does
 * not, or the copy has faulted; nothing is said of @buf or the file's bytes in
 * there, and dax_read() or dax_write() must be called. As cheap as it gets;
 * never blocks.
 */
bool dax_read_hit(struct dax_inode *di, void *buf, size_t len, uint64_t pos);
bool dax_write_hit(struct dax_inode *di, const void *buf, size_t len,
		   uint64_t pos);

/*
 * A pointer in place of a copy, for a moment: [@pos, @pos + @len), which must be
 * below the size, lies in one range and that is mapped. True: *@ret is it, and
 * the calling thread is in a read section until epoch_exit(): no mapping goes
 * away meanwhile, so it must not wait for anybody who may be taking one down.
 */
bool dax_borrow(struct dax_inode *di, uint64_t pos, size_t len,
		const void **ret);

/* A pinned, contiguous view of the file; see dax_pin(). */
struct dax_pin {
	struct dax_mapping *mapping;
	void *ptr; /* the byte at @pos */
};

/*
 * Pin [@pos, @pos + @len) contiguously in the window: an existing mapping that
 * covers it, or a new one over as many adjacent ranges as it takes. Pinned
 * ranges are never reclaimed. 0; -ENOSPC: not enough adjacent ranges even after
 * reclaim; -ENODEV: the file is not DAX, or the peer has none; -EINVAL: @len 0
 * or past INT64_MAX; -EAGAIN with DAX_NOWAIT; -ENOTCONN; -ENOMEM; or the
 * owner's error. One that exists needs no connection.
 */
ORIEL_MUST_CHECK int dax_pin(struct dax_inode *di, uint64_t pos, uint64_t len,
			     enum dax_intent intent, uint64_t fh,
			     unsigned flags, struct dax_pin *ret);
void dax_unpin(struct dax_inode *di, struct dax_pin *pin);

/*
 * The file shrank to @size or a hole was punched in [@pos, @pos + @len): forget
 * what is derived from the old content (sequential hints, touch counts).
 * Mappings stay: they show the page cache, which is already right (row B6).
 */
void dax_inode_invalidate(struct dax_inode *di, uint64_t pos, uint64_t len);

/* Give back every idle range of @di now / of the whole window (tests, idle). */
void dax_inode_shrink(struct dax_inode *di);
void dax_window_shrink(struct dax_window *w);

/* Whole-structure check; for tests, with no other thread inside. */
bool dax_window_is_valid(struct dax_window *w);

#endif
