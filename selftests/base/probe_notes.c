/* SPDX-License-Identifier: MIT */
/* See base/probe_notes.h. */
#include "base/probe_notes.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char self_path[] = "/proc/self/exe";

static const char *map_self(void)
{
	int fd = open(self_path, O_RDONLY | O_CLOEXEC);
	const char *base;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		abort();
	/* Left mapped: the test ends with the process. */
	base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (base == MAP_FAILED)
		abort();
	return base;
}

static uint64_t file_offset(const char *base, uint64_t address)
{
	const Elf64_Ehdr *head = (const void *)base;
	const Elf64_Phdr *ph = (const void *)(base + head->e_phoff);

	for (unsigned i = 0; i < head->e_phnum; i++) {
		if (ph[i].p_type == PT_LOAD && address >= ph[i].p_vaddr &&
		    address - ph[i].p_vaddr < ph[i].p_filesz)
			return address - ph[i].p_vaddr + ph[i].p_offset;
	}
	return 0;
}

static const Elf64_Shdr *find_section(const char *base, const char *name)
{
	const Elf64_Ehdr *head = (const void *)base;
	const Elf64_Shdr *sh = (const void *)(base + head->e_shoff);
	const char *names = base + sh[head->e_shstrndx].sh_offset;

	for (unsigned i = 0; i < head->e_shnum; i++) {
		if (strcmp(names + sh[i].sh_name, name) == 0)
			return &sh[i];
	}
	return NULL;
}

unsigned probe_find(const char *name, struct probe_site sites[static PROBE_MAX_SITES])
{
	const char *base = map_self();
	const Elf64_Shdr *sh = find_section(base, ".note.stapsdt");
	const char *at = sh != NULL ? base + sh->sh_offset : NULL;
	const char *end = sh != NULL ? at + sh->sh_size : NULL;
	unsigned nr = 0;

	while (at < end && nr < PROBE_MAX_SITES) {
		const Elf64_Nhdr *note = (const void *)at;
		const char *data = at + sizeof(*note) + (note->n_namesz + 3u) / 4 * 4;
		const char *provider = data + 3 * sizeof(uint64_t);
		const char *probe = provider + strlen(provider) + 1;
		uint64_t addresses[3];

		memcpy(addresses, data, sizeof(addresses));
		at = data + (note->n_descsz + 3u) / 4 * 4;
		if (note->n_type != 3 || strcmp(provider, "weir") != 0 || strcmp(probe, name) != 0)
			continue;
		sites[nr].offset = file_offset(base, addresses[0]);
		sites[nr].semaphore_offset = file_offset(base, addresses[2]);
		snprintf(sites[nr].args, sizeof(sites[nr].args), "%s", probe + strlen(probe) + 1);
		nr++;
	}
	return nr;
}

/* -ENOENT where the kernel has no uprobes for perf. */
static int uprobe_type(void)
{
	FILE *f = fopen("/sys/bus/event_source/devices/uprobe/type", "re");
	int type;

	if (f == NULL)
		return -ENOENT;
	if (fscanf(f, "%d", &type) != 1)
		type = -ENOENT;
	fclose(f);
	return type;
}

int probe_attach(const struct probe_site *site)
{
	struct perf_event_attr attr = {.size = sizeof(attr)};
	int type = uprobe_type();
	long fd;

	if (type < 0)
		return type;
	attr.type = (uint32_t)type;
	/* The place of the semaphore is in the upper half: format/ref_ctr_offset. */
	attr.config = site->semaphore_offset << 32;
	attr.config1 = (uintptr_t)self_path;
	attr.config2 = site->offset;
	fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	return fd < 0 ? -errno : (int)fd;
}

uint64_t probe_hits(int fd)
{
	uint64_t hits = 0;

	if (read(fd, &hits, sizeof(hits)) != sizeof(hits))
		abort();
	return hits;
}
