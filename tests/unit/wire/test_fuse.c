/* SPDX-License-Identifier: BSD-2-Clause */
/* Strings, names and directory entries of the FUSE wire. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "wire/fuse.h"

static void test_opcode_names(void **state)
{
	(void)state;
	assert_string_equal(fuse_opcode_name(FUSE_LOOKUP), "LOOKUP");
	assert_string_equal(fuse_opcode_name(FUSE_SETUPMAPPING),
			    "SETUPMAPPING");
	assert_string_equal(fuse_opcode_name(FUSE_TMPFILE), "TMPFILE");
	assert_string_equal(fuse_opcode_name(0), "unknown");
	assert_string_equal(fuse_opcode_name(7), "unknown");
	assert_string_equal(fuse_opcode_name(19), "unknown");
	assert_string_equal(fuse_opcode_name(FUSE_WIRE_STATX), "STATX");
	assert_string_equal(fuse_opcode_name(FUSE_WIRE_COPY_FILE_RANGE_64),
			    "COPY_FILE_RANGE_64");
	assert_string_equal(fuse_opcode_name(54), "unknown");
	assert_string_equal(fuse_opcode_name(UINT32_MAX), "unknown");
}

/* Words as a peer sends them; the length in bytes. */
static int group_of(const uint32_t *words, size_t len, uint32_t *ret)
{
	unsigned char *p = malloc(len); /* exactly so long, for the sanitizer */
	int r;

	assert_non_null(p);
	memcpy(p, words, len);
	r = fuse_take_group(p, len, ret);
	free(p);
	return r;
}

static void test_take_group(void **state)
{
	const uint32_t one[] = { 16, FUSE_WIRE_EXT_GROUPS, 1, 77 };
	const uint32_t none[] = { 12, FUSE_WIRE_EXT_GROUPS, 0, 0 };
	const uint32_t many[] = { 24, FUSE_WIRE_EXT_GROUPS, 2, 77, 78, 0 };
	const uint32_t most[] = { 16, FUSE_WIRE_EXT_GROUPS, UINT32_MAX, 77 };
	const uint32_t cut[] = { 12, FUSE_WIRE_EXT_GROUPS, 1, 77 };
	const uint32_t empty[] = { 8, FUSE_WIRE_EXT_GROUPS };
	const uint32_t twice[] = { 16, FUSE_WIRE_EXT_GROUPS, 1, 77,
				   16, FUSE_WIRE_EXT_GROUPS, 1, 77 };
	const uint32_t after[] = { 13, 1, 0, 0, 8, UINT32_MAX,
				   16, FUSE_WIRE_EXT_GROUPS, 1, 78 };
	uint32_t sizes[] = { 0, FUSE_WIRE_EXT_GROUPS, 1, 77 };
	static const uint32_t bad[] = { 0, 1, 7, 17, 24, UINT32_MAX - 7,
					UINT32_MAX };
	uint32_t id = 5;
	size_t i;

	assert_int_equal(group_of(one, sizeof(one), &id), 1);
	assert_int_equal(id, 77);
	assert_int_equal(group_of(after, sizeof(after), &id), 1);
	assert_int_equal(id, 78);
	assert_int_equal(fuse_take_group(one, 0, &id), 0);
	assert_int_equal(group_of(none, sizeof(none), &id), 0);
	/* the padding left out */
	assert_int_equal(group_of(none, 12, &id), 0);
	assert_int_equal(group_of(many, sizeof(many), &id), -EINVAL);
	assert_int_equal(group_of(most, sizeof(most), &id), -EINVAL);
	assert_int_equal(group_of(cut, sizeof(cut), &id), -EINVAL);
	assert_int_equal(group_of(empty, sizeof(empty), &id), -EINVAL);
	assert_int_equal(group_of(twice, sizeof(twice), &id), -EINVAL);
	for (i = 0; i < ARRAY_LEN(bad); i++) {
		sizes[0] = bad[i];
		assert_int_equal(group_of(sizes, sizeof(sizes), &id), -EINVAL);
	}
	for (i = 1; i < sizeof(one); i++)
		assert_int_equal(group_of(one, i, &id), -EINVAL);
	assert_int_equal(id, 78);
}

static void test_take_string(void **state)
{
	static const char buf[] = { 'a', 'b', 0, 0, 'c', 'd' };
	const char *s = NULL;
	size_t pos = 0;

	(void)state;
	assert_int_equal(fuse_take_string(buf, 6, &pos, &s), 0);
	assert_string_equal(s, "ab");
	assert_int_equal(pos, 3);
	assert_int_equal(fuse_take_string(buf, 6, &pos, &s), 0);
	assert_string_equal(s, "");
	assert_int_equal(pos, 4);
	assert_int_equal(fuse_take_string(buf, 6, &pos, &s), -EINVAL);
	assert_int_equal(pos, 4);
	assert_string_equal(s, "");
	pos = 6;
	assert_int_equal(fuse_take_string(buf, 6, &pos, &s), -EINVAL);
	pos = SIZE_MAX;
	assert_int_equal(fuse_take_string(buf, 6, &pos, &s), -EINVAL);
	pos = 0;
	assert_int_equal(fuse_take_string(buf, 0, &pos, &s), -EINVAL);
	assert_int_equal(fuse_take_string(buf, 2, &pos, &s), -EINVAL);
}

static void test_check_name(void **state)
{
	char name[300];

	(void)state;
	assert_int_equal(fuse_check_name("a"), 0);
	assert_int_equal(fuse_check_name("..."), 0);
	assert_int_equal(fuse_check_name(".a"), 0);
	assert_int_equal(fuse_check_name("..a"), 0);
	assert_int_equal(fuse_check_name("\xff\n"), 0);
	assert_int_equal(fuse_check_name(""), -EINVAL);
	assert_int_equal(fuse_check_name("."), -EINVAL);
	assert_int_equal(fuse_check_name(".."), -EINVAL);
	assert_int_equal(fuse_check_name("/"), -EINVAL);
	assert_int_equal(fuse_check_name("a/b"), -EINVAL);
	assert_int_equal(fuse_check_name("a/"), -EINVAL);
	memset(name, 'x', sizeof(name));
	name[255] = '\0';
	assert_int_equal(fuse_check_name(name), 0);
	name[255] = 'x';
	name[256] = '\0';
	assert_int_equal(fuse_check_name(name), -ENAMETOOLONG);
}

static void round_trip(bool plus)
{
	static const char *const names[] = { ".", "..", "a", "ab", "abcdefgh",
					     "longer name with spaces", "\xff" };
	struct fuse_entry_out e = { .nodeid = 1 };
	_Alignas(8) unsigned char buf[4096];
	struct fuse_dirent_view v;
	size_t end = 0, pos = 0;

	memset(buf, 0xaa, sizeof(buf));
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		e.nodeid = 100 + i;
		e.attr.size = i;
		assert_int_equal(fuse_put_dirent(buf, sizeof(buf), &end, i + 7,
						 i + 1000, i, names[i],
						 strlen(names[i]),
						 plus ? &e : NULL), 0);
		assert_true(is_aligned(end, 8));
	}
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		memset(&v, 0xbb, sizeof(v));
		assert_int_equal(fuse_next_dirent(buf, end, &pos, plus, &v),
				 1);
		assert_int_equal(v.ino, i + 7);
		assert_int_equal(v.off, i + 1000);
		assert_int_equal(v.type, i);
		assert_int_equal(v.namelen, strlen(names[i]));
		assert_memory_equal(v.name, names[i], v.namelen);
		assert_int_equal(v.entry.nodeid, plus ? 100 + i : 0);
		assert_int_equal(v.entry.attr.size, plus ? i : 0);
	}
	assert_int_equal(pos, end);
	assert_int_equal(fuse_next_dirent(buf, end, &pos, plus, &v), 0);
	assert_int_equal(buf[end], 0xaa);
}

static void test_dirents(void **state)
{
	(void)state;
	round_trip(false);
	round_trip(true);
}

/* The bytes, not only what our two functions agree on. */
static void test_dirent_layout(void **state)
{
	static const unsigned char want[] = {
		1, 0, 0, 0, 0, 0, 0, 0x80, /* ino */
		2, 0, 0, 0, 0, 0, 0, 0,	   /* off */
		3, 0, 0, 0,		   /* namelen */
		8, 0, 0, 0,		   /* type */
		'a', 'b', 'c', 0, 0, 0, 0, 0,
	};
	unsigned char buf[64];
	size_t pos = 0;

	(void)state;
	memset(buf, 0xaa, sizeof(buf));
	assert_int_equal(fuse_put_dirent(buf, sizeof(buf), &pos,
					 UINT64_C(0x8000000000000001), 2, 8,
					 "abc", 3, NULL), 0);
	assert_int_equal(pos, sizeof(want));
	assert_memory_equal(buf, want, sizeof(want));
}

static void test_no_room(void **state)
{
	unsigned char buf[64];
	size_t pos;

	(void)state;
	memset(buf, 0xaa, sizeof(buf));
	for (size_t size = 0; size < 32; size++) {
		pos = 0;
		assert_int_equal(fuse_put_dirent(buf, size, &pos, 1, 1, 1,
						 "abc", 3, NULL), -ENOSPC);
		assert_int_equal(pos, 0);
		assert_int_equal(buf[0], 0xaa);
	}
	pos = 33;
	assert_int_equal(fuse_put_dirent(buf, 64, &pos, 1, 1, 1, "abc", 3,
					 NULL), -ENOSPC);
	pos = 32;
	assert_int_equal(fuse_put_dirent(buf, 64, &pos, 1, 1, 1, "abc", 3,
					 NULL), 0);
}

/* Put one entry, change a part of it, expect @want. */
static void decode_changed(bool plus, size_t len, uint32_t namelen,
			   char instead, int want)
{
	const struct fuse_entry_out e = { .nodeid = 1 };
	const size_t head = plus ? 128 : 0;
	_Alignas(8) unsigned char buf[512] = { 0 };
	struct fuse_dirent_view v = { .ino = 77 };
	size_t end = 0, pos = 0;

	assert_int_equal(fuse_put_dirent(buf, sizeof(buf), &end, 1, 1, 1,
					 "abc", 3, plus ? &e : NULL), 0);
	memcpy(buf + head + 16, &namelen, 4);
	if (instead)
		buf[head + 24 + 1] = instead == 'N' ? 0 : instead;
	assert_int_equal(fuse_next_dirent(buf, len ? head + len : end, &pos,
					  plus, &v), want);
	if (want < 0) {
		assert_int_equal(pos, 0);
		assert_int_equal(v.ino, 77);
	}
}

static void test_bad_dirents(void **state)
{
	(void)state;
	for (int plus = 0; plus < 2; plus++) {
		decode_changed(plus, 0, 3, 0, 1);
		for (size_t len = 1; len < 32; len++)
			decode_changed(plus, len, 3, 0, -EPROTO);
		decode_changed(plus, 0, 0, 0, -EPROTO);
		decode_changed(plus, 0, 9, 0, -EPROTO);
		decode_changed(plus, 0, 256, 0, -EPROTO);
		decode_changed(plus, 0, UINT32_MAX, 0, -EPROTO);
		decode_changed(plus, 0, UINT32_MAX - 31, 0, -EPROTO);
		decode_changed(plus, 0, 3, '/', -EPROTO);
		decode_changed(plus, 0, 3, 'N', -EPROTO);
	}
}

static void test_position_past_end(void **state)
{
	unsigned char buf[64] = { 0 };
	struct fuse_dirent_view v;
	size_t pos = 65;

	(void)state;
	assert_int_equal(fuse_next_dirent(buf, 64, &pos, false, &v), -EPROTO);
	pos = SIZE_MAX;
	assert_int_equal(fuse_next_dirent(buf, 64, &pos, false, &v), -EPROTO);
}

/* Random names into random buffers: what goes in comes out, to the end. */
static void test_random_buffers(void **state)
{
	const char *env = getenv("ORIEL_SEED");
	unsigned seed = env ? (unsigned)strtoul(env, NULL, 0)
			    : (unsigned)time(NULL);

	(void)state;
	print_message("ORIEL_SEED=%u\n", seed);
	for (unsigned round = 0; round < 2000; round++) {
		const struct fuse_entry_out e = { .nodeid = round };
		bool plus = rand_r(&seed) & 1;
		size_t size = (size_t)rand_r(&seed) % 4096;
		unsigned char *buf = malloc(size + 1);
		struct fuse_dirent_view v;
		char name[256];
		size_t end = 0, pos = 0;
		unsigned put = 0, got = 0;
		int r;

		memset(name, 'n', sizeof(name));
		while (fuse_put_dirent(buf, size, &end, put, put, 4, name,
				       1 + (size_t)rand_r(&seed) % 255,
				       plus ? &e : NULL) == 0)
			put++;
		while ((r = fuse_next_dirent(buf, end, &pos, plus, &v)) == 1) {
			assert_int_equal(v.ino, got);
			got++;
		}
		assert_int_equal(r, 0);
		assert_int_equal(got, put);
		free(buf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opcode_names),
		cmocka_unit_test(test_take_group),
		cmocka_unit_test(test_take_string),
		cmocka_unit_test(test_check_name),
		cmocka_unit_test(test_dirents),
		cmocka_unit_test(test_dirent_layout),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_bad_dirents),
		cmocka_unit_test(test_position_past_end),
		cmocka_unit_test(test_random_buffers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
