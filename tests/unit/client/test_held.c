/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors that came with mappings: what is done with them, and when they
 * are given back. */
#include "fixture.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>

#define RANGE 65536

static struct oriel_session *connect_with(uint32_t held_files,
					  uint32_t admit_touches)
{
	struct oriel_options o;

	test_options(&o);
	o.no_background = 1;
	o.held_files = held_files;
	o.admit_touches = admit_touches;
	return test_connect(dir, &o);
}

static void must_read(struct oriel_file *f, size_t len, off_t pos)
{
	unsigned char buf[8192];

	must(len <= sizeof(buf), "a small piece");
	equals(oriel_pread(f, buf, len, pos), len);
	equals(pattern_check(buf, len, 1, (uint64_t)pos), len);
}

/* One message for a file: what comes after is mapped without. */
static void test_maps(void **state)
{
	struct oriel_session *mine = connect_with(0, ORIEL_MAP_ALL);
	struct oriel_info before, i;
	struct oriel_file *f;
	int fds;

	native_pattern(dir, "maps", 40 * RANGE, 1);
	f = must_open(mine, "maps", O_RDWR);
	fds = count_fds(0);
	must_read(f, 100, 0);
	equals(count_fds(0), fds + 1);
	before = must_info(mine);
	equals(before.held_files, 1);
	for (unsigned r = 1; r < 40; r++)
		must_read(f, 100, r * RANGE);
	i = must_info(mine);
	equals(i.requests, before.requests);
	equals(i.setups, 40);
	equals(i.held_read_bytes, 0);

	/* writing takes another one; what was mapped becomes writable */
	equals(oriel_pwrite(f, "hello", 5, 3 * RANGE + 1), 5);
	i = must_info(mine);
	equals(i.held_files, 2);
	before = i;
	equals(oriel_pwrite(f, "hello", 5, 5 * RANGE), 5);
	i = must_info(mine);
	equals(i.requests, before.requests);
	ok(oriel_close(f));
	oriel_disconnect(mine);
	equals(count_fds(0) <= fds, 1);
}

/* Not mapped at the first touch; nobody is asked all the same. */
static void test_reads(void **state)
{
	struct oriel_session *mine = connect_with(0, 2);
	struct oriel_info before, i;
	struct oriel_file *f;
	char end[10];

	native_pattern(dir, "reads", 40 * RANGE + 5, 1);
	f = must_open(mine, "reads", O_RDONLY);
	must_read(f, 100, 0);
	before = must_info(mine);
	for (unsigned r = 39; r > 0; r--)
		must_read(f, 100, r * RANGE);
	i = must_info(mine);
	equals(i.requests, before.requests);
	equals(i.setups, before.setups);
	equals(i.held_read_bytes, 39 * 100);
	/* which may wait for the disk, so it is not for these */
	equals(oriel_pread_nowait(f, end, 10, 20 * RANGE + 1), -EAGAIN);
	equals(oriel_pread_nowait(f, end, 10, 40 * RANGE + 1), -EAGAIN);
	equals(must_info(mine).held_read_bytes, 39 * 100);
	/* the end is where it is now */
	equals(oriel_pread(f, end, 10, 40 * RANGE), 5);
	equals(truncate(in_dir(dir, "reads"), 40 * RANGE + 2), 0);
	equals(oriel_pread(f, end, 10, 40 * RANGE), 2);
	equals(truncate(in_dir(dir, "reads"), 100), 0);
	equals(oriel_pread(f, end, 10, 20 * RANGE), 0);
	native_pattern(dir, "reads", 60 * RANGE, 1);
	must_read(f, 10, 59 * RANGE);
	ok(oriel_close(f));
	oriel_disconnect(mine);
}

/* Overwritten without a message where the window passes on; others see it at
 * once, and the time of it. So does what extends the file. */
static void test_overwrites(void **state)
{
	struct oriel_session *mine = connect_with(0, 2);
	struct oriel_info before, i;
	struct oriel_stat st, now;
	struct oriel_file *f;
	unsigned char *all;
	size_t len;

	native_pattern(dir, "over", 40 * RANGE, 1);
	f = must_open(mine, "over", O_RDWR);
	ok(oriel_fstat(f, 0, &st));
	equals(oriel_pwrite(f, "first", 5, 0), 5);
	before = must_info(mine);
	nap_ms(20);
	for (unsigned r = 39; r > 0; r--) {
		equals(oriel_pwrite(f, "there", 5, r * RANGE + 7), 5);
	}
	all = native_read(dir, "over", &len);
	equals(len, 40 * RANGE);
	for (unsigned r = 39; r > 0; r--)
		assert_memory_equal(all + r * RANGE + 7, "there", 5);
	free(all);
	i = must_info(mine);
	equals(i.requests, before.requests);
	equals(i.setups, before.setups);
	equals(i.held_written_bytes, 39 * 5);
	equals(oriel_pwrite_nowait(f, "never", 5, 20 * RANGE), -EAGAIN);
	equals(must_info(mine).held_written_bytes, 39 * 5);
	ok(oriel_fstat(f, 0, &now));
	assert_true(now.mtime.tv_sec > st.mtime.tv_sec ||
		    (now.mtime.tv_sec == st.mtime.tv_sec &&
		     now.mtime.tv_nsec > st.mtime.tv_nsec));
	equals(now.size, 40 * RANGE);
	equals(oriel_pwrite(f, "there", 5, 40 * RANGE - 2), 5);
	i = must_info(mine);
	equals(i.held_written_bytes, 40 * 5);
	ok(oriel_fstat(f, 0, &now));
	equals(now.size, 40 * RANGE + 3);
	ok(oriel_close(f));

	/* a handle that appends gives no descriptor to write elsewhere with */
	f = must_open(mine, "over", O_RDWR | O_APPEND);
	equals(oriel_pwrite(f, "end", 3, 0), 3);
	ok(oriel_fstat(f, 0, &now));
	equals(now.size, 40 * RANGE + 6);
	ok(oriel_close(f));
	oriel_disconnect(mine);
}

/* As many as are allowed; others take their place, and all of it is right. */
static void test_limit(void **state)
{
	enum { N = 20, MAX = 3 };
	struct oriel_session *mine = connect_with(MAX, ORIEL_MAP_ALL);
	struct oriel_file *f[N];
	char name[20];
	int fds;

	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "limit%u", i);
		native_pattern(dir, name, 4 * RANGE, 1);
		f[i] = must_open(mine, name, O_RDONLY);
	}
	fds = count_fds(0);
	for (unsigned round = 0; round < 4; round++)
		for (unsigned i = 0; i < N; i++) {
			must_read(f[i], 1000, round * RANGE + 77);
			assert_true(must_info(mine).held_files <= MAX);
			assert_true(count_fds(0) <= fds + MAX);
		}
	equals(must_info(mine).held_files, MAX);
	for (unsigned i = 0; i < N; i++)
		ok(oriel_close(f[i]));
	oriel_disconnect(mine);
}

/* Where descriptors are not written with (RLIMIT_FSIZE), passing on is no system
 * call but a message, and nobody is patient. */
static void test_no_writes(void **state)
{
	struct oriel_session *mine;
	struct rlimit was, large;
	struct oriel_info before, i;
	struct oriel_file *f;

	native_pattern(dir, "nowrites", 10 * RANGE, 1);
	ok(getrlimit(RLIMIT_FSIZE, &was));
	large = was;
	large.rlim_cur = (rlim_t)1 << 40;
	ok(setrlimit(RLIMIT_FSIZE, &large));
	mine = connect_with(0, 2);
	ok(setrlimit(RLIMIT_FSIZE, &was));
	f = must_open(mine, "nowrites", O_RDWR);
	equals(oriel_pwrite(f, "one", 3, 0), 3);
	before = must_info(mine);
	equals(before.held_files, 1);
	for (unsigned r = 1; r < 10; r++)
		equals(oriel_pwrite(f, "more", 4, r * RANGE), 4);
	i = must_info(mine);
	equals(i.setups, before.setups + 9);
	equals(i.requests, before.requests);
	equals(i.held_written_bytes, 0);
	ok(oriel_close(f));
	oriel_disconnect(mine);
}

static void test_none(void **state)
{
	struct oriel_session *mine = connect_with(ORIEL_HOLD_NONE,
						  ORIEL_MAP_ALL);
	struct oriel_file *f;
	int fds;

	native_pattern(dir, "none", 4 * RANGE, 1);
	f = must_open(mine, "none", O_RDWR);
	fds = count_fds(0);
	must_read(f, 100, 0);
	equals(oriel_pwrite(f, "x", 1, RANGE), 1);
	equals(count_fds(0), fds);
	equals(must_info(mine).held_files, 0);
	ok(oriel_close(f));
	oriel_disconnect(mine);
}

/* An eighth of what the process may have. */
static void test_rlimit(void **state)
{
	struct rlimit old, few;
	struct oriel_session *mine;
	struct oriel_file *f;
	char name[20];

	ok(getrlimit(RLIMIT_NOFILE, &old));
	few = (struct rlimit){ 80, old.rlim_max };
	ok(setrlimit(RLIMIT_NOFILE, &few));
	mine = connect_with(0, ORIEL_MAP_ALL);
	for (unsigned i = 0; i < 30; i++) {
		snprintf(name, sizeof(name), "rlimit%u", i);
		native_pattern(dir, name, RANGE, 1);
		f = must_open(mine, name, O_RDONLY);
		must_read(f, 100, 0);
		ok(oriel_close(f));
	}
	equals(must_info(mine).held_files, 10);
	oriel_disconnect(mine);
	ok(setrlimit(RLIMIT_NOFILE, &old));
}

/* Unlinked and forgotten: nothing keeps its space. */
static void test_unlinked(void **state)
{
	struct oriel_session *mine = connect_with(0, ORIEL_MAP_ALL);
	struct oriel_file *f;
	int fds = count_fds(0);

	native_pattern(dir, "gone", 4 * RANGE, 1);
	f = must_open(mine, "gone", O_RDONLY);
	must_read(f, 100, 0);
	ok(oriel_unlink(mine, "gone"));
	must_read(f, 100, 2 * RANGE); /* it is still ours */
	ok(oriel_close(f));
	for (unsigned i = 0; count_fds(0) > fds && i < 200; i++)
		nap_ms(10);
	equals(count_fds(0), fds);
	equals(count_maps(0, "/gone"), 0);
	oriel_disconnect(mine);
}

/* Readers of many files while their descriptors come and go. */
struct reader {
	struct oriel_file **f;
	unsigned n;
	uint64_t seed;
};

static void *reader_main(void *arg)
{
	struct reader *r = arg;
	struct rng rng = { .state = r->seed };

	for (unsigned i = 0; i < 4000; i++) {
		unsigned char buf[100];
		off_t pos = (off_t)rng_below(&rng, 8 * RANGE - 100);
		struct oriel_file *f = r->f[rng_below(&rng, r->n)];

		must(oriel_pread(f, buf, 100, pos) == 100, "a read");
		must(pattern_check(buf, 100, 1, (uint64_t)pos) == 100,
		     "wrong bytes at %lld", (long long)pos);
	}
	return NULL;
}

static void test_come_and_go(void **state)
{
	enum { N = 12, THREADS = 4 };
	struct oriel_session *mine = connect_with(3, 2);
	struct oriel_file *f[N];
	struct reader r[THREADS];
	pthread_t t[THREADS];
	char name[20];

	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "come%u", i);
		native_pattern(dir, name, 8 * RANGE, 1);
		f[i] = must_open(mine, name, O_RDONLY);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		r[i] = (struct reader){ f, N, i };
		ok(pthread_create(&t[i], NULL, reader_main, &r[i]));
	}
	for (unsigned i = 0; i < THREADS; i++)
		ok(pthread_join(t[i], NULL));
	assert_true(must_info(mine).held_read_bytes > 0);
	assert_true(must_info(mine).held_files <= 3);
	for (unsigned i = 0; i < N; i++)
		ok(oriel_close(f[i]));
	oriel_disconnect(mine);
}

/*
 * The number of a descriptor that is closed belongs to whoever opens something
 * next: were one closed under a reader or a writer, they would read and write the
 * trap. File k holds nothing but bytes k and holes, and is removed and made anew at
 * times.
 */
#define TRAP 0xee
enum { CHURN_FILES = 8, CHURN_LEN = 4 * RANGE, TRAPS = 8 };

struct churner {
	struct oriel_session *on;
	_Atomic bool *stop;
	uint64_t seed;
	unsigned steps;
};

static void churn_name(char *name, size_t len, unsigned k)
{
	snprintf(name, len, "churn%u", k);
}

static bool is_all(const unsigned char *p, size_t n, unsigned byte)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] && p[i] != byte)
			return false;
	return true;
}

static void churn_step(struct churner *c, struct rng *rng)
{
	unsigned k = 1 + (unsigned)rng_below(rng, CHURN_FILES);
	/* each in a part of its own: all of them map the same memory */
	off_t part = (off_t)c->seed * RANGE;
	off_t pos = part + (off_t)rng_below(rng, RANGE - 3000);
	size_t len = 1 + rng_below(rng, 3000);
	unsigned char buf[3000], want[3000];
	struct oriel_file *f;
	char name[20];

	churn_name(name, sizeof(name), k);
	if (oriel_open(c->on, name, O_RDWR, 0, &f))
		return; /* between two of them */
	memset(want, (int)k, sizeof(want));
	for (unsigned i = 0; i < 20; i++) {
		ssize_t n = oriel_pread(f, buf, len, pos);

		must(n >= 0 && is_all(buf, (size_t)n, k), "not file %u", k);
		must(oriel_pwrite(f, want, len, pos) == (ssize_t)len, "write");
		pos = part + (off_t)rng_below(rng, RANGE - 3000);
	}
	if (rng_below(rng, 16) == 0) {
		(void)!oriel_unlink(c->on, name); /* another one may have */
		native_write(dir, name, want, sizeof(want));
	}
	ok(oriel_close(f));
}

static void *churner_main(void *arg)
{
	struct churner *c = arg;
	struct rng rng = { .state = c->seed };

	for (unsigned i = 0; i < c->steps; i++)
		churn_step(c, &rng);
	return NULL;
}

static void *trapper_main(void *arg)
{
	struct churner *c = arg;

	while (!atomic_load(c->stop)) {
		int fd[TRAPS];

		for (unsigned i = 0; i < TRAPS; i++)
			fd[i] = open(in_dir(dir, "trap"), O_RDWR | O_CLOEXEC);
		sched_yield();
		for (unsigned i = 0; i < TRAPS; i++)
			close(fd[i]);
	}
	return NULL;
}

static void check_trap(void)
{
	size_t len;
	unsigned char *got = native_read(dir, "trap", &len);

	equals(len, CHURN_LEN);
	for (size_t i = 0; i < len; i++)
		must(got[i] == TRAP, "the trap was written to at %zu", i);
	free(got);
}

static void test_numbers_used_again(void **state)
{
	enum { THREADS = 3 };
	struct oriel_session *mine = connect_with(2, 2);
	struct churner c[THREADS + 1];
	pthread_t t[THREADS + 1];
	unsigned char *all = malloc(CHURN_LEN);
	_Atomic bool stop = false;
	char name[20];

	assert_non_null(all);
	memset(all, TRAP, CHURN_LEN);
	native_write(dir, "trap", all, CHURN_LEN);
	for (unsigned i = 1; i <= CHURN_FILES; i++) {
		churn_name(name, sizeof(name), i);
		memset(all, (int)i, CHURN_LEN);
		native_write(dir, name, all, CHURN_LEN);
	}
	free(all);
	for (unsigned i = 0; i <= THREADS; i++) {
		c[i] = (struct churner){ mine, &stop, i, 150 };
		ok(pthread_create(&t[i], NULL,
				  i < THREADS ? churner_main : trapper_main,
				  &c[i]));
	}
	for (unsigned i = 0; i < THREADS; i++)
		ok(pthread_join(t[i], NULL));
	atomic_store(&stop, true);
	ok(pthread_join(t[THREADS], NULL));
	check_trap();
	assert_true(must_info(mine).held_files <= 2);
	oriel_disconnect(mine);
}

/* The daemon is gone: what the window does not have is an error, though a
 * descriptor would do; nobody reads for long what nobody answers for. */
static void test_dead(void **state)
{
	struct oriel_session *mine;
	struct oriel_options o;
	struct oriel_file *f;
	struct daemon d;
	char c;

	native_pattern(dir, "dead", 8 * RANGE, 1);
	daemon_start(&d, dir, NULL);
	test_options(&o);
	o.no_background = 1;
	o.admit_touches = 2;
	mine = test_connect(d.socket, &o);
	f = must_open(mine, "dead", O_RDONLY);
	must_read(f, 100, 0);
	must_read(f, 100, 5 * RANGE);
	equals(must_info(mine).held_read_bytes, 100);
	must(daemon_stop(&d), "the daemon ended badly");
	assert_true(oriel_stat(mine, "dead", ORIEL_FORCE_SYNC,
			       &(struct oriel_stat){ 0 }) < 0);
	must_read(f, 100, 0); /* mapped */
	equals(oriel_pread(f, &c, 1, 5 * RANGE), -ENOTCONN);
	oriel_close(f);
	oriel_disconnect(mine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_maps),
		cmocka_unit_test(test_reads),
		cmocka_unit_test(test_overwrites),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_no_writes),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_rlimit),
		cmocka_unit_test(test_unlinked),
		cmocka_unit_test(test_come_and_go),
		cmocka_unit_test(test_numbers_used_again),
		cmocka_unit_test(test_dead),
	};

	return cmocka_run_group_tests_name("client-held", tests,
					   fixture_setup, fixture_teardown);
}
