/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The verdict of oriel bench on numbers that are made up, statistics, and that
 * what is opened past the share stays in it.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "bench.h"

static void medians(void **state)
{
	double odd[] = { 5, 1, 3 }, even[] = { 4, 1, 3, 2 };

	assert_true(quantile(odd, 3, 0.5) == 3);
	assert_true(quantile(even, 4, 0.5) == 2.5);
}

static void percentiles(void **state)
{
	uint32_t v[200];

	for (uint32_t i = 0; i < 200; i++)
		v[i] = i + 1;
	assert_int_equal(percentile(v, 200, 50), 100);
	assert_int_equal(percentile(v, 200, 99), 198);
	assert_int_equal(percentile(v, 200, 100), 200);
	assert_int_equal(percentile(v, 1, 50), 1);
	assert_int_equal(percentile(v, 1, 99), 1);
	assert_int_equal(percentile(v, 3, 50), 2);
}

/* -------------------------------------------------------------- verdict */

static const struct bench_case *case_of(const char *key)
{
	for (size_t i = 0; i < bench_n_cases; i++)
		if (strcmp(bench_cases[i].key, key) == 0)
			return &bench_cases[i];
	fail_msg("no case %s", key);
	return NULL;
}

enum { READ, OVERWRITE, TOUCH, FIRST, STAT, LIST, N };

struct made_up {
	struct bench_result res[N];
	struct bench_report rep;
	struct bench_verdict v;
};

static void set(struct bench_result *x, const char *key, double ns,
		double speed)
{
	*x = (struct bench_result){ .bc = case_of(key), .has_native = true };
	x->r[0] = (struct result){ .ns = ns, .p10 = ns * 0.95, .p90 = ns * 1.1,
				   .speed = speed, .cpu_us = ns / 1000 };
	x->r[1].ns = ns * speed;
}

/* A share with nothing to mend. */
static void make_up(struct made_up *m)
{
	struct oriel_info *i = &m->rep.facts.info;

	memset(m, 0, sizeof(*m));
	set(&m->res[READ], "read_4k_random", 200, 2.5);
	m->res[READ].window_bytes = 1 << 30;
	set(&m->res[OVERWRITE], "overwrite_4k_random", 300, 4);
	set(&m->res[TOUCH], "first_touch_4k", 6000, 0.9);
	set(&m->res[FIRST], "first_read_1m", 60000, 0.95);
	set(&m->res[STAT], "stat", 1000, 0.87);
	m->res[STAT].requests = 1000000;
	set(&m->res[LIST], "readdir", 30000, 0.6);
	m->res[LIST].requests = 10000;
	i->dax = 1;
	i->window_bytes = (uint64_t)1 << 30;
	i->held_files = 1;
	m->rep.results = m->res;
	m->rep.n_results = N;
	m->rep.facts.size = 64 << 20;
	m->rep.facts.cpus = 2;
	m->rep.facts.huge_percent = 100;
}

static const char *judge(struct made_up *m, const char *code)
{
	bench_judge(&m->rep, &m->v);
	for (unsigned i = 0; i < m->v.n_reasons; i++)
		if (strcmp(m->v.reasons[i].code, code) == 0)
			return m->v.reasons[i].text;
	return NULL;
}

static void assert_says(struct made_up *m, const char *code, const char *what)
{
	const char *text = judge(m, code);

	if (!text || !strstr(text, what))
		fail_msg("%s: '%s' is not in '%s'", code, what,
			 text ? text : "(not said)");
}

static void nothing_to_mend(void **state)
{
	struct made_up m;

	make_up(&m);
	assert_null(judge(&m, ""));
	assert_int_equal(m.v.n_reasons, 0);
	assert_string_equal(m.v.headline, "DAX is on: 100 % of the bytes read "
			    "came through the window.");
	assert_int_equal(m.v.grades[READ], BENCH_FAST);
	assert_int_equal(m.v.grades[STAT], BENCH_FAST);
	assert_int_equal(m.v.grades[LIST], BENCH_FAIR);
}

static void grades(void **state)
{
	struct made_up m;

	make_up(&m);
	m.res[STAT].r[0].speed = 0.4;
	m.res[READ].skip = "why";
	m.res[OVERWRITE].err = -EIO;
	judge(&m, "");
	assert_int_equal(m.v.grades[STAT], BENCH_SLOW);
	assert_int_equal(m.v.grades[READ], BENCH_UNJUDGED);
	assert_int_equal(m.v.grades[OVERWRITE], BENCH_UNJUDGED);

	/* alone: by what it takes */
	make_up(&m);
	for (int i = 0; i < N; i++)
		m.res[i].has_native = false;
	m.res[STAT].r[0].ns = 40000;
	m.res[OVERWRITE].r[0].ns = 2000;
	judge(&m, "");
	assert_int_equal(m.v.grades[STAT], BENCH_SLOW);
	assert_int_equal(m.v.grades[READ], BENCH_FAST);
	assert_int_equal(m.v.grades[OVERWRITE], BENCH_FAIR);
	assert_int_equal(m.v.grades[LIST], BENCH_UNJUDGED);
}

static void no_window(void **state)
{
	struct made_up m;

	make_up(&m);
	m.rep.facts.info.dax = 0;
	strcpy(m.rep.facts.info.dax_why, "the moon is full");
	m.res[READ].r[0].ns = 8000;
	assert_says(&m, "no_window", "the moon is full");
	assert_says(&m, "no_window", "8 us for 4 KiB");
	assert_says(&m, "no_window", "unless it runs with --window=0");
	assert_string_equal(m.v.headline, "DAX is OFF: the moon is full.");
	m.rep.facts.asked_never = true;
	assert_says(&m, "no_window", "Leave it out");
}

static void window_smaller_than_the_set(void **state)
{
	struct made_up m;

	make_up(&m);
	m.rep.facts.info.window_bytes = 16 << 20;
	m.res[READ].window_bytes = 25;
	m.res[READ].held_bytes = 75;
	assert_says(&m, "small_window", "The window (16 MiB) is smaller than "
		    "the file (64 MiB): 25 % of the bytes");
	assert_says(&m, "small_window", "a larger --window of orield");
	assert_non_null(strstr(m.v.headline, "75 % by system calls"));
	assert_null(judge(&m, "no_descriptors"));
	m.rep.facts.window_given = true;
	assert_says(&m, "small_window", "without the option");

	/* and nothing to read the rest with */
	m.rep.facts.info.held_files = 0;
	m.res[READ].held_bytes = 0;
	m.res[READ].message_bytes = 75;
	assert_says(&m, "no_descriptors", "(75 % of the bytes)");
}

static void window_that_does_not_serve(void **state)
{
	struct made_up m;

	make_up(&m);
	m.res[READ].message_bytes = m.res[READ].window_bytes;
	assert_says(&m, "passed_by", "only 50 %");
	m.rep.facts.info.setups = 3;
	m.rep.facts.info.setup_errors = 5;
	assert_says(&m, "refused", "refused to map 5 ranges of 8");
	assert_null(judge(&m, "passed_by"));
}

static void small_folios(void **state)
{
	struct made_up m;

	make_up(&m);
	m.rep.facts.huge_percent = 0;
	assert_null(judge(&m, "small_folios")); /* and fast all the same */
	m.res[TOUCH].r[0].ns = 80000;
	assert_says(&m, "small_folios", "'first touch of 2 MiB' takes 80 us, "
		    "and 0 % of the file");
	m.res[TOUCH].r[0].ns = 6000;
	m.res[FIRST].r[0].speed = 0.6;
	assert_says(&m, "small_folios", "'first read, 1 MiB' takes 60 us");
	m.rep.facts.huge_percent = 100;
	assert_null(judge(&m, "small_folios"));
	m.rep.facts.huge_percent = -1;
	assert_null(judge(&m, "small_folios"));
}

static void messages(void **state)
{
	struct made_up m;

	make_up(&m);
	m.res[STAT].r[0].speed = 0.1;
	m.res[STAT].r[0].ns = 12000;
	m.res[STAT].r[1].ns = 1200;
	assert_says(&m, "messages", "'stat' takes 12 us, against 1.20 us");
	assert_null(judge(&m, "sleeps"));
	m.res[STAT].sleeps = 900000;
	assert_says(&m, "sleeps", "89 % of the waits");
}

static void processors(void **state)
{
	struct made_up m;

	make_up(&m);
	m.rep.facts.cpus = 1;
	assert_says(&m, "one_processor", "take turns");
	m.rep.facts.cpus = 2;
	assert_null(judge(&m, "one_processor"));
	m.res[READ].r[0].cpu_us = m.res[READ].r[0].ns / 1000 * 0.6;
	assert_says(&m, "contention", "ran 60 % of the time");
	assert_null(judge(&m, "unsteady"));
	make_up(&m);
	m.res[STAT].tail[0].p99_ns = 300;
	assert_says(&m, "contention", "'stat' takes 1 us, although 99 of "
		    "100 take less than 300 ns");
	make_up(&m);
	m.res[STAT].r[0].p90 = 4 * m.res[STAT].r[0].p10;
	assert_says(&m, "unsteady", "'stat' differ 4.0 times");
}

static void nothing_to_read(void **state)
{
	struct made_up m;

	make_up(&m);
	m.rep.facts.why_not_read = "there is none";
	assert_says(&m, "no_file", "there is none");
	m.rep.n_results = 0;
	judge(&m, "");
	assert_string_equal(m.v.headline, "DAX is on.");
}

/* ---------------------------------------------------------- past the share */

static void links_lead_nowhere(void **state)
{
	char names[][16] = { "/dir/in", "up", "abs", "out/file" };
	struct spot in = { .share = names[0] }, up = { .share = names[1] };
	struct spot abs = { .share = names[2] }, dir = { .share = names[3] };
	struct bench b = { 0 };
	int fd;

	assert_int_equal(mkdir("root", 0700) | mkdir("root/dir", 0700) |
			 mkdir("outside", 0700), 0);
	close(open("outside/file", O_CREAT | O_WRONLY, 0600));
	close(open("root/dir/in", O_CREAT | O_WRONLY, 0600));
	assert_int_equal(symlink("../outside/file", "root/up") |
			 symlink("/etc/passwd", "root/abs") |
			 symlink("../outside", "root/out"), 0);
	b.native_fd = open("root", O_PATH | O_DIRECTORY);
	assert_true(b.native_fd >= 0);
	fd = bench_native_open(&b, &in, O_RDWR);
	if (fd == -ENOSYS || fd == -EPERM)
		skip(); /* no openat2() here */
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(bench_native_open(&b, &up, O_RDWR), -ELOOP);
	assert_int_equal(bench_native_open(&b, &abs, O_RDONLY), -ELOOP);
	assert_int_equal(bench_native_open(&b, &dir, O_RDWR), -ENOENT);
	assert_int_equal(bench_native_remove(&b, &dir, false), -ENOENT);
	assert_int_equal(access("outside/file", F_OK), 0);
	assert_int_equal(bench_native_remove(&b, &in, false), 0);
	assert_int_equal(access("root/dir/in", F_OK), -1);
	close(b.native_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(medians),
		cmocka_unit_test(percentiles),
		cmocka_unit_test(nothing_to_mend),
		cmocka_unit_test(grades),
		cmocka_unit_test(no_window),
		cmocka_unit_test(window_smaller_than_the_set),
		cmocka_unit_test(window_that_does_not_serve),
		cmocka_unit_test(small_folios),
		cmocka_unit_test(messages),
		cmocka_unit_test(processors),
		cmocka_unit_test(nothing_to_read),
		IN_TEMP_DIR(links_lead_nowhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
