/* SPDX-License-Identifier: BSD-2-Clause */
/* The facade on the real kernel. Skips where one may not mount. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "facade/facade.h"

#define RANGE (2u << 20)

struct ctx {
	struct facade *f;
	int real; /* a file with a name on the test's file system */
	char path[64];
};

static struct ctx *start(void)
{
	const struct facade_config cfg = { .confine = NULL };
	struct ctx *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	assert_int_equal(facade_new(&cfg, &c->f), 0);
	assert_int_equal(facade_start(c->f), 0);
	strcpy(c->path, "/var/tmp/oriel-facade-XXXXXX");
	c->real = mkstemp(c->path);
	assert_true(c->real >= 0);
	assert_int_equal(pwrite(c->real, "hello", 5, 0), 5);
	return c;
}

static void finish(struct ctx *c)
{
	facade_free(c->f);
	close(c->real);
	unlink(c->path);
	free(c);
}

static char *map(int fd, int prot, off_t off)
{
	return mmap(NULL, RANGE, prot, MAP_SHARED, fd, off);
}

/* What QEMU needs: a file that has the whole range, and is the real one. */
static void test_endless(void **state)
{
	struct ctx *c = start();
	int fd = facade_open(c->f, c->real, true);
	char buf[8] = "";
	struct stat st;
	char *p;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_size >= (off_t)1 << 50);
	assert_true(st.st_dev == facade_dev(c->f));
	p = map(fd, PROT_READ | PROT_WRITE, 0);
	assert_true(p != MAP_FAILED);
	assert_memory_equal(p, "hello", 5);
	memcpy(p, "HE", 2);
	assert_int_equal(pread(c->real, buf, 5, 0), 5);
	assert_string_equal(buf, "HEllo");
	/* It grows: the same mapping has the new bytes. */
	assert_int_equal(pwrite(c->real, "far", 3, 9000), 3);
	assert_memory_equal(p + 9000, "far", 3);
	assert_int_equal(p[8999], 0);
	munmap(p, RANGE);
	close(fd);
	finish(c);
}

/* A whole range far behind the end can be mapped, for when the file grows. */
static void test_behind_the_end(void **state)
{
	struct ctx *c = start();
	int fd = facade_open(c->f, c->real, true);
	char *p;

	assert_true(fd >= 0);
	p = map(fd, PROT_READ, 4 * (off_t)RANGE);
	assert_true(p != MAP_FAILED);
	assert_int_equal(pwrite(c->real, "there", 5, 4 * (off_t)RANGE), 5);
	assert_memory_equal(p, "there", 5);
	munmap(p, RANGE);
	close(fd);
	finish(c);
}

/* Who is given a descriptor can do with it what it was opened for, no more. */
static void test_no_more_access(void **state)
{
	struct ctx *c = start();
	int fd = facade_open(c->f, c->real, false);
	char again[32];

	assert_true(fd >= 0);
	assert_true(map(fd, PROT_READ | PROT_WRITE, 0) == MAP_FAILED);
	snprintf(again, sizeof(again), "/proc/self/fd/%d", fd);
	assert_int_equal(open(again, O_RDWR), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(open(again, O_RDONLY), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(truncate(again, 0), -1);
	close(fd);
	finish(c);
}

static void test_refused(void **state)
{
	struct ctx *c = start();
	int dir = open("/", O_RDONLY | O_DIRECTORY);
	int ro = open(c->path, O_RDONLY);

	assert_true(dir >= 0 && ro >= 0);
	assert_true(facade_open(c->f, dir, false) < 0);
	assert_int_equal(facade_open(c->f, 99999, false), -EBADF);
	close(ro);
	close(dir);
	finish(c);
}

/* The monitor outlives the daemon: what it has mapped stays. */
static void test_mapping_stays(void **state)
{
	struct ctx *c = start();
	int fd = facade_open(c->f, c->real, true);
	char *p = map(fd, PROT_READ, 0);

	assert_true(p != MAP_FAILED);
	facade_free(c->f);
	c->f = NULL;
	assert_memory_equal(p, "hello", 5);
	assert_int_equal(pwrite(c->real, "J", 1, 0), 1);
	assert_memory_equal(p, "Jello", 5);
	munmap(p, RANGE);
	close(fd);
	finish(c);
}

static void *open_many(void *arg)
{
	struct ctx *c = arg;
	int i;

	for (i = 0; i < 200; i++) {
		int fd = facade_open(c->f, c->real, i % 2);
		char *p;

		if (fd < 0)
			return (void *)(intptr_t)fd;
		p = map(fd, PROT_READ, 0);
		if (p == MAP_FAILED || memcmp(p, "hello", 5) != 0)
			return (void *)-1;
		munmap(p, RANGE);
		close(fd);
	}
	return NULL;
}

static unsigned open_fds(void)
{
	unsigned n = 0;
	int fd;

	for (fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_threads(void **state)
{
	unsigned before = open_fds();
	struct ctx *c = start();
	pthread_t t[8];
	void *r;
	int i;

	for (i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&t[i], NULL, open_many, c), 0);
	for (i = 0; i < 8; i++) {
		assert_int_equal(pthread_join(t[i], &r), 0);
		assert_null(r);
	}
	finish(c);
	assert_int_equal(open_fds(), before);
}

/* 77: not privileged, or a kernel before 6.9. */
static int can_run(void)
{
	const struct facade_config cfg = { .confine = NULL };
	struct facade *f = NULL;
	int r = facade_new(&cfg, &f);

	if (!r)
		r = facade_start(f);
	facade_free(f);
	if (r)
		fprintf(stderr, "no facade here: %s\n", strerror(-r));
	return r != -EPERM && r != -EOPNOTSUPP && r != -ENOENT && r != -ENODEV;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_endless),
		cmocka_unit_test(test_behind_the_end),
		cmocka_unit_test(test_no_more_access),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_mapping_stays),
		cmocka_unit_test(test_threads),
	};

	if (!can_run())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
