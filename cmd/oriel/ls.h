/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What oriel ls lists (cmd_ls.c) and how it looks (ls_print.c).
 */
#ifndef ORIEL_CLI_LS_H
#define ORIEL_CLI_LS_H

#include "cli.h"

struct ls_opts {
	int all;      /* 1: also names with a leading dot, 2: not . and .. */
	int format;   /* 0: by terminal, 'l', '1', 'C' */
	int human;
	int recursive;
	int dir_itself;
	int json;
	int sort;     /* 0: name, 't', 'S', 'U' (as listed) */
	int reverse;
	int numeric;
	int classify;
	int inode;
};

struct ls_entry {
	char *name;
	char *target; /* of a link, for the long format; or NULL */
	struct oriel_stat st;
	bool has_stat;
};

struct ls_list {
	struct ls_entry *v;
	size_t n;
	size_t cap;
};

/* Sort by the options. */
void ls_sort(struct ls_list *l, const struct ls_opts *o);
/* Print the entries as text; @total: with the "total" line of -l. */
void ls_print(const struct cli *c, const struct ls_list *l,
	      const struct ls_opts *o, bool total);
/* Print one object for the directory (or operand) @path. */
void ls_print_json(struct cli *c, const struct ls_list *l, const char *share,
		   const char *path);

/* The widths of @n_cols columns for entries of these widths, filled downwards;
 * false if the line would be longer than @line. For ls_print() and its test. */
bool ls_columns(const unsigned *widths, size_t n, size_t n_cols,
		unsigned line, unsigned *ret_col_widths);

#endif
