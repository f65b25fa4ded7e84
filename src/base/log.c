/* SPDX-License-Identifier: BSD-2-Clause */
/* See log.h. The level is read without a lock: a line more or less while it
 * changes does no harm. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static _Atomic int log_max;
static log_fn log_sink;
static void *log_sink_ctx;

static const char *const level_names[] = {
	[LOG_LEVEL_OFF] = "off",     [LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARN] = "warn",   [LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug", [LOG_LEVEL_TRACE] = "trace",
};

void log_set(enum log_level max_level, log_fn fn, void *ctx)
{
	log_sink = fn;
	log_sink_ctx = ctx;
	/* pairs with the acquire load in log_is_on() */
	atomic_store_explicit(&log_max, fn ? (int)max_level : LOG_LEVEL_OFF,
			      memory_order_release);
}

const char *log_level_name(enum log_level level)
{
	if ((size_t)level >= ARRAY_LEN(level_names))
		return NULL;
	return level_names[level];
}

int log_level_parse(const char *name, enum log_level *ret_level)
{
	for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
		if (strcmp(name, level_names[i]) == 0) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

bool log_is_on(enum log_level level)
{
	/* pairs with the release store in log_set() */
	return (int)level <=
	       atomic_load_explicit(&log_max, memory_order_acquire);
}

void log_write(enum log_level level, const char *fmt, ...)
{
	int saved = errno;
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_sink(log_sink_ctx, level, text);
	errno = saved;
}
