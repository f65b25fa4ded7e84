/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Steps that fail on demand: allocations and system calls that the client makes
 * go through the linker's --wrap to here, where the Nth of them is told to fail.
 * Also counts what was allocated and not freed.
 */
#ifndef ORIEL_TESTS_FAULT_WRAP_H
#define ORIEL_TESTS_FAULT_WRAP_H

#include <stdbool.h>

enum fault_kind {
	FAULT_NONE,
	FAULT_MEMORY, /* malloc and the like */
	FAULT_SYSTEM, /* system calls */
	FAULT_MESSAGE, /* client_call() */
	FAULT_LOST,    /* client_call(), but the daemon did what was asked */
};

/* The @nth step of @kind fails (counted from 1), once, or it and all after. */
void fault_arm(enum fault_kind kind, unsigned nth, int err, bool for_good);
/* Which step failed ("mmap64", "READ"), or NULL: there were fewer. */
const char *fault_disarm(void);
/* Allocated by the client's code and not freed. */
long fault_outstanding(void);

#endif
