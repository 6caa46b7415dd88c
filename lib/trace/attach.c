/* SPDX-License-Identifier: MIT */
/*
 * Load the programs and attach them. Each object is tried by itself: one that the kernel or the
 * rights do not allow leaves the others alone, and its code is kept for weir_trace_part(). Never
 * asks for a uid, a version or a feature: the only answer that counts is that of the attempt.
 */
#include "trace/session.h"

#if WR_TRACE_BPF

#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "base/alloc.h"
#include "base/util.h"

#define MISS_PERIOD  10007u
#define FAULT_PERIOD 16u

static int be_quiet(enum libbpf_print_level level, const char *fmt, va_list args)
{
	(void)level;
	(void)fmt;
	(void)args;
	return 0;
}

static void cut(struct bpf_link *link, int fd)
{
	if (link)
		bpf_link__destroy(link);
	else
		close(fd);
}

int wr_trace_keep(struct weir_trace *t, struct bpf_link *link, int fd, const char *name)
{
	struct wr_trace_link *grown = wr_reallocarray(t->links, t->nr_links + 1, sizeof(*t->links));

	if (!grown) {
		cut(link, fd);
		return -ENOMEM;
	}
	t->links = grown;
	grown = &t->links[t->nr_links++];
	grown->link = link;
	grown->fd = fd;
	snprintf(grown->name, sizeof(grown->name), "%s", name);
	return 0;
}

void wr_trace_drop(struct weir_trace *t, size_t first)
{
	while (t->nr_links > first) {
		const struct wr_trace_link *l = &t->links[--t->nr_links];

		cut(l->link, l->fd);
	}
}

/* The number of a tracepoint's type in the kernel's BTF, which is megabytes: read once a trace. */
static int find_tracepoint(struct weir_trace *t, const char *name)
{
	char type[80];

	if (!t->btf)
		t->btf = btf__load_vmlinux_btf();
	if (!t->btf)
		return -errno;
	snprintf(type, sizeof(type), "btf_trace_%s", name);
	return btf__find_by_name_kind(t->btf, type, BTF_KIND_TYPEDEF);
}

/* Programs whose tracepoint this kernel lacks are left out; -ENOENT when all are. */
static int leave_out_absent(struct weir_trace *t, struct bpf_object *object)
{
	struct bpf_program *program;
	int nr = 0, rc = -ENOENT;

	bpf_object__for_each_program(program, object)
	{
		const char *section = bpf_program__section_name(program);
		int id = 0;

		if (strncmp(section, "tp_btf/", 7) == 0)
			id = find_tracepoint(t, section + 7);
		if (id < 0) {
			rc = id;
			bpf_program__set_autoload(program, false);
		}
		nr += id >= 0;
	}
	return nr > 0 ? 0 : rc;
}

static int set_target(struct bpf_object *object, int pid)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, ".rodata.target");

	return map ? bpf_map__set_initial_value(map, &pid, sizeof(pid)) : -ENOENT;
}

/* What an object before it brought: written by several of them, or by this one loaded again. */
static int share_maps(const struct weir_trace *t, struct bpf_object *object)
{
	for (int i = 0; i < WR_TRACE_NR_MAPS; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(object, wr_trace_map_names[i]);
		int rc = map && t->map[i] >= 0 ? bpf_map__reuse_fd(map, t->map[i]) : 0;

		if (rc)
			return rc;
	}
	return 0;
}

/* The object's maps become the trace's, by descriptors of its own. */
static int take_maps(struct weir_trace *t, struct bpf_object *object)
{
	for (int i = 0; i < WR_TRACE_NR_MAPS; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(object, wr_trace_map_names[i]);

		if (!map || t->map[i] >= 0)
			continue;
		t->map[i] = dup(bpf_map__fd(map));
		if (t->map[i] < 0)
			return -errno;
	}
	return 0;
}

static int load(struct weir_trace *t, unsigned which)
{
	const struct wr_trace_program *p = &wr_trace_programs[which];
	struct bpf_object_open_opts opts = {.sz = sizeof(opts), .object_name = p->name};
	struct bpf_object *object =
		bpf_object__open_mem(p->begin, (size_t)(p->end - p->begin), &opts);
	int rc;

	if (!object)
		return -errno;
	rc = leave_out_absent(t, object);
	if (!rc)
		rc = set_target(object, t->pid);
	if (!rc)
		rc = share_maps(t, object);
	if (p->parts & (WEIR_TRACE_HOLDS | WEIR_TRACE_DEEP))
		wr_trace_sites_prepare(t, object);
	if (!rc)
		rc = bpf_object__load(object);
	if (!rc)
		rc = take_maps(t, object);
	if (rc) {
		bpf_object__close(object);
		return rc;
	}
	t->object[which] = object;
	return 0;
}

static int attach_tracepoints(struct weir_trace *t, struct bpf_object *object)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object)
	{
		struct bpf_link *link;
		int rc;

		if (!bpf_program__autoload(program))
			continue;
		link = bpf_program__attach(program);
		rc = link ? wr_trace_keep(t, link, -1, bpf_program__name(program)) : -errno;
		if (rc)
			return rc;
	}
	return 0;
}

/* On every CPU that is on; the links are cut again when one of them fails. */
static int attach_event(struct weir_trace *t, struct bpf_program *program, const char *name,
			uint32_t type, uint64_t config, uint32_t period, uint32_t source)
{
	struct bpf_perf_event_opts opts = {.sz = sizeof(opts), .bpf_cookie = source};
	struct perf_event_attr attr = {.size = sizeof(attr), .type = type, .config = config};
	int nr_cpus = libbpf_num_possible_cpus(), rc = 0;
	size_t before = t->nr_links;

	attr.sample_period = period;
	for (int cpu = 0; !rc && cpu < nr_cpus; cpu++) {
		int fd =
			(int)syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
		struct bpf_link *link;
		char each[40];

		if (fd < 0 && errno == ENODEV)
			continue; /* the CPU is off */
		if (fd < 0) {
			rc = -errno;
			break;
		}
		link = bpf_program__attach_perf_event_opts(program, fd, &opts);
		snprintf(each, sizeof(each), "%s_%d", name, cpu);
		rc = link ? wr_trace_keep(t, link, -1, each) : -errno;
		if (!link)
			close(fd);
	}
	wr_trace_drop(t, rc ? before : t->nr_links);
	return rc;
}

static int attach_faults(struct weir_trace *t, struct bpf_program *program)
{
	int rc = attach_event(t, program, "major", PERF_TYPE_SOFTWARE,
			      PERF_COUNT_SW_PAGE_FAULTS_MAJ, 1, WEIR_MISS_FAULT_MAJOR);

	if (!rc)
		rc = attach_event(t, program, "minor", PERF_TYPE_SOFTWARE,
				  PERF_COUNT_SW_PAGE_FAULTS_MIN, FAULT_PERIOD,
				  WEIR_MISS_FAULT_MINOR);
	t->meta->fault_period = FAULT_PERIOD;
	return rc;
}

/* Hardware counters or none: nothing else goes by their name. */
static int attach_cpu_misses(struct weir_trace *t, struct bpf_program *program)
{
	static const struct {
		uint32_t type, source;
		uint64_t config;
	} ladder[] = {
		{PERF_TYPE_HARDWARE, WEIR_MISS_HW_LLC, PERF_COUNT_HW_CACHE_MISSES},
		{PERF_TYPE_HW_CACHE, WEIR_MISS_HW_LL_READ,
		 PERF_COUNT_HW_CACHE_LL | PERF_COUNT_HW_CACHE_OP_READ << 8 |
			 PERF_COUNT_HW_CACHE_RESULT_MISS << 16},
	};
	int rc = -ENOENT;

	for (size_t i = 0; rc && i < wr_array_size(ladder); i++) {
		rc = attach_event(t, program, "cpu_miss", ladder[i].type, ladder[i].config,
				  MISS_PERIOD, ladder[i].source);
		if (!rc)
			t->meta->cpu_miss_source = (enum weir_miss_source)ladder[i].source;
	}
	t->meta->cpu_miss_available = !rc;
	t->meta->cpu_miss_errno = (uint32_t)-rc;
	t->meta->miss_period = MISS_PERIOD;
	return rc;
}

/* Part @part, whose object is loaded. */
static int attach_part(struct weir_trace *t, uint32_t part, struct bpf_object *object)
{
	struct bpf_program *program;

	if (part & WR_TRACE_SITES)
		return wr_trace_attach_sites(t, part, object);
	if (part == WEIR_TRACE_DEEP)
		return wr_trace_attach_deep(t, object);
	if (part != WEIR_TRACE_FAULTS && part != WEIR_TRACE_CPU_MISSES)
		return attach_tracepoints(t, object);
	program = bpf_object__find_program_by_name(object, "on_miss");
	if (!program)
		return -ENOENT;
	return part == WEIR_TRACE_FAULTS ? attach_faults(t, program)
					 : attach_cpu_misses(t, program);
}

/*
 * A kernel before 6.6 refuses links of many places: then all of the object's parts are attached by
 * events, which a program that was loaded for such links cannot be.
 */
static int attach_again(struct weir_trace *t, unsigned which, uint32_t part)
{
	int rc;

	t->without_multi = true;
	bpf_object__close(t->object[which]);
	t->object[which] = NULL;
	rc = load(t, which);
	return rc ? rc : attach_part(t, part, t->object[which]);
}

static bool lacks_multi(const struct weir_trace *t, uint32_t part, int rc)
{
	return (part & WR_TRACE_SITES) && !t->without_multi && (rc == -EINVAL || rc == -EOPNOTSUPP);
}

static void attach_object(struct weir_trace *t, unsigned which, uint32_t parts,
			  int rc_of[static WEIR_TRACE_NR_PARTS])
{
	int rc = load(t, which);

	/* The first object brings the maps that meta is in. */
	if (!rc && !t->meta)
		rc = wr_trace_map_arrays(t);
	for (unsigned i = 0; i < WEIR_TRACE_NR_PARTS; i++) {
		uint32_t part = 1u << i & parts & wr_trace_programs[which].parts;

		if (part)
			rc_of[i] = rc ? rc : attach_part(t, part, t->object[which]);
		if (part && !rc && lacks_multi(t, part, rc_of[i]))
			rc_of[i] = attach_again(t, which, part);
	}
}

int wr_trace_attach(struct weir_trace *t, uint32_t parts, struct weir_error *err)
{
	libbpf_print_fn_t before = libbpf_set_print(be_quiet);
	int rc_of[WEIR_TRACE_NR_PARTS], first = 0;
	uint32_t on = 0;

	for (unsigned i = 0; i < WEIR_TRACE_NR_PARTS; i++)
		rc_of[i] = -ECANCELED;
	for (unsigned i = 0; i < WR_TRACE_NR_PROGRAMS; i++)
		if (wr_trace_programs[i].parts & parts)
			attach_object(t, i, parts, rc_of);
	btf__free(t->btf);
	t->btf = NULL;
	libbpf_set_print(before);
	for (unsigned i = 0; i < WEIR_TRACE_NR_PARTS; i++) {
		on |= rc_of[i] ? 0 : 1u << i;
		if (t->meta)
			t->meta->part_errno[i] = (uint32_t)-rc_of[i];
		if (!first && rc_of[i] != -ECANCELED)
			first = rc_of[i];
	}
	if (!on)
		return wr_error_set(err, first == -ESRCH ? -ENOENT : first, NULL, WEIR_OFFSET_NONE,
				    "nothing can be traced: %s%s",
				    weir_strerror(first == -ESRCH ? -ENOENT : first),
				    first == -EPERM || first == -EACCES
					    ? "; needs CAP_BPF and CAP_PERFMON"
				    : first == -ESRCH ? "; this kernel has no BTF"
						      : "");
	t->meta->parts = on;
	return 0;
}

void wr_trace_detach(struct weir_trace *t)
{
	wr_trace_drop(t, 0);
	for (unsigned i = 0; i < WR_TRACE_NR_PROGRAMS; i++)
		bpf_object__close(t->object[i]);
	wr_free(t->links);
}

#endif
