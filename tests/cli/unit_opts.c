/* SPDX-License-Identifier: BSD-2-Clause */
/* Option tables: what is understood, what is refused and in which words. */
#include "unit.h"

#include "opts.h"

struct values {
	int flag;
	int mode;
	int count;
	int choice;
	uint32_t ms;
	uint64_t size;
	const char *text;
	const char *maybe;
};

#define AT(field) offsetof(struct values, field)

static const struct opt table[] = {
	{ 'f', "flag", OPT_FLAG, AT(flag), 1, NULL, "a flag" },
	{ 'l', NULL, OPT_FLAG, AT(mode), 'l', NULL, "sets a value" },
	{ '1', NULL, OPT_FLAG, AT(mode), '1', NULL, "sets another" },
	{ 'v', "verbose", OPT_COUNT, AT(count), 0, NULL, "counts" },
	{ 's', "size", OPT_SIZE, AT(size), 0, "SIZE", "bytes" },
	{ 0, "timeout", OPT_SECONDS, AT(ms), 0, "SECONDS", "time" },
	{ 't', "text", OPT_STR, AT(text), 0, "TEXT", "text" },
	{ 0, "color", OPT_CHOICE, AT(choice), 0, "auto|always|never", "c" },
	{ 0, "progress", OPT_MAYBE, AT(maybe), 0, "FD", "perhaps" },
	{ 0 },
};

static char err[256];

static int parse(struct values *v, char **argv)
{
	struct opt_set sets[] = { { NULL, NULL }, { table, v } };
	int argc = 0;

	while (argv[argc])
		argc++;
	memset(v, 0, sizeof(*v));
	err[0] = 0;
	return opts_parse(sets, 2, argc, argv, err, sizeof(err));
}

/* getopt_long() may reorder the array but leaves the strings alone. */
#define PARSE(v, ...) \
	parse(v, (char **)(uintptr_t)(const char *[]){ __VA_ARGS__, NULL })

static void all_spellings_of_a_value(void **state)
{
	struct values v;

	assert_int_equal(PARSE(&v, "-s64K"), 0);
	assert_int_equal(v.size, 65536);
	assert_int_equal(PARSE(&v, "-s", "1MB"), 0);
	assert_int_equal(v.size, 1000000);
	assert_int_equal(PARSE(&v, "--size=3"), 0);
	assert_int_equal(v.size, 3);
	assert_int_equal(PARSE(&v, "--size", "2KiB"), 0);
	assert_int_equal(v.size, 2048);
	assert_int_equal(PARSE(&v, "-fvvs7"), 0);
	assert_int_equal(v.flag, 1);
	assert_int_equal(v.count, 2);
	assert_int_equal(v.size, 7);
	assert_int_equal(PARSE(&v, "--timeout=1.5", "--color=never"), 0);
	assert_int_equal(v.ms, 1500);
	assert_int_equal(v.choice, 2);
}

static void the_last_of_two_wins(void **state)
{
	struct values v;

	assert_int_equal(PARSE(&v, "-l1"), 0);
	assert_int_equal(v.mode, '1');
	assert_int_equal(PARSE(&v, "-1l"), 0);
	assert_int_equal(v.mode, 'l');
}

static void operands_move_to_the_front(void **state)
{
	const char *argv[] = { "a", "-f", "b", "--", "-v", "--size", NULL };
	struct values v;

	assert_int_equal(parse(&v, (char **)(uintptr_t)argv), 4);
	assert_string_equal(argv[0], "a");
	assert_string_equal(argv[1], "b");
	assert_string_equal(argv[2], "-v");
	assert_string_equal(argv[3], "--size");
	assert_int_equal(v.flag, 1);
	assert_int_equal(v.count, 0);
	/* "-" alone is an operand. */
	assert_int_equal(PARSE(&v, "-"), 1);
}

static void optional_value_never_takes_the_next_word(void **state)
{
	struct values v;

	assert_int_equal(PARSE(&v, "--progress", "x"), 1);
	assert_string_equal(v.maybe, "");
	assert_int_equal(PARSE(&v, "--progress=3", "x"), 1);
	assert_string_equal(v.maybe, "3");
}

static void errors_name_the_word(void **state)
{
	struct values v;

	assert_true(PARSE(&v, "--colour=never") < 0);
	assert_string_equal(err, "unknown option '--colour'; did you mean "
			    "'--color'?");
	assert_true(PARSE(&v, "--zzzzzzzz") < 0);
	assert_string_equal(err, "unknown option '--zzzzzzzz'");
	assert_true(PARSE(&v, "-fx") < 0);
	assert_string_equal(err, "unknown option '-x'");
	assert_true(PARSE(&v, "--size") < 0);
	assert_string_equal(err, "option '--size' needs a value");
	assert_true(PARSE(&v, "-s") < 0);
	assert_string_equal(err, "option '-s' needs a value");
	assert_true(PARSE(&v, "--flag=1") < 0);
	assert_string_equal(err, "option '--flag' takes no value");
	assert_true(PARSE(&v, "--color=blue") < 0);
	assert_string_equal(err, "--color: 'blue' is none of "
			    "auto|always|never");
	assert_true(PARSE(&v, "--size=big") < 0);
	assert_string_equal(err, "--size: 'big' is not a size (4096, 64K, "
			    "2MiB, 1GB)");
	assert_true(PARSE(&v, "--timeout=-1") < 0);
	assert_string_equal(err, "--timeout: '-1' is not a number of "
			    "seconds");
}

static void a_prefix_is_not_a_choice(void **state)
{
	struct values v;

	assert_true(PARSE(&v, "--color=auto|always") < 0);
	assert_true(PARSE(&v, "--color=al") < 0);
	assert_true(PARSE(&v, "--color=") < 0);
}

static void help_has_every_option(void **state)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	opts_help(f, table);
	fclose(f);
	assert_non_null(strstr(text, "  -f, --flag                a flag\n"));
	assert_non_null(strstr(text, "  -l                        sets a "));
	assert_non_null(strstr(text, "      --progress[=FD]       perhaps\n"));
	assert_non_null(strstr(text, "      --color=auto|always|never\n"));
	free(text);
}

static void nearest_word(void **state)
{
	static const char *const names[] = { "ls", "cat", "stat", "truncate",
					     "readlink" };

	assert_string_equal(opts_nearest("stta", names, 5), "stat");
	assert_string_equal(opts_nearest("trunctae", names, 5), "truncate");
	assert_string_equal(opts_nearest("sl", names, 5), "ls");
	assert_null(opts_nearest("frobnicate", names, 5));
	assert_null(opts_nearest("", names, 5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_spellings_of_a_value),
		cmocka_unit_test(the_last_of_two_wins),
		cmocka_unit_test(operands_move_to_the_front),
		cmocka_unit_test(optional_value_never_takes_the_next_word),
		cmocka_unit_test(errors_name_the_word),
		cmocka_unit_test(a_prefix_is_not_a_choice),
		cmocka_unit_test(help_has_every_option),
		cmocka_unit_test(nearest_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
