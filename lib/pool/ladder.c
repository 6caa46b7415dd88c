/* SPDX-License-Identifier: MIT */
/*
 * Stepping down from 1 GiB pages to 4 KiB pages, node by node and piece by piece.
 *
 * A share that hugetlb covers only in part is given in part: the next kind fills the rest
 * of the node's range, so that a span may still be as long as the share.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "pool/ladder.h"
#include "pool/prefault.h"

/* What is left of a share and is no page of the kind that the rest has: up to this is lost. */
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

static void add_step(struct wr_reasons *r, const struct weir_page_step *step)
{
	struct weir_page_step *grown =
		wr_reallocarray(r->steps, r->nr_steps + 1, sizeof(*r->steps));

	if (!grown) {
		r->no_memory = true;
		return;
	}
	grown[r->nr_steps++] = *step;
	r->steps = grown;
}

void wr_reasons_fini(struct wr_reasons *r)
{
	wr_free(r->text);
	wr_free(r->steps);
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

/* The kind that comes after one, WEIR_PAGE_KINDS when it was the last. */
static int kind_after(const struct ladder *l, int kind)
{
	while (--kind >= 0)
		if (l->opts->page_kinds & (1u << kind))
			return kind;
	return WEIR_PAGE_KINDS;
}

/* A place on a node's range that is to be filled, and the kind that it is tried with. */
struct place {
	struct wr_rung *rung;
	size_t offset;
	size_t bytes;
	int kind;
};

static void tell(struct ladder *l, const struct weir_page_step *step)
{
	wr_reasons_add(l->reasons, "%s", step->reason);
	add_step(l->reasons, step);
	if (l->opts->step_down)
		l->opts->step_down(l->opts->step_down_arg, step);
}

/* Leave a rung, for so many bytes of the place: say why, and whether there is anything to get. */
static int step_down(struct ladder *l, const struct place *at, size_t bytes, int code,
		     const char *fmt, ...) WEIR_PRINTF(5, 6);

static int step_down(struct ladder *l, const struct place *at, size_t bytes, int code,
		     const char *fmt, ...)
{
	struct weir_page_step step = {.node = at->rung->node,
				      .kind = (uint32_t)at->kind,
				      .next_kind = (uint32_t)kind_after(l, at->kind),
				      .code = code,
				      .bytes = bytes};
	bool in_part = bytes < at->bytes;
	int n;
	va_list ap;

	n = snprintf(step.reason, sizeof(step.reason), "%s%s%s", in_part ? "" : "no ",
		     kind_text[at->kind], in_part ? " for a part only: " : ": ");
	va_start(ap, fmt);
	vsnprintf(step.reason + n, sizeof(step.reason) - (size_t)n, fmt, ap);
	va_end(ap);
	tell(l, &step);
	if (code == -ENOMEM)
		l->saw_shortage = true;
	return code;
}

static size_t unit_of(const struct ladder *l, const struct wr_pool_provider *p)
{
	return wr_max(p->page_bytes, l->opts->block_bytes);
}

/* So little is left that no further rung is taken for it. */
static bool is_lost(const struct ladder *l, const struct wr_pool_provider *p, size_t left)
{
	uint64_t most = wr_max(MAX_LOSS_BYTES, (uint64_t)l->opts->block_bytes);

	return left < wr_min((uint64_t)unit_of(l, p), most);
}

/* How much of @wanted bytes there is, in whole units; for less than all of it why. */
static int check_supply(struct ladder *l, const struct place *at, const struct wr_pool_provider *p,
			size_t wanted, size_t *ret)
{
	int node = at->rung->node;
	struct wr_pool_supply supply;
	char where[32];
	int rc;

	*ret = 0;
	rc = p->info(p->arg, node, &supply);
	if (rc != 0)
		return step_down(l, at, at->bytes, -EOPNOTSUPP, "%s", weir_strerror(rc));
	if (supply.why[0])
		return step_down(l, at, at->bytes, -EOPNOTSUPP, "%s", supply.why);
	*ret = wanted;
	if (supply.free_bytes >= wanted)
		return 0;
	*ret = (size_t)wr_align_down(supply.free_bytes, (uint64_t)unit_of(l, p));
	return step_down(l, at, at->bytes - *ret, supply.total_pages ? -ENOMEM : -EOPNOTSUPP,
			 "%zu needed, %llu of %llu free%s", wanted / p->page_bytes,
			 (unsigned long long)supply.free_pages,
			 (unsigned long long)supply.total_pages,
			 on_node(where, sizeof(where), node));
}

/* With strict nodes: whether the node itself has as much memory. */
static int check_node(struct ladder *l, const struct place *at, const struct wr_pool_provider *p,
		      size_t bytes)
{
	int node = at->rung->node;
	uint64_t available;
	char where[32];

	if (p->eager || !(l->opts->flags & WEIR_POOL_STRICT_NODE))
		return 0;
	available = l->system->available(l->system->arg, node);
	if (available >= bytes)
		return 0;
	return step_down(l, at, at->bytes, -ENOMEM, "%llu MiB needed, %llu MiB available%s",
			 (unsigned long long)mib(bytes),
			 (unsigned long long)(available / WR_POOL_MIB),
			 on_node(where, sizeof(where), node));
}

/* With one node there is nothing to choose, and a container may forbid the calls. */
static bool has_choice(const struct ladder *l, const struct wr_rung *rung)
{
	uint64_t nodes = l->system->nodes(l->system->arg);

	return rung->node >= 0 && (nodes & (nodes - 1)) != 0;
}

static int bind_to_node(struct ladder *l, const struct place *at, const struct wr_pool_provider *p,
			const struct wr_pool_mapping *map)
{
	bool strict = l->opts->flags & WEIR_POOL_STRICT_NODE;
	int node = at->rung->node;
	int rc;

	if (!has_choice(l, at->rung))
		return 0;
	rc = p->bind(p->arg, map, node, strict);
	if (rc == 0)
		return 0;
	if (strict)
		return step_down(l, at, map->bytes, -EOPNOTSUPP, "cannot bind to node %d: %s", node,
				 weir_strerror(rc));
	wr_reasons_add(l->reasons, "node %d: placed by first touch only, cannot bind: %s", node,
		       weir_strerror(rc));
	return 0;
}

/* A piece of so many bytes at the front of the place. */
static int add_piece(struct ladder *l, const struct place *at, const struct wr_pool_provider *p,
		     size_t bytes)
{
	struct wr_rung *rung = at->rung;
	struct wr_pool_mapping map;
	int rc;

	wr_assert(rung->nr_pieces < WR_POOL_MAX_REGIONS);
	rc = p->reserve(p->arg, (uint8_t *)rung->range.base + at->offset, bytes, &map);
	if (rc != 0)
		return step_down(l, at, bytes, -ENOMEM, "%llu MiB refused: %s",
				 (unsigned long long)mib(bytes), weir_strerror(rc));
	rc = bind_to_node(l, at, p, &map);
	if (rc != 0) {
		p->release(p->arg, &map);
		return rc;
	}
	rung->pieces[rung->nr_pieces++] = (struct wr_piece){.kind = at->kind, .map = map};
	return 0;
}

/* Fill the front of the place with its kind. How much was filled. */
static size_t try_kind(struct ladder *l, const struct place *at)
{
	const struct wr_pool_provider *p = l->system->kinds[at->kind];
	bool is_share = at->bytes == at->rung->share_bytes;
	size_t wanted, bytes;

	if (!p) {
		(void)step_down(l, at, at->bytes, -EOPNOTSUPP, "this system has none");
		return 0;
	}
	wanted = (size_t)wr_align_down(at->bytes, unit_of(l, p));
	if (wanted < at->bytes && !(wanted > 0 && is_lost(l, p, at->bytes - wanted)))
		(void)step_down(l, at, at->bytes - wanted, -EOPNOTSUPP,
				is_share ? "%llu MiB a node is no multiple of them"
					 : "%llu MiB left is no multiple of them",
				(unsigned long long)mib(at->bytes));
	if (wanted == 0)
		return 0;
	(void)check_supply(l, at, p, wanted, &bytes);
	if (bytes == 0 || check_node(l, at, p, bytes) != 0 || add_piece(l, at, p, bytes) != 0)
		return 0;
	return bytes;
}

/* Fill a place with the kinds below its own. 0, or that there is too little. */
static int fill(struct ladder *l, struct place at)
{
	size_t got;
	int kind;

	for (kind = kind_after(l, at.kind); kind < WEIR_PAGE_KINDS; kind = kind_after(l, kind)) {
		at.kind = kind;
		got = try_kind(l, &at);
		at.offset += got;
		at.bytes -= got;
		if (at.bytes == 0 || (got > 0 && is_lost(l, l->system->kinds[kind], at.bytes)))
			return 0;
	}
	return l->saw_shortage ? -ENOMEM : -EOPNOTSUPP;
}

static void release_piece(const struct wr_pool_system *system, const struct wr_piece *piece)
{
	const struct wr_pool_provider *p = system->kinds[piece->kind];

	if (piece->is_registered && p->unregister_map)
		p->unregister_map(p->arg, &piece->map);
	p->release(p->arg, &piece->map);
}

static void release_rung(const struct wr_pool_system *system, struct wr_rung *rung)
{
	while (rung->nr_pieces > 0)
		release_piece(system, &rung->pieces[--rung->nr_pieces]);
	if (rung->range.outer)
		system->put_range(system->arg, &rung->range);
	rung->range.outer = NULL;
}

void wr_ladder_release(const struct wr_pool_system *system, struct wr_rung *rungs, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++)
		release_rung(system, &rungs[i]);
}

static bool is_touched_at_open(const struct ladder *l, const struct wr_piece *piece)
{
	return l->system->kinds[piece->kind]->eager || !(l->opts->flags & WEIR_POOL_LAZY);
}

static bool is_to_touch(const struct ladder *l, const struct wr_piece *piece)
{
	return !piece->is_done && is_touched_at_open(l, piece);
}

/*
 * Touching more than there is would not fail: the kernel would kill a process instead,
 * likely this one. Hugetlb pages are set aside already and do not count.
 */
static int check_machine(struct ladder *l, const struct wr_rung *rungs, size_t nr)
{
	uint64_t available = l->system->available(l->system->arg, -1);
	const struct wr_piece *piece;
	uint64_t needed = 0;
	size_t i, k;

	for (i = 0; i < nr; i++) {
		for (k = 0; k < rungs[i].nr_pieces; k++) {
			piece = &rungs[i].pieces[k];
			if (is_to_touch(l, piece) && !l->system->kinds[piece->kind]->eager)
				needed += piece->map.bytes;
		}
	}
	if (needed <= available)
		return 0;
	wr_reasons_add(l->reasons, "not enough memory: %llu MiB needed, %llu MiB available",
		       (unsigned long long)mib(needed),
		       (unsigned long long)(available / WR_POOL_MIB));
	return -ENOMEM;
}

static struct place place_of(struct wr_rung *rung, const struct wr_piece *piece)
{
	return (struct place){
		.rung = rung,
		.offset = (size_t)((uint8_t *)piece->map.base - (uint8_t *)rung->range.base),
		.bytes = piece->map.bytes,
		.kind = piece->kind};
}

/* Ask what the kernel really gave; a region without any huge page is no THP region. */
static int measure_thp(struct ladder *l, struct wr_rung *rung, struct wr_piece *piece)
{
	const struct wr_pool_provider *p = l->system->kinds[piece->kind];
	struct place at = place_of(rung, piece);
	char where[32];
	int rc;

	rc = p->huge_bytes(p->arg, &piece->map, &piece->thp_bytes);
	if (rc != 0) {
		wr_reasons_add(l->reasons, "transparent huge pages not counted: %s",
			       weir_strerror(rc));
		return 0;
	}
	if (piece->thp_bytes >= piece->map.bytes)
		return 0;
	if (piece->thp_bytes > 0) {
		(void)step_down(l, &at, piece->map.bytes - (size_t)piece->thp_bytes, -EOPNOTSUPP,
				"%llu of %llu MiB%s", (unsigned long long)mib(piece->thp_bytes),
				(unsigned long long)mib(piece->map.bytes),
				on_node(where, sizeof(where), rung->node));
		return 0;
	}
	rc = step_down(l, &at, at.bytes, -EOPNOTSUPP, "the kernel gave none for %llu MiB%s",
		       (unsigned long long)mib(piece->map.bytes),
		       on_node(where, sizeof(where), rung->node));
	if (!(l->opts->page_kinds & (1u << WEIR_PAGE_4K)) || !l->system->kinds[WEIR_PAGE_4K])
		return rc;
	/* The pages are there and are small ones: only the name was wrong. */
	piece->kind = WEIR_PAGE_4K;
	return 0;
}

/*
 * Whether the pages are where they should be: a node that runs out while it is touched is
 * helped out by others. With strict nodes they are of no use then.
 */
static int check_place(struct ladder *l, struct wr_rung *rung, const struct wr_piece *piece)
{
	const struct wr_pool_provider *p = l->system->kinds[piece->kind];
	struct weir_page_step step = {.node = rung->node,
				      .kind = (uint32_t)piece->kind,
				      .next_kind = (uint32_t)piece->kind,
				      .code = -ENOMEM};
	struct place at = place_of(rung, piece);
	unsigned long long all = mib(piece->map.bytes);
	int rc;

	if (!has_choice(l, rung) || !is_touched_at_open(l, piece))
		return 0;
	rc = p->misplaced(p->arg, &piece->map, rung->node, &step.bytes);
	if (rc != 0) {
		wr_reasons_add(l->reasons, "node %d: where the pages lie cannot be told: %s",
			       rung->node, weir_strerror(rc));
		return 0;
	}
	if (step.bytes == 0)
		return 0;
	if (l->opts->flags & WEIR_POOL_STRICT_NODE)
		return step_down(l, &at, at.bytes, -ENOMEM,
				 "%llu of %llu MiB of node %d lie on others",
				 (unsigned long long)mib(step.bytes), all, rung->node);
	snprintf(step.reason, sizeof(step.reason), "%s: %llu of %llu MiB of node %d lie on others",
		 kind_text[piece->kind], (unsigned long long)mib(step.bytes), all, rung->node);
	tell(l, &step);
	return 0;
}

static int register_piece(struct ladder *l, struct wr_rung *rung, struct wr_piece *piece)
{
	const struct wr_pool_provider *p = l->system->kinds[piece->kind];
	struct place at = place_of(rung, piece);
	char where[32];
	int rc;

	rc = p->register_map ? p->register_map(p->arg, &piece->map) : 0;
	piece->is_registered = rc == 0;
	if (rc != 0)
		(void)step_down(l, &at, at.bytes, -ENOMEM, "%llu MiB%s could not be registered: %s",
				(unsigned long long)mib(piece->map.bytes),
				on_node(where, sizeof(where), rung->node), weir_strerror(rc));
	return rc;
}

/* A piece that was touched, or need not be; @rc says how that went. */
static void finish_piece(struct ladder *l, struct wr_rung *rung, struct wr_piece *piece, int rc)
{
	struct place at = place_of(rung, piece);

	if (rc != 0)
		(void)step_down(l, &at, at.bytes, -ENOMEM, "%llu MiB could not be touched: %s",
				(unsigned long long)mib(piece->map.bytes), weir_strerror(rc));
	else if (piece->kind == WEIR_PAGE_THP && is_touched_at_open(l, piece))
		rc = measure_thp(l, rung, piece);
	if (rc == 0)
		rc = check_place(l, rung, piece);
	if (rc == 0)
		rc = register_piece(l, rung, piece);
	piece->is_done = rc == 0;
}

/* The pieces of a node share its threads. */
static size_t threads_for(const struct ladder *l, const struct wr_rung *rung)
{
	size_t nr = l->opts->prefault_threads;
	size_t nr_pieces = 0;
	size_t k;

	for (k = 0; k < rung->nr_pieces; k++)
		nr_pieces += is_to_touch(l, &rung->pieces[k]);
	if (nr == 0)
		nr = wr_min(l->system->nr_cpus(l->system->arg, rung->node),
			    (size_t)WR_PREFAULT_THREADS);
	return wr_max(nr / wr_max(nr_pieces, (size_t)1), (size_t)1);
}

static size_t list_jobs(const struct ladder *l, const struct wr_rung *rungs, size_t nr,
			struct wr_prefault_job *jobs)
{
	const struct wr_piece *piece;
	size_t nr_jobs = 0;
	size_t i, k;

	for (i = 0; i < nr; i++) {
		for (k = 0; k < rungs[i].nr_pieces; k++) {
			piece = &rungs[i].pieces[k];
			if (is_to_touch(l, piece))
				jobs[nr_jobs++] = (struct wr_prefault_job){
					.provider = l->system->kinds[piece->kind],
					.map = &piece->map,
					.node = rungs[i].node,
					.nr_threads = threads_for(l, &rungs[i])};
		}
	}
	return nr_jobs;
}

static void finish_pieces(struct ladder *l, struct wr_rung *rungs, size_t nr,
			  const struct wr_prefault_job *jobs)
{
	struct wr_piece *piece;
	size_t i, k;

	for (i = 0; i < nr; i++) {
		for (k = 0; k < rungs[i].nr_pieces; k++) {
			piece = &rungs[i].pieces[k];
			if (!piece->is_done)
				finish_piece(l, &rungs[i], piece,
					     is_touched_at_open(l, piece) ? jobs++->rc : 0);
		}
	}
}

/* Touch all that is not done. On return each piece is done, or of no use. */
static int touch_pieces(struct ladder *l, struct wr_rung *rungs, size_t nr)
{
	struct wr_prefault_job *jobs;
	size_t nr_jobs;
	int rc = 0;

	jobs = wr_calloc(nr * WR_POOL_MAX_REGIONS, sizeof(*jobs));
	if (!jobs)
		return -ENOMEM;
	nr_jobs = list_jobs(l, rungs, nr, jobs);
	if (nr_jobs > 0)
		rc = wr_prefault(l->system, jobs, nr_jobs, l->opts->progress,
				 l->opts->progress_arg);
	if (rc == 0)
		finish_pieces(l, rungs, nr, jobs);
	wr_free(jobs);
	return rc;
}

/* Fill the places of a node's pieces that are of no use. *@ret_again: there were some. */
static int refill(struct ladder *l, struct wr_rung *rung, bool *ret_again)
{
	size_t nr_before = rung->nr_pieces;
	struct place at[WR_POOL_MAX_REGIONS];
	size_t nr = 0;
	size_t k;
	int rc = 0;

	for (k = nr_before; k-- > 0;) {
		if (rung->pieces[k].is_done)
			continue;
		at[nr++] = place_of(rung, &rung->pieces[k]);
		release_piece(l->system, &rung->pieces[k]);
		rung->pieces[k] = rung->pieces[--rung->nr_pieces];
	}
	*ret_again |= nr > 0;
	for (k = 0; k < nr && rc == 0; k++)
		rc = fill(l, at[k]);
	return rc;
}

static void sort_pieces(struct wr_rung *rung)
{
	struct wr_piece piece;
	size_t i, k;

	for (i = 1; i < rung->nr_pieces; i++) {
		piece = rung->pieces[i];
		for (k = i;
		     k > 0 && (uintptr_t)rung->pieces[k - 1].map.base > (uintptr_t)piece.map.base;
		     k--)
			rung->pieces[k] = rung->pieces[k - 1];
		rung->pieces[k] = piece;
	}
}

/* Addresses for a share, where each kind that may be used can begin. */
static int get_range(struct ladder *l, struct wr_rung *rung)
{
	const struct wr_pool_system *s = l->system;
	/* Spans may ask for any alignment up to this. */
	size_t align = (size_t)1 << (63 - __builtin_clzll(rung->share_bytes));
	int kind, rc;

	align = wr_max(wr_min(align, (size_t)WR_POOL_GIB), l->opts->block_bytes);

	for (kind = 0; kind < WEIR_PAGE_KINDS; kind++)
		if ((l->opts->page_kinds & (1u << kind)) && s->kinds[kind] &&
		    s->kinds[kind]->page_bytes <= rung->share_bytes)
			align = wr_max(align, s->kinds[kind]->page_bytes);
	rc = s->get_range(s->arg, rung->share_bytes, wr_max(align, (size_t)4096), &rung->range);
	if (rc == 0)
		return 0;
	rung->range.outer = NULL;
	wr_reasons_add(l->reasons, "no addresses for %llu MiB: %s",
		       (unsigned long long)mib(rung->share_bytes), weir_strerror(rc));
	return -ENOMEM;
}

static int descend(struct ladder *l, struct wr_rung *rungs, size_t nr)
{
	bool again = true;
	size_t i;
	int rc = 0;

	for (i = 0; i < nr && rc == 0; i++) {
		rc = get_range(l, &rungs[i]);
		if (rc == 0)
			rc = fill(l, (struct place){.rung = &rungs[i],
						    .bytes = rungs[i].share_bytes,
						    .kind = WEIR_PAGE_KINDS});
	}
	while (rc == 0 && again) {
		rc = check_machine(l, rungs, nr);
		if (rc == 0)
			rc = touch_pieces(l, rungs, nr);
		again = false;
		for (i = 0; i < nr && rc == 0; i++)
			rc = refill(l, &rungs[i], &again);
	}
	for (i = 0; i < nr; i++)
		sort_pieces(&rungs[i]);
	return rc;
}

int wr_ladder_descend(const struct wr_pool_system *system, const struct weir_pool_opts *opts,
		      struct wr_rung *rungs, size_t nr, struct wr_reasons *reasons,
		      uint64_t *ret_ns)
{
	struct ladder l = {.system = system, .opts = opts, .reasons = reasons};
	uint64_t begin = wr_now_ns();
	int rc;

	rc = descend(&l, rungs, nr);
	if (rc == 0 && reasons->no_memory)
		rc = -ENOMEM;
	if (rc != 0)
		wr_ladder_release(system, rungs, nr);
	*ret_ns = wr_now_ns() - begin;
	return rc;
}
