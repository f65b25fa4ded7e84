/* SPDX-License-Identifier: BSD-2-Clause */
/* See rig.h. Descriptors are counted before and after every rig. */
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned fds_before;

unsigned rig_count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* ---------------------------------------------------------------- window */

static bool overlaps(const struct rig_map *m, uint64_t off, uint64_t len)
{
	return off < m->shm_off + m->len && m->shm_off < off + len;
}

static int window_map(void *ctx, int fd, uint64_t fd_off, uint64_t shm_off,
		      uint64_t len, bool writable)
{
	struct rig_window *w = ctx;
	struct rig_map m = { shm_off, len, fd_off, 0, writable, 0 };
	struct stat st;
	unsigned i;

	w->map_calls++;
	if (w->fail_map && --w->fail_map == 0)
		return -EFAULT;
	for (i = 0; i < w->n_maps; i++)
		w->rule_broken |= overlaps(&w->maps[i], shm_off, len);
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || !len ||
	    !range_fits(shm_off, len, RIG_WINDOW) || w->n_maps == RIG_MAX_MAPS)
		w->rule_broken = true;
	if (w->rule_broken)
		return -EFAULT;
	m.ino = st.st_ino;
	m.accmode = fcntl(fd, F_GETFL) & O_ACCMODE;
	w->maps[w->n_maps++] = m;
	return 0;
}

static int window_unmap(void *ctx, uint64_t shm_off, uint64_t len)
{
	struct rig_window *w = ctx;
	unsigned i;

	w->unmap_calls++;
	if (w->fail_unmap && --w->fail_unmap == 0)
		return -EFAULT;
	for (i = 0; i < w->n_maps; i++) {
		if (w->maps[i].shm_off != shm_off || w->maps[i].len != len)
			continue;
		w->maps[i] = w->maps[--w->n_maps];
		return 0;
	}
	w->rule_broken = true;
	return -EFAULT;
}

static bool window_usable(void *ctx)
{
	struct rig_window *w = ctx;

	return !w->unusable;
}

static bool window_is_guest(void *ctx)
{
	struct rig_window *w = ctx;

	return w->is_guest;
}

static const struct server_window_ops window_ops = {
	window_map, window_unmap, window_usable, window_is_guest,
};

const struct rig_map *rig_find_map(const struct rig *r, uint64_t window_off)
{
	unsigned i;

	for (i = 0; i < r->w.n_maps; i++) {
		if (r->w.maps[i].shm_off == window_off)
			return &r->w.maps[i];
	}
	return NULL;
}

/* ----------------------------------------------------------------- share */

bool rig_has_handles(void)
{
	return getenv("ORIEL_TEST_FILE_HANDLES") && geteuid() == 0;
}

static void open_share(struct rig *r, const struct rig_config *cfg)
{
	static const struct rig_config none;
	struct server_session_config sc = {
		.window_bytes = RIG_WINDOW,
		.window_ops = &window_ops,
		.window_ctx = &r->w,
	};
	struct server_share_config c;

	if (!cfg)
		cfg = &none;
	memset(&c, 0, sizeof(c));
	c.root_fd = r->dir_fd;
	/* All the tests again, with inodes that are hardly ever open. */
	if (rig_has_handles()) {
		c.file_handles = SERVER_HANDLES_PREFER;
		c.spare_fds = 1;
	}
	c.proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	c.readonly = cfg->readonly;
	c.xattr = !cfg->no_xattr;
	c.security_label = cfg->security_label;
	c.cache = cfg->cache;
	c.dax_min_bytes = cfg->dax_min_bytes;
	c.guest_files = cfg->guest_files;
	c.guest_files_ctx = cfg->guest_files_ctx;
	assert_true(c.proc_fd >= 0);
	assert_int_equal(server_share_new(&c, &r->share), 0);
	close(c.proc_fd);
	if (cfg->no_window)
		memset(&sc, 0, sizeof(sc));
	sc.later_ops = cfg->later_ops;
	sc.calls_after = cfg->calls_after;
	memset(&r->w, 0, sizeof(r->w));
	assert_int_equal(server_session_new(r->share, &sc, &r->s), 0);
}

static void close_share(struct rig *r)
{
	struct server_stats st;

	assert_false(r->w.rule_broken);
	server_session_free(r->s);
	st = rig_stats(r);
	assert_int_equal(st.inodes, 1);
	assert_int_equal(st.fds, 1);
	assert_int_equal(st.handles, 0);
	assert_int_equal(st.mappings, 0);
	assert_int_equal(st.sessions, 0);
	server_share_unref(r->share);
}

void rig_start(struct rig *r, const struct rig_config *cfg)
{
	const char *base = getenv("ORIEL_TEST_DIR");

	umask(0);
	memset(r, 0, sizeof(*r));
	fds_before = rig_count_fds();
	snprintf(r->dir, sizeof(r->dir), "%s/oriel-server-XXXXXX",
		 base ? base : "/var/tmp");
	assert_non_null(mkdtemp(r->dir));
	assert_int_equal(chmod(r->dir, 0755), 0);
	r->dir_fd = open(r->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(r->dir_fd >= 0);
	open_share(r, cfg);
}

void rig_restart(struct rig *r, const struct rig_config *cfg)
{
	close_share(r);
	open_share(r, cfg);
}

static int remove_one(const char *path, const struct stat *st, int flag,
		      struct FTW *ftw)
{
	return remove(path);
}

void rig_stop(struct rig *r)
{
	close_share(r);
	close(r->dir_fd);
	assert_int_equal(rig_count_fds(), fds_before);
	/* requests may have changed the root's own mode */
	chmod(r->dir, 0700);
	nftw(r->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* -------------------------------------------------------------- requests */

ssize_t rig_call_as(struct rig *r, const struct rig_who *who, uint32_t opcode,
		    uint64_t nodeid, const void *arg, size_t arg_len,
		    void *ret, size_t room)
{
	struct fuse_in_header h = {
		.len = (uint32_t)(sizeof(h) + arg_len), .opcode = opcode,
		.unique = __atomic_add_fetch(&r->unique, 1, __ATOMIC_RELAXED),
		.nodeid = nodeid, .uid = who->uid, .gid = who->gid,
	};
	struct fuse_out_header oh = { 0 };
	struct iovec out[2] = { { &h, sizeof(h) },
				{ (void *)(uintptr_t)arg, arg_len } };
	struct iovec in[2] = { { &oh, sizeof(oh) }, { ret, room } };
	ssize_t n = server_session_handle(who->s, 1, out, arg_len ? 2 : 1, in,
					  room ? 2 : 1);

	if (opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET ||
	    opcode == FUSE_INTERRUPT) {
		assert_int_equal(n, 0);
		return 0;
	}
	assert_true(n >= (ssize_t)sizeof(oh));
	assert_int_equal(oh.len, n);
	assert_true(oh.unique == h.unique);
	assert_true(oh.error <= 0 && oh.error > -512);
	if (oh.error) {
		assert_int_equal(n, sizeof(oh));
		return oh.error;
	}
	assert_true((size_t)n <= sizeof(oh) + room);
	return n - (ssize_t)sizeof(oh);
}

ssize_t rig_call(struct rig *r, uint32_t opcode, uint64_t nodeid,
		 const void *arg, size_t arg_len, void *ret, size_t room)
{
	struct rig_who me = { r->s, 0, 0 };

	return rig_call_as(r, &me, opcode, nodeid, arg, arg_len, ret, room);
}

ssize_t rig_call_name(struct rig *r, uint32_t opcode, uint64_t nodeid,
		      const void *arg, size_t arg_len, const char *name,
		      const char *name2, void *ret, size_t room)
{
	char buf[8192];
	size_t len = arg_len;

	if (arg_len)
		memcpy(buf, arg, arg_len);
	if (name) {
		assert_true(len + strlen(name) < sizeof(buf));
		strcpy(buf + len, name);
		len += strlen(name) + 1;
	}
	if (name2) {
		assert_true(len + strlen(name2) < sizeof(buf));
		strcpy(buf + len, name2);
		len += strlen(name2) + 1;
	}
	return rig_call(r, opcode, nodeid, buf, len, ret, room);
}

struct fuse_init_out rig_init_flags(struct rig *r, uint64_t flags)
{
	struct fuse_init_in in = {
		.major = 7, .minor = 38, .max_readahead = 131072,
		.flags = (uint32_t)flags, .flags2 = (uint32_t)(flags >> 32),
		.unused[0] = FUSE_WIRE_INIT_MAGIC,
	};
	struct fuse_init_out out;

	assert_int_equal(rig_call(r, FUSE_INIT, 0, &in, sizeof(in), &out,
				  sizeof(out)), sizeof(out));
	return out;
}

struct fuse_init_out rig_init(struct rig *r)
{
	return rig_init_flags(r, UINT64_MAX);
}

int rig_lookup(struct rig *r, uint64_t parent, const char *name,
	       struct fuse_entry_out *ret)
{
	struct fuse_entry_out e;
	ssize_t n = rig_call_name(r, FUSE_LOOKUP, parent, NULL, 0, name, NULL,
				  &e, sizeof(e));

	if (n < 0)
		return (int)n;
	assert_int_equal(n, sizeof(e));
	assert_true(e.nodeid != 0);
	if (ret)
		*ret = e;
	return 0;
}

uint64_t rig_node(struct rig *r, const char *name)
{
	struct fuse_entry_out e = { 0 };

	assert_int_equal(rig_lookup(r, 1, name, &e), 0);
	return e.nodeid;
}

void rig_forget(struct rig *r, uint64_t nodeid, uint64_t n)
{
	struct fuse_forget_in in = { n };

	rig_call(r, FUSE_FORGET, nodeid, &in, sizeof(in), NULL, 0);
}

static int open_op(struct rig *r, uint32_t op, uint64_t nodeid, uint32_t flags,
		   uint64_t *ret_fh)
{
	struct fuse_open_in in = { .flags = flags };
	struct fuse_open_out out;
	ssize_t n = rig_call(r, op, nodeid, &in, sizeof(in), &out, sizeof(out));

	if (n < 0)
		return (int)n;
	assert_int_equal(n, sizeof(out));
	*ret_fh = out.fh;
	return 0;
}

static int release_op(struct rig *r, uint32_t op, uint64_t fh)
{
	struct fuse_release_in in = { .fh = fh };

	return (int)rig_call(r, op, 1, &in, sizeof(in), NULL, 0);
}

int rig_open(struct rig *r, uint64_t nodeid, uint32_t flags, uint64_t *ret_fh)
{
	return open_op(r, FUSE_OPEN, nodeid, flags, ret_fh);
}

int rig_release(struct rig *r, uint64_t fh)
{
	return release_op(r, FUSE_RELEASE, fh);
}

int rig_opendir(struct rig *r, uint64_t nodeid, uint64_t *ret_fh)
{
	return open_op(r, FUSE_OPENDIR, nodeid, 0, ret_fh);
}

int rig_releasedir(struct rig *r, uint64_t fh)
{
	return release_op(r, FUSE_RELEASEDIR, fh);
}

ssize_t rig_read(struct rig *r, uint64_t fh, uint64_t off, void *buf,
		 size_t len)
{
	struct fuse_read_in in = {
		.fh = fh, .offset = off, .size = (uint32_t)len,
	};

	return rig_call(r, FUSE_READ, 1, &in, sizeof(in), buf, len);
}

ssize_t rig_write(struct rig *r, uint64_t fh, uint64_t off, const void *buf,
		  size_t len, uint32_t write_flags)
{
	struct fuse_write_in in = {
		.fh = fh, .offset = off, .size = (uint32_t)len,
		.write_flags = write_flags,
	};
	struct fuse_write_out out;
	char *msg = malloc(sizeof(in) + len);
	ssize_t n;

	assert_non_null(msg);
	memcpy(msg, &in, sizeof(in));
	memcpy(msg + sizeof(in), buf, len);
	n = rig_call(r, FUSE_WRITE, 1, msg, sizeof(in) + len, &out,
		     sizeof(out));
	free(msg);
	if (n < 0)
		return n;
	assert_int_equal(n, sizeof(out));
	return out.size;
}

int rig_map(struct rig *r, uint64_t nodeid, uint64_t file_off,
	    uint64_t window_off, uint64_t len, uint64_t flags)
{
	struct fuse_setupmapping_in in = {
		.fh = FUSE_WIRE_NO_FH, .foffset = file_off, .len = len,
		.flags = flags, .moffset = window_off,
	};

	return (int)rig_call(r, FUSE_SETUPMAPPING, nodeid, &in, sizeof(in),
			     NULL, 0);
}

int rig_unmap(struct rig *r, uint64_t window_off, uint64_t len)
{
	struct fuse_removemapping_one one = { window_off, len };
	unsigned char msg[4 + sizeof(one)] = { 1, 0, 0, 0 };

	memcpy(msg + 4, &one, sizeof(one));
	return (int)rig_call(r, FUSE_REMOVEMAPPING, 1, msg, sizeof(msg), NULL,
			     0);
}

/* ----------------------------------------------------------------- others */

void rig_file(struct rig *r, const char *name, const char *text, mode_t mode)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", r->dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

struct server_stats rig_stats(struct rig *r)
{
	struct server_stats st;

	server_share_stats(r->share, &st);
	return st;
}
