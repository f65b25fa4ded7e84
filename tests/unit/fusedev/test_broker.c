/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The broker on the real kernel: what it does, and what it does for somebody
 * who has taken over the daemon. Skips where one may not mount.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fusedev/broker.h"

#define PASSTHROUGH_HIGH (1u << 5) /* bit 37 */
#define INIT_EXT (1u << 30)
#define MAX_FILES 3

struct ctx {
	int dev;
	int mnt;
	int file;
	struct fuse_broker *b;
};

/* --------------------------------------------- a connection, as it must be */

static int set(int fs, const char *key, const char *value)
{
	return (int)syscall(SYS_fsconfig, fs, 1u, key, value, 0);
}

static int mount_it(int dev)
{
	int fs = (int)syscall(SYS_fsopen, "fuse", 1u);
	char fd[16];
	int mnt = -1;

	if (fs < 0)
		return -1;
	snprintf(fd, sizeof(fd), "%d", dev);
	if (!set(fs, "fd", fd) && !set(fs, "rootmode", "40000") &&
	    !set(fs, "user_id", "0") && !set(fs, "group_id", "0") &&
	    !syscall(SYS_fsconfig, fs, 6u, NULL, NULL, 0))
		mnt = (int)syscall(SYS_fsmount, fs, 1u, 0);
	close(fs);
	return mnt;
}

/* True: the kernel has passthrough. */
static bool answer_init(int dev)
{
	static char buf[1 << 17];
	struct {
		struct fuse_out_header h;
		struct fuse_init_out o;
	} a = { { .len = sizeof(a) }, { .major = 7 } };
	const struct fuse_in_header *h = (const void *)buf;
	const uint32_t *in = (const void *)(h + 1);

	if (read(dev, buf, sizeof(buf)) < (ssize_t)(sizeof(*h) + 20))
		return false;
	a.h.unique = h->unique;
	a.o.minor = in[1] < 40 ? in[1] : 40;
	a.o.max_write = 1 << 17;
	a.o.time_gran = 1;
	a.o.flags = INIT_EXT;
	a.o.flags2 = PASSTHROUGH_HIGH;
	a.o.unused[0] = 2;
	return write(dev, &a, sizeof(a)) == sizeof(a) && in[1] >= 40 &&
	       (in[4] & PASSTHROUGH_HIGH);
}

/* -1: not here. */
static int start(struct ctx *c, const struct fuse_broker_config *more)
{
	struct fuse_broker_config cfg = { .max_files = MAX_FILES };

	if (more)
		cfg = *more;
	*c = (struct ctx){ -1, -1, -1, NULL };
	c->dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (c->dev >= 0)
		c->mnt = mount_it(c->dev);
	if (c->mnt < 0 || !answer_init(c->dev))
		return -1;
	c->file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	cfg.dev = c->dev;
	return fuse_broker_start(&cfg, &c->b) ? -1 : 0;
}

static void finish(struct ctx *c)
{
	fuse_broker_stop(c->b);
	close(c->dev);
	close(c->mnt);
	close(c->file);
}

/* ------------------------------------------------------------- looking in */

static unsigned descriptors(pid_t pid)
{
	struct dirent *e;
	char path[64];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

/* A hexadecimal or decimal line of /proc/PID/status. */
static uint64_t status_of(pid_t pid, const char *key, int base)
{
	uint64_t v = UINT64_MAX;
	char line[256];
	FILE *f;

	snprintf(line, sizeof(line), "/proc/%d/status", (int)pid);
	f = fopen(line, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, key, strlen(key)))
			v = strtoull(line + strlen(key) + 1, NULL, base);
	}
	fclose(f);
	return v;
}

static void assert_well(struct ctx *c)
{
	int id = fuse_broker_open(c->b, c->file);
	assert_true(id > 0);
	fuse_broker_close(c->b, (uint32_t)id);
}

/* ------------------------------------------------------------------ tests */

static void test_opens(void **state)
{
	struct ctx c;
	int path;
	int a, b;

	assert_int_equal(start(&c, NULL), 0);
	a = fuse_broker_open(c.b, c.file);
	path = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	b = fuse_broker_open(c.b, path);
	assert_true(a > 0 && b > 0 && a != b);
	fuse_broker_close(c.b, (uint32_t)a);
	fuse_broker_close(c.b, (uint32_t)b);
	close(path);
	finish(&c);
}

static void test_only_files(void **state)
{
	int pipes[2];
	int socks[2];
	struct ctx c;
	unsigned i;

	assert_int_equal(start(&c, NULL), 0);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, socks), 0);
	{
		const int bad[] = {
			pipes[0], pipes[1], socks[0], c.dev, c.mnt,
			open("/", O_RDONLY), open("/", O_PATH),
			open("/dev/null", O_RDWR), open("/dev/zero", O_RDWR),
		};

		for (i = 0; i < ARRAY_LEN(bad); i++) {
			assert_true(bad[i] >= 0);
			assert_int_equal(fuse_broker_open(c.b, bad[i]),
					 -EINVAL);
		}
		for (i = 5; i < ARRAY_LEN(bad); i++)
			close(bad[i]);
	}
	assert_int_equal(fuse_broker_open(c.b, -1), -EBADF);
	close(pipes[0]);
	close(pipes[1]);
	close(socks[0]);
	close(socks[1]);
	assert_well(&c);
	finish(&c);
}

/* Who pins files in the kernel, beyond any limit of descriptors, cannot. */
static void test_limit(void **state)
{
	int ids[MAX_FILES];
	struct ctx c;
	unsigned i;

	assert_int_equal(start(&c, NULL), 0);
	for (i = 0; i < MAX_FILES; i++) {
		ids[i] = fuse_broker_open(c.b, c.file);
		assert_true(ids[i] > 0);
	}
	assert_int_equal(fuse_broker_open(c.b, c.file), -ENFILE);
	/* ids that are none make no room */
	for (i = 0; i < 10; i++)
		fuse_broker_close(c.b, 5000000 + i);
	fuse_broker_close(c.b, 0);
	fuse_broker_close(c.b, UINT32_MAX);
	assert_int_equal(fuse_broker_open(c.b, c.file), -ENFILE);
	fuse_broker_close(c.b, (uint32_t)ids[0]);
	fuse_broker_close(c.b, (uint32_t)ids[0]);
	ids[0] = fuse_broker_open(c.b, c.file);
	assert_true(ids[0] > 0);
	assert_int_equal(fuse_broker_open(c.b, c.file), -ENFILE);
	finish(&c);
}

/* One datagram of @len bytes with @n_fds copies of @fd. */
static void send_raw(struct ctx *c, const void *data, size_t len, unsigned n_fds)
{
	static union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(200 * sizeof(int))];
	} control;
	struct iovec iov = { (void *)(uintptr_t)data, len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	unsigned i;

	if (n_fds) {
		struct cmsghdr *h = &control.align;

		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		for (i = 0; i < n_fds; i++)
			memcpy(CMSG_DATA(h) + i * sizeof(int), &c->file,
			       sizeof(int));
	}
	assert_int_equal(sendmsg(fuse_broker_socket(c->b), &m, MSG_NOSIGNAL),
			 len);
}

static int answer(struct ctx *c)
{
	int32_t a = 0;

	assert_int_equal(recv(fuse_broker_socket(c->b), &a, sizeof(a), 0),
			 sizeof(a));
	return a;
}

static void test_malformed(void **state)
{
	static const unsigned fds[] = { 0, 1, 2, 3, 200 };
	static const size_t lengths[] = { 1, 3, 4, 7, 8, 9, 12, 16, 4096,
					  100000 };
	static const uint32_t ops[] = { 0, 1, 2, 3, 255, 1u << 31,
					UINT32_MAX };
	static unsigned char buf[100000];
	unsigned i, k, n;
	struct ctx c;

	assert_int_equal(start(&c, NULL), 0);
	for (i = 0; i < ARRAY_LEN(ops); i++) {
		for (k = 0; k < ARRAY_LEN(lengths); k++) {
			for (n = 0; n < ARRAY_LEN(fds); n++) {
				memset(buf, 0xff, sizeof(buf));
				memcpy(buf, &ops[i], sizeof(ops[i]));
				/* those are in order */
				if (lengths[k] == 8 &&
				    ((ops[i] == 1 && fds[n] == 1) ||
				     (ops[i] == 2 && fds[n] == 0)))
					continue;
				send_raw(&c, buf, lengths[k], fds[n]);
				assert_int_equal(answer(&c), -EINVAL);
			}
		}
	}
	/* nothing stayed with it: its connection, and its socket */
	assert_int_equal(descriptors(fuse_broker_pid(c.b)), 2);
	assert_well(&c);
	finish(&c);
}

/* A datagram of nothing is the end, and is said so. */
static void test_gone(void **state)
{
	struct ctx c;

	assert_int_equal(start(&c, NULL), 0);
	send_raw(&c, "", 0, 1);
	assert_int_equal(fuse_broker_open(c.b, c.file), -EIO);
	fuse_broker_close(c.b, 1);
	assert_int_equal(fuse_broker_open(c.b, c.file), -EIO);
	finish(&c);
}

static int refuse(void *ctx, int sock, int dev)
{
	return -EPERM;
}

static void test_not_confined(void **state)
{
	const struct fuse_broker_config cfg = { .confine = refuse };
	struct ctx c;

	assert_int_equal(start(&c, &cfg), 0);
	assert_int_equal(fuse_broker_open(c.b, c.file), -EIO);
	finish(&c);
}

static void test_what_it_is(void **state)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT,
				       SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM,
				       SIGTSTP, SIGCHLD };
	int extra = open("/", O_RDONLY);
	char name[32] = "";
	struct ctx c;
	unsigned i;
	pid_t pid;
	FILE *f;

	assert_int_equal(start(&c, NULL), 0);
	pid = fuse_broker_pid(c.b);
	assert_well(&c);
	for (i = 0; i < ARRAY_LEN(signals); i++)
		assert_int_equal(kill(pid, signals[i]), 0);
	assert_well(&c);
	assert_int_equal(descriptors(pid), 2);
	assert_int_equal(status_of(pid, "CapEff", 16), 1 << 21);
	assert_int_equal(status_of(pid, "CapPrm", 16), 1 << 21);
	assert_int_equal(status_of(pid, "NoNewPrivs", 10), 1);
	snprintf(name, sizeof(name), "/proc/%d/comm", (int)pid);
	f = fopen(name, "r");
	assert_non_null(f);
	assert_non_null(fgets(name, sizeof(name), f));
	fclose(f);
	assert_string_equal(name, "orield-broker\n");
	close(extra);
	finish(&c);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
}

/* In a child: start one, leave a copy of its socket with a process that stays,
 * and die of SIGKILL. */
static void die_with_broker(int report, int hold)
{
	struct ctx c;
	pid_t pid;
	char end;

	if (start(&c, NULL) || fuse_broker_open(c.b, c.file) <= 0)
		_exit(1);
	if (fork() == 0) {
		(void)!read(hold, &end, 1);
		_exit(0);
	}
	pid = fuse_broker_pid(c.b);
	if (write(report, &pid, sizeof(pid)) == sizeof(pid))
		kill(getpid(), SIGKILL);
	_exit(1);
}

static void test_dies_with_the_daemon(void **state)
{
	pid_t child, pid = 0;
	int report[2];
	int hold[2];
	int status;

	/* so that it is ours to wait for */
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	assert_int_equal(pipe(report), 0);
	assert_int_equal(pipe(hold), 0);
	child = fork();
	if (child == 0) {
		close(hold[1]);
		die_with_broker(report[1], hold[0]);
	}
	assert_int_equal(read(report[0], &pid, sizeof(pid)), sizeof(pid));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(hold[1]);
	assert_true(wait(&status) > 0);
	close(hold[0]);
	close(report[0]);
	close(report[1]);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

static void *open_many(void *arg)
{
	struct ctx *c = arg;
	int i;

	for (i = 0; i < 500; i++) {
		int id = fuse_broker_open(c->b, c->file);

		if (id <= 0)
			return (void *)(intptr_t)id;
		fuse_broker_close(c->b, (uint32_t)id);
	}
	return NULL;
}

static void test_threads(void **state)
{
	const struct fuse_broker_config cfg = { .max_files = 8 };
	pthread_t t[8];
	struct ctx c;
	unsigned i;
	void *r;

	assert_int_equal(start(&c, &cfg), 0);
	for (i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, open_many, &c), 0);
	for (i = 0; i < ARRAY_LEN(t); i++) {
		assert_int_equal(pthread_join(t[i], &r), 0);
		assert_null(r);
	}
	finish(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opens),
		cmocka_unit_test(test_only_files),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_not_confined),
		cmocka_unit_test(test_what_it_is),
		cmocka_unit_test(test_dies_with_the_daemon),
		cmocka_unit_test(test_threads),
	};
	struct ctx c;

	if (start(&c, NULL)) {
		fprintf(stderr, "no passthrough for us here\n");
		return 77;
	}
	finish(&c);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
