/* SPDX-License-Identifier: BSD-2-Clause */
/* What the daemon says: log lines on stderr, and one line on --ready-fd. */
#include "orield.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

int orield_fail(struct orield_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return code;
}

/* One write a line, so that lines of threads do not mix. */
static void log_line(void *ctx, enum log_level level, const char *text)
{
	char line[1200];
	int n = snprintf(line, sizeof(line), "orield: %s: %s\n",
			 log_level_name(level), text);

	if (n <= 0)
		return;
	if ((size_t)n >= sizeof(line)) {
		n = sizeof(line) - 1;
		line[n - 1] = '\n';
	}
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* nobody to tell */
}

void orield_log_start(enum log_level level)
{
	log_set(level, log_line, NULL);
}

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
