/* SPDX-License-Identifier: BSD-2-Clause */
/* Holes, allocation, copying in the daemon, a full disk, a share that may not
 * be changed. */
#include "fixture.h"

#include <linux/falloc.h>
#include <sys/mount.h>

#define MIB (1u << 20)

static void test_fallocate(void **state)
{
	struct oriel_file *f = must_open(s, "fa", O_RDWR | O_CREAT);
	struct stat st;
	unsigned char buf[100];

	ok(oriel_fallocate(f, 0, 0, MIB));
	ok(stat(in_dir(dir, "fa"), &st));
	equals(st.st_size, MIB);
	assert_true(st.st_blocks * 512 >= MIB);
	ok(oriel_fallocate(f, FALLOC_FL_KEEP_SIZE, MIB, MIB));
	equals(must_stat("fa", 0).size, MIB);
	pattern_fill(buf, 100, 1, 0);
	equals(oriel_pwrite(f, buf, 100, 70000), 100);
	ok(oriel_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   70050, 100000));
	equals(oriel_pread(f, buf, 100, 70000), 100);
	equals(pattern_check(buf, 50, 1, 0), 50);
	for (int i = 50; i < 100; i++)
		equals(buf[i], 0);
	equals(oriel_fallocate(f, FALLOC_FL_PUNCH_HOLE, 0, 10), -EOPNOTSUPP);
	equals(oriel_fallocate(f, 0, -1, 10), -EINVAL);
	equals(oriel_fallocate(f, 0, 0, 0), -EINVAL);
	equals(oriel_fallocate(f, 0, INT64_MAX - 5, 10), -EINVAL);
	ok(oriel_close(f));
	f = must_open(s, "/", O_RDONLY);
	assert_true(oriel_fallocate(f, 0, 0, 10) < 0);
	ok(oriel_close(f));
}

static void test_lseek(void **state)
{
	struct oriel_file *f = must_open(s, "holes", O_RDWR | O_CREAT);
	int fd;

	equals(oriel_pwrite(f, "x", 1, 10 * MIB), 1);
	equals(oriel_pwrite(f, "x", 1, 5 * MIB), 1);
	fd = open(in_dir(dir, "holes"), O_RDONLY | O_CLOEXEC);
	for (off_t o = 0; o < 11 * MIB; o += MIB / 2 + 3) {
		off_t data = lseek(fd, o, SEEK_DATA);
		off_t hole = lseek(fd, o, SEEK_HOLE);

		equals(oriel_lseek(f, o, SEEK_DATA), data < 0 ? -ENXIO : data);
		equals(oriel_lseek(f, o, SEEK_HOLE), hole < 0 ? -ENXIO : hole);
	}
	close(fd);
	equals(oriel_lseek(f, 0, SEEK_END), 10 * MIB + 1);
	equals(oriel_lseek(f, 7, SEEK_END), 10 * MIB + 8);
	equals(oriel_lseek(f, -1, SEEK_END), 10 * MIB);
	equals(oriel_lseek(f, -20 * (off_t)MIB, SEEK_END), -EINVAL);
	equals(oriel_lseek(f, INT64_MAX, SEEK_END), -EINVAL);
	equals(oriel_lseek(f, -1, SEEK_DATA), -ENXIO);
	equals(oriel_lseek(f, 0, SEEK_SET), -EINVAL);
	equals(oriel_lseek(f, 0, SEEK_CUR), -EINVAL);
	ok(oriel_close(f));
}

static void test_copy_file_range(void **state)
{
	struct oriel_session *s2 = test_connect(dir, NULL);
	unsigned char *buf = malloc(MIB);
	struct oriel_file *a, *b, *c;
	size_t done = 0;

	native_pattern(dir, "from", MIB, 6);
	native_write(dir, "to", "0123456789", 10);
	a = must_open(s, "from", O_RDONLY);
	b = must_open(s, "to", O_RDWR);
	c = must_open(s2, "to", O_RDWR);
	while (done < MIB - 100) {
		ssize_t n = oriel_copy_file_range(a, 100 + (off_t)done, b,
						  5 + (off_t)done, MIB);

		assert_true(n > 0);
		done += (size_t)n;
	}
	equals(done, MIB - 100);
	equals(oriel_copy_file_range(a, MIB, b, 0, 100), 0);
	equals(oriel_pread(b, buf, MIB, 0), 5 + MIB - 100);
	assert_memory_equal(buf, "01234", 5);
	equals(pattern_check(buf + 5, MIB - 100, 6, 100), MIB - 100);
	equals(oriel_copy_file_range(a, 0, c, 0, 1), -EXDEV);
	equals(oriel_copy_file_range(a, -1, b, 0, 1), -EINVAL);
	equals(oriel_copy_file_range(a, 0, b, INT64_MAX, 1), -EINVAL);
	ok(oriel_close(a));
	ok(oriel_close(b));
	ok(oriel_close(c));
	oriel_disconnect(s2);
	free(buf);
}

static void test_ftruncate(void **state)
{
	struct oriel_file *f;
	unsigned char *buf = malloc(MIB);

	native_pattern(dir, "tr", MIB, 6);
	f = must_open(s, "tr", O_RDWR);
	equals(oriel_pread(f, buf, MIB, 0), MIB);
	ok(oriel_ftruncate(f, 100));
	equals(oriel_pread(f, buf, MIB, 0), 100);
	ok(oriel_ftruncate(f, MIB));
	equals(oriel_pread(f, buf, MIB, 0), MIB);
	equals(pattern_check(buf, 100, 6, 0), 100);
	for (unsigned i = 100; i < MIB; i++)
		equals(buf[i], 0);
	ok(oriel_truncate(s, "tr", 50));
	equals(oriel_pread(f, buf, MIB, 0), 50);
	ok(oriel_close(f));
	free(buf);
}

static void test_full_disk(void **state)
{
	struct oriel_session *s2;
	struct oriel_file *f;
	char *buf = calloc(1, MIB);
	char small[400];
	ssize_t n = 1;
	size_t sum = 0;

	snprintf(small, sizeof(small), "%s/small", dir);
	ok(mkdir(small, 0755));
	if (mount("tmpfs", small, "tmpfs", 0, "size=3m") < 0) {
		free(buf);
		skip(); /* not root */
	}
	s2 = test_connect(small, NULL);
	f = must_open(s2, "f", O_RDWR | O_CREAT);
	while (sum < 10 * MIB &&
	       (n = oriel_pwrite(f, buf, 700000, (off_t)sum)) > 0)
		sum += (size_t)n;
	equals(n, -ENOSPC);
	equals(sum, 3 * MIB); /* the last one was short */
	ok(oriel_ftruncate(f, 20 * MIB)); /* holes cost nothing */
	equals(oriel_pwrite(f, buf, 100, 10 * MIB), -ENOSPC);
	equals(oriel_fallocate(f, 0, 0, 10 * MIB), -ENOSPC);
	assert_true(must_info(s2).alive);
	/* an overwrite of what is there still works */
	equals(oriel_pwrite(f, "ok", 2, 1000), 2);
	equals(oriel_pread(f, buf, 2, 1000), 2);
	assert_memory_equal(buf, "ok", 2);
	ok(oriel_ftruncate(f, MIB));
	equals(oriel_pwrite(f, buf, 100, 2 * MIB), 100);
	ok(oriel_close(f));
	oriel_disconnect(s2);
	ok(umount2(small, MNT_DETACH));
	free(buf);
}

/* Every call that would change something. */
static void test_readonly(void **state)
{
	struct oriel_setattr set = { .mask = ORIEL_SET_MODE, .mode = 0600 };
	struct timespec t[2] = { { 1, 0 }, { 1, 0 } };
	struct oriel_session *ro;
	struct oriel_options o;
	struct oriel_mapping *m;
	struct oriel_file *f;
	unsigned char buf[100];
	struct stat before, after;
	void *p;

	native_pattern(dir, "ro", 200000, 6);
	ok(stat(in_dir(dir, "ro"), &before));
	test_options(&o);
	o.readonly = 1;
	ro = test_connect(dir, &o);
	equals(must_info(ro).readonly, 1);
	equals(oriel_open(ro, "ro", O_RDWR, 0, &f), -EROFS);
	equals(oriel_open(ro, "ro", O_WRONLY, 0, &f), -EROFS);
	equals(oriel_open(ro, "ro", O_WRONLY | O_TRUNC, 0, &f), -EROFS);
	equals(oriel_open(ro, "new", O_RDWR | O_CREAT, 0644, &f), -EROFS);
	equals(oriel_open(ro, "new", O_RDONLY | O_CREAT, 0644, &f), -EROFS);
	equals(oriel_setattr(ro, "ro", 0, &set), -EROFS);
	equals(oriel_truncate(ro, "ro", 0), -EROFS);
	equals(oriel_chmod(ro, "ro", 0600), -EROFS);
	equals(oriel_chown(ro, "ro", 0, 0, 0), -EROFS);
	equals(oriel_utimens(ro, "ro", t, 0), -EROFS);
	equals(oriel_mkdir(ro, "new", 0755), -EROFS);
	equals(oriel_mknod(ro, "new", S_IFREG | 0644, 0), -EROFS);
	equals(oriel_symlink(ro, "x", "new"), -EROFS);
	equals(oriel_link(ro, "ro", "new"), -EROFS);
	equals(oriel_unlink(ro, "ro"), -EROFS);
	equals(oriel_rmdir(ro, "ro"), -EROFS);
	equals(oriel_rename(ro, "ro", "new", 0), -EROFS);
	equals(oriel_rename(ro, "ro", "new", RENAME_NOREPLACE), -EROFS);
	equals(oriel_setxattr(ro, "ro", "user.x", "x", 1, 0, 0), -EROFS);
	equals(oriel_removexattr(ro, "ro", "user.x", 0), -EROFS);
	/* reading is as ever, through the window too */
	ok(oriel_open(ro, "ro", O_RDONLY, 0, &f));
	equals(oriel_pread(f, buf, 100, 70000), 100);
	equals(pattern_check(buf, 100, 6, 70000), 100);
	assert_true(must_info(ro).setups > 0);
	equals(oriel_map(f, 0, 10, ORIEL_MAP_WRITE, &m, &p), -EACCES);
	ok(oriel_map(f, 0, 10, ORIEL_MAP_READ, &m, &p));
	equals(pattern_check(p, 10, 6, 0), 10);
	oriel_unmap(m);
	ok(oriel_close(f));
	oriel_disconnect(ro);
	ok(stat(in_dir(dir, "ro"), &after));
	assert_memory_equal(&before.st_ctim, &after.st_ctim,
			    sizeof(before.st_ctim));
	equals(access(in_dir(dir, "new"), F_OK), -1);
}

static void test_durability_calls(void **state)
{
	struct oriel_file *f = must_open(s, "dur", O_RDWR | O_CREAT);

	equals(oriel_pwrite(f, "x", 1, 100000), 1);
	equals(oriel_pwrite(f, "x", 1, 10), 1);
	ok(oriel_fdatasync(f));
	ok(oriel_fsync(f));
	ok(oriel_sync(s));
	ok(oriel_close(f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fallocate),
		cmocka_unit_test(test_lseek),
		cmocka_unit_test(test_copy_file_range),
		cmocka_unit_test(test_ftruncate),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_readonly),
		cmocka_unit_test(test_durability_calls),
	};

	return cmocka_run_group_tests_name("client-space", tests,
					   fixture_setup, fixture_teardown);
}
