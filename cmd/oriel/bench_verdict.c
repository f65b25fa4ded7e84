/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the numbers of oriel bench mean: each case is fast, fair or slow, and
 * what limits is told by reasons, each with the numbers it rests on and with
 * what to do. Pure: results and facts in, words out.
 */
#include "bench.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fmt.h"

#define FAST_SPEED 0.85  /* of native */
#define SLOW_SPEED 0.5
#define AWAY_SHARE 0.8   /* of the time a loop without messages runs */
#define SPREAD 2.0       /* slowest rounds to fastest ones */
#define STALLED 2.0      /* the mean to all but one in a hundred */
#define SLOW_TOUCH_NS 20000
#define FEW_HUGE_PERCENT 50
#define WINDOW_PERCENT 90
#define SLEEPY_PERCENT 50

static bool is_good(const struct bench_result *r)
{
	return !r->err && !r->skip;
}

/* The good result of @key, or NULL. */
static const struct bench_result *find(const struct bench_report *r,
				       const char *key)
{
	for (size_t i = 0; i < r->n_results; i++)
		if (strcmp(r->results[i].bc->key, key) == 0)
			return is_good(&r->results[i]) ? &r->results[i] : NULL;
	return NULL;
}

const char *bench_grade_name(enum bench_grade grade)
{
	static const char *const names[BENCH_GRADES] = {
		"unjudged", "fast", "fair", "slow",
	};

	return names[grade];
}

static enum bench_grade grade_of(const struct bench_result *x)
{
	if (!is_good(x))
		return BENCH_UNJUDGED;
	if (x->has_native && x->r[0].speed > 0)
		return x->r[0].speed >= FAST_SPEED ? BENCH_FAST :
		       x->r[0].speed >= SLOW_SPEED ? BENCH_FAIR : BENCH_SLOW;
	if (x->bc->alone.fast_ns <= 0)
		return BENCH_UNJUDGED;
	return x->r[0].ns <= x->bc->alone.fast_ns ? BENCH_FAST :
	       x->r[0].ns < x->bc->alone.slow_ns ? BENCH_FAIR : BENCH_SLOW;
}

CLI_PRINTF(3, 4)
static void say(struct bench_verdict *v, const char *code, const char *fmt, ...)
{
	struct bench_reason *re = &v->reasons[v->n_reasons];
	va_list ap;

	if (v->n_reasons == BENCH_REASONS_MAX)
		return;
	re->code = code;
	va_start(ap, fmt);
	vsnprintf(re->text, sizeof(re->text), fmt, ap);
	va_end(ap);
	v->n_reasons++;
}

/* ------------------------------------------------------------ where from */

struct sources {
	double all;
	double window;
	double held;
	double message;
};

static struct sources sources_of(const struct bench_report *r)
{
	struct sources s = { 0 };

	for (size_t i = 0; i < r->n_results; i++) {
		const struct bench_result *x = &r->results[i];

		/* First touches have a session of their own, and small files
		 * do not go through the window. */
		if (!is_good(x) || x->bc->once ||
		    !(x->bc->needs & NEEDS_DATA))
			continue;
		s.window += (double)x->window_bytes;
		s.held += (double)x->held_bytes;
		s.message += (double)x->message_bytes;
	}
	s.all = s.window + s.held + s.message;
	return s;
}

/* "100 % of the bytes read came through the window", and what did not. */
static void say_sources(const struct sources *s, char *to, size_t len)
{
	int n = snprintf(to, len, "DAX is on: %.0f %% of the bytes read came "
			 "through the window", 100 * s->window / s->all);

	if (s->held > 0 && n > 0 && (size_t)n < len)
		n += snprintf(to + n, len - (size_t)n, ", %.0f %% by system "
			      "calls with a descriptor that the daemon handed "
			      "over", 100 * s->held / s->all);
	if (s->message > 0 && n > 0 && (size_t)n < len)
		n += snprintf(to + n, len - (size_t)n, ", %.0f %% by message",
			      100 * s->message / s->all);
	if (n > 0 && (size_t)n < len)
		snprintf(to + n, len - (size_t)n, ".");
}

static void headline(const struct bench_report *r, struct bench_verdict *v)
{
	const struct oriel_info *i = &r->facts.info;
	struct sources s = sources_of(r);

	if (!i->dax)
		snprintf(v->headline, sizeof(v->headline), "DAX is OFF: %s.",
			 i->dax_why);
	else if (s.all > 0)
		say_sources(&s, v->headline, sizeof(v->headline));
	else
		snprintf(v->headline, sizeof(v->headline), "DAX is on.");
}

/* -------------------------------------------------------------- reasons */

static void judge_no_window(const struct bench_report *r,
			    struct bench_verdict *v)
{
	const struct bench_result *x = find(r, "read_4k_random");
	const struct oriel_info *i = &r->facts.info;
	char ns[FMT_LEN], cost[FMT_LEN + 48] = "";

	if (i->dax)
		return;
	if (x)
		snprintf(cost, sizeof(cost), ": %s for 4 KiB, in place of a "
			 "memory copy", fmt_ns(x->r[0].ns, ns));
	if (r->facts.asked_never)
		say(v, "no_window", "There is no window because --dax=never "
		    "was given, so every read is a message%s. Leave it out.",
		    cost);
	else
		say(v, "no_window", "There is no window: %s. So every read is "
		    "a message%s. orield has one unless it runs with "
		    "--window=0; QEMU's virtiofsd and virtiofsd have none.",
		    i->dax_why, cost);
}

static bool is_too_small(const struct bench_report *r)
{
	const struct oriel_info *i = &r->facts.info;

	return i->dax && r->facts.size > i->window_bytes;
}

static void judge_window(const struct bench_report *r, struct bench_verdict *v)
{
	char window[FMT_LEN], size[FMT_LEN];
	struct sources s = sources_of(r);

	fmt_bytes((double)r->facts.info.window_bytes, window);
	fmt_bytes((double)r->facts.size, size);
	if (is_too_small(r))
		say(v, "small_window", "The window (%s) is smaller than the "
		    "file (%s): %.0f %% of the bytes read came through it. "
		    "Make it hold what is used at the same time: %s.", window,
		    size, s.all > 0 ? 100 * s.window / s.all : 0,
		    r->facts.window_given ?
		    "a larger --window, or without the option" :
		    "a larger --window of orield");
	else if (r->facts.info.dax && r->facts.info.setup_errors)
		say(v, "refused", "The daemon refused to map %llu ranges of "
		    "%llu: what is in them is read by message. Its log tells "
		    "why.", (unsigned long long)r->facts.info.setup_errors,
		    (unsigned long long)(r->facts.info.setup_errors +
					 r->facts.info.setups));
	else if (r->facts.info.dax && s.all > 0 &&
		 100 * s.window < WINDOW_PERCENT * s.all)
		say(v, "passed_by", "The window (%s) would hold the file "
		    "(%s), but only %.0f %% of the bytes read came through "
		    "it: the file is too small for it (64 KiB), or the daemon "
		    "maps too slowly.", window, size, 100 * s.window / s.all);
}

static void judge_held(const struct bench_report *r, struct bench_verdict *v)
{
	struct sources s = sources_of(r);

	if (!is_too_small(r) || r->facts.info.held_files || s.message <= 0)
		return;
	say(v, "no_descriptors", "The daemon hands over no descriptors that "
	    "can be kept, so what the window does not serve (%.0f %% of the "
	    "bytes) is a message and not a system call. orield does, for "
	    "files on file systems with inode numbers of their own; raise "
	    "the limit of open files (ulimit -n) if it is low.",
	    100 * s.message / s.all);
}

/* Small pages matter where mapping them is slow. */
static void judge_folios(const struct bench_report *r, struct bench_verdict *v)
{
	const struct bench_result *touch = find(r, "first_touch_4k");
	const struct bench_result *read = find(r, "first_read_1m");
	const struct bench_result *x = NULL;
	int percent = r->facts.huge_percent;
	char ns[FMT_LEN];

	if (read && grade_of(read) != BENCH_FAST)
		x = read;
	if (touch && touch->r[0].ns >= SLOW_TOUCH_NS)
		x = touch;
	if (!x || percent < 0 || percent >= FEW_HUGE_PERCENT)
		return;
	say(v, "small_folios", "'%s' takes %s, and %d %% of the file is mapped "
	    "by huge pages: its page cache is in small pieces. File systems "
	    "with large folios (XFS, ext4 since Linux 6.16, tmpfs with "
	    "huge=always) have large ones for files that are written in "
	    "pieces of 2 MiB or more, at offsets that are multiples of it.",
	    x->bc->text, fmt_ns(x->r[0].ns, ns), percent);
}

/* The slow case that asks the daemon, of which the most is known. */
static const struct bench_result *slow_message(const struct bench_report *r,
					       const struct bench_verdict *v)
{
	for (size_t i = 0; i < r->n_results; i++)
		if (v->grades[i] == BENCH_SLOW && r->results[i].requests &&
		    !(r->results[i].bc->needs & NEEDS_DATA))
			return &r->results[i];
	return NULL;
}

static void judge_messages(const struct bench_report *r,
			   struct bench_verdict *v)
{
	const struct bench_result *x = slow_message(r, v);
	char ns[FMT_LEN], native[FMT_LEN], more[FMT_LEN + 48] = "";

	if (!x)
		return;
	if (x->has_native)
		snprintf(more, sizeof(more), ", against %s by a system call "
			 "here", fmt_ns(x->r[1].ns, native));
	say(v, "messages", "What asks the daemon costs a round trip: '%s' "
	    "takes %s%s. Keep files open instead of opening them again, list "
	    "directories with attributes instead of asking for each, gather "
	    "small appends (oriel_coalesce), or let paths be believed for a "
	    "while (path_ttl_ms).", x->bc->text,
	    fmt_ns(x->r[0].ns, ns), more);
}

static void judge_sleeps(const struct bench_report *r, struct bench_verdict *v)
{
	uint64_t requests = 0, sleeps = 0;

	for (size_t i = 0; i < r->n_results; i++) {
		if (!is_good(&r->results[i]))
			continue;
		requests += r->results[i].requests;
		sleeps += r->results[i].sleeps;
	}
	if (r->facts.cpus == 1 || requests < 100 ||
	    100 * sleeps < SLEEPY_PERCENT * requests)
		return;
	say(v, "sleeps", "%.0f %% of the waits for an answer ended in sleep, "
	    "and waking costs more than the answer. The daemon may be short "
	    "of processors, or does not poll (orield --poll-us).",
	    100 * (double)sleeps / (double)requests);
}

/* A loop through the window asks nobody: what it did not run, others did. */
static const struct bench_result *robbed(const struct bench_report *r)
{
	for (size_t i = 0; i < r->n_results; i++) {
		const struct bench_result *x = &r->results[i];

		if (is_good(x) && x->window_bytes && !x->requests &&
		    !x->held_bytes && !x->bc->once &&
		    x->r[0].cpu_us * 1000 < AWAY_SHARE * x->r[0].ns)
			return x;
	}
	return NULL;
}

static const struct bench_result *unsteady(const struct bench_report *r)
{
	const struct bench_result *worst = NULL;

	for (size_t i = 0; i < r->n_results; i++) {
		const struct bench_result *x = &r->results[i];

		if (is_good(x) && x->r[0].p90 > SPREAD * x->r[0].p10 &&
		    (!worst || x->r[0].p90 / x->r[0].p10 >
			       worst->r[0].p90 / worst->r[0].p10))
			worst = x;
	}
	return worst;
}

/* Nearly all are quick, and yet it takes long. */
static const struct bench_result *stalled(const struct bench_report *r)
{
	for (size_t i = 0; i < r->n_results; i++) {
		const struct bench_result *x = &r->results[i];

		if (is_good(x) && x->tail[0].p99_ns > 0 &&
		    x->r[0].ns > STALLED * x->tail[0].p99_ns)
			return x;
	}
	return NULL;
}

static bool judge_contention(const struct bench_report *r,
			     struct bench_verdict *v)
{
	const struct bench_result *x = robbed(r), *y = stalled(r);
	char ns[FMT_LEN], p99[FMT_LEN];

	if (x)
		say(v, "contention", "In '%s' this process ran %.0f %% of the "
		    "time, although it waits for nobody there: others used the "
		    "processor. Measure again when the machine is idle.",
		    x->bc->text, 100 * x->r[0].cpu_us * 1000 / x->r[0].ns);
	else if (y)
		say(v, "contention", "'%s' takes %s, although 99 of 100 take "
		    "less than %s: client or daemon lost the processor to "
		    "others now and then. Measure again when the machine is "
		    "idle.", y->bc->text, fmt_ns(y->r[0].ns, ns),
		    fmt_ns(y->tail[0].p99_ns, p99));
	return x || y;
}

static void judge_processors(const struct bench_report *r,
			     struct bench_verdict *v)
{
	const struct bench_result *x;

	if (r->facts.cpus == 1)
		say(v, "one_processor", "There is one processor to run on: "
		    "client and daemon take turns, and each message costs two "
		    "switches between them. Two processors (taskset, cpuset, "
		    "a larger virtual machine) let both run.");
	x = judge_contention(r, v) ? NULL : unsteady(r);
	if (x)
		say(v, "unsteady", "Rounds of '%s' differ %.1f times (tenth "
		    "to ninetieth percentile): the machine is busy, or its "
		    "clock changes. Ratios hold, times do not.", x->bc->text,
		    x->r[0].p90 / x->r[0].p10);
}

static void judge_scene(const struct bench_report *r, struct bench_verdict *v)
{
	if (r->facts.why_not_read)
		say(v, "no_file", "Reading was not measured: %s. Name one: "
		    "SHARE:FILE.", r->facts.why_not_read);
}

void bench_judge(const struct bench_report *r, struct bench_verdict *ret)
{
	*ret = (struct bench_verdict){ 0 };
	for (size_t i = 0; i < r->n_results; i++)
		ret->grades[i] = grade_of(&r->results[i]);
	headline(r, ret);
	judge_no_window(r, ret);
	judge_window(r, ret);
	judge_held(r, ret);
	judge_folios(r, ret);
	judge_messages(r, ret);
	judge_sleeps(r, ret);
	judge_processors(r, ret);
	judge_scene(r, ret);
}
