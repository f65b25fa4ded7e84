/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cases that always ask the daemon: by our daemon, by the system call, and,
 * where it is installed, by the C virtiofsd of QEMU behind the same library.
 * Each has a file of its own for what grows: nobody disturbs anybody.
 *
 * A daemon that sleeps between requests is fastest where it need not be woken
 * on another processor. So QEMU's runs twice: wherever the scheduler likes, and
 * on one processor with us.
 */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One end of the comparison; the system call's has no session. */
struct side {
	struct place *p;
	struct oriel_session *s;
	struct oriel_file *f;    /* "data", read by message */
	struct oriel_queue *q;   /* QUEUE_DEPTH requests */
	struct oriel_file *grow; /* what is appended to */
	const char *grow_name;
	int dir_fd;
	int grow_fd;
	off_t end;
	uint64_t random;
	struct oriel_dir *dir;   /* "many", where its reader has come to */
	unsigned dir_flags;      /* it was opened with */
	DIR *dir_native;
	pid_t daemon;
	int (*begin)(void *ctx); /* of the case, below one_cpu_begin() */
	cpu_set_t cpus;          /* of ours before it */
};

#define DEFINE_RUN(name, call)                         \
	static int name(void *ctx, size_t n)           \
	{                                              \
		struct side *sd = ctx;                 \
		int r;                                 \
                                                       \
		for (size_t i = 0; i < n; i++) {       \
			r = (call);                    \
			if (r)                         \
				return r;              \
		}                                      \
		return 0;                              \
	}

static off_t random_page(struct side *sd)
{
	sd->random ^= sd->random << 13;
	sd->random ^= sd->random >> 7;
	sd->random ^= sd->random << 17;
	return (off_t)((sd->random & (MIB(16) / KIB(4) - 1)) * KIB(4));
}

static int full(ssize_t n)
{
	return n == (ssize_t)KIB(4) ? 0 : -EIO;
}

static int stat_once(struct side *sd)
{
	struct oriel_stat st;

	return oriel_stat(sd->s, "data", ORIEL_NOFOLLOW | ORIEL_FORCE_SYNC,
			  &st);
}

static int stat_known(struct side *sd)
{
	struct oriel_stat st;

	return oriel_stat(sd->s, "data", ORIEL_NOFOLLOW, &st);
}

static int stat_once_native(struct side *sd)
{
	struct stat st;

	return fstatat(sd->dir_fd, "data", &st, AT_SYMLINK_NOFOLLOW) ?
		       -errno : 0;
}

static int open_once(struct side *sd)
{
	struct oriel_file *f;
	int r = oriel_open(sd->s, "data", O_RDONLY, 0, &f);

	return r ? r : oriel_close(f);
}

static int open_once_native(struct side *sd)
{
	int fd = openat(sd->dir_fd, "data", O_RDONLY | O_CLOEXEC);

	return fd < 0 || close(fd) ? -errno : 0;
}

/* ---------------------------------------------- small files, directories */

#define SMALL_BYTES KIB(16)
#define N_NAMES 1000
#define DEEP "one/two/three/four"

static int small_once(struct side *sd)
{
	struct oriel_file *f;
	ssize_t n;
	int r = oriel_open(sd->s, "small", O_RDONLY, 0, &f);

	if (r)
		return r;
	n = oriel_pread(f, sd->p->buf, SMALL_BYTES, 0);
	r = oriel_close(f);
	return n == (ssize_t)SMALL_BYTES ? r : -EIO;
}

static int small_once_native(struct side *sd)
{
	int fd = openat(sd->dir_fd, "small", O_RDONLY | O_CLOEXEC);
	ssize_t n = pread(fd, sd->p->buf, SMALL_BYTES, 0);

	return fd < 0 || close(fd) || n != (ssize_t)SMALL_BYTES ? -EIO : 0;
}

static int file_once(struct side *sd)
{
	ssize_t n = oriel_read_file(sd->s, "small", sd->p->buf, SMALL_BYTES);

	return n == (ssize_t)SMALL_BYTES ? 0 : n < 0 ? (int)n : -EIO;
}

static int deep_once(struct side *sd)
{
	struct oriel_stat st;

	return oriel_stat(sd->s, DEEP, ORIEL_NOFOLLOW | ORIEL_FORCE_SYNC, &st);
}

static int deep_once_native(struct side *sd)
{
	struct stat st;

	return fstatat(sd->dir_fd, DEEP, &st, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

/* One name; after the last the directory is opened again. */
static int name_next(struct side *sd, unsigned flags, struct oriel_dirent *ret)
{
	bool more = sd->dir && sd->dir_flags == flags;
	int r = more ? oriel_readdir(sd->dir, ret) : 0;

	if (r)
		return r < 0 ? r : 0;
	oriel_closedir(sd->dir);
	sd->dir = NULL;
	sd->dir_flags = flags;
	r = oriel_opendir(sd->s, "many", flags, &sd->dir);
	if (!r)
		r = oriel_readdir(sd->dir, ret);
	return r < 0 ? r : r ? 0 : -EIO;
}

static int name_once(struct side *sd)
{
	struct oriel_dirent e;

	return name_next(sd, 0, &e);
}

static int name_stat_once(struct side *sd)
{
	struct oriel_dirent e;
	struct oriel_stat st;
	char path[300];
	int r = name_next(sd, ORIEL_DIR_STAT, &e);

	if (r || e.has_stat)
		return r;
	snprintf(path, sizeof(path), "many/%s", e.name);
	return oriel_stat(sd->s, path, ORIEL_NOFOLLOW, &st);
}

static int name_next_native(struct side *sd, struct dirent **ret)
{
	int fd;

	*ret = sd->dir_native ? readdir(sd->dir_native) : NULL;
	if (*ret)
		return 0;
	if (sd->dir_native)
		closedir(sd->dir_native);
	fd = openat(sd->dir_fd, "many", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	sd->dir_native = fd < 0 ? NULL : fdopendir(fd);
	*ret = sd->dir_native ? readdir(sd->dir_native) : NULL;
	return *ret ? 0 : -EIO;
}

static int name_once_native(struct side *sd)
{
	struct dirent *e;

	return name_next_native(sd, &e);
}

static int name_stat_once_native(struct side *sd)
{
	struct dirent *e;
	struct stat st;
	int r = name_next_native(sd, &e);

	if (!r && fstatat(dirfd(sd->dir_native), e->d_name, &st,
			  AT_SYMLINK_NOFOLLOW))
		r = -errno;
	return r;
}

/* ----------------------------------------------------------------- loops */

/* What a handle gathers where it does. */
#define GATHER KIB(64)

static off_t next_end(struct side *sd)
{
	sd->end += (off_t)KIB(4);
	return sd->end - (off_t)KIB(4);
}

DEFINE_RUN(stat_run, stat_once(sd))
DEFINE_RUN(stat_known_run, stat_known(sd))
DEFINE_RUN(stat_run_native, stat_once_native(sd))
DEFINE_RUN(deep_run, deep_once(sd))
DEFINE_RUN(deep_run_native, deep_once_native(sd))
DEFINE_RUN(file_run, file_once(sd))
DEFINE_RUN(open_run, open_once(sd))
DEFINE_RUN(open_run_native, open_once_native(sd))
DEFINE_RUN(small_run, small_once(sd))
DEFINE_RUN(small_run_native, small_once_native(sd))
DEFINE_RUN(names_run, name_once(sd))
DEFINE_RUN(names_run_native, name_once_native(sd))
DEFINE_RUN(names_stat_run, name_stat_once(sd))
DEFINE_RUN(names_stat_run_native, name_stat_once_native(sd))
DEFINE_RUN(read_run,
	   full(oriel_pread(sd->f, sd->p->buf, KIB(4), random_page(sd))))
DEFINE_RUN(read_run_native,
	   full(pread(sd->p->fd, sd->p->buf, KIB(4), random_page(sd))))
DEFINE_RUN(append_run,
	   full(oriel_pwrite(sd->grow, sd->p->buf, KIB(4), next_end(sd))))
DEFINE_RUN(append_run_native,
	   full(pwrite(sd->grow_fd, sd->p->buf, KIB(4), next_end(sd))))

/* Reads of random pages, @depth under way at any time, each with its own buffer. */
#define QUEUE_DEPTH 64u

static int queue_one(struct side *sd, uint64_t at)
{
	struct oriel_request r = {
		.op = ORIEL_OP_READ, .file = sd->f, .len = KIB(4),
		.buf = (char *)sd->p->buf + at * KIB(4), .user_data = at,
		.off = random_page(sd),
	};

	return oriel_queue_prepare(sd->q, &r);
}

static int queue_reads(struct side *sd, size_t n, size_t depth)
{
	struct oriel_completion c[QUEUE_DEPTH];
	size_t begun = 0, done = 0;
	int err = 0, k;

	while (!err && begun < n && begun < depth)
		err = queue_one(sd, begun++);
	while (!err && done < n) {
		k = oriel_queue_submit(sd->q);
		if (k >= 0)
			k = oriel_queue_wait(sd->q, c, QUEUE_DEPTH, 1, -1);
		err = k < 0 ? k : 0;
		for (int i = 0; !err && i < k; i++, done++) {
			err = full(c[i].result);
			if (!err && begun < n) {
				begun++;
				err = queue_one(sd, c[i].user_data);
			}
		}
	}
	return err;
}

static int queue_1_run(void *ctx, size_t n)
{
	return queue_reads(ctx, n, 1);
}

static int queue_8_run(void *ctx, size_t n)
{
	return queue_reads(ctx, n, 8);
}

static int queue_64_run(void *ctx, size_t n)
{
	return queue_reads(ctx, n, QUEUE_DEPTH);
}

static int append_64(struct side *sd)
{
	ssize_t n = oriel_pwrite(sd->grow, sd->p->buf, 64, sd->end);

	sd->end += 64;
	return n == 64 ? 0 : -EIO;
}

static int append_64_native(struct side *sd)
{
	ssize_t n = pwrite(sd->grow_fd, sd->p->buf, 64, sd->end);

	sd->end += 64;
	return n == 64 ? 0 : -EIO;
}

DEFINE_RUN(append_64_run, append_64(sd))
DEFINE_RUN(append_64_run_native, append_64_native(sd))

/* The last of them are sent in the time of the slice too. */
static int gathered_run(void *ctx, size_t n)
{
	struct side *sd = ctx;
	int r = append_run(ctx, n);

	return r ? r : oriel_coalesce(sd->grow, GATHER, 0);
}

static int gathered_64_run(void *ctx, size_t n)
{
	struct side *sd = ctx;
	int r = append_64_run(ctx, n);

	return r ? r : oriel_coalesce(sd->grow, GATHER, 0);
}

/* Every slice appends to an empty file. */
static int append_begin(void *ctx)
{
	struct side *sd = ctx;
	int err;

	sd->end = 0;
	if (!sd->s)
		return ftruncate(sd->grow_fd, 0) ? -errno : 0;
	err = oriel_coalesce(sd->grow, 0, 0);
	return err ? err : oriel_ftruncate(sd->grow, 0);
}

static int gathered_begin(void *ctx)
{
	struct side *sd = ctx;
	int err = append_begin(sd);

	return err || !sd->s ? err : oriel_coalesce(sd->grow, GATHER, 0);
}

/* Where all threads of @pid may run. */
static void set_cpus(pid_t pid, const cpu_set_t *cpus)
{
	char path[64];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.')
			sched_setaffinity(atoi(e->d_name), sizeof(*cpus), cpus);
	if (d)
		closedir(d);
}

static int one_cpu_begin(void *ctx)
{
	struct side *sd = ctx;
	cpu_set_t one;
	int cpu = sched_getcpu();

	if (cpu < 0 || sched_getaffinity(0, sizeof(sd->cpus), &sd->cpus))
		return -errno;
	CPU_ZERO(&one);
	CPU_SET((unsigned)cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
	set_cpus(sd->daemon, &one);
	return sd->begin ? sd->begin(sd) : 0;
}

static int one_cpu_end(void *ctx)
{
	struct side *sd = ctx;

	set_cpus(sd->daemon, &sd->cpus);
	return sched_setaffinity(0, sizeof(sd->cpus), &sd->cpus) ? -errno : 0;
}

struct message_case {
	const char *name;
	int (*begin)(void *ctx);
	int (*run)(void *ctx, size_t n);
	int (*native)(void *ctx, size_t n);
	const char *native_name;
	bool window; /* ours has one */
};

static const struct message_case message_case_list[] = {
	{ "stat", NULL, stat_run, stat_run_native, "fstatat" },
	{ "stat-ttl", NULL, stat_known_run, stat_run_native, "fstatat" },
	{ "stat-deep", NULL, deep_run, deep_run_native, "fstatat" },
	{ "open-close", NULL, open_run, open_run_native, "openat, close" },
	{ "open-read-close", NULL, small_run, small_run_native,
	  "openat, pread, close" },
	{ "read-file", NULL, file_run, small_run_native,
	  "openat, pread, close" },
	{ "readdir", NULL, names_run, names_run_native, "readdir" },
	{ "readdir-stat", NULL, names_stat_run, names_stat_run_native,
	  "readdir, fstatat" },
	{ "read-4k-message", NULL, read_run, read_run_native, "pread" },
	{ "queue-1-message", NULL, queue_1_run, read_run_native, "pread" },
	{ "queue-8-message", NULL, queue_8_run, read_run_native, "pread" },
	{ "queue-64-message", NULL, queue_64_run, read_run_native, "pread" },
	{ "queue-64", NULL, queue_64_run, read_run_native, "pread", true },
	{ "append-4k", append_begin, append_run, append_run_native, "pwrite",
	  true },
	{ "append-4k-gathered", gathered_begin, gathered_run,
	  append_run_native, "pwrite", true },
	{ "append-4k-message", append_begin, append_run, append_run_native,
	  "pwrite" },
	{ "append-64", append_begin, append_64_run, append_64_run_native,
	  "pwrite", true },
	{ "append-64-gathered", gathered_begin, gathered_64_run,
	  append_64_run_native, "pwrite", true },
};

/* --------------------------------------------------------------- set-up */

static int side_open(const char *share, const char *grow_name,
		     enum oriel_dax_mode dax, struct side *sd)
{
	int err;

	sd->grow_name = grow_name;
	err = connect_to(share, dax, &sd->s, &sd->daemon);
	if (err)
		return err;
	err = oriel_open(sd->s, "data", O_RDONLY, 0, &sd->f);
	if (!err)
		err = oriel_queue_new(sd->s, QUEUE_DEPTH, 0, &sd->q);
	if (!err)
		err = oriel_open(sd->s, grow_name, O_RDWR | O_CREAT, 0600,
				 &sd->grow);
	return err;
}

static int side_open_native(struct place *p, struct side *sd)
{
	sd->dir_fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sd->dir_fd < 0)
		return -errno;
	sd->grow_fd = openat(sd->dir_fd, "grow.native",
			     O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return sd->grow_fd < 0 ? -errno : 0;
}

static void side_close(struct side *sd)
{
	oriel_closedir(sd->dir);
	if (sd->dir_native)
		closedir(sd->dir_native);
	oriel_queue_free(sd->q);
	if (sd->grow)
		oriel_close(sd->grow);
	if (sd->f)
		oriel_close(sd->f);
	oriel_disconnect(sd->s);
	if (sd->grow_fd >= 0)
		close(sd->grow_fd);
	if (sd->dir_fd >= 0)
		close(sd->dir_fd);
}

/* Not there, or no right to start it, is nobody's fault. */
static int open_virtiofsd(struct place *p, struct virtiofsd *v,
			  struct side *sd)
{
	int err = virtiofsd_start(p->dir, v);

	if (err)
		report_note(p->su->report, "QEMU's virtiofsd was not measured "
			    "on %s: %s.", p->fs, oriel_strerror(err));
	else
		err = side_open(v->socket, "grow.virtiofsd", ORIEL_DAX_NEVER,
				sd);
	sd->daemon = v->pid;
	return err;
}

static int run_message(struct place *p, const struct message_case *mc,
		       struct side *sides, bool with_virtiofsd)
{
	struct side *ours = &sides[mc->window ? 3 : 0];
	struct match m = {
		.name = mc->name, .fs = p->fs, .folios = p->folios,
		.n_ways = with_virtiofsd ? 4 : 2,
		.ways = {
			{ .name = "oriel", .run = mc->run,
			  .daemon = &ours->daemon },
			{ .name = mc->native_name, .run = mc->native },
			{ .name = "virtiofsd", .run = mc->run,
			  .daemon = &sides[2].daemon },
			{ .name = "virtiofsd, one CPU", .run = mc->run,
			  .daemon = &sides[2].daemon },
		},
	};
	struct side one_cpu = sides[2];
	int err;

	for (unsigned i = 0; i < m.n_ways; i++) {
		m.ways[i].ctx = &sides[i];
		m.ways[i].begin = mc->begin;
	}
	m.ways[0].ctx = ours;
	one_cpu.begin = mc->begin;
	one_cpu.dir = NULL;
	m.ways[3].ctx = &one_cpu;
	m.ways[3].begin = one_cpu_begin;
	m.ways[3].end = one_cpu_end;
	err = match_run(p->su, &m);
	oriel_closedir(one_cpu.dir);
	return err;
}

/* DEEP, a directory too, or none of it any more. */
static int make_deep(struct place *p, bool there)
{
	static const char *const at[] = { "one", "one/two", "one/two/three",
					  DEEP };
	char path[400];
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_LEN(at); i++) {
		snprintf(path, sizeof(path), "%s/%s", p->dir,
			 at[there ? i : ARRAY_LEN(at) - 1 - i]);
		if (!there)
			rmdir(path);
		else if (mkdir(path, 0700))
			err = -errno;
	}
	return err;
}

/* "small", and N_NAMES empty files in "many". */
static int make_names(struct place *p)
{
	char path[400];
	int fd, err;

	snprintf(path, sizeof(path), "%s/small", p->dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	err = place_fill(fd, SMALL_BYTES, LAYOUT_SMALL);
	close(fd);
	if (!err)
		err = make_deep(p, true);
	snprintf(path, sizeof(path), "%s/many", p->dir);
	if (!err && mkdir(path, 0700))
		err = -errno;
	for (int i = 0; !err && i < N_NAMES; i++) {
		snprintf(path, sizeof(path), "%s/many/name-%d", p->dir, i);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		err = fd < 0 || close(fd) ? -errno : 0;
	}
	return err;
}

static void remove_names(struct place *p)
{
	char path[400];

	for (int i = 0; i < N_NAMES; i++) {
		snprintf(path, sizeof(path), "%s/many/name-%d", p->dir, i);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/many", p->dir);
	rmdir(path);
	make_deep(p, false);
}

int message_cases(struct place *p)
{
	struct side sides[4]; /* ours, the kernel, QEMU's, ours with a window */
	struct virtiofsd v = { .parent = 0 };
	bool with_virtiofsd = false;
	size_t i;
	int err;

	for (i = 0; i < ARRAY_LEN(sides); i++)
		sides[i] = (struct side){ .p = p, .dir_fd = -1, .grow_fd = -1,
					  .random = 88172645463325252u };
	err = make_names(p);
	if (!err)
		err = side_open(p->dir, "grow.oriel", ORIEL_DAX_NEVER,
				&sides[0]);
	if (!err)
		err = side_open(p->dir, "grow.window", ORIEL_DAX_ALWAYS,
				&sides[3]);
	if (!err)
		err = side_open_native(p, &sides[1]);
	if (!err)
		with_virtiofsd = !open_virtiofsd(p, &v, &sides[2]);
	for (i = 0; !err && i < ARRAY_LEN(message_case_list); i++)
		err = run_message(p, &message_case_list[i], sides,
				  with_virtiofsd);
	for (i = 0; i < ARRAY_LEN(sides); i++)
		side_close(&sides[i]);
	virtiofsd_stop(&v);
	remove_names(p);
	return err;
}
