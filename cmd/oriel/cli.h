/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the subcommands of oriel share: the invocation, the table entry of a
 * subcommand, messages and exit statuses. One thread only.
 */
#ifndef ORIEL_CLI_H
#define ORIEL_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <oriel/oriel.h>

#include "opts.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CLI_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Exit statuses. */
enum {
	CLI_OK = 0,
	CLI_FAILED = 1, /* the operation, or one of many */
	CLI_USAGE = 2,  /* wrong words; trouble for a yes-or-no question */
};

enum cli_when {
	CLI_AUTO = 0,
	CLI_ALWAYS,
	CLI_NEVER,
};

/* Options that every subcommand has which connects. */
struct common {
	int dax;          /* enum oriel_dax_mode */
	int sandbox;      /* enum oriel_sandbox */
	int readonly;
	int verbose;      /* -v: 1 info, 2 debug */
	int color;        /* enum cli_when */
	uint32_t timeout_ms;
	const char *daemon;
	uint64_t window_bytes;
};

struct conn;
struct command;

/* One invocation. */
struct cli {
	const struct command *command;
	int n_args; /* operands */
	char **args;
	struct common common;
	struct conn *conns; /* sessions so far, see conn.c */
	int status;         /* exit status so far */
};

#define CMD_CONNECTS 1u /* has the common options */
#define CMD_RAW 2u      /* parses its words itself (serve) */

/* A subcommand: its words, its help and its code. */
struct command {
	const char *name;
	const char *operands; /* of the synopsis */
	const char *summary;  /* one line, for the list */
	const char *text;     /* paragraphs for --help, or NULL */
	const char *examples; /* indented lines */
	const struct opt *opts;
	size_t opts_size; /* of the struct the options are stored in */
	int min_args;
	int max_args; /* -1: any number */
	unsigned flags;
	/* Returns an exit status, or 0 with cli.status set. */
	int (*run)(struct cli *c, const void *opts);
};

extern const struct command cmd_bench, cmd_cat, cmd_cp, cmd_df, cmd_info,
	cmd_ln, cmd_ls, cmd_mkdir, cmd_mv, cmd_put, cmd_readlink, cmd_rm,
	cmd_serve, cmd_stat, cmd_top, cmd_touch, cmd_truncate,
	cmd_watch;

/* "oriel: CMD: @what: reason" on stderr; the exit status becomes 1. @what may
 * be NULL. */
void cli_error(struct cli *c, const char *what, const char *fmt, ...)
	CLI_PRINTF(3, 4);
/* The same for a negative error of the library; @s NULL: a local call. */
void cli_fail(struct cli *c, const struct oriel_session *s, const char *what,
	      int err);
/* A usage error; returns CLI_USAGE. */
int cli_usage(struct cli *c, const char *fmt, ...) CLI_PRINTF(2, 3);

/* Flush stdout. False, with a message unless a reader went away, when
 * something written to it was lost. */
bool cli_finish_stdout(struct cli *c);
/* Write all to descriptor 1; false (and a message) on error. */
bool cli_write_stdout(struct cli *c, const void *buf, size_t len);

/* A name on stdout; quoted on a terminal when it is odd: names come from
 * daemons and could steer the terminal. */
void cli_print_name(const char *name);

/* True when @fd is a terminal. */
bool cli_is_tty(int fd);
/* Colour on stdout? --color, NO_COLOR, terminal. */
bool cli_color(const struct cli *c);
/* Columns of the terminal on @fd; 80 when unknown. */
unsigned cli_width(int fd);

/* From here on SIGINT, SIGTERM and SIGHUP only set a flag, so that what was
 * created can be removed; a second one kills. */
void cli_catch_signals(void);
/* Called by a handler when a second one kills: only what such may call. */
void cli_before_end(void (*fn)(void));
/* The signal that came, or 0. */
int cli_signal(void);

/* Monotonic nanoseconds. */
uint64_t cli_now_ns(void);

#endif
