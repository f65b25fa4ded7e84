/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a hit costs over a bare memcpy(): dax_read() and dax_write() of bytes
 * that are mapped, against memcpy() of the same bytes in the same window.
 *
 *	bench_dax_hit [ROUNDS]
 *
 * One JSON object on stdout; times in nanoseconds an operation, the best of
 * ROUNDS (default 9) interleaved rounds each, so that a busy machine shows
 * less. The offsets walk through 1 MiB, so that nothing is predicted by luck.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "dax/dax.h"

#define SPAN MIB(1)
#define OPS 200000u

struct bench {
	unsigned char *base;
	int fd;
	struct dax_window *w;
	struct dax_inode di;
	unsigned char buf[KIB(64)];
};

static int bench_map(void *owner, const struct dax_map_request *req)
{
	struct bench *b = owner;
	void *p = mmap(b->base + req->window_off, req->len,
		       PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_FIXED | MAP_POPULATE, b->fd,
		       (off_t)req->file_off);

	return p == MAP_FAILED ? -1 : 0;
}

static int bench_unmap(void *owner, void *file,
		       const struct dax_unmap_request *reqs, unsigned n)
{
	return 0;
}

static bool bench_is_connected(void *owner)
{
	return true;
}

static bool bench_get(void *owner, void *file)
{
	return true;
}

static void bench_put(void *owner, void *file)
{
}

static const struct dax_owner_ops bench_ops = {
	bench_map, bench_unmap, bench_is_connected, bench_get, bench_put,
};

enum what { COPY_FROM, READ, COPY_TO, WRITE };

/* The compiler must not see through the copies. */
static void copy_from(struct bench *b, size_t len, uint64_t pos)
{
	memcpy(b->buf, b->base + pos, len);
	__asm__ __volatile__("" ::"r"(b->buf) : "memory");
}

static void copy_to(struct bench *b, size_t len, uint64_t pos)
{
	memcpy(b->base + pos, b->buf, len);
	__asm__ __volatile__("" ::"r"(b->base) : "memory");
}

static double run(struct bench *b, enum what what, size_t len)
{
	uint64_t start = clock_now_ns(), pos = 0;
	struct dax_result r;
	unsigned i;

	for (i = 0; i < OPS; i++) {
		pos = (pos + 12288 + 64) & (SPAN - 1);
		if (pos + len > SPAN)
			pos = 0;
		if (what == COPY_FROM)
			copy_from(b, len, pos);
		else if (what == COPY_TO)
			copy_to(b, len, pos);
		else if (what == READ)
			dax_read(&b->di, b->buf, len, pos, SPAN, 0, 0, &r);
		else
			dax_write(&b->di, b->buf, len, pos, SPAN, 0, 0, &r);
	}
	return (double)(clock_now_ns() - start) / OPS;
}

static void lower(double *best, double v)
{
	if (*best == 0 || v < *best)
		*best = v;
}

static void measure(struct bench *b, size_t len, int rounds, const char *sep)
{
	double best[4] = { 0 };
	int i, what;

	for (i = 0; i < rounds; i++)
		for (what = COPY_FROM; what <= WRITE; what++)
			lower(&best[what], run(b, (enum what)what, len));
	printf("%s{\"bytes\": %zu, \"memcpy_from_ns\": %.1f, "
	       "\"read_ns\": %.1f, \"read_over_ns\": %.1f, "
	       "\"memcpy_to_ns\": %.1f, \"write_ns\": %.1f, "
	       "\"write_over_ns\": %.1f}", sep, len, best[COPY_FROM],
	       best[READ], best[READ] - best[COPY_FROM], best[COPY_TO],
	       best[WRITE], best[WRITE] - best[COPY_TO]);
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = { 64, 512, 4096, 65536 };
	int rounds = argc > 1 ? atoi(argv[1]) : 9;
	struct bench *b = calloc(1, sizeof(*b));
	struct dax_config cfg = { 0 };
	size_t i;

	if (!b || rounds < 1)
		return 1;
	b->base = mmap(NULL, MIB(8), PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	b->fd = memfd_create("bench", MFD_CLOEXEC);
	if (b->base == MAP_FAILED || b->fd < 0 || ftruncate(b->fd, MIB(4)) < 0)
		return 1;
	cfg.base = b->base;
	cfg.bytes = MIB(8);
	cfg.range_bytes = MIB(2);
	cfg.ops = &bench_ops;
	cfg.owner = b;
	if (dax_window_new(&cfg, &b->w))
		return 1;
	dax_inode_init(&b->di, b->w, b);
	run(b, WRITE, 64); /* set up, and warm */

	printf("{\"bench\": \"dax_hit\", \"results\": [");
	for (i = 0; i < ARRAY_LEN(sizes); i++)
		measure(b, sizes[i], rounds, i ? ", " : "");
	printf("]}\n");
	dax_inode_done(&b->di);
	dax_window_free(b->w);
	close(b->fd);
	free(b);
	return 0;
}
