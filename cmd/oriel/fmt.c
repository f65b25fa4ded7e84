/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Numbers, times and modes as text and back. Output units are IEC; input takes
 * K for 1024 and KB for 1000, as the core utilities do.
 */
#include "fmt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Three significant digits, none of them after the point from 100 on. */
static int digits_of(double v)
{
	if (v >= 99.95)
		return 0;
	return v >= 9.995 ? 1 : 2;
}

static char *fmt_scaled(double v, double step, const char *const *units,
			size_t n_units, char *buf)
{
	size_t i = 0;

	while (i + 1 < n_units && v >= step - step / 2000) {
		v /= step;
		i++;
	}
	if (v == (double)(long long)v)
		snprintf(buf, FMT_LEN, "%lld%s", (long long)v, units[i]);
	else
		snprintf(buf, FMT_LEN, "%.*f%s", digits_of(v), v, units[i]);
	return buf;
}

char *fmt_bytes(double bytes, char buf[FMT_LEN])
{
	static const char *const units[] = { " B", " KiB", " MiB", " GiB",
					     " TiB", " PiB", " EiB" };

	return fmt_scaled(bytes, 1024, units, 7, buf);
}

char *fmt_ns(double ns, char buf[FMT_LEN])
{
	static const char *const units[] = { " ns", " us", " ms", " s" };

	return fmt_scaled(ns, 1000, units, 4, buf);
}

char *fmt_count(double n, char buf[FMT_LEN])
{
	static const char *const units[] = { "", " k", " M", " G", " T" };

	return fmt_scaled(n, 1000, units, 5, buf);
}

static double round_up(double v)
{
	double whole = (double)(uint64_t)v;

	return whole < v ? whole + 1 : whole;
}

char *fmt_human(uint64_t bytes, char buf[FMT_LEN])
{
	static const char units[] = "KMGTPE";
	double v = (double)bytes;
	size_t i = 0;

	if (bytes < 1024) {
		snprintf(buf, FMT_LEN, "%u", (unsigned)bytes);
		return buf;
	}
	v /= 1024;
	while (i + 1 < sizeof(units) - 1 && round_up(v) >= 1024) {
		v /= 1024;
		i++;
	}
	if (round_up(v * 10) < 100)
		snprintf(buf, FMT_LEN, "%.1f%c", round_up(v * 10) / 10,
			 units[i]);
	else
		snprintf(buf, FMT_LEN, "%.0f%c", round_up(v), units[i]);
	return buf;
}

char *fmt_duration(uint64_t seconds, char buf[FMT_LEN])
{
	unsigned long long h = seconds / 3600;
	unsigned m = (unsigned)(seconds / 60 % 60);
	unsigned s = (unsigned)(seconds % 60);

	if (h)
		snprintf(buf, FMT_LEN, "%llu:%02u:%02u", h, m, s);
	else
		snprintf(buf, FMT_LEN, "%u:%02u", m, s);
	return buf;
}

struct type_name {
	uint32_t type;
	char letter;
	const char *name;
};

static const struct type_name *type_of(uint32_t mode)
{
	static const struct type_name types[] = {
		{ S_IFREG, '-', "regular file" },
		{ S_IFDIR, 'd', "directory" },
		{ S_IFLNK, 'l', "symbolic link" },
		{ S_IFIFO, 'p', "fifo" },
		{ S_IFSOCK, 's', "socket" },
		{ S_IFCHR, 'c', "character device" },
		{ S_IFBLK, 'b', "block device" },
		{ 0, '?', "unknown" },
	};
	const struct type_name *t = types;

	while (t->type && t->type != (mode & S_IFMT))
		t++;
	return t;
}

const char *fmt_type(uint32_t mode)
{
	return type_of(mode)->name;
}

char *fmt_mode(uint32_t mode, char buf[FMT_LEN])
{
	static const char rwx[] = "rwxrwxrwx";
	static const struct {
		uint32_t bit;
		int at;
		char on, off;
	} special[] = {
		{ S_ISUID, 3, 's', 'S' },
		{ S_ISGID, 6, 's', 'S' },
		{ S_ISVTX, 9, 't', 'T' },
	};

	buf[0] = type_of(mode)->letter;
	for (int i = 0; i < 9; i++)
		buf[i + 1] = mode & (0400u >> i) ? rwx[i] : '-';
	for (int i = 0; i < 3; i++) {
		char *x = &buf[special[i].at];

		if (mode & special[i].bit)
			*x = *x == 'x' ? special[i].on : special[i].off;
	}
	buf[10] = 0;
	return buf;
}

char *fmt_ls_time(const struct timespec *t, time_t now, char buf[FMT_LEN])
{
	const time_t half_year = 31556952 / 2;
	bool recent = t->tv_sec <= now && t->tv_sec > now - half_year;
	struct tm tm;

	if (!localtime_r(&t->tv_sec, &tm) ||
	    !strftime(buf, FMT_LEN, recent ? "%b %e %H:%M" : "%b %e  %Y", &tm))
		snprintf(buf, FMT_LEN, "%lld", (long long)t->tv_sec);
	return buf;
}

char *fmt_full_time(const struct timespec *t, char buf[FMT_LEN])
{
	char day[32], zone[16];
	struct tm tm;

	if (!localtime_r(&t->tv_sec, &tm) ||
	    !strftime(day, sizeof(day), "%Y-%m-%d %H:%M:%S", &tm) ||
	    !strftime(zone, sizeof(zone), "%z", &tm))
		snprintf(buf, FMT_LEN, "@%lld", (long long)t->tv_sec);
	else
		snprintf(buf, FMT_LEN, "%s.%09ld %s", day, t->tv_nsec, zone);
	return buf;
}

/* What a suffix multiplies by; 0: no such suffix. */
static uint64_t size_unit(const char *suffix)
{
	static const char letters[] = "KMGTPE";
	uint64_t step, unit = 1;
	char up = suffix[0] >= 'a' ? (char)(suffix[0] - 32) : suffix[0];
	const char *at;

	if (!suffix[0] || strcmp(suffix, "B") == 0)
		return 1;
	at = strchr(letters, up);
	if (!at)
		return 0;
	if (!suffix[1] || strcmp(suffix + 1, "iB") == 0)
		step = 1024;
	else if (strcmp(suffix + 1, "B") == 0)
		step = 1000;
	else
		return 0;
	for (const char *l = letters; l <= at; l++)
		unit *= step;
	return unit;
}

int fmt_parse_size(const char *text, uint64_t *ret_bytes)
{
	unsigned long long n;
	uint64_t unit;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno == ERANGE)
		return -ERANGE;
	unit = size_unit(end);
	if (!unit)
		return -EINVAL;
	if (n > UINT64_MAX / unit)
		return -ERANGE;
	*ret_bytes = n * unit;
	return 0;
}

int fmt_parse_seconds(const char *text, uint32_t *ret_ms)
{
	double s;
	char *end;

	if ((text[0] < '0' || text[0] > '9') && text[0] != '.')
		return -EINVAL;
	s = strtod(text, &end);
	if (end == text || (*end && strcmp(end, "s") != 0))
		return -EINVAL;
	if (!(s >= 0.001) || s > 86400)
		return -ERANGE;
	*ret_ms = (uint32_t)(s * 1000 + 0.5);
	return 0;
}

int fmt_parse_mode(const char *text, mode_t *ret)
{
	unsigned long v;
	char *end;

	if (text[0] < '0' || text[0] > '7' || strlen(text) > 5)
		return -EINVAL;
	v = strtoul(text, &end, 8);
	if (*end || v > 07777)
		return -EINVAL;
	*ret = (mode_t)v;
	return 0;
}

static int parse_epoch(const char *text, struct timespec *ret)
{
	long nsec = 0, scale = 100000000;
	long long sec;
	char *end;

	errno = 0;
	sec = strtoll(text, &end, 10);
	if (end == text || errno)
		return -EINVAL;
	if (*end == '.') {
		for (end++; *end >= '0' && *end <= '9'; end++) {
			nsec += (*end - '0') * scale;
			scale /= 10;
		}
	}
	if (*end)
		return -EINVAL;
	ret->tv_sec = (time_t)sec;
	ret->tv_nsec = nsec;
	return 0;
}

int fmt_parse_time(const char *text, struct timespec *ret)
{
	static const char *const forms[] = {
		"%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M",
		"%Y-%m-%dT%H:%M", "%Y-%m-%d",
	};

	if (text[0] == '@')
		return parse_epoch(text + 1, ret);
	if (strcmp(text, "now") == 0)
		return clock_gettime(CLOCK_REALTIME, ret) < 0 ? -errno : 0;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct tm tm = { .tm_isdst = -1 };
		const char *end = strptime(text, forms[i], &tm);

		if (!end || *end)
			continue;
		ret->tv_sec = mktime(&tm);
		ret->tv_nsec = 0;
		return 0;
	}
	return -EINVAL;
}
