/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One side dies or hangs in the middle of I/O. Whatever happens: calls end with
 * an error in time, what is mapped stays readable, nothing is left behind.
 * How long a call took is printed; what is asserted is only that it ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/support.h"

#define LIMIT_S 5u
#define FILE_BYTES (1u << 20)

static char dir[300];

static void make_files(unsigned n)
{
	char name[32];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		native_pattern(dir, name, FILE_BYTES, i);
	}
}

static pid_t daemon_of(struct oriel_session *s)
{
	struct oriel_info i = { .size = sizeof(i) };

	must(oriel_info(s, &i) == 0 && i.daemon_pid > 1, "no pid");
	return (pid_t)i.daemon_pid;
}

/* --------------------------------------------------- the daemon is killed */

struct worker {
	struct oriel_session *s;
	struct oriel_file *f;
	unsigned kind;
	pthread_t thread;
	_Atomic bool *stop;
	_Atomic uint64_t *killed_ms;
	_Atomic uint64_t n_calls;
	int err;           /* the first error */
	uint64_t after_ms; /* from the kill to its return */
};

/* One call of the worker's kind. */
static ssize_t one_call(struct worker *w, unsigned char *buf, unsigned i)
{
	struct oriel_stat st;
	struct oriel_file *f;
	int err;

	switch (w->kind) {
	case 0: /* by message: past the end */
		return oriel_pread(w->f, buf, 100, FILE_BYTES + 7);
	case 1: /* always past the end: never served by the window alone */
		return oriel_pwrite(w->f, buf, 100000,
				    (off_t)(FILE_BYTES + i * 100u));
	case 2:
		return oriel_stat(w->s, "f0", 0, &st);
	case 3:
		err = oriel_open(w->s, "f0", O_RDONLY, 0, &f);
		return err ? err : oriel_close(f);
	case 4: /* set-ups all the time: more ranges than the window has */
		return oriel_pread(w->f, buf, 5000,
				   (off_t)(i * 7919u * 64u % FILE_BYTES));
	default:
		return oriel_fsync(w->f);
	}
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	unsigned char *buf = malloc(100000);
	uint64_t killed;
	ssize_t n = 0;

	must(buf, "no memory");
	pattern_fill(buf, 100000, 9, 0);
	for (unsigned i = 0; n >= 0 && !atomic_load(w->stop); i++) {
		n = one_call(w, buf, i);
		atomic_fetch_add(&w->n_calls, 1);
	}
	killed = atomic_load(w->killed_ms);
	w->err = (int)n;
	w->after_ms = killed ? now_ms() - killed : 0;
	free(buf);
	return NULL;
}

#define N_WORKERS 6

static void workers_start(struct worker *w, struct oriel_session *s,
			  _Atomic bool *stop, _Atomic uint64_t *killed_ms)
{
	char name[32];

	memset(w, 0, N_WORKERS * sizeof(*w));
	for (unsigned i = 0; i < N_WORKERS; i++) {
		w[i].s = s;
		w[i].kind = i;
		w[i].stop = stop;
		w[i].killed_ms = killed_ms;
		snprintf(name, sizeof(name), "f%u", i);
		must(oriel_open(s, name, O_RDWR, 0, &w[i].f) == 0, "open %s",
		     name);
	}
	for (unsigned i = 0; i < N_WORKERS; i++)
		must(pthread_create(&w[i].thread, NULL, worker_main, &w[i]) ==
			     0,
		     "no thread");
	for (unsigned i = 0; i < N_WORKERS; i++)
		while (atomic_load(&w[i].n_calls) < 3)
			nap_ms(1);
}

/* Bytes by pointer, before and after. */
static void check_pointer(const unsigned char *p)
{
	size_t at = pattern_check(p, 100000, 7, 0);

	must(at == 100000, "byte %zu of the mapping is 0x%02x", at, p[at]);
}

static void test_killed(int sig)
{
	struct oriel_session *s;
	struct oriel_options o;
	struct worker w[N_WORKERS];
	_Atomic bool stop = false;
	_Atomic uint64_t killed_ms = 0;
	struct oriel_mapping *map;
	struct oriel_file *hit;
	struct oriel_info info = { .size = sizeof(info) };
	unsigned char buf[1000];
	uint64_t most = 0;
	void *p;

	make_files(N_WORKERS);
	test_options(&o);
	o.window_bytes = 6 * o.range_bytes;
	s = test_connect(dir, &o);
	must(oriel_open(s, "f7", O_RDONLY, 0, &hit) == 0, "open");
	must(oriel_map(hit, 0, 100000, ORIEL_MAP_READ, &map, &p) == 0, "map");
	check_pointer(p);
	workers_start(w, s, &stop, &killed_ms);
	nap_ms(20);
	support_watch(LIMIT_S);
	atomic_store(&killed_ms, now_ms());
	must(kill(daemon_of(s), sig) == 0, "kill: %s", strerror(errno));
	for (unsigned i = 0; i < N_WORKERS; i++) {
		pthread_join(w[i].thread, NULL);
		must(w[i].err == -ENOTCONN, "worker %u ended with %d", i,
		     w[i].err);
		most = w[i].after_ms > most ? w[i].after_ms : most;
	}
	printf("signal %d: all calls returned within %llu ms\n", sig,
	       (unsigned long long)most);
	check_pointer(p);
	/* a hit asks nobody */
	must(oriel_pread(hit, buf, sizeof(buf), 50000) == sizeof(buf),
	     "a hit after the daemon's death: %s", oriel_session_error(s));
	must(pattern_check(buf, sizeof(buf), 7, 50000) == sizeof(buf),
	     "wrong bytes");
	must(oriel_info(s, &info) == 0 && !info.alive, "alive");
	/* it stays dead, and says so */
	must(oriel_open(s, "f0", O_RDONLY, 0, &w[0].f) == -ENOTCONN, "open");
	oriel_unmap(map);
	oriel_disconnect(s); /* with files open */
	support_watch(0);
}

/* Nothing is left of a session whose daemon died. */
static void test_killed_leaves_nothing(void)
{
	int fds, maps;

	test_killed(SIGKILL); /* whatever is made once is made now */
	fds = count_fds(0);
	maps = count_maps(0, "/f7") + count_maps(0, "memfd:oriel");
	for (unsigned i = 0; i < 3; i++)
		test_killed(i % 2 ? SIGKILL : SIGTERM);
	if (count_fds(0) != fds)
		dump_held(0);
	must(count_fds(0) == fds, "%d descriptors, %d before", count_fds(0),
	     fds);
	must(count_maps(0, "/f7") + count_maps(0, "memfd:oriel") == maps,
	     "maps left");
}

/* A mapping that nobody let go of does not stop a disconnect. */
static void test_disconnect_with_mapping(void)
{
	struct oriel_session *s = test_connect(dir, NULL);
	struct oriel_mapping *map;
	struct oriel_file *f;
	void *p;

	must(oriel_open(s, "f7", O_RDONLY, 0, &f) == 0, "open");
	must(oriel_map(f, 0, 100000, ORIEL_MAP_READ, &map, &p) == 0, "map");
	check_pointer(p);
	oriel_disconnect(s);
	must(count_maps(0, "/f7") == 0, "the window is still there");
}

/* -------------------------------------------------------- the daemon hangs */

struct hang {
	struct oriel_session *s;
	struct oriel_file *f;
	unsigned n_calls;
	unsigned n_timeouts;
	uint64_t most_ms;
};

static void *hang_main(void *arg)
{
	struct hang *h = arg;

	for (unsigned i = 0; i < h->n_calls; i++) {
		struct oriel_stat st;
		uint64_t t = now_ms();
		int err = oriel_stat(h->s, "f0", 0, &st);

		t = now_ms() - t;
		must(err == -ETIMEDOUT, "stat returned %d", err);
		h->n_timeouts++;
		h->most_ms = t > h->most_ms ? t : h->most_ms;
	}
	return NULL;
}

static void stopped(pid_t pid)
{
	char path[64], line[512];
	FILE *f;

	must(kill(pid, SIGSTOP) == 0, "kill: %s", strerror(errno));
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	do {
		f = fopen(path, "re");
		must(f && fgets(line, sizeof(line), f), "no %s", path);
		fclose(f);
	} while (!strstr(line, ") T ") && (nap_ms(1), true));
}

static void time_out(struct oriel_session *s, unsigned n_threads,
		     unsigned n_calls)
{
	struct hang h[8];
	pthread_t t[8];
	uint64_t most = 0;

	for (unsigned i = 0; i < n_threads; i++) {
		h[i] = (struct hang){ .s = s, .n_calls = n_calls };
		must(pthread_create(&t[i], NULL, hang_main, &h[i]) == 0,
		     "no thread");
	}
	for (unsigned i = 0; i < n_threads; i++) {
		pthread_join(t[i], NULL);
		must(h[i].n_timeouts == n_calls, "%u timeouts",
		     h[i].n_timeouts);
		most = h[i].most_ms > most ? h[i].most_ms : most;
	}
	printf("stopped: %u calls by %u threads timed out, the longest after "
	       "%llu ms\n",
	       n_calls, n_threads, (unsigned long long)most);
}

/* It goes on as if nothing had been, or the session is dead for good. */
static void check_usable(struct oriel_session *s)
{
	unsigned char *buf = malloc(FILE_BYTES);
	struct oriel_file *f;
	int err = -ETIMEDOUT;

	must(buf, "no memory");
	while (err == -ETIMEDOUT) {
		struct oriel_stat st;

		err = oriel_stat(s, "f7", 0, &st);
	}
	must(err == 0, "after the pause: %d %s", err, oriel_session_error(s));
	must(oriel_open(s, "f7", O_RDWR, 0, &f) == 0, "open");
	must(oriel_pread(f, buf, FILE_BYTES, 0) == FILE_BYTES, "pread: %s",
	     oriel_session_error(s));
	must(pattern_check(buf, FILE_BYTES, 7, 0) == FILE_BYTES,
	     "wrong bytes");
	must(oriel_pwrite(f, buf, 100, 0) == 100, "pwrite: %s",
	     oriel_session_error(s));
	must(oriel_close(f) == 0, "close");
	free(buf);
}

static void test_stopped(void)
{
	struct oriel_session *s;
	struct oriel_options o;
	pid_t pid;

	test_options(&o);
	o.timeout_ms = 300;
	s = test_connect(dir, &o);
	pid = daemon_of(s);
	support_watch(60);
	stopped(pid);
	time_out(s, 4, 2);
	must(kill(pid, SIGCONT) == 0, "kill");
	check_usable(s);
	support_watch(0);
	oriel_disconnect(s);
}

static void *late_writer_main(void *arg)
{
	struct hang *h = arg;
	struct oriel_file *f = h->f;
	uint64_t t = now_ms();
	ssize_t n = oriel_pwrite(f, "x", 1, FILE_BYTES + 100);

	must(n == -ETIMEDOUT, "pwrite returned %zd", n);
	h->most_ms = now_ms() - t;
	return NULL;
}

/* Many writers of one file wait for the daemon side by side, not in turn: that
 * would be ten seconds. */
static void test_stopped_writers(void)
{
	struct hang h[20];
	pthread_t t[20];
	struct oriel_session *s;
	struct oriel_options o;
	struct oriel_file *f;
	uint64_t most = 0;
	pid_t pid;

	test_options(&o);
	o.timeout_ms = 500;
	s = test_connect(dir, &o);
	pid = daemon_of(s);
	must(oriel_open(s, "f6", O_RDWR, 0, &f) == 0, "open");
	support_watch(LIMIT_S);
	stopped(pid);
	for (unsigned i = 0; i < 20; i++) {
		h[i] = (struct hang){ .s = s, .f = f };
		must(pthread_create(&t[i], NULL, late_writer_main, &h[i]) == 0,
		     "no thread");
	}
	for (unsigned i = 0; i < 20; i++) {
		pthread_join(t[i], NULL);
		most = h[i].most_ms > most ? h[i].most_ms : most;
	}
	support_watch(30);
	printf("stopped: 20 writers with 500 ms each, the longest %llu ms\n",
	       (unsigned long long)most);
	must(kill(pid, SIGCONT) == 0, "kill");
	check_usable(s);
	support_watch(0);
	oriel_close(f);
	oriel_disconnect(s);
	make_files(8);
}

/* More answers are owed than there are slots for requests. */
static void test_stopped_out_of_slots(void)
{
	struct oriel_session *s;
	struct oriel_options o;
	pid_t pid;

	test_options(&o);
	o.timeout_ms = 15;
	o.arena_bytes = 2 << 20;
	s = test_connect(dir, &o);
	pid = daemon_of(s);
	support_watch(60);
	stopped(pid);
	time_out(s, 4, 40);
	must(kill(pid, SIGCONT) == 0, "kill");
	check_usable(s);
	support_watch(0);
	oriel_disconnect(s);
}

/* Reads and writes of files that are mapped, and of such that are not. */
static void test_stopped_io(void)
{
	struct oriel_session *s;
	struct oriel_options o;
	struct oriel_file *f, *g;
	unsigned char buf[5000];
	uint64_t t;
	pid_t pid;

	test_options(&o);
	o.timeout_ms = 100;
	s = test_connect(dir, &o);
	pid = daemon_of(s);
	must(oriel_open(s, "f7", O_RDWR, 0, &f) == 0, "open");
	must(oriel_open(s, "f6", O_RDWR, 0, &g) == 0, "open");
	must(oriel_pread(f, buf, sizeof(buf), 0) == sizeof(buf), "pread");
	support_watch(30);
	stopped(pid);
	must(oriel_pread(f, buf, sizeof(buf), 100) == sizeof(buf),
	     "a hit needs no daemon: %s", oriel_session_error(s));
	t = now_ms();
	must(oriel_pread(g, buf, sizeof(buf), 0) == -ETIMEDOUT, "pread");
	must(oriel_pwrite(g, buf, sizeof(buf), 0) == -ETIMEDOUT, "pwrite");
	must(oriel_pwrite(g, buf, sizeof(buf), FILE_BYTES) == -ETIMEDOUT,
	     "pwrite");
	must(oriel_ftruncate(g, FILE_BYTES) == -ETIMEDOUT, "ftruncate");
	must(oriel_fsync(g) == -ETIMEDOUT, "fsync");
	printf("stopped: five calls of 100 ms each took %llu ms\n",
	       (unsigned long long)(now_ms() - t));
	/* two answers late: what was asked happens, nothing is confused */
	must(kill(pid, SIGCONT) == 0, "kill");
	check_usable(s);
	support_watch(0);
	oriel_close(f);
	oriel_close(g);
	oriel_disconnect(s);
	native_pattern(dir, "f6", FILE_BYTES, 6);
	native_pattern(dir, "f7", FILE_BYTES, 7);
}

/* A daemon that hangs holds a disconnect, with files open, for a moment only;
 * afterwards it is gone. */
static void test_disconnect_stopped(void)
{
	struct oriel_session *s = test_connect(dir, NULL);
	pid_t pid = daemon_of(s);
	struct oriel_file *f;
	uint64_t t;

	for (unsigned i = 0; i < 8; i++) {
		char name[32];

		snprintf(name, sizeof(name), "f%u", i);
		must(oriel_open(s, name, O_RDWR, 0, &f) == 0, "open");
		must(oriel_pwrite(f, "x", 1, 5) == 1, "pwrite");
	}
	support_watch(LIMIT_S);
	stopped(pid);
	t = now_ms();
	oriel_disconnect(s);
	printf("disconnect from a stopped daemon: %llu ms\n",
	       (unsigned long long)(now_ms() - t));
	support_watch(0);
	must(kill(pid, 0) < 0 && errno == ESRCH, "it is still there");
	make_files(8);
}

/* ----------------------------------------------------- the client is killed */

/* A client that works until it is killed. */
__attribute__((noreturn)) static void client_main(const char *path)
{
	struct oriel_session *s;
	struct oriel_options o;
	struct worker w[N_WORKERS];
	_Atomic bool stop = false;
	_Atomic uint64_t killed_ms = 0;
	struct oriel_mapping *map;
	struct oriel_dir *d;
	void *p;

	test_options(&o);
	s = test_connect(path, &o);
	workers_start(w, s, &stop, &killed_ms);
	must(oriel_map(w[0].f, 0, 300000, ORIEL_MAP_READ | ORIEL_MAP_WRITE,
		       &map, &p) == 0,
	     "map");
	must(oriel_opendir(s, "/", 0, &d) == 0, "opendir");
	nap_ms(600000);
	exit(0);
}

/* Until @d holds what it held before (the watch ends a wait in vain). */
static void wait_for_state(const struct daemon *d, int fds, int maps)
{
	struct daemon_state st;

	do {
		nap_ms(5);
		daemon_state(d, &st);
	} while (count_fds(d->pid) != fds ||
		 count_maps(d->pid, "memfd:") != 0 || st.sessions ||
		 st.handles || st.mappings || st.inodes > 1);
#if !defined(SUPPORT_TSAN) && !defined(SUPPORT_ASAN)
	/* stacks of threads that ended may be kept for the next ones */
	must(count_maps(d->pid, NULL) <= maps + 16, "%d maps, %d before",
	     count_maps(d->pid, NULL), maps);
#endif
}

static void test_client_killed(void)
{
	struct daemon d;
	struct daemon_state st;
	struct oriel_session *s;
	struct oriel_file *f;
	int fds, maps;

	daemon_start(&d, dir, NULL);
	/* once quietly, so that what stays for good is there */
	s = test_connect(d.socket, NULL);
	oriel_disconnect(s);
	support_watch(30);
	do {
		nap_ms(5);
		daemon_state(&d, &st);
	} while (st.sessions);
	nap_ms(50);
	fds = count_fds(d.pid);
	maps = count_maps(d.pid, NULL);
	for (unsigned i = 0; i < 12; i++) {
		pid_t pid = fork();

		must(pid >= 0, "fork");
		if (pid == 0) {
			/* a fresh program: we have threads */
			execl("/proc/self/exe", "test_death", "--client",
			      d.socket, (char *)NULL);
			_exit(127);
		}
		do {
			nap_ms(5);
			daemon_state(&d, &st);
		} while (st.handles < N_WORKERS + 1 || st.mappings < 2);
		must(count_fds(d.pid) > fds && count_maps(d.pid, "memfd:") > 0,
		     "it holds nothing");
		nap_ms(i * 7);
		must(kill(pid, SIGKILL) == 0, "kill");
		must(waitpid(pid, NULL, 0) == pid, "wait");
		wait_for_state(&d, fds, maps);
	}
	/* and it serves the next one */
	s = test_connect(d.socket, NULL);
	must(oriel_open(s, "f7", O_RDONLY, 0, &f) == 0, "open");
	oriel_disconnect(s);
	support_watch(0);
	must(daemon_stop(&d), "the daemon ended badly");
}

/* The daemon leaves while we connect: an error, and nothing left. */
static void test_death_in_handshake(void)
{
	struct oriel_options o;
	int before = count_fds(0);

	test_options(&o);
	o.timeout_ms = 200; /* some of them read on, and answer nothing */
	for (unsigned i = 0; i < 20; i++) {
		struct oriel_session *s = NULL;
		int sv[2], err;
		char byte;
		pid_t pid;

		must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) ==
			     0,
		     "socketpair");
		pid = fork();
		must(pid >= 0, "fork");
		if (pid == 0) {
			/* read some of it, answer nothing */
			close(sv[0]);
			for (unsigned k = 0; k < i; k++)
				if (read(sv[1], &byte, 1) != 1)
					break;
			_exit(0);
		}
		close(sv[1]);
		support_watch(LIMIT_S);
		err = oriel_connect_fd(sv[0], &o, &s);
		support_watch(0);
		must(err < 0 && !s, "connected to nobody");
		must(oriel_connect_error()[0], "no sentence");
		must(waitpid(pid, NULL, 0) == pid, "wait");
	}
	must(count_fds(0) == before, "descriptors left");
}

/* [NAME]: only that one. --client SOCKET: the one that is to be killed. */
int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} tests[] = {
		/* first what forks: no threads of ours yet */
		{ "client killed", test_client_killed },
		{ "death in the handshake", test_death_in_handshake },
		{ "daemon killed", test_killed_leaves_nothing },
		{ "disconnect with a mapping", test_disconnect_with_mapping },
		{ "daemon stopped", test_stopped },
		{ "writers while stopped", test_stopped_writers },
		{ "out of slots", test_stopped_out_of_slots },
		{ "I/O while stopped", test_stopped_io },
		{ "disconnect while stopped", test_disconnect_stopped },
	};

	if (argc == 3 && strcmp(argv[1], "--client") == 0)
		client_main(argv[2]);
	signal(SIGPIPE, SIG_IGN);
	scratch_make(dir, sizeof(dir));
	make_files(8);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		uint64_t t = now_ms();

		if (argc > 1 && strcmp(argv[1], tests[i].name) != 0)
			continue;
		tests[i].run();
		printf("ok: %s (%llu ms)\n", tests[i].name,
		       (unsigned long long)(now_ms() - t));
		fflush(stdout);
	}
	scratch_remove(dir);
	return 0;
}
