/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel bench: how fast a share is, beside system calls on the same files where
 * this machine has them, and what limits it, in words. All ways take turns
 * within every round, so that whatever else the machine does hits all; what is
 * compared is the ratio within a round, and of those the median.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "conn.h"

#define SECONDS 50.0 /* and what making the files takes: a minute */
#define ROUNDS 15u
#define QUICK_SECONDS 2.0
#define QUICK_ROUNDS 5u
#define SIZE_BYTES ((uint64_t)64 << 20)
#define SIZE_MAX_BYTES ((uint64_t)1 << 62)

struct bench_opts {
	uint32_t time_ms;
	uint64_t size;
	int json;
	int quick;
	int no_native;
	const char *native;
	const char *cases;
};

#define AT(field) offsetof(struct bench_opts, field)

static const struct opt bench_options[] = {
	{ 't', "seconds", OPT_SECONDS, AT(time_ms), 0, "SECONDS",
	  "measure for about this long (default: 50)" },
	{ 0, "time", OPT_SECONDS, AT(time_ms), 0, "SECONDS", "the same" },
	{ 'q', "quick", OPT_FLAG, AT(quick), 1, NULL,
	  "for 2 seconds, in 5 rounds in place of 15" },
	{ 's', "size", OPT_SIZE, AT(size), 0, "SIZE",
	  "of the file, or the part used of it (default: 64M)" },
	{ 0, "cases", OPT_STR, AT(cases), 0, "NAME,...",
	  "only these: names as in --json, or how they begin" },
	{ 0, "native", OPT_STR, AT(native), 0, "DIR",
	  "where this machine has what a socket shares" },
	{ 0, "no-native", OPT_FLAG, AT(no_native), 1, NULL,
	  "no comparison with system calls" },
	{ 0, "json", OPT_FLAG, AT(json), 1, NULL, "one JSON object" },
	{ 0 },
};

/* ---------------------------------------------------------------- cases */

static bool choose(bool want[BENCH_CASES_MAX], const char *name, size_t len)
{
	bool any = false;

	for (size_t i = 0; len && i < bench_n_cases; i++)
		if (strncmp(bench_cases[i].key, name, len) == 0)
			any = want[i] = true;
	return any;
}

static int unknown_case(struct cli *c, const char *name, size_t len)
{
	const char *names[BENCH_CASES_MAX], *near;
	char word[64], all[512] = "";

	snprintf(word, sizeof(word), "%.*s", (int)len, name);
	for (size_t i = 0; i < bench_n_cases; i++) {
		names[i] = bench_cases[i].key;
		strcat(strcat(all, i ? ", " : ""), names[i]);
	}
	near = opts_nearest(word, names, bench_n_cases);
	if (near)
		return cli_usage(c, "--cases: no case '%s'; did you mean "
				 "'%s'?", word, near);
	return cli_usage(c, "--cases: no case '%s'; there are %s", word, all);
}

static int parse_cases(struct cli *c, const char *list,
		       bool want[BENCH_CASES_MAX])
{
	for (size_t i = 0; i < bench_n_cases; i++)
		want[i] = !list;
	while (list) {
		size_t len = strcspn(list, ",");

		if (!choose(want, list, len))
			return unknown_case(c, list, len);
		list = list[len] ? list + len + 1 : NULL;
	}
	return 0;
}

/* --------------------------------------------------------------- native */

/* Where this machine has the share: as told, or the share itself. */
static int find_native(struct bench *b, const struct bench_opts *o)
{
	struct stat st;

	b->native_given = o->native && !o->no_native;
	if (o->no_native)
		return 0;
	if (!o->native && (stat(b->share, &st) || !S_ISDIR(st.st_mode)))
		return 0;
	b->native_root = o->native ? o->native : b->share;
	b->native_fd = open(b->native_root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (b->native_fd >= 0)
		return 0;
	if (b->native_given) {
		cli_error(b->c, o->native, "%s", oriel_strerror(-errno));
		return -errno;
	}
	b->native_root = NULL;
	return 0;
}

/* -------------------------------------------------------------- one run */

static void report(struct bench *b, const struct bench_opts *o,
		   const struct bench_report *rep)
{
	struct bench_verdict v;

	bench_judge(rep, &v);
	for (size_t i = 0; i < rep->n_results; i++)
		if (rep->results[i].err)
			b->c->status = CLI_FAILED;
	if (o->json)
		bench_print_json(b->c, rep, &v);
	else
		bench_print(rep, &v);
}

static int measure_and_report(struct bench *b, const struct bench_opts *o)
{
	double seconds = o->time_ms ? o->time_ms / 1000.0 :
			 o->quick ? QUICK_SECONDS : SECONDS;
	struct bench_result res[BENCH_CASES_MAX];
	struct bench_report rep = { .b = b, .results = res };
	int err;

	b->me.rounds = o->quick ? QUICK_ROUNDS : ROUNDS;
	err = bench_run_cases(b, seconds, res, &rep.n_results);
	if (!err)
		err = bench_learn(b, &rep.facts);
	bench_say(b, NULL);
	if (!err)
		report(b, o, &rep);
	return err;
}

bool bench_is_dead(int err)
{
	return err == -ENOTCONN || err == -EPROTO || err == -ETIMEDOUT;
}

static void fail(struct bench *b, const struct addr *a, int err)
{
	if (cli_signal())
		b->c->status = CLI_FAILED;
	else if (err == -ENODATA)
		cli_error(b->c, a->text, "shorter than 1 MiB, which is too "
			  "little to measure");
	else if (err == -EINVAL)
		cli_error(b->c, a->text, "neither a file nor a directory");
	else if (err == -EXDEV)
		cli_error(b->c, b->native_root, "this is not the directory "
			  "that the share shows");
	else if (err == -ENOSPC && b->space_text[0])
		cli_error(b->c, a->text, "%s", b->space_text);
	else if (bench_is_dead(err))
		cli_error(b->c, a->text, "the daemon was lost in '%s': %s (%s)",
			  b->progress.text, oriel_strerror(err),
			  oriel_session_error(b->s));
	else
		cli_fail(b->c, b->s, a->text, err);
	if (bench_is_dead(err))
		b->dead = err;
}

/* Each object that is freed would wait for the daemon once more. */
static void leave(struct bench *b)
{
	fflush(NULL);
	if (cli_signal()) {
		signal(cli_signal(), SIG_DFL);
		raise(cli_signal());
	}
	_exit(b->c->status);
}

static void run_scene(struct bench *b, const struct bench_opts *o,
		     const struct addr *a)
{
	int err;

	bench_say(b, "making files");
	err = bench_scene_open(b, a->path, o->size ? o->size : SIZE_BYTES);
	if (!err)
		err = measure_and_report(b, o);
	bench_say(b, NULL);
	if (err)
		fail(b, a, err);
	bench_scene_close(b);
	if (b->dead == -ETIMEDOUT)
		leave(b);
}

static void bench_one(struct cli *c, struct oriel_session *s,
		      const struct addr *a, const void *opts)
{
	const struct bench_opts *o = opts;
	struct bench b = {
		.c = c, .share = a->share, .s = s, .fd = -1, .grow_fd = -1,
		.native_fd = -1,
		.progress = { .on = cli_is_tty(STDERR_FILENO),
			      .width = cli_width(STDERR_FILENO) },
	};

	(void)parse_cases(c, o->cases, b.want);
	if (find_native(&b, o))
		return;
	if (posix_memalign((void **)&b.buf, 4096, BENCH_BUF_BYTES) != 0)
		b.buf = NULL;
	b.samples = calloc(BENCH_SAMPLES, sizeof(*b.samples));
	cli_catch_signals();
	bench_catch_faults();
	if (b.buf && b.samples)
		run_scene(&b, o, a);
	else
		cli_fail(c, s, a->text, -ENOMEM);
	if (b.native_fd >= 0)
		close(b.native_fd);
	free(b.samples);
	free(b.buf);
}

static int bench_run(struct cli *c, const void *opts)
{
	const struct bench_opts *o = opts;
	bool want[BENCH_CASES_MAX];

	if (o->size && o->size < BENCH_BUF_BYTES)
		return cli_usage(c, "--size: at least 1M");
	if (o->size > SIZE_MAX_BYTES)
		return cli_usage(c, "--size: at most 4E");
	if (o->native && o->no_native)
		return cli_usage(c, "--native and --no-native: only one");
	if (parse_cases(c, o->cases, want))
		return CLI_USAGE;
	return conn_each(c, bench_one, opts);
}

const struct command cmd_bench = {
	.name = "bench",
	.operands = "[OPTION...] SHARE[:PATH]",
	.summary = "Measure a share, and say what limits it",
	.text = "Takes a minute. Makes files in a new directory at PATH and "
		"removes them, also\nwhen interrupted. A PATH that is a file, "
		"or where nothing can be made, is\nmeasured by reading only. "
		"Where this machine has the share as a directory, the\nsame is "
		"done by system calls, in turns. Ends with what is fast, what "
		"is slow,\nthe likely reason, and what to do about it.\n",
	.examples = "  oriel bench /srv/data\n"
		    "  oriel bench --quick --native=/srv/data /run/vm.sock\n"
		    "  oriel bench --cases=read,stat --dax=never /srv/data\n"
		    "  oriel bench --json /run/vm.sock:tmp | jq .verdict\n",
	.opts = bench_options,
	.opts_size = sizeof(struct bench_opts),
	.min_args = 1,
	.max_args = 1,
	.flags = CMD_CONNECTS,
	.run = bench_run,
};
