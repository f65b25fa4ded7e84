/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers and layouts of vhost-user: written down once more, from the text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "wire/vhost_user.h"

static void test_names(void **state)
{
	static const struct {
		uint32_t n;
		const char *name;
	} want[] = {
		{ 1, "GET_FEATURES" },	      { 5, "SET_MEM_TABLE" },
		{ 11, "GET_VRING_BASE" },     { 18, "SET_VRING_ENABLE" },
		{ 21, "SET_BACKEND_REQ_FD" }, { 24, "GET_CONFIG" },
		{ 34, "RESET_DEVICE" },	      { 36, "GET_MAX_MEM_SLOTS" },
		{ 37, "ADD_MEM_REG" },	      { 38, "REM_MEM_REG" },
		{ 44, "GET_SHMEM_CONFIG" },   { 0, "unknown" },
		{ 19, "unknown" },	      { 45, "unknown" },
		{ UINT32_MAX, "unknown" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(want); i++)
		assert_string_equal(vhost_user_request_name(want[i].n),
				    want[i].name);
	assert_string_equal(vhost_user_backend_request_name(9), "SHMEM_MAP");
	assert_string_equal(vhost_user_backend_request_name(10),
			    "SHMEM_UNMAP");
	assert_string_equal(vhost_user_backend_request_name(2),
			    "CONFIG_CHANGE_MSG");
	assert_string_equal(vhost_user_backend_request_name(0), "unknown");
	assert_string_equal(vhost_user_backend_request_name(11), "unknown");
}

static void test_layouts(void **state)
{
	(void)state;
	assert_int_equal(offsetof(struct vhost_user_header, flags), 4);
	assert_int_equal(offsetof(struct vhost_user_header, size), 8);
	assert_int_equal(offsetof(struct vhost_user_vring_addr, desc), 8);
	assert_int_equal(offsetof(struct vhost_user_vring_addr, used), 16);
	assert_int_equal(offsetof(struct vhost_user_vring_addr, avail), 24);
	assert_int_equal(offsetof(struct vhost_user_vring_addr, log), 32);
	assert_int_equal(offsetof(struct vhost_user_mem_region, size), 8);
	assert_int_equal(offsetof(struct vhost_user_mem_region, uaddr), 16);
	assert_int_equal(offsetof(struct vhost_user_mem_region, mmap_offset),
			 24);
	assert_int_equal(offsetof(struct vhost_user_mem_table, regions), 8);
	assert_int_equal(offsetof(struct vhost_user_one_region, region), 8);
	assert_int_equal(offsetof(struct vhost_user_config, data), 12);
	assert_int_equal(offsetof(struct vhost_user_mmap, fd_offset), 8);
	assert_int_equal(offsetof(struct vhost_user_mmap, shm_offset), 16);
	assert_int_equal(offsetof(struct vhost_user_mmap, len), 24);
	assert_int_equal(offsetof(struct vhost_user_mmap, flags), 32);
	assert_int_equal(offsetof(struct vhost_user_shmem_config, sizes), 8);
	assert_int_equal(offsetof(struct virtio_fs_config, num_request_queues),
			 36);
	assert_int_equal(VHOST_USER_PF_SHMEM, 22);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_layouts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
