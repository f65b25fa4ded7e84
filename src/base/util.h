/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Small things every module needs: attributes, container_of, alignment and
 * overflow-safe range arithmetic. Header only, no state.
 *
 * Range tests on values that came from a peer are written with range_fits(),
 * which subtracts instead of adding, so that they cannot wrap around.
 */
#ifndef ORIEL_BASE_UTIL_H
#define ORIEL_BASE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORIEL_MUST_CHECK __attribute__((warn_unused_result))
#define ORIEL_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define ORIEL_LIKELY(x) __builtin_expect(!!(x), 1)
#define ORIEL_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define ORIEL_CACHE_LINE 64

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static inline bool is_pow2(uint64_t v)
{
	return v && !(v & (v - 1));
}

/* @align is a power of two. */
static inline uint64_t align_down(uint64_t v, uint64_t align)
{
	return v & ~(align - 1);
}

/* @align is a power of two and @v + @align - 1 does not overflow. */
static inline uint64_t align_up(uint64_t v, uint64_t align)
{
	return (v + align - 1) & ~(align - 1);
}

static inline bool is_aligned(uint64_t v, uint64_t align)
{
	return !(v & (align - 1));
}

/* Does [@off, @off + @len) lie inside [0, @size)? Never wraps around. */
static inline bool range_fits(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

#endif
