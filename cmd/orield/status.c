/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the daemon says: log lines on stderr or to /dev/log, one line on
 * --ready-fd, READY=1 to systemd. Sockets for it are connected before the
 * sandbox closes; in there nothing could be opened, so what breaks stays
 * broken, and its lines are lost.
 */
#include "orield.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "base/fd.h"

/* Of several shares, the one that this thread works for; or NULL. */
static __thread const char *log_tag;
static int syslog_fd = -1;
static int notify_fd = -1;

int orield_fail(struct orield_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return code;
}

/* A datagram socket to @path; a first '@' is an abstract name's 0. */
static int connect_to(const char *path, int *ret_fd)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	int fd;
	int r = 0;

	if (!len || len >= sizeof(addr.sun_path))
		return -EINVAL;
	memcpy(addr.sun_path, path, len);
	if (path[0] == '@')
		addr.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&addr,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)))
		r = -errno;
	if (r)
		close(fd);
	else
		*ret_fd = fd;
	return r;
}

/* -------------------------------------------------------------------- log */

static int syslog_level(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return LOG_ERR;
	case LOG_LEVEL_WARN:
		return LOG_WARNING;
	case LOG_LEVEL_INFO:
		return LOG_INFO;
	default:
		return LOG_DEBUG;
	}
}

void orield_log_about(const char *tag)
{
	log_tag = tag;
}

/* One write a line, so that lines of threads do not mix. */
static void log_line(void *ctx, enum log_level level, const char *text)
{
	char line[1200];
	int n = snprintf(line, sizeof(line), "orield: %s: %s%s%s\n",
			 log_level_name(level), log_tag ? log_tag : "",
			 log_tag ? ": " : "", text);

	if (n <= 0)
		return;
	if ((size_t)n >= sizeof(line)) {
		n = sizeof(line) - 1;
		line[n - 1] = '\n';
	}
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* nobody to tell */
}

/* Not syslog(3): it connects anew when it likes, which the sandbox forbids. */
static void log_datagram(void *ctx, enum log_level level, const char *text)
{
	char line[1200];
	int n = snprintf(line, sizeof(line), "<%d>orield[%d]: %s%s%s",
			 LOG_DAEMON | syslog_level(level), (int)getpid(),
			 log_tag ? log_tag : "", log_tag ? ": " : "", text);

	if (n <= 0)
		return;
	if (send(syslog_fd, line, min_u64((size_t)n, sizeof(line) - 1),
		 MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return; /* full, or gone */
}

int orield_log_start(const struct orield_options *opt, struct orield_error *err)
{
	int r;

	if (!opt->syslog) {
		log_set(opt->log_level, log_line, NULL);
		return 0;
	}
	r = connect_to("/dev/log", &syslog_fd);
	if (r)
		return orield_fail(err, r, "--syslog: cannot connect to"
				   " /dev/log: %s", strerror(-r));
	log_set(opt->log_level, log_datagram, NULL);
	return 0;
}

/* ---------------------------------------------------------------- systemd */

void orield_notify_start(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	int r;

	if (!path)
		return;
	r = connect_to(path, &notify_fd);
	if (r)
		log_warn("NOTIFY_SOCKET=%s: %s", path, strerror(-r));
}

void orield_notify(const char *state)
{
	if (notify_fd < 0)
		return;
	if (send(notify_fd, state, strlen(state), MSG_NOSIGNAL) < 0)
		log_warn("cannot tell systemd: %s", strerror(errno));
}

/* ------------------------------------------------------------- --ready-fd */

static void say(int fd, const char *line, int len)
{
	if (fd < 0 || len <= 0)
		return;
	if (write(fd, line, (size_t)len) != len)
		log_warn("could not report on the ready descriptor");
	close(fd);
}

void orield_report_ready(int fd, const char *sandbox)
{
	char line[64];

	say(fd, line, snprintf(line, sizeof(line), "READY sandbox=%s\n",
			       sandbox));
}

void orield_report_error(int fd, int code, const char *text)
{
	char line[600];

	say(fd, line, snprintf(line, sizeof(line), "ERROR %d %s\n", code,
			       text));
}
