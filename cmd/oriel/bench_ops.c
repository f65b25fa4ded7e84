/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The operations of oriel bench, each through the library and as the system
 * call, over the same offsets of the same file.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* xorshift64: the cost of a few instructions, the same for both ways. */
static uint64_t next_random(struct bench *b)
{
	b->random ^= b->random << 13;
	b->random ^= b->random >> 7;
	b->random ^= b->random << 17;
	return b->random;
}

/* An offset at a multiple of @bytes; the file has at least one of them. */
static off_t random_off(struct bench *b, size_t bytes)
{
	return (off_t)(next_random(b) % (b->size / bytes) * bytes);
}

static off_t next_off(struct bench *b, size_t bytes)
{
	if (b->seq_off + bytes > b->size)
		b->seq_off = 0;
	b->seq_off += bytes;
	return (off_t)(b->seq_off - bytes);
}

/* A short count means that the file was changed under us. */
static int full(ssize_t n, size_t bytes)
{
	if (n < 0)
		return (int)n;
	return (size_t)n == bytes ? 0 : -EIO;
}

static int full_native(ssize_t n, size_t bytes)
{
	return n < 0 ? -errno : full(n, bytes);
}

static int read_oriel(struct bench *b, size_t bytes)
{
	return full(oriel_pread(b->file, b->buf, bytes,
				random_off(b, bytes)), bytes);
}

static int read_native(struct bench *b, size_t bytes)
{
	return full_native(pread(b->fd, b->buf, bytes, random_off(b, bytes)),
			   bytes);
}

static int read_64_oriel(struct bench *b)
{
	return read_oriel(b, 64);
}

static int read_64_native(struct bench *b)
{
	return read_native(b, 64);
}

static int read_4k_oriel(struct bench *b)
{
	return read_oriel(b, 4096);
}

static int read_4k_native(struct bench *b)
{
	return read_native(b, 4096);
}

static int write_4k_oriel(struct bench *b)
{
	return full(oriel_pwrite(b->file, b->buf, 4096, random_off(b, 4096)),
		    4096);
}

static int write_4k_native(struct bench *b)
{
	return full_native(pwrite(b->fd, b->buf, 4096, random_off(b, 4096)),
			   4096);
}

static int seq_oriel(struct bench *b)
{
	return full(oriel_pread(b->file, b->buf, BENCH_BUF_BYTES,
				next_off(b, BENCH_BUF_BYTES)),
		    BENCH_BUF_BYTES);
}

static int seq_native(struct bench *b)
{
	return full_native(pread(b->fd, b->buf, BENCH_BUF_BYTES,
				 next_off(b, BENCH_BUF_BYTES)),
			   BENCH_BUF_BYTES);
}

static int stat_oriel(struct bench *b)
{
	struct oriel_stat st;

	return oriel_stat(b->s, b->path, ORIEL_NOFOLLOW, &st);
}

static int stat_native(struct bench *b)
{
	struct stat st;

	return fstatat(AT_FDCWD, b->native_path, &st,
		       AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int open_oriel(struct bench *b)
{
	struct oriel_file *f;
	int r = oriel_open(b->s, b->path, O_RDONLY, 0, &f);

	return r < 0 ? r : oriel_close(f);
}

static int open_native(struct bench *b)
{
	int fd = open(b->native_path, O_RDONLY | O_CLOEXEC);

	return fd < 0 || close(fd) < 0 ? -errno : 0;
}

static int append_oriel(struct bench *b)
{
	int r = 0;

	if (b->append_off >= BENCH_APPEND_BYTES) {
		r = oriel_ftruncate(b->append, 0);
		b->append_off = 0;
	}
	if (r < 0)
		return r;
	r = full(oriel_pwrite(b->append, b->buf, 4096, b->append_off), 4096);
	b->append_off += 4096;
	return r;
}

static int append_native(struct bench *b)
{
	int r;

	if (b->native_append_off >= BENCH_APPEND_BYTES) {
		if (ftruncate(b->append_fd, 0) < 0)
			return -errno;
		b->native_append_off = 0;
	}
	r = full_native(pwrite(b->append_fd, b->buf, 4096,
			       b->native_append_off), 4096);
	b->native_append_off += 4096;
	return r;
}

const struct bench_op bench_ops[] = {
	{ "read_64b_random", "random read, 64 B", 64, false, read_64_oriel,
	  read_64_native },
	{ "read_4k_random", "random read, 4 KiB", 4096, false, read_4k_oriel,
	  read_4k_native },
	{ "overwrite_4k_random", "overwrite, 4 KiB", 4096, true,
	  write_4k_oriel, write_4k_native },
	{ "read_1m_sequential", "sequential read, 1 MiB", BENCH_BUF_BYTES,
	  false, seq_oriel, seq_native },
	{ "stat", "stat", 0, false, stat_oriel, stat_native },
	{ "open_close", "open and close", 0, false, open_oriel, open_native },
	{ "append_4k", "append, 4 KiB", 4096, true, append_oriel,
	  append_native },
};

const size_t bench_n_ops = ARRAY_LEN(bench_ops);

int bench_slice(struct bench *b, bench_fn *fn, double *ret_ns)
{
	uint64_t start = cli_now_ns(), now = start, done = 0, batch = 1;

	/* The clock is read about every 50 us, so that it costs nothing. */
	while (now - start < b->slice_ns && !cli_signal()) {
		uint64_t before = now;

		for (uint64_t i = 0; i < batch; i++) {
			int r = fn(b);

			if (r < 0)
				return r;
		}
		done += batch;
		now = cli_now_ns();
		if (now - before < 50000 && batch < 1u << 20)
			batch *= 2;
	}
	if (!done)
		return -EINTR;
	*ret_ns = (double)(now - start) / (double)done;
	return 0;
}

static int by_number(const void *x, const void *y)
{
	uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;

	return (a > b) - (a < b);
}

uint32_t bench_percentile(const uint32_t *sorted, size_t n, unsigned percent)
{
	size_t rank = (n * percent + 99) / 100;

	return sorted[rank ? rank - 1 : 0];
}

int bench_latencies(struct bench *b, bench_fn *fn, struct bench_tail *ret)
{
	uint64_t start = cli_now_ns(), before = start, now = start;
	size_t n = 0;

	while (n < BENCH_SAMPLES && now - start < b->slice_ns &&
	       !cli_signal()) {
		int r = fn(b);

		if (r < 0)
			return r;
		now = cli_now_ns();
		b->samples[n++] = now - before < UINT32_MAX ?
				  (uint32_t)(now - before) : UINT32_MAX;
		before = now;
	}
	if (!n)
		return -EINTR;
	qsort(b->samples, n, sizeof(*b->samples), by_number);
	ret->p50_ns = bench_percentile(b->samples, n, 50);
	ret->p99_ns = bench_percentile(b->samples, n, 99);
	return 0;
}

static int by_value(const void *x, const void *y)
{
	double a = *(const double *)x, b = *(const double *)y;

	return (a > b) - (a < b);
}

double bench_median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), by_value);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}
