/* SPDX-License-Identifier: BSD-2-Clause */
/* What each --seccomp does to a system call that is on no list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
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

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(modes) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
