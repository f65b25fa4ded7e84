/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gauge page: what a session of liboriel says of itself, in memory that it
 * shares with the daemon. See docs/design/top.md.
 *
 * The client writes tail, then the body, then head; who reads takes head, the
 * body, then tail: the copy is whole if both are the same and not 0. The only
 * thing the daemon writes is a word elsewhere, which asks for news: in memory
 * that messages use, so that looking at it makes no memory of this. Both treat
 * all of it as hostile.
 */
#ifndef ORIEL_WIRE_GAUGE_H
#define ORIEL_WIRE_GAUGE_H

#include <stddef.h>
#include <stdint.h>

#define GAUGE_MAGIC 0x45475547u /* "GUGE" */
#define GAUGE_VERSION 2u
#define GAUGE_BYTES 16384u

#define GAUGE_CELLS 4096u
#define GAUGE_MISSES 16u
#define GAUGE_FILES 16u

/* A cell: what the ranges in it have that is rarest, and the hottest of them. */
#define GAUGE_HEAT_MASK 0x0fu /* 0 free, 1 cold .. 9 */
#define GAUGE_HEAT_MAX 9u
#define GAUGE_WRITABLE 0x10u
#define GAUGE_PINNED 0x20u

/* Latencies: log-linear buckets of nanoseconds. */
#define GAUGE_LAT_CLASSES 8u
#define GAUGE_LAT_BUCKETS 256u
#define GAUGE_LAT_SUB_BITS 3u  /* 8 buckets an octave */
#define GAUGE_LAT_MIN_BITS 4u  /* all below 16 ns is in the first ones */

/* Counters, all since the session began. Never renumbered. */
enum gauge_counter {
	GAUGE_HITS,
	GAUGE_MISSES_ALL,
	GAUGE_SETUPS,
	GAUGE_SETUP_ERRORS,
	GAUGE_UPGRADES,
	GAUGE_RECLAIMED,
	GAUGE_PREFETCHED,
	GAUGE_BYPASSED,
	GAUGE_FAULTS,
	GAUGE_WINDOW_READ_BYTES,
	GAUGE_WINDOW_WRITE_BYTES,
	GAUGE_MESSAGE_READ_BYTES,
	GAUGE_MESSAGE_WRITE_BYTES,
	GAUGE_REQUESTS,
	GAUGE_FORGETS,
	GAUGE_SLEEPS,
	/* as they are now */
	GAUGE_INODES,
	GAUGE_OPEN_FILES,
	GAUGE_RANGE_BYTES,
	GAUGE_RANGES,
	GAUGE_FREE_RANGES,
	GAUGE_MAPPINGS,
	GAUGE_PINNED_RANGES,
	GAUGE_DAX, /* 1: on */
	GAUGE_COUNTERS,
};

#define GAUGE_COUNTERS_MAX 64u

/* A file with ranges in the window. */
struct gauge_file {
	uint64_t node; /* the session's number of it */
	uint32_t ranges;
	uint32_t heat; /* of the hottest */
};

struct gauge_body {
	uint64_t when_ns;  /* CLOCK_MONOTONIC */
	uint32_t answers;  /* the value of the word that it was written for */
	uint32_t ranges_per_cell;
	uint32_t n_cells;
	uint32_t watched;  /* latencies are being taken */
	char name[32];     /* of the program, NUL-terminated */
	uint64_t n[GAUGE_COUNTERS_MAX];
	uint64_t misses[GAUGE_MISSES]; /* by ORIEL_MISS_* */
	uint32_t lat[GAUGE_LAT_CLASSES][GAUGE_LAT_BUCKETS];
	uint8_t cells[GAUGE_CELLS];
	struct gauge_file files[GAUGE_FILES]; /* most ranges first; then zeros */
};

struct gauge_page {
	uint32_t magic;
	uint32_t version;
	uint32_t bytes; /* GAUGE_BYTES */
	uint32_t padding[13];
	_Alignas(64) uint32_t padding1;
	_Alignas(64) uint32_t head;
	uint32_t padding2;
	struct gauge_body body;
	uint32_t tail;
};

_Static_assert(sizeof(struct gauge_page) <= GAUGE_BYTES, "it fits");
_Static_assert(offsetof(struct gauge_page, head) == 128, "no surprises");
_Static_assert(offsetof(struct gauge_page, body) == 136, "no surprises");
_Static_assert(offsetof(struct gauge_body, lat) == 56 + 512 + 128,
	       "no padding");
_Static_assert(sizeof(struct gauge_file) == 16, "no padding");
_Static_assert(sizeof(struct gauge_body) == 696 + 8192 + 4096 + 256,
	       "no padding");
_Static_assert((int)GAUGE_COUNTERS <= (int)GAUGE_COUNTERS_MAX, "room");

/* The bucket of @ns. */
static inline unsigned gauge_bucket(uint64_t ns)
{
	unsigned octave, sub;
	unsigned i;

	if (ns < (1u << GAUGE_LAT_MIN_BITS))
		return 0;
	octave = 63u - (unsigned)__builtin_clzll(ns);
	sub = (unsigned)(ns >> (octave - GAUGE_LAT_SUB_BITS)) &
	      ((1u << GAUGE_LAT_SUB_BITS) - 1);
	i = ((octave - GAUGE_LAT_MIN_BITS) << GAUGE_LAT_SUB_BITS) + sub;
	return i < GAUGE_LAT_BUCKETS ? i : GAUGE_LAT_BUCKETS - 1;
}

/* The least value of bucket @i (at most GAUGE_LAT_BUCKETS) and up. */
static inline uint64_t gauge_bucket_ns(unsigned i)
{
	unsigned octave = (i >> GAUGE_LAT_SUB_BITS) + GAUGE_LAT_MIN_BITS;
	uint64_t sub = i & ((1u << GAUGE_LAT_SUB_BITS) - 1);

	return ((1u << GAUGE_LAT_SUB_BITS) + sub)
	       << (octave - GAUGE_LAT_SUB_BITS);
}

#endif
