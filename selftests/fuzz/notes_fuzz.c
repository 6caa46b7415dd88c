/* SPDX-License-Identifier: MIT */
/*
 * Probe sites in hostile ELF files: the input is a file, or, since few inputs come to be one, a list
 * of bytes to change in a right one.
 */
#include <string.h>

#include "fuzz/fuzz.h"
#include "trace/elf_image.h"
#include "trace/notes.h"

static int check(void *arg, const struct wr_site *site)
{
	const struct elf_bytes *b = arg;

	must(site->offset != 0 && site->offset <= b->nr - 4);
	must(site->semaphore != 0 && site->semaphore % 2 == 0);
	must(site->nr_args <= WR_SITE_ARGS && strlen(site->name) <= b->nr);
	for (unsigned i = 0; i < site->nr_args; i++)
		must(site->reg[i] <= 31);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct elf_image im;
	struct elf_bytes b = {data, size};
	struct wr_elf_file file = {size, elf_bytes_read, &b};

	(void)!wr_sites_of(&file, check, &b);
	elf_image_make(&im);
	/* Mostly the tables at the front, where the numbers are. */
	for (size_t i = 0; i + 3 <= size && i < 3 * 64; i += 3)
		((uint8_t *)&im)[(data[i] | data[i + 1] << 8) % (i % 2 ? 512 : sizeof(im))] =
			data[i + 2];
	b = (struct elf_bytes){&im, sizeof(im)};
	file.size = sizeof(im);
	(void)!wr_sites_of(&file, check, &b);
	return 0;
}
