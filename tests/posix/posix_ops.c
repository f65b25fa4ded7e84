/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * posix_ops DIR [--list] [--without=WORD]... [CASE]...: run the cases in
 * subdirectories of DIR. A line each: "ok NAME", "skip NAME: why", "FAIL NAME".
 * Ends with 0 if none failed, 1 if one did, 77 if DIR cannot be used.
 */
#include "posix.h"

#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* A case that hangs is a failure, on a machine however slow. */
#define CASE_SECONDS 120
#define SKIPPED 77

static const struct posix_case *const tables[] = {
	cases_open, cases_name, cases_link, cases_attr, cases_perm,
	cases_data, cases_space, cases_map, cases_dir, cases_lock, cases_xattr,
};

static unsigned failures; /* of this process */
static const char *without[16];
static unsigned n_without;

void posix_fail(const char *file, int line, const char *fmt, ...)
{
	const char *base = strrchr(file, '/');
	va_list ap;

	failures++;
	printf("    %s:%d: ", base ? base + 1 : file, line);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
}

_Noreturn void posix_skip(const char *why)
{
	printf("    skip: %s\n", why);
	fflush(stdout);
	_exit(failures ? 1 : SKIPPED);
}

_Noreturn void posix_die(const char *file, int line, const char *what)
{
	posix_fail(file, line, "%s: %s", what, strerror(errno));
	_exit(1);
}

bool posix_without(const char *name)
{
	unsigned i;

	for (i = 0; i < n_without; i++) {
		if (!strcmp(without[i], name))
			return true;
	}
	return false;
}

long posix_must(long r, const char *what, const char *file, int line)
{
	if (r < 0)
		posix_die(file, line, what);
	return r;
}

long posix_ok(long r, const char *what, const char *file, int line)
{
	if (r < 0)
		posix_fail(file, line, "%s: %s", what, strerror(errno));
	return r;
}

void posix_err(long r, int want, const char *what, const char *file, int line)
{
	int got = errno;

	if (r >= 0)
		posix_fail(file, line, "%s: %ld instead of %s", what, r,
			   strerror(want));
	else if (got != want)
		posix_fail(file, line, "%s: %s instead of %s", what,
			   strerror(got), strerror(want));
}

void posix_eq(long long got, long long want, const char *what,
	      const char *file, int line)
{
	if (got != want)
		posix_fail(file, line, "%s: %lld (0%llo) instead of %lld"
			   " (0%llo)", what, got, (unsigned long long)got,
			   want, (unsigned long long)want);
}

/* ---------------------------------------------------------------- helpers */

static void wait_child(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		posix_fail(__FILE__, __LINE__, "a child ended badly");
	else if (WEXITSTATUS(status) == SKIPPED)
		posix_skip("as its child said");
	else
		failures += (unsigned)WEXITSTATUS(status);
}

void posix_as(uid_t uid, gid_t gid, void (*fn)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		failures = 0;
		if (setgroups(0, NULL) || setgid(gid) || setuid(uid))
			posix_die(__FILE__, __LINE__, "becoming a user");
		fn();
		_exit(failures < 70 ? (int)failures : 70);
	}
	wait_child((pid_t)MUST(pid));
}

void posix_fork(void (*fn)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		failures = 0;
		fn();
		_exit(failures < 70 ? (int)failures : 70);
	}
	wait_child((pid_t)MUST(pid));
}

void posix_put(const char *name, const char *text, mode_t mode)
{
	int fd = (int)MUST(open(name, O_CREAT | O_WRONLY | O_TRUNC, 0600));

	if (text)
		EQ(write(fd, text, strlen(text)), strlen(text));
	MUST(fchmod(fd, mode));
	MUST(close(fd));
}

void posix_mkdir(const char *name, mode_t mode)
{
	MUST(mkdir(name, 0700));
	MUST(chmod(name, mode));
}

bool posix_holds(const char *name, const char *text)
{
	char buf[4096];
	int fd = open(name, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, buf, sizeof(buf));
	close(fd);
	return n == (ssize_t)strlen(text) && !memcmp(buf, text, (size_t)n);
}

mode_t posix_mode(const char *name)
{
	struct stat st;

	return lstat(name, &st) ? 0 : st.st_mode;
}

long long posix_size(const char *name)
{
	struct stat st;

	return lstat(name, &st) ? -1 : (long long)st.st_size;
}

long posix_nlink(const char *name)
{
	struct stat st;

	return lstat(name, &st) ? -1 : (long)st.st_nlink;
}

bool posix_is_there(const char *name)
{
	struct stat st;

	return !lstat(name, &st);
}

/* ---------------------------------------------------------------- running */

static void run_child(const struct posix_case *c, const char *dir)
{
	umask(0);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	alarm(CASE_SECONDS);
	if (chdir(dir))
		posix_die(__FILE__, __LINE__, "chdir");
	if ((c->needs & NEEDS_ROOT) && geteuid() != 0)
		posix_skip("needs root");
	c->run();
	_exit(failures ? 1 : 0);
}

static void remove_tree(const char *dir)
{
	pid_t pid = fork();

	if (pid == 0) {
		execlp("rm", "rm", "-rf", "--", dir, (char *)NULL);
		_exit(127);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

/* 0: ok or skipped, 1: failed. */
static int run_case(const struct posix_case *c)
{
	int status = -1;
	pid_t pid;

	if (mkdir(c->name, 0777) || chmod(c->name, 0777)) {
		printf("FAIL %s: mkdir: %s\n", c->name, strerror(errno));
		return 1;
	}
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		run_child(c, c->name);
	if (pid > 0)
		waitpid(pid, &status, 0);
	remove_tree(c->name);
	if (pid > 0 && WIFEXITED(status) && !WEXITSTATUS(status))
		printf("ok %s\n", c->name);
	else if (pid > 0 && WIFEXITED(status) &&
		 WEXITSTATUS(status) == SKIPPED)
		printf("skip %s\n", c->name);
	else if (pid > 0 && WIFSIGNALED(status))
		printf("FAIL %s: signal %d\n", c->name, WTERMSIG(status));
	else
		printf("FAIL %s\n", c->name);
	fflush(stdout);
	return status && !(WIFEXITED(status) &&
			   WEXITSTATUS(status) == SKIPPED);
}

static bool is_wanted(const char *name, char **argv, int argc)
{
	bool any = false;
	int i;

	for (i = 2; i < argc; i++) {
		if (argv[i][0] == '-')
			continue;
		any = true;
		if (!strncmp(name, argv[i], strlen(argv[i])))
			return true;
	}
	return !any;
}

static bool has_option(int argc, char **argv, const char *option)
{
	int i;

	for (i = 2; i < argc; i++) {
		if (!strcmp(argv[i], option))
			return true;
	}
	return false;
}

static void take_without(int argc, char **argv)
{
	static const char prefix[] = "--without=";
	int i;

	for (i = 2; i < argc; i++) {
		if (!strncmp(argv[i], prefix, strlen(prefix)) &&
		    n_without < sizeof(without) / sizeof(*without))
			without[n_without++] = argv[i] + strlen(prefix);
	}
}

int main(int argc, char **argv)
{
	unsigned bad = 0;
	unsigned ran = 0;
	size_t i;

	if (argc < 2) {
		fprintf(stderr, "usage: posix_ops DIR [--list]"
			" [--without=WORD]... [CASE]...\n");
		return 2;
	}
	take_without(argc, argv);
	if (chdir(argv[1])) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
		return 77;
	}
	for (i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
		const struct posix_case *c;

		for (c = tables[i]; c->name; c++) {
			if (!is_wanted(c->name, argv, argc))
				continue;
			ran++;
			if (has_option(argc, argv, "--list"))
				printf("%s\n", c->name);
			else
				bad += (unsigned)run_case(c);
		}
	}
	printf("%u cases, %u failed\n", ran, bad);
	return bad || !ran ? 1 : 0;
}
