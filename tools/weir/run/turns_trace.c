/* SPDX-License-Identifier: MIT */
/* The references of a run in the format that weir-replay(1) describes. */
#include "turns_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/util.h"
#include "replay_trace.h"
#include "ui.h"

int wr_turns_trace_open(const char *path, struct wr_turns_trace *ret, struct weir_error *err)
{
	*ret = (struct wr_turns_trace){.path = path, .begin_ns = wr_ui_now_ns()};
	if (!path)
		return 0;
	ret->file = fopen(path, "we");
	if (!ret->file)
		return wr_error_set(err, -errno, path, WEIR_OFFSET_NONE, "it cannot be written: %s",
				    strerror(errno));
	fputs("# weir trace 1\n", ret->file);
	return 0;
}

void wr_turns_trace_add(struct wr_turns_trace *trace, uint32_t class_id, const char *name,
			uint64_t bytes)
{
	if (!trace->file)
		return;
	fprintf(trace->file, "%" PRIu64 " %s %s %" PRIu64 "\n", wr_ui_now_ns() - trace->begin_ns,
		wr_trace_class_name(class_id), name, bytes);
	trace->nr++;
}

int wr_turns_trace_close(struct wr_turns_trace *trace, struct weir_error *err)
{
	bool failed;

	if (!trace->file)
		return 0;
	failed = ferror(trace->file);
	failed |= fclose(trace->file) != 0;
	trace->file = NULL;
	return failed ? wr_error_set(err, -EIO, trace->path, WEIR_OFFSET_NONE,
				     "the trace could not be written to its end")
		      : 0;
}
