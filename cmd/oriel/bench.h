/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel bench: the operations that are measured (bench_ops.c), setting up,
 * rounds and cleaning up (cmd_bench.c), the report (bench_print.c).
 */
#ifndef ORIEL_CLI_BENCH_H
#define ORIEL_CLI_BENCH_H

#include "cli.h"

#define BENCH_ROUNDS 7
#define BENCH_BUF_BYTES ((size_t)1 << 20)
#define BENCH_SAMPLES ((size_t)1 << 16)
#define BENCH_APPEND_BYTES ((off_t)16 << 20) /* then start over */

/* What is measured on, by both ways. */
struct bench {
	struct cli *c;
	const char *share;
	struct oriel_session *s;
	char *path;            /* the data file in the share */
	char *append_path;     /* NULL: nothing is written */
	char *native_path;     /* NULL: no local view of the share */
	char *native_append;
	struct oriel_file *file;
	struct oriel_file *append;
	int fd;                /* -1: none */
	int append_fd;
	off_t append_off;
	off_t native_append_off;
	uint64_t size;         /* of the data file, bytes */
	uint64_t seq_off;
	uint64_t random;       /* state of the generator */
	char *buf;
	uint64_t slice_ns;
	uint32_t *samples;     /* BENCH_SAMPLES, nanoseconds */
};

/* One operation; 0 or -errno. */
typedef int bench_fn(struct bench *b);

struct bench_op {
	const char *key;   /* in JSON */
	const char *text;
	size_t bytes;      /* moved by one; 0: none */
	bool writes;
	bench_fn *oriel;
	bench_fn *native;
};

extern const struct bench_op bench_ops[];
extern const size_t bench_n_ops;

/* What half, and what all but one in a hundred, stayed under. */
struct bench_tail {
	double p50_ns;
	double p99_ns;
};

/* What came out for one operation. */
struct bench_result {
	const struct bench_op *op;
	int err;           /* not 0: it failed so */
	bool skipped;      /* would write to a file that is not ours */
	bool has_native;
	double ns;         /* one operation, median of the rounds */
	double native_ns;
	double speed;      /* native_ns / ns, median of the rounds' */
	/* Of single operations, with the cost of reading the clock. */
	struct bench_tail tail;
	struct bench_tail native_tail;
};

/* Nanoseconds for one @fn, over @slice_ns. */
int bench_slice(struct bench *b, bench_fn *fn, double *ret_ns);
/* Times single operations over @slice_ns or BENCH_SAMPLES of them. */
int bench_latencies(struct bench *b, bench_fn *fn, struct bench_tail *ret);
/* The value that @percent of @n (at least 1) sorted values do not exceed. */
uint32_t bench_percentile(const uint32_t *sorted, size_t n, unsigned percent);
/* Middle of @n (1..BENCH_ROUNDS) values, which are sorted. */
double bench_median(double *v, size_t n);

struct bench_report {
	const struct bench *b;
	const struct bench_result *results;
	size_t n_results;
	struct oriel_info info;
};

/* A sentence of what the numbers mean. */
void bench_verdict(const struct bench_report *r, char *buf, size_t len);
void bench_print(const struct bench_report *r);
void bench_print_json(struct cli *c, const struct bench_report *r);

#endif
