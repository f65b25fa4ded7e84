/* SPDX-License-Identifier: BSD-2-Clause */
/* Attributes: stat, setattr, times of window writes, set-uid bits, xattrs. */
#include "fixture.h"

#include <sys/statvfs.h>
#include <sys/xattr.h>

static void same_as_native(const char *path, const struct oriel_stat *a)
{
	struct stat b;

	ok(lstat(in_dir(dir, path), &b));
	equals(a->ino, b.st_ino);
	equals(a->size, b.st_size);
	equals(a->blocks, b.st_blocks);
	equals(a->mode, b.st_mode);
	equals(a->nlink, b.st_nlink);
	equals(a->uid, b.st_uid);
	equals(a->gid, b.st_gid);
	equals(a->mtime.tv_sec, b.st_mtim.tv_sec);
	equals(a->mtime.tv_nsec, b.st_mtim.tv_nsec);
	equals(a->atime.tv_sec, b.st_atim.tv_sec);
	equals(a->ctime.tv_nsec, b.st_ctim.tv_nsec);
}

static void test_stat(void **state)
{
	struct oriel_stat st;
	struct oriel_file *f;

	native_pattern(dir, "f", 123456, 1);
	ok(mkdir(in_dir(dir, "d"), 0751));
	ok(symlink("f", in_dir(dir, "l")));
	st = must_stat("f", 0);
	same_as_native("f", &st);
	st = must_stat("d", 0);
	same_as_native("d", &st);
	st = must_stat("l", ORIEL_NOFOLLOW);
	same_as_native("l", &st);
	equals(must_stat("l", 0).size, 123456);
	f = must_open(s, "f", O_RDONLY);
	ok(oriel_fstat(f, 0, &st));
	same_as_native("f", &st);
	equals(st.dax, 1);
	equals(oriel_fstat(f, 1, &st), -EINVAL);
	equals(oriel_stat(s, "f", 0x4000, &st), -EINVAL);
	ok(oriel_close(f));
}

/* fstat believes what it knows for a while, unless told not to. */
static void test_fstat_lifetime(void **state)
{
	struct oriel_session *s2;
	struct oriel_options o;
	struct oriel_stat st;
	struct oriel_info before, after;
	struct oriel_file *f;

	native_pattern(dir, "known", 1000, 1);
	test_options(&o);
	o.attr_ttl_ms = 600000;
	s2 = test_connect(dir, &o);
	f = must_open(s2, "known", O_RDWR);
	ok(oriel_fstat(f, 0, &st));
	before = must_info(s2);
	ok(oriel_fstat(f, 0, &st));
	after = must_info(s2);
	equals(after.requests, before.requests);
	ok(truncate(in_dir(dir, "known"), 500));
	ok(oriel_fstat(f, ORIEL_FORCE_SYNC, &st));
	equals(st.size, 500);
	/* what we change ourselves we know at once */
	equals(oriel_pwrite(f, "x", 1, 2000), 1);
	ok(oriel_fstat(f, 0, &st));
	equals(st.size, 2001);
	ok(oriel_chmod(s2, "known", 0600));
	ok(oriel_fstat(f, 0, &st));
	equals(st.mode & 07777, 0600);
	ok(oriel_close(f));
	oriel_disconnect(s2);
	/* never believed */
	o.attr_ttl_ms = ORIEL_NO_TTL;
	s2 = test_connect(dir, &o);
	f = must_open(s2, "known", O_RDONLY);
	ok(oriel_fstat(f, 0, &st));
	ok(truncate(in_dir(dir, "known"), 700));
	ok(oriel_fstat(f, 0, &st));
	equals(st.size, 700);
	ok(oriel_close(f));
	oriel_disconnect(s2);
}

static void test_setattr(void **state)
{
	struct oriel_setattr set = {
		.mask = ORIEL_SET_MODE | ORIEL_SET_SIZE | ORIEL_SET_MTIME |
			ORIEL_SET_ATIME,
		.mode = 0604,
		.size = 77,
		.atime = { 1000000001, 5 },
		.mtime = { 2000000002, 999999999 },
	};
	struct oriel_stat st;

	native_pattern(dir, "all", 1000, 1);
	ok(oriel_setattr(s, "all", 0, &set));
	st = must_stat("all", 0);
	same_as_native("all", &st);
	equals(st.mode & 07777, 0604);
	equals(st.size, 77);
	equals(st.mtime.tv_sec, 2000000002);
	equals(st.mtime.tv_nsec, 999999999);
	equals(st.atime.tv_sec, 1000000001);
	set.mask = 64;
	equals(oriel_setattr(s, "all", 0, &set), -EINVAL);
	set.mask = 0;
	ok(oriel_setattr(s, "all", 0, &set));
	equals(oriel_truncate(s, "all", -1), -EINVAL);
	equals(oriel_truncate(s, "nothere", 0), -ENOENT);
	equals(oriel_truncate(s, "/", 0), -EISDIR);
	if (geteuid() == 0) {
		ok(oriel_chown(s, "all", 1234, (gid_t)-1, 0));
		ok(oriel_chown(s, "all", (uid_t)-1, 4321, 0));
		st = must_stat("all", 0);
		equals(st.uid, 1234);
		equals(st.gid, 4321);
		ok(symlink("all", in_dir(dir, "to-all")));
		ok(oriel_chown(s, "to-all", 5, 6, ORIEL_NOFOLLOW));
		equals(must_stat("to-all", ORIEL_NOFOLLOW).uid, 5);
		equals(must_stat("all", 0).uid, 1234);
	}
}

static void test_utimens(void **state)
{
	struct timespec t[2] = { { 100, 1 }, { -200, 2 } };
	struct oriel_stat st;

	native_write(dir, "times", "t", 1);
	ok(oriel_utimens(s, "times", t, 0));
	st = must_stat("times", 0);
	equals(st.atime.tv_sec, 100);
	equals(st.mtime.tv_sec, -200); /* before 1970 */
	equals(st.mtime.tv_nsec, 2);
	t[0].tv_nsec = UTIME_OMIT;
	t[1].tv_nsec = UTIME_NOW;
	ok(oriel_utimens(s, "times", t, 0));
	st = must_stat("times", 0);
	equals(st.atime.tv_sec, 100);
	assert_true(st.mtime.tv_sec > 1000000000);
	t[1].tv_nsec = 1000000000;
	equals(oriel_utimens(s, "times", t, 0), -EINVAL);
	t[1].tv_nsec = UTIME_OMIT;
	ok(oriel_utimens(s, "times", t, 0));
}

/* An old mtime, so that any settlement shows. */
static struct oriel_file *old_file(const char *name, int flags)
{
	struct timespec t[2] = { { 1000, 0 }, { 1000, 0 } };
	struct oriel_file *f;
	char buf[10];

	native_pattern(dir, name, 200000, 1);
	f = must_open(s, name, flags);
	/* mapped for writing and dirty, before the time is set back */
	equals(oriel_pread(f, buf, 10, 0), 10);
	equals(oriel_pwrite(f, buf, 10, 0), 10);
	ok(oriel_utimens(s, name, t, 0));
	equals(must_stat(name, 0).mtime.tv_sec, 1000);
	return f;
}

static long native_mtime(const char *name)
{
	struct stat st;

	ok(stat(in_dir(dir, name), &st));
	return st.st_mtime;
}

static void test_mtime_of_window_writes(void **state)
{
	struct oriel_info before = must_info(s), after;
	struct oriel_stat st;
	struct oriel_mapping *m;
	struct oriel_file *f;
	void *p;

	f = old_file("at-fstat", O_RDWR);
	equals(oriel_pwrite(f, "w", 1, 100), 1);
	after = must_info(s);
	assert_true(after.window_write_bytes > before.window_write_bytes);
	ok(oriel_fstat(f, 0, &st));
	assert_true(st.mtime.tv_sec > 1000);
	assert_true(st.ctime.tv_sec > 1000);
	ok(oriel_close(f));

	f = old_file("at-stat", O_RDWR);
	equals(oriel_pwrite(f, "w", 1, 100), 1);
	assert_true(must_stat("at-stat", 0).mtime.tv_sec > 1000);
	ok(oriel_close(f));

	f = old_file("at-close", O_RDWR);
	equals(oriel_pwrite(f, "w", 1, 100), 1);
	ok(oriel_close(f));
	assert_true(native_mtime("at-close") > 1000);

	f = old_file("at-fsync", O_RDWR);
	equals(oriel_pwrite(f, "w", 1, 100), 1);
	ok(oriel_fsync(f));
	assert_true(native_mtime("at-fsync") > 1000);
	ok(oriel_close(f));

	f = old_file("at-sync", O_RDWR);
	equals(oriel_pwrite(f, "w", 1, 100), 1);
	ok(oriel_sync(s));
	assert_true(native_mtime("at-sync") > 1000);
	ok(oriel_close(f));

	f = old_file("by-pointer", O_RDWR);
	ok(oriel_map(f, 0, 100, ORIEL_MAP_READ | ORIEL_MAP_WRITE, &m, &p));
	memcpy(p, "w", 1);
	oriel_unmap(m);
	ok(oriel_close(f));
	assert_true(native_mtime("by-pointer") > 1000);

	f = old_file("by-pointer-later", O_RDWR);
	ok(oriel_map(f, 0, 100, ORIEL_MAP_READ | ORIEL_MAP_WRITE, &m, &p));
	ok(oriel_close(f));
	memcpy(p, "w", 1);
	oriel_unmap(m);
	assert_true(must_stat("by-pointer-later", 0).mtime.tv_sec > 1000);
}

/* A time that is set explicitly stays, although writes came before. */
static void test_mtime_set_after_writes(void **state)
{
	struct timespec t[2] = { { 3000, 0 }, { 3000, 0 } };
	struct oriel_file *f = old_file("set", O_RDWR);

	equals(oriel_pwrite(f, "w", 1, 100), 1);
	ok(oriel_utimens(s, "set", t, 0));
	ok(oriel_close(f));
	equals(native_mtime("set"), 3000);
}

/* Set-uid and set-gid go with the first write, as with write(2). The test
 * process owns the file and may be root, for which the kernel keeps them. */
static void test_setuid_cleared(void **state)
{
	struct oriel_session *s2;
	struct oriel_options o;
	struct oriel_file *f;
	struct stat st;

	test_options(&o);
	o.set_identity = 1;
	o.uid = 1000;
	o.gid = 1000;
	s2 = test_connect(dir, &o);
	native_pattern(dir, "suid", 200000, 1);
	ok(chmod(in_dir(dir, "suid"), 06777));
	f = must_open(s2, "suid", O_RDWR);
	equals(oriel_pwrite(f, "x", 1, 70000), 1);
	assert_true(must_info(s2).window_write_bytes > 0);
	ok(stat(in_dir(dir, "suid"), &st));
	equals(st.st_mode & 07777, 0777);
	/* and again, when they came back */
	ok(oriel_chmod(s, "suid", 06755));
	ok(oriel_stat(s2, "suid", 0, &(struct oriel_stat){ 0 }));
	equals(oriel_pwrite(f, "x", 1, 70000), 1);
	ok(stat(in_dir(dir, "suid"), &st));
	equals(st.st_mode & 07777, 0755);
	/* extending writes are the daemon's to do it for */
	ok(chmod(in_dir(dir, "suid"), 06777));
	ok(oriel_stat(s2, "suid", 0, &(struct oriel_stat){ 0 }));
	equals(oriel_pwrite(f, "x", 1, 300000), 1);
	ok(stat(in_dir(dir, "suid"), &st));
	equals(st.st_mode & 07777, 0777);
	ok(oriel_close(f));
	oriel_disconnect(s2);
}

static void test_statfs(void **state)
{
	struct statvfs a, b;

	ok(oriel_statfs(s, "/", &a));
	ok(statvfs(dir, &b));
	equals(a.f_bsize, b.f_bsize);
	equals(a.f_frsize, b.f_frsize);
	equals(a.f_blocks, b.f_blocks);
	equals(a.f_files, b.f_files);
	equals(a.f_namemax, b.f_namemax);
	equals(oriel_statfs(s, "nothere", &a), -ENOENT);
}

static void test_xattrs(void **state)
{
	static char buf[70000];
	char list[200];
	ssize_t n;

	native_write(dir, "x", "x", 1);
	n = oriel_setxattr(s, "x", "user.one", "value", 5, 0, 0);
	if (n == -EOPNOTSUPP)
		skip(); /* the file system has none */
	ok(n);
	equals(getxattr(in_dir(dir, "x"), "user.one", buf, 100), 5);
	assert_memory_equal(buf, "value", 5);
	equals(oriel_getxattr(s, "x", "user.one", NULL, 0, 0), 5);
	equals(oriel_getxattr(s, "x", "user.one", buf, sizeof(buf), 0), 5);
	assert_memory_equal(buf, "value", 5);
	equals(oriel_getxattr(s, "x", "user.one", buf, 4, 0), -ERANGE);
	equals(oriel_getxattr(s, "x", "user.two", buf, 4, 0), -ENODATA);
	equals(oriel_setxattr(s, "x", "user.one", "v", 1, XATTR_CREATE, 0),
	       -EEXIST);
	equals(oriel_setxattr(s, "x", "user.two", "v", 1, XATTR_REPLACE, 0),
	       -ENODATA);
	ok(oriel_setxattr(s, "x", "user.one", "", 0, XATTR_REPLACE, 0));
	equals(oriel_getxattr(s, "x", "user.one", buf, 10, 0), 0);
	ok(oriel_setxattr(s, "x", "user.two", "v", 1, XATTR_CREATE, 0));
	n = oriel_listxattr(s, "x", NULL, 0, 0);
	equals(oriel_listxattr(s, "x", list, sizeof(list), 0), n);
	assert_non_null(memmem(list, (size_t)n, "user.one", 9));
	assert_non_null(memmem(list, (size_t)n, "user.two", 9));
	equals(oriel_listxattr(s, "x", list, 3, 0), -ERANGE);
	ok(oriel_removexattr(s, "x", "user.two", 0));
	equals(oriel_removexattr(s, "x", "user.two", 0), -ENODATA);
	equals(oriel_getxattr(s, "x", "", buf, 4, 0), -ERANGE);
	equals(oriel_setxattr(s, "x", "user.big", buf, 65537, 0, 0), -E2BIG);
	memset(buf, 'n', 300);
	buf[300] = '\0';
	equals(oriel_getxattr(s, "x", buf, buf, 4, 0), -ERANGE);
	equals(oriel_getxattr(s, "nothere", "user.one", buf, 4, 0), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stat),
		cmocka_unit_test(test_fstat_lifetime),
		cmocka_unit_test(test_setattr),
		cmocka_unit_test(test_utimens),
		cmocka_unit_test(test_mtime_of_window_writes),
		cmocka_unit_test(test_mtime_set_after_writes),
		cmocka_unit_test(test_setuid_cleared),
		cmocka_unit_test(test_statfs),
		cmocka_unit_test(test_xattrs),
	};

	return cmocka_run_group_tests_name("client-attr", tests, fixture_setup,
					   fixture_teardown);
}
