/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Numbers, times, modes and names as text and back. Pure functions: no state,
 * no output; each writes a NUL-terminated text into a buffer of the caller and
 * returns that buffer.
 */
#ifndef ORIEL_CLI_FMT_H
#define ORIEL_CLI_FMT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define FMT_LEN 64 /* enough for every function below without @len */

/* "0 B", "1.5 KiB", "64 MiB": three digits at most before the unit. */
char *fmt_bytes(double bytes, char buf[FMT_LEN]);
/* As ls -h: "512", "1.5K", "23M", rounded up. */
char *fmt_human(uint64_t bytes, char buf[FMT_LEN]);
/* "812 ns", "1.24 us", "3.20 ms", "1.50 s". */
char *fmt_ns(double ns, char buf[FMT_LEN]);
/* "1234", "12.3 k", "4.56 M". */
char *fmt_count(double n, char buf[FMT_LEN]);
/* "0:05", "12:34", "1:02:03". */
char *fmt_duration(uint64_t seconds, char buf[FMT_LEN]);
/* "drwxr-xr-x". */
char *fmt_mode(uint32_t mode, char buf[FMT_LEN]);
/* "regular file", "directory", ... */
const char *fmt_type(uint32_t mode);
/* As ls -l: hour and minute when within half a year of @now, else the year. */
char *fmt_ls_time(const struct timespec *t, time_t now, char buf[FMT_LEN]);
/* "2026-02-03 04:05:06.123456789 +0000". */
char *fmt_full_time(const struct timespec *t, char buf[FMT_LEN]);

/* "4096", "4K" and "4KiB" (1024), "4KB" (1000), up to E. -EINVAL, -ERANGE. */
int fmt_parse_size(const char *text, uint64_t *ret_bytes);
/* "2", "0.5", in milliseconds; more than 0, at most a day. */
int fmt_parse_seconds(const char *text, uint32_t *ret_ms);
/* Octal permissions "755". */
int fmt_parse_mode(const char *text, mode_t *ret);
/* "@SECONDS", "now", "2026-02-03", "2026-02-03 04:05[:06]" or with 'T'. */
int fmt_parse_time(const char *text, struct timespec *ret);

/* True when all bytes are valid UTF-8. */
bool fmt_is_utf8(const char *text);
/* Valid UTF-8 with U+FFFD for each wrong byte; to be freed, NULL: no memory. */
char *fmt_to_utf8(const char *text);
/* Lowercase hexadecimal of the bytes; to be freed. */
char *fmt_hex(const char *text);
/* The name as a shell would take it ('a b', $'a\nb') when it has bytes that are
 * odd on a terminal, else a copy; to be freed. */
char *fmt_quote(const char *name);

#endif
