/* SPDX-License-Identifier: MIT */
/* Names in ELF files: those that the linker gave, and what becomes of files that are broken. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "trace/elf.h"
#include "trace/elf_image.h"
#include "trace/maps.h"

int a_variable_of_this_name[16];

__attribute__((noinline)) int a_function_of_this_name(int a);
int a_function_of_this_name(int a)
{
	return a + a_variable_of_this_name[0];
}

static int open_file(const char *path, struct wr_elf **ret)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc;

	if (fd < 0)
		return -ENOENT;
	rc = wr_elf_open_fd(fd, true, NULL, ret);
	close(fd);
	return rc;
}

TEST(names_are_those_of_the_linker)
{
	struct wr_elf_symbol f, s;
	struct wr_elf *elf;
	uint64_t begin, end;
	Dl_info here;

	ASSERT_EQ(open_file("/proc/self/exe", &elf), 0);
	ASSERT_NE(dladdr(a_variable_of_this_name, &here), 0);
	ASSERT_TRUE(wr_elf_function(elf, "a_function_of_this_name", &f));
	EXPECT_GT(f.bytes, 0u);
	EXPECT_TRUE(f.is_function);
	ASSERT_TRUE(wr_elf_find(elf, f.address + f.bytes - 1, &s));
	EXPECT_STREQ(s.name, "a_function_of_this_name");
	/* A position-independent file begins at 0. */
	ASSERT_TRUE(wr_elf_extent(elf, &begin, &end));
	if (begin == 0) {
		ASSERT_TRUE(wr_elf_find(
			elf, (uintptr_t)&a_variable_of_this_name[3] - (uintptr_t)here.dli_fbase,
			&s));
		EXPECT_STREQ(s.name, "a_variable_of_this_name");
		EXPECT_FALSE(s.is_function);
	}
	EXPECT_FALSE(wr_elf_find(elf, end + 4096, &s));
	EXPECT_FALSE(wr_elf_function(elf, "a_variable_of_this_name", &s));
	EXPECT_FALSE(wr_elf_function(elf, "no_such_function", &s));
	EXPECT_EQ(a_function_of_this_name(1), 1);
	wr_elf_close(elf);
}

TEST(of_two_versions_of_a_function_it_is_the_one_that_programs_are_linked_to)
{
	void *wait = dlsym(RTLD_DEFAULT, "pthread_cond_wait");
	struct wr_elf_symbol s;
	struct wr_elf *elf;
	Dl_info here;

	/* A sanitizer has functions of its own by this name. */
	if (!wait || !dladdr(wait, &here) || !strstr(here.dli_fname, "libc.so"))
		SKIP(return, "a C library that is a file of its own");
	ASSERT_EQ(open_file(here.dli_fname, &elf), 0);
	ASSERT_TRUE(wr_elf_function(elf, "pthread_cond_wait", &s));
	EXPECT_EQ(s.address, (uintptr_t)wait - (uintptr_t)here.dli_fbase);
	wr_elf_close(elf);
}

FIXTURE(small)
{
	uint8_t *data;
	struct elf_bytes bytes;
	struct wr_elf_file file;
};

FIXTURE_SETUP(small)
{
	FILE *f = fopen(WR_TEST_SRCDIR "/selftests/data/fuzz/elf/symbols", "re");

	ASSERT_NE(f, NULL);
	self->data = malloc(65536);
	ASSERT_NE(self->data, NULL);
	self->bytes = (struct elf_bytes){self->data, fread(self->data, 1, 65536, f)};
	fclose(f);
	ASSERT_GT(self->bytes.nr, 500u);
	self->file = (struct wr_elf_file){self->bytes.nr, elf_bytes_read, &self->bytes};
}

FIXTURE_TEARDOWN(small)
{
	free(self->data);
}

static void look_everywhere(const struct wr_elf *elf)
{
	struct wr_elf_symbol s;
	uint64_t at;

	for (uint64_t a = 0; a < 8192; a += 8) {
		if (wr_elf_find(elf, a, &s) && s.name[0] == '\0')
			abort();
		(void)wr_elf_offset_of(elf, a, &at);
		(void)wr_elf_code_at(elf, a, &at);
	}
	(void)wr_elf_function(elf, "function", &s);
}

TEST_F(small, file_gives_its_functions_and_its_build_id)
{
	uint8_t id[WR_BUILD_ID_BYTES];
	struct wr_elf_symbol s;
	struct wr_elf *elf;
	uint64_t at, back;

#if !defined(__x86_64__)
	SKIP(return, "the file is of another machine");
#endif
	ASSERT_EQ(wr_elf_open(&self->file, true, &elf), 0);
	EXPECT_EQ(wr_elf_build_id(elf, id), 20u);
	ASSERT_TRUE(wr_elf_function(elf, "outer", &s));
	ASSERT_TRUE(wr_elf_offset_of(elf, s.address, &at));
	ASSERT_TRUE(wr_elf_code_at(elf, at, &back));
	EXPECT_EQ(back, s.address);
	/* The static one between them is only in the table that strip removes. */
	EXPECT_TRUE(wr_elf_function(elf, "inner", &s));
	wr_elf_close(elf);
	ASSERT_EQ(wr_elf_open(&self->file, false, &elf), 0);
	EXPECT_FALSE(wr_elf_find(elf, s.address, &s));
	wr_elf_close(elf);
}

TEST_F(small, file_cut_anywhere_or_with_a_wrong_byte_does_no_harm)
{
	const size_t whole = self->bytes.nr;
	struct wr_elf *elf;

	for (size_t n = 0; n < whole; n++) {
		self->file.size = self->bytes.nr = n;
		if (wr_elf_open(&self->file, true, &elf) != 0)
			continue;
		look_everywhere(elf);
		wr_elf_close(elf);
	}
	self->file.size = self->bytes.nr = whole;
	for (size_t n = 0; n < whole; n++) {
		uint8_t was = self->data[n];

		self->data[n] = (uint8_t)~was;
		if (wr_elf_open(&self->file, true, &elf) == 0) {
			look_everywhere(elf);
			wr_elf_close(elf);
		}
		self->data[n] = was;
	}
}

TEST_F(small, file_without_memory_is_refused_and_nothing_stays)
{
	int64_t before = wr_test_alloc_live();
	int rc = -ENOMEM;

#if !defined(__x86_64__)
	SKIP(return, "the file is of another machine");
#endif
	for (uint64_t n = 1; rc == -ENOMEM && n < 100; n++) {
		struct wr_elf *elf;

		wr_test_alloc_fail_at(n);
		rc = wr_elf_open(&self->file, true, &elf);
		wr_test_alloc_fail_at(0);
		if (rc == 0)
			wr_elf_close(elf);
	}
	EXPECT_EQ(rc, 0);
	EXPECT_EQ(wr_test_alloc_live(), before);
}

TEST(what_is_no_program_of_this_machine_is_refused)
{
	struct wr_elf *elf;

	EXPECT_EQ(open_file(WR_TEST_SRCDIR "/LICENSE", &elf), -EBADMSG);
	EXPECT_EQ(open_file("/dev/null", &elf), -EBADMSG);
}

TEST(lines_of_maps_are_read_or_left_out)
{
	struct wr_mapping m;

	ASSERT_TRUE(
		wr_mapping_line("7f00-8f00 r-xp 00001000 08:01 77       /usr/lib/a b.so\n", &m));
	EXPECT_EQ(m.begin, 0x7f00u);
	EXPECT_EQ(m.offset, 0x1000u);
	EXPECT_EQ(m.major, 8u);
	EXPECT_EQ(m.minor, 1u);
	EXPECT_EQ(m.ino, 77u);
	EXPECT_TRUE(m.is_code);
	EXPECT_STREQ(m.path, "/usr/lib/a b.so");
	EXPECT_FALSE(wr_mapping_line("7f00-8f00 rw-p 00000000 00:00 0 \n", &m));
	EXPECT_FALSE(wr_mapping_line("7f00-8f00 r-xp 00000000 00:00 0 [vdso]\n", &m));
	EXPECT_FALSE(wr_mapping_line("8f00-7f00 r-xp 00000000 08:01 7 /x\n", &m));
	EXPECT_FALSE(wr_mapping_line("", &m));
	EXPECT_FALSE(wr_mapping_line("7f00-8f00", &m));
}

TEST_HARNESS_MAIN
