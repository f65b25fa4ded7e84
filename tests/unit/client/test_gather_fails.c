/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Gathered appends that cannot be written: a small disk that is full, a
 * daemon that is gone. What was taken and is not there has been told of, once;
 * what is there is the beginning of what was written.
 */
#include "queue_fixture.h"

#include <signal.h>
#include <sys/mount.h>

#define NEVER_MS 60000u
#define DISK (1u << 20)
#define BUFFER 65536u
#define PIECE 1000u

static char disk[400];

/* A file system of DISK bytes at disk[], and a session on it. */
static struct oriel_session *small_disk(uint32_t held_files)
{
	struct oriel_options o;

	snprintf(disk, sizeof(disk), "%s/small", dir);
	must(mkdir(disk, 0755) == 0 || errno == EEXIST, "mkdir");
	if (mount("tmpfs", disk, "tmpfs", 0, "size=1m") < 0)
		return NULL; /* not root */
	must(chmod(disk, 0777) == 0, "chmod");
	test_options(&o);
	o.held_files = held_files;
	return test_connect(disk, &o);
}

static void remove_disk(struct oriel_session *on)
{
	oriel_disconnect(on);
	ok(umount2(disk, MNT_DETACH));
}

static struct oriel_file *gathering(struct oriel_session *on, int flags)
{
	struct oriel_file *f = must_open(on, "f", O_CREAT | flags);

	ok(oriel_coalesce(f, BUFFER, NEVER_MS));
	return f;
}

static off_t native_size_of(const char *name)
{
	struct stat st;

	must(stat(in_dir(disk, name), &st) == 0, "stat %s", name);
	return st.st_size;
}

/* Pieces until one is not taken; how many bytes were. */
static size_t fill(struct oriel_file *f, int want_err)
{
	unsigned char buf[PIECE];
	size_t sum = 0;
	ssize_t n;

	for (;;) {
		pattern_fill(buf, PIECE, 1, sum);
		n = oriel_pwrite(f, buf, PIECE, (off_t)sum);
		if (n < 0)
			break;
		equals(n, PIECE);
		sum += PIECE;
		must(sum < 3 * DISK, "it never ends");
	}
	equals(n, want_err);
	return sum;
}

/* The beginning of what was written is there, @len bytes. */
static void check_file(size_t len)
{
	size_t got_len;
	unsigned char *got = native_read(disk, "f", &got_len);

	equals(got_len, len);
	equals(pattern_check(got, len, 1, 0), len);
	free(got);
}

static void fills_up(uint32_t held_files, int flags)
{
	struct oriel_session *on = small_disk(held_files);
	struct oriel_file *f;
	struct oriel_stat st;
	char buf[PIECE] = { 'x' };
	size_t taken;

	if (!on)
		skip();
	f = gathering(on, O_RDWR | flags);
	taken = fill(f, -ENOSPC);
	/* all that did not fit was in the one buffer whose sending failed */
	assert_true(taken > DISK && taken <= DISK + BUFFER);
	check_file(DISK);
	ok(oriel_fstat(f, 0, &st));
	equals(st.size, DISK);
	/* told once */
	ok(oriel_fsync(f));
	/* taken again, and again it does not fit */
	equals(oriel_pwrite(f, buf, PIECE, DISK), PIECE);
	equals(oriel_pread(f, buf, PIECE, DISK), 0);
	equals(oriel_fsync(f), -ENOSPC);
	ok(oriel_fsync(f));
	check_file(DISK);
	/* with room again it goes on where the file ends */
	ok(oriel_ftruncate(f, 2 * PIECE));
	pattern_fill(buf, PIECE, 1, 2 * PIECE);
	equals(oriel_pwrite(f, buf, PIECE, 2 * PIECE), PIECE);
	ok(oriel_fsync(f));
	check_file(3 * PIECE);
	ok(oriel_close(f));
	equals(must_info(on).held_written_bytes > 0,
	       held_files != ORIEL_HOLD_NONE);
	remove_disk(on);
}

static void test_full_by_message(void **state)
{
	fills_up(ORIEL_HOLD_NONE, 0);
	fills_up(ORIEL_HOLD_NONE, O_APPEND);
}

static void test_full_by_descriptor(void **state)
{
	fills_up(0, 0);
	fills_up(0, O_APPEND);
}

/* Who asks last is told: close. And the deadline's thread leaves it to be told. */
static void test_told_late(void **state)
{
	struct oriel_session *on = small_disk(ORIEL_HOLD_NONE);
	struct oriel_file *f;
	char buf[PIECE] = { 'x' };

	if (!on)
		skip();
	f = gathering(on, O_WRONLY | O_APPEND);
	fill(f, -ENOSPC);
	equals(oriel_pwrite(f, buf, PIECE, 0), PIECE);
	equals(oriel_close(f), -ENOSPC);
	f = gathering(on, O_WRONLY | O_APPEND);
	ok(oriel_coalesce(f, BUFFER, 1));
	equals(oriel_pwrite(f, buf, PIECE, 0), PIECE);
	support_watch(60);
	for (ssize_t n = 0; n != -ENOSPC; nap_ms(1)) {
		n = oriel_fdatasync(f);
		must(n == 0 || n == -ENOSPC, "%zd", n);
	}
	support_watch(0);
	ok(oriel_close(f));
	check_file(DISK);
	remove_disk(on);
}

/* A queue is told, too, by write and fsync; and nothing is gathered for it
 * without waiting. */
static void test_queue_is_told(void **state)
{
	struct oriel_session *on = small_disk(ORIEL_HOLD_NONE);
	struct oriel_request sync = { .op = ORIEL_OP_FSYNC };
	struct oriel_queue *q;
	struct oriel_file *f;
	char buf[PIECE] = { 'x' };

	if (!on)
		skip();
	q = must_queue(on, 4);
	f = gathering(on, O_RDWR);
	fill(f, -ENOSPC);
	sync.file = f;
	for (int how = 0; how < 2; how++) {
		equals(oriel_pwrite(f, buf, PIECE, DISK), PIECE);
		/* has it sent, in vain, and is not told */
		equals(oriel_lseek(f, 0, SEEK_END), DISK);
		if (how)
			equals(one(q, write_of(f, buf, 10, 0, 0)), -ENOSPC);
		else
			equals(one(q, sync), -ENOSPC);
		ok(one(q, sync));
	}
	ok(oriel_ftruncate(f, 0));
	equals(oriel_pwrite_nowait(f, buf, PIECE, 0), -EAGAIN);
	equals(one(q, write_of(f, buf, PIECE, 0, 0)), PIECE);
	equals(native_size_of("f"), PIECE);
	oriel_queue_free(q);
	ok(oriel_close(f));
	remove_disk(on);
}

/* With something gathered. By message it is lost, and whoever asks is told; by
 * descriptor it may come to be there all the same. */
static void test_daemon_dies(void **state)
{
	for (int how = 0; how < 4; how++) {
		bool by_descriptor = how % 2;
		struct oriel_session *mine;
		struct oriel_options o;
		struct oriel_file *f;
		struct daemon d;
		struct stat st;
		off_t before = by_descriptor ? 8 : 0;

		native_write(dir, "dies", "", 0);
		daemon_start(&d, dir, NULL);
		test_options(&o);
		if (!by_descriptor)
			o.held_files = ORIEL_HOLD_NONE;
		mine = test_connect(d.socket, &o);
		f = must_open(mine, "dies", O_WRONLY | O_APPEND);
		for (off_t i = 0; i < before; i++)
			equals(oriel_pwrite(f, "a", 1, 0), 1);
		ok(oriel_coalesce(f, BUFFER, NEVER_MS));
		equals(oriel_pwrite(f, "bcd", 3, 0), 3);
		kill(d.pid, SIGKILL);
		assert_true(daemon_stop(&d));
		if (how < 2)
			equals(oriel_fsync(f), -ENOTCONN);
		equals(oriel_close(f), -ENOTCONN);
		oriel_disconnect(mine);
		ok(stat(in_dir(dir, "dies"), &st));
		assert_true(st.st_size == before ||
			    (by_descriptor && st.st_size == before + 3));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_by_message),
		cmocka_unit_test(test_full_by_descriptor),
		cmocka_unit_test(test_told_late),
		cmocka_unit_test(test_queue_is_told),
		cmocka_unit_test(test_daemon_dies),
	};

	return cmocka_run_group_tests_name("client-gather_fails", tests,
					   fixture_setup, fixture_teardown);
}
