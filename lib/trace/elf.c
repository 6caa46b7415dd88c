/* SPDX-License-Identifier: MIT */
/*
 * See trace/elf.h. The tables that are wanted are copied, so that a file which is cut short or
 * written over later does no harm; all symbols of both tables go into one array by address.
 */
#include "trace/elf.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/util.h"

#define MAX_SECTIONS 65536u
/* Of a table of symbols or their names: more than the largest of browsers and compilers. */
#define MAX_TABLE_BYTES (256u << 20)
#define MAX_NOTE_BYTES	(64u << 10)

struct symbol {
	uint64_t address, bytes;
	uint32_t name; /* in @names[@table] */
	uint8_t table, rank;
	bool is_function, is_hidden;
};

enum { STATIC_TABLE, DYNAMIC_TABLE, NR_TABLES };

struct wr_elf {
	Elf64_Phdr *segments;
	unsigned nr_segments;
	struct symbol *symbols; /* by address; of one address, the best name last */
	size_t nr_symbols;
	char *names[NR_TABLES]; /* each ends with a NUL */
	uint8_t build_id[WR_BUILD_ID_BYTES];
	size_t build_id_bytes;
};

/* While it is read. */
struct reading {
	const struct wr_elf_file *file;
	Elf64_Ehdr head;
	Elf64_Shdr *sections;
	struct wr_elf *elf;
};

static int read_head(struct reading *r)
{
	const Elf64_Ehdr *h = &r->head;
	int rc = wr_elf_head(r->file, MAX_SECTIONS, &r->head);

	if (!rc)
		rc = wr_elf_segments(r->file, h, &r->elf->segments);
	if (rc)
		return rc;
	r->elf->nr_segments = h->e_phnum;
	return wr_elf_copy(r->file, h->e_shoff, h->e_shnum * sizeof(Elf64_Shdr),
			   MAX_SECTIONS * sizeof(Elf64_Shdr), &r->sections);
}

/* The first note that has one. */
static void take_build_id(struct wr_elf *elf, const char *data, uint64_t bytes)
{
	struct wr_elf_notes notes = {data, bytes};
	struct wr_elf_note note;

	if (!wr_elf_next_note(&notes, "GNU", NT_GNU_BUILD_ID, &note))
		return;
	elf->build_id_bytes = wr_min((size_t)note.bytes, WR_BUILD_ID_BYTES);
	memcpy(elf->build_id, note.data, elf->build_id_bytes);
}

static int read_build_id(struct reading *r)
{
	struct wr_elf *elf = r->elf;

	for (unsigned i = 0; i < elf->nr_segments && elf->build_id_bytes == 0; i++) {
		const Elf64_Phdr *p = &elf->segments[i];
		char *data;
		int rc;

		if (p->p_type != PT_NOTE || p->p_filesz > MAX_NOTE_BYTES)
			continue;
		rc = wr_elf_copy(r->file, p->p_offset, p->p_filesz, MAX_NOTE_BYTES, &data);
		if (rc)
			return rc;
		take_build_id(elf, data, p->p_filesz);
		wr_free(data);
	}
	return 0;
}

/* Of names for one address: a function or variable, with a size, that others may use, is best. */
static uint8_t rank_of(const Elf64_Sym *s)
{
	unsigned bind = ELF64_ST_BIND(s->st_info);

	return (uint8_t)((ELF64_ST_TYPE(s->st_info) != STT_NOTYPE) * 8 + (s->st_size != 0) * 4 +
			 (bind == STB_GLOBAL ? 2 : bind == STB_WEAK));
}

/* Whether @a is rather what a caller of its name gets than @b. */
static bool is_better(const struct symbol *a, const struct symbol *b)
{
	return a->table != b->table ? a->table > b->table : a->rank > b->rank;
}

static bool is_wanted(const Elf64_Sym *s, const char *name)
{
	unsigned type = ELF64_ST_TYPE(s->st_info);

	if (s->st_shndx == SHN_UNDEF || s->st_shndx == SHN_ABS || name[0] == '\0')
		return false;
	/* Marks of assemblers are not names of anything. */
	if (type == STT_NOTYPE)
		return name[0] != '$' && name[0] != '.' && ELF64_ST_BIND(s->st_info) != STB_LOCAL;
	return type == STT_FUNC || type == STT_OBJECT || type == STT_GNU_IFUNC;
}

/* @versions: one for each symbol, or NULL; its highest bit hides the symbol from linkers. */
static int add_symbols(struct wr_elf *elf, unsigned table, const Elf64_Sym *from, size_t nr,
		       uint64_t name_bytes, const uint16_t *versions)
{
	struct symbol *grown = wr_reallocarray(elf->symbols, elf->nr_symbols + nr, sizeof(*grown));

	if (!grown)
		return nr ? -ENOMEM : 0;
	elf->symbols = grown;
	for (size_t i = 0; i < nr; i++) {
		const Elf64_Sym *s = &from[i];
		unsigned type = ELF64_ST_TYPE(s->st_info);

		if (s->st_name >= name_bytes || !is_wanted(s, elf->names[table] + s->st_name))
			continue;
		grown[elf->nr_symbols++] = (struct symbol){
			.address = s->st_value,
			.bytes = s->st_size,
			.name = s->st_name,
			.table = (uint8_t)table,
			.rank = rank_of(s),
			.is_function = type == STT_FUNC || type == STT_GNU_IFUNC,
			.is_hidden = versions && versions[i] & 0x8000,
		};
	}
	return 0;
}

/* The table of versions that belongs to the dynamic symbols; NULL when there is none. */
static uint16_t *read_versions(const struct reading *r, unsigned table, size_t nr)
{
	for (unsigned i = 0; i < r->head.e_shnum; i++) {
		const Elf64_Shdr *s = &r->sections[i];
		uint16_t *versions;

		if (s->sh_type == SHT_GNU_versym && s->sh_link == table &&
		    s->sh_size == nr * sizeof(*versions))
			return wr_elf_copy(r->file, s->sh_offset, s->sh_size, MAX_TABLE_BYTES,
					   &versions)
				       ? NULL
				       : versions;
	}
	return NULL;
}

static int read_table(struct reading *r, unsigned index, unsigned table)
{
	const Elf64_Shdr *s = &r->sections[index], *names;
	uint16_t *versions = NULL;
	Elf64_Sym *symbols;
	size_t nr;
	int rc;

	if (s->sh_entsize != sizeof(Elf64_Sym) || s->sh_link >= r->head.e_shnum ||
	    r->elf->names[table])
		return 0;
	names = &r->sections[s->sh_link];
	if (names->sh_type != SHT_STRTAB)
		return 0;
	nr = (size_t)(s->sh_size / sizeof(Elf64_Sym));
	rc = wr_elf_copy(r->file, s->sh_offset, nr * sizeof(Elf64_Sym), MAX_TABLE_BYTES, &symbols);
	if (rc)
		return rc;
	rc = wr_elf_copy(r->file, names->sh_offset, names->sh_size, MAX_TABLE_BYTES,
			 &r->elf->names[table]);
	if (!rc && table == DYNAMIC_TABLE)
		versions = read_versions(r, index, nr);
	if (!rc)
		rc = add_symbols(r->elf, table, symbols, nr, names->sh_size, versions);
	wr_free(versions);
	wr_free(symbols);
	return rc;
}

static int by_address(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	if (x->address != y->address)
		return x->address < y->address ? -1 : 1;
	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	/* Any order will do, as long as it is one. */
	if (x->table != y->table)
		return x->table < y->table ? -1 : 1;
	return x->name < y->name ? -1 : x->name > y->name;
}

static int read_all(struct reading *r, bool with_symbols)
{
	int rc = read_head(r);

	if (!rc)
		rc = read_build_id(r);
	for (unsigned i = 0; !rc && with_symbols && i < r->head.e_shnum; i++) {
		if (r->sections[i].sh_type == SHT_SYMTAB)
			rc = read_table(r, i, STATIC_TABLE);
		else if (r->sections[i].sh_type == SHT_DYNSYM)
			rc = read_table(r, i, DYNAMIC_TABLE);
	}
	if (!rc && r->elf->nr_symbols)
		qsort(r->elf->symbols, r->elf->nr_symbols, sizeof(struct symbol), by_address);
	return rc;
}

int wr_elf_open(const struct wr_elf_file *file, bool with_symbols, struct wr_elf **ret)
{
	struct reading r = {.file = file, .elf = wr_calloc(1, sizeof(struct wr_elf))};
	int rc;

	if (!r.elf)
		return -ENOMEM;
	rc = read_all(&r, with_symbols);
	wr_free(r.sections);
	if (rc) {
		wr_elf_close(r.elf);
		return rc;
	}
	*ret = r.elf;
	return 0;
}

int wr_elf_open_fd(int fd, bool with_symbols, struct stat *ret_stat, struct wr_elf **ret)
{
	struct wr_elf_file file;
	int rc = wr_elf_file_of(&fd, &file, ret_stat);

	return rc ? rc : wr_elf_open(&file, with_symbols, ret);
}

void wr_elf_close(struct wr_elf *elf)
{
	if (!elf)
		return;
	for (unsigned i = 0; i < NR_TABLES; i++)
		wr_free(elf->names[i]);
	wr_free(elf->symbols);
	wr_free(elf->segments);
	wr_free(elf);
}

size_t wr_elf_build_id(const struct wr_elf *elf, uint8_t ret[static WR_BUILD_ID_BYTES])
{
	memcpy(ret, elf->build_id, WR_BUILD_ID_BYTES);
	return elf->build_id_bytes;
}

bool wr_elf_code_at(const struct wr_elf *elf, uint64_t offset, uint64_t *ret)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	for (unsigned i = 0; i < elf->nr_segments; i++) {
		const Elf64_Phdr *p = &elf->segments[i];
		uint64_t first = p->p_offset & ~(page - 1);

		if (p->p_type != PT_LOAD || !(p->p_flags & PF_X) || offset < first ||
		    offset - first >= p->p_filesz)
			continue;
		/* A segment may begin inside of a page: then what is before it is mapped, too. */
		*ret = p->p_vaddr - p->p_offset + offset;
		return true;
	}
	return false;
}

bool wr_elf_offset_of(const struct wr_elf *elf, uint64_t address, uint64_t *ret)
{
	for (unsigned i = 0; i < elf->nr_segments; i++) {
		const Elf64_Phdr *p = &elf->segments[i];

		if (p->p_type == PT_LOAD && address >= p->p_vaddr &&
		    address - p->p_vaddr < p->p_filesz)
			return !wr_add_overflow(address - p->p_vaddr, p->p_offset, ret);
	}
	return false;
}

bool wr_elf_extent(const struct wr_elf *elf, uint64_t *ret_begin, uint64_t *ret_end)
{
	uint64_t begin = UINT64_MAX, end = 0;

	for (unsigned i = 0; i < elf->nr_segments; i++) {
		const Elf64_Phdr *p = &elf->segments[i];
		uint64_t last;

		if (p->p_type != PT_LOAD || wr_add_overflow(p->p_vaddr, p->p_memsz, &last))
			continue;
		begin = wr_min(begin, (uint64_t)p->p_vaddr);
		end = wr_max(end, last);
	}
	if (begin >= end)
		return false;
	*ret_begin = begin;
	*ret_end = end;
	return true;
}

static void give(const struct wr_elf *elf, const struct symbol *s, struct wr_elf_symbol *ret)
{
	*ret = (struct wr_elf_symbol){elf->names[s->table] + s->name, s->address, s->bytes,
				      s->is_function};
}

bool wr_elf_find(const struct wr_elf *elf, uint64_t address, struct wr_elf_symbol *ret)
{
	size_t low = 0, high = elf->nr_symbols;

	/* The first above @address. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (elf->symbols[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	/* One that ends before may stand inside of one that does not; few are nested deeper. */
	for (unsigned i = 0; i < 16 && low > 0; i++) {
		const struct symbol *s = &elf->symbols[--low];

		if (address - s->address >= s->bytes && !(s->bytes == 0 && address == s->address))
			continue;
		give(elf, s, ret);
		return true;
	}
	return false;
}

bool wr_elf_function(const struct wr_elf *elf, const char *name, struct wr_elf_symbol *ret)
{
	const struct symbol *best = NULL;

	for (size_t i = 0; i < elf->nr_symbols; i++) {
		const struct symbol *s = &elf->symbols[i];

		if (s->is_function && !s->is_hidden &&
		    strcmp(elf->names[s->table] + s->name, name) == 0 &&
		    (!best || is_better(s, best)))
			best = s;
	}
	if (!best)
		return false;
	give(elf, best, ret);
	return true;
}
