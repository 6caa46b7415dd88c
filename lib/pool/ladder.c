/* SPDX-License-Identifier: MIT */
/*
 * Stepping down from 1 GiB pages to 4 KiB pages, node by node.
 *
 * A region has one page kind, and the whole share of a node comes from one kind: a
 * share that hugetlb covers only in part goes to the next kind as a whole. Mixing would
 * use the last free huge page, but two mappings a node would split the largest span.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "pool/ladder.h"
#include "pool/prefault.h"

/* A share that is not a multiple of 1 GiB may lose this much to be one. */
#define MAX_LOSS_BYTES (2 * WR_POOL_MIB)

struct ladder {
	const struct wr_pool_system *system;
	const struct weir_pool_opts *opts;
	struct wr_reasons *reasons;
	bool saw_shortage; /* some rung exists but has too little */
};

static const char *const kind_text[WEIR_PAGE_KINDS] = {
	[WEIR_PAGE_4K] = "4 KiB pages",
	[WEIR_PAGE_THP] = "transparent huge pages",
	[WEIR_PAGE_2M] = "2 MiB pages",
	[WEIR_PAGE_1G] = "1 GiB pages",
};

void wr_reasons_add(struct wr_reasons *r, const char *fmt, ...)
{
	char line[320];
	char *grown;
	size_t bytes;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	wr_log(WEIR_LOG_INFO, "pool", "%s", line);
	bytes = strlen(line);
	grown = wr_realloc(r->text, r->length + bytes + 2);
	if (!grown) {
		r->no_memory = true;
		return;
	}
	if (r->length > 0)
		grown[r->length++] = '\n';
	memcpy(grown + r->length, line, bytes + 1);
	r->length += bytes;
	r->text = grown;
}

void wr_reasons_fini(struct wr_reasons *r)
{
	wr_free(r->text);
	memset(r, 0, sizeof(*r));
}

/* " on node 3", or nothing on a machine without nodes. */
static const char *on_node(char *text, size_t size, int node)
{
	if (node < 0)
		return "";
	snprintf(text, size, " on node %d", node);
	return text;
}

/* Rounded up: for what is needed. */
static uint64_t mib(uint64_t bytes)
{
	return (bytes + WR_POOL_MIB - 1) / WR_POOL_MIB;
}

/* Leave a rung: say why, and whether there would have been something to get. */
static int step_down(struct ladder *l, const struct wr_rung *rung, int code, const char *fmt, ...)
	WEIR_PRINTF(4, 5);

static int step_down(struct ladder *l, const struct wr_rung *rung, int code, const char *fmt, ...)
{
	char why[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	wr_reasons_add(l->reasons, "no %s: %s", kind_text[rung->kind], why);
	if (code == -ENOMEM)
		l->saw_shortage = true;
	return code;
}

/* The part of a node's share that a kind can hold; 0 when it does not suit. */
static size_t usable_bytes(const struct ladder *l, const struct wr_pool_provider *p, size_t share)
{
	size_t unit = wr_max(p->page_bytes, l->opts->block_bytes);
	size_t bytes = (size_t)wr_align_down(share, unit);

	return share - bytes < wr_max(MAX_LOSS_BYTES, (uint64_t)l->opts->block_bytes) ? bytes : 0;
}

static int check_supply(struct ladder *l, const struct wr_rung *rung,
			const struct wr_pool_provider *p, size_t bytes)
{
	bool strict = l->opts->flags & WEIR_POOL_STRICT_NODE;
	struct wr_pool_supply supply;
	uint64_t available;
	char where[32];
	int rc;

	on_node(where, sizeof(where), rung->node);
	rc = p->info(p->arg, rung->node, &supply);
	if (rc != 0)
		return step_down(l, rung, -EOPNOTSUPP, "%s", weir_strerror(rc));
	if (supply.why[0])
		return step_down(l, rung, -EOPNOTSUPP, "%s", supply.why);
	if (supply.free_bytes < bytes)
		return step_down(l, rung, supply.total_pages ? -ENOMEM : -EOPNOTSUPP,
				 "%zu needed, %llu of %llu free%s", bytes / p->page_bytes,
				 (unsigned long long)supply.free_pages,
				 (unsigned long long)supply.total_pages,
				 on_node(where, sizeof(where), rung->node));
	if (p->eager || !strict)
		return 0;
	available = l->system->available(l->system->arg, rung->node);
	if (available < bytes)
		return step_down(l, rung, -ENOMEM, "%llu MiB needed, %llu MiB available%s",
				 (unsigned long long)mib(bytes),
				 (unsigned long long)(available / WR_POOL_MIB),
				 on_node(where, sizeof(where), rung->node));
	return 0;
}

static int bind_to_node(struct ladder *l, const struct wr_rung *rung,
			const struct wr_pool_provider *p, const struct wr_pool_mapping *map)
{
	bool strict = l->opts->flags & WEIR_POOL_STRICT_NODE;
	uint64_t nodes = l->system->nodes(l->system->arg);
	int rc;

	/* With one node there is nothing to choose, and a container may forbid the call. */
	if (rung->node < 0 || (nodes & (nodes - 1)) == 0)
		return 0;
	rc = p->bind(p->arg, map, rung->node, strict);
	if (rc == 0)
		return 0;
	if (strict)
		return step_down(l, rung, -EOPNOTSUPP, "cannot bind to node %d: %s", rung->node,
				 weir_strerror(rc));
	wr_reasons_add(l->reasons, "node %d: placed by first touch only, cannot bind: %s",
		       rung->node, weir_strerror(rc));
	return 0;
}

static int try_kind(struct ladder *l, struct wr_rung *rung)
{
	const struct wr_pool_provider *p = l->system->kinds[rung->kind];
	struct wr_pool_mapping map;
	size_t bytes;
	int rc;

	if (!p)
		return step_down(l, rung, -EOPNOTSUPP, "this system has none");
	bytes = usable_bytes(l, p, rung->share_bytes);
	if (bytes == 0)
		return step_down(l, rung, -EOPNOTSUPP, "%llu MiB a node is no multiple of them",
				 (unsigned long long)mib(rung->share_bytes));
	rc = check_supply(l, rung, p, bytes);
	if (rc != 0)
		return rc;
	rc = p->reserve(p->arg, bytes, wr_max(p->page_bytes, l->opts->block_bytes), &map);
	if (rc != 0)
		return step_down(l, rung, -ENOMEM, "%llu MiB refused: %s",
				 (unsigned long long)mib(bytes), weir_strerror(rc));
	rc = bind_to_node(l, rung, p, &map);
	if (rc != 0) {
		p->release(p->arg, &map);
		return rc;
	}
	rung->map = map;
	rung->is_mapped = true;
	return 0;
}

/* Map a node with the next lower kind that is allowed and gives something. */
static int next_rung(struct ladder *l, struct wr_rung *rung)
{
	while (--rung->kind >= 0) {
		if (!(l->opts->page_kinds & (1u << rung->kind)))
			continue;
		if (try_kind(l, rung) == 0)
			return 0;
	}
	return l->saw_shortage ? -ENOMEM : -EOPNOTSUPP;
}

static void release_rung(const struct wr_pool_system *system, struct wr_rung *rung)
{
	const struct wr_pool_provider *p;

	if (!rung->is_mapped)
		return;
	p = system->kinds[rung->kind];
	if (rung->is_registered && p->unregister_map)
		p->unregister_map(p->arg, &rung->map);
	p->release(p->arg, &rung->map);
	rung->is_mapped = false;
	rung->is_registered = false;
	rung->is_done = false;
}

void wr_ladder_release(const struct wr_pool_system *system, struct wr_rung *rungs, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++)
		release_rung(system, &rungs[i]);
}

static bool is_touched_at_open(const struct ladder *l, const struct wr_rung *rung)
{
	return l->system->kinds[rung->kind]->eager || !(l->opts->flags & WEIR_POOL_LAZY);
}

/*
 * Touching more than there is would not fail: the kernel would kill a process instead,
 * likely this one. Hugetlb pages are set aside already and do not count.
 */
static int check_machine(struct ladder *l, const struct wr_rung *rungs, size_t nr)
{
	uint64_t available = l->system->available(l->system->arg, -1);
	uint64_t needed = 0;
	size_t i;

	for (i = 0; i < nr; i++)
		if (!rungs[i].is_done && is_touched_at_open(l, &rungs[i]) &&
		    !l->system->kinds[rungs[i].kind]->eager)
			needed += rungs[i].map.bytes;
	if (needed <= available)
		return 0;
	wr_reasons_add(l->reasons, "not enough memory: %llu MiB needed, %llu MiB available",
		       (unsigned long long)mib(needed),
		       (unsigned long long)(available / WR_POOL_MIB));
	return -ENOMEM;
}

/* Ask what the kernel really gave; a region without any huge page is no THP region. */
static int measure_thp(struct ladder *l, struct wr_rung *rung)
{
	const struct wr_pool_provider *p = l->system->kinds[rung->kind];
	char where[32];
	int rc;

	rc = p->huge_bytes(p->arg, &rung->map, &rung->thp_bytes);
	if (rc != 0) {
		wr_reasons_add(l->reasons, "transparent huge pages not counted: %s",
			       weir_strerror(rc));
		return 0;
	}
	if (rung->thp_bytes >= rung->map.bytes)
		return 0;
	if (rung->thp_bytes > 0) {
		wr_reasons_add(l->reasons, "transparent huge pages for %llu of %llu MiB%s",
			       (unsigned long long)mib(rung->thp_bytes),
			       (unsigned long long)mib(rung->map.bytes),
			       on_node(where, sizeof(where), rung->node));
		return 0;
	}
	rc = step_down(l, rung, -EOPNOTSUPP, "the kernel gave none for %llu MiB%s",
		       (unsigned long long)mib(rung->map.bytes),
		       on_node(where, sizeof(where), rung->node));
	if (!(l->opts->page_kinds & (1u << WEIR_PAGE_4K)) || !l->system->kinds[WEIR_PAGE_4K])
		return rc;
	/* The pages are there and are small ones: only the name was wrong. */
	rung->kind = WEIR_PAGE_4K;
	return 0;
}

static int register_rung(struct ladder *l, struct wr_rung *rung)
{
	const struct wr_pool_provider *p = l->system->kinds[rung->kind];
	char where[32];
	int rc;

	rc = p->register_map ? p->register_map(p->arg, &rung->map) : 0;
	rung->is_registered = rc == 0;
	if (rc != 0)
		(void)step_down(l, rung, -ENOMEM, "%llu MiB%s could not be registered: %s",
				(unsigned long long)mib(rung->map.bytes),
				on_node(where, sizeof(where), rung->node), weir_strerror(rc));
	return rc;
}

static void finish_rung(struct ladder *l, struct wr_rung *rung, const struct wr_prefault_job *job)
{
	int rc = job->rc;

	if (rc != 0)
		(void)step_down(l, rung, -ENOMEM, "%llu MiB could not be touched: %s",
				(unsigned long long)mib(rung->map.bytes), weir_strerror(rc));
	else if (rung->kind == WEIR_PAGE_THP && is_touched_at_open(l, rung))
		rc = measure_thp(l, rung);
	if (rc == 0)
		rc = register_rung(l, rung);
	rung->is_done = rc == 0;
	if (rc != 0)
		release_rung(l->system, rung);
}

/* Touch all that is mapped and not done. On return each rung is done or not mapped. */
static int touch_rungs(struct ladder *l, struct wr_rung *rungs, size_t nr)
{
	struct wr_prefault_job *jobs;
	size_t nr_jobs = 0;
	size_t i;
	int rc;

	jobs = wr_calloc(nr, sizeof(*jobs));
	if (!jobs)
		return -ENOMEM;
	for (i = 0; i < nr; i++)
		if (!rungs[i].is_done && is_touched_at_open(l, &rungs[i]))
			jobs[nr_jobs++] = (struct wr_prefault_job){
				.provider = l->system->kinds[rungs[i].kind],
				.map = &rungs[i].map,
				.node = rungs[i].node,
				.nr_threads = l->opts->prefault_threads};
	rc = nr_jobs ? wr_prefault(l->system, jobs, nr_jobs, l->opts->progress,
				   l->opts->progress_arg)
		     : 0;
	for (i = 0, nr_jobs = 0; rc == 0 && i < nr; i++) {
		static const struct wr_prefault_job nothing;

		if (!rungs[i].is_done)
			finish_rung(l, &rungs[i],
				    is_touched_at_open(l, &rungs[i]) ? &jobs[nr_jobs++] : &nothing);
	}
	wr_free(jobs);
	return rc;
}

int wr_ladder_descend(const struct wr_pool_system *system, const struct weir_pool_opts *opts,
		      struct wr_rung *rungs, size_t nr, struct wr_reasons *reasons,
		      uint64_t *ret_ns)
{
	struct ladder l = {.system = system, .opts = opts, .reasons = reasons};
	uint64_t begin = wr_now_ns();
	bool again = true;
	int rc = 0;
	size_t i;

	while (again) {
		for (i = 0; i < nr && rc == 0; i++)
			if (!rungs[i].is_mapped)
				rc = next_rung(&l, &rungs[i]);
		if (rc == 0)
			rc = check_machine(&l, rungs, nr);
		if (rc == 0)
			rc = touch_rungs(&l, rungs, nr);
		if (rc != 0)
			break;
		again = false;
		for (i = 0; i < nr; i++)
			again |= !rungs[i].is_done;
	}
	if (rc == 0 && reasons->no_memory)
		rc = -ENOMEM;
	if (rc != 0)
		wr_ladder_release(system, rungs, nr);
	*ret_ns = wr_now_ns() - begin;
	return rc;
}
