/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel serve: become the daemon for a directory. Finds orield as the library
 * does for directory shares and passes every further option on.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

#ifndef ORIEL_LIBEXECDIR
#define ORIEL_LIBEXECDIR "/usr/libexec"
#endif

/* An option of orield, so that it is told from an operand. */
static bool is_option(const char *word)
{
	return word[0] == '-' && word[1];
}

/* @name beside (or at ../libexec from) this program, in @buf. */
static bool beside_program(const char *relative, char *buf, size_t len)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;
	int w;

	if (n <= 0)
		return false;
	self[n] = 0;
	slash = strrchr(self, '/');
	if (!slash)
		return false;
	*slash = 0;
	w = snprintf(buf, len, "%s/%s", self, relative);
	return w > 0 && (size_t)w < len && access(buf, X_OK) == 0;
}

/* $ORIEL_DAEMON, beside this program, the installed one. */
static const char *find_daemon(char *buf, size_t len)
{
	const char *env = secure_getenv("ORIEL_DAEMON");

	if (env && *env)
		return env;
	if (beside_program("orield", buf, len) ||
	    beside_program("../libexec/orield", buf, len))
		return buf;
	return ORIEL_LIBEXECDIR "/orield";
}

static bool check_dir(struct cli *c, const char *dir)
{
	struct stat st;

	if (stat(dir, &st) < 0)
		cli_error(c, dir, "%s", oriel_strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		cli_error(c, dir, "%s", oriel_strerror(ENOTDIR));
	return c->status == CLI_OK;
}

/* "@name=@value"; to be freed. */
static char *option_text(const char *name, const char *value)
{
	char *text;

	return asprintf(&text, "%s=%s", name, value) < 0 ? NULL : text;
}

static void free_argv(char **v)
{
	if (v) {
		free(v[1]);
		free(v[2]);
	}
	free(v);
}

/* The daemon's words: ours for the operands, the rest as they came. */
static char **daemon_argv(struct cli *c, const char *program, const char *dir,
			  const char *sock)
{
	char **v = calloc((size_t)c->n_args + 4, sizeof(*v));
	int n = 0;

	if (!v)
		return NULL;
	v[n++] = (char *)program;
	v[n++] = option_text("--shared-dir", dir);
	v[n++] = option_text("--socket-path", sock);
	if (!v[1] || !v[2]) {
		free_argv(v);
		return NULL;
	}
	for (int i = 0; i < c->n_args && strcmp(c->args[i], "--") != 0; i++)
		if (is_option(c->args[i]))
			v[n++] = c->args[i];
	return v;
}

static int serve_exec(struct cli *c, const char *dir, const char *sock)
{
	char buf[PATH_MAX];
	const char *program = find_daemon(buf, sizeof(buf));
	char **argv = daemon_argv(c, program, dir, sock);

	if (!argv) {
		cli_error(c, NULL, "%s", oriel_strerror(ENOMEM));
		return c->status;
	}
	signal(SIGPIPE, SIG_DFL);
	execv(program, argv);
	cli_error(c, program, "cannot start the daemon: %s",
		  oriel_strerror(errno));
	free_argv(argv);
	return c->status;
}

static int serve_run(struct cli *c, const void *opts)
{
	const char *operands[2];
	int n = 0;
	bool literal = false;

	for (int i = 0; i < c->n_args; i++) {
		const char *word = c->args[i];

		if (!literal && strcmp(word, "--") == 0) {
			literal = true;
			continue;
		}
		if (!literal && is_option(word))
			continue;
		if (n == 2)
			return cli_usage(c, "extra operand '%s' (options of "
					 "the daemon are written --name=VALUE)",
					 word);
		operands[n++] = word;
	}
	if (n < 2)
		return cli_usage(c, "missing operand: DIR and SOCKET");
	if (!check_dir(c, operands[0]))
		return c->status;
	return serve_exec(c, operands[0], operands[1]);
}

const struct command cmd_serve = {
	.name = "serve",
	.operands = "DIR SOCKET [DAEMON-OPTION...]",
	.summary = "Share a directory on a socket (becomes orield)",
	.text = "Options are passed on to orield and written --name=VALUE; "
		"see 'orield --help'.\nThe daemon is $ORIEL_DAEMON, orield "
		"beside this program, or the installed one.\n",
	.examples = "  oriel serve /srv/data /run/data.sock --readonly\n"
		    "  oriel serve . ./share.sock --sandbox=chroot\n",
	.min_args = 2,
	.max_args = -1,
	.flags = CMD_RAW,
	.run = serve_run,
};
