/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mappings in a guest that others share: turns with the host and other guests
 * on one page, and a file whose size changes under reads and writes.
 */
#include "guest_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TURN_SECONDS 120 /* one that never comes is an error, not a wait */
#define PAGE 4096u

/*
 * FILE ME PLAYERS ROUNDS. Page 0 holds the number of the turn; page 1 what the
 * player before wrote, a pattern numbered by the turn. Each player in turn
 * checks it, writes the next, and passes the number on.
 */
int guest_turns(int argc, char **argv)
{
	uint64_t me, players, rounds, turn, i;
	_Atomic uint64_t *number;
	unsigned char *page;
	int fd;

	must(argc == 4);
	fd = open(argv[0], O_RDWR);
	me = strtoull(argv[1], NULL, 10);
	players = strtoull(argv[2], NULL, 10);
	rounds = strtoull(argv[3], NULL, 10);
	must(fd >= 0);
	page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(page != MAP_FAILED);
	number = (_Atomic uint64_t *)page;
	alarm(TURN_SECONDS);
	for (i = 0; i < rounds; i++) {
		turn = i * players + me;
		/* pairs with the release of the player before */
		while (atomic_load_explicit(number, memory_order_acquire) !=
		       turn)
			usleep(200);
		must(guest_same(page + PAGE, PAGE, turn, 0));
		guest_fill(page + PAGE, PAGE, turn + 1, 0);
		atomic_store_explicit(number, turn + 1, memory_order_release);
	}
	return 0;
}

/* ----------------------------------------------------- changing sizes */

static sigjmp_buf bus;
static volatile sig_atomic_t in_map;

static void on_bus(int sig)
{
	if (!in_map)
		_exit(128 + sig);
	in_map = 0;
	siglongjmp(bus, 1);
}

struct seen {
	const char *what;
	unsigned long whole, cut, end, zeros, wrong, sigbus;
	unsigned long err[134];
};

static void report(const struct seen *s)
{
	size_t i;

	printf("@saw %s whole=%lu short=%lu end=%lu zeros=%lu wrong=%lu"
	       " sigbus=%lu", s->what, s->whole, s->cut, s->end, s->zeros,
	       s->wrong, s->sigbus);
	for (i = 0; i < sizeof(s->err) / sizeof(*s->err); i++)
		if (s->err[i])
			printf(" %s=%lu", strerrorname_np((int)i), s->err[i]);
	printf("\n");
}

static void count_error(struct seen *s, int e)
{
	s->err[e >= 0 && e < 134 ? e : 0]++;
}

/* What a reader of @pos got: the pattern, zeros of a file grown again. */
static void judge(struct seen *s, const unsigned char *buf, size_t n,
		  uint64_t pos)
{
	size_t i;
	bool zero = false;

	for (i = 0; i < n; i++) {
		if (buf[i] == guest_byte(7, pos + i))
			continue;
		if (buf[i]) {
			s->wrong++;
			return;
		}
		zero = true;
	}
	if (zero)
		s->zeros++;
	else
		s->whole++;
}

static void hammer_read(struct seen *s, int fd, off_t pos)
{
	unsigned char buf[PAGE];
	ssize_t n = pread(fd, buf, PAGE, pos);

	if (n < 0)
		count_error(s, errno);
	else if (!n)
		s->end++;
	else if (n < (ssize_t)PAGE)
		s->cut++;
	else
		judge(s, buf, PAGE, (uint64_t)pos);
}

static void hammer_write(struct seen *s, int fd, off_t pos)
{
	unsigned char buf[PAGE];
	ssize_t n;

	guest_fill(buf, PAGE, 7, (uint64_t)pos);
	n = pwrite(fd, buf, PAGE, pos);
	if (n < 0)
		count_error(s, errno);
	else if (n < (ssize_t)PAGE)
		s->cut++;
	else
		s->whole++;
}

static void hammer_map(struct seen *s, const unsigned char *map, off_t pos)
{
	unsigned char buf[PAGE];

	if (sigsetjmp(bus, 1)) {
		s->sigbus++;
		return;
	}
	in_map = 1;
	atomic_signal_fence(memory_order_seq_cst); /* the copy stays inside */
	memcpy(buf, map + pos, PAGE);
	atomic_signal_fence(memory_order_seq_cst);
	in_map = 0;
	judge(s, buf, PAGE, (uint64_t)pos);
}

/*
 * FILE BYTES STOP WRITES: read, map and (WRITES 1) write pages of FILE's first
 * BYTES until the file STOP is there; then say what was seen.
 */
int guest_hammer(int argc, char **argv)
{
	struct seen seen[3] = {
		{ .what = "pread" }, { .what = "mmap" }, { .what = "pwrite" },
	};
	unsigned long i, pages, rounds;
	unsigned char *map;
	size_t bytes;
	int fd;

	must(argc == 4);
	fd = open(argv[0], O_RDWR);
	bytes = strtoull(argv[1], NULL, 10);
	pages = bytes / PAGE;
	must(fd >= 0 && pages);
	map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	must(map != MAP_FAILED);
	signal(SIGBUS, on_bus);
	printf("@started\n");
	for (rounds = 0; access(argv[2], F_OK); rounds++) {
		for (i = 0; i < 64; i++) {
			off_t pos = (off_t)((rounds * 64 + i) * 769 % pages) *
				    PAGE;

			hammer_read(&seen[0], fd, pos);
			hammer_map(&seen[1], map, pos);
			if (atoi(argv[3]))
				hammer_write(&seen[2], fd, pos);
		}
	}
	for (i = 0; i < 3; i++)
		report(&seen[i]);
	return 0;
}
