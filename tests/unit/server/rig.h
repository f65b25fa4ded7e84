/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A server without wire: requests built by hand, given to
 * server_session_handle() in memory of the test, on a real directory. The
 * window is a recorder with the rules of the strictest front end: nothing may
 * be mapped over something mapped, an unmap names one whole mapping.
 */
#ifndef TEST_SERVER_RIG_H
#define TEST_SERVER_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/server.h"
#include "wire/fuse.h"

#define RIG_WINDOW (64u << 20)
#define RIG_PAGE 4096u
#define RIG_MAX_MAPS 640u

struct rig_map {
	uint64_t shm_off;
	uint64_t len;
	uint64_t fd_off;
	uint64_t ino;
	bool writable;
	int accmode; /* how the descriptor was open */
};

struct rig_window {
	struct rig_map maps[RIG_MAX_MAPS]; /* live ones, unordered */
	unsigned n_maps;
	unsigned map_calls;
	unsigned unmap_calls;
	bool rule_broken;
	bool unusable;
	bool is_guest; /* the front end is a monitor */
	int fail_map;      /* the n-th map from now on fails with -EFAULT */
	int fail_unmap;
};

struct rig {
	char dir[64];
	int dir_fd;
	struct server_share *share;
	struct server_session *s;
	struct rig_window w;
	uint64_t unique;
};

struct rig_config {
	bool readonly;
	bool no_xattr;
	bool security_label;
	bool no_window;
	enum server_cache cache;
	uint64_t dax_min_bytes;
	const struct server_guest_files *guest_files;
	void *guest_files_ctx;
	const struct server_later_ops *later_ops;
	bool calls_after; /* the test does: server_after(true) */
};

/* Are inodes remembered by file handle (ORIEL_TEST_FILE_HANDLES)? */
bool rig_has_handles(void);
/* A fresh directory and a session on it, not initialised. NULL: defaults. */
void rig_start(struct rig *r, const struct rig_config *cfg);
/* The same directory again under other rules. */
void rig_restart(struct rig *r, const struct rig_config *cfg);
/* Checks that nothing is left behind, removes the directory. */
void rig_stop(struct rig *r);

/* One request; the reply's payload in @ret (@room bytes, may be NULL with 0).
 * Returns the payload's length or the error of the reply header. */
ssize_t rig_call(struct rig *r, uint32_t opcode, uint64_t nodeid,
		 const void *arg, size_t arg_len, void *ret, size_t room);
/* The same on another session, and with a user. */
struct rig_who {
	struct server_session *s;
	uint32_t uid;
	uint32_t gid;
};
ssize_t rig_call_as(struct rig *r, const struct rig_who *who, uint32_t opcode,
		    uint64_t nodeid, const void *arg, size_t arg_len,
		    void *ret, size_t room);
/* @arg followed by up to two strings (NULL: none) with their NULs. */
ssize_t rig_call_name(struct rig *r, uint32_t opcode, uint64_t nodeid,
		      const void *arg, size_t arg_len, const char *name,
		      const char *name2, void *ret, size_t room);

/* INIT with everything a client may ask for; fails the test on error. */
struct fuse_init_out rig_init(struct rig *r);
struct fuse_init_out rig_init_flags(struct rig *r, uint64_t flags);
int rig_lookup(struct rig *r, uint64_t parent, const char *name,
	       struct fuse_entry_out *ret);
/* Lookup that must succeed: the nodeid. */
uint64_t rig_node(struct rig *r, const char *name);
void rig_forget(struct rig *r, uint64_t nodeid, uint64_t n);
int rig_open(struct rig *r, uint64_t nodeid, uint32_t flags, uint64_t *ret_fh);
int rig_release(struct rig *r, uint64_t fh);
int rig_opendir(struct rig *r, uint64_t nodeid, uint64_t *ret_fh);
int rig_releasedir(struct rig *r, uint64_t fh);
ssize_t rig_read(struct rig *r, uint64_t fh, uint64_t off, void *buf,
		 size_t len);
ssize_t rig_write(struct rig *r, uint64_t fh, uint64_t off, const void *buf,
		  size_t len, uint32_t write_flags);
int rig_map(struct rig *r, uint64_t nodeid, uint64_t file_off,
	    uint64_t window_off, uint64_t len, uint64_t flags);
int rig_unmap(struct rig *r, uint64_t window_off, uint64_t len);
const struct rig_map *rig_find_map(const struct rig *r, uint64_t window_off);

/* A file in the directory, behind the server's back. */
void rig_file(struct rig *r, const char *name, const char *text, mode_t mode);
struct server_stats rig_stats(struct rig *r);
/* Descriptors of this process. */
unsigned rig_count_fds(void);

#endif
