/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Copying between shares and the local file system: trees (copy_tree.c), one
 * file's data (copy_data.c), attributes (copy_attr.c).
 */
#ifndef ORIEL_CLI_COPY_H
#define ORIEL_CLI_COPY_H

#include "cli.h"
#include "progress.h"
#include "vfs.h"

struct cp_opts {
	int recursive;
	int preserve;
	int no_clobber;
	int force;
	int show;
	int quiet;
	int no_target_dir;
	const char *progress;
};

/* One end of a copy. */
struct copy_side {
	struct oriel_session *s; /* NULL: local */
	const char *share;       /* for messages; NULL: local */
};

struct copy_job {
	struct cli *c;
	const struct cp_opts *o;
	struct copy_side src;
	struct copy_side dst;
	struct progress progress;
	mode_t umask;
	char *buf;    /* COPY_BUF_BYTES */
	int depth;    /* 0: an operand */
	/* The directory that a recursive copy began by making: it is not
	 * copied into itself. */
	const char *top_path;
	uint64_t top_ino;
};

#define COPY_BUF_BYTES ((size_t)1 << 20)
#define COPY_MAX_DEPTH 1000

/* Copy @src to exactly @dst. Reports what fails, goes on with the rest. */
void copy_path(struct copy_job *j, const char *src, const char *dst);

/* All data of @in to the empty file @out, holes as holes. */
int copy_data(struct copy_job *j, struct vfs_file *in, struct vfs_file *out);

/* Mode, owner and times of @st for @dst as the options want it. @made: @dst is
 * new. */
int copy_attr(const struct copy_job *j, const char *dst,
	      const struct oriel_stat *st, bool made);

/* True when both are the same file of this machine, whatever way they were
 * reached. */
bool copy_same_file(const struct oriel_stat *a, const struct oriel_stat *b);

/* Add up what copying @path will mean. */
void copy_measure(struct copy_job *j, const char *path);

#endif
