/* SPDX-License-Identifier: BSD-2-Clause */
/* The one place from which the library may end the process: a broken invariant
 * of its own. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

void oriel__assert_failed(const char *cond, const char *file, int line)
{
	fprintf(stderr, "oriel: %s:%d: broken invariant: %s\n", file, line,
		cond);
	abort();
}
