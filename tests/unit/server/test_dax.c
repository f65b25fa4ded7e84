/* SPDX-License-Identifier: BSD-2-Clause */
/* SETUPMAPPING and REMOVEMAPPING against a front end that forgives nothing. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <sys/xattr.h>
#include <unistd.h>

#define RD FUSE_SETUPMAPPING_FLAG_READ
#define WR FUSE_SETUPMAPPING_FLAG_WRITE
#define P ((uint64_t)RIG_PAGE)

static uint64_t start(struct rig *r, const struct rig_config *cfg)
{
	rig_start(r, cfg);
	rig_file(r, "f", "window", 0644);
	rig_file(r, "g", "other", 0644);
	rig_init(r);
	return rig_node(r, "f");
}

static void maps_what_is_asked(void **state)
{
	const struct rig_map *m;
	struct stat st;
	uint64_t node;
	char path[128];
	struct rig r;

	node = start(&r, NULL);
	snprintf(path, sizeof(path), "%s/f", r.dir);
	assert_int_equal(stat(path, &st), 0);
	/* far past the end of the file is fine: it may grow */
	assert_int_equal(rig_map(&r, node, 512 * P, 8 * P, 512 * P, RD), 0);
	m = rig_find_map(&r, 8 * P);
	assert_non_null(m);
	assert_true(m->fd_off == 512 * P && m->len == 512 * P);
	assert_true(m->ino == st.st_ino);
	assert_false(m->writable);
	assert_int_equal(m->accmode, O_RDONLY);
	/* no flags: reading */
	assert_int_equal(rig_map(&r, node, 0, 0, P, 0), 0);
	assert_false(rig_find_map(&r, 0)->writable);
	assert_int_equal(rig_map(&r, node, 0, P, P, RD | WR), 0);
	assert_true(rig_find_map(&r, P)->writable);
	assert_int_equal(rig_find_map(&r, P)->accmode, O_RDWR);
	assert_int_equal(rig_stats(&r).mappings, 3);
	/* root, f, g is not known; one descriptor for reading, one for both */
	assert_int_equal(rig_stats(&r).fds, 4);
	assert_int_equal(rig_unmap(&r, P, P), 0);
	assert_int_equal(rig_stats(&r).fds, 3);
	rig_stop(&r);
}

static void checks_numbers(void **state)
{
	uint64_t node;
	uint64_t dir;
	struct rig r;

	node = start(&r, NULL);
	assert_int_equal(mkdirat(r.dir_fd, "d", 0755), 0);
	dir = rig_node(&r, "d");
	assert_int_equal(rig_map(&r, node, 0, 0, 0, RD), -EINVAL);
	assert_int_equal(rig_map(&r, node, 0, 0, 100, RD), -EINVAL);
	assert_int_equal(rig_map(&r, node, 1, 0, P, RD), -EINVAL);
	assert_int_equal(rig_map(&r, node, 0, 1, P, RD), -EINVAL);
	assert_int_equal(rig_map(&r, node, 0, RIG_WINDOW, P, RD), -EINVAL);
	assert_int_equal(rig_map(&r, node, 0, RIG_WINDOW - P, 2 * P, RD),
			 -EINVAL);
	/* sums that wrap around to something small */
	assert_int_equal(rig_map(&r, node, 0, 2 * P, UINT64_MAX - P + 1, RD),
			 -EINVAL);
	assert_int_equal(rig_map(&r, node, 0, UINT64_MAX - P + 1, 2 * P, RD),
			 -EINVAL);
	assert_int_equal(rig_map(&r, node, UINT64_MAX - P + 1, 0, 2 * P, RD),
			 -EINVAL);
	assert_int_equal(rig_map(&r, node, (UINT64_C(1) << 63) - P, 0, 2 * P,
				 RD), -EINVAL);
	assert_int_equal(rig_map(&r, node, 0, 0, P, 4), -EINVAL);
	assert_int_equal(rig_map(&r, dir, 0, 0, P, RD), -EINVAL);
	assert_int_equal(rig_map(&r, 999, 0, 0, P, RD), -ESTALE);
	assert_int_equal(rig_unmap(&r, 0, 0), -EINVAL);
	assert_int_equal(rig_unmap(&r, 1, P), -EINVAL);
	assert_int_equal(rig_unmap(&r, P, UINT64_MAX - P + 1), -EINVAL);
	assert_int_equal(rig_unmap(&r, RIG_WINDOW, P), -EINVAL);
	assert_int_equal(r.w.map_calls, 0);
	assert_int_equal(r.w.unmap_calls, 0);
	/* the last page is still inside */
	assert_int_equal(rig_map(&r, node, 0, RIG_WINDOW - P, P, RD), 0);
	rig_stop(&r);
}

static void exact_overlap_replaces(void **state)
{
	uint64_t node;
	struct rig r;

	node = start(&r, NULL);
	assert_int_equal(rig_map(&r, node, 0, 0, 4 * P, RD), 0);
	assert_int_equal(rig_map(&r, node, 0, 0, 4 * P, RD | WR), 0);
	assert_int_equal(r.w.n_maps, 1);
	assert_true(rig_find_map(&r, 0)->writable);
	assert_int_equal(r.w.unmap_calls, 1);
	assert_int_equal(rig_stats(&r).mappings, 1);
	/* by another file */
	assert_int_equal(rig_map(&r, rig_node(&r, "g"), 4 * P, 0, 4 * P, RD),
			 0);
	assert_int_equal(r.w.n_maps, 1);
	assert_true(rig_find_map(&r, 0)->fd_off == 4 * P);
	rig_stop(&r);
}

static void partial_overlap_splits(void **state)
{
	const struct rig_map *m;
	uint64_t node;
	struct rig r;

	node = start(&r, NULL);
	assert_int_equal(rig_map(&r, node, 100 * P, 10 * P, 10 * P, RD | WR),
			 0);
	/* in the middle: a head and a tail remain */
	assert_int_equal(rig_map(&r, rig_node(&r, "g"), 0, 13 * P, 2 * P, RD),
			 0);
	assert_int_equal(r.w.n_maps, 3);
	m = rig_find_map(&r, 10 * P);
	assert_true(m && m->len == 3 * P && m->fd_off == 100 * P &&
		    m->writable);
	m = rig_find_map(&r, 15 * P);
	assert_true(m && m->len == 5 * P && m->fd_off == 105 * P &&
		    m->writable);
	/* over the end of one and the start of the next */
	assert_int_equal(rig_map(&r, node, 0, 12 * P, 2 * P, RD), 0);
	m = rig_find_map(&r, 10 * P);
	assert_true(m && m->len == 2 * P && m->fd_off == 100 * P);
	m = rig_find_map(&r, 14 * P);
	assert_true(m && m->len == P && m->fd_off == P);
	/* over everything */
	assert_int_equal(rig_map(&r, node, 0, 0, 64 * P, RD), 0);
	assert_int_equal(r.w.n_maps, 1);
	assert_int_equal(rig_stats(&r).mappings, 1);
	rig_stop(&r);
}

static void partial_removal_splits(void **state)
{
	const struct rig_map *m;
	uint64_t node;
	struct rig r;

	node = start(&r, NULL);
	assert_int_equal(rig_map(&r, node, 0, 0, 8 * P, RD), 0);
	assert_int_equal(rig_unmap(&r, 2 * P, P), 0);
	assert_int_equal(r.w.n_maps, 2);
	m = rig_find_map(&r, 3 * P);
	assert_true(m && m->len == 5 * P && m->fd_off == 3 * P);
	/* nothing there: fine */
	assert_int_equal(rig_unmap(&r, 2 * P, P), 0);
	assert_int_equal(rig_unmap(&r, 100 * P, P), 0);
	assert_int_equal(rig_unmap(&r, 0, RIG_WINDOW), 0);
	assert_int_equal(r.w.n_maps, 0);
	assert_int_equal(rig_stats(&r).mappings, 0);
	rig_stop(&r);
}

/* Several records, at the unaligned offset 4; the count is not believed. */
static void removal_of_many(void **state)
{
	struct fuse_removemapping_one one[3] = {
		{ 0, P }, { 4 * P, P }, { 8 * P, P },
	};
	unsigned char msg[4 + sizeof(one)];
	uint32_t count = 3;
	uint64_t node;
	unsigned i;
	struct rig r;

	node = start(&r, NULL);
	for (i = 0; i < 3; i++)
		assert_int_equal(rig_map(&r, node, 0, i * 4 * P, P, RD), 0);
	memcpy(msg + 4, one, sizeof(one));
	for (i = 4; i < UINT32_MAX / 2; i = i * 3 + 1) {
		memcpy(msg, &i, 4);
		assert_int_equal(rig_call(&r, FUSE_REMOVEMAPPING, 1, msg,
					  sizeof(msg), NULL, 0), -EINVAL);
	}
	memcpy(msg, &count, 4);
	assert_int_equal(rig_call(&r, FUSE_REMOVEMAPPING, 1, msg,
				  sizeof(msg) - 1, NULL, 0), -EINVAL);
	assert_int_equal(r.w.n_maps, 3);
	assert_int_equal(rig_call(&r, FUSE_REMOVEMAPPING, 1, msg, sizeof(msg),
				  NULL, 0), 0);
	assert_int_equal(r.w.n_maps, 0);
	rig_stop(&r);
}

static void outlives_handle_and_forget(void **state)
{
	struct server_stats st;
	uint64_t node;
	uint64_t fh;
	struct rig r;

	node = start(&r, NULL);
	assert_int_equal(rig_open(&r, node, O_RDWR, &fh), 0);
	assert_int_equal(rig_map(&r, node, 0, 0, P, RD | WR), 0);
	assert_int_equal(rig_release(&r, fh), 0);
	rig_forget(&r, node, 1);
	assert_int_equal(unlinkat(r.dir_fd, "f", 0), 0);
	st = rig_stats(&r);
	assert_int_equal(st.mappings, 1);
	assert_int_equal(st.inodes, 2);
	assert_int_equal(rig_unmap(&r, 0, P), 0);
	st = rig_stats(&r);
	assert_int_equal(st.inodes, 1);
	assert_int_equal(st.fds, 1);
	rig_stop(&r);
}

static void read_only_share(void **state)
{
	struct rig_config cfg = { .readonly = true };
	uint64_t node;
	struct rig r;

	node = start(&r, &cfg);
	assert_int_equal(rig_map(&r, node, 0, 0, P, RD | WR), -EROFS);
	assert_int_equal(rig_map(&r, node, 0, 0, P, WR), -EROFS);
	assert_int_equal(r.w.map_calls, 0);
	assert_int_equal(rig_map(&r, node, 0, 0, P, RD), 0);
	assert_int_equal(rig_find_map(&r, 0)->accmode, O_RDONLY);
	rig_stop(&r);
}

/* Each call to the front end of a splitting map fails once. */
static void front_end_refuses(void **state)
{
	uint64_t node;
	int i;
	struct rig r;

	node = start(&r, NULL);
	for (i = 1; i <= 3; i++) { /* head, tail, the new one */
		assert_int_equal(rig_unmap(&r, 0, RIG_WINDOW), 0);
		assert_int_equal(rig_map(&r, node, 0, 0, 8 * P, RD), 0);
		r.w.fail_map = i;
		assert_int_equal(rig_map(&r, node, 0, 2 * P, P, RD), -EIO);
		assert_int_equal(r.w.fail_map, 0);
		assert_int_equal(rig_stats(&r).mappings, r.w.n_maps);
		assert_int_equal(r.w.n_maps, i == 3 ? 2 : 1);
	}
	assert_int_equal(rig_unmap(&r, 0, RIG_WINDOW), 0);
	assert_int_equal(rig_map(&r, node, 0, 0, 8 * P, RD), 0);
	r.w.fail_unmap = 1;
	assert_true(rig_map(&r, node, 0, 2 * P, P, RD) < 0);
	assert_int_equal(r.w.n_maps, 1);
	assert_int_equal(rig_stats(&r).mappings, 1);
	assert_int_equal(rig_unmap(&r, 0, RIG_WINDOW), 0);
	assert_int_equal(rig_stats(&r).fds, 2);
	rig_stop(&r);
}

/* A store to the window would leave them set: they go when it is mapped. */
static void clears_privileges(void **state)
{
	struct stat st;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "suid", "x", 06755);
	rig_file(&r, "locking", "x", 02644);
	rig_init(&r);
	assert_int_equal(rig_map(&r, rig_node(&r, "suid"), 0, 0, P, RD), 0);
	assert_int_equal(fstatat(r.dir_fd, "suid", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 06755);
	assert_int_equal(rig_map(&r, rig_node(&r, "suid"), 0, P, P, RD | WR),
			 0);
	assert_int_equal(fstatat(r.dir_fd, "suid", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(rig_map(&r, rig_node(&r, "locking"), 0, 2 * P, P, WR),
			 0);
	assert_int_equal(fstatat(r.dir_fd, "locking", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 02644);
	rig_stop(&r);
}

/* What the file may do as a program goes, too, before the first store. */
static void clears_capabilities(void **state)
{
	/* VFS_CAP_REVISION_2, CAP_NET_RAW permitted and effective */
	static const uint32_t cap[5] = { 0x02000001, 1 << 13 };
	char path[96];
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "prog", "x", 0755);
	snprintf(path, sizeof(path), "%s/prog", r.dir);
	if (setxattr(path, "security.capability", cap, sizeof(cap), 0)) {
		rig_stop(&r);
		skip(); /* takes root, and a file system that has them */
	}
	rig_init(&r);
	assert_int_equal(rig_map(&r, rig_node(&r, "prog"), 0, 0, P, RD), 0);
	assert_true(getxattr(path, "security.capability", NULL, 0) > 0);
	assert_int_equal(rig_map(&r, rig_node(&r, "prog"), 0, P, P, RD | WR),
			 0);
	assert_int_equal(getxattr(path, "security.capability", NULL, 0), -1);
	assert_int_equal(errno, ENODATA);
	rig_stop(&r);
}

static void dax_policy(void **state)
{
	struct rig_config cfg = { .dax_min_bytes = 6 };
	struct fuse_entry_out e;
	struct rig r;

	start(&r, &cfg);
	assert_int_equal(rig_lookup(&r, 1, "f", &e), 0); /* 6 bytes */
	assert_true(e.attr.flags & FUSE_ATTR_DAX);
	assert_int_equal(rig_lookup(&r, 1, "g", &e), 0); /* 5 bytes */
	assert_false(e.attr.flags & FUSE_ATTR_DAX);
	rig_init_flags(&r, FUSE_INIT_EXT);
	assert_int_equal(rig_lookup(&r, 1, "f", &e), 0);
	assert_false(e.attr.flags & FUSE_ATTR_DAX);
	rig_stop(&r);
}

/* Stands for a file towards a monitor: here the file once more, and a count. */
struct stand_ins {
	unsigned opened;
	unsigned writable;
};

static int stand_in(void *ctx, int fd, bool writable)
{
	struct stand_ins *st = ctx;

	st->opened++;
	st->writable += writable;
	/* as the facade: never more than the file is open for */
	assert_true(!writable || (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR);
	return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static const struct server_guest_files stand_in_files = { stand_in };

static unsigned calls(const struct rig *r)
{
	return r->w.map_calls + r->w.unmap_calls;
}

static void start_guest(struct rig *r, struct rig_config *cfg,
			struct stand_ins *st)
{
	memset(st, 0, sizeof(*st));
	cfg->guest_files = &stand_in_files;
	cfg->guest_files_ctx = st;
	start(r, cfg);
	r->w.is_guest = true;
	rig_init(r);
}

/* QEMU maps for writing whatever it gets, and no range twice. */
static void guest_mappings(void **state)
{
	struct rig_config cfg = { .readonly = false };
	struct fuse_entry_out e;
	struct stand_ins st;
	unsigned before;
	struct rig r;

	start_guest(&r, &cfg, &st);
	assert_int_equal(rig_lookup(&r, 1, "f", &e), 0);
	assert_true(e.attr.flags & FUSE_ATTR_DAX);
	assert_int_equal(rig_map(&r, e.nodeid, 0, 0, P, RD), 0);
	assert_int_equal(st.opened, 1);
	assert_int_equal(st.writable, 1);
	assert_true(rig_find_map(&r, 0)->writable);
	before = calls(&r);
	/* The upgrade, and the same once more: it is there. */
	assert_int_equal(rig_map(&r, e.nodeid, 0, 0, P, RD | WR), 0);
	assert_int_equal(rig_map(&r, e.nodeid, 0, 0, P, RD), 0);
	assert_int_equal(calls(&r), before);
	/* Another place of the file there: not the same. */
	assert_int_equal(rig_map(&r, e.nodeid, P, 0, P, RD), 0);
	assert_int_equal(calls(&r), before + 2);
	/* A further range: the same descriptor. */
	assert_int_equal(rig_map(&r, e.nodeid, 0, P, P, RD), 0);
	assert_int_equal(st.opened, 1);
	rig_stop(&r);
}

/* What is mapped where, for a guest's buffers in its own window. */
static void window_pieces(void **state)
{
	struct rig_config cfg = { .readonly = false };
	struct server_piece p = { .fd = -1 };
	struct fuse_entry_out e;
	struct stand_ins st;
	struct stat a, b;
	struct rig r;
	int fd;

	start_guest(&r, &cfg, &st);
	assert_int_equal(rig_lookup(&r, 1, "f", &e), 0);
	assert_int_equal(server_session_piece(r.s, P, &p), -ENXIO);
	assert_int_equal(rig_map(&r, e.nodeid, 2 * P, P, 2 * P, RD), 0);
	assert_int_equal(server_session_piece(r.s, P - 1, &p), -ENXIO);
	assert_int_equal(server_session_piece(r.s, 3 * P, &p), -ENXIO);
	assert_int_equal(p.fd, -1);
	assert_int_equal(server_session_piece(r.s, 3 * P - 1, &p), 0);
	assert_int_equal(p.start, P);
	assert_int_equal(p.len, 2 * P);
	assert_int_equal(p.fd_off, 2 * P);
	fd = openat(r.dir_fd, "f", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fstat(p.fd, &a), 0);
	assert_int_equal(fstat(fd, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	close(fd);
	close(p.fd);
	rig_stop(&r);
}

static void refusals(void **state)
{
	struct fuse_in_header h = { .len = sizeof(h), .opcode = FUSE_GETATTR,
				    .unique = 77 };
	struct fuse_out_header o = { .len = 0 };
	struct iovec out = { &h, sizeof(h) };
	struct iovec in = { &o, sizeof(o) };

	assert_int_equal(server_refuse(&out, &in, -EFAULT), sizeof(o));
	assert_int_equal(o.len, sizeof(o));
	assert_int_equal(o.error, -EFAULT);
	assert_int_equal(o.unique, 77);
	in.iov_len--;
	assert_int_equal(server_refuse(&out, &in, -EFAULT), -EPROTO);
	h.opcode = FUSE_FORGET;
	assert_int_equal(server_refuse(&out, &in, -EFAULT), 0);
	out.iov_len--;
	assert_int_equal(server_refuse(&out, &in, -EFAULT), -EPROTO);
}

static void guest_read_only(void **state)
{
	struct rig_config cfg = { .readonly = true };
	struct fuse_entry_out e;
	struct stand_ins st;
	struct rig r;

	start_guest(&r, &cfg, &st);
	assert_int_equal(rig_lookup(&r, 1, "f", &e), 0);
	assert_int_equal(rig_map(&r, e.nodeid, 0, 0, P, RD), 0);
	assert_int_equal(st.opened, 1);
	assert_int_equal(st.writable, 0);
	assert_false(rig_find_map(&r, 0)->writable);
	assert_int_equal(rig_map(&r, e.nodeid, 0, 0, P, RD | WR), -EROFS);
	rig_stop(&r);
}

/* One more and QEMU would end. */
static void guest_limit(void **state)
{
	struct rig_config cfg = { .readonly = false };
	struct fuse_entry_out e;
	struct stand_ins st;
	struct rig r;
	unsigned i;

	start_guest(&r, &cfg, &st);
	assert_int_equal(rig_lookup(&r, 1, "f", &e), 0);
	for (i = 0; i < SERVER_GUEST_MAPPINGS_MAX; i++)
		assert_int_equal(rig_map(&r, e.nodeid, 0, i * P, P, RD), 0);
	assert_int_equal(rig_map(&r, e.nodeid, 0, i * P, P, RD), -ENOMEM);
	/* In the place of another it goes. */
	assert_int_equal(rig_map(&r, e.nodeid, P, 0, P, RD), 0);
	rig_stop(&r);
}

/* What each page of the window should show, against what it does. */
#define MODEL_PAGES 64

struct model {
	uint64_t file_page[MODEL_PAGES]; /* + 1; 0: nothing */
	bool writable[MODEL_PAGES];
};

static void compare(const struct rig *r, const struct model *m)
{
	unsigned covered = 0;
	unsigned i;
	unsigned j;

	for (i = 0; i < r->w.n_maps; i++) {
		const struct rig_map *k = &r->w.maps[i];

		for (j = 0; j < k->len / P; j++) {
			uint64_t at = k->shm_off / P + j;

			assert_true(m->file_page[at] ==
				    k->fd_off / P + j + 1);
			assert_int_equal(m->writable[at], k->writable);
			covered++;
		}
	}
	for (i = 0; i < MODEL_PAGES; i++)
		covered -= m->file_page[i] != 0;
	assert_int_equal(covered, 0);
}

static void random_against_model(void **state)
{
	const char *env = getenv("ORIEL_SEED");
	unsigned seed = env ? (unsigned)strtoul(env, NULL, 0) :
			      (unsigned)time(NULL);
	struct model m = { { 0 } };
	uint64_t node;
	unsigned i;
	struct rig r;

	print_message("ORIEL_SEED=%u\n", seed);
	srandom(seed);
	node = start(&r, NULL);
	for (i = 0; i < 3000; i++) {
		unsigned at = (unsigned)random() % MODEL_PAGES;
		unsigned n = 1 + (unsigned)random() % (MODEL_PAGES - at);
		unsigned from = (unsigned)random() % 1000;
		bool put = random() % 3;
		bool wr = random() % 2;
		unsigned j;

		if (put)
			assert_int_equal(rig_map(&r, node, from * P, at * P,
						 n * P, wr ? RD | WR : RD), 0);
		else
			assert_int_equal(rig_unmap(&r, at * P, n * P), 0);
		for (j = 0; j < n; j++) {
			m.file_page[at + j] = put ? from + j + 1 : 0;
			m.writable[at + j] = put && wr;
		}
		compare(&r, &m);
		assert_int_equal(rig_stats(&r).mappings, r.w.n_maps);
	}
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps_what_is_asked),
		cmocka_unit_test(checks_numbers),
		cmocka_unit_test(exact_overlap_replaces),
		cmocka_unit_test(partial_overlap_splits),
		cmocka_unit_test(partial_removal_splits),
		cmocka_unit_test(removal_of_many),
		cmocka_unit_test(outlives_handle_and_forget),
		cmocka_unit_test(read_only_share),
		cmocka_unit_test(front_end_refuses),
		cmocka_unit_test(clears_privileges),
		cmocka_unit_test(clears_capabilities),
		cmocka_unit_test(dax_policy),
		cmocka_unit_test(guest_mappings),
		cmocka_unit_test(window_pieces),
		cmocka_unit_test(refusals),
		cmocka_unit_test(guest_read_only),
		cmocka_unit_test(guest_limit),
		cmocka_unit_test(random_against_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
