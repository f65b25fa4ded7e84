/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Drawing the progress of a copy, five times a second at most, so that it
 * costs nothing. A write that fails is not the copy's problem.
 */
#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "fmt.h"

#define DRAW_EVERY_NS 200000000u

int progress_percent(const struct progress *p)
{
	double part;

	if (p->total_bytes)
		part = (double)p->done_bytes / (double)p->total_bytes;
	else if (p->total_files)
		part = (double)p->done_files / (double)p->total_files;
	else
		return 0;
	return part >= 1 ? 100 : (int)(part * 100);
}

static void append(char *buf, size_t len, const char *text)
{
	size_t n = strlen(buf);

	if (n < len)
		snprintf(buf + n, len - n, "%s", text);
}

static void append_bar(const struct progress *p, char *buf, size_t len)
{
	char bar[32] = " [";
	int filled = progress_percent(p) / 5;

	for (int i = 0; i < 20; i++)
		bar[i + 2] = i < filled ? '#' : '-';
	bar[22] = ']';
	append(buf, len, bar);
}

static void append_rate(const struct progress *p, uint64_t now_ns, char *buf,
			size_t len)
{
	double s = (double)(now_ns - p->start_ns) / 1e9;
	double rate = s > 0 ? (double)p->done_bytes / s : 0;
	char text[FMT_LEN + 16], num[FMT_LEN];

	snprintf(text, sizeof(text), "  %s/s", fmt_bytes(rate, num));
	append(buf, len, text);
	if (s < 1 || rate < 1 || p->total_bytes <= p->done_bytes)
		return;
	snprintf(text, sizeof(text), "  ETA %s", fmt_duration((uint64_t)(
		 (double)(p->total_bytes - p->done_bytes) / rate + 0.5), num));
	append(buf, len, text);
}

void progress_line(const struct progress *p, uint64_t now_ns, char *buf,
		   size_t len)
{
	char done[FMT_LEN], total[FMT_LEN], text[3 * FMT_LEN];

	if (len > p->width)
		len = p->width ? p->width : 1;
	if (p->total_bytes)
		snprintf(text, sizeof(text), "%3d %%  %s of %s",
			 progress_percent(p),
			 fmt_bytes((double)p->done_bytes, done),
			 fmt_bytes((double)p->total_bytes, total));
	else
		snprintf(text, sizeof(text), "%s",
			 fmt_bytes((double)p->done_bytes, done));
	snprintf(buf, len, "%s", text);
	append_rate(p, now_ns, buf, len);
	if (p->total_files > 1) {
		snprintf(text, sizeof(text), "  %" PRIu64 "/%" PRIu64
			 " files", p->done_files, p->total_files);
		append(buf, len, text);
	}
	if (p->total_bytes && strlen(buf) + 24 < len)
		append_bar(p, buf, len);
}

static void put(const struct progress *p, const char *text, size_t len)
{
	ssize_t n = write(p->fd, text, len);

	(void)n;
}

static void show_numbers(struct progress *p)
{
	char text[16];
	int percent = progress_percent(p);
	int n;

	if (percent == p->last_percent)
		return;
	p->last_percent = percent;
	n = snprintf(text, sizeof(text), "%d/100\n", percent);
	put(p, text, (size_t)n);
}

void progress_show(struct progress *p)
{
	char line[256], text[288];
	uint64_t now;
	int n;

	if (p->kind == PROGRESS_NUMBERS)
		show_numbers(p);
	if (p->kind != PROGRESS_LINE)
		return;
	now = cli_now_ns();
	p->drawn_ns = now;
	progress_line(p, now, line, sizeof(line));
	n = snprintf(text, sizeof(text), "\r%s\033[K", line);
	put(p, text, (size_t)n);
}

void progress_bytes(struct progress *p, uint64_t n)
{
	p->done_bytes += n;
	if (p->kind == PROGRESS_NUMBERS ||
	    (p->kind == PROGRESS_LINE &&
	     cli_now_ns() - p->drawn_ns > DRAW_EVERY_NS))
		progress_show(p);
}

void progress_file_done(struct progress *p)
{
	p->done_files++;
	progress_bytes(p, 0);
}

void progress_end(struct progress *p, bool complete)
{
	if (p->kind == PROGRESS_LINE && p->drawn_ns)
		put(p, "\r\033[K", 4);
	if (p->kind == PROGRESS_NUMBERS && complete &&
	    p->last_percent != 100)
		put(p, "100/100\n", 8);
}
