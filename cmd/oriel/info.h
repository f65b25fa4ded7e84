/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What oriel info collects (cmd_info.c) and how it shows it (info_print.c).
 */
#ifndef ORIEL_CLI_INFO_H
#define ORIEL_CLI_INFO_H

#include "cli.h"

struct info_report {
	const char *share;
	struct oriel_info i;
	char *picture;   /* one character a range; NULL: no window */
	size_t n_ranges;
};

/* A counter or limit: name in JSON, words, place in struct oriel_info. */
struct info_field {
	const char *key;
	const char *text;
	size_t off;
	bool bytes; /* text output: as MiB */
};

void info_print(const struct cli *c, const struct info_report *r);
void info_print_json(struct cli *c, const struct info_report *r);

#endif
