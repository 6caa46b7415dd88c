/* SPDX-License-Identifier: MIT */
/*
 * ui.c - Errors, JSON, progress and interruption, the same for every command.
 *
 * With --json an error is an object too, so a caller parses one thing whatever
 * happens. A progress line is never left behind: it is cleared before a table or
 * an error follows.
 */
#include "ui.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t wr_ui_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static const char *code_name(int code)
{
	const char *name = strerrorname_np(code < 0 ? -code : code);

	return name && code ? name : "EIO";
}

json_t *wr_ui_json_text(const char *text)
{
	json_t *value = json_string(text);
	char *copy;

	if (value)
		return value;
	copy = strdup(text);
	for (char *c = copy; c && *c; c++)
		if ((unsigned char)*c > 126)
			*c = '?';
	value = copy ? json_string(copy) : NULL;
	free(copy);
	return value;
}

json_t *wr_ui_json_u64(uint64_t value)
{
	return value > INT64_MAX ? json_null() : json_integer((json_int_t)value);
}

static int fail_json(const char *what, const struct weir_error *err, const char *message)
{
	wr_ui_json_print(json_pack("{s:{s:o, s:s, s:o, s:o, s:o}}", "error", "command",
				   wr_ui_json_text(what), "code", code_name(err->code), "message",
				   wr_ui_json_text(message), "file",
				   err->file[0] ? wr_ui_json_text(err->file) : json_null(),
				   "offset", wr_ui_json_u64(err->offset)));
	return WR_EXIT_FAILED;
}

int wr_ui_fail(bool json, const char *what, const struct weir_error *err)
{
	const char *message = err->message[0] ? err->message : weir_strerror(err->code);

	if (json)
		return fail_json(what, err, message);
	fflush(stdout);
	fprintf(stderr, "weir: %s: %s", what, message);
	if (err->file[0] && err->offset != WEIR_OFFSET_NONE)
		fprintf(stderr, " (%s at offset %llu)", err->file, (unsigned long long)err->offset);
	else if (err->file[0])
		fprintf(stderr, " (%s)", err->file);
	fputc('\n', stderr);
	return WR_EXIT_FAILED;
}

int wr_ui_fail_code(bool json, const char *what, int code, const char *fmt, ...)
{
	struct weir_error err = {.code = code, .offset = WEIR_OFFSET_NONE};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err.message, sizeof(err.message), fmt, ap);
	va_end(ap);
	return wr_ui_fail(json, what, &err);
}

int wr_ui_fail_interrupted(bool json, const char *what)
{
	(void)wr_ui_fail_code(json, what, -EINTR, "interrupted");
	return WR_EXIT_INTERRUPTED;
}

int wr_ui_json_print(json_t *root)
{
	/* Nanoseconds of a day survive 14 digits; 17 would print 0.1 as 0.10000000000000001. */
	const size_t json_flags = JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(14);
	int code = root ? json_dumpf(root, stdout, json_flags) : -1;

	json_decref(root);
	if (code) {
		fprintf(stderr, "weir: the JSON output could not be %s\n",
			ferror(stdout) ? "written" : "built");
		return WR_EXIT_FAILED;
	}
	fputc('\n', stdout);
	return WR_EXIT_OK;
}

void wr_ui_progress_start(struct wr_ui_progress *p, const char *what, uint64_t total_bytes,
			  bool quiet)
{
	*p = (struct wr_ui_progress){
		.on = !quiet && isatty(STDERR_FILENO),
		.what = what,
		.total_bytes = total_bytes,
		.start_ns = wr_ui_now_ns(),
	};
}

void wr_ui_progress_update(struct wr_ui_progress *p, uint64_t done_bytes)
{
	char done[WR_UI_TEXT], total[WR_UI_TEXT], rate[WR_UI_TEXT];
	uint64_t now;
	double seconds;

	if (!p->on)
		return;
	now = wr_ui_now_ns();
	if (p->shown_ns && now - p->shown_ns < 100000000u)
		return;
	p->shown_ns = now;
	seconds = (double)(now - p->start_ns) / 1e9;
	fprintf(stderr, "\r%s: %s of %s, %s\033[K", p->what, wr_ui_bytes(done, done_bytes),
		wr_ui_bytes(total, p->total_bytes),
		wr_ui_rate(rate, seconds > 0 ? (double)done_bytes / seconds : 0));
	fflush(stderr);
}

void wr_ui_progress_end(struct wr_ui_progress *p)
{
	if (p->on && p->shown_ns) {
		fprintf(stderr, "\r\033[K");
		fflush(stderr);
	}
	p->on = false;
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
	(void)signal_number;
	interrupted = 1;
}

void wr_ui_interrupt_init(void)
{
	/* SA_RESETHAND: the second one finds the default action. */
	struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};

	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

bool wr_ui_interrupted(void)
{
	return interrupted;
}
