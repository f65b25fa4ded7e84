/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The front end against a back end somebody else wrote: the C virtiofsd that
 * comes with QEMU 7.2. Skipped where it is not installed or may not run.
 */
#include "pair.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "wire/fuse.h"

#define VIRTIOFSD "/usr/lib/qemu/virtiofsd"

static char dir[] = "/tmp/oriel-foreign-XXXXXX";
static char sock_path[64];

static pid_t spawn_daemon(void)
{
	char sock_arg[96], source_arg[96];
	pid_t pid;

	snprintf(sock_arg, sizeof(sock_arg), "--socket-path=%s", sock_path);
	snprintf(source_arg, sizeof(source_arg), "source=%s", dir);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(VIRTIOFSD, VIRTIOFSD, sock_arg, "-o", source_arg, "-o",
		      "sandbox=chroot", (char *)NULL);
		_exit(127);
	}
	assert_true(pid > 0);
	return pid;
}

/* The daemon's socket appears some time after it was started. */
static int connect_daemon(pid_t pid)
{
	const struct timespec ms = { .tv_nsec = 10000000 };
	const uint64_t end = clock_now_ns() + 20 * NS_PER_S;
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(s >= 0);
	strcpy(un.sun_path, sock_path);
	while (connect(s, (struct sockaddr *)&un, sizeof(un))) {
		assert_true(clock_now_ns() < end);
		assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
		nanosleep(&ms, NULL);
	}
	return s;
}

/* FUSE_INIT by hand on @queue; returns the answer. */
static struct fuse_init_out send_init(struct vhost_frontend *fe)
{
	const struct vhost_frontend_info *info = vhost_frontend_info(fe);
	struct ring_driver *d = vhost_frontend_queue(fe, 1);
	struct fuse_in_header ih = {
		.len = sizeof(ih) + sizeof(struct fuse_init_in),
		.opcode = FUSE_INIT,
		.unique = 77,
	};
	struct fuse_init_in in = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_WIRE_MINOR,
		.max_readahead = 65536,
	};
	struct fuse_out_header oh;
	struct fuse_init_out out;
	const struct ring_seg segs[2] = {
		{ info->arena_gpa, sizeof(ih) + sizeof(in) },
		{ info->arena_gpa + 4096, 4096 },
	};
	struct pollfd p = { vhost_frontend_call_fd(fe, 1), POLLIN, 0 };
	void *token = NULL;
	uint32_t len = 0;
	int r;

	memcpy(info->arena, &ih, sizeof(ih));
	memcpy(info->arena + sizeof(ih), &in, sizeof(in));
	ring_driver_want_call(d, true);
	assert_int_equal(ring_driver_add(d, segs, 1, 1, &token), 0);
	if (ring_driver_needs_kick(d))
		vhost_frontend_kick(fe, 1);
	while ((r = ring_driver_poll(d, &token, &len)) == 0) {
		assert_int_equal(poll(&p, 1, 20000), 1);
		vhost_frontend_ack_call(fe, 1);
		assert_int_equal(vhost_frontend_service(fe), 0);
	}
	assert_int_equal(r, 1);
	assert_int_equal(len, sizeof(oh) + sizeof(out));
	memcpy(&oh, info->arena + 4096, sizeof(oh));
	memcpy(&out, info->arena + 4096 + sizeof(oh), sizeof(out));
	assert_int_equal(oh.len, len);
	assert_int_equal(oh.error, 0);
	assert_int_equal(oh.unique, 77);
	return out;
}

static void test_qemu_virtiofsd(void **state)
{
	struct vhost_frontend_config cfg;
	const struct vhost_frontend_info *info;
	struct vhost_frontend *fe = NULL;
	struct fuse_init_out out;
	char error[256] = "";
	int status = 0;
	pid_t pid = spawn_daemon();
	int err;

	(void)state;
	cfg = pair_frontend_config(connect_daemon(pid),
				   &(struct pair_options){ .client_queues = 4,
							   .queue_size = 128 });
	err = vhost_frontend_new(&cfg, &fe, error, sizeof(error));
	if (err)
		print_error("%s\n", error);
	assert_int_equal(err, 0);
	info = vhost_frontend_info(fe);
	assert_int_equal(info->n_queues, 2);
	assert_int_equal(info->virtio_features, 0x170000000);
	assert_int_equal(info->protocol_features, 1 << 0 | 1 << 3);
	assert_string_equal(info->tag, "");
	assert_null(info->window);
	assert_non_null(strstr(info->no_window_why, "SHMEM"));

	out = send_init(fe);
	assert_int_equal(out.major, 7);
	assert_true(out.minor >= 31);
	assert_int_equal(vhost_frontend_service(fe), 0);
	vhost_frontend_free(fe);
	/* It leaves when its client does. */
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
}

/* The daemon is killed: the front end says so. */
static void test_killed(void **state)
{
	struct vhost_frontend_config cfg;
	struct vhost_frontend *fe = NULL;
	pid_t pid = spawn_daemon();
	struct pollfd p = { .events = POLLIN };
	int status;

	(void)state;
	cfg = pair_frontend_config(connect_daemon(pid),
				   &(struct pair_options){ 0 });
	assert_int_equal(vhost_frontend_new(&cfg, &fe, NULL, 0), 0);
	assert_int_equal(vhost_frontend_service(fe), 0);
	kill(pid, SIGKILL);
	p.fd = vhost_frontend_sock_fd(fe);
	assert_int_equal(poll(&p, 1, 20000), 1);
	assert_int_equal(vhost_frontend_service(fe), -ENOTCONN);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	vhost_frontend_free(fe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_qemu_virtiofsd),
		cmocka_unit_test(test_killed),
	};
	int r;

	if (access(VIRTIOFSD, X_OK) || getuid() != 0) {
		printf("no " VIRTIOFSD " that may run here\n");
		return 77;
	}
	if (!mkdtemp(dir))
		return 1;
	snprintf(sock_path, sizeof(sock_path), "%s.sock", dir);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(sock_path);
	rmdir(dir);
	return r;
}
