/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Operations whose instructions gate.py has callgrind count. Of each case some
 * go first, so that what happens once has happened; then N between two calls of
 * turns_mark(), then 2 N, and the difference is N operations and nothing else.
 *
 *	oriel-bench-gate DIR      (empty; left so)
 *
 * Says on stdout, a line for each stretch between marks, "CASE OPERATIONS".
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/client.h"
#include "rig.h"
#include "turns.h"

#define FILE_BYTES ((size_t)8 << 20)
/* Of the rig's window, and whole pages. */
#define RANGE_BYTES ((size_t)64 << 10)
#define MANY 64
#define N_HITS 512
#define N_MISSES 16
#define N_MESSAGES 32
#define N_GATHERED 1024
#define NEVER_MS 60000

struct stage {
	const char *dir;
	struct oriel_session *s;
	struct oriel_file *data;        /* read and overwritten */
	struct oriel_file *fresh;       /* not mapped yet */
	struct oriel_file *small[MANY]; /* the same, many of them */
	struct oriel_file *log;         /* appended to */
	struct oriel_file *end;         /* the same with O_APPEND */
	struct oriel_file *gathers;     /* the same, gathered */
	size_t n_done;                  /* operations of this case so far */
	off_t log_end;
};

static unsigned char buf[FILE_BYTES];

/* Directories, and a file in the last. */
static const char *const deep[] = { "one", "one/two", "one/two/three",
				    "one/two/three/four" };

/* ----------------------------------------------------------- operations */

static int read_at(struct oriel_file *f, size_t len, off_t off)
{
	ssize_t n = oriel_pread(f, buf, len, off);

	return n == (ssize_t)len ? 0 : n < 0 ? (int)n : -EIO;
}

static int write_at(struct oriel_file *f, size_t len, off_t off)
{
	ssize_t n = oriel_pwrite(f, buf, len, off);

	return n == (ssize_t)len ? 0 : n < 0 ? (int)n : -EIO;
}

static int read_64(struct stage *t, size_t i)
{
	return read_at(t->data, 64, (off_t)(i % 1024 * 64));
}

static int read_4k(struct stage *t, size_t i)
{
	return read_at(t->data, 4096, (off_t)(i % 16 * 4096));
}

static int overwrite_64(struct stage *t, size_t i)
{
	return write_at(t->data, 64, (off_t)(i % 1024 * 64));
}

static int overwrite_4k(struct stage *t, size_t i)
{
	return write_at(t->data, 4096, (off_t)(i % 16 * 4096));
}

static int borrow(struct stage *t, size_t i)
{
	const void *p;
	int err = oriel_borrow(t->data, (off_t)(i % 16 * 4096), 4096, &p);

	if (!err)
		oriel_return();
	return err;
}

static int map(struct stage *t, size_t i)
{
	struct oriel_mapping *m;
	void *p;
	int err = oriel_map(t->data, (off_t)(i % 16 * 4096), 4096,
			    ORIEL_MAP_READ, &m, &p);

	if (!err)
		oriel_unmap(m);
	return err;
}

/* Ranges far from each other, so that nobody sees a scan in it. */
static int miss_range(struct stage *t, size_t i)
{
	const size_t ranges = FILE_BYTES / RANGE_BYTES;

	return read_at(t->fresh, 64, (off_t)(i * 37 % ranges * RANGE_BYTES));
}

static int miss_file(struct stage *t, size_t i)
{
	return read_at(t->small[i % MANY], 64, 0);
}

static int stat_name(struct stage *t, size_t i)
{
	struct oriel_stat st;

	return oriel_stat(t->s, "data", 0, &st);
}

static int open_close(struct stage *t, size_t i)
{
	struct oriel_file *f;
	int err = oriel_open(t->s, "data", O_RDONLY, 0, &f);

	return err ? err : oriel_close(f);
}

static int stat_deep(struct stage *t, size_t i)
{
	struct oriel_stat st;

	return oriel_stat(t->s, deep[3], 0, &st);
}

/* 64 bytes that no window has. */
static int open_read_close(struct stage *t, size_t i)
{
	struct oriel_file *f;
	int err = oriel_open(t->s, deep[3], O_RDONLY, 0, &f);

	if (err)
		return err;
	err = read_at(f, 64, 0);
	return err ? err : oriel_close(f);
}

static int read_file(struct stage *t, size_t i)
{
	ssize_t n = oriel_read_file(t->s, deep[3], buf, 64);

	return n == 64 ? 0 : n < 0 ? (int)n : -EIO;
}

static int append_4k(struct stage *t, size_t i)
{
	int err = write_at(t->log, 4096, t->log_end);

	if (!err)
		t->log_end += 4096;
	return err;
}

static int append_64(struct stage *t, size_t i)
{
	return write_at(t->end, 64, 0);
}

/* One in 64 sends. */
static int append_gathered(struct stage *t, size_t i)
{
	return write_at(t->gathers, 64, 0);
}

struct test {
	const char *name;
	int (*op)(struct stage *t, size_t i);
	size_t n;
};

static const struct test with_window[] = {
	{ "read-64", read_64, N_HITS },
	{ "read-4k", read_4k, N_HITS },
	{ "overwrite-64", overwrite_64, N_HITS },
	{ "overwrite-4k", overwrite_4k, N_HITS },
	{ "borrow", borrow, N_HITS },
	{ "map", map, N_HITS },
	{ "miss-range", miss_range, N_MISSES },
	{ "miss-file", miss_file, N_MISSES },
	{ "stat", stat_name, N_MESSAGES },
	{ "stat-deep", stat_deep, N_MESSAGES },
	{ "open-close", open_close, N_MESSAGES },
	{ "append-4k", append_4k, N_MESSAGES },
	{ "append-64", append_64, N_MESSAGES },
	{ "gathered-64", append_gathered, N_GATHERED },
	{ NULL, NULL, 0 },
};

static const struct test by_message[] = {
	{ "open-read-close-message", open_read_close, N_MESSAGES },
	{ "read-file-message", read_file, N_MESSAGES },
	{ "read-64-message", read_64, N_MESSAGES },
	{ "read-4k-message", read_4k, N_MESSAGES },
	{ "append-4k-message", append_4k, N_MESSAGES },
	{ "append-64-message", append_64, N_MESSAGES },
	{ "gathered-64-message", append_gathered, N_GATHERED },
	{ NULL, NULL, 0 },
};

/* -------------------------------------------------------------- the stage */

static void name_small(char *name, size_t size, unsigned i)
{
	snprintf(name, size, "small%02u", i);
}

static int make_file(const char *dir, const char *name, size_t len)
{
	char path[4096];
	int fd, err = 0;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (pwrite(fd, buf, len, 0) != (ssize_t)len)
		err = -EIO;
	close(fd);
	return err;
}

static int make_files(const char *dir)
{
	char path[4096], name[16];
	int err = make_file(dir, "data", RANGE_BYTES);

	if (!err)
		err = make_file(dir, "fresh", FILE_BYTES);
	if (!err)
		err = make_file(dir, "log", 0);
	if (!err)
		err = make_file(dir, "end", 0);
	if (!err)
		err = make_file(dir, "gathers", 0);
	for (unsigned i = 0; !err && i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, deep[i]);
		err = mkdir(path, 0700) ? -errno : 0;
	}
	if (!err)
		err = make_file(dir, deep[3], 4096);
	for (unsigned i = 0; !err && i < MANY; i++) {
		name_small(name, sizeof(name), i);
		err = make_file(dir, name, 4096);
	}
	return err;
}

static void remove_files(const char *dir)
{
	static const char *const names[] = { "data", "fresh", "log",
						"end", "gathers" };
	char path[4096], name[16];

	for (unsigned i = 0; i < MANY + 5; i++) {
		name_small(name, sizeof(name), i);
		snprintf(path, sizeof(path), "%s/%s", dir,
			 i < MANY ? name : names[i - MANY]);
		unlink(path);
	}
	for (unsigned i = 4; i-- > 0;) {
		snprintf(path, sizeof(path), "%s/%s", dir, deep[i]);
		remove(path);
	}
}

/* The thread that sends when nobody else does has its instructions, too: let it
 * sleep until long after the end. */
static void wait_for_sender(struct oriel_session *s)
{
	bool sleeps = false;

	while (!sleeps) {
		usleep(10000);
		pthread_mutex_lock(&s->append_lock);
		sleeps = s->append_next_ns && s->append_next_ns != UINT64_MAX;
		pthread_mutex_unlock(&s->append_lock);
	}
	usleep(10000);
}

static int open_gathers(struct stage *t)
{
	int err = oriel_open(t->s, "gathers", O_WRONLY | O_APPEND | O_TRUNC, 0,
			     &t->gathers);

	/* this one thread in the background, and no others */
	t->s->opts.no_background = false;
	if (!err)
		err = oriel_coalesce(t->gathers, 64 * 64, NEVER_MS);
	t->s->opts.no_background = true;
	if (!err)
		err = append_gathered(t, 0);
	if (!err)
		wait_for_sender(t->s);
	return err;
}

static int open_files(struct stage *t)
{
	char name[16];
	int err = oriel_open(t->s, "data", O_RDWR, 0, &t->data);

	if (!err)
		err = oriel_open(t->s, "fresh", O_RDWR, 0, &t->fresh);
	if (!err)
		err = oriel_open(t->s, "log", O_RDWR | O_TRUNC, 0, &t->log);
	if (!err)
		err = oriel_open(t->s, "end", O_WRONLY | O_APPEND | O_TRUNC, 0,
				 &t->end);
	if (!err)
		err = open_gathers(t);
	for (unsigned i = 0; !err && i < MANY; i++) {
		name_small(name, sizeof(name), i);
		err = oriel_open(t->s, name, O_RDONLY, 0, &t->small[i]);
	}
	return err;
}

static void close_files(struct stage *t)
{
	oriel_close(t->data);
	oriel_close(t->fresh);
	oriel_close(t->log);
	oriel_close(t->end);
	oriel_close(t->gathers);
	for (unsigned i = 0; i < MANY; i++)
		oriel_close(t->small[i]);
}

static int stretch(struct stage *t, const struct test *c, size_t n)
{
	int err = 0;

	for (size_t end = t->n_done + n; !err && t->n_done < end; t->n_done++)
		err = c->op(t, t->n_done);
	return err;
}

static int run(struct stage *t, const struct test *c)
{
	int err;

	t->n_done = 0;
	err = stretch(t, c, c->n / 2);
	turns_mark();
	if (!err)
		err = stretch(t, c, c->n);
	turns_mark();
	if (!err)
		err = stretch(t, c, 2 * c->n);
	turns_mark();
	if (err)
		fprintf(stderr, "%s: %s\n", c->name, oriel_strerror(err));
	printf("- 0\n%s %zu\n%s %zu\n", c->name, c->n, c->name, 2 * c->n);
	return err;
}

static int run_all(const char *dir, bool window)
{
	const struct test *c = window ? with_window : by_message;
	struct stage t = { .dir = dir };
	struct rig r;
	int err = rig_start(&r, dir, window);

	if (err)
		fprintf(stderr, "%s\n", oriel_connect_error());
	t.s = r.s;
	if (!err)
		err = open_files(&t);
	if (!err) {
		rig_take_turns();
		for (; !err && c->name; c++)
			err = run(&t, c);
	}
	close_files(&t);
	rig_stop(&r);
	return err;
}

int main(int argc, char **argv)
{
	int err;

	if (argc != 2) {
		fputs("usage: oriel-bench-gate DIR\n", stderr);
		return 2;
	}
	umask(0);
	err = rig_init();
	if (!err)
		err = make_files(argv[1]);
	if (!err)
		err = run_all(argv[1], true);
	if (!err)
		err = run_all(argv[1], false);
	remove_files(argv[1]);
	if (err)
		fprintf(stderr, "oriel-bench-gate: %s\n", oriel_strerror(err));
	return err ? 1 : 0;
}
