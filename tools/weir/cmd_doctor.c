/* SPDX-License-Identifier: MIT */
/*
 * weir doctor: what this machine gives, and what to change.
 *
 * A table of findings, each ok, note or fix, and below it for every weak point one
 * line that says what to do and one with the exact command. The exit status is 0
 * whatever is found: this is a description, not a test.
 */
#include "commands.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "doctor.h"
#include "ui.h"

static const char *const state_names[] = {
	[WR_DOCTOR_OK] = "ok",
	[WR_DOCTOR_NOTE] = "note",
	[WR_DOCTOR_FIX] = "fix",
};

struct wr_doctor_finding *wr_doctor_add(struct wr_doctor *d, enum wr_doctor_state state,
					const char *name, const char *fmt, ...)
{
	/* One too many replaces the last: wrong, visible, and no reason to die. */
	struct wr_doctor_finding *f =
		&d->findings[d->nr < WR_DOCTOR_MAX_FINDINGS ? d->nr++ : d->nr - 1];
	va_list ap;

	*f = (struct wr_doctor_finding){.state = state};
	snprintf(f->name, sizeof(f->name), "%s", name);
	va_start(ap, fmt);
	vsnprintf(f->found, sizeof(f->found), fmt, ap);
	va_end(ap);
	return f;
}

void wr_doctor_advise(struct wr_doctor_finding *f, const char *advice, const char *fmt, ...)
{
	va_list ap;

	snprintf(f->advice, sizeof(f->advice), "%s", advice);
	va_start(ap, fmt);
	vsnprintf(f->command, sizeof(f->command), fmt, ap);
	va_end(ap);
}

const char *wr_doctor_sudo(void)
{
	return geteuid() ? "sudo " : "";
}

const char *wr_doctor_line(char *text, size_t size, const char *path)
{
	FILE *f = fopen(path, "re");

	text[0] = '\0';
	if (!f)
		return text;
	if (!fgets(text, (int)size, f))
		text[0] = '\0';
	fclose(f);
	text[strcspn(text, "\n")] = '\0';
	return text;
}

uint64_t wr_doctor_number(const char *path, uint64_t otherwise)
{
	char text[64], *end;
	uint64_t number;

	number = strtoull(wr_doctor_line(text, sizeof(text), path), &end, 10);
	return end == text ? otherwise : number;
}

bool wr_doctor_capable(unsigned int capability)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long long mask = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "CapEff: %llx", &mask) == 1)
			break;
	if (f)
		fclose(f);
	return mask >> capability & 1;
}

/* ---- output ---- */

static json_t *text_or_null(const char *text)
{
	return *text ? wr_ui_json_text(text) : json_null();
}

static int print_json(struct wr_doctor *d)
{
	json_t *findings = json_array();

	for (size_t i = 0; i < d->nr; i++) {
		const struct wr_doctor_finding *f = &d->findings[i];

		json_array_append_new(findings, json_pack("{s:s, s:s, s:o, s:o, s:o}", "state",
							  state_names[f->state], "name", f->name,
							  "found", wr_ui_json_text(f->found),
							  "advice", text_or_null(f->advice),
							  "command", text_or_null(f->command)));
	}
	return wr_ui_json_print(json_pack("{s:s, s:o, s:O, s:o}", "version", weir_version(), "path",
					  wr_ui_json_text(d->path), "machine", d->facts, "findings",
					  findings));
}

static void print_advice(const struct wr_doctor *d)
{
	bool titled = false;

	for (size_t i = 0; i < d->nr; i++) {
		const struct wr_doctor_finding *f = &d->findings[i];

		if (!f->advice[0])
			continue;
		printf("%s%s: %s\n", titled ? "" : "\nWhat to change:\n", f->name, f->advice);
		titled = true;
		if (f->command[0])
			printf("    %s\n", f->command);
	}
	if (!titled)
		printf("\nNothing to change.\n");
}

static int print_text(const struct wr_doctor *d)
{
	static const struct wr_ui_column columns[] = {
		{"state", WR_UI_LEFT}, {"what", WR_UI_LEFT}, {"found", WR_UI_WRAP}};
	struct wr_ui_table *t = wr_ui_table_open(columns, 3);
	int code;

	for (size_t i = 0; i < d->nr; i++) {
		wr_ui_table_cell(t, "%s", state_names[d->findings[i].state]);
		wr_ui_table_cell(t, "%s", d->findings[i].name);
		wr_ui_table_cell(t, "%s", d->findings[i].found);
	}
	code = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	if (code)
		return wr_ui_fail_code(false, "doctor", code, "no memory for the table");
	print_advice(d);
	return WR_EXIT_OK;
}

/* ---- the command ---- */

static void look_at_kernel(struct wr_doctor *d)
{
	unsigned int major = 0, minor = 0;
	struct utsname u;

	if (uname(&u))
		return;
	json_object_set_new(d->facts, "kernel", wr_ui_json_text(u.release));
	json_object_set_new(d->facts, "architecture", wr_ui_json_text(u.machine));
	/* IORING_SETUP_DEFER_TASKRUN came with Linux 6.1: io_uring_setup(2). */
	if (sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
	    (major < 6 || (major == 6 && minor < 1)))
		wr_doctor_advise(wr_doctor_add(d, WR_DOCTOR_NOTE, "kernel", "Linux %s, %s",
					       u.release, u.machine),
				 "Linux 6.1 completes reads with fewer interruptions", "%s", "");
	else
		wr_doctor_add(d, WR_DOCTOR_OK, "kernel", "Linux %s, %s", u.release, u.machine);
}

static int not_there(bool json, const char *path, int code)
{
	struct weir_error err = {.code = -code, .offset = WEIR_OFFSET_NONE};

	snprintf(err.message, sizeof(err.message), "cannot be looked at: %s", strerror(code));
	snprintf(err.file, sizeof(err.file), "%s", path);
	return wr_ui_fail(json, "doctor", &err);
}

int cmd_doctor(int argc, char **argv)
{
	bool json = false;
	const struct wr_ui_option options[] = {
		{"json", WR_UI_FLAG, NULL, "print one JSON object", &json, 0, 0},
	};
	const struct wr_ui_usage usage = {
		.name = "doctor",
		.args = "[PATH]",
		.summary = "Say what this machine gives and what to change. PATH is a file or "
			   "folder on\n"
			   "the disk that models are read from (default: the current folder).",
		.options = options,
		.nr_options = 1,
		.min_args = 0,
		.max_args = 1,
	};
	struct wr_doctor d = {.path = "."};
	int nr, status;

	status = wr_ui_parse(&usage, argc, argv, &nr);
	if (status != WR_UI_RUN)
		return status;
	if (nr)
		d.path = argv[1];
	if (access(d.path, F_OK))
		return not_there(json, d.path, errno);
	d.facts = json_object();
	look_at_kernel(&d);
	wr_doctor_processor(&d);
	wr_doctor_memory(&d);
	wr_doctor_engine(&d);
	wr_doctor_place(&d);
	wr_doctor_tools(&d);
	status = json ? print_json(&d) : print_text(&d);
	json_decref(d.facts);
	return status;
}
