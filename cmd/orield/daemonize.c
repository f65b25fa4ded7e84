/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --daemonize: the process that was started waits until clients can connect,
 * then ends with 0; a child of its goes on. Before the sandbox and the first
 * thread. What goes wrong before is still told on the terminal.
 */
#include "orield.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

static int ready_pipe = -1;
static int null_fd = -1;

/* In the process that was started. */
static void await_ready(int fd, pid_t child)
{
	char c;
	ssize_t n;

	do {
		n = read(fd, &c, 1);
	} while (n < 0 && errno == EINTR);
	if (n == 1)
		_exit(0);
	/* it has said why */
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	_exit(1);
}

int orield_daemonize_start(struct orield_error *err)
{
	pid_t child;
	int p[2];

	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0 || pipe2(p, O_CLOEXEC))
		return orield_fail(err, -errno, "cannot go to the background:"
				   " %s", strerror(errno));
	child = fork();
	if (child > 0) {
		close(p[1]);
		await_ready(p[0], child);
	}
	close(p[0]);
	if (child < 0) {
		close(p[1]);
		return orield_fail(err, -EAGAIN, "cannot fork");
	}
	setsid();
	ready_pipe = p[1];
	return 0;
}

static void leave_terminal(void)
{
	int fd;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (dup3(null_fd, fd, 0) < 0)
			log_warn("dup3: %s", strerror(errno));
	}
}

void orield_outsider_start(void)
{
	orield_pidfile_release();
	if (ready_pipe < 0)
		return;
	leave_terminal();
	fd_close(&ready_pipe);
}

void orield_daemonize_ready(void)
{
	if (ready_pipe < 0)
		return;
	leave_terminal();
	fd_close(&null_fd);
	if (write(ready_pipe, "", 1) != 1)
		log_warn("nobody waits for the background");
	fd_close(&ready_pipe);
}
