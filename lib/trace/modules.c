/* SPDX-License-Identifier: MIT */
/*
 * Which files a process runs code of, noted in a map of the trace: where each begins and what file
 * it was. Noted when tracing begins and again whenever somebody reads names while the process is
 * there, because libraries come later, too. What was noted stays.
 */
#include "trace/session.h"

#if WR_TRACE_BPF

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <weir/lock_trace.h>

#include "base/alloc.h"
#include "base/util.h"
#include "trace/elf.h"
#include "trace/maps.h"

bool wr_trace_is_alive(const struct weir_trace *t)
{
	return t->meta->target_start_ticks != 0 &&
	       wr_trace_start_ticks(t->pid) == t->meta->target_start_ticks;
}

struct noting {
	struct weir_trace *t;
	struct weir_module *modules; /* those that are noted, nr of them */
	uint32_t nr;
};

static bool is_noted(const struct noting *n, const struct wr_mapping *m)
{
	for (uint32_t i = 0; i < n->nr; i++)
		if (n->modules[i].ino == m->ino && m->begin >= n->modules[i].begin &&
		    m->end <= n->modules[i].end)
			return true;
	return false;
}

/* The end of a path says more than its beginning. */
static void copy_path(char to[static WEIR_PATH_BYTES], const char *path)
{
	size_t length = strlen(path);

	if (length < WEIR_PATH_BYTES) {
		memcpy(to, path, length + 1);
		return;
	}
	memcpy(to, "...", 3);
	memcpy(to + 3, path + length - (WEIR_PATH_BYTES - 4), WEIR_PATH_BYTES - 3);
}

/* Where the file behind @fd lies in the process, of which @m is code. */
static int describe(int fd, const struct wr_mapping *m, struct weir_module *ret)
{
	uint64_t begin, end, at;
	struct wr_elf *elf;
	struct stat st;
	int rc = wr_elf_open_fd(fd, false, &st, &elf);

	if (rc)
		return rc;
	memset(ret, 0, sizeof(*ret));
	if (wr_elf_code_at(elf, m->offset, &at) && wr_elf_extent(elf, &begin, &end)) {
		/* All modulo 2^64: a bias may be negative. */
		ret->bias = m->begin - at;
		ret->begin = begin + ret->bias;
		ret->end = end + ret->bias;
		ret->ino = m->ino;
		ret->bytes = (uint64_t)st.st_size;
		ret->mtime_ns =
			(uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
		ret->build_id_bytes = (uint32_t)wr_elf_build_id(elf, ret->build_id);
		copy_path(ret->path, m->path);
	}
	wr_elf_close(elf);
	/* What the file says may have nothing to do with how it is mapped. */
	return ret->begin <= m->begin && ret->end > m->begin ? 0 : -EBADMSG;
}

/* The library in which locks wait: it may also be a part of the program. */
static void note_libc(const struct noting *n, int fd, const struct weir_module *m)
{
	struct wr_elf_symbol symbol;
	struct wr_elf *elf;
	const char *name = strrchr(m->path, '/');

	/* Of a static program its own functions would be left out, too. */
	if (n->t->config->libc_end || !name ||
	    (strncmp(name, "/libc", 5) != 0 && strncmp(name, "/ld-musl", 8) != 0) ||
	    wr_elf_open_fd(fd, true, NULL, &elf) != 0)
		return;
	if (wr_elf_function(elf, "pthread_mutex_lock", &symbol)) {
		n->t->config->libc_begin = m->begin;
		__atomic_store_n(&n->t->config->libc_end, m->end, __ATOMIC_RELEASE);
	}
	wr_elf_close(elf);
}

static int note(void *arg, const struct wr_mapping *m)
{
	struct noting *n = arg;
	int fd;

	if (!m->is_code || n->nr == WEIR_TRACE_MODULES || is_noted(n, m))
		return 0;
	fd = wr_mapping_open(n->t->pid, m);
	if (fd < 0)
		return 0;
	if (describe(fd, m, &n->modules[n->nr]) == 0 &&
	    bpf_map_update_elem(n->t->map[WR_MAP_modules], &n->nr, &n->modules[n->nr], BPF_ANY) ==
		    0)
		note_libc(n, fd, &n->modules[n->nr++]);
	close(fd);
	return 0;
}

void wr_trace_note_modules(struct weir_trace *t)
{
	struct noting n = {.t = t};
	int rc;

	if (t->map[WR_MAP_modules] < 0 || !wr_trace_is_alive(t))
		return;
	n.modules = wr_calloc(WEIR_TRACE_MODULES, sizeof(*n.modules));
	if (!n.modules)
		return;
	while (n.nr < WEIR_TRACE_MODULES &&
	       bpf_map_lookup_elem(t->map[WR_MAP_modules], &n.nr, &n.modules[n.nr]) == 0)
		n.nr++;
	rc = wr_mapping_each(t->pid, note, &n);
	t->meta->modules_errno = n.nr ? 0 : (uint32_t)(rc ? -rc : ENOENT);
	wr_free(n.modules);
}

void wr_trace_note_lock_names(struct weir_trace *t)
{
	struct weir_lock_reader *reader;
	struct weir_lock_self self;
	uint32_t cursor = 0;

	if (t->map[WR_MAP_lock_names] < 0 || !wr_trace_is_alive(t) ||
	    weir_lock_reader_open(t->pid, &reader) != 0)
		return;
	while (weir_lock_reader_next(reader, &cursor, &self) == 0) {
		struct weir_addr_key key = {self.addr};
		struct weir_lock_name name = {.bytes = self.bytes};

		memcpy(name.name, self.name, sizeof(name.name));
		(void)bpf_map_update_elem(t->map[WR_MAP_lock_names], &key, &name, BPF_ANY);
	}
	weir_lock_reader_close(reader);
}

#endif
