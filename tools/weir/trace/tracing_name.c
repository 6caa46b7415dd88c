/* SPDX-License-Identifier: MIT */
/*
 * Addresses of a trace as text; see tracing.h. The names come out of files that the process chose,
 * so they may be of any bytes: what is not printable becomes a question mark.
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "tracing.h"
#include "ui.h"

/* A longer one stays as it is: what makes it readable may need stack by its length. */
#define MAX_MANGLED 512

typedef char *demangle_fn(const char *mangled, char *to, size_t *length, int *status);

/* What C++ programs have with them anyway; without it the names stay mangled. */
static demangle_fn *demangler(void)
{
	static demangle_fn *found;
	static bool was_tried;

	if (!was_tried) {
		void *library = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);
		void *symbol = library ? dlsym(library, "__cxa_demangle") : NULL;

		memcpy(&found, &symbol, sizeof(found));
		was_tried = true;
		/* cppcheck-suppress resourceLeak ; it stays for what was found in it */
	}
	return found;
}

static void copy_name(char *to, size_t size, const char *name)
{
	char *readable = NULL;
	int status = -1;

	if (strncmp(name, "_Z", 2) == 0 && strnlen(name, MAX_MANGLED) < MAX_MANGLED && demangler())
		readable = demangler()(name, NULL, NULL, &status);
	snprintf(to, size, "%s", readable && status == 0 ? readable : name);
	free(readable);
	for (; *to; to++)
		if ((unsigned char)*to < ' ' || (unsigned char)*to > '~')
			*to = '?';
}

static const char *write_name(const struct wr_tracing *t, uint64_t address, bool with_offset,
			      char text[static WR_TRACING_NAME])
{
	struct weir_trace_symbol symbol;
	const char *file;
	size_t n;

	if (weir_trace_symbol(t->symbols, address, &symbol) != 0) {
		snprintf(text, WR_TRACING_NAME, "0x%" PRIx64, address);
		return text;
	}
	if (symbol.name) {
		copy_name(text, WR_TRACING_NAME - 20, symbol.name);
		n = strlen(text);
		if (with_offset && symbol.offset)
			snprintf(text + n, WR_TRACING_NAME - n, "+0x%" PRIx64, symbol.offset);
		return text;
	}
	file = strrchr(symbol.file, '/');
	copy_name(text, WR_TRACING_NAME - 20, file ? file + 1 : symbol.file);
	n = strlen(text);
	snprintf(text + n, WR_TRACING_NAME - n, "+0x%" PRIx64, symbol.address);
	return text;
}

const char *wr_tracing_name(const struct wr_tracing *t, uint64_t address,
			    char text[static WR_TRACING_NAME])
{
	return write_name(t, address, true, text);
}

/* All but the innermost return to behind a call, which may be the last of its function. */
const char *wr_tracing_frame(const struct wr_tracing *t, const uint64_t *frames, int index,
			     char text[static WR_TRACING_NAME])
{
	return write_name(t, frames[index] - (index > 0), false, text);
}

const char *wr_tracing_lock(const struct wr_tracing *t, uint64_t address, const char *name,
			    char text[static WR_TRACING_NAME])
{
	if (!name[0])
		return wr_tracing_name(t, address, text);
	copy_name(text, WR_TRACING_NAME, name);
	return text;
}

int wr_tracing_frames(const struct wr_tracing *t, int32_t stack_id, uint64_t caller,
		      uint64_t frames[static WEIR_TRACE_FRAMES + 1])
{
	int nr = weir_trace_stack(t->trace, stack_id, frames);

	if (nr < 0)
		nr = 0;
	if (caller == 0)
		return nr;
	if (nr == 0) {
		frames[0] = caller;
		return 1;
	}
	memmove(&frames[2], &frames[1], (size_t)(nr - 1) * sizeof(*frames));
	frames[1] = caller;
	return nr + 1;
}

json_t *wr_tracing_stack_json(const struct wr_tracing *t, int32_t stack_id, uint64_t caller)
{
	uint64_t frames[WEIR_TRACE_FRAMES + 1];
	int nr = wr_tracing_frames(t, stack_id, caller, frames);
	json_t *list;

	if (nr <= 0)
		return json_null();
	list = json_array();
	for (int i = 0; i < nr; i++) {
		struct weir_trace_symbol symbol = {0};
		char text[WR_TRACING_NAME];
		json_t *frame = json_object();
		bool known = weir_trace_symbol(t->symbols, frames[i] - (i > 0), &symbol) == 0;

		json_object_set_new(frame, "addr", wr_ui_json_u64(frames[i]));
		json_object_set_new(frame, "name",
				    known && symbol.name
					    ? wr_ui_json_text(wr_tracing_frame(t, frames, i, text))
					    : json_null());
		json_object_set_new(frame, "file",
				    known ? wr_ui_json_text(symbol.file) : json_null());
		json_object_set_new(frame, "file_addr",
				    known ? wr_ui_json_u64(symbol.address) : json_null());
		json_array_append_new(list, frame);
	}
	return list;
}
