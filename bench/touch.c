/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ranges that a session has not mapped yet: 4 KiB or all of each 2 MiB range
 * of a file, in an order that no read-ahead guesses, with the page cache warm
 * or empty; and the first write to ranges that were mapped by reads, which
 * costs the file system a fault for each page that it write-protected.
 * Beside it: the system call, and what a program does that maps the range
 * itself and has no library. A session of its own for each round.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RANGE MIB(2)
#define COLD_BYTES MIB(64)
#define DIRTY_BYTES MIB(16)

struct touch {
	struct place *p;
	struct oriel_session *s;
	struct oriel_file *f;
	unsigned char *at; /* our own mappings, at a multiple of RANGE */
	void *reserve;
	const char *name;  /* of the file */
	int fd;            /* the same by the kernel */
	pid_t daemon;
	size_t n_ranges;
	size_t bytes;      /* of a range that are wanted */
	bool cold;         /* empty the page cache first */
};

/* All ranges once; odd strides reach all of a power of two. */
static off_t touch_off(const struct touch *t, size_t i)
{
	size_t range = (i * 97 & (t->n_ranges - 1)) * RANGE;

	return (off_t)(t->bytes == RANGE ? range :
		       range + KIB(64) + KIB(4) * (i & 15));
}

static int make_cold(const struct touch *t)
{
	return t->cold ? -posix_fadvise(t->fd, 0, 0, POSIX_FADV_DONTNEED) : 0;
}

static int open_session(struct touch *t, int flags)
{
	int err = connect_to(t->p->dir, ORIEL_DAX_ALWAYS, &t->s, &t->daemon);

	if (err)
		return err;
	err = oriel_open(t->s, t->name, flags, 0, &t->f);
	if (err)
		oriel_disconnect(t->s);
	return err;
}

static int touch_begin(void *ctx)
{
	struct touch *t = ctx;
	int err = make_cold(t);

	return err ? err : open_session(t, O_RDONLY);
}

static int touch_end(void *ctx)
{
	struct touch *t = ctx;
	int err = oriel_close(t->f);

	oriel_disconnect(t->s);
	return err;
}

/* In pieces of the buffer. */
static size_t piece_of(const struct touch *t)
{
	return t->bytes < MIB(1) ? t->bytes : MIB(1);
}

#define DEFINE_TOUCH(name, call)                                            \
	static int name(void *ctx, size_t n)                                \
	{                                                                   \
		struct touch *t = ctx;                                      \
		size_t piece = piece_of(t);                                 \
		off_t off;                                                  \
                                                                            \
		for (size_t i = 0; i < n; i++)                              \
			for (size_t k = 0; k < t->bytes; k += piece) {      \
				off = touch_off(t, i) + (off_t)k;           \
				if ((call) != (ssize_t)piece)               \
					return -EIO;                        \
			}                                                   \
		return 0;                                                   \
	}

DEFINE_TOUCH(touch_oriel, oriel_pread(t->f, t->p->buf, piece, off))
DEFINE_TOUCH(touch_native, pread(t->fd, t->p->buf, piece, off))

static int native_begin(void *ctx)
{
	return make_cold(ctx);
}

static int own_begin(void *ctx)
{
	struct touch *t = ctx;
	void *p = mmap(NULL, (t->n_ranges + 1) * RANGE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	t->reserve = p;
	t->at = (void *)(((uintptr_t)p + RANGE - 1) & ~(RANGE - 1));
	return make_cold(t);
}

static int own_end(void *ctx)
{
	struct touch *t = ctx;

	munmap(t->reserve, (t->n_ranges + 1) * RANGE);
	return 0;
}

static int own_map(struct touch *t, size_t start, int prot)
{
	void *p = mmap(t->at + start, RANGE, prot, MAP_SHARED | MAP_FIXED,
		       t->fd, (off_t)start);

	return p == MAP_FAILED ? -errno : 0;
}

static int own_run(void *ctx, size_t n)
{
	struct touch *t = ctx;
	size_t piece = piece_of(t), off;
	int err;

	for (size_t i = 0; i < n; i++) {
		off = (size_t)touch_off(t, i);
		err = own_map(t, off & ~(RANGE - 1), PROT_READ);
		if (err)
			return err;
		for (size_t k = 0; k < t->bytes; k += piece)
			memcpy(t->p->buf, t->at + off + k, piece);
		__asm__ volatile("" ::: "memory");
	}
	return 0;
}

static int run_touch(const struct touch *model, const char *name)
{
	struct touch t[3] = { *model, *model, *model };
	struct place *p = model->p;
	struct match m = {
		.name = name, .fs = p->fs, .folios = p->folios,
		.set_bytes = model->n_ranges * RANGE, .n_ways = 3,
		.ways = {
			{ .name = "oriel", .begin = touch_begin,
			  .run = touch_oriel, .end = touch_end,
			  .daemon = &t[0].daemon },
			{ .name = "pread", .begin = native_begin,
			  .run = touch_native },
			{ .name = "mmap+memcpy", .begin = own_begin,
			  .run = own_run, .end = own_end },
		},
	};

	for (unsigned i = 0; i < m.n_ways; i++) {
		m.ways[i].ctx = &t[i];
		m.ways[i].fixed_n = model->n_ranges;
	}
	return match_run(p->su, &m);
}

/* ------------------------------------------- first write after reads */

/* Page after page: the copies are in each way's time, the faults are not. */
#define STORE KIB(4)

static int dirty_begin(void *ctx)
{
	struct touch *t = ctx;
	int err = fsync(t->fd) ? -errno : open_session(t, O_RDWR);

	/* twice: what is read again is mapped */
	for (size_t off = 0; !err && off < 2 * t->n_ranges * RANGE;
	     off += MIB(1))
		if (oriel_pread(t->f, t->p->buf, MIB(1),
				(off_t)(off % (t->n_ranges * RANGE))) < 0)
			err = -EIO;
	return err;
}

static int dirty_begin_native(void *ctx)
{
	struct touch *t = ctx;

	return fsync(t->fd) ? -errno : 0;
}

static int dirty_begin_own(void *ctx)
{
	struct touch *t = ctx;
	int err = fsync(t->fd) ? -errno : own_begin(t);

	for (size_t i = 0; !err && i < t->n_ranges; i++)
		err = own_map(t, i * RANGE, PROT_READ | PROT_WRITE);
	for (size_t off = 0; !err && off < t->n_ranges * RANGE; off += KIB(4))
		(void)*(volatile unsigned char *)(t->at + off);
	return err;
}

#define DEFINE_DIRTY(name, call)                                            \
	static int name(void *ctx, size_t n)                                \
	{                                                                   \
		struct touch *t = ctx;                                      \
                                                                            \
		for (size_t off = 0; off < n * RANGE; off += KIB(4))        \
			if ((call) != (ssize_t)STORE)                       \
				return -EIO;                                \
		return 0;                                                   \
	}

DEFINE_DIRTY(dirty_oriel, oriel_pwrite(t->f, t->p->buf, STORE, (off_t)off))
DEFINE_DIRTY(dirty_native, pwrite(t->fd, t->p->buf, STORE, (off_t)off))
DEFINE_DIRTY(dirty_own,
	     (memcpy(t->at + off, t->p->buf, STORE), (ssize_t)STORE))

static int run_dirty(const struct touch *model)
{
	struct touch t[3] = { *model, *model, *model };
	struct place *p = model->p;
	struct match m = {
		.name = "first-write-2m", .fs = p->fs, .folios = p->folios,
		.set_bytes = DIRTY_BYTES, .n_ways = 3,
		.ways = {
			{ .name = "oriel", .begin = dirty_begin,
			  .run = dirty_oriel, .end = touch_end,
			  .daemon = &t[0].daemon },
			{ .name = "pwrite", .begin = dirty_begin_native,
			  .run = dirty_native },
			{ .name = "mmap, stores", .begin = dirty_begin_own,
			  .run = dirty_own, .end = own_end },
		},
	};

	for (unsigned i = 0; i < m.n_ways; i++) {
		m.ways[i].ctx = &t[i];
		m.ways[i].fixed_n = model->n_ranges;
	}
	return match_run(p->su, &m);
}

/* A further file of the place; its pages are clean. */
static int open_file(struct place *p, const char *name, size_t bytes,
		     struct touch *t)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	t->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (t->fd < 0)
		return -errno;
	t->name = name;
	t->n_ranges = bytes / RANGE;
	return place_fill(t->fd, bytes, p->layout);
}

static int cold_cases(struct place *p)
{
	struct touch t = { .p = p, .cold = true, .bytes = KIB(4) };
	int err = open_file(p, "cold", COLD_BYTES, &t);

	if (!err)
		err = run_touch(&t, "cold-4k");
	t.bytes = RANGE;
	if (!err)
		err = run_touch(&t, "cold-2m");
	if (t.fd >= 0)
		close(t.fd);
	return err;
}

static int dirty_case(struct place *p)
{
	struct touch t = { .p = p, .bytes = RANGE };
	int err = open_file(p, "dirty", DIRTY_BYTES, &t);

	if (!err)
		err = run_dirty(&t);
	if (t.fd >= 0)
		close(t.fd);
	return err;
}

int touch_cases(struct place *p)
{
	struct touch t = { .p = p, .name = "data", .fd = p->fd,
			   .n_ranges = p->bytes / RANGE, .bytes = KIB(4) };
	int err = run_touch(&t, "first-touch-4k");

	t.n_ranges = p->bytes / RANGE / 8;
	t.bytes = RANGE;
	if (!err)
		err = run_touch(&t, "first-touch-2m");
	if (!err)
		err = dirty_case(p);
	/* tmpfs has nowhere to drop its pages to */
	if (!err && strcmp(p->fs, "tmpfs") != 0)
		err = cold_cases(p);
	return err;
}
