/* SPDX-License-Identifier: MIT */
/*
 * What every reader of an ELF file begins with: bytes that are there, a head of this machine, notes
 * that end. The file is a stranger's and may say anything: nothing behind its end is asked for, and
 * nothing is allocated by a number in it beyond a limit that the caller states.
 */
#ifndef WR_TRACE_ELF_READ_H
#define WR_TRACE_ELF_READ_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* Where the bytes come from: read() gives exactly @bytes of them at @offset, or -errno. */
struct wr_elf_file {
	uint64_t size; /* nothing behind it is asked for */
	int (*read)(void *arg, void *to, size_t bytes, uint64_t offset);
	void *arg;
};

/* For struct wr_elf_file: @arg points to a descriptor. */
int wr_elf_pread(void *arg, void *to, size_t bytes, uint64_t offset);

/* The file behind *@fd, which @ret goes on to point to, as it is now. 0, or why fstat() fails. */
int wr_elf_file_of(int *fd, struct wr_elf_file *ret, struct stat *ret_stat);

/* 0, -EBADMSG (the file has no such bytes), or what read() says. */
int wr_elf_take(const struct wr_elf_file *file, void *to, size_t bytes, uint64_t offset);

/*
 * A copy of a table of the file, with a NUL behind it, into the pointer @ret points to.
 * 0, -EFBIG (above @limit), -ENOMEM, or as wr_elf_take().
 */
int wr_elf_copy(const struct wr_elf_file *file, uint64_t offset, uint64_t bytes, uint64_t limit,
		void *ret);

/*
 * The head of a file whose tables may be read: of this machine, with entries of the sizes known
 * here. 0, -EBADMSG, -EFBIG (more than 256 segments or @max_sections), or what read() says.
 */
int wr_elf_head(const struct wr_elf_file *file, unsigned max_sections, Elf64_Ehdr *ret);

/* Its segments, e_phnum of them. As wr_elf_copy(). */
int wr_elf_segments(const struct wr_elf_file *file, const Elf64_Ehdr *head, Elf64_Phdr **ret);

/* The part of a table of notes that is ahead. */
struct wr_elf_notes {
	const char *data;
	uint64_t bytes;
};

/* What a note says; points into the table. */
struct wr_elf_note {
	const char *data;
	uint32_t bytes;
};

/*
 * The next note of @type that @owner wrote; false: there is none, or the table is broken before it.
 */
bool wr_elf_next_note(struct wr_elf_notes *notes, const char *owner, uint32_t type,
		      struct wr_elf_note *ret);

#endif /* WR_TRACE_ELF_READ_H */
