/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of the whole client share: scratch directories, daemons on a
 * socket, what a process holds open, random numbers with a seed that is
 * printed, and a clock for calls that must not hang.
 */
#ifndef ORIEL_TESTS_SUPPORT_H
#define ORIEL_TESTS_SUPPORT_H

#include <oriel/oriel.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#if defined(__SANITIZE_THREAD__)
#define SUPPORT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SUPPORT_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SUPPORT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SUPPORT_ASAN 1
#endif
#endif

/* Stop the test with a sentence unless @cond; works in any thread and any
 * program, with or without a test framework. */
#define must(cond, ...)                                                   \
	do {                                                              \
		if (!(cond))                                              \
			support_fail(__FILE__, __LINE__, #cond,           \
				     __VA_ARGS__);                        \
	} while (0)
void support_fail(const char *file, int line, const char *cond,
		  const char *fmt, ...)
	__attribute__((noreturn, format(printf, 4, 5)));

/* Printed along if not empty: which seed, which round. */
extern char support_context[200];

/* --------------------------------------------------------------- folders */

/* A fresh directory under $ORIEL_TEST_DIR, else /var/tmp (a disk). */
void scratch_make(char *path, size_t len);
/* The same under /dev/shm (tmpfs). */
void scratch_make_shm(char *path, size_t len);
/* With everything in it. */
void scratch_remove(const char *path);

/* "@dir/@name" in one of a few static buffers of this thread. */
const char *in_dir(const char *dir, const char *name);
/* Make or replace a file. */
void native_write(const char *dir, const char *name, const void *buf,
		  size_t len);
/* A file of @len bytes of pattern_byte(@seed, offset). */
void native_pattern(const char *dir, const char *name, size_t len,
		    uint32_t seed);
/* All of it, malloc'ed; *@ret_len bytes. */
unsigned char *native_read(const char *dir, const char *name,
			   size_t *ret_len);
/* What byte @off of a pattern file is: never 0. */
static inline unsigned char pattern_byte(uint32_t seed, uint64_t off)
{
	uint64_t x = (off + 1) * UINT64_C(0x9e3779b97f4a7c15) + seed;

	return (unsigned char)((x >> 40) | 1);
}
void pattern_fill(void *buf, size_t len, uint32_t seed, uint64_t off);
/* The offset in @buf of the first byte that is not the pattern's, or @len. */
size_t pattern_check(const void *buf, size_t len, uint32_t seed,
		     uint64_t off);

/* ---------------------------------------------------------------- random */

/* A seed from @env, else from the clock; printed, so that it can be given. */
uint64_t seed_from(const char *env);
uint64_t number_from(const char *env, uint64_t dflt);

struct rng {
	uint64_t state;
};
static inline uint64_t rng_next(struct rng *r)
{
	uint64_t z = (r->state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}
/* Below @n, which is not 0. */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return rng_next(r) % n;
}

/* -------------------------------------------------------------- processes */

/* How many descriptors @pid (0: we) holds; -1: no such process. */
int count_fds(pid_t pid);
/* How many lines of its memory map contain @what (NULL: all). */
int count_maps(pid_t pid, const char *what);
/* Print both, for a test that found too many. */
void dump_held(pid_t pid);

uint64_t now_ms(void);
void nap_ms(unsigned ms);
/* End the process with a sentence if support_watch(0) is not called within
 * @seconds: a test of "does not hang" must not hang. */
void support_watch(unsigned seconds);

/* ---------------------------------------------------------------- daemons */

/* An orield on a socket of its own. */
struct daemon {
	pid_t pid;
	char dir[200];    /* the socket's folder */
	char socket[220];
	char log[220];
};
/* Serve @share; @options NULL-terminated or NULL. */
void daemon_start(struct daemon *d, const char *share,
		  const char *const *options);
/* SIGTERM, or SIGKILL if it was; false: it ended badly (its log is printed). */
bool daemon_stop(struct daemon *d);
/* All of its log, malloc'ed. */
char *daemon_log(const struct daemon *d);
/* SIGUSR1: what it holds, by its own count. */
struct daemon_state {
	unsigned long long sessions, inodes, fds, handles, mappings, requests;
};
void daemon_state(const struct daemon *d, struct daemon_state *ret);

/* Connect with the options that most tests want: small_file_bytes and
 * admit_touches ORIEL_MAP_ALL, ranges of 64 KiB. @edit may change them. */
void test_options(struct oriel_options *o);
struct oriel_session *test_connect(const char *share,
				   const struct oriel_options *o);

#endif
