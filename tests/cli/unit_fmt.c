/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers, times, modes and names as text and back. */
#include "unit.h"

#include <errno.h>
#include <sys/stat.h>

#include "fmt.h"
#include "resize.h"

static char buf[FMT_LEN];

static void bytes_with_units(void **state)
{
	assert_string_equal(fmt_bytes(0, buf), "0 B");
	assert_string_equal(fmt_bytes(1023, buf), "1023 B");
	assert_string_equal(fmt_bytes(1024, buf), "1 KiB");
	assert_string_equal(fmt_bytes(1536, buf), "1.50 KiB");
	assert_string_equal(fmt_bytes(64 << 20, buf), "64 MiB");
	assert_string_equal(fmt_bytes(12.34 * 1024, buf), "12.3 KiB");
	assert_string_equal(fmt_bytes(123.4 * 1024, buf), "123 KiB");
	assert_string_equal(fmt_bytes(18446744073709551615.0, buf), "16 EiB");
}

static void other_units(void **state)
{
	assert_string_equal(fmt_ns(812, buf), "812 ns");
	assert_string_equal(fmt_ns(1240, buf), "1.24 us");
	assert_string_equal(fmt_ns(3.2e6, buf), "3.20 ms");
	assert_string_equal(fmt_ns(90e9, buf), "90 s");
	assert_string_equal(fmt_count(12345, buf), "12.3 k");
	assert_string_equal(fmt_duration(5, buf), "0:05");
	assert_string_equal(fmt_duration(754, buf), "12:34");
	assert_string_equal(fmt_duration(3723, buf), "1:02:03");
}

static void human_rounds_up_as_ls_does(void **state)
{
	assert_string_equal(fmt_human(1023, buf), "1023");
	assert_string_equal(fmt_human(1024, buf), "1.0K");
	assert_string_equal(fmt_human(1025, buf), "1.1K");
	assert_string_equal(fmt_human(10240, buf), "10K");
	assert_string_equal(fmt_human(10241, buf), "11K");
	assert_string_equal(fmt_human(1048575, buf), "1.0M");
	assert_string_equal(fmt_human(UINT64_MAX, buf), "16E");
}

static void modes(void **state)
{
	mode_t m;

	assert_string_equal(fmt_mode(S_IFDIR | 0755, buf), "drwxr-xr-x");
	assert_string_equal(fmt_mode(S_IFREG | 04644, buf), "-rwSr--r--");
	assert_string_equal(fmt_mode(S_IFREG | 06755, buf), "-rwsr-sr-x");
	assert_string_equal(fmt_mode(S_IFDIR | 01777, buf), "drwxrwxrwt");
	assert_string_equal(fmt_mode(S_IFDIR | 01776, buf), "drwxrwxrwT");
	assert_string_equal(fmt_type(S_IFSOCK), "socket");
	assert_string_equal(fmt_type(0), "unknown");
	assert_int_equal(fmt_parse_mode("0750", &m), 0);
	assert_int_equal(m, 0750);
	assert_int_equal(fmt_parse_mode("7777", &m), 0);
	assert_int_equal(fmt_parse_mode("8", &m), -EINVAL);
	assert_int_equal(fmt_parse_mode("", &m), -EINVAL);
	assert_int_equal(fmt_parse_mode("10000", &m), -EINVAL);
	assert_int_equal(fmt_parse_mode("75x", &m), -EINVAL);
}

static void sizes_in(void **state)
{
	uint64_t v = 1;

	assert_int_equal(fmt_parse_size("0", &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(fmt_parse_size("4k", &v), 0);
	assert_int_equal(v, 4096);
	assert_int_equal(fmt_parse_size("4KB", &v), 0);
	assert_int_equal(v, 4000);
	assert_int_equal(fmt_parse_size("3GiB", &v), 0);
	assert_int_equal(v, UINT64_C(3) << 30);
	assert_int_equal(fmt_parse_size("15E", &v), 0);
	assert_int_equal(v, UINT64_C(15) << 60);
	assert_int_equal(fmt_parse_size("16E", &v), -ERANGE);
	assert_int_equal(fmt_parse_size("99999999999999999999", &v), -ERANGE);
	assert_int_equal(fmt_parse_size("", &v), -EINVAL);
	assert_int_equal(fmt_parse_size("-1", &v), -EINVAL);
	assert_int_equal(fmt_parse_size(" 1", &v), -EINVAL);
	assert_int_equal(fmt_parse_size("1Q", &v), -EINVAL);
	assert_int_equal(fmt_parse_size("1Kb", &v), -EINVAL);
	/* Untouched on failure. */
	assert_int_equal(v, UINT64_C(15) << 60);
}

static void seconds_in(void **state)
{
	uint32_t ms;

	assert_int_equal(fmt_parse_seconds("2", &ms), 0);
	assert_int_equal(ms, 2000);
	assert_int_equal(fmt_parse_seconds(".25s", &ms), 0);
	assert_int_equal(ms, 250);
	assert_int_equal(fmt_parse_seconds("0", &ms), -ERANGE);
	assert_int_equal(fmt_parse_seconds("1e9", &ms), -ERANGE);
	assert_int_equal(fmt_parse_seconds("nan", &ms), -EINVAL);
	assert_int_equal(fmt_parse_seconds("2m", &ms), -EINVAL);
}

static void times(void **state)
{
	struct timespec t;

	setenv("TZ", "UTC", 1);
	tzset();
	assert_int_equal(fmt_parse_time("@12.5", &t), 0);
	assert_int_equal(t.tv_sec, 12);
	assert_int_equal(t.tv_nsec, 500000000);
	assert_int_equal(fmt_parse_time("2026-02-03 04:05:06", &t), 0);
	assert_string_equal(fmt_full_time(&t, buf),
			    "2026-02-03 04:05:06.000000000 +0000");
	assert_int_equal(fmt_parse_time("2026-02-03T04:05", &t), 0);
	assert_int_equal(fmt_parse_time("2026-02-03", &t), 0);
	assert_string_equal(fmt_ls_time(&t, t.tv_sec + 60, buf),
			    "Feb  3 00:00");
	assert_string_equal(fmt_ls_time(&t, t.tv_sec + 20000000, buf),
			    "Feb  3  2026");
	assert_int_equal(fmt_parse_time("yesterday-ish", &t), -EINVAL);
	assert_int_equal(fmt_parse_time("@", &t), -EINVAL);
	assert_int_equal(fmt_parse_time("2026-02-03 04:05:06x", &t), -EINVAL);
}

static void check_quote(const char *name, const char *want)
{
	char *got = fmt_quote(name);

	assert_string_equal(got, want);
	free(got);
}

static void quoting(void **state)
{
	check_quote("plain-name_1.txt", "plain-name_1.txt");
	check_quote("", "''");
	check_quote("a b", "'a b'");
	check_quote("$x", "'$x'");
	check_quote("a'b", "$'a\\'b'");
	check_quote("a\nb", "$'a\\nb'");
	check_quote("\033[31m", "$'\\e[31m'");
	check_quote("\377x", "$'\\377x'");
	check_quote("gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f");
	/* U+009B steers a terminal as ESC [ does. */
	check_quote("\xc2\x9b", "$'\\302\\233'");
}

static void utf8(void **state)
{
	char *text;

	assert_true(fmt_is_utf8("a\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80"));
	assert_false(fmt_is_utf8("\xc0\x80"));         /* overlong */
	assert_false(fmt_is_utf8("\xed\xa0\x80"));     /* surrogate */
	assert_false(fmt_is_utf8("\xf4\x90\x80\x80")); /* past U+10FFFF */
	assert_false(fmt_is_utf8("x\xe2\x82"));        /* cut short */
	text = fmt_to_utf8("a\xff\xe2\x82z");
	assert_string_equal(text, "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz");
	free(text);
	text = fmt_hex("a\xff");
	assert_string_equal(text, "61ff");
	free(text);
}

static off_t resized(const char *text, uint64_t old)
{
	struct resize z;
	off_t n = -1;

	assert_int_equal(resize_parse(text, &z), 0);
	return resize_apply(&z, old, &n) < 0 ? -1 : n;
}

static void resizing(void **state)
{
	struct resize z;

	assert_int_equal(resized("100", 7), 100);
	assert_int_equal(resized("+1K", 7), 1031);
	assert_int_equal(resized("-5", 7), 2);
	assert_int_equal(resized("-8", 7), 0);
	assert_int_equal(resized("<5", 7), 5);
	assert_int_equal(resized("<9", 7), 7);
	assert_int_equal(resized(">9", 7), 9);
	assert_int_equal(resized("/4", 7), 4);
	assert_int_equal(resized("%4", 7), 8);
	assert_int_equal(resized("%4", 8), 8);
	assert_int_equal(resized("+7E", INT64_MAX), -1);
	assert_int_equal(resize_parse("8E", &z), -ERANGE);
	assert_int_equal(resize_parse("%0", &z), -EINVAL);
	assert_int_equal(resize_parse("+", &z), -EINVAL);
	assert_int_equal(resize_parse("", &z), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_with_units),
		cmocka_unit_test(other_units),
		cmocka_unit_test(human_rounds_up_as_ls_does),
		cmocka_unit_test(modes),
		cmocka_unit_test(sizes_in),
		cmocka_unit_test(seconds_in),
		cmocka_unit_test(times),
		cmocka_unit_test(quoting),
		cmocka_unit_test(utf8),
		cmocka_unit_test(resizing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
