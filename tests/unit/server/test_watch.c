/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Watches, by a client that keeps to no rule. Events are the kernel's; answers
 * that come later are waited for without a limit of time but the test's own.
 */
#include "rig.h"
#include "../../support/fanotify.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned kept;
	unsigned answered;
	int error;
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
	struct fuse_out_header h;

	free(token);
	pthread_mutex_lock(&later.lock);
	later.answered++;
	memcpy(&h, data, sizeof(h));
	later.error = h.error;
	pthread_cond_broadcast(&later.changed);
	pthread_mutex_unlock(&later.lock);
}

static const struct server_later_ops later_ops = { keep, answer };

static int await(unsigned n)
{
	int r;

	pthread_mutex_lock(&later.lock);
	while (later.answered < n)
		pthread_cond_wait(&later.changed, &later.lock);
	r = later.error;
	pthread_mutex_unlock(&later.lock);
	return r;
}

static void init(struct rig *r, bool is_oriel)
{
	struct fuse_init_in in = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_WIRE_MINOR,
		.unused[0] = is_oriel ? FUSE_WIRE_INIT_MAGIC : 0,
	};
	struct fuse_init_out out;

	assert_int_equal(rig_call(r, FUSE_INIT, 0, &in, sizeof(in), &out,
				  sizeof(out)), sizeof(out));
}

static void start(struct rig *r)
{
	static const struct rig_config cfg = { .later_ops = &later_ops };

	later.kept = later.answered = 0;
	later.refuse = false;
	rig_start(r, &cfg);
	init(r, true);
}

/* The error, or how much came. */
static ssize_t command(struct rig *r, uint64_t node, uint32_t cmd,
		       unsigned char *buf, size_t size)
{
	struct fuse_ioctl_in in = { .cmd = cmd, .out_size = (uint32_t)size };
	struct fuse_ioctl_out *out = malloc(sizeof(*out) + size);
	ssize_t n;

	assert_non_null(out);
	n = rig_call(r, FUSE_IOCTL, node, &in, sizeof(in), out,
		     sizeof(*out) + size);
	if (n >= (ssize_t)sizeof(*out)) {
		n -= (ssize_t)sizeof(*out);
		assert_true((size_t)n <= size);
		if (n && size)
			memcpy(buf, out + 1, (size_t)n);
	}
	free(out);
	return n;
}

static int change(struct rig *r, uint64_t node, uint32_t cmd, uint64_t id)
{
	struct {
		struct fuse_ioctl_in in;
		struct fuse_wire_watch w;
	} a = {
		.in = { .cmd = cmd, .in_size = sizeof(a.w) },
		.w = { .id = id, .mask = UINT32_MAX },
	};
	struct fuse_ioctl_out out;
	ssize_t n = rig_call(r, FUSE_IOCTL, node, &a, sizeof(a), &out,
			     sizeof(out));

	return n < 0 ? (int)n : 0;
}

#define ADD FUSE_WIRE_IOC_WATCH_ADD
#define DEL FUSE_WIRE_IOC_WATCH_DEL
#define WAIT FUSE_WIRE_IOC_WATCH_WAIT
#define TAKE FUSE_WIRE_IOC_WATCH_TAKE

/* The request is kept: there is no answer yet. */
static void wait_kept(struct rig *r)
{
	struct fuse_in_header h = {
		.opcode = FUSE_IOCTL, .nodeid = 1, .unique = 77,
	};
	struct fuse_ioctl_in in = { .cmd = WAIT };
	unsigned char reply[64];
	struct iovec out[2] = { { &h, sizeof(h) }, { &in, sizeof(in) } };
	struct iovec room = { reply, sizeof(reply) };

	h.len = sizeof(h) + sizeof(in);
	assert_int_equal(server_session_handle(r->s, 0, out, 2, &room, 1),
			 SERVER_LATER);
}

static void test_others(void **state)
{
	struct rig r;

	start(&r);
	init(&r, false);
	assert_int_equal(change(&r, 1, ADD, 1), -ENOSYS);
	assert_int_equal(command(&r, 1, WAIT, NULL, 0), -ENOSYS);
	assert_int_equal(command(&r, 1, 0x5401, NULL, 0), -ENOSYS);
	rig_stop(&r);
}

static void test_nonsense(void **state)
{
	struct fuse_ioctl_in in = { .cmd = ADD, .in_size = 4096 };
	struct fuse_ioctl_out out;
	struct rig r;

	start(&r);
	assert_int_equal(rig_call(&r, FUSE_IOCTL, 1, &in, sizeof(in), &out,
				  sizeof(out)), -EINVAL);
	in.in_size = sizeof(struct fuse_wire_watch);
	assert_int_equal(rig_call(&r, FUSE_IOCTL, 1, &in, sizeof(in), &out,
				  sizeof(out)), -EINVAL);
	assert_int_equal(command(&r, 1, 0x5401, NULL, 0), -ENOTTY);
	assert_int_equal(change(&r, 1, ADD, 0), -EEXIST);
	assert_int_equal(change(&r, 99, ADD, 1), -ESTALE);
	assert_int_equal(change(&r, 1, DEL, 1), -ENOENT);
	assert_int_equal(change(&r, 1, ADD, 1), 0);
	assert_int_equal(change(&r, 1, ADD, 1), -EEXIST);
	assert_int_equal(change(&r, 1, DEL, 1), 0);
	assert_int_equal(change(&r, 1, DEL, 1), -ENOENT);
	rig_stop(&r);
}

static void test_too_many(void **state)
{
	struct rig r;
	uint64_t id = 0;
	int err;

	start(&r);
	do {
		err = change(&r, 1, ADD, ++id);
	} while (!err && id < 100000);
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(id, 8193);
	assert_int_equal(change(&r, 1, DEL, 17), 0);
	assert_int_equal(change(&r, 1, ADD, id), 0);
	rig_stop(&r);
}

/* One waits at a time; what it is told of can be taken, whole events only. */
static void test_wait_and_take(void **state)
{
	unsigned char buf[4096];
	struct fuse_wire_event e;
	struct rig r;
	ssize_t n;

	start(&r);
	later.refuse = true;
	assert_int_equal(command(&r, 1, WAIT, NULL, 0), -ENOMEM);
	later.refuse = false;
	assert_int_equal(change(&r, 1, ADD, 5), 0);
	wait_kept(&r);
	assert_int_equal(command(&r, 1, WAIT, NULL, 0), -EBUSY);
	rig_file(&r, "name", "", 0644);
	assert_int_equal(await(1), 0);
	assert_int_equal(command(&r, 1, TAKE, buf, sizeof(e)), 0);
	n = command(&r, 1, TAKE, buf, sizeof(buf));
	assert_true(n >= (ssize_t)sizeof(e) + 8);
	memcpy(&e, buf, sizeof(e));
	assert_int_equal(e.id, 5);
	assert_true(e.mask & FUSE_WIRE_WATCH_CREATE);
	assert_int_equal(e.namelen, 4);
	assert_memory_equal(buf + sizeof(e), "name\0\0\0\0", 8);
	rig_stop(&r);
}

/* A kept request ends with the device's queue, and with the session. */
static void test_ends(void **state)
{
	struct rig r;

	start(&r);
	assert_int_equal(change(&r, 1, ADD, 5), 0);
	wait_kept(&r);
	server_session_cancel(r.s, true);
	assert_int_equal(await(1), -EINTR);
	assert_int_equal(command(&r, 1, WAIT, NULL, 0), -EINTR);
	server_session_cancel(r.s, false);
	wait_kept(&r);
	server_session_reset(r.s);
	assert_int_equal(await(2), -EINTR);
	init(&r, true);
	assert_int_equal(change(&r, 1, DEL, 5), -ENOENT);
	wait_kept(&r);
	assert_int_equal(command(&r, 1, FUSE_WIRE_IOC_WATCH_CANCEL, NULL, 0),
			 0);
	assert_int_equal(await(3), -EINTR);
	assert_int_equal(command(&r, 1, WAIT, NULL, 0), -EINTR);
	rig_stop(&r);
	assert_int_equal(later.kept, later.answered);
}

/* Nobody takes: the queue does not grow without end, and says so. */
static void test_overflow(void **state)
{
	unsigned char buf[64];
	struct fuse_wire_event e;
	char name[24];
	struct rig r;
	int i;

	start(&r);
	assert_int_equal(change(&r, 1, ADD, 5), 0);
	for (i = 0; i < 9000; i++) {
		snprintf(name, sizeof(name), "%d", i);
		rig_file(&r, name, "", 0644);
	}
	/* a name does not fit: nothing is taken before it overflows */
	do {
		usleep(1000);
		e.mask = 0;
		if (command(&r, 1, TAKE, buf, sizeof(e)) == sizeof(e))
			memcpy(&e, buf, sizeof(e));
	} while (!(e.mask & FUSE_WIRE_WATCH_OVERFLOW));
	assert_int_equal(e.id, 0);
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_wait_and_take),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_overflow),
	};

	if (!has_fanotify(getenv("ORIEL_TEST_DIR") ? getenv("ORIEL_TEST_DIR") :
						      "/var/tmp"))
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
