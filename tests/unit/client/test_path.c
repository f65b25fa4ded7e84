/* SPDX-License-Identifier: BSD-2-Clause */
/* Paths: what they name, their limits, and that none leaves the share. */
#include "fixture.h"

/* "aaaa..." of @n bytes. */
static const char *name_of(size_t n, char c)
{
	static char buf[2][5000];
	static unsigned next;
	char *p = buf[next++ % 2];

	memset(p, c, n);
	p[n] = '\0';
	return p;
}

static void test_name_length(void **state)
{
	char path[600];

	ok(try_open(name_of(255, 'a'), O_RDWR | O_CREAT));
	ok(try_open(name_of(255, 'a'), O_RDONLY));
	equals(try_open(name_of(256, 'a'), O_RDWR | O_CREAT), -ENAMETOOLONG);
	equals(oriel_mkdir(s, name_of(256, 'b'), 0755), -ENAMETOOLONG);
	ok(oriel_mkdir(s, name_of(255, 'b'), 0755));
	snprintf(path, sizeof(path), "%s/%s", name_of(255, 'b'),
		 name_of(255, 'c'));
	ok(try_open(path, O_RDWR | O_CREAT));
	snprintf(path, sizeof(path), "%s/x", name_of(256, 'b'));
	equals(try_open(path, O_RDONLY), -ENAMETOOLONG);
	ok(oriel_rename(s, name_of(255, 'a'), name_of(255, 'd'), 0));
	equals(oriel_rename(s, name_of(255, 'd'), name_of(256, 'd'), 0),
	       -ENAMETOOLONG);
	equals(oriel_link(s, name_of(255, 'd'), name_of(256, 'd')),
	       -ENAMETOOLONG);
	equals(oriel_symlink(s, "x", name_of(256, 'd')), -ENAMETOOLONG);
	ok(oriel_unlink(s, name_of(255, 'd')));
}

static void test_path_length(void **state)
{
	char path[4200];

	native_write(dir, "near", "n", 1);
	/* 4095 bytes, most of them slashes */
	memset(path, '/', sizeof(path));
	memcpy(path + 4091, "near", 5);
	equals(strlen(path), 4095);
	ok(try_open(path, O_RDONLY));
	memset(path, '/', sizeof(path));
	memcpy(path + 4092, "near", 5);
	equals(strlen(path), 4096);
	equals(try_open(path, O_RDONLY), -ENAMETOOLONG);
	equals(oriel_unlink(s, path), -ENAMETOOLONG);
	equals(try_open("", O_RDONLY), -ENOENT);
	equals(oriel_mkdir(s, "", 0755), -ENOENT);
	equals(oriel_symlink(s, name_of(4096, 't'), "long"), -ENAMETOOLONG);
	ok(oriel_symlink(s, name_of(4095, 't'), "long"));
	equals(oriel_readlink(s, "long", path, sizeof(path)), 4095);
	assert_memory_equal(path, name_of(4095, 't'), 4095);
	equals(try_open("long", O_RDONLY), -ENAMETOOLONG);
}

/* "..", "/", and absolute links end at the share's root. */
static void test_no_way_out(void **state)
{
	struct oriel_stat root = must_stat("/", 0), st;
	char up[400];

	native_write(dir, "inside", "in", 2);
	ok(mkdir(in_dir(dir, "sub"), 0755));
	native_write(dir, "sub/deep", "deep", 4);
	equals(must_stat("..", 0).ino, root.ino);
	equals(must_stat("/../../..", 0).ino, root.ino);
	equals(must_stat("sub/..", 0).ino, root.ino);
	equals(must_stat("sub/../../../sub/deep", 0).size, 4);
	equals(must_stat("/inside", 0).size, 2);
	equals(must_stat("//sub//./deep", 0).size, 4);
	/* a path of this machine is none of the share */
	equals(oriel_stat(s, dir, 0, &st), -ENOENT);
	equals(oriel_stat(s, "../../../../etc/passwd", 0, &st), -ENOENT);

	ok(symlink("/inside", in_dir(dir, "sub/abs")));
	equals(must_stat("sub/abs", 0).size, 2);
	ok(symlink("/etc/passwd", in_dir(dir, "passwd")));
	equals(oriel_stat(s, "passwd", 0, &st), -ENOENT);
	equals(try_open("passwd", O_RDONLY), -ENOENT);
	snprintf(up, sizeof(up), "../../../../../../../../../..%s/inside", dir);
	ok(symlink(up, in_dir(dir, "up")));
	equals(oriel_stat(s, "up", 0, &st), -ENOENT);
	ok(symlink("../../../inside", in_dir(dir, "sub/up")));
	equals(must_stat("sub/up", 0).size, 2);
	/* creating through one stays inside too */
	ok(symlink("/made-by-abs", in_dir(dir, "sub/make")));
	ok(try_open("sub/make", O_RDWR | O_CREAT));
	ok(access(in_dir(dir, "made-by-abs"), F_OK));
	equals(access("/made-by-abs", F_OK), -1);
}

/* A component that is replaced by a link between two calls. */
static void test_swapped_for_link(void **state)
{
	ok(mkdir(in_dir(dir, "swap"), 0755));
	native_write(dir, "swap/x", "x", 1);
	equals(must_stat("swap/x", 0).size, 1);
	ok(rename(in_dir(dir, "swap"), in_dir(dir, "swapped")));
	ok(symlink("/etc", in_dir(dir, "swap")));
	equals(try_open("swap/passwd", O_RDONLY), -ENOENT);
	equals(try_open("swap/x", O_RDONLY), -ENOENT);
}

static void test_links(void **state)
{
	char name[20], to[20];
	struct oriel_stat st;

	native_write(dir, "end", "end", 3);
	ok(symlink("end", in_dir(dir, "l1")));
	for (int i = 2; i <= 41; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		snprintf(to, sizeof(to), "l%d", i - 1);
		ok(symlink(to, in_dir(dir, name)));
	}
	equals(must_stat("l40", 0).size, 3);
	equals(oriel_stat(s, "l41", 0, &st), -ELOOP);
	ok(symlink("loop2", in_dir(dir, "loop1")));
	ok(symlink("loop1", in_dir(dir, "loop2")));
	ok(symlink("self/self", in_dir(dir, "self")));
	equals(oriel_stat(s, "loop1", 0, &st), -ELOOP);
	equals(oriel_stat(s, "self", 0, &st), -ELOOP);
	equals(try_open("loop1/x", O_RDWR | O_CREAT), -ELOOP);
	equals(must_stat("loop1", ORIEL_NOFOLLOW).mode & S_IFMT, S_IFLNK);
	ok(oriel_unlink(s, "loop1")); /* the link, not what it means */
}

static void test_slashes_and_files(void **state)
{
	struct oriel_stat st;

	native_write(dir, "f", "f", 1);
	ok(mkdir(in_dir(dir, "g"), 0755));
	ok(symlink("g", in_dir(dir, "to-g")));
	ok(symlink("f", in_dir(dir, "to-f")));
	equals(oriel_stat(s, "f/", 0, &st), -ENOTDIR);
	equals(oriel_stat(s, "f/.", 0, &st), -ENOTDIR);
	equals(oriel_stat(s, "f/..", 0, &st), -ENOTDIR);
	equals(oriel_stat(s, "f/x", 0, &st), -ENOTDIR);
	equals(oriel_stat(s, "to-f/", 0, &st), -ENOTDIR);
	equals(must_stat("to-g/", ORIEL_NOFOLLOW).mode & S_IFMT, S_IFDIR);
	equals(must_stat("to-g", ORIEL_NOFOLLOW).mode & S_IFMT, S_IFLNK);
	equals(oriel_unlink(s, "f/"), -ENOTDIR);
	equals(oriel_mkdir(s, "f/x", 0755), -ENOTDIR);
	equals(oriel_mkdir(s, "none/x", 0755), -ENOENT);
	ok(oriel_mkdir(s, "slashed/", 0755));
	equals(oriel_mkdir(s, "slashed", 0755), -EEXIST);
	equals(oriel_mkdir(s, "/", 0755), -EEXIST);
	equals(oriel_mkdir(s, "g/..", 0755), -EEXIST);
	ok(oriel_rmdir(s, "slashed/"));
	equals(oriel_rmdir(s, "/"), -EBUSY);
	equals(oriel_unlink(s, "/"), -EISDIR);
	equals(oriel_unlink(s, "g"), -EISDIR);
	equals(oriel_rename(s, "/", "x", 0), -EBUSY);
	equals(oriel_rename(s, "f", "g/..", 0), -EBUSY);
}

/* Names are bytes. */
static void test_not_utf8(void **state)
{
	static const char *const names[] = {
		"\xff\xfe\x80", "a\nb", "\x01", " ", "-", "...", "\xc3", "'\"$\\*",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct oriel_file *f = must_open(s, names[i],
						 O_RDWR | O_CREAT | O_EXCL);

		equals(oriel_pwrite(f, "n", 1, 0), 1);
		ok(oriel_close(f));
		ok(access(in_dir(dir, names[i]), F_OK));
		equals(must_stat(names[i], 0).size, 1);
	}
}

/* A path with many components, deeper than PATH_MAX in all. */
static void test_deep(void **state)
{
	char path[4000] = "";
	size_t len = 0;

	for (int i = 0; i < 15; i++) {
		len += (size_t)snprintf(path + len, sizeof(path) - len, "%s/",
					name_of(200, (char)('a' + i)));
		ok(oriel_mkdir(s, path, 0755));
	}
	snprintf(path + len, sizeof(path) - len, "leaf");
	ok(try_open(path, O_RDWR | O_CREAT));
	equals(must_stat(path, 0).size, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_name_length),
		cmocka_unit_test(test_path_length),
		cmocka_unit_test(test_no_way_out),
		cmocka_unit_test(test_swapped_for_link),
		cmocka_unit_test(test_links),
		cmocka_unit_test(test_slashes_and_files),
		cmocka_unit_test(test_not_utf8),
		cmocka_unit_test(test_deep),
	};

	return cmocka_run_group_tests_name("client-path", tests, fixture_setup,
					   fixture_teardown);
}
