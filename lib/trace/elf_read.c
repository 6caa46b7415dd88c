/* SPDX-License-Identifier: MIT */
/* See trace/elf_read.h. */
#include "trace/elf_read.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/util.h"

#define MAX_SEGMENTS 256u

#if defined(__aarch64__)
#define MACHINE EM_AARCH64
#else
#define MACHINE EM_X86_64
#endif

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ORDER ELFDATA2LSB
#else
#define ORDER ELFDATA2MSB
#endif

int wr_elf_pread(void *arg, void *to, size_t bytes, uint64_t offset)
{
	size_t done = 0;

	if (bytes > INT64_MAX || offset > INT64_MAX - bytes)
		return -EBADMSG;
	while (done < bytes) {
		ssize_t n = pread(*(const int *)arg, (char *)to + done, bytes - done,
				  (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		done += (size_t)n;
	}
	return 0;
}

int wr_elf_file_of(int *fd, struct wr_elf_file *ret, struct stat *ret_stat)
{
	struct stat st;

	if (fstat(*fd, &st) != 0)
		return -errno;
	*ret = (struct wr_elf_file){(uint64_t)st.st_size, wr_elf_pread, fd};
	if (ret_stat)
		*ret_stat = st;
	return 0;
}

static bool is_there(const struct wr_elf_file *file, uint64_t offset, uint64_t bytes)
{
	return offset <= file->size && bytes <= file->size - offset;
}

int wr_elf_take(const struct wr_elf_file *file, void *to, size_t bytes, uint64_t offset)
{
	return is_there(file, offset, bytes) ? file->read(file->arg, to, bytes, offset) : -EBADMSG;
}

int wr_elf_copy(const struct wr_elf_file *file, uint64_t offset, uint64_t bytes, uint64_t limit,
		void *ret)
{
	char *copy;
	int rc;

	if (!is_there(file, offset, bytes))
		return -EBADMSG;
	if (bytes > limit)
		return -EFBIG;
	copy = wr_malloc((size_t)bytes + 1);
	if (!copy)
		return -ENOMEM;
	rc = wr_elf_take(file, copy, (size_t)bytes, offset);
	if (rc) {
		wr_free(copy);
		return rc;
	}
	copy[bytes] = '\0';
	memcpy(ret, &copy, sizeof(copy));
	return 0;
}

int wr_elf_head(const struct wr_elf_file *file, unsigned max_sections, Elf64_Ehdr *ret)
{
	Elf64_Ehdr h;
	int rc = wr_elf_take(file, &h, sizeof(h), 0);

	if (rc)
		return rc;
	if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64 ||
	    h.e_ident[EI_DATA] != ORDER || h.e_machine != MACHINE ||
	    h.e_phentsize != sizeof(Elf64_Phdr))
		return -EBADMSG;
	/* A file without sections need not say how large they would be. */
	if (h.e_shnum != 0 && h.e_shentsize != sizeof(Elf64_Shdr))
		return -EBADMSG;
	if (h.e_phnum > MAX_SEGMENTS || h.e_shnum > max_sections)
		return -EFBIG;
	*ret = h;
	return 0;
}

int wr_elf_segments(const struct wr_elf_file *file, const Elf64_Ehdr *head, Elf64_Phdr **ret)
{
	return wr_elf_copy(file, head->e_phoff, head->e_phnum * sizeof(Elf64_Phdr),
			   MAX_SEGMENTS * sizeof(Elf64_Phdr), ret);
}

bool wr_elf_next_note(struct wr_elf_notes *notes, const char *owner, uint32_t type,
		      struct wr_elf_note *ret)
{
	size_t owner_bytes = strlen(owner) + 1;

	while (notes->bytes >= sizeof(Elf64_Nhdr)) {
		const char *data = notes->data + sizeof(Elf64_Nhdr);
		uint64_t bytes = notes->bytes - sizeof(Elf64_Nhdr), name, desc;
		Elf64_Nhdr note;

		memcpy(&note, notes->data, sizeof(note));
		/* 32-bit numbers: neither wraps in 64 bits. */
		name = wr_align_up((uint64_t)note.n_namesz, 4);
		desc = wr_align_up((uint64_t)note.n_descsz, 4);
		if (name > bytes || note.n_descsz > bytes - name)
			return false;
		/* The last one may lack what would align it. */
		desc = wr_min(desc, bytes - name);
		*notes = (struct wr_elf_notes){data + name + desc, bytes - name - desc};
		if (note.n_type != type || note.n_namesz != owner_bytes ||
		    memcmp(data, owner, owner_bytes) != 0)
			continue;
		*ret = (struct wr_elf_note){data + name, note.n_descsz};
		return true;
	}
	return false;
}
