/* SPDX-License-Identifier: BSD-2-Clause */
/* INIT: what is agreed, what is refused before it, what a second one does. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static void refused_before_init(void **state)
{
	struct fuse_forget_in forget = { 1 };
	struct fuse_attr_out attr;
	struct rig r;

	rig_start(&r, NULL);
	assert_int_equal(rig_call(&r, FUSE_GETATTR, 1, NULL, 0, &attr,
				  sizeof(attr)), -EIO);
	assert_int_equal(rig_lookup(&r, 1, "x", NULL), -EIO);
	assert_int_equal(rig_call(&r, FUSE_DESTROY, 0, NULL, 0, NULL, 0), -EIO);
	rig_call(&r, FUSE_FORGET, 1, &forget, sizeof(forget), NULL, 0);
	rig_init(&r);
	assert_int_equal(rig_call(&r, FUSE_GETATTR, 1, NULL, 0, &attr,
				  sizeof(attr)), sizeof(attr));
	rig_stop(&r);
}

static void agrees_to_what_both_have(void **state)
{
	struct fuse_init_out o;
	struct rig r;

	rig_start(&r, NULL);
	o = rig_init(&r);
	assert_int_equal(o.major, 7);
	assert_int_equal(o.minor, 38);
	assert_int_equal(o.max_write, 1 << 20);
	assert_int_equal(o.max_pages, 256);
	assert_int_equal(o.time_gran, 1);
	assert_int_equal(o.max_readahead, 131072);
	assert_int_equal(1 << o.map_alignment, RIG_PAGE);
	assert_true(o.flags & FUSE_INIT_EXT);
	assert_true(o.flags & FUSE_MAX_PAGES);
	assert_true(o.flags & FUSE_DO_READDIRPLUS);
	assert_true(o.flags & FUSE_ATOMIC_O_TRUNC);
	assert_true(o.flags & FUSE_MAP_ALIGNMENT);
	assert_true(o.flags2 & (FUSE_HAS_INODE_DAX >> 32));
	/* never promised: locks, write-back, access lists, notifications */
	assert_false(o.flags & (FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS |
				FUSE_WRITEBACK_CACHE | FUSE_POSIX_ACL |
				FUSE_EXPORT_SUPPORT | FUSE_NO_OPEN_SUPPORT |
				FUSE_DONT_MASK));
	assert_false(o.flags2 & (FUSE_SECURITY_CTX >> 32));

	o = rig_init_flags(&r, FUSE_ASYNC_READ);
	assert_int_equal(o.flags, FUSE_ASYNC_READ);
	assert_int_equal(o.flags2, 0);
	assert_int_equal(o.map_alignment, 0);
	/* flags2 counts only with INIT_EXT */
	o = rig_init_flags(&r, FUSE_HAS_INODE_DAX);
	assert_int_equal(o.flags, 0);
	assert_int_equal(o.flags2, 0);
	rig_stop(&r);
}

static void no_window_no_dax(void **state)
{
	struct rig_config cfg = { .no_window = true };
	struct fuse_init_out o;
	struct rig r;

	rig_start(&r, &cfg);
	o = rig_init(&r);
	assert_false(o.flags & FUSE_MAP_ALIGNMENT);
	/* the one that root agrees to; others to none */
	assert_int_equal(o.flags2 & ~(FUSE_WIRE_CREATE_SUPP_GROUP >> 32), 0);
	assert_int_equal(o.map_alignment, 0);
	assert_int_equal(rig_map(&r, 1, 0, 0, RIG_PAGE, 0), -ENOSYS);
	assert_int_equal(rig_unmap(&r, 0, RIG_PAGE), -ENOSYS);
	rig_restart(&r, NULL);
	r.w.unusable = true; /* the front end did not agree to mappings */
	o = rig_init(&r);
	assert_false(o.flags & FUSE_MAP_ALIGNMENT);
	assert_int_equal(rig_map(&r, 1, 0, 0, RIG_PAGE, 0), -ENOSYS);
	rig_stop(&r);
}

static void versions(void **state)
{
	struct fuse_init_in in = { .major = 7, .minor = 31 };
	struct fuse_init_out out;
	struct fuse_attr_out attr;
	struct rig r;

	rig_start(&r, NULL);
	assert_int_equal(rig_call(&r, FUSE_INIT, 0, &in, 16, &out,
				  sizeof(out)), sizeof(out));
	assert_int_equal(out.minor, 31);
	in.minor = 45;
	assert_int_equal(rig_call(&r, FUSE_INIT, 0, &in, sizeof(in), &out,
				  sizeof(out)), sizeof(out));
	assert_int_equal(out.minor, 38);
	in.minor = 8;
	assert_int_equal(rig_call(&r, FUSE_INIT, 0, &in, sizeof(in), &out,
				  sizeof(out)), -EPROTO);
	in.major = 6;
	assert_int_equal(rig_call(&r, FUSE_INIT, 0, &in, sizeof(in), &out,
				  sizeof(out)), -EPROTO);
	assert_int_equal(rig_call(&r, FUSE_INIT, 0, &in, 7, &out,
				  sizeof(out)), -EINVAL);
	rig_restart(&r, NULL);
	in.major = 8; /* is told ours, and nothing is agreed yet */
	assert_int_equal(rig_call(&r, FUSE_INIT, 0, &in, sizeof(in), &out,
				  sizeof(out)), 8);
	assert_int_equal(out.major, 7);
	assert_int_equal(rig_call(&r, FUSE_GETATTR, 1, NULL, 0, &attr,
				  sizeof(attr)), -EIO);
	rig_stop(&r);
}

static void second_init_starts_afresh(void **state)
{
	struct server_stats st;
	uint64_t node;
	uint64_t fh;
	char c;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "text", 0644);
	rig_init(&r);
	node = rig_node(&r, "f");
	assert_int_equal(rig_open(&r, node, O_RDWR, &fh), 0);
	assert_int_equal(rig_map(&r, node, 0, 0, RIG_PAGE, 0), 0);
	st = rig_stats(&r);
	assert_int_equal(st.inodes, 2);
	assert_int_equal(st.handles, 1);
	assert_int_equal(st.mappings, 1);
	assert_int_equal(st.fds, 4); /* root, f, handle, mapping */
	rig_init(&r);
	st = rig_stats(&r);
	assert_int_equal(st.inodes, 1);
	assert_int_equal(st.fds, 1);
	assert_int_equal(st.mappings, 0);
	assert_int_equal(r.w.n_maps, 0); /* the front end was told */
	assert_int_equal(rig_read(&r, fh, 0, &c, 1), -EBADF);
	assert_int_equal(rig_open(&r, node, O_RDWR, &fh), -ESTALE);
	rig_stop(&r);
}

static void destroy_and_reset(void **state)
{
	struct fuse_attr_out attr;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "text", 0644);
	rig_init(&r);
	assert_int_equal(rig_map(&r, rig_node(&r, "f"), 0, 0, RIG_PAGE, 0), 0);
	assert_int_equal(rig_call(&r, FUSE_DESTROY, 0, NULL, 0, NULL, 0), 0);
	assert_int_equal(r.w.n_maps, 0);
	assert_int_equal(rig_call(&r, FUSE_GETATTR, 1, NULL, 0, &attr,
				  sizeof(attr)), -EIO);
	rig_init(&r);
	assert_int_equal(rig_map(&r, rig_node(&r, "f"), 0, 0, RIG_PAGE, 0), 0);
	/* A reset device has dropped its mappings: no unmap is sent. */
	r.w.unmap_calls = 0;
	server_session_reset(r.s);
	assert_int_equal(r.w.unmap_calls, 0);
	assert_int_equal(rig_stats(&r).mappings, 0);
	assert_int_equal(rig_stats(&r).fds, 1);
	assert_int_equal(rig_lookup(&r, 1, "f", NULL), -EIO);
	rig_stop(&r);
}

static void unknown_requests(void **state)
{
	static const uint32_t ops[] = {
		0, 7, 19, FUSE_GETLK, FUSE_SETLK, FUSE_SETLKW, FUSE_BMAP,
		FUSE_IOCTL, FUSE_POLL, FUSE_NOTIFY_REPLY, 54, 64, 4096,
		UINT32_MAX,
	};
	char arg[64] = { 0 };
	char room[64];
	struct rig r;
	size_t i;

	rig_start(&r, NULL);
	rig_init(&r);
	for (i = 0; i < ARRAY_LEN(ops); i++)
		assert_int_equal(rig_call(&r, ops[i], 1, arg, sizeof(arg),
					  room, sizeof(room)), -ENOSYS);
	assert_int_equal(rig_call(&r, FUSE_INTERRUPT, 0, arg, 8, NULL, 0), 0);
	assert_int_equal(rig_stats(&r).ops[63], 3);
	assert_int_equal(rig_stats(&r).ops[FUSE_INIT], 1);
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused_before_init),
		cmocka_unit_test(agrees_to_what_both_have),
		cmocka_unit_test(no_window_no_dax),
		cmocka_unit_test(versions),
		cmocka_unit_test(second_init_starts_afresh),
		cmocka_unit_test(destroy_and_reset),
		cmocka_unit_test(unknown_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
