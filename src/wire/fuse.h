/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The FUSE wire: the layouts are those of <linux/fuse.h>; here are the things
 * that header does not have: names, bounds, safe walking of variable parts.
 * No I/O, no state.
 */
#ifndef ORIEL_WIRE_FUSE_H
#define ORIEL_WIRE_FUSE_H

#include <linux/fuse.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/util.h"

/* Newest minor we know (header of Debian 12); the lower of the two wins. */
#define FUSE_WIRE_MINOR 38u

/* Largest read or write of one request, and the directory buffer. */
#define FUSE_WIRE_MAX_WRITE (1u << 20)
#define FUSE_WIRE_NAME_MAX 255u
#define FUSE_WIRE_PATH_MAX 4096u /* symlink target, with NUL */
#define FUSE_WIRE_XATTR_NAME_MAX 255u
#define FUSE_WIRE_XATTR_SIZE_MAX 65536u

/*
 * What liboriel puts into the first unused word of fuse_init_in, which everybody
 * else leaves 0: "OREL". It says that mapping past the end of a file is fine for
 * the front end, so files may be marked for DAX.
 */
#define FUSE_WIRE_INIT_MAGIC 0x4f52454cu

/*
 * Pass-through of reads, writes and mmap to a backing file (Linux 6.9): INIT's
 * answer has the largest stack depth in its first unused word.
 */
#define FUSE_WIRE_STACK_DEPTH 2u /* the most the kernel stacks */

/* "fh" of SETUPMAPPING when no open handle is at hand. */
#define FUSE_WIRE_NO_FH UINT64_MAX

/* INIT flags of later versions than the kernel's header has here. */
#define FUSE_WIRE_CREATE_SUPP_GROUP (UINT64_C(1) << 34)    /* 7.38 */
#define FUSE_WIRE_DIRECT_IO_ALLOW_MMAP (UINT64_C(1) << 36) /* 7.39 */
#define FUSE_WIRE_PASSTHROUGH (UINT64_C(1) << 37)          /* 7.40 */
#define FUSE_WIRE_STATX 52u                                /* 7.39 */
#define FUSE_WIRE_COPY_FILE_RANGE_64 53u                   /* 7.45 */

/*
 * fuse_write_in.padding of liboriel's appends: where did the file end after it?
 * A daemon that knows the question answers with the longer one of these, if there
 * is room; others look at neither.
 */
#define FUSE_WIRE_WRITE_ASK_END 0x4f656e64u

struct fuse_wire_write_out {
	uint32_t size; /* as fuse_write_out */
	uint32_t padding;
	uint64_t end; /* 0: not said */
};

/* COPY_FILE_RANGE_64: the answer; the request is COPY_FILE_RANGE's. */
struct fuse_wire_copy_file_range_out {
	uint64_t bytes_copied;
};

/* STATX: the request. */
struct fuse_wire_statx_in {
	uint32_t getattr_flags;
	uint32_t reserved;
	uint64_t fh;
	uint32_t sx_flags; /* AT_STATX_* */
	uint32_t sx_mask;
};

/* Its answer; the body is laid out as statx(2)'s. */
struct fuse_wire_statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	uint32_t flags;
	uint64_t spare[2];
	struct statx stat;
};

/* FOPEN_PASSTHROUGH; "padding" of fuse_open_out is the id then. */
#define FUSE_WIRE_FOPEN_PASSTHROUGH (1u << 7)
/* fuse_init_out.unused[]: max_stack_depth. */
#define FUSE_WIRE_INIT_OUT_STACK_DEPTH 0

_Static_assert(sizeof(struct fuse_wire_statx_in) == 24, "linux/fuse.h");
_Static_assert(sizeof(struct fuse_wire_statx_out) == 288, "linux/fuse.h");
/*
 * Watches: FUSE_IOCTL with commands of our own, between liboriel and orield
 * only (a daemon that does not know them says -ENOSYS or -ENOTTY). The node is
 * what is watched. WAIT is answered when there are events, which TAKE fetches:
 * as many fuse_wire_event as fit, each followed by its name, padded to 8.
 */
struct fuse_wire_watch {
	uint64_t id; /* the client's, not 0 */
	uint32_t mask;
	uint32_t padding;
};

struct fuse_wire_event {
	uint64_t id;     /* 0: of no watch (overflow) */
	uint64_t cookie; /* of moves: the same file */
	uint32_t mask;
	uint32_t namelen;
};

#define FUSE_WIRE_IOC_WATCH_ADD _IOW('O', 1, struct fuse_wire_watch)
#define FUSE_WIRE_IOC_WATCH_DEL _IOW('O', 2, struct fuse_wire_watch)
#define FUSE_WIRE_IOC_WATCH_WAIT _IO('O', 3)
#define FUSE_WIRE_IOC_WATCH_TAKE _IO('O', 4)
#define FUSE_WIRE_IOC_WATCH_CANCEL _IO('O', 5) /* WAIT is -EINTR */

/*
 * Looking at the sessions of a share (docs/design/top.md). NEXT: the first after
 * session @id that the asker may see; one with id 0 is the end. STATS: session
 * @id; answered with a fuse_wire_peer, its requests by opcode, and a copy of its
 * gauge page (wire/gauge.h) if it has one and there is room.
 */
struct fuse_wire_peer_in {
	uint64_t id;
	uint32_t ask; /* STATS, 1: have it publish anew */
	uint32_t padding;
};

struct fuse_wire_peer {
	uint64_t id;
	uint64_t age_ns;   /* since it connected */
	uint64_t requests;
	uint64_t mappings;
	uint64_t handles;
	uint64_t nodes;
	uint64_t fds;      /* the daemon's, for it */
	uint32_t pid;      /* 0: unknown */
	uint32_t uid;      /* UINT32_MAX: unknown */
	uint32_t gid;
	uint32_t flags;    /* FUSE_WIRE_PEER_* */
	uint32_t hidden;   /* NEXT, at the end: sessions that were left out */
	uint32_t asked;    /* STATS: the question's number; 0: not asked */
};

/* NAME: answered with the path, below the share, of node @node of session @id. */
struct fuse_wire_peer_name_in {
	uint64_t id;
	uint64_t node;
};

#define FUSE_WIRE_PEER_SELF (1u << 0)
#define FUSE_WIRE_PEER_READY (1u << 1)  /* FUSE_INIT was answered */
#define FUSE_WIRE_PEER_ORIEL (1u << 2)  /* liboriel */
#define FUSE_WIRE_PEER_GUEST (1u << 3)  /* a virtual machine monitor */
#define FUSE_WIRE_PEER_GAUGE (1u << 4)  /* has a gauge page */

#define FUSE_WIRE_PEER_OPS 64u /* by opcode (63: all above) */

#define FUSE_WIRE_IOC_PEER_NEXT _IOW('O', 64, struct fuse_wire_peer_in)
#define FUSE_WIRE_IOC_PEER_STATS _IOW('O', 65, struct fuse_wire_peer_in)
#define FUSE_WIRE_IOC_PEER_NAME _IOW('O', 66, struct fuse_wire_peer_name_in)

/* fuse_init_in.unused[], with FUSE_WIRE_INIT_MAGIC: where the gauge page lies
 * in the front end's memory; the address in two halves. 0 bytes: there is none.
 * ASK: how far below it is the word that asks, 64-aligned. */
#define FUSE_WIRE_INIT_GAUGE_BYTES 1
#define FUSE_WIRE_INIT_GAUGE_LOW 2
#define FUSE_WIRE_INIT_GAUGE_HIGH 3
#define FUSE_WIRE_INIT_GAUGE_ASK 4
#define FUSE_WIRE_INIT_GAUGE_FLAGS 5
#define FUSE_WIRE_GAUGE_NO_NAMES 1u /* nobody is told what its files are called */

_Static_assert(sizeof(struct fuse_wire_peer_in) == 16, "no padding");
_Static_assert(sizeof(struct fuse_wire_peer_name_in) == 16, "no padding");
_Static_assert(sizeof(struct fuse_wire_peer) == 80, "no padding");

/*
 * Several steps in one round trip (docs/design/compound.md). WALK: look up the
 * components of a path, one after the other, from the node on; open what the
 * last one names, read its beginning, close it again; and before all that close
 * handles that were done with earlier. The argument is followed by @n_close
 * handles (64 bits each), then by @path_len bytes of names with single slashes
 * between them.
 *
 * The answer has room for the entry of each component that was named, whatever
 * became of it, and then the data. Each of the first @n is one lookup.
 */
struct fuse_wire_walk_in {
	uint32_t flags; /* FUSE_WIRE_WALK_*: what is wanted */
	uint32_t open_flags;
	uint32_t size; /* READ: at most */
	uint32_t n_names;
	uint32_t n_close;
	uint32_t path_len;
};

struct fuse_wire_walk_out {
	uint64_t fh;
	uint32_t n;     /* names found */
	int32_t error;  /* why it ended early: -errno of the name after those, or,
			   if all were found, of opening; 0: it did not, or what
			   was found last leads no further */
	uint32_t flags; /* FUSE_WIRE_WALK_*: what was done */
	uint32_t open_flags; /* FOPEN_* */
};

#define FUSE_WIRE_WALK_OPEN (1u << 0)  /* if it is a regular file; with
					  O_DIRECTORY: if it is one */
#define FUSE_WIRE_WALK_READ (1u << 1)  /* with OPEN: from its beginning */
#define FUSE_WIRE_WALK_CLOSE (1u << 2) /* with READ: if nothing is left of it */

#define FUSE_WIRE_WALK_NAMES 16u
#define FUSE_WIRE_WALK_CLOSES 16u
#define FUSE_WIRE_WALK_PATH 2048u

#define FUSE_WIRE_IOC_WALK _IOW('O', 96, struct fuse_wire_walk_in)

/* fuse_init_out.unused[], for a client that said FUSE_WIRE_INIT_MAGIC: the same,
 * and in the next word what we can do with each other. */
#define FUSE_WIRE_INIT_OUT_MAGIC 5
#define FUSE_WIRE_INIT_OUT_CAN 6
#define FUSE_WIRE_CAN_WALK (1u << 0)

_Static_assert(sizeof(struct fuse_wire_walk_in) == 24, "no padding");
_Static_assert(sizeof(struct fuse_wire_walk_out) == 24, "no padding");

/* The bits of ORIEL_WATCH_*. */
#define FUSE_WIRE_WATCH_CREATE (1u << 0)
#define FUSE_WIRE_WATCH_DELETE (1u << 1)
#define FUSE_WIRE_WATCH_MODIFY (1u << 2)
#define FUSE_WIRE_WATCH_ATTRIB (1u << 3)
#define FUSE_WIRE_WATCH_MOVED_FROM (1u << 4)
#define FUSE_WIRE_WATCH_MOVED_TO (1u << 5)
#define FUSE_WIRE_WATCH_GONE (1u << 6)
#define FUSE_WIRE_WATCH_OVERFLOW (1u << 16)
#define FUSE_WIRE_WATCH_ISDIR (1u << 17)

_Static_assert(sizeof(struct fuse_wire_event) == 24, "no padding");
_Static_assert(sizeof(struct fuse_in_header) == 40, "fuse.h");
_Static_assert(sizeof(struct fuse_out_header) == 16, "fuse.h");
_Static_assert(sizeof(struct fuse_attr) == 88, "fuse.h");
_Static_assert(sizeof(struct fuse_entry_out) == 128, "fuse.h");
_Static_assert(sizeof(struct fuse_init_out) == 64, "fuse.h");
_Static_assert(sizeof(struct fuse_setupmapping_in) == 40, "fuse.h");
_Static_assert(sizeof(struct fuse_removemapping_in) == 4, "fuse.h");
_Static_assert(sizeof(struct fuse_removemapping_one) == 16, "fuse.h");

/* "LOOKUP", ...; "unknown". */
const char *fuse_opcode_name(uint32_t opcode);

/*
 * Take the NUL-terminated string at *@pos of @buf (@len bytes); *@pos moves
 * past the NUL. Returns 0 and *@ret (into @buf), or -EINVAL when no NUL is
 * inside the buffer.
 */
ORIEL_MUST_CHECK int fuse_take_string(const char *buf, size_t len, size_t *pos,
				      const char **ret);

/*
 * A name of one directory entry as a peer gave it: not empty, not "." or "..",
 * no '/', at most FUSE_WIRE_NAME_MAX bytes. 0, -EINVAL, or -ENAMETOOLONG.
 */
ORIEL_MUST_CHECK int fuse_check_name(const char *name);

/* Extensions of a request: of this type is a list of groups (7.38). */
#define FUSE_WIRE_EXT_GROUPS 32u

struct fuse_ext_view {
	uint32_t type;
	const unsigned char *data; /* into the buffer, not aligned */
	size_t len;                /* without its header */
};

/*
 * Decode the extension at *@pos of a request's extensions (@len bytes); *@pos
 * moves to the next one, 8 bytes aligned. 1: decoded; 0: end; -EINVAL: shorter
 * than its header, or longer than what is left.
 */
ORIEL_MUST_CHECK int fuse_next_ext(const void *buf, size_t len, size_t *pos,
				   struct fuse_ext_view *ret);

/* A security label for what a request makes (7.36). */
struct fuse_label_view {
	const char *name; /* of the attribute; NULL: there is none */
	const unsigned char *value;
	uint32_t len;
};

/*
 * The label among a request's extensions, into @buf; other types are passed
 * over. 1 and *@ret; 0: there is none; -EINVAL: malformed; -EOPNOTSUPP: there
 * are several.
 */
ORIEL_MUST_CHECK int fuse_take_label(const void *buf, size_t len,
				     struct fuse_label_view *ret);

/*
 * The supplementary group among a request's extensions; other types are passed
 * over. 1 and *@ret; 0: there is none; -EINVAL: one of them is malformed, or
 * says more than one group, which nobody sends.
 */
ORIEL_MUST_CHECK int fuse_take_group(const void *buf, size_t len,
				     uint32_t *ret);

/* One decoded entry of a READDIR or READDIRPLUS buffer. */
struct fuse_dirent_view {
	uint64_t ino;
	uint64_t off;  /* where to continue after this entry */
	uint32_t type; /* DT_* */
	const char *name; /* not terminated; @namelen bytes, into the buffer */
	uint32_t namelen;
	struct fuse_entry_out entry; /* a copy; zero unless plus */
};

/*
 * Decode the entry at *@pos of a reply buffer of @len bytes; *@pos moves to
 * the next one. 1: decoded; 0: end; -EPROTO: cut short, empty name, name with
 * '/' or NUL, name over FUSE_WIRE_NAME_MAX.
 */
ORIEL_MUST_CHECK int fuse_next_dirent(const void *buf, size_t len, size_t *pos,
				      bool plus, struct fuse_dirent_view *ret);

/*
 * Append an entry at *@pos of a reply buffer of @size bytes (zero padded to 8).
 * @entry NULL: READDIR, else READDIRPLUS. Returns 0 and moves *@pos, or
 * -ENOSPC with nothing written.
 */
ORIEL_MUST_CHECK int fuse_put_dirent(void *buf, size_t size, size_t *pos,
				     uint64_t ino, uint64_t off, uint32_t type,
				     const char *name, size_t namelen,
				     const struct fuse_entry_out *entry);

#endif
