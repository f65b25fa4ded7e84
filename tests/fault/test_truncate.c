/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Another process truncates and re-extends a file, a thousand times, while
 * threads copy from and to it. Nobody dies of SIGBUS; every byte that is read is
 * either right or zero; writes are whole. The same with a SIGBUS handler of the
 * application, from before the connect and from after it: it never sees our
 * faults, and still gets its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/support.h"

#define FILE_BYTES (512u << 10)
#define SEED 42

static char dir[300];
static char path[400];

#ifdef SUPPORT_TSAN
/* Bytes of a file that one thread reads while another writes them are that: the
 * file's, as with read(2) and write(2). */
const char *__tsan_default_suppressions(void);
__attribute__((visibility("default"))) const char *
__tsan_default_suppressions(void)
{
	return "race:guard_copy_from\nrace:guard_copy_to\n";
}
#endif

/* ------------------------------------------------------ the other process */

/* Down to something, up again with zeros, then the bytes again. */
static void truncate_main(const char *file, unsigned rounds)
{
	unsigned char *buf = malloc(FILE_BYTES);
	int fd = open(file, O_RDWR | O_CLOEXEC);
	struct rng r = { .state = (uint64_t)getpid() };

	must(buf && fd >= 0, "open %s: %s", file, strerror(errno));
	pattern_fill(buf, FILE_BYTES, SEED, 0);
	for (unsigned i = 0; i < rounds; i++) {
		size_t to = (size_t)rng_below(&r, FILE_BYTES);

		if (i % 3 == 0)
			to &= ~(size_t)4095;
		must(ftruncate(fd, (off_t)to) == 0, "ftruncate");
		usleep(i % 5 == 0 ? 300 : 30);
		must(ftruncate(fd, FILE_BYTES) == 0, "ftruncate");
		must(pwrite(fd, buf + to, FILE_BYTES - to, (off_t)to) ==
			     (ssize_t)(FILE_BYTES - to),
		     "pwrite");
		usleep(30);
	}
	exit(0);
}

static pid_t truncator_start(unsigned rounds)
{
	char n[20];
	pid_t pid;

	snprintf(n, sizeof(n), "%u", rounds);
	pid = fork();
	must(pid >= 0, "fork");
	if (pid == 0) {
		execl("/proc/self/exe", "test_truncate", "--truncate", path, n,
		      (char *)NULL);
		_exit(127);
	}
	return pid;
}

/* ------------------------------------------------------------ the copiers */

struct copier {
	struct oriel_session *s;
	unsigned id;
	_Atomic bool *stop;
	pthread_t thread;
	uint64_t n_full, n_short;
};

static void check_bytes(const unsigned char *buf, size_t len, uint64_t off)
{
	for (size_t i = 0; i < len; i++)
		must(buf[i] == 0 || buf[i] == pattern_byte(SEED, off + i),
		     "byte %llu is 0x%02x",
		     (unsigned long long)(off + i), buf[i]);
}

static void read_once(struct copier *c, struct oriel_file *f, struct rng *r,
		      unsigned char *buf)
{
	size_t len = 1 + (size_t)rng_below(r, 100000);
	off_t off = (off_t)rng_below(r, FILE_BYTES - len);
	ssize_t n = oriel_pread(f, buf, len, off);

	must(n >= 0 && (size_t)n <= len, "pread returned %zd: %s", n,
	     oriel_session_error(c->s));
	check_bytes(buf, (size_t)n, (uint64_t)off);
	c->n_full += (size_t)n == len;
	c->n_short += (size_t)n < len;
}

static void write_once(struct copier *c, struct oriel_file *f, struct rng *r,
		       unsigned char *buf)
{
	size_t len = 1 + (size_t)rng_below(r, 30000);
	off_t off = (off_t)rng_below(r, FILE_BYTES - len);

	pattern_fill(buf, len, SEED, (uint64_t)off);
	must(oriel_pwrite(f, buf, len, off) == (ssize_t)len, "pwrite: %s",
	     oriel_session_error(c->s));
	c->n_full++;
}

static void pointer_once(struct copier *c, struct oriel_file *f, struct rng *r,
		      unsigned char *buf)
{
	size_t len = 1 + (size_t)rng_below(r, 100000), n;
	off_t off = (off_t)rng_below(r, FILE_BYTES - len);
	struct oriel_mapping *m;
	void *p;
	int err = oriel_map(f, off, len, ORIEL_MAP_READ, &m, &p);

	if (err == -EINVAL || err == -ENOSPC)
		return; /* past the end just now; ranges in use */
	must(err == 0, "map: %d", err);
	n = oriel_copy(buf, p, len, m);
	must(n <= len, "%zu of %zu", n, len);
	check_bytes(buf, n, (uint64_t)off);
	c->n_full += n == len;
	c->n_short += n < len;
	oriel_unmap(m);
}

static void *copier_main(void *arg)
{
	struct copier *c = arg;
	struct rng r = { .state = c->id };
	unsigned char *buf = malloc(100000);
	struct oriel_file *f;

	must(buf, "no memory");
	must(oriel_open(c->s, "f", O_RDWR, 0, &f) == 0, "open");
	while (!atomic_load(c->stop)) {
		switch (c->id) {
		case 0:
		case 1:
			read_once(c, f, &r, buf);
			break;
		case 2:
			write_once(c, f, &r, buf);
			break;
		default:
			pointer_once(c, f, &r, buf);
		}
	}
	must(oriel_close(f) == 0, "close");
	free(buf);
	return NULL;
}

static void copy_while_truncated(struct oriel_session *s, const char *what,
				 unsigned rounds)
{
	struct oriel_info info = { .size = sizeof(info) };
	struct copier c[4];
	_Atomic bool stop = false;
	int status = 1;
	pid_t pid;

	memset(c, 0, sizeof(c));
	for (unsigned i = 0; i < 4; i++) {
		c[i].s = s;
		c[i].id = i;
		c[i].stop = &stop;
		must(pthread_create(&c[i].thread, NULL, copier_main, &c[i]) ==
			     0,
		     "no thread");
	}
	pid = truncator_start(rounds);
	must(waitpid(pid, &status, 0) == pid && status == 0, "status 0x%x",
	     status);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(c[i].thread, NULL);
	must(oriel_info(s, &info) == 0 && info.alive, "dead");
	printf("%s: reads %llu whole, %llu short; writes %llu; pointers %llu "
	       "whole, %llu short; faults caught %llu\n",
	       what, (unsigned long long)(c[0].n_full + c[1].n_full),
	       (unsigned long long)(c[0].n_short + c[1].n_short),
	       (unsigned long long)c[2].n_full,
	       (unsigned long long)c[3].n_full,
	       (unsigned long long)c[3].n_short,
	       (unsigned long long)info.faults);
	fflush(stdout);
	must(info.faults > 0, "nothing was truncated under a copy");
}

/* ------------------------------------------------------ our own truncations */

struct reader {
	struct oriel_file *f;
	_Atomic bool *stop;
	pthread_t thread;
	unsigned id;
};

/* Across the end as it is or was: by window, by message, and asking. */
static void *reader_main(void *arg)
{
	struct reader *r = arg;
	struct rng rng = { .state = r->id };
	unsigned char buf[9000];
	struct oriel_stat st;

	while (!atomic_load(r->stop)) {
		size_t len = 1 + (size_t)rng_below(&rng, sizeof(buf));
		off_t off = (off_t)rng_below(&rng, 12000);
		ssize_t n = oriel_pread(r->f, buf, len, off);

		must(n >= 0 && (size_t)n <= len, "pread returned %zd", n);
		check_bytes(buf, (size_t)n, (uint64_t)off);
		if (r->id == 0)
			must(oriel_fstat(r->f, ORIEL_FORCE_SYNC, &st) == 0,
			     "fstat");
	}
	return NULL;
}

/* A write past the end, on the page that the end is in, right after we cut the
 * file: it must extend the file, whatever readers have seen of the old size. */
static void cut_and_write(struct oriel_file *f, int fd, struct rng *rng)
{
	size_t end = 1 + (size_t)rng_below(rng, 8000);
	size_t at = end + (size_t)rng_below(rng, 50);
	size_t len = 1 + (size_t)rng_below(rng, 100);
	unsigned char buf[100], got[100];

	pattern_fill(buf, len, SEED, at);
	must(oriel_ftruncate(f, (off_t)end) == 0, "ftruncate");
	must(oriel_pwrite(f, buf, len, (off_t)at) == (ssize_t)len, "pwrite");
	must(lseek(fd, 0, SEEK_END) == (off_t)(at + len),
	     "size %lld after %zu bytes at %zu", (long long)lseek(fd, 0,
								  SEEK_END),
	     len, at);
	must(pread(fd, got, len, (off_t)at) == (ssize_t)len, "pread");
	must(memcmp(got, buf, len) == 0, "lost: %zu bytes at %zu", len, at);
	must(oriel_pread(f, got, len, (off_t)at) == (ssize_t)len, "pread");
	must(memcmp(got, buf, len) == 0, "not seen: %zu bytes at %zu", len, at);
	/* longer again, so that readers find more than they will */
	if (rng_below(rng, 2)) {
		unsigned char *more = malloc(12000 - at);

		must(more, "no memory");
		pattern_fill(more, 12000 - at, SEED, at);
		must(oriel_pwrite(f, more, 12000 - at, (off_t)at) ==
			     (ssize_t)(12000 - at),
		     "pwrite");
		free(more);
	}
}

static void truncate_ourselves(const char *what, uint32_t small_file_bytes,
			       unsigned rounds)
{
	struct oriel_options o;
	struct oriel_session *s;
	struct oriel_file *f;
	struct reader r[3];
	struct rng rng = { .state = 1 };
	_Atomic bool stop = false;
	int fd;

	native_pattern(dir, "own", 12000, SEED);
	fd = open(in_dir(dir, "own"), O_RDONLY | O_CLOEXEC);
	test_options(&o);
	o.small_file_bytes = small_file_bytes;
	s = test_connect(dir, &o);
	must(fd >= 0 && oriel_open(s, "own", O_RDWR, 0, &f) == 0, "open");
	for (unsigned i = 0; i < 3; i++) {
		r[i] = (struct reader){ .f = f, .stop = &stop, .id = i };
		must(pthread_create(&r[i].thread, NULL, reader_main, &r[i]) ==
			     0,
		     "no thread");
	}
	for (unsigned i = 0; i < rounds; i++) {
		snprintf(support_context, sizeof(support_context),
			 "%s, round %u", what, i);
		cut_and_write(f, fd, &rng);
	}
	support_context[0] = '\0';
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(r[i].thread, NULL);
	must(oriel_close(f) == 0, "close");
	oriel_disconnect(s);
	close(fd);
	printf("%s: %u rounds\n", what, rounds);
	fflush(stdout);
}

/* ------------------------------------------------ the application's SIGBUS */

static sigjmp_buf back;
static volatile sig_atomic_t n_own;

static void own_handler(int sig, siginfo_t *si, void *ctx)
{
	n_own++;
	siglongjmp(back, 1);
}

static void install_own(void)
{
	struct sigaction sa;

	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = own_handler;
	sa.sa_flags = SA_SIGINFO | SA_NODEFER;
	must(sigaction(SIGBUS, &sa, NULL) == 0, "sigaction");
}

/* A SIGBUS that is none of ours goes to the application. */
static void own_fault(void)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	volatile unsigned char *p;
	int before = n_own;

	must(fd >= 0, "open");
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 4 * FILE_BYTES);
	must(p != MAP_FAILED, "mmap");
	if (sigsetjmp(back, 1) == 0)
		must(!p[0], "a byte past the end of the file");
	must(n_own == before + 1, "the application's handler was called %d "
				  "times",
	     n_own - before);
	munmap((void *)(uintptr_t)p, 4096);
	close(fd);
}

static struct oriel_session *connect_small(void)
{
	struct oriel_options o;

	test_options(&o);
	o.window_bytes = 6 * o.range_bytes;
	return test_connect(dir, &o);
}

int main(int argc, char **argv)
{
	unsigned rounds = 1000;
	struct oriel_session *s;

	if (argc == 4 && strcmp(argv[1], "--truncate") == 0)
		truncate_main(argv[2], (unsigned)atoi(argv[3]));
	scratch_make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/f", dir);
	native_pattern(dir, "f", FILE_BYTES, SEED);

	s = connect_small();
	copy_while_truncated(s, "no handler", rounds);
	/* from now on there is one; ours was there first */
	install_own();
	copy_while_truncated(s, "handler after the connect", rounds / 2);
	must(n_own == 0, "it was called for a fault of ours");
	own_fault();
	oriel_disconnect(s);

	n_own = 0;
	install_own();
	s = connect_small();
	copy_while_truncated(s, "handler before the connect", rounds / 2);
	must(n_own == 0, "it was called for a fault of ours");
	own_fault();
	oriel_disconnect(s);
	own_fault();

	truncate_ourselves("cut by us, mapped", ORIEL_MAP_ALL, 3000);
	truncate_ourselves("cut by us, by message", 64 << 10, 3000);
	scratch_remove(dir);
	return 0;
}
