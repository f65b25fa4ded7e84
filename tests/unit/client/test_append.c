/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel_coalesce(): what sends gathered appends, in which order, how a failure
 * is told, and what is left when either side is killed. The writer that is
 * killed is this program again ("writer" as its first argument).
 */
#include "fixture.h"


#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/util.h"

#define NEVER_MS 60000u
#define RECORD 32u
#define BUFFER 1000u
#define PER_SEND (BUFFER / RECORD) /* whole records */

static off_t native_size(const char *name)
{
	struct stat st;

	must(stat(in_dir(dir, name), &st) == 0, "stat %s", name);
	return st.st_size;
}

/* A fresh file that gathers and holds "abc", unsent. */
static struct oriel_file *holding(const char *name, int flags)
{
	struct oriel_file *f;

	native_write(dir, name, "", 0);
	f = must_open(s, name, flags);
	ok(oriel_coalesce(f, 4096, NEVER_MS));
	equals(oriel_pwrite(f, "a", 1, 0), 1);
	equals(oriel_pwrite(f, "bc", 2, 1), 2);
	equals(native_size(name), 0);
	return f;
}

static void test_one_message(void **state)
{
	struct oriel_file *f = holding("one", O_WRONLY);
	struct oriel_info before = must_info(s), after;
	unsigned char *got;
	size_t len;

	for (int i = 0; i < 500; i++)
		equals(oriel_pwrite(f, "12345678", 8, 3 + 8 * i), 8);
	after = must_info(s);
	equals(after.requests - before.requests, 0);
	equals(native_size("one"), 0);
	ok(oriel_fdatasync(f));
	after = must_info(s);
	equals(after.requests - before.requests, 2); /* WRITE, FSYNC */
	got = native_read(dir, "one", &len);
	equals(len, 4003);
	assert_memory_equal(got, "abc12345678", 11);
	free(got);
	ok(oriel_close(f));
}

/* Each of these sends; one row a call. */
static void test_what_sends(void **state)
{
	struct oriel_file *f, *other;
	struct oriel_stat st;
	struct timespec times[2] = { { .tv_sec = 5 }, { .tv_sec = 6 } };
	char buf[8];

	for (int how = 0; how < 14; how++) {
		off_t want = 3;

		f = holding("sends", O_RDWR);
		other = must_open(s, "sends", O_RDWR);
		switch (how) {
		case 0:
			ok(oriel_fsync(f));
			break;
		case 1:
			ok(oriel_fsync(other));
			break;
		case 2:
			ok(oriel_sync(s));
			break;
		case 3:
			equals(oriel_pread(other, buf, 8, 0), 3);
			break;
		case 4:
			ok(oriel_fstat(other, 0, &st));
			equals(st.size, 3);
			break;
		case 5:
			equals(must_stat("sends", 0).size, 3);
			break;
		case 6:
			equals(oriel_lseek(f, 0, SEEK_END), 3);
			break;
		case 7:
			equals(oriel_pwrite(f, "x", 1, 1), 1);
			break;
		case 8:
			equals(oriel_pwrite(other, "x", 1, 9), 1);
			want = 10;
			break;
		case 9:
			ok(oriel_ftruncate(other, 2));
			want = 2;
			break;
		case 10:
			ok(oriel_fallocate(f, 0, 0, 20));
			want = 20;
			break;
		case 11:
			ok(oriel_utimens(s, "sends", times, 0));
			equals(must_stat("sends", 0).mtime.tv_sec, 6);
			break;
		case 12:
			ok(oriel_coalesce(f, 0, 0));
			break;
		case 13:
			equals(oriel_read_file(s, "sends", buf, 8), 3);
			assert_memory_equal(buf, "abc", 3);
			break;
		}
		equals(native_size("sends"), want);
		if (how != 7 && how != 9) {
			equals(oriel_pread(f, buf, 3, 0), 3);
			assert_memory_equal(buf, "abc", 3);
		}
		ok(oriel_close(other));
		ok(oriel_close(f));
		/* nothing was left behind to be sent later */
		equals(native_size("sends"), want);
	}
	f = holding("sends", O_RDWR);
	ok(oriel_close(f));
	equals(native_size("sends"), 3);
	/* O_TRUNC comes after, not before what was written */
	f = holding("sends", O_RDWR);
	other = must_open(s, "sends", O_RDWR | O_TRUNC);
	ok(oriel_close(f));
	equals(native_size("sends"), 0);
	ok(oriel_close(other));
}

/* Also a store into the window, which needs no message: or a crash could leave
 * the store and not the append before it. */
static void test_hit_sends_first(void **state)
{
	struct oriel_file *f, *other;
	struct oriel_info before, after;

	native_pattern(dir, "hit", 200000, 1);
	f = must_open(s, "hit", O_RDWR);
	other = must_open(s, "hit", O_RDWR);
	for (int i = 0; i < 2; i++) /* mapped for writing now */
		equals(oriel_pwrite(other, "x", 1, 100), 1);
	ok(oriel_coalesce(f, 4096, NEVER_MS));
	for (int i = 0; i < 2; i++) {
		equals(oriel_pwrite(f, "abc", 3, 200000 + 3 * i), 3);
		equals(native_size("hit"), 200000 + 3 * i);
		before = must_info(s);
		equals(oriel_pwrite(i ? f : other, "y", 1, 101), 1);
		after = must_info(s);
		equals(native_size("hit"), 200003 + 3 * i);
		equals(after.window_write_bytes - before.window_write_bytes, 1);
	}
	equals(oriel_pwrite(f, "abc", 3, 200006), 3);
	equals(oriel_pwrite_nowait(other, "z", 1, 102), -EAGAIN);
	ok(oriel_close(f));
	equals(oriel_pwrite_nowait(other, "z", 1, 102), 1);
	ok(oriel_close(other));
}

/* A pointer is followed without asking anybody: while one is out, what is
 * appended is where it points to, and what is stored there stays. */
static void test_pointers(void **state)
{
	struct oriel_info before, after;
	struct oriel_mapping *m, *none;
	struct oriel_file *f;
	unsigned char *p, *got;
	void *ptr;
	size_t len;

	native_pattern(dir, "pointer", 5000, 1);
	f = must_open(s, "pointer", O_RDWR);
	ok(oriel_coalesce(f, 4096, NEVER_MS));
	equals(oriel_pwrite(f, "abc", 3, 5000), 3);
	ok(oriel_map(f, 4999, 100, ORIEL_MAP_READ | ORIEL_MAP_WRITE, &m, &ptr));
	p = ptr;
	assert_memory_equal(p + 1, "abc", 3);
	equals(oriel_pwrite(f, "def", 3, 5003), 3);
	assert_memory_equal(p + 1, "abcdef", 6);
	equals(oriel_copy(p + 5, "X", 1, m), 1);
	/* a second that is refused counts for nothing */
	equals(oriel_map(f, 9999, 1, ORIEL_MAP_READ, &none, &ptr), -EINVAL);
	equals(oriel_pwrite(f, "ghi", 3, 5006), 3);
	equals(native_size("pointer"), 5009);
	oriel_unmap(m);
	before = must_info(s);
	equals(oriel_pwrite(f, "jkl", 3, 5009), 3);
	after = must_info(s);
	equals(after.requests - before.requests, 0); /* it gathers again */
	ok(oriel_close(f));
	got = native_read(dir, "pointer", &len);
	equals(len, 5012);
	assert_memory_equal(got + 5000, "abcdXfghijkl", 12);
	free(got);
}

static void test_disconnect_sends(void **state)
{
	struct oriel_session *s2 = test_connect(dir, NULL);
	struct oriel_file *f;

	native_write(dir, "bye", "", 0);
	f = must_open(s2, "bye", O_WRONLY | O_APPEND);
	ok(oriel_coalesce(f, 4096, NEVER_MS));
	equals(oriel_pwrite(f, "abc", 3, 0), 3);
	oriel_disconnect(s2);
	equals(native_size("bye"), 3);
}

static void test_deadline(void **state)
{
	struct oriel_file *f = holding("late", O_WRONLY);

	ok(oriel_coalesce(f, 4096, 1));
	equals(oriel_pwrite(f, "def", 3, 3), 3);
	support_watch(60);
	while (native_size("late") != 6)
		nap_ms(1);
	support_watch(0);
	ok(oriel_close(f));
}

/* By turns through three handles, of which one does not gather. */
static void test_order(void **state)
{
	struct oriel_file *f[3];
	unsigned char *got;
	size_t len;

	native_write(dir, "turns", "", 0);
	for (int i = 0; i < 3; i++) {
		f[i] = must_open(s, "turns", O_WRONLY | O_APPEND);
		if (i < 2)
			ok(oriel_coalesce(f[i], 100, NEVER_MS));
	}
	for (int i = 0; i < 3000; i++) {
		unsigned char c = (unsigned char)(i % 251);

		equals(oriel_pwrite(f[i * 7 / 10 % 3], &c, 1, 0), 1);
	}
	for (int i = 0; i < 3; i++)
		ok(oriel_close(f[i]));
	got = native_read(dir, "turns", &len);
	equals(len, 3000);
	for (size_t i = 0; i < len; i++)
		equals(got[i], i % 251);
	free(got);
}

static void test_refused(void **state)
{
	struct oriel_options o;
	struct oriel_session *s2;
	struct oriel_file *f;

	native_write(dir, "no", "x", 1);
	f = must_open(s, "no", O_RDONLY);
	equals(oriel_coalesce(f, 4096, 0), -EBADF);
	ok(oriel_close(f));
	f = must_open(s, "no", O_WRONLY | O_DSYNC);
	equals(oriel_coalesce(f, 4096, 0), -EINVAL);
	ok(oriel_close(f));
	f = must_open(s, "no", O_WRONLY);
	equals(oriel_coalesce(f, 4096, NEVER_MS + 1), -EINVAL);
	ok(oriel_close(f));
	test_options(&o);
	o.no_background = 1;
	s2 = test_connect(dir, &o);
	f = must_open(s2, "no", O_WRONLY);
	equals(oriel_coalesce(f, 4096, 0), -EOPNOTSUPP);
	ok(oriel_close(f));
	oriel_disconnect(s2);
}

#define LIMIT 65536

/* The daemon may write LIMIT bytes of a file and no more. */
static void test_error_once(void **state)
{
	struct rlimit was, small;
	struct oriel_session *s2;
	struct oriel_file *f, *other;
	struct daemon d;
	static char buf[LIMIT + 5000] = { 'x' };

	ok(getrlimit(RLIMIT_FSIZE, &was));
	small = was;
	small.rlim_cur = LIMIT;
	signal(SIGXFSZ, SIG_IGN); /* inherited by the daemon */
	ok(setrlimit(RLIMIT_FSIZE, &small));
	daemon_start(&d, dir, NULL);
	ok(setrlimit(RLIMIT_FSIZE, &was));
	s2 = test_connect(d.socket, NULL);
	for (int how = 0; how < 3; how++) {
		native_write(dir, "full", "", 0);
		f = must_open(s2, "full", O_WRONLY | O_APPEND);
		other = must_open(s2, "full", O_RDONLY);
		ok(oriel_coalesce(f, 2 * LIMIT, NEVER_MS));
		equals(oriel_pwrite(f, buf, sizeof(buf), 0), sizeof(buf));
		/* somebody else's call has it sent, and is not told */
		equals(oriel_lseek(other, 0, SEEK_END), LIMIT);
		if (how == 0)
			equals(oriel_pwrite(f, buf, 1, 0), -EFBIG);
		else if (how == 1)
			equals(oriel_fsync(f), -EFBIG);
		if (how < 2)
			ok(oriel_fsync(f));
		equals(oriel_close(f), how == 2 ? -EFBIG : 0);
		ok(oriel_close(other));
		equals(native_size("full"), LIMIT);
	}
	oriel_disconnect(s2);
	assert_true(daemon_stop(&d));
}

/* --------------------------------------------------------------- crashes */

struct writer {
	pid_t pid;
	int fd; /* how many records are written; with syncs: are safe */
};

/* Write @n records (0: for ever, made safe every 50), say so, and stay. */
static int writer_main(char **argv)
{
	struct oriel_session *to = test_connect(argv[2], NULL);
	struct oriel_file *f = must_open(to, "log", atoi(argv[3]));
	uint32_t n = (uint32_t)atoi(argv[4]);
	char rec[RECORD + 1];
	int err = oriel_coalesce(f, BUFFER, n ? NEVER_MS : 1);

	for (uint32_t i = 0; !err && (!n || i < n); i++) {
		ssize_t r;

		snprintf(rec, sizeof(rec), "%031u\n", i);
		r = oriel_pwrite(f, rec, RECORD, (off_t)i * RECORD);
		err = r == RECORD ? 0 : r < 0 ? (int)r : -EIO;
		if (!n && i % 50 == 49 && !err) {
			uint32_t safe = i + 1;

			err = oriel_fsync(f);
			must(err || write(1, &safe, 4) == 4, "report");
		}
	}
	must(err || write(1, &n, 4) == 4, "report");
	while (!err)
		pause();
	return err == -ENOTCONN ? 3 : 4;
}

static struct writer writer_start(const struct daemon *d, int flags,
				  uint32_t n)
{
	char flags_s[16], n_s[16];
	struct writer w;
	int p[2];

	snprintf(flags_s, sizeof(flags_s), "%d", flags);
	snprintf(n_s, sizeof(n_s), "%u", n);
	ok(pipe2(p, O_CLOEXEC));
	w.pid = fork();
	if (w.pid == 0) {
		dup2(p[1], 1);
		execl("/proc/self/exe", "test_append", "writer", d->socket,
		      flags_s, n_s, (char *)NULL);
		_exit(9);
	}
	close(p[1]);
	w.fd = p[0];
	return w;
}

/* Wait for @reports; the last one is returned. */
static uint32_t writer_reports(struct writer *w, unsigned reports)
{
	uint32_t got = 0;

	support_watch(60);
	while (reports--)
		must(read(w->fd, &got, 4) == 4, "the writer ended");
	support_watch(0);
	return got;
}

/* Also what it said before it died. */
static int writer_end(struct writer *w, uint32_t *safe)
{
	uint32_t got;
	int status;

	support_watch(60);
	while (read(w->fd, &got, 4) == 4)
		*safe = got;
	equals(waitpid(w->pid, &status, 0), w->pid);
	support_watch(0);
	close(w->fd);
	return status;
}

/* The log is the first bytes of what was written; how many. */
static size_t log_is_prefix(void)
{
	char rec[RECORD + 1];
	size_t len;
	unsigned char *got = native_read(dir, "log", &len);

	for (size_t i = 0; i < len; i++) {
		if (i % RECORD == 0)
			snprintf(rec, sizeof(rec), "%031zu\n", i / RECORD);
		equals(got[i], (unsigned char)rec[i % RECORD]);
	}
	free(got);
	return len;
}

/* At each count of records around a send: what was sent is there, no more. */
static void test_kill_between_sends(void **state)
{
	static const uint32_t counts[] = { 1, PER_SEND, PER_SEND + 1,
					   3 * PER_SEND, 3 * PER_SEND + 1 };
	struct daemon d;
	struct writer w;
	uint32_t n;

	for (size_t i = 0; i < 2 * ARRAY_LEN(counts); i++) {
		uint32_t count = counts[i / 2];
		bool client = i % 2;

		native_write(dir, "log", "", 0);
		daemon_start(&d, dir, NULL);
		w = writer_start(&d, O_WRONLY | (i % 3 ? O_APPEND : 0), count);
		equals(writer_reports(&w, 1), count);
		if (!client)
			kill(d.pid, SIGKILL);
		kill(w.pid, SIGKILL);
		writer_end(&w, &n);
		assert_true(daemon_stop(&d));
		equals(log_is_prefix(),
		       (count - 1) / PER_SEND * PER_SEND * RECORD);
	}
}

/* At any moment, with sends, syncs and deadlines under way. */
static void test_kill_any_time(void **state)
{
	struct rng r = { seed_from("ORIEL_TEST_SEED") };
	struct daemon d;
	struct writer w;

	for (int round = 0; round < 12; round++) {
		bool client = round % 2;
		uint32_t safe;
		int status;

		native_write(dir, "log", "", 0);
		daemon_start(&d, dir, NULL);
		w = writer_start(&d, O_WRONLY | (round % 4 < 2 ? O_APPEND : 0),
				 0);
		safe = writer_reports(&w, 1 + (unsigned)rng_below(&r, 5));
		usleep((useconds_t)rng_below(&r, 3000));
		kill(client ? w.pid : d.pid, SIGKILL);
		status = writer_end(&w, &safe);
		assert_true(client ? WIFSIGNALED(status) :
				     WIFEXITED(status) &&
					     WEXITSTATUS(status) == 3);
		assert_true(daemon_stop(&d));
		assert_true(log_is_prefix() >= (size_t)safe * RECORD);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_message),
		cmocka_unit_test(test_what_sends),
		cmocka_unit_test(test_hit_sends_first),
		cmocka_unit_test(test_pointers),
		cmocka_unit_test(test_disconnect_sends),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_error_once),
		cmocka_unit_test(test_kill_between_sends),
		cmocka_unit_test(test_kill_any_time),
	};

	if (argc == 5 && !strcmp(argv[1], "writer"))
		return writer_main(argv);
	return cmocka_run_group_tests_name("client-append", tests,
					   fixture_setup, fixture_teardown);
}
