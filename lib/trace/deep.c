/* SPDX-License-Identifier: MIT */
/*
 * Breakpoints on the C library's mutexes: which library the process has, where in its functions a
 * breakpoint is cheap, and the links to those places. Offsets are found by decoding the functions
 * that are there, never assumed.
 */
#include "trace/deep.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/util.h"
#include "trace/elf.h"
#include "trace/maps.h"
#include "trace/session.h"
#include "trace/step.h"

const struct wr_deep_function wr_deep_functions[WR_DEEP_FUNCTIONS] = {
	{"pthread_mutex_lock", "on_deep_lock", "on_deep_locked", WR_DEEP_NEEDED},
	{"pthread_mutex_unlock", "on_deep_unlock", NULL, WR_DEEP_NEEDED},
	{"pthread_cond_wait", "on_deep_cond", NULL, WR_DEEP_CONDITION},
	{"pthread_cond_timedwait", "on_deep_cond", NULL, WR_DEEP_CONDITION},
	{"pthread_cond_clockwait", "on_deep_cond", NULL, WR_DEEP_CONDITION},
	{"pthread_mutex_trylock", "on_deep_lock", "on_deep_locked", WR_DEEP_MORE},
	{"pthread_mutex_timedlock", "on_deep_lock", "on_deep_locked", WR_DEEP_MORE},
	{"pthread_mutex_clocklock", "on_deep_lock", "on_deep_locked", WR_DEEP_MORE},
};

static int look_at(int fd, const struct wr_elf *elf, const struct wr_deep_function *f,
		   struct wr_deep_place *ret)
{
	uint8_t code[WR_STEP_BYTES];
	struct wr_elf_symbol symbol;
	size_t bytes;
	int rc;

	memset(ret, 0, sizeof(*ret));
	if (!wr_elf_function(elf, f->name, &symbol) ||
	    !wr_elf_offset_of(elf, symbol.address, &ret->offset))
		return 0;
	bytes = (size_t)wr_min(symbol.bytes, (uint64_t)sizeof(code));
	/* The last instruction may be shorter than what is looked at. */
	memset(code, 0, sizeof(code));
	rc = wr_elf_pread(&fd, code, bytes, ret->offset);
	if (rc)
		return rc;
	ret->is_there = true;
	ret->is_stepped =
		wr_step_place(code, sizeof(code), f->kind == WR_DEEP_CONDITION, &ret->into) != 0 ||
		ret->into >= bytes;
	if (ret->is_stepped)
		ret->into = 0;
	return 0;
}

int wr_deep_read(int fd, struct wr_deep_plan *ret)
{
	struct wr_elf *elf;
	int rc = wr_elf_open_fd(fd, true, NULL, &elf);

	if (rc)
		return rc;
	for (unsigned i = 0; !rc && i < WR_DEEP_FUNCTIONS; i++)
		rc = look_at(fd, elf, &wr_deep_functions[i], &ret->places[i]);
	wr_elf_close(elf);
	for (unsigned i = 0; !rc && i < WR_DEEP_FUNCTIONS; i++)
		if (wr_deep_functions[i].kind == WR_DEEP_NEEDED && !ret->places[i].is_there)
			rc = -ENOENT;
	return rc;
}

bool wr_deep_is_refused(const struct wr_deep_plan *plan)
{
	for (unsigned i = 0; i < WR_DEEP_FUNCTIONS; i++)
		if (wr_deep_functions[i].kind != WR_DEEP_MORE && plan->places[i].is_stepped)
			return true;
	return false;
}

struct finding {
	int pid;
	int fd, rank; /* of the best so far */
	uint64_t ino; /* looked at last */
	struct wr_deep_plan *plan;
};

/*
 * Old versions of glibc have the true functions in a library of their own, and a static program has
 * them in itself. What a sanitizer puts in front of them calls them.
 */
static int rank_of(const char *path)
{
	const char *name = strrchr(path, '/');

	if (!name)
		return 0;
	if (strncmp(name, "/libpthread", 11) == 0)
		return 3;
	if (strncmp(name, "/libc.", 6) == 0 || strncmp(name, "/libc-", 6) == 0 ||
	    strncmp(name, "/ld-musl", 8) == 0)
		return 2;
	/* The program itself comes first in the maps. */
	return 1;
}

static int look_for(void *arg, const struct wr_mapping *m)
{
	struct finding *f = arg;
	struct wr_deep_plan plan;
	int fd;

	if (!m->is_code || m->ino == f->ino || rank_of(m->path) <= f->rank)
		return 0;
	f->ino = m->ino;
	fd = wr_mapping_open(f->pid, m);
	if (fd < 0)
		return 0;
	if (wr_deep_read(fd, &plan) != 0) {
		close(fd);
		return 0;
	}
	if (f->fd >= 0)
		close(f->fd);
	f->fd = fd;
	f->rank = rank_of(m->path);
	*f->plan = plan;
	snprintf(f->plan->path, sizeof(f->plan->path), "%.*s", (int)WEIR_PATH_BYTES - 1, m->path);
	return 0;
}

/* The library of a process: a descriptor of it, -ENOENT, or why the process cannot be looked at. */
static int find_library(int pid, struct wr_deep_plan *ret)
{
	struct finding f = {.pid = pid, .fd = -1, .plan = ret};
	int rc = wr_mapping_each(pid, look_for, &f);

	if (rc && f.fd >= 0)
		close(f.fd);
	if (rc)
		return rc;
	return f.fd >= 0 ? f.fd : -ENOENT;
}

int weir_trace_deep_plan(int pid, struct weir_trace_deep_plan *ret)
{
	struct wr_deep_plan plan;
	int fd = find_library(pid, &plan);

	if (fd < 0)
		return fd;
	close(fd);
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->file, plan.path, sizeof(ret->file));
	ret->is_refused = wr_deep_is_refused(&plan);
	for (unsigned i = 0; i < WR_DEEP_FUNCTIONS; i++) {
		struct weir_trace_deep_place *place = &ret->places[ret->nr_places];

		if (!plan.places[i].is_there)
			continue;
		snprintf(place->function, sizeof(place->function), "%s", wr_deep_functions[i].name);
		place->into = plan.places[i].into;
		place->is_stepped = plan.places[i].is_stepped;
		ret->nr_places++;
	}
	return 0;
}

#if WR_TRACE_BPF

#include <bpf/libbpf.h>

#include "trace/multi.h"

static int link_place(struct weir_trace *t, struct bpf_object *object, int fd, const char *name,
		      const struct wr_deep_place *place, unsigned index, bool is_return)
{
	const struct bpf_program *program = bpf_object__find_program_by_name(object, name);
	uint64_t offset = place->offset + place->into;
	struct wr_multi multi = {
		.offsets = &offset, .nr = 1, .pid = (uint32_t)t->pid, .is_return = is_return};
	char path[32], link_name[32];
	int link;

	if (!program)
		return -ENOENT;
	/* What was looked at, whatever its name is by now. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	snprintf(link_name, sizeof(link_name), "%s_%u", name, index);
	multi.path = path;
	link = wr_multi_link(bpf_program__fd(program), &multi);
	/* A kernel without such links: nothing cheaper is to be had. */
	if (link == -EINVAL || link == -EOPNOTSUPP)
		return -ENOENT;
	return link < 0 ? link : wr_trace_keep(t, NULL, link, link_name);
}

static int link_all(struct weir_trace *t, struct bpf_object *object, int fd,
		    const struct wr_deep_plan *plan)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < WR_DEEP_FUNCTIONS; i++) {
		const struct wr_deep_function *f = &wr_deep_functions[i];
		const struct wr_deep_place *place = &plan->places[i];

		if (!place->is_there || (place->is_stepped && !t->may_step))
			continue;
		rc = link_place(t, object, fd, f->program, place, i, false);
		if (!rc && f->on_return)
			rc = link_place(t, object, fd, f->on_return, place, i, true);
	}
	return rc;
}

int wr_trace_attach_deep(struct weir_trace *t, struct bpf_object *object)
{
	size_t before = t->nr_links;
	struct wr_deep_plan plan;
	int fd = find_library(t->pid, &plan), rc;

	if (fd < 0)
		return fd;
	rc = wr_deep_is_refused(&plan) && !t->may_step ? -EOPNOTSUPP
						       : link_all(t, object, fd, &plan);
	close(fd);
	if (rc)
		wr_trace_drop(t, before);
	return rc;
}

#endif
