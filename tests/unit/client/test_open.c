/* SPDX-License-Identifier: BSD-2-Clause */
/* oriel_open(): flags, what may be opened, and its errors. */
#include "fixture.h"

#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

static void test_flags_refused(void **state)
{
	struct oriel_file *f = NULL;

	equals(try_open("x", O_RDWR | O_WRONLY), -EINVAL);
	equals(try_open("x", O_PATH), -EINVAL);
	equals(oriel_open(s, "/", O_TMPFILE | O_RDWR, 0600, &f), -EINVAL);
	equals(try_open("x", O_RDONLY | O_DIRECT), -EINVAL);
	assert_null(f);
	assert_non_null(strstr(oriel_session_error(s), "flags"));
}

static void test_create(void **state)
{
	struct oriel_file *f = NULL;
	struct stat st;

	equals(try_open("made", O_RDWR), -ENOENT);
	ok(oriel_open(s, "made", O_RDWR | O_CREAT, 0640, &f));
	ok(stat(in_dir(dir, "made"), &st));
	equals(st.st_mode, S_IFREG | 0640);
	equals(st.st_size, 0);
	ok(oriel_close(f));
	ok(try_open("made", O_RDWR | O_CREAT));
	equals(try_open("made", O_RDWR | O_CREAT | O_EXCL), -EEXIST);
	ok(try_open("made2", O_WRONLY | O_CREAT | O_EXCL));
	/* the new file can be written though its mode says no */
	ok(oriel_open(s, "made3", O_RDWR | O_CREAT, 0, &f));
	equals(oriel_pwrite(f, "x", 1, 0), 1);
	ok(oriel_close(f));
	equals(try_open("none/made", O_RDWR | O_CREAT), -ENOENT);
	equals(try_open("made/made", O_RDWR | O_CREAT), -ENOTDIR);
	equals(try_open("new/", O_RDWR | O_CREAT), -EISDIR);
	equals(try_open("new", O_RDONLY | O_CREAT | O_DIRECTORY), -EISDIR);
	equals(access(in_dir(dir, "new"), F_OK), -1);
}

/* Also through a link whose target is not there yet. */
static void test_create_by_link(void **state)
{
	ok(symlink("target-to-be", in_dir(dir, "dangling")));
	equals(try_open("dangling", O_RDWR), -ENOENT);
	equals(try_open("dangling", O_RDWR | O_CREAT | O_EXCL), -EEXIST);
	equals(try_open("dangling", O_RDWR | O_CREAT | O_NOFOLLOW), -ELOOP);
	ok(try_open("dangling", O_RDWR | O_CREAT));
	ok(access(in_dir(dir, "target-to-be"), F_OK));
}

static void test_trunc(void **state)
{
	struct oriel_file *f, *other;
	unsigned char buf[10];
	struct oriel_stat st;

	native_pattern(dir, "cut", 200000, 1);
	other = must_open(s, "cut", O_RDWR);
	equals(oriel_pread(other, buf, 10, 100000), 10); /* mapped now */
	f = must_open(s, "cut", O_WRONLY | O_TRUNC);
	ok(oriel_fstat(f, 0, &st));
	equals(st.size, 0);
	equals(oriel_pread(other, buf, 10, 100000), 0);
	equals(oriel_pread(other, buf, 10, 0), 0);
	equals(oriel_pwrite(f, "abc", 3, 5), 3);
	equals(oriel_pread(other, buf, 10, 0), 8);
	assert_memory_equal(buf, "\0\0\0\0\0abc", 8);
	ok(oriel_close(f));
	ok(oriel_close(other));
}

static void test_access_mode(void **state)
{
	struct oriel_file *r, *w;
	struct oriel_mapping *m;
	char buf[4];
	void *p;

	native_write(dir, "modes", "1234", 4);
	r = must_open(s, "modes", O_RDONLY);
	w = must_open(s, "modes", O_WRONLY);
	equals(oriel_pwrite(r, "x", 1, 0), -EBADF);
	equals(oriel_ftruncate(r, 0), -EBADF);
	equals(oriel_fallocate(r, 0, 0, 1), -EBADF);
	equals(oriel_pread(w, buf, 4, 0), -EBADF);
	equals(oriel_map(r, 0, 4, ORIEL_MAP_WRITE, &m, &p), -EACCES);
	equals(oriel_map(w, 0, 4, ORIEL_MAP_READ, &m, &p), -EACCES);
	equals(oriel_copy_file_range(w, 0, w, 2, 1), -EBADF);
	equals(oriel_copy_file_range(r, 0, r, 2, 1), -EBADF);
	equals(oriel_pwrite(w, "x", 1, 0), 1);
	equals(oriel_pread(r, buf, 4, 0), 4);
	assert_memory_equal(buf, "x234", 4);
	ok(oriel_close(r));
	ok(oriel_close(w));
}

/* Two sessions append by turns: no byte of either is lost. */
static void test_append_two_sessions(void **state)
{
	struct oriel_session *s2 = test_connect(dir, NULL);
	struct oriel_file *a, *b;
	unsigned char *got;
	size_t len;

	native_write(dir, "log", "", 0);
	a = must_open(s, "log", O_WRONLY | O_APPEND);
	b = must_open(s2, "log", O_WRONLY | O_APPEND);
	for (int i = 0; i < 500; i++) {
		equals(oriel_pwrite(a, "aaa\n", 4, 0), 4);
		equals(oriel_pwrite(b, "bbb\n", 4, 1000000), 4);
		if (i % 3 == 0)
			equals(oriel_pwrite(a, "aaa\n", 4, 7), 4);
	}
	ok(oriel_close(a));
	ok(oriel_close(b));
	oriel_disconnect(s2);
	got = native_read(dir, "log", &len);
	equals(len, 4 * (1000 + 167));
	for (size_t i = 0; i < len; i += 4)
		assert_true(memcmp(got + i, "aaa\n", 4) == 0 ||
			    memcmp(got + i, "bbb\n", 4) == 0);
	free(got);
}

static void test_nofollow(void **state)
{
	native_write(dir, "plain", "p", 1);
	ok(symlink("plain", in_dir(dir, "link")));
	ok(try_open("link", O_RDONLY));
	equals(try_open("link", O_RDONLY | O_NOFOLLOW), -ELOOP);
	ok(try_open("plain", O_RDONLY | O_NOFOLLOW));
}

static void test_directory(void **state)
{
	struct oriel_file *f;
	char buf[4];
	void *p;
	struct oriel_mapping *m;

	ok(mkdir(in_dir(dir, "d"), 0755));
	native_write(dir, "file", "f", 1);
	equals(try_open("d", O_RDWR), -EISDIR);
	equals(try_open("d", O_RDONLY | O_CREAT), -EISDIR);
	equals(try_open("file", O_RDONLY | O_DIRECTORY), -ENOTDIR);
	equals(try_open("file/", O_RDONLY), -ENOTDIR);
	ok(try_open("d/", O_RDONLY));
	ok(try_open("/", O_RDONLY | O_DIRECTORY));
	f = must_open(s, "d", O_RDONLY);
	equals(oriel_pread(f, buf, 4, 0), -EISDIR);
	equals(oriel_map(f, 0, 4, ORIEL_MAP_READ, &m, &p), -ENODEV);
	ok(oriel_fsync(f));
	ok(oriel_close(f));
}

static void test_special_files(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ok(mkfifo(in_dir(dir, "fifo"), 0644));
	must(snprintf(addr.sun_path, sizeof(addr.sun_path), "%.90s/sock",
		      dir) > 0,
	     "path");
	ok(bind(sock, (struct sockaddr *)&addr, sizeof(addr)));
	equals(try_open("fifo", O_RDONLY), -ENXIO);
	equals(try_open("fifo", O_RDWR | O_CREAT), -ENXIO);
	equals(try_open("sock", O_RDONLY), -ENXIO);
	if (geteuid() == 0) {
		ok(mknod(in_dir(dir, "null"), S_IFCHR | 0666, makedev(1, 3)));
		equals(try_open("null", O_RDWR), -ENXIO);
		equals(must_stat("null", 0).rdev_major, 1);
		equals(must_stat("null", 0).rdev_minor, 3);
	}
	close(sock);
}

/* A file that was removed is still there for who has it open. */
static void test_unlinked(void **state)
{
	struct oriel_file *f;
	unsigned char buf[100];
	struct oriel_stat st;

	native_pattern(dir, "gone", 100000, 3);
	f = must_open(s, "gone", O_RDWR);
	ok(oriel_unlink(s, "gone"));
	equals(try_open("gone", O_RDONLY), -ENOENT);
	equals(oriel_pread(f, buf, 100, 70000), 100);
	equals(pattern_check(buf, 100, 3, 70000), 100);
	equals(oriel_pwrite(f, "z", 1, 150000), 1);
	ok(oriel_fstat(f, ORIEL_FORCE_SYNC, &st));
	equals(st.nlink, 0);
	equals(st.size, 150001);
	ok(oriel_close(f));
}

/* The name was given to another file meanwhile: each handle has its own. */
static void test_replaced(void **state)
{
	struct oriel_file *old, *new;
	unsigned char buf[100];

	native_pattern(dir, "now", 100000, 4);
	native_pattern(dir, "then", 100000, 5);
	old = must_open(s, "now", O_RDONLY);
	equals(oriel_pread(old, buf, 100, 0), 100);
	ok(rename(in_dir(dir, "then"), in_dir(dir, "now")));
	new = must_open(s, "now", O_RDONLY);
	equals(oriel_pread(new, buf, 100, 0), 100);
	equals(pattern_check(buf, 100, 5, 0), 100);
	equals(oriel_pread(old, buf, 100, 0), 100);
	equals(pattern_check(buf, 100, 4, 0), 100);
	ok(oriel_close(old));
	ok(oriel_close(new));
}

/* A file removed and made again, often: the number may be the same one. */
static void test_inode_number_again(void **state)
{
	unsigned char buf[5000];

	for (uint32_t i = 0; i < 200; i++) {
		struct oriel_file *f;

		native_pattern(dir, "again", 4000 + i, i);
		f = must_open(s, "again", O_RDWR);
		equals(oriel_pread(f, buf, sizeof(buf), 0), 4000 + i);
		equals(pattern_check(buf, 4000 + i, i, 0), 4000 + i);
		ok(oriel_close(f));
		ok(unlink(in_dir(dir, "again")));
	}
}

static void test_sync_flags(void **state)
{
	struct oriel_file *f;
	struct oriel_info before, after;

	native_pattern(dir, "sync", 100000, 1);
	f = must_open(s, "sync", O_RDWR | O_DSYNC);
	equals(oriel_pwrite(f, "x", 1, 10), 1);
	before = must_info(s);
	equals(oriel_pwrite(f, "y", 1, 11), 1);
	after = must_info(s);
	/* a window write, and a message for its durability */
	equals(after.window_write_bytes - before.window_write_bytes, 1);
	assert_true(after.requests > before.requests);
	equals(oriel_pwrite_nowait(f, "y", 1, 11), -EAGAIN);
	ok(oriel_close(f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flags_refused),
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_create_by_link),
		cmocka_unit_test(test_trunc),
		cmocka_unit_test(test_access_mode),
		cmocka_unit_test(test_append_two_sessions),
		cmocka_unit_test(test_nofollow),
		cmocka_unit_test(test_directory),
		cmocka_unit_test(test_special_files),
		cmocka_unit_test(test_unlinked),
		cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_inode_number_again),
		cmocka_unit_test(test_sync_flags),
	};

	return cmocka_run_group_tests_name("client-open", tests, fixture_setup,
					   fixture_teardown);
}
