/* SPDX-License-Identifier: MIT */
/* A small ELF file of this machine with one probe site, to be broken in all ways; files in memory. */
#ifndef WR_SELFTESTS_ELF_IMAGE_H
#define WR_SELFTESTS_ELF_IMAGE_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#define ELF_CODE_AT 0x1000u /* address and place of the site */
#define ELF_DATA_AT 0x1100u /* place of the semaphore */

/* A note in its file: nothing in between, whatever the alignment. */
struct elf_note {
	Elf64_Nhdr head;
	char owner[8];
	uint64_t address[3];
	char text[40]; /* provider, name, arguments */
} __attribute__((packed, aligned(4)));

struct elf_image {
	Elf64_Ehdr head;
	Elf64_Phdr segments[2]; /* code, data */
	Elf64_Shdr sections[2]; /* none, notes */
	struct elf_note note;
	uint8_t rest[ELF_DATA_AT - 256];
};

void elf_image_make(struct elf_image *ret);

/* A file in memory, read through a struct wr_elf_file: one that asks for more than there is dies. */
struct elf_bytes {
	const void *at;
	size_t nr;
};

int elf_bytes_read(void *arg, void *to, size_t bytes, uint64_t offset);

#endif /* WR_SELFTESTS_ELF_IMAGE_H */
