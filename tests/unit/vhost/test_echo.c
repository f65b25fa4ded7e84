/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests and answers between our two ends; life cycle; nothing leaks. */
#include "pair.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

static void check_echo(struct pair *p, unsigned queue, unsigned slot,
		       size_t len, uint32_t salt)
{
	struct pair_request r = { .op = OP_ECHO, .len = len };
	unsigned char *buf = malloc(len);
	uint32_t got = 0;

	for (size_t i = 0; i < len; i++)
		buf[i] = (unsigned char)(i * 7 + salt + (i >> 8));
	pair_submit(p, queue, slot, &r, buf);
	assert_int_equal(pair_wait(p, queue, &got), slot);
	assert_int_equal(got, len);
	assert_memory_equal(pair_answer(p, slot), buf, len);
	free(buf);
}

static void echo_sizes(const struct pair_options *o)
{
	static const size_t sizes[] = { 1, 7, 8, 9, 4095, 4096, 60000 };
	struct pair p;

	pair_start(&p, o);
	for (unsigned q = 0; q < vhost_frontend_info(p.fe)->n_queues; q++)
		for (unsigned i = 0; i < ARRAY_LEN(sizes); i++)
			check_echo(&p, q, i, sizes[i], q + i);
	pair_finish(&p, 0);
}

static void test_echo_asleep(void **state)
{
	(void)state;
	echo_sizes(&(struct pair_options){ .server_queues = 3,
					   .client_queues = 3 });
}

static void test_echo_polling(void **state)
{
	(void)state;
	echo_sizes(&(struct pair_options){ .server_queues = 2,
					   .client_queues = 2,
					   .poll_ns = 200 * NS_PER_US });
}

static void test_info(void **state)
{
	const struct pair_options o = { .server_queues = 4,
					.client_queues = 2 };
	const struct vhost_frontend_info *i;
	struct pair p;

	(void)state;
	pair_start(&p, &o);
	i = vhost_frontend_info(p.fe);
	assert_int_equal(i->virtio_features, 0x170000000);
	assert_int_equal(i->protocol_features,
			 (uint64_t)(1 << 0 | 1 << 3 | 1 << 5 | 1 << 9 | 1 << 10 |
				   1 << 22 | INT64_C(1) << 56));
	assert_int_equal(i->n_queues, 3);
	assert_string_equal(i->tag, "pair");
	assert_non_null(i->window);
	assert_int_equal(i->window_bytes, PAIR_WINDOW);
	assert_true(is_aligned((uintptr_t)i->window, MIB(2)));
	assert_null(i->no_window_why);
	assert_null(vhost_frontend_queue(p.fe, 3));
	assert_true(vhost_backend_has_shmem(p.be));
	pair_finish(&p, 0);
}

static void test_fewer_queues_than_wanted(void **state)
{
	const struct pair_options o = { .server_queues = 1,
					.client_queues = 8 };
	struct pair p;

	(void)state;
	pair_start(&p, &o);
	assert_int_equal(vhost_frontend_info(p.fe)->n_queues, 2);
	check_echo(&p, 1, 0, 100, 1);
	pair_finish(&p, 0);
}

static void test_no_window(void **state)
{
	const struct pair_options o = { .no_window = true };
	struct pair p;

	(void)state;
	pair_start(&p, &o);
	assert_null(vhost_frontend_info(p.fe)->window);
	assert_string_equal(vhost_frontend_info(p.fe)->no_window_why,
			    "the daemon does not offer shared memory "
			    "(SHMEM, protocol bit 22)");
	assert_false(vhost_backend_has_shmem(p.be));
	assert_int_equal(vhost_frontend_channel_fd(p.fe), -1);
	check_echo(&p, 1, 0, 100, 1);
	pair_finish(&p, 0);
}

/* Many in flight at once, answered in order of the ring, each only once. */
static void test_pipelined(void **state)
{
	const struct pair_options o = { .poll_ns = 50 * NS_PER_US };
	struct pair_request r = { .op = OP_ECHO, .len = 64 };
	struct pair p;
	char buf[64];

	(void)state;
	pair_start(&p, &o);
	for (unsigned round = 0; round < 300; round++) {
		uint64_t seen = 0;
		uint32_t len = 0;

		for (unsigned i = 0; i < 32; i++) {
			memset(buf, (int)(round + i), sizeof(buf));
			pair_submit(&p, 1, i, &r, buf);
		}
		for (unsigned i = 0; i < 32; i++) {
			unsigned slot = pair_wait(&p, 1, &len);

			assert_false(seen >> slot & 1);
			seen |= UINT64_C(1) << slot;
			memset(buf, (int)(round + slot), sizeof(buf));
			assert_int_equal(len, sizeof(buf));
			assert_memory_equal(pair_answer(&p, slot), buf, 64);
		}
		assert_int_equal(seen, UINT32_MAX);
	}
	pair_finish(&p, 0);
}

/* One queue that waits does not hold up another one, nor hiprio. */
static void test_queues_are_independent(void **state)
{
	const struct pair_options o = { .server_queues = 2,
					.client_queues = 2 };
	struct pair_request w = { .op = OP_WAIT };
	struct pair p;
	uint32_t len = 0;

	(void)state;
	pair_start(&p, &o);
	pair_submit(&p, 1, 5, &w, NULL);
	wait_for(&p.waiting, 1);
	check_echo(&p, 2, 0, 100, 1);
	check_echo(&p, 0, 1, 100, 2);
	assert_false(ring_driver_has_used(vhost_frontend_queue(p.fe, 1)));
	atomic_store(&p.gate, true);
	assert_int_equal(pair_wait(&p, 1, &len), 5);
	pair_finish(&p, 0);
}

/* A handler that reports a bad driver stops its queue only. */
static void test_bad_request_stops_queue(void **state)
{
	struct pair_request bad = { .op = OP_BAD };
	struct pair p;

	(void)state;
	pair_start(&p, &(struct pair_options){ 0 });
	wait_for(&p.starts, 2);
	pair_submit(&p, 1, 0, &bad, NULL);
	wait_for(&p.stops, 1);
	check_echo(&p, 0, 1, 100, 2);
	assert_false(ring_driver_has_used(vhost_frontend_queue(p.fe, 1)));
	pair_finish(&p, 0);
}

static void test_stop(void **state)
{
	struct pair p;

	(void)state;
	pair_start(&p, &(struct pair_options){ 0 });
	vhost_backend_stop(p.be);
	pair_join(&p);
	assert_int_equal(p.run_result, -ECANCELED);
	assert_int_equal(vhost_frontend_service(p.fe), -ENOTCONN);
	assert_int_equal(vhost_frontend_service(p.fe), -ENOTCONN);
	pair_finish(&p, -ECANCELED);
}

static void test_stop_before_run(void **state)
{
	struct pair p;
	int s[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	pair_start_backend(&p, s[0], &(struct pair_options){ 0 });
	vhost_backend_stop(p.be);
	pair_finish(&p, -ECANCELED);
	close(s[1]);
}

/* The front end goes while requests are being handled and more wait. */
static void test_disconnect_in_the_middle(void **state)
{
	struct pair_request w = { .op = OP_WAIT };
	struct pair_request r = { .op = OP_ECHO, .len = 0 };
	struct pair p;

	(void)state;
	pair_start(&p, &(struct pair_options){ 0 });
	pair_submit(&p, 1, 0, &w, NULL);
	for (unsigned i = 1; i < 20; i++)
		pair_submit(&p, 1, i, &r, NULL);
	wait_for(&p.waiting, 1);
	vhost_frontend_free(p.fe);
	p.fe = NULL;
	atomic_store(&p.gate, true);
	pair_finish(&p, 0);
	assert_int_equal(p.starts, 2);
}

static void test_cycles_leak_nothing(void **state)
{
	const struct pair_options o = { .server_queues = 2,
					.client_queues = 2,
					.poll_ns = 20 * NS_PER_US };
	unsigned fds = count_fds(), threads = count_threads();
	struct pair p;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		pair_start(&p, &o);
		if (i % 2)
			check_echo(&p, 1 + i % 2, 0, 1000, i);
		if (i % 3 == 0)
			vhost_backend_stop(p.be);
		vhost_frontend_free(p.fe);
		p.fe = NULL;
		pair_join(&p);
		pair_finish(&p, p.run_result);
	}
	assert_int_equal(count_fds(), fds);
	assert_int_equal(count_threads(), threads);
}

static void test_free_unused(void **state)
{
	const struct vhost_backend_ops no_ops = { 0 };
	unsigned fds = count_fds();
	struct pair p = { 0 };
	struct vhost_backend_config bad = { .sock = 0, .ops = &no_ops };
	struct vhost_backend *be = NULL;

	(void)state;
	vhost_backend_free(NULL);
	vhost_frontend_free(NULL);
	assert_int_equal(vhost_backend_new(&bad, &be), -EINVAL);
	assert_null(be);
	(void)p;
	assert_int_equal(count_fds(), fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_echo_asleep),
		cmocka_unit_test(test_echo_polling),
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_fewer_queues_than_wanted),
		cmocka_unit_test(test_no_window),
		cmocka_unit_test(test_pipelined),
		cmocka_unit_test(test_queues_are_independent),
		cmocka_unit_test(test_bad_request_stops_queue),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_stop_before_run),
		cmocka_unit_test(test_disconnect_in_the_middle),
		cmocka_unit_test(test_cycles_leak_nothing),
		cmocka_unit_test(test_free_unused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
