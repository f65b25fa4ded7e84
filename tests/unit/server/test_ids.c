/* SPDX-License-Identifier: BSD-2-Clause */
/* Translation of user and group numbers: ranges, their ends, their overlaps. */
#include "rig.h"

#include <errno.h>
#include <string.h>

#include "server/ids.h"

static int add(struct server_ids *ids, enum server_id_kind kind, uint32_t from,
	       uint32_t to, uint32_t count)
{
	const struct server_id_rule rule = { kind, from, to, count };

	return server_ids_add(ids, &rule);
}

static uint32_t host_of(const struct server_ids *ids, uint32_t guest)
{
	uint32_t v = 12345;
	int r = server_id_to_host(ids, guest, &v);

	if (r) {
		assert_int_equal(r, -EPERM);
		assert_int_equal(v, 12345);
		return UINT32_MAX;
	}
	return v;
}

static void nothing_is_changed_by_default(void **state)
{
	struct server_ids ids = { 0 };

	assert_true(server_ids_empty(&ids));
	assert_int_equal(host_of(&ids, 0), 0);
	assert_int_equal(host_of(&ids, 4294967294u), 4294967294u);
	assert_int_equal(server_id_to_guest(&ids, 77), 77);
}

static void each_kind(void **state)
{
	struct server_ids ids = { 0 };

	assert_int_equal(add(&ids, SERVER_ID_MAP, 10, 100, 5), 0);
	assert_int_equal(add(&ids, SERVER_ID_GUEST, 20, 200, 5), 0);
	assert_int_equal(add(&ids, SERVER_ID_HOST, 300, 30, 5), 0);
	assert_int_equal(add(&ids, SERVER_ID_SQUASH_GUEST, 40, 400, 5), 0);
	assert_int_equal(add(&ids, SERVER_ID_SQUASH_HOST, 500, 50, 5), 0);
	assert_int_equal(add(&ids, SERVER_ID_FORBID_GUEST, 60, 0, 5), 0);
	assert_false(server_ids_empty(&ids));

	assert_int_equal(host_of(&ids, 9), 9);
	assert_int_equal(host_of(&ids, 10), 100);
	assert_int_equal(host_of(&ids, 14), 104);
	assert_int_equal(host_of(&ids, 15), 15);
	assert_int_equal(server_id_to_guest(&ids, 99), 99);
	assert_int_equal(server_id_to_guest(&ids, 100), 10);
	assert_int_equal(server_id_to_guest(&ids, 104), 14);
	assert_int_equal(server_id_to_guest(&ids, 105), 105);
	/* one way each */
	assert_int_equal(host_of(&ids, 24), 204);
	assert_int_equal(server_id_to_guest(&ids, 204), 204);
	assert_int_equal(host_of(&ids, 30), 30);
	assert_int_equal(server_id_to_guest(&ids, 301), 31);
	/* all to one */
	assert_int_equal(host_of(&ids, 40), 400);
	assert_int_equal(host_of(&ids, 44), 400);
	assert_int_equal(server_id_to_guest(&ids, 400), 400);
	assert_int_equal(server_id_to_guest(&ids, 504), 50);
	assert_int_equal(host_of(&ids, 50), 50);
	/* not at all */
	assert_int_equal(host_of(&ids, 59), 59);
	assert_int_equal(host_of(&ids, 60), UINT32_MAX);
	assert_int_equal(host_of(&ids, 64), UINT32_MAX);
	assert_int_equal(host_of(&ids, 65), 65);
}

static void bad_rules_change_nothing(void **state)
{
	struct server_ids ids = { 0 };
	struct server_ids before;
	unsigned i;

	assert_int_equal(add(&ids, SERVER_ID_MAP, 10, 100, 5), 0);
	before = ids;
	assert_int_equal(add(&ids, SERVER_ID_GUEST, 14, 0, 1), -EEXIST);
	assert_int_equal(add(&ids, SERVER_ID_GUEST, 0, 0, 11), -EEXIST);
	assert_int_equal(add(&ids, SERVER_ID_FORBID_GUEST, 12, 0, 1), -EEXIST);
	assert_int_equal(add(&ids, SERVER_ID_HOST, 104, 0, 1), -EEXIST);
	/* free on one side only */
	assert_int_equal(add(&ids, SERVER_ID_MAP, 50, 102, 5), -EEXIST);
	assert_int_equal(add(&ids, SERVER_ID_MAP, 50, 50, 0), -EINVAL);
	assert_int_equal(add(&ids, SERVER_ID_GUEST, UINT32_MAX, 0, 1), -EINVAL);
	assert_int_equal(add(&ids, SERVER_ID_GUEST, 2, UINT32_MAX - 1, 2),
			 -EINVAL);
	assert_int_equal(add(&ids, SERVER_ID_SQUASH_GUEST, 20, UINT32_MAX, 2),
			 -EINVAL);
	assert_memory_equal(&ids, &before, sizeof(ids));

	assert_int_equal(add(&ids, SERVER_ID_GUEST, 15, 0, 1), 0);
	assert_int_equal(add(&ids, SERVER_ID_GUEST, 9, 0, 1), 0);
	for (i = 3; i < SERVER_ID_RANGES; i++)
		assert_int_equal(add(&ids, SERVER_ID_GUEST, 100 + i, 0, 1), 0);
	assert_int_equal(add(&ids, SERVER_ID_GUEST, 5000, 0, 1), -ENOSPC);
	/* the other direction has room, but a map needs both */
	assert_int_equal(add(&ids, SERVER_ID_MAP, 5000, 5000, 1), -ENOSPC);
	assert_int_equal(add(&ids, SERVER_ID_HOST, 5000, 0, 1), 0);
	assert_int_equal(server_id_to_guest(&ids, 5000), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_changed_by_default),
		cmocka_unit_test(each_kind),
		cmocka_unit_test(bad_rules_change_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
