/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Watches on a real orield: the test is "somebody else", by the directory
 * itself or by another session. Nothing is timed: what must come is waited for,
 * and support_watch() ends a wait in vain.
 */
#include "fixture.h"

#include "support/fanotify.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

static struct oriel_watch *must_watch(struct oriel_session *on,
				      const char *path, uint32_t mask)
{
	struct oriel_watch_options o = { .size = sizeof(o), .mask = mask };
	struct oriel_watch *w = NULL;

	ok(oriel_watch(on, path, &o, &w));
	return w;
}

/* The next event, waited for. */
static int next(struct oriel_watch *w, struct oriel_watch_event *e)
{
	struct pollfd p = { .fd = oriel_watch_fd(w), .events = POLLIN };
	int r;

	while ((r = oriel_watch_read(w, e)) == 0)
		(void)poll(&p, 1, -1);
	return r;
}

/* Until one has @mask and @name. What comes before is something else. */
static void expect(struct oriel_watch *w, uint32_t mask, const char *name)
{
	struct oriel_watch_event e;

	do {
		equals(next(w, &e), 1);
		must(!(e.mask & ORIEL_WATCH_OVERFLOW), "events were lost");
	} while (!(e.mask & mask) || strcmp(e.name, name) != 0);
}

static void test_directory(void **state)
{
	struct oriel_watch_event e;
	struct oriel_watch *w;
	uint64_t cookie;

	ok(mkdir(in_dir(dir, "w"), 0755));
	w = must_watch(s, "w", 0);
	equals(oriel_watch_read(w, &e), 0);
	native_write(dir, "w/new", "abc", 3);
	expect(w, ORIEL_WATCH_CREATE, "new");
	native_write(dir, "w/new", "abcd", 4);
	expect(w, ORIEL_WATCH_MODIFY, "new");
	ok(chmod(in_dir(dir, "w/new"), 0600));
	expect(w, ORIEL_WATCH_ATTRIB, "new");
	ok(rename(in_dir(dir, "w/new"), in_dir(dir, "w/newer")));
	do {
		equals(next(w, &e), 1);
	} while (!(e.mask & ORIEL_WATCH_MOVED_FROM));
	must(!strcmp(e.name, "new"), "%s", e.name);
	cookie = e.cookie;
	must(cookie != 0, "no cookie");
	do {
		equals(next(w, &e), 1);
	} while (!(e.mask & ORIEL_WATCH_MOVED_TO));
	must(!strcmp(e.name, "newer"), "%s", e.name);
	equals(e.cookie, cookie);
	ok(unlink(in_dir(dir, "w/newer")));
	expect(w, ORIEL_WATCH_DELETE, "newer");
	ok(mkdir(in_dir(dir, "w/sub"), 0755));
	do {
		equals(next(w, &e), 1);
	} while (!(e.mask & ORIEL_WATCH_CREATE));
	must(e.mask & ORIEL_WATCH_ISDIR, "mask %x", e.mask);
	ok(rmdir(in_dir(dir, "w/sub")));
	ok(rmdir(in_dir(dir, "w")));
	expect(w, ORIEL_WATCH_GONE, "");
	oriel_unwatch(w);
}

/* Our own changes and those of another client of the same daemon count too. */
static void test_by_clients(void **state)
{
	struct oriel_session *other;
	struct oriel_watch *w;
	struct oriel_options o;
	struct oriel_file *f;
	struct daemon d;

	daemon_start(&d, dir, NULL);
	test_options(&o);
	other = test_connect(d.socket, &o);
	w = must_watch(other, "/", 0);
	f = must_open(other, "mine", O_RDWR | O_CREAT);
	expect(w, ORIEL_WATCH_CREATE, "mine");
	equals(oriel_pwrite(f, "x", 1, 0), 1);
	expect(w, ORIEL_WATCH_MODIFY, "mine");
	ok(oriel_close(f));
	ok(oriel_mkdir(s, "theirs", 0755));
	expect(w, ORIEL_WATCH_CREATE, "theirs");
	oriel_disconnect(other); /* with a watch on it */
	must(daemon_stop(&d), "daemon");
}

static void test_file(void **state)
{
	struct oriel_watch_event e;
	struct oriel_watch *w;

	native_write(dir, "file", "1", 1);
	native_write(dir, "beside", "1", 1);
	w = must_watch(s, "file", ORIEL_WATCH_MODIFY | ORIEL_WATCH_GONE);
	native_write(dir, "beside", "2", 1);
	native_write(dir, "file", "2", 1);
	equals(next(w, &e), 1);
	must(e.mask == ORIEL_WATCH_MODIFY && e.namelen == 0, "mask %x '%s'",
	     e.mask, e.name);
	ok(unlink(in_dir(dir, "file")));
	expect(w, ORIEL_WATCH_GONE, "");
	oriel_unwatch(w);
}

/* What is believed of a watched file is void as soon as it changes. */
static void test_attributes(void **state)
{
	struct oriel_watch *w;
	struct oriel_session *s2;
	struct oriel_options o;
	struct oriel_stat st;
	struct oriel_file *f;

	native_write(dir, "believed", "1", 1);
	test_options(&o);
	o.attr_ttl_ms = 600000;
	s2 = test_connect(dir, &o);
	f = must_open(s2, "believed", O_RDONLY);
	ok(oriel_fstat(f, 0, &st));
	w = must_watch(s2, "believed", ORIEL_WATCH_ATTRIB);
	ok(chmod(in_dir(dir, "believed"), 0604));
	expect(w, ORIEL_WATCH_ATTRIB, "");
	ok(oriel_fstat(f, 0, &st));
	equals(st.mode & 0777, 0604);
	ok(oriel_close(f));
	oriel_disconnect(s2);
}

static void test_refused(void **state)
{
	struct oriel_watch_options o = { .size = sizeof(o) };
	struct oriel_watch *w = NULL;
	char more[sizeof(o) + 8] = { 0 };

	equals(oriel_watch(s, "missing", NULL, &w), -ENOENT);
	o.mask = ORIEL_WATCH_OVERFLOW;
	equals(oriel_watch(s, "/", &o, &w), -EINVAL);
	o.mask = 0;
	o.queue_max = 1u << 30;
	equals(oriel_watch(s, "/", &o, &w), -EINVAL);
	o.queue_max = 0;
	o.size = 0;
	equals(oriel_watch(s, "/", &o, &w), -EINVAL);
	o.size = sizeof(more);
	memcpy(more, &o, sizeof(o));
	more[sizeof(o)] = 1;
	equals(oriel_watch(s, "/", (void *)more, &w), -E2BIG);
	ok(mkfifo(in_dir(dir, "fifo"), 0600));
	equals(oriel_watch(s, "fifo", NULL, &w), -EOPNOTSUPP);
	must(!w, "output touched");
	oriel_unwatch(NULL);
}

/* More than a queue holds: one event says so, and it goes on. */
static void test_overflow(void **state)
{
	struct oriel_watch_options o = { .size = sizeof(o), .queue_max = 8 };
	struct oriel_watch_event e;
	struct oriel_watch *w;
	struct oriel_watch *end;
	char name[32];
	int i;

	ok(mkdir(in_dir(dir, "many"), 0755));
	ok(oriel_watch(s, "many", &o, &w));
	end = must_watch(s, "many", ORIEL_WATCH_CREATE);
	for (i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "many/%d", i);
		native_write(dir, name, "", 0);
	}
	/* the other queue is long enough: it has them all */
	expect(end, ORIEL_WATCH_CREATE, "499");
	equals(next(w, &e), 1);
	equals(e.mask, ORIEL_WATCH_OVERFLOW);
	while (oriel_watch_read(w, &e) > 0)
		;
	native_write(dir, "many/after", "", 0);
	expect(w, ORIEL_WATCH_CREATE, "after");
	oriel_unwatch(w);
	oriel_unwatch(end);
}

static void test_thousands(void **state)
{
	enum { N = 2000 };
	static struct oriel_watch *w[N];
	char name[32];
	int i;

	for (i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "t%d", i);
		ok(mkdir(in_dir(dir, name), 0755));
		w[i] = must_watch(s, name, ORIEL_WATCH_CREATE);
	}
	for (i = 0; i < N; i += 97) {
		snprintf(name, sizeof(name), "t%d/x", i);
		native_write(dir, name, "", 0);
	}
	for (i = 0; i < N; i += 97)
		expect(w[i], ORIEL_WATCH_CREATE, "x");
	for (i = 0; i < N; i++)
		oriel_unwatch(w[i]);
}

/* Silence would look as if nothing had happened. */
static void test_death(void **state)
{
	struct oriel_watch_event e;
	struct oriel_session *other;
	struct oriel_options o;
	struct oriel_watch *w;
	struct daemon d;

	daemon_start(&d, dir, NULL);
	test_options(&o);
	other = test_connect(d.socket, &o);
	w = must_watch(other, "/", 0);
	native_write(dir, "last", "", 0);
	expect(w, ORIEL_WATCH_CREATE, "last");
	must(daemon_stop(&d), "daemon");
	equals(next(w, &e), -ENOTCONN);
	equals(next(w, &e), -ENOTCONN);
	oriel_unwatch(w);
	oriel_disconnect(other);
}

#ifndef SUPPORT_TSAN /* which has no threads after fork(2) */
/* A client that dies takes its watches along. */
static void test_client_dies(void **state)
{
	struct daemon_state before, after;
	struct oriel_session *other;
	struct oriel_options o;
	struct daemon d;
	pid_t pid;
	int status;

	ok(mkdir(in_dir(dir, "held"), 0755));
	daemon_start(&d, dir, NULL);
	daemon_state(&d, &before);
	pid = fork();
	if (pid == 0) {
		test_options(&o);
		other = test_connect(d.socket, &o);
		must_watch(other, "held", 0);
		raise(SIGKILL);
	}
	must(waitpid(pid, &status, 0) == pid, "wait");
	must(WIFSIGNALED(status), "status %d", status);
	do {
		daemon_state(&d, &after);
	} while (after.sessions || after.inodes > before.inodes);
	equals(after.fds, before.fds);
	must(daemon_stop(&d), "daemon");
}

#endif

/* ---------------------------------------------------------------- stress */

static _Atomic bool stop;

static void *come_and_go(void *arg)
{
	struct oriel_watch_event e;
	struct oriel_watch *w;
	int i;

	for (i = 0; i < 60; i++) {
		w = must_watch(s, "stress", 0);
		while (oriel_watch_read(w, &e) > 0)
			;
		oriel_unwatch(w);
	}
	return NULL;
}

static void *disturb(void *arg)
{
	char name[64];
	unsigned i;

	for (i = 0; !atomic_load(&stop); i++) {
		snprintf(name, sizeof(name), "stress/%u-%lu", i % 5,
			 (unsigned long)(uintptr_t)arg);
		native_write(dir, name, "x", 1);
		unlink(in_dir(dir, name));
	}
	return NULL;
}

static void test_stress(void **state)
{
	pthread_t t[6];
	size_t i;

	ok(mkdir(in_dir(dir, "stress"), 0755));
	for (i = 0; i < 4; i++)
		ok(pthread_create(&t[i], NULL, come_and_go, NULL));
	for (; i < 6; i++)
		ok(pthread_create(&t[i], NULL, disturb, (void *)(uintptr_t)i));
	for (i = 0; i < 4; i++)
		ok(pthread_join(t[i], NULL));
	atomic_store(&stop, true);
	for (; i < 6; i++)
		ok(pthread_join(t[i], NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_directory),
		cmocka_unit_test(test_by_clients),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_thousands),
		cmocka_unit_test(test_death),
#ifndef SUPPORT_TSAN
		cmocka_unit_test(test_client_dies),
#endif
		cmocka_unit_test(test_stress),
	};

	/* where scratch directories are made */
	if (!has_fanotify(getenv("ORIEL_TEST_DIR") ? getenv("ORIEL_TEST_DIR") :
						      "/var/tmp"))
		return 77;
	support_watch(100);
	return cmocka_run_group_tests_name("client-watch", tests,
					   fixture_setup, fixture_teardown);
}
