/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The benchmark suite: contestants of one match run in turns (A B C A B C ...)
 * in one process, so that whatever else the machine does hits all of them; what
 * is reported is the median over the rounds, and ratios are taken within a
 * round. See bench/README.md for what the cases mean.
 *
 *   suite.c    options, order of things
 *   harness.c  a match; rounds and statistics are cmd/oriel/measure.c
 *   report.c   JSON, tables, facts about the machine
 *   fixture.c  directories, files, sessions, the daemon of QEMU
 *   window.c   cases served by the window: read, overwrite
 *   touch.c    ranges not mapped yet: first touch, cold, first write
 *   waits.c    a borrowed pointer, two threads, the first after idleness
 *   message.c  cases served by messages: stat, open, append, read, readdir
 *
 * Thread rule: one thread.
 */
#ifndef ORIEL_BENCH_HARNESS_H
#define ORIEL_BENCH_HARNESS_H

#include <oriel/oriel.h>

#include "measure.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define KIB(n) ((size_t)(n) << 10)
#define MIB(n) ((size_t)(n) << 20)

/* ------------------------------------------------------------- options */

struct suite {
	const char *disk_dir; /* parent of the scratch directory */
	const char *shm_dir;
	const char *out_dir;
	const char *only;     /* NULL, or the one case to run */
	bool one;             /* disk_dir only, large pieces only */
	uint64_t end_ns;      /* 0, or no case begins after it */
	unsigned left_out;    /* cases that did not begin */
	unsigned rounds;
	uint64_t slice_ns;
	size_t file_bytes;    /* the largest working set */
	struct report *report;
};

/* ------------------------------------------------------------- matches */

/* What contestants have in common. Strings live as long as the report. */
struct match {
	const char *name;
	const char *fs;      /* "ext4" */
	const char *folios;  /* how the file lies in the page cache */
	size_t set_bytes;    /* 0: does not matter */
	unsigned buf_off;    /* of the buffer from a page, bytes */
	bool has_buf;
	struct way ways[WAYS_MAX]; /* [0] is ours, [1] the system call */
	unsigned n_ways;
};

struct match_result {
	struct match match; /* ctx pointers are void by now */
	struct result ways[WAYS_MAX];
	unsigned rounds;
};

/* Is the time over? The first time it is, @what and @where go to the report. */
bool is_over(struct suite *su, const char *what, const char *where);
/* Run @m and hand what came out to the report. 0, or the first error. */
int match_run(struct suite *su, const struct match *m);

/* -------------------------------------------------------------- report */

struct report;

int report_new(const struct suite *su, struct report **ret);
void report_add(struct report *r, const struct match_result *mr);
/* A sentence that belongs under the tables. */
void report_note(struct report *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Write out_dir/results.json only. */
int report_save(const struct report *r);
/* Write out_dir/results.json and out_dir/table.md, and the latter to stdout. */
int report_write(struct report *r);
void report_free(struct report *r);

/* ------------------------------------------------------------- fixture */

enum layout {
	LAYOUT_HUGE,  /* written in 2 MiB pieces: folios may be as large */
	LAYOUT_SMALL, /* written in 4 KiB pieces */
};

/* A directory with one file on one file system, shared by every case there. */
struct place {
	struct suite *su;
	char dir[256];
	char file[300];
	char fs[16];
	const char *folios; /* for struct match */
	enum layout layout;
	size_t bytes;       /* of the file */
	struct oriel_session *s;
	struct oriel_file *f;
	pid_t daemon;
	int fd;             /* the file, by the kernel */
	unsigned char *map; /* the file, by mmap(2) */
	unsigned char *buf; /* 1 MiB and a page, page-aligned */
};

int place_open(struct suite *su, const char *parent, enum layout layout,
	       struct place *ret);
void place_close(struct place *p);
/* Write @bytes in pieces of that layout, and to the disk. */
int place_fill(int fd, size_t bytes, enum layout layout);
/* Connect to a directory; *@ret_daemon for struct way. */
int connect_to(const char *share, enum oriel_dax_mode dax,
	       struct oriel_session **ret, pid_t *ret_daemon);

/* The C virtiofsd of QEMU on @dir. -ENOENT: not installed; -EPERM: not root. */
struct virtiofsd {
	char socket[300];
	pid_t pid;    /* the one that serves */
	pid_t parent; /* the one that we started */
};
int virtiofsd_start(const char *dir, struct virtiofsd *ret);
void virtiofsd_stop(struct virtiofsd *v);

/* --------------------------------------------------------------- cases */

int window_cases(struct place *p);
int touch_cases(struct place *p);
int wait_cases(struct place *p);
int message_cases(struct place *p);

static inline bool is_wanted(const struct suite *su, const char *name)
{
	const char *a = su->only;

	if (!a)
		return true;
	while (*a && *a == *name) {
		a++;
		name++;
	}
	return *a == *name;
}

#endif
