/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A front end that breaks one rule each time: the session ends with -EPROTO and
 * one line in the log that names the message; no descriptor stays open, no
 * thread stays behind, and nothing else happens.
 */
#include "raw.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

static char log_text[4096];
static unsigned log_lines;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

static void capture(void *ctx, enum log_level level, const char *text)
{
	(void)ctx;
	(void)level;
	pthread_mutex_lock(&log_lock);
	log_lines++;
	snprintf(log_text, sizeof(log_text), "%s", text);
	pthread_mutex_unlock(&log_lock);
}

/* Send what is wrong; may set @r's queues up first. */
typedef void (*misdeed)(struct raw *r);

static void send_fds_of_kind(struct raw *r, uint32_t request, uint64_t v,
			     int fd, unsigned n)
{
	int fds[VHOST_USER_MAX_FDS + 8];

	assert_true(fd >= 0);
	for (unsigned i = 0; i < n; i++)
		fds[i] = fd;
	raw_send_fds(r->sock, request, 0, &v, sizeof(v), fds, n);
}

static void unknown_request(struct raw *r)
{
	raw_u64(r, 99, 0);
}

static void not_offered_request(struct raw *r)
{
	raw_u64(r, VHOST_USER_SET_LOG_BASE, 0);
}

static void a_reply(struct raw *r)
{
	raw_send(r->sock, VHOST_USER_GET_FEATURES, VHOST_USER_F_REPLY, NULL,
		 0);
}

static void wrong_version(struct raw *r)
{
	const struct vhost_user_header h = { VHOST_USER_GET_FEATURES, 2, 0 };

	assert_int_equal(write(r->sock, &h, sizeof(h)), sizeof(h));
}

static void huge_size(struct raw *r)
{
	const struct vhost_user_header h = { VHOST_USER_GET_FEATURES, 1,
					     VHOST_USER_MAX_PAYLOAD + 1 };

	assert_int_equal(write(r->sock, &h, sizeof(h)), sizeof(h));
}

static void cut_header(struct raw *r)
{
	assert_int_equal(write(r->sock, "\1\0\0\0\1", 5), 5);
	shutdown(r->sock, SHUT_WR);
}

static void cut_payload(struct raw *r)
{
	const struct vhost_user_header h = { VHOST_USER_SET_FEATURES, 1, 8 };

	assert_int_equal(write(r->sock, &h, sizeof(h)), sizeof(h));
	assert_int_equal(write(r->sock, &h, 7), 7);
	shutdown(r->sock, SHUT_WR);
}

static void short_payload(struct raw *r)
{
	raw_send(r->sock, VHOST_USER_SET_FEATURES, 0, "1234", 4);
}

static void long_payload(struct raw *r)
{
	raw_send(r->sock, VHOST_USER_SET_VRING_NUM, 0, "0123456789abcdef", 16);
}

static void unknown_feature(struct raw *r)
{
	raw_u64(r, VHOST_USER_SET_FEATURES, UINT64_C(1) << 33 | 0x170000000);
}

static void unknown_protocol_feature(struct raw *r)
{
	raw_u64(r, VHOST_USER_SET_PROTOCOL_FEATURES, 1 << 21);
}

static void queue_too_high(struct raw *r)
{
	raw_state(r, VHOST_USER_SET_VRING_NUM, 3, 64);
}

static void queue_max(struct raw *r)
{
	raw_state(r, VHOST_USER_GET_VRING_BASE, UINT32_MAX, 0);
}

static void size_not_pow2(struct raw *r)
{
	raw_state(r, VHOST_USER_SET_VRING_NUM, 1, 65);
}

static void size_zero(struct raw *r)
{
	raw_state(r, VHOST_USER_SET_VRING_NUM, 1, 0);
}

static void size_too_large(struct raw *r)
{
	raw_state(r, VHOST_USER_SET_VRING_NUM, 1, 65536);
}

static void base_too_large(struct raw *r)
{
	raw_state(r, VHOST_USER_SET_VRING_BASE, 1, 65536);
}

static void enable_two(struct raw *r)
{
	raw_state(r, VHOST_USER_SET_VRING_ENABLE, 1, 2);
}

static void size_while_running(struct raw *r)
{
	raw_connect(r);
	raw_state(r, VHOST_USER_SET_VRING_NUM, 1, RAW_RING);
}

static void base_while_running(struct raw *r)
{
	raw_connect(r);
	raw_state(r, VHOST_USER_SET_VRING_BASE, 1, 0);
}

static void moved_while_running(struct raw *r)
{
	struct vhost_user_vring_addr a = { .index = 1, .desc = RAW_UADDR };

	raw_connect(r);
	raw_send(r->sock, VHOST_USER_SET_VRING_ADDR, 0, &a, sizeof(a));
}

static void start_at(struct raw *r, uint64_t desc, uint64_t avail,
		     uint64_t used)
{
	const struct vhost_user_vring_addr a = { .index = 1, .desc = desc,
						 .avail = avail, .used = used };

	raw_mem_table(r);
	raw_state(r, VHOST_USER_SET_VRING_NUM, 1, RAW_RING);
	raw_send(r->sock, VHOST_USER_SET_VRING_ADDR, 0, &a, sizeof(a));
	raw_state(r, VHOST_USER_SET_VRING_ENABLE, 1, 1);
	raw_vring_fd(r, VHOST_USER_SET_VRING_KICK, 1, r->q[1].kick_fd);
}

static void ring_outside(struct raw *r)
{
	start_at(r, 0, RAW_UADDR, RAW_UADDR);
}

static void ring_across_the_end(struct raw *r)
{
	start_at(r, RAW_UADDR, RAW_UADDR + 4096, RAW_UADDR + RAW_MEM - 16);
}

static void ring_wraps(struct raw *r)
{
	start_at(r, RAW_UADDR, UINT64_MAX - 15, RAW_UADDR);
}

static void ring_misaligned(struct raw *r)
{
	start_at(r, RAW_UADDR + 8, RAW_UADDR + 4096, RAW_UADDR + 8192);
}

static void kick_without_fd(struct raw *r)
{
	raw_u64(r, VHOST_USER_SET_VRING_KICK, 1);
}

static void kick_with_two(struct raw *r)
{
	send_fds_of_kind(r, VHOST_USER_SET_VRING_KICK, 1, r->q[1].kick_fd, 2);
}

static void nofd_with_fd(struct raw *r)
{
	send_fds_of_kind(r, VHOST_USER_SET_VRING_CALL, 1 | 0x100,
			 r->q[1].kick_fd, 1);
}

static void kick_for_no_queue(struct raw *r)
{
	send_fds_of_kind(r, VHOST_USER_SET_VRING_KICK, 200, r->q[1].kick_fd, 1);
}

static void kick_is_a_file(struct raw *r)
{
	send_fds_of_kind(r, VHOST_USER_SET_VRING_KICK, 1, r->mem_fd, 1);
}

static void call_is_a_pipe(struct raw *r)
{
	int p[2];

	assert_int_equal(pipe(p), 0);
	send_fds_of_kind(r, VHOST_USER_SET_VRING_CALL, 1, p[1], 1);
	close(p[0]);
	close(p[1]);
}

static void err_is_a_device(struct raw *r)
{
	int fd = open("/dev/null", O_RDWR);

	send_fds_of_kind(r, VHOST_USER_SET_VRING_ERR, 1, fd, 1);
	close(fd);
}

static void fds_where_none_belong(struct raw *r)
{
	send_fds_of_kind(r, VHOST_USER_SET_FEATURES, 0x170000000,
			 r->mem_fd, 3);
}

static void too_many_fds(struct raw *r)
{
	send_fds_of_kind(r, VHOST_USER_SET_FEATURES, 0x170000000, r->mem_fd,
			 VHOST_USER_MAX_FDS + 4);
}

static void table(struct raw *r, uint32_t n_said, uint32_t n_sent,
		  unsigned n_fds, uint64_t gpa_step)
{
	struct {
		uint32_t n, pad;
		struct vhost_user_mem_region r[16];
	} t = { .n = n_said };
	int fds[16];

	for (unsigned i = 0; i < 16; i++) {
		t.r[i] = raw_region().region;
		t.r[i].gpa += i * gpa_step;
		fds[i] = r->mem_fd;
	}
	raw_send_fds(r->sock, VHOST_USER_SET_MEM_TABLE, 0, &t,
		     8 + n_sent * 32, fds, n_fds);
}

static void table_overlaps(struct raw *r)
{
	table(r, 2, 2, 2, RAW_MEM - 4096);
}

static void table_too_long(struct raw *r)
{
	table(r, 9, 9, 8, RAW_MEM);
}

static void table_cut(struct raw *r)
{
	table(r, 3, 2, 3, RAW_MEM);
}

static void table_count_max(struct raw *r)
{
	table(r, UINT32_MAX, 1, 1, RAW_MEM);
}

static void table_without_fds(struct raw *r)
{
	table(r, 2, 2, 1, RAW_MEM);
}

static void region_overlaps(struct raw *r)
{
	struct vhost_user_one_region a = raw_region();

	raw_mem_table(r);
	a.region.gpa += RAW_MEM - 1;
	raw_send_fds(r->sock, VHOST_USER_ADD_MEM_REG, 0, &a, 40, &r->mem_fd, 1);
}

static void channel_is_a_file(struct raw *r)
{
	raw_send_fds(r->sock, VHOST_USER_SET_BACKEND_REQ_FD, 0, NULL, 0,
		     &r->mem_fd, 1);
}

static void channel_without_fd(struct raw *r)
{
	raw_send(r->sock, VHOST_USER_SET_BACKEND_REQ_FD, 0, NULL, 0);
}

static void config_piece(struct raw *r, uint32_t off, uint32_t size,
			 uint32_t payload)
{
	struct vhost_user_config c = { .offset = off, .size = size };

	raw_send(r->sock, VHOST_USER_GET_CONFIG, 0, &c, payload);
}

static void config_past_end(struct raw *r)
{
	config_piece(r, 250, 7, 12 + 7);
}

static void config_wraps(struct raw *r)
{
	config_piece(r, UINT32_MAX, 2, 12 + 2);
}

static void config_size_lies(struct raw *r)
{
	config_piece(r, 0, 200, 12 + 8);
}

static const struct {
	misdeed commit;
	const char *says;
} misdeeds[] = {
	{ unknown_request, "unknown: request 99" },
	{ not_offered_request, "SET_LOG_BASE" },
	{ a_reply, "GET_FEATURES" },
	{ wrong_version, "flags 0x2" },
	{ huge_size, "size 4097" },
	{ cut_header, "cut short after 5 bytes" },
	{ cut_payload, "header: request 2, flags 0x1, size 8" },
	{ short_payload, "SET_FEATURES: flags 0x1, 4 bytes" },
	{ long_payload, "SET_VRING_NUM: flags 0x1, 16 bytes" },
	{ unknown_feature, "SET_FEATURES: 0x370000000" },
	{ unknown_protocol_feature, "SET_PROTOCOL_FEATURES: 0x200000" },
	{ queue_too_high, "SET_VRING_NUM: queue 3, there are 3" },
	{ queue_max, "GET_VRING_BASE: queue 4294967295" },
	{ size_not_pow2, "SET_VRING_NUM: queue 1: 65" },
	{ size_zero, "SET_VRING_NUM: queue 1: 0" },
	{ size_too_large, "SET_VRING_NUM: queue 1: 65536" },
	{ base_too_large, "SET_VRING_BASE: queue 1: 65536" },
	{ enable_two, "SET_VRING_ENABLE: queue 1: 2" },
	{ size_while_running, "SET_VRING_NUM: queue 1: 64 while it runs" },
	{ base_while_running, "SET_VRING_BASE: queue 1: 0 while it runs" },
	{ moved_while_running, "SET_VRING_ADDR: queue 1 while it runs" },
	{ ring_outside, "SET_VRING_KICK: queue 1: ring of 64 at 0x0" },
	{ ring_across_the_end, "not in shared memory" },
	{ ring_wraps, "not in shared memory" },
	{ ring_misaligned, "bad alignment" },
	{ kick_without_fd, "SET_VRING_KICK: 0x1 with 0 descriptors" },
	{ kick_with_two, "SET_VRING_KICK: flags 0x1, 8 bytes, 2 desc" },
	{ nofd_with_fd, "SET_VRING_CALL: 0x101 with 1 descriptors" },
	{ kick_for_no_queue, "SET_VRING_KICK: queue 200" },
	{ kick_is_a_file, "SET_VRING_KICK: queue 1: the descriptor is nei" },
	{ call_is_a_pipe, "SET_VRING_CALL: queue 1: the descriptor is nei" },
	{ err_is_a_device, "SET_VRING_ERR: queue 1: the descriptor is nei" },
	{ fds_where_none_belong, "SET_FEATURES: flags 0x1, 8 bytes, 3 desc" },
	{ too_many_fds, "header: request 2" },
	{ table_overlaps, "SET_MEM_TABLE: region 0x403ff000" },
	{ table_too_long, "SET_MEM_TABLE: 9 regions" },
	{ table_cut, "SET_MEM_TABLE: 3 regions in 72 bytes" },
	{ table_count_max, "SET_MEM_TABLE: 4294967295 regions" },
	{ table_without_fds, "with 1 descriptors" },
	{ region_overlaps, "ADD_MEM_REG: region 0x403fffff" },
	{ channel_is_a_file, "SET_BACKEND_REQ_FD: the descriptor is no soc" },
	{ channel_without_fd, "SET_BACKEND_REQ_FD: flags 0x1, 0 bytes" },
	{ config_past_end, "GET_CONFIG: offset 250, size 7" },
	{ config_wraps, "GET_CONFIG: offset 4294967295, size 2" },
	{ config_size_lies, "GET_CONFIG: offset 0, size 200 in 20 bytes" },
};

static void test_misdeeds(void **state)
{
	unsigned fds = count_fds(), threads = count_threads();
	struct pair p;
	struct raw r;
	int s[2];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(misdeeds); i++) {
		log_lines = 0;
		log_text[0] = '\0';
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
		pair_start_backend(&p, s[0], &(struct pair_options){
						     .server_queues = 2 });
		raw_init(&r, s[1]);
		misdeeds[i].commit(&r);
		raw_expect_eof(r.sock);
		pair_finish(&p, -EPROTO);
		raw_done(&r);
		if (log_lines != 1 || !strstr(log_text, misdeeds[i].says))
			fail_msg("case %u: %u lines, \"%s\" without \"%s\"",
				 i, log_lines, log_text, misdeeds[i].says);
		assert_int_equal(count_fds(), fds);
		assert_int_equal(count_threads(), threads);
	}
}

/* A front end that never reads its answers: the session ends in the end. */
static void test_reads_nothing(void **state)
{
	struct vhost_user_header h = { VHOST_USER_GET_SHMEM_CONFIG, 1, 0 };
	struct pair p;
	int s[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	pair_start_backend(&p, s[0], &(struct pair_options){ 0 });
	for (unsigned i = 0; i < 4000; i++)
		if (send(s[1], &h, sizeof(h), MSG_DONTWAIT) < 0)
			break;
	vhost_backend_stop(p.be); /* is not held up by the full socket */
	pair_finish(&p, -ECANCELED);
	close(s[1]);
}

/* A call descriptor that is full does not hold the queue. */
static void test_full_call_descriptor(void **state)
{
	struct pair p;
	struct raw r;
	int s[2], full;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	pair_start_backend(&p, s[0], &(struct pair_options){
					     .server_queues = 2 });
	raw_init(&r, s[1]);
	raw_connect(&r);
	full = eventfd(0, 0);
	assert_int_equal(eventfd_write(full, UINT64_MAX - 1), 0);
	raw_vring_fd(&r, VHOST_USER_SET_VRING_CALL, 1, full);
	for (unsigned i = 0; i < 10; i++) {
		ring_driver_want_call(r.q[1].d, true);
		raw_submit(&r, 1, 0, &(struct pair_request){ .op = OP_UNMAP });
	}
	raw_vring_fd(&r, VHOST_USER_SET_VRING_CALL, 1, r.q[1].call_fd);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(raw_result(&r, 1), -EINVAL);
	close(full);
	raw_done(&r);
	pair_finish(&p, 0);
}

/* The kick descriptor hangs up: the queue stops, nothing spins. */
static void test_kick_socket_closed(void **state)
{
	struct pair p;
	struct raw r;
	struct pollfd e = { .events = POLLIN };
	int s[2], k[2], err_fd;
	eventfd_t v;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	pair_start_backend(&p, s[0], &(struct pair_options){
					     .server_queues = 2 });
	raw_init(&r, s[1]);
	raw_connect(&r);
	err_fd = eventfd(0, 0);
	raw_vring_fd(&r, VHOST_USER_SET_VRING_ERR, 1, err_fd);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, k), 0);
	raw_vring_fd(&r, VHOST_USER_SET_VRING_KICK, 1, k[1]);
	close(k[1]);
	raw_echo(&r, 2);
	close(k[0]);
	e.fd = err_fd;
	assert_int_equal(poll(&e, 1, 20000), 1);
	assert_int_equal(eventfd_read(err_fd, &v), 0);
	raw_echo(&r, 2);
	close(err_fd);
	raw_done(&r);
	pair_finish(&p, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* Not first: a sanitizer starts a thread with our first. */
		cmocka_unit_test(test_reads_nothing),
		cmocka_unit_test(test_misdeeds),
		cmocka_unit_test(test_full_call_descriptor),
		cmocka_unit_test(test_kick_socket_closed),
	};

	log_set(LOG_LEVEL_ERROR, capture, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
