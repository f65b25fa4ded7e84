/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How far a copy is: a line on a terminal, or "N/100" lines for a program.
 */
#ifndef ORIEL_CLI_PROGRESS_H
#define ORIEL_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum progress_kind {
	PROGRESS_OFF = 0,
	PROGRESS_LINE,    /* drawn over and over on a terminal */
	PROGRESS_NUMBERS, /* "N/100\n" whenever N changed */
};

struct progress {
	enum progress_kind kind;
	int fd;
	unsigned width;       /* columns */
	uint64_t start_ns;
	uint64_t drawn_ns;
	uint64_t done_bytes;
	uint64_t total_bytes; /* 0: not known */
	uint64_t done_files;
	uint64_t total_files;
	int last_percent;
};

/* 0..100 by bytes, by files when there are no bytes. */
int progress_percent(const struct progress *p);
/* The line without a newline, at most @p->width - 1 columns, ASCII. */
void progress_line(const struct progress *p, uint64_t now_ns, char *buf,
		   size_t len);
void progress_bytes(struct progress *p, uint64_t n);
void progress_file_done(struct progress *p);
/* Show now, however short ago the last time was. */
void progress_show(struct progress *p);
/* Wipe the line; the last number. */
void progress_end(struct progress *p, bool complete);

#endif
