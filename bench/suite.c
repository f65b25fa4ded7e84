/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel-bench-suite: what the project measures about itself. Numbers, not
 * verdicts: it fails when something does not work, never when it is slow.
 */
#include "harness.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
	"Usage: oriel-bench-suite [OPTION...]\n"
	"  --quick       20 seconds instead of two minutes, less trustworthy\n"
	"  --only=CASE   this case only (read-64, stat, ...)\n"
	"  --rounds=N    rounds of each match, 9 to 101\n"
	"  --disk=DIR    scratch on a disk file system (/var/tmp)\n"
	"  --shm=DIR     scratch on tmpfs (/dev/shm)\n"
	"  --seconds=N   cases that have not begun by then are left out\n"
	"  --one         --disk only, and files in large pieces only\n"
	"  --out=DIR     where results.json and table.md go (.)\n";

/* Where, and with what kind of file. */
struct stop {
	const char *parent;
	enum layout layout;
	bool messages;
};

static int measure_at(struct suite *su, const struct stop *st)
{
	struct place p;
	int err = place_open(su, st->parent, st->layout, &p);

	if (err) {
		fprintf(stderr, "bench: %s: %s\n", st->parent,
			oriel_strerror(err));
		return err;
	}
	err = window_cases(&p);
	if (!err)
		err = touch_cases(&p);
	if (!err && st->layout == LAYOUT_HUGE)
		err = wait_cases(&p);
	if (!err && st->messages)
		err = message_cases(&p);
	place_close(&p);
	return err;
}

static int measure(struct suite *su)
{
	const struct stop stops[] = {
		{ su->disk_dir, LAYOUT_HUGE, true },
		{ su->disk_dir, LAYOUT_SMALL, false },
		{ su->shm_dir, LAYOUT_HUGE, true },
	};
	int err = 0;

	for (size_t i = 0; !err && i < (su->one ? 1 : ARRAY_LEN(stops)); i++)
		/* whoever ends us later has what there is */
		if (!is_over(su, "every case", stops[i].parent)) {
			err = measure_at(su, &stops[i]);
			if (!err)
				err = report_save(su->report);
		}
	return err;
}

static int parse_options(int argc, char **argv, struct suite *su)
{
	static const struct option longs[] = {
		{ "quick", no_argument, NULL, 'q' },
		{ "only", required_argument, NULL, 'c' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "disk", required_argument, NULL, 'd' },
		{ "shm", required_argument, NULL, 's' },
		{ "seconds", required_argument, NULL, 't' },
		{ "one", no_argument, NULL, '1' },
		{ "out", required_argument, NULL, 'o' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'q':
			su->rounds = 15;
			su->slice_ns = 4000000;
			su->file_bytes = MIB(64);
			break;
		case 'c':
			su->only = optarg;
			break;
		case 'r':
			su->rounds = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'd':
			su->disk_dir = optarg;
			break;
		case 's':
			su->shm_dir = optarg;
			break;
		case 't':
			su->end_ns = now_ns() +
				     strtoul(optarg, NULL, 10) * 1000000000u;
			break;
		case '1':
			su->one = true;
			break;
		case 'o':
			su->out_dir = optarg;
			break;
		default:
			return -EINVAL;
		}
	}
	if (optind < argc || su->rounds < 9 || su->rounds > ROUNDS_MAX)
		return -EINVAL;
	return 0;
}

int main(int argc, char **argv)
{
	struct suite su = {
		.disk_dir = "/var/tmp", .shm_dir = "/dev/shm", .out_dir = ".",
		.rounds = 41, .slice_ns = 8000000, .file_bytes = MIB(512),
	};
	int err;

	if (parse_options(argc, argv, &su)) {
		fputs(usage, stderr);
		return 2;
	}
	err = report_new(&su, &su.report);
	if (!err)
		err = measure(&su);
	if (!err)
		err = report_write(su.report);
	if (err)
		fprintf(stderr, "bench: %s\n", oriel_strerror(err));
	report_free(su.report);
	return err ? 1 : 0;
}
