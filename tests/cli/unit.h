/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What cmocka wants included, in its order, and a temporary directory.
 */
#ifndef ORIEL_TESTS_CLI_UNIT_H
#define ORIEL_TESTS_CLI_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Run the test in an empty directory, which is removed afterwards. */
static inline int enter_temp_dir(void **state)
{
	char dir[] = "/tmp/oriel-cli-XXXXXX";

	if (!mkdtemp(dir) || chdir(dir) < 0)
		return -1;
	*state = strdup(dir);
	return *state ? 0 : -1;
}

static inline int leave_temp_dir(void **state)
{
	char cmd[128];
	int r;

	r = chdir("/");
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", (char *)*state);
	r |= system(cmd);
	free(*state);
	return r;
}

#define IN_TEMP_DIR(f) \
	cmocka_unit_test_setup_teardown(f, enter_temp_dir, leave_temp_dir)

#endif
