/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel top: the sessions of a daemon at two moments, and what lies between.
 *
 *   top_take.c    asks the daemon, keeps two samples a session
 *   top_text.c    one sample as text, with the window as a picture of heat
 *   top_json.c    ... as a JSON object
 *   cmd_top.c     options, the terminal, and the loop
 */
#ifndef ORIEL_CLI_TOP_H
#define ORIEL_CLI_TOP_H

#include <stdio.h>

#include "cli.h"

#define TOP_NAME_LEN 33

/* One session. */
struct top_row {
	struct oriel_peer peer;
	struct oriel_peer last_peer;   /* of the sample before; id 0: none */
	struct oriel_peer_stats *now;  /* NULL: nothing is known of it */
	struct oriel_peer_stats *last; /* NULL: none */
	uint64_t taken_ns;             /* when peer was */
	uint64_t last_ns;
	uint64_t active_ns;            /* when it last did something, as far as
					  was seen */
	uint32_t asked;
	char name[TOP_NAME_LEN];       /* of the program, printable, or "" */
};

struct top {
	struct cli *c;
	const char *share;
	struct oriel_session *s;
	struct top_row *rows; /* by id */
	size_t n;
	uint32_t hidden;      /* sessions that are not ours to see */
	uint64_t only;        /* 0, or the one that is asked for */
};

/* ------------------------------------------------------------- top_take.c */

/* Take a sample of all; false after a message. At most @max_asked are asked
 * for statistics (those with the lowest ids, and @selected). */
bool top_take(struct top *t, size_t max_asked, uint64_t selected);
/* Have latencies taken further, between samples that are far apart. */
void top_keep(struct top *t, size_t max_asked, uint64_t selected);
void top_done(struct top *t);
const struct top_row *top_find(const struct top *t, uint64_t id);

/* A counter's growth a second; 0 without two samples. */
double top_rate(const struct top_row *r, enum oriel_peer_counter what);
double top_miss_rate(const struct top_row *r, enum oriel_miss what);
double top_request_rate(const struct top_row *r);
double top_op_rate(const struct top_row *r, unsigned opcode);
/* Hits among all steps between the samples, percent; negative: there were no
 * steps. */
double top_hit_percent(const struct top_row *r);

/* Of the messages between the samples; nanoseconds. */
struct top_latency {
	uint64_t n;
	double p50;
	double p99;
	double max; /* the upper end of the bucket it is in */
};
struct top_latency top_latency_of(const struct top_row *r,
				  enum oriel_latency what);

/* "liboriel", "guest", "handshake", "foreign client". */
const char *top_kind(const struct oriel_peer *p);
/* "root", "1000", "?". */
const char *top_user(const struct oriel_peer *p, char *buf, size_t len);
/* Seconds for which its statistics have not been renewed, or nothing was done;
 * 0: they have been, and it was. */
uint64_t top_idle_s(const struct top_row *r);

/* ------------------------------------------------------------ text, JSON */

/* All of it on @f; no line is wider than @columns. */
void top_text(FILE *f, const struct top *t, unsigned columns, bool color);
/* One object on stdout. */
void top_json(const struct top *t);

#endif
