/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A session that does what it is told, for the tests of oriel top:
 *
 *	top_client SHARE [private|alone]
 *
 * private: names are not told; alone: no thread of its own. One command a line of
 * stdin, each answered by "ok":
 *
 *	open NAME             the file of what follows; %n and %e are a new line
 *	                      and an escape
 *	hits N                read the same 64 bytes N times
 *	read OFFSET           read 4 KiB there
 *	statfs N              N messages
 *	slow PID MS           one message, answered by a daemon that is stopped
 *	                      until MS milliseconds after it was sent
 *	spin [hits|threads]   hits, and messages (of four threads), until the next
 *	                      line; answered at once
 *	idle                  nothing
 *
 * A failure is said on stderr and ends it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <oriel/oriel.h>

static struct oriel_session *session;
static struct oriel_file *file;

static void check(const char *what, long long r)
{
	if (r >= 0)
		return;
	fprintf(stderr, "top_client: %s: %s\n", what, oriel_strerror((int)r));
	exit(1);
}

static void sleep_ms(unsigned ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

static void statfs_once(void)
{
	struct statvfs st;

	check("statfs", oriel_statfs(session, "/", &st));
}

static void *statfs_main(void *arg)
{
	statfs_once();
	return arg;
}

static uint64_t requests(void)
{
	struct oriel_info i = { .size = sizeof(i) };

	check("info", oriel_info(session, &i));
	return i.requests;
}

static void slow(pid_t daemon, unsigned ms)
{
	uint64_t before = requests();
	pthread_t t;

	check("stop", kill(daemon, SIGSTOP));
	check("thread", -pthread_create(&t, NULL, statfs_main, NULL));
	while (requests() == before)
		sleep_ms(1);
	sleep_ms(ms);
	check("continue", kill(daemon, SIGCONT));
	pthread_join(t, NULL);
}

static void hits(unsigned n)
{
	char buf[64];

	while (file && n--)
		check("read", oriel_pread(file, buf, sizeof(buf), 0));
}

static void read_at(long long off)
{
	char buf[4096];

	check("read", oriel_pread(file, buf, sizeof(buf), (off_t)off));
}

static _Atomic bool is_over;

static void *spin_main(void *arg)
{
	while (!is_over) {
		hits(100);
		statfs_once();
	}
	return arg;
}

static void spin_threads(void)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	pthread_t t[4];

	is_over = false;
	for (unsigned i = 0; i < 4; i++)
		check("thread", -pthread_create(&t[i], NULL, spin_main, NULL));
	poll(&in, 1, -1);
	is_over = true;
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

static void spin(bool only_hits)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };

	while (poll(&in, 1, 1) == 0) {
		hits(100);
		if (!only_hits)
			statfs_once();
	}
}

static void open_file(char *name)
{
	char *from = name, *to = name;

	for (; *from; from++, to++) {
		*to = *from;
		if (*from == '%')
			*to = *++from == 'n' ? '\n' : '\033';
	}
	*to = 0;
	if (file)
		oriel_close(file);
	check("open", oriel_open(session, name, O_RDONLY, 0, &file));
}

int main(int argc, char **argv)
{
	const struct oriel_options o = {
		.size = sizeof(o),
		.no_file_names = argc > 2 && strcmp(argv[2], "private") == 0,
		.no_background = argc > 2 && strcmp(argv[2], "alone") == 0,
	};

	char line[256], name[200];
	long long a;
	unsigned b;

	if (argc < 2)
		return 2;
	check("connect", oriel_connect(argv[1], &o, &session));
	setvbuf(stdin, NULL, _IONBF, 0);
	puts("ok");
	while (fflush(stdout) == 0 && fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "open %199s", name) == 1)
			open_file(name);
		else if (sscanf(line, "hits %u", &b) == 1)
			hits(b);
		else if (sscanf(line, "read %lld", &a) == 1)
			read_at(a);
		else if (sscanf(line, "statfs %u", &b) == 1)
			while (b--)
				statfs_once();
		else if (sscanf(line, "slow %lld %u", &a, &b) == 2)
			slow((pid_t)a, b);
		puts("ok");
		fflush(stdout);
		if (strcmp(line, "spin threads\n") == 0)
			spin_threads();
		else if (strncmp(line, "spin", 4) == 0)
			spin(strcmp(line, "spin hits\n") == 0);
	}
	if (file)
		oriel_close(file);
	oriel_disconnect(session);
	return 0;
}
