/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The back end against a front end that knows the protocol only from its text:
 * the orders of messages real front ends use, the answers, ring states, and
 * the back-end channel while other things go on.
 */
#include "raw.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define NEED_REPLY VHOST_USER_F_NEED_REPLY

struct rig {
	struct pair p;
	struct raw r;
	unsigned fds;
};

static void rig_start(struct rig *g)
{
	int s[2];

	g->fds = count_fds();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	pair_start_backend(&g->p, s[0],
			   &(struct pair_options){ .server_queues = 2 });
	raw_init(&g->r, s[1]);
	pair_set_file(&g->p, 0, pattern_file(65536, 0));
}

static void rig_finish(struct rig *g, int result)
{
	raw_done(&g->r);
	pair_finish(&g->p, result);
	assert_int_equal(count_fds(), g->fds);
}

/* An answer to NEED_REPLY of @request with value @v. */
static void expect_ack(struct raw *r, uint32_t request, uint64_t v)
{
	struct raw_msg m;

	raw_recv(r->sock, &m);
	assert_int_equal(m.hdr.request, request);
	assert_int_equal(m.hdr.flags, 5);
	assert_int_equal(m.hdr.size, 8);
	assert_int_equal(m.u.u64, v);
}

static void test_offers(void **state)
{
	struct rig g;
	struct raw_msg m;

	(void)state;
	rig_start(&g);
	assert_int_equal(raw_get(&g.r, VHOST_USER_GET_FEATURES), 0x170000000);
	assert_int_equal(raw_get(&g.r, VHOST_USER_GET_PROTOCOL_FEATURES),
			 0x10000000044b629);
	assert_int_equal(raw_get(&g.r, VHOST_USER_GET_QUEUE_NUM), 3);
	assert_int_equal(raw_get(&g.r, VHOST_USER_GET_MAX_MEM_SLOTS), 512);
	raw_send(g.r.sock, VHOST_USER_GET_SHMEM_CONFIG, 0, NULL, 0);
	raw_recv(g.r.sock, &m);
	assert_int_equal(m.hdr.size, 2056);
	assert_int_equal(m.u.shmem.n_regions, 1);
	assert_int_equal(m.u.shmem.sizes[0], PAIR_WINDOW);
	for (unsigned i = 1; i < 256; i++)
		assert_int_equal(m.u.shmem.sizes[i], 0);
	rig_finish(&g, 0);
}

/* Any piece of the configuration, as UML asks for it. */
static void test_config_pieces(void **state)
{
	struct virtio_fs_config want = { .tag = "pair",
					 .num_request_queues = 2 };
	uint8_t all[256] = { 0 };
	struct vhost_user_config c;
	struct raw_msg m;
	struct rig g;

	(void)state;
	memcpy(all, &want, sizeof(want));
	rig_start(&g);
	for (unsigned i = 0; i < 60; i++) {
		c = (struct vhost_user_config){ .offset = i % 44,
						.size = 1 + i * 3 % 200 };
		raw_send(g.r.sock, VHOST_USER_GET_CONFIG, 0, &c, 12 + c.size);
		raw_recv(g.r.sock, &m);
		assert_int_equal(m.hdr.request, VHOST_USER_GET_CONFIG);
		assert_int_equal(m.hdr.size, 12 + c.size);
		assert_int_equal(m.u.config.offset, c.offset);
		assert_int_equal(m.u.config.size, c.size);
		assert_memory_equal(m.u.config.data, all + c.offset, c.size);
	}
	rig_finish(&g, 0);
}

static void test_need_reply(void **state)
{
	const uint64_t pf = 1 << 3, f = 0x170000000;
	struct rig g;

	(void)state;
	rig_start(&g);
	/* Not negotiated: no answer, so the next thing is that of the GET. */
	raw_send(g.r.sock, VHOST_USER_SET_OWNER, NEED_REPLY, NULL, 0);
	assert_int_equal(raw_get(&g.r, VHOST_USER_GET_QUEUE_NUM), 3);
	/* The message that switches it on is answered already. */
	raw_send(g.r.sock, VHOST_USER_SET_PROTOCOL_FEATURES, NEED_REPLY, &pf,
		 8);
	expect_ack(&g.r, VHOST_USER_SET_PROTOCOL_FEATURES, 0);
	raw_send(g.r.sock, VHOST_USER_SET_FEATURES, NEED_REPLY, &f, 8);
	expect_ack(&g.r, VHOST_USER_SET_FEATURES, 0);
	/* A GET answers once, whatever is asked. */
	raw_send(g.r.sock, VHOST_USER_GET_FEATURES, NEED_REPLY, NULL, 0);
	expect_ack(&g.r, VHOST_USER_GET_FEATURES, f);
	assert_int_equal(raw_get(&g.r, VHOST_USER_GET_QUEUE_NUM), 3);
	rig_finish(&g, 0);
}

static void test_straight_order(void **state)
{
	struct rig g;

	(void)state;
	rig_start(&g);
	raw_connect(&g.r);
	for (unsigned i = 0; i < 3; i++)
		raw_echo(&g.r, i);
	assert_true(vhost_backend_has_shmem(g.p.be));
	rig_finish(&g, 0);
}

/* Everything backwards: enable and kick first, memory and channel last. */
static void test_backward_order(void **state)
{
	struct raw *r;
	struct rig g;

	(void)state;
	rig_start(&g);
	r = &g.r;
	raw_give_channel(r);
	raw_state(r, VHOST_USER_SET_VRING_ENABLE, 1, 1);
	raw_vring_fd(r, VHOST_USER_SET_VRING_KICK, 1, r->q[1].kick_fd);
	raw_vring_fd(r, VHOST_USER_SET_VRING_CALL, 1, r->q[1].call_fd);
	raw_vring_addr(r, 1);
	raw_u64(r, VHOST_USER_SET_FEATURES, 0x170000000);
	raw_state(r, VHOST_USER_SET_VRING_NUM, 1, RAW_RING);
	raw_mem_table(r);
	raw_u64(r, VHOST_USER_SET_PROTOCOL_FEATURES, 1 << 5 | 1 << 22);
	assert_int_equal(raw_get(r, VHOST_USER_GET_QUEUE_NUM), 3);
	assert_false(vhost_backend_has_shmem(g.p.be)); /* no REPLY_ACK */
	raw_u64(r, VHOST_USER_SET_PROTOCOL_FEATURES,
		1 << 3 | 1 << 5 | 1 << 22);
	raw_echo(r, 1);
	assert_int_equal(raw_get(r, VHOST_USER_GET_QUEUE_NUM), 3);
	assert_true(vhost_backend_has_shmem(g.p.be));
	rig_finish(&g, 0);
}

/* Bit 30 not acknowledged: enabled by SET_FEATURES; no event index either. */
static void test_without_protocol_features(void **state)
{
	struct rig g;

	(void)state;
	rig_start(&g);
	raw_u64(&g.r, VHOST_USER_SET_FEATURES, 0x130000000);
	raw_mem_table(&g.r);
	raw_vring(&g.r, 1);
	raw_echo(&g.r, 1);
	rig_finish(&g, 0);
}

/* QEMU adds regions one by one, and takes some away later. */
static void test_regions_one_by_one(void **state)
{
	struct vhost_user_one_region a = raw_region(), b = raw_region();
	struct raw *r;
	struct rig g;
	int extra;

	(void)state;
	rig_start(&g);
	r = &g.r;
	extra = pattern_file(65536, 0);
	raw_u64(r, VHOST_USER_SET_PROTOCOL_FEATURES, 1 << 3 | 1 << 15);
	raw_u64(r, VHOST_USER_SET_FEATURES, 0x170000000);
	raw_send_fds(r->sock, VHOST_USER_ADD_MEM_REG, NEED_REPLY, &a, 40,
		     &r->mem_fd, 1);
	expect_ack(r, VHOST_USER_ADD_MEM_REG, 0);
	raw_vring(r, 1);
	raw_state(r, VHOST_USER_SET_VRING_ENABLE, 1, 1);
	raw_echo(r, 1);

	b.region.gpa = 0x1000;
	b.region.uaddr = 0x1000;
	b.region.size = 65536;
	for (unsigned i = 0; i < 50; i++) {
		raw_send_fds(r->sock, VHOST_USER_ADD_MEM_REG, NEED_REPLY, &b,
			     40, &extra, 1);
		expect_ack(r, VHOST_USER_ADD_MEM_REG, 0);
		raw_echo(r, 1);
		raw_send(r->sock, VHOST_USER_REM_MEM_REG, NEED_REPLY, &b, 40);
		expect_ack(r, VHOST_USER_REM_MEM_REG, 0);
		raw_echo(r, 1);
	}
	/* What is not there cannot be removed; the session goes on. */
	raw_send(r->sock, VHOST_USER_REM_MEM_REG, NEED_REPLY, &b, 40);
	expect_ack(r, VHOST_USER_REM_MEM_REG, ENOENT);
	/* Longer than its file. */
	b.region.size = 65536 * 2;
	raw_send_fds(r->sock, VHOST_USER_ADD_MEM_REG, NEED_REPLY, &b, 40,
		     &extra, 1);
	expect_ack(r, VHOST_USER_ADD_MEM_REG, EINVAL);
	raw_echo(r, 1);
	/* The same memory as a whole table, under a running queue. */
	raw_mem_table(r);
	raw_echo(r, 1);
	close(extra);
	rig_finish(&g, 0);
}

static unsigned get_base(struct raw *r, unsigned queue)
{
	struct raw_msg m;

	raw_state(r, VHOST_USER_GET_VRING_BASE, queue, 0);
	raw_recv(r->sock, &m);
	assert_int_equal(m.hdr.request, VHOST_USER_GET_VRING_BASE);
	assert_int_equal(m.hdr.size, 8);
	assert_int_equal(m.u.state.index, queue);
	return m.u.state.num;
}

/* GET_VRING_BASE stops, KICK starts, ENABLE 0 pauses; nothing is lost. */
static void test_stop_and_go(void **state)
{
	struct pair_request nothing = { .op = OP_UNMAP };
	struct raw *r;
	struct rig g;

	(void)state;
	rig_start(&g);
	r = &g.r;
	raw_connect(r);
	for (unsigned i = 0; i < 5; i++)
		raw_echo(r, 1);
	assert_int_equal(get_base(r, 1), 5);
	wait_for(&g.p.stops, 1);
	raw_submit(r, 1, 0, &nothing);
	assert_int_equal(get_base(r, 1), 5);
	assert_false(ring_driver_has_used(r->q[1].d));
	raw_state(r, VHOST_USER_SET_VRING_BASE, 1, 5);
	raw_vring_fd(r, VHOST_USER_SET_VRING_KICK, 1, r->q[1].kick_fd);
	assert_int_equal(raw_result(r, 1), -EINVAL);

	raw_state(r, VHOST_USER_SET_VRING_ENABLE, 1, 0);
	assert_int_equal(raw_get(r, VHOST_USER_GET_QUEUE_NUM), 3);
	raw_submit(r, 1, 0, &nothing);
	assert_false(ring_driver_has_used(r->q[1].d));
	raw_state(r, VHOST_USER_SET_VRING_ENABLE, 1, 1);
	assert_int_equal(raw_result(r, 1), -EINVAL);
	assert_int_equal(get_base(r, 1), 7);
	rig_finish(&g, 0);
}

/* The kick descriptor is replaced, and so is the call, while running. */
static void test_replaced_descriptors(void **state)
{
	struct raw *r;
	struct rig g;

	(void)state;
	rig_start(&g);
	r = &g.r;
	raw_connect(r);
	for (unsigned i = 0; i < 10; i++) {
		raw_echo(r, 1);
		fd_close(&r->q[1].kick_fd);
		fd_close(&r->q[1].call_fd);
		r->q[1].kick_fd = eventfd(0, EFD_NONBLOCK);
		r->q[1].call_fd = eventfd(0, i & 1 ? EFD_NONBLOCK : 0);
		raw_vring_fd(r, VHOST_USER_SET_VRING_KICK, 1, r->q[1].kick_fd);
		raw_vring_fd(r, VHOST_USER_SET_VRING_CALL, 1, r->q[1].call_fd);
		raw_vring_fd(r, VHOST_USER_SET_VRING_ERR, 1, r->q[2].call_fd);
		(void)raw_get(r, VHOST_USER_GET_FEATURES);
	}
	rig_finish(&g, 0);
}

/* UML's call descriptor is a stream socket, which it may have closed. */
static void test_call_is_a_socket(void **state)
{
	uint64_t v = 0;
	struct raw *r;
	struct rig g;
	int s[2];

	(void)state;
	rig_start(&g);
	r = &g.r;
	raw_connect(r);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	raw_vring_fd(r, VHOST_USER_SET_VRING_CALL, 1, s[1]);
	close(s[1]);
	assert_int_equal(raw_get(r, VHOST_USER_GET_QUEUE_NUM), 3);
	ring_driver_want_call(r->q[1].d, true);
	raw_submit(r, 1, 0, &(struct pair_request){ .op = OP_UNMAP });
	/* One came when the descriptor was set, one with the answer. */
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(recv(s[0], &v, sizeof(v), MSG_WAITALL), 8);
		assert_int_equal(v, 1);
	}
	close(s[0]);
	assert_int_equal(raw_result(r, 1), -EINVAL);
	/* Nobody listens: the queue goes on all the same. */
	ring_driver_want_call(r->q[1].d, true);
	raw_submit(r, 1, 0, &(struct pair_request){ .op = OP_UNMAP });
	raw_echo(r, 2);
	/* A new descriptor is told at once of what the old one missed. */
	raw_vring_fd(r, VHOST_USER_SET_VRING_CALL, 1, r->q[1].call_fd);
	assert_int_equal(raw_result(r, 1), -EINVAL);
	rig_finish(&g, 0);
}

/* No kick descriptor: the ring is looked at now and then. */
static void test_ring_without_kick(void **state)
{
	const uint64_t v = 1 | VHOST_USER_VRING_NOFD;
	struct rig g;

	(void)state;
	rig_start(&g);
	raw_connect(&g.r);
	raw_send(g.r.sock, VHOST_USER_SET_VRING_KICK, 0, &v, 8);
	assert_int_equal(raw_get(&g.r, VHOST_USER_GET_QUEUE_NUM), 3);
	raw_echo(&g.r, 1);
	rig_finish(&g, 0);
}

static void test_reset_device(void **state)
{
	struct raw *r;
	struct rig g;

	(void)state;
	rig_start(&g);
	r = &g.r;
	raw_connect(r);
	raw_echo(r, 1);
	raw_send(r->sock, VHOST_USER_RESET_DEVICE, NEED_REPLY, NULL, 0);
	expect_ack(r, VHOST_USER_RESET_DEVICE, 0);
	assert_int_equal(g.p.resets, 1);
	assert_int_equal(g.p.stops, 3);
	/* ... and set up anew. */
	raw_new_rings(r);
	raw_vring(r, 1);
	raw_state(r, VHOST_USER_SET_VRING_ENABLE, 1, 1);
	raw_echo(r, 1);
	rig_finish(&g, 0);
	assert_int_equal(g.p.resets, 2);
}

/* --- the back-end channel ------------------------------------------------ */

static void submit_map(struct raw *r, unsigned queue, uint64_t shm_off)
{
	raw_submit(r, queue, queue,
		   &(struct pair_request){ .op = OP_MAP, .len = 4096,
					   .shm_off = shm_off });
}

/* The request on the channel, which must be @request for @shm_off. */
static void expect_mmap(struct raw *r, uint32_t request, uint64_t shm_off)
{
	struct raw_msg m;

	raw_recv(r->chan, &m);
	assert_int_equal(m.hdr.request, request);
	assert_int_equal(m.hdr.flags, 1 | NEED_REPLY);
	assert_int_equal(m.hdr.size, 40);
	assert_int_equal(m.u.mmap.shmid, 0);
	assert_int_equal(m.u.mmap.shm_offset, shm_off);
	assert_int_equal(m.u.mmap.len, 4096);
	assert_int_equal(m.n_fds, request == VHOST_USER_BACKEND_SHMEM_MAP);
	fd_close_all(m.fds, m.n_fds);
}

static void answer(struct raw *r, uint32_t request, int64_t v)
{
	raw_send(r->chan, request, VHOST_USER_F_REPLY, &v, 8);
}

static void test_map_results(void **state)
{
	static const struct {
		int64_t said;
		int got;
	} cases[] = {
		{ 0, 0 },
		{ -EINVAL, -EINVAL },
		{ -EFAULT, -EFAULT },
		{ 1, -EFAULT },
		{ -5000, -EFAULT },
		{ INT64_MIN, -EFAULT },
	};
	struct rig g;

	(void)state;
	rig_start(&g);
	raw_connect(&g.r);
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		submit_map(&g.r, 1, 8192);
		expect_mmap(&g.r, VHOST_USER_BACKEND_SHMEM_MAP, 8192);
		answer(&g.r, VHOST_USER_BACKEND_SHMEM_MAP, cases[i].said);
		assert_int_equal(raw_result(&g.r, 1), cases[i].got);
	}
	rig_finish(&g, 0);
}

/* QEMU sends regions on the main channel before it answers a map. */
static void test_main_channel_works_while_mapping(void **state)
{
	struct vhost_user_one_region a = raw_region();
	struct raw *r;
	struct rig g;
	int fd;

	(void)state;
	rig_start(&g);
	r = &g.r;
	raw_connect(r);
	submit_map(r, 1, 0);
	expect_mmap(r, VHOST_USER_BACKEND_SHMEM_MAP, 0);
	a.region.gpa = 0x1000;
	a.region.uaddr = 0x1000;
	a.region.size = 65536;
	fd = g.p.files[0];
	raw_send_fds(r->sock, VHOST_USER_ADD_MEM_REG, NEED_REPLY, &a, 40,
		     &fd, 1);
	expect_ack(r, VHOST_USER_ADD_MEM_REG, 0);
	raw_echo(r, 2);
	raw_echo(r, 0);
	answer(r, VHOST_USER_BACKEND_SHMEM_MAP, 0);
	assert_int_equal(raw_result(r, 1), 0);
	rig_finish(&g, 0);
}

/*
 * The queue is stopped while it waits: the map fails at once. Its answer comes
 * late and says it worked: it is undone before the next one is sent.
 */
static void test_late_answer(void **state)
{
	struct raw *r;
	struct rig g;

	(void)state;
	rig_start(&g);
	r = &g.r;
	raw_connect(r);
	submit_map(r, 1, 4096);
	expect_mmap(r, VHOST_USER_BACKEND_SHMEM_MAP, 4096);
	assert_int_equal(get_base(r, 1), 1);
	assert_int_equal(raw_result(r, 1), -ECANCELED);

	submit_map(r, 2, 8192);
	answer(r, VHOST_USER_BACKEND_SHMEM_MAP, 0);
	expect_mmap(r, VHOST_USER_BACKEND_SHMEM_UNMAP, 4096);
	answer(r, VHOST_USER_BACKEND_SHMEM_UNMAP, 0);
	expect_mmap(r, VHOST_USER_BACKEND_SHMEM_MAP, 8192);
	answer(r, VHOST_USER_BACKEND_SHMEM_MAP, 0);
	assert_int_equal(raw_result(r, 2), 0);
	rig_finish(&g, 0);
}

/* Late, but refused: nothing to undo. */
static void test_late_refusal(void **state)
{
	struct raw *r;
	struct rig g;

	(void)state;
	rig_start(&g);
	r = &g.r;
	raw_connect(r);
	submit_map(r, 1, 4096);
	expect_mmap(r, VHOST_USER_BACKEND_SHMEM_MAP, 4096);
	assert_int_equal(get_base(r, 1), 1);
	submit_map(r, 2, 8192);
	answer(r, VHOST_USER_BACKEND_SHMEM_MAP, -EINVAL);
	expect_mmap(r, VHOST_USER_BACKEND_SHMEM_MAP, 8192);
	answer(r, VHOST_USER_BACKEND_SHMEM_MAP, 0);
	assert_int_equal(raw_result(r, 2), 0);
	rig_finish(&g, 0);
}

/* Nobody answers at all: five seconds, then the queue goes on. */
static void test_no_answer(void **state)
{
	struct raw *r;
	struct rig g;

	(void)state;
	rig_start(&g);
	r = &g.r;
	raw_connect(r);
	submit_map(r, 1, 4096);
	expect_mmap(r, VHOST_USER_BACKEND_SHMEM_MAP, 4096);
	assert_int_equal(raw_result(r, 1), -ETIMEDOUT);
	raw_echo(r, 1);
	answer(r, VHOST_USER_BACKEND_SHMEM_MAP, 0);
	submit_map(r, 1, 8192);
	expect_mmap(r, VHOST_USER_BACKEND_SHMEM_UNMAP, 4096);
	answer(r, VHOST_USER_BACKEND_SHMEM_UNMAP, 0);
	expect_mmap(r, VHOST_USER_BACKEND_SHMEM_MAP, 8192);
	answer(r, VHOST_USER_BACKEND_SHMEM_MAP, 0);
	assert_int_equal(raw_result(r, 1), 0);
	rig_finish(&g, 0);
}

/* Two queues want the channel; stopping the one that waits for the other does not
 * wait for the answer that the other lacks. The other's wait is cancelled, too, if
 * its thread runs in time. */
static void test_stop_cancels_waits(void **state)
{
	struct raw *r;
	struct rig g;
	int result;

	(void)state;
	rig_start(&g);
	r = &g.r;
	raw_connect(r);
	submit_map(r, 1, 0);
	expect_mmap(r, VHOST_USER_BACKEND_SHMEM_MAP, 0);
	submit_map(r, 2, 4096);
	wait_for(&g.p.waiting, 2);
	raw_state(r, VHOST_USER_SET_VRING_ENABLE, 2, 0);
	answer(r, VHOST_USER_BACKEND_SHMEM_MAP, 0);
	result = raw_result(r, 1);
	assert_true(result == 0 || result == -ECANCELED);
	assert_int_equal(raw_get(r, VHOST_USER_GET_QUEUE_NUM), 3);
	rig_finish(&g, 0);
}

/* A guest's mapping is there when one more request has been answered. */
static void expect_barrier(struct raw *r)
{
	struct raw_msg m;

	raw_recv(r->chan, &m);
	assert_int_equal(m.hdr.request,
			 VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE);
	assert_int_equal(m.hdr.flags, 1 | NEED_REPLY);
	assert_int_equal(m.hdr.size, 16);
	assert_int_equal(m.n_fds, 0);
}

static void connect_in_order(struct raw *r)
{
	raw_connect(r);
	raw_u64(r, VHOST_USER_SET_PROTOCOL_FEATURES,
		1 << 0 | 1 << 3 | 1 << 5 | 1 << 9 | 1 << 10 | 1 << 13 |
			1 << 15 | 1 << 18 | 1 << 22);
	assert_int_equal(raw_get(r, VHOST_USER_GET_QUEUE_NUM), 3);
}

static void test_map_waits_for_its_effect(void **state)
{
	struct raw *r;
	struct rig g;

	(void)state;
	rig_start(&g);
	r = &g.r;
	connect_in_order(r);
	for (int64_t said = 0; said < 2; said++) {
		submit_map(r, 1, 4096);
		expect_mmap(r, VHOST_USER_BACKEND_SHMEM_MAP, 4096);
		answer(r, VHOST_USER_BACKEND_SHMEM_MAP, 0);
		expect_barrier(r);
		raw_echo(r, 2);
		assert_false(ring_driver_has_used(r->q[1].d));
		answer(r, VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE, said);
		assert_int_equal(raw_result(r, 1), 0);
	}
	/* Nothing to wait for. */
	submit_map(r, 1, 8192);
	expect_mmap(r, VHOST_USER_BACKEND_SHMEM_MAP, 8192);
	answer(r, VHOST_USER_BACKEND_SHMEM_MAP, -EINVAL);
	assert_int_equal(raw_result(r, 1), -EINVAL);
	rig_finish(&g, 0);
}

/* Whatever the late answer says: the mapping is there, and is undone. */
static void test_late_effect(void **state)
{
	struct raw *r;
	struct rig g;

	(void)state;
	rig_start(&g);
	r = &g.r;
	connect_in_order(r);
	submit_map(r, 1, 4096);
	expect_mmap(r, VHOST_USER_BACKEND_SHMEM_MAP, 4096);
	answer(r, VHOST_USER_BACKEND_SHMEM_MAP, 0);
	expect_barrier(r);
	assert_int_equal(get_base(r, 1), 1);
	assert_int_equal(raw_result(r, 1), -ECANCELED);
	submit_map(r, 2, 8192);
	answer(r, VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE, 1);
	expect_mmap(r, VHOST_USER_BACKEND_SHMEM_UNMAP, 4096);
	answer(r, VHOST_USER_BACKEND_SHMEM_UNMAP, 0);
	expect_mmap(r, VHOST_USER_BACKEND_SHMEM_MAP, 8192);
	answer(r, VHOST_USER_BACKEND_SHMEM_MAP, 0);
	expect_barrier(r);
	answer(r, VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE, 1);
	assert_int_equal(raw_result(r, 2), 0);
	rig_finish(&g, 0);
}

static void test_channel_closed(void **state)
{
	struct raw *r;
	struct rig g;

	(void)state;
	rig_start(&g);
	r = &g.r;
	raw_connect(r);
	submit_map(r, 1, 0);
	expect_mmap(r, VHOST_USER_BACKEND_SHMEM_MAP, 0);
	fd_close(&r->chan);
	assert_int_equal(raw_result(r, 1), -ENOTCONN);
	submit_map(r, 1, 0);
	assert_int_equal(raw_result(r, 1), -ENOTCONN);
	assert_false(vhost_backend_has_shmem(g.p.be));
	raw_echo(r, 1);
	/* A new one works. */
	raw_give_channel(r);
	assert_int_equal(raw_get(r, VHOST_USER_GET_QUEUE_NUM), 3);
	submit_map(r, 1, 0);
	expect_mmap(r, VHOST_USER_BACKEND_SHMEM_MAP, 0);
	answer(r, VHOST_USER_BACKEND_SHMEM_MAP, 0);
	assert_int_equal(raw_result(r, 1), 0);
	rig_finish(&g, 0);
}

/* Somebody who answers something else has lost the thread: the end. */
static void test_wrong_answers(void **state)
{
	static const struct {
		uint32_t request, flags, size;
	} bad[] = {
		{ VHOST_USER_BACKEND_SHMEM_UNMAP, 4, 8 },
		{ VHOST_USER_BACKEND_SHMEM_MAP, 0, 8 },
		{ VHOST_USER_BACKEND_SHMEM_MAP, 4, 4 },
		{ VHOST_USER_BACKEND_SHMEM_MAP, 4, 16 },
		{ VHOST_USER_BACKEND_SHMEM_MAP, 4 | 2, 8 },
		{ 99, 4, 8 },
	};
	const uint64_t payload[2] = { 0, 0 };

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		struct rig g;

		rig_start(&g);
		raw_connect(&g.r);
		submit_map(&g.r, 1, 0);
		expect_mmap(&g.r, VHOST_USER_BACKEND_SHMEM_MAP, 0);
		raw_send(g.r.chan, bad[i].request, bad[i].flags, payload,
			 bad[i].size);
		raw_expect_eof(g.r.sock);
		rig_finish(&g, -EPROTO);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_offers),
		cmocka_unit_test(test_config_pieces),
		cmocka_unit_test(test_need_reply),
		cmocka_unit_test(test_straight_order),
		cmocka_unit_test(test_backward_order),
		cmocka_unit_test(test_without_protocol_features),
		cmocka_unit_test(test_regions_one_by_one),
		cmocka_unit_test(test_stop_and_go),
		cmocka_unit_test(test_replaced_descriptors),
		cmocka_unit_test(test_call_is_a_socket),
		cmocka_unit_test(test_ring_without_kick),
		cmocka_unit_test(test_reset_device),
		cmocka_unit_test(test_map_results),
		cmocka_unit_test(test_main_channel_works_while_mapping),
		cmocka_unit_test(test_late_answer),
		cmocka_unit_test(test_late_refusal),
		cmocka_unit_test(test_no_answer),
		cmocka_unit_test(test_stop_cancels_waits),
		cmocka_unit_test(test_map_waits_for_its_effect),
		cmocka_unit_test(test_late_effect),
		cmocka_unit_test(test_channel_closed),
		cmocka_unit_test(test_wrong_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
