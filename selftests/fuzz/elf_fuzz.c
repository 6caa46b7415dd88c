/* SPDX-License-Identifier: MIT */
/* A file of any bytes as one whose symbols are asked for: it answers within itself or not at all. */
#include <stdint.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "trace/elf.h"
#include "trace/elf_image.h"

static void must_answer(const struct wr_elf *elf)
{
	uint64_t begin, end, at;
	uint8_t id[WR_BUILD_ID_BYTES];
	struct wr_elf_symbol s;

	must(wr_elf_build_id(elf, id) <= WR_BUILD_ID_BYTES);
	if (!wr_elf_extent(elf, &begin, &end))
		begin = end = 0;
	must(begin <= end);
	for (unsigned i = 0; i < 64; i++) {
		uint64_t address = begin + (end - begin) / 64 * i;

		if (wr_elf_find(elf, address, &s))
			must(s.name[0] && s.address <= address && strlen(s.name) < SIZE_MAX);
		if (wr_elf_offset_of(elf, address, &at))
			(void)wr_elf_code_at(elf, at, &at);
	}
	if (wr_elf_function(elf, "function", &s))
		must(!strcmp(s.name, "function") && s.is_function);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct elf_bytes bytes = {data, size};
	const struct wr_elf_file file = {size, elf_bytes_read, &bytes};
	struct wr_elf *elf;
	int rc = wr_elf_open(&file, size % 8 != 7, &elf);

	must(rc <= 0);
	if (rc)
		return 0;
	must_answer(elf);
	wr_elf_close(elf);
	return 0;
}
