/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A crowd of clients, each a process, that do what stdin says, for
 * bench_scale.py and for tests/scale.
 *
 *	oriel-crowd CLIENTS SOCKET...      (client I goes to SOCKET I mod n)
 *
 *	connect            all at once; then a read, mapped and compared
 *	run OP COUNT MS THREADS    clients 0..COUNT-1 do OP for MS milliseconds,
 *	                   client 0 with THREADS threads, the others with one
 *	do OP TIMES        client 0 does OP so many times
 *	kill FIRST COUNT   SIGKILL to those, and wait for them
 *	pids               who they are
 *	quit
 *
 * OP is "hit" (64 bytes out of the window), "stat" (a message), "native" (the
 * same by fstatat(2): what the scheduler gives to whom), "walk" (stat of "AAA/BBB",
 * another one each time), "touch" (64 bytes out of another range of "large"), or
 * "check" (as after connect). The file is "data": FILE_BYTES of pattern() in each
 * share. Each command is answered by one line of JSON.
 *
 * In the environment: ORIEL_CROWD_POLL_US, how long they poll (0: never);
 * ORIEL_CROWD_INODES, how many inodes they remember; ORIEL_CROWD_WINDOW, MiB;
 * ORIEL_CROWD_NATIVE, the file for "native".
 *
 * The parent uses no library call, so that its children may. They share a page
 * or more with it: what to do, and what came of it. Each waits on a futex.
 */
#include <oriel/oriel.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILE_BYTES ((size_t)1 << 20)
#define MAX_CLIENTS 4096
#define MAX_THREADS 64
#define CHECK_BYTES 5000

#define RANGE_BYTES ((uint64_t)2 << 20)

enum op {
	OP_NONE,
	OP_CONNECT,
	OP_HIT,
	OP_STAT,
	OP_NATIVE,
	OP_WALK,
	OP_TOUCH,
	OP_CHECK,
};

static const char *const op_names[] = {
	[OP_HIT] = "hit",   [OP_STAT] = "stat",   [OP_NATIVE] = "native",
	[OP_WALK] = "walk", [OP_TOUCH] = "touch", [OP_CHECK] = "check",
};

struct result {
	_Atomic uint32_t done; /* the order that was carried out last */
	int err;
	uint64_t ops;
	uint64_t longest_ns; /* of one operation */
	uint64_t ns;         /* all together */
	pid_t pid;           /* 0: killed */
} __attribute__((aligned(64)));

struct orders {
	_Atomic uint32_t number; /* a futex: changes with each */
	enum op op;
	unsigned count;
	unsigned threads;
	uint64_t times; /* 0: until end_ns */
	uint64_t end_ns;
	struct result of[];
};

static struct orders *orders;
static unsigned n_clients;
static char **sockets;
static unsigned n_sockets;
static struct oriel_options options = { .size = sizeof(options) };
static const char *native_path;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static unsigned char pattern(size_t i)
{
	return (unsigned char)(i * 131 + (i >> 8) * 17);
}

/* ------------------------------------------------------------- a client */

struct client {
	struct oriel_session *s;
	struct oriel_file *f;
	struct oriel_file *large; /* opened when first wanted */
	unsigned index;
};

struct thread {
	struct client *c;
	pthread_t id;
	int err;
	uint64_t ops;
	uint64_t longest_ns;
};

static int check(struct client *c)
{
	unsigned char buf[CHECK_BYTES];
	size_t off = (size_t)c->index * 4099 % (FILE_BYTES - CHECK_BYTES);
	ssize_t n = oriel_pread(c->f, buf, sizeof(buf), (off_t)off);

	if (n < 0)
		return (int)n;
	for (size_t i = 0; i < sizeof(buf); i++) {
		if (n != (ssize_t)sizeof(buf) || buf[i] != pattern(off + i))
			return -EILSEQ;
	}
	return 0;
}

static int do_connect(struct client *c)
{
	const char *path = sockets[c->index % n_sockets];
	int err = oriel_connect(path, &options, &c->s);

	if (err) {
		fprintf(stderr, "client %u: %s\n", c->index,
			oriel_connect_error());
		return err;
	}
	err = oriel_open(c->s, "data", O_RDONLY, 0, &c->f);
	return err ? err : check(c);
}

static int walk(struct client *c, uint64_t i)
{
	struct oriel_stat st;
	char name[16];

	snprintf(name, sizeof(name), "%03u/%03u", (unsigned)(i / 1000 % 1000),
		 (unsigned)(i % 1000));
	return oriel_stat(c->s, name, 0, &st);
}

static int touch(struct client *c, uint64_t i)
{
	unsigned char buf[64];
	ssize_t n;
	int err = c->large ? 0 : oriel_open(c->s, "large", O_RDONLY, 0,
					    &c->large);

	if (err)
		return err;
	n = oriel_pread(c->large, buf, sizeof(buf), (off_t)(i * RANGE_BYTES));
	return n == (ssize_t)sizeof(buf) ? 0 : n < 0 ? (int)n : -EIO;
}

static int once(struct client *c, enum op op, uint64_t i)
{
	struct oriel_stat st;
	struct stat native;
	unsigned char buf[64];
	ssize_t n;

	switch (op) {
	case OP_STAT:
		return oriel_stat(c->s, "data", 0, &st);
	case OP_NATIVE:
		return stat(native_path, &native) ? -errno : 0;
	case OP_WALK:
		return walk(c, i);
	case OP_TOUCH:
		return touch(c, i);
	case OP_HIT:
		n = oriel_pread(c->f, buf, sizeof(buf),
				(off_t)(i * 64 % FILE_BYTES));
		return n == (ssize_t)sizeof(buf) ? 0 : -EIO;
	default:
		return check(c);
	}
}

/* The clock is looked at once a message, or once in 64 hits. */
static void *work(void *arg)
{
	struct thread *t = arg;
	const enum op op = orders->op;
	const unsigned each = op == OP_HIT ? 64 : 1;
	const uint64_t times = orders->times;
	uint64_t before = now_ns(), now = before;

	while (!t->err && (times ? t->ops < times : now < orders->end_ns)) {
		for (unsigned i = 0; !t->err && i < each; i++)
			t->err = once(t->c, op, t->ops++);
		now = now_ns();
		if (now - before > t->longest_ns)
			t->longest_ns = now - before;
		before = now;
	}
	return NULL;
}

static int work_all(struct client *c, struct result *r)
{
	struct thread t[MAX_THREADS] = { { .c = c } };
	unsigned n = c->index == 0 ? orders->threads : 1;
	int err = 0;

	for (unsigned i = 1; i < n && !err; i++) {
		t[i].c = c;
		err = -pthread_create(&t[i].id, NULL, work, &t[i]);
		if (err)
			n = i;
	}
	work(&t[0]);
	for (unsigned i = 0; i < n; i++) {
		if (i)
			pthread_join(t[i].id, NULL);
		err = err ? err : t[i].err;
		r->ops += t[i].ops;
		if (t[i].longest_ns > r->longest_ns)
			r->longest_ns = t[i].longest_ns;
	}
	return err;
}

static void carry_out(struct client *c, struct result *r)
{
	uint64_t begin = now_ns();

	r->ops = 0;
	r->longest_ns = 0;
	r->err = 0;
	if (c->index >= orders->count)
		return;
	if (orders->op == OP_CONNECT)
		r->err = do_connect(c);
	else if (!c->f)
		r->err = -ENOTCONN;
	else if (orders->op == OP_CHECK)
		r->err = check(c);
	else
		r->err = work_all(c, r);
	r->ns = now_ns() - begin;
}

static void futex(_Atomic uint32_t *word, int what, uint32_t value)
{
	syscall(SYS_futex, word, what, value, NULL, NULL, 0);
}

static void live(unsigned index)
{
	struct client c = { .index = index };
	struct result *r = &orders->of[index];
	uint32_t seen = 0, next;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		while ((next = atomic_load(&orders->number)) == seen)
			futex(&orders->number, FUTEX_WAIT, seen);
		seen = next;
		if (orders->op == OP_NONE)
			break;
		carry_out(&c, r);
		atomic_store(&r->done, seen);
	}
	oriel_close(c.large);
	oriel_close(c.f);
	oriel_disconnect(c.s);
	_exit(0);
}

/* ------------------------------------------------------------- the parent */

/* All but those that were killed; false: somebody died of himself. */
static bool order(enum op op)
{
	uint32_t number;

	orders->op = op;
	number = atomic_fetch_add(&orders->number, 1) + 1;
	futex(&orders->number, FUTEX_WAKE, INT32_MAX);
	if (op == OP_NONE)
		return true;
	for (unsigned i = 0; i < n_clients; i++) {
		struct result *r = &orders->of[i];

		while (r->pid && atomic_load(&r->done) != number) {
			usleep(1000);
			if (waitpid(r->pid, NULL, WNOHANG) == r->pid) {
				fprintf(stderr, "client %u died\n", i);
				return false;
			}
		}
	}
	return true;
}

static void print_numbers(const char *name, uint64_t (*of)(unsigned),
			  unsigned n)
{
	printf("\"%s\": [", name);
	for (unsigned i = 0; i < n; i++)
		printf("%s%llu", i ? ", " : "", (unsigned long long)of(i));
	printf("]");
}

static uint64_t ops_of(unsigned i)
{
	return orders->of[i].ops;
}

static uint64_t longest_of(unsigned i)
{
	return orders->of[i].longest_ns;
}

static uint64_t ns_of(unsigned i)
{
	return orders->of[i].ns;
}

static uint64_t pid_of(unsigned i)
{
	return (uint64_t)orders->of[i].pid;
}

static void answer(uint64_t begin, unsigned n)
{
	unsigned failed = 0;
	int err = 0;

	for (unsigned i = 0; i < n; i++) {
		if (!orders->of[i].pid || !orders->of[i].err)
			continue;
		failed++;
		err = orders->of[i].err;
	}
	printf("{\"failed\": %u, \"error\": \"%s\", \"ns\": %llu, ", failed,
	       err ? oriel_strerror(err) : "",
	       (unsigned long long)(now_ns() - begin));
	print_numbers("ops", ops_of, n);
	printf(", ");
	print_numbers("longest_ns", longest_of, n);
	printf(", ");
	print_numbers("each_ns", ns_of, n);
	puts("}");
}

static enum op op_of(const char *name)
{
	for (unsigned i = 0; i < sizeof(op_names) / sizeof(op_names[0]); i++) {
		if (op_names[i] && strcmp(op_names[i], name) == 0)
			return (enum op)i;
	}
	return OP_NONE;
}

static bool carry_on(const char *op, unsigned count, unsigned threads)
{
	uint64_t begin = now_ns();

	if (op_of(op) == OP_NONE || (op_of(op) == OP_NATIVE && !native_path))
		return false;
	orders->count = count;
	orders->threads = threads;
	if (!order(op_of(op)))
		return false;
	answer(begin, count);
	return true;
}

static bool order_run(const char *line)
{
	char op[16];
	unsigned count, ms, threads;

	if (sscanf(line, "run %15s %u %u %u", op, &count, &ms, &threads) != 4 ||
	    count > n_clients || !threads || threads > MAX_THREADS)
		return false;
	orders->times = 0;
	orders->end_ns = now_ns() + (uint64_t)ms * 1000000;
	return carry_on(op, count, threads);
}

static bool order_do(const char *line)
{
	char op[16];
	unsigned long long times;

	if (sscanf(line, "do %15s %llu", op, &times) != 2 || !times)
		return false;
	orders->times = times;
	return carry_on(op, 1, 1);
}

static bool order_connect(void)
{
	uint64_t begin = now_ns();

	orders->count = n_clients;
	if (!order(OP_CONNECT))
		return false;
	answer(begin, n_clients);
	return true;
}

static bool order_kill(const char *line)
{
	unsigned first, count;

	if (sscanf(line, "kill %u %u", &first, &count) != 2 ||
	    first > n_clients || count > n_clients - first)
		return false;
	for (unsigned i = first; i < first + count; i++)
		kill(orders->of[i].pid, SIGKILL);
	for (unsigned i = first; i < first + count; i++) {
		waitpid(orders->of[i].pid, NULL, 0);
		orders->of[i].pid = 0;
	}
	puts("{}");
	return true;
}

static bool obey(const char *line)
{
	if (strcmp(line, "connect\n") == 0)
		return order_connect();
	if (strncmp(line, "run ", 4) == 0)
		return order_run(line);
	if (strncmp(line, "do ", 3) == 0)
		return order_do(line);
	if (strncmp(line, "kill ", 5) == 0)
		return order_kill(line);
	if (strcmp(line, "pids\n") == 0) {
		printf("{");
		print_numbers("pids", pid_of, n_clients);
		puts("}");
		return true;
	}
	fprintf(stderr, "oriel-crowd: what is %s", line);
	return false;
}

static int start(void)
{
	size_t bytes = sizeof(*orders) + n_clients * sizeof(orders->of[0]);

	orders = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (orders == MAP_FAILED)
		return -errno;
	for (unsigned i = 0; i < n_clients; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return -errno;
		if (pid == 0)
			live(i);
		orders->of[i].pid = pid;
	}
	return 0;
}

/* Told to go, and whoever cannot is made to. */
static void end(bool orderly)
{
	order(OP_NONE);
	for (unsigned i = 0; orders != MAP_FAILED && i < n_clients; i++) {
		if (!orders->of[i].pid)
			continue;
		if (!orderly)
			kill(orders->of[i].pid, SIGKILL);
		waitpid(orders->of[i].pid, NULL, 0);
	}
}

static void read_environment(void)
{
	const char *poll = getenv("ORIEL_CROWD_POLL_US");
	const char *inodes = getenv("ORIEL_CROWD_INODES");
	const char *window = getenv("ORIEL_CROWD_WINDOW");

	if (poll)
		options.poll_us = atoi(poll) > 0 ? (uint32_t)atoi(poll) :
						   ORIEL_NO_POLL;
	if (inodes)
		options.inode_cache = (uint32_t)strtoul(inodes, NULL, 10);
	if (window)
		options.window_bytes = strtoull(window, NULL, 10) << 20;
	native_path = getenv("ORIEL_CROWD_NATIVE");
}

int main(int argc, char **argv)
{
	char line[200];
	bool ok = true;
	int err;

	read_environment();
	n_clients = argc > 2 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
	if (!n_clients || n_clients > MAX_CLIENTS) {
		fputs("usage: oriel-crowd CLIENTS SOCKET...\n", stderr);
		return 2;
	}
	sockets = argv + 2;
	n_sockets = (unsigned)argc - 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	err = start();
	if (err) {
		fprintf(stderr, "oriel-crowd: %s\n", oriel_strerror(err));
		return 1;
	}
	while (ok && fgets(line, sizeof(line), stdin) &&
	       strcmp(line, "quit\n") != 0)
		ok = obey(line);
	end(ok);
	return ok ? 0 : 1;
}
