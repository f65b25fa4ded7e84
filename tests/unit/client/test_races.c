/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Answers that are older than what is known already, waits of many threads that
 * end at the same time, a writer who is not the file's owner, many who append.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
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

/* ---------------------------------------------------------------- appends */

#define RECORDS 20000u

/* One record of whoever appends. */
struct record {
	uint32_t who;
	uint32_t seq;
};

struct appender {
	struct oriel_session *s; /* NULL: natively */
	bool gathers;
	uint32_t who;
	pthread_barrier_t *all; /* begin together */
	_Atomic uint32_t done; /* records that were taken */
};

static void append_record(struct oriel_file *f, int fd, uint32_t who,
			  uint32_t seq)
{
	struct record r = { who, seq };
	ssize_t n = f ? oriel_pwrite(f, &r, sizeof(r), 0) :
			write(fd, &r, sizeof(r));

	must(n == sizeof(r), "append: %zd", n);
}

static void *appender_main(void *arg)
{
	struct appender *a = arg;
	struct oriel_file *f = NULL;
	int fd = -1;

	if (a->s)
		must(oriel_open(a->s, "log", O_WRONLY | O_APPEND, 0, &f) == 0,
		     "open");
	else
		fd = open(in_dir(dir, "log"), O_WRONLY | O_APPEND | O_CLOEXEC);
	if (a->gathers)
		must(oriel_coalesce(f, 40 * sizeof(struct record), 1) == 0,
		     "coalesce");
	if (a->all)
		pthread_barrier_wait(a->all);
	for (uint32_t i = 0; i < RECORDS; i++) {
		append_record(f, fd, a->who, i);
		atomic_store(&a->done, i + 1);
	}
	if (f)
		must(oriel_close(f) == 0, "close");
	else
		close(fd);
	return NULL;
}

/* Two sessions, gathering and not, and a program of the host append to one file:
 * each record is there once, and those of one writer are in order. */
static void test_many_append(void **state)
{
	struct appender a[5] = { { .who = 0 } };
	uint32_t next[5] = { 0 };
	pthread_barrier_t barrier;
	pthread_t threads[5];
	struct record *all;
	size_t len;

	(void)state;
	native_write(dir, "log", "", 0);
	pthread_barrier_init(&barrier, NULL, 5);
	for (uint32_t i = 0; i < 5; i++) {
		a[i].who = i;
		a[i].all = &barrier;
		a[i].gathers = i < 4 && i % 2;
		a[i].s = i == 4 ? NULL :
			 i == 1 || i == 3 ? a[i - 1].s :
					    test_connect(dir, NULL);
		must(!pthread_create(&threads[i], NULL, appender_main, &a[i]),
		     "no thread");
	}
	for (uint32_t i = 0; i < 5; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&barrier);
	all = (struct record *)native_read(dir, "log", &len);
	assert_int_equal(len, 5 * RECORDS * sizeof(*all));
	for (size_t i = 0; i < 5 * RECORDS; i++) {
		assert_true(all[i].who < 5);
		assert_int_equal(all[i].seq, next[all[i].who]++);
	}
	free(all);
	oriel_disconnect(a[0].s);
	oriel_disconnect(a[2].s);
}

/* Whenever a pointer is made, what has been appended so far is there. */
static void test_pointer_to_appends(void **state)
{
	const size_t max = RECORDS * sizeof(struct record);
	struct appender a = { .gathers = true, .who = 7 };
	struct record *got = malloc(max);
	struct oriel_mapping *m;
	struct oriel_file *f;
	pthread_t thread;
	uint32_t done = 0;
	void *p;

	(void)state;
	must(got, "no memory");
	native_write(dir, "log", "", 0);
	a.s = test_connect(dir, NULL);
	must(oriel_open(a.s, "log", O_RDONLY, 0, &f) == 0, "open");
	must(!pthread_create(&thread, NULL, appender_main, &a), "no thread");
	while (done < RECORDS) {
		if (oriel_map(f, 0, max, ORIEL_MAP_READ, &m, &p) == -EINVAL)
			continue; /* it is empty as yet */
		done = atomic_load(&a.done);
		assert_int_equal(oriel_copy(got, p, done * sizeof(*got), m),
				 done * sizeof(*got));
		for (uint32_t i = 0; i < done; i++)
			assert_true(got[i].who == 7 && got[i].seq == i);
		oriel_unmap(m);
	}
	pthread_join(thread, NULL);
	assert_int_equal(oriel_close(f), 0);
	oriel_disconnect(a.s);
	free(got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_old_listing),
		cmocka_unit_test(test_not_owner),
		cmocka_unit_test(test_rounds),
		cmocka_unit_test(test_many_append),
		cmocka_unit_test(test_pointer_to_appends),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
