/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client that lies: messages cut at every length, names that are paths, room
 * for half a reply, links and special files that lead out, and a share that
 * must not be changed.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Deliver @len bytes as they are. */
static ssize_t raw(struct rig *r, const void *msg, size_t len, void *room,
		   size_t room_len)
{
	struct iovec out = { (void *)(uintptr_t)msg, len };
	struct iovec in = { room, room_len };

	return server_session_handle(r->s, 1, &out, len ? 1 : 0, &in,
				     room_len ? 1 : 0);
}

/* Every opcode, every length of message up to 160 and every room up to 300,
 * in buffers of exactly that size, with a header that says what is there. */
static void every_length_of_every_request(void **state)
{
	unsigned char whole[160];
	uint32_t op;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "a", "data", 0600);
	rig_init(&r);
	memset(whole, 'a', sizeof(whole));
	for (op = 0; op < 60; op++) {
		size_t len;

		if (op == FUSE_INIT || op == FUSE_DESTROY)
			continue;
		for (len = 0; len <= sizeof(whole); len++) {
			struct fuse_in_header h = {
				.len = (uint32_t)len, .opcode = op,
				.nodeid = 1, .unique = len,
			};
			size_t room = (len * 37 + op) % 300;
			unsigned char *msg = malloc(len + 1);
			unsigned char *reply = malloc(room + 1);
			ssize_t n;

			memcpy(whole, &h, sizeof(h));
			memcpy(msg, whole, len);
			n = raw(&r, msg, len, reply, room);
			if (len < sizeof(h))
				assert_int_equal(n, -EPROTO);
			else
				assert_true(n == -EPROTO ||
					    (n >= 0 && n <= (ssize_t)room));
			free(msg);
			free(reply);
		}
	}
	/* nothing of it has kept anything but lookups */
	assert_int_equal(rig_stats(&r).mappings, 0);
	rig_stop(&r);
}

static void headers_that_lie(void **state)
{
	struct { struct fuse_in_header h; char name[8]; } m = {
		{ .len = 42, .opcode = FUSE_LOOKUP, .nodeid = 1 }, "a",
	};
	struct { struct fuse_out_header h; struct fuse_entry_out e; } o;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "a", "", 0600);
	rig_init(&r);
	assert_int_equal(raw(&r, &m, 42, &o, sizeof(o)), sizeof(o));
	assert_int_equal(o.h.error, 0);
	m.h.len = 43; /* more than there is */
	assert_int_equal(raw(&r, &m, 42, &o, sizeof(o)), sizeof(o.h));
	assert_int_equal(o.h.error, -EINVAL);
	m.h.len = UINT32_MAX;
	assert_int_equal(raw(&r, &m, 42, &o, sizeof(o)), sizeof(o.h));
	assert_int_equal(o.h.error, -EINVAL);
	m.h.len = 39; /* less than a header */
	assert_int_equal(raw(&r, &m, 42, &o, sizeof(o)), sizeof(o.h));
	assert_int_equal(o.h.error, -EINVAL);
	m.h.len = 42; /* extensions longer than the message */
	m.h.total_extlen = 1;
	assert_int_equal(raw(&r, &m, 42, &o, sizeof(o)), sizeof(o.h));
	assert_int_equal(o.h.error, -EINVAL);
	m.h.total_extlen = 0;
	/* no room: refused before anything is done, so nothing is counted */
	rig_forget(&r, rig_node(&r, "a"), UINT64_MAX);
	assert_int_equal(raw(&r, &m, 42, &o, sizeof(o) - 1), sizeof(o.h));
	assert_int_equal(o.h.error, -EINVAL);
	assert_int_equal(raw(&r, &m, 42, &o, 15), -EPROTO);
	assert_int_equal(raw(&r, &m, 42, &o, 0), -EPROTO);
	assert_int_equal(rig_stats(&r).inodes, 1);
	rig_stop(&r);
}

struct mkdir_ext {
	struct fuse_in_header h;
	struct fuse_mkdir_in in;
	char name[8];
	uint32_t ext[1040];
};

static int mkdir_with(struct rig *r, struct mkdir_ext *m, size_t ext_len)
{
	struct { struct fuse_out_header h; struct fuse_entry_out e; } o;

	m->h.total_extlen = (uint16_t)(ext_len / 8);
	m->h.len = (uint32_t)(offsetof(struct mkdir_ext, ext) + ext_len);
	assert_true(raw(r, m, m->h.len, &o, sizeof(o)) > 0);
	return o.h.error;
}

/* A list of groups that is none: nothing is made. */
static void extensions_that_lie(void **state)
{
	const uint32_t good[] = { 16, FUSE_WIRE_EXT_GROUPS, 1, getegid() };
	struct mkdir_ext m = {
		.h = { .opcode = FUSE_MKDIR, .nodeid = 1,
		       .uid = geteuid(), .gid = getegid() },
		.in = { .mode = 0755 }, .name = "dir",
	};
	struct fuse_init_out io;
	struct rig r;

	rig_start(&r, NULL);
	io = rig_init(&r);
	if (!(io.flags2 & (FUSE_WIRE_CREATE_SUPP_GROUP >> 32))) {
		rig_stop(&r); /* only who may act as others agrees to it */
		skip();
	}
	memcpy(m.ext, good, sizeof(good));
	m.ext[0] = 17;
	assert_int_equal(mkdir_with(&r, &m, 16), -EINVAL);
	m.ext[0] = 16;
	m.ext[2] = UINT32_MAX;
	assert_int_equal(mkdir_with(&r, &m, 16), -EINVAL);
	m.ext[2] = 1;
	m.ext[3] = UINT32_MAX; /* nobody's number */
	assert_int_equal(mkdir_with(&r, &m, 16), -EINVAL);
	memcpy(m.ext, good, sizeof(good));
	m.ext[4] = sizeof(m.ext) - 16;
	assert_int_equal(mkdir_with(&r, &m, sizeof(m.ext)), -E2BIG);
	assert_int_equal(rig_lookup(&r, 1, "dir", NULL), -ENOENT);
	assert_int_equal(mkdir_with(&r, &m, 16), 0);
	assert_int_equal(rig_lookup(&r, 1, "dir", NULL), 0);
	/* of a client that did not agree they are nothing */
	rig_init_flags(&r, FUSE_INIT_EXT);
	m.ext[0] = 17;
	strcpy(m.name, "dir2");
	assert_int_equal(mkdir_with(&r, &m, 16), 0);
	rig_stop(&r);
}

/* One label, as an extension; its length. */
static size_t put_label(uint32_t *ext, const char *name, const char *value)
{
	const size_t len = strlen(name) + 1 + strlen(value);
	char *p = (char *)(ext + 4);

	ext[0] = (uint32_t)(16 + len);
	ext[1] = 1;
	ext[2] = (uint32_t)strlen(value);
	ext[3] = 0;
	memcpy(p, name, strlen(name) + 1);
	memcpy(p + strlen(name) + 1, value, strlen(value));
	return (16 + len + 7) / 8 * 8;
}

/* What is made has its label, or was not made. */
static void labels(void **state)
{
	struct rig_config cfg = { .security_label = true };
	struct mkdir_ext m = {
		.h = { .opcode = FUSE_MKDIR, .nodeid = 1,
		       .uid = geteuid(), .gid = getegid() },
		.in = { .mode = 0755 }, .name = "dir",
	};
	char got[16] = "";
	char path[128];
	size_t n;
	struct rig r;

	rig_start(&r, &cfg);
	rig_init(&r);
	n = put_label(m.ext, "user.label", "a:b:c");
	assert_int_equal(mkdir_with(&r, &m, n), 0);
	snprintf(path, sizeof(path), "%s/dir", r.dir);
	assert_int_equal(getxattr(path, "user.label", got, sizeof(got)), 5);
	assert_memory_equal(got, "a:b:c", 5);
	/* A name space that there is not: it is gone again. */
	strcpy(m.name, "none");
	n = put_label(m.ext, "nowhere.label", "x");
	assert_int_equal(mkdir_with(&r, &m, n), -EOPNOTSUPP);
	assert_int_equal(rig_lookup(&r, 1, "none", NULL), -ENOENT);
	/* Lies: nothing is made. */
	n = put_label(m.ext, "user.label", "x");
	m.ext[2] = UINT32_MAX;
	assert_int_equal(mkdir_with(&r, &m, n), -EINVAL);
	n = put_label(m.ext, "user.label", "x");
	m.ext[1] = 2;
	assert_int_equal(mkdir_with(&r, &m, n), -EOPNOTSUPP);
	n = put_label(m.ext, "", "x");
	assert_int_equal(mkdir_with(&r, &m, n), -EINVAL);
	n = put_label(m.ext, "user.label", "");
	memset(m.ext + 4, 'x', 40);
	m.ext[0] = 48;
	assert_int_equal(mkdir_with(&r, &m, 48), -EINVAL);
	assert_int_equal(rig_lookup(&r, 1, "none", NULL), -ENOENT);
	rig_stop(&r);
}

static void labels_of_files(void **state)
{
	struct rig_config cfg = { .security_label = true };
	struct {
		struct fuse_in_header h;
		struct fuse_create_in in;
		char name[8];
		uint32_t ext[40];
	} m = {
		.h = { .opcode = FUSE_CREATE, .nodeid = 1,
		       .uid = geteuid(), .gid = getegid() },
		.in = { .mode = 0600, .flags = O_RDWR }, .name = "file",
	};
	struct {
		struct fuse_out_header h;
		char room[sizeof(struct fuse_entry_out) +
			  sizeof(struct fuse_open_out)];
	} o;
	char got[16];
	char path[128];
	size_t n = put_label(m.ext, "user.label", "of it");
	struct rig r;

	rig_start(&r, &cfg);
	rig_init(&r);
	m.h.total_extlen = (uint16_t)(n / 8);
	m.h.len = (uint32_t)(offsetof(typeof(m), ext) + n);
	assert_true(raw(&r, &m, m.h.len, &o, sizeof(o)) > 0);
	assert_int_equal(o.h.error, 0);
	snprintf(path, sizeof(path), "%s/file", r.dir);
	assert_int_equal(getxattr(path, "user.label", got, sizeof(got)), 5);
	assert_memory_equal(got, "of it", 5);
	strcpy(m.name, "none");
	n = put_label(m.ext, "no.label", "of it");
	m.h.total_extlen = (uint16_t)(n / 8);
	m.h.len = (uint32_t)(offsetof(typeof(m), ext) + n);
	assert_true(raw(&r, &m, m.h.len, &o, sizeof(o)) > 0);
	assert_int_equal(o.h.error, -EOPNOTSUPP);
	assert_int_equal(rig_lookup(&r, 1, "none", NULL), -ENOENT);
	rig_stop(&r);
}

/* WRITE that says it brings more than it does. */
static void short_write(void **state)
{
	struct fuse_write_in in = { .size = 10 };
	char msg[sizeof(in) + 9] = { 0 };
	struct fuse_write_out wo;
	uint64_t fh;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "a", "", 0600);
	rig_init(&r);
	assert_int_equal(rig_open(&r, rig_node(&r, "a"), O_RDWR, &fh), 0);
	in.fh = fh;
	memcpy(msg, &in, sizeof(in));
	assert_int_equal(rig_call(&r, FUSE_WRITE, 1, msg, sizeof(msg), &wo,
				  sizeof(wo)), -EINVAL);
	in.size = UINT32_MAX;
	memcpy(msg, &in, sizeof(in));
	assert_int_equal(rig_call(&r, FUSE_WRITE, 1, msg, sizeof(msg), &wo,
				  sizeof(wo)), -EINVAL);
	in.size = 9;
	in.offset = INT64_MAX - 8;
	memcpy(msg, &in, sizeof(in));
	assert_int_equal(rig_call(&r, FUSE_WRITE, 1, msg, sizeof(msg), &wo,
				  sizeof(wo)), -EFBIG);
	in.offset = UINT64_MAX - 3;
	memcpy(msg, &in, sizeof(in));
	assert_int_equal(rig_call(&r, FUSE_WRITE, 1, msg, sizeof(msg), &wo,
				  sizeof(wo)), -EFBIG);
	assert_int_equal(rig_read(&r, fh, INT64_MAX - 1, msg, 4), 0);
	assert_int_equal(rig_read(&r, fh, UINT64_MAX, msg, 4), -EINVAL);
	rig_stop(&r);
}

/* Whatever is done with @name, it fails with @want. */
static void try_name(struct rig *r, const char *name, int want)
{
	struct fuse_mkdir_in mk = { 0700, 0 };
	struct fuse_mknod_in mn = { .mode = S_IFREG | 0600 };
	struct fuse_create_in cr = { .flags = O_RDWR | O_CREAT, .mode = 0600 };
	struct fuse_link_in ln = { rig_node(r, "a") };
	struct fuse_rename_in rn = { 1 };
	char room[256];

	assert_int_equal(rig_lookup(r, 1, name, NULL), want);
	assert_int_equal(rig_call_name(r, FUSE_MKDIR, 1, &mk, sizeof(mk), name,
				       NULL, room, sizeof(room)), want);
	assert_int_equal(rig_call_name(r, FUSE_MKNOD, 1, &mn, sizeof(mn), name,
				       NULL, room, sizeof(room)), want);
	assert_int_equal(rig_call_name(r, FUSE_CREATE, 1, &cr, sizeof(cr),
				       name, NULL, room, sizeof(room)), want);
	assert_int_equal(rig_call_name(r, FUSE_LINK, 1, &ln, sizeof(ln), name,
				       NULL, room, sizeof(room)), want);
	assert_int_equal(rig_call_name(r, FUSE_SYMLINK, 1, NULL, 0, name, "t",
				       room, sizeof(room)), want);
	assert_int_equal(rig_call_name(r, FUSE_UNLINK, 1, NULL, 0, name, NULL,
				       NULL, 0), want);
	assert_int_equal(rig_call_name(r, FUSE_RMDIR, 1, NULL, 0, name, NULL,
				       NULL, 0), want);
	assert_int_equal(rig_call_name(r, FUSE_RENAME, 1, &rn, sizeof(rn),
				       name, "x", NULL, 0), want);
	assert_int_equal(rig_call_name(r, FUSE_RENAME, 1, &rn, sizeof(rn),
				       "a", name, NULL, 0), want);
}

static void names_are_names(void **state)
{
	char longest[FUSE_WIRE_NAME_MAX + 2];
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "a", "", 0600);
	assert_int_equal(mkdirat(r.dir_fd, "d", 0700), 0);
	rig_init(&r);
	try_name(&r, "", -EINVAL);
	try_name(&r, ".", -EINVAL);
	try_name(&r, "..", -EINVAL);
	try_name(&r, "/", -EINVAL);
	try_name(&r, "d/", -EINVAL);
	try_name(&r, "d/..", -EINVAL);
	try_name(&r, "/etc/passwd", -EINVAL);
	try_name(&r, "../etc", -EINVAL);
	memset(longest, 'n', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	try_name(&r, longest, -ENAMETOOLONG);
	/* bytes that are not UTF-8 are a name like any other */
	assert_int_equal(rig_lookup(&r, 1, "\xff\xfe\x80", NULL), -ENOENT);
	rig_stop(&r);
}

/* Nothing that is not a regular file is ever opened, by no way. */
static void special_files_stay_closed(void **state)
{
	struct fuse_create_in cr = { .flags = O_RDWR | O_CREAT, .mode = 0600 };
	struct fuse_setattr_in sa = { .valid = FATTR_SIZE };
	struct fuse_attr_out ao;
	char room[256];
	uint64_t fh;
	struct rig r;

	rig_start(&r, NULL);
	assert_int_equal(mkfifoat(r.dir_fd, "fifo", 0666), 0);
	assert_int_equal(mknodat(r.dir_fd, "sock", S_IFSOCK | 0666, 0), 0);
	assert_int_equal(symlinkat("/etc/passwd", r.dir_fd, "link"), 0);
	rig_init(&r);
	/* would block for ever if it were opened */
	assert_int_equal(rig_open(&r, rig_node(&r, "fifo"), O_RDONLY, &fh),
			 -ENXIO);
	assert_int_equal(rig_open(&r, rig_node(&r, "sock"), O_RDWR, &fh),
			 -ENXIO);
	assert_int_equal(rig_open(&r, rig_node(&r, "link"), O_RDONLY, &fh),
			 -ELOOP);
	assert_int_equal(rig_call_name(&r, FUSE_CREATE, 1, &cr, sizeof(cr),
				       "fifo", NULL, room, sizeof(room)),
			 -ENXIO);
	assert_int_equal(rig_call_name(&r, FUSE_CREATE, 1, &cr, sizeof(cr),
				       "link", NULL, room, sizeof(room)),
			 -ELOOP);
	assert_int_equal(rig_call(&r, FUSE_SETATTR, rig_node(&r, "fifo"), &sa,
				  sizeof(sa), &ao, sizeof(ao)), -ENXIO);
	assert_int_equal(rig_map(&r, rig_node(&r, "fifo"), 0, 0, RIG_PAGE, 0),
			 -EINVAL);
	if (!geteuid() && !mknodat(r.dir_fd, "null", S_IFCHR | 0666,
				   makedev(1, 3)))
		assert_int_equal(rig_open(&r, rig_node(&r, "null"), O_RDWR,
					  &fh), -ENXIO);
	assert_int_equal(rig_stats(&r).handles, 0);
	rig_stop(&r);
}

/* Links are shown, not followed. */
static void links_lead_nowhere(void **state)
{
	struct fuse_entry_out e;
	uint64_t fh;
	struct rig r;

	rig_start(&r, NULL);
	assert_int_equal(symlinkat("/", r.dir_fd, "root"), 0);
	assert_int_equal(symlinkat("..", r.dir_fd, "up"), 0);
	rig_init(&r);
	assert_int_equal(rig_lookup(&r, 1, "root", &e), 0);
	assert_true(S_ISLNK(e.attr.mode));
	assert_int_equal(rig_lookup(&r, e.nodeid, "etc", NULL), -ENOTDIR);
	assert_int_equal(rig_opendir(&r, e.nodeid, &fh), -ENOTDIR);
	assert_int_equal(rig_lookup(&r, 1, "up", &e), 0);
	assert_int_equal(rig_opendir(&r, e.nodeid, &fh), -ENOTDIR);
	assert_int_equal(rig_call_name(&r, FUSE_UNLINK, e.nodeid, NULL, 0,
				       "x", NULL, NULL, 0), -ENOTDIR);
	rig_stop(&r);
}

static void read_only_share(void **state)
{
	static const uint32_t ops[] = {
		FUSE_SETATTR, FUSE_SYMLINK, FUSE_MKNOD, FUSE_MKDIR,
		FUSE_UNLINK, FUSE_RMDIR, FUSE_RENAME, FUSE_RENAME2, FUSE_LINK,
		FUSE_WRITE, FUSE_SETXATTR, FUSE_REMOVEXATTR, FUSE_CREATE,
		FUSE_TMPFILE, FUSE_FALLOCATE, FUSE_COPY_FILE_RANGE,
	};
	struct rig_config cfg = { .readonly = true };
	struct fuse_access_in in = { .mask = W_OK };
	char arg[128] = { 0 };
	char room[256];
	uint64_t node;
	uint64_t fh;
	struct stat st;
	size_t i;
	struct rig r;

	rig_start(&r, &cfg);
	rig_file(&r, "a", "text", 0666);
	rig_init(&r);
	node = rig_node(&r, "a");
	for (i = 0; i < ARRAY_LEN(ops); i++)
		assert_int_equal(rig_call(&r, ops[i], node, arg, sizeof(arg),
					  room, sizeof(room)), -EROFS);
	assert_int_equal(rig_open(&r, node, O_WRONLY, &fh), -EROFS);
	assert_int_equal(rig_open(&r, node, O_RDWR, &fh), -EROFS);
	assert_int_equal(rig_open(&r, node, O_RDONLY | O_TRUNC, &fh), -EROFS);
	assert_int_equal(rig_call(&r, FUSE_ACCESS, node, &in, sizeof(in), NULL,
				  0), -EROFS);
	assert_int_equal(rig_open(&r, node, O_RDONLY, &fh), 0);
	assert_int_equal(rig_read(&r, fh, 0, room, 10), 4);
	assert_int_equal(fstatat(r.dir_fd, "a", &st, 0), 0);
	assert_int_equal(st.st_size, 4);
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_length_of_every_request),
		cmocka_unit_test(headers_that_lie),
		cmocka_unit_test(extensions_that_lie),
		cmocka_unit_test(labels),
		cmocka_unit_test(labels_of_files),
		cmocka_unit_test(short_write),
		cmocka_unit_test(names_are_names),
		cmocka_unit_test(special_files_stay_closed),
		cmocka_unit_test(links_lead_nowhere),
		cmocka_unit_test(read_only_share),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
