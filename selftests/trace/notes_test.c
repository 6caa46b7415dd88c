/* SPDX-License-Identifier: MIT */
/* Probe sites in a stranger's file: what is right is found, what is wrong is left out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "trace/elf_image.h"
#include "trace/notes.h"

struct found {
	unsigned nr;
	struct wr_site last;
	char name[32];
};

static int note_site(void *arg, const struct wr_site *site)
{
	struct found *f = arg;

	f->nr++;
	f->last = *site;
	snprintf(f->name, sizeof(f->name), "%s", site->name);
	return 0;
}

static int sites_in(const struct elf_image *im, size_t bytes, struct found *ret)
{
	struct elf_bytes b = {im, bytes};
	const struct wr_elf_file file = {bytes, elf_bytes_read, &b};

	*ret = (struct found){0};
	return wr_sites_of(&file, note_site, ret);
}

FIXTURE(image)
{
	struct elf_image im;
	struct found found;
};

FIXTURE_SETUP(image)
{
	elf_image_make(&self->im);
}

FIXTURE_TEARDOWN(image)
{
}

/* The walk ends well and finds so many. */
#define EXPECT_SITES(nr_)                                                          \
	do {                                                                       \
		EXPECT_EQ(sites_in(&self->im, sizeof(self->im), &self->found), 0); \
		EXPECT_EQ(self->found.nr, nr_);                                    \
	} while (0)
#define EXPECT_REFUSED(rc) EXPECT_EQ(sites_in(&self->im, sizeof(self->im), &self->found), rc)

TEST_F(image, a_site_is_found_where_it_is)
{
	EXPECT_SITES(1u);
	EXPECT_STREQ(self->found.name, "lock_release");
	EXPECT_EQ(self->found.last.offset, ELF_CODE_AT);
	EXPECT_EQ(self->found.last.semaphore, ELF_DATA_AT);
#if defined(__x86_64__)
	EXPECT_EQ(self->found.last.nr_args, 2u);
	EXPECT_EQ(self->found.last.reg[0], 10u);
	EXPECT_EQ(self->found.last.reg[1], 0u);
#endif
}

TEST_F(image, what_is_no_file_of_this_machine_is_refused)
{
	self->im.head.e_machine = EM_S390;
	EXPECT_REFUSED(-EBADMSG);
	elf_image_make(&self->im);
	self->im.head.e_ident[EI_CLASS] = ELFCLASS32;
	EXPECT_REFUSED(-EBADMSG);
	elf_image_make(&self->im);
	self->im.head.e_ident[0] = '#';
	EXPECT_REFUSED(-EBADMSG);
	EXPECT_EQ(sites_in(&self->im, 3, &self->found), -EBADMSG);
}

TEST_F(image, tables_beyond_the_file_or_the_limits_are_refused)
{
	self->im.head.e_shoff = UINT64_MAX - 8;
	EXPECT_REFUSED(-EBADMSG);
	elf_image_make(&self->im);
	self->im.head.e_phoff = UINT64_MAX;
	EXPECT_REFUSED(-EBADMSG);
	elf_image_make(&self->im);
	self->im.head.e_shnum = 0xffff;
	EXPECT_REFUSED(-EFBIG);
	elf_image_make(&self->im);
	self->im.sections[1].sh_size = UINT64_MAX;
	EXPECT_REFUSED(-EFBIG);
	elf_image_make(&self->im);
	self->im.sections[1].sh_offset = UINT64_MAX;
	EXPECT_REFUSED(-EBADMSG);
}

TEST_F(image, sites_outside_of_the_code_are_left_out)
{
	self->im.note.address[0] = 0x5000; /* data */
	EXPECT_SITES(0u);
	self->im.note.address[0] = ELF_CODE_AT + 0xfe; /* its end is not code */
	EXPECT_SITES(0u);
	self->im.note.address[0] = UINT64_MAX;
	EXPECT_SITES(0u);
	elf_image_make(&self->im);
	self->im.segments[0].p_offset = UINT64_MAX - 1;
	EXPECT_SITES(0u);
	elf_image_make(&self->im);
	self->im.note.address[2] = 0; /* no semaphore */
	EXPECT_SITES(0u);
	self->im.note.address[2] = ELF_CODE_AT; /* which cannot be written */
	EXPECT_SITES(0u);
	self->im.note.address[2] = 0x500f;
	EXPECT_SITES(0u);
}

TEST_F(image, only_nops_of_one_byte_are_sites)
{
	static const uint8_t others[][4] = {
		{0x0f, 0x1f, 0x44, 0x00}, {0x90, 0x0f, 0x1f, 0x44}, {0xcc, 0x90}, {0x48, 0x89}};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		memcpy((char *)&self->im + ELF_CODE_AT, others[i], sizeof(others[i]));
		EXPECT_SITES(0u);
	}
}

TEST_F(image, arguments_elsewhere_than_in_registers_are_left_out)
{
	static const char *const others[] = {"8@-8(%rsp)", "4@%eax", "8@%fs:8", "8@%rxx",
					     "8@",	   "8",	     "-8@%rax"};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		elf_image_make(&self->im);
		memset(self->im.note.text + 18, 0, 16);
		snprintf(self->im.note.text + 18, 16, "%s", others[i]);
		EXPECT_SITES(0u);
	}
	/* None at all is right. */
	memset(self->im.note.text + 18, 0, 16);
	EXPECT_SITES(1u);
	memcpy(self->im.note.text, "xeir", 4);
	EXPECT_SITES(0u);
}

TEST_F(image, notes_that_lie_about_their_length_end_the_walk)
{
	static const uint32_t lengths[] = {0, 1, 7, 23, 1000, 0x7fffffff, 0xfffffffc, 0xffffffff};

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		elf_image_make(&self->im);
		self->im.note.head.n_descsz = lengths[i];
		EXPECT_SITES(0u);
		elf_image_make(&self->im);
		self->im.note.head.n_namesz = lengths[i];
		EXPECT_SITES(0u);
	}
	/* Texts without an end. */
	elf_image_make(&self->im);
	memset(self->im.note.text, 'x', sizeof(self->im.note.text));
	EXPECT_SITES(0u);
}

TEST_F(image, without_memory_the_walk_says_so)
{
	int rc = -ENOMEM;

	for (uint64_t n = 1; rc == -ENOMEM && n < 10; n++) {
		wr_test_alloc_fail_at(n);
		rc = sites_in(&self->im, sizeof(self->im), &self->found);
		wr_test_alloc_fail_at(0);
	}
	EXPECT_EQ(rc, 0);
	EXPECT_EQ(wr_test_alloc_live(), 0u);
}

TEST_HARNESS_MAIN
