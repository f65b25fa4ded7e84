/* SPDX-License-Identifier: BSD-2-Clause */
/* GETATTR, SETATTR, ACCESS, STATFS and extended attributes. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

static ssize_t do_setattr(struct rig *r, uint64_t node,
			  const struct fuse_setattr_in *in,
			  struct fuse_attr *ret)
{
	struct fuse_attr_out out;
	ssize_t n = rig_call(r, FUSE_SETATTR, node, in, sizeof(*in), &out,
			     sizeof(out));

	if (n >= 0) {
		assert_int_equal(n, sizeof(out));
		*ret = out.attr;
		return 0;
	}
	return n;
}

static void attributes(void **state)
{
	struct fuse_getattr_in in = { .getattr_flags = FUSE_GETATTR_FH };
	struct fuse_attr_out out;
	uint64_t node;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "xyz", 0604);
	rig_init(&r);
	node = rig_node(&r, "f");
	assert_int_equal(rig_call(&r, FUSE_GETATTR, node, &in, sizeof(in),
				  &out, sizeof(out)), sizeof(out));
	assert_int_equal(out.attr.size, 3);
	assert_int_equal(out.attr.mode, S_IFREG | 0604);
	/* of the file, also when its name is gone */
	assert_int_equal(unlinkat(r.dir_fd, "f", 0), 0);
	assert_int_equal(rig_call(&r, FUSE_GETATTR, node, &in, sizeof(in),
				  &out, sizeof(out)), sizeof(out));
	assert_int_equal(out.attr.nlink, 0);
	assert_int_equal(rig_call(&r, FUSE_GETATTR, 1, NULL, 0, &out,
				  sizeof(out)), sizeof(out));
	assert_true(S_ISDIR(out.attr.mode));
	assert_int_equal(rig_call(&r, FUSE_GETATTR, 0, NULL, 0, &out,
				  sizeof(out)), -ESTALE);
	rig_stop(&r);
}

static void statx_too(void **state)
{
	struct fuse_wire_statx_in in = { .sx_mask = STATX_BTIME | 1u << 31 };
	struct fuse_wire_statx_out out;
	struct statx want;
	uint64_t node;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "xyz", 0604);
	rig_init_flags(&r, FUSE_INIT_EXT);
	node = rig_node(&r, "f");
	assert_int_equal(statx(r.dir_fd, "f", 0, STATX_BASIC_STATS |
			       STATX_BTIME, &want), 0);
	assert_int_equal(rig_call(&r, FUSE_WIRE_STATX, node, &in, sizeof(in),
				  &out, sizeof(out)), sizeof(out));
	assert_int_equal(out.stat.stx_mask, want.stx_mask &
			 (STATX_BASIC_STATS | STATX_BTIME));
	assert_int_equal(out.stat.stx_size, 3);
	assert_int_equal(out.stat.stx_mode, S_IFREG | 0604);
	assert_int_equal(out.stat.stx_ino, want.stx_ino);
	assert_int_equal(out.stat.stx_btime.tv_sec, want.stx_btime.tv_sec);
	assert_int_equal(out.stat.stx_btime.tv_nsec, want.stx_btime.tv_nsec);
	/* Where we have it mounted is our own affair. */
	assert_int_equal(out.stat.stx_mnt_id, 0);
	assert_int_equal(rig_call(&r, FUSE_WIRE_STATX, node, &in, sizeof(in),
				  &out, sizeof(out) - 1), -EINVAL);
	assert_int_equal(rig_call(&r, FUSE_WIRE_STATX, node, &in,
				  sizeof(in) - 1, &out, sizeof(out)), -EINVAL);
	/* With files marked for DAX: GETATTR can say so, this cannot. */
	rig_init(&r);
	node = rig_node(&r, "f");
	assert_int_equal(rig_call(&r, FUSE_WIRE_STATX, node, &in, sizeof(in),
				  &out, sizeof(out)), -ENOSYS);
	rig_stop(&r);
}

static void sets_mode_and_size(void **state)
{
	struct fuse_setattr_in in = { .valid = FATTR_MODE, .mode = 07711 };
	struct fuse_attr a;
	uint64_t node;
	uint64_t fh;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "0123456789", 0644);
	assert_int_equal(symlinkat("f", r.dir_fd, "s"), 0);
	assert_int_equal(mkdirat(r.dir_fd, "d", 0700), 0);
	rig_init(&r);
	node = rig_node(&r, "f");
	assert_int_equal(do_setattr(&r, node, &in, &a), 0);
	assert_int_equal(a.mode, S_IFREG | 07711);
	assert_int_equal(do_setattr(&r, rig_node(&r, "s"), &in, &a),
			 -EOPNOTSUPP);
	in.mode = 0640;
	in.valid = FATTR_MODE | FATTR_SIZE;
	in.size = 4;
	assert_int_equal(do_setattr(&r, node, &in, &a), 0);
	assert_int_equal(a.size, 4);
	assert_int_equal(a.mode, S_IFREG | 0640);
	in.valid = FATTR_SIZE;
	in.size = 1 << 20;
	assert_int_equal(do_setattr(&r, node, &in, &a), 0);
	assert_int_equal(a.size, 1 << 20);
	in.size = UINT64_MAX;
	assert_int_equal(do_setattr(&r, node, &in, &a), -EFBIG);
	in.size = 1;
	assert_int_equal(do_setattr(&r, rig_node(&r, "d"), &in, &a), -EISDIR);
	/* by a handle; one of another file is not used */
	assert_int_equal(rig_open(&r, node, O_RDWR, &fh), 0);
	in.valid = FATTR_SIZE | FATTR_FH;
	in.fh = fh;
	assert_int_equal(do_setattr(&r, node, &in, &a), 0);
	assert_int_equal(a.size, 1);
	assert_int_equal(do_setattr(&r, rig_node(&r, "d"), &in, &a), -EISDIR);
	in.fh = 4711;
	assert_int_equal(do_setattr(&r, node, &in, &a), 0);
	rig_stop(&r);
}

static void sets_times(void **state)
{
	struct fuse_setattr_in in = {
		.valid = FATTR_ATIME | FATTR_MTIME, .atime = 1000,
		.atimensec = 1, .mtime = (uint64_t)-2, .mtimensec = 999999999,
	};
	struct fuse_attr a = { 0 };
	uint64_t node;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "", 0644);
	assert_int_equal(symlinkat("nowhere", r.dir_fd, "s"), 0);
	rig_init(&r);
	node = rig_node(&r, "f");
	assert_int_equal(do_setattr(&r, node, &in, &a), 0);
	assert_true(a.atime == 1000 && a.atimensec == 1);
	assert_true(a.mtime == (uint64_t)-2 && a.mtimensec == 999999999);
	in.valid = FATTR_MTIME | FATTR_MTIME_NOW;
	assert_int_equal(do_setattr(&r, node, &in, &a), 0);
	assert_true(a.atime == 1000);
	assert_true(a.mtime > 1600000000 && a.mtime < UINT32_MAX);
	/* numbers that mean something else to the system call */
	in.valid = FATTR_MTIME;
	in.mtimensec = UTIME_OMIT;
	assert_int_equal(do_setattr(&r, node, &in, &a), -EINVAL);
	in.mtimensec = 1000000000;
	assert_int_equal(do_setattr(&r, node, &in, &a), -EINVAL);
	/* of the link itself */
	in.mtime = 5;
	in.mtimensec = 0;
	assert_int_equal(do_setattr(&r, rig_node(&r, "s"), &in, &a), 0);
	assert_true(a.mtime == 5 && S_ISLNK(a.mode));
	rig_stop(&r);
}

static void sets_owner(void **state)
{
	struct fuse_setattr_in in = {
		.valid = FATTR_UID | FATTR_GID, .uid = 1000, .gid = 1001,
	};
	struct fuse_attr a = { 0 };
	struct rig r;

	if (geteuid())
		skip();
	rig_start(&r, NULL);
	rig_file(&r, "f", "", 0644);
	assert_int_equal(symlinkat("f", r.dir_fd, "s"), 0);
	rig_init(&r);
	assert_int_equal(do_setattr(&r, rig_node(&r, "s"), &in, &a), 0);
	assert_true(a.uid == 1000 && a.gid == 1001);
	in.valid = FATTR_GID;
	in.gid = 7;
	assert_int_equal(do_setattr(&r, rig_node(&r, "f"), &in, &a), 0);
	assert_true(a.uid == 0 && a.gid == 7);
	rig_stop(&r);
}

static ssize_t do_access(struct rig *r, uint64_t node, uint32_t uid,
			 uint32_t mask)
{
	struct fuse_access_in in = { .mask = mask };
	struct rig_who who = { r->s, uid, uid };

	return rig_call_as(r, &who, FUSE_ACCESS, node, &in, sizeof(in), NULL,
			   0);
}

static void access_as_the_user(void **state)
{
	uint64_t node;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "", 0640);
	rig_init(&r);
	node = rig_node(&r, "f");
	assert_int_equal(do_access(&r, node, 0, R_OK | W_OK), 0);
	assert_int_equal(do_access(&r, node, 0, 8), -EINVAL);
	if (!geteuid()) {
		assert_int_equal(do_access(&r, node, 1000, R_OK), -EACCES);
		assert_int_equal(do_access(&r, node, 1000, F_OK), 0);
		assert_int_equal(fchmodat(r.dir_fd, "f", 0644, 0), 0);
		assert_int_equal(do_access(&r, node, 1000, R_OK), 0);
		assert_int_equal(do_access(&r, node, 1000, W_OK), -EACCES);
	}
	rig_stop(&r);
}

static void file_system(void **state)
{
	struct fuse_statfs_out out;
	struct statfs sf;
	struct rig r;

	rig_start(&r, NULL);
	rig_init(&r);
	assert_int_equal(rig_call(&r, FUSE_STATFS, 1, NULL, 0, &out,
				  sizeof(out)), sizeof(out));
	assert_int_equal(statfs(r.dir, &sf), 0);
	assert_true(out.st.blocks == sf.f_blocks);
	assert_true(out.st.files == sf.f_files);
	assert_int_equal(out.st.bsize, sf.f_bsize);
	assert_int_equal(out.st.frsize, sf.f_frsize);
	assert_int_equal(out.st.namelen, sf.f_namelen);
	rig_stop(&r);
}

/* ---------------------------------------------------- extended attributes */

static ssize_t set_x(struct rig *r, uint64_t node, const char *name,
		     const void *value, uint32_t len, bool extended)
{
	struct fuse_setxattr_in in = { .size = len };
	size_t head = extended ? sizeof(in) : 8;
	char msg[512];

	memcpy(msg, &in, head);
	strcpy(msg + head, name);
	memcpy(msg + head + strlen(name) + 1, value, len);
	return rig_call(r, FUSE_SETXATTR, node, msg,
			head + strlen(name) + 1 + len, NULL, 0);
}

static ssize_t get_x(struct rig *r, uint64_t node, const char *name,
		     uint32_t size, void *ret, size_t room)
{
	struct fuse_getxattr_in in = { .size = size };

	return rig_call_name(r, FUSE_GETXATTR, node, &in, sizeof(in), name,
			     NULL, ret, room);
}

static void xattrs(void **state)
{
	struct fuse_getxattr_in list = { .size = 100 };
	struct fuse_getxattr_out size;
	char buf[100];
	uint64_t node;
	ssize_t n;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "", 0644);
	rig_init(&r);
	node = rig_node(&r, "f");
	n = set_x(&r, node, "user.oriel", "value", 5, true);
	if (n == -EOPNOTSUPP) {
		print_message("the file system has no user attributes\n");
		rig_stop(&r);
		skip();
	}
	assert_int_equal(n, 0);
	assert_int_equal(get_x(&r, node, "user.oriel", 0, &size, sizeof(size)),
			 sizeof(size));
	assert_int_equal(size.size, 5);
	assert_int_equal(get_x(&r, node, "user.oriel", 100, buf, 100), 5);
	assert_memory_equal(buf, "value", 5);
	assert_int_equal(get_x(&r, node, "user.oriel", 4, buf, 100), -ERANGE);
	assert_int_equal(get_x(&r, node, "user.oriel", 100, buf, 4), -ERANGE);
	assert_int_equal(get_x(&r, node, "user.oriel", 100, NULL, 0), -ERANGE);
	assert_int_equal(get_x(&r, node, "user.none", 100, buf, 100),
			 -ENODATA);
	assert_int_equal(get_x(&r, node, "", 100, buf, 100), -ERANGE);
	n = rig_call(&r, FUSE_LISTXATTR, node, &list, sizeof(list), buf, 100);
	assert_true(n >= 11);
	assert_non_null(memmem(buf, (size_t)n, "user.oriel", 11));
	assert_int_equal(rig_call_name(&r, FUSE_REMOVEXATTR, node, NULL, 0,
				       "user.oriel", NULL, NULL, 0), 0);
	assert_int_equal(rig_call_name(&r, FUSE_REMOVEXATTR, node, NULL, 0,
				       "user.oriel", NULL, NULL, 0), -ENODATA);
	/* a value shorter than it says */
	assert_int_equal(rig_call(&r, FUSE_SETXATTR, node,
				  "\x40\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0user.a\0x",
				  24, NULL, 0), -EINVAL);
	/* on the root, and the short structure of who has not agreed */
	assert_int_equal(set_x(&r, 1, "user.dir", "d", 1, true), 0);
	rig_init_flags(&r, 0);
	assert_int_equal(set_x(&r, rig_node(&r, "f"), "user.short", "s", 1,
			       false), 0);
	assert_int_equal(get_x(&r, rig_node(&r, "f"), "user.short", 9, buf,
			       100), 1);
	rig_stop(&r);
}

/* What cannot be opened has attributes all the same: of itself. */
static void xattrs_of_special_files(void **state)
{
	struct rig r;
	char buf[32];

	if (geteuid())
		skip();
	rig_start(&r, NULL);
	assert_int_equal(symlinkat("/etc", r.dir_fd, "s"), 0);
	assert_int_equal(mkfifoat(r.dir_fd, "p", 0600), 0);
	rig_init(&r);
	/* security.* is what the kernel allows there */
	if (set_x(&r, rig_node(&r, "s"), "security.oriel", "1", 1, true) == 0) {
		assert_int_equal(get_x(&r, rig_node(&r, "s"), "security.oriel",
				       32, buf, 32), 1);
		assert_int_equal(set_x(&r, rig_node(&r, "p"), "security.oriel",
				       "22", 2, true), 0);
		assert_int_equal(get_x(&r, rig_node(&r, "p"), "security.oriel",
				       32, buf, 32), 2);
	}
	assert_int_equal(get_x(&r, rig_node(&r, "s"), "user.x", 9, buf, 9),
			 -ENODATA);
	rig_stop(&r);
}

static void xattrs_switched_off(void **state)
{
	struct rig_config cfg = { .no_xattr = true };
	char buf[8];
	struct rig r;

	rig_start(&r, &cfg);
	rig_init(&r);
	assert_int_equal(set_x(&r, 1, "user.a", "v", 1, true), -ENOSYS);
	assert_int_equal(get_x(&r, 1, "user.a", 8, buf, 8), -ENOSYS);
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attributes),
		cmocka_unit_test(statx_too),
		cmocka_unit_test(sets_mode_and_size),
		cmocka_unit_test(sets_times),
		cmocka_unit_test(sets_owner),
		cmocka_unit_test(access_as_the_user),
		cmocka_unit_test(file_system),
		cmocka_unit_test(xattrs),
		cmocka_unit_test(xattrs_of_special_files),
		cmocka_unit_test(xattrs_switched_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
