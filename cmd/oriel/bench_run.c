/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Measuring the cases of oriel bench, one after the other, the ways of each in
 * turns. What the session counted meanwhile is kept with the numbers. The
 * progress line is drawn between slices, never within one.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conn.h"
#include "fmt.h"

#define SEED 88172645463325252u
#define DRAW_EVERY_NS 200000000u
#define SLICE_MIN_NS 200000u
/* Finding the number of operations costs about this many slices, the single
 * operations one. */
#define SLICES_BESIDES 2u
#define BAR 20

/* ------------------------------------------------------------- progress */

static void draw(struct bench_progress *p, uint64_t now)
{
	uint64_t all = p->end_ns - p->begun_ns;
	uint64_t at = now - p->begun_ns;
	char line[160], bar[BAR + 1], left[FMT_LEN], out[176];
	int part, n;

	p->drawn_ns = now;
	if (!p->end_ns) {
		n = snprintf(line, sizeof(line), "%s", p->text);
	} else {
		part = at >= all ? BAR - 1 : (int)(at * BAR / all);
		memset(bar, '-', BAR);
		memset(bar, '#', (size_t)part);
		bar[BAR] = '\0';
		n = snprintf(line, sizeof(line), "[%s] %-24s %s left", bar,
			     p->text, fmt_duration(at < all ? (all - at) /
			     1000000000u + 1 : 1, left));
	}
	if (n >= (int)p->width)
		line[p->width ? p->width - 1 : 0] = '\0';
	n = snprintf(out, sizeof(out), "\r%s\033[K", line);
	if (write(STDERR_FILENO, out, (size_t)n) < 0)
		p->on = false;
}

void bench_say(struct bench *b, const char *text)
{
	struct bench_progress *p = &b->progress;

	if (text)
		p->text = text;
	if (!p->on)
		return;
	if (text)
		draw(p, now_ns());
	else if (p->drawn_ns && write(STDERR_FILENO, "\r\033[K", 4) < 0)
		p->on = false;
	if (!text)
		p->drawn_ns = 0;
}

static void tick(struct bench_progress *p)
{
	uint64_t now;

	if (!p->on)
		return;
	now = now_ns();
	if (now - p->drawn_ns > DRAW_EVERY_NS)
		draw(p, now);
}

/* ----------------------------------------------------------------- ways */

static const char *why_not(const struct bench *b, const struct bench_case *bc,
			   const struct oriel_info *info)
{
	if ((bc->needs & NEEDS_DATA) && b->why_not_read)
		return b->why_not_read;
	if ((bc->needs & NEEDS_WRITE) && b->why_not_write)
		return b->why_not_write;
	if ((bc->needs & NEEDS_WINDOW) && !info->dax)
		return "there is no window";
	if ((bc->needs & NEEDS_SMALL) && !b->small_is_file)
		return "no file of 4 KiB or more to read";
	if (bc->once == ONCE_A_RANGE && b->size < 2 * info->range_bytes)
		return "the file is too short";
	return NULL;
}

static bool can_native(const struct bench *b, const struct bench_case *bc)
{
	if (!bc->native.run || b->native_fd < 0)
		return false;
	if (b->why_not_read)
		return b->small.native != NULL;
	return b->fd >= 0 && (!(bc->needs & NEEDS_WRITE) || b->grow_fd >= 0);
}

/* A window that does not hold the file has no pointer to all of it. */
static bool can_bare(struct bench *b, const struct bench_case *bc,
		     const struct oriel_info *info)
{
	struct side sd = { .b = b };

	if (!bc->bare.run || !info->dax || bc->bare.begin(&sd))
		return false;
	return bc->bare.end(&sd) == 0;
}

/* ------------------------------------------------------------- pointers */

/* Who borrows a pointer into a file has to live with others truncating it. The
 * library's handlers pass on to ours what is no fault of theirs. */
static sigjmp_buf fault_env;
static volatile sig_atomic_t fault_armed;

static void on_fault(int sig)
{
	if (fault_armed) {
		fault_armed = 0;
		siglongjmp(fault_env, 1);
	}
	signal(sig, SIG_DFL); /* and again, for good */
}

void bench_catch_faults(void)
{
	struct sigaction sa = { .sa_handler = on_fault,
				.sa_flags = SA_ONSTACK };

	sigemptyset(&sa.sa_mask);
	sigaction(SIGBUS, &sa, NULL);
}

/* The mask is not saved, for that is a system call. */
static int after_fault(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	return -EIO;
}

int bench_guarded(int (*fn)(void *ctx, size_t n), void *ctx, size_t n)
{
	int err;

	if (sigsetjmp(fault_env, 0))
		return after_fault();
	fault_armed = 1;
	err = fn(ctx, n);
	fault_armed = 0;
	return err;
}

static int side_run(void *ctx, size_t n)
{
	struct side *sd = ctx;

	return bench_guarded(sd->way->run, ctx, n);
}

static int side_begin(void *ctx)
{
	struct side *sd = ctx;

	tick(&sd->b->progress);
	return sd->way->begin ? sd->way->begin(ctx) : 0;
}

static void add_way(struct way *w, const struct bench_way *bw, const char *name,
		    struct side *sd)
{
	sd->way = bw;
	*w = (struct way){ .name = name, .begin = side_begin, .run = side_run,
			   .end = bw->end, .ctx = sd,
			   .daemon = &sd->b->daemon };
}

static void measure_case(struct bench *b, struct bench_result *res,
			 const struct oriel_info *info)
{
	const struct bench_case *bc = res->bc;
	struct side sides[BENCH_SIDES];
	struct way ways[BENCH_SIDES];
	unsigned i, n = 1;

	for (i = 0; i < BENCH_SIDES; i++)
		sides[i] = (struct side){
			.b = b, .random = SEED,
			.range_bytes = (size_t)info->range_bytes,
			.ranges = info->range_bytes ?
				  (size_t)(b->size / info->range_bytes) : 0,
		};
	add_way(&ways[0], &bc->oriel, "oriel", &sides[0]);
	if (res->has_native)
		add_way(&ways[n++], &bc->native, "native", &sides[1]);
	if (res->has_bare)
		add_way(&ways[n++], &bc->bare, "memcpy", &sides[2]);
	for (i = 0; bc->once && i < n; i++)
		ways[i].fixed_n = bc->once == ONCE_A_RANGE ? sides[0].ranges :
				  (size_t)(b->size / bc->bytes);
	res->err = measure_ways(&b->me, ways, n, res->r);
	if (!res->has_native && res->has_bare) {
		/* the second was the bare copy */
		res->r[BENCH_BARE] = res->r[1];
		res->r[0].extra_ns = res->r[0].ns - res->r[1].ns;
	}
	for (i = 0; !res->err && i < n && ways[i].ctx != &sides[2]; i++)
		res->err = measure_tail(&b->me, &ways[i], b->samples,
					BENCH_SAMPLES, &res->tail[i]);
}

/* ---------------------------------------------------------------- cases */

/* Everything was written once: first writes to a page are another matter. */
static int dirty_all(struct bench *b)
{
	for (uint64_t off = 0; off + 4096 <= b->size; off += 4096) {
		ssize_t n;

		if (cli_signal())
			return -EINTR;
		n = oriel_pwrite(b->file, b->buf, 4096, (off_t)off);
		if (n < 0)
			return (int)n;
		if (b->fd >= 0 && pwrite(b->fd, b->buf, 4096, (off_t)off) < 0)
			return -errno;
	}
	return 0;
}

static void count(struct bench_result *res, const struct oriel_info *before,
		  const struct oriel_info *after)
{
	res->requests = after->requests - before->requests;
	res->sleeps = after->sleeps - before->sleeps;
	res->window_bytes = after->window_read_bytes -
			    before->window_read_bytes;
	res->held_bytes = after->held_read_bytes - before->held_read_bytes;
	res->message_bytes = after->message_read_bytes -
			     before->message_read_bytes;
}

/* First touches are those of a session that is new. */
static bool takes_second(struct bench *b)
{
	struct oriel_session *s;

	if (conn_again(b->c, b->share, &s))
		return false;
	oriel_disconnect(s);
	return true;
}

static void run_case(struct bench *b, struct bench_result *res)
{
	struct oriel_info before = { .size = sizeof(before) };
	struct oriel_info after = { .size = sizeof(after) };

	res->err = oriel_info(b->s, &before);
	if (!res->err)
		res->skip = why_not(b, res->bc, &before);
	if (!res->err && !res->skip && res->bc->once &&
	    !takes_second(b))
		res->skip = "the daemon takes no second session";
	if (res->err || res->skip)
		return;
	if ((res->bc->needs & NEEDS_WRITE) && (res->bc->needs & NEEDS_DATA))
		res->err = dirty_all(b);
	res->has_native = can_native(b, res->bc);
	res->has_bare = can_bare(b, res->bc, &before);
	if (!res->err)
		res->err = oriel_info(b->s, &before);
	if (!res->err)
		measure_case(b, res, &before);
	if (!res->err)
		res->err = oriel_info(b->s, &after);
	if (!res->err)
		count(res, &before, &after);
}

/* Read all once, both ways: page cache and window are then as they stay. */
static int warm_up(struct bench *b)
{
	ssize_t n = 1;

	for (uint64_t off = 0; n > 0 && off < b->size; off += (uint64_t)n) {
		if (cli_signal())
			return -EINTR;
		n = oriel_pread(b->file, b->buf, BENCH_BUF_BYTES, (off_t)off);
		if (n > 0 && b->fd >= 0 &&
		    pread(b->fd, b->buf, BENCH_BUF_BYTES, (off_t)off) < 0)
			n = -errno;
	}
	return n < 0 ? (int)n : 0;
}

/* A case that failed may have done so because the daemon is gone. */
static int session_err(struct bench *b, const struct bench_result *res)
{
	struct oriel_stat st;
	int err = res->err;

	if (!bench_is_dead(err) || res->bc->once)
		err = oriel_stat(b->s, "/", ORIEL_FORCE_SYNC, &st);
	return bench_is_dead(err) ? err : 0;
}

static unsigned count_slices(struct bench *b, const struct oriel_info *info)
{
	unsigned n = 0;

	for (size_t i = 0; i < bench_n_cases; i++) {
		const struct bench_case *bc = &bench_cases[i];

		if (!b->want[i] || why_not(b, bc, info))
			continue;
		n += 1 + can_native(b, bc) + (info->dax && bc->bare.run);
	}
	return (n ? n : 1) * (b->me.rounds + SLICES_BESIDES);
}

static int start(struct bench *b, double seconds)
{
	struct oriel_info info = { .size = sizeof(info) };
	int err = oriel_info(b->s, &info);

	if (err)
		return err;
	b->daemon = (pid_t)info.daemon_pid;
	bench_say(b, "reading once");
	err = warm_up(b);
	b->me.slice_ns = (uint64_t)(seconds * 1e9) / count_slices(b, &info);
	if (b->me.slice_ns < SLICE_MIN_NS)
		b->me.slice_ns = SLICE_MIN_NS;
	b->me.stopped = cli_signal;
	b->progress.begun_ns = now_ns();
	b->progress.end_ns = b->progress.begun_ns + (uint64_t)(seconds * 1e9);
	return err;
}

int bench_run_cases(struct bench *b, double seconds, struct bench_result *ret,
		    size_t *ret_n)
{
	int err = start(b, seconds);
	size_t n = 0;

	for (size_t i = 0; !err && i < bench_n_cases; i++) {
		if (!b->want[i])
			continue;
		ret[n] = (struct bench_result){ .bc = &bench_cases[i] };
		bench_say(b, bench_cases[i].text);
		run_case(b, &ret[n]);
		if (ret[n].err)
			err = session_err(b, &ret[n]);
		if (cli_signal())
			err = -EINTR;
		n++;
	}
	*ret_n = n;
	return err;
}
