/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The measuring engine of 'oriel bench' and of the benchmark suite: ways to do
 * the same thing run in turns (A B C A B C ...) in one process, so that
 * whatever else the machine does hits all of them. What comes out is the median
 * over the rounds; ratios are taken within a round.
 *
 * Thread rule: one thread.
 */
#ifndef ORIEL_MEASURE_H
#define ORIEL_MEASURE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ROUNDS_MAX 101
#define WAYS_MAX 4

/*
 * One way to do it. run() does @n operations; begin() and end(), if any, are
 * called around each run() and are not measured. All return 0 or -errno.
 */
struct way {
	const char *name;
	int (*begin)(void *ctx);
	int (*run)(void *ctx, size_t n);
	int (*end)(void *ctx);
	void *ctx;
	size_t fixed_n;      /* operations of a run(); 0: as the slice allows */
	const pid_t *daemon; /* whose processor time belongs to it; NULL: none.
				Read before each run(). */
};

/* How long, and until when. */
struct measure {
	unsigned rounds;      /* 1..ROUNDS_MAX */
	uint64_t slice_ns;    /* of one way in one round */
	int (*stopped)(void); /* not 0: give up with -EINTR; may be NULL */
};

/* How one way did. */
struct result {
	const char *way;
	double ns;        /* one operation: median over the rounds */
	double p10, p90;  /* of the rounds */
	double speed;     /* time of ways[1] / ours: median of the ratios */
	double extra_ns;  /* time over ways[2], the bare copy: median */
	double cpu_us;    /* processor time of one operation, all rounds: of
			     this process ... */
	double daemon_us; /* ... and of the daemon */
	size_t n;         /* operations of a round */
};

/* What half, and what all but one in a hundred, of single operations stayed
 * under, with the cost of reading the clock. */
struct tail {
	double p50_ns;
	double p99_ns;
};

/* Run @n_ways (1..WAYS_MAX); @ret has as many. 0, or the first error. */
int measure_ways(const struct measure *me, const struct way *ways,
		 unsigned n_ways, struct result *ret);
/* Time single operations of one way over a slice, @max of them at most, which
 * is the length of @samples. */
int measure_tail(const struct measure *me, const struct way *w,
		 uint32_t *samples, size_t max, struct tail *ret);

/* Monotonic. */
uint64_t now_ns(void);
/* Sorts. @n at least 1; @q 0..1. */
double quantile(double *v, size_t n, double q);
/* The value that @percent of @n (at least 1) sorted values do not exceed. */
uint32_t percentile(const uint32_t *sorted, size_t n, unsigned percent);

#endif
