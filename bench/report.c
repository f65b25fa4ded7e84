/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What came out: results.json for programs, table.md for people. Both say on
 * what machine, how busy it was, and how the files lay in the page cache.
 */
#include "harness.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#define NOTES_MAX 16
#define RESULTS_MAX 256

struct report {
	const struct suite *su;
	struct utsname uts;
	char cpu[128];
	char load[64]; /* at the start */
	uint64_t start_ns;
	char notes[NOTES_MAX][400];
	unsigned n_notes;
	struct match_result results[RESULTS_MAX];
	unsigned n_results;
	/* struct place is gone when we write */
	struct {
		char fs[16];
		char folios[16];
	} names[RESULTS_MAX];
};

/* The value of the first line of @path that begins with @key. */
static void read_line(const char *path, const char *key, char *buf, size_t len)
{
	char line[256];
	const char *p;
	FILE *f = fopen(path, "re");

	snprintf(buf, len, "?");
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, strlen(key)) != 0)
			continue;
		p = line + strlen(key);
		p += strspn(p, "\t :");
		snprintf(buf, len, "%.*s", (int)strcspn(p, "\n"), p);
		break;
	}
	if (f)
		fclose(f);
}

int report_new(const struct suite *su, struct report **ret)
{
	struct report *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->su = su;
	r->start_ns = now_ns();
	uname(&r->uts);
	read_line("/proc/cpuinfo", "model name", r->cpu, sizeof(r->cpu));
	read_line("/proc/loadavg", "", r->load, sizeof(r->load));
	*ret = r;
	return 0;
}

void report_free(struct report *r)
{
	free(r);
}

void report_add(struct report *r, const struct match_result *mr)
{
	struct match_result *to = &r->results[r->n_results];
	unsigned i = r->n_results;

	if (i == RESULTS_MAX)
		return;
	r->n_results++;
	*to = *mr;
	snprintf(r->names[i].fs, sizeof(r->names[i].fs), "%s", mr->match.fs);
	snprintf(r->names[i].folios, sizeof(r->names[i].folios), "%s",
		 mr->match.folios);
	to->match.fs = r->names[i].fs;
	to->match.folios = r->names[i].folios;
	fprintf(stderr, "bench: %-16s %-6s %-6s %9.1f ns, %5.2f x %s\n",
		mr->match.name, mr->match.fs, mr->match.folios,
		mr->ways[0].ns, mr->ways[0].speed, mr->ways[1].way);
}

void report_note(struct report *r, const char *fmt, ...)
{
	va_list ap;

	if (r->n_notes == NOTES_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(r->notes[r->n_notes++], sizeof(r->notes[0]), fmt, ap);
	va_end(ap);
}

/* ------------------------------------------------------------------ JSON */

static void json_string(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', f);
		if ((unsigned char)*s >= ' ')
			fputc(*s, f);
	}
	fputc('"', f);
}

static void json_field(FILE *f, const char *key, const char *value)
{
	fprintf(f, "\"%s\": ", key);
	json_string(f, value);
	fputs(", ", f);
}

static void json_result(FILE *f, const struct match_result *mr, unsigned i)
{
	const struct match *m = &mr->match;
	const struct result *w = &mr->ways[i];

	fputs("    { ", f);
	json_field(f, "case", m->name);
	json_field(f, "fs", m->fs);
	json_field(f, "folios", m->folios);
	fprintf(f, "\"set_bytes\": %zu, ", m->set_bytes);
	if (m->has_buf)
		fprintf(f, "\"buffer_offset\": %u, ", m->buf_off);
	json_field(f, "contestant", w->way);
	fprintf(f, "\"ns_per_op\": %.2f, \"p10\": %.2f, \"p90\": %.2f, "
		"\"speed\": %.4f, ", w->ns, w->p10, w->p90, w->speed);
	json_field(f, "speed_against", mr->ways[1].way);
	if (m->n_ways > 2)
		fprintf(f, "\"over_third_ns\": %.2f, ", w->extra_ns);
	fprintf(f, "\"cpu_us\": %.4f, \"daemon_cpu_us\": %.4f, "
		"\"ops_a_round\": %zu, \"rounds\": %u }", w->cpu_us,
		w->daemon_us, w->n, mr->rounds);
}

static void write_json(const struct report *r, FILE *f)
{
	fputs("{\n  ", f);
	json_field(f, "version", oriel_version());
	json_field(f, "kernel", r->uts.release);
	json_field(f, "cpu", r->cpu);
	json_field(f, "loadavg_before", r->load);
	fprintf(f, "\"cpus\": %d, \"slice_us\": %llu,\n  \"notes\": [",
		get_nprocs(), (unsigned long long)r->su->slice_ns / 1000);
	for (unsigned i = 0; i < r->n_notes; i++) {
		fputs(i ? ",\n    " : "\n    ", f);
		json_string(f, r->notes[i]);
	}
	fputs("\n  ],\n  \"results\": [", f);
	for (unsigned i = 0; i < r->n_results; i++) {
		for (unsigned k = 0; k < r->results[i].match.n_ways; k++) {
			fputs(i + k ? ",\n" : "\n", f);
			json_result(f, &r->results[i], k);
		}
	}
	fputs("\n  ]\n}\n", f);
}

/* ---------------------------------------------------------------- tables */

static void put_time(FILE *f, double ns)
{
	if (ns < 0)
		fprintf(f, "%.0f ns", ns);
	else if (ns < 100)
		fprintf(f, "%.1f ns", ns);
	else if (ns < 1000)
		fprintf(f, "%.0f ns", ns);
	else if (ns < 100000)
		fprintf(f, "%.2f us", ns / 1e3);
	else
		fprintf(f, "%.0f us", ns / 1e3);
}

static void put_bytes(FILE *f, size_t bytes)
{
	if (bytes >= MIB(1))
		fprintf(f, "%zu MiB", bytes >> 20);
	else
		fprintf(f, "%zu KiB", bytes >> 10);
}

static void window_row(FILE *f, const struct match_result *mr)
{
	const struct match *m = &mr->match;

	fprintf(f, "| %s | %s, %s | ", m->name, m->fs, m->folios);
	put_bytes(f, m->set_bytes);
	fprintf(f, " | %s | ", m->has_buf && m->buf_off ? "+16" : "page");
	put_time(f, mr->ways[0].ns);
	fputs(" (", f);
	put_time(f, mr->ways[0].p10);
	fputs(" .. ", f);
	put_time(f, mr->ways[0].p90);
	fputs(") | ", f);
	put_time(f, mr->ways[1].ns);
	fputs(" | ", f);
	put_time(f, mr->ways[2].ns);
	fprintf(f, " | **%.2f** | ", mr->ways[0].speed);
	put_time(f, mr->ways[0].extra_ns);
	fprintf(f, " | %.2f + %.2f |\n", mr->ways[0].cpu_us,
		mr->ways[0].daemon_us);
}

static void message_row(FILE *f, const struct match_result *mr)
{
	const struct match *m = &mr->match;
	const struct result *peer = &mr->ways[2], *one = &mr->ways[3];
	double best = peer->ns < one->ns ? peer->ns : one->ns;

	fprintf(f, "| %s | %s | ", m->name, m->fs);
	put_time(f, mr->ways[0].ns);
	fputs(" (", f);
	put_time(f, mr->ways[0].p10);
	fputs(" .. ", f);
	put_time(f, mr->ways[0].p90);
	fputs(") | ", f);
	put_time(f, mr->ways[1].ns);
	fprintf(f, " | **%.2f** | %.2f + %.2f | ", mr->ways[0].speed,
		mr->ways[0].cpu_us, mr->ways[0].daemon_us);
	if (m->n_ways > 3) {
		put_time(f, peer->ns);
		fputs(" / ", f);
		put_time(f, one->ns);
		fprintf(f, " | %.1f | %.2f + %.2f / %.2f + %.2f |\n",
			best / mr->ways[0].ns, peer->cpu_us, peer->daemon_us,
			one->cpu_us, one->daemon_us);
	} else {
		fputs("- | - | - |\n", f);
	}
}

static bool is_window_case(const struct match_result *mr)
{
	return mr->match.set_bytes != 0;
}

static unsigned write_rows(const struct report *r, FILE *f, bool window)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->n_results; i++) {
		if (is_window_case(&r->results[i]) != window)
			continue;
		if (window)
			window_row(f, &r->results[i]);
		else
			message_row(f, &r->results[i]);
		n++;
	}
	return n;
}

static void write_tables(const struct report *r, FILE *f)
{
	fprintf(f, "oriel %s, Linux %s, %d x %s, load before %s, %u rounds "
		"of %.0f ms, %.0f s in all\n\n", oriel_version(),
		r->uts.release, get_nprocs(), r->cpu, r->load, r->su->rounds,
		(double)r->su->slice_ns / 1e6,
		(double)(now_ns() - r->start_ns) / 1e9);
	fputs("### Through the window\n\n"
	      "| case | file system, folios | working set | buffer | oriel "
	      "(p10 .. p90) | system call | memcpy, own mapping | times as "
	      "fast as the system call | over memcpy | CPU us, client + "
	      "daemon |\n"
	      "|---|---|---|---|---|---|---|---|---|---|\n", f);
	write_rows(r, f, true);
	fputs("\n### By message\n\n"
	      "| case | file system | oriel (p10 .. p90) | system call | times "
	      "as fast as the system call | CPU us, client + daemon | QEMU's "
	      "virtiofsd, free / one CPU | its better time / ours | CPU us "
	      "there |\n"
	      "|---|---|---|---|---|---|---|---|---|\n", f);
	write_rows(r, f, false);
	fputc('\n', f);
	for (unsigned i = 0; i < r->n_notes; i++)
		fprintf(f, "* %s\n", r->notes[i]);
}

static int write_to(const struct report *r, const char *name,
		    void (*fn)(const struct report *, FILE *))
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", r->su->out_dir, name);
	f = fopen(path, "we");
	if (!f)
		return -errno;
	fn(r, f);
	return fclose(f) ? -errno : 0;
}

int report_save(const struct report *r)
{
	return write_to(r, "results.json", write_json);
}

int report_write(struct report *r)
{
	int err = report_save(r);

	if (!err)
		err = write_to(r, "table.md", write_tables);
	if (!err)
		write_tables(r, stdout);
	return err;
}
