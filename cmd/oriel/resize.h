/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The SIZE of oriel truncate: N, +N, -N, <N, >N, /N, %N.
 */
#ifndef ORIEL_CLI_RESIZE_H
#define ORIEL_CLI_RESIZE_H

#include <stdint.h>
#include <sys/types.h>

struct resize {
	char op; /* '=' and the signs above */
	uint64_t bytes;
};

/* -EINVAL, -ERANGE. */
int resize_parse(const char *text, struct resize *ret);
/* The size that @old bytes become; -EFBIG. */
int resize_apply(const struct resize *z, uint64_t old, off_t *ret);

#endif
