/* SPDX-License-Identifier: MIT */
/*
 * Names of addresses: the files noted in a trace (modules.c), each opened when it is first asked
 * for and believed only when it is the build that was noted.
 */
#include <weir/trace_symbol.h>

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/util.h"
#include "trace/elf.h"
#include "trace/maps.h"
#include "trace/session.h"

#if WR_TRACE_BPF

#include <bpf/bpf.h>

/* Behind it are no programs: a function without a frame pointer had other things in its place. */
#if defined(__x86_64__)
#define END_OF_USER (1ull << 47)
#else
#define END_OF_USER (1ull << 52)
#endif

struct module {
	struct weir_module m; /* its path ends with a NUL */
	struct wr_elf *elf;   /* NULL: see code */
	int code;
	bool was_tried;
};

struct weir_trace_symbols {
	int pid;
	bool is_alive;
	struct module *modules;
	uint32_t nr;
};

int weir_trace_symbols_open(struct weir_trace *trace, struct weir_trace_symbols **ret)
{
	struct weir_trace_symbols *s = wr_calloc(1, sizeof(*s));
	struct module *grown;

	if (!s)
		return -ENOMEM;
	wr_trace_note_modules(trace);
	s->pid = trace->pid;
	s->is_alive = wr_trace_is_alive(trace);
	while (trace->map[WR_MAP_modules] >= 0 && s->nr < WEIR_TRACE_MODULES) {
		struct weir_module m;

		if (bpf_map_lookup_elem(trace->map[WR_MAP_modules], &s->nr, &m) != 0)
			break;
		grown = wr_reallocarray(s->modules, s->nr + 1, sizeof(*grown));
		if (!grown) {
			weir_trace_symbols_close(s);
			return -ENOMEM;
		}
		m.path[WEIR_PATH_BYTES - 1] = '\0';
		s->modules = grown;
		grown[s->nr++] = (struct module){.m = m};
	}
	*ret = s;
	return 0;
}

void weir_trace_symbols_close(struct weir_trace_symbols *symbols)
{
	if (!symbols)
		return;
	for (uint32_t i = 0; i < symbols->nr; i++)
		wr_elf_close(symbols->modules[i].elf);
	wr_free(symbols->modules);
	wr_free(symbols);
}

struct opening {
	const struct weir_trace_symbols *s;
	const struct weir_module *m;
	int fd;
};

static int open_mapped(void *arg, const struct wr_mapping *m)
{
	struct opening *o = arg;

	if (!m->is_code || m->ino != o->m->ino || m->begin < o->m->begin || m->end > o->m->end)
		return 0;
	o->fd = wr_mapping_open(o->s->pid, m);
	return o->fd >= 0;
}

/* Also of a file that was deleted or replaced, as long as somebody has it mapped. */
static int open_module(const struct weir_trace_symbols *s, const struct weir_module *m)
{
	struct opening o = {s, m, -ENOENT};

	if (s->is_alive && wr_mapping_each(s->pid, open_mapped, &o) == 1)
		return o.fd;
	return wr_mapping_open_path(s->pid, m->path);
}

static bool is_the_build(const struct wr_elf *elf, const struct stat *st,
			 const struct weir_module *m)
{
	uint8_t id[WR_BUILD_ID_BYTES];
	size_t bytes = wr_elf_build_id(elf, id);

	if (m->build_id_bytes)
		return bytes == m->build_id_bytes && memcmp(id, m->build_id, bytes) == 0;
	return bytes == 0 && (uint64_t)st->st_size == m->bytes &&
	       (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec ==
		       m->mtime_ns;
}

static int read_module(const struct weir_trace_symbols *s, struct module *module)
{
	int fd = open_module(s, &module->m);
	struct wr_elf *elf;
	struct stat st;
	int rc;

	if (fd < 0)
		return fd;
	rc = wr_elf_open_fd(fd, true, &st, &elf);
	close(fd);
	if (rc)
		return rc == -EBADMSG ? -ESTALE : rc;
	if (!is_the_build(elf, &st, &module->m)) {
		wr_elf_close(elf);
		return -ESTALE;
	}
	module->elf = elf;
	return 0;
}

static struct module *module_of(struct weir_trace_symbols *s, uint64_t address)
{
	struct module *found = NULL;

	for (uint32_t i = 0; i < s->nr; i++) {
		struct module *each = &s->modules[i];

		if (address < each->m.begin || address >= each->m.end)
			continue;
		if (found)
			return NULL;
		found = each;
	}
	return found;
}

int weir_trace_symbol(struct weir_trace_symbols *symbols, uint64_t address,
		      struct weir_trace_symbol *ret)
{
	struct module *module = module_of(symbols, address);
	struct wr_elf_symbol symbol;

	if (!module)
		return -ENOENT;
	if (!module->was_tried)
		module->code = read_module(symbols, module);
	module->was_tried = true;
	*ret = (struct weir_trace_symbol){
		.file = module->m.path, .address = address - module->m.bias, .code = module->code};
	if (module->elf && wr_elf_find(module->elf, ret->address, &symbol)) {
		ret->name = symbol.name;
		ret->offset = ret->address - symbol.address;
	}
	return 0;
}

int weir_trace_stack(const struct weir_trace *trace, int32_t stack_id,
		     uint64_t ret[WEIR_TRACE_FRAMES])
{
	uint64_t frames[WEIR_TRACE_FRAMES];
	int nr = 0;

	if (stack_id < 0)
		return stack_id;
	if (trace->map[WR_MAP_stacks] < 0)
		return -ENOENT;
	if (bpf_map_lookup_elem(trace->map[WR_MAP_stacks], &stack_id, frames) != 0)
		return -errno;
	while (nr < (int)WEIR_TRACE_FRAMES && frames[nr] != 0 && frames[nr] < END_OF_USER)
		nr++;
	memcpy(ret, frames, sizeof(frames));
	return nr ? nr : -ENOENT;
}

#else

int weir_trace_symbols_open(struct weir_trace *trace, struct weir_trace_symbols **ret)
{
	(void)trace;
	(void)ret;
	return -EOPNOTSUPP;
}

void weir_trace_symbols_close(struct weir_trace_symbols *symbols)
{
	(void)symbols;
}

int weir_trace_symbol(struct weir_trace_symbols *symbols, uint64_t address,
		      struct weir_trace_symbol *ret)
{
	(void)symbols;
	(void)address;
	(void)ret;
	return -ENOENT;
}

int weir_trace_stack(const struct weir_trace *trace, int32_t stack_id,
		     uint64_t ret[WEIR_TRACE_FRAMES])
{
	(void)trace;
	(void)stack_id;
	(void)ret;
	return -ENOENT;
}

#endif
