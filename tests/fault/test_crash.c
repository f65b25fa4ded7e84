/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Killed at each of its system calls, before it and after it, while a log is
 * being written: the client or the daemon, with appends gathered or not, by
 * message or by descriptor. Nothing is visible then that was not written, what
 * was written and is lost is the newest and no more than was gathered, and
 * nothing that was synced is lost.
 *
 *   test_crash client|daemon|descriptor
 *
 * The points are those where ptrace(2) stops the victim; a run for each, until
 * the victim comes to the end of its work before the Nth. Where that is depends
 * a little on who waits for whom: nothing here depends on that.
 */
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/support.h"

#define RECORD 32u
#define PER_SEND 5u
#define LEARN 8u /* go by message first, where a descriptor is wanted */
#define N_RECORDS 14u
#define SYNC_AT 8u
#define NEVER_MS 60000u
#define MAX_POINTS 3000u
#ifdef SUPPORT_TSAN
#define STEP 7u /* a run takes a second */
#else
#define STEP 1u
#endif

/* Of the writer, seen here whatever becomes of it. */
struct progress {
	_Atomic uint32_t written; /* records whose write has returned */
	_Atomic uint32_t safe;    /* of them, before an fsync that has */
};

struct plan {
	const char *name;
	bool gathers;
	bool by_descriptor;
	bool kills_daemon;
};

static char dir[300];
static struct progress *progress;

/* -------------------------------------------------------------- the writer */

static int write_record(struct oriel_file *f, uint32_t i)
{
	char rec[RECORD + 1];
	ssize_t n;

	snprintf(rec, sizeof(rec), "%031u\n", i);
	n = oriel_pwrite(f, rec, RECORD, 0);
	if (n != RECORD)
		return n < 0 ? (int)n : -EIO;
	atomic_store(&progress->written, i + 1);
	return 0;
}

static int sync_records(struct oriel_file *f)
{
	int err = oriel_fdatasync(f);

	if (!err)
		atomic_store(&progress->safe, atomic_load(&progress->written));
	return err;
}

static int write_log(struct oriel_file *f, uint32_t first)
{
	int err = 0;

	for (uint32_t i = first; !err && i < N_RECORDS; i++) {
		err = write_record(f, i);
		if (!err && i == SYNC_AT)
			err = sync_records(f);
	}
	return err ? err : oriel_close(f);
}

/* Says that it is ready, waits to be told, writes. The exit status is 0, or 3:
 * the daemon is gone. */
__attribute__((noreturn)) static void
writer_main(const struct plan *p, const char *share, int ready, int go)
{
	struct oriel_options o;
	struct oriel_session *s;
	struct oriel_file *f;
	uint32_t first = p->by_descriptor ? LEARN : 0;
	char c = 0;
	int err;

	test_options(&o);
	o.poll_us = ORIEL_NO_POLL; /* each wait is a system call, then */
	if (!p->by_descriptor)
		o.held_files = ORIEL_HOLD_NONE;
	s = test_connect(share, &o);
	must(oriel_open(s, "log", O_WRONLY | O_APPEND, 0, &f) == 0, "open");
	for (uint32_t i = 0; i < first; i++)
		must(write_record(f, i) == 0, "write");
	must(!p->gathers ||
		     oriel_coalesce(f, PER_SEND * RECORD + 1, NEVER_MS) == 0,
	     "coalesce");
	must(write(ready, &c, 1) == 1 && read(go, &c, 1) == 1, "told");
	err = write_log(f, first);
	_exit(err == 0 ? 0 : err == -ENOTCONN ? 3 : 4);
}

struct writer {
	pid_t pid;
	int go;
};

static void writer_start(const struct plan *p, const char *share,
			 struct writer *w)
{
	int ready[2], go[2];
	char c;

	atomic_store(&progress->written, 0);
	atomic_store(&progress->safe, 0);
	must(pipe2(ready, O_CLOEXEC) == 0 && pipe2(go, O_CLOEXEC) == 0, "pipe");
	w->pid = fork();
	must(w->pid >= 0, "fork");
	if (w->pid == 0) {
		close(ready[0]);
		close(go[1]);
		writer_main(p, share, ready[1], go[0]);
	}
	close(ready[1]);
	close(go[0]);
	must(read(ready[0], &c, 1) == 1, "the writer did not begin");
	close(ready[0]);
	w->go = go[1];
}

/* -------------------------------------------------------------- the victim */

/* Stop every thread of @pid, to be told of its system calls. False: it is not
 * allowed here. */
static bool attach(pid_t pid)
{
	const long options = PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE |
			     PTRACE_O_TRACESYSGOOD;
	char path[64];
	struct dirent *e;
	DIR *d;
	int status;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	must(d, "opendir %s", path);
	while ((e = readdir(d))) {
		pid_t tid = atoi(e->d_name);

		if (tid <= 0)
			continue;
		if (ptrace(PTRACE_SEIZE, tid, NULL, (void *)options) < 0) {
			closedir(d);
			must(errno == EPERM, "seize: %s", strerror(errno));
			return false;
		}
		must(ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) == 0 &&
			     waitpid(tid, &status, __WALL) == tid &&
			     WIFSTOPPED(status) &&
			     ptrace(PTRACE_SYSCALL, tid, NULL, NULL) == 0,
		     "stop %d: %s", tid, strerror(errno));
	}
	closedir(d);
	return true;
}

/* After a stop of @tid; it may be gone already. */
static void go_on(pid_t tid, int status)
{
	bool signalled = WSTOPSIG(status) != (SIGTRAP | 0x80) && !(status >> 16);
	int sig = signalled ? WSTOPSIG(status) : 0;

	ptrace(PTRACE_SYSCALL, tid, NULL, (void *)(uintptr_t)sig);
}

struct outcome {
	unsigned n;      /* stops at system calls so far */
	bool killed;     /* at the one that was asked for */
	bool ended;      /* the writer has */
	int status;      /* of it then */
	bool is_dead;    /* the victim is, all its threads */
};

/* Something happened to @tid. */
static void follow(pid_t tid, int status, pid_t victim, unsigned nth,
		   struct outcome *o)
{
	if (WIFSTOPPED(status)) {
		if (WSTOPSIG(status) == (SIGTRAP | 0x80) && ++o->n == nth) {
			o->killed = true;
			kill(victim, SIGKILL);
		} else {
			go_on(tid, status);
		}
	}
}

/* Let them run until @victim has stopped @nth times, and kill it there; if the
 * writer has come to its end before, then. */
static struct outcome run_until(pid_t victim, const struct writer *w,
				unsigned nth)
{
	struct outcome o = { .n = 0 };
	int status;
	pid_t tid;

	while (!o.ended || !o.is_dead) {
		/* also of each thread: else its process is never done */
		tid = waitpid(-1, &status, __WALL);
		must(tid > 0, "waitpid: %s", strerror(errno));
		follow(tid, status, victim, nth, &o);
		if (WIFSTOPPED(status))
			continue;
		if (tid == w->pid) {
			o.ended = true;
			o.status = status;
			if (tid != victim && !o.killed)
				kill(victim, SIGKILL);
		}
		if (tid == victim)
			o.is_dead = true;
		must(!o.is_dead || o.ended || o.killed, "the daemon ended");
	}
	return o;
}

/* --------------------------------------------------------------- the rules */

/* How many records the log has; they are the first ones. */
static uint32_t check_log(void)
{
	char rec[RECORD + 1];
	size_t len;
	unsigned char *got = native_read(dir, "log", &len);

	must(len % RECORD == 0, "half a record: %zu bytes", len);
	for (size_t i = 0; i < len / RECORD; i++) {
		snprintf(rec, sizeof(rec), "%031zu\n", i);
		must(memcmp(got + i * RECORD, rec, RECORD) == 0,
		     "record %zu is another", i);
	}
	free(got);
	return (uint32_t)(len / RECORD);
}

static uint32_t check(const struct plan *p, unsigned nth)
{
	uint32_t n = check_log();
	uint32_t written = atomic_load(&progress->written);
	uint32_t safe = atomic_load(&progress->safe);
	uint32_t lost = p->gathers ? PER_SEND : 0;

	must(n >= safe && n + lost >= written,
	     "point %u: %u records of %u written, %u synced", nth, n, written,
	     safe);
	/* one write may be done and not have returned */
	must(n <= written + 1, "point %u: %u records, %u were written", nth, n,
	     written);
	return n;
}

/* The daemon may still be at what a client asked for that is dead by now. */
static void wait_for_daemon(const struct daemon *d)
{
	struct daemon_state st;

	do {
		nap_ms(1);
		daemon_state(d, &st);
	} while (st.sessions);
}

/* One run. False: the work was done before the point. */
static bool kill_at(const struct plan *p, const struct daemon *d, unsigned nth,
		    uint32_t *ret_records)
{
	struct writer w;
	struct outcome o;
	pid_t victim;

	native_write(dir, "log", "", 0);
	writer_start(p, d->socket, &w);
	victim = p->kills_daemon ? d->pid : w.pid;
	if (!attach(victim)) {
		puts("ptrace is not allowed here");
		kill(w.pid, SIGKILL);
		kill(d->pid, SIGKILL);
		exit(77);
	}
	must(write(w.go, "", 1) == 1, "go");
	alarm(60);
	o = run_until(victim, &w, nth);
	close(w.go);
	if (o.killed && !p->kills_daemon)
		must(WIFSIGNALED(o.status), "status 0x%x", o.status);
	else
		must(WIFEXITED(o.status) &&
			     (WEXITSTATUS(o.status) == 0 ||
			      (o.killed && WEXITSTATUS(o.status) == 3)),
		     "status 0x%x", o.status);
	if (!p->kills_daemon)
		wait_for_daemon(d);
	alarm(0);
	*ret_records = check(p, nth);
	return o.killed;
}

static void each_point(const struct plan *p)
{
	bool seen[N_RECORDS + 1] = { false };
	unsigned n_seen = 0, nth = 1;
	struct daemon d = { .pid = 0 };
	uint32_t records;
	bool killed;

	do {
		must(nth < MAX_POINTS, "it never ends");
		if (!d.pid)
			daemon_start(&d, dir, NULL);
		killed = kill_at(p, &d, nth, &records);
		must(records <= N_RECORDS, "%u records", records);
		n_seen += !seen[records];
		seen[records] = true;
		if (p->kills_daemon || !killed) {
			kill(d.pid, SIGKILL);
			must(daemon_stop(&d), "the daemon ended badly");
			d.pid = 0;
		}
		nth += STEP;
	} while (killed);
	must(seen[N_RECORDS], "never all of it");
	/* from none to all, by sendings or one by one */
	must(n_seen >= 3 || STEP > 1, "only %u lengths", n_seen);
	printf("%s: %u points, %u lengths\n", p->name, nth / STEP - 1, n_seen);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const struct plan plans[] = {
		{ "client, gathered", true, false, false },
		{ "client, each", false, false, false },
		{ "daemon, gathered", true, false, true },
		{ "daemon, each", false, false, true },
		{ "descriptor, gathered", true, true, false },
		{ "descriptor, each", false, true, false },
	};
	unsigned n = 0;

	must(argc == 2, "usage: test_crash client|daemon|descriptor");
	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(progress != MAP_FAILED, "mmap");
	scratch_make(dir, sizeof(dir));
	for (size_t i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
		if (strncmp(plans[i].name, argv[1], strlen(argv[1])) != 0)
			continue;
		each_point(&plans[i]);
		n++;
	}
	must(n == 2, "no such plan");
	scratch_remove(dir);
	return 0;
}
