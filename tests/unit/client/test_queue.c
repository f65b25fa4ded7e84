/* SPDX-License-Identifier: BSD-2-Clause */
/* Queues: hits at once, many messages in flight, right results. */
#include <pthread.h>
#include <stdatomic.h>

#include "queue_fixture.h"

/* ------------------------------------------------------------------ hits */

static void test_hits_at_once(void **state)
{
	static unsigned char bufs[64][512];
	struct oriel_queue *q = must_queue(s, 64);
	struct oriel_completion c[100];
	struct oriel_file *f;
	struct oriel_info before;

	native_pattern(dir, "hits", 256 * 1024, 1);
	f = must_open(s, "hits", O_RDWR);
	/* set up, for reading and writing */
	for (unsigned off = 0; off < 256 * 1024; off += 65536) {
		equals(oriel_pread(f, bufs[0], 1, off), 1);
		equals(oriel_pwrite(f, bufs[0], 1, off), 1);
	}
	before = must_info(s);
	assert_true(before.dax);
	for (unsigned i = 0; i < 64; i++) {
		struct oriel_request r =
			read_of(f, bufs[i], 512, i * 4000, i);

		ok(oriel_queue_prepare(q, &r));
	}
	equals(oriel_queue_pending(q), 0);
	equals(oriel_queue_submit(q), 64);
	equals(oriel_queue_pending(q), 64);
	equals(oriel_queue_peek(q, c, 60), 60);
	equals(oriel_queue_peek(q, c + 60, 40), 4);
	for (unsigned i = 0; i < 64; i++) {
		equals(c[i].user_data, i);
		equals(c[i].result, 512);
		equals(pattern_check(bufs[i], 512, 1, i * 4000), 512);
	}
	equals(one(q, write_of(f, bufs[3], 512, 70000, 0)), 512);
	equals(must_info(s).requests, before.requests);
	assert_true(must_info(s).hits >= before.hits + 65);
	oriel_queue_free(q);
	ok(oriel_close(f));
}

/* A miss sets up, and then it is a hit. */
static void test_miss_sets_up(void **state)
{
	struct oriel_queue *q = must_queue(s, 4);
	unsigned char buf[1000];
	struct oriel_info before;
	struct oriel_file *f;

	native_pattern(dir, "miss", 256 * 1024, 2);
	f = must_open(s, "miss", O_RDWR);
	before = must_info(s);
	equals(one(q, read_of(f, buf, 1000, 65000, 0)), 1000);
	equals(pattern_check(buf, 1000, 2, 65000), 1000);
	assert_true(must_info(s).setups >= before.setups + 2);
	before = must_info(s);
	equals(one(q, read_of(f, buf, 1000, 65100, 0)), 1000);
	equals(must_info(s).requests, before.requests);
	/* the first window write drops privileges, and upgrades */
	memset(buf, 'x', 1000);
	equals(one(q, write_of(f, buf, 1000, 65000, 0)), 1000);
	equals(must_info(s).window_write_bytes,
	       before.window_write_bytes + 1000);
	equals(oriel_pread(f, buf, 1, 65999), 1);
	equals(buf[0], 'x');
	oriel_queue_free(q);
	ok(oriel_close(f));
}

/* --------------------------------------------------------------- in flight */

static void test_64_in_flight(void **state)
{
	static unsigned char bufs[64][5000];
	struct oriel_session *m = no_window(0);
	struct oriel_queue *q = must_queue(m, 64);
	struct oriel_completion c;
	struct oriel_file *f;

	native_pattern(dir, "deep", 64 * 5000, 3);
	f = must_open(m, "deep", O_RDONLY);
	stop_daemon(m);
	for (unsigned i = 0; i < 64; i++) {
		struct oriel_request r =
			read_of(f, bufs[i], 5000, i * 5000, i);

		ok(oriel_queue_prepare(q, &r));
	}
	equals(oriel_queue_submit(q), 64);
	equals(must_info(m).in_flight, 64);
	equals(oriel_queue_peek(q, &c, 1), 0);
	equals(oriel_queue_wait(q, &c, 1, 1, 1000000), 0);
	equals(must_info(m).in_flight, 64);
	go_daemon(m);
	all_of(q, 64, 5000);
	equals(must_info(m).max_in_flight, 64);
	equals(must_info(m).in_flight, 0);
	for (unsigned i = 0; i < 64; i++)
		equals(pattern_check(bufs[i], 5000, 3, i * 5000), 5000);
	oriel_queue_free(q);
	ok(oriel_close(f));
	oriel_disconnect(m);
}

/* More than there are slots: the rest waits in line; other calls have room. */
static void *stat_main(void *arg)
{
	struct oriel_session *m = arg;
	struct oriel_stat st;

	must(oriel_stat(m, "line", 0, &st) == 0, "stat");
	return NULL;
}

static void test_line_for_slots(void **state)
{
	static unsigned char bufs[500][100];
	struct oriel_session *m = no_window(0);
	struct oriel_queue *q = must_queue(m, 500);
	struct oriel_request r;
	struct oriel_file *f;
	pthread_t t;
	uint64_t n;

	native_pattern(dir, "line", 500 * 100, 4);
	f = must_open(m, "line", O_RDONLY);
	stop_daemon(m);
	for (unsigned i = 0; i < 500; i++) {
		r = read_of(f, bufs[i], 100, i * 100, i);
		ok(oriel_queue_prepare(q, &r));
	}
	equals(oriel_queue_prepare(q, &r), -EAGAIN);
	equals(oriel_queue_submit(q), 500);
	n = must_info(m).in_flight;
	assert_true(n >= 64 && n < 500);
	equals(pthread_create(&t, NULL, stat_main, m), 0);
	while (must_info(m).in_flight == n)
		nap_ms(1); /* it got a slot */
	go_daemon(m);
	all_of(q, 500, 100);
	equals(pthread_join(t, NULL), 0);
	for (unsigned i = 0; i < 500; i++)
		equals(pattern_check(bufs[i], 100, 4, i * 100), 100);
	oriel_queue_free(q);
	ok(oriel_close(f));
	oriel_disconnect(m);
}

/* ------------------------------------------------------------- the results */

static void test_ends_and_errors(void **state)
{
	struct oriel_session *m = no_window(0);
	struct oriel_session *on[2] = { s, m };
	unsigned char buf[4000];

	native_pattern(dir, "ends", 100000, 5);
	for (unsigned i = 0; i < 2; i++) {
		struct oriel_queue *q = must_queue(on[i], 2);
		struct oriel_file *f = must_open(on[i], "ends", O_RDONLY);
		struct oriel_file *d = must_open(on[i], "/", O_RDONLY);
		struct oriel_request r;

		equals(one(q, read_of(f, buf, 4000, 98000, 0)), 2000);
		equals(pattern_check(buf, 2000, 5, 98000), 2000);
		equals(one(q, read_of(f, buf, 4000, 100000, 0)), 0);
		equals(one(q, read_of(f, buf, 4000, INT64_MAX - 4000, 0)), 0);
		equals(one(q, read_of(f, buf, 0, 0, 0)), 0);
		equals(one(q, read_of(f, buf, 4000, -1, 0)), -EINVAL);
		equals(one(q, read_of(f, buf, 4000, INT64_MAX - 9, 0)),
		       -EINVAL);
		equals(one(q, write_of(f, buf, 4000, 0, 0)), -EBADF);
		equals(one(q, read_of(d, buf, 4000, 0, 0)), -EISDIR);
		r = read_of(f, NULL, 1025, 0, 0);
		r.op = ORIEL_OP_READV;
		equals(one(q, r), -EINVAL);
		r.op = ORIEL_OP_FALLOCATE;
		equals(one(q, r), -EBADF);
		r.op = 0;
		equals(oriel_queue_prepare(q, &r), -EINVAL);
		r.op = 99;
		equals(oriel_queue_prepare(q, &r), -EINVAL);
		r = read_of(f, buf, 1, 0, 0);
		r.flags = 1;
		equals(oriel_queue_prepare(q, &r), -EINVAL);
		r = read_of(NULL, buf, 1, 0, 0);
		equals(oriel_queue_prepare(q, &r), -EINVAL);
		r = (struct oriel_request){ .op = ORIEL_OP_OPEN, .path = "x" };
		equals(oriel_queue_prepare(q, &r), -EINVAL);
		oriel_queue_free(q);
		ok(oriel_close(d));
		ok(oriel_close(f));
		f = must_open(on[i], "ends", O_WRONLY);
		q = must_queue(on[i], 1);
		equals(one(q, read_of(f, buf, 10, 0, 0)), -EBADF);
		/* another session's file */
		if (i) {
			struct oriel_queue *other = must_queue(s, 1);

			r = write_of(f, buf, 1, 0, 0);
			equals(oriel_queue_prepare(other, &r), -EINVAL);
			oriel_queue_free(other);
		}
		oriel_queue_free(q);
		ok(oriel_close(f));
	}
	equals(oriel_queue_new(s, 0, 0, &(struct oriel_queue *){ NULL }),
	       -EINVAL);
	equals(oriel_queue_new(s, 1, 1, &(struct oriel_queue *){ NULL }),
	       -EINVAL);
	oriel_disconnect(m);
}

static void test_vectors(void **state)
{
	struct oriel_session *m = no_window(0);
	struct oriel_session *on[2] = { s, m };
	unsigned char *buf = malloc(3 * MIB), *back;
	struct iovec iov[3] = { { buf, MIB + 17 },
				{ buf + MIB + 17, 0 },
				{ buf + MIB + 17, MIB } };
	size_t len;

	for (unsigned i = 0; i < 2; i++) {
		struct oriel_queue *q = must_queue(on[i], 1);
		struct oriel_file *f;
		struct oriel_request r;

		native_write(dir, "vec", "", 0);
		f = must_open(on[i], "vec", O_RDWR);
		pattern_fill(buf, 2 * MIB + 17, 6 + i, 0);
		/* extends; several messages */
		r = (struct oriel_request){ .op = ORIEL_OP_WRITEV, .file = f,
					    .iov = iov, .len = 3, .off = 5 };
		equals(one(q, r), 2 * MIB + 17);
		memset(buf, 0, 3 * MIB);
		r.op = ORIEL_OP_READV;
		equals(one(q, r), 2 * MIB + 17);
		equals(pattern_check(buf, 2 * MIB + 17, 6 + i, 0),
		       2 * MIB + 17);
		/* overwrites */
		pattern_fill(buf, 2 * MIB + 17, 9, 0);
		r.op = ORIEL_OP_WRITEV;
		r.off = 0;
		equals(one(q, r), 2 * MIB + 17);
		ok(oriel_close(f));
		back = native_read(dir, "vec", &len);
		equals(len, 2 * MIB + 22);
		equals(pattern_check(back, 2 * MIB + 17, 9, 0), 2 * MIB + 17);
		free(back);
		oriel_queue_free(q);
	}
	free(buf);
	oriel_disconnect(m);
}

static void test_other_requests(void **state)
{
	struct oriel_queue *q = must_queue(s, 4);
	struct oriel_file *f = NULL;
	char hello[] = "hello";
	struct oriel_stat st;
	struct oriel_request r = { .op = ORIEL_OP_OPEN, .path = "other",
				   .flags = O_RDWR | O_CREAT, .mode = 0640,
				   .ret_file = &f };

	equals(one(q, r), 0);
	assert_non_null(f);
	r = (struct oriel_request){ .op = ORIEL_OP_FALLOCATE, .file = f,
				    .off = 0, .len = 100000 };
	equals(one(q, r), 0);
	equals(one(q, write_of(f, hello, 5, 0, 0)), 5);
	r = (struct oriel_request){ .op = ORIEL_OP_FSYNC, .file = f };
	equals(one(q, r), 0);
	r.flags = ORIEL_FSYNC_DATA;
	equals(one(q, r), 0);
	r.flags = 2;
	equals(oriel_queue_prepare(q, &r), -EINVAL);
	r = (struct oriel_request){ .op = ORIEL_OP_STAT, .path = "other",
				    .ret_stat = &st };
	equals(one(q, r), 0);
	equals(st.size, 100000);
	equals(st.mode & 07777, 0640);
	r.path = "not there";
	equals(one(q, r), -ENOENT);
	oriel_queue_free(q);
	ok(oriel_close(f));
}

/* -------------------------------------------------------------------- order */

/* Extending writes, each over the one before: the last one stays. */
static void order_of(struct oriel_session *on, int flags)
{
	static unsigned char bufs[40][50];
	struct oriel_queue *q = must_queue(on, 40);
	struct oriel_file *f;
	unsigned char *back;
	size_t len;

	native_write(dir, "order", "", 0);
	f = must_open(on, "order", O_WRONLY | flags);
	for (unsigned i = 0; i < 40; i++) {
		struct oriel_request r =
			write_of(f, bufs[i], i + 1, 0, i);

		memset(bufs[i], (int)i + 1, i + 1);
		ok(oriel_queue_prepare(q, &r));
	}
	equals(oriel_queue_submit(q), 40);
	for (unsigned i = 0; i < 40; i++) {
		struct oriel_completion c;

		equals(oriel_queue_wait(q, &c, 1, 1, -1), 1);
		equals(c.user_data, i);
		equals(c.result, i + 1);
	}
	oriel_queue_free(q);
	ok(oriel_close(f));
	back = native_read(dir, "order", &len);
	if (flags & O_APPEND) {
		equals(len, 40 * 41 / 2);
		for (unsigned i = 0, at = 0; i < 40; at += ++i)
			equals(back[at], i + 1);
	} else {
		equals(len, 40);
		for (unsigned i = 0; i < 40; i++)
			equals(back[i], 40);
	}
	free(back);
}

static void test_order(void **state)
{
	struct oriel_session *m = no_window(0);

	order_of(s, 0);
	order_of(m, 0);
	order_of(s, O_APPEND);
	order_of(m, O_APPEND);
	order_of(m, O_DSYNC);
	oriel_disconnect(m);
}

/* What was written is read back by other calls, and its size is known. */
static void test_sizes(void **state)
{
	static unsigned char bufs[8][3000], back[24000];
	struct oriel_queue *q = must_queue(s, 8);
	struct oriel_file *f;
	struct oriel_stat st;

	native_write(dir, "sizes", "", 0);
	f = must_open(s, "sizes", O_RDWR);
	for (unsigned i = 0; i < 8; i++) {
		struct oriel_request r =
			write_of(f, bufs[i], 3000, i * 3000, i);

		pattern_fill(bufs[i], 3000, 8, i * 3000);
		ok(oriel_queue_prepare(q, &r));
	}
	oriel_queue_submit(q);
	all_of(q, 8, 3000);
	ok(oriel_fstat(f, 0, &st));
	equals(st.size, 24000);
	equals(oriel_pread(f, back, 24000, 0), 24000);
	equals(pattern_check(back, 24000, 8, 0), 24000);
	ok(oriel_ftruncate(f, 100));
	/* past the end now: must extend, not go into the window's last page */
	equals(one(q, write_of(f, bufs[0], 10, 200, 0)), 10);
	ok(oriel_fstat(f, ORIEL_FORCE_SYNC, &st));
	equals(st.size, 210);
	oriel_queue_free(q);
	ok(oriel_close(f));
}

/* -------------------------------------------------------------------- model */

#define MODEL_BYTES (3 * MIB)
#define MODEL_DEPTH 32

struct model_op {
	bool busy, writes;
	uint64_t off, len;
	unsigned char *buf;
};

static bool overlaps(const struct model_op *a, uint64_t off, uint64_t len)
{
	return a->busy && off < a->off + a->len && a->off < off + len;
}

static void model_check(struct model_op *o, const unsigned char *model,
			uint64_t size, int64_t result)
{
	int64_t want = (int64_t)o->len;

	if (!o->writes)
		want = o->off >= size ? 0 :
		       o->off + o->len > size ? (int64_t)(size - o->off) : want;
	must(result == want, "%s %llu at %llu: %lld, expected %lld",
	     o->writes ? "write" : "read", (unsigned long long)o->len,
	     (unsigned long long)o->off, (long long)result, (long long)want);
	if (!o->writes)
		must(!memcmp(o->buf, model + o->off, (size_t)want),
		     "bytes of %lld at %llu differ", (long long)want,
		     (unsigned long long)o->off);
	o->busy = false;
}

/*
 * Random requests. Two that overlap are only under way together if both read,
 * and the size changes only by a write that is alone.
 */
static void model_run(struct oriel_session *on, uint64_t seed, unsigned rounds)
{
	unsigned char *model = calloc(1, MODEL_BYTES);
	struct oriel_queue *q = must_queue(on, MODEL_DEPTH);
	struct model_op ops[MODEL_DEPTH] = { 0 };
	struct oriel_completion c[MODEL_DEPTH];
	struct rng rng = { seed };
	uint64_t size = MIB;
	unsigned char *back;
	struct oriel_file *f;
	size_t len;

	native_pattern(dir, "model", MIB, 11);
	pattern_fill(model, MIB, 11, 0);
	for (unsigned i = 0; i < MODEL_DEPTH; i++)
		ops[i].buf = malloc(MODEL_BYTES);
	f = must_open(on, "model", O_RDWR);
	for (unsigned n = 0; n < rounds || oriel_queue_pending(q); n++) {
		unsigned i = (unsigned)rng_below(&rng, MODEL_DEPTH);
		struct model_op *o = &ops[i];
		struct oriel_request r;
		bool alone = rng_below(&rng, 20) == 0, clash = n >= rounds;
		uint64_t off = rng_below(&rng, MODEL_BYTES - 1), most;
		uint64_t l = 1 + rng_below(&rng, rng_below(&rng, 4) ?
							 3000 : 1500000);
		bool writes = rng_below(&rng, 2);

		most = writes && !alone ? size : MODEL_BYTES;
		if (writes && !alone)
			off %= size;
		if (l > most - off)
			l = most - off;
		for (unsigned k = 0; k < MODEL_DEPTH; k++)
			clash |= overlaps(&ops[k], off, l) &&
				 (writes || ops[k].writes);
		clash |= o->busy || (writes && alone && oriel_queue_pending(q));
		if (!clash) {
			o->busy = true;
			o->writes = writes;
			o->off = off;
			o->len = l;
			if (writes) {
				pattern_fill(o->buf, l, (uint32_t)n, off);
				memcpy(model + off, o->buf, l);
			}
			r = writes ? write_of(f, o->buf, l, (int64_t)off, i) :
				     read_of(f, o->buf, l, (int64_t)off, i);
			must(oriel_queue_prepare(q, &r) == 0, "prepare");
			must(oriel_queue_submit(q) == 1, "submit");
			if (writes && off + l > size)
				size = off + l;
			else
				alone = false;
		}
		if (clash || alone || rng_below(&rng, 3) == 0) {
			bool all = alone && !clash;
			int got;

			got = oriel_queue_wait(q, c, MODEL_DEPTH,
					       all ? MODEL_DEPTH :
					       (unsigned)rng_below(&rng, 3),
					       -1);
			must(got >= 0, "wait: %d", got);
			for (int k = 0; k < got; k++)
				model_check(&ops[c[k].user_data], model, size,
					    c[k].result);
		}
	}
	oriel_queue_free(q);
	ok(oriel_close(f));
	back = native_read(dir, "model", &len);
	equals(len, size);
	must(!memcmp(back, model, len), "the file differs at the end");
	free(back);
	for (unsigned i = 0; i < MODEL_DEPTH; i++)
		free(ops[i].buf);
	free(model);
}

static void test_model(void **state)
{
	uint64_t seed = seed_from("ORIEL_QUEUE_SEED");
	unsigned rounds = (unsigned)number_from("ORIEL_QUEUE_ROUNDS", 3000);
	struct oriel_session *m = no_window(0);
	struct oriel_session *t;
	struct oriel_options o;

	model_run(s, seed, rounds);
	model_run(m, seed + 1, rounds);
	oriel_disconnect(m);
	/* a window of four ranges: set-ups, evictions, bypasses */
	test_options(&o);
	o.window_bytes = 4 * 65536;
	o.admit_touches = 2;
	o.no_background = 1;
	t = test_connect(dir, &o);
	model_run(t, seed + 2, rounds);
	oriel_disconnect(t);
}

/* What a handle has gathered is in the file for whoever asks by a queue. */
static void test_gathered(void **state)
{
	struct oriel_queue *q = must_queue(s, 4);
	struct oriel_file *f, *other;
	unsigned char *all;
	char buf[16] = { 0 };
	size_t len;

	native_write(dir, "gathered", "0123", 4);
	f = must_open(s, "gathered", O_RDWR);
	other = must_open(s, "gathered", O_RDWR);
	ok(oriel_coalesce(f, 4096, 0));
	equals(oriel_pwrite(f, "4567", 4, 4), 4);
	equals(one(q, read_of(other, buf, 16, 2, 0)), 6);
	assert_memory_equal(buf, "234567", 6);
	equals(oriel_pwrite(f, "89", 2, 8), 2);
	/* past it, by another handle: in order */
	equals(one(q, write_of(other, (char[]){ "ab" }, 2, 10, 0)), 2);
	equals(oriel_pwrite(f, "cd", 2, 12), 2);
	equals(one(q, (struct oriel_request){ .op = ORIEL_OP_FSYNC,
					      .file = f }), 0);
	all = native_read(dir, "gathered", &len);
	equals(len, 14);
	assert_memory_equal(all, "0123456789abcd", 14);
	free(all);
	oriel_queue_free(q);
	ok(oriel_close(f));
	ok(oriel_close(other));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hits_at_once),
		cmocka_unit_test(test_miss_sets_up),
		cmocka_unit_test(test_64_in_flight),
		cmocka_unit_test(test_line_for_slots),
		cmocka_unit_test(test_ends_and_errors),
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_other_requests),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_gathered),
		cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
