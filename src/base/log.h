/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Logging through a callback. The library is silent until its user sets one;
 * the daemon sets one that writes to stderr. Any thread.
 */
#ifndef ORIEL_BASE_LOG_H
#define ORIEL_BASE_LOG_H

#include "base/util.h"

enum log_level {
	LOG_LEVEL_OFF,
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_TRACE,
};

/* @text has no trailing newline and lives until the call returns. */
typedef void (*log_fn)(void *ctx, enum log_level level, const char *text);

/* Process wide. @fn NULL: silent. Set it before other threads log. */
void log_set(enum log_level max_level, log_fn fn, void *ctx);

/* "error", "warn", "info", "debug", "trace", "off", or NULL if out of range. */
const char *log_level_name(enum log_level level);

/* Parse a level's name into *@ret_level; -EINVAL if unknown. */
ORIEL_MUST_CHECK int log_level_parse(const char *name,
				     enum log_level *ret_level);

bool log_is_on(enum log_level level);

/* errno is preserved. */
void log_write(enum log_level level, const char *fmt, ...) ORIEL_PRINTF(2, 3);

#define log_at(level, ...)                               \
	do {                                             \
		if (log_is_on(level))                    \
			log_write((level), __VA_ARGS__); \
	} while (0)

#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
