/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests that name directory entries: what they do, and how they fail. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

static ssize_t do_mkdir(struct rig *r, uint64_t parent, const char *name,
			uint32_t mode, uint32_t mask, struct fuse_entry_out *e)
{
	struct fuse_mkdir_in in = { mode, mask };

	return rig_call_name(r, FUSE_MKDIR, parent, &in, sizeof(in), name,
			     NULL, e, sizeof(*e));
}

static ssize_t do_mknod(struct rig *r, const char *name, uint32_t mode,
			uint32_t rdev, struct fuse_entry_out *e)
{
	struct fuse_mknod_in in = { .mode = mode, .rdev = rdev, .umask = 022 };

	return rig_call_name(r, FUSE_MKNOD, 1, &in, sizeof(in), name, NULL, e,
			     sizeof(*e));
}

static ssize_t do_rename(struct rig *r, uint64_t from, const char *name,
			 uint64_t to, const char *new_name, int flags)
{
	struct fuse_rename2_in in2 = { to, (uint32_t)flags, 0 };
	struct fuse_rename_in in = { to };

	if (flags < 0)
		return rig_call_name(r, FUSE_RENAME, from, &in, sizeof(in),
				     name, new_name, NULL, 0);
	return rig_call_name(r, FUSE_RENAME2, from, &in2, sizeof(in2), name,
			     new_name, NULL, 0);
}

static void lookup_gives_attributes(void **state)
{
	struct fuse_entry_out e;
	struct stat st;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "twelve bytes", 0640);
	rig_init(&r);
	assert_int_equal(rig_lookup(&r, 1, "f", &e), 0);
	assert_int_equal(fstatat(r.dir_fd, "f", &st, 0), 0);
	assert_true(e.attr.ino == st.st_ino);
	assert_int_equal(e.attr.size, 12);
	assert_int_equal(e.attr.mode, S_IFREG | 0640);
	assert_int_equal(e.attr.nlink, 1);
	assert_int_equal(e.attr.uid, getuid());
	assert_int_equal(e.attr.blocks, st.st_blocks);
	assert_true(e.attr.mtime == (uint64_t)st.st_mtim.tv_sec);
	assert_true(e.attr.mtimensec == (uint32_t)st.st_mtim.tv_nsec);
	assert_int_equal(e.generation, 0);
	assert_int_equal(e.entry_valid, 1);
	assert_int_equal(e.attr_valid, 1);
	assert_int_equal(rig_lookup(&r, 1, "nothing", NULL), -ENOENT);
	assert_int_equal(rig_lookup(&r, e.nodeid, "x", NULL), -ENOTDIR);
	assert_int_equal(rig_lookup(&r, 77, "x", NULL), -ESTALE);
	rig_stop(&r);
}

static void timeouts_follow_the_policy(void **state)
{
	struct rig_config cfg = { .cache = SERVER_CACHE_ALWAYS };
	struct fuse_entry_out e;
	struct rig r;

	rig_start(&r, &cfg);
	rig_file(&r, "f", "", 0600);
	rig_init(&r);
	assert_int_equal(rig_lookup(&r, 1, "f", &e), 0);
	assert_int_equal(e.entry_valid, 86400);
	assert_int_equal(e.attr_valid, 86400);
	cfg.cache = SERVER_CACHE_NEVER;
	rig_restart(&r, &cfg);
	rig_init(&r);
	assert_int_equal(rig_lookup(&r, 1, "f", &e), 0);
	assert_int_equal(e.entry_valid + e.attr_valid, 0);
	rig_stop(&r);
}

/* Hard links are one inode with one nodeid; a new file is a new one. */
static void nodeids_are_files(void **state)
{
	struct fuse_link_in in;
	struct fuse_entry_out e;
	uint64_t first;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "a", "", 0600);
	rig_init(&r);
	first = rig_node(&r, "a");
	in.oldnodeid = first;
	assert_int_equal(rig_call_name(&r, FUSE_LINK, 1, &in, sizeof(in), "b",
				       NULL, &e, sizeof(e)), sizeof(e));
	assert_true(e.nodeid == first);
	assert_int_equal(e.attr.nlink, 2);
	assert_true(rig_node(&r, "b") == first);
	assert_int_equal(rig_call_name(&r, FUSE_LINK, 1, &in, sizeof(in), "b",
				       NULL, &e, sizeof(e)), -EEXIST);
	in.oldnodeid = 1;
	assert_int_equal(rig_call_name(&r, FUSE_LINK, 1, &in, sizeof(in), "c",
				       NULL, &e, sizeof(e)), -EPERM);
	in.oldnodeid = 1234;
	assert_int_equal(rig_call_name(&r, FUSE_LINK, 1, &in, sizeof(in), "c",
				       NULL, &e, sizeof(e)), -ESTALE);
	/* replaced: the number of a forgotten file is not given out again */
	rig_forget(&r, first, 3);
	assert_int_equal(unlinkat(r.dir_fd, "a", 0), 0);
	assert_int_equal(unlinkat(r.dir_fd, "b", 0), 0);
	rig_file(&r, "a", "", 0600);
	assert_true(rig_node(&r, "a") != first);
	rig_stop(&r);
}

/* A link to the symbolic link itself, not to what it names. */
static void link_to_symlink(void **state)
{
	struct fuse_link_in in;
	struct fuse_entry_out e;
	struct rig r;

	rig_start(&r, NULL);
	assert_int_equal(symlinkat("/etc/passwd", r.dir_fd, "s"), 0);
	rig_init(&r);
	in.oldnodeid = rig_node(&r, "s");
	assert_int_equal(rig_call_name(&r, FUSE_LINK, 1, &in, sizeof(in), "t",
				       NULL, &e, sizeof(e)), sizeof(e));
	assert_true(S_ISLNK(e.attr.mode));
	assert_true(e.nodeid == in.oldnodeid);
	rig_stop(&r);
}

static void makes_directories(void **state)
{
	struct fuse_entry_out e;
	struct fuse_entry_out e2;
	struct rig r;

	rig_start(&r, NULL);
	rig_init(&r);
	assert_int_equal(do_mkdir(&r, 1, "d", 0777, 027, &e), sizeof(e));
	assert_int_equal(e.attr.mode, S_IFDIR | 0750);
	assert_int_equal(do_mkdir(&r, 1, "d", 0777, 0, &e2), -EEXIST);
	assert_int_equal(do_mkdir(&r, e.nodeid, "sub", 0700, 0, &e2),
			 sizeof(e2));
	assert_int_equal(rig_call_name(&r, FUSE_RMDIR, 1, NULL, 0, "d", NULL,
				       NULL, 0), -ENOTEMPTY);
	assert_int_equal(rig_call_name(&r, FUSE_UNLINK, 1, NULL, 0, "d", NULL,
				       NULL, 0), -EISDIR);
	assert_int_equal(rig_call_name(&r, FUSE_RMDIR, e.nodeid, NULL, 0,
				       "sub", NULL, NULL, 0), 0);
	assert_int_equal(rig_call_name(&r, FUSE_RMDIR, 1, NULL, 0, "d", NULL,
				       NULL, 0), 0);
	assert_int_equal(rig_lookup(&r, 1, "d", NULL), -ENOENT);
	/* gone, but known: nothing can be made in it */
	assert_int_equal(do_mkdir(&r, e.nodeid, "x", 0700, 0, &e2), -ENOENT);
	rig_stop(&r);
}

static void makes_nodes(void **state)
{
	struct fuse_entry_out e;
	struct stat st;
	struct rig r;

	rig_start(&r, NULL);
	rig_init(&r);
	assert_int_equal(do_mknod(&r, "f", S_IFREG | 0666, 0, &e), sizeof(e));
	assert_int_equal(e.attr.mode, S_IFREG | 0644);
	assert_int_equal(do_mknod(&r, "p", S_IFIFO | 0600, 0, &e), sizeof(e));
	assert_true(S_ISFIFO(e.attr.mode));
	assert_int_equal(do_mknod(&r, "s", S_IFSOCK | 0600, 0, &e), sizeof(e));
	assert_true(S_ISSOCK(e.attr.mode));
	assert_int_equal(do_mknod(&r, "f", S_IFREG | 0666, 0, &e), -EEXIST);
	if (!geteuid()) {
		/* minor 0x12345 and major 0x103 over both halves of rdev */
		uint32_t rdev = 0x45 | 0x103 << 8 | 0x123 << 20;

		assert_int_equal(do_mknod(&r, "c", S_IFCHR | 0600, rdev, &e),
				 sizeof(e));
		assert_int_equal(e.attr.rdev, rdev);
		assert_int_equal(fstatat(r.dir_fd, "c", &st, 0), 0);
		assert_int_equal(major(st.st_rdev), 0x103);
		assert_int_equal(minor(st.st_rdev), 0x12345);
	}
	rig_stop(&r);
}

static void makes_and_reads_symlinks(void **state)
{
	char target[FUSE_WIRE_PATH_MAX];
	struct fuse_entry_out e;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "", 0600);
	rig_init(&r);
	assert_int_equal(rig_call_name(&r, FUSE_SYMLINK, 1, NULL, 0, "s",
				       "../some/where", &e, sizeof(e)),
			 sizeof(e));
	assert_true(S_ISLNK(e.attr.mode));
	assert_int_equal(rig_call(&r, FUSE_READLINK, e.nodeid, NULL, 0, target,
				  sizeof(target)), 13);
	assert_memory_equal(target, "../some/where", 13);
	assert_int_equal(rig_call(&r, FUSE_READLINK, e.nodeid, NULL, 0, target,
				  5), 5);
	assert_int_equal(rig_call(&r, FUSE_READLINK, rig_node(&r, "f"), NULL, 0,
				  target, sizeof(target)), -EINVAL);
	assert_int_equal(rig_call_name(&r, FUSE_SYMLINK, 1, NULL, 0, "s", "x",
				       &e, sizeof(e)), -EEXIST);
	assert_int_equal(rig_call_name(&r, FUSE_SYMLINK, 1, NULL, 0, "t", "",
				       &e, sizeof(e)), -ENOENT);
	/* target without its NUL, and none at all */
	assert_int_equal(rig_call(&r, FUSE_SYMLINK, 1, "t\0abc", 5, &e,
				  sizeof(e)), -EINVAL);
	assert_int_equal(rig_call(&r, FUSE_SYMLINK, 1, "t", 2, &e, sizeof(e)),
			 -EINVAL);
	rig_stop(&r);
}

static void renames(void **state)
{
	struct fuse_entry_out d;
	uint64_t a;
	uint64_t b;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "a", "a", 0600);
	rig_file(&r, "b", "b", 0600);
	rig_init(&r);
	a = rig_node(&r, "a");
	b = rig_node(&r, "b");
	assert_int_equal(do_mkdir(&r, 1, "d", 0700, 0, &d), sizeof(d));
	assert_int_equal(do_rename(&r, 1, "a", 1, "b", RENAME_NOREPLACE),
			 -EEXIST);
	assert_int_equal(do_rename(&r, 1, "a", 1, "b", RENAME_EXCHANGE), 0);
	assert_true(rig_node(&r, "a") == b && rig_node(&r, "b") == a);
	assert_int_equal(do_rename(&r, 1, "a", d.nodeid, "moved", -1), 0);
	assert_int_equal(rig_lookup(&r, 1, "a", NULL), -ENOENT);
	assert_int_equal(rig_lookup(&r, d.nodeid, "moved", NULL), 0);
	assert_int_equal(do_rename(&r, 1, "a", 1, "c", -1), -ENOENT);
	assert_int_equal(do_rename(&r, 1, "d", d.nodeid, "x", -1), -EINVAL);
	assert_int_equal(do_rename(&r, 1, "b", 1, "c", 8), -EINVAL);
	assert_int_equal(do_rename(&r, 1, "b", 555, "c", 0), -ESTALE);
	assert_int_equal(do_rename(&r, 1, "b", a, "c", 0), -ENOTDIR);
	rig_stop(&r);
}

/* What a client's user makes belongs to that user. */
static void creations_belong_to_the_user(void **state)
{
	struct rig_who who = { NULL, 1234, 4321 };
	struct { struct fuse_mkdir_in in; char name[2]; } mk = {
		{ 0700, 0 }, "d",
	};
	struct { struct fuse_create_in in; char name[2]; } cr = {
		{ O_RDWR | O_CREAT, 0666, 022, 0 }, "f",
	};
	struct { struct fuse_entry_out e; struct fuse_open_out o; } out;
	struct rig r;

	if (geteuid()) {
		print_message("needs root\n");
		skip();
	}
	rig_start(&r, NULL);
	rig_init(&r);
	who.s = r.s;
	assert_int_equal(rig_call_as(&r, &who, FUSE_MKDIR, 1, &mk,
				     sizeof(mk.in) + 2, &out, sizeof(out.e)),
			 sizeof(out.e));
	assert_int_equal(out.e.attr.uid, 1234);
	assert_int_equal(out.e.attr.gid, 4321);
	assert_int_equal(rig_call_as(&r, &who, FUSE_CREATE, 1, &cr,
				     sizeof(cr.in) + 2, &out, sizeof(out)),
			 sizeof(out));
	assert_int_equal(out.e.attr.uid, 1234);
	assert_int_equal(out.e.attr.mode, S_IFREG | 0644);
	/* and we are ourselves again */
	assert_int_equal(do_mkdir(&r, 1, "mine", 0700, 0, &out.e),
			 sizeof(out.e));
	assert_int_equal(out.e.attr.uid, 0);
	assert_int_equal(out.e.attr.gid, 0);
	/* failing too */
	assert_int_equal(rig_call_as(&r, &who, FUSE_MKDIR, 1, &mk,
				     sizeof(mk.in) + 2, &out, sizeof(out.e)),
			 -EEXIST);
	assert_int_equal(do_mkdir(&r, 1, "mine2", 0700, 0, &out.e),
			 sizeof(out.e));
	assert_int_equal(out.e.attr.uid, 0);
	who.uid = UINT32_MAX;
	mk.name[0] = 'e';
	assert_int_equal(rig_call_as(&r, &who, FUSE_MKDIR, 1, &mk,
				     sizeof(mk.in) + 2, &out, sizeof(out.e)),
			 -EINVAL);
	rig_stop(&r);
}

static void counts_lookups(void **state)
{
	struct fuse_forget_one one[3];
	struct { struct fuse_batch_forget_in in; struct fuse_forget_one one[3]; }
	batch;
	uint64_t node;
	int i;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "", 0600);
	rig_file(&r, "g", "", 0600);
	rig_init(&r);
	node = rig_node(&r, "f");
	for (i = 0; i < 9; i++)
		assert_true(rig_node(&r, "f") == node);
	rig_forget(&r, node, 9);
	assert_int_equal(rig_stats(&r).inodes, 2);
	rig_forget(&r, node, 1);
	assert_int_equal(rig_stats(&r).inodes, 1);
	assert_int_equal(rig_stats(&r).fds, 1);
	rig_forget(&r, node, 1); /* of somebody unknown: nothing */
	rig_forget(&r, 1, UINT64_MAX); /* the root stays */
	assert_int_equal(rig_lookup(&r, 1, "f", NULL), 0);
	/* more than there are */
	rig_forget(&r, rig_node(&r, "g"), UINT64_MAX);
	assert_int_equal(rig_stats(&r).inodes, 2);
	/* many at once, with a count that lies */
	one[0].nodeid = rig_node(&r, "f");
	one[0].nlookup = 2;
	one[1].nodeid = rig_node(&r, "g");
	one[1].nlookup = 1;
	one[2].nodeid = 12345;
	one[2].nlookup = 1;
	batch.in.count = UINT32_MAX;
	batch.in.dummy = 0;
	memcpy(batch.one, one, sizeof(one));
	rig_call(&r, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch), NULL, 0);
	assert_int_equal(rig_stats(&r).inodes, 1);
	rig_stop(&r);
}

/* Each session has its own counts and knows only its own nodes. */
static void sessions_are_apart(void **state)
{
	struct server_session_config sc = { 0 };
	struct fuse_init_in in = { .major = 7, .minor = 38 };
	struct fuse_init_out out;
	struct fuse_attr_out attr;
	struct fuse_entry_out e;
	struct rig_who other = { NULL, 0, 0 };
	uint64_t node;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "", 0600);
	rig_init(&r);
	node = rig_node(&r, "f");
	assert_int_equal(server_session_new(r.share, &sc, &other.s), 0);
	assert_true(rig_call_as(&r, &other, FUSE_INIT, 0, &in, sizeof(in),
				&out, sizeof(out)) > 0);
	assert_int_equal(rig_call_as(&r, &other, FUSE_GETATTR, node, NULL, 0,
				     &attr, sizeof(attr)), -ESTALE);
	assert_int_equal(rig_call_as(&r, &other, FUSE_LOOKUP, 1, "f", 2, &e,
				     sizeof(e)), sizeof(e));
	assert_true(e.nodeid == node); /* one inode, one descriptor */
	assert_int_equal(rig_stats(&r).inodes, 2);
	assert_int_equal(rig_stats(&r).sessions, 2);
	server_session_free(other.s);
	assert_int_equal(rig_stats(&r).inodes, 2);
	assert_int_equal(rig_call(&r, FUSE_GETATTR, node, NULL, 0, &attr,
				  sizeof(attr)), sizeof(attr));
	rig_forget(&r, node, 1);
	assert_int_equal(rig_stats(&r).inodes, 1);
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lookup_gives_attributes),
		cmocka_unit_test(timeouts_follow_the_policy),
		cmocka_unit_test(nodeids_are_files),
		cmocka_unit_test(link_to_symlink),
		cmocka_unit_test(makes_directories),
		cmocka_unit_test(makes_nodes),
		cmocka_unit_test(makes_and_reads_symlinks),
		cmocka_unit_test(renames),
		cmocka_unit_test(creations_belong_to_the_user),
		cmocka_unit_test(counts_lookups),
		cmocka_unit_test(sessions_are_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
