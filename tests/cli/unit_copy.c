/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The copying of trees, local to local: what a share would do is the same code
 * with another session. Hostile trees are built by hand.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "copy.h"

static const struct command quiet_command = { .name = "test" };

struct fixture {
	struct cli c;
	struct cp_opts o;
	struct copy_job j;
};

static void init(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	f->c.command = &quiet_command;
	f->j.c = &f->c;
	f->j.o = &f->o;
	f->j.umask = 022;
	f->j.buf = malloc(COPY_BUF_BYTES);
	f->o.recursive = 1;
}

static int copied(struct fixture *f, const char *src, const char *dst)
{
	f->c.status = 0;
	copy_path(&f->j, src, dst);
	return f->c.status;
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void holds(const char *path, const char *text)
{
	char got[256] = "";
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	got[fread(got, 1, sizeof(got) - 1, f)] = 0;
	fclose(f);
	assert_string_equal(got, text);
}

static struct stat lstat_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st;
}

static void tree(void **state)
{
	char target[16] = "";
	struct fixture f;

	init(&f);
	assert_int_equal(mkdir("a", 0755), 0);
	assert_int_equal(mkdir("a/ro", 0755), 0);
	put("a/ro/x", "inside");
	put("a/y", "");
	assert_int_equal(chmod("a/y", 0754), 0);
	assert_int_equal(symlink("../nowhere", "a/l"), 0);
	assert_int_equal(chmod("a/ro", 0555), 0);
	assert_int_equal(copied(&f, "a", "b"), 0);
	holds("b/ro/x", "inside");
	assert_int_equal(lstat_of("b/y").st_mode & 07777, 0754);
	assert_int_equal(lstat_of("b/ro").st_mode & 07777, 0555);
	assert_int_equal(readlink("b/l", target, 15), 10);
	assert_string_equal(target, "../nowhere");
	/* Again, over what is there. */
	assert_int_equal(copied(&f, "a", "b"), 0);
	free(f.j.buf);
}

static void preserved(void **state)
{
	const struct timespec times[2] = { { 1000, 5 }, { 2000, 7 } };
	struct fixture f;

	init(&f);
	f.o.preserve = 1;
	put("a", "data");
	assert_int_equal(chmod("a", 0666), 0);
	assert_int_equal(utimensat(AT_FDCWD, "a", times, 0), 0);
	assert_int_equal(copied(&f, "a", "b"), 0);
	assert_int_equal(lstat_of("b").st_mode & 07777, 0666);
	assert_int_equal(lstat_of("b").st_mtim.tv_sec, 2000);
	assert_int_equal(lstat_of("b").st_mtim.tv_nsec, 7);
	free(f.j.buf);
}

static void holes_stay_holes(void **state)
{
	const off_t size = (off_t)64 << 20;
	struct fixture f;
	int fd;

	init(&f);
	fd = open("a", O_RDWR | O_CREAT, 0600);
	assert_int_equal(pwrite(fd, "x", 1, 8 << 20), 1);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
	if (lstat_of("a").st_blocks > 8192)
		skip(); /* a file system without holes */
	assert_int_equal(copied(&f, "a", "b"), 0);
	assert_int_equal(lstat_of("b").st_size, size);
	assert_true(lstat_of("b").st_blocks <= lstat_of("a").st_blocks + 16);
	assert_int_equal(system("cmp a b"), 0);
	free(f.j.buf);
}

static void nothing_is_written_through_a_link(void **state)
{
	struct fixture f;

	init(&f);
	assert_int_equal(mkdir("out", 0755), 0);
	put("victim", "precious");
	assert_int_equal(mkdir("a", 0755), 0);
	assert_int_equal(mkdir("a/d", 0755), 0);
	put("a/d/x", "evil");
	put("a/f", "evil");
	/* What a listing that changes between two reads would leave. */
	assert_int_equal(mkdir("b", 0755), 0);
	assert_int_equal(symlink("../out", "b/d"), 0);
	assert_int_equal(symlink("../victim", "b/f"), 0);
	assert_int_equal(copied(&f, "a", "b"), 1);
	holds("victim", "precious");
	assert_int_equal(access("out/x", F_OK), -1);
	/* -f takes the link away, still without following it. */
	f.o.force = 1;
	assert_int_equal(copied(&f, "a/f", "b/f2"), 0);
	assert_int_equal(copied(&f, "a", "b"), 1);
	holds("victim", "precious");
	holds("b/f", "evil");
	free(f.j.buf);
}

static void not_into_itself(void **state)
{
	struct fixture f;

	init(&f);
	assert_int_equal(mkdir("a", 0755), 0);
	assert_int_equal(mkdir("a/b", 0755), 0);
	put("a/x", "x");
	assert_int_equal(copied(&f, "a", "a/b"), 1);
	holds("a/b/x", "x");
	assert_int_equal(access("a/b/b/b", F_OK), -1);
	free(f.j.buf);
}

static void same_file_is_refused(void **state)
{
	struct fixture f;

	init(&f);
	put("a", "keep");
	assert_int_equal(link("a", "b"), 0);
	assert_int_equal(copied(&f, "a", "b"), 1);
	holds("a", "keep");
	free(f.j.buf);
}

static void existing_files(void **state)
{
	struct fixture f;

	init(&f);
	put("a", "new");
	put("b", "older and longer");
	f.o.no_clobber = 1;
	assert_int_equal(copied(&f, "a", "b"), 0);
	holds("b", "older and longer");
	f.o.no_clobber = 0;
	assert_int_equal(copied(&f, "a", "b"), 0);
	holds("b", "new");
	free(f.j.buf);
}

static void rest_is_copied_after_a_failure(void **state)
{
	struct fixture f;

	init(&f);
	assert_int_equal(mkdir("a", 0755), 0);
	assert_int_equal(mkfifo("a/fifo", 0600), 0);
	put("a/z", "z");
	assert_int_equal(copied(&f, "a", "b"), 1);
	holds("b/z", "z");
	assert_int_equal(access("b/fifo", F_OK), -1);
	free(f.j.buf);
}

static void a_begun_copy_that_fails_is_removed(void **state)
{
	struct fixture f;
	struct stat st;

	init(&f);
	if (stat("/proc/self/mem", &st) < 0)
		skip();
	/* Opens, says it is a regular file, and gives EIO at offset 0. */
	assert_int_equal(copied(&f, "/proc/self/mem", "b"), 1);
	assert_int_equal(access("b", F_OK), -1);
	/* What was there before is not removed. */
	put("c", "old");
	assert_int_equal(copied(&f, "/proc/self/mem", "c"), 1);
	assert_int_equal(access("c", F_OK), 0);
	free(f.j.buf);
}

static void measured(void **state)
{
	struct fixture f;

	init(&f);
	assert_int_equal(mkdir("a", 0755), 0);
	put("a/x", "12345");
	put("a/y", "123");
	assert_int_equal(symlink("x", "a/l"), 0);
	copy_measure(&f.j, "a");
	assert_int_equal(f.j.progress.total_bytes, 8);
	assert_int_equal(f.j.progress.total_files, 3);
	free(f.j.buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_TEMP_DIR(tree),
		IN_TEMP_DIR(preserved),
		IN_TEMP_DIR(holes_stay_holes),
		IN_TEMP_DIR(nothing_is_written_through_a_link),
		IN_TEMP_DIR(not_into_itself),
		IN_TEMP_DIR(same_file_is_refused),
		IN_TEMP_DIR(existing_files),
		IN_TEMP_DIR(rest_is_copied_after_a_failure),
		IN_TEMP_DIR(a_begun_copy_that_fails_is_removed),
		IN_TEMP_DIR(measured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
