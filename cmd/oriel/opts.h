/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options as tables: one entry an option, stored at an offset of a struct. The
 * same table prints --help. Spelling as GNU: -abc, -sVALUE, -s VALUE,
 * --name=VALUE, --name VALUE, options anywhere before "--".
 */
#ifndef ORIEL_CLI_OPTS_H
#define ORIEL_CLI_OPTS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum opt_kind {
	OPT_END = 0,
	OPT_FLAG,    /* int = value */
	OPT_COUNT,   /* int + 1 for each */
	OPT_STR,     /* const char * */
	OPT_MAYBE,   /* const char *, "" when given without "=VALUE" */
	OPT_SIZE,    /* uint64_t bytes, with suffixes */
	OPT_SECONDS, /* uint32_t milliseconds, from seconds ("1.5") */
	OPT_CHOICE,  /* int = place in @arg, "first|second|..." */
};

struct opt {
	char letter;      /* 0: none */
	const char *name; /* NULL: none */
	enum opt_kind kind;
	size_t off;       /* in the struct */
	int value;        /* of OPT_FLAG */
	const char *arg;  /* its name in the help; the choices of OPT_CHOICE */
	const char *help;
};

/* A table and the struct it fills. */
struct opt_set {
	const struct opt *opts; /* ends with OPT_END; NULL: none */
	void *base;
};

/*
 * Read the options of @argv (without the command's name). Operands are moved,
 * in order, to the front of @argv; returns their number. The first set with a
 * letter or name wins. On failure -EINVAL and a sentence in @err that names the
 * wrong word.
 */
int opts_parse(const struct opt_set *sets, size_t n_sets, int argc,
	       char **argv, char *err, size_t errlen);

/* The "  -x, --name=ARG   help" lines of one table. */
void opts_help(FILE *f, const struct opt *opts);

/* The candidate nearest to @word, or NULL when none is near. */
const char *opts_nearest(const char *word, const char *const *names,
			 size_t n_names);

#endif
