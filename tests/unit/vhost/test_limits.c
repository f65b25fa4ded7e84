/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Out of descriptors, at every step in turn: both ends fail with an error and
 * give everything back. Out of address space: no window.
 */
#include "pair.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

/* Let the process open @n more descriptors; returns the old limit. */
static rlim_t allow_fds(unsigned n)
{
	struct rlimit l;
	rlim_t old;
	int next = dup(0);

	assert_true(next >= 0);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &l), 0);
	old = l.rlim_cur;
	l.rlim_cur = (rlim_t)next + n;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &l), 0);
	return old;
}

static void restore_fds(rlim_t old)
{
	struct rlimit l;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &l), 0);
	l.rlim_cur = old;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &l), 0);
}

static int never(void *ctx, unsigned queue, struct ring_chain *chain,
		 uint32_t *ret_written)
{
	(void)ctx;
	(void)queue;
	(void)chain;
	(void)ret_written;
	return -EPROTO;
}

static void test_backend_new(void **state)
{
	const struct vhost_backend_ops ops = { .handle = never };
	struct vhost_backend_config cfg = { .request_queues = 3, .ops = &ops };
	unsigned fds, n = 0;
	struct vhost_backend *be = NULL;
	rlim_t old;
	int err;

	(void)state;
	cfg.sock = open("/dev/null", O_RDWR);
	fds = count_fds();
	do {
		old = allow_fds(n);
		err = vhost_backend_new(&cfg, &be);
		restore_fds(old);
		if (err) {
			assert_int_equal(err, -EMFILE);
			assert_null(be);
			assert_int_equal(count_fds(), fds);
		}
		n++;
	} while (err);
	assert_true(n > 2);
	vhost_backend_free(be); /* with its socket */
	assert_int_equal(count_fds(), fds - 1);
}

/*
 * Both ends share the limit here: whichever runs out first, both end, and the
 * front end has a sentence about it.
 */
static void test_connecting(void **state)
{
	const struct pair_options o = { .server_queues = 2,
					.client_queues = 2 };
	unsigned fds, n = 0, failures = 0;
	struct vhost_frontend_config cfg;
	struct pair p;
	rlim_t old;
	int s[2], err;

	(void)state;
	fds = count_fds();
	do {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
		pair_start_backend(&p, s[0], &o);
		cfg = pair_frontend_config(s[1], &o);
		old = allow_fds(n++);
		err = vhost_frontend_new(&cfg, &p.fe, p.error,
					 sizeof(p.error));
		restore_fds(old);
		if (err) {
			failures++;
			assert_null(p.fe);
			assert_true(p.error[0]);
			close(s[1]);
		}
		vhost_frontend_free(p.fe);
		p.fe = NULL;
		pair_join(&p);
		pair_finish(&p, p.run_result);
		assert_int_equal(count_fds(), fds);
	} while (err);
	assert_true(failures > 5);
}

/* No address space for the window: a session without one, and it says why. */
static void test_no_room_for_window(void **state)
{
	struct vhost_frontend_config cfg;
	struct pair p;
	int s[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	pair_start_backend(&p, s[0], &(struct pair_options){ 0 });
	cfg = pair_frontend_config(s[1], &(struct pair_options){ 0 });
	cfg.window_align = UINT64_C(1) << 47; /* all there is */
	assert_int_equal(vhost_frontend_new(&cfg, &p.fe, p.error,
					    sizeof(p.error)), 0);
	assert_null(vhost_frontend_info(p.fe)->window);
	assert_non_null(strstr(vhost_frontend_info(p.fe)->no_window_why,
			       "cannot reserve"));
	assert_int_equal(vhost_frontend_channel_fd(p.fe), -1);
	assert_int_equal(vhost_frontend_service(p.fe), 0);
	assert_false(vhost_backend_has_shmem(p.be));
	pair_finish(&p, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backend_new),
		cmocka_unit_test(test_connecting),
		cmocka_unit_test(test_no_room_for_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
