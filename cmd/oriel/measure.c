/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rounds and what is made of them. The number of operations of a slice is
 * found once for each contestant and then kept, so that every round compares
 * the same work. Processor time is that of the whole process, and of the
 * daemon by its own clock: a daemon that polls is charged for it.
 */
#include "measure.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t cpu_ns(clockid_t clock)
{
	struct timespec ts = { 0 };

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* 0 if there is no such process. */
static uint64_t daemon_ns(const struct way *w)
{
	clockid_t clock;

	if (!w->daemon || *w->daemon <= 0 ||
	    clock_getcpuclockid(*w->daemon, &clock))
		return 0;
	return cpu_ns(clock);
}

static int cmp_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double quantile(double *v, size_t n, double q)
{
	double at = q * (double)(n - 1);
	size_t i = (size_t)at;

	qsort(v, n, sizeof(*v), cmp_double);
	if (i + 1 >= n)
		return v[n - 1];
	return v[i] + (v[i + 1] - v[i]) * (at - (double)i);
}

/* ------------------------------------------------------------- one slice */

struct slice {
	double ns;
	double cpu_ns;
	double daemon_ns;
};

static int slice_run(const struct way *w, size_t n, struct slice *ret)
{
	uint64_t wall, cpu, daemon;
	int err = w->begin ? w->begin(w->ctx) : 0;
	int end_err;

	if (err)
		return err;
	daemon = daemon_ns(w);
	cpu = cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
	wall = now_ns();
	err = w->run(w->ctx, n);
	wall = now_ns() - wall;
	cpu = cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	daemon = daemon_ns(w) - daemon;
	end_err = w->end ? w->end(w->ctx) : 0;
	ret->ns = (double)wall / (double)n;
	ret->cpu_ns = (double)cpu / (double)n;
	ret->daemon_ns = (double)daemon / (double)n;
	return err ? err : end_err;
}

static int is_stopped(const struct measure *me)
{
	return me->stopped && me->stopped();
}

/* How often the number of operations is mended at most. */
#define CALIBRATIONS 10u

/*
 * How many operations fill a slice? Also warms up: the first of them may cost far
 * more than the rest (a directory's thousand names are met for the first time), so
 * it goes on until the number holds.
 */
static int calibrate(const struct measure *me, const struct way *w,
		     size_t *ret_n)
{
	struct slice sl;
	size_t n = 8;
	unsigned held = 0;
	int err;

	if (w->fixed_n) {
		*ret_n = w->fixed_n;
		return slice_run(w, w->fixed_n, &sl);
	}
	for (unsigned i = 0; i < CALIBRATIONS && held < 2; i++) {
		double want;

		err = is_stopped(me) ? -EINTR : slice_run(w, n, &sl);
		if (err)
			return err;
		want = (double)me->slice_ns / sl.ns;
		held = want <= 1.25 * (double)n ? held + 1 : 0;
		/* a few operations tell little */
		n = (size_t)(want > 16 * (double)n ? 16 * (double)n : want);
		n = n < 4 ? 4 : n;
	}
	*ret_n = n;
	return 0;
}

/* --------------------------------------------------------------- rounds */

/* Of all ways: [way][round]. */
struct samples {
	double ns[WAYS_MAX][ROUNDS_MAX];
	double cpu[WAYS_MAX];    /* sums */
	double daemon[WAYS_MAX];
	size_t n[WAYS_MAX];
};

static void summarize(const struct samples *sa, unsigned n_ways,
		      unsigned rounds, unsigned i, struct result *ret)
{
	double v[ROUNDS_MAX], ratio[ROUNDS_MAX], extra[ROUNDS_MAX];
	unsigned base = n_ways > 2 ? 2 : 0, k;

	for (k = 0; k < rounds; k++) {
		v[k] = sa->ns[i][k];
		ratio[k] = sa->ns[n_ways > 1][k] / v[k];
		extra[k] = v[k] - sa->ns[base][k];
	}
	ret->p10 = quantile(v, rounds, 0.1);
	ret->ns = quantile(v, rounds, 0.5);
	ret->p90 = quantile(v, rounds, 0.9);
	ret->speed = quantile(ratio, rounds, 0.5);
	ret->extra_ns = quantile(extra, rounds, 0.5);
	ret->cpu_us = sa->cpu[i] / rounds / 1000;
	ret->daemon_us = sa->daemon[i] / rounds / 1000;
	ret->n = sa->n[i];
}

static int play(const struct measure *me, const struct way *ways,
		unsigned n_ways, struct samples *sa)
{
	struct slice sl;
	unsigned i, k;
	int err = 0;

	for (i = 0; !err && i < n_ways; i++)
		err = calibrate(me, &ways[i], &sa->n[i]);
	for (k = 0; !err && k < me->rounds; k++) {
		for (i = 0; i < n_ways; i++) {
			err = is_stopped(me) ? -EINTR :
			      slice_run(&ways[i], sa->n[i], &sl);
			if (err)
				break;
			sa->ns[i][k] = sl.ns;
			sa->cpu[i] += sl.cpu_ns;
			sa->daemon[i] += sl.daemon_ns;
		}
	}
	return err;
}

int measure_ways(const struct measure *me, const struct way *ways,
		 unsigned n_ways, struct result *ret)
{
	struct samples *sa = calloc(1, sizeof(*sa));
	unsigned i;
	int err;

	if (!sa)
		return -ENOMEM;
	err = play(me, ways, n_ways, sa);
	for (i = 0; !err && i < n_ways; i++) {
		ret[i].way = ways[i].name;
		summarize(sa, n_ways, me->rounds, i, &ret[i]);
	}
	free(sa);
	return err;
}

/* ---------------------------------------------------- single operations */

static int by_number(const void *x, const void *y)
{
	uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;

	return (a > b) - (a < b);
}

uint32_t percentile(const uint32_t *sorted, size_t n, unsigned percent)
{
	size_t rank = (n * percent + 99) / 100;

	return sorted[rank ? rank - 1 : 0];
}

static int time_singles(const struct measure *me, const struct way *w,
			uint32_t *samples, size_t max, size_t *ret_n)
{
	uint64_t start = now_ns(), before = start, now = start;
	size_t n = 0;
	int err;

	while (n < max && now - start < me->slice_ns && !is_stopped(me)) {
		err = w->run(w->ctx, 1);
		if (err)
			return err;
		now = now_ns();
		samples[n++] = now - before < UINT32_MAX ?
			       (uint32_t)(now - before) : UINT32_MAX;
		before = now;
	}
	*ret_n = n;
	return n ? 0 : -EINTR;
}

int measure_tail(const struct measure *me, const struct way *w,
		 uint32_t *samples, size_t max, struct tail *ret)
{
	int err = w->begin ? w->begin(w->ctx) : 0, end_err;
	size_t n = 0;

	if (err)
		return err;
	if (w->fixed_n && w->fixed_n < max)
		max = w->fixed_n;
	err = time_singles(me, w, samples, max, &n);
	end_err = w->end ? w->end(w->ctx) : 0;
	if (err || end_err)
		return err ? err : end_err;
	qsort(samples, n, sizeof(*samples), by_number);
	ret->p50_ns = percentile(samples, n, 50);
	ret->p99_ns = percentile(samples, n, 99);
	return 0;
}
