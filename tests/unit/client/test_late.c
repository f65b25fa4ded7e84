/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Orders of events that are rare in life, brought about on purpose: an answer is
 * held back between the moment the daemon gave it and the moment it is used.
 * client_call() is wrapped by the linker, and so are client_held_read(), a reader
 * that needs no answer and can be as late, and the system call in it.
 */
#include "client/client.h"

#include "fixture.h"

#include <pthread.h>
#include <semaphore.h>

/* The thread that is held, and where. */
static __thread uint32_t hold_opcode;
static sem_t answered; /* posted when the answer is there */
static sem_t go_on;    /* waited for before it is used */
static __thread size_t longest; /* of client_held_read() */

int __real_client_call(struct oriel_session *on, struct client_call *c);
int __wrap_client_call(struct oriel_session *on, struct client_call *c);

int __wrap_client_call(struct oriel_session *on, struct client_call *c)
{
	int err = __real_client_call(on, c);

	if (hold_opcode && c->opcode == hold_opcode) {
		hold_opcode = 0;
		sem_post(&answered);
		while (sem_wait(&go_on) < 0)
			;
	}
	return err;
}

ssize_t __real_client_held_read(struct client_inode *ino, void *buf, size_t len,
				uint64_t pos);
ssize_t __wrap_client_held_read(struct client_inode *ino, void *buf, size_t len,
				uint64_t pos);

/* In place of a FUSE_READ. */
ssize_t __wrap_client_held_read(struct client_inode *ino, void *buf, size_t len,
				uint64_t pos)
{
	ssize_t n = __real_client_held_read(ino, buf, len, pos);

	if (len > longest)
		longest = len;
	if (n >= 0 && hold_opcode == FUSE_READ) {
		hold_opcode = 0;
		sem_post(&answered);
		while (sem_wait(&go_on) < 0)
			;
	}
	return n;
}

static __thread bool hold_pread;
static int held_fd; /* of that call */

ssize_t __real_pread64(int fd, void *buf, size_t len, off_t pos);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t pos);
ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t pos);

ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t pos)
{
	if (hold_pread) {
		hold_pread = false;
		held_fd = fd;
		sem_post(&answered);
		while (sem_wait(&go_on) < 0)
			;
	}
	return __real_pread64(fd, buf, len, pos);
}

ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t pos)
{
	return __wrap_pread64(fd, buf, len, pos);
}

/* What the other thread does. */
struct other {
	struct oriel_file *f;
	uint32_t opcode;
	void (*run)(struct oriel_file *f);
	pthread_t thread;
};

static void *other_main(void *arg)
{
	struct other *o = arg;

	hold_opcode = o->opcode;
	o->run(o->f);
	return NULL;
}

/* Returns when its answer is there and not yet used. */
static void other_start(struct other *o)
{
	support_watch(20);
	must(sem_init(&answered, 0, 0) == 0 && sem_init(&go_on, 0, 0) == 0,
	     "sem_init");
	must(pthread_create(&o->thread, NULL, other_main, o) == 0,
	     "no thread");
	while (sem_wait(&answered) < 0)
		;
}

static void other_finish(struct other *o)
{
	sem_post(&go_on);
	pthread_join(o->thread, NULL);
	support_watch(0);
}

/* Others see @text at @off, and the file ends there. */
static void ends_with(const char *name, const char *text, off_t off)
{
	size_t len;
	unsigned char *got = native_read(dir, name, &len);

	equals(len, (size_t)off + strlen(text));
	assert_memory_equal(got + off, text, strlen(text));
	free(got);
}

static void read_past(struct oriel_file *f)
{
	unsigned char buf[100];

	must(oriel_pread(f, buf, 100, 6000) == 100, "pread");
	must(pattern_check(buf, 100, 1, 6000) == 100, "wrong bytes");
}

/* A reader saw bytes that we cut off meanwhile: the end is where we put it. */
static void late_read(struct oriel_session *on)
{
	struct other o = { .opcode = FUSE_READ, .run = read_past };
	unsigned char buf[10];

	native_pattern(dir, "late-read", 5000, 1);
	o.f = must_open(on, "late-read", O_RDWR);
	equals(oriel_pread(o.f, buf, 10, 0), 10);
	/* so that later ones have nothing to ask for before they store */
	equals(oriel_pwrite(o.f, buf, 10, 0), 10);
	/* longer, which we do not know */
	native_pattern(dir, "late-read", 12000, 1);
	other_start(&o);
	ok(oriel_ftruncate(o.f, 5100));
	other_finish(&o);
	equals(oriel_pwrite(o.f, "extends", 7, 5200), 7);
	ends_with("late-read", "extends", 5200);
	ok(oriel_close(o.f));
}

static void test_late_read(void **state)
{
	struct oriel_session *mine;
	struct oriel_options o;

	test_options(&o);
	o.held_files = ORIEL_HOLD_NONE;
	mine = test_connect(dir, &o);
	late_read(mine);
	equals(must_info(mine).held_read_bytes, 0);
	oriel_disconnect(mine);
}

static void test_late_held_read(void **state)
{
	late_read(s);
	assert_true(must_info(s).held_read_bytes > 0);
}

static void stat_it(struct oriel_file *f)
{
	struct oriel_stat st;

	must(oriel_fstat(f, ORIEL_FORCE_SYNC, &st) == 0, "fstat");
}

/* Attributes that were asked for before a change and come after it. */
/* However much is asked for where nobody knows the end: whoever evicts waits for a
 * read by descriptor, so none is long. */
static void test_long_read(void **state)
{
	enum { LEN = 9 << 20 };
	struct oriel_session *mine = test_connect(dir, NULL);
	unsigned char *buf = malloc(LEN);
	struct oriel_file *f;

	assert_non_null(buf);
	native_pattern(dir, "long", 5000, 1);
	f = must_open(mine, "long", O_RDONLY);
	equals(oriel_pread(f, buf, 10, 0), 10);
	native_pattern(dir, "long", LEN - 77, 1);
	longest = 0;
	equals(oriel_pread(f, buf, LEN, 5000), LEN - 77 - 5000);
	equals(pattern_check(buf, LEN - 77 - 5000, 1, 5000), LEN - 77 - 5000);
	assert_in_range(longest, 1, 4 << 20);
	ok(oriel_close(f));
	oriel_disconnect(mine);
	free(buf);
}

static void read_by_descriptor(struct oriel_file *f)
{
	unsigned char buf[100];

	hold_pread = true;
	must(oriel_pread(f, buf, 100, 3 << 16) == 100, "pread");
	must(pattern_check(buf, 100, 1, 3 << 16) == 100, "wrong bytes");
}

static _Atomic bool evicted;

static void *evictor_main(void *arg)
{
	char c;

	/* the only descriptor there may be is for this file now */
	must(oriel_pread(arg, &c, 1, 0) == 1, "pread");
	evicted = true;
	return NULL;
}

/* A descriptor has to go while it is read with: it is closed afterwards. */
static void test_close_waits(void **state)
{
	struct other o = { .run = read_by_descriptor };
	struct oriel_session *mine;
	struct oriel_file *second;
	struct oriel_options opts;
	pthread_t evictor;
	struct stat st, now;
	char c;

	test_options(&opts);
	opts.no_background = 1;
	opts.admit_touches = 2;
	opts.held_files = 1;
	mine = test_connect(dir, &opts);
	native_pattern(dir, "first", 8 << 16, 1);
	native_pattern(dir, "second", 8 << 16, 1);
	ok(stat(in_dir(dir, "first"), &st));
	o.f = must_open(mine, "first", O_RDONLY);
	second = must_open(mine, "second", O_RDONLY);
	equals(oriel_pread(o.f, &c, 1, 0), 1);
	equals(must_info(mine).held_files, 1);
	other_start(&o);
	evicted = false;
	ok(pthread_create(&evictor, NULL, evictor_main, second));
	for (unsigned i = 0; i < 20 && !evicted; i++) {
		nap_ms(10);
		ok(fstat(held_fd, &now));
		equals(now.st_ino, st.st_ino);
	}
	assert_false(evicted);
	other_finish(&o);
	ok(pthread_join(evictor, NULL));
	assert_true(evicted);
	assert_true(fstat(held_fd, &now) || now.st_ino != st.st_ino);
	ok(oriel_close(o.f));
	ok(oriel_close(second));
	oriel_disconnect(mine);
}

static void test_late_attributes(void **state)
{
	struct other o = { .opcode = FUSE_GETATTR, .run = stat_it };
	struct oriel_stat st;
	unsigned char buf[10];

	native_pattern(dir, "late-attr", 12000, 1);
	o.f = must_open(s, "late-attr", O_RDWR);
	equals(oriel_pread(o.f, buf, 10, 0), 10);
	/* so that later ones have nothing to ask for before they store */
	equals(oriel_pwrite(o.f, buf, 10, 0), 10);
	other_start(&o);
	ok(oriel_ftruncate(o.f, 5100));
	other_finish(&o);
	ok(oriel_fstat(o.f, 0, &st));
	equals(st.size, 5100);
	equals(oriel_pwrite(o.f, "extends", 7, 5200), 7);
	ends_with("late-attr", "extends", 5200);
	/* the other way round: smaller than it is by now */
	other_start(&o);
	equals(oriel_pwrite(o.f, "more", 4, 9000), 4);
	other_finish(&o);
	equals(oriel_pread(o.f, buf, 10, 9000), 4);
	ok(oriel_fstat(o.f, 0, &st));
	equals(st.size, 9004);
	ok(oriel_close(o.f));
}

static void extend_it(struct oriel_file *f)
{
	must(oriel_pwrite(f, "tail", 4, 200000) == 4, "pwrite");
}

/* While a write waits for its answer: hits go on, and those who may not wait
 * do not. */
static void test_not_waiting(void **state)
{
	struct other o = { .opcode = FUSE_WRITE, .run = extend_it };
	struct oriel_session *mine;
	struct oriel_options opts;
	unsigned char buf[10];

	native_pattern(dir, "busy", 200000, 1);
	test_options(&opts);
	opts.held_files = ORIEL_HOLD_NONE; /* a message, then */
	mine = test_connect(dir, &opts);
	o.f = must_open(mine, "busy", O_RDWR);
	equals(oriel_pwrite(o.f, "0123456789", 10, 100), 10);
	other_start(&o);
	equals(oriel_pwrite_nowait(o.f, buf, 10, 100), -EAGAIN);
	equals(oriel_pread_nowait(o.f, buf, 10, 100), 10);
	assert_memory_equal(buf, "0123456789", 10);
	equals(oriel_pread(o.f, buf, 10, 100), 10);
	other_finish(&o);
	equals(oriel_pwrite_nowait(o.f, "abc", 3, 100), 3);
	equals(must_stat("busy", 0).size, 200004);
	ok(oriel_close(o.f));
	oriel_disconnect(mine);
}

static void append_it(struct oriel_file *f)
{
	must(oriel_pwrite(f, "abcd", 4, 0) == 4, "append");
}

/* The answer to an append says where the file ended, but there was another change
 * of ours meanwhile: it is asked for anew. */
static void test_late_end(void **state)
{
	struct other o = { .opcode = FUSE_WRITE, .run = append_it };
	uint64_t before;
	char buf[4];

	native_pattern(dir, "late-end", 100, 1);
	o.f = must_open(s, "late-end", O_RDWR | O_APPEND);
	other_start(&o);
	ok(oriel_chmod(s, "late-end", 0600));
	ok(truncate(in_dir(dir, "late-end"), 40));
	before = must_info(s).requests;
	other_finish(&o);
	equals(must_info(s).requests, before + 1); /* GETATTR */
	equals(oriel_pread(o.f, buf, 4, 50), 0);
	ok(oriel_close(o.f));
}

static void write_it(struct oriel_file *f)
{
	must(oriel_pwrite(f, "0123456789", 10, 100) == 10, "pwrite");
}

/* A write that began is whole before a truncation is sent, and the other way
 * round: never a store past the end. */
static void test_write_then_cut(void **state)
{
	struct other o = { .opcode = FUSE_SETUPMAPPING, .run = write_it };

	native_pattern(dir, "cut", 200000, 1);
	o.f = must_open(s, "cut", O_RDWR);
	other_start(&o);
	/* it holds the inode; what others do is seen when it looks */
	ok(truncate(in_dir(dir, "cut"), 50));
	other_finish(&o);
	equals(must_stat("cut", ORIEL_FORCE_SYNC).size >= 50, 1);
	ok(oriel_ftruncate(o.f, 60));
	equals(oriel_pwrite(o.f, "end", 3, 80), 3);
	ends_with("cut", "end", 80);
	ok(oriel_close(o.f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_late_read),
		cmocka_unit_test(test_late_held_read),
		cmocka_unit_test(test_long_read),
		cmocka_unit_test(test_close_waits),
		cmocka_unit_test(test_late_attributes),
		cmocka_unit_test(test_not_waiting),
		cmocka_unit_test(test_late_end),
		cmocka_unit_test(test_write_then_cut),
	};

	return cmocka_run_group_tests_name("client-late", tests,
					   fixture_setup, fixture_teardown);
}
