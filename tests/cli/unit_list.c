/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names that a hostile daemon lists. The library's directory calls are
 * replaced by ones that say what a test wants.
 */
#include "unit.h"

#include <errno.h>

#include "vfs.h"

static const char *const *script; /* what is listed; ends with NULL */
static int script_end;            /* 0, or the error after the last name */
static int n_open;

int oriel_opendir(struct oriel_session *s, const char *path, unsigned flags,
		  struct oriel_dir **ret)
{
	n_open++;
	*ret = (struct oriel_dir *)&script;
	return 0;
}

int oriel_readdir(struct oriel_dir *d, struct oriel_dirent *ret)
{
	if (!*script)
		return script_end;
	*ret = (struct oriel_dirent){ .name = *script++ };
	return 1;
}

void oriel_closedir(struct oriel_dir *d)
{
	n_open--;
}

static int list(const char *const *names, int end, struct vfs_names *ret)
{
	int r;

	script = names;
	script_end = end;
	r = vfs_list((struct oriel_session *)&script, "dir", ret);
	assert_int_equal(n_open, 0);
	return r;
}

static void sorted_without_dots(void **state)
{
	static const char *const names[] = { "b", ".", "a", "..", "\377",
					     "...", NULL };
	struct vfs_names got;

	assert_int_equal(list(names, 0, &got), 0);
	assert_int_equal(got.n, 4);
	assert_string_equal(got.names[0], "...");
	assert_string_equal(got.names[1], "a");
	assert_string_equal(got.names[2], "b");
	assert_string_equal(got.names[3], "\377");
	vfs_names_done(&got);
	assert_int_equal(got.n, 0);
}

static void names_that_lead_out_are_refused(void **state)
{
	static const char *const bad[][3] = {
		{ "a", "../evil", NULL },
		{ "a", "/etc/passwd", NULL },
		{ "a", "b/c", NULL },
		{ "a", "", NULL },
		{ "a", "../..", NULL },
	};
	struct vfs_names got = { .n = 77 };

	for (size_t i = 0; i < 5; i++)
		assert_int_equal(list(bad[i], 0, &got), -EPROTO);
	/* Untouched on failure. */
	assert_int_equal(got.n, 77);
}

static void an_error_in_the_middle_is_the_result(void **state)
{
	static const char *const names[] = { "a", "b", NULL };
	struct vfs_names got;

	assert_int_equal(list(names, -EIO, &got), -EIO);
}

static void an_empty_directory(void **state)
{
	static const char *const names[] = { ".", "..", NULL };
	struct vfs_names got;

	assert_int_equal(list(names, 0, &got), 0);
	assert_int_equal(got.n, 0);
	vfs_names_done(&got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sorted_without_dots),
		cmocka_unit_test(names_that_lead_out_are_refused),
		cmocka_unit_test(an_error_in_the_middle_is_the_result),
		cmocka_unit_test(an_empty_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
