/* SPDX-License-Identifier: MIT */
/*
 * Names in an ELF file: which function or variable an address of it belongs to, and where a
 * function of some name begins. The file is a stranger's and may say anything: what is read is
 * bounded by limits stated in elf.c, and every number of the file is checked before it is used.
 */
#ifndef WR_TRACE_ELF_H
#define WR_TRACE_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trace/elf_read.h"

#define WR_BUILD_ID_BYTES 20u

struct wr_elf;

/* Addresses are those in the file, as its symbols and program headers state them. */
struct wr_elf_symbol {
	const char *name; /* valid until close */
	uint64_t address, bytes;
	bool is_function;
};

/*
 * @file is read now and not later. One that has no symbols is not wrong.
 * 0, -EBADMSG (no ELF file of this machine), -EFBIG (a table above the limits), -ENOMEM, or what
 * read() says.
 */
int wr_elf_open(const struct wr_elf_file *file, bool with_symbols, struct wr_elf **ret);
/* Of the file behind @fd, which may be closed then; @ret_stat, which may be NULL, is what it was. */
int wr_elf_open_fd(int fd, bool with_symbols, struct stat *ret_stat, struct wr_elf **ret);
void wr_elf_close(struct wr_elf *elf);

/* Bytes of its build id, of which the first WR_BUILD_ID_BYTES are in @ret; 0: it has none. */
size_t wr_elf_build_id(const struct wr_elf *elf, uint8_t ret[static WR_BUILD_ID_BYTES]);

/* The address of what is mapped as code from @offset on, a multiple of the page; false: none is. */
bool wr_elf_code_at(const struct wr_elf *elf, uint64_t offset, uint64_t *ret);
/* The place in the file of an address; false: there is none. */
bool wr_elf_offset_of(const struct wr_elf *elf, uint64_t address, uint64_t *ret);
/* The lowest address and the first above all; false: nothing is loaded. */
bool wr_elf_extent(const struct wr_elf *elf, uint64_t *ret_begin, uint64_t *ret_end);

/* The symbol that @address is in. */
bool wr_elf_find(const struct wr_elf *elf, uint64_t address, struct wr_elf_symbol *ret);
/* The function that callers of @name get: of several versions the default one. */
bool wr_elf_function(const struct wr_elf *elf, const char *name, struct wr_elf_symbol *ret);

#endif /* WR_TRACE_ELF_H */
