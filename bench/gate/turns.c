/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Turns of two threads, the client and the daemon's for its request queue.
 *
 * Either of them ends its turn where it would wait: in poll(2), which the
 * linker's --wrap sends to here. It then goes on only when the other one waits
 * as well. Nothing is polled for on either side (the rig says so), so that both
 * take the same way each time, and each passing on is one read and one write of
 * a pipe. Other threads, and calls that do not wait, are left alone.
 *
 * The functions in this file are not counted (gate.py).
 */
#include "turns.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

/* pipes[who]: a byte in it is the turn of that one. */
static int pipes[2][2];
static _Atomic bool on;
static _Atomic bool marks; /* the daemon is to, in its next turn */
static _Atomic bool waits; /* the daemon does, with no turns taken */
static __thread int me; /* 0: neither */

int __real_poll(struct pollfd *p, nfds_t n, int timeout_ms);
int __wrap_poll(struct pollfd *p, nfds_t n, int timeout_ms);

int turns_init(void)
{
	return pipe(pipes[0]) || pipe(pipes[1]) ? -errno : 0;
}

void turns_join(enum turns_who who)
{
	me = (int)who;
}

static void pass(int to)
{
	const char c = 0;

	if (write(pipes[to - 1][1], &c, 1) != 1)
		abort();
}

static void wait_turn(void)
{
	char c;

	if (read(pipes[me - 1][0], &c, 1) != 1)
		abort();
}

/* What it still does for the request before must not be taken for its turn. */
void turns_begin(void)
{
	while (!atomic_load(&waits))
		usleep(100);
	atomic_store(&on, true);
}

void turns_end(void)
{
	if (atomic_exchange(&on, false))
		pass(TURNS_DAEMON); /* it goes on without */
}

/* Callgrind writes what a thread has done when it enters one of these. */
__attribute__((noinline)) void turns_mark_client(void)
{
	__asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) void turns_mark_daemon(void)
{
	__asm__ volatile("" ::: "memory");
}

void turns_mark(void)
{
	turns_mark_client();
	atomic_store(&marks, true);
	pass(TURNS_DAEMON);
	wait_turn();
}

static int in_turn(struct pollfd *p, nfds_t n, int timeout_ms)
{
	const int other = TURNS_CLIENT + TURNS_DAEMON - me;

	for (;;) {
		int r;

		pass(other);
		wait_turn();
		if (me == TURNS_DAEMON && atomic_exchange(&marks, false))
			turns_mark_daemon();
		r = __real_poll(p, n, atomic_load(&on) ? 0 : timeout_ms);
		if (r || !atomic_load(&on))
			return r;
	}
}

/* Not in turns; but that may change meanwhile, and then what the daemon is woken
 * for waits until its turn has come. */
static int out_of_turn(struct pollfd *p, nfds_t n, int timeout_ms)
{
	int r;

	if (me == TURNS_DAEMON)
		atomic_store(&waits, true);
	r = __real_poll(p, n, timeout_ms);
	if (me == TURNS_DAEMON) {
		atomic_store(&waits, false);
		if (atomic_load(&on))
			wait_turn();
	}
	return r;
}

int __wrap_poll(struct pollfd *p, nfds_t n, int timeout_ms)
{
	if (!me || !timeout_ms)
		return __real_poll(p, n, timeout_ms);
	return atomic_load(&on) ? in_turn(p, n, timeout_ms) :
				  out_of_turn(p, n, timeout_ms);
}
