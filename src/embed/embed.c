/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Starting an orield for one directory.
 *
 *   parent                               child (after exec)
 *   socketpair, pipe, spawn ------------> --connected-fd=3 --ready-fd=4
 *   wait for a line on the pipe <-------- "READY sandbox=NAME" / "ERROR -N text"
 *   speak vhost-user over the socket
 *   close the socket -------------------> ends; also when the parent dies
 *   waitpid
 *
 * posix_spawn() runs no code of ours between fork and exec, so it is safe in a
 * process with threads. Descriptors 3 and 4 are all the child inherits besides
 * standard input (empty), output (closed to /dev/null) and error.
 */
#include "embed/embed.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#ifndef ORIEL_BINDIR
#define ORIEL_BINDIR "/usr/local/bin"
#endif

/* Most that orield takes. */
#define WINDOW_MAX (UINT64_C(1) << 46)
#define CHILD_SOCK 3
#define CHILD_READY 4

extern char **environ;

ORIEL_PRINTF(4, 5)
static int fail(int err, char *errbuf, size_t errlen, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (errbuf && errlen)
		vsnprintf(errbuf, errlen, fmt, ap);
	va_end(ap);
	return err;
}

/* "DIR/../bin/orield" for the library in DIR, if it is there. */
static bool find_beside(char *buf, size_t len)
{
	Dl_info info;
	char *slash;
	int n;

	if (!dladdr((void *)(uintptr_t)&embed_start, &info) || !info.dli_fname)
		return false;
	n = snprintf(buf, len, "%s", info.dli_fname);
	slash = strrchr(buf, '/');
	if (n < 0 || (size_t)n >= len || !slash)
		return false;
	n = snprintf(slash, len - (size_t)(slash - buf), "/../bin/orield");
	return n > 0 && (size_t)n < len - (size_t)(slash - buf) &&
	       access(buf, X_OK) == 0;
}

static int find_daemon(const struct embed_config *cfg, char *buf, size_t len,
		       char *errbuf, size_t errlen)
{
	const char *env = secure_getenv("ORIEL_DAEMON");
	const char *path = cfg->daemon_path ? cfg->daemon_path : env;

	if (!path || !path[0]) {
		if (find_beside(buf, len))
			return 0;
		path = ORIEL_BINDIR "/orield";
	}
	if (strlen(path) >= len)
		return fail(-ENAMETOOLONG, errbuf, errlen,
			    "the daemon's path is too long");
	memcpy(buf, path, strlen(path) + 1);
	if (access(buf, X_OK) < 0)
		return fail(-errno, errbuf, errlen,
			    "cannot run the daemon %s: %s; set ORIEL_DAEMON "
			    "to an orield",
			    buf, strerror(errno));
	return 0;
}

/*
 * Put the two descriptors at 3 and 4 of the child. dup2() onto itself would keep
 * close-on-exec, so both are first moved out of the way.
 */
static int child_actions(posix_spawn_file_actions_t *fa, int sock, int ready)
{
	int err = posix_spawn_file_actions_addopen(fa, 0, "/dev/null", O_RDONLY,
						   0);

	if (!err)
		err = posix_spawn_file_actions_addopen(fa, 1, "/dev/null",
						       O_WRONLY, 0);
	if (!err)
		err = posix_spawn_file_actions_adddup2(fa, sock, CHILD_SOCK);
	if (!err)
		err = posix_spawn_file_actions_adddup2(fa, ready, CHILD_READY);
	if (!err)
		err = posix_spawn_file_actions_addclosefrom_np(fa,
							       CHILD_READY + 1);
	return -err;
}

/* Signals of the application do not concern the child. */
static int child_attr(posix_spawnattr_t *attr)
{
	sigset_t none, all;
	int err;

	sigemptyset(&none);
	sigfillset(&all);
	err = posix_spawnattr_setsigmask(attr, &none);
	if (!err)
		err = posix_spawnattr_setsigdefault(attr, &all);
	if (!err)
		err = posix_spawnattr_setpgroup(attr, 0);
	if (!err)
		err = posix_spawnattr_setflags(attr,
					       POSIX_SPAWN_SETSIGMASK |
						       POSIX_SPAWN_SETSIGDEF |
						       POSIX_SPAWN_SETPGROUP);
	return -err;
}

static int spawn(const char *path, char *const argv[], int sock, int ready,
		 pid_t *ret_pid)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	int err = -posix_spawn_file_actions_init(&fa);

	if (err)
		return err;
	err = -posix_spawnattr_init(&attr);
	if (err)
		goto out_actions;
	err = child_actions(&fa, sock, ready);
	if (!err)
		err = child_attr(&attr);
	if (!err)
		err = -posix_spawn(ret_pid, path, &fa, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
out_actions:
	posix_spawn_file_actions_destroy(&fa);
	return err;
}

/* One line, at most @len - 1 bytes, before @timeout_ms. */
static int read_line(int fd, char *buf, size_t len, int timeout_ms)
{
	uint64_t deadline_ns = clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	size_t n = 0;

	while (n < len - 1) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t now = clock_now_ns();
		ssize_t r;

		if (now >= deadline_ns)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)((deadline_ns - now) / NS_PER_MS) + 1) <= 0)
			continue;
		r = read(fd, buf + n, len - 1 - n);
		if (r == 0)
			return -ECHILD;
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r > 0)
			n += (size_t)r;
		buf[n] = '\0';
		if (strchr(buf, '\n')) {
			*strchr(buf, '\n') = '\0';
			return 0;
		}
	}
	return -EPROTO;
}

/* Parse the child's report. */
static int take_report(const char *line, struct embed_child *c, char *errbuf,
		       size_t errlen)
{
	int err, at = 0;

	if (sscanf(line, "READY sandbox=%23s", c->sandbox) == 1)
		return 0;
	if (sscanf(line, "ERROR %d %n", &err, &at) == 1 && at > 0 && err < 0 &&
	    err > -4096)
		return fail(err, errbuf, errlen, "%s", line + at);
	return fail(-EPROTO, errbuf, errlen,
		    "the daemon reported \"%s\", which is not understood",
		    line);
}

static int wait_ready(const struct embed_config *cfg, int fd,
		      struct embed_child *c, char *errbuf, size_t errlen)
{
	char line[400];
	int err = read_line(fd, line, sizeof(line), cfg->timeout_ms);

	if (err == -ETIMEDOUT)
		return fail(err, errbuf, errlen,
			    "%s: the daemon was not ready after %d ms",
			    cfg->dir, cfg->timeout_ms);
	if (err)
		return fail(err == -ECHILD ? -EIO : err, errbuf, errlen,
			    "%s: the daemon ended before it was ready",
			    cfg->dir);
	return take_report(line, c, errbuf, errlen);
}

/* High descriptors, clear of the numbers the child wants. */
static int move_high(int *fd)
{
	int high = fcntl(*fd, F_DUPFD_CLOEXEC, CHILD_READY + 6);

	if (high < 0)
		return -errno;
	fd_close(fd);
	*fd = high;
	return 0;
}

static int run_child(const struct embed_config *cfg, const char *path,
		     struct embed_child *c, int child_sock, int child_ready)
{
	char dir[4200], sandbox[40], window[40];
	char *argv[16];
	int n = 0;

	if (snprintf(dir, sizeof(dir), "--shared-dir=%s", cfg->dir) >=
	    (int)sizeof(dir))
		return -ENAMETOOLONG;
	snprintf(sandbox, sizeof(sandbox), "--sandbox=%s", cfg->sandbox);
	/* a multiple of 2 MiB; the front end takes less of it if it wants less */
	snprintf(window, sizeof(window), "--window=%llu",
		 (unsigned long long)align_up(min_u64(cfg->window_bytes,
						      WINDOW_MAX),
					      MIB(2)));
	argv[n++] = (char *)(uintptr_t)path;
	argv[n++] = dir;
	argv[n++] = sandbox;
	argv[n++] = window;
	argv[n++] = (char *)(uintptr_t) "--connected-fd=3";
	argv[n++] = (char *)(uintptr_t) "--ready-fd=4";
	argv[n++] = (char *)(uintptr_t) "--exit-with-parent";
	argv[n++] = (char *)(uintptr_t) "--log-level=off";
	/* oriel_open() promises open(2)'s own answer */
	argv[n++] = (char *)(uintptr_t) "--preserve-noatime";
	if (cfg->readonly)
		argv[n++] = (char *)(uintptr_t) "--readonly";
	argv[n] = NULL;
	return spawn(path, argv, child_sock, child_ready, &c->pid);
}

int embed_start(const struct embed_config *cfg, struct embed_child *ret,
		char *errbuf, size_t errlen)
{
	struct embed_child c = { .sock = -1 };
	int sv[2] = { -1, -1 }, ready[2] = { -1, -1 };
	char path[4096];
	int err = find_daemon(cfg, path, sizeof(path), errbuf, errlen);

	if (err)
		return err;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0 ||
	    pipe2(ready, O_CLOEXEC) < 0)
		err = -errno;
	if (!err)
		err = move_high(&sv[1]);
	if (!err)
		err = move_high(&ready[1]);
	if (!err)
		err = run_child(cfg, path, &c, sv[1], ready[1]);
	fd_close(&sv[1]);
	fd_close(&ready[1]);
	if (err) {
		fail(err, errbuf, errlen, "%s: cannot start the daemon %s: %s",
		     cfg->dir, path, strerror(-err));
		goto out;
	}
	err = wait_ready(cfg, ready[0], &c, errbuf, errlen);
	if (err) {
		fd_close(&sv[0]);
		embed_reap(&c);
		goto out;
	}
	c.sock = sv[0];
	sv[0] = -1;
	*ret = c;
out:
	fd_close(&sv[0]);
	fd_close(&ready[0]);
	return err;
}

void embed_reap(struct embed_child *c)
{
	const struct timespec nap = { .tv_nsec = 2 * 1000 * 1000 };
	uint64_t deadline_ns = clock_now_ns() + NS_PER_S;

	fd_close(&c->sock);
	if (c->pid <= 0)
		return;
	while (clock_now_ns() < deadline_ns) {
		pid_t r = waitpid(c->pid, NULL, WNOHANG);

		if (r == c->pid || (r < 0 && errno == ECHILD))
			goto gone;
		nanosleep(&nap, NULL);
	}
	kill(c->pid, SIGKILL);
	while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
		;
gone:
	c->pid = 0;
}
