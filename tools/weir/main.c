/* SPDX-License-Identifier: MIT */
/*
 * main.c - Find the command and run it.
 *
 * `weir COMMAND ...` runs a command of WR_COMMANDS; `weir help COMMAND` is
 * `weir COMMAND --help`. Output that could not be written (a full disk, a closed
 * pipe) turns success into failure: a script must not take half an answer for
 * the whole one.
 */
#include "commands.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <weir/base.h>

struct command {
	const char *name;
	const char *help;
	int (*run)(int argc, char **argv);
};

#define COMMAND_ENTRY(id, name, help) {name, help, cmd_##id},
static const struct command commands[] = {WR_COMMANDS(COMMAND_ENTRY)};
#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < NR_COMMANDS; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

/* Edits (insert, delete, replace) that turn @a into @b; names above 31 bytes match nothing. */
static unsigned int distance(const char *a, const char *b)
{
	unsigned int row[32];
	size_t la = strlen(a), lb = strlen(b);

	if (la > 31 || lb > 31)
		return 32;
	for (size_t j = 0; j <= lb; j++)
		row[j] = (unsigned int)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned int diagonal = row[0];

		row[0] = (unsigned int)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned int best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[lb];
}

/* The command that @name was probably meant to be, or NULL. */
static const struct command *nearest(const char *name)
{
	const struct command *best = NULL;
	unsigned int least = 3;

	for (size_t i = 0; i < NR_COMMANDS; i++) {
		bool prefix = strlen(name) >= 2 && !strncmp(commands[i].name, name, strlen(name));
		unsigned int d = prefix ? 0 : distance(name, commands[i].name);

		if (d < least) {
			least = d;
			best = &commands[i];
		}
	}
	return best;
}

static void print_help(FILE *out)
{
	fprintf(out, "usage: weir COMMAND [OPTION]... [ARGUMENT]...\n"
		     "       weir --help | --version\n\n"
		     "Streams model weights from disk under a hard memory budget.\n\n"
		     "Commands:\n");
	for (size_t i = 0; i < NR_COMMANDS; i++)
		fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].help);
	fprintf(out,
		"\n`weir COMMAND --help` lists a command's options; every command has --json.\n"
		"Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.\n");
}

static int unknown(const char *name)
{
	const struct command *hint = nearest(name);

	fprintf(stderr, "weir: there is no command '%s'", name);
	if (hint)
		fprintf(stderr, "; did you mean '%s'?\n", hint->name);
	else
		fprintf(stderr, "; `weir --help` lists them\n");
	return WR_EXIT_USAGE;
}

static int dispatch(int argc, char **argv)
{
	static char help_option[] = "--help";
	char *help_argv[] = {NULL, help_option, NULL};
	const struct command *cmd;

	if (argc < 2) {
		print_help(stderr);
		return WR_EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("weir %s\n", weir_version());
		return WR_EXIT_OK;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
	    (!strcmp(argv[1], "help") && argc == 2)) {
		print_help(stdout);
		return WR_EXIT_OK;
	}
	if (!strcmp(argv[1], "help")) {
		cmd = find(argv[2]);
		help_argv[0] = argv[2];
		return cmd ? cmd->run(2, help_argv) : unknown(argv[2]);
	}
	cmd = find(argv[1]);
	return cmd ? cmd->run(argc - 1, argv + 1) : unknown(argv[1]);
}

int main(int argc, char **argv)
{
	int status = dispatch(argc, argv);

	if ((fflush(stdout) || ferror(stdout)) && status == WR_EXIT_OK) {
		fprintf(stderr, "weir: the output could not be written\n");
		status = WR_EXIT_FAILED;
	}
	return status;
}
