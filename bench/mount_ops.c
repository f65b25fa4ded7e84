/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mount_ops ROUNDS MS DIR...: the same operations in each directory in turn, so
 * that what disturbs the machine disturbs all. One line a measurement on
 * stdout: "ROUND OP INDEX NANOSECONDS", the time of one operation.
 *
 * Files are opened anew for each pass over their data, which empties a FUSE
 * page cache: what is measured is the way to the server, except for "hit".
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILE_BYTES (16u << 20)
#define NAMES 1000

static char *buf;
static uint64_t rnd = 88172645463325252u;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void need(long r, const char *what)
{
	if (r < 0) {
		perror(what);
		exit(1);
	}
}

static uint64_t next_random(void)
{
	rnd ^= rnd << 13;
	rnd ^= rnd >> 7;
	return rnd ^= rnd << 17;
}

/* Each: one pass; how many operations that were. In the directory. */
static unsigned do_stat(void)
{
	struct statx stx;
	int i;

	for (i = 0; i < 100; i++)
		need(statx(AT_FDCWD, "data", AT_STATX_FORCE_SYNC,
			   STATX_BASIC_STATS, &stx), "statx");
	return 100;
}

static unsigned do_lookup(void)
{
	struct stat st;
	int i;

	for (i = 0; i < 100; i++) {
		if (!stat("no-such-name", &st))
			exit(1);
	}
	return 100;
}

static unsigned do_open(void)
{
	int i;

	for (i = 0; i < 50; i++) {
		int fd = open("small", O_RDONLY);

		need(fd, "open");
		close(fd);
	}
	return 50;
}

static unsigned do_create(void)
{
	int i;

	for (i = 0; i < 20; i++) {
		int fd = open("new", O_CREAT | O_EXCL | O_WRONLY, 0644);

		need(fd, "create");
		close(fd);
		need(unlink("new"), "unlink");
	}
	return 20;
}

static unsigned do_readdir(void)
{
	unsigned n = 0;
	DIR *d = opendir("many");

	if (!d)
		need(-1, "opendir");
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static unsigned do_small(void)
{
	int i;

	for (i = 0; i < 20; i++) {
		int fd = open("small", O_RDONLY);

		need(fd, "open");
		need(read(fd, buf, 4096), "read");
		close(fd);
	}
	return 20;
}

static unsigned read_pass(size_t len, int advice, unsigned n)
{
	int fd = open("data", O_RDONLY);
	unsigned i;

	need(fd, "open");
	if (advice)
		posix_fadvise(fd, 0, 0, advice);
	for (i = 0; i < n; i++) {
		uint64_t at = advice == POSIX_FADV_RANDOM ?
				      next_random() % (FILE_BYTES / len) : i;

		need(pread(fd, buf, len, (off_t)(at * len)), "pread");
	}
	close(fd);
	return n;
}

static unsigned do_read_4k(void)
{
	return read_pass(4096, 0, FILE_BYTES / 4096);
}

static unsigned do_rand_4k(void)
{
	return read_pass(4096, POSIX_FADV_RANDOM, 256);
}

static unsigned do_read_1m(void)
{
	return read_pass(1 << 20, 0, FILE_BYTES >> 20);
}

static unsigned do_hit_4k(void)
{
	static char at[4096];
	int fd = open("small", O_RDONLY);
	int i;

	need(fd, "open");
	for (i = 0; i < 20000; i++)
		need(pread(fd, at, sizeof(at), 0), "pread");
	close(fd);
	return 20000;
}

static unsigned write_pass(size_t len, unsigned n)
{
	int fd = open("data", O_WRONLY);
	unsigned i;

	need(fd, "open");
	for (i = 0; i < n; i++)
		need(pwrite(fd, buf, len, (off_t)(i * len)), "pwrite");
	close(fd);
	return n;
}

static unsigned do_write_4k(void)
{
	return write_pass(4096, 256);
}

static unsigned do_write_1m(void)
{
	return write_pass(1 << 20, FILE_BYTES >> 20);
}

static const struct {
	const char *name;
	unsigned (*pass)(void);
} ops[] = {
	{ "stat", do_stat },	     { "lookup", do_lookup },
	{ "open+close", do_open },   { "create+unlink", do_create },
	{ "readdir", do_readdir },   { "open+read 4k", do_small },
	{ "read 4k seq", do_read_4k }, { "read 4k rand", do_rand_4k },
	{ "read 1m", do_read_1m },   { "hit 4k", do_hit_4k },
	{ "write 4k", do_write_4k }, { "write 1m", do_write_1m },
};

static void prepare(const char *dir)
{
	char name[32];
	int fd;
	int i;

	need(chdir(dir), dir);
	fd = open("data", O_CREAT | O_RDWR, 0644);
	need(fd, "data");
	for (i = 0; i < (int)(FILE_BYTES >> 20); i++)
		need(pwrite(fd, buf, 1 << 20, (off_t)i << 20), "pwrite");
	close(fd);
	fd = open("small", O_CREAT | O_RDWR, 0644);
	need(fd, "small");
	need(pwrite(fd, buf, 4096, 0), "pwrite");
	close(fd);
	(void)mkdir("many", 0755);
	for (i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "many/name-%d", i);
		fd = open(name, O_CREAT | O_RDWR, 0644);
		need(fd, name);
		close(fd);
	}
}

static void measure(unsigned round, size_t op, const char *dir, int index,
		    uint64_t ns)
{
	uint64_t start;
	uint64_t end;
	uint64_t n = 0;

	need(chdir(dir), dir);
	ops[op].pass();
	start = now_ns();
	do {
		n += ops[op].pass();
		end = now_ns();
	} while (end - start < ns);
	printf("%u %s\t%d\t%.1f\n", round, ops[op].name, index,
	       (double)(end - start) / (double)n);
}

int main(int argc, char **argv)
{
	unsigned rounds;
	unsigned round;
	uint64_t ns;
	size_t op;
	int dirs = argc - 3;
	int i;

	if (dirs < 1) {
		fprintf(stderr, "usage: mount_ops ROUNDS MS DIR...\n");
		return 2;
	}
	rounds = (unsigned)atoi(argv[1]);
	ns = (uint64_t)atoi(argv[2]) * 1000000u;
	buf = malloc(1 << 20);
	if (!buf)
		return 1;
	memset(buf, 'x', 1 << 20);
	for (i = 0; i < dirs; i++)
		prepare(argv[3 + i]);
	for (round = 0; round < rounds; round++) {
		for (op = 0; op < sizeof(ops) / sizeof(*ops); op++) {
			/* nobody is always first */
			for (i = 0; i < dirs; i++) {
				int at = (i + (int)round) % dirs;

				measure(round, op, argv[3 + at], at, ns);
			}
		}
	}
	return 0;
}
