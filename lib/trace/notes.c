/* SPDX-License-Identifier: MIT */
/*
 * See trace/notes.h. A note of a probe site (systemtap's "UserSpaceProbeImplementation"): name
 * "stapsdt", type 3; contents three addresses, of the code, of .stapsdt.base, of the semaphore, and
 * three texts, provider, probe, arguments. The second address serves files that were moved by
 * prelink after they were linked; such files are not found here.
 *
 * The code must begin with a nop of one byte: any other instruction is stepped singly by the
 * kernel, at twenty times the price, and a nop of five bytes may be replaced by a call, which
 * writes where a leaf function keeps data.
 */
#include "trace/notes.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"

#define MAX_SECTIONS   4096u
#define MAX_NOTE_BYTES (1u << 20)

struct image {
	const struct wr_elf_file *file;
	Elf64_Ehdr head;
	Elf64_Phdr *segments; /* head.e_phnum of them */
	int (*fn)(void *arg, const struct wr_site *site);
	void *arg;
};

/* Where @bytes at @address, in a segment with @flags, are in the file; 0: nowhere. */
static uint64_t place_of(const struct image *im, uint64_t address, uint64_t bytes, uint32_t flags)
{
	for (unsigned i = 0; i < im->head.e_phnum; i++) {
		const Elf64_Phdr *p = &im->segments[i];
		uint64_t in = address - p->p_vaddr, place;

		if (p->p_type != PT_LOAD || (p->p_flags & flags) != flags || address < p->p_vaddr ||
		    in >= p->p_filesz || p->p_filesz - in < bytes)
			continue;
		return wr_add_overflow(in, p->p_offset, &place) ? 0 : place;
	}
	return 0;
}

#if defined(__aarch64__)
/* x0 to x30: struct user_pt_regs begins with them. */
static int reg_of(const char *name, size_t length)
{
	int n = 0;

	if (length < 2 || length > 3 || name[0] != 'x')
		return -1;
	for (size_t i = 1; i < length; i++) {
		if (name[i] < '0' || name[i] > '9')
			return -1;
		n = n * 10 + (name[i] - '0');
	}
	return n <= 30 ? n : -1;
}

static bool is_nop(const uint8_t code[static 4])
{
	return code[0] == 0x1f && code[1] == 0x20 && code[2] == 0x03 && code[3] == 0xd5;
}
#else
/* In the order of struct pt_regs (asm/ptrace.h), which the kernel keeps for its users. */
static int reg_of(const char *name, size_t length)
{
	static const char *const names[] = {"%r15", "%r14", "%r13", "%r12", "%rbp",
					    "%rbx", "%r11", "%r10", "%r9",  "%r8",
					    "%rax", "%rcx", "%rdx", "%rsi", "%rdi"};

	for (size_t i = 0; i < wr_array_size(names); i++)
		if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0)
			return (int)i;
	return -1;
}

/* One of one byte, and what follows is not one of five (0f 1f 44 00 00). */
static bool is_nop(const uint8_t code[static 4])
{
	return code[0] == 0x90 && code[1] != 0x0f;
}
#endif

/* "8@%rax 8@%rdx": each of eight bytes and in a register. */
static bool read_args(const char *text, struct wr_site *ret)
{
	ret->nr_args = 0;
	while (*text != '\0') {
		size_t length = strcspn(text, " ");
		int reg = length > 2 && memcmp(text, "8@", 2) == 0 ? reg_of(text + 2, length - 2)
								   : -1;

		if (reg < 0 || ret->nr_args == WR_SITE_ARGS)
			return false;
		ret->reg[ret->nr_args++] = (uint8_t)reg;
		text += length;
		text += *text == ' ';
	}
	return true;
}

/* The contents of one note, @bytes at @data, the last of which is a NUL. */
static int one_note(const struct image *im, const char *data, size_t bytes)
{
	const char *provider, *end = data + bytes;
	struct wr_site site;
	uint64_t address[3];
	uint8_t code[4];

	if (bytes < sizeof(address) + 3 || end[-1] != '\0')
		return 0;
	memcpy(address, data, sizeof(address));
	provider = data + sizeof(address);
	site.name = provider + strlen(provider) + 1;
	if (strcmp(provider, "weir") != 0 || site.name >= end)
		return 0;
	data = site.name + strlen(site.name) + 1;
	if (data >= end || !read_args(data, &site))
		return 0;
	site.offset = place_of(im, address[0], sizeof(code), PF_X);
	site.semaphore = place_of(im, address[2], 2, PF_W);
	if (site.offset == 0 || site.semaphore == 0 || site.semaphore % 2 != 0)
		return 0;
	if (wr_elf_take(im->file, code, sizeof(code), site.offset) != 0 || !is_nop(code))
		return 0;
	return im->fn(im->arg, &site);
}

static int each_note(const struct image *im, const char *data, uint64_t bytes)
{
	struct wr_elf_notes notes = {data, bytes};
	struct wr_elf_note note;
	int rc = 0;

	while (!rc && wr_elf_next_note(&notes, "stapsdt", 3, &note))
		rc = one_note(im, note.data, note.bytes);
	return rc;
}

static int one_section(const struct image *im, const Elf64_Shdr *section)
{
	char *data;
	int rc;

	if (section->sh_type != SHT_NOTE || section->sh_size == 0)
		return 0;
	/* Said before wr_elf_copy() finds it beyond the file, too. */
	if (section->sh_size > MAX_NOTE_BYTES)
		return -EFBIG;
	rc = wr_elf_copy(im->file, section->sh_offset, section->sh_size, MAX_NOTE_BYTES, &data);
	if (rc)
		return rc;
	rc = each_note(im, data, section->sh_size);
	wr_free(data);
	return rc;
}

int wr_sites_of(const struct wr_elf_file *file, int (*fn)(void *arg, const struct wr_site *site),
		void *arg)
{
	struct image im = {.file = file, .fn = fn, .arg = arg};
	Elf64_Shdr section;
	int rc = wr_elf_head(file, MAX_SECTIONS, &im.head);

	if (rc || im.head.e_phnum == 0)
		return rc;
	rc = wr_elf_segments(file, &im.head, &im.segments);
	if (rc)
		return rc;
	for (unsigned i = 0; !rc && i < im.head.e_shnum; i++) {
		uint64_t at;

		if (wr_add_overflow(im.head.e_shoff, (uint64_t)i * sizeof(section), &at))
			rc = -EBADMSG;
		else
			rc = wr_elf_take(file, &section, sizeof(section), at);
		if (!rc)
			rc = one_section(&im, &section);
	}
	wr_free(im.segments);
	return rc;
}
