/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel bench: how fast a share is, and against system calls on the same files
 * where the share is a directory. Both ways take turns within every round, so
 * that whatever else the machine does hits both; what is compared is the ratio
 * within a round, and of those the median.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "conn.h"

struct bench_opts {
	uint32_t time_ms;
	uint64_t size;
	int json;
	int no_native;
};

#define AT(field) offsetof(struct bench_opts, field)

static const struct opt bench_options[] = {
	{ 't', "time", OPT_SECONDS, AT(time_ms), 0, "SECONDS",
	  "measure for about this long (default: 15)" },
	{ 's', "size", OPT_SIZE, AT(size), 0, "SIZE",
	  "of the file that is made (default: 64M)" },
	{ 0, "no-native", OPT_FLAG, AT(no_native), 1, NULL,
	  "no comparison with system calls" },
	{ 0, "json", OPT_FLAG, AT(json), 1, NULL, "one JSON object" },
	{ 0 },
};

/* Where the share's @path is on this machine, when it is a directory. */
static char *native_of(const char *share, const char *path)
{
	struct stat st;

	if (stat(share, &st) < 0 || !S_ISDIR(st.st_mode))
		return NULL;
	return path_join(share, path + strspn(path, "/"));
}

static int fill_file(struct bench *b, uint64_t size)
{
	uint64_t *words = (uint64_t *)(void *)b->buf;
	int r;

	for (size_t i = 0; i < BENCH_BUF_BYTES / 8; i++)
		words[i] = i * 0x9e3779b97f4a7c15u;
	r = oriel_open(b->s, b->path, O_RDWR | O_CREAT | O_EXCL, 0600,
		       &b->file);
	if (r < 0)
		return r;
	while (b->size < size && !cli_signal()) {
		ssize_t n = oriel_pwrite(b->file, b->buf, BENCH_BUF_BYTES,
					 (off_t)b->size);

		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		b->size += (uint64_t)n;
	}
	return cli_signal() ? -EINTR : 0;
}

static int make_files(struct bench *b, const char *base, uint64_t size)
{
	int r;

	if (asprintf(&b->append_path, "%s.append", base) < 0) {
		b->append_path = NULL;
		return -ENOMEM;
	}
	b->path = strdup(base);
	if (!b->path)
		return -ENOMEM;
	r = fill_file(b, size);
	if (r < 0)
		return r;
	return oriel_open(b->s, b->append_path, O_RDWR | O_CREAT | O_EXCL,
			  0600, &b->append);
}

/* A file that is there already is only read. */
static int use_file(struct bench *b, const char *path,
		    const struct oriel_stat *st)
{
	if (!S_ISREG(st->mode))
		return -EINVAL;
	if (st->size < BENCH_BUF_BYTES)
		return -ENODATA;
	b->size = st->size;
	b->path = strdup(path);
	return b->path ? oriel_open(b->s, path, O_RDONLY, 0, &b->file) :
			 -ENOMEM;
}

static int prepare(struct bench *b, const char *path, uint64_t size)
{
	struct oriel_stat st;
	char *base, name[64];
	int r = oriel_stat(b->s, path, 0, &st);

	if (r >= 0 && !S_ISDIR(st.mode))
		return use_file(b, path, &st);
	if (r < 0 && r != -ENOENT)
		return r;
	snprintf(name, sizeof(name), ".oriel-bench-%ld", (long)getpid());
	base = r < 0 ? strdup(path) : path_join(path, name);
	if (!base)
		return -ENOMEM;
	r = make_files(b, base, size);
	free(base);
	return r;
}

/* No local view is not a failure: there is just no comparison. */
static void open_native(struct bench *b)
{
	b->native_path = native_of(b->share, b->path);
	if (b->native_path)
		b->fd = open(b->native_path,
			     (b->append ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (b->fd < 0 || !b->append)
		return;
	if (asprintf(&b->native_append, "%s.native", b->native_path) < 0) {
		b->native_append = NULL;
		return;
	}
	b->append_fd = open(b->native_append,
			    O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

static bool has_native(const struct bench *b, const struct bench_op *op)
{
	return b->fd >= 0 && (!op->writes || b->append_fd >= 0);
}

static int measure_round(struct bench *b, const struct bench_op *op,
			 bool native, double ret[2])
{
	int r = bench_slice(b, op->oriel, &ret[0]);

	if (r >= 0 && native)
		r = bench_slice(b, op->native, &ret[1]);
	return r;
}

static void measure_tail(struct bench *b, struct bench_result *r)
{
	r->err = bench_latencies(b, r->op->oriel, &r->tail);
	if (!r->err && r->has_native)
		r->err = bench_latencies(b, r->op->native, &r->native_tail);
}

struct bench_rounds {
	double ns[BENCH_ROUNDS];
	double native_ns[BENCH_ROUNDS];
	double speed[BENCH_ROUNDS];
};

static void measure_all(struct bench *b, struct bench_result *res)
{
	struct bench_rounds *all = calloc(bench_n_ops, sizeof(*all));
	int oom = all ? 0 : -ENOMEM;

	for (size_t i = 0; i < bench_n_ops; i++)
		res[i] = (struct bench_result){
			.op = &bench_ops[i], .err = oom,
			.skipped = bench_ops[i].writes && !b->append,
			.has_native = has_native(b, &bench_ops[i]),
		};
	for (size_t n = 0; all && n < BENCH_ROUNDS; n++) {
		for (size_t i = 0; i < bench_n_ops; i++) {
			double v[2] = { 0, 0 };

			if (res[i].err || res[i].skipped)
				continue;
			res[i].err = measure_round(b, res[i].op,
						   res[i].has_native, v);
			all[i].ns[n] = v[0];
			all[i].native_ns[n] = v[1];
			all[i].speed[n] = v[1] / (v[0] > 0 ? v[0] : 1);
		}
	}
	for (size_t i = 0; all && i < bench_n_ops; i++) {
		res[i].ns = bench_median(all[i].ns, BENCH_ROUNDS);
		res[i].native_ns = bench_median(all[i].native_ns,
						BENCH_ROUNDS);
		res[i].speed = bench_median(all[i].speed, BENCH_ROUNDS);
		if (!res[i].err && !res[i].skipped)
			measure_tail(b, &res[i]);
	}
	free(all);
}

/* Read all once, both ways: page cache and window are then as they stay. */
static int warm_up(struct bench *b)
{
	ssize_t n = 1;

	for (off_t off = 0; n > 0 && !cli_signal(); off += n) {
		n = oriel_pread(b->file, b->buf, BENCH_BUF_BYTES, off);
		if (n > 0 && b->fd >= 0 &&
		    pread(b->fd, b->buf, BENCH_BUF_BYTES, off) != n)
			return -EIO;
	}
	return cli_signal() ? -EINTR : (int)n;
}

static int bench_measure(struct bench *b, const struct bench_opts *o)
{
	struct bench_result res[16];
	struct bench_report rep = {
		.b = b, .results = res, .n_results = bench_n_ops,
		.info = { .size = sizeof(rep.info) },
	};
	int r;

	if (!o->no_native)
		open_native(b);
	r = warm_up(b);
	if (r < 0)
		return r;
	b->slice_ns = (o->time_ms ? o->time_ms : 15000) * UINT64_C(1000000) /
		      ((BENCH_ROUNDS + 1) * bench_n_ops *
		       (b->fd >= 0 ? 2 : 1));
	measure_all(b, res);
	if (cli_signal())
		return -EINTR;
	r = oriel_info(b->s, &rep.info);
	if (r < 0)
		return r;
	for (size_t i = 0; i < bench_n_ops; i++)
		if (res[i].err)
			b->c->status = CLI_FAILED;
	if (o->json)
		bench_print_json(b->c, &rep);
	else
		bench_print(&rep);
	return 0;
}

/* Everything that was made is removed, and only that. */
static void bench_done(struct bench *b)
{
	if (b->fd >= 0)
		close(b->fd);
	if (b->append_fd >= 0) {
		close(b->append_fd);
		unlink(b->native_append);
	}
	if (b->append) {
		oriel_close(b->append);
		oriel_unlink(b->s, b->append_path);
	}
	oriel_close(b->file);
	if (b->append_path && b->file)
		oriel_unlink(b->s, b->path);
	free(b->native_append);
	free(b->native_path);
	free(b->append_path);
	free(b->path);
	free(b->samples);
	free(b->buf);
}

static void bench_fail(struct bench *b, const struct addr *a, int err)
{
	if (err == -EINTR && cli_signal())
		b->c->status = CLI_FAILED;
	else if (err == -ENODATA)
		cli_error(b->c, a->text, "shorter than 1 MiB, which is too "
			  "little to measure");
	else if (err == -EINVAL)
		cli_error(b->c, a->text, "neither a file nor a directory");
	else
		cli_fail(b->c, b->s, a->text, err);
}

static void bench_one(struct cli *c, struct oriel_session *s,
		      const struct addr *a, const void *opts)
{
	const struct bench_opts *o = opts;
	uint64_t size = o->size ? o->size : (uint64_t)64 << 20;
	struct bench b = {
		.c = c, .share = a->share, .s = s, .fd = -1, .append_fd = -1,
		.random = 0x9e3779b97f4a7c15u,
	};
	int r;

	if (posix_memalign((void **)&b.buf, 4096, BENCH_BUF_BYTES) != 0)
		b.buf = NULL;
	b.samples = calloc(BENCH_SAMPLES, sizeof(*b.samples));
	cli_catch_signals();
	r = b.buf && b.samples ? prepare(&b, a->path, size) : -ENOMEM;
	if (r >= 0)
		r = bench_measure(&b, o);
	if (r < 0)
		bench_fail(&b, a, r);
	bench_done(&b);
}

static int bench_run(struct cli *c, const void *opts)
{
	const struct bench_opts *o = opts;

	if (o->size && o->size < BENCH_BUF_BYTES)
		return cli_usage(c, "--size: at least 1M");
	return conn_each(c, bench_one, opts);
}

const struct command cmd_bench = {
	.name = "bench",
	.operands = "[OPTION...] SHARE[:PATH]",
	.summary = "Measure a share, and against system calls",
	.text = "Makes files and removes them afterwards. A PATH that is a "
		"directory is where; a\nfile that exists is measured by "
		"reading only. Where the share is a directory, the\nsame is "
		"done by system calls, in turns.\n",
	.examples = "  oriel bench /srv/data\n"
		    "  oriel bench --time=5 --dax=never /srv/data\n"
		    "  oriel bench --json /run/vm.sock:tmp | jq .verdict\n",
	.opts = bench_options,
	.opts_size = sizeof(struct bench_opts),
	.min_args = 1,
	.max_args = 1,
	.flags = CMD_CONNECTS,
	.run = bench_run,
};
