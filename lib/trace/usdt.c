/* SPDX-License-Identifier: MIT */
/*
 * Programs onto the probe sites of a process: one link for each probe and file (uprobe_multi), which
 * touches that process only and ends with its last descriptor and pin. The kernel counts up the
 * probe's semaphore while there is one and down again afterwards, however that came about.
 *
 * On a kernel without such links (before 6.6) each site gets a perf event instead. That needs
 * CAP_SYS_ADMIN and is not bound to the process, which would make each of its context switches
 * dearer: other processes that run the same file fire the probes, too, and the program turns them
 * away.
 */
#include "trace/session.h"

#if WR_TRACE_BPF

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/alloc.h"
#include "base/stage.h"
#include "base/util.h"
#include "trace/multi.h"
#include "trace/sites.h"

/* The probe hands over what the event is to say. */
_Static_assert((int)WR_STAGE_READ == (int)WEIR_EVENT_STAGE_READ &&
		       (int)WR_STAGE_WAIT == (int)WEIR_EVENT_STAGE_WAIT &&
		       (int)WR_STAGE_COMPUTE == (int)WEIR_EVENT_STAGE_COMPUTE &&
		       (int)WR_STAGE_FETCH == (int)WEIR_EVENT_STAGE_FETCH,
	       "stages and events have one numbering");

static const struct {
	uint32_t part;
	const char *probe, *program;
} probes[] = {
	{WEIR_TRACE_HOLDS, "lock_release", "on_lock_release"},
	{WEIR_TRACE_HOLDS, "lock_contended", "on_lock_contended"},
	{WEIR_TRACE_CACHE, "cache_hit", "on_cache_hit"},
	{WEIR_TRACE_CACHE, "cache_miss", "on_cache_miss"},
	{WEIR_TRACE_CACHE, "cache_evict", "on_cache_evict"},
	{WEIR_TRACE_STAGES, "stage", "on_stage"},
};

struct attaching {
	struct weir_trace *t;
	struct bpf_object *object;
	uint32_t part;
	int nr_files;
	struct wr_sites sites;
};

void wr_trace_sites_prepare(const struct weir_trace *t, struct bpf_object *object)
{
	struct bpf_program *program;

	if (t->without_multi)
		return;
	bpf_object__for_each_program(program, object)
	{
		bpf_program__set_expected_attach_type(
			program, (enum bpf_attach_type)WR_BPF_TRACE_UPROBE_MULTI);
	}
}

static int link_events(struct attaching *a, const struct bpf_program *program, const char *path,
		       const char *name)
{
	const struct wr_sites *s = &a->sites;
	int rc = 0;

	for (size_t i = 0; !rc && i < s->nr; i++) {
		struct bpf_uprobe_opts opts = {.sz = sizeof(opts),
					       .ref_ctr_offset = s->semaphore[i],
					       .bpf_cookie = s->cookie[i]};
		struct bpf_link *link =
			bpf_program__attach_uprobe_opts(program, -1, path, s->offset[i], &opts);
		char each[40];

		snprintf(each, sizeof(each), "%s_%zu", name, i);
		rc = link ? wr_trace_keep(a->t, link, -1, each) : -errno;
	}
	return rc;
}

static int link_sites(struct attaching *a, const struct bpf_program *program, const char *path,
		      const char *name)
{
	const struct wr_multi multi = {.path = path,
				       .offsets = a->sites.offset,
				       .semaphores = a->sites.semaphore,
				       .cookies = a->sites.cookie,
				       .nr = (uint32_t)a->sites.nr,
				       .pid = (uint32_t)a->t->pid};
	int fd;

	if (a->t->without_multi)
		return link_events(a, program, path, name);
	fd = wr_multi_link(bpf_program__fd(program), &multi);
	return fd < 0 ? fd : wr_trace_keep(a->t, NULL, fd, name);
}

static int attach_file(void *arg, int fd)
{
	struct attaching *a = arg;
	bool found = false;
	int rc = 0;

	for (size_t i = 0; !rc && i < wr_array_size(probes); i++) {
		const struct bpf_program *program;
		char path[32], name[24];

		if (probes[i].part != a->part)
			continue;
		rc = wr_sites_find(fd, probes[i].probe, &a->sites);
		if (rc || a->sites.nr == 0)
			continue;
		program = bpf_object__find_program_by_name(a->object, probes[i].program);
		if (!program)
			return -ENOENT;
		/* What was looked at, whatever its name is by now. */
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		snprintf(name, sizeof(name), "%s_%d", probes[i].probe, a->nr_files);
		rc = link_sites(a, program, path, name);
		found = true;
	}
	a->nr_files += found;
	return rc;
}

int wr_trace_attach_sites(struct weir_trace *t, uint32_t part, struct bpf_object *object)
{
	struct attaching *a = wr_calloc(1, sizeof(*a));
	size_t before = t->nr_links;
	int rc;

	if (!a)
		return -ENOMEM;
	a->t = t;
	a->object = object;
	a->part = part;
	rc = wr_sites_each_file(t->pid, attach_file, a);
	if (!rc && a->nr_files == 0)
		rc = -ENOENT;
	wr_trace_drop(t, rc ? before : t->nr_links);
	wr_free(a);
	return rc;
}

#endif
