/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel: files of a share from the command line, without a mount. This file
 * finds the subcommand, reads its options by its table, prints help, and turns
 * the outcome into an exit status. Each subcommand has a file of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "conn.h"

static const struct command *const commands[] = {
	&cmd_ls, &cmd_cat, &cmd_cp, &cmd_put, &cmd_mv, &cmd_rm, &cmd_mkdir,
	&cmd_ln, &cmd_readlink, &cmd_stat, &cmd_df, &cmd_touch, &cmd_truncate,
	&cmd_watch,
	&cmd_info, &cmd_bench, &cmd_top, &cmd_serve,
};

static const char top_help[] =
	"\nA SHARE is the socket of a virtio-fs daemon, or a directory, for "
	"which a daemon\nof its own is started in a sandbox. SHARE:PATH is a "
	"file in it.\n\n"
	"'oriel CMD --help' has the options and examples of a subcommand, and "
	"the rule\nfor names with a ':'.\n\n"
	"Examples:\n"
	"  oriel ls -l /srv/data:\n"
	"  oriel cp -r /run/vm.sock:logs ./logs\n"
	"  oriel info --can dax /run/vm.sock && echo yes\n"
	"  oriel bench /srv/data\n";

static const char address_help[] =
	"Addresses:\n"
	"  SHARE:PATH is split at the first ':' that follows a directory or a "
	"socket.\n"
	"  ':PATH' is in the share of the operand before.\n";

static const char local_help[] =
	"  Local are: names without ':', 'local:NAME', and './a:b' unless "
	"'./a' is a\n  directory or a socket.\n";

static void print_top_help(FILE *f)
{
	fputs("Usage: oriel CMD [OPTION...] [SHARE[:PATH]...]\n"
	      "Read and write the files of a virtio-fs share without a mount."
	      "\n\nSubcommands:\n", f);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(f, "  %-10s %s\n", commands[i]->name,
			commands[i]->summary);
	fputs(top_help, f);
}

static void print_command_help(const struct command *cmd)
{
	printf("Usage: oriel %s %s\n%s.\n", cmd->name, cmd->operands,
	       cmd->summary);
	if (cmd->text)
		printf("\n%s", cmd->text);
	puts("\nOptions:");
	opts_help(stdout, cmd->opts);
	if (cmd->flags & CMD_CONNECTS)
		opts_help(stdout, conn_opts);
	puts("      --help                print this");
	if (cmd->flags & CMD_CONNECTS) {
		printf("\n%s", address_help);
		if (cmd == &cmd_cp)
			fputs(local_help, stdout);
	}
	printf("\nExamples:\n%s", cmd->examples);
	puts("\nExit status: 0 done, 1 failed (also when one of many did), "
	     "2 usage.");
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

static int unknown_command(struct cli *c, const char *name)
{
	const char *names[ARRAY_LEN(commands)];
	const char *near;

	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		names[i] = commands[i]->name;
	near = opts_nearest(name, names, ARRAY_LEN(commands));
	if (near)
		return cli_usage(c, "unknown subcommand '%s'; did you mean "
				 "'%s'?", name, near);
	return cli_usage(c, "unknown subcommand '%s'", name);
}

/* --help anywhere before "--" wins over everything else. */
static bool wants_help(int argc, char **argv)
{
	for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0)
			return true;
	return false;
}

static int check_operands(struct cli *c)
{
	const struct command *cmd = c->command;

	if (c->n_args < cmd->min_args && c->n_args)
		return cli_usage(c, "missing operand after '%s'",
				 c->args[c->n_args - 1]);
	if (c->n_args < cmd->min_args)
		return cli_usage(c, "missing operand");
	if (cmd->max_args >= 0 && c->n_args > cmd->max_args)
		return cli_usage(c, "extra operand '%s'",
				 c->args[cmd->max_args]);
	return 0;
}

static int run_parsed(struct cli *c, int argc, char **argv, void *base)
{
	const struct command *cmd = c->command;
	const struct opt_set sets[] = {
		{ cmd->opts, base },
		{ cmd->flags & CMD_CONNECTS ? conn_opts : NULL, &c->common },
	};
	char err[256];
	int r = opts_parse(sets, ARRAY_LEN(sets), argc, argv, err,
			   sizeof(err));

	if (r < 0)
		return cli_usage(c, "%s", err);
	c->n_args = r;
	c->args = argv;
	r = check_operands(c);
	return r ? r : cmd->run(c, base);
}

static int run_command(struct cli *c, int argc, char **argv)
{
	const struct command *cmd = c->command;
	void *base;
	int r;

	if (wants_help(argc, argv)) {
		print_command_help(cmd);
		return CLI_OK;
	}
	base = calloc(1, cmd->opts_size ? cmd->opts_size : 1);
	if (!base) {
		cli_error(c, NULL, "%s", oriel_strerror(-ENOMEM));
		return CLI_FAILED;
	}
	if (cmd->flags & CMD_RAW) {
		c->n_args = argc;
		c->args = argv;
		r = cmd->run(c, base);
	} else {
		r = run_parsed(c, argc, argv, base);
	}
	conn_close_all(c);
	free(base);
	return r > c->status ? r : c->status;
}

static int help_for(struct cli *c, const char *name)
{
	c->command = find_command(name);
	if (!c->command)
		return unknown_command(c, name);
	print_command_help(c->command);
	return CLI_OK;
}

static int run(struct cli *c, int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : NULL;

	if (!word) {
		print_top_help(stderr);
		return CLI_USAGE;
	}
	if (strcmp(word, "help") == 0 && argc > 2)
		return help_for(c, argv[2]);
	if (strcmp(word, "--help") == 0 || strcmp(word, "help") == 0 ||
	    strcmp(word, "-h") == 0) {
		print_top_help(stdout);
		return CLI_OK;
	}
	if (strcmp(word, "--version") == 0) {
		printf("oriel %s (library %s)\n", ORIEL_VERSION_STRING,
		       oriel_version());
		return CLI_OK;
	}
	if (word[0] == '-')
		return cli_usage(c, "unknown option '%s'", word);
	c->command = find_command(word);
	if (!c->command)
		return unknown_command(c, word);
	return run_command(c, argc - 2, argv + 2);
}

/* A closed descriptor 0, 1 or 2 must not become a session's socket. Opened the
 * wrong way round, so that using it is still an error. */
static void reserve_std_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	} while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

int main(int argc, char **argv)
{
	struct cli c = { 0 };
	int status;

	reserve_std_fds();
	setlocale(LC_CTYPE, "");
	signal(SIGPIPE, SIG_IGN);
	status = run(&c, argc, argv);
	if (!cli_finish_stdout(&c) && status == CLI_OK)
		status = CLI_FAILED;
	if (cli_signal()) {
		signal(cli_signal(), SIG_DFL);
		raise(cli_signal());
	}
	return status;
}
