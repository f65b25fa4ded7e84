/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The report of oriel bench: a table and the verdict, of 79 columns, or JSON.
 */
#include "bench.h"

#include <stdio.h>
#include <string.h>

#include "fmt.h"
#include "json.h"

#define COLUMNS 78u
#define NAME_COLUMNS 22

static bool is_good(const struct bench_result *r)
{
	return !r->err && !r->skip;
}

/* ----------------------------------------------------------------- text */

/* A paragraph of words. */
struct paragraph {
	unsigned indent; /* of all lines but the first */
	unsigned at;     /* column */
};

static void put_words(struct paragraph *p, const char *text)
{
	while (*text) {
		size_t n = strcspn(text, " ");

		if (p->at > p->indent && p->at + 1 + n > COLUMNS) {
			printf("\n%*s", (int)p->indent, "");
			p->at = p->indent;
		} else if (p->at > p->indent) {
			putchar(' ');
			p->at++;
		}
		printf("%.*s", (int)n, text);
		p->at += (unsigned)n;
		text += n + strspn(text + n, " ");
	}
}

/* "4.5x", "0.013x": digits that count. */
static char *ratio(double v, char buf[FMT_LEN])
{
	snprintf(buf, FMT_LEN, v >= 10 ? "%.0fx" : v >= 1 ? "%.1fx" :
		 v >= 0.1 ? "%.2fx" : v >= 0.01 ? "%.3fx" : "%.4fx", v);
	return buf;
}

static char *rate(const struct bench_result *x, char buf[FMT_LEN])
{
	char num[FMT_LEN];

	if (x->bc->bytes && x->bc->once != ONCE_A_RANGE)
		fmt_bytes((double)x->bc->bytes * 1e9 / x->r[0].ns, num);
	else
		fmt_count(1e9 / x->r[0].ns, num);
	snprintf(buf, FMT_LEN, "%.*s/s", FMT_LEN - 4, num);
	return buf;
}

static void print_row(const struct bench_result *x)
{
	char ns[FMT_LEN], p99[FMT_LEN], per_s[FMT_LEN], bare[FMT_LEN] = "-";
	char native[FMT_LEN] = "-", speed[FMT_LEN] = "-";

	printf("%-*s", NAME_COLUMNS, x->bc->text);
	if (x->err) {
		printf("  failed: %s\n", oriel_strerror(x->err));
		return;
	}
	if (x->skip) {
		printf("  not measured: %s\n", x->skip);
		return;
	}
	if (x->has_bare)
		fmt_ns(x->r[BENCH_BARE].ns, bare);
	if (x->has_native) {
		fmt_ns(x->r[BENCH_NATIVE].ns, native);
		ratio(x->r[0].speed, speed);
	}
	printf(" %9s %9s %10s %8s %8s %7s\n", fmt_ns(x->r[0].ns, ns),
	       fmt_ns(x->tail[0].p99_ns, p99), rate(x, per_s), bare, native,
	       speed);
}

/* "Fast:" and what follows, in six columns. */
static unsigned put_grade(const struct bench_report *r, enum bench_grade grade)
{
	static const char *const names[BENCH_GRADES] = {
		[BENCH_FAST] = "Fast:", [BENCH_FAIR] = "Fair:",
		[BENCH_SLOW] = "Slow:",
	};
	static const char *const colors[BENCH_GRADES] = {
		[BENCH_FAST] = "32", [BENCH_FAIR] = "33", [BENCH_SLOW] = "31",
	};

	if (cli_color(r->b->c))
		printf("\033[%sm%s\033[0m ", colors[grade], names[grade]);
	else
		printf("%s ", names[grade]);
	return 6;
}

static void print_grade(const struct bench_report *r,
			const struct bench_verdict *v, enum bench_grade grade)
{
	struct paragraph p = { .indent = 6 };
	char word[160], num[FMT_LEN];

	for (size_t i = 0; i < r->n_results; i++) {
		const struct bench_result *x = &r->results[i];

		if (v->grades[i] != grade)
			continue;
		if (!p.at)
			p.at = put_grade(r, grade);
		else
			p.at += (unsigned)printf(";");
		if (x->has_native)
			ratio(x->r[0].speed, num);
		else
			fmt_ns(x->r[0].ns, num);
		snprintf(word, sizeof(word), "%s (%s)", x->bc->text, num);
		put_words(&p, word);
	}
	if (p.at)
		putchar('\n');
}

static void print_verdict(const struct bench_report *r,
			  const struct bench_verdict *v)
{
	struct paragraph p = { 0 };

	put_words(&p, v->headline);
	printf("\n");
	for (int g = BENCH_FAST; g < BENCH_GRADES; g++)
		print_grade(r, v, (enum bench_grade)g);
	if (v->n_reasons)
		puts("\nWhat limits, and what to do:");
	else
		puts("\nNothing stands out that would make it faster.");
	for (unsigned i = 0; i < v->n_reasons; i++) {
		p = (struct paragraph){ .indent = 3 };
		p.at = (unsigned)printf("%u. ", i + 1);
		put_words(&p, v->reasons[i].text);
		putchar('\n');
	}
}

static bool any_native(const struct bench_report *r)
{
	for (size_t i = 0; i < r->n_results; i++)
		if (is_good(&r->results[i]) && r->results[i].has_native)
			return true;
	return false;
}

static void print_legend(const struct bench_report *r)
{
	struct paragraph p = { 0 };

	putchar('\n');
	put_words(&p, "time: of one, median of the rounds; p99: 99 of 100 "
		  "take less; memcpy: the bare copy out of the window;");
	put_words(&p, any_native(r) ?
		  "native: by a system call on the same file; speed: native / "
		  "time, in turns (1x: the same; more is faster)." :
		  "native: not known, as this machine has no directory that "
		  "is the share (--native=DIR tells of one).");
	puts("\n");
}

void bench_print(const struct bench_report *r, const struct bench_verdict *v)
{
	char size[FMT_LEN], slice[FMT_LEN];

	cli_print_name(r->b->share);
	if (!r->facts.why_not_read)
		printf(": a file of %s",
		       fmt_bytes((double)r->facts.size, size));
	printf(", %llu name%s, %u rounds of %s each\n\n",
	       (unsigned long long)r->b->n_names,
	       r->b->n_names == 1 ? "" : "s", r->b->me.rounds,
	       fmt_ns((double)r->b->me.slice_ns, slice));
	printf("%-*s %9s %9s %10s %8s %8s %7s\n", NAME_COLUMNS, "", "time",
	       "p99", "rate", "memcpy", "native", "speed");
	for (size_t i = 0; i < r->n_results; i++)
		print_row(&r->results[i]);
	print_legend(r);
	print_verdict(r, v);
}

/* ----------------------------------------------------------------- JSON */

static void add_times(cJSON *obj, const char *prefix, const struct result *r,
		      const struct tail *t)
{
	char key[64];

	snprintf(key, sizeof(key), "%slatency_ns", prefix);
	cJSON_AddNumberToObject(obj, key, r->ns);
	snprintf(key, sizeof(key), "%slatency_round_p10_ns", prefix);
	cJSON_AddNumberToObject(obj, key, r->p10);
	snprintf(key, sizeof(key), "%slatency_round_p90_ns", prefix);
	cJSON_AddNumberToObject(obj, key, r->p90);
	if (!t)
		return;
	snprintf(key, sizeof(key), "%slatency_p50_ns", prefix);
	cJSON_AddNumberToObject(obj, key, t->p50_ns);
	snprintf(key, sizeof(key), "%slatency_p99_ns", prefix);
	cJSON_AddNumberToObject(obj, key, t->p99_ns);
}

static void add_numbers(cJSON *obj, const struct bench_result *x)
{
	const struct result *r = &x->r[0];

	add_times(obj, "", r, &x->tail[0]);
	cJSON_AddNumberToObject(obj, "operations_per_s", 1e9 / r->ns);
	if (x->bc->bytes)
		cJSON_AddNumberToObject(obj, "throughput_bytes_per_s",
					(double)x->bc->bytes * 1e9 / r->ns);
	cJSON_AddNumberToObject(obj, "cpu_us", r->cpu_us);
	cJSON_AddNumberToObject(obj, "daemon_cpu_us", r->daemon_us);
	json_add_u64(obj, "requests", x->requests);
	json_add_u64(obj, "sleeps", x->sleeps);
	if (x->has_native) {
		add_times(obj, "native_", &x->r[BENCH_NATIVE],
			  &x->tail[BENCH_NATIVE]);
		cJSON_AddNumberToObject(obj, "speed_vs_native_ratio",
					r->speed);
	}
	if (x->has_bare) {
		add_times(obj, "memcpy_", &x->r[BENCH_BARE], NULL);
		cJSON_AddNumberToObject(obj, "over_memcpy_ns", r->extra_ns);
	}
}

static cJSON *json_result(const struct bench_result *x, enum bench_grade grade)
{
	cJSON *obj = cJSON_CreateObject();

	cJSON_AddStringToObject(obj, "name", x->bc->key);
	json_add_u64(obj, "operation_bytes", x->bc->bytes);
	if (x->skip)
		cJSON_AddStringToObject(obj, "skipped", x->skip);
	else if (x->err)
		cJSON_AddStringToObject(obj, "error", oriel_strerror(x->err));
	if (is_good(x))
		add_numbers(obj, x);
	if (grade)
		cJSON_AddStringToObject(obj, "grade", bench_grade_name(grade));
	return obj;
}

static void add_facts(cJSON *obj, const struct bench_report *r)
{
	const struct oriel_info *i = &r->facts.info;

	cJSON_AddBoolToObject(obj, "dax", i->dax);
	json_add_name(obj, "dax_why_not", i->dax_why);
	json_add_u64(obj, "file_size_bytes", r->facts.size);
	json_add_u64(obj, "directory_entries", r->b->n_names);
	json_add_u64(obj, "rounds", r->b->me.rounds);
	json_add_u64(obj, "slice_ns", r->b->me.slice_ns);
	json_add_u64(obj, "window_bytes", i->window_bytes);
	json_add_u64(obj, "window_read_bytes", i->window_read_bytes);
	json_add_u64(obj, "held_read_bytes", i->held_read_bytes);
	json_add_u64(obj, "message_read_bytes", i->message_read_bytes);
	json_add_u64(obj, "held_files", i->held_files);
	json_add_u64(obj, "processors", r->facts.cpus);
	if (r->facts.huge_percent >= 0)
		json_add_u64(obj, "huge_pages_percent",
			     (uint64_t)r->facts.huge_percent);
}

void bench_print_json(struct cli *c, const struct bench_report *r,
		      const struct bench_verdict *v)
{
	cJSON *obj = json_report(c), *list, *one;

	json_add_name(obj, "share", r->b->share);
	add_facts(obj, r);
	list = cJSON_AddArrayToObject(obj, "tests");
	for (size_t i = 0; i < r->n_results; i++)
		cJSON_AddItemToArray(list, json_result(&r->results[i],
						       v->grades[i]));
	json_add_name(obj, "verdict", v->headline);
	list = cJSON_AddArrayToObject(obj, "reasons");
	for (unsigned i = 0; i < v->n_reasons; i++) {
		one = cJSON_CreateObject();
		cJSON_AddStringToObject(one, "code", v->reasons[i].code);
		json_add_name(one, "text", v->reasons[i].text);
		cJSON_AddItemToArray(list, one);
	}
	json_print(c, obj);
}
