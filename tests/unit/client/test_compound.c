/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Several steps in one message (docs/design/compound.md): how many messages
 * things take, that they do the same as one by one, with a daemon that does not
 * know it, and with one that lies. client_call() is wrapped by the linker: the
 * daemon is a real one, and its answers are changed on their way.
 */
#include "client/client.h"

#include "fixture.h"

#include <pthread.h>

struct answer {
	struct fuse_ioctl_out ioctl;
	struct fuse_wire_walk_out out;
	struct fuse_entry_out e[FUSE_WIRE_WALK_NAMES];
};

static int refuse_with; /* 0: it does what is asked */
static void (*spoil)(struct client_call *c, struct answer *a);
static _Atomic unsigned n_walks, n_releases, n_releasedirs;

int __real_client_call(struct oriel_session *on, struct client_call *c);
static unsigned readdir_us; /* what each READDIR takes longer */

int __wrap_client_call(struct oriel_session *on, struct client_call *c);

int __wrap_client_call(struct oriel_session *on, struct client_call *c)
{
	bool is_walk = false;
	int err;

	if (c->opcode == FUSE_IOCTL) {
		struct fuse_ioctl_in in;

		memcpy(&in, c->arg, sizeof(in));
		is_walk = in.cmd == FUSE_WIRE_IOC_WALK;
	}
	n_walks += is_walk;
	n_releases += c->opcode == FUSE_RELEASE;
	n_releasedirs += c->opcode == FUSE_RELEASEDIR;
	if (is_walk && refuse_with)
		return refuse_with;
	if (c->opcode == FUSE_READDIR)
		usleep(readdir_us);
	err = __real_client_call(on, c);
	if (is_walk && !err && spoil)
		spoil(c, c->out);
	return err;
}

static uint64_t requests(struct oriel_session *of)
{
	return must_info(of).requests;
}

/* The messages that @expr takes. */
#define messages(expr)                                  \
	({                                              \
		uint64_t before_ = requests(s);         \
		expr;                                   \
		(long long)(requests(s) - before_);     \
	})

static int setup(void **state)
{
	fixture_setup(state);
	ok(oriel_mkdir(s, "a", 0755));
	ok(oriel_mkdir(s, "a/b", 0755));
	ok(oriel_mkdir(s, "a/b/c", 0755));
	native_write(dir, "a/b/c/d", "contents", 8);
	native_write(dir, "top", "high", 4);
	ok(oriel_symlink(s, "b/c", "a/link"));
	ok(oriel_symlink(s, "c/d", "a/b/last"));
	return 0;
}

static void read_it(const char *path, const char *want)
{
	struct oriel_file *f = must_open(s, path, O_RDONLY);
	char buf[100];

	equals(oriel_pread(f, buf, sizeof(buf), 0), strlen(want));
	assert_memory_equal(buf, want, strlen(want));
	ok(oriel_close(f));
}

/* Not a lie: another thread might. */
static struct oriel_file *wanted_file;

static void write_meanwhile(struct client_call *c, struct answer *a)
{
	spoil = NULL;
	equals(oriel_pwrite(wanted_file, "34", 2, 2), 2);
}

static void test_stat(void **state)
{
	struct oriel_stat st;
	int err;

	equals(messages(st = must_stat("a/b/c/d", 0)), 1);
	equals(st.size, 8);
	equals(messages(st = must_stat("a/b//./c/d", 0)), 1);
	equals(messages(st = must_stat("/a/b/c/", 0)), 1);
	equals(messages(st = must_stat("top", 0)), 1);
	/* ".." is gone up here: what follows is asked for anew */
	equals(messages(st = must_stat("a/b/../b/c/d", 0)), 2);
	equals(st.size, 8);
	/* a link takes a READLINK, and a walk from there */
	equals(messages(st = must_stat("a/link/d", 0)), 3);
	equals(st.size, 8);
	equals(messages(st = must_stat("a/link", ORIEL_NOFOLLOW)), 1);
	assert_true(S_ISLNK(st.mode));
	equals(messages(err = oriel_stat(s, "a/b/c/none", 0, &st)), 1);
	equals(err, -ENOENT);
	equals(messages(err = oriel_stat(s, "a/none/c/d", 0, &st)), 1);
	equals(err, -ENOENT);
	equals(oriel_stat(s, "a/b/c/d/e", 0, &st), -ENOTDIR);
	equals(oriel_stat(s, "a/b/c/d/", 0, &st), -ENOTDIR);
	equals(oriel_stat(s, "a/b/c/d/.", 0, &st), -ENOTDIR);
	equals(oriel_stat(s, "a/b/c/d/..", 0, &st), -ENOTDIR);
}

/* Attributes that nobody may keep come with the walk all the same. */
static void test_stat_without_cache(void **state)
{
	struct oriel_options o = { .size = sizeof(o),
				   .attr_ttl_ms = ORIEL_NO_TTL };
	struct oriel_session *kept = s;
	struct oriel_stat st;

	s = test_connect(dir, &o);
	equals(messages(st = must_stat("a/b/c/d", 0)), 1);
	equals(messages(st = must_stat("top", 0)), 1);
	equals(messages(st = must_stat("top", 0)), 1);
	equals(st.size, 4);
	oriel_disconnect(s);
	s = kept;
}

static void test_open(void **state)
{
	struct oriel_file *f;

	read_it("top", "high");
	equals(messages(read_it("a/b/c/d", "contents")), 2);
	/* none for the bytes, where a descriptor of it is held by now */
	assert_in_range(messages(read_it("top", "high")), 1, 2);
	equals(messages(f = must_open(s, "a/b/c/d", O_RDWR)), 1);
	equals(oriel_pwrite(f, "C", 1, 0), 1);
	ok(oriel_close(f));
	read_it("a/b/c/d", "Contents");
	equals(messages(f = must_open(s, "a/b/c/d", O_RDWR | O_CREAT)), 1);
	equals(oriel_pwrite(f, "c", 1, 0), 1);
	ok(oriel_close(f));
	/* one walk that finds nothing, one CREATE */
	equals(messages(f = must_open(s, "a/b/c/new", O_RDWR | O_CREAT)), 2);
	ok(oriel_close(f));
	/* through links, at the end and before it */
	read_it("a/link/d", "contents");
	read_it("a/b/last", "contents");
	equals(try_open("a/b/last", O_RDONLY | O_NOFOLLOW), -ELOOP);
	equals(try_open("a/b/c/d/", O_RDONLY), -ENOTDIR);
	equals(try_open("a/b/c/d/.", O_RDONLY), -ENOTDIR);
	equals(try_open("a/b/c/d", O_RDONLY | O_DIRECTORY), -ENOTDIR);
	equals(try_open("a/b/c/d", O_RDWR | O_CREAT | O_EXCL), -EEXIST);
	equals(try_open("a/b/c", O_RDWR), -EISDIR);
	ok(try_open("a/b/c", O_RDONLY));
	equals(try_open("a/b/c/none", O_RDONLY), -ENOENT);
	f = must_open(s, "a/b/c/new", O_RDWR | O_TRUNC);
	ok(oriel_close(f));
}

static unsigned count_names_of(struct oriel_session *on, const char *path)
{
	struct oriel_dirent e;
	struct oriel_dir *d;
	unsigned n = 0;

	ok(oriel_opendir(on, path, 0, &d));
	while (oriel_readdir(d, &e) > 0)
		n++;
	oriel_closedir(d);
	return n;
}

static unsigned count_names(const char *path)
{
	return count_names_of(s, path);
}

/* Small answers while they come soon, large ones where each is waited for. */
static void test_large_directory(void **state)
{
	struct oriel_options o = { .size = sizeof(o),
				   .poll_us = ORIEL_NO_POLL };
	struct oriel_session *sleeper = test_connect(dir, &o);
	char name[64];
	uint64_t had;
	unsigned n;

	ok(oriel_mkdir(s, "large", 0755));
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "large/%04u", i);
		native_write(dir, name, "", 0);
	}
	/* the open, all the names, and that there are no more */
	had = requests(sleeper);
	equals(count_names_of(sleeper, "large"), 1002);
	equals(requests(sleeper) - had, 3);
	oriel_disconnect(sleeper);
	/* two more until it is seen */
	readdir_us = 2000;
	equals(messages(n = count_names("large")), 5);
	equals(n, 1002);
	readdir_us = 0;
}

static void test_directory(void **state)
{
	struct oriel_dir *d = NULL;
	unsigned n;

	ok(oriel_mkdir(s, "a/b/names", 0755));
	native_write(dir, "a/b/names/one", "1", 1);
	/* opened by the walk, the names, and that there are no more */
	equals(messages(n = count_names("a/b/names")), 3);
	equals(n, 3);
	equals(messages(n = count_names("a/b/names")), 3);
	/* it does not outlive its name by the handle that waits */
	ok(oriel_mkdir(s, "shallow", 0755));
	equals(count_names("shallow"), 2);
	n_releasedirs = 0;
	ok(oriel_rmdir(s, "shallow"));
	equals(n_releasedirs, 1);
	equals(oriel_opendir(s, "a/b/c/d", 0, &d), -ENOTDIR);
	equals(oriel_opendir(s, "a/b/last", 0, &d), -ENOTDIR);
	assert_null(d);
	/* what is no name, what is behind a link, what has a slash */
	count_names("/");
	count_names("a/..");
	count_names("a/link");
	count_names("a/b/c/");
	equals(try_open("a/b", O_RDWR | O_DIRECTORY), -EISDIR);
	equals(try_open("a/b", O_RDONLY | O_DIRECTORY | O_CREAT), -EISDIR);
	ok(try_open("a/b", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
	equals(try_open("a/link", O_RDONLY | O_DIRECTORY | O_NOFOLLOW),
	       -ELOOP);
	equals(must_info(s).open_files, 0);
}

static ssize_t file_reads(const char *path, size_t len, const char *want)
{
	char buf[100];
	ssize_t n;

	memset(buf, '?', sizeof(buf));
	n = oriel_read_file(s, path, buf, len);
	if (n >= 0 && want) {
		equals(n, strlen(want));
		assert_memory_equal(buf, want, (size_t)n);
		assert_int_equal(buf[n], '?');
	}
	return n;
}

static void test_read_file(void **state)
{
	static unsigned char much[300000];
	struct oriel_file *f;
	ssize_t n;

	equals(messages(file_reads("a/b/c/d", 50, "contents")), 1);
	equals(messages(file_reads("a/b/c/d", 8, "contents")), 1);
	equals(messages(file_reads("a/b/c/d", 3, "con")), 1);
	equals(file_reads("a/b/c/d", 0, ""), 0);
	native_write(dir, "empty", "", 0);
	equals(messages(file_reads("empty", 50, "")), 1);
	/* the link, what is behind it */
	equals(messages(file_reads("a/link/d", 50, "contents")), 3);
	equals(messages(file_reads("a/b/last", 50, "contents")), 3);
	native_pattern(dir, "much", sizeof(much), 5);
	equals(messages(n = oriel_read_file(s, "much", much, sizeof(much))),
	       1);
	equals(n, sizeof(much));
	equals(pattern_check(much, sizeof(much), 5, 0), sizeof(much));
	equals(file_reads("a", 50, NULL), -EISDIR);
	equals(file_reads("none", 50, NULL), -ENOENT);
	equals(file_reads("a/none/d", 50, NULL), -ENOENT);
	equals(file_reads("a/b/c/d/", 50, NULL), -ENOTDIR);
	equals(file_reads("", 50, NULL), -ENOENT);
	/* what was gathered and not yet sent is read too */
	native_write(dir, "log", "", 0);
	f = must_open(s, "log", O_WRONLY | O_APPEND);
	equals(oriel_pwrite(f, "1", 1, 0), 1);
	ok(oriel_coalesce(f, 4096, 60000));
	equals(oriel_pwrite(f, "2", 1, 0), 1);
	file_reads("log", 50, "12");
	ok(oriel_close(f));
	/* so is what was sent while the answer was on its way */
	f = must_open(s, "log", O_RDWR);
	wanted_file = f;
	spoil = write_meanwhile;
	file_reads("log", 50, "1234");
	spoil = NULL;
	ok(oriel_close(f));
	equals(must_info(s).open_files, 0);
}

/* Longer than one message takes: more components, and more bytes. */
static void test_deep(void **state)
{
	char path[4096] = "deep";
	size_t len = 4;
	struct oriel_stat st;

	ok(oriel_mkdir(s, path, 0755));
	for (unsigned i = 0; i < 39; i++) {
		len += (size_t)snprintf(path + len, sizeof(path) - len, "/%u",
					i);
		ok(oriel_mkdir(s, path, 0755));
	}
	/* 40 names: 16, 16 and 8 */
	equals(messages(st = must_stat(path, 0)), 3);
	assert_true(S_ISDIR(st.mode));
	len = 4;
	for (unsigned i = 0; i < 12; i++) {
		path[len++] = '/';
		memset(path + len, 'a' + (int)i, 250);
		len += 250;
		path[len] = '\0';
		ok(oriel_mkdir(s, path, 0755));
	}
	equals(messages(st = must_stat(path, 0)), 2);
	assert_true(S_ISDIR(st.mode));
}

/* A handle that waits to be closed does not keep what we remove. */
static void test_handles_that_wait(void **state)
{
	struct oriel_file *f, *gone;

	native_write(dir, "gone", "g", 1);
	f = must_open(s, "top", O_RDONLY);
	gone = must_open(s, "gone", O_RDONLY);
	n_releases = 0;
	ok(oriel_close(f));
	ok(oriel_close(gone));
	equals(n_releases, 0);
	equals(s->n_closing_fhs, 2);
	ok(oriel_unlink(s, "gone"));
	equals(n_releases, 1);
	/* the next one takes the other along */
	equals(s->n_closing_fhs, 1);
	f = must_open(s, "top", O_RDONLY);
	equals(s->n_closing_fhs, 0);
	ok(oriel_close(f));
	/* no more than a few */
	n_releases = 0;
	{
		struct oriel_file *v[CLIENT_CLOSING + 3];

		for (unsigned i = 0; i < ARRAY_LEN(v); i++)
			v[i] = must_open(s, "top", O_RDONLY);
		for (unsigned i = 0; i < ARRAY_LEN(v); i++)
			ok(oriel_close(v[i]));
	}
	equals(s->n_closing_fhs, CLIENT_CLOSING);
	equals(n_releases, 3);
	/* who writes is released at once */
	n_releases = 0;
	f = must_open(s, "top", O_RDWR);
	ok(oriel_close(f));
	equals(n_releases, 1);
}

/* The daemon closes what an open brought along without being asked once more. */
static void test_closed_after(void **state)
{
	const pid_t daemon = (pid_t)must_info(s).daemon_pid;
	struct oriel_file *f = must_open(s, "top", O_RDONLY);
	struct oriel_stat st;
	int had;

	ok(oriel_stat(s, "top", ORIEL_FORCE_SYNC, &st)); /* all done before */
	had = count_fds(daemon);
	for (unsigned i = 0; i < 20; i++) {
		ok(oriel_close(f));
		f = must_open(s, "top", O_RDONLY);
		equals(s->n_closing_fhs, 0);
		while (count_fds(daemon) != had)
			usleep(100); /* the test's time limit */
	}
	ok(oriel_close(f));
}

/* A daemon that does not know it is asked one by one, from then on. */
static void check_refusal(int err, bool for_good)
{
	struct oriel_session *kept = s;
	struct oriel_stat st;

	s = test_connect(dir, NULL);
	read_it("top", "high");
	equals(s->n_closing_fhs, 1);
	refuse_with = err;
	n_walks = n_releases = 0;
	if (for_good) {
		st = must_stat("a/b/c/d", 0);
		equals(st.size, 8);
		equals(n_walks, 1);
		/* what it should have taken along is closed */
		equals(n_releases, 1);
		equals(messages(st = must_stat("a/b/c/d", 0)), 4);
		equals(messages(read_it("a/b/c/d", "contents")), 4 + 3);
		file_reads("a/b/c/d", 50, "contents");
		equals(n_walks, 1);
		file_reads("a/b/c/d", 50, "contents");
	} else {
		equals(oriel_stat(s, "a/b/c/d", 0, &st), err);
		refuse_with = 0;
		equals(messages(st = must_stat("a/b/c/d", 0)), 1);
	}
	refuse_with = 0;
	oriel_disconnect(s);
	s = kept;
}

static void test_refused(void **state)
{
	check_refusal(-ENOSYS, true);
	check_refusal(-ENOTTY, true);
	check_refusal(-EINVAL, true);
	check_refusal(-EOPNOTSUPP, true);
	check_refusal(-ESTALE, false);
	check_refusal(-EMFILE, false);
}

/* Handles wait, are taken along and are let go, by several at a time. */
static void *reads_and_closes(void *arg)
{
	const unsigned mine = *(unsigned *)arg;
	char path[40], buf[10];
	struct oriel_file *f;

	snprintf(path, sizeof(path), "a/b/c/of-%u", mine);
	native_write(dir, path, "mine", 4);
	for (unsigned i = 0; i < 300; i++) {
		const char *now = i % 3 ? path : "a/link/d";

		must(oriel_open(s, now, O_RDONLY, 0, &f) == 0, "open");
		must(oriel_pread(f, buf, 4, 0) == 4, "read");
		must(!memcmp(buf, i % 3 ? "mine" : "cont", 4), "bytes");
		must(oriel_close(f) == 0, "close");
		must(oriel_read_file(s, now, buf, 4) == 4, "read file");
		if (i % 50 == 49) {
			must(oriel_unlink(s, path) == 0, "unlink");
			native_write(dir, path, "mine", 4);
		}
	}
	must(oriel_unlink(s, path) == 0, "unlink");
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t t[4];
	unsigned number[4];

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		number[i] = i;
		ok(pthread_create(&t[i], NULL, reads_and_closes, &number[i]));
	}
	for (unsigned i = 0; i < ARRAY_LEN(t); i++)
		ok(pthread_join(t[i], NULL));
	assert_true(s->n_closing_fhs <= CLIENT_CLOSING);
	equals(must_info(s).open_files, 0);
}

/* ------------------------------------------------------------------- lies */

static void more_names(struct client_call *c, struct answer *a)
{
	a->out.n = 5;
}

static void very_many_names(struct client_call *c, struct answer *a)
{
	a->out.n = UINT32_MAX;
}

static void fewer_names(struct client_call *c, struct answer *a)
{
	a->out.n = 2;
	a->out.flags = 0;
}

static void opened_too_early(struct client_call *c, struct answer *a)
{
	a->out.n = 2;
	a->out.error = -ENOENT;
}

static void nothing_at_all(struct client_call *c, struct answer *a)
{
	a->out.n = 0;
	a->out.flags = 0;
}

static void no_node(struct client_call *c, struct answer *a)
{
	a->e[1].nodeid = 0;
}

static void through_a_file(struct client_call *c, struct answer *a)
{
	a->e[1].attr.mode = S_IFREG | 0644;
}

static void through_a_link(struct client_call *c, struct answer *a)
{
	a->e[1].attr.mode = S_IFLNK | 0777;
}

static void no_type(struct client_call *c, struct answer *a)
{
	a->e[3].attr.mode = 0644;
}

static void opened_a_directory(struct client_call *c, struct answer *a)
{
	a->e[3].attr.mode = S_IFDIR | 0755;
}

static void positive(struct client_call *c, struct answer *a)
{
	a->out.error = 2;
}

static void no_errno(struct client_call *c, struct answer *a)
{
	a->out.error = -4096;
}

static void both(struct client_call *c, struct answer *a)
{
	a->out.error = -EACCES;
}

static void unknown_flag(struct client_call *c, struct answer *a)
{
	a->out.flags |= 8;
}

static void unasked_data(struct client_call *c, struct answer *a)
{
	a->out.flags |= FUSE_WIRE_WALK_READ;
}

static void unasked_close(struct client_call *c, struct answer *a)
{
	a->out.flags |= FUSE_WIRE_WALK_CLOSE;
}

static void data_without_word(struct client_call *c, struct answer *a)
{
	c->ret_bulk = 1;
}

static void data_without_flags(struct client_call *c, struct answer *a)
{
	a->out.flags = 0;
}

static void more_data(struct client_call *c, struct answer *a)
{
	c->ret_bulk = c->bulk_len + 1;
}

static void closed_and_not_read(struct client_call *c, struct answer *a)
{
	c->ret_bulk = 0;
	a->out.flags &= ~FUSE_WIRE_WALK_READ;
}

static void read_and_not_opened(struct client_call *c, struct answer *a)
{
	a->out.flags &= ~FUSE_WIRE_WALK_OPEN;
}

static void test_lies_of_data(void **state)
{
	static void (*const lies[])(struct client_call *, struct answer *) = {
		more_data, closed_and_not_read, read_and_not_opened, both,
		positive, opened_a_directory, data_without_flags,
	};
	struct oriel_session *kept = s;

	for (unsigned i = 0; i < ARRAY_LEN(lies); i++) {
		s = test_connect(dir, NULL);
		spoil = lies[i];
		if (file_reads("a/b/c/d", 50, NULL) != -EPROTO)
			fail_msg("lie %u is believed", i);
		spoil = NULL;
		oriel_disconnect(s);
	}
	s = kept;
	file_reads("a/b/c/d", 50, "contents");
}

static void a_file_of_a_directory(struct client_call *c, struct answer *a)
{
	a->e[2].attr.mode = S_IFREG | 0644;
}

static void test_lies(void **state)
{
	static void (*const lies[])(struct client_call *, struct answer *) = {
		more_names, very_many_names, fewer_names, opened_too_early,
		nothing_at_all, no_node, through_a_file, through_a_link,
		no_type, opened_a_directory, positive, no_errno, both,
		unknown_flag, unasked_data, unasked_close, data_without_word,
		a_file_of_a_directory,
	};
	struct oriel_session *kept = s;

	for (unsigned i = 0; i < ARRAY_LEN(lies); i++) {
		struct oriel_file *f = NULL;

		s = test_connect(dir, NULL);
		spoil = lies[i];
		if (lies[i] == a_file_of_a_directory) {
			equals(oriel_open(s, "a/b/c", O_RDONLY | O_DIRECTORY,
					  0, &f), -EPROTO);
			spoil = NULL;
			oriel_disconnect(s);
			continue;
		}
		if (oriel_open(s, "a/b/c/d", O_RDONLY, 0, &f) != -EPROTO)
			fail_msg("lie %u is believed", i);
		spoil = NULL;
		assert_null(f);
		/* such a one is not spoken to any more */
		equals(oriel_open(s, "top", O_RDONLY, 0, &f), -EPROTO);
		oriel_disconnect(s);
	}
	s = kept;
	read_it("a/b/c/d", "contents");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stat),
		cmocka_unit_test(test_stat_without_cache),
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_directory),
		cmocka_unit_test(test_large_directory),
		cmocka_unit_test(test_read_file),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_handles_that_wait),
		cmocka_unit_test(test_closed_after),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_lies_of_data),
	};

	return cmocka_run_group_tests(tests, setup, fixture_teardown);
}
