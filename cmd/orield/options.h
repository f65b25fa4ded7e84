/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command line, inside.
 *
 *   options.c        getopt_long(3), checks of the whole
 *   options_table.c  one row an option; what is refused, and why
 *   options_set.c    rows whose value is more than a word or a number
 *   options_ids.c    ranges of user and group numbers
 *   options_xattrmap.c  rules for names of extended attributes
 *   options_share.c  several shares, --share tag=...,path=...
 *   options_o.c      -o a,b=c of the older virtiofsd: spellings of the rows
 *   options_help.c   what is printed
 *
 * A setter fills @err only if it has more to say than that the value is none of
 * the row's metavar. All of it runs before any thread.
 */
#ifndef ORIELD_OPTIONS_H
#define ORIELD_OPTIONS_H

#include <stddef.h>

#include "orield.h"

typedef int orield_set_fn(struct orield_options *opt, const char *arg,
			  struct orield_error *err);

enum option_kind {
	OPTION_SET,    /* set() */
	OPTION_TRUE,   /* no argument; the bool at "at" */
	OPTION_FALSE,
	OPTION_WORD,   /* the words of metavar, in the enum's order, at "at" */
	OPTION_TEXT,   /* the argument itself, not empty */
	OPTION_FD,     /* the int at "at" */
	OPTION_NOTHING,/* accepted: it is what we do anyway */
	OPTION_PRINT,  /* handled by options_help.c */
};

struct option_row {
	const char *name;
	const char *metavar; /* NULL: takes no argument */
	enum option_kind kind;
	size_t at;
	orield_set_fn *set;
	const char *help;
	const char *group; /* heading printed before this row */
};

extern const struct option_row option_rows[];
extern const unsigned option_n_rows;

const struct option_row *option_find(const char *name, size_t len);
/* Carry out @row. The bad value is named in @err. */
ORIEL_MUST_CHECK int option_apply(const struct option_row *row,
				  struct orield_options *opt, const char *arg,
				  struct orield_error *err);
/* What is said about an option of virtiofsd that we do not have, or NULL. */
const char *option_refused(const char *name, size_t len);

int option_parse_u64(const char *arg, uint64_t max, uint64_t *ret);
/* Numbers between colons, "1000:0:1" or ":1000:0:1:": exactly @n. */
int option_parse_numbers(const char *arg, unsigned n, uint32_t *ret);
/* Index of @arg (@len bytes) in "a|b|c", or -EINVAL. */
int option_word_index(const char *words, const char *arg, size_t len);

orield_set_fn option_set_tag, option_set_window, option_set_poll_us;
orield_set_fn option_set_guest_window;
orield_set_fn option_set_request_queues, option_set_pool_size;
orield_set_fn option_set_rlimit_nofile, option_set_log_level;
orield_set_fn option_set_modcaps, option_set_debug, option_set_cache;
orield_set_fn option_set_uid_map, option_set_gid_map;
orield_set_fn option_set_translate_uid, option_set_translate_gid;
orield_set_fn option_set_passthrough, option_set_notify;
orield_set_fn option_set_xattrmap;
orield_set_fn option_set_o;
orield_set_fn option_set_share, option_set_max_clients;

/* Carry out what was kept of --share; the rest must have been read. */
ORIEL_MUST_CHECK int option_make_shares(struct orield_options *whole,
					struct orield_error *err);
/* What the options of one share say together. */
ORIEL_MUST_CHECK int option_check_share(struct orield_options *opt,
					struct orield_error *err);
/* How many sockets systemd listens on for us, or -EINVAL. */
ORIEL_MUST_CHECK int option_systemd_sockets(struct orield_error *err);
/* Where systemd.socket(5) puts the first of its descriptors. */
#define OPTION_LISTEN_FDS 3

/* Access lists hold numbers of users that nobody translates: a first rule that
 * refuses and hides them. */
ORIEL_MUST_CHECK int option_hide_acls(struct orield_options *opt);

/* True: @name was --help or the like; printed. */
bool option_print(const char *name);

#endif
