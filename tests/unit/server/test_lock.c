/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Locks, against another process of this machine that has or wants them too.
 * Answers that come later are waited for without a limit of time but the
 * test's own.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#define FLOCK FUSE_LK_FLOCK
#define ALL INT64_MAX

/* ------------------------------------------------------- a later answer */

struct kept {
	struct fuse_out_header h;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned kept;
	unsigned answered;
	struct fuse_out_header last;
	bool refuse;
} later = { .lock = PTHREAD_MUTEX_INITIALIZER,
	    .changed = PTHREAD_COND_INITIALIZER };

static void *keep(void *ctx, unsigned queue)
{
	void *token = NULL;

	pthread_mutex_lock(&later.lock);
	if (!later.refuse) {
		later.kept++;
		token = malloc(1);
	}
	pthread_mutex_unlock(&later.lock);
	return token;
}

static void answer(void *ctx, void *token, const void *data, size_t len)
{
	free(token);
	pthread_mutex_lock(&later.lock);
	later.answered++;
	if (len == sizeof(later.last))
		memcpy(&later.last, data, len);
	pthread_cond_broadcast(&later.changed);
	pthread_mutex_unlock(&later.lock);
}

static const struct server_later_ops later_ops = { keep, answer };

static struct fuse_out_header await(unsigned n)
{
	struct fuse_out_header h;

	pthread_mutex_lock(&later.lock);
	while (later.answered < n)
		pthread_cond_wait(&later.changed, &later.lock);
	h = later.last;
	pthread_mutex_unlock(&later.lock);
	return h;
}

static unsigned answered(void)
{
	unsigned n;

	pthread_mutex_lock(&later.lock);
	n = later.answered;
	pthread_mutex_unlock(&later.lock);
	return n;
}

/* ------------------------------------------------------------- requests */

struct ctx {
	struct rig r;
	uint64_t node;
	uint64_t a, b; /* two handles of "f" */
	char path[160];
};

static struct ctx *start(void)
{
	static const struct rig_config cfg = { .later_ops = &later_ops };
	struct ctx *c = calloc(1, sizeof(*c));
	struct fuse_init_out out;

	assert_non_null(c);
	later.kept = later.answered = 0;
	later.refuse = false;
	rig_start(&c->r, &cfg);
	rig_file(&c->r, "f", "0123456789", 0644);
	out = rig_init(&c->r);
	assert_true(out.flags & FUSE_POSIX_LOCKS);
	assert_true(out.flags & FUSE_FLOCK_LOCKS);
	c->node = rig_node(&c->r, "f");
	assert_int_equal(rig_open(&c->r, c->node, O_RDWR, &c->a), 0);
	assert_int_equal(rig_open(&c->r, c->node, O_RDWR, &c->b), 0);
	snprintf(c->path, sizeof(c->path), "%s/f", c->r.dir);
	return c;
}

static void finish(struct ctx *c)
{
	rig_stop(&c->r);
	assert_int_equal(later.kept, later.answered);
	free(c);
}

struct want {
	uint64_t fh;
	uint64_t owner;
	uint32_t type;
	uint32_t flags;
	uint64_t start;
	uint64_t end;
	uint32_t pid;
};

static struct fuse_lk_in lk_in(const struct want *w)
{
	return (struct fuse_lk_in){
		.fh = w->fh, .owner = w->owner, .lk_flags = w->flags,
		.lk = { .start = w->start, .end = w->end, .type = w->type,
			.pid = w->pid },
	};
}

static int try(struct ctx *c, struct want w)
{
	struct fuse_lk_in in = lk_in(&w);

	return (int)rig_call(&c->r, FUSE_SETLK, c->node, &in, sizeof(in), NULL,
			     0);
}

/* The result, or SERVER_LATER; *@ret_unique names the request. */
static ssize_t wait_on(struct server_session *s, struct want w,
		       uint64_t unique, int32_t *ret_error)
{
	struct fuse_lk_in in = lk_in(&w);
	struct fuse_in_header h = {
		.len = sizeof(h) + sizeof(in), .opcode = FUSE_SETLKW,
		.unique = unique, .nodeid = 1,
	};
	struct fuse_out_header oh = { 0 };
	struct iovec out[2] = { { &h, sizeof(h) }, { &in, sizeof(in) } };
	struct iovec room = { &oh, sizeof(oh) };
	ssize_t n = server_session_handle(s, 1, out, 2, &room, 1);

	if (ret_error)
		*ret_error = oh.error;
	return n;
}

static void interrupt(struct ctx *c, uint64_t unique)
{
	struct fuse_interrupt_in in = { unique };

	rig_call(&c->r, FUSE_INTERRUPT, 0, &in, sizeof(in), NULL, 0);
}

static int flush(struct ctx *c, uint64_t fh, uint64_t owner)
{
	struct fuse_flush_in in = { .fh = fh, .lock_owner = owner };

	return (int)rig_call(&c->r, FUSE_FLUSH, c->node, &in, sizeof(in), NULL,
			     0);
}

#define POSIX(h, o, t, from, to)                                           \
	((struct want){ (h), (o), (t), 0, (from), (to), 100 + (o) })
#define WHOLE(h, t) ((struct want){ (h), 0, (t), FLOCK, 0, ALL, 1 })

/* ------------------------------------------------- the host's other side */

/* Does another process get it, without waiting? */
static bool host_gets(const char *path, bool posix, short type)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		struct flock l = { .l_type = type, .l_whence = SEEK_SET };
		int fd = open(path, O_RDWR);
		int op = type == F_WRLCK ? LOCK_EX : LOCK_SH;

		_exit(posix ? fcntl(fd, F_SETLK, &l) != 0 :
			      flock(fd, op | LOCK_NB) != 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status == 0;
}

/* A process that has a lock until it is told to go. */
struct holder {
	pid_t pid;
	int tell;
};

static struct holder host_holds(const char *path, bool posix)
{
	int up[2], down[2];
	struct holder h;
	char byte;

	assert_int_equal(pipe(up), 0);
	assert_int_equal(pipe(down), 0);
	h.pid = fork();
	assert_true(h.pid >= 0);
	if (!h.pid) {
		struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
		int fd = open(path, O_RDWR);

		close(down[1]);
		if (posix ? fcntl(fd, F_SETLK, &l) : flock(fd, LOCK_EX))
			_exit(1);
		if (write(up[1], "x", 1) != 1)
			_exit(1);
		_exit(read(down[0], &byte, 1) < 0);
	}
	close(up[1]);
	close(down[0]);
	assert_int_equal(read(up[0], &byte, 1), 1);
	close(up[0]);
	h.tell = down[1];
	return h;
}

static void host_lets_go(struct holder *h)
{
	int status;

	close(h->tell);
	assert_int_equal(waitpid(h->pid, &status, 0), h->pid);
	assert_int_equal(status, 0);
}

/* ---------------------------------------------------------------- tests */

static void posix_ranges(void **state)
{
	struct ctx *c = start();

	assert_int_equal(try(c, POSIX(c->a, 1, F_WRLCK, 2, 3)), 0);
	assert_int_equal(try(c, POSIX(c->b, 2, F_RDLCK, 3, 3)), -EAGAIN);
	assert_int_equal(try(c, POSIX(c->b, 2, F_WRLCK, 4, ALL)), 0);
	/* One owner's locks are one, whatever the handle. */
	assert_int_equal(try(c, POSIX(c->b, 1, F_RDLCK, 3, 3)), 0);
	assert_int_equal(try(c, POSIX(c->a, 2, F_RDLCK, 3, 3)), 0);
	assert_int_equal(try(c, POSIX(c->a, 2, F_WRLCK, 3, 3)), -EAGAIN);
	assert_int_equal(try(c, POSIX(c->a, 1, F_UNLCK, 0, ALL)), 0);
	assert_int_equal(try(c, POSIX(c->a, 2, F_WRLCK, 0, ALL)), 0);
	finish(c);
}

static void posix_and_host(void **state)
{
	struct ctx *c = start();
	struct holder h;

	assert_int_equal(try(c, POSIX(c->a, 1, F_WRLCK, 0, ALL)), 0);
	assert_false(host_gets(c->path, true, F_RDLCK));
	assert_int_equal(flush(c, c->b, 1), 0); /* as at any close */
	assert_true(host_gets(c->path, true, F_WRLCK));
	h = host_holds(c->path, true);
	assert_int_equal(try(c, POSIX(c->a, 1, F_RDLCK, 5, 5)), -EAGAIN);
	host_lets_go(&h);
	assert_int_equal(try(c, POSIX(c->a, 1, F_RDLCK, 5, 5)), 0);
	/* Readers go together. */
	assert_true(host_gets(c->path, true, F_RDLCK));
	assert_false(host_gets(c->path, true, F_WRLCK));
	finish(c);
}

static void who_has_it(void **state)
{
	struct ctx *c = start();
	struct want w = POSIX(c->b, 2, F_WRLCK, 0, ALL);
	struct fuse_lk_in in = lk_in(&w);
	struct fuse_lk_out out;
	struct holder h;

	assert_int_equal(try(c, POSIX(c->a, 1, F_RDLCK, 3, 6)), 0);
	assert_int_equal(rig_call(&c->r, FUSE_GETLK, c->node, &in, sizeof(in),
				  &out, sizeof(out)), sizeof(out));
	assert_int_equal(out.lk.type, F_RDLCK);
	assert_true(out.lk.start == 3 && out.lk.end == 6);
	assert_int_equal(out.lk.pid, 101);
	assert_int_equal(flush(c, c->a, 1), 0);
	h = host_holds(c->path, true);
	assert_int_equal(rig_call(&c->r, FUSE_GETLK, c->node, &in, sizeof(in),
				  &out, sizeof(out)), sizeof(out));
	assert_int_equal(out.lk.type, F_WRLCK);
	assert_true(out.lk.start == 0 && out.lk.end == ALL);
	assert_int_equal(out.lk.pid, 0);
	host_lets_go(&h);
	assert_int_equal(rig_call(&c->r, FUSE_GETLK, c->node, &in, sizeof(in),
				  &out, sizeof(out)), sizeof(out));
	assert_int_equal(out.lk.type, F_UNLCK);
	finish(c);
}

static void flock_and_host(void **state)
{
	struct ctx *c = start();
	struct holder h;

	assert_int_equal(try(c, WHOLE(c->a, F_WRLCK)), 0);
	assert_int_equal(try(c, WHOLE(c->b, F_RDLCK)), -EAGAIN);
	assert_false(host_gets(c->path, false, F_RDLCK));
	assert_int_equal(try(c, WHOLE(c->a, F_RDLCK)), 0);
	assert_int_equal(try(c, WHOLE(c->b, F_RDLCK)), 0);
	assert_true(host_gets(c->path, false, F_RDLCK));
	/* A lock goes with its file. */
	assert_int_equal(rig_release(&c->r, c->a), 0);
	assert_int_equal(try(c, WHOLE(c->b, F_UNLCK)), 0);
	h = host_holds(c->path, false);
	assert_int_equal(try(c, WHOLE(c->b, F_RDLCK)), -EAGAIN);
	host_lets_go(&h);
	finish(c);
}

/* Who never flushes loses the locks with the handle. */
static void release_unlocks(void **state)
{
	struct ctx *c = start();

	assert_int_equal(try(c, POSIX(c->a, 7, F_WRLCK, 0, ALL)), 0);
	assert_int_equal(rig_release(&c->r, c->a), 0);
	assert_true(host_gets(c->path, true, F_WRLCK));
	finish(c);
}

static void check_wait(bool posix)
{
	struct ctx *c = start();
	struct holder h = host_holds(c->path, posix);
	struct want w = posix ? POSIX(c->a, 1, F_WRLCK, 0, ALL) :
				WHOLE(c->a, F_WRLCK);
	struct fuse_out_header oh;

	assert_int_equal(wait_on(c->r.s, w, 1000, NULL), SERVER_LATER);
	assert_int_equal(answered(), 0);
	/* Nothing stands still meanwhile. */
	assert_int_equal(rig_lookup(&c->r, 1, "f", NULL), 0);
	host_lets_go(&h);
	oh = await(1);
	assert_int_equal(oh.error, 0);
	assert_true(oh.unique == 1000 && oh.len == sizeof(oh));
	assert_false(host_gets(c->path, posix, F_RDLCK));
	/* One that is free is not waited for. */
	assert_int_equal(wait_on(c->r.s, w, 1001, NULL), sizeof(oh));
	finish(c);
}

static void waits(void **state)
{
	check_wait(true);
	check_wait(false);
}

static void interrupted(void **state)
{
	struct ctx *c = start();
	struct holder h = host_holds(c->path, true);
	struct want w = POSIX(c->a, 1, F_WRLCK, 0, ALL);
	int32_t error;

	assert_int_equal(wait_on(c->r.s, w, 1000, NULL), SERVER_LATER);
	interrupt(c, 999);
	assert_int_equal(answered(), 0);
	interrupt(c, 1000);
	assert_int_equal(await(1).error, -EINTR);
	/* It can come before what it interrupts. */
	interrupt(c, 1001);
	assert_true(wait_on(c->r.s, w, 1001, &error) > 0);
	assert_int_equal(error, -EINTR);
	assert_int_equal(wait_on(c->r.s, w, 1002, NULL), SERVER_LATER);
	interrupt(c, 1002);
	host_lets_go(&h);
	finish(c);
}

/* The next client of a session counts its requests from the start again. */
static void interrupted_before_reset(void **state)
{
	struct ctx *c = start();
	struct holder h = host_holds(c->path, true);

	interrupt(c, 1000);
	server_session_reset(c->r.s);
	rig_init(&c->r);
	c->node = rig_node(&c->r, "f");
	assert_int_equal(rig_open(&c->r, c->node, O_RDWR, &c->a), 0);
	assert_int_equal(wait_on(c->r.s, POSIX(c->a, 1, F_WRLCK, 0, ALL), 1000,
				 NULL), SERVER_LATER);
	host_lets_go(&h);
	assert_int_equal(await(1).error, 0);
	finish(c);
}

/* A session that goes leaves no thread, no lock, no request. */
static void many_waits_end(void **state)
{
	struct ctx *c = start();
	struct holder h = host_holds(c->path, true);
	unsigned i;

	for (i = 0; i < 50; i++)
		assert_int_equal(wait_on(c->r.s, POSIX(c->a, i, F_WRLCK, 0,
						       ALL), 1000 + i, NULL),
				 SERVER_LATER);
	server_session_reset(c->r.s);
	assert_int_equal(answered(), 50);
	assert_int_equal(await(50).error, -EINTR);
	host_lets_go(&h);
	assert_true(host_gets(c->path, true, F_WRLCK));
	finish(c);
}

static void too_many(void **state)
{
	struct ctx *c = start();
	struct holder h = host_holds(c->path, false);
	int32_t error = 0;
	unsigned i;

	for (i = 0; wait_on(c->r.s, WHOLE(c->a, F_WRLCK), 1000 + i, &error) ==
		    SERVER_LATER; i++)
		assert_true(i < 1000);
	assert_int_equal(error, -ENOLCK);
	server_session_cancel(c->r.s, true);
	assert_int_equal(answered(), i);
	assert_true(wait_on(c->r.s, WHOLE(c->a, F_WRLCK), 5000, &error) > 0);
	assert_int_equal(error, -EINTR);
	server_session_cancel(c->r.s, false);
	later.refuse = true;
	assert_true(wait_on(c->r.s, WHOLE(c->a, F_WRLCK), 5001, &error) > 0);
	assert_int_equal(error, -ENOLCK);
	host_lets_go(&h);
	finish(c);
}

static void malformed(void **state)
{
	struct ctx *c = start();

	assert_int_equal(try(c, POSIX(99, 1, F_WRLCK, 0, ALL)), -EBADF);
	assert_int_equal(try(c, POSIX(c->a, 1, 77, 0, ALL)), -EINVAL);
	assert_int_equal(try(c, POSIX(c->a, 1, F_WRLCK, 5, 4)), -EINVAL);
	assert_int_equal(try(c, POSIX(c->a, 1, F_WRLCK, UINT64_MAX,
				      UINT64_MAX)), -EINVAL);
	assert_int_equal(try(c, ((struct want){ c->a, 1, F_WRLCK, 0xff, 0,
						ALL, 1 })), -EINVAL);
	assert_int_equal(try(c, ((struct want){ c->a, 1, 9, FLOCK, 0, ALL,
						1 })), -EINVAL);
	/* The end of all numbers is the end of the file. */
	assert_int_equal(try(c, POSIX(c->a, 1, F_WRLCK, 0, UINT64_MAX)), 0);
	finish(c);
}

/* ---------------------------------------------------------------- stress */

struct stress {
	struct ctx *c;
	unsigned id;
};

static void *locker(void *arg)
{
	struct stress *t = arg;
	struct ctx *c = t->c;
	unsigned seed = t->id;
	unsigned i;

	for (i = 0; i < 300; i++) {
		uint64_t unique = 1000000 * (t->id + 1) + i;
		struct want w = POSIX(c->a, 10 + t->id, F_WRLCK, 0, ALL);
		struct fuse_lk_in in;

		if (wait_on(c->r.s, w, unique, NULL) == SERVER_LATER &&
		    rand_r(&seed) % 2) {
			struct fuse_interrupt_in it = { unique };
			struct fuse_in_header h = {
				.len = sizeof(h) + sizeof(it),
				.opcode = FUSE_INTERRUPT, .unique = unique + 1,
			};
			struct iovec out[2] = { { &h, sizeof(h) },
						{ &it, sizeof(it) } };

			(void)server_session_handle(c->r.s, 0, out, 2, NULL, 0);
		}
		w.type = F_UNLCK;
		in = lk_in(&w);
		rig_call(&c->r, FUSE_SETLK, c->node, &in, sizeof(in), NULL, 0);
	}
	return NULL;
}

static void stress(void **state)
{
	struct ctx *c = start();
	struct stress t[6];
	pthread_t th[6];
	unsigned i;

	for (i = 0; i < 6; i++) {
		t[i] = (struct stress){ c, i };
		assert_int_equal(pthread_create(&th[i], NULL, locker, &t[i]),
				 0);
	}
	for (i = 0; i < 6; i++)
		pthread_join(th[i], NULL);
	finish(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(posix_ranges),
		cmocka_unit_test(posix_and_host),
		cmocka_unit_test(who_has_it),
		cmocka_unit_test(flock_and_host),
		cmocka_unit_test(release_unlocks),
		cmocka_unit_test(waits),
		cmocka_unit_test(interrupted),
		cmocka_unit_test(interrupted_before_reset),
		cmocka_unit_test(many_waits_end),
		cmocka_unit_test(too_many),
		cmocka_unit_test(malformed),
		cmocka_unit_test(stress),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
