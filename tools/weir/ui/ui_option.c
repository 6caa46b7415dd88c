/* SPDX-License-Identifier: MIT */
/*
 * ui_option.c - One table of options: parsing, checks and the help text.
 *
 * Not getopt_long(): that keeps its state in globals, abbreviates names silently
 * (so a new option breaks old scripts) and knows nothing of values. Here a name
 * must be whole, and what is wrong is answered with what would be right.
 */
#include "ui.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char size_note[] =
	"Sizes: 4096, 512MiB, 1.5GB. K M G T and KiB MiB GiB TiB are powers of 1024,\n"
	"KB MB GB TB powers of 1000.\n";

static bool takes_value(const struct wr_ui_option *o)
{
	return o->type != WR_UI_FLAG;
}

/* Print @help with its further lines under the first. */
static void print_option(FILE *out, const char *left, const char *help)
{
	const char *end;

	if (strlen(left) > 22) {
		fprintf(out, "  %s\n", left);
		left = "";
	}
	for (; (end = strchr(help, '\n')); help = end + 1, left = "")
		fprintf(out, "  %-22s %.*s\n", left, (int)(end - help), help);
	fprintf(out, "  %-22s %s\n", left, help);
}

static void print_help(const struct wr_ui_usage *u, FILE *out)
{
	bool sizes = false;
	char left[96];

	fprintf(out, "usage: weir %s [OPTION]...%s%s\n\n%s\n\nOptions:\n", u->name,
		*u->args ? " " : "", u->args, u->summary);
	for (size_t i = 0; i < u->nr_options; i++) {
		const struct wr_ui_option *o = &u->options[i];

		snprintf(left, sizeof(left), "--%s%s%s", o->name, takes_value(o) ? " " : "",
			 takes_value(o) ? o->value : "");
		print_option(out, left, o->help);
		sizes |= o->type == WR_UI_SIZE;
	}
	print_option(out, "--help", "this text");
	if (sizes)
		fprintf(out, "\n%s", size_note);
}

WEIR_PRINTF(2, 0)
static void usage_verror(const struct wr_ui_usage *u, const char *fmt, va_list ap)
{
	fprintf(stderr, "weir: %s: ", u->name);
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "; see `weir %s --help`\n", u->name);
}

int wr_ui_usage_error(const struct wr_ui_usage *usage, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	usage_verror(usage, fmt, ap);
	va_end(ap);
	return WR_EXIT_USAGE;
}

/* How many characters two names share at their front. */
static size_t common(const char *a, const char *b, size_t len)
{
	size_t i = 0;

	while (i < len && a[i] && a[i] == b[i])
		i++;
	return i;
}

static const struct wr_ui_option *find(const struct wr_ui_usage *u, const char *name, size_t len)
{
	for (size_t i = 0; i < u->nr_options; i++)
		if (strlen(u->options[i].name) == len && !memcmp(u->options[i].name, name, len))
			return &u->options[i];
	return NULL;
}

static int unknown(const struct wr_ui_usage *u, const char *name, size_t len)
{
	const struct wr_ui_option *best = NULL;
	size_t longest = 1;

	for (size_t i = 0; i < u->nr_options; i++) {
		size_t same = common(u->options[i].name, name, len);

		if (same > longest) {
			longest = same;
			best = &u->options[i];
		}
	}
	if (best)
		return wr_ui_usage_error(u, "there is no option --%.*s; did you mean --%s?",
					 (int)len, name, best->name);
	return wr_ui_usage_error(u, "there is no option --%.*s", (int)len, name);
}

static int set_number(const struct wr_ui_usage *u, const struct wr_ui_option *o, const char *value)
{
	uint64_t max = o->max ? o->max : o->type == WR_UI_U32 ? UINT32_MAX : UINT64_MAX;
	uint64_t number;

	if (wr_ui_parse_u64(value, &number))
		return wr_ui_usage_error(u, "--%s: '%s' is not a number", o->name, value);
	if (number < o->min || number > max)
		return wr_ui_usage_error(u, "--%s: %s is outside %" PRIu64 "..%" PRIu64, o->name,
					 value, o->min, max);
	if (o->type == WR_UI_U32)
		*(uint32_t *)o->ret = (uint32_t)number;
	else
		*(uint64_t *)o->ret = number;
	return WR_UI_RUN;
}

static int set_choice(const struct wr_ui_usage *u, const struct wr_ui_option *o, const char *value)
{
	size_t len = strlen(value);
	const char *word = o->value;

	for (int i = 0; word; i++) {
		const char *bar = strchr(word, '|');
		size_t n = bar ? (size_t)(bar - word) : strlen(word);

		if (n == len && !memcmp(word, value, n)) {
			*(int *)o->ret = i;
			return WR_UI_RUN;
		}
		word = bar ? bar + 1 : NULL;
	}
	return wr_ui_usage_error(u, "--%s: '%s' is none of %s", o->name, value, o->value);
}

static int set(const struct wr_ui_usage *u, const struct wr_ui_option *o, const char *value)
{
	int code;

	switch (o->type) {
	case WR_UI_FLAG:
		*(bool *)o->ret = true;
		return WR_UI_RUN;
	case WR_UI_STRING:
		*(const char **)o->ret = value;
		return WR_UI_RUN;
	case WR_UI_U32:
	case WR_UI_U64:
		return set_number(u, o, value);
	case WR_UI_SIZE:
		code = wr_ui_parse_size(value, o->ret);
		if (code)
			return wr_ui_usage_error(u, "--%s: '%s' is %s", o->name, value,
						 code == -EOVERFLOW ? "too large" : "not a size");
		return WR_UI_RUN;
	case WR_UI_CHOICE:
		return set_choice(u, o, value);
	}
	return WR_UI_RUN;
}

/* Handle the option argv[*i]; moves *@i on when the value is the next argument. */
static int parse_option(const struct wr_ui_usage *u, int argc, char **argv, int *i)
{
	const char *name = argv[*i] + 2;
	const char *equal = strchr(name, '=');
	size_t len = equal ? (size_t)(equal - name) : strlen(name);
	const struct wr_ui_option *o = find(u, name, len);

	if (!o && len == 4 && !memcmp(name, "help", 4)) {
		print_help(u, stdout);
		return WR_EXIT_OK;
	}
	if (!o)
		return unknown(u, name, len);
	if (!takes_value(o) && equal)
		return wr_ui_usage_error(u, "--%s takes no value", o->name);
	if (!takes_value(o) || equal)
		return set(u, o, equal ? equal + 1 : NULL);
	if (*i + 1 >= argc)
		return wr_ui_usage_error(u, "--%s needs a value: %s", o->name, o->value);
	return set(u, o, argv[++*i]);
}

int wr_ui_parse(const struct wr_ui_usage *usage, int argc, char **argv, int *ret_nr)
{
	bool options = true;
	int nr = 0, code;

	for (int i = 1; i < argc; i++) {
		if (options && !strcmp(argv[i], "--")) {
			options = false;
		} else if (options && !strcmp(argv[i], "-h")) {
			print_help(usage, stdout);
			return WR_EXIT_OK;
		} else if (options && !strncmp(argv[i], "--", 2)) {
			code = parse_option(usage, argc, argv, &i);
			if (code != WR_UI_RUN)
				return code;
		} else if (options && argv[i][0] == '-' && argv[i][1]) {
			return wr_ui_usage_error(usage, "there is no option %s", argv[i]);
		} else {
			argv[1 + nr++] = argv[i];
		}
	}
	if (nr < usage->min_args)
		return wr_ui_usage_error(usage, "needs %s", usage->args);
	if (usage->max_args >= 0 && nr > usage->max_args)
		return wr_ui_usage_error(usage, "one argument too many: %s",
					 argv[1 + usage->max_args]);
	*ret_nr = nr;
	return WR_UI_RUN;
}
