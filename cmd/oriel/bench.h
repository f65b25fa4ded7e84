/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel bench.
 *
 *   cmd_bench.c      options, order of things
 *   bench_scene.c    files to measure on: making, finding, removing them
 *   bench_native.c   the same files past the share
 *   bench_cases.c    what is measured, by the library, by system calls, bare
 *   bench_run.c      measuring it, progress
 *   bench_learn.c    what else the verdict wants to know
 *   bench_verdict.c  what it means, in words
 *   bench_print.c    the report, as text and as JSON
 *   measure.c        rounds and statistics, the benchmark suite's too
 *
 * Thread rule: one thread.
 */
#ifndef ORIEL_CLI_BENCH_H
#define ORIEL_CLI_BENCH_H

#include "cli.h"
#include "measure.h"

#define BENCH_BUF_BYTES ((size_t)1 << 20)
#define BENCH_SAMPLES ((size_t)1 << 16)
#define BENCH_APPEND_BYTES ((off_t)16 << 20) /* then start over */
#define BENCH_NAMES 256u                     /* in the directory listed */
#define BENCH_CASES_MAX 16

/* A file or directory, and where this machine has it. */
struct spot {
	char *share;  /* path in the share; NULL: there is none */
	char *native; /* NULL: out of reach */
};

/* A line on stderr, if that is a terminal. */
struct bench_progress {
	bool on;
	unsigned width;
	const char *text;     /* what is done now, or was last */
	uint64_t begun_ns;
	uint64_t end_ns;      /* expected */
	uint64_t drawn_ns;    /* 0: not yet */
};

/* What is measured on. */
struct bench {
	struct cli *c;
	const char *share;
	const char *native_root; /* NULL: no local view of the share */
	bool native_given;       /* by --native */
	int native_fd;           /* of native_root; -1 */
	struct oriel_session *s;
	pid_t daemon;
	struct spot scratch;  /* directory of ours; .share NULL: none */
	struct spot data;     /* .share NULL: nothing can be read */
	struct spot small;    /* is asked for, and opened if ... */
	bool small_is_file;   /* ... it has 4 KiB at least */
	struct spot append;   /* .share NULL: nothing is written */
	struct spot append_native;
	struct spot names;    /* directory that is listed */
	const char *why_not_write; /* a sentence's end; NULL: we do */
	const char *why_not_read;
	struct oriel_file *file;
	struct oriel_file *grow;
	int fd;               /* of data; -1: none */
	int grow_fd;
	uint64_t size;        /* of data, bytes */
	uint64_t n_names;     /* in the directory, without . and .. */
	char *buf;            /* BENCH_BUF_BYTES */
	uint32_t *samples;    /* BENCH_SAMPLES */
	struct measure me;
	bool want[BENCH_CASES_MAX]; /* cases; some are */
	int dead;             /* why the daemon is not asked any more; 0 */
	char space_text[200]; /* of -ENOSPC; or "" */
	struct bench_progress progress;
};

/* One way of one case at work. */
struct side {
	struct bench *b;
	const struct bench_way *way;
	uint64_t random;
	uint64_t next_off;
	off_t end;                /* of what is appended to */
	struct oriel_mapping *map;
	char *mem;                /* the whole file, mapped */
	struct oriel_session *s;  /* of first touches, as is ... */
	struct oriel_file *file;
	size_t touched;           /* ... ranges so far */
	size_t ranges;
	size_t range_bytes;
};

#define NEEDS_DATA 1u
#define NEEDS_WRITE 2u
#define NEEDS_WINDOW 4u
#define NEEDS_SMALL 8u

/* begin, run and end of struct way; the context is a struct side. */
struct bench_way {
	int (*begin)(void *ctx);
	int (*run)(void *ctx, size_t n);
	int (*end)(void *ctx);
};

/* By a session that is new each time, which goes through the file once. */
enum bench_once {
	ONCE_NOT = 0,
	ONCE_A_RANGE, /* of the window, one operation */
	ONCE_A_PIECE, /* of .bytes */
};

struct bench_case {
	const char *key;    /* in JSON */
	const char *text;
	size_t bytes;       /* moved by one; 0: none */
	unsigned needs;     /* NEEDS_* */
	enum bench_once once;
	struct {
		double fast_ns; /* at most; 0: not judged */
		double slow_ns; /* at least */
	} alone;            /* what it is called with nothing to compare with */
	struct bench_way oriel;
	struct bench_way native; /* .run NULL: there is no such thing */
	struct bench_way bare;   /* memcpy() out of the window */
};

extern const struct bench_case bench_cases[];
extern const size_t bench_n_cases;

enum bench_side_kind {
	BENCH_ORIEL = 0,
	BENCH_NATIVE,
	BENCH_BARE,
	BENCH_SIDES,
};

/* What came out for one case. */
struct bench_result {
	const struct bench_case *bc;
	int err;            /* not 0: it failed so */
	const char *skip;   /* not NULL: not measured, and why */
	bool has_native;
	bool has_bare;
	struct result r[BENCH_SIDES]; /* r[0].speed only if has_native,
					 extra_ns only if has_bare */
	struct tail tail[BENCH_SIDES]; /* without the bare one */
	/* of the session meanwhile */
	uint64_t requests;
	uint64_t sleeps;
	uint64_t window_bytes;  /* read */
	uint64_t held_bytes;
	uint64_t message_bytes;
};

/* Files to measure on, at @path in the share: they are made, @size bytes, or
 * found. -ENODATA: too short; -EINVAL: neither file nor directory; -EXDEV: what
 * --native names is something else; -ENOSPC: b->space_text. */
int bench_scene_open(struct bench *b, const char *path, uint64_t size);
/* Remove what was made, and only that; frees everything of the scene. */
void bench_scene_close(struct bench *b);

/* No symbolic link in the share leads out of it. A descriptor, or -errno. */
int bench_native_open(const struct bench *b, const struct spot *sp, int flags);
int bench_native_remove(const struct bench *b, const struct spot *sp,
			bool is_dir);
/* 0 if @fd is what b->file is; -EXDEV. */
int bench_native_same(struct bench *b, int fd);

/* The session is no good any more. */
bool bench_is_dead(int err);

/* On a terminal: @text is done now; NULL wipes the line. */
void bench_say(struct bench *b, const char *text);

/* From here on bench_guarded() is one. */
void bench_catch_faults(void);
/* What @fn returns, or -EIO if it touched what was truncated meanwhile; it must
 * keep what has to be given back in @ctx. */
int bench_guarded(int (*fn)(void *ctx, size_t n), void *ctx, size_t n);

/* Measure the wanted cases within about @seconds; @ret has bench_n_cases, of
 * which *@ret_n are filled. Not 0: the session failed, or a signal came. */
int bench_run_cases(struct bench *b, double seconds, struct bench_result *ret,
		    size_t *ret_n);

/* ------------------------------------------------------------- verdict */

/* What the verdict is made of besides the results. */
struct bench_facts {
	struct oriel_info info; /* at the end */
	bool asked_never;       /* --dax=never */
	bool window_given;      /* --window */
	int huge_percent;       /* of the window's pages of the file that are
				   mapped by huge pages; -1: not known */
	unsigned cpus;          /* we may run on */
	uint64_t size;          /* of the file, bytes */
	const char *why_not_write;
	const char *why_not_read;
};

/* Find out what bench_judge() wants to know, while the session lives. */
int bench_learn(struct bench *b, struct bench_facts *ret);

struct bench_report {
	const struct bench *b;
	const struct bench_result *results;
	size_t n_results;
	struct bench_facts facts;
};

#define BENCH_REASONS_MAX 10
#define BENCH_SAY_LEN 600

enum bench_grade {
	BENCH_UNJUDGED = 0, /* failed, skipped, nothing to compare with */
	BENCH_FAST,
	BENCH_FAIR,
	BENCH_SLOW,
	BENCH_GRADES,
};

/* What limits, the numbers that say so, and what to do about it. */
struct bench_reason {
	const char *code; /* in JSON */
	char text[BENCH_SAY_LEN];
};

struct bench_verdict {
	char headline[BENCH_SAY_LEN];
	enum bench_grade grades[BENCH_CASES_MAX]; /* of the results */
	unsigned n_reasons;
	struct bench_reason reasons[BENCH_REASONS_MAX];
};

/* "fast", "fair", "slow". */
const char *bench_grade_name(enum bench_grade grade);
/* Depends on nothing but @r. */
void bench_judge(const struct bench_report *r, struct bench_verdict *ret);

void bench_print(const struct bench_report *r, const struct bench_verdict *v);
void bench_print_json(struct cli *c, const struct bench_report *r,
		      const struct bench_verdict *v);

#endif
