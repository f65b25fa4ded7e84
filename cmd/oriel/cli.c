/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages, exit status, terminals, signals. Data goes to stdout, everything
 * said about it to stderr; a write to stdout that fails is an error of the
 * command, quietly so when the reader of a pipe went away.
 */
#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "fmt.h"

static volatile sig_atomic_t caught_signal;
static void (*volatile before_end)(void);

bool cli_is_tty(int fd)
{
	return isatty(fd) == 1;
}

static void print_prefix(const struct cli *c)
{
	if (cli_is_tty(STDERR_FILENO))
		fputs("\r\033[K", stderr); /* over a progress line */
	fputs("oriel: ", stderr);
	if (c->command)
		fprintf(stderr, "%s: ", c->command->name);
}

/* @text on stderr, made harmless when that is a terminal. */
static void print_text(const char *text)
{
	char *quoted = NULL;

	if (cli_is_tty(STDERR_FILENO))
		quoted = fmt_quote(text);
	if (quoted && quoted[0] == '$')
		fputs(quoted, stderr);
	else
		fputs(text, stderr);
	free(quoted);
}

void cli_error(struct cli *c, const char *what, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fflush(stdout);
	print_prefix(c);
	if (what) {
		print_text(what);
		fputs(": ", stderr);
	}
	fputs(text, stderr);
	fputc('\n', stderr);
	c->status = CLI_FAILED;
}

/* Errors about the session rather than the file: the library knows more. */
static bool is_session_error(int err)
{
	switch (err) {
	case -ENOTCONN:
	case -EPROTO:
	case -ETIMEDOUT:
	case -ENOSYS:
	case -ENODEV:
	case -ENOMEM:
		return true;
	default:
		return false;
	}
}

void cli_fail(struct cli *c, const struct oriel_session *s, const char *what,
	      int err)
{
	const char *text = s ? oriel_session_error(s) : "";

	if (*text && (is_session_error(err) || c->common.verbose))
		cli_error(c, what, "%s (%s)", oriel_strerror(err), text);
	else
		cli_error(c, what, "%s", oriel_strerror(err));
}

int cli_usage(struct cli *c, const char *fmt, ...)
{
	va_list ap;

	print_prefix(c);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nTry 'oriel %s%s--help'.\n",
		c->command ? c->command->name : "", c->command ? " " : "");
	c->status = CLI_USAGE;
	return CLI_USAGE;
}

static bool stdout_lost(struct cli *c, int err)
{
	if (err == EPIPE)
		c->status = CLI_FAILED;
	else
		cli_error(c, NULL, "write error: %s", oriel_strerror(err));
	return false;
}

bool cli_finish_stdout(struct cli *c)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return true;
	return stdout_lost(c, errno ? errno : EIO);
}

bool cli_write_stdout(struct cli *c, const void *buf, size_t len)
{
	const char *p = buf;

	while (len) {
		ssize_t n = write(STDOUT_FILENO, p, len);

		if (n < 0 && errno == EINTR && !cli_signal())
			continue;
		if (n < 0)
			return stdout_lost(c, errno);
		p += n;
		len -= (size_t)n;
	}
	return true;
}

void cli_print_name(const char *name)
{
	char *quoted = NULL;

	if (cli_is_tty(STDOUT_FILENO))
		quoted = fmt_quote(name);
	fputs(quoted ? quoted : name, stdout);
	free(quoted);
}

bool cli_color(const struct cli *c)
{
	const char *no = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	if (c->common.color != CLI_AUTO)
		return c->common.color == CLI_ALWAYS;
	return (!no || !*no) && cli_is_tty(STDOUT_FILENO) &&
	       (!term || strcmp(term, "dumb") != 0);
}

unsigned cli_width(int fd)
{
	const char *columns = getenv("COLUMNS");
	struct winsize w;
	int n;

	if (ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col)
		return w.ws_col;
	n = columns ? atoi(columns) : 0;
	return n > 0 && n < 10000 ? (unsigned)n : 80;
}

/* The same one again has its default action. */
static void on_signal(int sig)
{
	if (caught_signal == sig) {
		if (before_end)
			before_end();
		signal(sig, SIG_DFL);
		raise(sig); /* once this has returned */
	}
	caught_signal = sig;
}

void cli_before_end(void (*fn)(void))
{
	before_end = fn;
}

void cli_catch_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigemptyset(&sa.sa_mask);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
}

int cli_signal(void)
{
	return caught_signal;
}

uint64_t cli_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
