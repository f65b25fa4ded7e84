/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel-bench-sweep DIR OUT.JSON [--quick]: 4 KiB reads and overwrites of sets
 * of 0.25 to 8 times the window, by a session with that window, one without any,
 * and pread(2) or pwrite(2) on a descriptor that stays open; in turns, medians
 * over the rounds.
 *
 * Thread rule: one thread.
 */
#include <oriel/oriel.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define ROUNDS_MAX 15
#define OPS_MAX 60000
#define SETTLE 8u /* rounds that do not count */

enum way { WITH, OFF, NATIVE, WAYS };

/*
 * zipf: a few pages are read most, and lie anywhere; zipf-near: they lie at the
 * beginning, so that few ranges hold them. scan+hot: every other read is the
 * next of a scan of the set, the rest fall into a quarter of the window.
 */
enum pattern {
	UNIFORM,
	ZIPF,
	ZIPF_NEAR,
	SEQUENTIAL,
	SCAN_HOT,
	OVERWRITE, /* uniform */
	PATTERNS,
};
static const char *const pattern_names[] = { "random", "zipf", "zipf-near",
					     "sequential", "scan+hot",
					     "overwrite" };

struct sweep {
	struct oriel_session *s[NATIVE];
	struct oriel_file *f[NATIVE];
	int fd;
	size_t window;
	unsigned rounds;
	size_t ops;
	uint64_t random;
	uint32_t pages[OPS_MAX]; /* the same for each way of a round */
	char *buf;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static uint32_t next(struct sweep *w, size_t below)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (uint32_t)((w->random >> 20) % below);
}

/* Page k with a weight of 1/k, by a power of two drawn first. @pages is a power
 * of two. */
static uint32_t zipf(struct sweep *w, size_t pages)
{
	size_t top = 1, step = 0;

	while (top < pages) {
		top <<= 1;
		step++;
	}
	top = (size_t)1 << (step ? next(w, step) : 0);
	top += next(w, top);
	return (uint32_t)((top - 1) % pages);
}

/* Another page for each page: an odd factor is a permutation of a power of two.
 * So the pages that are read most lie in ranges that have nothing in common. */
static uint32_t scatter(uint32_t page, size_t pages)
{
	return (uint32_t)(page * (uint64_t)2654435761u) &
	       (uint32_t)(pages - 1);
}

static void plan(struct sweep *w, enum pattern pattern, size_t pages,
		 size_t at)
{
	size_t hot = w->window / PAGE / 4;

	for (size_t i = 0; i < w->ops; i++) {
		if (pattern == UNIFORM || pattern == OVERWRITE)
			w->pages[i] = next(w, pages);
		else if (pattern == ZIPF)
			w->pages[i] = scatter(zipf(w, pages), pages);
		else if (pattern == ZIPF_NEAR)
			w->pages[i] = zipf(w, pages);
		else if (pattern == SEQUENTIAL)
			w->pages[i] = (uint32_t)((at + i) % pages);
		else if (i & 1)
			w->pages[i] = (uint32_t)((at + i / 2) % pages);
		else
			w->pages[i] = next(w, hot < pages ? hot : pages);
	}
}

static ssize_t step(struct sweep *w, enum way way, bool writes, off_t off)
{
	if (way == NATIVE)
		return writes ? pwrite(w->fd, w->buf, PAGE, off) :
				pread(w->fd, w->buf, PAGE, off);
	return writes ? oriel_pwrite(w->f[way], w->buf, PAGE, off) :
			oriel_pread(w->f[way], w->buf, PAGE, off);
}

static int go(struct sweep *w, enum way way, bool writes, double *ns)
{
	double start = now();

	for (size_t i = 0; i < w->ops; i++) {
		off_t off = (off_t)w->pages[i] * PAGE;
		ssize_t n = step(w, way, writes, off);

		if (n != PAGE)
			return n < 0 && way != NATIVE ? (int)n : -EIO;
	}
	*ns = (now() - start) / (double)w->ops;
	return 0;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), compare);
	return v[n / 2];
}

static int point(struct sweep *w, enum pattern pattern, double ratio,
		 FILE *out)
{
	double t[WAYS][ROUNDS_MAX], off[ROUNDS_MAX], native[ROUNDS_MAX], skip;
	size_t pages = (size_t)(ratio * (double)w->window) / PAGE;
	int err = 0;

	/* What is mapped depends on what was touched: first let it settle. */
	for (unsigned r = 0; !err && r < w->rounds + SETTLE; r++) {
		plan(w, pattern, pages, r * w->ops);
		for (unsigned i = 0; !err && i < WAYS; i++)
			if (r >= SETTLE)
				err = go(w, (enum way)i, pattern == OVERWRITE,
					 &t[i][r - SETTLE]);
			else if (i == WITH || r == 0)
				err = go(w, (enum way)i, pattern == OVERWRITE,
					 &skip);
	}
	if (err)
		return err;
	for (unsigned r = 0; r < w->rounds; r++) {
		off[r] = t[OFF][r] / t[WITH][r];
		native[r] = t[NATIVE][r] / t[WITH][r];
	}
	fprintf(out, "{ \"pattern\": \"%s\", \"set_over_window\": %g, "
		"\"vs_off\": %.4f, \"vs_native\": %.4f, \"oriel_ns\": %.1f, "
		"\"off_ns\": %.1f, \"native_ns\": %.1f }", pattern_names[pattern], ratio,
		median(off, w->rounds), median(native, w->rounds),
		median(t[WITH], w->rounds), median(t[OFF], w->rounds),
		median(t[NATIVE], w->rounds));
	return 0;
}

static int prepare(struct sweep *w, const char *dir)
{
	struct oriel_options o = { .size = sizeof(o), .dax = ORIEL_DAX_ALWAYS,
				   .window_bytes = w->window };
	char path[4096];
	char *piece = aligned_alloc(PAGE, 2u << 20);
	int err = 0;

	snprintf(path, sizeof(path), "%s/data", dir);
	w->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (!piece || w->fd < 0) {
		free(piece);
		return -EIO;
	}
	w->buf = piece; /* freed by the end of the program */
	memset(piece, 7, 2u << 20);
	for (size_t n = 0; !err && n < 8 * w->window; n += 2u << 20)
		if (pwrite(w->fd, piece, 2u << 20, (off_t)n) < 0)
			err = -errno;
	for (unsigned i = 0; !err && i < NATIVE; i++) {
		err = oriel_connect(dir, &o, &w->s[i]);
		if (!err)
			err = oriel_open(w->s[i], "data", O_RDWR, 0,
					 &w->f[i]);
		o.dax = ORIEL_DAX_NEVER;
		o.window_bytes = 0;
	}
	return err;
}

int main(int argc, char **argv)
{
	static const double ratios[] = { 0.25, 0.5, 1, 2, 4, 8 };
	static struct sweep w = { .window = 64u << 20, .rounds = 7,
				  .ops = 30000, .random = 88172645463325252u };
	FILE *out;
	int err;

	if (argc < 3)
		return 2;
	if (argc > 3) {
		w.window = 16u << 20;
		w.rounds = 3;
		w.ops = 3000;
	}
	out = fopen(argv[2], "we");
	if (!out)
		return 1;
	err = prepare(&w, argv[1]);
	fprintf(out, "{ \"window_bytes\": %zu, \"results\": [\n", w.window);
	for (unsigned i = 0; !err && i < PATTERNS * 6; i++) {
		fputs(i ? ",\n" : "", out);
		if (i / 6 == OVERWRITE) /* 20 times as slow as a read */
			w.ops /= i % 6 ? 1 : 6;
		err = point(&w, (enum pattern)(i / 6), ratios[i % 6], out);
	}
	fputs("\n] }\n", out);
	fclose(out);
	for (unsigned i = 0; i < NATIVE; i++) {
		if (w.f[i])
			oriel_close(w.f[i]);
		if (w.s[i])
			oriel_disconnect(w.s[i]);
	}
	if (err)
		fprintf(stderr, "sweep: %s\n", oriel_strerror(err));
	return err ? 1 : 0;
}
