/* SPDX-License-Identifier: BSD-2-Clause */
/* Connecting: options, errors and their sentences; counters; lookups given
 * back; one SETUPMAPPING for many threads. */
#include "fixture.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#define RANGE 65536

static int try_connect(const char *share, const struct oriel_options *o)
{
	struct oriel_session *s2 = NULL;
	int err = oriel_connect(share, o, &s2);

	if (err == 0) {
		must(oriel_connect_error()[0] == '\0', "a sentence: %s",
		     oriel_connect_error());
		oriel_disconnect(s2);
	} else {
		must(!s2, "output touched");
		must(oriel_connect_error()[0] != '\0', "no sentence");
	}
	return err;
}

static void test_options_table(void **state)
{
	struct {
		struct oriel_options o;
		char later[64];
	} big;
	struct oriel_options o;

	ok(try_connect(dir, NULL));
	memset(&big, 0, sizeof(big));
	big.o.size = sizeof(big);
	ok(try_connect(dir, &big.o));
	big.later[50] = 1;
	equals(try_connect(dir, &big.o), -E2BIG);
	assert_non_null(strstr(oriel_connect_error(), "byte"));
	big.later[50] = 0;
	/* one of an older library: what it did not have is the default */
	memset(&big, 0xff, sizeof(big));
	memset(&big.o, 0, offsetof(struct oriel_options, window_bytes));
	big.o.size = offsetof(struct oriel_options, window_bytes);
	ok(try_connect(dir, &big.o));

	memset(&o, 0, sizeof(o));
	equals(try_connect(dir, &o), -EINVAL);
	assert_non_null(strstr(oriel_connect_error(), "size"));
#define BAD(field, value)                                       \
	do {                                                    \
		test_options(&o);                               \
		o.field = value;                                \
		equals(try_connect(dir, &o), -EINVAL);          \
		assert_non_null(                                \
			strstr(oriel_connect_error(), #field)); \
	} while (0)
	BAD(range_bytes, 100000);
	BAD(range_bytes, 32768);
	BAD(range_bytes, 2ull << 30);
	BAD(window_bytes, 1000);
	BAD(arena_bytes, 1000);
	BAD(dax, (enum oriel_dax_mode)7);
	BAD(sandbox, (enum oriel_sandbox)9);
}

static void test_connect_errors(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct oriel_options o;
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int before = count_fds(0);

	equals(try_connect(in_dir(dir, "nothere"), NULL), -ENOENT);
	native_write(dir, "file", "f", 1);
	equals(try_connect(in_dir(dir, "file"), NULL), -ENOTSOCK);
	must(snprintf(addr.sun_path, sizeof(addr.sun_path), "%.90s/dead",
		      dir) > 0,
	     "path");
	ok(bind(sock, (struct sockaddr *)&addr, sizeof(addr)));
	equals(try_connect(in_dir(dir, "dead"), NULL), -ECONNREFUSED);
	test_options(&o);
	o.daemon_path = "/nonexistent/orield";
	equals(try_connect(dir, &o), -ENOENT);
	assert_non_null(strstr(oriel_connect_error(), "/nonexistent/orield"));
	o.daemon_path = "/bin/false";
	assert_true(try_connect(dir, &o) < 0);
	equals(oriel_connect_fd(-1, NULL, &(struct oriel_session *){ NULL }),
	       -EBADF);
	equals(count_fds(0), before);
	close(sock);
}

/* Whoever answers is no vhost-user back end. */
static void test_not_vhost_user(void **state)
{
	struct oriel_session *s2 = NULL;
	int sv[2];
	int err;

	ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv));
	equals(write(sv[1], "HTTP/1.1 400 Bad Request\r\n\r\n", 28), 28);
	err = oriel_connect_fd(sv[0], NULL, &s2);
	equals(err, -EPROTO);
	assert_null(s2);
	close(sv[1]);
}

static void *connect_thread(void *arg)
{
	struct oriel_session *s2 = test_connect(dir, NULL);
	struct oriel_stat st;

	must(oriel_stat(s2, "/", 0, &st) == 0, "stat");
	oriel_disconnect(s2);
	return arg;
}

/* Embedded daemons do not get in each other's way. */
static void test_many_sessions(void **state)
{
	pthread_t t[6];
	int before = count_fds(0);

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 6; i++)
			ok(pthread_create(&t[i], NULL, connect_thread, NULL));
		for (int i = 0; i < 6; i++)
			ok(pthread_join(t[i], NULL));
	}
	equals(count_fds(0), before);
	equals(count_maps(0, "memfd:") > 0, 1); /* the group's own session */
}

static void test_info(void **state)
{
	struct oriel_info i = must_info(s), part;
	struct {
		struct oriel_info i;
		char later[16];
	} big;
	struct oriel_file *f;
	char buf[10], picture[2000];

	equals(i.proto_major, 7);
	assert_true(i.proto_minor >= 31);
	equals(i.embedded, 1);
	equals(i.alive, 1);
	assert_true(i.daemon_pid > 1 && i.sandbox[0]);
	equals(i.range_bytes, RANGE);
	equals(i.window_bytes, 64 << 20);
	equals(i.ranges, 1024);
	assert_true(i.fuse_flags && i.virtio_features && i.vhost_features);
	assert_string_equal(oriel_version(), ORIEL_VERSION_STRING);
	assert_string_equal(oriel_fuse_flag_name(26), "MAP_ALIGNMENT");
	assert_null(oriel_fuse_flag_name(64));
	assert_string_equal(oriel_strerror(-ENOENT), strerror(ENOENT));
	part.size = 0;
	equals(oriel_info(s, &part), -EINVAL);
	memset(&big, 0xee, sizeof(big));
	big.i.size = sizeof(big);
	ok(oriel_info(s, &big.i));
	equals(big.later[0], 0);
	equals(big.i.size, sizeof(struct oriel_info));

	/* counters move by what was done */
	native_pattern(dir, "counted", 4 * RANGE, 1);
	f = must_open(s, "counted", O_RDWR);
	i = must_info(s);
	equals(i.open_files, 1);
	equals(oriel_pread(f, buf, 10, 0), 10);
	part = must_info(s);
	equals(part.misses, i.misses + 1);
	assert_true(part.setups >= i.setups + 1);
	equals(part.window_read_bytes, i.window_read_bytes + 10);
	i = part;
	equals(oriel_pread(f, buf, 10, 20), 10);
	part = must_info(s);
	equals(part.hits, i.hits + 1);
	equals(part.setups, i.setups);
	equals(part.requests, i.requests);
	equals(oriel_pwrite(f, buf, 10, 20), 10);
	equals(must_info(s).window_write_bytes, i.window_write_bytes + 10);
	equals(oriel_pwrite(f, buf, 10, 4 * RANGE), 10);
	equals(must_info(s).held_written_bytes, i.held_written_bytes + 10);
	equals(must_info(s).message_write_bytes, i.message_write_bytes);
	equals(oriel_window_picture(s, picture, sizeof(picture)), 1024);
	assert_non_null(memchr(picture, 'W', 1024));
	ok(oriel_close(f));
	equals(must_info(s).open_files, 0);
	equals(oriel_file_session(must_open(s, "counted", O_RDONLY)) == s, 1);
}

/* ----------------------------------------------------------------- FORGET */

#define N_FILES 20000

static void test_forget(void **state)
{
	struct daemon d;
	struct daemon_state st;
	struct oriel_session *s2;
	struct oriel_options o;
	struct oriel_stat stat_buf;
	struct oriel_dirent e;
	struct oriel_dir *walk;
	char many[400], name[40];
	int fds, most = 0;

	snprintf(many, sizeof(many), "%s/many", dir);
	ok(mkdir(many, 0755));
	for (int i = 0; i < N_FILES; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		equals(mknod(in_dir(many, name), S_IFREG | 0644, 0), 0);
	}
	daemon_start(&d, many, NULL);
	test_options(&o);
	o.inode_cache = 100;
	s2 = test_connect(d.socket, &o);
	fds = count_fds(d.pid);
	for (int i = 0; i < N_FILES; i++) {
		struct oriel_file *f;

		snprintf(name, sizeof(name), "f%d", i);
		if (i % 4 == 0) {
			f = must_open(s2, name, O_RDONLY);
			ok(oriel_close(f));
		} else {
			ok(oriel_stat(s2, name, 0, &stat_buf));
		}
		if (i % 1000 == 0) {
			int now = count_fds(d.pid);

			most = now > most ? now : most;
		}
	}
	/* READDIRPLUS looks every name up as well; half of a buffer unread */
	ok(oriel_opendir(s2, "/", ORIEL_DIR_STAT, &walk));
	for (int i = 0; i < N_FILES - 50; i++)
		equals(oriel_readdir(walk, &e), 1);
	oriel_closedir(walk);
	assert_true(must_info(s2).inodes <= 103);
	assert_true(must_info(s2).forgets > N_FILES);
	/* what waits to be sent goes with the next request */
	support_watch(60);
	do {
		nap_ms(5);
		ok(oriel_stat(s2, "/", 0, &stat_buf));
		daemon_state(&d, &st);
	} while (st.inodes > 103);
	assert_true(most < fds + 5000);
	assert_true(count_fds(d.pid) <= fds + 103);
	oriel_disconnect(s2);
	do {
		nap_ms(5);
		daemon_state(&d, &st);
	} while (st.sessions);
	support_watch(0);
	equals(st.inodes, 1);
	equals(st.handles, 0);
	must(daemon_stop(&d), "the daemon ended badly");
	scratch_remove(many);
}

/* ------------------------------------------------- one set-up for all of us */

struct racer {
	struct oriel_file *f;
	pthread_barrier_t *barrier;
	unsigned n_ranges;
};

static void *race_main(void *arg)
{
	struct racer *r = arg;
	unsigned char buf[100];

	for (unsigned i = 0; i < r->n_ranges; i++) {
		pthread_barrier_wait(r->barrier);
		must(oriel_pread(r->f, buf, 100, (off_t)i * RANGE + 50) == 100,
		     "pread");
		must(pattern_check(buf, 100, 2, (uint64_t)i * RANGE + 50) ==
			     100,
		     "wrong bytes in range %u", i);
	}
	return NULL;
}

static uint64_t requests_of(const struct daemon *d)
{
	struct daemon_state st;

	daemon_state(d, &st);
	return st.requests;
}

/* Two to eight threads miss the same range at the same time: it is mapped once,
 * by our count and by the daemon's, which has nothing else to count here: one
 * SETUPMAPPING for each range, or one for all of them if its descriptor is
 * held. */
static void race_setups(uint32_t held_files)
{
	enum { N_RANGES = 100 };
	const unsigned n_asked = held_files == ORIEL_HOLD_NONE ? N_RANGES : 1;
	struct daemon d;

	native_pattern(dir, "raced", N_RANGES * RANGE, 2);
	daemon_start(&d, dir, NULL);
	for (unsigned n = 2; n <= 8; n++) {
		struct oriel_session *s2 = NULL;
		struct racer r = { .n_ranges = N_RANGES };
		struct oriel_options o;
		struct oriel_info before, after;
		pthread_barrier_t barrier;
		pthread_t t[8];
		uint64_t served;

		test_options(&o);
		o.no_background = 1; /* no set-ups ahead of time */
		o.held_files = held_files;
		s2 = test_connect(d.socket, &o);
		r.f = must_open(s2, "raced", O_RDONLY);
		r.barrier = &barrier;
		ok(pthread_barrier_init(&barrier, NULL, n));
		before = must_info(s2);
		served = requests_of(&d);
		for (unsigned i = 0; i < n; i++)
			ok(pthread_create(&t[i], NULL, race_main, &r));
		for (unsigned i = 0; i < n; i++)
			ok(pthread_join(t[i], NULL));
		after = must_info(s2);
		equals(after.setups - before.setups, N_RANGES);
		equals(after.requests - before.requests, n_asked);
		equals(requests_of(&d) - served, n_asked);
		equals(after.bypassed, 0);
		pthread_barrier_destroy(&barrier);
		oriel_disconnect(s2);
	}
	must(daemon_stop(&d), "the daemon ended badly");
}

static void test_one_setup(void **state)
{
	race_setups(ORIEL_HOLD_NONE);
}

static void test_one_setup_held(void **state)
{
	race_setups(0);
}

/* Two clients of one daemon: each sees at once what the other does. */
static void test_two_clients(void **state)
{
	struct daemon d;
	struct oriel_session *a, *b;
	struct oriel_file *fa, *fb;
	char buf[8];

	native_pattern(dir, "shared", 4 * RANGE, 2);
	daemon_start(&d, dir, NULL);
	a = test_connect(d.socket, NULL);
	b = test_connect(d.socket, NULL);
	equals(must_info(a).embedded, 0);
	equals(must_info(a).daemon_pid, d.pid);
	assert_string_equal(must_info(a).tag, "oriel");
	fa = must_open(a, "shared", O_RDWR);
	fb = must_open(b, "shared", O_RDWR);
	for (uint64_t i = 0; i < 200; i++) {
		equals(oriel_pwrite(fa, &i, 8, (off_t)(i * 1237)), 8);
		equals(oriel_pread(fb, buf, 8, (off_t)(i * 1237)), 8);
		assert_memory_equal(buf, &i, 8);
	}
	equals(oriel_pwrite(fa, "tail", 4, 4 * RANGE), 4);
	equals(oriel_pread(fb, buf, 8, 4 * RANGE), 4);
	oriel_disconnect(a);
	equals(oriel_pread(fb, buf, 8, 2 * RANGE), 8);
	oriel_disconnect(b);
	must(daemon_stop(&d), "the daemon ended badly");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options_table),
		cmocka_unit_test(test_connect_errors),
		cmocka_unit_test(test_not_vhost_user),
		cmocka_unit_test(test_many_sessions),
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_one_setup),
		cmocka_unit_test(test_one_setup_held),
		cmocka_unit_test(test_two_clients),
	};

	return cmocka_run_group_tests_name("client-session", tests,
					   fixture_setup, fixture_teardown);
}
