/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the verdict of oriel bench wants to know of this machine: by which pages
 * the window shows the file, and on how many processors we may run.
 */
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Of the areas that overlap what is looked at, in KiB. */
struct pages {
	uintptr_t begin;
	uintptr_t end;
	uint64_t all;
	uint64_t huge;
};

static void add_line(struct pages *p, const char *line, bool *inside)
{
	uintptr_t begin, end;
	uint64_t kib;

	if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &begin, &end) == 2)
		*inside = begin < p->end && end > p->begin;
	else if (*inside && sscanf(line, "Rss: %" SCNu64, &kib) == 1)
		p->all += kib;
	else if (*inside &&
		 (sscanf(line, "FilePmdMapped: %" SCNu64, &kib) == 1 ||
		  sscanf(line, "ShmemPmdMapped: %" SCNu64, &kib) == 1))
		p->huge += kib;
}

static void look(struct pages *p)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	bool inside = false;
	char line[512];

	if (!f)
		return;
	while (fgets(line, sizeof(line), f))
		add_line(p, line, &inside);
	fclose(f);
}

static int touch_all(void *ctx, size_t n)
{
	const volatile char *p = ctx;

	for (size_t off = 0; off < n; off += 4096)
		(void)p[off];
	return 0;
}

/* -1: not known. */
static int huge_percent(struct bench *b)
{
	struct oriel_mapping *m;
	struct pages p = { 0 };
	void *at;

	if (!b->file || oriel_map(b->file, 0, b->size, ORIEL_MAP_READ, &m, &at))
		return -1;
	p.begin = (uintptr_t)at;
	p.end = p.begin + (uintptr_t)b->size;
	if (!bench_guarded(touch_all, at, b->size))
		look(&p);
	oriel_unmap(m);
	return p.all ? (int)(100 * p.huge / p.all) : -1;
}

static unsigned count_cpus(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set))
		return 0; /* more than the set has */
	return (unsigned)CPU_COUNT(&set);
}

int bench_learn(struct bench *b, struct bench_facts *ret)
{
	struct bench_facts f = {
		.info = { .size = sizeof(f.info) },
		.asked_never = b->c->common.dax == ORIEL_DAX_NEVER,
		.window_given = b->c->common.window_bytes != 0,
		.huge_percent = -1,
		.cpus = count_cpus(),
		.size = b->size,
		.why_not_write = b->why_not_write,
		.why_not_read = b->why_not_read,
	};
	int err = oriel_info(b->s, &f.info);

	if (err)
		return err;
	if (f.info.dax)
		f.huge_percent = huge_percent(b);
	*ret = f;
	return 0;
}
