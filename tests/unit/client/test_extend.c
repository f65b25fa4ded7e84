/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes that make a file longer: how many messages they take, by message and
 * by descriptor, and that others' appends and truncations are respected. */
#include "fixture.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

#define FIRST 8u /* go by message; then a descriptor is asked for */

static struct oriel_session *without_descriptors(void)
{
	struct oriel_options o;

	test_options(&o);
	o.held_files = ORIEL_HOLD_NONE;
	return test_connect(dir, &o);
}

static uint64_t requests(struct oriel_session *on)
{
	return must_info(on).requests;
}

static off_t native_size(const char *name)
{
	struct stat st;

	must(stat(in_dir(dir, name), &st) == 0, "stat %s", name);
	return st.st_size;
}

static void append(struct oriel_file *f, const char *text)
{
	equals(oriel_pwrite(f, text, strlen(text), 0), strlen(text));
}

/* Until a descriptor is held; the file has 4 bytes for each then. */
static void learn(struct oriel_session *on, struct oriel_file *f)
{
	uint64_t held = must_info(on).held_files;
	unsigned n = 0;

	for (; must_info(on).held_files == held; n++) {
		must(n < FIRST, "no descriptor");
		append(f, "abc\n");
	}
	equals(n, FIRST);
}

static void check_lines(const char *name, size_t n)
{
	size_t len;
	unsigned char *got = native_read(dir, name, &len);

	equals(len, 4 * n);
	for (size_t i = 0; i < len; i += 4)
		assert_memory_equal(got + i, "abc\n", 4);
	free(got);
}

/* One message each and nothing else, though the handle appends. */
static void test_one_message_each(void **state)
{
	static const int flags[] = { O_WRONLY | O_APPEND, O_WRONLY, O_RDWR };
	struct oriel_session *mine = without_descriptors();
	struct oriel_stat st;
	struct oriel_file *f;
	uint64_t before;

	for (unsigned how = 0; how < 3; how++) {
		native_write(dir, "each", "", 0);
		f = must_open(mine, "each", flags[how]);
		append(f, "abc\n");
		before = requests(mine);
		for (int i = 1; i < 100; i++)
			equals(oriel_pwrite(f, "abc\n", 4, 4 * i), 4);
		equals(requests(mine) - before, 99);
		ok(oriel_fstat(f, 0, &st));
		equals(st.size, 400);
		ok(oriel_close(f));
		check_lines("each", 100);
	}
	oriel_disconnect(mine);
}

static void test_no_message(void **state)
{
	static const int flags[] = { O_WRONLY | O_APPEND, O_WRONLY };
	struct oriel_info before, after;
	struct oriel_stat st;
	struct oriel_file *f;

	for (unsigned how = 0; how < 2; how++) {
		char name[] = "none0";

		name[4] += (char)how;
		native_write(dir, name, "", 0);
		f = must_open(s, name, flags[how]);
		for (unsigned i = 0; i < FIRST; i++)
			equals(oriel_pwrite(f, "abc\n", 4, 4 * i), 4);
		before = must_info(s);
		for (int i = FIRST; i < 1000; i++)
			equals(oriel_pwrite(f, "abc\n", 4, 4 * i), 4);
		after = must_info(s);
		equals(after.requests - before.requests, 0);
		equals(after.held_written_bytes - before.held_written_bytes,
		       4 * (1000 - FIRST));
		ok(oriel_fstat(f, 0, &st));
		equals(st.size, 4000);
		ok(oriel_close(f));
		check_lines(name, 1000);
	}
}

/* In pieces, across the end, and far past it: one system call each. */
static void test_shapes(void **state)
{
	char text[] = "12345";
	struct iovec iov[3] = { { text, 2 }, { NULL, 0 }, { text + 2, 3 } };
	struct oriel_file *f;
	unsigned char *got;
	uint64_t before;
	size_t len;

	native_write(dir, "shapes", "", 0);
	f = must_open(s, "shapes", O_RDWR);
	for (unsigned i = 0; i < FIRST; i++)
		equals(oriel_pwrite(f, "x", 1, i), 1);
	before = requests(s);
	equals(oriel_pwritev(f, iov, 3, 6), 5);
	equals(oriel_pwrite(f, "far", 3, 100000), 3);
	equals(requests(s), before);
	got = native_read(dir, "shapes", &len);
	equals(len, 100003);
	assert_memory_equal(got, "xxxxxx12345\0", 12);
	assert_memory_equal(got + 99999, "\0far", 4);
	free(got);
	ok(oriel_close(f));
}

/* Others append and cut between ours: nothing is written over, and the end is
 * where it is, whatever was known of it. */
static void among_others(struct oriel_session *on, bool by_descriptor)
{
	struct oriel_file *f;
	int fd;
	char buf[100];

	native_write(dir, "among", "", 0);
	f = must_open(on, "among", O_RDWR | O_APPEND);
	fd = open(in_dir(dir, "among"), O_WRONLY | O_APPEND | O_CLOEXEC);
	if (by_descriptor)
		learn(on, f);
	for (int i = 0; i < 200; i++) {
		off_t size = native_size("among");

		equals(write(fd, "abc\n", 4), 4);
		append(f, "abc\n");
		equals(native_size("among"), size + 8);
		/* what is known now is right: no end but this */
		equals(oriel_pread(f, buf, 100, size), 8);
		assert_memory_equal(buf, "abc\nabc\n", 8);
	}
	check_lines("among", 400 + (by_descriptor ? FIRST : 0));
	ok(ftruncate(fd, 3));
	append(f, "de");
	equals(native_size("among"), 5);
	equals(oriel_pread(f, buf, 100, 0), 5);
	assert_memory_equal(buf, "abcde", 5);
	equals(oriel_pread(f, buf, 100, 7), 0);
	equals(oriel_lseek(f, 0, SEEK_END), 5);
	close(fd);
	ok(oriel_close(f));
}

static void test_among_others(void **state)
{
	struct oriel_session *mine = without_descriptors();
	struct oriel_session *fresh = test_connect(dir, NULL);

	among_others(mine, false);
	among_others(fresh, true);
	oriel_disconnect(mine);
	oriel_disconnect(fresh);
}

/* By descriptor, too, a set-uid bit that comes later goes. */
static void test_set_uid(void **state)
{
	struct oriel_file *f;

	native_write(dir, "suid", "", 0);
	f = must_open(s, "suid", O_WRONLY | O_APPEND);
	learn(s, f);
	ok(oriel_chmod(s, "suid", 04755));
	append(f, "abc\n");
	equals(must_stat("suid", ORIEL_FORCE_SYNC).mode & 07777, 0755);
	ok(oriel_close(f));
	check_lines("suid", FIRST + 1);
}

/* Past a limit of this process's, pwrite(2) would raise a signal: by message. */
static void test_limit(void **state)
{
	struct rlimit was, large;
	struct oriel_session *mine;
	struct oriel_file *f;

	ok(getrlimit(RLIMIT_FSIZE, &was));
	large = was;
	large.rlim_cur = (rlim_t)1 << 40;
	native_write(dir, "limit", "", 0);
	ok(setrlimit(RLIMIT_FSIZE, &large));
	mine = test_connect(dir, NULL);
	ok(setrlimit(RLIMIT_FSIZE, &was));
	f = must_open(mine, "limit", O_WRONLY | O_APPEND);
	for (unsigned i = 0; i < 4 * FIRST; i++)
		append(f, "abc\n");
	equals(must_info(mine).held_written_bytes, 0);
	equals(must_info(mine).setups, 0); /* nor is one asked for */
	ok(oriel_close(f));
	oriel_disconnect(mine);
	check_lines("limit", 4 * FIRST);
}

/* No message is no reason to write to a share whose daemon is gone. */
static void test_dead_daemon(void **state)
{
	struct oriel_session *mine;
	struct oriel_file *f;
	struct daemon d;

	native_write(dir, "dead", "", 0);
	daemon_start(&d, dir, NULL);
	mine = test_connect(d.socket, NULL);
	f = must_open(mine, "dead", O_WRONLY | O_APPEND);
	learn(mine, f);
	append(f, "abc\n");
	kill(d.pid, SIGKILL);
	assert_true(daemon_stop(&d));
	/* whoever asks notices */
	equals(oriel_fsync(f), -ENOTCONN);
	equals(oriel_pwrite(f, "abc\n", 4, 0), -ENOTCONN);
	equals(oriel_close(f), -ENOTCONN);
	oriel_disconnect(mine);
	check_lines("dead", FIRST + 1);
}

/* A disk of one MiB fills up by descriptor: what was taken is there. */
static void test_full(void **state)
{
	struct oriel_session *mine;
	struct oriel_file *f;
	char small[400], buf[5000] = { 0 };
	struct stat st;
	ssize_t n = 0;
	size_t sum = 0;

	snprintf(small, sizeof(small), "%s/one-mib", dir);
	ok(mkdir(small, 0755));
	if (mount("tmpfs", small, "tmpfs", 0, "size=1m") < 0)
		skip(); /* not root */
	mine = test_connect(small, NULL);
	f = must_open(mine, "f", O_WRONLY | O_APPEND | O_CREAT);
	while (sum < 2 << 20 && (n = oriel_pwrite(f, buf, 5000, 0)) > 0)
		sum += (size_t)n;
	equals(n, -ENOSPC);
	equals(sum, 1 << 20); /* the last one was short */
	assert_true(must_info(mine).held_written_bytes > 500000);
	ok(stat(in_dir(small, "f"), &st));
	equals(st.st_size, 1 << 20);
	ok(oriel_ftruncate(f, 10));
	equals(oriel_pwrite(f, buf, 5000, 0), 5000);
	ok(oriel_close(f));
	oriel_disconnect(mine);
	ok(umount2(small, MNT_DETACH));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_message_each),
		cmocka_unit_test(test_no_message),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_among_others),
		cmocka_unit_test(test_set_uid),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_dead_daemon),
		cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests_name("client-extend", tests,
					   fixture_setup, fixture_teardown);
}
