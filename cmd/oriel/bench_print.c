/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The report of oriel bench: a table, a verdict in words, JSON.
 */
#include "bench.h"

#include <stdio.h>
#include <string.h>

#include "fmt.h"
#include "json.h"

static bool is_good(const struct bench_result *r)
{
	return !r->err && !r->skipped;
}

/* "1.3 times as fast as", "as fast as", "2.5 times slower than". */
static void in_words(double speed, char *buf, size_t len)
{
	if (speed >= 1.1)
		snprintf(buf, len, "%.1f times as fast as", speed);
	else if (speed > 0.9)
		snprintf(buf, len, "as fast as");
	else
		snprintf(buf, len, "%.1f times slower than", 1 / speed);
}

/* The result with the lowest or the highest speed against native. */
static const struct bench_result *extreme(const struct bench_report *r,
					  bool highest)
{
	const struct bench_result *best = NULL;

	for (size_t i = 0; i < r->n_results; i++) {
		const struct bench_result *x = &r->results[i];

		if (!is_good(x) || !x->has_native)
			continue;
		if (!best || (x->speed > best->speed) == highest)
			best = x;
	}
	return best;
}

void bench_verdict(const struct bench_report *r, char *buf, size_t len)
{
	const struct bench_result *best = extreme(r, true);
	const struct bench_result *worst = extreme(r, false);
	char dax[256], high[48], low[48];

	if (r->info.dax)
		snprintf(dax, sizeof(dax), "DAX is on");
	else
		snprintf(dax, sizeof(dax), "DAX is OFF (%s)", r->info.dax_why);
	if (!best) {
		snprintf(buf, len, "%s; there is no local view of this share "
			 "to compare with.", dax);
		return;
	}
	in_words(best->speed, high, sizeof(high));
	in_words(worst->speed, low, sizeof(low));
	snprintf(buf, len, "%s. At best (%s) %s the local file system; at "
		 "worst (%s) %s it.", dax, best->op->text, high,
		 worst->op->text, low);
}

static void print_row(const struct bench_result *x)
{
	char ns[FMT_LEN], p99[FMT_LEN], rate[FMT_LEN], native[FMT_LEN];
	char speed[32] = "-", bytes[FMT_LEN + 4] = "-";

	printf("%-22s", x->op->text);
	if (!is_good(x)) {
		printf(" %s\n", x->err ? oriel_strerror(x->err) :
			       "not measured: the file is not ours to write");
		return;
	}
	fmt_count(1e9 / x->ns, rate);
	if (x->op->bytes) {
		fmt_bytes((double)x->op->bytes * 1e9 / x->ns, ns);
		snprintf(bytes, sizeof(bytes), "%s/s", ns);
	}
	fmt_ns(x->ns, ns);
	fmt_ns(x->tail.p99_ns, p99);
	strcpy(native, "-");
	if (x->has_native) {
		fmt_ns(x->native_ns, native);
		snprintf(speed, sizeof(speed), "%.2fx", x->speed);
	}
	printf(" %9s %9s %8s %10s %9s %7s\n", ns, p99, rate, bytes, native,
	       speed);
}

static void print_window_part(const struct bench_report *r)
{
	const struct oriel_info *i = &r->info;
	double all = (double)i->window_read_bytes +
		     (double)i->message_read_bytes;

	if (i->dax && all > 0)
		printf("%.1f %% of the bytes read came through the window.\n",
		       100 * (double)i->window_read_bytes / all);
}

/* Words in lines of at most 78 columns. */
static void print_folded(const char *text)
{
	size_t at = 0;

	while (*text) {
		size_t n = strcspn(text, " ");

		if (at && at + 1 + n > 78) {
			putchar('\n');
			at = 0;
		} else if (at) {
			putchar(' ');
			at++;
		}
		printf("%.*s", (int)n, text);
		at += n;
		text += n + strspn(text + n, " ");
	}
	putchar('\n');
}

void bench_print(const struct bench_report *r)
{
	char size[FMT_LEN], slice[FMT_LEN], verdict[640];

	printf("Share %s, file of %s, %d rounds of %s each\n\n", r->b->share,
	       fmt_bytes((double)r->b->size, size), BENCH_ROUNDS,
	       fmt_ns((double)r->b->slice_ns, slice));
	printf("%-22s %9s %9s %8s %10s %9s %7s\n", "", "time", "p99", "per s",
	       "bandwidth", "native", "speed");
	for (size_t i = 0; i < r->n_results; i++)
		print_row(&r->results[i]);
	bench_verdict(r, verdict, sizeof(verdict));
	printf("\ntime: one operation, median of the rounds; p99: of single "
	       "operations;\nnative: time of the same by system calls; "
	       "speed: native / time, above 1 is faster\n\n");
	print_folded(verdict);
	print_window_part(r);
}

static cJSON *json_result(const struct bench_result *x)
{
	cJSON *obj = cJSON_CreateObject();

	cJSON_AddStringToObject(obj, "name", x->op->key);
	json_add_u64(obj, "operation_bytes", x->op->bytes);
	if (x->skipped)
		cJSON_AddStringToObject(obj, "skipped",
					"the file is not ours to write");
	else if (x->err)
		cJSON_AddStringToObject(obj, "error", oriel_strerror(x->err));
	if (!is_good(x))
		return obj;
	cJSON_AddNumberToObject(obj, "latency_ns", x->ns);
	cJSON_AddNumberToObject(obj, "latency_p50_ns", x->tail.p50_ns);
	cJSON_AddNumberToObject(obj, "latency_p99_ns", x->tail.p99_ns);
	cJSON_AddNumberToObject(obj, "operations_per_s", 1e9 / x->ns);
	if (x->op->bytes)
		cJSON_AddNumberToObject(obj, "throughput_bytes_per_s",
					(double)x->op->bytes * 1e9 / x->ns);
	if (x->has_native) {
		cJSON_AddNumberToObject(obj, "native_latency_ns",
					x->native_ns);
		cJSON_AddNumberToObject(obj, "native_latency_p50_ns",
					x->native_tail.p50_ns);
		cJSON_AddNumberToObject(obj, "native_latency_p99_ns",
					x->native_tail.p99_ns);
		cJSON_AddNumberToObject(obj, "speed_vs_native_ratio",
					x->speed);
	}
	return obj;
}

void bench_print_json(struct cli *c, const struct bench_report *r)
{
	cJSON *obj = json_report(c), *tests;
	char verdict[640];

	bench_verdict(r, verdict, sizeof(verdict));
	json_add_name(obj, "share", r->b->share);
	cJSON_AddBoolToObject(obj, "dax", r->info.dax);
	json_add_name(obj, "dax_why_not", r->info.dax_why);
	json_add_u64(obj, "file_size_bytes", r->b->size);
	json_add_u64(obj, "rounds", BENCH_ROUNDS);
	json_add_u64(obj, "slice_ns", r->b->slice_ns);
	json_add_u64(obj, "window_read_bytes", r->info.window_read_bytes);
	json_add_u64(obj, "message_read_bytes", r->info.message_read_bytes);
	tests = cJSON_AddArrayToObject(obj, "tests");
	for (size_t i = 0; i < r->n_results; i++)
		cJSON_AddItemToArray(tests, json_result(&r->results[i]));
	json_add_name(obj, "verdict", verdict);
	json_print(c, obj);
}
