/* SPDX-License-Identifier: BSD-2-Clause */
/* Queues: every way to end, the descriptor, threads beside each other. */
#include <poll.h>
#include <pthread.h>

#include "queue_fixture.h"

/* --------------------------------------------------------------- the bad end */

static void test_daemon_killed(void **state)
{
	static unsigned char bufs[64][1000];
	struct oriel_session *m = no_window(0);
	struct oriel_queue *q = must_queue(m, 128);
	struct oriel_request r;
	struct oriel_file *f;

	native_pattern(dir, "killed", 64000, 12);
	f = must_open(m, "killed", O_RDWR);
	stop_daemon(m);
	for (unsigned i = 0; i < 128; i++) {
		/* half of them wait for a slot, or for the one before */
		r = i % 2 ? read_of(f, bufs[i / 2], 1000, 0, i) :
			    write_of(f, bufs[i / 2], 1000, 64000, i);
		ok(oriel_queue_prepare(q, &r));
	}
	equals(oriel_queue_submit(q), 128);
	must(kill(daemon_of(m), SIGKILL) == 0, "no daemon");
	all_of(q, 128, -ENOTCONN);
	/* and what comes after that */
	equals(one(q, read_of(f, bufs[0], 10, 0, 0)), -ENOTCONN);
	r = (struct oriel_request){ .op = ORIEL_OP_STAT, .path = "x",
				    .ret_stat = &(struct oriel_stat){ 0 } };
	equals(one(q, r), -ENOTCONN);
	oriel_queue_free(q);
	oriel_close(f);
	oriel_disconnect(m);
}

/* The same for one who only peeks. */
static void test_killed_and_peeking(void **state)
{
	struct oriel_session *m = no_window(0);
	struct oriel_queue *q = must_queue(m, 1);
	struct oriel_completion c;
	struct oriel_request r;
	struct oriel_file *f;
	unsigned char buf[10];

	native_pattern(dir, "killed", 64000, 12);
	f = must_open(m, "killed", O_RDWR);
	stop_daemon(m);
	r = read_of(f, buf, 10, 0, 0);
	ok(oriel_queue_prepare(q, &r));
	equals(oriel_queue_submit(q), 1);
	equals(oriel_queue_peek(q, &c, 1), 0);
	must(kill(daemon_of(m), SIGKILL) == 0, "no daemon");
	while (!oriel_queue_peek(q, &c, 1))
		;
	equals(c.result, -ENOTCONN);
	oriel_queue_free(q);
	oriel_close(f);
	oriel_disconnect(m);
}

static void test_times_out(void **state)
{
	static unsigned char bufs[80][1000];
	struct oriel_session *m = no_window(1500);
	struct oriel_queue *q = must_queue(m, 80);
	struct oriel_completion c;
	struct oriel_request r;
	struct oriel_file *f;

	native_pattern(dir, "late", 80000, 13);
	f = must_open(m, "late", O_RDONLY);
	stop_daemon(m);
	for (unsigned i = 0; i < 80; i++) {
		r = read_of(f, bufs[i], 1000, 0, i);
		ok(oriel_queue_prepare(q, &r));
	}
	equals(oriel_queue_submit(q), 80);
	equals(oriel_queue_wait(q, &c, 1, 1, 0), 0);
	all_of(q, 80, -ETIMEDOUT);
	/* whoever only peeks is told, too */
	ok(oriel_queue_prepare(q, &r));
	equals(oriel_queue_submit(q), 1);
	while (!oriel_queue_peek(q, &c, 1))
		;
	equals(c.result, -ETIMEDOUT);
	go_daemon(m);
	/* late answers are nobody's: nothing was written here */
	r = read_of(f, bufs[0], 1000, 0, 0);
	for (int64_t got = -ETIMEDOUT; got != 1000;) {
		got = one(q, r);
		must(got == 1000 || got == -ETIMEDOUT, "%lld", (long long)got);
	}
	for (unsigned i = 1; i < 80; i++)
		equals(bufs[i][0], 0);
	oriel_queue_free(q);
	ok(oriel_close(f));
	oriel_disconnect(m);
}

static void test_freed_in_flight(void **state)
{
	static unsigned char bufs[100][1000], ext[1000];
	struct oriel_session *m = no_window(0);
	struct oriel_queue *q = must_queue(m, 101);
	struct oriel_request r;
	struct oriel_file *f;

	native_pattern(dir, "freed", 100000, 14);
	f = must_open(m, "freed", O_RDWR);
	stop_daemon(m);
	for (unsigned i = 0; i < 100; i++) {
		r = read_of(f, bufs[i], 1000, i * 1000, i);
		ok(oriel_queue_prepare(q, &r));
		if (i == 80)
			oriel_queue_submit(q);
	}
	oriel_queue_free(q);
	go_daemon(m);
	/* their answers come before this one */
	equals(oriel_pread(f, ext, 1000, 0), 1000);
	for (unsigned i = 0; i < 100; i++)
		equals(bufs[i][0], 0);
	/* writes are waited for */
	q = must_queue(m, 10);
	for (unsigned i = 0; i < 10; i++) {
		r = write_of(f, ext, 1000, 0, i);
		ok(oriel_queue_prepare(q, &r));
	}
	oriel_queue_submit(q);
	oriel_queue_free(q);
	equals(must_info(m).in_flight, 0);
	ok(oriel_close(f));
	/* one that was forgotten ends with the session */
	q = must_queue(m, 10);
	r = (struct oriel_request){ .op = ORIEL_OP_STAT, .path = "freed",
				    .ret_stat = &(struct oriel_stat){ 0 } };
	ok(oriel_queue_prepare(q, &r));
	oriel_queue_submit(q);
	oriel_disconnect(m);
}

/* -------------------------------------------------------------- descriptor */

static bool is_readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, timeout_ms) == 1;
}

static void test_descriptor(void **state)
{
	struct oriel_session *m = no_window(0);
	struct oriel_queue *q = must_queue(m, 4);
	struct oriel_completion c;
	unsigned char buf[100];
	struct oriel_request r;
	struct oriel_file *f;
	int fd;

	native_pattern(dir, "fd", 100000, 15);
	f = must_open(m, "fd", O_RDONLY);
	equals(oriel_queue_arm(q), -EBADF);
	fd = oriel_queue_fd(q);
	assert_true(fd >= 0);
	equals(oriel_queue_fd(q), fd);
	for (unsigned i = 0; i < 50; i++) {
		bool first = i & 1, stop = i % 10 == 7;

		r = read_of(f, buf, 100, i, i);
		ok(oriel_queue_prepare(q, &r));
		if (stop)
			stop_daemon(m);
		if (first)
			ok(oriel_queue_arm(q));
		oriel_queue_submit(q);
		if (!first)
			ok(oriel_queue_arm(q));
		if (stop) {
			assert_false(is_readable(fd, 0));
			nap_ms(20); /* the sentry sleeps */
			go_daemon(m);
		}
		assert_true(is_readable(fd, -1));
		equals(oriel_queue_peek(q, &c, 1), 1);
		equals(c.user_data, i);
		equals(c.result, 100);
		equals(pattern_check(buf, 100, 15, i), 100);
		assert_false(is_readable(fd, 0));
	}
	/* not armed: nothing */
	ok(oriel_queue_prepare(q, &r));
	oriel_queue_submit(q);
	while (must_info(m).in_flight)
		equals(oriel_queue_wait(q, &c, 0, 0, 0), 0);
	assert_false(is_readable(fd, 0));
	/* armed when it is complete already */
	while (!oriel_queue_pending(q))
		;
	equals(oriel_queue_wait(q, &c, 1, 1, -1), 1);
	equals(one(q, r), 100);
	ok(oriel_queue_prepare(q, &r));
	ok(oriel_queue_prepare(q, &r));
	oriel_queue_submit(q);
	equals(oriel_queue_wait(q, &c, 1, 1, -1), 1);
	while (must_info(m).in_flight)
		equals(oriel_queue_wait(q, &c, 0, 0, 0), 0);
	ok(oriel_queue_arm(q));
	assert_true(is_readable(fd, -1));
	equals(oriel_queue_peek(q, &c, 1), 1);
	/* the daemon's end wakes, too */
	stop_daemon(m);
	ok(oriel_queue_prepare(q, &r));
	oriel_queue_submit(q);
	ok(oriel_queue_arm(q));
	must(kill(daemon_of(m), SIGKILL) == 0, "no daemon");
	assert_true(is_readable(fd, -1));
	equals(oriel_queue_peek(q, &c, 1), 1);
	equals(c.result, -ENOTCONN);
	oriel_queue_free(q);
	oriel_close(f);
	oriel_disconnect(m);
}

/* Hits, and what the worker does, make it readable as well. */
static void test_descriptor_without_messages(void **state)
{
	struct oriel_queue *q = must_queue(s, 4);
	struct oriel_completion c;
	unsigned char buf[100];
	struct oriel_request r;
	struct oriel_file *f;
	int fd = oriel_queue_fd(q);

	native_pattern(dir, "fdhit", 300000, 16);
	f = must_open(s, "fdhit", O_RDONLY);
	for (unsigned i = 0; i < 40; i++) {
		/* the first of each range is a set-up */
		r = read_of(f, buf, 100, (i % 4) * 65536, i);
		ok(oriel_queue_prepare(q, &r));
		ok(oriel_queue_arm(q));
		oriel_queue_submit(q);
		assert_true(is_readable(fd, -1));
		equals(oriel_queue_peek(q, &c, 1), 1);
		equals(c.result, 100);
		assert_false(is_readable(fd, 0));
	}
	oriel_queue_free(q);
	ok(oriel_close(f));
}

/* ------------------------------------------------------------------ threads */

struct party {
	struct oriel_session *on;
	unsigned i;
	pthread_t thread;
	bool by_fd;
};

static void *queue_party(void *arg)
{
	struct party *p = arg;
	struct oriel_queue *q = must_queue(p->on, 16);
	static unsigned char bufs[4][16][3000];
	struct rng rng = { p->i };
	struct oriel_file *f;
	char name[16];
	int fd = -1;

	snprintf(name, sizeof(name), "party%u", p->i);
	must(oriel_open(p->on, name, O_RDWR, 0, &f) == 0, "open %s", name);
	if (p->by_fd)
		fd = oriel_queue_fd(q);
	for (unsigned i = 0; i < 16; i++) {
		struct oriel_request r =
			read_of(f, bufs[p->i][i], 3000, i * 3000, i);

		must(oriel_queue_prepare(q, &r) == 0, "prepare");
	}
	oriel_queue_submit(q);
	for (unsigned n = 0; n < 1500;) {
		struct oriel_completion c[8];
		int k;

		if (p->by_fd) {
			must(oriel_queue_arm(q) == 0, "arm");
			must(is_readable(fd, -1), "poll");
			k = oriel_queue_peek(q, c, 8);
		} else {
			k = oriel_queue_wait(q, c, 8, 1 + n % 3, -1);
		}
		for (int i = 0; i < k; i++, n++) {
			unsigned b = (unsigned)c[i].user_data;
			unsigned char *buf = bufs[p->i][b];
			struct oriel_request r;
			int64_t off = b * 3000;

			must(c[i].result == 3000, "%lld",
			     (long long)c[i].result);
			must(pattern_check(buf, 3000, p->i, (uint64_t)off) ==
				     3000, "bytes of %u", b);
			r = rng_below(&rng, 2) ?
				    read_of(f, buf, 3000, off, b) :
				    write_of(f, buf, 3000, off, b);
			must(oriel_queue_prepare(q, &r) == 0, "prepare");
		}
		oriel_queue_submit(q);
	}
	oriel_queue_free(q);
	must(oriel_close(f) == 0, "close");
	return NULL;
}

static void *sync_party(void *arg)
{
	struct party *p = arg;
	unsigned char buf[3000];
	struct oriel_file *f;
	struct oriel_stat st;
	char name[16];

	snprintf(name, sizeof(name), "party%u", p->i);
	must(oriel_open(p->on, name, O_RDWR, 0, &f) == 0, "open %s", name);
	for (unsigned i = 0; i < 1000; i++) {
		/* of the same file, bytes that no queue_party() writes: the
		 * window is memory, and who races there is on their own */
		must(oriel_pread(f, buf, 3000, 60000) == 3000, "pread");
		must(pattern_check(buf, 3000, p->i, 60000) == 3000, "bytes");
		must(oriel_stat(p->on, name, 0, &st) == 0, "stat");
	}
	must(oriel_close(f) == 0, "close");
	return NULL;
}

static void parties(struct oriel_session *on)
{
	struct party p[5];
	char name[16];

	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "party%u", i);
		native_pattern(dir, name, 150000, i);
	}
	for (unsigned i = 0; i < 5; i++) {
		p[i] = (struct party){ .on = on, .i = i % 4,
				       .by_fd = i == 1 };
		equals(pthread_create(&p[i].thread, NULL,
				      i < 3 ? queue_party : sync_party, &p[i]),
		       0);
	}
	for (unsigned i = 0; i < 5; i++)
		equals(pthread_join(p[i].thread, NULL), 0);
}

static void test_threads(void **state)
{
	struct oriel_session *m = no_window(0);
	struct oriel_options o;

	parties(m);
	parties(s);
	oriel_disconnect(m);
	/* sleeping at once: who wakes whom */
	test_options(&o);
	o.poll_us = ORIEL_NO_POLL;
	o.dax = ORIEL_DAX_NEVER;
	m = test_connect(dir, &o);
	parties(m);
	oriel_disconnect(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_daemon_killed),
		cmocka_unit_test(test_killed_and_peeking),
		cmocka_unit_test(test_times_out),
		cmocka_unit_test(test_freed_in_flight),
		cmocka_unit_test(test_descriptor),
		cmocka_unit_test(test_descriptor_without_messages),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
