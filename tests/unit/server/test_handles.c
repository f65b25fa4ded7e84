/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inodes that are remembered by file handle: what they cost, and that each
 * stays the file it was, however numbers and names change. Exits 77 where the
 * system does not let us open by handle.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES 400u

static void many_and_few_descriptors(void **state)
{
	uint64_t nodes[FILES];
	struct rlimit old, low;
	struct fuse_entry_out e;
	char name[16];
	uint64_t fh;
	struct rig r;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = 128;
	rig_start(&r, NULL);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	rig_restart(&r, NULL);
	rig_init(&r);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		rig_file(&r, name, name, 0644);
		assert_int_equal(rig_lookup(&r, 1, name, &e), 0);
		nodes[i] = e.nodeid;
	}
	assert_int_equal(rig_stats(&r).inodes, 1 + FILES);
	assert_true(rig_stats(&r).fds < 10);
	for (unsigned i = 0; i < FILES; i++) {
		char buf[16];

		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(rig_open(&r, nodes[i], O_RDONLY, &fh), 0);
		assert_int_equal(rig_read(&r, fh, 0, buf, sizeof(buf)),
				 strlen(name));
		assert_memory_equal(buf, name, strlen(name));
		assert_int_equal(rig_release(&r, fh), 0);
		rig_forget(&r, nodes[i], 1);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	rig_stop(&r);
}

/* Until the file system gives a new file the number @ino. */
static bool reuse_number(struct rig *r, const char *name, uint64_t ino)
{
	for (unsigned i = 0; i < 2000; i++) {
		struct stat st;

		rig_file(r, name, "new", 0644);
		assert_int_equal(fstatat(r->dir_fd, name, &st, 0), 0);
		if (st.st_ino == ino)
			return true;
		assert_int_equal(unlinkat(r->dir_fd, name, 0), 0);
	}
	return false;
}

static void numbers_used_again(void **state)
{
	struct fuse_entry_out a, b, other;
	struct fuse_attr_out attr;
	struct fuse_getattr_in in = { 0 };
	char buf[8];
	uint64_t fh;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "old", "old", 0644);
	rig_file(&r, "other", "other", 0644);
	rig_init(&r);
	assert_int_equal(rig_lookup(&r, 1, "old", &a), 0);
	/* its descriptor goes: one is kept, and that is this one's */
	assert_int_equal(rig_lookup(&r, 1, "other", &other), 0);
	assert_int_equal(unlinkat(r.dir_fd, "old", 0), 0);
	if (!reuse_number(&r, "new", a.attr.ino)) {
		rig_stop(&r);
		skip(); /* not on this file system */
	}
	assert_int_equal(rig_call(&r, FUSE_GETATTR, a.nodeid, &in, sizeof(in),
				  &attr, sizeof(attr)), -ESTALE);
	assert_int_equal(rig_lookup(&r, 1, "new", &b), 0);
	assert_int_equal(b.attr.ino, a.attr.ino);
	assert_int_not_equal(b.nodeid, a.nodeid);
	assert_int_equal(rig_call(&r, FUSE_GETATTR, a.nodeid, &in, sizeof(in),
				  &attr, sizeof(attr)), -ESTALE);
	assert_int_equal(rig_open(&r, a.nodeid, O_RDONLY, &fh), -ESTALE);
	assert_int_equal(rig_open(&r, b.nodeid, O_RDONLY, &fh), 0);
	assert_int_equal(rig_read(&r, fh, 0, buf, sizeof(buf)), 3);
	assert_memory_equal(buf, "new", 3);
	rig_stop(&r);
}

static void moved_and_removed(void **state)
{
	struct fuse_entry_out e, other;
	struct fuse_attr_out attr;
	struct fuse_getattr_in in = { 0 };
	char buf[8];
	uint64_t fh;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "text", 0644);
	rig_file(&r, "other", "other", 0644);
	rig_init(&r);
	assert_int_equal(rig_lookup(&r, 1, "f", &e), 0);
	assert_int_equal(rig_lookup(&r, 1, "other", &other), 0);
	assert_int_equal(mkdirat(r.dir_fd, "d", 0755), 0);
	assert_int_equal(renameat(r.dir_fd, "f", r.dir_fd, "d/g"), 0);
	assert_int_equal(rig_open(&r, e.nodeid, O_RDWR, &fh), 0);
	assert_int_equal(unlinkat(r.dir_fd, "d/g", 0), 0);
	/* An open file keeps what it is, and so does its node. */
	rig_node(&r, "other");
	assert_int_equal(rig_read(&r, fh, 0, buf, sizeof(buf)), 4);
	assert_int_equal(rig_call(&r, FUSE_GETATTR, e.nodeid, &in, sizeof(in),
				  &attr, sizeof(attr)), sizeof(attr));
	assert_int_equal(attr.attr.nlink, 0);
	assert_int_equal(rig_release(&r, fh), 0);
	rig_node(&r, "other");
	rig_node(&r, "d");
	assert_int_equal(rig_open(&r, e.nodeid, O_RDWR, &fh), -ESTALE);
	rig_stop(&r);
}

static bool can_open_by_handle(void)
{
	struct {
		struct file_handle h;
		char data[MAX_HANDLE_SZ];
	} any = { .h.handle_bytes = MAX_HANDLE_SZ };
	int mnt, fd;
	int dir = open("/var/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0 || name_to_handle_at(dir, "", &any.h, &mnt, AT_EMPTY_PATH))
		return false;
	fd = open_by_handle_at(dir, &any.h, O_PATH | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	close(dir);
	return fd >= 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_and_few_descriptors),
		cmocka_unit_test(numbers_used_again),
		cmocka_unit_test(moved_and_removed),
	};

	if (geteuid() || !can_open_by_handle())
		return 77;
	setenv("ORIEL_TEST_FILE_HANDLES", "1", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
