/* SPDX-License-Identifier: MIT */
/* See trace/elf_image.h. */
#include "trace/elf_image.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct elf_image) >= ELF_DATA_AT + 2, "the semaphore is in it");

void elf_image_make(struct elf_image *ret)
{
#if defined(__aarch64__)
	static const uint8_t code[] = {0x1f, 0x20, 0x03, 0xd5, 0x1f, 0x20, 0x03, 0xd5};
	static const char text[] = "weir\0lock_release\0"
				   "8@x0 8@x1 8@x30";
	const uint16_t machine = EM_AARCH64;
#else
	static const uint8_t code[] = {0x90, 0x90, 0xc3, 0xc3};
	static const char text[] = "weir\0lock_release\0"
				   "8@%rax 8@%r15";
	const uint16_t machine = EM_X86_64;
#endif

	memset(ret, 0, sizeof(*ret));
	memcpy(ret->head.e_ident, ELFMAG, SELFMAG);
	ret->head.e_ident[EI_CLASS] = ELFCLASS64;
	ret->head.e_ident[EI_DATA] = ELFDATA2LSB;
	ret->head.e_machine = machine;
	ret->head.e_phoff = offsetof(struct elf_image, segments);
	ret->head.e_phentsize = sizeof(Elf64_Phdr);
	ret->head.e_phnum = 2;
	ret->head.e_shoff = offsetof(struct elf_image, sections);
	ret->head.e_shentsize = sizeof(Elf64_Shdr);
	ret->head.e_shnum = 2;
	ret->segments[0] = (Elf64_Phdr){.p_type = PT_LOAD,
					.p_flags = PF_R | PF_X,
					.p_offset = ELF_CODE_AT,
					.p_vaddr = ELF_CODE_AT,
					.p_filesz = 0x100};
	ret->segments[1] = (Elf64_Phdr){.p_type = PT_LOAD,
					.p_flags = PF_R | PF_W,
					.p_offset = ELF_DATA_AT,
					.p_vaddr = 0x5000,
					.p_filesz = 16};
	ret->sections[1] = (Elf64_Shdr){.sh_type = SHT_NOTE,
					.sh_offset = offsetof(struct elf_image, note),
					.sh_size = sizeof(ret->note)};
	ret->note.head =
		(Elf64_Nhdr){.n_namesz = 8,
			     .n_descsz = (uint32_t)(sizeof(ret->note.address) + sizeof(text)),
			     .n_type = 3};
	memcpy(ret->note.owner, "stapsdt", 8);
	ret->note.address[0] = ELF_CODE_AT;
	ret->note.address[2] = 0x5000;
	memcpy(ret->note.text, text, sizeof(text));
	memcpy((char *)ret + ELF_CODE_AT, code, sizeof(code));
}

int elf_bytes_read(void *arg, void *to, size_t bytes, uint64_t offset)
{
	const struct elf_bytes *b = arg;

	if (offset > b->nr || bytes > b->nr - offset)
		abort();
	if (bytes)
		memcpy(to, (const char *)b->at + offset, bytes);
	return 0;
}
