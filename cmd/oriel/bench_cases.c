/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What oriel bench measures: each case as a loop through the library, as the
 * same loop of system calls on the same file, and, where bytes are copied out
 * of the window, as a bare memcpy() from a pointer into it. Offsets come from
 * the same generator.
 */
#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conn.h"

#define SEED 88172645463325252u

/* xorshift64 and a multiplication: a few instructions, the same for all. */
static inline off_t random_off(struct side *sd, size_t bytes)
{
	uint64_t places = sd->b->size / bytes;

	sd->random ^= sd->random << 13;
	sd->random ^= sd->random >> 7;
	sd->random ^= sd->random << 17;
	return (off_t)(((sd->random >> 32) * places >> 32) * bytes);
}

static inline off_t next_off(struct side *sd, size_t bytes)
{
	if (sd->next_off + bytes > sd->b->size)
		sd->next_off = 0;
	sd->next_off += bytes;
	return (off_t)(sd->next_off - bytes);
}

/* A short count means that the file was changed under us. */
static inline int full(ssize_t n, size_t bytes)
{
	if (n < 0)
		return (int)n;
	return (size_t)n == bytes ? 0 : -EIO;
}

static inline int full_native(ssize_t n, size_t bytes)
{
	return n < 0 ? -errno : full(n, bytes);
}

/* Copies are never looked at; this keeps them in the program. */
static inline void must_happen(void)
{
	__asm__ volatile("" ::: "memory");
}

static inline int copy(void *dst, const void *src, size_t bytes)
{
	memcpy(dst, src, bytes);
	must_happen();
	return 0;
}

#define DEFINE_RUN(name, call)                         \
	static int name(void *ctx, size_t n)           \
	{                                              \
		struct side *sd = ctx;                 \
		struct bench *b = sd->b;               \
		int r;                                 \
                                                       \
		for (size_t i = 0; i < n; i++) {       \
			r = (call);                    \
			if (r)                         \
				return r;              \
		}                                      \
		(void)b;                               \
		return 0;                              \
	}

#define DEFINE_READS(name, offset, bytes)                                  \
	DEFINE_RUN(name##_oriel, full(oriel_pread(b->file, b->buf, bytes,  \
				      offset(sd, bytes)), bytes))          \
	DEFINE_RUN(name##_native, full_native(pread(b->fd, b->buf, bytes,  \
				      offset(sd, bytes)), bytes))          \
	DEFINE_RUN(name##_bare, copy(b->buf, sd->mem + offset(sd, bytes),  \
				     bytes))

DEFINE_READS(read_64, random_off, 64)
DEFINE_READS(read_4k, random_off, 4096)
DEFINE_READS(read_1m, next_off, BENCH_BUF_BYTES)

DEFINE_RUN(write_oriel, full(oriel_pwrite(b->file, b->buf, 4096,
					  random_off(sd, 4096)), 4096))
DEFINE_RUN(write_native, full_native(pwrite(b->fd, b->buf, 4096,
					    random_off(sd, 4096)), 4096))
DEFINE_RUN(write_bare, copy(sd->mem + random_off(sd, 4096), b->buf, 4096))

/* The whole file by one pointer, for as long as a slice: what is pinned could
 * not leave a window that is too small. */
static int map_all(struct side *sd, unsigned prot)
{
	void *p;
	int err = oriel_map(sd->b->file, 0, sd->b->size, prot, &sd->map, &p);

	if (!err)
		sd->mem = p;
	return err;
}

static int bare_begin(void *ctx)
{
	return map_all(ctx, ORIEL_MAP_READ);
}

static int bare_write_begin(void *ctx)
{
	return map_all(ctx, ORIEL_MAP_READ | ORIEL_MAP_WRITE);
}

static int bare_end(void *ctx)
{
	struct side *sd = ctx;

	oriel_unmap(sd->map);
	sd->map = NULL;
	return 0;
}

/* ------------------------------------------------------------- pointers */

/* One byte, as a program looks at what it borrowed. */
static inline void touch(const void *p)
{
	(void)*(const volatile char *)p;
}

static inline int borrow_once(struct side *sd)
{
	void *p;
	int err = oriel_map(sd->b->file, random_off(sd, 4096), 4096,
			    ORIEL_MAP_READ, &sd->map, &p);

	if (err)
		return err;
	touch(p);
	oriel_unmap(sd->map);
	sd->map = NULL;
	return 0;
}

/* What a fault left. */
static int borrow_end(void *ctx)
{
	struct side *sd = ctx;

	if (sd->map)
		oriel_unmap(sd->map);
	sd->map = NULL;
	return 0;
}

static inline int borrow_once_native(struct side *sd)
{
	void *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, sd->b->fd,
		       random_off(sd, 4096));

	if (p == MAP_FAILED)
		return -errno;
	touch(p);
	return munmap(p, 4096) ? -errno : 0;
}

DEFINE_RUN(borrow_oriel, borrow_once(sd))
DEFINE_RUN(borrow_native, borrow_once_native(sd))

/* ---------------------------------------------------------- first touch */

/* By a session that has mapped nothing yet. */
static int touch_begin(void *ctx)
{
	struct side *sd = ctx;
	struct bench *b = sd->b;
	int err = conn_again(b->c, b->share, &sd->s);

	sd->touched = 0;
	sd->next_off = 0;
	if (err)
		return err;
	err = oriel_open(sd->s, b->data.share, O_RDONLY, 0, &sd->file);
	if (err)
		oriel_disconnect(sd->s);
	return err;
}

static int touch_end(void *ctx)
{
	struct side *sd = ctx;
	int err = oriel_close(sd->file);

	oriel_disconnect(sd->s);
	return err;
}

static int touch_begin_native(void *ctx)
{
	struct side *sd = ctx;

	sd->touched = 0;
	sd->next_off = 0;
	return 0;
}

/* All ranges once, in an order that no read-ahead guesses: an odd stride
 * reaches all of a power of two, and nearly all of another number. */
static inline off_t touch_off(struct side *sd)
{
	size_t i = sd->touched++;

	return (off_t)(i * 97 % sd->ranges * sd->range_bytes + 4096 * (i & 7));
}

DEFINE_RUN(touch_oriel, full(oriel_pread(sd->file, b->buf, 4096,
					 touch_off(sd)), 4096))

/* A mapping of the range, the same bytes out of it, and away with it. */
static inline int touch_once_native(struct side *sd)
{
	off_t off = touch_off(sd);
	off_t in = off % (off_t)sd->range_bytes;
	char *p = mmap(NULL, sd->range_bytes, PROT_READ, MAP_SHARED, sd->b->fd,
		       off - in);

	if (p == MAP_FAILED)
		return -errno;
	copy(sd->b->buf, p + in, 4096);
	return munmap(p, sd->range_bytes) ? -errno : 0;
}

DEFINE_RUN(touch_native, touch_once_native(sd))
DEFINE_RUN(first_read_oriel, full(oriel_pread(sd->file, b->buf,
	BENCH_BUF_BYTES, next_off(sd, BENCH_BUF_BYTES)), BENCH_BUF_BYTES))

/* ------------------------------------------------------------- messages */

static inline int stat_once(struct side *sd)
{
	struct oriel_stat st;

	return oriel_stat(sd->b->s, sd->b->small.share, ORIEL_NOFOLLOW, &st);
}

static inline int stat_once_native(struct side *sd)
{
	struct stat st;

	return fstatat(AT_FDCWD, sd->b->small.native, &st,
		       AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

static inline int open_once(struct side *sd)
{
	struct oriel_file *f;
	int err = oriel_open(sd->b->s, sd->b->small.share, O_RDONLY, 0, &f);
	int end_err;

	if (err)
		return err;
	err = full(oriel_pread(f, sd->b->buf, 4096, 0), 4096);
	end_err = oriel_close(f);
	return err ? err : end_err;
}

static inline int open_once_native(struct side *sd)
{
	int fd = open(sd->b->small.native, O_RDONLY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = full_native(pread(fd, sd->b->buf, 4096, 0), 4096);
	return close(fd) && !err ? -errno : err;
}

static inline int append_once(struct side *sd)
{
	int err = 0;

	if (sd->end >= BENCH_APPEND_BYTES) {
		err = oriel_ftruncate(sd->b->grow, 0);
		sd->end = 0;
	}
	if (!err)
		err = full(oriel_pwrite(sd->b->grow, sd->b->buf, 4096,
					sd->end), 4096);
	sd->end += 4096;
	return err;
}

static inline int append_once_native(struct side *sd)
{
	int err = 0;

	if (sd->end >= BENCH_APPEND_BYTES) {
		err = ftruncate(sd->b->grow_fd, 0) ? -errno : 0;
		sd->end = 0;
	}
	if (!err)
		err = full_native(pwrite(sd->b->grow_fd, sd->b->buf, 4096,
					 sd->end), 4096);
	sd->end += 4096;
	return err;
}

static inline int list_once(struct side *sd)
{
	struct oriel_dirent e;
	struct oriel_dir *d;
	int err = oriel_opendir(sd->b->s, sd->b->names.share, 0, &d);

	if (err)
		return err;
	do {
		err = oriel_readdir(d, &e);
	} while (err > 0);
	oriel_closedir(d);
	return err;
}

static inline int list_once_native(struct side *sd)
{
	DIR *d = opendir(sd->b->names.native);
	int err;

	if (!d)
		return -errno;
	do {
		errno = 0;
	} while (readdir(d));
	err = -errno;
	closedir(d);
	return err;
}

DEFINE_RUN(stat_oriel, stat_once(sd))
DEFINE_RUN(stat_native, stat_once_native(sd))
DEFINE_RUN(open_oriel, open_once(sd))
DEFINE_RUN(open_native, open_once_native(sd))
DEFINE_RUN(append_oriel, append_once(sd))
DEFINE_RUN(append_native, append_once_native(sd))
DEFINE_RUN(list_oriel, list_once(sd))
DEFINE_RUN(list_native, list_once_native(sd))

/* ------------------------------------------------------------ the table */

#define READS(name) { .run = name##_oriel }, { .run = name##_native }, \
	{ bare_begin, name##_bare, bare_end }

const struct bench_case bench_cases[] = {
	{ "read_64b_random", "random read, 64 B", 64, NEEDS_DATA, ONCE_NOT,
	  { 200, 2000 }, READS(read_64) },
	{ "read_4k_random", "random read, 4 KiB", 4096, NEEDS_DATA, ONCE_NOT,
	  { 1000, 5000 }, READS(read_4k) },
	{ "read_1m_sequential", "sequential read, 1 MiB", BENCH_BUF_BYTES,
	  NEEDS_DATA, ONCE_NOT, { 250000, 700000 }, READS(read_1m) },
	{ "overwrite_4k_random", "overwrite, 4 KiB", 4096,
	  NEEDS_DATA | NEEDS_WRITE, ONCE_NOT, { 1000, 5000 },
	  { .run = write_oriel }, { .run = write_native },
	  { bare_write_begin, write_bare, bare_end } },
	{ "borrow_4k_random", "borrow a pointer", 0, NEEDS_DATA | NEEDS_WINDOW,
	  ONCE_NOT, { 1000, 5000 },
	  { .run = borrow_oriel, .end = borrow_end },
	  { .run = borrow_native }, { NULL } },
	{ "first_touch_4k", "first touch of 2 MiB", 4096,
	  NEEDS_DATA | NEEDS_WINDOW, ONCE_A_RANGE, { 20000, 100000 },
	  { touch_begin, touch_oriel, touch_end },
	  { touch_begin_native, touch_native, NULL }, { NULL } },
	{ "first_read_1m", "first read, 1 MiB", BENCH_BUF_BYTES,
	  NEEDS_DATA | NEEDS_WINDOW, ONCE_A_PIECE, { 350000, 1000000 },
	  { touch_begin, first_read_oriel, touch_end },
	  { touch_begin_native, read_1m_native, NULL }, { NULL } },
	{ "stat", "stat", 0, 0, ONCE_NOT, { 5000, 30000 },
	  { .run = stat_oriel }, { .run = stat_native }, { NULL } },
	{ "open_read_close_4k", "open, read, close", 4096, NEEDS_SMALL,
	  ONCE_NOT, { 15000, 90000 }, { .run = open_oriel },
	  { .run = open_native }, { NULL } },
	{ "append_4k", "append, 4 KiB", 4096, NEEDS_WRITE, ONCE_NOT,
	  { 10000, 60000 }, { .run = append_oriel }, { .run = append_native },
	  { NULL } },
	{ "readdir", "list a directory", 0, 0, ONCE_NOT, { 0, 0 },
	  { .run = list_oriel }, { .run = list_native }, { NULL } },
};

const size_t bench_n_cases = ARRAY_LEN(bench_cases);
