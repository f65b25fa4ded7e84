/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The whole client against a model: random sequences of everything that reads,
 * writes and changes the size of a file, on a real daemon and a real directory,
 * compared byte for byte with what a plain array says, and at the end with the
 * file as read without us.
 *
 *   model_client VARIANT
 *     small     3 ranges of 64 KiB for 4 files of up to 512 KiB: every range is
 *               fought for
 *     admit     the same with the admission rule as it is by default
 *     wide      a window in which everything fits, attributes never believed
 *     messages  no window
 *     stripes   4 threads in one file, each in bytes of its own
 *     blocks    4 threads in one file, each block under a lock of the test
 *
 * ORIEL_MODEL_OPS is the number of operations of all variants together (each
 * takes its share); ORIEL_MODEL_SEED repeats a run. In the first four a thread's
 * sequence depends on the seed alone, the interleaving of threads does not.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/support.h"

#define N_VARIANTS 6
#define N_THREADS 4
#define MAX_SIZE (512u << 10)
#define MAX_IO (96u << 10)
#define TRACE 24

/* What one thread works on. */
struct ctx {
	struct oriel_session *s;
	const char *dir;
	char name[32];
	unsigned id;
	uint64_t seed;
	uint64_t n_ops;
	struct rng rng;

	struct oriel_file *f;   /* O_RDWR */
	struct oriel_file *app; /* O_APPEND */
	int native;             /* the same file, past us */
	unsigned char *want;    /* MAX_SIZE bytes; past size: zero */
	size_t size;
	unsigned char *io;

	struct oriel_mapping *map; /* held across operations, or NULL */
	unsigned char *map_ptr;
	size_t map_off;
	size_t map_len;
	bool map_writes;

	uint64_t op; /* number of the current one */
	const char *what;
	size_t pos;
	size_t len;
	struct {
		uint64_t op;
		const char *what;
		size_t pos, len, size;
	} trace[TRACE];
	uint64_t done_map;
	uint64_t no_collapse;
};

static uint64_t the_seed;
static const char *the_variant;

__attribute__((noreturn, format(printf, 2, 3))) static void
wrong(struct ctx *c, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr,
		"variant %s, ORIEL_MODEL_SEED=%llu, thread %u, operation %llu: "
		"%s, %zu bytes at %zu, size %zu: ",
		the_variant, (unsigned long long)the_seed, c->id,
		(unsigned long long)c->op, c->what, c->len, c->pos, c->size);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n%s\nbefore that:\n", oriel_session_error(c->s));
	for (uint64_t i = c->op > TRACE ? c->op - TRACE : 0; i < c->op; i++) {
		unsigned k = (unsigned)(i % TRACE);

		fprintf(stderr, "  %llu %s %zu at %zu (size %zu)\n",
			(unsigned long long)c->trace[k].op, c->trace[k].what,
			c->trace[k].len, c->trace[k].pos, c->trace[k].size);
	}
	abort();
}

static void compare(struct ctx *c, const unsigned char *got, size_t off,
		    size_t len)
{
	size_t i = 0;

	if (memcmp(got, c->want + off, len) == 0)
		return;
	while (got[i] == c->want[off + i])
		i++;
	wrong(c, "byte %zu is 0x%02x, expected 0x%02x (range %zu)", off + i,
	      got[i], c->want[off + i], (off + i) >> 16);
}

/* -------------------------------------------------------------- choosing */

/* Small lengths often, large ones sometimes, edges of pages and ranges more
 * often than chance would have it. */
static size_t any_len(struct ctx *c, size_t max)
{
	uint64_t r = rng_next(&c->rng);
	size_t len = (size_t)(r >> 32) &
		     ((UINT64_C(1) << (4 + (r & 0xffff) % 14)) - 1);

	if ((r >> 16 & 15) == 0)
		len = (len + 4095) & ~(size_t)4095;
	return len > max ? max : len;
}

static size_t any_pos(struct ctx *c, size_t max)
{
	uint64_t r = rng_next(&c->rng);
	size_t pos = max ? (size_t)((r >> 8) % max) : 0;

	switch (r & 15) {
	case 0:
		pos &= ~(size_t)65535;
		break;
	case 1:
		pos &= ~(size_t)4095;
		break;
	case 2:
		pos = (pos | 65535) - (size_t)(r >> 40 & 31);
		break;
	case 3:
		pos = c->size > 10 ? c->size - (size_t)(r >> 40) % 10 : 0;
		break;
	}
	return pos > max ? max : pos;
}

static void note(struct ctx *c, const char *what, size_t pos, size_t len)
{
	unsigned k = (unsigned)(c->op % TRACE);

	c->what = what;
	c->pos = pos;
	c->len = len;
	c->trace[k].op = c->op;
	c->trace[k].what = what;
	c->trace[k].pos = pos;
	c->trace[k].len = len;
	c->trace[k].size = c->size;
}

static void fresh_bytes(struct ctx *c, unsigned char *buf, size_t len)
{
	pattern_fill(buf, len, (uint32_t)(c->op * 8 + c->id), 0);
}

/* The model's side of a size change. */
static void want_size(struct ctx *c, size_t size)
{
	if (size < c->size)
		memset(c->want + size, 0, c->size - size);
	c->size = size;
}

static void want_bytes(struct ctx *c, size_t pos, const void *buf, size_t len)
{
	memcpy(c->want + pos, buf, len);
	if (len && pos + len > c->size)
		c->size = pos + len;
}

static void expect(struct ctx *c, ssize_t got, ssize_t want)
{
	if (got != want)
		wrong(c, "returned %zd, expected %zd", got, want);
}

/* ------------------------------------------------------------- operations */

static void op_read(struct ctx *c)
{
	size_t pos = any_pos(c, MAX_SIZE), len = any_len(c, MAX_IO);
	size_t want = pos >= c->size ? 0 : c->size - pos;

	want = want > len ? len : want;
	note(c, "pread", pos, len);
	expect(c, oriel_pread(c->f, c->io, len, (off_t)pos), (ssize_t)want);
	compare(c, c->io, pos, want);
}

static void op_readv(struct ctx *c)
{
	size_t pos = any_pos(c, MAX_SIZE), len = any_len(c, MAX_IO);
	size_t want = pos >= c->size ? 0 : c->size - pos;
	size_t a = len ? (size_t)rng_below(&c->rng, len + 1) : 0;
	size_t b = len - a ? (size_t)rng_below(&c->rng, len - a + 1) : 0;
	struct iovec iov[4] = {
		{ c->io, a },
		{ NULL, 0 },
		{ c->io + a, b },
		{ c->io + a + b, len - a - b },
	};

	want = want > len ? len : want;
	note(c, "preadv", pos, len);
	expect(c, oriel_preadv(c->f, iov, 4, (off_t)pos), (ssize_t)want);
	compare(c, c->io, pos, want);
}

static void op_read_nowait(struct ctx *c)
{
	size_t pos = any_pos(c, c->size), len = any_len(c, MAX_IO);
	size_t most = c->size - pos > len ? len : c->size - pos;
	ssize_t n;

	note(c, "pread_nowait", pos, len);
	n = oriel_pread_nowait(c->f, c->io, len, (off_t)pos);
	if (n == -EAGAIN)
		return;
	if (n < 0 || (size_t)n > most || (n == 0 && most))
		wrong(c, "returned %zd, expected at most %zu", n, most);
	compare(c, c->io, pos, (size_t)n);
}

static void write_at(struct ctx *c, const char *what, size_t pos, size_t len)
{
	note(c, what, pos, len);
	fresh_bytes(c, c->io, len);
	expect(c, oriel_pwrite(c->f, c->io, len, (off_t)pos), (ssize_t)len);
	want_bytes(c, pos, c->io, len);
}

static void op_overwrite(struct ctx *c)
{
	size_t pos = any_pos(c, c->size);

	write_at(c, "overwrite", pos, any_len(c, c->size - pos > MAX_IO ?
							 MAX_IO :
							 c->size - pos));
}

static void op_write(struct ctx *c)
{
	size_t pos = any_pos(c, MAX_SIZE - MAX_IO);

	write_at(c, "pwrite", pos, any_len(c, MAX_IO));
}

static void op_writev(struct ctx *c)
{
	size_t pos = any_pos(c, MAX_SIZE - MAX_IO), len = any_len(c, MAX_IO);
	size_t a = len ? (size_t)rng_below(&c->rng, len + 1) : 0;
	struct iovec iov[3] = {
		{ c->io, a }, { c->io, 0 }, { c->io + a, len - a }
	};

	note(c, "pwritev", pos, len);
	fresh_bytes(c, c->io, len);
	expect(c, oriel_pwritev(c->f, iov, 3, (off_t)pos), (ssize_t)len);
	want_bytes(c, pos, c->io, len);
}

static void op_write_nowait(struct ctx *c)
{
	size_t pos = any_pos(c, MAX_SIZE - MAX_IO), len = any_len(c, MAX_IO);
	ssize_t n;

	note(c, "pwrite_nowait", pos, len);
	fresh_bytes(c, c->io, len);
	n = oriel_pwrite_nowait(c->f, c->io, len, (off_t)pos);
	if (n == -EAGAIN)
		return;
	if (n < 0 || (size_t)n > len || (len && pos + len > c->size))
		wrong(c, "returned %zd", n);
	want_bytes(c, pos, c->io, (size_t)n);
}

static void op_across_end(struct ctx *c)
{
	size_t back = any_len(c, 4096), pos;
	size_t len = any_len(c, MAX_IO);

	pos = back > c->size ? 0 : c->size - back;
	if (pos > MAX_SIZE - MAX_IO)
		pos = MAX_SIZE - MAX_IO;
	write_at(c, "write across the end", pos, len);
}

/* Before somebody looks past us: what is gathered has to be in the file. It asks
 * for nothing, so what is known of the size stays as stale as it was. */
static void stop_gathering(struct ctx *c)
{
	expect(c, oriel_coalesce(c->app, 0, 0), 0);
}

static void op_append(struct ctx *c)
{
	size_t len = any_len(c, 8192);

	if (c->size + len > MAX_SIZE)
		return;
	note(c, "append", c->size, len);
	fresh_bytes(c, c->io, len);
	if (rng_below(&c->rng, 2))
		expect(c, oriel_coalesce(c->app, 20000, 60000), 0);
	/* the offset is to be ignored */
	expect(c, oriel_pwrite(c->app, c->io, len, 3), (ssize_t)len);
	want_bytes(c, c->size, c->io, len);
}

static void op_truncate(struct ctx *c)
{
	size_t size = any_pos(c, MAX_SIZE);

	note(c, "ftruncate", size, 0);
	expect(c, oriel_ftruncate(c->f, (off_t)size), 0);
	want_size(c, size);
}

static void expect_fstat(struct ctx *c)
{
	struct oriel_stat st;

	expect(c, oriel_fstat(c->f, ORIEL_FORCE_SYNC, &st), 0);
	if (st.size != c->size)
		wrong(c, "fstat says size %llu", (unsigned long long)st.size);
}

static void op_foreign_truncate(struct ctx *c)
{
	size_t size = any_pos(c, MAX_SIZE);

	note(c, "truncate by others", size, 0);
	stop_gathering(c);
	expect(c, ftruncate(c->native, (off_t)size), 0);
	want_size(c, size);
	expect_fstat(c);
}

/* Growing needs no fstat to be seen; what shrinks does, up to the page. */
static void op_foreign_grow(struct ctx *c)
{
	size_t add = any_len(c, 8192);

	if (c->size + add > MAX_SIZE)
		return;
	note(c, "write by others at the end", c->size, add);
	fresh_bytes(c, c->io, add);
	stop_gathering(c);
	expect(c, pwrite(c->native, c->io, add, (off_t)c->size), (ssize_t)add);
	want_bytes(c, c->size, c->io, add);
}

static void op_foreign_write(struct ctx *c)
{
	size_t pos = any_pos(c, c->size), len = any_len(c, c->size - pos);

	if (len > MAX_IO)
		len = MAX_IO;
	note(c, "write by others", pos, len);
	fresh_bytes(c, c->io, len);
	stop_gathering(c);
	expect(c, pwrite(c->native, c->io, len, (off_t)pos), (ssize_t)len);
	want_bytes(c, pos, c->io, len);
}

static void op_foreign_read(struct ctx *c)
{
	size_t pos = any_pos(c, c->size), len = any_len(c, c->size - pos);

	if (len > MAX_IO)
		len = MAX_IO;
	note(c, "read by others", pos, len);
	stop_gathering(c);
	expect(c, pread(c->native, c->io, len, (off_t)pos), (ssize_t)len);
	compare(c, c->io, pos, len);
}

/* A mode not known to the file system is no news. */
static bool fallocate_at(struct ctx *c, const char *what, int mode, size_t pos,
			 size_t len)
{
	int r;

	note(c, what, pos, len);
	r = oriel_fallocate(c->f, mode, (off_t)pos, (off_t)len);
	if (r == -EOPNOTSUPP)
		return false;
	expect(c, r, 0);
	return true;
}

static void op_punch(struct ctx *c)
{
	size_t pos = any_pos(c, MAX_SIZE - 1);
	size_t len = any_len(c, MAX_SIZE - pos) | 1;
	size_t end = pos + len > c->size ? c->size : pos + len;

	if (fallocate_at(c, "punch a hole",
			 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, pos, len) &&
	    pos < end)
		memset(c->want + pos, 0, end - pos);
}

static void op_zero(struct ctx *c)
{
	bool keep = rng_below(&c->rng, 2);
	size_t pos = any_pos(c, MAX_SIZE - 4096);
	size_t len = any_len(c, 4096) + 1;
	size_t end = pos + len;

	if (end > MAX_SIZE)
		return;
	if (!fallocate_at(c, keep ? "zero, size kept" : "zero",
			  FALLOC_FL_ZERO_RANGE |
				  (keep ? FALLOC_FL_KEEP_SIZE : 0),
			  pos, len))
		return;
	if (!keep && end > c->size)
		want_size(c, end);
	if (end > c->size)
		end = c->size;
	if (pos < end)
		memset(c->want + pos, 0, end - pos);
}

static void op_allocate(struct ctx *c)
{
	size_t pos = any_pos(c, MAX_SIZE - 8192);
	size_t len = any_len(c, 8191) + 1;

	if (fallocate_at(c, "allocate", 0, pos, len) && pos + len > c->size)
		want_size(c, pos + len);
}

static void op_collapse(struct ctx *c)
{
	size_t pos = any_pos(c, c->size) & ~(size_t)4095;
	size_t len = (any_len(c, 16384) & ~(size_t)4095) + 4096;

	if (pos + len >= c->size || c->no_collapse)
		return;
	if (!fallocate_at(c, "collapse", FALLOC_FL_COLLAPSE_RANGE, pos, len)) {
		c->no_collapse = 1;
		return;
	}
	memmove(c->want + pos, c->want + pos + len, c->size - pos - len);
	want_size(c, c->size - len);
}

static void op_copy_range(struct ctx *c)
{
	size_t len = any_len(c, c->size / 2);
	size_t in = any_pos(c, c->size - len);
	size_t out = any_pos(c, MAX_SIZE - len);
	ssize_t n;

	if (!len || (in < out + len && out < in + len))
		return;
	note(c, "copy_file_range", out, len);
	n = oriel_copy_file_range(c->f, (off_t)in, c->f, (off_t)out, len);
	if (n == -EOPNOTSUPP)
		return;
	if (n <= 0 || (size_t)n > len)
		wrong(c, "returned %zd", n);
	memcpy(c->io, c->want + in, (size_t)n);
	want_bytes(c, out, c->io, (size_t)n);
}

/* ------------------------------------------------------------ by pointer */

static void map_let_go(struct ctx *c)
{
	oriel_unmap(c->map);
	c->map = NULL;
}

static void op_unmap(struct ctx *c)
{
	map_let_go(c);
}

/* The part of the held mapping that is below the end, clipped to MAX_IO. */
static size_t map_part(struct ctx *c)
{
	if (!c->map || c->map_off >= c->size)
		return 0;
	return c->size - c->map_off < c->map_len ? c->size - c->map_off :
						   c->map_len;
}

static void op_map_read(struct ctx *c)
{
	size_t len = map_part(c);

	if (!len)
		return;
	note(c, "read by pointer", c->map_off, len);
	expect(c, (ssize_t)oriel_copy(c->io, c->map_ptr, len, c->map),
	       (ssize_t)len);
	compare(c, c->io, c->map_off, len);
}

static void op_map_write(struct ctx *c)
{
	size_t len = map_part(c);

	if (!len || !c->map_writes)
		return;
	note(c, "write by pointer", c->map_off, len);
	fresh_bytes(c, c->io, len);
	expect(c, (ssize_t)oriel_copy(c->map_ptr, c->io, len, c->map),
	       (ssize_t)len);
	want_bytes(c, c->map_off, c->io, len);
}

static void op_map(struct ctx *c)
{
	size_t pos = any_pos(c, c->size);
	size_t len = any_len(c, MAX_IO) + 1;
	unsigned prot = rng_below(&c->rng, 2) ? ORIEL_MAP_READ :
						ORIEL_MAP_READ |
							ORIEL_MAP_WRITE;
	void *p;
	int err;

	if (c->map)
		map_let_go(c);
	note(c, "map", pos, len);
	err = oriel_map(c->f, (off_t)pos, len, prot, &c->map, &p);
	if (err) {
		c->map = NULL;
		if (pos >= c->size && (err == -EINVAL || err == -ENODEV))
			return;
		if (err != -ENOSPC && err != -ENODEV)
			wrong(c, "returned %d", err);
		if (err == -ENODEV && strcmp(the_variant, "messages") != 0)
			wrong(c, "returned %d", err);
		return;
	}
	if (pos >= c->size)
		wrong(c, "mapped past the end");
	c->done_map++;
	c->map_ptr = p;
	c->map_off = pos;
	c->map_len = len;
	c->map_writes = prot & ORIEL_MAP_WRITE;
	if (rng_below(&c->rng, 8) == 0)
		return; /* held on to for a while */
	op_map_read(c);
	op_map_write(c);
	op_map_read(c);
	map_let_go(c);
}

/* ----------------------------------------------------------- other things */

static void open_files(struct ctx *c, int extra)
{
	expect(c, oriel_open(c->s, c->name, O_RDWR | extra, 0644, &c->f), 0);
	expect(c, oriel_open(c->s, c->name, O_WRONLY | O_APPEND, 0, &c->app),
	       0);
}

static void op_reopen(struct ctx *c)
{
	bool trunc = rng_below(&c->rng, 8) == 0;

	note(c, trunc ? "reopen, truncated" : "reopen", 0, 0);
	expect(c, oriel_close(c->f), 0);
	expect(c, oriel_close(c->app), 0);
	open_files(c, trunc ? O_TRUNC : 0);
	if (trunc)
		want_size(c, 0);
}

static void op_misc(struct ctx *c)
{
	note(c, "fstat, seek, sync", 0, 0);
	expect_fstat(c);
	expect(c, oriel_lseek(c->f, 0, SEEK_END), (ssize_t)c->size);
	if (rng_below(&c->rng, 64) == 0)
		expect(c, oriel_fdatasync(c->f), 0);
}

static const struct {
	void (*run)(struct ctx *c);
	unsigned weight;
} ops[] = {
	{ op_read, 28 },
	{ op_readv, 4 },
	{ op_read_nowait, 4 },
	{ op_overwrite, 20 },
	{ op_write, 4 },
	{ op_writev, 4 },
	{ op_write_nowait, 4 },
	{ op_across_end, 3 },
	{ op_append, 3 },
	{ op_truncate, 2 },
	{ op_foreign_truncate, 2 },
	{ op_foreign_grow, 2 },
	{ op_foreign_write, 4 },
	{ op_foreign_read, 4 },
	{ op_punch, 2 },
	{ op_zero, 2 },
	{ op_allocate, 1 },
	{ op_collapse, 1 },
	{ op_copy_range, 1 },
	{ op_map, 3 },
	{ op_map_read, 2 },
	{ op_map_write, 2 },
	{ op_unmap, 3 },
	{ op_reopen, 1 },
	{ op_misc, 1 },
};

static void run_one(struct ctx *c)
{
	unsigned sum = 0, at;

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		sum += ops[i].weight;
	at = (unsigned)rng_below(&c->rng, sum);
	for (size_t i = 0;; i++) {
		if (at < ops[i].weight) {
			ops[i].run(c);
			return;
		}
		at -= ops[i].weight;
	}
}

/* All of the file, as others see it. */
static void check_native(struct ctx *c)
{
	size_t len;
	unsigned char *got = native_read(c->dir, c->name, &len);

	note(c, "the file in the end", 0, len);
	expect(c, (ssize_t)len, (ssize_t)c->size);
	compare(c, got, 0, len);
	free(got);
}

static void ctx_init(struct ctx *c)
{
	c->rng.state = c->seed + c->id * UINT64_C(0x1234567);
	c->want = calloc(1, MAX_SIZE + MAX_IO);
	c->io = calloc(1, MAX_SIZE);
	must(c->want && c->io, "no memory");
}

static void ctx_done(struct ctx *c)
{
	free(c->want);
	free(c->io);
}

static void *file_thread(void *arg)
{
	struct ctx *c = arg;

	ctx_init(c);
	snprintf(c->name, sizeof(c->name), "file-%u", c->id);
	note(c, "open", 0, 0);
	native_write(c->dir, c->name, "", 0);
	c->native = open(in_dir(c->dir, c->name), O_RDWR | O_CLOEXEC);
	must(c->native >= 0, "open: %s", strerror(errno));
	open_files(c, 0);
	write_at(c, "first bytes", 0, 70000);
	for (c->op = 0; c->op < c->n_ops; c->op++)
		run_one(c);
	map_let_go(c);
	expect(c, oriel_close(c->f), 0);
	expect(c, oriel_close(c->app), 0);
	close(c->native);
	check_native(c);
	ctx_done(c);
	return NULL;
}

/* ------------------------------------------------------- one file for all */

#define STRIPE 1000u /* not a divisor of anything */

/* Byte i belongs to thread i / STRIPE % N_THREADS. The pieces of a thread are
 * read and written one stripe at a time, so that neighbours share pages. */
static void *stripe_thread(void *arg)
{
	struct ctx *c = arg;
	unsigned n = MAX_SIZE / STRIPE / N_THREADS;

	ctx_init(c);
	c->size = MAX_SIZE;
	note(c, "open", 0, 0);
	open_files(c, 0);
	for (c->op = 0; c->op < c->n_ops; c->op++) {
		unsigned k = (unsigned)rng_below(&c->rng, n);
		size_t at = (size_t)(k * N_THREADS + c->id) * STRIPE;
		size_t skip = (size_t)rng_below(&c->rng, STRIPE);
		size_t len = 1 + (size_t)rng_below(&c->rng, STRIPE - skip);

		if (rng_below(&c->rng, 3) == 0) {
			write_at(c, "write a stripe", at + skip, len);
			continue;
		}
		note(c, "read a stripe", at + skip, len);
		expect(c, oriel_pread(c->f, c->io, len, (off_t)(at + skip)),
		       (ssize_t)len);
		compare(c, c->io, at + skip, len);
	}
	oriel_close(c->f);
	oriel_close(c->app);
	return NULL;
}

#define BLOCK 4096u
#define N_BLOCKS (MAX_SIZE / BLOCK)

static pthread_rwlock_t block_locks[N_BLOCKS];
static uint32_t block_stamps[N_BLOCKS]; /* guarded by its lock; 0: zeros */

static void check_block(struct ctx *c, unsigned k, const unsigned char *buf)
{
	size_t at;

	if (block_stamps[k]) {
		at = pattern_check(buf, BLOCK, block_stamps[k], k * BLOCK);
	} else {
		for (at = 0; at < BLOCK && !buf[at]; at++)
			;
	}
	if (at < BLOCK)
		wrong(c, "block %u, byte %zu: 0x%02x, stamp %u", k, at, buf[at],
		      block_stamps[k]);
}

static void block_write(struct ctx *c, unsigned k)
{
	uint32_t stamp = (uint32_t)(c->op * N_THREADS + c->id + 1);
	int r = 0;

	pthread_rwlock_wrlock(&block_locks[k]);
	if (rng_below(&c->rng, 16) == 0) {
		note(c, "punch a block", k * BLOCK, BLOCK);
		r = oriel_fallocate(c->f,
				    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    (off_t)k * BLOCK, BLOCK);
		stamp = 0;
	}
	if (r || stamp) {
		note(c, "write a block", k * BLOCK, BLOCK);
		stamp = stamp ? stamp : 1;
		pattern_fill(c->io, BLOCK, stamp, k * BLOCK);
		expect(c, oriel_pwrite(c->f, c->io, BLOCK, (off_t)k * BLOCK),
		       BLOCK);
	}
	block_stamps[k] = stamp;
	pthread_rwlock_unlock(&block_locks[k]);
}

static void *block_thread(void *arg)
{
	struct ctx *c = arg;

	ctx_init(c);
	c->size = MAX_SIZE;
	note(c, "open", 0, 0);
	open_files(c, 0);
	for (c->op = 0; c->op < c->n_ops; c->op++) {
		unsigned k = (unsigned)rng_below(&c->rng, N_BLOCKS);

		if (rng_below(&c->rng, 3) == 0) {
			block_write(c, k);
			continue;
		}
		pthread_rwlock_rdlock(&block_locks[k]);
		note(c, "read a block", k * BLOCK, BLOCK);
		expect(c, oriel_pread(c->f, c->io, BLOCK, (off_t)k * BLOCK),
		       BLOCK);
		check_block(c, k, c->io);
		pthread_rwlock_unlock(&block_locks[k]);
	}
	oriel_close(c->f);
	oriel_close(c->app);
	return NULL;
}

static void check_shared_file(struct ctx *all, const char *dir)
{
	size_t len;
	unsigned char *got = native_read(dir, "shared", &len);

	must(len == MAX_SIZE, "size %zu", len);
	for (unsigned k = 0; k < N_BLOCKS; k++)
		if (strcmp(the_variant, "blocks") == 0)
			check_block(&all[0], k, got + k * BLOCK);
	for (size_t i = 0; i < MAX_SIZE; i++) {
		struct ctx *c = &all[i / STRIPE % N_THREADS];

		if (strcmp(the_variant, "stripes") == 0 &&
		    i / STRIPE < MAX_SIZE / STRIPE / N_THREADS * N_THREADS)
			must(got[i] == c->want[i],
			     "byte %zu of thread %u is 0x%02x, expected 0x%02x",
			     i, c->id, got[i], c->want[i]);
	}
	free(got);
}

static void shared_file_init(const char *dir)
{
	void *zeros = calloc(1, MAX_SIZE);

	must(zeros, "no memory");
	native_write(dir, "shared", zeros, MAX_SIZE);
	free(zeros);
	for (unsigned k = 0; k < N_BLOCKS; k++)
		pthread_rwlock_init(&block_locks[k], NULL);
}

/* ---------------------------------------------------------------- variants */

static bool options_for(const char *variant, struct oriel_options *o)
{
	test_options(o);
	o->window_bytes = 3 * o->range_bytes;
	if (strcmp(variant, "small") == 0 || strcmp(variant, "blocks") == 0 ||
	    strcmp(variant, "stripes") == 0)
		return true;
	if (strcmp(variant, "admit") == 0) {
		o->admit_touches = 0;
		o->small_file_bytes = 0;
		return true;
	}
	if (strcmp(variant, "wide") == 0) {
		o->window_bytes = 64 << 20;
		o->attr_ttl_ms = ORIEL_NO_TTL;
		return true;
	}
	o->dax = ORIEL_DAX_NEVER;
	return strcmp(variant, "messages") == 0;
}

/* The variant has tried what it is for. */
static void check_counters(struct oriel_session *s, const struct ctx *all)
{
	struct oriel_info i = { .size = sizeof(i) };
	uint64_t maps = 0;

	must(oriel_info(s, &i) == 0, "info");
	for (unsigned k = 0; k < N_THREADS; k++)
		maps += all[k].done_map;
	printf("%s: hits %llu, setups %llu, reclaimed %llu, bypassed %llu, "
	       "upgrades %llu, faults %llu, requests %llu, pointers %llu\n",
	       the_variant, (unsigned long long)i.hits,
	       (unsigned long long)i.setups, (unsigned long long)i.reclaimed,
	       (unsigned long long)i.bypassed, (unsigned long long)i.upgrades,
	       (unsigned long long)i.faults, (unsigned long long)i.requests,
	       (unsigned long long)maps);
	must(i.alive && i.open_files == 0 && i.pinned_ranges == 0,
	     "alive %d, open %llu, pinned %llu", i.alive,
	     (unsigned long long)i.open_files,
	     (unsigned long long)i.pinned_ranges);
	if (strcmp(the_variant, "messages") == 0) {
		must(!i.dax && i.hits == 0, "a window after all");
		return;
	}
	must(i.dax && i.hits > 0 && i.setups > 0, "the window was not used");
	if (strcmp(the_variant, "wide") != 0)
		must(i.reclaimed > 0, "nothing was reclaimed");
}

static void run_variant(const char *dir, uint64_t n_ops, void *(*fn)(void *))
{
	struct ctx all[N_THREADS] = { 0 };
	pthread_t threads[N_THREADS];
	struct oriel_options o;
	struct oriel_session *s;

	must(options_for(the_variant, &o), "no variant %s", the_variant);
	s = test_connect(dir, &o);
	for (unsigned k = 0; k < N_THREADS; k++) {
		struct ctx *c = &all[k];

		c->s = s;
		c->dir = dir;
		c->id = k;
		c->seed = the_seed;
		c->n_ops = n_ops / N_THREADS;
		snprintf(c->name, sizeof(c->name), "shared");
		must(pthread_create(&threads[k], NULL, fn, c) == 0,
		     "no thread");
	}
	for (unsigned k = 0; k < N_THREADS; k++)
		pthread_join(threads[k], NULL);
	check_counters(s, all);
	oriel_disconnect(s);
	if (fn != file_thread) {
		check_shared_file(all, dir);
		for (unsigned k = 0; k < N_THREADS; k++)
			ctx_done(&all[k]);
	}
}

int main(int argc, char **argv)
{
	uint64_t n_ops = number_from("ORIEL_MODEL_OPS", 100000) / N_VARIANTS;
	void *(*fn)(void *) = file_thread;
	char dir[300];

	must(argc == 2, "usage: model_client VARIANT");
	the_variant = argv[1];
	the_seed = seed_from("ORIEL_MODEL_SEED");
	/* half of the variants on a disk, half on tmpfs, by the seed */
	if (the_seed & 1)
		scratch_make_shm(dir, sizeof(dir));
	else
		scratch_make(dir, sizeof(dir));
	printf("%s: %llu operations in %s\n", the_variant,
	       (unsigned long long)n_ops, dir);
	fflush(stdout);
	if (strcmp(the_variant, "stripes") == 0)
		fn = stripe_thread;
	else if (strcmp(the_variant, "blocks") == 0)
		fn = block_thread;
	if (fn != file_thread)
		shared_file_init(dir);
	run_variant(dir, n_ops, fn);
	scratch_remove(dir);
	return 0;
}
