/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rounds and what is made of them. The number of operations of a slice is
 * found once for each contestant and then kept, so that every round compares
 * the same work. Processor time is that of the whole process, and of the
 * daemon by its own clock: a daemon that polls is charged for it.
 */
#include "harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

/* How many operations fill a slice? Also warms up. */
static int calibrate(const struct suite *su, const struct way *w, size_t *ret_n)
{
	struct slice sl;
	size_t n = 8;
	double want;
	int err;

	if (w->fixed_n) {
		*ret_n = w->fixed_n;
		return slice_run(w, w->fixed_n, &sl);
	}
	for (;;) {
		err = slice_run(w, n, &sl);
		if (err)
			return err;
		if (sl.ns * (double)n >= (double)su->slice_ns / 4)
			break;
		n *= 4;
	}
	want = (double)su->slice_ns / sl.ns;
	*ret_n = want < 4 ? 4 : (size_t)want;
	return 0;
}

/* ------------------------------------------------------------- a match */

/* Of one match: [way][round]. */
struct samples {
	double ns[WAYS_MAX][ROUNDS_MAX];
	double cpu[WAYS_MAX];    /* sums */
	double daemon[WAYS_MAX];
	size_t n[WAYS_MAX];
};

static void summarize(const struct match *m, const struct samples *sa,
		      unsigned rounds, unsigned i, struct result *ret)
{
	double v[ROUNDS_MAX], ratio[ROUNDS_MAX], extra[ROUNDS_MAX];
	unsigned base = m->n_ways > 2 ? 2 : 0, k;

	for (k = 0; k < rounds; k++) {
		v[k] = sa->ns[i][k];
		ratio[k] = sa->ns[m->n_ways > 1][k] / v[k];
		extra[k] = v[k] - sa->ns[base][k];
	}
	ret->way = m->ways[i].name;
	ret->p10 = quantile(v, rounds, 0.1);
	ret->ns = quantile(v, rounds, 0.5);
	ret->p90 = quantile(v, rounds, 0.9);
	ret->speed = quantile(ratio, rounds, 0.5);
	ret->extra_ns = quantile(extra, rounds, 0.5);
	ret->cpu_us = sa->cpu[i] / rounds / 1000;
	ret->daemon_us = sa->daemon[i] / rounds / 1000;
	ret->n = sa->n[i];
}

static int play(struct suite *su, const struct match *m, struct samples *sa)
{
	struct slice sl;
	unsigned i, k;
	int err;

	for (i = 0; i < m->n_ways; i++) {
		err = calibrate(su, &m->ways[i], &sa->n[i]);
		if (err)
			return err;
	}
	for (k = 0; k < su->rounds; k++) {
		for (i = 0; i < m->n_ways; i++) {
			err = slice_run(&m->ways[i], sa->n[i], &sl);
			if (err)
				return err;
			sa->ns[i][k] = sl.ns;
			sa->cpu[i] += sl.cpu_ns;
			sa->daemon[i] += sl.daemon_ns;
		}
	}
	return 0;
}

int match_run(struct suite *su, const struct match *m)
{
	struct samples *sa;
	struct match_result mr = { .match = *m, .rounds = su->rounds };
	unsigned i;
	int err;

	if (!is_wanted(su, m->name))
		return 0;
	sa = calloc(1, sizeof(*sa));
	if (!sa)
		return -ENOMEM;
	err = play(su, m, sa);
	if (err) {
		fprintf(stderr, "bench: %s on %s: %s\n", m->name, m->fs,
			oriel_strerror(err));
		free(sa);
		return err;
	}
	for (i = 0; i < m->n_ways; i++)
		summarize(m, sa, su->rounds, i, &mr.ways[i]);
	report_add(su->report, &mr);
	free(sa);
	return 0;
}
