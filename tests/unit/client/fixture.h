/* SPDX-License-Identifier: BSD-2-Clause */
/* A directory, an orield for it, and a session: for a group of cmocka tests. */
#ifndef ORIEL_TESTS_CLIENT_FIXTURE_H
#define ORIEL_TESTS_CLIENT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/support.h"

/* For the tests of a group, one after the other. */
static char dir[300];
static struct oriel_session *s;

#define ok(expr) equals(expr, 0)
#define equals(expr, want)                                                 \
	do {                                                               \
		long long got_ = (long long)(expr);                        \
		long long want_ = (long long)(want);                       \
		if (got_ != want_)                                         \
			print_error("%s: %lld, expected %lld; %s\n", #expr, \
				    got_, want_, oriel_session_error(s));  \
		assert_true(got_ == want_);                                \
	} while (0)

static inline int fixture_setup(void **state)
{
	umask(0);
	scratch_make(dir, sizeof(dir));
	s = test_connect(dir, NULL);
	return 0;
}

static inline int fixture_teardown(void **state)
{
	oriel_disconnect(s);
	scratch_remove(dir);
	return 0;
}

static inline struct oriel_file *must_open(struct oriel_session *on,
					   const char *path, int flags)
{
	struct oriel_file *f = NULL;
	int err = oriel_open(on, path, flags, 0644, &f);

	must(err == 0, "open %s: %d, %s", path, err, oriel_session_error(on));
	return f;
}

static inline int try_open(const char *path, int flags)
{
	struct oriel_file *f = NULL;
	int err = oriel_open(s, path, flags, 0644, &f);

	if (err == 0)
		oriel_close(f);
	else
		must(!f, "output touched");
	return err;
}

static inline struct oriel_stat must_stat(const char *path, unsigned flags)
{
	struct oriel_stat st;
	int err = oriel_stat(s, path, flags, &st);

	must(err == 0, "stat %s: %d, %s", path, err, oriel_session_error(s));
	return st;
}

static inline struct oriel_info must_info(struct oriel_session *of)
{
	struct oriel_info i = { .size = sizeof(i) };

	must(oriel_info(of, &i) == 0, "info");
	return i;
}

#endif
