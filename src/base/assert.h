/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Assertions on our own invariants: always on, cheap. Never used on anything a
 * peer, the user or the system decides: those get an error.
 */
#ifndef ORIEL_BASE_ASSERT_H
#define ORIEL_BASE_ASSERT_H

#include "base/util.h"

/* Write the failed condition to stderr and abort. Does not return. */
void oriel__assert_failed(const char *cond, const char *file, int line)
	__attribute__((noreturn, cold));

#define oriel_assert(cond)                                                 \
	do {                                                               \
		if (ORIEL_UNLIKELY(!(cond)))                               \
			oriel__assert_failed(#cond, __FILE__, __LINE__);   \
	} while (0)

/* Checks too dear for a hot path: only with -Dbuildtype=debug (no NDEBUG). */
#ifdef NDEBUG
#define oriel_debug_assert(cond) ((void)sizeof(cond))
#else
#define oriel_debug_assert(cond) oriel_assert(cond)
#endif

#endif
