/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of queues share: requests, a daemon that stops and goes on. */
#ifndef TESTS_QUEUE_FIXTURE_H
#define TESTS_QUEUE_FIXTURE_H

#include <glob.h>
#include <signal.h>

#include "fixture.h"

#define MIB (1u << 20)
#define SEC 1000000000ll

static inline struct oriel_request
read_of(struct oriel_file *f, void *buf, uint64_t len, int64_t off, uint64_t data)
{
	return (struct oriel_request){
		.op = ORIEL_OP_READ, .file = f, .buf = buf, .len = len,
		.off = off, .user_data = data,
	};
}

static inline struct oriel_request
write_of(struct oriel_file *f, void *buf, uint64_t len, int64_t off, uint64_t data)
{
	struct oriel_request r = read_of(f, buf, len, off, data);

	r.op = ORIEL_OP_WRITE;
	return r;
}

static inline struct oriel_queue *
must_queue(struct oriel_session *on, unsigned n)
{
	struct oriel_queue *q = NULL;

	must(oriel_queue_new(on, n, 0, &q) == 0, "no queue");
	return q;
}

/* Prepare, submit and wait for one: its result. */
static inline int64_t one(struct oriel_queue *q, struct oriel_request r)
{
	struct oriel_completion c;

	r.user_data = 0x1234567890abcdef;
	must(oriel_queue_prepare(q, &r) == 0, "prepare: %s",
	     oriel_session_error(s));
	must(oriel_queue_submit(q) == 1, "submit");
	must(oriel_queue_wait(q, &c, 1, 1, -1) == 1, "wait");
	must(c.user_data == r.user_data, "somebody else's");
	must(oriel_queue_pending(q) == 0, "pending");
	return c.result;
}

/* A session of its own without a window: everything is a message. */
static inline struct oriel_session *no_window(uint32_t timeout_ms)
{
	struct oriel_options o;

	test_options(&o);
	o.dax = ORIEL_DAX_NEVER;
	o.timeout_ms = timeout_ms;
	return test_connect(dir, &o);
}

static inline pid_t daemon_of(struct oriel_session *of)
{
	return (pid_t)must_info(of).daemon_pid;
}

static inline bool is_stopped(const char *task)
{
	char path[100], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/stat", task);
	f = fopen(path, "r");
	if (!f)
		return true; /* it has ended */
	must(fscanf(f, "%*d %*s %c", &state) == 1, "%s", path);
	fclose(f);
	return state == 'T';
}

/* Stopped, with all its threads, it takes nothing out of the ring. */
static inline void stop_daemon(struct oriel_session *of)
{
	char pattern[64];
	bool all;
	glob_t g;

	must(kill(daemon_of(of), SIGSTOP) == 0, "no daemon");
	snprintf(pattern, sizeof(pattern), "/proc/%d/task/*",
		 (int)daemon_of(of));
	do {
		must(glob(pattern, 0, NULL, &g) == 0, "%s", pattern);
		all = true;
		for (size_t i = 0; i < g.gl_pathc; i++)
			all &= is_stopped(g.gl_pathv[i]);
		globfree(&g);
	} while (!all);
}

static inline void go_daemon(struct oriel_session *of)
{
	must(kill(daemon_of(of), SIGCONT) == 0, "no daemon");
}

/* Wait for @n, each with @result; their user_data are 0..n-1, each once. */
static inline void all_of(struct oriel_queue *q, unsigned n, int64_t result)
{
	struct oriel_completion c[16];
	unsigned char *seen = calloc(n, 1);
	unsigned got = 0;
	int k;

	while (got < n) {
		k = oriel_queue_wait(q, c, 16, 1, -1);
		must(k > 0, "%d after %u of %u", k, got, n);
		for (int i = 0; i < k; i++) {
			must(c[i].result == result, "result %lld of %llu",
			     (long long)c[i].result,
			     (unsigned long long)c[i].user_data);
			must(c[i].user_data < n && !seen[c[i].user_data],
			     "twice");
			seen[c[i].user_data] = 1;
		}
		got += (unsigned)k;
	}
	free(seen);
}

#endif
