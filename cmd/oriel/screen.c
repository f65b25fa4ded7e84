/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The terminal: alternate screen, no echo, no line wrap, no cursor. State is in
 * one place here, because a signal may have to give it all back. Sequences are
 * those of ECMA-48 and of xterm, which all terminals of today take; one that
 * calls itself dumb gets none.
 */
#include "screen.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "cli.h"

#define ENTER "\033[?1049h\033[?7l\033[?25l"
#define LEAVE "\033[m\033[?25h\033[?7h\033[?1049l"
/* A signal may come just before poll(2). */
#define SLICE_MS 100u

static volatile sig_atomic_t is_on, was_resized, was_stopped;
static bool has_keys;
static struct termios saved;

bool screen_is_possible(void)
{
	const char *term = getenv("TERM");

	return cli_is_tty(STDOUT_FILENO) && term && *term &&
	       strcmp(term, "dumb") != 0;
}

bool screen_has_256_colors(void)
{
	const char *term = getenv("TERM");
	const char *more = getenv("COLORTERM");

	return (more && *more) ||
	       (term && (strstr(term, "256") || strstr(term, "direct") ||
			 strstr(term, "kitty") || strstr(term, "alacritty")));
}

/* May be called by a signal's handler: nothing but write(2) and ioctl(2). */
static void restore(void)
{
	if (!is_on)
		return;
	is_on = 0;
	if (write(STDOUT_FILENO, LEAVE, sizeof(LEAVE) - 1) < 0)
		was_resized = 0; /* the terminal has gone: nothing to do */
	if (has_keys)
		tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

static void occupy(void)
{
	struct termios raw;

	has_keys = cli_is_tty(STDIN_FILENO) &&
		   tcgetattr(STDIN_FILENO, &saved) == 0;
	if (has_keys) {
		raw = saved;
		raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		raw.c_cc[VMIN] = 0;
		raw.c_cc[VTIME] = 0;
		tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	}
	is_on = 1;
	fputs(ENTER, stdout);
	fflush(stdout);
}

static void on_resize(int sig)
{
	(void)sig;
	was_resized = 1;
}

static void on_stop(int sig)
{
	(void)sig;
	was_stopped = 1;
}

static void on_quit(int sig)
{
	restore();
	signal(sig, SIG_DFL);
	raise(sig);
}

void screen_begin(void)
{
	struct sigaction sa = { .sa_handler = on_resize };

	sigemptyset(&sa.sa_mask);
	sigaction(SIGWINCH, &sa, NULL);
	sa.sa_handler = on_stop;
	sigaction(SIGTSTP, &sa, NULL);
	sa.sa_handler = on_quit;
	sigaction(SIGQUIT, &sa, NULL);
	cli_before_end(restore);
	occupy();
}

void screen_end(void)
{
	fflush(stdout);
	restore();
}

bool screen_has_keys(void)
{
	return has_keys;
}

static struct winsize size_of(void)
{
	struct winsize ws = { 0 };

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) < 0 || !ws.ws_row)
		ws.ws_row = 24;
	if (!ws.ws_col)
		ws.ws_col = (unsigned short)cli_width(STDOUT_FILENO);
	return ws;
}

unsigned screen_rows(void)
{
	return size_of().ws_row;
}

unsigned screen_columns(void)
{
	return size_of().ws_col;
}

void screen_draw(const char *text)
{
	const unsigned columns = screen_columns(), rows = screen_rows();
	unsigned x = 0, y = 0;

	fputs("\033[H", stdout);
	for (; *text && y < rows; text++) {
		if (*text == '\033') {
			size_t n = strcspn(text, "m");

			fwrite(text, 1, n + 1, stdout);
			text += n;
		} else if (*text == '\n') {
			fputs(x < columns ? "\033[K" : "", stdout);
			/* the last line has none below it to go to */
			if (++y < rows)
				fputs("\r\n", stdout);
			x = 0;
		} else if (x < columns) {
			putchar(*text);
			x++;
		}
	}
	if (y < rows)
		fputs("\033[J", stdout);
	fflush(stdout);
}

/* ------------------------------------------------------------------- keys */

static int read_byte(void)
{
	unsigned char c;

	return read(STDIN_FILENO, &c, 1) == 1 ? c : -1;
}

/* An arrow comes as three characters, at once. */
static int read_key(void)
{
	int c = read_byte();

	if (c < 0)
		return 'q'; /* nobody is there any more */
	if (c != '\033')
		return c < 128 ? c : SCREEN_NOTHING;
	c = read_byte();
	if (c != '[' && c != 'O')
		return SCREEN_NOTHING;
	c = read_byte();
	return c == 'A' ? SCREEN_UP : c == 'B' ? SCREEN_DOWN : SCREEN_NOTHING;
}

/* Be stopped as if there were no screen, and take it again afterwards. */
static void stop(void)
{
	was_stopped = 0;
	screen_end();
	raise(SIGSTOP);
	occupy();
}

int screen_wait(uint32_t ms)
{
	const uint64_t end = cli_now_ns() + (uint64_t)ms * 1000000;
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };

	for (;;) {
		uint64_t now = cli_now_ns(), left;

		if (cli_signal())
			return SCREEN_NOTHING;
		if (was_stopped) {
			stop();
			return SCREEN_REDRAW;
		}
		if (was_resized) {
			was_resized = 0;
			return SCREEN_REDRAW;
		}
		if (now >= end)
			return SCREEN_NOTHING;
		left = (end - now) / 1000000 + 1;
		if (poll(&in, has_keys ? 1 : 0,
			 (int)(left < SLICE_MS ? left : SLICE_MS)) > 0) {
			if (!(in.revents & POLLIN))
				has_keys = false; /* it has been hung up */
			else
				return read_key();
		}
	}
}
