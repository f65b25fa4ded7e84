/* SPDX-License-Identifier: BSD-2-Clause */
/* What stat believes of a path, for how long, and what ends it. */
#include "fixture.h"

#include <pthread.h>

#include "base/util.h"

/* A daemon whose entries are valid as @cache says. */
static struct oriel_session *connect_for(struct daemon *d, const char *cache,
					 uint32_t path_ttl_ms,
					 uint32_t attr_ttl_ms)
{
	const char *const args[] = { cache, NULL };
	struct oriel_options o;

	daemon_start(d, dir, args);
	test_options(&o);
	o.path_ttl_ms = path_ttl_ms;
	o.attr_ttl_ms = attr_ttl_ms;
	return test_connect(d->socket, &o);
}

static void end(struct daemon *d, struct oriel_session *on)
{
	oriel_disconnect(on);
	must(daemon_stop(d), "the daemon ended badly");
}

/* Requests that a stat takes. */
static uint64_t asked(struct oriel_session *on, const char *path,
		      unsigned flags, struct oriel_stat *ret)
{
	uint64_t before = must_info(on).requests;

	ok(oriel_stat(on, path, flags, ret));
	return must_info(on).requests - before;
}

static void test_believed(void **state)
{
	static const char *const paths[] = { "f", "d/e/g", "to", "d/../f",
					     "d/e", "/f", "d//e/g" };
	struct oriel_stat first, again;
	struct oriel_session *on;
	struct daemon d;
	struct stat st;

	native_pattern(dir, "f", 100, 1);
	ok(mkdir(in_dir(dir, "d"), 0755));
	ok(mkdir(in_dir(dir, "d/e"), 0755));
	native_pattern(dir, "d/e/g", 200, 1);
	ok(symlink("d/e/g", in_dir(dir, "to")));
	on = connect_for(&d, "--cache=always", 600000, 600000);
	for (unsigned i = 0; i < ARRAY_LEN(paths); i++) {
		assert_true(asked(on, paths[i], 0, &first) > 0);
		equals(asked(on, paths[i], 0, &again), 0);
		assert_memory_equal(&first, &again, sizeof(first));
		ok(stat(in_dir(dir, paths[i]), &st));
		equals(again.ino, st.st_ino);
		equals(again.size, st.st_size);
	}
	/* the link itself is another thing than what it leads to */
	assert_true(asked(on, "to", ORIEL_NOFOLLOW, &first) > 0);
	equals(asked(on, "to", ORIEL_NOFOLLOW, &first), 0);
	equals(first.mode & S_IFMT, S_IFLNK);
	equals(asked(on, "to", 0, &first), 0);
	equals(first.mode & S_IFMT, S_IFREG);
	/* when told to, it asks */
	assert_true(asked(on, "f", ORIEL_FORCE_SYNC, &first) > 0);
	/* what is not there is not remembered */
	equals(oriel_stat(on, "none", 0, &first), -ENOENT);
	native_pattern(dir, "none", 1, 1);
	ok(oriel_stat(on, "none", 0, &first));
	end(&d, on);
}

/* Now it is believed. */
static void learn(struct oriel_session *on, const char *path)
{
	struct oriel_stat st;

	ok(oriel_stat(on, path, 0, &st));
	equals(asked(on, path, 0, &st), 0);
}

/* Every call that changes names or the file shows at the next stat. */
static void test_ours(void **state)
{
	struct oriel_session *on;
	struct oriel_stat st;
	struct oriel_file *f;
	struct daemon d;

	native_pattern(dir, "o", 100, 1);
	native_pattern(dir, "p", 200, 1);
	on = connect_for(&d, "--cache=always", 600000, 600000);
	learn(on, "o");
	ok(oriel_rename(on, "p", "o", 0));
	ok(oriel_stat(on, "o", 0, &st));
	equals(st.size, 200);
	equals(oriel_stat(on, "p", 0, &st), -ENOENT);
	learn(on, "o");
	ok(oriel_link(on, "o", "q"));
	ok(oriel_stat(on, "o", 0, &st));
	equals(st.nlink, 2);
	learn(on, "q");
	ok(oriel_unlink(on, "q"));
	equals(oriel_stat(on, "q", 0, &st), -ENOENT);
	learn(on, "o");
	ok(oriel_chmod(on, "o", 0600));
	ok(oriel_stat(on, "o", 0, &st));
	equals(st.mode & 07777, 0600);
	learn(on, "o");
	f = must_open(on, "o", O_RDWR);
	equals(oriel_pwrite(f, "x", 1, 999), 1);
	ok(oriel_stat(on, "o", 0, &st));
	equals(st.size, 1000);
	learn(on, "o");
	ok(oriel_ftruncate(f, 0));
	ok(oriel_stat(on, "o", 0, &st));
	equals(st.size, 0);
	ok(oriel_coalesce(f, 4096, 0));
	learn(on, "o");
	equals(oriel_pwrite(f, "hello", 5, 0), 5);
	ok(oriel_stat(on, "o", 0, &st));
	equals(st.size, 5);
	ok(oriel_close(f));
	/* stores in the window are in its times */
	native_pattern(dir, "big", MIB(4), 1);
	f = must_open(on, "big", O_RDWR);
	learn(on, "big");
	equals(oriel_pwrite(f, "x", 1, 77), 1);
	assert_true(asked(on, "big", 0, &st) > 0);
	ok(oriel_close(f));
	/* another file of that name */
	learn(on, "o");
	ok(oriel_unlink(on, "o"));
	f = must_open(on, "o", O_RDWR | O_CREAT | O_EXCL);
	ok(oriel_stat(on, "o", 0, &st));
	equals(st.size, 0);
	ok(oriel_close(f));
	end(&d, on);
}

/* What others do shows when the time is over: ours, or the daemon's. */
static void test_others(void **state)
{
	struct oriel_session *on;
	struct oriel_stat st;
	struct daemon d;

	native_pattern(dir, "x", 100, 1);
	on = connect_for(&d, "--cache=always", 50, 600000);
	ok(oriel_stat(on, "x", 0, &st));
	ok(unlink(in_dir(dir, "x")));
	nap_ms(100);
	equals(oriel_stat(on, "x", 0, &st), -ENOENT);
	end(&d, on);

	/* a daemon that allows none: none */
	native_pattern(dir, "x", 100, 1);
	on = connect_for(&d, "--cache=never", 600000, 600000);
	ok(oriel_stat(on, "x", 0, &st));
	assert_true(asked(on, "x", 0, &st) > 0);
	end(&d, on);

	/* attributes that are not believed, and the default */
	on = connect_for(&d, "--cache=always", 600000, ORIEL_NO_TTL);
	ok(oriel_stat(on, "x", 0, &st));
	assert_true(asked(on, "x", 0, &st) > 0);
	end(&d, on);
	on = connect_for(&d, "--cache=always", 0, 600000);
	ok(oriel_stat(on, "x", 0, &st));
	assert_true(asked(on, "x", 0, &st) > 0);
	end(&d, on);
}

/* More paths than there is room for; nodes that are forgotten meanwhile. */
static void test_many(void **state)
{
	enum { N = 5000 };
	const char *const args[] = { "--cache=always", NULL };
	struct oriel_session *on;
	struct oriel_options o;
	struct oriel_stat st;
	struct daemon d;
	char name[300];

	ok(mkdir(in_dir(dir, "many"), 0755));
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "many/%u", i);
		native_pattern(dir, name, i % 50, 1);
	}
	daemon_start(&d, dir, args);
	test_options(&o);
	o.path_ttl_ms = o.attr_ttl_ms = 600000;
	o.inode_cache = 16;
	on = test_connect(d.socket, &o);
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < N; i++) {
			snprintf(name, sizeof(name), "many/%u", i);
			ok(oriel_stat(on, name, 0, &st));
			equals(st.size, i % 50);
		}
	/* a path too long to be remembered is found all the same */
	memset(name, 'n', 200);
	strcpy(name + 200, "/../many/7");
	name[200] = '\0';
	ok(mkdir(in_dir(dir, name), 0755));
	name[200] = '/';
	ok(oriel_stat(on, name, 0, &st));
	equals(st.size, 7);
	end(&d, on);
}

/* Threads that look while others rename: each sees one of the two, and whoever
 * renamed sees what it did. */
struct racer {
	struct oriel_session *on;
	unsigned n;
};

static void *racer_main(void *arg)
{
	struct racer *r = arg;
	char from[20], to[20];
	struct oriel_stat st;

	snprintf(from, sizeof(from), "race%u", r->n);
	snprintf(to, sizeof(to), "race%u'", r->n);
	for (unsigned i = 0; i < 500; i++) {
		must(!oriel_stat(r->on, from, 0, &st), "it is there");
		must(st.size == r->n, "and the right one");
		must(!oriel_rename(r->on, from, to, 0), "rename");
		must(oriel_stat(r->on, from, 0, &st) == -ENOENT, "it is gone");
		must(!oriel_stat(r->on, to, 0, &st), "under the new name");
		must(st.size == r->n, "the right one, too");
		must(!oriel_rename(r->on, to, from, 0), "and back");
	}
	return NULL;
}

static void test_races(void **state)
{
	enum { THREADS = 4 };
	struct racer r[THREADS];
	pthread_t t[THREADS];
	struct oriel_session *on;
	struct daemon d;
	char name[20];

	for (unsigned i = 0; i < THREADS; i++) {
		snprintf(name, sizeof(name), "race%u", i);
		native_pattern(dir, name, i, 1);
	}
	on = connect_for(&d, "--cache=always", 600000, 600000);
	for (unsigned i = 0; i < THREADS; i++) {
		r[i] = (struct racer){ on, i };
		ok(pthread_create(&t[i], NULL, racer_main, &r[i]));
	}
	for (unsigned i = 0; i < THREADS; i++)
		ok(pthread_join(t[i], NULL));
	end(&d, on);
}

/* Nobody answers for what a dead session believes. */
static void test_dead(void **state)
{
	struct oriel_session *on;
	struct oriel_stat st;
	struct daemon d;

	native_pattern(dir, "dead", 100, 1);
	on = connect_for(&d, "--cache=always", 600000, 600000);
	ok(oriel_stat(on, "dead", 0, &st));
	must(daemon_stop(&d), "the daemon ended badly");
	assert_true(oriel_stat(on, "dead", ORIEL_FORCE_SYNC, &st) < 0);
	assert_true(oriel_stat(on, "dead", 0, &st) < 0);
	oriel_disconnect(on);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_believed),
		cmocka_unit_test(test_ours),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_races),
		cmocka_unit_test(test_dead),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
