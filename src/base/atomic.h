/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Atomics. Two families:
 *
 *  - ordinary shared variables of our own: C11 <stdatomic.h>, used directly;
 *    each acquire names its release in a comment;
 *  - memory shared with a peer (rings): shm_load_*() and shm_store_*(), single
 *    accesses on plain integers that the compiler may neither repeat nor tear.
 *    A value loaded so is a copy: check the copy, never load again.
 */
#ifndef ORIEL_BASE_ATOMIC_H
#define ORIEL_BASE_ATOMIC_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/util.h"

/* ThreadSanitizer: 1 or 0. It understands atomic operations, not fences. */
#if defined(__SANITIZE_THREAD__)
#define ORIEL_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ORIEL_TSAN 1
#endif
#endif
#ifndef ORIEL_TSAN
#define ORIEL_TSAN 0
#endif

#if ORIEL_TSAN
void __tsan_release(void *addr); /* <sanitizer/tsan_interface.h> */
#endif

static inline uint16_t shm_load_u16(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline uint32_t shm_load_u32(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline uint64_t shm_load_u64(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline uint16_t shm_load_acquire_u16(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void shm_store_u16(uint16_t *p, uint16_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}

static inline void shm_store_u32(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}

static inline void shm_store_u64(uint64_t *p, uint64_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}

static inline void shm_store_release_u16(uint16_t *p, uint16_t v)
{
#if ORIEL_TSAN && defined(__x86_64__)
	/* The memory may have been taken away. TSan stores while it holds a lock
	 * of its own, which the handler of SIGBUS would wait for for ever: tell
	 * it what is meant, and store without it. */
	__tsan_release(p);
	__asm__ __volatile__("movw %1, %0" : "=m"(*p) : "r"(v) : "memory");
#else
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
#endif
}

/* Full barrier: orders a store to shared memory before a later load of it. */
static inline void shm_full_barrier(void)
{
#if ORIEL_TSAN
	/* TSan knows no fences; a dummy read-modify-write means the same. */
	static uint32_t dummy;

	__atomic_fetch_add(&dummy, 0, __ATOMIC_SEQ_CST);
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* Tell the processor that this is a spin loop. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield");
#endif
}

/*
 * Fetch the cache lines of [@p, @p + @len) ahead: to read, or (to_write) to own
 * them before they are stored to. Only a hint: nothing is accessed, so any
 * address will do, and none is treated as a pointer into something. A line a peer
 * polls is not for this: the peer takes it back.
 */
static inline void prefetch_lines(uintptr_t p, size_t len)
{
	for (uintptr_t at = p; at < p + len; at += ORIEL_CACHE_LINE)
		__builtin_prefetch((const void *)at);
}

static inline void prefetch_lines_to_write(uintptr_t p, size_t len)
{
	for (uintptr_t at = p; at < p + len; at += ORIEL_CACHE_LINE)
#if defined(__x86_64__)
		/* the compiler's own becomes a read without -mprfchw; where the
		 * processor has no such instruction it does nothing */
		__asm__ __volatile__("prefetchw (%0)" : : "r"(at));
#else
		__builtin_prefetch((const void *)at, 1);
#endif
}

#endif
