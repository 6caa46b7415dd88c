/* SPDX-License-Identifier: MIT */
/**
 * weir/trace_symbol.h - Names for the addresses and stacks in a trace.
 *
 * A trace notes which files its process runs code of, where they lie in it and what
 * build they are. So an address has a name also when the process has ended, as long as
 * the same build of the file is still there. A file that has changed since is not asked:
 * no name is better than a wrong one.
 *
 * The names are those in the ELF files: those of C++ and Rust are as the compiler wrote
 * them. A stack is what the kernel found by frame pointers: a function that was compiled
 * without one hides the function that called it.
 */
#ifndef WEIR_TRACE_SYMBOL_H
#define WEIR_TRACE_SYMBOL_H

#include <weir/trace.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_trace_symbols;

/**
 * weir_trace_symbols_open() - Prepare to name addresses of a trace.
 * @trace: The trace; it must stay open.
 * @ret:   The names; untouched on failure.
 *
 * While the process runs, files that it has mapped since are noted.
 *
 * Context: Any thread. May block.
 * Owner:   The caller, until weir_trace_symbols_close(). One thread at a time.
 * Cost:    Files are read when the first address in them is asked for.
 * Return:  0, -ENOMEM.
 * Since:   0.1
 */
WEIR_API int weir_trace_symbols_open(struct weir_trace *trace,
				     struct weir_trace_symbols **ret) WEIR_MUST_CHECK;

/**
 * weir_trace_symbols_close() - Let go of names, and of the texts that were given out.
 * @symbols: Names or NULL.
 *
 * Context: Any thread.
 * Since:   0.1
 */
WEIR_API void weir_trace_symbols_close(struct weir_trace_symbols *symbols);

/**
 * struct weir_trace_symbol - What an address belongs to. Texts belong to the symbols.
 * @file:    Path of the file, as the process sees it.
 * @address: The address in the file, as nm and objdump show it.
 * @name:    The function or variable; NULL: there is no name, see @code.
 * @offset:  Of the address in it.
 * @code:    Without a name: 0 (the file has none for it), -ESTALE (the file has changed
 *           since), -ENOENT (it is gone), or why else it could not be read.
 */
struct weir_trace_symbol {
	const char *file;
	uint64_t address;
	const char *name;
	uint64_t offset;
	int code;
};

/**
 * weir_trace_symbol() - Name an address.
 * @symbols: The names.
 * @address: In the process: of code, or of a variable such as a lock. Of a frame that is
 *           not the innermost of a stack, ask for one less than the address: it returns
 *           to behind the call.
 * @ret:     What it is; untouched on failure.
 *
 * Context: The thread that uses @symbols. May block.
 * Return:  0 (the file is known, the name perhaps not), -ENOENT (in no file that was
 *          noted, or in two, of which one came after the other).
 * Since:   0.1
 */
WEIR_API int weir_trace_symbol(struct weir_trace_symbols *symbols, uint64_t address,
			       struct weir_trace_symbol *ret) WEIR_MUST_CHECK;

/**
 * weir_trace_stack() - The addresses of a stack.
 * @trace:    The trace.
 * @stack_id: As in struct weir_site_key and others.
 * @ret:      The addresses, the innermost first.
 *
 * Context: Any thread. One system call.
 * Return:  Their number, 1 to WEIR_TRACE_FRAMES; a negative @stack_id, which is the reason
 *          why there is none; -ENOENT (not kept), or why it cannot be read.
 * Since:   0.1
 */
WEIR_API int weir_trace_stack(const struct weir_trace *trace, int32_t stack_id,
			      uint64_t ret[WEIR_TRACE_FRAMES]) WEIR_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif /* WEIR_TRACE_SYMBOL_H */
