/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses: where the text is split, what is local; path text. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "addr.h"

/* NULL share: local. */
static void check_prev(const char *text, const char *prev, bool local,
		       const char *share, const char *path)
{
	struct addr a;

	assert_int_equal(addr_parse(text, prev, local, &a), 0);
	if (share)
		assert_string_equal(a.share, share);
	else
		assert_null(a.share);
	assert_string_equal(a.path, path);
	assert_ptr_equal(a.text, text);
	addr_done(&a);
}

static void check(const char *text, bool local, const char *share,
		  const char *path)
{
	check_prev(text, NULL, local, share, path);
}

static void make_socket(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(sa.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
}

static void shares_that_exist(void **state)
{
	assert_int_equal(mkdir("dir", 0700), 0);
	make_socket("sock");
	check("dir:a/b", true, "dir", "a/b");
	check("./dir:a", true, "./dir", "a");
	check("sock:/x:y", true, "sock", "/x:y");
	check("dir:", true, "dir", "/");
	check("dir", false, "dir", "/");
	check("dir/:x", true, "dir/", "x");
}

static void local_paths(void **state)
{
	assert_int_equal(mkdir("dir", 0700), 0);
	close(open("file", O_CREAT | O_WRONLY, 0600));
	check("file", true, NULL, "file");
	check("dir", true, NULL, "dir");
	check("./file:x", true, NULL, "./file:x");
	check("../nothing:x", true, NULL, "../nothing:x");
	check("local:dir:x", true, NULL, "dir:x");
	check("local:", true, NULL, "");
	/* Where only shares make sense they are shares. */
	check("./file:x", false, "./file", "x");
	check("local:dir", false, "local", "dir");
}

static void shares_that_do_not_exist(void **state)
{
	/* A typing error must not create a local file. */
	check("/no/such:x", true, "/no/such", "x");
	check("nothing:a:b", true, "nothing", "a:b");
	check("nothing", false, "nothing", "/");
}

static void share_names_with_a_colon(void **state)
{
	assert_int_equal(mkdir("a:b", 0700), 0);
	check("a:b:c", true, "a:b", "c");
	check("a:b", false, "a:b", "/");
	check("./a:b:c:d", true, "./a:b", "c:d");
	assert_int_equal(mkdir("a", 0700), 0);
	check("a:b:c", true, "a", "b:c");
}

static void share_of_the_operand_before(void **state)
{
	struct addr a;

	check_prev(":x", "before", true, "before", "x");
	check_prev(":", "before", true, "before", "/");
	assert_int_equal(addr_parse(":x", NULL, true, &a), -EINVAL);
}

static void bare_means_no_path(void **state)
{
	struct addr a;

	assert_int_equal(mkdir("dir", 0700), 0);
	assert_int_equal(addr_parse("dir", NULL, false, &a), 0);
	assert_true(a.bare);
	addr_done(&a);
	assert_int_equal(addr_parse("dir:/", NULL, false, &a), 0);
	assert_false(a.bare);
	addr_done(&a);
}

static void check_text(char *got, const char *want)
{
	assert_non_null(got);
	assert_string_equal(got, want);
	free(got);
}

static void path_text(void **state)
{
	check_text(path_join("a", "b"), "a/b");
	check_text(path_join("a/", "b"), "a/b");
	check_text(path_join("", "b"), "b");
	check_text(path_join("/", "b"), "/b");
	check_text(path_base("a/b"), "b");
	check_text(path_base("a/b//"), "b");
	check_text(path_base("b"), "b");
	check_text(path_base("/"), "");
	check_text(path_base(""), "");
	check_text(path_dir("a/b/c"), "a/b");
	check_text(path_dir("a//b/"), "a");
	check_text(path_dir("/a"), "/");
	check_text(path_dir("a"), "");
	check_text(addr_text("s", "p"), "s:p");
	check_text(addr_text(NULL, "p"), "p");
}

static void roots(void **state)
{
	assert_true(path_is_root(""));
	assert_true(path_is_root("/"));
	assert_true(path_is_root("."));
	assert_true(path_is_root("././/./"));
	assert_false(path_is_root("a"));
	assert_false(path_is_root("./a"));
	assert_false(path_is_root(".."));
	assert_false(path_is_root(".a"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_TEMP_DIR(shares_that_exist),
		IN_TEMP_DIR(local_paths),
		IN_TEMP_DIR(shares_that_do_not_exist),
		IN_TEMP_DIR(share_names_with_a_colon),
		cmocka_unit_test(share_of_the_operand_before),
		IN_TEMP_DIR(bare_means_no_path),
		cmocka_unit_test(path_text),
		cmocka_unit_test(roots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
