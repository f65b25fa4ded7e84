/* SPDX-License-Identifier: BSD-2-Clause */
/* What each --seccomp does to a system call that is on no list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "orield.h"

#define CALLED 41
#define TRAPPED 42
#define REFUSED 43

static void on_trap(int sig, siginfo_t *si, void *ctx)
{
	_exit(si->si_syscall == SYS_socket ? TRAPPED : 1);
}

/* How a child that makes a socket under @mode ends. */
static int end_under(enum orield_seccomp mode)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct sigaction sa = {
			.sa_sigaction = on_trap,
			.sa_flags = SA_SIGINFO,
		};
		struct orield_error err;

		sigaction(SIGSYS, &sa, NULL);
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
		    orield_seccomp_start(mode, false, &err))
			_exit(1);
		_exit(syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0) < 0 ?
			      REFUSED : CALLED);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) :
				   -WTERMSIG(status);
}

static void modes(void **state)
{
	assert_int_equal(end_under(ORIELD_SECCOMP_KILL), -SIGSYS);
	assert_int_equal(end_under(ORIELD_SECCOMP_TRAP), TRAPPED);
	assert_int_equal(end_under(ORIELD_SECCOMP_LOG), CALLED);
	assert_int_equal(end_under(ORIELD_SECCOMP_NONE), CALLED);
}

/* ------------------------------------------------------------- the broker */

enum broker_call {
	ITS_OWN,
	OPEN_NAME,
	OTHER_IOCTL,
	OTHER_SOCKET,
	FORK,
	STAT_NAME,
};

/* In the broker's place: sock and dev are its own, other is not. */
static _Noreturn void broker_calls(enum broker_call what, int sock, int dev,
				   int other)
{
	struct orield_options opt = { .seccomp = ORIELD_SECCOMP_KILL };
	struct statx stx;
	char c = 0;
	int n = 0;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    orield_confine_broker(&opt, sock, dev))
		syscall(SYS_exit_group, 1);
	switch (what) {
	case ITS_OWN:
		(void)ioctl(dev, FIONREAD, &n);
		(void)statx(dev, "", AT_EMPTY_PATH, STATX_TYPE, &stx);
		(void)send(sock, &c, 1, MSG_NOSIGNAL);
		(void)recvmsg(sock, &(struct msghdr){ 0 }, MSG_DONTWAIT);
		close(other);
		break;
	case OPEN_NAME:
		(void)open("/", O_RDONLY);
		break;
	case OTHER_IOCTL:
		(void)ioctl(other, FIONREAD, &n);
		break;
	case OTHER_SOCKET:
		(void)recvmsg(other, &(struct msghdr){ 0 }, MSG_DONTWAIT);
		break;
	case FORK:
		(void)fork();
		break;
	case STAT_NAME:
		(void)statx(AT_FDCWD, "/", 0, STATX_TYPE, &stx);
		break;
	}
	syscall(SYS_exit_group, CALLED);
	abort();
}

static int broker_end(enum broker_call what)
{
	int a[2];
	int b[2];
	int status;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, a), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, b), 0);
	pid = fork();
	if (pid == 0)
		broker_calls(what, a[0], b[0], b[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(a[0]);
	close(a[1]);
	close(b[0]);
	close(b[1]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void broker(void **state)
{
	assert_int_equal(broker_end(ITS_OWN), CALLED);
	assert_int_equal(broker_end(OPEN_NAME), -SIGSYS);
	assert_int_equal(broker_end(OTHER_IOCTL), -SIGSYS);
	assert_int_equal(broker_end(OTHER_SOCKET), -SIGSYS);
	assert_int_equal(broker_end(FORK), -SIGSYS);
	assert_int_equal(broker_end(STAT_NAME), -SIGSYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(modes),
		cmocka_unit_test(broker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
