/* SPDX-License-Identifier: BSD-2-Clause */
/* Making, linking, renaming and removing names; reading directories. */
#include "fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/sysmacros.h>

static void test_mkdir_rmdir(void **state)
{
	struct stat st;

	ok(oriel_mkdir(s, "d", 0750));
	ok(stat(in_dir(dir, "d"), &st));
	equals(st.st_mode, S_IFDIR | 0750);
	equals(oriel_mkdir(s, "d", 0750), -EEXIST);
	ok(oriel_mkdir(s, "d/e", 0755));
	equals(oriel_rmdir(s, "d"), -ENOTEMPTY);
	native_write(dir, "f", "f", 1);
	equals(oriel_rmdir(s, "f"), -ENOTDIR);
	equals(oriel_rmdir(s, "nothere"), -ENOENT);
	ok(oriel_rmdir(s, "d/e"));
	ok(oriel_rmdir(s, "d"));
	equals(access(in_dir(dir, "d"), F_OK), -1);
}

static void test_mknod(void **state)
{
	struct stat st;

	ok(oriel_mknod(s, "reg", S_IFREG | 0644, 0));
	ok(oriel_mknod(s, "fifo", S_IFIFO | 0600, 0));
	ok(oriel_mknod(s, "sock", S_IFSOCK | 0600, 0));
	ok(stat(in_dir(dir, "fifo"), &st));
	equals(st.st_mode, S_IFIFO | 0600);
	ok(stat(in_dir(dir, "sock"), &st));
	assert_true(S_ISSOCK(st.st_mode));
	equals(oriel_mknod(s, "reg", S_IFREG | 0644, 0), -EEXIST);
	equals(oriel_mknod(s, "x/", S_IFREG | 0644, 0), -ENOENT);
}

static void test_symlink_readlink(void **state)
{
	char buf[100];

	ok(oriel_symlink(s, "some/where", "sl"));
	equals(readlink(in_dir(dir, "sl"), buf, sizeof(buf)), 10);
	assert_memory_equal(buf, "some/where", 10);
	memset(buf, '#', sizeof(buf));
	equals(oriel_readlink(s, "sl", buf, 4), 10);
	assert_memory_equal(buf, "some##", 6);
	equals(oriel_readlink(s, "/", buf, 4), -EINVAL);
	equals(oriel_symlink(s, "a", "sl"), -EEXIST);
	equals(oriel_symlink(s, "", "sl2"), -ENOENT);
	equals(oriel_symlink(s, "a", "/"), -EEXIST);
}

static void test_hard_links(void **state)
{
	struct oriel_stat a;
	struct oriel_file *f, *g;
	char buf[10];

	native_pattern(dir, "one", 100000, 3);
	ok(mkdir(in_dir(dir, "hd"), 0755));
	f = must_open(s, "one", O_RDWR);
	ok(oriel_link(s, "one", "hd/two"));
	a = must_stat("hd/two", 0);
	equals(a.nlink, 2);
	equals(a.ino, must_stat("one", 0).ino);
	/* one file: what goes in by one name comes out by the other */
	g = must_open(s, "hd/two", O_RDWR);
	equals(oriel_pwrite(f, "same", 4, 70000), 4);
	equals(oriel_pread(g, buf, 4, 70000), 4);
	assert_memory_equal(buf, "same", 4);
	ok(oriel_ftruncate(g, 10));
	equals(oriel_pread(f, buf, 10, 5), 5);
	equals(oriel_link(s, "one", "hd/two"), -EEXIST);
	equals(oriel_link(s, "hd", "hd2"), -EPERM);
	equals(oriel_link(s, "nothere", "x"), -ENOENT);
	equals(oriel_link(s, "one", "nothere/x"), -ENOENT);
	ok(oriel_unlink(s, "one"));
	equals(must_stat("hd/two", 0).nlink, 1);
	/* a link itself, not what it names */
	ok(oriel_symlink(s, "nowhere", "dl"));
	ok(oriel_link(s, "dl", "dl2"));
	equals(must_stat("dl2", ORIEL_NOFOLLOW).mode & S_IFMT, S_IFLNK);
	ok(oriel_close(f));
	ok(oriel_close(g));
}

static void test_rename(void **state)
{
	unsigned char *got;
	size_t len;
	struct oriel_stat st;

	native_write(dir, "a", "aa", 2);
	native_write(dir, "b", "bbb", 3);
	ok(mkdir(in_dir(dir, "rd"), 0755));
	equals(oriel_rename(s, "a", "b", RENAME_NOREPLACE), -EEXIST);
	ok(oriel_rename(s, "a", "b", RENAME_EXCHANGE));
	equals(must_stat("a", 0).size, 3);
	equals(must_stat("b", 0).size, 2);
	equals(oriel_rename(s, "a", "nothere", RENAME_EXCHANGE), -ENOENT);
	ok(oriel_rename(s, "a", "b", 0));
	got = native_read(dir, "b", &len);
	equals(len, 3);
	free(got);
	equals(oriel_stat(s, "a", 0, &st), -ENOENT);
	ok(oriel_rename(s, "b", "rd/c", RENAME_NOREPLACE));
	equals(must_stat("rd/c", 0).size, 3);
	equals(oriel_rename(s, "rd", "rd/sub", 0), -EINVAL);
	equals(oriel_rename(s, "nothere", "x", 0), -ENOENT);
	native_write(dir, "f", "f", 1);
	equals(oriel_rename(s, "f", "rd", 0), -EISDIR);
	equals(oriel_rename(s, "rd", "f", 0), -ENOTDIR);
	ok(oriel_mkdir(s, "rd2", 0755));
	equals(oriel_rename(s, "rd2", "rd", 0), -ENOTEMPTY);
	ok(oriel_unlink(s, "rd/c"));
	ok(oriel_rename(s, "rd2", "rd", 0));
	equals(oriel_rename(s, "f", "g", 0x80), -EINVAL);
	equals(oriel_rename(s, "f", "g",
			    RENAME_NOREPLACE | RENAME_EXCHANGE),
	       -EINVAL);
}

static void test_unlink(void **state)
{
	native_write(dir, "u", "u", 1);
	ok(oriel_unlink(s, "u"));
	equals(oriel_unlink(s, "u"), -ENOENT);
	equals(oriel_unlink(s, "u/v"), -ENOENT);
}

/* ---------------------------------------------------------- directories */

#define N_NAMES 5000

static unsigned number_of(const char *name)
{
	unsigned i = N_NAMES;

	must(sscanf(name, "entry-%u", &i) == 1 && i < N_NAMES, "what is %s",
	     name);
	return i;
}

static bool is_dot(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static void make_names(void)
{
	char name[40];

	if (access(in_dir(dir, "many"), F_OK) == 0)
		return;
	ok(mkdir(in_dir(dir, "many"), 0755));
	for (unsigned i = 0; i < N_NAMES; i++) {
		snprintf(name, sizeof(name), "many/entry-%u", i);
		if (i % 100 == 0)
			ok(mkdir(in_dir(dir, name), 0755));
		else
			native_write(dir, name, "12345", i % 6);
	}
}

static void read_all(unsigned flags)
{
	static unsigned char seen[N_NAMES];
	struct oriel_dir *d;
	struct oriel_dirent e;
	unsigned dots = 0, n = 0;
	int r;

	memset(seen, 0, sizeof(seen));
	ok(oriel_opendir(s, "many", flags, &d));
	while ((r = oriel_readdir(d, &e)) == 1) {
		equals(e.namelen, strlen(e.name));
		if (is_dot(e.name)) {
			dots++;
			equals(e.type, DT_DIR);
			continue;
		}
		n = number_of(e.name);
		seen[n]++;
		equals(e.type, n % 100 ? DT_REG : DT_DIR);
		equals(e.has_stat, flags & ORIEL_DIR_STAT ? 1 : 0);
		if (e.has_stat) {
			equals(e.st.ino, e.ino);
			if (n % 100)
				equals(e.st.size, n % 6);
		}
	}
	equals(r, 0);
	equals(oriel_readdir(d, &e), 0); /* and stays there */
	oriel_closedir(d);
	equals(dots, 2);
	for (unsigned i = 0; i < N_NAMES; i++)
		equals(seen[i], 1);
}

static void test_readdir(void **state)
{
	make_names();
	read_all(0);
	read_all(ORIEL_DIR_STAT);
}

static void test_seekdir(void **state)
{
	uint64_t cookies[50];
	char names[50][40];
	struct oriel_dir *d;
	struct oriel_dirent e;

	make_names();
	for (unsigned plus = 0; plus < 2; plus++) {
		unsigned n = 0;

		ok(oriel_opendir(s, "many", plus ? ORIEL_DIR_STAT : 0, &d));
		for (unsigned i = 0; i < 4950; i++) {
			equals(oriel_readdir(d, &e), 1);
			if (i % 100)
				continue;
			cookies[n] = e.off;
			equals(oriel_readdir(d, &e), 1);
			snprintf(names[n++], 40, "%.39s", e.name);
		}
		for (unsigned k = 0; k < 200; k++) {
			unsigned i = k * 37 % n;

			oriel_seekdir(d, cookies[i]);
			equals(oriel_readdir(d, &e), 1);
			assert_string_equal(e.name, names[i]);
		}
		oriel_seekdir(d, 0);
		for (unsigned i = 0; i < N_NAMES + 2; i++)
			equals(oriel_readdir(d, &e), 1);
		equals(oriel_readdir(d, &e), 0);
		ok(oriel_fsyncdir(d));
		oriel_closedir(d);
	}
	oriel_closedir(NULL);
}

static void test_opendir_errors(void **state)
{
	struct oriel_dir *d = NULL;

	native_write(dir, "plain", "p", 1);
	equals(oriel_opendir(s, "plain", 0, &d), -ENOTDIR);
	equals(oriel_opendir(s, "nothere", 0, &d), -ENOENT);
	equals(oriel_opendir(s, "/", 4, &d), -EINVAL);
	assert_null(d);
}

/* Names that come and go while we read: no crash, what stays is seen once. */
static void test_readdir_changing(void **state)
{
	struct oriel_dir *d;
	struct oriel_dirent e;
	char name[40];
	unsigned seen = 0, i = 0;

	ok(mkdir(in_dir(dir, "busy"), 0755));
	for (unsigned k = 0; k < 1000; k++) {
		snprintf(name, sizeof(name), "busy/stay-%u", k);
		native_write(dir, name, "", 0);
	}
	ok(oriel_opendir(s, "busy", ORIEL_DIR_STAT, &d));
	while (oriel_readdir(d, &e) == 1) {
		seen += strncmp(e.name, "stay-", 5) == 0;
		snprintf(name, sizeof(name), "busy/go-%u", i++);
		native_write(dir, name, "", 0);
		if (i % 2)
			unlink(in_dir(dir, name));
		if (i > 20000)
			break;
	}
	oriel_closedir(d);
	equals(seen, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mkdir_rmdir),
		cmocka_unit_test(test_mknod),
		cmocka_unit_test(test_symlink_readlink),
		cmocka_unit_test(test_hard_links),
		cmocka_unit_test(test_rename),
		cmocka_unit_test(test_unlink),
		cmocka_unit_test(test_readdir),
		cmocka_unit_test(test_seekdir),
		cmocka_unit_test(test_opendir_errors),
		cmocka_unit_test(test_readdir_changing),
	};

	return cmocka_run_group_tests_name("client-names", tests,
					   fixture_setup, fixture_teardown);
}
