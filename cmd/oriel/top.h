/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel top: the sessions of a daemon at two moments, and what lies between.
 *
 *   top_take.c    asks the daemon, keeps two samples a session
 *   top_rate.c    what lies between them
 *   top_text.c    a view of them as text: the table, and what fits below
 *   top_detail.c  ... what one session says, in sections
 *   top_json.c    as a JSON object
 *   cmd_top.c     options, keys and the loop; screen.c has the terminal
 */
#ifndef ORIEL_CLI_TOP_H
#define ORIEL_CLI_TOP_H

#include <stdio.h>

#include "cli.h"

#define TOP_NAME_LEN 33
#define TOP_FILE_LEN 200

/* What a session's file is called, or why that is not known. */
struct top_file {
	uint64_t node;
	char name[TOP_FILE_LEN]; /* printable; its end, if it is longer */
};

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
	bool is_silent;                /* it did not answer the last time */
	char name[TOP_NAME_LEN];       /* of the program, printable, or "" */
	struct top_file *files;        /* ORIEL_PEER_FILES; NULL: not asked */
};

struct top {
	struct cli *c;
	const char *share;
	struct oriel_session *s;
	struct top_row *rows; /* by id */
	size_t n;
	uint32_t hidden;      /* sessions that are not ours to see */
	uint64_t only;        /* 0, or the one that is asked for */
	void (*on_fail)(void); /* before a message; NULL: nothing to do */
};

/* ------------------------------------------------------------- top_take.c */

/* Take a sample of all; false after a message. At most @max_asked are asked
 * for statistics (those with the lowest ids, and @selected). */
bool top_take(struct top *t, size_t max_asked, uint64_t selected);
/* Ask what the files are called that the session has mapped most. */
void top_take_names(struct top *t, struct top_row *r);
/* Have latencies taken further, between samples that are far apart. */
void top_keep(struct top *t, size_t max_asked, uint64_t selected);
void top_done(struct top *t);
struct top_row *top_find(const struct top *t, uint64_t id);

/* ------------------------------------------------------------- top_rate.c */

/* Between the two moments at which it published; 0 without two samples. */
double top_seconds(const struct top_row *r);
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
	double p90;
	double p99;
	double p999;
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

/* "id|msgs|hits|bytes|misses", and as they are numbered. */
#define TOP_SORTS "id|msgs|hits|bytes|misses"
enum top_sort {
	TOP_BY_ID,
	TOP_BY_MSGS,
	TOP_BY_HITS,
	TOP_BY_BYTES,
	TOP_BY_MISSES,
	TOP_SORT_COUNT,
};

#define TOP_NARROW 64u /* columns: below, there is room for less */

/* How a sample is looked at. */
struct top_view {
	unsigned columns;
	unsigned rows;     /* 0: as many as it takes */
	unsigned colors;   /* 0, 8, 256 */
	enum top_sort sort;
	uint64_t selected; /* its details are shown; 0: those of the busiest */
	uint32_t interval_ms;
	bool is_live;      /* a title, and a line of keys */
	bool has_keys;
	bool is_paused;
	bool wants_help;
};

/* The rows in the view's order; to be freed. NULL: no memory, or none. */
const struct top_row **top_sorted(const struct top *t,
				  const struct top_view *v);
/* The one whose details are shown; NULL: there is none. */
struct top_row *top_selected(const struct top *t, const struct top_view *v);
/* All of it on @f; no line is wider than the view, nor are there more. */
void top_text(FILE *f, const struct top *t, const struct top_view *v);

/* Sections of top_detail.c, by what is kept when there is little room. */
enum top_section {
	TOP_TITLE,
	TOP_IO,
	TOP_MISS_CAUSES,
	TOP_MAP,
	TOP_LATENCIES,
	TOP_FILES,
	TOP_OPS,
	TOP_SECTIONS,
};
/* Section @what of @r, at most @lines (0: as many as it takes; the map: 4). */
void top_section(FILE *f, const struct top_row *r, const struct top_view *v,
		 enum top_section what, unsigned lines);

/* One object on stdout. */
void top_json(const struct top *t);

#endif
