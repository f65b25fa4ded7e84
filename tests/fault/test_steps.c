/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Everything between a connect and a disconnect, with each allocation, each
 * system call and each message made to fail in turn. A call may fail with a
 * sensible error or succeed after all (there are other ways); what succeeded is
 * true of the file; and nothing is left behind, whatever failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/support.h"
#include "wrap.h"

#define RANGE 65536u
#define FILE_BYTES (6u * RANGE)
#define SEED 77

static char dir[300];
static bool background;
static bool embedded = true;
static const char *share;

/* What one run did. */
struct run {
	int errs[64]; /* of the calls that failed */
	const char *names[64];
	unsigned n_errs;
	unsigned n_ok;
};

static bool failed(struct run *r, const char *name, long result)
{
	if (result >= 0) {
		r->n_ok++;
		return false;
	}
	must(result > -4096, "%s returned %ld", name, result);
	must(r->n_errs < 64, "too many errors");
	r->names[r->n_errs] = name;
	r->errs[r->n_errs++] = (int)result;
	return true;
}

/* Does the file have @len bytes of @buf at @off, for others? */
static void check_native(const char *name, const void *buf, size_t len,
			 off_t off)
{
	int fd = open(in_dir(dir, name), O_RDONLY | O_CLOEXEC);
	unsigned char got[1000];

	must(fd >= 0 && len <= sizeof(got), "open");
	must(pread(fd, got, len, off) == (ssize_t)len, "short");
	must(memcmp(got, buf, len) == 0, "wrong bytes at %lld",
	     (long long)off);
	close(fd);
}

/* ---------------------------------------------------------------- the steps */

static void step_read(struct run *r, struct oriel_file *f)
{
	unsigned char buf[2000];

	for (unsigned i = 0; i < 3; i++) {
		off_t off = (off_t)i * RANGE + RANGE - 1000;
		ssize_t n = oriel_pread(f, buf, sizeof(buf), off);
		size_t at;

		if (failed(r, "pread", n))
			continue;
		at = pattern_check(buf, (size_t)n, SEED, (uint64_t)off);
		must(n > 0 && at == (size_t)n, "%zd bytes, wrong from %zu", n,
		     at);
	}
}

static void step_write(struct run *r, struct oriel_file *f)
{
	unsigned char buf[1000];
	ssize_t n;

	pattern_fill(buf, sizeof(buf), SEED, 4 * RANGE + 100);
	n = oriel_pwrite(f, buf, sizeof(buf), 4 * RANGE + 100);
	if (!failed(r, "pwrite", n))
		check_native("f", buf, (size_t)n, 4 * RANGE + 100);
	pattern_fill(buf, sizeof(buf), SEED, FILE_BYTES);
	n = oriel_pwrite(f, buf, sizeof(buf), FILE_BYTES);
	if (!failed(r, "extending pwrite", n))
		check_native("f", buf, (size_t)n, FILE_BYTES);
}

static void step_map(struct run *r, struct oriel_file *f)
{
	unsigned char buf[1000];
	struct oriel_mapping *m;
	void *p;
	int err = oriel_map(f, RANGE + 5, RANGE, ORIEL_MAP_READ, &m, &p);

	if (!failed(r, "map", err)) {
		must(oriel_copy(buf, p, sizeof(buf), m) == sizeof(buf), "copy");
		must(pattern_check(buf, sizeof(buf), SEED, RANGE + 5) ==
			     sizeof(buf),
		     "wrong bytes");
		oriel_unmap(m);
	}
	err = oriel_map(f, 5 * RANGE, 1000, ORIEL_MAP_WRITE, &m, &p);
	if (!failed(r, "map for writing", err)) {
		pattern_fill(buf, sizeof(buf), SEED, 5 * RANGE);
		must(oriel_copy(p, buf, sizeof(buf), m) == sizeof(buf), "copy");
		check_native("f", buf, sizeof(buf), 5 * RANGE);
		oriel_unmap(m);
	}
}

static void step_attr(struct run *r, struct oriel_session *s,
		      struct oriel_file *f)
{
	struct oriel_stat st;

	if (!failed(r, "fstat", oriel_fstat(f, ORIEL_FORCE_SYNC, &st)))
		must(st.size >= FILE_BYTES, "size %llu",
		     (unsigned long long)st.size);
	if (!failed(r, "stat", oriel_stat(s, "d/../d/g", 0, &st)))
		must(st.size == 100, "size");
	failed(r, "fsync", oriel_fsync(f));
	failed(r, "fallocate",
	       oriel_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       3 * RANGE, 10));
	if (!failed(r, "truncate", oriel_ftruncate(f, FILE_BYTES)))
		must(oriel_lseek(f, 0, SEEK_END) != 0, "empty");
}

static void step_create(struct run *r, struct oriel_session *s)
{
	struct oriel_file *f;
	int err = oriel_open(s, "d/new", O_RDWR | O_CREAT, 0644, &f);

	if (failed(r, "create", err))
		return;
	failed(r, "close", oriel_close(f));
	if (!failed(r, "rename", oriel_rename(s, "d/new", "d/old", 0)))
		failed(r, "unlink", oriel_unlink(s, "d/old"));
}

static void step_names(struct run *r, struct oriel_session *s)
{
	struct oriel_file *f;
	struct oriel_dir *d;
	struct oriel_dirent e;
	int n = 0, err;

	step_create(r, s);
	if (!failed(r, "symlink", oriel_symlink(s, "g", "d/link"))) {
		err = oriel_open(s, "d/link", O_RDONLY, 0, &f);
		if (!failed(r, "open by link", err))
			failed(r, "close", oriel_close(f));
	}
	err = oriel_opendir(s, "d", ORIEL_DIR_STAT, &d);
	if (!failed(r, "opendir", err)) {
		while ((err = oriel_readdir(d, &e)) > 0)
			n++;
		if (!failed(r, "readdir", err))
			must(n >= 3, "%d names", n);
		oriel_closedir(d);
	}
	if (!failed(r, "mkdir", oriel_mkdir(s, "d/sub", 0755)))
		failed(r, "rmdir", oriel_rmdir(s, "d/sub"));
	failed(r, "sync", oriel_sync(s));
}

static void prepare(void)
{
	unlink(in_dir(dir, "d/new"));
	unlink(in_dir(dir, "d/old"));
	unlink(in_dir(dir, "d/link"));
	rmdir(in_dir(dir, "d/sub"));
	native_pattern(dir, "f", FILE_BYTES, SEED);
}

static void run_steps(struct run *r)
{
	struct oriel_info info = { .size = sizeof(info) };
	struct oriel_session *s = NULL;
	struct oriel_file *f = NULL;
	struct oriel_options o;
	int err;

	test_options(&o);
	o.dax = ORIEL_DAX_AUTO;
	o.timeout_ms = 1000;
	o.no_background = !background;
	o.window_bytes = 3 * o.range_bytes;
	o.arena_bytes = 2 << 20;
	o.inode_cache = 2;
	err = oriel_connect(share, &o, &s);
	if (failed(r, "connect", err)) {
		must(!s && oriel_connect_error()[0], "no sentence");
		return;
	}
	err = oriel_open(s, "f", O_RDWR, 0, &f);
	if (!failed(r, "open", err)) {
		step_read(r, f);
		step_write(r, f);
		step_map(r, f);
		step_attr(r, s, f);
		step_names(r, s);
		must(oriel_info(s, &info) == 0 && info.pinned_ranges == 0,
		     "pinned ranges");
		failed(r, "close", oriel_close(f));
	} else {
		must(!f, "output touched");
		step_names(r, s);
	}
	oriel_disconnect(s);
}

/* --------------------------------------------------- what must not be left */

struct held {
	int fds;
	int maps;
	long blocks;
	long pages;
};

static long pages_mapped(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	must(f && fscanf(f, "%ld", &pages) == 1, "statm");
	fclose(f);
	return pages;
}

static void hold(struct held *h)
{
	h->fds = count_fds(0);
	h->maps = count_maps(0, "memfd:") + count_maps(0, "/f");
	h->blocks = fault_outstanding();
	h->pages = pages_mapped();
}

static void check_held(const struct held *before, const char *what,
		       unsigned nth)
{
	struct held now;

	hold(&now);
	if (now.fds != before->fds || now.maps != before->maps)
		dump_held(0);
	must(now.fds == before->fds && now.maps == before->maps &&
		     now.blocks == before->blocks,
	     "step %u (%s) failed: %d descriptors (%d before), %d mappings "
	     "(%d), %ld blocks (%ld)",
	     nth, what, now.fds, before->fds, now.maps, before->maps,
	     now.blocks, before->blocks);
#if !defined(SUPPORT_ASAN) && !defined(SUPPORT_TSAN)
	/* a window or an arena would be more */
	must(now.pages < before->pages + 400, "step %u (%s) failed: %ld pages",
	     nth, what, now.pages - before->pages);
#endif
	must(!embedded || (waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD),
	     "step %u (%s) failed: a child is left", nth, what);
}

/* ------------------------------------------------------------ what may fail */

static bool memory_err(int err)
{
	return err == -ENOMEM;
}

static bool system_err(int err)
{
	switch (err) {
	case -ENOMEM:
	case -EMFILE:
	case -ENOSPC:
	case -EAGAIN:
	case -EIO:
	case -EPIPE:
	case -ECONNRESET:
	case -EACCES:
	case -EINVAL:
	case -ENOTCONN:
	case -EPROTO:
	case -ENODEV:
		return true;
	}
	return false; /* ETIMEDOUT neither: nobody hangs */
}

static int the_err;

static bool message_err(int err)
{
	/* what was asked; or what follows from not knowing a request: no window,
	 * no allocation */
	return err == -the_err ||
	       (the_err == ENOSYS && (err == -EOPNOTSUPP || err == -ENODEV));
}

static void loop(const char *name, enum fault_kind kind, int err, bool for_good,
		 bool (*may)(int err))
{
	struct held before;
	struct run r = { .n_ok = 0 };
	unsigned nth, n_failed = 0, slowest = 0;
	uint64_t t0 = now_ms(), longest = 0;
	const char *what, *slowest_what = "";

	the_err = err;
	support_watch(60); /* its thread stays */
	prepare();
	run_steps(&r);
	must(r.n_errs == 0, "%s: %d without a fault", r.names[0], r.errs[0]);
	hold(&before);
	for (nth = 1;; nth++) {
		uint64_t t;

		snprintf(support_context, sizeof(support_context),
			 "%s, step %u", name, nth);
		memset(&r, 0, sizeof(r));
		prepare();
		support_watch(60);
		t = now_ms();
		fault_arm(kind, nth, err, for_good);
		run_steps(&r);
		what = fault_disarm();
		t = now_ms() - t;
		if (t > longest) {
			longest = t;
			slowest = nth;
			slowest_what = what ? what : "none";
		}
		support_watch(0);
		check_held(&before, what ? what : "none", nth);
		if (!what)
			break;
		n_failed += r.n_errs > 0;
		for (unsigned i = 0; i < r.n_errs; i++)
			must(may(r.errs[i]),
			     "step %u (%s) failed: %s returned %d (%s)", nth,
			     what, r.names[i], r.errs[i],
			     oriel_strerror(r.errs[i]));
	}
	support_context[0] = '\0';
	must(r.n_errs == 0, "%s: %d without a fault", r.names[0], r.errs[0]);
	printf("%s: %u steps, %u of them noticed; %llu ms, the longest %llu "
	       "ms (step %u, %s)\n",
	       name, nth - 1, n_failed, (unsigned long long)(now_ms() - t0),
	       (unsigned long long)longest, slowest, slowest_what);
	fflush(stdout);
	must(nth > 10 && n_failed > 5, "nothing was made to fail");
}

static void all_loops(const char *how)
{
	printf("%s\n", how);
	loop("memory", FAULT_MEMORY, 0, false, memory_err);
	loop("memory, from then on", FAULT_MEMORY, 0, true, memory_err);
	loop("system calls", FAULT_SYSTEM, 0, false, system_err);
	loop("messages: I/O error", FAULT_MESSAGE, EIO, false, message_err);
	loop("messages: no memory", FAULT_MESSAGE, ENOMEM, false, message_err);
	loop("messages: not known", FAULT_MESSAGE, ENOSYS, false, message_err);
	loop("messages: I/O error from then on", FAULT_MESSAGE, EIO, true,
	     message_err);
	loop("answers lost", FAULT_LOST, EIO, false, message_err);
}

/* On a daemon with a socket, which in the end holds what it held before. */
static void socket_loops(void)
{
	struct run r = { .n_ok = 0 };
	struct daemon_state st;
	struct daemon d;
	int fds;

	daemon_start(&d, dir, NULL);
	embedded = false;
	share = d.socket;
	prepare();
	run_steps(&r);
	must(r.n_errs == 0, "%s: %d without a fault", r.names[0], r.errs[0]);
	support_watch(60);
	do {
		nap_ms(5);
		daemon_state(&d, &st);
	} while (st.sessions);
	fds = count_fds(d.pid);
	loop("memory", FAULT_MEMORY, 0, false, memory_err);
	loop("system calls", FAULT_SYSTEM, 0, false, system_err);
	loop("messages: I/O error", FAULT_MESSAGE, EIO, false, message_err);
	support_watch(60);
	do {
		nap_ms(5);
		daemon_state(&d, &st);
	} while (st.sessions || st.inodes > 1 || st.handles || st.mappings ||
		 count_fds(d.pid) != fds);
	support_watch(0);
	must(daemon_stop(&d), "the daemon ended badly");
}

/* ------------------------------------------------- the daemon's steps fail */

static bool daemon_err(int err)
{
	switch (err) {
	case -EIO: /* as preload.c has them */
	case -ENOBUFS:
	case -ENOSPC:
	case -EMFILE:
	case -ENOMEM:
	case -EAGAIN:
	case -ENOTCONN: /* the connection is what failed */
	case -ECONNRESET:
	case -EPIPE:
	case -EPROTO:
	case -ENODEV:
		return true;
	}
	return false;
}

/* The name after "FAULT " in its log, or NULL. */
static const char *fault_of(const struct daemon *d, char *name)
{
	char *log = daemon_log(d);
	const char *at = strstr(log, "FAULT ");
	int n = at ? sscanf(at, "FAULT %60s", name) : 0;

	free(log);
	return n == 1 ? name : NULL;
}

/* Nothing of a session that has left is held. *@fds < 0: take it. */
static void wait_idle(const struct daemon *d, int *fds)
{
	struct daemon_state st;

	support_watch(20);
	do {
		nap_ms(2);
		daemon_state(d, &st);
	} while (st.sessions || st.inodes > 1 || st.handles || st.mappings ||
		 (*fds >= 0 && count_fds(d->pid) != *fds));
	*fds = count_fds(d->pid);
	support_watch(0);
}

/* One daemon, in which step @nth fails. False: it has fewer. */
static bool daemon_round(unsigned nth, int *fds, unsigned *n_failed)
{
	struct run r = { .n_ok = 0 };
	char text[20], name[64] = "";
	struct daemon d;
	bool fired;

	snprintf(support_context, sizeof(support_context),
		 "the daemon's step %u", nth);
	snprintf(text, sizeof(text), "%u", nth);
	setenv("ORIEL_FAULT_STEP", text, 1);
	prepare();
	daemon_start(&d, dir, NULL);
	share = d.socket;
	support_watch(30);
	run_steps(&r);
	support_watch(0);
	fired = fault_of(&d, name);
	for (unsigned i = 0; i < r.n_errs; i++)
		must(fired && daemon_err(r.errs[i]),
		     "%s failed: %s returned %d (%s)", name, r.names[i],
		     r.errs[i], oriel_strerror(r.errs[i]));
	*n_failed += r.n_errs > 0;
	snprintf(support_context, sizeof(support_context),
		 "after the daemon's step %u (%s)", nth, name);
	wait_idle(&d, fds);
	/* and it serves the next one as if nothing had been */
	memset(&r, 0, sizeof(r));
	prepare();
	run_steps(&r);
	if (fired)
		must(r.n_errs == 0, "%s: %d", r.names[0], r.errs[0]);
	wait_idle(&d, fds);
	must(daemon_stop(&d), "the daemon ended badly");
	return fired;
}

static void daemon_loop(const char *preload)
{
	unsigned nth = 1, n_failed = 0;
	int fds = -1;

	embedded = false;
	setenv("LD_PRELOAD", preload, 1);
	/* once without a fault, for what it holds when idle */
	daemon_round(1000000, &fds, &n_failed);
	while (daemon_round(nth, &fds, &n_failed))
		nth++;
	support_context[0] = '\0';
	printf("the daemon: %u steps, %u of them noticed\n", nth - 1, n_failed);
	must(nth > 50 && n_failed > 20, "nothing was made to fail");
}

/* inline, background, socket, or daemon LIBRARY */
int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "inline";

	signal(SIGPIPE, SIG_IGN);
	scratch_make(dir, sizeof(dir));
	must(mkdir(in_dir(dir, "d"), 0755) == 0, "mkdir");
	native_pattern(dir, "d/g", 100, 1);
	share = dir;
	background = strcmp(how, "background") == 0;
	if (strcmp(how, "daemon") == 0 && argc > 2)
		daemon_loop(argv[2]);
	else if (strcmp(how, "socket") == 0)
		socket_loops();
	else
		all_loops(how);
	scratch_remove(dir);
	return 0;
}
