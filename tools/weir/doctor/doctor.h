/* SPDX-License-Identifier: MIT */
/*
 * doctor.h - What the examinations of `weir doctor` share.
 *
 * Each examination looks at one side of the machine, adds its findings, and puts the
 * bare numbers into the facts. Nothing on the machine is changed, but for one small
 * file that is made and removed where models are to lie.
 */
#ifndef WR_TOOLS_DOCTOR_H
#define WR_TOOLS_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <weir/base.h>

enum wr_doctor_state {
	WR_DOCTOR_OK,	/* as good as weir can use */
	WR_DOCTOR_NOTE, /* works; worth knowing */
	WR_DOCTOR_FIX,	/* costs speed or a feature; can be changed */
};

/**
 * struct wr_doctor_finding - One row.
 * @state:   enum wr_doctor_state.
 * @name:    What was looked at, in one or two words.
 * @found:   What it is.
 * @advice:  What to do about it, "" for nothing.
 * @command: How, exactly; "" when there is no command for it.
 */
struct wr_doctor_finding {
	enum wr_doctor_state state;
	char name[24];
	char found[256];
	char advice[256];
	char command[256];
};

#define WR_DOCTOR_MAX_FINDINGS 32

/**
 * struct wr_doctor - An examination in progress.
 * @path:     The folder or file that models will be read from.
 * @facts:    JSON object of bare numbers.
 * @findings: Rows so far.
 * @nr:       Their number.
 */
struct wr_doctor {
	const char *path;
	json_t *facts;
	struct wr_doctor_finding findings[WR_DOCTOR_MAX_FINDINGS];
	size_t nr;
};

/* Add a row. The finding is returned for wr_doctor_advise(); never NULL. */
struct wr_doctor_finding *wr_doctor_add(struct wr_doctor *d, enum wr_doctor_state state,
					const char *name, const char *fmt, ...) WEIR_PRINTF(4, 5);

/* Say what to do about a finding and, unless @fmt is "", how. */
void wr_doctor_advise(struct wr_doctor_finding *f, const char *advice, const char *fmt, ...)
	WEIR_PRINTF(3, 4);

/* "sudo " unless we are root. */
const char *wr_doctor_sudo(void);

/* The first line of a file, without its end; "" when it cannot be read. */
const char *wr_doctor_line(char *text, size_t size, const char *path);

/* The number in a file, or @otherwise. */
uint64_t wr_doctor_number(const char *path, uint64_t otherwise);

/* Does this process have the capability of that number? */
bool wr_doctor_capable(unsigned int capability);

/* The examinations, in the order in which they are shown. */
void wr_doctor_processor(struct wr_doctor *d);
void wr_doctor_memory(struct wr_doctor *d);
void wr_doctor_engine(struct wr_doctor *d);
void wr_doctor_place(struct wr_doctor *d);
void wr_doctor_tools(struct wr_doctor *d);

#endif /* WR_TOOLS_DOCTOR_H */
