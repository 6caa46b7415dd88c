/* SPDX-License-Identifier: MIT */
/* Places for breakpoints in a C library (T3); see deep.c. */
#ifndef WR_TRACE_DEEP_H
#define WR_TRACE_DEEP_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/trace.h>

/*
 * NEEDED:    without it nothing is counted.
 * CONDITION: without it holds would contain waits for conditions.
 * MORE:      without it the takes by this function are not seen.
 */
enum wr_deep_kind { WR_DEEP_NEEDED, WR_DEEP_CONDITION, WR_DEEP_MORE };

struct wr_deep_function {
	const char *name;
	const char *program, *on_return; /* of bpf/deep.bpf.c; NULL: none */
	enum wr_deep_kind kind;
};

#define WR_DEEP_FUNCTIONS WEIR_TRACE_DEEP_PLACES
extern const struct wr_deep_function wr_deep_functions[WR_DEEP_FUNCTIONS];

struct wr_deep_place {
	bool is_there, is_stepped;
	uint32_t into;	 /* from the beginning of the function */
	uint64_t offset; /* of that beginning in the file */
};

struct wr_deep_plan {
	struct wr_deep_place places[WR_DEEP_FUNCTIONS];
	char path[WEIR_PATH_BYTES];
};

/* Look into a library. 0, -ENOENT (it has no such locks), -EBADMSG and others of wr_elf_open(). */
int wr_deep_read(int fd, struct wr_deep_plan *ret);

/* Whether a place that is needed would have to be stepped. */
bool wr_deep_is_refused(const struct wr_deep_plan *plan);

#endif /* WR_TRACE_DEEP_H */
