/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cases that the window serves. Three ways each: the library, the system call
 * on the same file, and memcpy() from a mapping of our own, which is what no
 * library can be faster than. The loops are the same but for the call.
 */
#include "harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Copies within the first @set bytes of the file. */
struct copy {
	struct place *p;
	unsigned char *buf;
	size_t bytes;
	uint64_t mask;   /* of random places: a power of two less one */
	uint64_t random;
	uint64_t next;   /* of sequential ones */
};

static inline off_t random_off(struct copy *c)
{
	/* xorshift64: a few instructions, the same for everybody */
	c->random ^= c->random << 13;
	c->random ^= c->random >> 7;
	c->random ^= c->random << 17;
	return (off_t)((c->random & c->mask) * c->bytes);
}

static inline off_t next_off(struct copy *c)
{
	return (off_t)((c->next++ & c->mask) * c->bytes);
}

/* The copies are never looked at; this keeps them in the program. */
static inline void must_happen(void)
{
	__asm__ volatile("" ::: "memory");
}

#define DEFINE_RUN(name, offset, call)                                     \
	static int name(void *ctx, size_t n)                               \
	{                                                                  \
		struct copy *c = ctx;                                      \
		struct place *p = c->p;                                    \
		size_t i;                                                  \
		off_t off;                                                 \
                                                                           \
		for (i = 0; i < n; i++) {                                  \
			off = offset(c);                                   \
			if ((call) != (ssize_t)c->bytes)                   \
				return -EIO;                               \
			must_happen();                                     \
		}                                                          \
		return 0;                                                  \
	}

DEFINE_RUN(read_oriel, random_off, oriel_pread(p->f, c->buf, c->bytes, off))
DEFINE_RUN(read_native, random_off, pread(p->fd, c->buf, c->bytes, off))
DEFINE_RUN(read_bare, random_off,
	   (memcpy(c->buf, p->map + off, c->bytes), (ssize_t)c->bytes))
DEFINE_RUN(write_oriel, random_off, oriel_pwrite(p->f, c->buf, c->bytes, off))
DEFINE_RUN(write_native, random_off, pwrite(p->fd, c->buf, c->bytes, off))
DEFINE_RUN(write_bare, random_off,
	   (memcpy(p->map + off, c->buf, c->bytes), (ssize_t)c->bytes))
DEFINE_RUN(seq_oriel, next_off, oriel_pread(p->f, c->buf, c->bytes, off))
DEFINE_RUN(seq_native, next_off, pread(p->fd, c->buf, c->bytes, off))
DEFINE_RUN(seq_bare, next_off,
	   (memcpy(c->buf, p->map + off, c->bytes), (ssize_t)c->bytes))

struct copy_case {
	const char *name;
	size_t bytes;
	bool writes;
	int (*oriel)(void *ctx, size_t n);
	int (*native)(void *ctx, size_t n);
	int (*bare)(void *ctx, size_t n);
	const char *native_name;
};

static const struct copy_case copy_cases[] = {
	{ "read-64", 64, false, read_oriel, read_native, read_bare, "pread" },
	{ "read-4k", KIB(4), false, read_oriel, read_native, read_bare,
	  "pread" },
	{ "read-1m-seq", MIB(1), false, seq_oriel, seq_native, seq_bare,
	  "pread" },
	{ "overwrite-4k", KIB(4), true, write_oriel, write_native, write_bare,
	  "pwrite" },
};

/* Every page of the set written once by each way: the first write to a page
 * is another matter. */
static int dirty_all(struct place *p, size_t set)
{
	size_t off;
	ssize_t n;

	for (off = 0; off < set; off += KIB(4)) {
		n = oriel_pwrite(p->f, p->buf, KIB(4), (off_t)off);
		if (n < 0)
			return (int)n;
		if (pwrite(p->fd, p->buf, KIB(4), (off_t)off) < 0)
			return -errno;
		memcpy(p->map + off, p->buf, KIB(4));
	}
	return 0;
}

static int run_copy(struct place *p, const struct copy_case *cc, size_t set,
		    unsigned buf_off)
{
	struct copy c[3];
	struct match m = {
		.name = cc->name, .fs = p->fs, .folios = p->folios,
		.set_bytes = set, .buf_off = buf_off, .has_buf = true,
		.n_ways = 3,
		.ways = {
			{ .name = "oriel", .run = cc->oriel,
			  .daemon = &p->daemon },
			{ .name = cc->native_name, .run = cc->native },
			{ .name = "memcpy", .run = cc->bare },
		},
	};

	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		c[i] = (struct copy){
			.p = p, .buf = p->buf + buf_off, .bytes = cc->bytes,
			.mask = set / cc->bytes - 1, .random = 88172645463325252u,
		};
		m.ways[i].ctx = &c[i];
	}
	return match_run(p->su, &m);
}

int window_cases(struct place *p)
{
	static const size_t sets[] = { KIB(256), MIB(16), MIB(512) };
	static const unsigned buf_offs[] = { 0, 16 };
	size_t i, k, a;
	int err = 0;

	for (i = 0; i < ARRAY_LEN(copy_cases); i++) {
		const struct copy_case *cc = &copy_cases[i];

		if (!is_wanted(p->su, cc->name))
			continue;
		for (k = 0; !err && k < ARRAY_LEN(sets); k++) {
			if (sets[k] > p->bytes || sets[k] < cc->bytes)
				continue;
			if (cc->writes)
				err = dirty_all(p, sets[k]);
			for (a = 0; !err && a < ARRAY_LEN(buf_offs); a++)
				err = run_copy(p, cc, sets[k], buf_offs[a]);
		}
	}
	return err;
}
