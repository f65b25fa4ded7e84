/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * GET_INFLIGHT_FD and SET_INFLIGHT_FD: front ends that say what cannot be, and
 * what the memory of one that keeps to the rules has in it afterwards.
 */
#include "raw.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ring/inflight.h"

#define QUEUES 3u
#define BYTES (QUEUES * ring_inflight_bytes(RAW_RING))

struct rig {
	struct pair p;
	struct raw r;
};

static void rig_start(struct rig *g)
{
	const struct pair_options opt = { .server_queues = 2 };
	int s[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	pair_start_backend(&g->p, s[0], &opt);
	raw_init(&g->r, s[1]);
}

static void rig_finish(struct rig *g, int want)
{
	raw_done(&g->r);
	pair_finish(&g->p, want);
}

static struct vhost_user_inflight good(void)
{
	return (struct vhost_user_inflight){
		.mmap_size = BYTES,
		.num_queues = QUEUES,
		.queue_size = RAW_RING,
	};
}

/* SET_INFLIGHT_FD with a file of @file_bytes, which is returned. */
static int set(struct raw *r, const struct vhost_user_inflight *in,
	       uint64_t file_bytes)
{
	int fd = memfd_create("inflight", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)file_bytes), 0);
	raw_send_fds(r->sock, VHOST_USER_SET_INFLIGHT_FD, 0, in, sizeof(*in),
		     &fd, 1);
	return fd;
}

/* What is wrong with it, in a file of so many bytes. */
struct wrong {
	struct vhost_user_inflight in;
	uint64_t file_bytes;
};

static void test_wrong_sets(void **state)
{
	const struct wrong wrong[] = {
		{ { BYTES, 0, 0, RAW_RING, 0 }, BYTES },
		{ { BYTES, 0, QUEUES + 1, RAW_RING, 0 }, 2 * BYTES },
		{ { UINT64_MAX, 0, UINT16_MAX, RAW_RING, 0 }, BYTES },
		{ { BYTES, 0, QUEUES, 0, 0 }, BYTES },
		{ { UINT64_MAX, 0, QUEUES, UINT16_MAX, 0 }, BYTES },
		{ { BYTES - 1, 0, QUEUES, RAW_RING, 0 }, BYTES },
		{ { BYTES, 0, QUEUES, RAW_RING, 0 }, BYTES - 1 },
		{ { BYTES, 64, QUEUES, RAW_RING, 0 }, BYTES },
		{ { BYTES, UINT64_MAX, QUEUES, RAW_RING, 0 }, BYTES },
		{ { BYTES, UINT64_MAX - BYTES + 1, QUEUES, RAW_RING, 0 },
		  BYTES },
		{ { BYTES, 8, QUEUES, RAW_RING, 0 }, 2 * BYTES },
		{ { 0, 0, QUEUES, RAW_RING, 0 }, BYTES },
	};
	struct rig g;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		rig_start(&g);
		close(set(&g.r, &wrong[i].in, wrong[i].file_bytes));
		raw_expect_eof(g.r.sock);
		rig_finish(&g, -EPROTO);
	}
}

static void test_wrong_gets(void **state)
{
	const struct vhost_user_inflight wrong[] = {
		{ 0, 0, 0, RAW_RING, 0 },
		{ 0, 0, QUEUES + 1, RAW_RING, 0 },
		{ 0, 0, QUEUES, 0, 0 },
		{ 0, 0, QUEUES, UINT16_MAX, 0 },
	};
	struct rig g;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		rig_start(&g);
		raw_send(g.r.sock, VHOST_USER_GET_INFLIGHT_FD, 0, &wrong[i],
			 sizeof(wrong[i]));
		raw_expect_eof(g.r.sock);
		rig_finish(&g, -EPROTO);
	}
}

/* Under the queues' feet. */
static void test_set_while_running(void **state)
{
	const struct vhost_user_inflight in = good();
	struct rig g;

	(void)state;
	rig_start(&g);
	raw_connect(&g.r);
	raw_echo(&g.r, 1);
	close(set(&g.r, &in, BYTES));
	raw_expect_eof(g.r.sock);
	rig_finish(&g, -EPROTO);
}

/* A queue finds what no device can have left: it does not start. */
static void test_wrong_content(void **state)
{
	const struct vhost_user_inflight in = good();
	const struct ring_inflight wrong[] = {
		{ .version = 2, .desc_num = RAW_RING },
		{ .version = 1, .desc_num = RAW_RING / 2 },
		{ .version = 1, .desc_num = RAW_RING, .used_idx = 1,
		  .last_batch_head = RAW_RING },
	};
	struct rig g;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		int fd = memfd_create("inflight", MFD_CLOEXEC);

		rig_start(&g);
		assert_int_equal(ftruncate(fd, BYTES), 0);
		assert_int_equal(pwrite(fd, &wrong[i], sizeof(wrong[i]), 0),
				 sizeof(wrong[i]));
		raw_send_fds(g.r.sock, VHOST_USER_SET_INFLIGHT_FD, 0, &in,
			     sizeof(in), &fd, 1);
		raw_mem_table(&g.r);
		raw_u64(&g.r, VHOST_USER_SET_FEATURES, 0x170000000);
		raw_vring(&g.r, 0);
		raw_state(&g.r, VHOST_USER_SET_VRING_ENABLE, 0, 1);
		raw_expect_eof(g.r.sock);
		close(fd);
		rig_finish(&g, -EPROTO);
	}
}

/*
 * The size that a front end names costs us nothing: with this one, and its own
 * memory, all maps of the process would have what they may have together, and
 * another front end would go without.
 */
static void test_only_what_is_needed(void **state)
{
	struct vhost_user_inflight in = good();
	struct ring_inflight part;
	struct rig g, other;
	int fd;

	(void)state;
	in.mmap_size = MEM_MAP_MAX_LIVE_BYTES - RAW_MEM;
	rig_start(&g);
	fd = set(&g.r, &in, in.mmap_size);
	raw_connect(&g.r);
	raw_echo(&g.r, 2);
	rig_start(&other);
	raw_connect(&other.r);
	raw_echo(&other.r, 1);
	rig_finish(&other, 0);
	for (unsigned i = 0; i < 5; i++)
		raw_echo(&g.r, 1);
	/* The thread is done with the marks when it is joined. */
	raw_state(&g.r, VHOST_USER_SET_VRING_ENABLE, 1, 0);
	(void)raw_get(&g.r, VHOST_USER_GET_QUEUE_NUM);
	assert_int_equal(pread(fd, &part, sizeof(part),
			       (off_t)ring_inflight_bytes(RAW_RING)),
			 sizeof(part));
	assert_int_equal(part.version, 1);
	assert_int_equal(part.desc_num, RAW_RING);
	assert_int_equal(part.used_idx, 5);
	close(fd);
	rig_finish(&g, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrong_sets),
		cmocka_unit_test(test_wrong_gets),
		cmocka_unit_test(test_set_while_running),
		cmocka_unit_test(test_wrong_content),
		cmocka_unit_test(test_only_what_is_needed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
