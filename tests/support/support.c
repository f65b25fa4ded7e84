/* SPDX-License-Identifier: BSD-2-Clause */
/* Helpers of the client's tests; see support.h. */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

char support_context[200];

void support_fail(const char *file, int line, const char *cond,
		  const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	if (support_context[0])
		fprintf(stderr, "%s\n", support_context);
	fprintf(stderr, "%s:%d: not true: %s: ", file, line, cond);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	fflush(stderr);
	abort();
}

/* --------------------------------------------------------------- folders */

static void make_in(const char *base, char *path, size_t len)
{
	must((size_t)snprintf(path, len, "%s/oriel-test-XXXXXX", base) < len,
	     "path too long");
	must(mkdtemp(path), "mkdtemp %s: %s", path, strerror(errno));
	must(chmod(path, 0755) == 0, "chmod: %s", strerror(errno));
}

void scratch_make(char *path, size_t len)
{
	const char *base = getenv("ORIEL_TEST_DIR");

	make_in(base && base[0] ? base : "/var/tmp", path, len);
}

void scratch_make_shm(char *path, size_t len)
{
	make_in("/dev/shm", path, len);
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	if (remove(path) == 0)
		return 0;
	if (type == FTW_DNR && chmod(path, 0700) == 0)
		return remove(path);
	return -1;
}

void scratch_remove(const char *path)
{
	must(strstr(path, "/oriel-test-"), "not ours: %s", path);
	nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

const char *in_dir(const char *dir, const char *name)
{
	static __thread char buf[4][8192];
	static __thread unsigned next;
	char *p = buf[next++ % 4];

	snprintf(p, sizeof(buf[0]), "%s/%s", dir, name);
	return p;
}

static void write_all(int fd, const unsigned char *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, buf, len);

		must(n > 0, "write: %s", strerror(errno));
		buf += n;
		len -= (size_t)n;
	}
}

void native_write(const char *dir, const char *name, const void *buf,
		  size_t len)
{
	int fd = open(in_dir(dir, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
		      0644);

	must(fd >= 0, "%s/%s: %s", dir, name, strerror(errno));
	write_all(fd, buf, len);
	close(fd);
}

void native_pattern(const char *dir, const char *name, size_t len,
		    uint32_t seed)
{
	unsigned char *buf = malloc(len ? len : 1);

	must(buf, "no memory");
	pattern_fill(buf, len, seed, 0);
	native_write(dir, name, buf, len);
	free(buf);
}

unsigned char *native_read(const char *dir, const char *name,
			   size_t *ret_len)
{
	int fd = open(in_dir(dir, name), O_RDONLY | O_CLOEXEC);
	unsigned char *buf;
	struct stat st;
	size_t done = 0;

	must(fd >= 0, "%s/%s: %s", dir, name, strerror(errno));
	must(fstat(fd, &st) == 0, "fstat: %s", strerror(errno));
	buf = malloc((size_t)st.st_size + 1);
	must(buf, "no memory");
	while (done < (size_t)st.st_size) {
		ssize_t n = read(fd, buf + done, (size_t)st.st_size - done);

		must(n > 0, "read: %s", strerror(errno));
		done += (size_t)n;
	}
	close(fd);
	*ret_len = done;
	return buf;
}

void pattern_fill(void *buf, size_t len, uint32_t seed, uint64_t off)
{
	unsigned char *p = buf;

	for (size_t i = 0; i < len; i++)
		p[i] = pattern_byte(seed, off + i);
}

size_t pattern_check(const void *buf, size_t len, uint32_t seed, uint64_t off)
{
	const unsigned char *p = buf;
	size_t i = 0;

	while (i < len && p[i] == pattern_byte(seed, off + i))
		i++;
	return i;
}

/* ---------------------------------------------------------------- random */

uint64_t number_from(const char *env, uint64_t dflt)
{
	const char *text = getenv(env);

	return text && text[0] ? strtoull(text, NULL, 0) : dflt;
}

uint64_t seed_from(const char *env)
{
	struct timespec ts;
	uint64_t seed;

	clock_gettime(CLOCK_REALTIME, &ts);
	seed = number_from(env, (uint64_t)ts.tv_nsec * 1000003u ^
					(uint64_t)ts.tv_sec ^
					(uint64_t)getpid() << 32);
	printf("%s=%llu\n", env, (unsigned long long)seed);
	fflush(stdout);
	return seed;
}

/* -------------------------------------------------------------- processes */

static void proc_path(char *buf, size_t len, pid_t pid, const char *what)
{
	if (pid)
		snprintf(buf, len, "/proc/%d/%s", (int)pid, what);
	else
		snprintf(buf, len, "/proc/self/%s", what);
}

int count_fds(pid_t pid)
{
	char path[64];
	DIR *d;
	int n = 0;

	proc_path(path, sizeof(path), pid, "fd");
	d = opendir(path);
	if (!d)
		return -1;
	while (readdir(d))
		n++;
	closedir(d);
	/* "." and "..", and our own descriptor of the folder itself */
	return n - 2 - (pid == 0);
}

int count_maps(pid_t pid, const char *what)
{
	char path[64], line[8192];
	FILE *f;
	int n = 0;

	proc_path(path, sizeof(path), pid, "maps");
	f = fopen(path, "re");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		n += !what || strstr(line, what) != NULL;
	fclose(f);
	return n;
}

void dump_held(pid_t pid)
{
	char path[64], line[8192], target[4096];
	struct dirent *e;
	FILE *f;
	DIR *d;

	proc_path(path, sizeof(path), pid, "fd");
	d = opendir(path);
	while (d && (e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, target,
				       sizeof(target) - 1);

		if (n < 0)
			continue;
		target[n] = '\0';
		fprintf(stderr, "  fd %s -> %s\n", e->d_name, target);
	}
	if (d)
		closedir(d);
	proc_path(path, sizeof(path), pid, "maps");
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		fprintf(stderr, "  %s", line);
	if (f)
		fclose(f);
}

uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void nap_ms(unsigned ms)
{
	struct timespec ts = { .tv_sec = ms / 1000,
			       .tv_nsec = (long)(ms % 1000) * 1000000 };

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

static pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t watch_until_ms; /* guarded by watch_lock; 0: off */
static bool watch_runs;         /* guarded by watch_lock */

static void *watch_main(void *arg)
{
	for (;;) {
		bool late;

		nap_ms(50);
		pthread_mutex_lock(&watch_lock);
		late = watch_until_ms && now_ms() > watch_until_ms;
		pthread_mutex_unlock(&watch_lock);
		must(!late, "a call hangs");
	}
	return arg;
}

void support_watch(unsigned seconds)
{
	pthread_t t;

	pthread_mutex_lock(&watch_lock);
	watch_until_ms = seconds ? now_ms() + seconds * 1000u : 0;
	if (seconds && !watch_runs) {
		must(pthread_create(&t, NULL, watch_main, NULL) == 0,
		     "no thread");
		pthread_detach(t);
		watch_runs = true;
	}
	pthread_mutex_unlock(&watch_lock);
}

/* ---------------------------------------------------------------- daemons */

static void exec_daemon(const struct daemon *d, const char *share,
			const char *const *options)
{
	const char *path = getenv("ORIEL_DAEMON"); /* set by meson */
	char dir[8192], sock[300];
	const char *argv[24];
	int n = 0;
	int fd = open(d->log, O_WRONLY | O_CREAT | O_APPEND, 0600);

	snprintf(dir, sizeof(dir), "--shared-dir=%s", share);
	snprintf(sock, sizeof(sock), "--socket-path=%s", d->socket);
	argv[n++] = path ? path : "orield";
	argv[n++] = dir;
	argv[n++] = sock;
#if defined(SUPPORT_ASAN) || defined(SUPPORT_TSAN)
	/* what a sanitizer does at exit: its own system calls, /proc */
	argv[n++] = "--seccomp=none";
	argv[n++] = "--sandbox=none";
#endif
	while (options && *options && n < 23)
		argv[n++] = *options++;
	argv[n] = NULL;
	dup2(fd, 1);
	dup2(fd, 2);
	execv(argv[0], (char **)(uintptr_t)argv);
	fprintf(stderr, "cannot run %s; set ORIEL_DAEMON\n", argv[0]);
	_exit(127);
}

/* Does somebody listen? */
static bool answers(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok;

	must(strlen(path) < sizeof(addr.sun_path), "socket path too long");
	memcpy(addr.sun_path, path, strlen(path));
	ok = connect(sock, (struct sockaddr *)&addr, sizeof(addr)) == 0;
	close(sock);
	return ok;
}

void daemon_start(struct daemon *d, const char *share,
		  const char *const *options)
{
	uint64_t until = now_ms() + 10000;

	make_in("/tmp", d->dir, sizeof(d->dir));
	snprintf(d->socket, sizeof(d->socket), "%s/socket", d->dir);
	snprintf(d->log, sizeof(d->log), "%s/log", d->dir);
	d->pid = fork();
	must(d->pid >= 0, "fork: %s", strerror(errno));
	if (d->pid == 0)
		exec_daemon(d, share, options);
	while (!answers(d->socket)) {
		must(waitpid(d->pid, NULL, WNOHANG) == 0, "orield ended: %s",
		     daemon_log(d));
		must(now_ms() < until, "orield does not listen: %s",
		     daemon_log(d));
		nap_ms(5);
	}
	nap_ms(20); /* the connection just tried has left again */
}

char *daemon_log(const struct daemon *d)
{
	FILE *f = fopen(d->log, "re");
	char *buf = calloc(1, 1 << 20);

	must(buf, "no memory");
	if (f) {
		size_t n = fread(buf, 1, (1 << 20) - 1, f);

		buf[n] = '\0';
		fclose(f);
	}
	return buf;
}

bool daemon_stop(struct daemon *d)
{
	uint64_t until = now_ms() + 10000;
	int status = 0;
	bool ok;

	kill(d->pid, SIGTERM);
	while (waitpid(d->pid, &status, WNOHANG) == 0) {
		if (now_ms() > until)
			kill(d->pid, SIGKILL);
		nap_ms(2);
	}
	ok = (WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
	     (WIFSIGNALED(status) && (WTERMSIG(status) == SIGTERM ||
				      WTERMSIG(status) == SIGKILL));
	if (!ok) {
		char *log = daemon_log(d);

		fprintf(stderr, "orield ended with status 0x%x:\n%s\n", status,
			log);
		free(log);
	}
	scratch_remove(d->dir);
	return ok;
}

/* The last report in the log, or NULL. */
static const char *last_report(const char *log)
{
	const char *at = NULL, *p = log;

	while ((p = strstr(p, "clients ")))
		at = p++;
	return at;
}

static unsigned count_reports(const char *log)
{
	unsigned n = 0;

	while ((log = strstr(log, "clients "))) {
		log++;
		n++;
	}
	return n;
}

void daemon_state(const struct daemon *d, struct daemon_state *ret)
{
	uint64_t until = now_ms() + 10000;
	char *log = daemon_log(d);
	unsigned before = count_reports(log);

	must(kill(d->pid, SIGUSR1) == 0, "kill: %s", strerror(errno));
	for (;;) {
		const char *at;

		free(log);
		log = daemon_log(d);
		at = last_report(log);
		if (count_reports(log) > before && strchr(at, '\n')) {
			must(sscanf(at,
				    "clients %llu, inodes %llu, descriptors "
				    "%llu, handles %llu, mappings %llu, "
				    "requests %llu",
				    &ret->sessions, &ret->inodes, &ret->fds,
				    &ret->handles, &ret->mappings,
				    &ret->requests) == 6,
			     "not understood: %s", at);
			break;
		}
		must(now_ms() < until, "no report on SIGUSR1: %s", log);
		nap_ms(2);
	}
	free(log);
}

/* --------------------------------------------------------------- sessions */

void test_options(struct oriel_options *o)
{
	memset(o, 0, sizeof(*o));
	o->size = sizeof(*o);
	o->range_bytes = 64 << 10;
	o->window_bytes = 64 << 20;
	o->small_file_bytes = ORIEL_MAP_ALL;
	o->admit_touches = ORIEL_MAP_ALL;
	o->dax = ORIEL_DAX_ALWAYS;
}

struct oriel_session *test_connect(const char *share,
				   const struct oriel_options *o)
{
	struct oriel_session *s;
	struct oriel_options dflt;
	int err;

	test_options(&dflt);
	err = oriel_connect(share, o ? o : &dflt, &s);
	must(err == 0, "connect %s: %d %s", share, err, oriel_connect_error());
	return s;
}
