/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One measurement in a guest:
 *   bench FILE read|write seq|rand BLOCK psync|mmap OPS
 * does OPS blocks of an existing file and says "@bench NANOSECONDS".
 */
#include "guest_ops.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct job {
	int fd;
	unsigned char *map; /* NULL: psync */
	unsigned char *buf;
	size_t block;
	uint64_t blocks; /* of the file */
	bool write;
	bool random;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void one(const struct job *j, uint64_t pos)
{
	if (j->map && j->write)
		memcpy(j->map + pos, j->buf, j->block);
	else if (j->map)
		memcpy(j->buf, j->map + pos, j->block);
	else if (j->write)
		must(pwrite(j->fd, j->buf, j->block, (off_t)pos) ==
		     (ssize_t)j->block);
	else
		must(pread(j->fd, j->buf, j->block, (off_t)pos) ==
		     (ssize_t)j->block);
}

static uint64_t run(const struct job *j, uint64_t ops)
{
	uint64_t start = now_ns();
	uint64_t x = 88172645463325252u;
	uint64_t i;

	for (i = 0; i < ops; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		one(j, (j->random ? x % j->blocks : i % j->blocks) * j->block);
	}
	return now_ns() - start;
}

int guest_bench(int argc, char **argv)
{
	struct job j = { 0 };
	struct stat st;
	size_t bytes;

	must(argc == 6);
	j.write = !strcmp(argv[1], "write");
	j.random = !strcmp(argv[2], "rand");
	j.block = strtoull(argv[3], NULL, 10);
	j.fd = open(argv[0], j.write ? O_RDWR : O_RDONLY);
	must(j.fd >= 0 && !fstat(j.fd, &st));
	j.blocks = (uint64_t)st.st_size / j.block;
	j.buf = malloc(j.block);
	must(j.buf && j.blocks);
	memset(j.buf, 0x5a, j.block);
	bytes = j.blocks * j.block;
	if (!strcmp(argv[4], "mmap")) {
		j.map = mmap(NULL, bytes, PROT_READ | (j.write ? PROT_WRITE : 0),
			     MAP_SHARED, j.fd, 0);
		must(j.map != MAP_FAILED);
	}
	printf("@bench %llu\n", (unsigned long long)
	       run(&j, strtoull(argv[5], NULL, 10)));
	return 0;
}
