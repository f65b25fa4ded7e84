/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Answers that are older than what is known already, waits of many threads that
 * end at the same time, and a writer who is not the file's owner.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/support.h"

#define THREADS 4
#define ROUNDS 3000u

static char dir[300];

static int setup(void **state)
{
	(void)state;
	scratch_make_shm(dir, sizeof(dir));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	scratch_remove(dir);
	return 0;
}

/* A buffer of READDIRPLUS may lie for hours before its entries are asked for:
 * what it says of a size must not undo what is known since. A size that is too
 * large would send a write into the window, past the end, and lose it. */
static void test_old_listing(void **state)
{
	static const char text[10] = "0123456789";
	struct oriel_options o;
	struct oriel_session *s;
	struct oriel_dirent e;
	struct oriel_stat st;
	struct oriel_file *f;
	struct oriel_dir *d;
	unsigned char *got;
	size_t len;

	(void)state;
	native_pattern(dir, "a", 3000, 1);
	test_options(&o);
	o.attr_ttl_ms = 60000;
	s = test_connect(dir, &o);
	assert_int_equal(oriel_opendir(s, "/", ORIEL_DIR_STAT, &d), 0);
	assert_int_equal(oriel_readdir(d, &e), 1); /* all are in the buffer */
	assert_int_equal(truncate(in_dir(dir, "a"), 10), 0);
	assert_int_equal(oriel_open(s, "a", O_RDWR, 0, &f), 0);
	while (oriel_readdir(d, &e) == 1)
		if (strcmp(e.name, "a") == 0)
			assert_int_equal(e.st.size, 3000);
	assert_int_equal(oriel_fstat(f, 0, &st), 0);
	assert_int_equal(st.size, 10);
	assert_int_equal(oriel_pwrite(f, text, sizeof(text), 2000),
			 sizeof(text));
	got = native_read(dir, "a", &len);
	assert_int_equal(len, 2010);
	assert_memory_equal(got + 2000, text, sizeof(text));
	free(got);
	oriel_closedir(d);
	assert_int_equal(oriel_close(f), 0);
	oriel_disconnect(s);
}

struct rounds {
	struct oriel_file *f;
	pthread_barrier_t barrier;
	_Atomic unsigned failed;
};

static void *run_rounds(void *arg)
{
	struct rounds *r = arg;
	struct oriel_stat st;

	for (unsigned i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&r->barrier);
		if (oriel_fstat(r->f, ORIEL_FORCE_SYNC, &st))
			r->failed++;
	}
	return NULL;
}

/* One call of each thread, then nothing until all are back: a wake-up that was
 * lost is not made good by the next call. */
static void test_rounds(void **state)
{
	pthread_t thread[THREADS];
	struct oriel_options o;
	struct oriel_session *s;
	struct rounds r = { 0 };

	(void)state;
	native_pattern(dir, "b", 100, 1);
	test_options(&o);
	o.poll_us = ORIEL_NO_POLL; /* followers sleep at once */
	s = test_connect(dir, &o);
	assert_int_equal(oriel_open(s, "b", O_RDONLY, 0, &r.f), 0);
	pthread_barrier_init(&r.barrier, NULL, THREADS);
	support_watch(60);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, run_rounds,
						&r), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	support_watch(0);
	pthread_barrier_destroy(&r.barrier);
	assert_int_equal(r.failed, 0);
	assert_int_equal(oriel_close(r.f), 0);
	oriel_disconnect(s);
}

/* In a process that owns nothing: write, and all that settles the time. */
static void write_as_nobody(const char *name)
{
	const char *daemon_path = getenv("ORIEL_DAEMON");
	unsigned char buf[100] = { 7 };
	struct oriel_info i = { .size = sizeof(i) };
	struct oriel_options o;
	struct oriel_session *s;
	struct oriel_stat st;
	struct oriel_file *f;

	must(setgid(65534) == 0 && setuid(65534) == 0, "cannot be nobody");
	if (daemon_path && access(daemon_path, X_OK))
		_exit(77); /* built where nobody may go */
	test_options(&o);
	o.sandbox = ORIEL_SANDBOX_NONE;
	s = test_connect(dir, &o);
	must(oriel_open(s, name, O_RDWR, 0, &f) == 0, "open");
	must(oriel_pwrite(f, buf, 100, 100) == 100, "write");
	must(oriel_fstat(f, 0, &st) == 0, "fstat");
	must((st.mode & S_ISUID) == 0, "still set-uid");
	must(oriel_pwrite(f, buf, 100, 300) == 100, "write again");
	must(oriel_fsync(f) == 0, "fsync");
	must(oriel_pwrite(f, buf, 100, 300) == 100, "write a third time");
	oriel_info(s, &i);
	must(i.window_write_bytes > 0, "nothing went by the window");
	must(oriel_stat(s, name, 0, &st) == 0, "stat");
	must(oriel_close(f) == 0, "close");
	oriel_disconnect(s);
	_exit(0);
}

/* Who may write but does not own the file may set neither its mtime nor its
 * mode. Nothing fails for that. */
static void test_not_owner(void **state)
{
	static const mode_t modes[] = { 0666, 04777 };
	int status;
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(dir, 0777), 0);
	for (unsigned i = 0; i < 2; i++) {
		native_pattern(dir, "c", 200000, 1);
		assert_int_equal(chmod(in_dir(dir, "c"), modes[i]), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			write_as_nobody("c");
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			skip();
		assert_int_equal(status, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_old_listing),
		cmocka_unit_test(test_not_owner),
		cmocka_unit_test(test_rounds),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
